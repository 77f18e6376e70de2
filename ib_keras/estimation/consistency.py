"""Flags for estimates of a layer that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from typing import Any

from ib_keras.flags import split

FLAG = "inconsistent"
# I(T;Y) contradicts I(X;T) if it is larger by this number of standard errors and of nats.
_ERRORS, _NATS = 2.0, 0.05
_CELL = ("run", "epoch", "layer", "estimator")


def flagged(rows: Iterable[dict[str, Any]], of_x: Container[str]) -> list[dict[str, Any]]:
    """Flag estimates that contradict the data processing inequality beyond their errors.

    If Y is a function of X, then Y → X → T is a Markov chain, and I(X;T) ≥ I(T;Y). Both rows of a
    run, epoch, layer and estimator get the flag ``inconsistent`` if, with their standard errors s,

        I(X;T) + 2 √(s_XT² + s_TY²) + 0.05 nats < I(T;Y).

    No row is flagged if I(X;T) is a lower bound or I(T;Y) is an upper bound, because these bounds
    do not contradict the other value.

    Args:
        rows: rows of a table of estimates, for any number of layers, epochs and estimators.
        of_x: the quantities, such as ``"I(T;Y)"``, whose Y is a function of X: equal inputs have
            equal targets.

    Returns:
        The rows in their order; rows that contradict each other are replaced by flagged copies.
    """
    table = list(rows)
    inputs = {_cell(row): i for i, row in enumerate(table) if row["quantity"] == "I(X;T)"}
    for i, row in enumerate(table):
        of_input = inputs.get(_cell(row))
        if of_input is None or row["quantity"] not in of_x:
            continue
        if _contradict(table[of_input], row):
            for place in (of_input, i):
                flags = split((*split(table[place]["flags"]), FLAG))
                table[place] = {**table[place], "flags": ",".join(flags)}
    return table


def _cell(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in _CELL)


def _contradict(xt: dict[str, Any], ty: dict[str, Any]) -> bool:
    if xt["kind"] == "lower" or ty["kind"] == "upper":
        return False
    errors = [row["stderr"] if math.isfinite(row["stderr"]) else 0.0 for row in (xt, ty)]
    least = _NATS / (math.log(2) if ty["unit"] == "bits" else 1.0)
    return ty["value"] - xt["value"] > _ERRORS * math.hypot(*errors) + least  # False for NaN
