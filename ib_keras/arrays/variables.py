"""Variables of any kind, and the numbers by which estimators compare them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ib_keras.arrays.checks import as_samples
from ib_keras.arrays.codes import row_codes
from ib_keras.arrays.grids import on_a_grid, spread_cells
from ib_keras.arrays.labels import (
    are_labels,
    are_whole_and_few,
    as_labels,
    as_plain,
    categorical,
    column,
    is_one_hot,
)
from ib_keras.arrays.ranks import normal_scores
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError

Kind = Literal["continuous", "count", "mixture", "category", "mixed"]

# A value is an atom if at least the share _ATOM of the rows have it. A column is continuous if at
# most the share _REPEATED of the rows have repeated values.
_ATOM, _REPEATED = 0.01, 0.01
# The distance between numbers, in units of the resolution of float32, up to which they are rounded.
_ULPS = 64
# The largest integers whose neighbours float64 can distinguish.
_LARGEST_WHOLE = 2**53
# Rows were copied if this share of all rows, or more, are different rows that repeat, beside a
# variable that repeats by itself.
_COPIES = 0.02
# Several columns are a category if they have at most _MOST_ROWS different rows, with at least
# _ROWS_EACH occurrences of each on average.
_MOST_ROWS, _ROWS_EACH = 100, 3
# The largest number of columns that represent a category among numbers.
_MOST_COLUMNS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Variable:
    """The values of one variable, separated into numbers and categories.

    Args:
        kind: ``"continuous"``: numbers that hardly repeat; ``"count"``: numbers that repeat, such
            as integers; ``"mixture"``: numbers, some of which repeat often and the others do not;
            ``"category"``: values without an order; ``"mixed"``: columns of several kinds.
        numbers: the columns that are numbers and not constant, ``(n, d)`` float64.
        categories: integer codes of each column that is a category, ``(n,)``.
        has_order: whether the codes of a category are in the order of its values, which are
            numbers.
    """

    kind: Kind
    numbers: np.ndarray
    categories: tuple[np.ndarray, ...] = ()
    has_order: bool = False

    @property
    def labels(self) -> np.ndarray:
        """The codes 0…K−1 of a category."""
        return self.categories[0]

    @property
    def is_category(self) -> bool:
        """Whether the variable is one category."""
        return self.kind == "category"

    @property
    def dim(self) -> int:
        """Number of columns of ``scores``."""
        return self.numbers.shape[1] + sum(_width(codes) for codes in self.categories)

    @property
    def is_discrete(self) -> bool:
        """Whether the values are categories, counts, or rounded so coarsely that they repeat."""
        return self.kind in ("category", "count") or (
            self.kind == "mixture" and all(on_a_grid(column) for column in self.numbers.T)
        )

    def take(self, rows: np.ndarray) -> Variable:
        """Return some of the rows, with new codes for categories and without constant columns."""
        numbers = self.numbers[rows]
        numbers = numbers[:, _varies(numbers)]
        if not self.categories:
            return Variable(_kind_of_all(numbers), numbers)
        codes = tuple(np.unique(c[rows], return_inverse=True)[1] for c in self.categories)
        return Variable(self.kind, numbers, codes, self.has_order)

    def as_count(self) -> Variable:
        """Return a category whose values are numbers as a count, by the order of its values."""
        return Variable("count", self.labels[:, None].astype(np.float64))

    def columns(self) -> np.ndarray:
        """Return all columns as numbers, ``(n, d)``, with a column for each value of a category."""
        columns = [self.numbers]
        for codes in self.categories:
            common = np.argsort(-np.bincount(codes), kind="stable")[: _width(codes)]
            columns.append((codes[:, None] == common).astype(np.float64))
        return np.concatenate(columns, axis=1)

    def values(self, rng: np.random.Generator) -> np.ndarray | None:
        """Return numbers that have a density and determine the values, ``(n, d)``, or ``None``.

        Numbers that do not repeat are returned unchanged. Numbers on a grid, and other numbers that
        nearly all repeat, are spread uniformly over their cells, so that I(A;B) stays the same. The
        result is ``None`` for other variables, and for identifiers on a grid: if each value occurs
        once, the rows are not independent draws.
        """
        columns = self.numbers.T
        if self.categories or any(on_a_grid(v) and len(np.unique(v)) == len(v) for v in columns):
            return None
        (spread,), atoms = spread_cells([self.numbers], rng)
        return None if atoms else spread

    def features(self) -> np.ndarray:
        """Return the columns and their normal scores, with mean ranks for ties, ``(n, 2·d)``."""
        values = shorten_tails(self.columns())[0]
        return np.concatenate([values, normal_scores(values)], axis=1)

    def scores(self, rng: np.random.Generator) -> np.ndarray:
        """Return normal variables that determine the values, ``(n, d)``.

        Each column is replaced by the normal quantiles of its ranks, where equal values are ranked
        in random order. For a column with the distribution function F, this is
        Φ⁻¹(F(v−) + U·(F(v) − F(v−))) with U uniform on [0, 1] and independent of everything else,
        up to the error of the empirical F. It has a normal distribution for any F, and determines
        v. Therefore I(A;B) stays the same for numbers with or without atoms.

        References:
            Rüschendorf, J. Stat. Plan. Inference 139(11), 2009 (the distributional transform).
        """
        values = self.columns()
        n = len(values)
        out = np.empty(values.shape)
        for i in range(values.shape[1]):
            order = np.lexsort((rng.random(n), values[:, i]))
            out[order, i] = ndtri(np.arange(1, n + 1) / (n + 1))
        return out


def check_kind(kind: Kind | None) -> None:
    """Raise an ``ArgumentError`` if a kind is unknown."""
    if kind is not None and kind not in get_args(Kind)[:-1]:
        raise ArgumentError("`kind` is unknown", f"one of {get_args(Kind)[:-1]}", repr(kind))


def as_variable(values: Any, name: str, kind: Kind | None = None) -> Variable:
    """Return a variable, whose kind follows from these rules unless it is given.

    * Strings, booleans and pandas categories are categories. So are one-hot rows; single columns of
      integers or whole floats with at most two values, or with at most 100 values and at least
      three rows per value on average; and several columns with at most 100 different rows, each of
      which occurs at least three times on average.
    * All other numbers are ordered. A column is continuous if at most 1 % of its rows have values
      that repeat, and the values are not on a grid. Otherwise it is a mixture if some values occur
      in 1 % of the rows or more, and at least half of the other rows have values that do not
      repeat. All other columns are counts.
    * Columns of different kinds are mixed, for instance those of a DataFrame.

    Args:
        values: ``(n, ...)``, a pandas Series or a DataFrame.
        name: name of the argument in error messages.
        kind: the kind to use. ``"category"`` makes each different row a category. The other kinds
            all treat the values as numbers.

    Raises:
        ArgumentError: If values are missing, NaN or infinite, there are fewer than two rows, or the
            kind is unknown or does not suit the values.
    """
    check_kind(kind)
    frame = values if isinstance(values, pd.DataFrame) else None
    if frame is not None and frame.shape[1] == 1:
        values, frame = frame.iloc[:, 0], None
    if frame is not None and not frame.shape[1]:
        raise ArgumentError(f"`{name}` has no columns", "at least one", f"shape {frame.shape}")
    if frame is not None and kind is None and not (frame.dtypes == frame.dtypes.iloc[0]).all():
        columns = [(frame.columns[i], frame.iloc[:, i]) for i in range(frame.shape[1])]
        return _joined([_one_column(own, f"{name}[{key!r}]") for key, own in columns])
    array = None if categorical(values) is not None else column(as_plain(values, name))
    n = len(values) if array is None else len(array) if array.ndim else 0
    if n < 2:
        if array is not None and not array.ndim:
            raise ArgumentError(
                f"`{name}` is not an array", "(n, ...) with n >= 2", type(values).__name__
            )
        raise ArgumentError(
            f"`{name}` has too few samples", "an array (n, ...) with n >= 2", f"{n} samples"
        )
    others = _other_types(array) if array is not None else ""
    if others:
        raise ArgumentError(
            f"`{name}` holds neither numbers nor categories",
            "numbers, strings or booleans; times as floats, complex numbers as two columns, "
            "missing values left out",
            others,
        )
    if array is not None:
        array = _near_zero(array)
    if array is None and kind not in (None, "category"):
        raise ArgumentError(
            f"`{name}` is not of the kind {kind!r}",
            'numbers: pandas categories have the kind "category"',
            type(values).__name__,
        )
    if kind == "category":
        return _category(as_labels(values, n, name) if array is None else _codes(array, name))
    if array is None or (array.ndim == 1 and kind is None and _is_label(array)):
        if array is not None and array.dtype.kind == "f":
            return _category(np.unique(array, return_inverse=True)[1], True)
        has_order = array is not None and array.dtype.kind in "iu"
        return _category(as_labels(values, n, name), has_order)
    texts = array.dtype.kind not in "fiub"
    if kind is None and array.ndim == 2 and array.shape[1] > 1 and not texts and is_one_hot(array):
        return _category(array.argmax(axis=1))
    if texts and kind is None:
        rows = array.reshape(n, -1)
        return _joined([_one_column(rows[:, i], name) for i in range(rows.shape[1])])
    samples = as_samples(array, name).astype(np.float64)
    samples = samples[:, _varies(samples)]
    if kind is None and samples.shape[1] > 1:
        codes = row_codes(samples)
        if int(codes.max()) < min(_MOST_ROWS, n // _ROWS_EACH):
            return _category(codes)
    return Variable(kind or _kind_of_all(samples), samples)


def _other_types(array: np.ndarray) -> str:
    """Describe values that are neither numbers nor categories, or return an empty text."""
    if array.dtype.kind in "cMm":
        return f"dtype {array.dtype}"
    if array.dtype.kind != "O":
        return ""
    known = (str, bytes, bool, int, float, np.generic)
    types = {type(v).__name__ for v in array.ravel() if not (isinstance(v, known) or pd.isna(v))}
    return f"objects of the types {sorted(types)}" if types else ""


def _near_zero(array: np.ndarray) -> np.ndarray:
    """Subtract the least value of columns of integers that float64 would not distinguish."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    if max(abs(low), abs(high)) <= _LARGEST_WHOLE:
        return array
    # Differences of 64-bit integers are exact without a sign.
    return array.astype(np.uint64) - array.min(axis=0).astype(np.uint64)


