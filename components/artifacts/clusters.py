"""Clustering measures and histograms of pairwise distances."""

from __future__ import annotations

import os
import pathlib

import pandas as pd

from ib_keras.storage import manifests

SCHEMA, VERSION = "ib_keras.clusters", 1

MEASURES, HISTOGRAMS = "measures.parquet", "histograms.parquet"


def read(path: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The measures and histograms that the component ``clusterer`` wrote."""
    folder = pathlib.Path(path)
    manifests.read_manifest(folder, SCHEMA, VERSION)
    return pd.read_parquet(folder / MEASURES), pd.read_parquet(folder / HISTOGRAMS)
