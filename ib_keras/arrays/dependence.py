"""A test of whether the rows of two variables depend on the preceding rows, as in a time series.

Estimates of I(A;B) assume independent pairs. If only the rows of one variable depend on each other,
a permutation of the other is still a valid comparison. If the rows of both variables do, as in two
slow series, rows that are near in time are near in both spaces, and the estimate is too high.

Rows that were sorted by a label or by a value depend on their order too, but they are exchangeable:
the estimate does not use the order, so sorting does not change it and must not raise an alarm. The
test therefore looks only at the order within a few rows, which remains random after sorting.

*Triples.* Consider the distances between the values of a column in three consecutive rows. If the
rows are exchangeable, each of the three pairs is the most distant one with probability 1/3, for any
distribution and any distance. If the series moves gradually, the first and the third row are more
often the most distant pair; in a random walk, with probability 1/2. Pairs at equal distances share
the count, and triples with three equal distances are left out. Each jump between sorted classes
affects only two triples. Without equal distances, this is the test of turning points (Bienaymé).

*Runs.* A column of repeated values is called slow if equal values follow each other more often than
in a random order (Wald and Wolfowitz). Sorted classes are slow, and so are the states of a slow
process. Therefore the triples of one variable are taken from within the runs of the other: in
sorted data, the rows within a class are in random order, and in a time series they are not. Runs
that have fewer than ten rows on average are too short for this; the triples are then taken from all
rows.

*Order.* If the rows are sorted by a column, or by several columns in turn as the points of a grid
are, the triples are taken from within the runs of rows that are equal in these columns.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from ib_keras.arrays.rows import TILE, slices

# Probability of a false alarm for independent rows, for each variable.
_LEVEL = 2e-4
# Smallest deviation from 1/3 that matters: that of an autoregressive series with φ = 0.15.
_EXCESS = 0.025
# Fewest rows, fewest triples, and shortest mean run within which triples are compared.
_MIN_ROWS, _MIN_TRIPLES, _MIN_RUN = 30, 30, 10.0
# Largest number of columns that are tested, and of classes whose autocorrelation is measured.
_COLUMNS, _CLASSES = 32, 16
# The decorrelation length is the lag at which autocorrelations fall below this value.
_CORRELATED = math.exp(-1)


def serial_dependence(a: np.ndarray, b: np.ndarray) -> int:
    """Return the decorrelation length of the rows, or 0 if the variables are not both dependent.

    If the pairs of rows are independent, the probability of a false alarm is at most 0.1 %, whether
    or not the rows were sorted by a column, by a class, or by a value that varies little from row
    to row. Dependence is not noticed if

    * the rows are sorted by a column, such as a clock, because they may have been sorted by it;
    * the series are so noisy, or so sparsely sampled, that three consecutive rows look random, such
      as a slow series with white noise of the same size;
    * there are fewer than 30 rows, or fewer than 30 triples of rows that differ.

    False alarms are more frequent if the rows were sorted by classes of fewer than twenty rows, or
    by a value that nearly determines the columns.

    Args:
        a: samples of A, ``(n, d)``, or classes, ``(n,)`` integers.
        b: samples of B, in the same forms.

    Returns:
        The decorrelation length in rows, at least 1 and at most n/4: the first lag at which the
        autocorrelations of all columns that depend on their order, measured on normal scores, are
        below 1/e. It is 0 unless a dependence is noticed in both variables.
    """
    n = len(a)
    if n < _MIN_ROWS or not (a.size and b.size):
        return 0
    columns = [_columns(v) for v in (a, b)]
    cut = np.zeros(n, bool)  # whether a row begins a new run
    for values in (a, b):
        cut |= _key(values.reshape(n, -1))
    cuts, slow = zip(*(_slow(v) for v in columns), strict=True)
    gradual = [_gradual(v, cut | other) for v, other in zip(columns, reversed(cuts), strict=True)]
    either = [g.any() or s.any() for g, s in zip(gradual, slow, strict=True)]
    if not all(either) or not (gradual[0].any() or gradual[1].any()):
        return 0
    longest = 1
    for values, v, moved, slowly in zip((a, b), columns, gradual, slow, strict=True):
        series = _indicators(values) if values.ndim == 1 else v[:, moved | slowly]
        longest = max(longest, _length(series))
    return min(longest, n // 4)


def _columns(values: np.ndarray) -> np.ndarray:
    """Return the columns to test, ``(n, c)``.

    These are all columns or, if there are more than 32, a random half of 32 and as many random sums
    of all columns.
    """
    if values.ndim == 1:
        return values[:, None]
    n, d = values.shape
    if d <= _COLUMNS:
        return values.astype(np.float64)
    rng = np.random.default_rng(0)
    some = values[:, np.sort(rng.choice(d, _COLUMNS // 2, replace=False))].astype(np.float64)
    with np.errstate(over="ignore"):
        scale = values[:: max(1, n // 1000)].std(axis=0, dtype=np.float64)
    weights = rng.normal(size=(d, _COLUMNS // 2)) / np.where(scale > 0, scale, np.inf)[:, None]
    sums = np.zeros((n, _COLUMNS // 2))
    for part in slices(n, TILE // d):
        sums[part] = values[part].astype(np.float64) @ weights
    return np.concatenate([some, sums], axis=1)


def _key(values: np.ndarray) -> np.ndarray:
    """Return which rows begin a new run, ``(n,)``, if the rows or single columns are sorted.

    If the rows are sorted by their columns in turn, a run consists of equal rows. Otherwise it
    consists of rows that are equal in the columns that only rise or only fall.
    """
    n, d = values.shape
    changed = np.zeros(n, bool)
    rising, falling = np.ones(d, bool), np.ones(d, bool)
    # Whether the first, or the last, column that changes ever increases, and ever decreases.
    directions = np.zeros((2, 2), bool)
    for part in slices(n - 1, TILE // max(1, d)):
        later, earlier = values[1:][part], values[:-1][part]
        changes, increases = later != earlier, later > earlier
        rows = changed[1:][part] = changes.any(axis=1)
        rising &= (increases | ~changes).all(axis=0)
        falling &= ~increases.any(axis=0)
        for side, order in enumerate((slice(None), slice(None, None, -1))):
            first = np.argmax(changes[:, order], axis=1)
            up = increases[:, order][np.arange(len(first)), first][rows]
            directions[side] |= (up.any(), not up.all())
    if not directions.all(axis=1).all():
        return changed
    keys = np.flatnonzero((rising | falling) & ~(rising & falling))
    cut = np.zeros(n, bool)
    if len(keys):
        cut[1:] = (values[1:, keys] != values[:-1, keys]).any(axis=1)
    return cut


def _slow(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows begin a run of a slow column, ``(n,)``, and the slow columns, ``(c,)``."""
    n, width = columns.shape
    slow = np.zeros(width, bool)
    changes = columns[1:] != columns[:-1]
    for c in np.flatnonzero((~changes).any(axis=0) & changes.any(axis=0)):
        counts = np.unique(columns[:, c], return_counts=True)[1].astype(float)
        pairs = counts @ (counts - 1)
        expected = pairs / n
        # The variance of the number of equal neighbours in a random order.
        share = pairs / (n * (n - 1))
        triples = counts @ ((counts - 1) * (counts - 2)) / (n * (n - 1) * (n - 2))
        variance = (n - 1) * share * (1 - share) + 2 * (n - 2) * (triples - share**2)
        equal = n - 1 - changes[:, c].sum()
        slow[c] = equal - expected > _quantile(width) * math.sqrt(max(variance, 1.0))
    cut = np.concatenate([[False], changes[:, slow].any(axis=1)])
    if n < _MIN_RUN * (cut.sum() + 1):
        cut[:] = False
    return cut, slow


