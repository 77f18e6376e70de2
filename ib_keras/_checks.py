"""Argument checks shared by everything that takes arrays: they fail before any work starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ib_keras._labels import as_labels as as_labels
from ib_keras.errors import ArgumentError


def as_array(values: Any, name: str) -> np.ndarray:
    """``values`` as an array.

    Raises:
        ArgumentError: the rows differ in length, or it is an object of another kind.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"`{name}` is no array", "rows of equal length", error) from None
    if array.dtype == object and array.ndim == 0:
        raise ArgumentError(
            f"`{name}` is no array",
            "an array; the elements of a tf.data.Dataset are made one by "
            "np.stack(list(dataset.unbatch().as_numpy_iterator()))",
            type(values).__name__,
        )
    return array


def as_numbers(values: Any, name: str) -> np.ndarray:
    """``values`` as an array of float32 or float64, in its shape.

    float32 and float64 are kept, narrower floats become float32, integers float64.

    Raises:
        ArgumentError: they are not numeric.
    """
    array = as_array(values, name)
    if array.dtype in (np.float32, np.float64):
        return array
    # bfloat16 and the float8 types of ml_dtypes have kind "V" or "f" and no NumPy reductions.
    narrow = array.dtype.itemsize <= 2 and array.dtype.kind in "fV" and array.dtype.names is None
    try:
        if narrow or array.dtype.kind in "fiub":
            return array.astype(np.float32 if narrow else np.float64)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(f"`{name}` is not numeric", "real numbers", f"dtype {array.dtype}")


def as_samples(
    values: Any, name: str = "t", *, min_samples: int = 2, finite: bool = True
) -> np.ndarray:
    """``values`` as a finite ``(n, d)`` array of float32 or float64.

    float32 and float64 are kept, narrower floats become float32, integers float64.

    Args:
        values: the samples.
        name: of the argument, for errors.
        min_samples: the least number of rows.
        finite: whether NaN and infinite values are refused.

    Raises:
        ArgumentError: not numeric, fewer than ``min_samples`` rows, no columns, NaN or infinite.
    """
    array = as_array(values, name)
    if array.ndim == 0 or len(array) < min_samples:
        raise ArgumentError(
            f"`{name}` has too few samples",
            f"an array (n, ...) with n >= {min_samples}",
            f"shape {array.shape}",
        )
    array = as_numbers(array, name)
    array = array.reshape(len(array), -1)
    if array.shape[1] == 0:
        raise ArgumentError(f"`{name}` has no features", "d >= 1", f"shape {np.shape(values)}")
    # min and max propagate NaN, and need no temporary of the array's size.
    if finite and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = int((~np.isfinite(array)).sum())
        raise ArgumentError(
            f"`{name}` has NaN or infinite values",
            "finite numbers (did the training diverge?)",
            f"{bad} non-finite of {array.size} values",
        )
    return array


def moderate(samples: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, Any]:
    """Samples times a power of two, so that squares and sums of them are numbers.

    Args:
        samples: ``(n, d)`` finite float32 or float64.
        axis: 0 for each column by itself.

    Returns:
        The samples, and e such that they are the given ones times 2^−e: an int, or with ``axis``
        ``(1, d)`` ints. Between 1e-100 and 1e100 (of float32, 1e-12 and 1e12) e is 0, and the
        samples are what was given.
    """
    limit = 1e12 if samples.dtype == np.float32 else 1e100
    exponent = power_of_two(magnitude(samples, axis), limit)
    return times_two(samples, exponent), exponent if axis == 0 else int(exponent.max())


def magnitude(samples: np.ndarray, axis: int | None = None) -> np.ndarray:
    """max|samples|, ``(1, 1)``, or ``(1, d)`` for ``axis=0``, in float64."""
    low, high = (f(axis=axis, keepdims=True) for f in (samples.min, samples.max))
    return np.maximum(np.abs(low), np.abs(high)).astype(np.float64)


def power_of_two(largest: np.ndarray, limit: float = 1e100) -> np.ndarray:
    """e of 2^e just above a magnitude too large or too small to be squared; 0 for any other."""
    extreme = (largest > limit) | ((largest > 0) & (largest < 1 / limit))
    return np.where(extreme, np.frexp(largest)[1], 0)


def times_two(samples: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """``samples`` times 2^−exponent: exact, but for what becomes too small to be a number."""
    if not np.any(exponent):
        return samples
    half = -exponent // 2  # 2^−exponent itself may be no number
    with np.errstate(under="ignore"):
        return np.ldexp(np.ldexp(samples.astype(np.float64), half), -exponent - half)


def check_seed(value: Any) -> int:
    """``value`` as an int >= 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ArgumentError("`seed` is no seed", "an integer >= 0, or None", repr(value))
    return int(value)


def check_positive(value: Any, name: str) -> float:
    """``value`` as a positive finite float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ArgumentError(f"`{name}` is not a number", "a positive number", repr(value))
    if not (np.isfinite(value) and value > 0):
        raise ArgumentError(f"`{name}` is out of range", "a positive finite number", repr(value))
    return float(value)


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """``value`` as an int of at least ``minimum``."""
    whole = isinstance(value, (int, np.integer)) or (
        isinstance(value, float) and value.is_integer()
    )
    if isinstance(value, bool) or not whole or value < minimum:
        raise ArgumentError(f"`{name}` is no valid count", f"an integer >= {minimum}", repr(value))
    return int(value)
