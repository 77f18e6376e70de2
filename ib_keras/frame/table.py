"""The table of estimates: its columns and units."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from ib_keras.errors import ArgumentError
from ib_keras.frame import provenance
from ib_keras.interface import Estimate, MutualInformation

COLUMNS = [
    "run",
    "epoch",
    "layer",
    "layer_index",
    "dim",
    "n",
    "estimator",
    "quantity",
    "value",
    "stderr",
    "kind",
    "flags",
    "noise_std",
    "seconds",
    "unit",
]
# Columns of some tables: of calibrated estimates, and of estimators that tell more.
OPTIONAL = ["calibrated_lower", "calibrated_upper", "details"]
_TEXT = ("run", "layer", "estimator", "quantity", "kind", "flags", "unit", "details")
_WHOLE = ("epoch", "layer_index", "dim", "n")
TYPES = {
    **dict.fromkeys([*COLUMNS, *OPTIONAL], "number"),
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(_WHOLE, "whole"),
}
# In a table's attrs: the number of its rows without an estimate.
NOT_ESTIMATED = "not_estimated"
# Estimates of an information further below 0, in nats, are flagged.
_BELOW = 0.05
_NATS = {"nats": 1.0, "bits": math.log(2)}


def from_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The table of ``rows``, each with a value for every column of ``COLUMNS``.

    Of the columns in ``OPTIONAL`` it has those with a value in at least one row.
    """
    rows = list(rows)
    more = [c for c in OPTIONAL if any(row.get(c, "") != "" for row in rows)]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *more])
    return frame.astype(
        {c: "str" if c in _TEXT else "int64" if c in _WHOLE else "float64" for c in frame.columns}
    )


def count_not_estimated(frame: pd.DataFrame) -> int:
    """The number of rows of a table whose estimate could not be made (flag ``not_estimated``)."""
    return int(frame["flags"].str.split(",").map(lambda own: NOT_ESTIMATED in own).sum())


def columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a table that are not logs: ``COLUMNS``, and those of ``OPTIONAL`` it has."""
    return [*COLUMNS, *(c for c in OPTIONAL if c in frame)]


def validate(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """Returns the frame if it is a table of estimates.

    Raises:
        ArgumentError: columns are missing (they are named).
    """
    check_columns(frame.columns, name)
    return frame


def check_columns(found: Iterable[str], name: str) -> None:
    """Raises if a table lacks a column of ``COLUMNS``."""
    found = list(found)
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise ArgumentError(
            f"`{name}` is not a table of estimates: it lacks {missing}",
            f"the columns {COLUMNS}",
            f"columns {found}",
        )


def convert(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The table in another unit: values, errors and intervals converted, the unit relabelled.

    Args:
        frame: a table of estimates.
        unit: ``"nats"`` or ``"bits"``.

    Raises:
        ArgumentError: the unit is unknown.
    """
    check_unit(unit)
    frame = validate(frame).copy()
    factor = frame["unit"].map(_NATS) / _NATS[unit]
    for column in ("value", "stderr", "calibrated_lower", "calibrated_upper"):
        if column in frame:
            frame[column] *= factor
    frame["unit"] = unit
    return frame


def check_unit(unit: str) -> str:
    """``unit`` if it is known.

    Raises:
        ArgumentError: it is not.
    """
    if unit not in _NATS:
        raise ArgumentError("`unit` is unknown", f"one of {list(_NATS)}", repr(unit))
    return unit


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of estimates as one, like ``pandas.concat``, which forgets ``attrs`` that differ.

    Args:
        frames: tables of estimates, at least one.

    Returns:
        The rows of all; in ``attrs`` what they have in common, and lists of what differs.

    Raises:
        ArgumentError: there are none, or one lacks columns.
    """
    tables = [validate(table, f"frames[{i}]") for i, table in enumerate(frames)]
    if not tables:
        raise ArgumentError("`frames` is empty", "one table of estimates at least", "none")
    found = pd.concat(tables, ignore_index=True)
    found.attrs.clear()
    found.attrs.update(provenance.merged([dict(table.attrs) for table in tables]))
    return found


def groups_of_truth(table: pd.DataFrame) -> pd.Series:
    """The images of each row, as ``gaussian-16``: its run without the known information.

    Args:
        table: estimates of ``against_truth``.
    """
    return table["run"].str.rpartition("-")[0]


LATENTS = "latents"

# The column of the logs with the known information.
TRUTH = "mi"


class Where(NamedTuple):
    """Which layer of which run, and when.

    Args:
        run: name of the run.
        epoch: number of the epoch.
        layer: name of the layer.
        layer_index: its position among the layers of the run.
        noise_std: standard deviation of the layer's own noise.
    """

    run: str
    epoch: int
    layer: str
    layer_index: int
    noise_std: float = 0.0


def row(
    where: Where, estimator: Any, quantity: str, value: Estimate, seconds: float
) -> dict[str, Any]:
    """A row of the table.

    Args:
        where: the run, layer and epoch.
        estimator: whose text names it.
        quantity: such as ``"I(X;T)"``.
        value: the estimate, in nats.
        seconds: how long it took.
    """
    return {
        "run": where.run,
        "epoch": where.epoch,
        "layer": where.layer,
        "layer_index": where.layer_index,
        "dim": value.dim,
        "n": value.n,
        "estimator": str(estimator),
        "quantity": quantity,
        "value": value.value,
        "stderr": value.stderr,
        "kind": value.kind,
        "flags": ",".join(flags_of(quantity, value)),
        "noise_std": where.noise_std,
        "seconds": seconds,
        "unit": "nats",
        "details": _details(value),
    }


def flags_of(quantity: str, value: Estimate) -> tuple[str, ...]:
    """The estimate's own, and whether it is an information below 0, which there is not."""
    error = value.stderr if math.isfinite(value.stderr) else 0.0
    below = quantity.startswith("I(") and value.kind == "estimate" and value.value < -_BELOW
    return (*value.flags, "negative") if below and value.value < -3 * error else value.flags


def _details(value: Estimate) -> str:
    """What an estimate tells of how it came about, as JSON; nothing of most."""
    if not isinstance(value, MutualInformation):
        return ""
    steps = {name: part.value for name, part in value.parts.items()}
    content = {**value.details, **({"steps": steps} if len(steps) > 1 else {})}
    return json.dumps(content) if content else ""
