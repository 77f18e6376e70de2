"""Equal rows, represented as one place with a count."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd

from ib_keras.arrays.codes import first_rows, row_hashes
from ib_keras.arrays.rows import TILE, Rows, slices


class Places(NamedTuple):
    """The distinct rows of a sample.

    Attributes:
        first: index of the first row at each place, ``(m,)``.
        of: place of each row, ``(n,)``.
        sizes: number of rows at each place, ``(m,)``.
    """

    first: np.ndarray
    of: np.ndarray
    sizes: np.ndarray


def places(x: np.ndarray | Rows) -> Places:
    """Find equal rows, in n·d operations and with the memory of one tile.

    Rows that are multiplied by a matrix are compared before the multiplication, because a product
    may round equal rows differently.

    Args:
        x: rows ``(n, d)``; −0.0 and 0.0 are equal.

    Returns:
        The places, in order of first appearance.
    """
    rows = dataclasses.replace(Rows.of(x), matrix=None)
    of = pd.factorize(np.concatenate([row_hashes(tile) for tile in rows.tiles()]))[0]
    result = _places(of)
    if len(result.first) < len(of) and not _all_equal(rows, result):  # a collision of hashes
        return _places(pd.factorize(np.unique(rows[:], axis=0, return_inverse=True)[1].ravel())[0])
    return result


def _places(of: np.ndarray) -> Places:
    return Places(first_rows(of), of, np.bincount(of))


def _all_equal(rows: Rows, result: Places) -> bool:
    """Return whether each row equals the first row at its place."""
    first = result.first[result.of]
    parts = slices(len(rows), TILE // max(1, rows.shape[1]))
    return all(np.array_equal(rows[part], rows[first[part]]) for part in parts)


def neighbour_distances(near: np.ndarray, count: np.ndarray, k: int) -> np.ndarray:
    """Convert distances to the nearest places into distances to the k nearest other rows.

    Args:
        near: distances from each place to the nearest places in ascending order, ``(m, p)``,
            including 0 for the place itself; p is k + 1, or the number of all places if smaller.
        count: number of rows at these places, ``(m, p)``.
        k: number of neighbours.

    Returns:
        Distances in ascending order, ``(m, k)``.
    """
    if (count == 1).all():
        return near[:, 1:]
    # The nearest row is the row itself.
    within = np.cumsum(count, axis=1)
    index = np.stack([(within < j).sum(axis=1) for j in range(2, k + 2)], axis=1)
    return np.take_along_axis(near, index, axis=1)