def repeated_rows(a: Variable, b: Variable) -> np.ndarray | None:
    """Return the rows where each pair occurs first, if rows were repeated as a whole.

    Measured numbers, which are neither on a grid nor of half precision, do not repeat by chance.
    Rows were repeated, as by a bootstrap or by oversampling, if many different rows repeat and
    the measured numbers no longer do once equal pairs are removed.

    Returns:
        The rows in order; ``None`` if rows were not repeated, or neither variable is measured.
    """
    if a.is_category and not b.categories:
        return repeated_in_classes(b.numbers, a.labels)
    if b.is_category and not a.categories:
        return repeated_in_classes(a.numbers, b.labels)
    if a.categories or b.categories:
        return None
    return repeated_pairs(a.numbers, b.numbers)


def repeated_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Return the rows where each pair of rows of numbers occurs first, as ``repeated_rows``.

    Args:
        a: numbers, ``(n, da)``, without constant columns.
        b: numbers, ``(n, db)``.
    """
    if not a.shape[1] or not b.shape[1]:
        return None
    return _repeated((row_codes(a), row_codes(b)), (a, b))


def repeated_in_classes(a: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Return the rows where each row of numbers occurs first in its class, as ``repeated_rows``.

    Args:
        a: numbers, ``(n, d)``, without constant columns.
        labels: codes 0…K−1, ``(n,)``.
    """
    return _repeated((row_codes(a), labels), (a, None)) if a.shape[1] else None


