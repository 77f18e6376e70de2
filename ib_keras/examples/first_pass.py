"""The first pass over a data set: its rows, targets and checksums, and a copy of an iterator."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from ib_keras.arrays.codes import row_codes, row_hashes
from ib_keras.arrays.rows import slices
from ib_keras.arrays.structures import Checksum, pack
from ib_keras.errors import ArgumentError

KNOWN_LENGTH = (
    "a data set that ends: `dataset.take(steps)` for tf.data, and "
    "`tf.data.experimental.assert_cardinality` if it ends but its length is unknown; "
    "`itertools.islice(generator, steps)` for a generator"
)
# A data set of unknown length counts as endless if it has more than _MOST_ROWS rows, more than
# _MOST_BYTES bytes (_MOST_COPIED if it is copied), or more than _PERIODIC rows that consist of
# _PERIODS equal periods.
_MOST_ROWS, _MOST_BYTES, _MOST_COPIED = 10_000_000, 64 << 30, 8 << 30
_PERIODS, _PERIODIC = 8, 20_000
_COPIED_ROWS = 1024


# The inputs of a batch of rows, their structure, and the targets.
Element = tuple[list[np.ndarray], dict[str, Any], Any]


def joined(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Join batches of several arrays."""
    return [
        each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*parts, strict=True)
    ]


