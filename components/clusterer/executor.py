"""Measures how the samples of a store cluster."""

from __future__ import annotations

import os
from typing import Any

from ib_keras import ActivationStore, clustering
from ib_keras.components.artifacts import clusters


def run(
    store: str | os.PathLike,
    output: str | os.PathLike,
    *,
    width: float = 0.0,
    max_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure every layer and epoch of a store; make histograms and points of three epochs.

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
    values = clustering.values(recorded)
    points = clustering.points(recorded, epochs=shown, **subsample)
    clusters.write(output, clusters.Clusters(measures, histograms, values, points), recorded.run)
    return {"run": recorded.run, "measures": len(measures)}
