"""The study of Darlow & Storkey 2020: compression in a residual network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.frame.table import has_unit
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section


def resnet_decoder(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Darlow & Storkey on residual networks to measurements.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Darlow & Storkey, arXiv:2003.06254.
    """
    rows: list[tuple] = []
    for run, part in frame.convert(table, "nats").groupby("run", sort=False):
        last = part[part["epoch"] == part["epoch"].max()].sort_values("layer_index")
        by_layer = last.set_index(["quantity", "layer"])["value"]
        for quantity, paper in (
            ("I(X;T)", "decreases from early to late stages"),
            ("I(T;Y)", ""),
            ("P(class kept)", "samples given late stages keep the class of the image"),
            ("P(class recognised)", ""),
        ):
            if quantity in by_layer.index.get_level_values(0):
                values = ", ".join(f"{layer} {v:.2f}" for layer, v in by_layer[quantity].items())
                unit = " [nats]" if has_unit(quantity) else ""
                rows.append((f"{quantity} at the last checkpoint{unit}", run, "", paper, values))
        curves = part[part["quantity"] == "H(X|T)"].sort_values("epoch")
        for layer, curve in curves.groupby("layer", sort=False):
            epochs, known = curve["epoch"].to_numpy(), -curve["value"].to_numpy()
            if len(known) < 3:
                continue
            top = int(known.argmax())
            rows.append((
                "−H(X|T): epoch of the maximum, then the change to the end [nats]", run, layer,
                "a peak (h3 of the classifier: at epoch 10 of 200), then compression",
                f"epoch {epochs[top]}; {known[-1] - known[top]:+.2f} until epoch {epochs[-1]}",
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


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
        name: plot.layer_curves(table, quantity=quantity) for name, quantity in CURVES.items()
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
    """Draw all layers of each network at its last checkpoint, and each layer over time."""
    forgets, over = {}, {}
    for run in dict.fromkeys(part["run"] for part in drawn):
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
