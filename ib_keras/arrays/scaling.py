"""Rescaling of samples of extreme magnitude, so that estimators need no special cases.

Mutual information does not change when a column is mapped by an invertible function. Here, powers
of two bring extreme magnitudes near 1, and logarithms shorten tails. Samples of ordinary magnitude
without far values are returned unchanged.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Metric = Literal["chebyshev", "euclidean"]

# Magnitudes between 2^−b and 2^b have squares, and sums of squares, that do not overflow.
_BITS = {np.dtype(np.float32): 40, np.dtype(np.float64): 332}
# The largest ratio of the spreads of two variables that are not rescaled, and the number of bits of
# the factor by which others are.
_ALIKE, _FACTOR_BITS = 1.02, 24
# Largest numbers of rows and values from which the spread of columns is measured.
_ROWS, _VALUES = 4096, 1 << 20
# A few rows set the range of a variable if the other rows span less than the share _NARROW of it. A
# few rows are the share _FEW of the rows that are examined, of which there are at least _FEWEST.
_NARROW, _FEW, _FEWEST = 1 / 30, 0.05, 128
# Values farther from the median than this many median distances are far. For normal values, this
# is about 30 standard deviations.
_FAR = 45.0


def magnitude(samples: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return max|samples|, ``(1, 1)``, or ``(1, d)`` for ``axis=0``, in float64."""
    low, high = (f(axis=axis, keepdims=True) for f in (samples.min, samples.max))
    return np.maximum(np.abs(low), np.abs(high)).astype(np.float64)


