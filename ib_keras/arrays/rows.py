"""Samples that lie where they are, and become float64 a tile at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ib_keras.arrays.scaling import stride, usual_range

# Values of a tile.
TILE = 1 << 22


@dataclasses.dataclass(frozen=True)
class Rows:
    """Arrays side by side: chosen rows and columns, shifted, divided and multiplied, ``(n, d)``.

    The value of a row r is ((r − shift) / scale) · matrix. Indexing computes it in float64 for the
    rows that are asked for, so that nothing of the size of all rows is made.

    Args:
        parts: Arrays ``(N, d_i)``.
        index: Which rows ``(n,)``; ``None`` for all.
        columns: Which columns ``(d,)``; ``None`` for all.
        shift: What is subtracted from each column ``(d,)``, or ``None``.
        scale: What each column is divided by ``(d,)``, or a number, or ``None``.
        matrix: What each row is multiplied by from the right ``(d, d)``, or ``None``.
    """

    parts: tuple[np.ndarray, ...]
    index: np.ndarray | None = None
    columns: np.ndarray | None = None
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
        """The rows without far values; all rows if fewer than half are without."""
        low, high, _ = usual_range(self[:: stride(*self.shape)])
        near = [((tile >= low) & (tile <= high)).all(axis=1) for tile in self.tiles()]
        index = np.flatnonzero(np.concatenate(near))
        return self if len(index) == len(self) or 2 * len(index) < len(self) else self.take(index)

    def tiles(self) -> Iterator[np.ndarray]:
        """All rows, in order, some at a time."""
        step = max(1, TILE // max(1, self.shape[1]))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def mean(self) -> np.ndarray:
        """The mean of each column, ``(d,)``."""
        means, sizes = zip(*((tile.mean(axis=0), len(tile)) for tile in self.tiles()), strict=True)
        return means[0] if len(means) == 1 else np.average(means, axis=0, weights=sizes)

    def centre(self) -> np.ndarray:
        """The median of some thousand rows ``(d,)``, which far values do not move."""
        return np.median(self[:: stride(*self.shape)], axis=0)

    def shifted(self, centre: np.ndarray) -> Rows:
        """Each column minus its centre. Rows are shifted before they are divided."""
        return dataclasses.replace(self, shift=centre)

    def centred(self) -> Rows:
        """Each column minus its median."""
        return self.shifted(self.centre())

    def divided(self, scale: Any) -> Rows:
        """Each column divided by its scale. Rows are divided before they are multiplied."""
        return dataclasses.replace(self, scale=scale)

    def standardised(self) -> Rows:
        """Each column minus its mean, divided by its standard deviation if it varies."""
        rows = self.shifted(self.mean())
        deviation = np.sqrt(rows.squares() / len(rows))
        return rows.divided(np.where(deviation > 0, deviation, 1.0))

    def unturned(self) -> Rows:
        """The rows before they are multiplied by the matrix."""
        return dataclasses.replace(self, matrix=None)

    def squares(self) -> np.ndarray:
        """The sum of squares of each column, ``(d,)``."""
        return np.sum([np.square(tile).sum(axis=0) for tile in self.tiles()], axis=0)

    def products(self) -> np.ndarray:
        """The sums of products of columns, ``(d, d)``."""
        return sum((tile.T @ tile for tile in self.tiles()), np.zeros((self.shape[1],) * 2))
