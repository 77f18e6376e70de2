"""Reports what decoders say of layers."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from ib_keras import frame, plot, report, studies
from ib_keras.components.artifacts import samples
from ib_keras.components.reporter import executor as reporter
from ib_keras.storage import atomic

FINDINGS, PHASES = "findings.csv", "phases.csv"
CURVES = {
    "inputs.png": "I(X;T)",
    "labels.png": "I(T;Y)",
    "conditional_entropy.png": "H(X|T)",
}


def run(
    estimates: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "What a residual network keeps",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges what decoders said, with curves over training and pictures of what was drawn.

    Args:
        estimates: folders that ``decoder`` wrote.
        output: the folder to write.
        title: of the page.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.
    """
    joined, table, logs = reporter.merge(estimates)
    order = table[["layer", "layer_index"]].drop_duplicates().set_index("layer")["layer_index"]
    drawn = sorted(
        (samples.read(path) for path in estimates), key=lambda d: (d["run"], order[d["layer"]])
    )
    findings = studies.resnet_decoder(joined)
    curves = {
        name: plot.layer_curves(table, quantity=quantity) for name, quantity in CURVES.items()
    }
    forgets, over = _pictures(drawn)
    sections = [
        report.Section("What the paper reports, and what was measured", table=findings),
        report.Section(
            "What each layer forgets",
            "Images that no network and no decoder was trained on, and what decoders draw given a "
            "layer of the trained network: what the draws have in common with the original is what "
            "the layer kept. All draws of a column come from the same noise.",
            figures=forgets,
        ),
        report.Section(
            "Over training",
            "The same images and the same noise at each checkpoint: pictures differ only for "
            "what the layer tells of the image, and for the decoder.",
            figures=over,
        ),
        report.Section(
            "Likelihoods",
            "H(X|T) is bounded above by the likelihood of held-out images: that is the bound. "
            "I(X;T) is its distance from the likelihood without a layer, an estimate of the "
            "information that such decoders can use; I(T;Y) is a lower bound.",
            figures=curves,
        ),
    ]

    def fill(folder: pathlib.Path) -> None:
        frame.write(table, folder, logs=logs)
        findings.to_csv(folder / FINDINGS, index=False)
        frame.phases(table).to_csv(folder / PHASES, index=False)
        for name, figure in {**forgets, **over, **curves}.items():
            figure.savefig(folder / name, dpi=120)
        report.write(
            table, folder / reporter.PAGE, title=title, sections=sections, single_runs=False
        )  # fmt: skip

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / reporter.PAGE, page)
    return {"rows": len(table), "findings": len(findings)}


def _pictures(drawn: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each network, all layers at its last checkpoint; for each layer, all checkpoints."""
    forgets, over = {}, {}
    for run in dict.fromkeys(part["run"] for part in drawn):
        layers: dict[str, dict[int, np.ndarray]] = {}
        own = [part for part in drawn if part["run"] == run]
        for part in own:
            epochs = layers.setdefault(part["layer"], {})
            epochs |= zip(part["epochs"].tolist(), part["samples"], strict=True)
        # A layer whose decoders all failed has nothing to show.
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
