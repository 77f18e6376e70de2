"""Rows of a data set, which is read in passes and never held in memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import as_array
from ib_keras.arrays.labels import check_order
from ib_keras.arrays.structures import Checksum, unpack
from ib_keras.errors import ArgumentError
from ib_keras.examples.first_pass import (
    KNOWN_LENGTH,
    Element,
    FirstPass,
    joined,
    joined_elements,
    leaves,
)
from ib_keras.examples.rows import Examples, InMemory, Shape, fits

_SAME_ROWS = (
    "the same rows in the same order in each pass: a data set without `shuffle` and without random "
    "augmentation, or with `.cache()` after them; a PyDataset of its own, not that of `fit`, which "
    "calls its `on_epoch_end`; or arrays"
)
# Cardinality of a tf.data.Dataset that has no end.
_INFINITE = -1
# Smaller elements are joined until a batch has this number of rows or of bytes.
_BATCH, _BATCH_BYTES = 256, 1 << 24


def of(inputs: Any, targets: Any = None, name: str = "inputs") -> Examples:
    """Return the rows of inputs as ``Examples``.

    Args:
        inputs: a NumPy array, a TensorFlow tensor, a pandas object or nested lists of numbers,
            ``(n, ...)``; or a list or dict of arrays. Or a data set: a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, another iterable, a function that returns an iterator, or an
            iterator that ends. The elements of a data set are batches or single rows, with or
            without targets and weights: x, (x, y) or (x, y, weights), as for ``keras.Model.fit``.
            An iterator is copied to a temporary file, because it can be read only once.
        targets: the targets of arrays; for a data set, they replace its own.
        name: name of the argument in errors.

    Raises:
        ArgumentError: If the inputs are not numbers or texts of equal shapes, or do not end. A data
            set raises this when it is read.
    """
    check_orders(inputs, targets, name)
    if isinstance(inputs, Examples):
        return inputs
    if is_data_set(inputs):
        return DataSet(inputs, targets, name)
    arrays, structure = unpack(_dense(inputs, name), name)
    return InMemory([_plain(array, name) for array in arrays], structure, targets, name)


def check_orders(inputs: Any, targets: Any, name: str = "inputs") -> None:
    """Raise an error if pandas inputs and targets have equal row labels at different positions."""
    for own in targets.values() if isinstance(targets, Mapping) else (targets,):
        check_order(inputs, own, (name, "targets"))


def is_data_set(inputs: Any) -> bool:
    """Return whether inputs are a data set, rather than an array or a structure of arrays."""
    if isinstance(inputs, Examples):
        return isinstance(inputs, DataSet)
    arrays = (Mapping, list, tuple, str, bytes, pd.DataFrame, pd.Series, pd.Index)
    if isinstance(inputs, (*arrays, type)):
        return False
    if hasattr(inputs, "__array__") or hasattr(inputs, "shape"):
        return False
    readable = hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")
    return readable or callable(inputs)


class DataSet(Examples):
    """Rows of a data set, which is read again in each pass.

    The first pass counts the rows, collects the targets and computes checksums. Each later pass is
    compared with these checksums, because a data set that shuffles would pair rows with the
    targets of other rows.

    Args:
        source: the data set, as for ``of``.
        targets: targets that replace those of the data set.
        name: name of the argument in errors.
    """

    def __init__(self, source: Any, targets: Any, name: str) -> None:
        self.name, self._given = name, targets
        self._expected: Sequence[Shape] | None = None
        # Whether each element is one row, which is known once one has been seen.
        self._single: bool | None = None
        # An iterator can be read once, and is copied to files in the first pass.
        self._copies = hasattr(source, "__next__")
        self._read, self._ends = _reader(source, name)
        self._taken: dict[bytes, Examples] = {}

    def expect(self, shapes: Sequence[Shape]) -> None:
        """Tell the data set the shapes of a row of each of a model's inputs."""
        if "_first" not in self.__dict__:
            self._expected = shapes

    @functools.cached_property
    def _first(self) -> FirstPass:
        """The result of the first pass, which this property makes."""
        first = FirstPass(
            self.name, ends=self._ends, copies=self._copies, targets=self._given is None
        )
        for element in self._batches():
            first.add(*element)
        first.end()
        if first.copy is not None:
            self._read, self._single = functools.partial(first.copy.read, first), False
        else:  # a data set that shuffles is noticed here, before any work starts
            again = next(self._batches(), None)
            if again is None or not first.begins_with(again[0]):
                raise self._changed("other rows at the beginning of the second pass")
        return first

    @property
    def structure(self) -> dict[str, Any]:  # type: ignore[override]
        """Description of the structure of the inputs."""
        return self._first.structure

    @property
    def n(self) -> int:  # type: ignore[override]
        """Number of rows."""
        return self._first.n

    @property
    def shapes(self) -> list[tuple[int, ...]]:  # type: ignore[override]
        """The shape of a row of each array."""
        return self._first.shapes

    @property
    def dtypes(self) -> list[np.dtype]:  # type: ignore[override]
        """The dtype of each array."""
        return self._first.dtypes

    @property
    def targets(self) -> Any:
        """The targets that were passed, or else those of the data set."""
        return self._first.targets if self._given is None else self._given

    @property
    def checksums(self) -> list[str]:  # type: ignore[override]
        """A checksum of each array."""
        return self._first.checksums

    def codes(self) -> np.ndarray:
        """Return integer codes of the distinct rows, ``(n,)``, in order of first appearance."""
        return self._first.codes

    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        """Yield the arrays of all rows in order, ``size`` rows at a time."""
        first = self._first
        seen = [Checksum() for _ in first.shapes]
        held: list[list[np.ndarray]] = []
        rows = 0
        for arrays, _, _ in self._batches():
            arrays = first.conform(arrays)
            for one, array in zip(seen, arrays, strict=True):
                one.add(array)
            if seen[0].rows > first.n:
                break
            held.append(arrays)
            rows += len(arrays[0])
            while rows >= size:
                whole = joined(held)
                yield [array[:size] for array in whole]
                held, rows = [[array[size:] for array in whole]], rows - size
        if [one.digest() for one in seen] != first.checksums:
            raise self._changed("other rows in a later pass")
        if rows:
            yield joined(held)

    def take(self, rows: np.ndarray) -> Examples:
        """Return some rows in memory; they are kept, because each epoch needs them again."""
        key = rows.tobytes()
        if key not in self._taken:
            self._taken = {key: super().take(rows)}
        return self._taken[key]

    def _changed(self, received: str) -> ArgumentError:
        return ArgumentError(
            f"`{self.name}` is a data set that changes from pass to pass", _SAME_ROWS, received
        )

    def _batches(self) -> Iterator[Element]:
        """Read a pass, and join small elements, because each batch takes some time."""
        held: list[Element] = []
        rows = nbytes = 0
        for element in self._elements(self._start()):
            full = rows >= _BATCH or nbytes >= _BATCH_BYTES
            if held and (full or _form(held[0]) != _form(element)):
                yield joined_elements(held)
                held, rows, nbytes = [], 0, 0
            held.append(element)
            rows += len(element[0][0])
            nbytes += sum(array.nbytes for array in element[0])
        if held:
            yield joined_elements(held)

    def _start(self) -> Iterable[Any]:
        """Begin a pass; a tf.data.Dataset of single rows is batched by TensorFlow."""
        elements: Any = self._read()
        if hasattr(elements, "element_spec") and hasattr(elements, "batch"):
            x, y = (_shapes(part) for part in _parted(elements.element_spec, self.name))
            if None not in (*x, *y):
                self._single = False
                return elements if self._are_batches(x, y) else elements.batch(_fitting(x))
        return elements

    def _elements(self, elements: Iterable[Any]) -> Iterator[Element]:
        """Yield the inputs of each element as a batch, their structure and the targets."""
        for element in self._guarded(elements):
            x, y = _parted(element, self.name)
            arrays, structure = unpack(_dense(x, self.name), self.name)
            y = _dense(y, self.name)
            if self._single is None:
                shapes = [array.shape for array in arrays]
                self._single = not self._are_batches(shapes, [one.shape for one in leaves(y)])
            if self._single:
                arrays = [array[None] for array in arrays]
                y = _map(lambda value: value[None], y)
            every = [*arrays, *leaves(y)]
            lengths = {len(array) if array.ndim else None for array in every}
            if len(lengths) > 1 or None in lengths:
                raise ArgumentError(
                    f"An element of `{self.name}` has inputs and targets of different lengths",
                    "batches of rows, or single rows",
                    f"shapes {[array.shape for array in every]}",
                )
            if lengths != {0}:
                yield [_plain(array, self.name) for array in arrays], structure, y

    def _guarded(self, elements: Iterable[Any]) -> Iterator[Any]:
        """Yield the elements; errors of TensorFlow are raised again with the data set's name."""
        try:
            yield from elements
        except ArgumentError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith("tensorflow"):
                raise
            raise ArgumentError(
                f"`{self.name}` cannot be read",
                "a tf.data.Dataset that can be read to its end, and whose rows have one shape: pad "
                "or crop them",
                str(error).splitlines()[0],
            ) from error

    def _are_batches(self, inputs: Sequence[Shape], targets: Sequence[Shape]) -> bool:
        """Return whether elements of these shapes are batches rather than rows.

        The shapes of a model's inputs decide, if they are known and match. Otherwise elements are
        batches if the first axes of the inputs and targets are equal, except that a vector of a
        known length without targets is a row.
        """
        if self._expected is not None and len(self._expected) == len(inputs):
            for like in (functools.partial(fits, exact=True), fits, _of_equal_rank):
                for first in (1, 0):
                    rows = [shape[first:] for shape in inputs]
                    if all(len(shape) >= first for shape in inputs) and all(
                        map(like, rows, self._expected)
                    ):
                        return bool(first)
        if not targets and all(len(shape) == 1 and shape[0] is not None for shape in inputs):
            return False
        shapes = [*inputs, *targets]
        return all(shapes) and len({shape[0] for shape in shapes} - {None}) < 2