def _gradual(columns: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return which columns have non-random triples within the runs between cuts, ``(c,)``."""
    whole = ~(cut[1:-1] | cut[2:])
    bound = _quantile(columns.shape[1])
    found = np.zeros(columns.shape[1], bool)
    for c, x in enumerate(columns.T):
        with np.errstate(over="ignore"):
            near, far = np.abs(np.diff(x)), np.abs(x[2:] - x[:-2])
        first, second = near[:-1], near[1:]
        largest = np.maximum(np.maximum(first, second), far)
        ways = (first == largest).astype(int) + (second == largest) + (far == largest)
        used = whole & (ways < 3)
        count = int(np.count_nonzero(used))
        if count < _MIN_TRIPLES:
            continue
        excess = np.where(used, (far == largest) / ways - 1 / 3, 0.0)
        total = abs(excess.sum())
        if (ways[used] == 1).all():
            # The first and third row are the most distant pair unless the second is a turning
            # point. The variance of the number of turning points is known.
            variance = 8 / 45 * count
        else:
            excess[used] -= excess[used].mean()
            # Triples that share no row are independent if the rows are.
            products = [float(excess[lag:] @ excess[: len(excess) - lag]) for lag in range(3)]
            variance = products[0] + 2 * (products[1] + products[2])
        error = math.sqrt(max(variance, 0.1 * count))
        found[c] = total > bound * error and total > _EXCESS * count
    return found


def _quantile(tests: int) -> float:
    """Return the normal quantile at which this many two-sided tests together have ``_LEVEL``."""
    return -float(ndtri(_LEVEL / (2 * tests)))


def _indicators(labels: np.ndarray) -> np.ndarray:
    """Return indicators of the most frequent labels, ``(n, classes)``."""
    counts = np.bincount(np.unique(labels, return_inverse=True)[1])
    largest = np.unique(labels)[np.argsort(-counts, kind="stable")[:_CLASSES]]
    return (labels[:, None] == largest).astype(float)


def _length(series: np.ndarray) -> int:
    """Return the first lag at which all autocorrelations are below 1/e."""
    n = len(series)
    scores = ndtri((rankdata(series, axis=0) - 0.5) / n)
    scores -= scores.mean(axis=0)
    power = np.square(np.abs(np.fft.rfft(scores, 2 * n, axis=0)))
    correlation = np.fft.irfft(power, axis=0)[:n]
    correlation /= np.maximum(correlation[0], 1e-300)
    below = (correlation < _CORRELATED).all(axis=1)
    return int(np.argmax(below)) if below.any() else n
