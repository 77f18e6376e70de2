"""Targets of any kind: class labels, numbers, and several targets of the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import check_count
from ib_keras.arrays.codes import row_codes
from ib_keras.arrays.labels import (
    Labels,
    Name,
    are_labels,
    as_plain,
    categorical,
    column,
    encode_labels,
    is_one_hot,
    recode,
)
from ib_keras.errors import ArgumentError

Encode = Callable[[Any, int, str], Labels]

# The forms in which to pass other values, by the kind that pandas infers.
_TIMES = "times as floats, such as (y - y.min()).total_seconds() in pandas, or as classes"
_EXPECTED = {
    **dict.fromkeys(
        ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period"), _TIMES
    ),
    "complex": "real and imaginary parts in two columns of floats",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """One variable Y: the class or the numbers of each row.

    Args:
        name: the name, or ``""`` if there is only one target.
        values: codes 0…K−1 of classes, int64 ``(n,)``, or numbers, float64 ``(n, k)``.
        class_names: the names of the K classes in the order of their codes; ``None`` for numbers.
    """

    name: str
    values: np.ndarray
    class_names: tuple[Name, ...] | None

    @property
    def quantity(self) -> str:
        """The quantity in tables of estimates: ``"I(T;Y)"``, or ``"I(T;Y[name])"``."""
        return f"I(T;Y[{self.name}])" if self.name else "I(T;Y)"

    @property
    def is_continuous(self) -> bool:
        """Whether the values are numbers rather than classes."""
        return self.class_names is None


def as_targets(y: Any, n: int, name: str = "targets") -> tuple[Target, ...]:
    """Return the targets that ``y`` holds, each with its name.

    Class labels, by the rules of ``arrays.labels.encode_labels``, and one-hot rows are one target.
    Floats that are not labels, ``(n,)`` or ``(n, k)``, are one target of numbers. The following are
    several targets, each with a name:

    * a mapping name → array;
    * a list or tuple of arrays, like the outputs of a Keras model: ``"0"``, ``"1"``, …;
    * a matrix of 0 and 1 that is not one-hot (several labels per row), or a matrix of other
      integers, of booleans or of strings: one target for each column, ``"0"``, ``"1"``, …;
    * a DataFrame whose columns are not all floats and which is not one-hot: one target for each
      column, by its name.

    A matrix of several targets inside a mapping or a list gives ``"name.0"``, ``"name.1"``, …

    Args:
        y: targets of n rows, as NumPy or TensorFlow arrays, pandas objects, or lists of values; or
            ``None``; or a tuple of ``Target``, which is returned unchanged.
        n: expected number of rows.
        name: name of the argument in error messages.

    Returns:
        The targets; an empty tuple for ``None``.

    Raises:
        ArgumentError: If a target does not have n rows, has missing, NaN or infinite values, or
            holds neither class labels nor numbers; if labels are an identifier; or if names are
            empty, repeated or not strings.
    """
    if isinstance(y, tuple) and all(isinstance(one, Target) for one in y):
        return y
    if hasattr(y, "element_spec") or hasattr(y, "__next__"):
        raise ArgumentError(
            f"`{name}` is a data set",
            "arrays; or a data set of (inputs, targets) as the inputs, without targets beside it",
            type(y).__name__,
        )
    return () if y is None else _split(y, n, name, encode_labels)


def as_target(y: Any, n: int, name: str = "y") -> Target:
    """Return the only target that ``y`` holds, without the check for an identifier.

    The rules are otherwise those of ``as_targets``.

    Raises:
        ArgumentError: If ``y`` holds several targets, or is invalid.
    """
    targets = (y,) if isinstance(y, Target) else _split(y, n, name, recode)
    if len(targets) > 1:
        raise ArgumentError(
            f"`{name}` holds several targets",
            "one target: labels (n,), one-hot rows, or floats (n,) or (n, k); pass several targets "
            "one at a time",
            f"{len(targets)} targets",
        )
    return targets[0]


def classes_of(y: Any, n: int, bins: int, name: str = "y") -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the classes of a target, with numbers quantised to cells of equal counts.

    Args:
        y: one target: class labels ``(n,)``, one-hot rows, or numbers ``(n,)`` or ``(n, k)``.
        n: expected number of rows.
        bins: number of cells for numbers.
        name: name of the argument in error messages.

    Returns:
        Codes 0…K−1, ``(n,)``, and the flags: ``("binned_target",)`` for numbers, otherwise none.

    Raises:
        ArgumentError: If ``y`` is invalid or holds several targets, or there are fewer rows than
            cells.
    """
    target = as_target(y, n, name)
    if not target.is_continuous:
        return target.values, ()
    return equal_count_cells(target.values, bins, name), ("binned_target",)


