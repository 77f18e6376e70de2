"""compare(): how tables of estimates differ, and whether by more than their errors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame import provenance

# A difference of more than so many combined standard errors is told from none.
ERRORS = 2.0
_KEY = ["layer", "estimator", "quantity", "epoch"]
_VALUES = ["value", "stderr", "flags", "runs"]


def compare(
    frames_by_label: Mapping[str, Any], *, by_run: bool | None = None, unit: str | None = None
) -> pd.DataFrame:
    """How tables of estimates differ from the first: difference, its error, and whether it counts.

    Estimates are matched by layer, estimator, quantity and epoch, at the epochs that both have; and
    by run, if all have the same runs. Otherwise each table is averaged over its runs, and the
    standard error is that of the mean over runs: s/√k of k runs with standard deviation s, or a
    single run's own. The error of a difference is √(a² + b²).

    Args:
        frames_by_label: label → a table of estimates, or what ``ib_keras.load`` reads (a path, a
            glob, a list of them); two at least. The first is what the others are compared with.
        by_run: whether runs are matched by name; by default if all tables have the same runs.
        unit: ``"nats"`` or ``"bits"``; the first table's by default.

    Returns:
        A row for each other label and matched estimate: ``baseline``, ``other`` (the labels),
        ``run`` (if matched by run), ``layer``, ``layer_index``, ``estimator``, ``quantity``,
        ``epoch``, ``value_baseline``, ``value_other``, ``difference`` (other − baseline),
        ``stderr`` of it, ``exceeds`` (whether it is more than 2 of them; missing where an error is
        unknown), ``runs_baseline``, ``runs_other``, ``flags`` of either, and ``unit``.

    Raises:
        ArgumentError: fewer than two tables, one lacks columns, runs cannot be matched, or nothing
            is common.
        StoreError: a path holds no estimates.

    Example::

        ib_keras.compare({"tanh": "runs/tanh-*", "relu": "runs/relu-*"})
    """
    if not isinstance(frames_by_label, Mapping) or len(frames_by_label) < 2:
        raise ArgumentError(
            "`frames_by_label` holds nothing to compare",
            "a mapping of two labels or more to tables or paths",
            sorted(frames_by_label) if isinstance(frames_by_label, Mapping) else frames_by_label,
        )
    tables = {str(label): _table(label, source) for label, source in frames_by_label.items()}
    baseline, *others = tables
    unit = unit or str(tables[baseline]["unit"].iloc[0])
    tables = {label: frames.convert(table, unit) for label, table in tables.items()}
    runs = {label: sorted(table["run"].unique()) for label, table in tables.items()}
    same = all(own == runs[baseline] for own in runs.values())
    if by_run and not same:
        raise ArgumentError("Runs cannot be matched by name", "the same runs in all", runs)
    key = ["run", *_KEY] if (same if by_run is None else by_run) else _KEY
    sides = {label: _side(table, key) for label, table in tables.items()}
    parts = [_difference(sides[baseline], sides[other], baseline, other, key) for other in others]
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise ArgumentError(
            "The tables have nothing in common",
            "the same layers, estimators, quantities and epochs in both",
            {label: _has(table) for label, table in tables.items()},
        )
    found["unit"] = unit
    found.attrs = {label: table.attrs.get(provenance.KEY, {}) for label, table in tables.items()}
    return found


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
    """One row for each key: the mean over runs where there are several."""
    twice = table.duplicated(["run", *_KEY])
    if twice.any():
        row = table[twice].iloc[0]
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
        spread=("value", "sem"),
        runs=("value", "count"),
        flags=("flags", _union),
    )
    side["stderr"] = side["spread"].where(side["runs"] > 1, side["stderr"])
    return side.drop(columns="spread").reset_index()


def _union(flags: pd.Series) -> str:
    parts = {flag for text in flags.unique() for flag in str(text).split(",") if flag}
    return ",".join(sorted(parts))


def _difference(
    first: pd.DataFrame, second: pd.DataFrame, baseline: str, other: str, key: list[str]
) -> pd.DataFrame:
    pair = first.merge(
        second[[*key, *_VALUES]], on=key, how="inner", suffixes=("_baseline", "_other")
    )
    pair["difference"] = pair["value_other"] - pair["value_baseline"]
    pair["stderr"] = np.hypot(pair["stderr_baseline"], pair["stderr_other"])
    exceeds = (pair["difference"].abs() > ERRORS * pair["stderr"]).astype("boolean")
    unknown = pair["stderr"].isna() | pair["difference"].isna()
    pair["exceeds"] = exceeds.mask(unknown)
    pair["flags"] = [
        _union(pd.Series([a, b]))
        for a, b in zip(pair["flags_baseline"], pair["flags_other"], strict=True)
    ]
    pair["baseline"], pair["other"] = baseline, other
    columns = ["baseline", "other", *(c for c in ("run",) if c in key), "layer", "layer_index",
               "estimator", "quantity", "epoch", "value_baseline", "value_other", "difference",
               "stderr", "exceeds", "runs_baseline", "runs_other", "flags"]  # fmt: skip
    order = [c for c in ("run", "layer_index", "estimator", "quantity", "epoch") if c in columns]
    return pair[columns].sort_values(order, kind="stable")


def _has(table: pd.DataFrame) -> str:
    names = ("layer", "estimator", "quantity", "epoch")
    return ", ".join(f"{c}s {list(table[c].unique())[:5]}" for c in names)
