"""The table of estimates: its columns, rows and units."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ib_keras.errors import ArgumentError
from ib_keras.flags import split
from ib_keras.frame import provenance
from ib_keras.interface import Estimate, MutualInformation

COLUMNS = [
    "run", "epoch", "layer", "layer_index", "dim", "n", "estimator", "quantity", "value", "stderr",
    "kind", "flags", "noise_std", "seconds", "unit",
]  # fmt: skip
# Columns that only some tables have.
OPTIONAL = ["view", "calibrated_lower", "calibrated_upper", "details"]
# In the details of I(X;T), its changes since earlier epochs: by epoch, the difference and its
# standard error, in nats.
CHANGES = "changes"
_TEXT = ("run", "layer", "estimator", "quantity", "kind", "flags", "unit", "view", "details")
_INTEGER = ("epoch", "layer_index", "dim", "n")
TYPES = {
    **dict.fromkeys([*COLUMNS, *OPTIONAL], "number"),
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(_INTEGER, "integer"),
}
# The flag of rows without an estimate; also the key in a table's attrs for the number of such rows.
NOT_ESTIMATED = "not_estimated"
# An estimate of a mutual information may be below 0 by this much, in nats, without being flagged.
_BELOW = 0.05
_NATS = {"nats": 1.0, "bits": math.log(2)}
# The information about a target, whose name is in brackets if there are several targets.
TARGET = re.compile(r"I\(T;Y(\[.+\])?\)")
# The beginnings of the quantities that have a unit: mutual informations and entropies.
_IN_UNITS = ("I(", "H(", "h(")


def from_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Make a table from rows with a value for each column of ``COLUMNS``.

    The table also has the columns of ``OPTIONAL`` that have a value in at least one row.
    """
    rows = list(rows)
    more = [c for c in OPTIONAL if any(row.get(c, "") != "" for row in rows)]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *more])
    dtypes = {"text": "str", "integer": "int64", "number": "float64"}
    return frame.astype({column: dtypes[TYPES[column]] for column in frame.columns})


