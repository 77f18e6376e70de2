"""Rows of inputs with their targets, and those of arrays in memory."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.rows import slices
from ib_keras.arrays.structures import array_codes, checksum, join_checksums
from ib_keras.arrays.targets import Target
from ib_keras.errors import ArgumentError

# The most rows, and the most bytes, to read at a time where the size of batches does not matter.
_ROWS, _ROW_BYTES = 1024, 1 << 25
Shape = tuple[int | None, ...]


def fits(shape: Shape, row: Shape, *, exact: bool = False) -> bool:
    """Return whether rows of a shape fit an input of a model.

    Args:
        shape: the shape of the rows.
        row: the shape of a row that the model expects; ``None`` stands for any size.
        exact: whether a last axis of size 1 must be in both shapes or in neither. Otherwise it may
            be in one of them only, because Keras adds or removes it.
    """
    if not exact:
        longest = max(len(shape), len(row))
        shape, row = (
            (*one, 1) if len(one) + 1 == longest and other[-1] == 1 else one
            for one, other in ((shape, row), (row, shape))
        )
    return len(shape) == len(row) and all(j in (None, i) for i, j in zip(shape, row, strict=True))


class Examples(abc.ABC):
    """Rows of inputs, perhaps with targets.

    Attributes:
        name: name of the argument in errors.
        structure: description of the structure of the inputs, as ``structures.unpack`` returns it.
        targets: the targets of the rows as they were passed; ``None`` without any.
        n: number of rows.
        shapes: the shape of a row of each array.
        dtypes: the dtype of each array.
        checksums: a checksum of each array.
    """

    name: str
    structure: dict[str, Any]
    targets: Any
    n: int
    shapes: list[tuple[int, ...]]
    dtypes: list[np.dtype]
    checksums: list[str]

    def expect(self, shapes: Sequence[Shape]) -> None:  # noqa: B027  # arrays need no hint
        """Tell a data set the shapes of a row of each of a model's inputs."""

    @property
    def at_a_time(self) -> int:
        """Number of rows to read at a time where the size of the batches does not matter."""
        row = sum(
            math.prod(shape) * dtype.itemsize
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )
        return max(1, min(_ROWS, _ROW_BYTES // max(1, row)))

    @abc.abstractmethod
    def codes(self) -> np.ndarray:
        """Return integer codes of the distinct rows, ``(n,)``, in order of first appearance."""

    @abc.abstractmethod
    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        """Yield the arrays of all rows in order, ``size`` rows at a time."""

    def take(self, rows: np.ndarray) -> Examples:
        """Return some rows, given by ascending indices, in memory."""
        parts, start = [], 0
        for batch in self.batches(self.at_a_time):
            inside = rows[(rows >= start) & (rows < start + len(batch[0]))] - start
            parts.append([array[inside] for array in batch])
            start += len(batch[0])
        arrays = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return InMemory(arrays, self.structure, name=self.name)

    def arrays(self) -> list[np.ndarray]:
        """Return all rows of each array, in memory."""
        return [np.concatenate(each) for each in zip(*self.batches(self.at_a_time), strict=True)]

    def matrix(self) -> np.ndarray:
        """Return all rows in memory; several arrays are flattened and joined."""
        arrays = self.arrays()
        if len(arrays) == 1:
            return arrays[0]
        return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


def fingerprint(rows: Examples, targets: Sequence[Target]) -> str:
    """Return a checksum of inputs and targets, which does not depend on the form of the inputs."""
    return join_checksums(
        [
            *rows.checksums,
            *(one.name + checksum(one.values) + repr(one.class_names) for one in targets),
        ]
    )


class InMemory(Examples):
    """Rows of arrays that are in memory or memory-mapped.

    Args:
        arrays: the arrays, each ``(n, ...)``.
        structure: the structure of the inputs.
        targets: the targets of the rows.
        name: name of the argument in errors.

    Raises:
        ArgumentError: If the arrays differ in length or are empty.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        structure: dict[str, Any],
        targets: Any = None,
        name: str = "inputs",
    ) -> None:
        self.name, self.targets = name, targets
        self._arrays, self.structure = list(arrays), structure
        shapes = [array.shape for array in self._arrays]
        if any(not shape or shape[0] != shapes[0][0] for shape in shapes) or not shapes[0][0]:
            raise ArgumentError(
                f"`{name}` differ in length or are empty", "the same n >= 1", f"shapes {shapes}"
            )
        self.n = shapes[0][0]
        self.shapes = [shape[1:] for shape in shapes]
        self.dtypes = [array.dtype for array in self._arrays]

    @functools.cached_property
    def checksums(self) -> list[str]:  # type: ignore[override]
        """A checksum of each array."""
        return [checksum(array) for array in self._arrays]

    def codes(self) -> np.ndarray:
        """Return integer codes of the distinct rows, ``(n,)``, in order of first appearance."""
        return array_codes(self._arrays, self.n, self.name)

    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        """Yield the arrays of all rows in order, ``size`` rows at a time."""
        for part in slices(self.n, size):
            yield [array[part] for array in self._arrays]

    def take(self, rows: np.ndarray) -> Examples:
        """Return some rows."""
        return InMemory([array[rows] for array in self._arrays], self.structure, name=self.name)

    def arrays(self) -> list[np.ndarray]:
        """Return the arrays."""
        return list(self._arrays)
