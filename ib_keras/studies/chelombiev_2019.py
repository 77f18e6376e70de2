"""The study of Chelombiev et al. 2019: which activation functions compress."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section


def adaptive_estimators(table: pd.DataFrame) -> pd.DataFrame:
    """The findings of Chelombiev et al. on activation functions, beside what was measured.

    Runs are named ``activation-seed`` and, with the L2 penalty, ``activation+l2-seed``.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """
    falls = frame.compression(table)
    falls["group"] = frame.without_seed(falls["run"])
    hidden = falls[falls["layer_index"] < falls["layer_index"].max()]
    deepest = hidden[hidden["layer_index"] == hidden["layer_index"].max()]
    rows: list[tuple] = []
    for (group, estimator), part in deepest.groupby(["group", "estimator"]):
        if group.endswith("+l2"):
            continue
        fall = part["absolute"]
        rows.append(
            (
                "fall of I(X;T) in the last hidden layer, over seeds [nats]",
                f"{group}, {estimator}",
                part["layer"].iloc[0],
                "compression needs no saturation: unbounded activations compress, too; runs of "
                "different initial weights differ widely",
                f"median {fall.median():.2f}, from {fall.min():.2f} to {fall.max():.2f} over "
                f"{len(part)} seeds",
            )
        )
    for estimator, part in hidden.groupby("estimator", sort=False):
        for group in sorted(set(part["group"])):
            if f"{group}+l2" in set(part["group"]):
                sums = [
                    part[part["group"] == g].groupby("run")["absolute"].sum().median()
                    for g in (f"{group}+l2", group)
                ]
                rows.append(
                    (
                        "fall of I(X;T), summed over the hidden layers, median: with L2 / without "
                        "[nats]",
                        f"{group}, {estimator}",
                        "",
                        "L2 strongly increases compression",
                        f"{sums[0]:.2f} / {sums[1]:.2f}",
                    )
                )
    for estimator in dict.fromkeys(falls["estimator"]):
        for layer, (_, _, result) in generalisation(table, estimator).items():
            if result is not None:
                low, high = result.confidence_interval()
                rows.append(
                    (
                        "correlation of compression and generalisation gap, L2 apart",
                        estimator,
                        layer,
                        "only the last layer's compression is correlated with generalisation",
                        f"r = {result.statistic:.2f}, 95 % from {low:.2f} to {high:.2f}, "
                        f"p = {result.pvalue:.2g}",
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def generalisation(
    table: pd.DataFrame, estimator: str
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, Any]]:
    """Compression of each layer against the generalisation gap, over the runs without L2.

    The gap is the training part's accuracy less the held-out part's at the end. For the
    correlation both are taken relative to their mean over an activation's seeds, so that what is
    correlated is one run with another of its kind.

    Args:
        table: estimates joined with the logs.
        estimator: as the table names it.

    Returns:
        Layer → the points (``run``, ``group``, ``compression``, ``gap``), the same relative to
        their group, and SciPy's result of the correlation (``None`` where nothing varies).
    """
    from scipy.stats import pearsonr

    falls = frame.compression(table[table["estimator"] == estimator])
    ends = table.sort_values("epoch").groupby("run").last()
    falls["gap"] = falls["run"].map(ends["accuracy"] - ends["val_accuracy"])
    falls["group"] = frame.without_seed(falls["run"])
    falls = falls[~falls["group"].str.contains("+l2", regex=False)]
    found = {}
    for _, part in falls.groupby("layer_index"):
        points = part[["run", "group"]].assign(compression=part["absolute"], gap=part["gap"])
        measures = points.groupby("group")[["compression", "gap"]]
        centred = points[["compression", "gap"]] - measures.transform("mean")
        varies = len(points) > 3 and (centred.std() > 1e-9).all()
        result = pearsonr(centred["compression"], centred["gap"]) if varies else None
        found[part["layer"].iloc[0].removesuffix("_prelu")] = (points, centred, result)
    return found


def reported(material: Material) -> Reported:
    """The findings, compression and phases, with planes, falls and gaps by estimator."""
    table, joined = material.table, material.joined
    findings = adaptive_estimators(joined)
    compression = frame.compression(table, over_seeds=True)
    planes, falls, gaps = {}, {}, {}
    drawn = table[np.isfinite(table["value"])].groupby("estimator", sort=False)["quantity"]
    for estimator, quantities in drawn.unique().items():
        # One that could not estimate anything has nothing to show.
        if not {"I(X;T)", "I(T;Y)"} <= set(quantities):
            continue
        name = re.sub(r"[^\w.-]+", "_", estimator).strip("_")
        planes[f"planes_{name}.png"] = plot.ensemble_planes(table, estimator=estimator)
        falls[f"compression_{name}.png"] = plot.compression(compression, estimator=estimator)
        layer, (points, _, result) = list(generalisation(joined, estimator).items())[-1]
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
        findings_section(findings),
        Section(
            "Information planes",
            "Thin lines are single runs, the thick line is their mean over seeds, from its start "
            "(ring) to its end (disc).",
            figures=planes,
        ),
        Section(
            "Compression",
            "How far I(X;T) falls from its maximum over training to the end, with one standard "
            "deviation over seeds. Open squares: with the L2 penalty.",
            figures=falls,
        ),
        Section(
            "Generalisation",
            "Does a run that compresses the last layer more generalise better than others with "
            "the same activation function?",
            figures=gaps,
        ),
    ]
    tables = {
        "findings.csv": findings,
        "compression.csv": compression,
        "phases.csv": frame.phases(table),
    }
    return Reported(tables, {**planes, **falls, **gaps}, sections, single_runs=False)
