"""Measures of clustering, and histograms of distances."""

from __future__ import annotations

import os
import pathlib

import pandas as pd

from ib_keras.storage import manifests

SCHEMA, VERSION = "ib_keras.clusters", 1

MEASURES, HISTOGRAMS = "measures.parquet", "histograms.parquet"


def read(path: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures and histograms that ``run`` wrote."""
    folder = pathlib.Path(path)
    manifests.read_manifest(folder, SCHEMA, VERSION)
    return pd.read_parquet(folder / MEASURES), pd.read_parquet(folder / HISTOGRAMS)
