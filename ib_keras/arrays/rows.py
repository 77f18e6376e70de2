"""Samples that lie where they are, and become float64 a tile at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ib_keras.arrays.scaling import power_of_two, times_two

# Values of a tile.
TILE = 1 << 22
# Rows, and values, from which is seen how far values spread.
_SEEN, _VALUES = 4096, 1 << 20
# Median distances that are far: some 30 standard deviations of normal values.
_FAR = 45.0


@dataclasses.dataclass(frozen=True)
class Rows:
    """Arrays side by side, some of their rows and columns, shifted, divided and turned: ``(n, d)``.

    Indexing gives float64 rows; nothing larger than what is asked for is made.

    Args:
        parts: ``(N, d_i)`` each.
        index: ``(n,)`` which rows; ``None`` for all.
        columns: ``(d,)`` which columns; ``None`` for all.
        exponent: the samples are the parts' times 2^−exponent, ``(1, d)`` or a number,
        shift: less this, ``(d,)``,
        scale: divided by this, ``(d,)`` or a number,
        matrix: and multiplied by this from the right, ``(d, d)``.
    """

    parts: tuple[np.ndarray, ...]
    index: np.ndarray | None = None
    columns: np.ndarray | None = None
    exponent: Any = 0
    shift: Any = None
    scale: Any = None
    matrix: np.ndarray | None = None

    @classmethod
    def of(cls, *parts: np.ndarray | Rows) -> Rows:
        """The arrays side by side; what is already ``Rows`` as it is."""
        if len(parts) == 1 and isinstance(parts[0], Rows):
            return parts[0]
        return cls(tuple(np.asarray(part) for part in parts))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns, ``(n, d)``."""
        width = sum(part.shape[1] for part in self.parts)
        return len(self), width if self.columns is None else len(self.columns)

    def __len__(self) -> int:
        return len(self.parts[0]) if self.index is None else len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        rows = rows if self.index is None else self.index[rows]
        chosen = np.concatenate([part[rows] for part in self.parts], axis=-1, dtype=np.float64)
        chosen = chosen if self.columns is None else chosen[..., self.columns]
        chosen = times_two(chosen, np.asarray(self.exponent))
        if self.shift is not None:
            chosen -= self.shift
        if self.scale is not None:
            chosen /= self.scale
        return chosen if self.matrix is None else chosen @ self.matrix

    def take(self, rows: Any) -> Rows:
        """Some of the rows, which are not copied."""
        index = np.arange(len(self)) if self.index is None else self.index
        return dataclasses.replace(self, index=index[rows])

    def near(self) -> Rows:
        """The rows of which no value lies far off in its column.

        All, if that would leave less than half of them.
        """
        n = len(self)
        low, high = usual(self[:: stride(*self.shape)])
        near = [((tile >= low) & (tile <= high)).all(axis=1) for tile in self.tiles()]
        found = np.flatnonzero(np.concatenate(near))
        return self if len(found) == n or 2 * len(found) < n else self.take(found)

    def tiles(self) -> Iterator[np.ndarray]:
        """All rows, in order, some at a time."""
        step = max(1, TILE // max(1, self.shape[1]))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def moderate(self, axis: int | None = None) -> tuple[Rows, Any]:
        """``_checks.moderate``: a power of two away, where squares would be no numbers.

        Args:
            axis: 0 for each column by itself.

        Returns:
            The rows, and e such that they are the given ones times 2^−e.
        """
        exponent = power_of_two(self.largest(axis))
        return dataclasses.replace(self, exponent=self.exponent + exponent), exponent

    def largest(self, axis: int | None = None) -> np.ndarray:
        """The largest magnitude, ``(1, 1)``, or that of each column ``(1, d)`` for ``axis=0``."""
        found = [np.abs(tile).max(axis=axis, keepdims=True) for tile in self.tiles()]
        return np.maximum.reduce(found)

    def mean(self) -> np.ndarray:
        """Of each column, ``(d,)``."""
        found = [(len(tile), tile.mean(axis=0)) for tile in self.tiles()]
        if len(found) == 1:
            return found[0][1]
        return np.average([mean for _, mean in found], axis=0, weights=[n for n, _ in found])

    def centre(self) -> np.ndarray:
        """The mean of the rows that do not lie far off, ``(d,)``.

        Less this the others lose no digits, which less the mean of all they do.
        """
        return self.near().mean()

    def centred(self) -> Rows:
        """Each column less its centre; before anything is divided."""
        return dataclasses.replace(self, shift=self.centre())

    def divided(self, scale: Any) -> Rows:
        """Each column by its scale; before anything is turned."""
        return dataclasses.replace(self, scale=scale)

    def unturned(self) -> Rows:
        """The rows before they are multiplied by the matrix."""
        return dataclasses.replace(self, matrix=None)

    def squares(self) -> np.ndarray:
        """The sum of squares of each column, ``(d,)``."""
        return np.sum([np.square(tile).sum(axis=0) for tile in self.tiles()], axis=0)

    def spread(self) -> np.ndarray:
        """The root of the mean square of each column, ``(d,)``."""
        return np.sqrt(self.squares() / len(self))

    def products(self) -> np.ndarray:
        """The sums of products of columns, ``(d, d)``."""
        return sum((tile.T @ tile for tile in self.tiles()), np.zeros((self.shape[1],) * 2))


def stride(n: int, dim: int) -> int:
    """So many rows on is the next of those from which is seen how far values spread."""
    return max(1, n // max(1, min(_SEEN, _VALUES // max(1, dim))))


def usual(some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the values of each column lie but for the few, at most one in twenty, that are far off.

    Far is some 30 standard deviations of normal values, by the median distance from the column's
    median, of those that are not 0. A column that does not vary has no limits: rows that are not
    here may differ.

    Args:
        some: ``(n, d)``.

    Returns:
        The lowest and the highest, ``(d,)`` each.
    """
    n = len(some)
    centre = np.median(some, axis=0)
    away = np.sort(np.abs(some - centre), axis=0)
    zeros = np.count_nonzero(away == 0, axis=0)
    middle = np.take_along_axis(away, (np.minimum(zeros, n - 1) + n)[None] // 2, axis=0)[0]
    reach = np.maximum(_FAR * middle, away[int(0.95 * (n - 1))])
    reach = np.where(middle > 0, reach, np.inf)
    return centre - reach, centre + reach
