"""Clustering measures and histograms of pairwise distances."""

from __future__ import annotations

import os
import pathlib

import pandas as pd

from ib_keras import frame
from ib_keras.storage import manifests

SCHEMA, VERSION = "ib_keras.clusters", 1

MEASURES, HISTOGRAMS = "measures.parquet", "histograms.parquet"


def read(path: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the measures and histograms that the component ``clusterer`` wrote.

    Raises:
        StoreError: If ``path`` is not a folder of clustering measures, or is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    measures, histograms = (
        frame.read_parquet(manifests.checked_file(folder, manifest, name))
        for name in (MEASURES, HISTOGRAMS)
    )
    return measures, histograms
