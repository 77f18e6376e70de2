"""Class labels of any kind, as codes 0…K−1 with the names that they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras.errors import ArgumentError

Name = str | int

# Whole-number floats are labels if there are two values, or at most so many with three rows each.
_WHOLE, _ROWS_EACH = 100, 3
# From so many rows on, more labels than this share of the rows are not classes.
_JUDGED, _IDENTIFIER = 20, 0.75
# So many names are listed in a table's provenance.
_LISTED = 1000


class Labels(NamedTuple):
    """Class labels as codes.

    Args:
        codes: ``(n,)`` int64 from 0 to K − 1.
        names: the K labels as they were given: texts, integers or booleans. They are in ascending
            order, or in that of a pandas Categorical.
    """

    codes: np.ndarray
    names: tuple[Name, ...]


def encode_labels(y: Any, n: int, name: str = "y") -> Labels:
    """Recodes class labels where they come in; an identifier is refused.

    Labels are integers of any type and with gaps, booleans, texts, a pandas Categorical (in the
    order of its categories), or one-hot rows. Floats are labels if they are whole and few: two
    values, or at most 100 values with three rows each on average. From 20 rows on, more than three
    different labels to four rows are an identifier.

    Args:
        y: ``(n,)`` or ``(n, 1)`` labels, or ``(n, K)`` one-hot.
        n: number of rows.
        name: of the argument, for errors.

    Returns:
        Codes and names.

    Raises:
        ArgumentError: lengths differ, some labels are missing, or they are not labels of classes.
    """
    return refuse_identifier(recode(y, n, name), name)


def as_labels(y: Any, n: int, name: str = "y") -> np.ndarray:
    """Class labels as ``(n,)`` integer codes 0…K−1, as ``encode_labels``, of whatever number.

    Raises:
        ArgumentError: lengths differ, some labels are missing, or they are not labels of classes.
    """
    return recode(y, n, name).codes


def are_labels(y: Any) -> bool:
    """Whether targets are labels of classes rather than numbers, by the rules of ``encode_labels``.

    Args:
        y: ``(n, ...)`` targets.

    Raises:
        ArgumentError: the rows differ in length.
    """
    if _categorical(y) is not None:
        return True
    array = _column(_array(y, "targets"))
    if array.dtype.kind not in "iuf":
        return True
    if array.ndim == 2:
        return _is_one_hot(array)
    return array.ndim == 1 and (array.dtype.kind != "f" or _are_whole_and_few(array))


def refuse_identifier(labels: Labels, name: str = "y") -> Labels:
    """The labels, unless there are nearly as many as rows.

    Raises:
        ArgumentError: there are.
    """
    n, k = len(labels.codes), len(labels.names)
    if n >= _JUDGED and k > _IDENTIFIER * n:
        some = ", ".join(repr(one) for one in labels.names[:3])
        raise ArgumentError(
            f"`{name}` is an identifier, not a class: nearly every row has its own",
            f"at most {int(_IDENTIFIER * n)} different labels in {n} rows; quantities are binned",
            f"{k} different ones, {some}, …",
        )
    return labels


def are_names(value: Any) -> bool:
    """Whether a value of JSON is a list of labels' names."""
    return isinstance(value, list) and all(isinstance(name, (str, int)) for name in value)


def provenance_of(names: Sequence[Name] | None) -> list[Name] | int | None:
    """What the provenance of a table says of its labels: their names, or of many their number."""
    if names is None:
        return None
    return list(names) if len(names) <= _LISTED else len(names)


def recode(y: Any, n: int, name: str = "y") -> Labels:
    """As ``encode_labels``, of whatever number of labels.

    Raises:
        ArgumentError: lengths differ, some labels are missing, or they are not labels of classes.
    """
    if (categories := _categorical(y)) is not None:
        _check_length(categories.codes, n, name)
        return _of_categories(categories, name)
    array = _array(y, name)
    _check_length(array, n, name)
    array = _column(array)
    kind = array.dtype.kind
    if kind == "f" and np.isnan(array).any():
        raise _missing(name, int(np.isnan(array).sum()), array.size)
    if array.ndim == 2 and kind in "fiub":
        return _of_one_hot(array, y, name)
    if array.ndim == 1 and kind == "O":
        return _of_objects(array, name)
    if array.ndim != 1 or kind not in "fiubUS" or (kind == "f" and not _are_whole_and_few(array)):
        raise ArgumentError(
            f"`{name}` holds no class labels",
            "integers, booleans or texts of shape (n,), or one-hot rows; floats are labels if they "
            "are whole and few; bin other numbers, or .astype(int) what are classes",
            f"dtype {array.dtype}, shape {array.shape}",
        )
    values, codes = np.unique(array, return_inverse=True)
    return Labels(codes.reshape(-1).astype(np.int64), tuple(map(_name, values.tolist())))


