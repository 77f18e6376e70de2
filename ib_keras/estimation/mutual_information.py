"""mutual_information(): I(A;B) of any two variables, by several estimators."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, get_args, overload

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import check_count, check_lengths, check_seed
from ib_keras.arrays.dependence import serial_dependence
from ib_keras.arrays.labels import as_plain, check_order
from ib_keras.arrays.variables import Kind, Variable, as_variable, check_kind, repeated_rows
from ib_keras.errors import ArgumentError
from ib_keras.estimation.answer import Answer, Budget
from ib_keras.estimation.of_categories import (
    category_and_numbers,
    own_entropy,
    renamed,
    two_categories,
)
from ib_keras.estimation.of_numbers import two_numbers
from ib_keras.frame.table import NOT_ESTIMATED
from ib_keras.interface import Estimate, MutualInformation

# The fewest rows for which categories of numbers are compared by their order.
_MIN_ROWS = 30
# The number of rotations from which the spurious information of dependent rows is measured.
_ROTATIONS = 20


@overload
def mutual_information(
    a: Any,
    b: Any,
    *,
    by_column: Literal[False] = False,
    budget: Budget = "balanced",
    kind: Kind | tuple[Kind | None, Kind | None] | None = None,
    window: int = 0,
    neural: bool = True,
    seed: int = 0,
) -> MutualInformation: ...


@overload
def mutual_information(
    a: Any,
    b: Any,
    *,
    by_column: Literal[True],
    budget: Budget = "balanced",
    kind: Kind | tuple[Kind | None, Kind | None] | None = None,
    window: int = 0,
    neural: bool = True,
    seed: int = 0,
) -> pd.DataFrame: ...


def mutual_information(
    a: Any,
    b: Any,
    *,
    by_column: bool = False,
    budget: Budget = "balanced",
    kind: Kind | tuple[Kind | None, Kind | None] | None = None,
    window: int = 0,
    neural: bool = True,
    seed: int = 0,
) -> MutualInformation | pd.DataFrame:
    """Estimate I(A;B) of two variables of any kind, with an interval.

    Each variable has a kind, by the rules of ``ib_keras.arrays.variables.as_variable``: a category
    (strings, booleans, one-hot rows, integers with few values), or numbers, which may be
    continuous, counts, or a mixture of atoms and a density. Numbers are compared both as they are
    and by ranks: each column is replaced by the normal quantiles of its ranks, with equal values in
    random order. Equal values thus get noise that is independent of everything else, which does not
    change I(A;B).

    *Two variables of numbers* are compared by these estimates, in nats:

    * ``gaussian``: the closed form from the correlations of the ranks.
    * ``ksg``: nearest neighbours of the ranks, in up to 5 + 5 dimensions.
    * ``regression``: h(B) − h(R) + I(A;R) with the residual R = B − f(A) of a regression, in up to
      32 + 32 dimensions. It has no ceiling.
    * ``gaussian_held_out``, ``residual``, ``critic``: held-out bounds E ln r − ln E' r from density
      ratios r: that of a Gaussian, the gain of a network that is trained on top of it, and that of
      a network alone.

    The value starts as ``gaussian`` or, if the other estimates do not confirm it, as the highest of
    them. ``residual`` is added if it exceeds two of its standard errors. All estimates miss
    information rather than invent it, so ``critic``, ``ksg`` and ``regression`` replace the value
    if they exceed it by more than two of their standard errors.

    These estimates miss less with more rows. In more than 1 + 1 dimensions, ``regression``, and a
    critic that gave the value, are therefore also computed from half of the rows. If the second
    half of the rows added more than three standard errors, the same amount is added once more. The
    part ``second_half`` is what the second half added to the critic.

    *A category and numbers* are compared by ``ksg`` (nearest neighbours of the ranks within each
    class), ``ksg_of_values``, and the held-out bounds H(Y) − cross-entropy of a ``linear``
    discriminant and of a ``network``. *Two categories* are compared by ``counts``, with the
    correction of Miller and Madow; two discrete variables that are each a function of the other, by
    the entropy of one of them.

    The interval has two standard errors on both sides. Its upper end also includes what estimates
    of this kind are known to miss; the page of this function describes the calibration.

    Args:
        a: samples of A, ``(n, ...)``: an array of numbers or strings, or a pandas object.
        b: samples of B, ``(n, ...)``.
        by_column: whether to compare each column of A, a DataFrame or a matrix, with B separately.
        budget: ``"fast"`` takes about a second for 2 000 rows and trains nothing. ``"balanced"``
            trains critics or a classifier, which takes about 30 seconds. ``"thorough"`` trains
            critics for longer, and also flows.
        kind: the kind of both variables, or a pair of kinds, instead of the automatic choice:
            ``"category"``, or ``"continuous"``, ``"count"`` or ``"mixture"`` for numbers.
        window: number of rows before and after each row that are not compared with it, for rows in
            temporal order.
        neural: ``False`` has the same effect as ``budget="fast"``.
        seed: seed of random order, folds, weights and batches.

    Returns:
        The estimate, with the estimates above as ``parts``; ``details`` has the kinds of A and B,
        the budget, and ``length``, the number of rows over which rows depend on each other. The
        flags are ``no_critic`` if no critic was trained although the variables have more than two
        dimensions together, ``unconfirmed`` if other estimates do not confirm the closed form,
        ``undersampled`` if there are too few rows for the categories, ``unbounded`` if the value
        would grow with more rows, ``infinite`` for an exact relation, such as a column that A and B
        share, ``high_dim`` if there are too few rows for the columns, and ``dependent`` if rows
        repeat or depend on each other.

        With ``by_column``, a table with a row for each column of A: ``column``, its name or number;
        ``value``, ``stderr``, ``lower``, ``upper`` and ``unit``; ``kind_a`` and ``kind_b``; and
        ``flags``, separated by commas. A column that cannot be compared has NaN, the flag
        ``not_estimated``, and the reason in ``details``.

    Raises:
        ArgumentError: If samples are invalid or lengths differ. With ``by_column``, only if B is
            invalid or the lengths differ.

    Example:
        >>> mutual_information(frame.drop(columns="price"), frame["price"], by_column=True)

    References:
        Kraskov et al., 2004; Ross, 2014; Rüschendorf, 2009 (ranks of equal values); Poole et al.,
        ICML 2019, and Barber & Agakov, NeurIPS 2003 (held-out bounds); Czyż et al., NeurIPS 2023.
    """
    check_seed(seed)
    window = check_count(window, "window", 0)
    if budget not in get_args(Budget):
        raise ArgumentError("`budget` is unknown", f"one of {get_args(Budget)}", repr(budget))
    budget = budget if neural else "fast"
    kinds = kind if isinstance(kind, tuple) else (kind, kind)
    if len(kinds) != 2:
        raise ArgumentError("`kind` is unknown", "one kind, or a pair for `a` and `b`", kind)
    check_order(a, b)
    check_kind(kinds[0])
    if by_column:
        known = as_variable(b, "b", kinds[1])
        one = functools.partial(
            mutual_information, b=b, budget=budget, kind=kind, window=window, seed=seed
        )
        return _by_column(_as_frame(a, len(known.columns())), one)
    first, second = as_variable(a, "a", kinds[0]), as_variable(b, "b", kinds[1])
    check_lengths(first.columns(), second.columns())
    rows = repeated_rows(first, second)
    if rows is not None:
        first, second = first.take(rows), second.take(rows)
    length = serial_dependence(_series(first), _series(second))
    estimate = functools.partial(
        _estimate, budget=budget, serial=bool(length or window),
        window=window, seed=seed,
    )  # fmt: skip
    answer = estimate(first, second)
    if length or window:
        answer = _less_rotated(answer, estimate, first, second, max(1, length, window // 4), seed)
    if rows is not None or length > window:
        answer = answer.flagged("dependent")
    return answer.result({"kinds": (first.kind, second.kind), "budget": budget, "length": length})


def _as_frame(a: Any, n: int) -> pd.DataFrame:
    """Return the columns of A as a DataFrame of n rows."""
    if isinstance(a, pd.Series):
        frame = a.to_frame()
    elif isinstance(a, pd.DataFrame):
        frame = a
    else:
        values = as_plain(a, "a")
        if values.ndim not in (1, 2):
            raise ArgumentError("`a` has no columns", "a DataFrame or (n, d)", values.shape)
        frame = pd.DataFrame(values).infer_objects()
    if len(frame) != n:
        raise ArgumentError("`a` and `b` differ in length", "one length", f"{len(frame)}, {n}")
    return frame


def _by_column(
    frame: pd.DataFrame, estimate: Callable[[pd.Series], MutualInformation]
) -> pd.DataFrame:
    """Estimate the information of each column separately."""
    rows: list[dict[str, Any]] = []
    for name, values in frame.items():
        try:
            found = estimate(values)
        except ArgumentError as error:
            rows.append({"column": name, "flags": NOT_ESTIMATED, "details": str(error)})
            continue
        kind_a, kind_b = found.details["kinds"]
        rows.append({
            "column": name, "value": found.value, "stderr": found.stderr, "lower": found.lower,
            "upper": found.upper, "kind_a": kind_a, "kind_b": kind_b,
            "flags": ",".join(found.flags), "details": "",
        })  # fmt: skip
    names = ["column", "value", "stderr", "lower", "upper", "kind_a", "kind_b", "flags", "details"]
    return pd.DataFrame(rows, columns=names).assign(unit="nats")


def _series(variable: Variable) -> np.ndarray:
    """Return the values in the form in which their dependence is tested."""
    return variable.labels if variable.is_category else variable.columns()


def _less_rotated(
    answer: Answer,
    estimate: Callable[[Variable, Variable], Answer],
    a: Variable,
    b: Variable,
    length: int,
    seed: int,
) -> Answer:
    """Return an answer minus the mean estimate from rotated rows, whose spread enters the error.

    Rotated series depend on their own past as before, but no longer on each other. The error of the
    answer itself is multiplied by the square root of the length over which rows depend on each
    other, as if the number of rows were divided by this length.
    """
    n = len(a.columns())
    rng = np.random.default_rng([seed, 4])
    near = min(4 * length, n // 3)
    shifts = rng.integers(near, n - near + 1, size=_ROTATIONS)
    values = [estimate(a, b.take(np.roll(np.arange(n), shift))).value for shift in shifts]
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    rotated = Estimate(mean, spread, n=answer.n, dim=answer.dim)
    return dataclasses.replace(
        answer.with_part("rotated", rotated),
        value=answer.value - mean,
        stderr=math.hypot(answer.stderr * math.sqrt(length), spread),
    )


def _estimate(
    a: Variable, b: Variable, *, budget: Budget, serial: bool, window: int, seed: int
) -> Answer:
    """Estimate I(A;B) by the kinds of the variables."""
    same = renamed(a, b)
    if same is not None:
        return own_entropy(same)
    how: dict[str, Any] = {"budget": budget, "serial": serial, "window": window, "seed": seed}
    if a.is_category and b.is_category:
        counted = two_categories(a.labels, b.labels, seed)
        few = len(a.labels) < _MIN_ROWS
        if few or not (counted.flags and a.has_order and b.has_order):
            return counted
        return two_numbers(a.as_count(), b.as_count(), **how).with_part(
            "counts", counted.parts["counts"]
        )
    if not (a.is_category or b.is_category):
        return two_numbers(a, b, **how)
    numbers, labels = (b, a) if a.is_category else (a, b)
    answer = category_and_numbers(numbers, labels.labels, **how)
    if "undersampled" in answer.flags and labels.has_order:
        # Numbers with few rows per value are compared by their order.
        return two_numbers(numbers, labels.as_count(), **how)
    return answer
