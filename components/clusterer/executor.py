"""Measures how the samples of a store cluster."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from ib_keras import ActivationStore, clustering
from ib_keras.components.artifacts.clusters import HISTOGRAMS, MEASURES, SCHEMA, VERSION
from ib_keras.storage import atomic, manifests


def run(
    store: str | os.PathLike,
    output: str | os.PathLike,
    *,
    width: float = 0.0,
    max_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure every layer and epoch of a store; make histograms of three epochs.

    Arguments that are not listed here are those of the component ``clusterer``.

    Args:
        store: the activation store that ``capturer`` wrote.
        output: the folder to write.

    Returns:
        Facts about the measures, for the artifact's metadata.
    """
    recorded = ActivationStore(store)
    epochs = recorded.epochs
    shown = sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]})
    subsample: dict[str, Any] = {"max_samples": max_samples, "seed": seed}
    measures = clustering.measures(recorded, width=width or None, **subsample)
    histograms = clustering.histograms(recorded, epochs=shown, **subsample)

    def fill(folder: pathlib.Path) -> None:
        measures.to_parquet(folder / MEASURES, index=False)
        histograms.to_parquet(folder / HISTOGRAMS, index=False)
        manifests.write_manifest(
            folder, SCHEMA, VERSION, run=recorded.run, epochs=epochs,
            files=manifests.checksums(folder),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(output), fill)
    return {"run": recorded.run, "measures": len(measures)}
