"""Reports a study of lossy compression."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from ib_keras import frame, plot, report, studies
from ib_keras.components.reporter import executor as reporter
from ib_keras.frame.table import TRUTH
from ib_keras.storage import atomic

FINDINGS, PHASES = "findings.csv", "phases.csv"


def run(
    estimates: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Lossy compression",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges estimates through compression, and sets what was measured beside the paper.

    Args:
        estimates: folders that ``known_pairs`` or ``estimator`` wrote.
        output: the folder to write.
        title: of the page.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.
    """
    joined, table, logs = reporter.merge(estimates)
    known = TRUTH in joined
    findings = (studies.known_information if known else studies.lossy_compression)(joined)
    tables, sections = {FINDINGS: findings}, []
    if known:
        pictures = {"against_truth.png": plot.against_truth(joined)}
        section = report.Section(
            "Estimates against the truth",
            "Pairs of images with exactly the information of the horizontal axis. On the line an "
            "estimate is right. Dotted: neighbours on the few numbers that the images were drawn "
            "from, which no compressor can be asked to beat.",
            figures=pictures,
        )
        sections.append(section)
    else:
        tables[PHASES] = frame.phases(table)
        pictures = {
            **reporter.plane(table),
            **{
                name: plot.layer_curves(table, quantity=quantity)
                for name, quantity in (("inputs.png", "I(X;T)"), ("labels.png", "I(T;Y)"))
                if quantity in set(table["quantity"])
            },
        }
    sections.insert(
        0, report.Section("What the paper reports, and what was measured", table=findings)
    )

    def fill(folder: pathlib.Path) -> None:
        frame.write(table, folder, logs=logs)
        for name, part in tables.items():
            part.to_csv(folder / name, index=False)
        for name, figure in pictures.items():
            figure.savefig(folder / name, dpi=120)
        report.write(
            table, folder / reporter.PAGE, title=title, sections=sections, single_runs=not known
        )  # fmt: skip

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / reporter.PAGE, page)
    return {"rows": len(table), "findings": len(findings)}