def _repeated(
    codes: tuple[np.ndarray, np.ndarray], sides: tuple[np.ndarray, np.ndarray | None]
) -> np.ndarray | None:
    both = codes[0].astype(np.int64) * (int(codes[1].max()) + 1) + codes[1]
    _, first, counts = np.unique(both, return_index=True, return_counts=True)
    n, different = len(both), int((counts > 1).sum())
    # A single value, such as that of inactive units, may be frequent by itself.
    if different < max(1, _REPEATED * n):
        return None
    alone = [len(np.unique(side[first])) >= (1 - _REPEATED) * len(first) for side in codes]
    enough = all(alone) or different >= _COPIES * n
    copied = first[counts > 1]
    measured = (
        side is not None and own and _is_measured(side, copied)
        for side, own in zip(sides, alone, strict=True)
    )  # fmt: skip
    return np.sort(first) if enough and any(measured) else None


def _is_measured(numbers: np.ndarray, copied: np.ndarray) -> bool:
    """Return whether numbers that repeat are so far from others that they are no rounding.

    Numbers on a grid, of half precision, or near the limit of a saturated unit repeat by rounding.

    Args:
        numbers: numbers, ``(n, d)``.
        copied: indices of different rows that repeat.
    """
    with np.errstate(over="ignore"):
        if np.array_equal(numbers, numbers.astype(np.float16)):
            return False
    for one in numbers.T:
        values = np.unique(one).astype(np.float64)
        gaps = np.diff(values, prepend=-np.inf, append=np.inf)
        nearest = np.minimum(gaps[:-1], gaps[1:])[np.searchsorted(values, one[copied])]
        rounding = _ULPS * np.finfo(np.float32).eps * np.abs(values[[0, -1]]).max()
        if np.median(nearest) > rounding and not on_a_grid(one):
            return True
    return False


