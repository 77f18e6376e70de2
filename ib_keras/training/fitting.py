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
Loss = str | dict[str, Any] | None
# The largest number of steps in one call: for small networks, the overhead of a call dominates.
_STEPS = 64
# The number of rows whose outputs show whether they are probabilities, and their rounding.
_TRIED, _ROUNDING = 256, 0.02


def check(
    recipe: Recipe,
    input_shape: tuple[int, ...],
    *,
    loss: Loss = None,
    reconstructs: bool = False,
    regression: bool = False,
) -> None:
    """Check that a recipe applies to the data and the loss.

    Args:
        recipe: how the network is trained.
        input_shape: the shape of an input.
        loss: see ``prepared``.
        reconstructs: see ``prepared``.
        regression: see ``prepared``.

    Raises:
        ArgumentError: If labels are to be smoothed that are numbers or have a loss of their own,
            inputs are to be augmented that are no images, or a layer changes their shape.
    """
    if recipe.label_smoothing and (loss or regression) and not reconstructs:
        raise ArgumentError(
            "Labels cannot be smoothed", "classes, and a model without a loss of its own",
            f"label_smoothing={recipe.label_smoothing}, {loss or 'numbers'}",
        )  # fmt: skip
    if recipe.augment and len(input_shape) not in (2, 3):
        raise ArgumentError(
            "`augment` does not apply", "images (n, height, width[, channels])", input_shape
        )
    images = np.zeros((2, *input_shape[:2], *(input_shape[2:] or (1,))), np.float32)
    for layer, given in zip(recipe.layers(0), recipe.augment, strict=True):
        try:
            changed = tuple(layer(images, training=True).shape)
        except Exception as error:  # layers check their inputs in many ways
            raise ArgumentError(
                "A layer of `augment` does not apply", f"a layer for images {input_shape}",
                f"{given!r}: {error}",
            ) from None  # fmt: skip
        if changed != images.shape:
            raise ArgumentError(
                "A layer of `augment` changes the size of the images", f"images {input_shape}",
                f"{given!r}: {changed[1:]}",
            )  # fmt: skip


def prepared(
    model: keras.Model,
    rows: Sequence[Pair],
    recipe: Recipe,
    optimizer: Any,
    *,
    steps: int,
    loss: Loss = None,
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
        loss: the name of a Keras loss, or its configuration; ``None`` for the cross-entropy of
            classes, whose outputs may be probabilities or logits, or the mean squared error.
        reconstructs: whether the targets are the inputs.
        regression: whether the labels are numbers. They are shifted and scaled to mean 0 and
            standard deviation 1 over the training rows, unless ``loss`` is given.

    Raises:
        ArgumentError: If the recipe does not apply; see ``check``.
    """
    check(recipe, rows[0][0].shape[1:], loss=loss, reconstructs=reconstructs, regression=regression)
    rows, metrics = list(rows), []
    chosen: Any = keras.losses.get(loss or "mse")
    if reconstructs:
        rows = [(x, x) for x, _ in rows]
    elif regression:
        metrics = [keras.metrics.RootMeanSquaredError(name="rmse"), "mae"]
        rows = [(x, y.reshape(len(y), -1)) for x, y in rows]
        if loss is None:
            shift, spread = rows[0][1].mean(axis=0), rows[0][1].std(axis=0)
            rows = [(x, (y - shift) / np.where(spread > 0, spread, 1)) for x, y in rows]
    else:
        chosen, metrics, rows = _for_classes(model, rows, loss, recipe.label_smoothing)
    model.compile(
        optimizer=optimizer,
        loss=chosen,
        metrics=metrics,
        steps_per_execution=min(_STEPS, steps),
    )
    return rows


def _for_classes(
    model: keras.Model, rows: list[Pair], loss: Loss, smoothing: float
) -> tuple[Any, list[Any], list[Pair]]:
    """Return the loss of labels, the metrics, and the rows with the labels that the loss takes."""
    units = model.output_shape[-1]
    logits = loss is None and _are_logits(model, rows[0][0])
    metric: Any = "accuracy"
    if loss is not None:
        chosen = keras.losses.get(loss)
    elif units == 1:
        chosen = keras.losses.BinaryCrossentropy(logits, label_smoothing=smoothing)
        metric = keras.metrics.BinaryAccuracy(metric, threshold=0.0 if logits else 0.5)
    elif smoothing:
        chosen = keras.losses.CategoricalCrossentropy(logits, label_smoothing=smoothing)
    else:
        chosen = keras.losses.SparseCategoricalCrossentropy(logits)
    named = getattr(chosen, "__name__", type(chosen).__name__).lower()
    if units > 1 and not named.startswith("sparse"):
        one_hot = np.eye(units, dtype=np.float32)
        rows = [(x, one_hot[y]) for x, y in rows]
    return chosen, [metric], rows


def _are_logits(model: keras.Model, inputs: np.ndarray) -> bool:
    """Return whether the outputs for classes are logits, because they are no probabilities."""
    plain = getattr(model, "model", model)  # without noise
    last = plain.layers[-1]
    known = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in known:
        return False
    out = np.asarray(plain(np.asarray(inputs[:_TRIED], np.float32), training=False), np.float64)
    sums = out.sum(axis=-1) if out.shape[-1] > 1 else np.clip(out, 0, 1) - out + 1
    return bool((out < -_ROUNDING).any() or (np.abs(sums - 1) > _ROUNDING).any())


def _range(images: np.ndarray) -> tuple[float, float]:
    """Return the range of values that images of this type may have."""
    low, high = float(images.min()), float(images.max())
    usual = ((0.0, 1.0), (0.0, 255.0))
    return next(((a, b) for a, b in usual if a <= low and high <= b), (low, high))


def batches(train: Pair, recipe: Recipe, batch_size: int, seed: int) -> dict[str, Any]:
    """Return the arguments of ``fit`` for the training rows, which the recipe may augment.

    Args:
        train: the inputs and targets. If they are one array, the targets are augmented, too.
        recipe: how the network is trained.
        batch_size: the number of rows of a batch.
        seed: the seed of the order and of the augmentation.
    """
    x, y = train
    if not recipe.augment:
        return {"x": x, "y": y, "batch_size": batch_size}
    change, grey, reconstructs = recipe.augmented(seed, _range(x)), x.ndim == 3, y is x

    def augmented(images: Any, targets: Any) -> tuple[Any, Any]:
        changed = change(images[..., None] if grey else images)
        changed = changed[..., 0] if grey else changed
        return changed, changed if reconstructs else targets

    data = tf.data.Dataset.from_tensor_slices((x, y[:, :0] if reconstructs else y))
    data = data.shuffle(len(x), seed=seed).batch(batch_size).map(augmented)
    return {"x": data.prefetch(2), "shuffle": False}
