"""Samples brought to a scale on which squares and sums of them are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


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
