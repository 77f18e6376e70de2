"""Argument checks, which raise before any computation starts."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np

from ib_keras.errors import ArgumentError


def as_array(values: Any, name: str) -> np.ndarray:
    """Return ``values`` as an array.

    Raises:
        ArgumentError: If the rows differ in length, or ``values`` is not array-like.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"`{name}` is not an array", "rows of equal length", error) from None
    if array.dtype == object and array.ndim == 0:
        if hasattr(values, "toarray"):
            expected = "a dense array: `.toarray()` makes one of a sparse matrix"
        else:
            expected = (
                "an array; convert a tf.data.Dataset with "
                "np.stack(list(dataset.unbatch().as_numpy_iterator()))"
            )
        raise ArgumentError(f"`{name}` is not an array", expected, type(values).__name__)
    return array


def as_numbers(values: Any, name: str) -> np.ndarray:
    """Return ``values`` as an array of float32 or float64, with the same shape.

    Narrower floats become float32; integers and booleans become float64.

    Raises:
        ArgumentError: If ``values`` are not numeric.
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
    """Return ``values`` as an array ``(n, d)`` of float32 or float64.

    Narrower floats become float32; integers and booleans become float64.

    Args:
        values: samples, ``(n, ...)``.
        name: name of the argument in error messages.
        min_samples: smallest number of rows that is accepted.
        finite: whether to raise an error if values are NaN or infinite.

    Raises:
        ArgumentError: If ``values`` are not numeric, have fewer than ``min_samples`` rows, have no
            columns, or, with ``finite``, contain NaN or infinite values.
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
    # min and max propagate NaN, and need no temporary array.
    if finite and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = int((~np.isfinite(array)).sum())
        raise ArgumentError(
            f"`{name}` has NaN or infinite values",
            "finite numbers, without missing values (did the training diverge?)",
            f"{bad} non-finite of {array.size} values",
        )
    return array


def are_ids(dtype: np.dtype) -> bool:
    """Return whether values of this type are likely to be ids of tokens rather than bytes."""
    return dtype.kind in "iu" and dtype.itemsize > 2


def check_seed(value: Any) -> int:
    """Return ``value`` as an int >= 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ArgumentError("`seed` is not a seed", "an integer >= 0", repr(value))
    return int(value)


def check_bool(value: Any, name: str) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"`{name}` is unknown", "True or False", repr(value))
    return value


def check_positive(value: Any, name: str) -> float:
    """Return ``value`` as a positive finite float."""
    if not _is_number(value):
        raise ArgumentError(f"`{name}` is not a number", "a positive number", repr(value))
    if not (np.isfinite(value) and value > 0):
        raise ArgumentError(f"`{name}` is out of range", "a positive finite number", repr(value))
    return float(value)


def check_nonnegative(value: Any, name: str, invalid: str = "is out of range") -> float:
    """Return ``value`` as a finite float >= 0."""
    if not _is_number(value) or not 0 <= value < float("inf"):
        raise ArgumentError(f"`{name}` {invalid}", "a finite number >= 0", repr(value))
    return float(value)


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``."""
    whole = isinstance(value, (int, np.integer)) or (
        isinstance(value, float) and value.is_integer()
    )
    if isinstance(value, bool) or not whole or value < minimum:
        raise ArgumentError(
            f"`{name}` is not a valid count", f"an integer >= {minimum}", repr(value)
        )
    return int(value)


def check_counts(values: Any, name: str) -> tuple[int, ...]:
    """Return ``values`` as a tuple of ints of at least 1."""
    if not isinstance(values, (list, tuple)):
        raise ArgumentError(
            f"`{name}` is not a list of counts", "integers >= 1 in a tuple", repr(values)
        )
    return tuple(check_count(value, name) for value in values)


def check_share(value: Any, name: str) -> float:
    """Return ``value`` as a float between 0 and 1, both excluded."""
    if not _is_number(value) or not 0 < value < 1:
        raise ArgumentError(f"`{name}` is not a share", "0 < value < 1", repr(value))
    return float(value)


def check_rate(value: Any, name: str) -> float:
    """Return ``value`` as a float between 0 (included) and 1 (excluded)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ArgumentError(f"`{name}` is not a rate", "0 <= value < 1", repr(value))
    return float(value)


def check_interval(value: Any, name: str) -> tuple[float, float]:
    """Return ``value`` as two finite floats in ascending order."""
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ArgumentError(
            f"`{name}` is not an interval", "(lo, hi) with finite lo < hi", repr(value)
        )
    return low, high


def check_stddev(value: Any, name: str = "noise_std") -> float:
    """Return a standard deviation as a finite float >= 0."""
    return check_nonnegative(value, name, "is not a standard deviation")


def check_lengths(a: Sized, b: Sized) -> None:
    """Raise if ``a`` and ``b`` have different numbers of rows."""
    if len(a) != len(b):
        raise ArgumentError(
            "`a` and `b` differ in length", "equal numbers of rows", f"{len(a)} and {len(b)}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
