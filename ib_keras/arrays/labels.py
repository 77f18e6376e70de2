"""Class labels of any kind, encoded as codes 0…K−1 with names."""

from __future__ import annotations

import contextlib
import decimal
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import as_numbers
from ib_keras.errors import ArgumentError

Name = str | int

# Whole-number floats are labels if there are at most two different values, or at most _WHOLE values
# with at least _ROWS_EACH rows each on average.
_WHOLE, _ROWS_EACH = 100, 3
# Whole-number floats with more than _NOT_CODES values are labels only if they are most of the codes
# 0, 1, 2, … or 1, 2, 3, …: the range must be below _GAPS times the number of values.
_NOT_CODES, _GAPS = 10, 1.25
# Labels of at least _JUDGED rows are an identifier if there are more of them than _IDENTIFIER times
# the number of rows.
_JUDGED, _IDENTIFIER = 20, 0.75
# The types of objects that are numbers.
_NUMBERS = (float, int, np.floating, np.integer, decimal.Decimal)
# Largest number of class names that are listed in the provenance of a table.
_LISTED = 1000


class Labels(NamedTuple):
    """Class labels as codes.

    Args:
        codes: int64 codes from 0 to K − 1, ``(n,)``.
        names: the K original labels, which are strings, integers or booleans, in ascending order or
            in the order of a pandas Categorical.
    """

    codes: np.ndarray
    names: tuple[Name, ...]


def encode_labels(y: Any, n: int, name: str = "y") -> Labels:
    """Encode class labels, and raise an error if they are an identifier.

    Labels are integers (with or without gaps), booleans, strings, a pandas Categorical (in the
    order of its categories), or one-hot rows. Floats are labels if they are whole numbers with at
    most two different values, or with at most 100 different values and at least three rows per
    value on average. More than ten different floats must also be codes 0, 1, 2, … or 1, 2, 3, …, of
    which about four in five occur. In samples of at least 20 rows, labels are an identifier if the
    number of different labels exceeds three quarters of the number of rows.

    Args:
        y: labels ``(n,)`` or ``(n, 1)``, or one-hot labels ``(n, K)``.
        n: expected number of rows.
        name: name of the argument in error messages.

    Returns:
        The codes and names.

    Raises:
        ArgumentError: If ``y`` does not have n rows, has missing labels, or does not hold class
            labels.
    """
    labels = recode(y, n, name)
    k = len(labels.names)
    if n >= _JUDGED and k > _IDENTIFIER * n:
        examples = ", ".join(map(repr, labels.names[:3]))
        raise ArgumentError(
            f"`{name}` is an identifier, not a class: nearly every row has a different label",
            f"at most {int(_IDENTIFIER * n)} different labels in {n} rows; convert quantities to "
            "floats, by .astype(float)",
            f"{k} different ones, {examples}, …",
        )
    return labels


def as_labels(y: Any, n: int, name: str = "y") -> np.ndarray:
    """Return labels as integer codes 0…K−1, ``(n,)``, without the check for an identifier."""
    return recode(y, n, name).codes


def are_labels(y: Any) -> bool:
    """Return whether targets ``(n, ...)`` are class labels by the rules of ``encode_labels``."""
    if categorical(y) is not None:
        return True
    array = column(as_plain(y, "targets"))
    if array.dtype.kind not in "iuf":
        return True
    if array.ndim == 2:
        return is_one_hot(array)
    return array.ndim == 1 and (array.dtype.kind != "f" or _are_float_labels(array))


def are_names(value: Any) -> bool:
    """Return whether a JSON value is a list of label names."""
    return isinstance(value, list) and all(isinstance(name, (str, int)) for name in value)


def provenance_of(names: Sequence[Name] | None) -> list[Name] | int | None:
    """Return the names of labels for a table's provenance, or their number if there are many."""
    if names is None:
        return None
    return list(names) if len(names) <= _LISTED else len(names)


def recode(y: Any, n: int, name: str = "y") -> Labels:
    """Encode class labels as ``encode_labels`` does, but without the check for an identifier."""
    if (categories := categorical(y)) is not None:
        _check_length(categories.codes, n, name)
        return _of_categories(categories, name)
    array = as_plain(y, name)
    _check_length(array, n, name)
    array = column(array)
    kind = array.dtype.kind
    if kind == "f" and np.isnan(array).any():
        raise _missing(name, int(np.isnan(array).sum()), array.size)
    if array.ndim == 2 and kind in "fiub":
        return _of_one_hot(array, y, name)
    if array.ndim == 1 and kind == "O":
        return _of_objects(array, name)
    if array.ndim != 1 or kind not in "fiubUS" or (kind == "f" and not _are_float_labels(array)):
        raise ArgumentError(
            f"`{name}` holds no class labels",
            "integers, booleans or strings of shape (n,), or one-hot rows; floats must be whole "
            "numbers with few different values: bin quantities, or convert classes by .astype(int)",
            f"dtype {array.dtype}, shape {array.shape}",
        )
    values, codes = np.unique(array, return_inverse=True)
    return Labels(codes.reshape(-1).astype(np.int64), tuple(map(_name, values.tolist())))


def _of_categories(categories: pd.Categorical, name: str) -> Labels:
    codes = np.asarray(categories.codes, np.int64)
    if (absent := int((codes < 0).sum())) > 0:
        raise _missing(name, absent, len(codes))
    used = np.bincount(codes, minlength=len(categories.categories)) > 0
    names = tuple(map(_name, categories.categories[used]))
    return Labels((np.cumsum(used) - 1)[codes], names)


