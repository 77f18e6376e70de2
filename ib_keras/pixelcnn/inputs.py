"""Checks of the inputs of decoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_numbers
from ib_keras.errors import ArgumentError

# Below these values, relative to the mean and absolute, a standard deviation is only the rounding
# of float32.
_RESOLUTION, _LEAST = 1e-6, 1e-35


def as_levels(values: Any, levels: int, name: str = "images") -> Any:
    """Convert values to integers 0…levels−1; symbolic tensors are returned unchanged.

    Raises:
        ArgumentError: If the values are not numeric, outside the range, or not integers.
    """
    import tensorflow as tf  # some estimators use this module without TensorFlow

    if tf.is_tensor(values) and not hasattr(values, "numpy"):
        return values
    array = as_array(values, name)
    if array.dtype.kind not in "iubf":
        raise ArgumentError(f"`{name}` is not numeric", "whole numbers", f"dtype {array.dtype}")
    if array.size == 0:
        return array.astype(np.int32)
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):
        raise ArgumentError(
            f"`{name}` has values between the levels",
            f"whole numbers 0 to {levels - 1}, without scaling or noise",
            f"values from {low} to {high} of dtype {array.dtype}",
        )
    if low < 0 or high > levels - 1:
        raise ArgumentError(
            f"`{name}` does not match levels={levels}",
            f"whole numbers 0 to {levels - 1}",
            f"values from {low} to {high}",
        )
    return array.astype(np.int32)


def as_images(images: Any, image_shape: tuple[int, ...], levels: int) -> np.ndarray:
    """Convert images to int32 ``(n, *image_shape)``.

    Raises:
        ArgumentError: If the shape or the values do not match.
    """
    array = as_array(images, "images")
    if array.ndim != 4 or array.shape[1:] != image_shape or not len(array):
        raise ArgumentError(
            "`images` has the wrong shape",
            f"(n, {', '.join(map(str, image_shape))}) with n >= 1",
            f"shape {array.shape}",
        )
    return np.asarray(as_levels(array, levels))


def as_condition(
    condition: Any, condition_shape: tuple[int, ...] | None, n: int
) -> np.ndarray | None:
    """Convert a condition to float32 ``(n, *condition_shape)``; a single row is repeated.

    Raises:
        ArgumentError: If the condition is missing, is not allowed, has the wrong shape, or is not
            finite.
    """
    if condition_shape is None and condition is None:
        return None
    if condition_shape is None or condition is None:
        received = "None" if condition is None else f"shape {np.shape(condition)}"
        expected = "None" if condition_shape is None else f"shape (n, *{condition_shape})"
        raise ArgumentError("`condition` does not match the model", expected, received)
    array = as_array(condition, "condition")
    if array.shape[1:] != condition_shape or len(array) not in (1, n):
        raise ArgumentError(
            "`condition` has the wrong shape",
            f"({n}, {', '.join(map(str, condition_shape))}), or one row for all",
            f"shape {array.shape}",
        )
    try:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    except (TypeError, ValueError):
        raise ArgumentError(
            "`condition` is not numeric", "real numbers", f"dtype {array.dtype}"
        ) from None
    if not np.isfinite(array).all():
        bad = f"{int((~np.isfinite(array)).sum())} values that are not finite"
        raise ArgumentError("`condition` has NaN or infinite values", "finite numbers", bad)
    return np.broadcast_to(array, (n, *condition_shape))


def statistics(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and standard deviation of each channel; the latter is 1 if it is constant.

    Args:
        h: ``(n, ..., channels)``.
    """
    axes = tuple(range(h.ndim - 1))
    mean = h.mean(axis=axes, dtype=np.float64)
    # Computed in parts, because a copy of the whole condition may not fit in memory.
    squares = [np.square(part - mean).sum(axis=axes) for part in np.array_split(h, len(h))]
    std = np.sqrt(np.sum(squares, axis=0) / (h.size // h.shape[-1]))
    varies = std > np.maximum(_RESOLUTION * np.abs(mean), _LEAST)
    return mean, np.where(varies, std, 1.0)


def condition(t: Any) -> np.ndarray:
    """Convert a layer's outputs to float32 maps ``(n, height, width, channels)`` or ``(n, d)``.

    Args:
        t: the outputs, ``(n, ...)``.

    Raises:
        ArgumentError: If they are not finite numbers.
    """
    with np.errstate(over="ignore"):
        h = as_numbers(t, "t").astype(np.float32, copy=False)
    if not np.isfinite(h).all():
        raise ArgumentError(
            "`t` has NaN or infinite values in float32",
            f"finite numbers, at most {np.finfo(np.float32).max:.3g}",
            f"{int((~np.isfinite(h)).sum())} values that are not finite",
        )
    return h if h.ndim == 4 else h.reshape(len(h), -1)
