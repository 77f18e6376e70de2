"""Rows that are equal, taken as one place with a number of rows at it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ib_keras.arrays.codes import row_hashes
from ib_keras.arrays.rows import Rows


class Places(NamedTuple):
    """The places at which samples lie.

    Attributes:
        first: ``(m,)`` the first row at each place.
        of: ``(n,)`` the place of each row.
        sizes: ``(m,)`` the number of rows at each place.
    """

    first: np.ndarray
    of: np.ndarray
    sizes: np.ndarray


def places(x: np.ndarray | Rows) -> Places:
    """Finds which rows are equal, in n·d operations and the memory of a tile.

    Rows that are to be turned by a matrix are compared before that, because a product may round
    equal rows in different ways.

    Args:
        x: ``(n, d)``; −0.0 and 0.0 count as equal.

    Returns:
        The places, in the order in which they appear.
    """
    rows = Rows.of(x).unturned()
    of = pd.factorize(np.concatenate([row_hashes(tile) for tile in rows.tiles()]))[0]
    found = _numbered(of)
    if len(found.first) < len(of) and not _equal(rows, found):
        # Different rows have one hash, which no one has seen yet.
        return _numbered(
            pd.factorize(np.unique(rows[:], axis=0, return_inverse=True)[1].ravel())[0]
        )
    return found


def _numbered(of: np.ndarray) -> Places:
    """From codes in the order of appearance: a row is the first one where its code is new."""
    highest = np.maximum.accumulate(of)
    first = np.flatnonzero(np.append(True, highest[1:] > highest[:-1]))
    return Places(first, of, np.bincount(of))


def _equal(rows: Rows, found: Places) -> bool:
    """Whether each row is that of its place."""
    start = 0
    for tile in rows.tiles():
        mine = found.first[found.of[start : start + len(tile)]]
        if not np.array_equal(tile, rows[mine]):
            return False
        start += len(tile)
    return True


def neighbour_distances(near: np.ndarray, count: np.ndarray, k: int) -> np.ndarray:
    """The distances to the nearest 1…k other rows, from those to the nearest places.

    Args:
        near: ``(m, p)`` distances from each place to the nearest ones, its own 0 among them,
            in rising order; p is k + 1 or the number of all places.
        count: ``(m, p)`` the numbers of rows at these places.
        k: the number of neighbours.

    Returns:
        ``(m, k)`` in rising order.
    """
    if (count == 1).all():
        return near[:, 1:]
    # The row itself is the first of those within each distance.
    within = np.cumsum(count, axis=1)
    index = np.stack([(within < j).sum(axis=1) for j in range(2, k + 2)], axis=1)
    return np.take_along_axis(near, index, axis=1)
