"""compare(): the differences between tables of estimates, and whether they exceed the errors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame import provenance

# A difference counts if it exceeds this number of combined standard errors.
ERRORS = 2.0
_KEY = ["layer", "estimator", "quantity", "epoch"]
_VALUES = ["value", "stderr", "flags", "runs"]


def compare(
    frames_by_label: Mapping[str, Any], *, by_run: bool | None = None, unit: str | None = None
) -> pd.DataFrame:
    """Compare tables of estimates with the first one.

    Estimates are matched by layer, estimator, quantity and epoch, at the epochs that both tables
    have; and by run, if all tables have the same runs. Otherwise each table is averaged over its
    runs, and the standard error is that of the mean: s/√k for k runs with standard deviation s, or
    the run's own standard error if there is one run. Do not pass the result of
    ``frame.over_seeds``, whose ``stderr`` is s. The standard error of a difference is √(a² + b²),
    where a and b are the standard errors of the two values.

    Args:
        frames_by_label: a mapping from at least two labels to tables of estimates, or to anything
            that ``ib_keras.load`` reads (a path, a glob, a list of these). The others are compared
            with the first.
        by_run: whether to match runs by name; by default, runs are matched if all tables have the
            same runs.
        unit: ``"nats"`` or ``"bits"``; the default is the unit of the first table.

    Returns:
        A frame with a row for each other label and matched estimate: ``baseline`` and ``other``
        (the labels), ``run`` (if matched by run), ``layer``, ``layer_index``, ``estimator``,
        ``quantity``, ``epoch``, ``value_baseline``, ``value_other``, ``difference`` (other −
        baseline), its ``stderr``, ``exceeds`` (whether the difference exceeds 2 standard errors,
        or for means over few runs as many as Student's distribution requires; missing if an error
        is unknown or a flag says that a value says nothing about the network), ``runs_baseline``,
        ``runs_other``, ``flags`` of both, and ``unit``.

    Raises:
        ArgumentError: If there are fewer than two tables, a table lacks columns, runs cannot be
            matched, or the tables have no estimates in common.
        StoreError: If a path has no estimates.

    Example::

        ib_keras.compare({"tanh": "runs/tanh-*", "relu": "runs/relu-*"})
    """
    if not isinstance(frames_by_label, Mapping) or len(frames_by_label) < 2:
        raise ArgumentError(
            "`frames_by_label` has nothing to compare",
            "a mapping from at least two labels to tables or paths",
            sorted(frames_by_label) if isinstance(frames_by_label, Mapping) else frames_by_label,
        )
    tables = {str(label): _table(label, source) for label, source in frames_by_label.items()}
    baseline, *others = tables
    unit = unit or str(tables[baseline]["unit"].iloc[0])
    tables = {label: frames.convert(table, unit) for label, table in tables.items()}
    runs = {label: sorted(table["run"].unique()) for label, table in tables.items()}
    same = all(own == runs[baseline] for own in runs.values())
    if by_run and not same:
        raise ArgumentError("Runs cannot be matched by name", "the same runs in all tables", runs)
    key = ["run", *_KEY] if (same if by_run is None else by_run) else _KEY
    sides = {label: _side(table, key) for label, table in tables.items()}
    parts = [_difference(sides[baseline], sides[other], baseline, other, key) for other in others]
    differences = pd.concat(parts, ignore_index=True)
    if differences.empty:
        raise ArgumentError(
            "The tables have nothing in common",
            "the same layers, estimators, quantities and epochs in both",
            {label: _contents(table) for label, table in tables.items()},
        )
    differences["unit"] = unit
    differences.attrs = {
        label: table.attrs.get(provenance.KEY, {}) for label, table in tables.items()
    }
    return differences


def _table(label: Any, source: Any) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        table = frames.validate(source, f"frames_by_label[{label!r}]")
    elif isinstance(source, (str, os.PathLike, Sequence)):
        table = frames.load(source)
    else:
        raise ArgumentError(
            f"`frames_by_label[{label!r}]` is not a table",
            "a frame, a path or a list of paths",
            source,
        )
    if table.empty:
        raise ArgumentError(f"`frames_by_label[{label!r}]` is empty", "rows of estimates", "none")
    return table


def _side(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return one row for each key: the mean over runs if there are several."""
    duplicated = table.duplicated(["run", *_KEY])
    if duplicated.any():
        row = table[duplicated].iloc[0]
        raise ArgumentError(
            "A table has an estimate twice",
            "one row for each run, layer, estimator, quantity and epoch",
            dict(row[["run", *_KEY]]),
        )
    if "run" in key:
        return table[[*key, "layer_index", "value", "stderr", "flags"]].assign(runs=1)
    groups = table.groupby(key, sort=False)
    side = groups.agg(
        layer_index=("layer_index", "first"),
        value=("value", "mean"),
        stderr=("stderr", "first"),
        error_of_mean=("value", "sem"),
        runs=("value", "count"),
        flags=("flags", lambda own: _union(*own.unique())),
    )
    side["stderr"] = side["error_of_mean"].where(side["runs"] > 1, side["stderr"])
    return side.drop(columns="error_of_mean").reset_index()


def _union(*flags: str) -> str:
    return ",".join(sorted(flagging.split(",".join(map(str, flags)))))


def _errors(runs: pd.Series) -> np.ndarray:
    """Return the number of standard errors that means over runs must differ by."""
    from scipy.special import ndtr, stdtrit

    several = np.maximum(runs.to_numpy(float) - 1, 1)
    return np.where(runs > 1, stdtrit(several, ndtr(ERRORS)), ERRORS)


def _difference(
    first: pd.DataFrame, second: pd.DataFrame, baseline: str, other: str, key: list[str]
) -> pd.DataFrame:
    pair = first.merge(
        second[[*key, *_VALUES]], on=key, how="inner", suffixes=("_baseline", "_other")
    )
    pair["difference"] = pair["value_other"] - pair["value_baseline"]
    pair["stderr"] = np.hypot(pair["stderr_baseline"], pair["stderr_other"])
    pair["flags"] = list(map(_union, pair["flags_baseline"], pair["flags_other"]))
    fewest = pair[["runs_baseline", "runs_other"]].min(axis=1)
    exceeds = (pair["difference"].abs() > _errors(fewest) * pair["stderr"]).astype("boolean")
    useless = pair["flags"].map(flagging.doubt) >= flagging.NOTHING
    pair["exceeds"] = exceeds.mask(pair["stderr"].isna() | pair["difference"].isna() | useless)
    pair["baseline"], pair["other"] = baseline, other
    columns = ["baseline", "other", *(c for c in ("run",) if c in key), "layer", "layer_index",
               "estimator", "quantity", "epoch", "value_baseline", "value_other", "difference",
               "stderr", "exceeds", "runs_baseline", "runs_other", "flags"]  # fmt: skip
    order = [c for c in ("run", "layer_index", "estimator", "quantity", "epoch") if c in columns]
    return pair[columns].sort_values(order, kind="stable")


def _contents(table: pd.DataFrame) -> str:
    return ", ".join(f"{column}s {list(table[column].unique())[:5]}" for column in _KEY)