class FirstPass:
    """The rows of a data set that were read so far.

    Args:
        name: name of the data set in errors.
        ends: whether its length is known.
        copies: whether to copy the rows to temporary files.
        targets: whether to collect the targets.
    """

    def __init__(self, name: str, *, ends: bool, copies: bool, targets: bool) -> None:
        self._name, self._ends, self._collects = name, ends, targets
        self.copy = Copy() if copies else None
        self.structure: dict[str, Any] = {}
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: list[np.dtype] = []
        self.n = 0
        self._sums: list[Checksum] = []
        self._hashes: list[list[np.ndarray]] = []
        self._targets: list[Any] = []
        self._texts: dict[int, list[np.ndarray]] = {}
        self._elements: list[bytes] = []
        self._nbytes = 0
        self._start: list[np.ndarray] = []

    def add(self, arrays: list[np.ndarray], structure: dict[str, Any], targets: Any) -> None:
        """Add an element: a batch of rows, its structure, and its targets.

        Raises:
            ArgumentError: If the element does not fit the earlier ones, or the data set seems to
                have no end.
        """
        if not self.n:
            self.structure, self._start = structure, arrays
            self.shapes = [array.shape[1:] for array in arrays]
            self.dtypes = [array.dtype for array in arrays]
            self._sums = [Checksum() for _ in arrays]
            self._hashes = [[] for _ in arrays]
            self._texts = {i: [] for i, array in enumerate(arrays) if array.dtype.kind == "U"}
        if structure != self.structure:
            raise ArgumentError(
                f"The elements of `{self._name}` differ in structure",
                str(self.structure),
                str(structure),
            )
        self._check_form(arrays)
        self.n += len(arrays[0])
        if targets is not None and self._collects:
            self._targets.append(targets)
            # Targets that cannot be used, such as images, are not held in memory.
            self._collects = all(one.ndim <= 2 for one in leaves(targets))
        hashes = [row_hashes(array) for array in arrays]
        if not self._ends:
            self._check_end(hashes, sum(array.nbytes for array in arrays))
        for i, array in enumerate(arrays):
            if i in self._texts:
                self._texts[i].append(array)
            else:
                self._keep(i, array, hashes[i])

    def _keep(self, i: int, array: np.ndarray, hashes: np.ndarray) -> None:
        """Add rows of an array to its checksum and its codes, and copy them."""
        self._sums[i].add(array)
        self._hashes[i].append(hashes)
        if self.copy is not None:
            self.copy.add(i, array)

    def conform(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the arrays of an element, with texts in the dtype of the longest text.

        Raises:
            ArgumentError: If a shape or dtype differs from that of the first element.
        """
        self._check_form(arrays)
        return [a.astype(d, copy=False) for a, d in zip(arrays, self.dtypes, strict=True)]

    def _check_form(self, arrays: Sequence[np.ndarray]) -> None:
        shapes = [array.shape[1:] for array in arrays]
        dtypes = [array.dtype for array in arrays]
        alike = len(dtypes) == len(self.dtypes) and all(
            a == b or a.kind == b.kind == "U" for a, b in zip(dtypes, self.dtypes, strict=True)
        )
        if shapes != self.shapes or not alike:
            raise ArgumentError(
                f"The elements of `{self._name}` differ in shape or dtype",
                f"rows of the shapes {self.shapes} and dtypes {[str(d) for d in self.dtypes]}, as "
                "at the beginning: pad or crop rows of variable length to one length",
                f"{shapes} and {[str(d) for d in dtypes]}",
            )

    def end(self) -> None:
        """End the pass.

        Raises:
            ArgumentError: If there are no rows.
        """
        if not self.n:
            raise ArgumentError(
                f"`{self._name}` has no rows",
                "a data set with at least one row; an iterator that was read before has none left",
                "none",
            )
        # The dtype of texts is that of the longest, which is known now.
        for i, parts in self._texts.items():
            whole = np.concatenate(parts)
            self.dtypes[i] = whole.dtype
            self._keep(i, whole, row_hashes(whole))
        self._texts = {}

    def begins_with(self, arrays: Sequence[np.ndarray]) -> bool:
        """Return whether the first element has these arrays."""
        return len(arrays) == len(self._start) and all(
            a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
            for a, b in zip(arrays, self._start, strict=True)
        )

    @property
    def checksums(self) -> list[str]:
        """A checksum of each array."""
        return [one.digest() for one in self._sums]

    @functools.cached_property
    def targets(self) -> Any:
        """The targets of all rows in the structure of the elements; ``None`` without any.

        Raises:
            ArgumentError: If the targets are neither labels nor numbers, or some rows have none.
        """
        if not self._targets:
            return None
        if not self._collects:
            raise ArgumentError(
                f"The targets of `{self._name}` are neither labels nor numbers",
                "labels (n,), one-hot rows, or numbers (n,) or (n, k), of the data set or as "
                "`targets`; or a data set without targets: `dataset.map(lambda x, y: x)`",
                f"shapes {[one.shape for one in leaves(self._targets[-1])]}",
            )
        lengths = sum(len(leaves(targets)[0]) for targets in self._targets)
        if lengths != self.n:
            raise ArgumentError(
                f"Some elements of `{self._name}` have no targets",
                f"targets of all {self.n} rows, or of none",
                f"targets of {lengths} rows",
            )
        return _concatenated(self._targets)

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """Integer codes of the distinct rows, ``(n,)``, in order of first appearance."""
        codes = [pd.factorize(np.concatenate(hashes))[0] for hashes in self._hashes]
        return codes[0] if len(codes) == 1 else row_codes(np.stack(codes, axis=1))

    def _check_end(self, hashes: Sequence[np.ndarray], nbytes: int) -> None:
        """Raise if a data set of unknown length seems to have no end."""
        digest = hashlib.blake2b(np.concatenate(hashes).tobytes(), digest_size=16).digest()
        elements = self._elements
        if elements and digest == elements[0] and self.n > _PERIODIC:
            period = len(elements) // _PERIODS
            if len(elements) % _PERIODS == 0 and elements == elements[:period] * _PERIODS:
                self._endless(f"{len(elements)} elements that repeat after {period}")
        elements.append(digest)
        self._nbytes += nbytes
        if self.n > _MOST_ROWS:
            self._endless(f"more than {_MOST_ROWS:,} rows so far")
        most = _MOST_BYTES if self.copy is None else _MOST_COPIED
        if self._nbytes > most:
            self._endless(f"more than {most / 1e9:.0f} GB so far")

    def _endless(self, received: str) -> NoReturn:
        raise ArgumentError(f"`{self._name}` seems to have no end", KNOWN_LENGTH, received)


class Copy:
    """A copy of an iterator's rows in temporary files, which are removed with this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ib_keras-")

    def add(self, i: int, array: np.ndarray) -> None:
        """Append rows of the i-th array."""
        with open(self._path(i), "ab") as file:
            file.write(np.ascontiguousarray(array).tobytes())

    def read(self, first: FirstPass) -> Iterator[Any]:
        """Yield the rows of the pass in batches, each as a tuple of the inputs."""
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(open(self._path(i), "rb")) for i in range(len(first.shapes))
            ]
            for part in slices(first.n, _COPIED_ROWS):
                rows = min(part.stop, first.n) - part.start
                arrays = [
                    np.fromfile(file, dtype, rows * math.prod(shape)).reshape(rows, *shape)
                    for file, shape, dtype in zip(files, first.shapes, first.dtypes, strict=True)
                ]
                yield (pack(arrays, first.structure),)

    def _path(self, i: int) -> pathlib.Path:
        return pathlib.Path(self._folder.name, str(i))


def joined_elements(elements: Sequence[Element]) -> Element:
    """Join elements of equal structure."""
    arrays, _, targets = zip(*elements, strict=True)
    structure = elements[0][1]
    return joined(arrays), structure, None if targets[0] is None else _concatenated(targets)


def leaves(targets: Any) -> list[Any]:
    """Return the arrays of a structure of targets, or the leaves of a similar structure."""
    if targets is None:
        return []
    if isinstance(targets, Mapping):
        return [leaf for each in targets.values() for leaf in leaves(each)]
    return list(targets) if isinstance(targets, (list, tuple)) else [targets]


def _concatenated(parts: Sequence[Any]) -> Any:
    """Join the targets of all elements."""
    if isinstance(parts[0], Mapping):
        return {key: _concatenated([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], list):
        return [_concatenated(each) for each in zip(*parts, strict=True)]
    return np.concatenate(parts)