def with_attrs(table: pd.DataFrame, attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Set the provenance of a new table, and the number of its rows without an estimate.

    Args:
        table: the estimates, which are changed.
        attrs: the result of ``provenance.attrs``.
    """
    table.attrs.update(attrs)
    table.attrs[NOT_ESTIMATED] = count_not_estimated(table)
    return table


def count_not_estimated(frame: pd.DataFrame) -> int:
    """Return the number of rows without an estimate (flag ``not_estimated``)."""
    return int(frame["flags"].str.split(",").map(lambda own: NOT_ESTIMATED in own).sum())


def columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are not logs: ``COLUMNS``, and those of ``OPTIONAL`` in the table."""
    return [*COLUMNS, *(c for c in OPTIONAL if c in frame)]


def validate(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """Return the frame if it is a table of estimates.

    Raises:
        ArgumentError: If columns are missing.
    """
    check_columns(frame.columns, name)
    return frame


def check_columns(found: Iterable[str], name: str) -> None:
    """Check that a table has the columns ``COLUMNS``."""
    found = list(found)
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise ArgumentError(
            f"`{name}` is not a table of estimates: it lacks {missing}",
            f"the columns {COLUMNS}",
            f"columns {found}",
        )


def convert(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Convert the values, errors and intervals of a table to another unit.

    Quantities without a unit, such as the fraction ``P(class kept)``, keep their values.

    Args:
        frame: a table of estimates.
        unit: ``"nats"`` or ``"bits"``.

    Returns:
        A converted copy of the table.

    Raises:
        ArgumentError: If the unit, or one in the table, is unknown.
    """
    check_unit(unit)
    frame = validate(frame).copy()
    for own in frame["unit"].unique():
        check_unit(own)
    factor = frame["unit"].map(_NATS) / _NATS[unit]
    factor = factor.where(frame["quantity"].map(has_unit), 1.0)
    for column in ("value", "stderr", "calibrated_lower", "calibrated_upper"):
        if column in frame:
            frame[column] *= factor
    frame["unit"] = unit
    return frame


def has_unit(quantity: str) -> bool:
    """Return whether a quantity is a mutual information or an entropy, in nats or bits.

    Args:
        quantity: name of the quantity, such as ``"I(X;T)"`` or ``"P(class kept)"``.
    """
    return str(quantity).startswith(_IN_UNITS)


def target_quantities(frame: pd.DataFrame) -> list[str]:
    """Return the quantities about targets, ``"I(T;Y)"`` or ``"I(T;Y[name])"``, without duplicates.

    They are in the order of their first appearance.
    """
    return [q for q in dict.fromkeys(frame["quantity"]) if TARGET.fullmatch(q)]


def given_target(quantity: str) -> str:
    """Return ``"I(X;T|Y)"`` for ``"I(T;Y)"``, and ``"I(X;T|Y[name])"`` for ``"I(T;Y[name])"``."""
    return f"I(X;T|{quantity.removeprefix('I(T;')}"


def target_name(quantity: str) -> str:
    """Return the name of the target in ``"I(T;Y[name])"``; empty for ``"I(T;Y)"``."""
    return quantity.removeprefix("I(T;Y").removesuffix(")").removeprefix("[").removesuffix("]")


def target_quantity(frame: pd.DataFrame, target: str | None = None) -> str:
    """Return the quantity of a target, such as ``"I(T;Y[name])"``.

    Args:
        frame: a table of estimates.
        target: name of the target; ``None`` for the first target in the table, or ``"I(T;Y)"`` if
            the table has none.

    Raises:
        ArgumentError: If the table has no target of this name.
    """
    known = target_quantities(frame)
    if target is None:
        return known[0] if known else "I(T;Y)"
    wanted = f"I(T;Y[{target}])"
    if wanted not in known:
        raise ArgumentError("`target` is not in the table", f"one of the names in {known}", target)
    return wanted


def check_unit(unit: str) -> str:
    """Return ``unit`` if it is ``"nats"`` or ``"bits"``.

    Raises:
        ArgumentError: If the unit is unknown.
    """
    if unit not in _NATS:
        raise ArgumentError("`unit` is unknown", f"one of {list(_NATS)}", repr(unit))
    return unit


def one_unit(frame: pd.DataFrame) -> str:
    """Return the unit of a table, which must have only one; empty if the table is empty.

    Raises:
        ArgumentError: If the table has several units.
    """
    units = sorted(frame["unit"].unique())
    if len(units) > 1:
        raise ArgumentError(
            "The table mixes units", "one unit; see ib_keras.frame.convert", str(units)
        )
    return str(units[0]) if units else ""


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of estimates; unlike ``pandas.concat``, keep ``attrs`` that differ.

    Args:
        frames: tables of estimates, at least one.

    Returns:
        The rows of all tables. Values of ``attrs`` that differ between the tables become lists.

    Raises:
        ArgumentError: If there are no tables, or a table lacks columns.
    """
    tables = [validate(table, f"frames[{i}]") for i, table in enumerate(frames)]
    if not tables:
        raise ArgumentError("`frames` is empty", "at least one table of estimates", "none")
    joined = fill_texts(pd.concat(tables, ignore_index=True))
    joined.attrs.clear()
    joined.attrs.update(provenance.merged([dict(table.attrs) for table in tables]))
    return joined


def fill_texts(joined: pd.DataFrame) -> pd.DataFrame:
    """Return joined tables with empty texts in columns that only some of the tables had."""
    return joined.fillna({column: "" for column in OPTIONAL if column in _TEXT})


def groups_of_truth(table: pd.DataFrame) -> pd.Series:
    """Return the kind of images of each row, such as ``gaussian-16``, from the names of the runs.

    Args:
        table: estimates of ``against_truth``.
    """
    return table["run"].str.replace(r"-seed\d+$", "", regex=True).str.rpartition("-")[0]


LATENTS = "latents"

# The column of the logs with the known information.
TRUTH = "mi"


class Where(NamedTuple):
    """A layer of a run at an epoch.

    Args:
        run: name of the run.
        epoch: number of the epoch.
        layer: name of the layer.
        layer_index: position of the layer in the run.
        noise_std: standard deviation of the layer's own noise.
        view: name of the view of the layer; empty for the layer's own output.
    """

    run: str
    epoch: int
    layer: str
    layer_index: int
    noise_std: float = 0.0
    view: str = ""


def row(
    where: Where, estimator: Any, quantity: str, value: Estimate, seconds: float
) -> dict[str, Any]:
    """Return an estimate as a row of the table.

    Args:
        where: the run, layer and epoch.
        estimator: the estimator, whose ``str`` is its name in the table.
        quantity: the estimated quantity, such as ``"I(X;T)"``.
        value: the estimate, in nats.
        seconds: duration of the estimation.
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
        "flags": ",".join(dict.fromkeys((*flags_of(quantity, value), *_view_flags(where)))),
        "noise_std": where.noise_std,
        "seconds": seconds,
        "unit": "nats",
        "view": where.view,
        "details": _details(value),
    }


def measured(quantity: str, flags: Iterable[str]) -> str:
    """Return the quantity that was measured: ``"I(X;T+N)"`` if noise N was added to T.

    Args:
        quantity: a quantity, such as ``"I(X;T)"``.
        flags: the flags of each estimate; all must have ``measurement_noise`` for ``T+N``.
    """
    noisy = ["measurement_noise" in split(own) for own in flags]
    is_noisy = bool(noisy) and all(noisy)
    return re.sub(r"\bT\b", "T+N", quantity, count=1) if is_noisy else quantity


def with_flags(row: dict[str, Any], *flags: str) -> dict[str, Any]:
    """Return a copy of a row with additional flags, without duplicates."""
    return {**row, "flags": ",".join(dict.fromkeys((*split(row["flags"]), *flags)))}


def flags_of(quantity: str, value: Estimate) -> tuple[str, ...]:
    """Return the flags of an estimate, with ``negative`` if an information is well below 0."""
    error = value.stderr if math.isfinite(value.stderr) else 0.0
    below = quantity.startswith("I(") and value.kind == "estimate" and value.value < -_BELOW
    return (*value.flags, "negative") if below and value.value < -3 * error else value.flags


def _view_flags(where: Where) -> tuple[str, ...]:
    """Return the flags that a view of the layer adds."""
    if not where.view:
        return ()
    return ("view", "dependent") if where.view == "positions" else ("view",)


def _details(value: Estimate) -> str:
    """Return the details of an estimate as JSON; empty if it has none."""
    if not isinstance(value, MutualInformation):
        return ""
    steps = {name: part.value for name, part in value.parts.items()}
    content = {**value.details, **({"steps": steps} if len(steps) > 1 else {})}
    return json.dumps(content) if content else ""
