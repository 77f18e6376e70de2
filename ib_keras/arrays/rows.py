"""Views of samples, which are converted to float64 one tile at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ib_keras.arrays.scaling import stride, usual_range

# Number of values in a tile.
TILE = 1 << 22


def slices(n: int, size: int) -> list[slice]:
    """Return consecutive slices of n rows, each of at most ``size`` rows."""
    size = max(1, size)
    return [slice(start, start + size) for start in range(0, n, size)]


def some_rows(n: int, most: int) -> np.ndarray | slice:
    """Return the indices of at most ``most`` of n rows, chosen at random, in ascending order."""
    if n <= most:
        return slice(None)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


@dataclasses.dataclass(frozen=True)
class Rows:
    """Selected rows and columns of concatenated arrays, shifted, scaled and multiplied, ``(n, d)``.

    The value of a row r is ((r − shift) / scale) · matrix. Indexing computes it in float64 for the
    requested rows only.

    Args:
        parts: arrays ``(N, d_i)``, which are concatenated along the columns.
        index: indices of the selected rows, ``(n,)``; ``None`` for all.
        columns: indices of the selected columns, ``(d,)``; ``None`` for all.
        shift: values that are subtracted from the columns, ``(d,)``, or ``None``.
        scale: divisor of each column, ``(d,)``, or one number for all, or ``None``.
        matrix: matrix by which rows are multiplied from the right, ``(d, d)``, or ``None``.
    """

    parts: tuple[np.ndarray, ...]
    index: np.ndarray | None = None
    columns: np.ndarray | None = None
    shift: Any = None
    scale: Any = None
    matrix: np.ndarray | None = None

    @classmethod
    def of(cls, *parts: np.ndarray | Rows) -> Rows:
        """Concatenate arrays along their columns; a single ``Rows`` is returned unchanged."""
        if len(parts) == 1 and isinstance(parts[0], Rows):
            return parts[0]
        return cls(tuple(np.asarray(part) for part in parts))

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns, ``(n, d)``."""
        width = sum(part.shape[1] for part in self.parts)
        return len(self), width if self.columns is None else len(self.columns)

    def __len__(self) -> int:
        return len(self.parts[0]) if self.index is None else len(self.index)

    def __getitem__(self, rows: Any) -> np.ndarray:
        rows = rows if self.index is None else self.index[rows]
        chosen = np.concatenate([part[rows] for part in self.parts], axis=-1, dtype=np.float64)
        chosen = chosen if self.columns is None else chosen[..., self.columns]
        if self.shift is not None:
            chosen -= self.shift
        if self.scale is not None:
            chosen /= self.scale
        return chosen if self.matrix is None else chosen @ self.matrix

    def take(self, rows: Any) -> Rows:
        """Select rows without copying them."""
        index = np.arange(len(self)) if self.index is None else self.index
        return dataclasses.replace(self, index=index[rows])

    def near(self) -> Rows:
        """Select the rows without far values, or all rows if fewer than half would remain."""
        low, high, _ = usual_range(self[:: stride(*self.shape)])
        near = [((tile >= low) & (tile <= high)).all(axis=1) for tile in self.tiles()]
        index = np.flatnonzero(np.concatenate(near))
        return self if len(index) == len(self) or 2 * len(index) < len(self) else self.take(index)

    def tiles(self) -> Iterator[np.ndarray]:
        """Iterate over consecutive blocks of rows."""
        return (self[part] for part in slices(len(self), TILE // max(1, self.shape[1])))

    def mean(self) -> np.ndarray:
        """Return the mean of each column, ``(d,)``."""
        means, sizes = zip(*((tile.mean(axis=0), len(tile)) for tile in self.tiles()), strict=True)
        return means[0] if len(means) == 1 else np.average(means, axis=0, weights=sizes)

    def centre(self) -> np.ndarray:
        """Return the median of each column over a few thousand rows, ``(d,)``."""
        return np.median(self[:: stride(*self.shape)], axis=0)

    def shifted(self, centre: np.ndarray) -> Rows:
        """Subtract ``centre`` from the columns, which may be shifted and divided already."""
        shift = centre if self.scale is None else centre * self.scale
        return dataclasses.replace(self, shift=shift if self.shift is None else self.shift + shift)

    def centred(self) -> Rows:
        """Subtract the median of each column."""
        return self.shifted(self.centre())

    def divided(self, scale: Any) -> Rows:
        """Divide the columns by ``scale``, after the shift."""
        return dataclasses.replace(self, scale=scale if self.scale is None else self.scale * scale)

    def standardised(self) -> Rows:
        """Subtract the mean of each column, and divide by its standard deviation unless it is 0."""
        rows = self.shifted(self.mean())
        deviation = np.sqrt(rows.squares() / len(rows))
        return rows.divided(np.where(deviation > 0, deviation, 1.0))

    def squares(self) -> np.ndarray:
        """Return the sum of squares of each column, ``(d,)``."""
        return np.sum([np.square(tile).sum(axis=0) for tile in self.tiles()], axis=0)

    def products(self) -> np.ndarray:
        """Return the inner products of the columns, ``(d, d)``."""
        return sum((tile.T @ tile for tile in self.tiles()), np.zeros((self.shape[1],) * 2))
