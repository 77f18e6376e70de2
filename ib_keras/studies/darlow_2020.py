"""The study of Darlow & Storkey 2020: compression in a residual network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.frame.table import CHANGES, has_unit
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section, mean_interval


def resnet_decoder(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Darlow & Storkey on residual networks with measurements.

    Runs that differ only in their seeds count as one network: values are then means over seeds,
    with 95 % intervals by Student's distribution. For a single run, the error of a change is that
    of the differences paired by image.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Darlow & Storkey, arXiv:2003.06254.
    """
    rows: list[tuple] = []
    table = frame.convert(table, "nats")
    table = table[np.isfinite(table["value"])]  # without checkpoints that could not be decoded
    groups = table["run"].map(frame.seed_groups(table["run"]))
    for name, part in table.groupby(groups, sort=False):
        last = part[part["epoch"] == part["epoch"].max()].sort_values("layer_index")
        for quantity, paper in (
            ("I(X;T)", "decreases from early to late stages"),
            ("I(T;Y)", ""),
            ("P(class kept)", "samples given late stages keep the class of the image"),
            ("P(class recognised)", ""),
        ):
            own = last[last["quantity"] == quantity]
            if len(own):
                by_layer = own.groupby("layer", sort=False)["value"]
                values = ", ".join(f"{layer} {_over_seeds(v)}" for layer, v in by_layer)
                unit = " [nats]" if has_unit(quantity) else ""
                rows.append((f"{quantity} at the last checkpoint{unit}", name, "", paper, values))
        for layer, curve in part[part["quantity"] == "I(X;T)"].groupby("layer", sort=False):
            if curve["epoch"].nunique() >= 3:
                rows.append((
                    "I(X;T): rise to its largest mean, then the change to the end [nats]",
                    name, layer,
                    "a peak (h3 of the classifier: at epoch 10 of 200), then compression",
                    _rise_and_fall(curve),
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def turn(curve: pd.DataFrame) -> tuple[int, int, int]:
    """Return the first epoch, the epoch of the largest mean over seeds, and the last epoch.

    Args:
        curve: rows of one quantity and layer, of one run or of several seeds.
    """
    means = curve.groupby("epoch")["value"].mean()
    epochs = means.index.to_numpy(int)
    return int(epochs.min()), int(epochs[means.argmax()]), int(epochs.max())


def change(curve: pd.DataFrame, start: int, stop: int) -> tuple[float, float, float]:
    """Return the change of I(X;T) between two epochs, and its 95 % interval.

    For several seeds, the change is the mean over seeds, with an interval by Student's
    distribution. For one seed, the interval is that of the differences paired by image, if the
    table has them; otherwise its ends are NaN.

    Args:
        curve: rows of I(X;T) and one layer, of one run or of several seeds.
        start: the first epoch.
        stop: the last epoch.
    """
    by_run = curve.pivot_table(index="run", columns="epoch", values="value")
    mean, low, high = mean_interval((by_run[stop] - by_run[start]).dropna())
    if len(by_run) == 1 and start != stop:
        details = curve.set_index("epoch").get("details", pd.Series(dtype="str")).get(stop, "")
        known = (json.loads(details) if details else {}).get(CHANGES, {}).get(str(start))
        if known is not None:
            low, high = mean - 1.96 * known[1], mean + 1.96 * known[1]
    return mean, low, high


def _rise_and_fall(curve: pd.DataFrame) -> str:
    first, top, last = turn(curve)
    parts = []
    if top > first:
        parts.append(f"{_with_ends(*change(curve, first, top), '+')} until epoch {top}")
    if last > top:
        parts.append(f"{_with_ends(*change(curve, top, last), '+')} until epoch {last}")
    return ", then ".join(parts)


def _over_seeds(values: pd.Series) -> str:
    return _with_ends(*mean_interval(values))


def _with_ends(mean: float, low: float, high: float, sign: str = "") -> str:
    """Write a mean and the ends of its interval, if it has one."""
    ends = "" if math.isnan(low) else f" ({low:{sign}.2f} to {high:{sign}.2f})"
    return f"{mean:{sign}.2f}{ends}"


CURVES = {
    "inputs.png": "I(X;T)",
    "labels.png": "I(T;Y)",
    "conditional_entropy.png": "H(X|T)",
}


def reported(material: Material) -> Reported:
    """Return the findings, with samples of decoders given each layer, and curves over training."""
    table = material.table
    order = table[["layer", "layer_index"]].drop_duplicates().set_index("layer")["layer_index"]
    drawn = sorted(material.drawn, key=lambda part: (part["run"], order[part["layer"]]))
    findings = resnet_decoder(material.joined)
    curves = {
        name: plot.layer_curves(table, quantity=quantity, over_seeds=True)
        for name, quantity in CURVES.items()
    }
    forgets, over = _pictures(drawn)
    sections = [
        findings_section(findings),
        Section(
            "What each layer forgets",
            "Held-out images, on which no network and no decoder was trained, and samples of "
            "decoders given a layer of the trained network. The samples share with the original "
            "what the layer keeps. All samples of a column are drawn from the same noise.",
            figures=forgets,
        ),
        Section(
            "During training",
            "Samples for the same images and the same noise at each checkpoint. They differ only "
            "through the layer's information about the image, and through the decoder.",
            figures=over,
        ),
        Section(
            "Likelihoods",
            "The negative log-likelihood of held-out images is an upper bound on H(X|T). I(X;T) is "
            "its difference from the negative log-likelihood without a layer, an estimate of the "
            "information that decoders of this kind can use. I(T;Y) is a lower bound.",
            figures=curves,
        ),
    ]
    tables = {"findings.csv": findings, "phases.csv": frame.phases(table)}
    return Reported(tables, {**forgets, **over, **curves}, sections, single_runs=False)


def _pictures(drawn: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw all layers of each network at its last checkpoint, and each layer over time.

    If networks differ only in their seeds, only the first is drawn.
    """
    forgets, over = {}, {}
    groups = frame.seed_groups(part["run"] for part in drawn)
    for run in pd.Series(groups, dtype="str").drop_duplicates().index:
        layers: dict[str, dict[int, np.ndarray]] = {}
        own = [part for part in drawn if part["run"] == run]
        for part in own:
            epochs = layers.setdefault(part["layer"], {})
            epochs |= zip(part["epochs"].tolist(), part["samples"], strict=True)
        # Layers whose decoders all failed are left out.
        layers = {layer: epochs for layer, epochs in layers.items() if epochs}
        if not layers:
            continue
        shared = {"originals": own[0]["originals"], "levels": int(own[0]["levels"])}
        last = {layer: epochs[max(epochs)] for layer, epochs in layers.items()}
        at = max(max(epochs) for epochs in layers.values())
        forgets[f"forgets_{_file(run)}.png"] = plot.conditional_samples(
            samples=last, title=f"{run}, epoch {at}", **shared
        )
        for layer, epochs in layers.items():
            over[f"samples_{_file(run)}_{_file(layer)}.png"] = plot.conditional_samples(
                samples={f"epoch {e}": epochs[e] for e in sorted(epochs)},
                title=f"{run}, {layer}",
                **shared,
            )
    return forgets, over


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
