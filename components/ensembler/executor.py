"""Trains many small networks side by side, and estimates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ib_keras import datasets, ensembles, frame, models
from ib_keras.arrays.checks import check_count
from ib_keras.components.artifacts import examples
from ib_keras.errors import ArgumentError
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
    """Train networks that differ in their initial weights, and estimate for all their layers.

    Arguments that are not listed here are those of the component ``ensembler``.

    Args:
        data: the folder that ``examples`` wrote.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        model: any identifier that ``ib_keras.models.build`` accepts.

    Returns:
        Facts about the training, for the artifact's metadata.

    Raises:
        ArgumentError: If an argument is invalid, or the labels are not classes.
    """
    check_model(model)
    loaded = examples.read(data)
    names = loaded.classes("an ensemble")
    label = models.label(model)
    table, logs = ensembles.study(
        lambda s: models.build(model, input_shape=loaded.input_shape, n_classes=len(names), seed=s),
        datasets.Dataset(loaded.split("train"), loaded.split("test"), names),
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
    accuracies = {key: float(last[key].mean()) for key in ("accuracy", "val_accuracy")}
    return {"run": label, "networks": seeds, **accuracies}


def check_model(model: Any) -> None:
    """Check that a model is to be trained.

    Raises:
        ArgumentError: If it has the checkpoints of an earlier training.
    """
    if models.checkpoints(model):
        raise ArgumentError(
            "An ensemble is trained here, and has no checkpoints",
            'a model without "checkpoints"; other pipelines measure earlier trainings',
            model,
        )