def moderate(
    samples: np.ndarray, *, columns: bool = False, dtype: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply samples by a power of two so that sums of squares neither overflow nor vanish.

    Args:
        samples: ``(n, d)`` finite float32 or float64 values.
        columns: whether to also scale each column that is far smaller than the largest one.
        dtype: dtype in which squares will be computed; that of the samples by default.

    Returns:
        The samples times 2^−e, and the exponents e, ``(1, d)``. Samples of ordinary magnitude have
        e = 0 and are not copied.
    """
    bits = _BITS[np.dtype(dtype or samples.dtype)]
    fraction, size = np.frexp(magnitude(samples, axis=0))
    largest = size[fraction > 0].max(initial=-(1 << 20))
    whole = largest if bits < abs(largest) < 1 << 20 else 0
    small = (fraction > 0) & (size < whole - bits)
    exponent = np.where(columns & small, size, whole)
    return times_two(samples, exponent), exponent


def times_two(samples: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Multiply samples by 2^−exponent, which is exact unless the result is too small or large."""
    if not np.any(exponent):
        return samples
    with np.errstate(under="ignore", over="ignore"):
        return np.ldexp(samples, -exponent)


def shorten_tails(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rescale samples to moderate magnitude, and replace far values by their logarithms.

    Each column is mapped by an increasing function f. Within the usual range of the column, f only
    multiplies by a power of two. A value that lies δ beyond the edge of this range is mapped to
    edge ± u·ln(1 + δ/u), where u is the column's median distance from its median. The map changes
    no mutual information, and h(X) = h(f(X)) − E[ln f′(X)].

    Args:
        samples: ``(n, d)`` finite values.

    Returns:
        f(X), ``(n, d)``, and the sum of ln f′ over the columns, ``(n,)``.
    """
    n, d = samples.shape
    # Scale by the largest value now, so that no distance overflows, and by usual values below.
    samples, exponent = moderate(samples)
    log_slope = np.full(n, -math.log(2) * exponent.sum())
    low, high, unit = usual_range(samples[:: stride(n, d)])
    far = (samples.min(axis=0) < low) | (samples.max(axis=0) > high)
    if far.any():
        samples = samples.copy()
    for c in np.flatnonzero(far):
        column = samples[:, c].astype(np.float64)
        edge = np.clip(column, low[c], high[c])
        with np.errstate(divide="ignore"):
            # This is ln(1 + δ/u) without the quotient, which may overflow.
            log = np.logaddexp(0, np.log(np.abs(column - edge)) - math.log(unit[c]))
        samples[:, c] = edge + np.sign(column - edge) * unit[c] * log
        log_slope -= log
    samples, exponent = moderate(samples, columns=True)
    return samples, log_slope - math.log(2) * exponent.sum()


def of_one_spread(
    a: np.ndarray, b: np.ndarray, metric: Metric | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply a variable by a factor, so that the spreads differ by at most 2 %.

    It is the variable with fewer columns, or else the one with the smaller spread. Variables whose
    spreads differ by less are returned unchanged, as the published estimators take them. The factor
    follows the samples continuously: if it jumped, estimates that depend on the ratio of the
    spreads would jump from one epoch to the next, although the samples hardly change. The factor
    has few bits, so that its product with an integer or a float32 number is exact in float64.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        metric: see ``spread``.
    """
    ratio = spread(a, metric) / spread(b, metric)
    kept = min(max(ratio, 1 / _ALIKE), _ALIKE)
    if kept == ratio:
        return a, b
    if (a.shape[1], ratio) < (b.shape[1], 1):
        return _times(a, kept / ratio), b
    return a, _times(b, ratio / kept)


def _times(samples: np.ndarray, factor: float) -> np.ndarray:
    """Multiply samples by a factor that is rounded to 24 bits."""
    fraction, exponent = math.frexp(factor)
    rounded = math.ldexp(round(math.ldexp(fraction, _FACTOR_BITS)), exponent - _FACTOR_BITS)
    return samples * samples.dtype.type(rounded)


def spread(samples: np.ndarray, metric: Metric | None = None) -> float:
    """Return the root mean square deviation of a coordinate, or of a row, over some thousand rows.

    Far values are clipped to the usual range. The spread of constants is 1.

    Args:
        samples: ``(n, d)`` finite values.
        metric: ``None`` for a coordinate; otherwise the distances of the rows from their mean in
            this metric are measured, which grow with the number of columns.
    """
    for some in (samples[:: stride(*samples.shape)], samples):
        low, high, _ = usual_range(some)
        clipped = np.clip(some, low, high)
        variance = float(np.var(clipped, axis=0, dtype=np.float64).mean())
        if variance > 0:
            return math.sqrt(variance * _of_rows(clipped, variance, metric))
        # Columns that vary in a few rows only may be constant in the subsample of the first try.
    return 1.0


def _of_rows(samples: np.ndarray, variance: float, metric: Metric | None) -> float:
    """Return the mean square distance of rows from their mean, divided by that of a coordinate."""
    if metric is None:
        return 1.0
    if metric == "euclidean":
        return float(samples.shape[1])
    away = samples - samples.mean(axis=0, dtype=np.float64)
    return float((np.abs(away).max(axis=1) ** 2).mean()) / variance


def few_rows_set_range(samples: np.ndarray, *, columns: bool = False) -> bool:
    """Return whether one row in twenty makes the range more than 30 times that of the others.

    In small samples, a single row takes the place of one in twenty.

    Args:
        samples: ``(n, d)`` finite values.
        columns: whether to compare the range of each column by itself, and to require this of at
            least half of the columns; by default, the common range of all columns is compared.
    """
    n, d = samples.shape
    low, high = samples.min(axis=0), samples.max(axis=0)
    if not columns:
        low, high = low.min(), high.max()
    # Divided by the largest magnitude, no difference overflows.
    largest = max(abs(float(low.min())), abs(float(high.max())))
    if not largest:
        return False
    some = samples[:: max(1, n // max(_FEWEST, _VALUES // (8 * d)))] / largest
    away = np.abs(some - np.median(some, axis=0 if columns else None))
    away = away if columns else away.max(axis=1, keepdims=True)
    kept = len(some) - max(1, round(_FEW * len(some)))
    if kept < 2:
        return False
    usual = np.partition(away, kept - 1, axis=0)[kept - 1]
    # Twice the distance from the median is the range that the other rows may have.
    narrow = (usual > 0) & (2 * usual < _NARROW * (high / largest - low / largest))
    return bool(np.mean(narrow) >= 0.5)


def stride(n: int, dim: int) -> int:
    """Return the step between the rows from which the spread of columns is measured."""
    return max(1, n // max(1, min(_ROWS, _VALUES // max(1, dim))))


def usual_range(some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the range of each column without its far values, which are at most 5 % of the rows.

    The median distance is the median of the nonzero distances from the column's median, so that
    the many zeros of a sparse column do not make its other values far. A column of equal values
    has no limits, because other rows may differ.

    Args:
        some: rows ``(n, d)``.

    Returns:
        The lowest and highest usual value and the median distance, each ``(d,)``.
    """
    n = len(some)
    centre = np.median(some, axis=0)
    away = np.sort(np.abs(some - centre), axis=0)
    zeros = np.count_nonzero(away == 0, axis=0)
    unit = np.take_along_axis(away, (np.minimum(zeros, n - 1) + n)[None] // 2, axis=0)[0]
    reach = np.maximum(_FAR * unit, away[int(0.95 * (n - 1))])
    reach = np.where(unit > 0, reach, np.inf)
    return centre - reach, centre + reach, unit