def equal_count_cells(values: np.ndarray, cells: int, name: str = "y") -> np.ndarray:
    """Divide rows of numbers into cells with counts as equal as ties permit.

    The rows are divided in two by the first column, each part by the second column, and so on, in
    proportion to the number of cells that each part will have. The cells of a single column are its
    quantile bins. Equal rows are in the same cell. The cells do not depend on the order of the
    rows, nor on the scales of the columns.

    Args:
        values: finite numbers, ``(n, k)``.
        cells: number of cells. There are fewer only if there are fewer different rows.
        name: name of the argument in error messages.

    Returns:
        Codes from 0, ``(n,)``.

    Raises:
        ArgumentError: If there are fewer rows than cells.
    """
    cells = check_count(cells, "bins", 2)
    n, dim = values.shape
    if n < cells:
        raise ArgumentError(
            f"`{name}` has fewer rows than cells for its numbers",
            f"at least {cells} rows, or fewer bins (`target_bins`)",
            f"{n} rows",
        )
    different = row_codes(values)
    codes = np.zeros(n, np.int64)

    def count(rows: np.ndarray) -> int:
        return len(np.unique(different[rows]))

    def divide(rows: np.ndarray, cells: int, first: int, axis: int) -> None:
        """Give the rows the codes from ``first`` to ``first + cells − 1``."""
        if cells == 1:
            codes[rows] = first
            return
        part = values[rows]
        while (part[:, axis] == part[0, axis]).all():
            axis = (axis + 1) % dim
        ordered = np.sort(part[:, axis])
        size = _nearest_edge(ordered, len(rows) * (cells // 2) / cells)
        below = part[:, axis] < ordered[size]
        left, right = rows[below], rows[~below]
        wanted = round(cells * size / len(rows))
        inside = min(max(wanted, 1, cells - count(right)), cells - 1, count(left))
        axis = (axis + 1) % dim
        divide(left, inside, first, axis)
        divide(right, cells - inside, first + inside, axis)

    rows = np.arange(n)
    divide(rows, min(cells, count(rows)), 0, 0)
    return codes


def _nearest_edge(ordered: np.ndarray, position: float) -> int:
    """Return the index of the edge between different values that is nearest to the position."""
    size = len(ordered)
    value = ordered[min(max(round(position), 1), size - 1)]
    edges = (int(np.searchsorted(ordered, value, side)) for side in ("left", "right"))
    return min((e for e in edges if 0 < e < size), key=lambda e: abs(e - position))


def _split(y: Any, n: int, shown: str, encode: Encode) -> tuple[Target, ...]:
    """Return the targets in a structure of arrays."""
    if isinstance(y, Mapping):
        parts = dict(y)
    elif _are_outputs(y, n):
        parts = {str(i): part for i, part in enumerate(y)}
    else:
        return tuple(_of_array(y, n, "", shown, encode))
    if not parts:
        raise ArgumentError(f"`{shown}` holds no targets", "at least one, or None", repr(y))
    targets = []
    for key, part in parts.items():
        if not isinstance(key, str) or not key:
            raise ArgumentError(
                f"A name of `{shown}` is invalid", "a string that is not empty", repr(key)
            )
        if isinstance(part, Mapping) or part is None:
            raise ArgumentError(
                f"`{shown}[{key!r}]` is not an array",
                "one array for each name, without further mappings",
                type(part).__name__,
            )
        # A model with one output takes its targets as a list of one array.
        alone = len(parts) == 1 and not isinstance(y, Mapping)
        targets += _of_array(part, n, "" if alone else key, f"{shown}[{key!r}]", encode)
    return _distinct(targets, shown)


def _are_outputs(y: Any, n: int) -> bool:
    """Return whether ``y`` is a list of arrays, one for each output of a model, and not of rows."""
    if not isinstance(y, (list, tuple)) or not y:
        return False
    if not all(len(getattr(part, "shape", ())) > 0 for part in y):
        return False
    return len(y) != n or all(len(part) == n for part in y)


def _of_array(y: Any, n: int, name: str, shown: str, encode: Encode) -> list[Target]:
    """Return the target of an array, or the targets of its columns."""
    if isinstance(y, pd.DataFrame) and y.shape[1] > 1 and not _is_matrix(y, shown):
        return _of_columns([y.iloc[:, i] for i in range(y.shape[1])], y, n, name, shown, encode)
    if categorical(y) is None:
        array = column(as_plain(y, shown))
        kind = array.dtype.kind
        _check_shape(array, n, shown)
        _check_kind(array, shown)
        if kind == "f":
            with np.errstate(over="ignore"):  # longer floats
                array = array.astype(np.float64)
            _check_finite(array, shown)
        if array.ndim == 2:
            bits = kind in "biuf" and bool(((array == 0) | (array == 1)).all())
            if not (bits and is_one_hot(array)) and (kind != "f" or bits):
                return _of_columns(list(array.T), y, n, name, shown, encode)
        if kind == "f" and not are_labels(array):
            return [Target(name, array.reshape(n, -1), None)]
    labels = encode(y, n, shown)
    return [Target(name, labels.codes, labels.names)]


def _of_columns(
    columns: list[Any], y: Any, n: int, name: str, shown: str, encode: Encode
) -> list[Target]:
    """Return one target for each column of a matrix or a DataFrame."""
    named = isinstance(y, pd.DataFrame)
    names = list(map(str, y.columns)) if named else [str(i) for i in range(len(columns))]
    if "" in names:
        raise ArgumentError(
            f"A column of `{shown}` has an empty name", "a name for each column", repr(names)
        )
    targets: list[Target] = []
    for one, values in zip(names, columns, strict=True):
        place = f"{shown}[{one!r}]" if named else f"{shown}[:, {one}]"
        targets += _of_array(values, n, f"{name}.{one}" if name else one, place, encode)
    return list(_distinct(targets, shown))


def _distinct(targets: list[Target], shown: str) -> tuple[Target, ...]:
    names = [target.name for target in targets]
    if repeated := sorted({one for one in names if names.count(one) > 1}):
        raise ArgumentError(f"Names of `{shown}` repeat", "different names", repr(repeated))
    return tuple(targets)


def _is_matrix(frame: pd.DataFrame, shown: str) -> bool:
    """Return whether a DataFrame is one matrix: all floats, or one-hot rows of numbers."""
    kinds = pd.api.types
    if all(kinds.is_float_dtype(dtype) for dtype in frame.dtypes):
        return True
    numeric = all(kinds.is_numeric_dtype(dtype) for dtype in frame.dtypes)
    return numeric and is_one_hot(as_plain(frame, shown))


def _check_shape(array: np.ndarray, n: int, shown: str) -> None:
    if array.ndim == 0 or len(array) != n:
        raise ArgumentError(
            f"`{shown}` has the wrong length",
            f"one value for each of the {n} samples",
            f"shape {array.shape}, dtype {array.dtype}",
        )
    if array.ndim > 2 or array.size == 0:
        raise ArgumentError(
            f"`{shown}` does not have the shape of targets",
            "(n,) or (n, k); flatten arrays of more dimensions with .reshape(n, -1)",
            f"shape {array.shape}",
        )


def _check_kind(array: np.ndarray, shown: str) -> None:
    kind = pd.api.types.infer_dtype(array.reshape(-1), skipna=True)
    if kind in _EXPECTED:
        raise ArgumentError(
            f"`{shown}` holds neither class labels nor numbers", _EXPECTED[kind], f"{kind} values"
        )


def _check_finite(numbers: np.ndarray, shown: str) -> None:
    finite = np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
    if not finite.all():
        raise ArgumentError(
            f"`{shown}` has NaN or infinite values",
            "finite numbers: remove these rows from the inputs and all targets",
            f"{int((~finite).sum())} of {len(finite)} rows",
        )
