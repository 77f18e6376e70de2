"""The study of Chelombiev et al. 2019: compression by activation function."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section


def adaptive_estimators(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Chelombiev et al. on activation functions to measurements.

    Runs must be named ``activation-seed`` and, with the L2 penalty, ``activation+l2-seed``.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """
    falls = frame.compression(frame.convert(table, "nats"))
    falls["group"] = frame.without_seed(falls["run"])
    hidden = falls[falls["layer_index"] < falls["layer_index"].max()]
    deepest = hidden[hidden["layer_index"] == hidden["layer_index"].max()]
    rows: list[tuple] = []
    for (group, estimator), part in deepest.groupby(["group", "estimator"]):
        if group.endswith("+l2"):
            continue
        fall = part["absolute"]
        rows.append((
            "fall of I(X;T) in the last hidden layer, over seeds [nats]", f"{group}, {estimator}",
            part["layer"].iloc[0],
            "compression does not require saturation: unbounded activations compress too; runs "
            "with different initial weights differ widely",
            f"median {fall.median():.2f}, from {fall.min():.2f} to {fall.max():.2f} over "
            f"{len(part)} seeds",
        ))  # fmt: skip
    for estimator, part in hidden.groupby("estimator", sort=False):
        sums = part.groupby(["group", "run"])["absolute"].sum().groupby("group").median()
        for group in sums.index:
            if f"{group}+l2" in sums:
                rows.append((
                    "fall of I(X;T), summed over the hidden layers, median: with L2 / without "
                    "[nats]", f"{group}, {estimator}", "", "L2 strongly increases compression",
                    f"{sums[f'{group}+l2']:.2f} / {sums[group]:.2f}",
                ))  # fmt: skip
    for estimator in dict.fromkeys(falls["estimator"]):
        for layer, (_, _, result) in generalisation(table, estimator).items():
            if result is not None:
                low, high = result.confidence_interval()
                rows.append((
                    "correlation of compression and generalisation gap, without L2", estimator,
                    layer, "only the last layer's compression is correlated with generalisation",
                    f"r = {result.statistic:.2f}, 95 % interval {low:.2f} to {high:.2f}, "
                    f"p = {result.pvalue:.2g}",
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def generalisation(
    table: pd.DataFrame, estimator: str
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, Any]]:
    """Correlate each layer's compression with the generalisation gap, for runs without L2.

    The gap is the training accuracy minus the held-out accuracy at the end. For the correlation,
    the mean over the seeds of an activation is subtracted from both, so that runs are compared
    with other runs of the same activation.

    Args:
        table: estimates joined with the logs.
        estimator: name of the estimator, as in the table.

    Returns:
        A dictionary that has, for each layer, the points (``run``, ``group``, ``compression``,
        ``gap``; in nats), the points relative to the mean of their group, and SciPy's result of the
        correlation (``None`` if there are too few points, or no variation).
    """
    from scipy.stats import pearsonr

    table = frame.convert(table, "nats")
    falls = frame.compression(table[table["estimator"] == estimator])
    ends = table.sort_values("epoch").groupby("run").last()
    falls["gap"] = falls["run"].map(ends["accuracy"] - ends["val_accuracy"])
    falls["group"] = frame.without_seed(falls["run"])
    falls = falls[~falls["group"].str.contains("+l2", regex=False)]
    by_layer = {}
    for _, part in falls.groupby("layer_index"):
        points = part[["run", "group"]].assign(compression=part["absolute"], gap=part["gap"])
        measures = points.groupby("group")[["compression", "gap"]]
        centred = points[["compression", "gap"]] - measures.transform("mean")
        varies = len(points) > 3 and (centred.std() > 1e-9).all()
        result = pearsonr(centred["compression"], centred["gap"]) if varies else None
        by_layer[part["layer"].iloc[0].removesuffix("_prelu")] = (points, centred, result)
    return by_layer


def reported(material: Material) -> Reported:
    """Return the findings, compression and phases, with figures for each estimator."""
    table, joined = material.table, material.joined
    findings = adaptive_estimators(joined)
    compression = frame.compression(table, over_seeds=True)
    planes, falls, gaps = {}, {}, {}
    drawn = table[np.isfinite(table["value"])].groupby("estimator", sort=False)["quantity"]
    for estimator, quantities in drawn.unique().items():
        # Estimators without finite values are left out.
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
                ylabel="training minus held-out accuracy",
                title=f"{estimator}, within an activation:\nr = {result.statistic:.2f} "
                f"(95 %: {low:.2f} to {high:.2f})",
            )  # fmt: skip
    sections = [
        findings_section(findings),
        Section(
            "Information planes",
            "Thin lines are single runs. The thick line is their mean over seeds, from its start "
            "(ring) to its end (disc).",
            figures=planes,
        ),
        Section(
            "Compression",
            "The fall of I(X;T) from its maximum to the end of training, with one standard "
            "deviation over seeds. Open squares are ensembles with the L2 penalty.",
            figures=falls,
        ),
        Section(
            "Generalisation",
            "Does a run that compresses the last layer more generalise better than others with "
            "the same activation function?",
            figures=gaps,
        ),
    ]
    tables = {"findings.csv": findings, "compression.csv": compression}
    tables["phases.csv"] = frame.phases(table)
    return Reported(tables, {**planes, **falls, **gaps}, sections, single_runs=False)
