"""Measures of clustering, and histograms and points of layers."""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

import pandas as pd

from ib_keras import frame
from ib_keras.storage import atomic, manifests

SCHEMA, VERSION = "ib_keras.clusters", 2
# Where ``ensembler`` writes them, beside its estimates.
FOLDER = "clusters"


class Clusters(NamedTuple):
    """Tables of the module ``clustering``.

    Args:
        measures: the result of ``clustering.measures``.
        histograms: the result of ``clustering.histograms``.
        values: the result of ``clustering.values``.
        points: the result of ``clustering.points``.
    """

    measures: pd.DataFrame
    histograms: pd.DataFrame
    values: pd.DataFrame
    points: pd.DataFrame


def write(output: str | os.PathLike, clusters: Clusters, run: str) -> None:
    """Write the tables of a run, or of runs that differ in their seeds."""

    def fill(folder: pathlib.Path) -> None:
        for name, table in clusters._asdict().items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
        manifests.write_manifest(
            folder, SCHEMA, VERSION, run=run, files=manifests.checksums(folder)
        )

    atomic.write_folder(pathlib.Path(output), fill)


def read(path: str | os.PathLike) -> Clusters:
    """Read the tables that ``write`` wrote.

    Raises:
        StoreError: If ``path`` is not a folder of clustering measures, or is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    return Clusters(
        *(
            frame.read_parquet(manifests.checked_file(folder, manifest, f"{name}.parquet"))
            for name in Clusters._fields
        )
    )


def join(many: list[Clusters]) -> Clusters:
    """Join the tables of several runs."""
    return Clusters(*(pd.concat(tables, ignore_index=True) for tables in zip(*many, strict=True)))