def _category(codes: np.ndarray, has_order: bool = False) -> Variable:
    return Variable("category", np.zeros((len(codes), 0)), (codes,), has_order)


def _one_column(values: Any, name: str) -> Variable:
    """Return a column of a DataFrame or of strings; integers and floats are always numbers."""
    if categorical(values) is None and as_plain(values, name).dtype.kind in "fiu":
        return as_variable(values, name, "count")
    return as_variable(values, name)


def _joined(columns: list[Variable]) -> Variable:
    numbers = np.concatenate([one.numbers for one in columns], axis=1)
    kinds: list[Kind] = [_kind_of(numbers[:, i]) for i in range(numbers.shape[1])]
    categories = tuple(codes for one in columns for codes in one.categories)
    varying = tuple(codes for codes in categories if codes.any())
    kinds += ["category"] * len(varying)
    return Variable(_common(kinds, several=True), numbers, varying)


def _kind_of_all(numbers: np.ndarray) -> Kind:
    return _common([_kind_of(numbers[:, i]) for i in range(numbers.shape[1])])


def _common(kinds: list[Kind], *, several: bool = False) -> Kind:
    found = set(kinds)
    if several and found == {"category"} and len(kinds) > 1:
        return "mixed"
    return next(iter(found)) if len(found) == 1 else "mixed" if found else "continuous"


def _is_label(array: np.ndarray) -> bool:
    """Whether a single column is a category, by the rule for integers and whole floats."""
    if array.dtype.kind in "iuf":
        return are_whole_and_few(array.astype(np.float64))
    return are_labels(array)


def _codes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "O":
        array = np.array([str(v) for v in array.ravel()]).reshape(array.shape)
    elif array.dtype.kind in "fiub":
        array = as_samples(array, name)
    return row_codes(array)


def _kind_of(values: np.ndarray) -> Kind:
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    rows_each = counts[codes.reshape(-1)]
    if (rows_each > 1).mean() <= _REPEATED:
        return "count" if on_a_grid(values) else "continuous"
    rest = rows_each < max(2, _ATOM * len(values))
    alone = float((rows_each[rest] == 1).mean()) if rest.any() else 0.0
    return "mixture" if not rest.all() and alone >= 0.5 else "count"


def _varies(samples: np.ndarray) -> np.ndarray:
    return samples.min(axis=0) < samples.max(axis=0)


def _width(codes: np.ndarray) -> int:
    """Return the number of columns that represent a category: one is enough for two values."""
    k = int(codes.max()) + 1
    return 1 if k == 2 else min(k, _MOST_COLUMNS)
