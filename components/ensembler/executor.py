"""Trains many small networks at once, and estimates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ib_keras import datasets, ensembles, frame, models
from ib_keras.arrays.checks import check_count
from ib_keras.components.artifacts import examples
from ib_keras.training import schedule


def run(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    estimators: Sequence[Any],
    model: Any = "szt",
    seeds: int = 10,
    epochs: int = 400,
    batch_size: int = 256,
    learning_rate: float = 4e-4,
    record: str = "log",
    seed: int = 0,
) -> dict[str, Any]:
    """Trains networks that differ in their initial weights, and estimates all layers of all.

    Args:
        data: what ``examples`` wrote.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        estimators: names, or JSON with parameters.
        model: what ``ib_keras.models.build`` takes.
        seeds: number of networks.
        epochs: number of epochs.
        batch_size: samples a step.
        learning_rate: Adam's.
        record: which epochs are recorded: ``"log"``, or a JSON step or list.
        seed: the first network's; the others follow.

    Returns:
        Facts about the training, for the artifact's metadata.
    """
    loaded = examples.read(data)
    label = models.label(model)
    table, logs = ensembles.study(
        lambda s: models.build(
            model, input_shape=loaded.input_shape, n_classes=loaded.n_classes, seed=s
        ),
        datasets.Dataset(loaded.split("train"), loaded.split("test")),
        seeds=range(seed, seed + check_count(seeds, "seeds")),
        estimators=list(estimators),
        epochs=epochs,
        record=schedule.parse(record),
        batch_size=batch_size,
        learning_rate=learning_rate,
        label=label,
    )
    frame.write(table, output, logs=logs)
    last = logs[logs["epoch"] == logs["epoch"].max()]
    return {
        "run": label,
        "networks": seeds,
        "accuracy": float(last["accuracy"].mean()),
        "val_accuracy": float(last["val_accuracy"].mean()),
    }
