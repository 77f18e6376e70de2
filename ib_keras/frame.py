"""The table of estimates: its columns, units, and files."""

from __future__ import annotations

import glob
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ib_keras import _files
from ib_keras.errors import ArgumentError, StoreError

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
ESTIMATES, LOGS = "estimates.parquet", "logs.parquet"
SCHEMA, VERSION = "ib_keras.estimates", 1
_TEXT = ("run", "layer", "estimator", "quantity", "kind", "flags", "unit")
_WHOLE = ("epoch", "layer_index", "dim", "n")
_NATS = {"nats": 1.0, "bits": math.log(2)}


def from_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The table of ``rows``, each with a value for every column of ``COLUMNS``."""
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    kinds = {c: "str" if c in _TEXT else "int64" if c in _WHOLE else "float64" for c in COLUMNS}
    return frame.astype(kinds)


def validate(frame: pd.DataFrame, name: str = "frame") -> pd.DataFrame:
    """Returns the frame if it is a table of estimates.

    Raises:
        ArgumentError: columns are missing (they are named).
    """
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise ArgumentError(
            f"`{name}` is no table of estimates: it lacks {missing}",
            f"the columns {COLUMNS}",
            f"columns {list(frame.columns)}",
        )
    return frame


def convert(frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The table in another unit: values and standard errors converted, the unit relabelled.

    Args:
        frame: a table of estimates.
        unit: ``"nats"`` or ``"bits"``.

    Raises:
        ArgumentError: the unit is unknown.
    """
    check_unit(unit)
    frame = validate(frame).copy()
    factor = frame["unit"].map(_NATS) / _NATS[unit]
    frame["value"] *= factor
    frame["stderr"] *= factor
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


def write(
    frame: pd.DataFrame, path: str | os.PathLike, *, logs: pd.DataFrame | None = None
) -> pathlib.Path:
    """Writes a folder that ``load`` reads: ``estimates.parquet``, ``logs.parquet``, a manifest.

    Args:
        frame: a table of estimates.
        path: the folder; an earlier one of this kind is replaced file by file.
        logs: Keras's logs with the columns ``run`` and ``epoch``.

    Returns:
        The folder.

    Raises:
        ArgumentError: the frame lacks columns, or the path holds something else.
    """
    folder = pathlib.Path(path)
    table = validate(frame)[COLUMNS]
    if folder.exists() and not (folder / _files.MANIFEST).exists():
        _files.check_free(folder)
    elif folder.exists():
        _files.read_manifest(folder, SCHEMA, VERSION)
    folder.mkdir(parents=True, exist_ok=True)
    _files.write_file(folder / ESTIMATES, lambda file: table.to_parquet(file, index=False))
    if logs is not None and len(logs):
        _files.write_file(folder / LOGS, lambda file: logs.to_parquet(file, index=False))
    _files.write_manifest(
        folder, SCHEMA, VERSION, rows=len(table), runs=sorted(table["run"].unique().tolist())
    )
    return folder


def load(path: str | os.PathLike) -> pd.DataFrame:
    """Reads the estimates that any run wrote, joined with the logs of their epochs.

    Args:
        path: a folder with ``estimates.parquet``, such a file, or a glob of either.

    Returns:
        A frame with the columns ``COLUMNS``, and one for each of Keras's logs (loss, metrics).

    Raises:
        StoreError: nothing is there, or it is no table of estimates.
    """
    path = os.fspath(path)
    matches = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not matches:
        raise StoreError(
            f"{path!r} does not exist", f"a folder with {ESTIMATES}, or such a file", "nothing"
        )
    frames = [_load_one(pathlib.Path(match)) for match in matches]
    return pd.concat(frames, ignore_index=True)


def _load_one(path: pathlib.Path) -> pd.DataFrame:
    file = path / ESTIMATES if path.is_dir() else path
    if not file.is_file():
        raise StoreError(
            f"{str(path)!r} holds no estimates",
            f"a folder with {ESTIMATES}; of an activation store, call ib_keras.estimate first",
            sorted(p.name for p in path.iterdir())[:10],
        )
    frame = validate(_read_parquet(file), str(file))
    logs_file = file.with_name(LOGS)
    if not logs_file.is_file():
        return frame
    logs = _read_parquet(logs_file)
    extra = [c for c in logs.columns if c not in frame.columns]
    return frame.merge(logs[["run", "epoch", *extra]], on=["run", "epoch"], how="left")


def _read_parquet(file: pathlib.Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise StoreError(f"{str(file)!r} cannot be read", "a parquet file", error) from None
