"""Spreading of repeated values, such as integers, so that nearest neighbours can be counted.

On a grid many neighbours are equally distant, and it is arbitrary which of them are counted. If
each value v is replaced by v + U, where U is uniform and independent of all else, and v can be
recovered from v + U, then no mutual information changes: I(A + U; B) = I(A; B). The density of
A + U is constant within a cell, so that neighbours are counted as for any continuous variable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ib_keras.arrays.rows import slices

# Share of repeated values in a column above which they are not due to chance, and share of values
# that occur once below which a column is discrete.
_REPEATED, _SINGLE = 0.01, 0.01
# Largest deviation from a multiple of the step, as a share of the step.
_DEVIATION = 0.02
# Fewest rows, and smallest distance between the values of a grid in units of their mean distance.
_MIN_ROWS, _GRID = 30, 0.1
# Largest magnitude whose cells are computed.
_LARGEST = 1e300
# Number of columns that are sorted at a time, and number of columns that determine the order of the
# variables.
_SORTED_COLUMNS, _COMPARED_COLUMNS = 64, 16


def on_a_grid(values: np.ndarray) -> bool:
    """Return whether the values ``(n,)`` differ by multiples of a step, and not by chance.

    Among n values with a density, the two nearest are only about 1/n of the mean distance apart.
    """
    if len(values) < _MIN_ROWS:
        return False
    distinct = np.unique(values).astype(np.float64)
    low, high = np.quantile(distinct, (0.25, 0.75))
    if len(distinct) < 2 or max(abs(distinct[0]), abs(distinct[-1])) > _LARGEST:
        return False
    if np.diff(distinct).min() * len(values) <= _GRID * (high - low):
        return False
    return _step(distinct) is not None


def repeated(samples: np.ndarray) -> np.ndarray:
    """Return which columns have more repeated values than chance explains, ``(d,)``.

    Columns on a grid are included, because their values would repeat in a larger sample.
    """
    found = np.zeros(samples.shape[1], bool)
    for columns in slices(samples.shape[1], _SORTED_COLUMNS):
        # Integers and quantised or saturated units have repeated values.
        ordered = np.sort(samples[:, columns], axis=0)
        # A few float32 values repeat by chance.
        found[columns] = (ordered[1:] == ordered[:-1]).mean(axis=0) > _REPEATED
    for c in np.flatnonzero(~found):
        found[c] = on_a_grid(samples[:, c])
    return found


def spread_cells(
    variables: Sequence[np.ndarray], rng: np.random.Generator, labels: np.ndarray | None = None
) -> tuple[list[np.ndarray], bool]:
    """Spread the repeated values of discrete columns over their cells.

    A column is discrete if all its values differ by multiples of a step, as integers and rounded
    values do, or if less than 1 % of the rows have a value that occurs once. In the first case, the
    cell of a value is one step wide; in the second, it reaches halfway to the next value on both
    sides. Columns with atoms and a density, such as the outputs of a ReLU, are not changed, and
    neither are columns without repeated values.

    The result does not depend on the order of the rows or of the classes. It depends on the order
    of the variables only if they have equal shapes and equal counts of their values.

    Args:
        variables: samples, each ``(n, d)``, of finite values.
        rng: generator of the positions within the cells.
        labels: classes of the rows, ``(n,)``.

    Returns:
        The samples, in which only discrete columns have changed, and whether columns with repeated
        values remain.
    """
    tied = [np.flatnonzero(repeated(v)) for v in variables]
    remain, spread = False, list(variables)
    turns = sorted(range(len(variables)), key=lambda i: _signature(variables[i], tied[i]))
    rows = _order([variables[i] for i in turns], labels) if any(map(len, tied)) else None
    for i in turns:
        if not len(tied[i]):
            continue
        spread[i] = variables[i].copy()
        for c in tied[i]:
            values, of, counts = np.unique(
                variables[i][:, c], return_inverse=True, return_counts=True
            )
            cells = _cells(values, counts)
            if cells is None:
                remain = True
                continue
            below, above = (side[of] for side in cells)
            position = np.empty(len(of))
            position[rows] = rng.uniform(size=len(of))
            spread[i][:, c] += position * (below + above) - below
    return spread, remain


def _signature(values: np.ndarray, tied: np.ndarray) -> tuple[int, list[list[int]]]:
    """Return a sort key of a variable, independent of its scale and the order of its rows."""
    some = values[:, tied[:_COMPARED_COLUMNS]]
    return values.shape[1], [np.unique(v, return_counts=True)[1].tolist() for v in some.T]


def _order(variables: Sequence[np.ndarray], labels: np.ndarray | None) -> np.ndarray:
    """Return an order of the rows that depends only on their contents, not on class names."""
    n = len(variables[0])
    code = np.zeros(n, np.int64)
    for column in (v[:, c] for v in variables for c in range(v.shape[1])):
        rank = np.unique(column, return_inverse=True)[1]
        code = np.unique(code * n + rank, return_inverse=True)[1]
        if code.max() == n - 1:
            break
    if labels is None:
        return np.argsort(code, kind="stable")
    # Classes are compared by their sizes and contents.
    sizes, sums = np.bincount(labels), np.bincount(labels, code)
    return np.lexsort((sums[labels], sizes[labels], code))


def _cells(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return how far the cells of discrete values reach below and above; ``None`` if not discrete.

    Args:
        values: the distinct values in ascending order, at least two.
        counts: number of rows with each value.
    """
    values = values.astype(np.float64)
    if max(abs(values[0]), abs(values[-1])) > _LARGEST:
        return None
    gaps = np.diff(values)
    if (step := _step(values)) is not None:
        half = np.full(len(values), step / 2)
        return half, half
    if counts[counts == 1].sum() < _SINGLE * counts.sum():
        return np.concatenate([gaps[:1], gaps]) / 2, np.concatenate([gaps, gaps[-1:]]) / 2
    return None


def _step(values: np.ndarray) -> float | None:
    """Return the step of the grid of ascending values; ``None`` if they are not on a grid."""
    gaps = np.diff(values)
    # The smallest gap has the largest rounding error, so it is averaged with similar gaps.
    small = gaps[gaps < 20 * gaps.min()]
    step = float(small.sum() / np.rint(small / gaps.min()).sum())
    with np.errstate(over="ignore", invalid="ignore"):
        multiples = (values - values[0]) / step
        off = np.abs(multiples - np.rint(multiples)).max()
    return step if off < _DEVIATION else None
