"""The study of Chelombiev et al. 2019: compression by activation function."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ib_keras import frame, plot
from ib_keras.errors import ArgumentError
from ib_keras.frame.falls import adjusted
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section

# Measures of generalisation.
MEASURES = {
    "val_accuracy": "held-out accuracy",
    "gap": "training minus held-out accuracy",
}
# The columns of the logs from which they are computed.
_ACCURACIES = {"accuracy", "val_accuracy"}


def adaptive_estimators(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Chelombiev et al. on activation functions with measurements.

    Runs must be named ``activation-seed`` and, with the L2 penalty, ``activation+l2-seed``.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """
    table = frame.convert(table, "nats")
    falls = frame.compression(table)
    falls["group"] = frame.without_seed(falls["run"])
    rows = [
        *_compressing(falls),
        *_means(table),
        *_gathered(falls),
        *_overfitting(table),
        *_correlated(table, list(dict.fromkeys(falls["estimator"]))),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def interval(values: pd.Series) -> str:
    """Return the median of a quantity over seeds, with its quantiles of 10 and 90 %."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{middle:.2f} ({low:.2f} to {high:.2f}, {len(values)} seeds)"


def _compressing(falls: pd.DataFrame) -> Iterator[tuple]:
    for (estimator, name), part in falls.groupby(["estimator", "group"], sort=False):
        group, layers = str(name), part.groupby("layer_index")
        each = ", ".join(
            f"{own['layer'].iloc[0].removesuffix('_prelu')} {interval(own['absolute'])}"
            for _, own in layers
        )
        yield (
            "fall of I(X;T) from its maximum to the end, by layer, median and 80 % of the seeds "
            "[nats]", f"{group}, {estimator}", "",
            "compression does not require saturation: unbounded activations compress too; tanh "
            "most" if not group.endswith("+l2") else "L2 strongly increases compression",
            each,
        )  # fmt: skip


def _means(table: pd.DataFrame) -> Iterator[tuple]:
    """Compare the phases of single runs with those of the mean over seeds."""
    own = table[table["quantity"] == "I(X;T)"]
    own = own[~own["run"].str.contains("+l2", regex=False)]
    hidden = own[own["layer_index"] == own["layer_index"].max() - 1]
    hidden = hidden.assign(group=frame.without_seed(hidden["run"]))
    for (group, estimator), part in hidden.groupby(["group", "estimator"], sort=False):
        curves = part.pivot_table(index="epoch", columns="run", values="value")
        if curves.shape[1] < 3 or len(curves) < 3:
            continue
        falls = curves.max() - curves.iloc[-1]
        mean = curves.mean(axis=1)
        yield (
            "last hidden layer: fall of the mean curve, and of single runs [nats]",
            f"{group}, {estimator}", part["layer"].iloc[0],
            "single ReLU networks differ widely, while their mean shows no distinct phases"
            if group == "relu" else "",
            f"{mean.max() - mean.iloc[-1]:.2f}; {interval(falls)}, from {falls.min():.2f} to "
            f"{falls.max():.2f}",
        )  # fmt: skip


def _gathered(falls: pd.DataFrame) -> Iterator[tuple]:
    """Measure the range of I(X;T) over the layers at the end, with and without L2."""
    ends = falls.groupby(["estimator", "group", "run"], sort=False)["end"]
    spread = (ends.max() - ends.min()).reset_index()
    for (estimator, name), part in spread.groupby(["estimator", "group"], sort=False):
        group = str(name)
        plain = spread[
            (spread["estimator"] == estimator) & (spread["group"] == group.removesuffix("+l2"))
        ]
        if group.endswith("+l2") and len(plain):
            yield (
                "range of I(X;T) over the layers at the end: with L2, without [nats]",
                f"{group}, {estimator}", "", "L2 gathers the layers at one value",
                f"{interval(part['end'])}; {interval(plain['end'])}",
            )  # fmt: skip


def _overfitting(table: pd.DataFrame) -> Iterator[tuple]:
    """Report the accuracies at the end, and the fall of the held-out one from its maximum."""
    if not _ACCURACIES <= set(table):
        return
    columns = ["run", "epoch", "accuracy", "val_accuracy"]
    logs = table[columns].drop_duplicates(["run", "epoch"]).sort_values("epoch")
    ends = logs.groupby("run").last()
    ends["lost"] = logs.groupby("run")["val_accuracy"].max() - ends["val_accuracy"]
    ends["group"] = frame.without_seed(pd.Series(ends.index, ends.index))
    for group, part in ends.groupby("group", sort=False):
        yield (
            "accuracy at the end, on training rows; on held-out rows; fall of the latter from its "
            "maximum", str(group), "",
            "L2 prevents overfitting" if str(group).endswith("+l2") else "",
            "; ".join(interval(part[name]) for name in ("accuracy", "val_accuracy", "lost")),
        )  # fmt: skip


def _correlated(table: pd.DataFrame, estimators: list[str]) -> Iterator[tuple]:
    if not {"accuracy", "val_accuracy"} <= set(table):
        return
    for estimator in estimators:
        for measure, sign in (("val_accuracy", "positive"), ("gap", "negative")):
            found = generalisation(table, estimator, measure=measure)
            results = {layer: result for layer, (_, _, result) in found.items() if result}
            p_values = adjusted([result.pvalue for result in results.values()])
            for (layer, result), p in zip(results.items(), p_values, strict=True):
                low, high = result.confidence_interval()
                yield (
                    f"correlation of compression and {MEASURES[measure]}, without L2 "
                    "[p adjusted for the layers]", estimator,
                    layer, f"only that of the last layer, which is {sign}",
                    f"r = {result.statistic:.2f}, 95 % interval {low:.2f} to {high:.2f}, "
                    f"p = {p:.2g}",
                )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A correlation of points relative to the means of their groups.

    Args:
        statistic: r.
        free: the number of points minus the number of groups.
    """

    statistic: float
    free: int

    @property
    def pvalue(self) -> float:
        """The probability of an r at least as far from 0 if there is no correlation."""
        t = self.statistic * math.sqrt((self.free - 1) / max(1e-300, 1 - self.statistic**2))
        return float(2 * stats.t(self.free - 1).sf(abs(t)))

    def confidence_interval(self) -> tuple[float, float]:
        """Return the interval of 95 %, by Fisher's transformation."""
        half = stats.norm.ppf(0.975) / math.sqrt(self.free - 2)
        centre = np.arctanh(np.clip(self.statistic, -1 + 1e-15, 1 - 1e-15))
        return float(np.tanh(centre - half)), float(np.tanh(centre + half))


def generalisation(
    table: pd.DataFrame, estimator: str, *, measure: str = "val_accuracy"
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, Any]]:
    """Correlate each layer's compression with generalisation, for runs without L2.

    For the correlation, the mean over the seeds of an activation is subtracted from both variables,
    so that runs are compared with other runs of the same activation.

    Args:
        table: estimates joined with the logs.
        estimator: name of the estimator, as in the table.
        measure: ``"val_accuracy"``, the held-out accuracy at the end, which the paper correlates;
            or ``"gap"``, the training accuracy minus the held-out accuracy, for which a correlation
            has the opposite sign.

    Returns:
        A dictionary that has, for each layer, the points (``run``, ``group``, ``compression`` in
        nats, and the measure), the points relative to the mean of their group, and the correlation
        of the latter (``None`` if there are too few points, or no variation).

    Raises:
        ArgumentError: If the measure is unknown.
    """
    if measure not in MEASURES:
        raise ArgumentError("`measure` is unknown", f"one of {list(MEASURES)}", repr(measure))
    table = frame.convert(table, "nats")
    falls = frame.compression(table[table["estimator"] == estimator])
    ends = table.sort_values("epoch").groupby("run").last()
    ends["gap"] = ends["accuracy"] - ends["val_accuracy"]
    falls[measure] = falls["run"].map(ends[measure])
    falls["group"] = frame.without_seed(falls["run"])
    falls = falls[~falls["group"].str.contains("+l2", regex=False)]
    by_layer = {}
    for _, part in falls.groupby("layer_index"):
        points = part[["run", "group"]].assign(
            compression=part["absolute"], **{measure: part[measure]}
        )
        pair = ["compression", measure]
        centred = points[pair] - points.groupby("group")[pair].transform("mean")
        free = len(points) - points["group"].nunique()
        result = None
        if free > 2 and (centred.std() > 1e-9).all():
            r = float(np.corrcoef(centred["compression"], centred[measure])[0, 1])
            result = Correlation(r, free)
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
        if not _ACCURACIES <= set(joined):
            continue
        for layer, (points, _, result) in list(generalisation(joined, estimator).items())[-1:]:
            if result is None:
                continue
            low, high = result.confidence_interval()
            gaps[f"generalisation_{name}.png"] = plot.scatter(
                points["compression"], points["val_accuracy"], points["group"],
                xlabel=f"fall of I(X;T) in {layer} [nats]",
                ylabel="held-out accuracy at the end",
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
