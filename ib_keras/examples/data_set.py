"""Rows of a data set, which is read in passes and never held in memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import as_array
from ib_keras.arrays.structures import Checksum, unpack
from ib_keras.errors import ArgumentError
from ib_keras.examples.first_pass import KNOWN_LENGTH, FirstPass, joined
from ib_keras.examples.rows import Examples, InMemory

_SAME_ROWS = (
    "the same rows in the same order in each pass: a data set without `shuffle` and without random "
    "augmentation, or with `.cache()` after them; or arrays"
)
# Cardinality of a tf.data.Dataset that has no end, and the size of the batches of one that has
# single rows.
_INFINITE, _BATCH = -1, 256


def of(inputs: Any, targets: Any = None, name: str = "inputs") -> Examples:
    """Return the rows of inputs.

    Args:
        inputs: a NumPy array, a TensorFlow tensor, a pandas object or nested lists of numbers,
            ``(n, ...)``; or a list or dict of arrays. Or a data set: a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset``, another iterable, a function that returns an iterator, or an
            iterator that ends. Its elements are batches or single rows, with or without targets and
            weights: x, (x, y) or (x, y, weights), as for ``keras.Model.fit``. An iterator is copied
            to a temporary file, because it can be read only once.
        targets: the targets of arrays; for a data set, they replace its own.
        name: name of the argument in errors.

    Raises:
        ArgumentError: If the inputs are not numbers or texts of equal shapes, or do not end. A data
            set raises this when it is read.
    """
    if isinstance(inputs, Examples):
        return inputs
    if is_data_set(inputs):
        return DataSet(inputs, targets, name)
    arrays, structure = unpack(_dense(inputs, name), name)
    return InMemory([_plain(array, name) for array in arrays], structure, targets, name)


def is_data_set(inputs: Any) -> bool:
    """Return whether inputs are read in passes, rather than an array or a structure of arrays."""
    if isinstance(inputs, Examples):
        return isinstance(inputs, DataSet)
    if isinstance(inputs, (Mapping, list, tuple, str, bytes, pd.DataFrame, pd.Series, pd.Index)):
        return False
    if hasattr(inputs, "__array__") or hasattr(inputs, "shape"):
        return False
    readable = hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")
    return readable or (callable(inputs) and not isinstance(inputs, type))


class DataSet(Examples):
    """Rows of a data set, which is read again in each pass.

    The first pass counts the rows, collects the targets and computes checksums. Each later pass is
    compared with them, because the rows of a data set that shuffles would get other rows' targets.

    Args:
        source: the data set, as for ``of``.
        targets: targets that replace those of the data set.
        name: name of the argument in errors.
    """

    def __init__(self, source: Any, targets: Any, name: str) -> None:
        self._name, self._given = name, targets
        self._axes: int | None = None
        # An iterator can be read once, and is copied to files in the first pass.
        self._copies = hasattr(source, "__next__")
        self._read, self._ends = _reader(source, name)

    def _pass(self) -> Iterator[Any]:
        """Begin a pass, in which TensorFlow joins single rows to batches."""
        elements: Any = self._read()
        spec = getattr(elements, "element_spec", None)
        if spec is not None:
            x, y = (_shapes(part) for part in _parted(spec, self._name))
            if None not in (*x, *y) and not self._is_batch(x, y):
                elements = elements.batch(_BATCH)
        return iter(elements)

    def expect(self, ranks: Sequence[int]) -> None:
        """Tell the data set the number of axes of a model's inputs, with the axis of the batch."""
        if "_first" not in self.__dict__:
            self._axes = sum(ranks)

    @functools.cached_property
    def _first(self) -> FirstPass:
        """What the first pass finds."""
        first = FirstPass(self._name, ends=self._ends, copies=self._copies)
        for arrays, structure, targets in self._elements(self._pass()):
            first.add(arrays, structure, targets)
        first.end()
        if first.copy is not None:
            self._read = first.copy.read
        else:  # a data set that shuffles is noticed here, before any work starts
            again, _, _ = next(self._elements(self._pass()), ([], {}, None))
            if not first.begins_with(again):
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
        pending: list[list[np.ndarray]] = []
        for arrays, _, _ in self._elements(self._pass()):
            arrays = first.conform(arrays)
            for one, array in zip(seen, arrays, strict=True):
                one.add(array)
            if seen[0].rows > first.n:
                break
            pending.append(arrays)
            while sum(len(part[0]) for part in pending) >= size:
                whole = joined(pending)
                yield [array[:size] for array in whole]
                rest = [array[size:] for array in whole]
                pending = [rest] if len(rest[0]) else []
        if [one.digest() for one in seen] != first.checksums:
            raise self._changed("other rows in a later pass")
        if pending:
            yield joined(pending)

    def _changed(self, received: str) -> ArgumentError:
        return ArgumentError(
            f"`{self._name}` is a data set that changes from pass to pass", _SAME_ROWS, received
        )

    def _elements(
        self, elements: Iterable[Any]
    ) -> Iterator[tuple[list[np.ndarray], dict[str, Any], Any]]:
        """Yield the inputs of each element as a batch of rows, their structure and the targets."""
        for element in self._guarded(elements):
            x, y = _parted(element, self._name)
            arrays, structure = unpack(_dense(x, self._name), self._name)
            y = _dense(y, self._name)
            leaves = _leaves(y)
            if not self._is_batch([a.shape for a in arrays], [a.shape for a in leaves]):
                arrays = [array[None] for array in arrays]
                y = _map(lambda value: np.asarray(value)[None], y)
                leaves = _leaves(y)
            lengths = {len(a) if a.ndim else None for a in [*arrays, *leaves]}
            if len(lengths) > 1 or None in lengths:
                raise ArgumentError(
                    f"An element of `{self._name}` has inputs and targets of different lengths",
                    "batches of rows, or single rows",
                    f"shapes {[a.shape for a in [*arrays, *leaves]]}",
                )
            if lengths != {0}:
                yield [_plain(array, self._name) for array in arrays], structure, y

    def _guarded(self, elements: Iterable[Any]) -> Iterator[Any]:
        """Yield the elements; an error of TensorFlow says which data set it is about."""
        try:
            yield from elements
        except ArgumentError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith("tensorflow"):
                raise
            raise ArgumentError(
                f"`{self._name}` cannot be read",
                "a tf.data.Dataset whose rows all have one shape: pad or crop them",
                str(error).splitlines()[0],
            ) from error

    def _is_batch(self, inputs: Sequence[tuple], targets: Sequence[tuple]) -> bool:
        """Whether elements of these shapes are batches rather than rows.

        The number of axes of the model's inputs decides it, or else whether the first axes of the
        inputs and targets are equal.
        """
        axes = sum(map(len, inputs))
        if self._axes is not None and axes in (self._axes, self._axes - len(inputs)):
            return axes == self._axes
        shapes = [*inputs, *targets]
        return all(shapes) and len({shape[0] for shape in shapes}) == 1


