"""Spreading of repeated values, such as integers, so that nearest neighbours can be counted.

On a grid many neighbours are equally distant, and it is arbitrary which of them are counted. If
each value v is replaced by v + U, where U is uniform and independent of all else, and v can be told
from v + U, then no mutual information changes: I(A + U; B) = I(A; B). The density of A + U is
constant within a cell, so that neighbours are counted as for any continuous variable.
"""

from __future__ import annotations

import numpy as np

from ib_keras.arrays.rows import slices

# Share of repeated values in a column above which they are not chance, and of values that occur
# once below which a column is discrete.
_REPEATED, _SINGLE = 0.01, 0.01
# Largest deviation from a multiple of the step, as a share of the step.
_DEVIATION = 0.02
# Fewest rows, and smallest distance between the values of a grid in units of their mean distance.
_MIN_ROWS, _GRID = 30, 0.1
# Number of columns that are sorted together.
_SORTED_COLUMNS = 64


def on_a_grid(values: np.ndarray) -> bool:
    """Return whether the values ``(n,)`` are multiples of a step, and not by chance.

    Of n values with a density, the two nearest are only about 1/n of their mean distance apart.
    """
    if len(values) < _MIN_ROWS:
        return False
    distinct = np.unique(values)
    low, high = np.quantile(values, (0.25, 0.75))
    if len(distinct) < 2 or np.diff(distinct).min() * len(values) <= _GRID * (high - low):
        return False
    return _step(distinct) is not None


def repeated(samples: np.ndarray) -> np.ndarray:
    """Return which columns have repeated values, ``(d,)``, other than a few by chance.

    Columns on a grid count as such, because their values would repeat in a larger sample.
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


def spread_cells(samples: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Spread the repeated values of discrete columns over their cells.

    A column is discrete if all values are multiples of a step, as integers and rounded values are,
    or if less than 1 % of the rows have a value that occurs once. The cell of a value is one step
    wide, or else reaches half the way to the next value on both sides. Columns with atoms and a
    density, such as the outputs of a ReLU, are not changed, and neither are those without
    repetitions.

    Args:
        samples: ``(n, d)`` finite values.
        rng: generator of the positions within the cells.

    Returns:
        The samples, of which only discrete columns have changed, and whether there remain columns
        with repeated values.
    """
    chosen, remain = np.flatnonzero(repeated(samples)), False
    samples = samples.copy() if len(chosen) else samples
    for c in chosen:
        values, of, counts = np.unique(samples[:, c], return_inverse=True, return_counts=True)
        cells = _cells(values, counts)
        if cells is None:
            remain = True
            continue
        below, above = (side[of] for side in cells)
        samples[:, c] += rng.uniform(size=len(samples)) * (below + above) - below
    return samples, remain


def _cells(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return how far the cells of discrete values reach below and above; ``None`` if not discrete.

    Args:
        values: the distinct values in ascending order, at least two.
        counts: number of rows with each.
    """
    gaps = np.diff(values)
    if (step := _step(values)) is not None:
        half = np.full(len(values), step / 2)
        return half, half
    if counts[counts == 1].sum() < _SINGLE * counts.sum():
        return np.concatenate([gaps[:1], gaps]) / 2, np.concatenate([gaps, gaps[-1:]]) / 2
    return None


def _step(values: np.ndarray) -> float | None:
    """Return the step of which ascending values are multiples; ``None`` if there is none."""
    gaps = np.diff(values)
    # The smallest gap has the largest rounding error, so that it is averaged with similar ones.
    small = gaps[gaps < 20 * gaps.min()]
    step = float(small.sum() / np.rint(small / gaps.min()).sum())
    multiples = (values - values[0]) / step
    return step if np.abs(multiples - np.rint(multiples)).max() < _DEVIATION else None
