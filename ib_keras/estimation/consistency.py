"""Whether the estimates of a layer contradict each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ib_keras.flags import split

FLAG = "inconsistent"
# I(T;Y) exceeds I(X;T) beyond so many standard errors, and by so many nats besides.
_ERRORS, _NATS = 2.0, 0.05
_CELL = ("run", "epoch", "layer", "estimator")


def flagged(rows: Iterable[dict[str, Any]], y_of_x: bool) -> list[dict[str, Any]]:
    """Flags estimates that contradict the data processing inequality beyond their errors.

    If Y is a function of X, then Y → X → T, and I(X;T) ≥ I(T;Y). The flag ``inconsistent`` goes to
    both rows of a run, epoch, layer and estimator where, with s their standard errors,

        I(X;T) + 2 √(s_XT² + s_TY²) + 0.05 nats < I(T;Y).

    Bounds count where they contradict each other: a lower bound on I(X;T), or an upper bound on
    I(T;Y), may lie on either side of the other value.

    Args:
        rows: rows of a table of estimates, of any number of layers, epochs and estimators.
        y_of_x: whether equal inputs have equal labels.

    Returns:
        The rows in their order; those that contradict each other are replaced by flagged copies.
    """
    found = list(rows)
    if not y_of_x:
        return found
    inputs = {_cell(row): i for i, row in enumerate(found) if row["quantity"] == "I(X;T)"}
    for i, row in enumerate(found):
        of_input = inputs.get(_cell(row))
        if of_input is None or not row["quantity"].startswith("I(T;Y"):
            continue
        if _contradict(found[of_input], row):
            for place in (of_input, i):
                found[place] = _with_flag(found[place])
    return found


def _cell(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in _CELL)


def _contradict(xt: dict[str, Any], ty: dict[str, Any]) -> bool:
    if xt["kind"] == "lower" or ty["kind"] == "upper":
        return False
    errors = [row["stderr"] if math.isfinite(row["stderr"]) else 0.0 for row in (xt, ty)]
    least = _NATS / (math.log(2) if ty["unit"] == "bits" else 1.0)
    # Of a value that is missing, nothing is said.
    return ty["value"] - xt["value"] > _ERRORS * math.hypot(*errors) + least


def _with_flag(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "flags": ",".join(split((*split(row["flags"]), FLAG)))}
