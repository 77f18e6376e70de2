"""Merges estimates and shows them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ib_keras.components.artifacts import clusters as clusters_artifact
from ib_keras.components.artifacts import samples
from ib_keras.studies import study as studies


def run(
    estimates: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    study: str = "information_plane",
    clusters: Sequence[str | os.PathLike] = (),
    title: str = "",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges tables of estimates into one, and writes a study of it.

    Args:
        estimates: folders that ``estimator``, ``ensembler``, ``known_pairs`` or ``decoder`` wrote.
        output: the folder to write: ``estimates.parquet``, ``logs.parquet``, the study's tables and
            pictures, and ``report.html``.
        study: ``"information_plane"``, or the name of a paper's study: ``"noisy_dnn"``,
            ``"adaptive_estimators"``, ``"lossy_compression"`` or ``"resnet_decoder"``.
        clusters: folders that ``clusterer`` wrote, for the study of noisy networks.
        title: of the page; the study's own by default.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.

    Raises:
        ArgumentError: the study is unknown, or there are no estimates.
    """
    studies.check(study)
    material = studies.read(estimates)
    if clusters:
        measures, histograms = zip(*map(clusters_artifact.read, clusters), strict=True)
        material = dataclasses.replace(
            material,
            measures=pd.concat(measures, ignore_index=True),
            histograms=pd.concat(histograms, ignore_index=True),
        )
    drawn = [path for path in estimates if (pathlib.Path(path) / samples.SAMPLES).exists()]
    material = dataclasses.replace(material, drawn=[samples.read(path) for path in drawn])
    shown = studies.write(material, output, study=study, title=title, page=page)
    facts = {"rows": len(material.table), "unit": str(material.table["unit"].iloc[0])}
    return facts | {pathlib.Path(name).stem: len(table) for name, table in shown.tables.items()}
