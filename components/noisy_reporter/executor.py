"""Reports a study of noisy networks."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ib_keras import frame, plot, report, studies
from ib_keras.components.artifacts import clusters as clusterer
from ib_keras.components.reporter import executor as reporter
from ib_keras.storage import atomic

FINDINGS, CLUSTERS = "findings.csv", "clusters.parquet"


def run(
    estimates: Sequence[str | os.PathLike],
    clusters: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Noisy networks",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges estimates and clustering measures, and sets what was measured beside the paper.

    Args:
        estimates: folders that ``estimator`` wrote.
        clusters: folders that ``clusterer`` wrote.
        output: the folder to write.
        title: of the page.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.
    """
    joined, table, logs = reporter.merge(estimates)
    parts = [clusterer.read(path) for path in clusters]
    measures = pd.concat([part[0] for part in parts], ignore_index=True)
    histograms = pd.concat([part[1] for part in parts], ignore_index=True)
    findings = studies.noisy_dnn(joined, measures)
    noisy = table[table["estimator"].str.startswith("sp") & table["value"].notna()]
    pictures: dict[str, Any] = {}
    sections = [report.Section("What the paper reports, and what was measured", table=findings)]
    if len(noisy):
        curves = plot.layer_curves(noisy, levels=studies.levels(noisy))
        pictures["sample_propagation.png"] = curves
        section = report.Section(
            "Sample propagation",
            "I(X;T) of the noisy networks, by layer, with a band of one standard error.",
            figures={"I(X;T) against the epoch": curves},
        )
        sections.append(section)
    clusters_of = {
        f"clusters_{name}.png": plot.clusters(histograms, run=name)
        for name in sorted(histograms["run"].unique())
    }
    pictures |= clusters_of
    sections.append(
        report.Section(
            "Clustering",
            "Distances between the samples' representations at the first, a middle and the last "
            "recorded epoch: compression is samples coming together.",
            figures=clusters_of,
        )
    )

    def fill(folder: pathlib.Path) -> None:
        frame.write(table, folder, logs=logs)
        measures.to_parquet(folder / CLUSTERS, index=False)
        findings.to_csv(folder / FINDINGS, index=False)
        for name, figure in {**reporter.plane(table), **pictures}.items():
            figure.savefig(folder / name, dpi=150)
        report.write(table, folder / reporter.PAGE, title=title, sections=sections)

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / reporter.PAGE, page)
    return {"rows": len(table), "findings": len(findings)}
