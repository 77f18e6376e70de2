"""Fitting a network to labels or to its own inputs, as a recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.errors import ArgumentError
from ib_keras.training.recipe import Recipe

Pair = tuple[np.ndarray, np.ndarray]
# The largest number of steps in one call: for small networks, the overhead of a call dominates.
_STEPS = 64


def prepared(
    model: keras.Model,
    rows: Sequence[Pair],
    recipe: Recipe,
    optimizer: Any,
    *,
    steps: int,
    loss: str | None = None,
    reconstructs: bool = False,
    regression: bool = False,
) -> list[Pair]:
    """Compile a model, and return the inputs and targets of its training.

    Args:
        model: the network.
        rows: the inputs and labels of the training and of the held-out rows.
        recipe: how the network is trained.
        optimizer: the optimizer.
        steps: the number of steps of an epoch.
        loss: the name of a Keras loss; ``None`` for the cross-entropy of classes, or the mean
            squared error.
        reconstructs: whether the targets are the inputs.
        regression: whether the labels are numbers. They are shifted and scaled to mean 0 and
            standard deviation 1 over the training rows, unless ``loss`` is given.

    Raises:
        ArgumentError: If labels are to be smoothed that are no classes.
    """
    rows, metrics = list(rows), ["accuracy"]
    if reconstructs:
        rows, metrics = [(x, x) for x, _ in rows], []
    elif regression:
        metrics = [keras.metrics.RootMeanSquaredError(name="rmse"), "mae"]
        rows = [(x, y.reshape(len(y), -1)) for x, y in rows]
        if loss is None:
            shift, spread = rows[0][1].mean(axis=0), rows[0][1].std(axis=0)
            rows = [(x, (y - shift) / np.where(spread > 0, spread, 1)) for x, y in rows]
    units, numbers = model.output_shape[-1], reconstructs or regression
    crossentropy = "binary_crossentropy" if units == 1 else "sparse_categorical_crossentropy"
    chosen: Any = loss or ("mse" if numbers else crossentropy)
    if recipe.label_smoothing and not reconstructs:
        if loss or numbers:
            raise ArgumentError(
                "Labels cannot be smoothed", "classes, and a model without a loss of its own",
                f"label_smoothing={recipe.label_smoothing}, {loss or 'numbers'}",
            )  # fmt: skip
        chosen, rows = _smoothed(recipe.label_smoothing, units, rows)
    model.compile(optimizer, chosen, metrics=metrics, steps_per_execution=min(_STEPS, steps))
    return rows


def _smoothed(share: float, units: int, rows: list[Pair]) -> tuple[keras.losses.Loss, list[Pair]]:
    """Return the loss of smoothed labels, and the rows with the labels that it takes."""
    if units == 1:
        return keras.losses.BinaryCrossentropy(label_smoothing=share), rows
    one_hot = np.eye(units, dtype=np.float32)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=share)
    return loss, [(x, one_hot[y]) for x, y in rows]


def batches(train: Pair, recipe: Recipe, batch_size: int, seed: int) -> dict[str, Any]:
    """Return the arguments of ``fit`` for the training rows, which the recipe may augment.

    Args:
        train: the inputs and targets. If they are one array, the targets are augmented, too.
        recipe: how the network is trained.
        batch_size: the number of rows of a batch.
        seed: the seed of the order and of the augmentation.

    Raises:
        ArgumentError: If inputs are to be augmented that are no images.
    """
    x, y = train
    if not recipe.augment:
        return {"x": x, "y": y, "batch_size": batch_size}
    if x.ndim not in (3, 4):
        raise ArgumentError(
            "`augment` does not apply", "images (n, height, width[, channels])", x.shape
        )
    change, grey, reconstructs = recipe.augmented(seed), x.ndim == 3, y is x

    def augmented(images: Any, targets: Any) -> tuple[Any, Any]:
        changed = change(images[..., None] if grey else images)
        changed = changed[..., 0] if grey else changed
        return changed, changed if reconstructs else targets

    data = tf.data.Dataset.from_tensor_slices((x, y[:, :0] if reconstructs else y))
    data = data.shuffle(len(x), seed=seed).batch(batch_size).map(augmented)
    return {"x": data.prefetch(2), "shuffle": False}
