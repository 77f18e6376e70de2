"""Samples that lie where they are, and become float64 a tile at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ib_keras._checks import power_of_two, times_two

# Values of a tile.
TILE = 1 << 22


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
        largest = np.maximum.reduce(
            [np.abs(tile).max(axis=axis, keepdims=True) for tile in self.tiles()]
        )
        exponent = power_of_two(largest)
        return dataclasses.replace(self, exponent=self.exponent + exponent), exponent

    def mean(self) -> np.ndarray:
        """Of each column, ``(d,)``."""
        found = [(len(tile), tile.mean(axis=0)) for tile in self.tiles()]
        if len(found) == 1:
            return found[0][1]
        return np.average([mean for _, mean in found], axis=0, weights=[n for n, _ in found])

    def centred(self) -> Rows:
        """Each column less its mean; before anything is divided."""
        return dataclasses.replace(self, shift=self.mean())

    def divided(self, scale: Any) -> Rows:
        """Each column by its scale; before anything is turned."""
        return dataclasses.replace(self, scale=scale)

    def squares(self) -> np.ndarray:
        """The sum of squares of each column, ``(d,)``."""
        return np.sum([np.square(tile).sum(axis=0) for tile in self.tiles()], axis=0)

    def products(self) -> np.ndarray:
        """The sums of products of columns, ``(d, d)``."""
        return sum((tile.T @ tile for tile in self.tiles()), np.zeros((self.shape[1],) * 2))