def _reader(source: Any, name: str) -> tuple[Callable[[], Iterable[Any]], bool]:
    """Return a function that begins a pass over a data set, and whether it is known to end."""
    if hasattr(source, "__next__") and not _is_paged(source):
        return (lambda: source), False
    if hasattr(source, "element_spec") and hasattr(source, "batch"):  # tf.data.Dataset
        cardinality = int(source.cardinality())
        if cardinality == _INFINITE:
            raise _endless(name, "a tf.data.Dataset that repeats without end")
        return (lambda: source), cardinality >= 0
    if not _is_paged(source):
        if hasattr(source, "__iter__"):
            return (lambda: iter(source)), False
        if callable(source):
            return source, False
    try:
        length = source.num_batches if _is_paged(source) else len(source)
    except (TypeError, NotImplementedError):
        length = None
    if length is None:
        raise _endless(name, f"a {type(source).__name__} without a length")
    return (lambda: (source[i] for i in range(length))), True


def _is_paged(source: Any) -> bool:
    """Return whether this is a keras.utils.PyDataset, whose own iterator may have no end."""
    return hasattr(type(source), "num_batches")


def _endless(name: str, received: str) -> ArgumentError:
    return ArgumentError(f"`{name}` has no end", KNOWN_LENGTH, received)


