"""Reports a study of activation functions."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from ib_keras import frame, plot, report, studies
from ib_keras.components.reporter import executor as reporter
from ib_keras.storage import atomic

FINDINGS, COMPRESSION, PHASES = "findings.csv", "compression.csv", "phases.csv"


def run(
    estimates: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Activation functions",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges the estimates of ensembles, and sets what was measured beside the paper.

    Args:
        estimates: folders that ``ensembler`` wrote.
        output: the folder to write.
        title: of the page.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.
    """
    joined, table, logs = reporter.merge(estimates)
    findings = studies.adaptive_estimators(joined)
    compression = frame.compression(table, over_seeds=True)
    phases = frame.phases(table)
    planes, falls, gaps = {}, {}, {}
    drawn = table[np.isfinite(table["value"])].groupby("estimator", sort=False)["quantity"]
    for estimator, quantities in drawn.unique().items():
        # One that could not estimate anything has nothing to show.
        if not {"I(X;T)", "I(T;Y)"} <= set(quantities):
            continue
        name = re.sub(r"[^\w.-]+", "_", estimator).strip("_")
        planes[f"planes_{name}.png"] = plot.ensemble_planes(table, estimator=estimator)
        falls[f"compression_{name}.png"] = plot.compression(compression, estimator=estimator)
        layer, (points, _, result) = list(studies.generalisation(joined, estimator).items())[-1]
        if result is not None:
            low, high = result.confidence_interval()
            gaps[f"generalisation_{name}.png"] = plot.scatter(
                points["compression"], points["gap"], points["group"],
                xlabel=f"fall of I(X;T) in {layer} [nats]",
                ylabel="accuracy, training less held out",
                title=f"{estimator}, within an activation:\nr = {result.statistic:.2f} "
                f"(95 %: {low:.2f} to {high:.2f})",
            )  # fmt: skip
    sections = [
        report.Section("What the paper reports, and what was measured", table=findings),
        report.Section(
            "Information planes",
            "Thin lines are single runs, the thick line is their mean over seeds, from its start "
            "(ring) to its end (disc).",
            figures=planes,
        ),
        report.Section(
            "Compression",
            "How far I(X;T) falls from its maximum over training to the end, with one standard "
            "deviation over seeds. Open squares: with the L2 penalty.",
            figures=falls,
        ),
        report.Section(
            "Generalisation",
            "Does a run that compresses the last layer more generalise better than others with "
            "the same activation function?",
            figures=gaps,
        ),
    ]

    def fill(folder: pathlib.Path) -> None:
        frame.write(table, folder, logs=logs)
        for name, part in ((FINDINGS, findings), (COMPRESSION, compression), (PHASES, phases)):
            part.to_csv(folder / name, index=False)
        for name, figure in (planes | falls | gaps).items():
            figure.savefig(folder / name, dpi=120)
        report.write(
            table, folder / reporter.PAGE, title=title, sections=sections, single_runs=False
        )

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / reporter.PAGE, page)
    return {"rows": len(table), "findings": len(findings)}
