"""Flags for estimates of a layer that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from typing import Any

from ib_keras.flags import NOTHING, doubt, split
from ib_keras.frame.table import given_target, with_flags

FLAG = "inconsistent"
# I(T;Y) contradicts I(X;T) if it is larger by this many standard errors plus this many nats.
_ERRORS, _NATS = 2.0, 0.05
# The flags of quantities for which neither the inequality nor the chain rule holds.
_OWN = {"sliced", "measurement_kernel"}
# The flags of values that may be far too low, besides those whose doubt is ``NOTHING``.
_TOO_LOW = {"integer_inputs", "lossy", "unbounded", "undersampled", "few_rows"}
_CELL = ("run", "epoch", "layer", "estimator")


def flagged(rows: Iterable[dict[str, Any]], of_x: Container[str]) -> list[dict[str, Any]]:
    """Flag estimates that contradict each other beyond their errors.

    If Y is a function of X, then Y → X → T is a Markov chain, and I(X;T) ≥ I(T;Y). Both rows of a
    run, epoch, layer and estimator get the flag ``inconsistent`` if, with their standard errors s,

        I(X;T) + 2 √(s_XT² + s_TY²) + 0.05 nats < I(T;Y).

    If the flags of one row already say that its value is wrong or too low, only this row gets the
    flag.

    Neither row is flagged if I(X;T) is a lower bound or I(T;Y) is an upper bound, because such a
    bound does not contradict the other value. An estimate of I(X;T|Y) gets the flag if it differs
    from I(X;T) − I(T;Y) by more than twice the joint error of the three values plus 0.05 nats,
    unless one of them is a bound.

    The inequality and the chain rule do not hold for sliced and matrix-based information, so these
    rows are not flagged.

    Args:
        rows: rows of a table of estimates, for any number of layers, epochs and estimators.
        of_x: the quantities, such as ``"I(T;Y)"``, whose Y is a function of X, so that equal inputs
            have equal targets.

    Returns:
        The rows in their order; rows that contradict each other are replaced by flagged copies.
    """
    table = list(rows)
    places = {(*_cell(row), row["quantity"]): i for i, row in enumerate(table)}
    for i, row in enumerate(table):
        of_input = places.get((*_cell(row), "I(X;T)"))
        if of_input is None or row["quantity"] not in of_x:
            continue
        if any(_OWN & {*split(one["flags"])} for one in (table[of_input], row)):
            continue
        given = places.get((*_cell(row), given_target(row["quantity"])))
        wrong = []
        if _contradict(table[of_input], row):
            # A value that is known to be wrong does not discredit the other one.
            wrong = [place for place in (of_input, i) if _known(table[place])] or [of_input, i]
        if given is not None and _differ(table[of_input], row, table[given]):
            wrong.append(given)
        for place in wrong:
            table[place] = with_flags(table[place], FLAG)
    return table


def _known(row: dict[str, Any]) -> bool:
    """Return whether the other flags of a row say that its value is wrong or too low."""
    flags = [flag for flag in split(row["flags"]) if flag != FLAG]
    return doubt(flags) == NOTHING or bool(_TOO_LOW & {*flags})


def _cell(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in _CELL)


def _contradict(xt: dict[str, Any], ty: dict[str, Any]) -> bool:
    if xt["kind"] == "lower" or ty["kind"] == "upper":
        return False
    return bool(ty["value"] - xt["value"] > _slack(xt, ty))  # False for NaN


def _differ(xt: dict[str, Any], ty: dict[str, Any], given: dict[str, Any]) -> bool:
    three = (xt, ty, given)
    if any(row["kind"] != "estimate" or not math.isfinite(row["value"]) for row in three):
        return False
    return bool(abs(xt["value"] - ty["value"] - given["value"]) > _slack(*three))


def _slack(*rows: dict[str, Any]) -> float:
    errors = [row["stderr"] if math.isfinite(row["stderr"]) else 0.0 for row in rows]
    least = _NATS / (math.log(2) if rows[0]["unit"] == "bits" else 1.0)
    return _ERRORS * math.hypot(*errors) + least