def _reader(source: Any, name: str) -> tuple[Callable[[], Iterable[Any]], bool]:
    """Return a function that begins a pass over a data set, and whether it is known to end."""
    if hasattr(source, "element_spec"):  # tf.data.Dataset
        cardinality = int(source.cardinality())
        if cardinality == _INFINITE:
            raise _endless(name, "a tf.data.Dataset that repeats without end")
        return (lambda: source), cardinality >= 0
    if hasattr(source, "__next__"):
        return (lambda: source), False
    if not hasattr(source, "__iter__") and callable(source):
        return source, False
    try:
        length = len(source)
    except (TypeError, NotImplementedError):
        if not hasattr(source, "__iter__"):
            raise _endless(name, f"a {type(source).__name__} without a length") from None
        return (lambda: iter(source)), False
    if hasattr(source, "num_batches"):  # keras.utils.PyDataset, whose iterator has no end
        return (lambda: (source[i] for i in range(length))), True
    return (lambda: iter(source)), True


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
    """Return a structure of tensors as one of arrays."""

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
    shapes: list[Any] = [one.shape for one in _leaves(spec)]
    return [None if shape.rank is None else tuple(shape) for shape in shapes]


def _leaves(value: Any) -> list[np.ndarray]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(itertools.chain.from_iterable(map(_leaves, value.values())))
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _plain(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of objects as one of numbers or texts."""
    if array.dtype != object:
        return array
    kinds = {type(value) for value in array.flat}
    if kinds <= {str, bytes, np.str_, np.bytes_}:
        decoded = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in array.flat]
        return np.array(decoded, str).reshape(array.shape)
    if all(issubclass(kind, (int, float, np.number, np.bool_)) for kind in kinds):
        return array.astype(np.float64)
    raise ArgumentError(
        f"`{name}` is not numeric",
        "arrays of numbers or texts",
        f"objects of the types {sorted(kind.__name__ for kind in kinds)}",
    )