def _of_one_hot(array: np.ndarray, y: Any, name: str) -> Labels:
    if not is_one_hot(array):
        raise ArgumentError(
            f"`{name}` is a matrix but not one-hot",
            "class labels (n,), or rows (n, classes) with a single 1 each",
            f"shape {array.shape}, rows such as {array[0].tolist()}",
        )
    columns = list(getattr(y, "columns", range(array.shape[1])))
    values, codes = np.unique(array.argmax(axis=1), return_inverse=True)
    return Labels(codes.reshape(-1).astype(np.int64), tuple(_name(columns[v]) for v in values))


def _of_objects(array: np.ndarray, name: str) -> Labels:
    """Encode strings, booleans or large integers without a fixed-width array of strings."""
    if (absent := int(pd.isna(array).sum())) > 0:
        raise _missing(name, absent, len(array))
    values = [_name(v) if isinstance(v, (str, bytes, int, np.generic)) else v for v in array]
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {str, bool, int}:
        raise ArgumentError(
            f"`{name}` holds no class labels",
            "labels of one kind: strings, integers or booleans",
            f"objects of the types {sorted(kind.__name__ for kind in kinds)}",
        )
    names = sorted(set(values))
    code = {label: i for i, label in enumerate(names)}
    return Labels(np.fromiter((code[v] for v in values), np.int64, len(values)), tuple(names))


def as_plain(y: Any, name: str) -> np.ndarray:
    """Return ``y`` as an array in which strings stay objects and numeric objects become numbers.

    Missing values among numbers become NaN. Floats that NumPy does not know, such as bfloat16,
    become float32.

    Raises:
        ArgumentError: If the rows differ in length, or values of a masked array are masked.
    """
    if isinstance(y, np.ma.MaskedArray) and (masked := int(np.ma.count_masked(y))) > 0:
        raise _missing(name, masked, y.size)
    try:
        array = np.asarray(y)
        if array.dtype.kind in "UST" and not isinstance(y, np.ndarray):
            array = np.asarray(y, dtype=object)  # NumPy would convert numbers beside strings
    except ValueError as error:
        raise ArgumentError(f"`{name}` is not an array", "rows of equal length", error) from None
    if array.dtype.kind == "T":  # NumPy's strings of variable length
        array = array.astype(object)
    if array.dtype.kind == "V" and array.dtype.names is None:  # floats of ml_dtypes
        array = as_numbers(array, name)
    if array.dtype.kind == "O" and array.size:
        absent = pd.isna(array)
        kinds = {type(value) for value in array[~absent]}
        whole = all(issubclass(k, (int, np.integer)) and k is not bool for k in kinds)
        if kinds and all(issubclass(k, _NUMBERS) and k is not bool for k in kinds):
            if not whole or absent.any():
                array = np.where(absent, np.nan, array).astype(np.float64)
            else:
                with contextlib.suppress(OverflowError):  # larger integers stay objects
                    array = array.astype(np.int64)
    return array


def check_order(a: Any, b: Any, names: tuple[str, str] = ("a", "b")) -> None:
    """Raise an error if rows of two pandas objects have equal labels at different positions.

    Args:
        a: any values; only pandas objects are compared.
        b: any values.
        names: the names of both arguments in the error.
    """
    if not all(isinstance(one, (pd.Series, pd.DataFrame)) for one in (a, b)):
        return
    if len(a) != len(b) or a.index.equals(b.index):
        return
    if not (a.index.is_unique and b.index.is_unique):
        return
    at = b.index.get_indexer(a.index)
    if ((at >= 0) & (at != np.arange(len(a)))).any():
        first, second = names
        raise ArgumentError(
            f"`{first}` and `{second}` have rows of the same label at different positions, and "
            "rows are compared by their position",
            f"one order: `{second}.loc[{first}.index]`, or `.to_numpy()` if the positions are "
            "right",
            f"indexes that begin with {list(a.index[:3])} and {list(b.index[:3])}",
        )


def categorical(y: Any) -> pd.Categorical | None:
    """Return ``y`` as a pandas Categorical if it is one or holds one."""
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    if not isinstance(getattr(y, "dtype", None), pd.CategoricalDtype):
        return None
    return pd.Categorical(y)


def column(array: np.ndarray) -> np.ndarray:
    """Return the column of an array ``(n, 1)``, and other arrays unchanged."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def is_one_hot(array: np.ndarray) -> bool:
    """Return whether each row of numbers or booleans has a single 1 and otherwise 0."""
    return bool(((array == 0) | (array == 1)).all() and ((array == 1).sum(axis=1) == 1).all())


def _are_float_labels(array: np.ndarray) -> bool:
    """Return whether floats are class labels rather than quantities such as ages or years."""
    if not are_whole_and_few(array):
        return False
    different = np.unique(array)
    if len(different) <= _NOT_CODES:
        return True
    low, high = different[[0, -1]]
    return bool(low in (0, 1) and high - low < _GAPS * len(different))


def are_whole_and_few(array: np.ndarray) -> bool:
    """Return whether numbers ``(n,)`` are whole and have few different values."""
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        return False
    k = len(np.unique(array))
    return k <= 2 or (k <= _WHOLE and k * _ROWS_EACH <= len(array))


def _name(value: Any) -> Name:
    """Return a label as a JSON value: an integer, a boolean, or otherwise a string."""
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
            f"`{name}` has the wrong length",
            f"one label for each of the {n} samples",
            f"shape {array.shape}",
        )


def _missing(name: str, count: int, size: int) -> ArgumentError:
    return ArgumentError(
        f"`{name}` has missing labels",
        "a label for each row: remove rows without a label, or assign them to a separate class",
        f"{count} of {size} are None or NaN",
    )
