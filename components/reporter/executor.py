"""Merges tables of estimates and writes a study of them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

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
    """Merge tables of estimates into one, and write a study of it.

    Arguments that are not listed here are those of the component ``reporter``.

    Args:
        estimates: folders that ``estimator``, ``ensembler``, ``known_pairs`` or ``decoder`` wrote.
        output: the folder to write: ``estimates.parquet``, ``logs.parquet``, the study's tables and
            pictures, and ``report.html``.
        clusters: folders that ``clusterer`` wrote, for the study of noisy networks.
        page: file for a second copy of the page; ``None`` for no copy.

    Returns:
        Facts about the table, for the artifact's metadata.

    Raises:
        ArgumentError: If the study is unknown, or there are no estimates.
    """
    studies.check(study)
    material = studies.read(estimates)
    inside = (pathlib.Path(path) / clusters_artifact.FOLDER for path in estimates)
    measured = [*clusters, *(path for path in inside if path.exists())]
    if measured:
        joined = clusters_artifact.join([clusters_artifact.read(path) for path in measured])
        material = dataclasses.replace(material, **joined._asdict())
    sampled = [path for path in estimates if (pathlib.Path(path) / samples.SAMPLES).exists()]
    material = dataclasses.replace(material, drawn=[samples.read(path) for path in sampled])
    reported = studies.write(material, output, study=study, title=title, page=page)
    facts = {"rows": len(material.table), "unit": str(material.table["unit"].iloc[0])}
    return facts | {pathlib.Path(name).stem: len(table) for name, table in reported.tables.items()}
