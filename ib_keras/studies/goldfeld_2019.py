"""The study of Goldfeld et al. 2019: information and clustering in noisy networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.errors import ArgumentError
from ib_keras.report import Section
from ib_keras.studies import goldfeld_mnist
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section, plane

_NOISY, _DETERMINISTIC = "noisy", "deterministic"
# The smallest change between two epochs that ends a plateau, in nats.
_STEP = 0.02


def noisy_dnn(table: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Goldfeld et al. on noisy networks with measurements.

    Twins are runs whose names are equal except for "noisy" and "deterministic". Regularised
    networks are runs with "-orthonormal" in their names.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.
        measures: the result of ``clustering.measures``.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, sections 4 to 6.
    """
    table = frame.convert(table, "nats")
    propagated = _propagated(table[table["quantity"] == "I(X;T)"])
    # Runs that differ in their seeds are averaged.
    runs = measures["run"].map(frame.seed_groups(measures["run"]))
    keys = ["run", "layer_index", "layer", "epoch", "measure"]
    measures = measures.assign(run=runs).groupby(keys)["value"].mean().reset_index()
    rows = [
        *_twins(table),
        *_curves(propagated),
        *_regularised(propagated),
        *_binned(propagated, measures),
        *goldfeld_mnist.findings(table),
        *_gathering(measures),
        *_flagged(table),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _propagated(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds of the sample propagation that has the most values."""
    own = table[table["estimator"].str.startswith("sp") & table["value"].notna()]
    if not len(own):
        return own
    most = own["estimator"].value_counts().index[0]
    return frame.over_seeds(own[own["estimator"] == most])


def levels(table: pd.DataFrame) -> dict[str, float]:
    """Return the values that I(X;T) can have for four equally likely inputs, some of them merged.

    Args:
        table: estimates.

    Returns:
        The values by label, in nats; empty if the maximum of I(X;T) is not ln 4.
    """
    highest = float(table.loc[table["quantity"] == "I(X;T)", "value"].max()) if len(table) else 0.0
    if not abs(highest - math.log(4)) < 0.05:
        return {}
    values = {f"ln {k}": math.log(k) for k in (4, 3, 2)}
    for label, shares in (("H(½,¼,¼)", (2, 1, 1)), ("H(¾,¼)", (3, 1))):
        values[label] = -sum(k / 4 * math.log(k / 4) for k in shares)
    return values


def _last(part: pd.DataFrame) -> pd.Series:
    return part.sort_values("epoch").iloc[-1]


def _twins(table: pd.DataFrame) -> Iterator[tuple]:
    for run in sorted(table["run"].unique()):
        twin = run.replace(_NOISY, _DETERMINISTIC)
        if twin == run or twin not in set(table["run"]):
            continue
        for metric in ("accuracy", "val_accuracy"):
            if metric in table:
                own, other = (_last(table[table["run"] == r])[metric] for r in (run, twin))
                yield (
                    f"{metric} at the end, noisy / deterministic", run, "",
                    "the noisy network tracks its deterministic twin",
                    f"{own:.3f} / {other:.3f}",
                )  # fmt: skip


def _curves(propagated: pd.DataFrame) -> Iterator[tuple]:
    for (run, layer), curve in _layers(propagated):
        top, end = curve.sort_values("value").iloc[-1], _last(curve)
        fall = top["value"] - end["value"]
        yield (
            "I(X;T): its maximum, then its end [nats]", run, layer,
            "rises, then falls when samples cluster",
            f"{top['value']:.2f} (epoch {top['epoch']}) → {end['value']:.2f} ± "
            f"{end['stderr']:.2f}: falls by {fall:.2f}",
        )  # fmt: skip
        if levels(curve):
            values = curve.sort_values("epoch")["value"].to_numpy()
            yield (
                "plateaus of I(X;T) [nats]", run, layer,
                "ln 4 = 1.39, ln 3 = 1.10, ln 2 = 0.69, as points merge in saturation",
                ", ".join(f"{value:.2f}" for value in _plateaus(values))
                + "; with two of four points merged 1.04, with three 0.56",
            )  # fmt: skip


def _plateaus(values: np.ndarray) -> list[float]:
    """Return the levels at which a curve stays for at least three recorded epochs."""
    parts = np.split(values, np.flatnonzero(np.abs(np.diff(values)) > _STEP) + 1)
    return [float(np.median(part)) for part in parts if len(part) >= 3]


def _regularised(propagated: pd.DataFrame) -> Iterator[tuple]:
    runs = set(propagated["run"])
    for run in sorted(runs):
        plain = run.replace("-orthonormal", "")
        if plain == run or plain not in runs:
            continue
        falls = []
        for name in (run, plain):
            own = propagated[propagated["run"] == name]
            curve = own[own["layer_index"] == own["layer_index"].max()]
            falls.append(curve["value"].max() - _last(curve)["value"])
        yield (
            "fall of I(X;T), orthonormal weights / plain [nats]", run, curve["layer"].iloc[0],
            "less compression with orthonormal weights", f"{falls[0]:.2f} / {falls[1]:.2f}",
        )  # fmt: skip


def _binned(propagated: pd.DataFrame, measures: pd.DataFrame) -> Iterator[tuple]:
    bins = measures[measures["measure"] == "H(Bin(T))"]
    for (run, layer), curve in _layers(propagated):
        both = curve.merge(bins, on=["run", "epoch", "layer"], suffixes=("", "_bins"))
        if len(both) > 2 and np.ptp(both["value"]) > 0.1 and np.ptp(both["value_bins"]) > 0.1:
            r = np.corrcoef(both["value"], both["value_bins"])[0, 1]
            yield (
                "correlation of I(X;T) and H(Bin(T)) over training", run, layer,
                "the binned entropy moves with I(X;T): it measures clustering", f"{r:.2f}",
            )  # fmt: skip


def _gathering(measures: pd.DataFrame) -> Iterator[tuple]:
    wide = measures.pivot_table(
        index=["run", "layer_index", "layer", "epoch"], columns="measure", values="value"
    ).reset_index()
    names = ("mean cosine within", "mean cosine between")
    if not set(names) <= set(wide):
        return
    for run, whole in wide.groupby("run"):
        # The first layer and the last before the output.
        order = sorted(whole["layer_index"].unique())
        for index in dict.fromkeys((order[0], order[max(0, len(order) - 2)])):
            part = whole[whole["layer_index"] == index].sort_values("epoch")
            first, last = part.iloc[0], part.iloc[-1]
            yield (
                "mean cosine similarity within / between classes, first → last epoch",
                run, last["layer"],
                "classes contract and separate, most in the deepest layers",
                f"{first[names[0]]:.2f} / {first[names[1]]:.2f} → "
                f"{last[names[0]]:.2f} / {last[names[1]]:.2f}",
            )  # fmt: skip


def _flagged(table: pd.DataFrame) -> Iterator[tuple]:
    for run, part in table[table["run"].str.contains(_DETERMINISTIC)].groupby("run"):
        known = part[part["value"].notna()]
        if not len(known):
            continue
        share = known["flags"].str.contains("measurement").mean()
        yield (
            "rows of the deterministic twin that are flagged measurement_bins or _noise", run, "",
            "its I(X;T) is ln n, whatever the network learns; binning shows clustering",
            f"{share:.0%}",
        )  # fmt: skip


def _layers(propagated: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for (run, _), part in propagated.groupby(["run", "layer_index"]):
        yield (str(run), part["layer"].iloc[0]), part


def reported(material: Material) -> Reported:
    """Return the findings, with curves of sample propagation and histograms of distances.

    Raises:
        ArgumentError: If the material has no clustering measures.
    """
    measures, histograms, table = material.measures, material.histograms, material.table
    if measures is None or histograms is None:
        raise ArgumentError(
            "There are no measures of how samples cluster", "`clusters` from `clusterer`", "none"
        )
    findings = noisy_dnn(material.joined, measures)
    noisy = _propagated(table)
    figures: dict[str, Any] = plane(table)
    sections = [findings_section(findings)]
    if len(noisy):
        curves = plot.layer_curves(noisy, levels=levels(noisy))
        figures["sample_propagation.png"] = curves
        sections.append(
            Section(
                "Sample propagation",
                "I(X;T) of the layers of noisy networks, with a band of one standard error, or of "
                "one standard deviation over networks that differ in their seeds.",
                figures={"I(X;T) against the epoch": curves},
            )
        )
    # One run of those that differ in their seeds.
    groups = frame.seed_groups(histograms["run"])
    by_seed = sorted(groups.items(), key=lambda item: (len(item[0]), item[0]), reverse=True)
    first = {group: name for name, group in by_seed}
    clusters = {
        f"clusters_{name}.png": plot.clusters(histograms, run=name)
        for name in sorted(first.values())
    }
    sections.append(
        Section(
            "Clustering",
            "Distances between the representations of samples at the first, a middle and the last "
            "recorded epoch. Samples come closer together during compression.",
            figures=clusters,
        )
    )
    tables = {
        "findings.csv": findings,
        "clusters.parquet": measures,
        "histograms.parquet": histograms,
    }
    if material.values is not None and len(material.values):
        tables["values.parquet"] = material.values
        saturation = {
            f"values_{name}.png": plot.activation_values(material.values, run=name)
            for name in sorted(first.values())
        }
        clusters |= saturation
        sections.append(
            Section(
                "Values of the layers",
                "Densities of all values of a layer, on a logarithmic scale of colours. Units that "
                "saturate gather at the ends.",
                figures=saturation,
            )
        )
    if material.points is not None and len(material.points):
        tables["points.parquet"] = material.points
        names = sorted(set(first.values()) & set(material.points["run"]))
        scatters = {
            f"points_{name}.png": plot.points_by_class(material.points, run=name) for name in names
        }
        clusters |= scatters
        sections.append(
            Section(
                "Samples of the last small layer",
                "Each point is a sample, coloured by its class. Classes gather in separate places.",
                figures=scatters,
            )
        )
    return Reported(tables, {**figures, **clusters}, sections)