def _parted(element: Any, name: str) -> tuple[Any, Any]:
    """Return the inputs and targets of an element, by the rules of ``keras.Model.fit``."""
    if not isinstance(element, (tuple, list)):
        return element, None
    if not 1 <= len(element) <= 3:
        raise ArgumentError(
            f"An element of `{name}` is not an example",
            "x, (x, y) or (x, y, weights); several inputs as a tuple or dict in the place of x",
            f"a {type(element).__name__} of {len(element)}",
        )
    return element[0], element[1] if len(element) > 1 else None


def _dense(value: Any, name: str) -> Any:
    """Convert the tensors of a structure to arrays."""

    def array(leaf: Any) -> np.ndarray:
        if hasattr(leaf, "row_splits") or hasattr(leaf, "dense_shape"):
            raise ArgumentError(
                f"`{name}` has ragged or sparse tensors",
                "dense ones: map them by `.to_tensor()` or `tf.sparse.to_dense`",
                type(leaf).__name__,
            )
        return as_array(leaf.numpy() if hasattr(leaf, "numpy") else leaf, name)

    return None if value is None else _map(array, value)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to a value, or to the entries of a dict or of a list of arrays."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _map(function, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and all(hasattr(one, "shape") for one in value):
        return [function(one) for one in value]
    return function(value)


def _shapes(spec: Any) -> list[Any]:
    """Return the shapes of TensorFlow's specifications of tensors, ``None`` for unknown ones."""
    shapes: list[Any] = [one.shape for one in leaves(spec)]
    return [None if shape.rank is None else tuple(shape) for shape in shapes]


def _fitting(shapes: Sequence[Shape]) -> int:
    """Return how many rows of these shapes a batch should have."""
    nbytes = 4 * sum(math.prod(size or 1 for size in shape) for shape in shapes)
    return max(1, min(_BATCH, _BATCH_BYTES // nbytes))


def _of_equal_rank(shape: Shape, row: Shape) -> bool:
    return len(shape) == len(row)


def _form(element: Element) -> Any:
    """Return the structure, shapes and dtypes that elements must share to be joined."""
    arrays, structure, targets = element
    forms = [(array.shape[1:], array.dtype.char) for array in arrays]
    return structure, forms, _map(lambda one: (one.shape[1:], one.dtype.char), targets)


def _plain(array: np.ndarray, name: str) -> np.ndarray:
    """Convert an array to one of NumPy's own dtypes of numbers or texts."""
    if array.dtype.kind in "biufcU" and array.dtype.isbuiltin == 1:
        return array
    if array.dtype.isbuiltin == 2:  # bfloat16 and others of ml_dtypes
        return array.astype(np.float32)
    values = array.astype(object)
    kinds = {type(value) for value in values.flat}
    try:
        if kinds <= {str, bytes, np.str_, np.bytes_}:
            texts = [v.decode() if isinstance(v, bytes) else v for v in values.flat]
            return np.array(texts, str).reshape(array.shape)
    except UnicodeDecodeError:
        kinds = {bytes}
    if all(issubclass(kind, (int, float, np.number, np.bool_)) for kind in kinds):
        return values.astype(np.float64)
    raise ArgumentError(
        f"`{name}` is not numeric",
        "arrays of numbers, or of texts in UTF-8",
        f"objects of the types {sorted(kind.__name__ for kind in kinds)}",
    )