def _of_categories(categories: pd.Categorical, name: str) -> Labels:
    codes = np.asarray(categories.codes, np.int64)
    if (absent := int((codes < 0).sum())) > 0:
        raise _missing(name, absent, len(codes))
    used = np.bincount(codes, minlength=len(categories.categories)) > 0
    names = [_name(v) for v, there in zip(categories.categories, used, strict=True) if there]
    return Labels((np.cumsum(used) - 1)[codes], tuple(names))


def _of_one_hot(array: np.ndarray, y: Any, name: str) -> Labels:
    if not _is_one_hot(array):
        raise ArgumentError(
            f"`{name}` is a matrix but not one-hot",
            "shape (n,) of class labels, or (n, classes) with a single 1 in each row",
            f"shape {array.shape}, rows such as {array[0].tolist()}",
        )
    columns = list(getattr(y, "columns", range(array.shape[1])))  # a DataFrame's have names
    values, codes = np.unique(array.argmax(axis=1), return_inverse=True)
    return Labels(codes.reshape(-1).astype(np.int64), tuple(_name(columns[v]) for v in values))


def _of_objects(array: np.ndarray, name: str) -> Labels:
    """Of texts, booleans or large integers; without an array as wide as the longest text."""
    if (absent := int(pd.isna(array).sum())) > 0:
        raise _missing(name, absent, len(array))
    values = [_name(v) if isinstance(v, (str, bytes, int, np.generic)) else v for v in array]
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {str, bool, int}:
        raise ArgumentError(
            f"`{name}` holds no class labels",
            "labels of one kind: texts, integers or booleans",
            f"objects of the types {sorted(kind.__name__ for kind in kinds)}",
        )
    names = sorted(set(values))
    code = {one: i for i, one in enumerate(names)}
    return Labels(np.fromiter((code[v] for v in values), np.int64, len(values)), tuple(names))


def _array(y: Any, name: str) -> np.ndarray:
    """``y`` as an array; texts of a list, and objects that are numbers, as what they are."""
    try:
        array = np.asarray(y)
        if array.dtype.kind in "UST" and not isinstance(y, np.ndarray):
            array = np.asarray(y, dtype=object)  # NumPy makes texts of what stands beside texts
    except ValueError as error:
        raise ArgumentError(f"`{name}` is not an array", "rows of equal length", error) from None
    if array.dtype.kind == "T":  # NumPy's texts of any length
        array = array.astype(object)
    if array.dtype.kind == "O" and array.size:
        kinds = {type(value) for value in array.flat}
        if any(issubclass(kind, (float, np.floating)) for kind in kinds) and all(
            issubclass(kind, (float, int, np.floating, np.integer)) and kind is not bool
            for kind in kinds
        ):
            array = array.astype(np.float64)
    return array


def _categorical(y: Any) -> pd.Categorical | None:
    """The pandas Categorical that ``y`` is or holds."""
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    if not isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        return None
    return pd.Categorical(y)


def _column(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and ((array == 1).sum(axis=1) == 1).all())


def _are_whole_and_few(array: np.ndarray) -> bool:
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        return False
    k = len(np.unique(array))
    return k <= 2 or (k <= _WHOLE and k * _ROWS_EACH <= len(array))


def _name(value: Any) -> Name:
    """A label as JSON has it: whole numbers as integers, and what is neither text nor number, such
    as an interval, as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) in (str, int, bool) else str(value)


def _check_length(array: np.ndarray, n: int, name: str) -> None:
    if array.ndim == 0 or len(array) != n:
        raise ArgumentError(
            f"`{name}` does not match the activations",
            f"one label for each of the {n} samples",
            f"shape {array.shape}",
        )


def _missing(name: str, count: int, size: int) -> ArgumentError:
    return ArgumentError(
        f"`{name}` has missing labels",
        "a label for each row: leave the others out, or give them a class of their own",
        f"{count} of {size} are None or NaN",
    )
