"""The table of estimates: its columns, units, and files."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import _provenance
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import atomic, buckets, journal, locks, manifests, npy

if TYPE_CHECKING:
    import pyarrow as pa

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
ESTIMATES, LOGS = "estimates.parquet", "logs.parquet"
SCHEMA, VERSION = "ib_keras.estimates", 1
_TEXT = ("run", "layer", "estimator", "quantity", "kind", "flags", "unit", "details")
_WHOLE = ("epoch", "layer_index", "dim", "n")
_TYPES = {
    **dict.fromkeys([*COLUMNS, *OPTIONAL], "number"),
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(_WHOLE, "whole"),
}
_CURVE = ["run", "layer", "layer_index", "estimator"]
# A number at the end of a run's name.
_SEED = r"-(?:seed)?\d+$"
# The number of a row's file, while tables and logs are joined.
_FILE = "__file__"
# In a table's attrs: the number of its rows without an estimate.
NOT_ESTIMATED = "not_estimated"
_NATS = {"nats": 1.0, "bits": math.log(2)}


def from_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The table of ``rows``, each with a value for every column of ``COLUMNS``.

    Of the columns in ``OPTIONAL`` it has those of which some row has something to say.
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
    _check_columns(frame.columns, name)
    return frame


def _check_columns(found: Iterable[str], name: str) -> None:
    found = list(found)
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise ArgumentError(
            f"`{name}` is no table of estimates: it lacks {missing}",
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
        StoreError: another process is writing there, or what is there is damaged.
    """
    return _write(frame, path, logs)


def _write(
    frame: pd.DataFrame,
    path: str | os.PathLike,
    logs: pd.DataFrame | None,
    begun: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """As ``write``; a new folder comes with a journal that says what was ``begun``."""
    folder = pathlib.Path(path)
    table = validate(frame)[columns(frame)]
    # First the logs: more of them than of estimates do no harm.
    parts = {LOGS: logs} if logs is not None and len(logs) else {}
    parts[ESTIMATES] = table
    runs = {"rows": len(table), "runs": sorted(table["run"].unique().tolist())}
    if not (folder / manifests.MANIFEST).exists():

        def fill(temporary: pathlib.Path) -> None:
            for name, part in parts.items():
                _to_parquet(part, temporary / name)
            files = manifests.checksums(temporary)
            manifests.write_manifest(temporary, SCHEMA, VERSION, files=files, **runs)
            if begun is not None:
                journal.append(temporary, begun)

        atomic.write_folder(folder, fill)
        return folder
    manifest = _manifest(folder)
    with locks.held(folder):
        atomic.remove_unfinished(folder)
        _replace(folder, manifest, parts, runs)
    return folder


def _replace(
    folder: pathlib.Path,
    manifest: Mapping[str, Any],
    parts: Mapping[str, pd.DataFrame],
    runs: Mapping[str, Any],
) -> None:
    """Replaces tables; killed at any moment, it leaves of each the old one or the new one."""
    old = {name: entry for name in manifest["files"] if (entry := _current(folder, manifest, name))}
    temporary = {name: atomic.sibling(folder / name) for name in parts}
    try:
        for name, part in parts.items():
            _to_parquet(part, temporary[name])
        new = {name: manifests.entry(path) for name, path in temporary.items()}
        content = {"files": {**old, **new}, **runs}
        manifests.write_manifest(folder, SCHEMA, VERSION, replaced=old, **content)
        for name, path in temporary.items():
            os.replace(path, folder / name)
        manifests.write_manifest(folder, SCHEMA, VERSION, **content)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    fields = {"files": lambda value: isinstance(value, dict)}
    return manifests.check_fields(folder, manifests.read_manifest(folder, SCHEMA, VERSION), fields)


def _current(
    folder: pathlib.Path, manifest: Mapping[str, Any], name: str
) -> Mapping[str, Any] | None:
    """The entry of a file as it is: the new one, or where that did not come to be, the old one."""
    for files in (manifest["files"], manifest.get("replaced") or {}):
        with contextlib.suppress(StoreError):
            manifests.checked_file(folder, {"files": files}, name)
            return files[name]
    return None


def _to_parquet(table: pd.DataFrame, file: pathlib.Path) -> None:
    table.to_parquet(file, index=False, write_page_checksum=True)


def load(path: str | os.PathLike | Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Reads the estimates that any runs wrote, joined with the logs of their epochs.

    Args:
        path: a folder with ``estimates.parquet``, such a file, or a glob of either; on this
            machine, or in a bucket (``gs://…``, or what else fsspec reads); or a list of these.

    Returns:
        A frame with the columns ``COLUMNS``, and one for each of Keras's logs (loss, metrics). Its
        ``attrs`` say where it came from; where the runs differ, they list what differs.

    Raises:
        StoreError: nothing is there, it is no table of estimates, or it may not be read.
        ArgumentError: a table lacks columns, or the list is empty.
        MissingExtraError: what reads such a bucket is not installed.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise ArgumentError("`path` is empty", "a path, or a list of them", "[]")
    tables = [table for one in paths for table in _read(os.fspath(one))]
    return _joined(tables)


def read_parquet(file: str | os.PathLike) -> pd.DataFrame:
    """Any parquet file, if there is memory for it.

    Args:
        file: its path.

    Raises:
        StoreError: it cannot be read.
    """
    return _stacked([_read_parquet(pathlib.Path(file), os.fspath(file))])


def read_logs(path: str | os.PathLike) -> pd.DataFrame:
    """Keras's logs of a folder that ``write`` wrote.

    Args:
        path: the folder.

    Returns:
        A frame with the columns ``run`` and ``epoch``; without rows if there are none.

    Raises:
        StoreError: they are damaged.
    """
    _, logs = _read_one(pathlib.Path(path), os.fspath(path))
    return pd.DataFrame() if logs is None else _stacked([logs])


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
    found.attrs.update(_provenance.merged([dict(table.attrs) for table in tables]))
    return found


def compression(
    frame: pd.DataFrame, *, quantity: str = "I(X;T)", over_seeds: bool = False
) -> pd.DataFrame:
    """How much each layer's information falls from its maximum over training to the end.

    With I_e the curve over the recorded epochs: absolute = max_e I_e − I_end, relative = absolute /
    max_e I_e. The published studies do not define their score; this one is ours.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, or another that the table has.
        over_seeds: takes runs together whose names differ in a number at the end
            (``tanh-0``, ``tanh-1``): means over them, and their standard deviations.

    Returns:
        A row for each run, layer and estimator: ``maximum``, ``turn`` (the epoch of the maximum),
        ``end``, ``absolute``, ``stderr`` of it (NaN where the estimates have none) and
        ``relative`` (NaN where the maximum is 0); in the table's unit. With ``over_seeds`` a column
        ``seeds`` has their number, and each measure a second column ``…_std``.

    Raises:
        ArgumentError: the table lacks columns, or the quantity.
    """
    rows = []
    for key, curve in _curves(frame, quantity):
        values = curve["value"].to_numpy()
        top, maximum, end = int(values.argmax()), float(values.max()), float(values[-1])
        errors = curve["stderr"].to_numpy()
        rows.append(
            {
                **key,
                "maximum": maximum,
                "turn": int(curve["epoch"].iloc[top]),
                "end": end,
                "absolute": maximum - end,
                "stderr": math.hypot(errors[top], errors[-1]),
                "relative": (maximum - end) / maximum if maximum > 0 else math.nan,
            }
        )
    measures = ["maximum", "turn", "end", "absolute", "stderr", "relative"]
    found = pd.DataFrame(rows, columns=[*_CURVE, *measures])
    if not over_seeds:
        return found
    found["run"] = without_seed(found["run"])
    names = ["maximum", "turn", "end", "absolute", "relative"]
    groups = found.groupby(_CURVE, sort=False)
    table = groups[names].mean()
    table.insert(0, "seeds", groups.size())
    for name in names:
        table[f"{name}_std"] = groups[name].std()
    return table.reset_index()


def without_seed(runs: pd.Series) -> pd.Series:
    """Names of runs without the number at their end: ``tanh-0`` and ``tanh-1`` are ``tanh``.

    Args:
        runs: the names.
    """
    return runs.str.replace(_SEED, "", regex=True)


def seed_groups(runs: Iterable[str]) -> dict[str, str]:
    """Each run → its name without the seed, if others share it, else its own name.

    Args:
        runs: the runs' names.

    Returns:
        A dictionary in the order of first appearance.
    """
    names = pd.Series(list(dict.fromkeys(runs)), dtype="str")
    short = without_seed(names)
    shared = short.duplicated(keep=False)
    return dict(zip(names, short.where(shared, names), strict=True))


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with runs that differ in their seeds taken together.

    Args:
        frame: a table of estimates.

    Returns:
        A table with the columns ``COLUMNS``, in which such runs have one name (see
        ``seed_groups``): ``value`` is their mean, ``stderr`` their standard deviation, ``flags``
        those of any, ``seconds`` their sum; a run of its own is as it was.

    Raises:
        ArgumentError: the table lacks columns.
    """
    table = validate(frame)[COLUMNS]
    group = table["run"].map(seed_groups(table["run"])).astype(table["run"].dtype)
    table = table.assign(run=group)
    key = ["run", "epoch", "layer", "layer_index", "estimator", "quantity", "kind", "unit"]
    groups = table.groupby(key, sort=False, dropna=False)
    found = groups[["dim", "n", "noise_std"]].first()
    found["value"] = groups["value"].mean()
    several = groups["value"].count() > 1
    found["stderr"] = groups["value"].std().where(several, groups["stderr"].first())
    found["seconds"] = groups["seconds"].sum()
    found["flags"] = groups["flags"].agg(
        lambda own: ",".join(
            dict.fromkeys(f for text in own.unique() for f in text.split(",") if f)
        )
    )
    return found.reset_index()[COLUMNS]


def phases(
    frame: pd.DataFrame, *, quantity: str = "I(X;T)", tolerance: float = 0.05
) -> pd.DataFrame:
    """The fitting and compression phases of each layer: where the curve rises, and where it falls.

    A phase ends at an extremum from which the curve turns back by more than the tolerance, or by
    more than 3 standard errors, whichever is more: smaller movements are noise.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, or another that the table has.
        tolerance: as a share of the curve's range over training.

    Returns:
        A row for each phase, in order: run, layer, estimator, ``phase`` (``"fitting"`` or
        ``"compression"``), ``start`` and ``stop`` (epochs), and ``change`` in the table's unit.

    Raises:
        ArgumentError: the table lacks columns, or the quantity.
    """
    rows = []
    for key, curve in _curves(frame, quantity):
        values, epochs = curve["value"].to_numpy(), curve["epoch"].to_numpy()
        errors = curve["stderr"].fillna(0).to_numpy()
        least = max(tolerance * float(np.ptp(values)), 3 * float(errors.max()), 1e-9)
        turns = _turns(values, least)
        for start, stop in itertools.pairwise(turns):
            change = float(values[stop] - values[start])
            phase = "fitting" if change > 0 else "compression"
            rows.append({**key, "phase": phase, "start": int(epochs[start]),
                         "stop": int(epochs[stop]), "change": change})  # fmt: skip
    return pd.DataFrame(rows, columns=[*_CURVE, "phase", "start", "stop", "change"])


def _turns(values: np.ndarray, least: float) -> list[int]:
    """Indices of the first value, of the extrema between which it moves by ``least``, and the last
    extremum."""
    low = high = 0
    direction = 0
    turns: list[int] = []
    for i, value in enumerate(values):
        low = i if value < values[low] else low
        high = i if value > values[high] else high
        if direction >= 0 and values[high] - value > least:
            turns += [high] if direction else [0, high] if high else [0]
            direction, low = -1, i
            high = i
        elif direction <= 0 and value - values[low] > least:
            turns += [low] if direction else [0, low] if low else [0]
            direction, high = 1, i
            low = i
    if not direction:
        return []
    last = high if direction > 0 else low
    return list(dict.fromkeys([*turns, last]))


def _curves(frame: pd.DataFrame, quantity: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """A quantity's curves over the epochs, without what is not available."""
    table = validate(frame)
    part = table[table["quantity"] == quantity]
    if part.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    part = part[np.isfinite(part["value"])].sort_values("epoch")
    for key, curve in part.groupby(_CURVE, sort=False):
        yield dict(zip(_CURVE, key, strict=True)), curve


def _read(path: str) -> list[tuple[pa.Table, pa.Table | None]]:
    """The estimates and the logs of each folder or file that a path names."""
    if "://" in path:
        with buckets.files(path, (ESTIMATES, LOGS, manifests.MANIFEST)) as copies:
            return [_read_one(copy, name) for name, copy in copies]
    matches = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not matches:
        raise StoreError(
            f"{path!r} does not exist", f"a folder with {ESTIMATES}, or such a file", "nothing"
        )
    return [_read_one(pathlib.Path(match), match) for match in matches]


def _read_one(path: pathlib.Path, name: str) -> tuple[pa.Table, pa.Table | None]:
    file = path / ESTIMATES if path.is_dir() else path
    if not file.is_file():
        raise StoreError(
            f"{name!r} holds no estimates",
            f"a folder with {ESTIMATES}; of an activation store, call ib_keras.estimate first",
            sorted(p.name for p in path.iterdir())[:10],
        )
    shown = name if file == path else f"{name}/{ESTIMATES}"
    _check_whole(file, shown)
    table = _read_parquet(file, name)
    _check_columns(table.column_names, shown)
    _check_types(table, _TYPES, shown)
    logs_file = file.with_name(LOGS)
    shown = f"{name}, its {LOGS}"
    if not _check_whole(logs_file, shown) and not logs_file.is_file():
        return table, None
    logs = _read_parquet(logs_file, shown)
    _check_types(logs, {"run": "text", "epoch": "whole"}, shown)
    return table, logs


def _check_whole(file: pathlib.Path, name: str) -> bool:
    """Compares a table with its checksum, if there is a manifest that has it."""
    folder = file.parent
    if file.name not in (ESTIMATES, LOGS) or not (folder / manifests.MANIFEST).is_file():
        return False
    while True:
        manifest = _manifest(folder)
        if file.name not in manifest["files"]:
            return False
        if _current(folder, manifest, file.name):
            return True
        if _manifest(folder) == manifest:  # else it was replaced meanwhile
            raise StoreError(
                f"{name!r} is damaged", f"the checksum in its {manifests.MANIFEST}", "another"
            )


def _check_types(table: pa.Table, wanted: Mapping[str, str], name: str) -> None:
    import pyarrow as pa

    tests = {
        "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "whole": pa.types.is_integer,
        "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    }
    names = table.column_names
    if len(set(names)) < len(names) or not {"run", "epoch"} <= set(names):
        raise StoreError(f"{name!r} is damaged", "columns of different names", names)
    for column in table.schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        known = wanted.get(column.name)
        whole = known in (None, "number") or not table.column(column.name).null_count
        if known and table.num_rows and not (whole and tests[known](kind)):
            raise StoreError(
                f"The column {column.name!r} of {name!r} is of another type", f"a {known}", kind
            )


def _read_parquet(file: pathlib.Path, name: str) -> pa.Table:
    import pyarrow.parquet

    try:
        # Into memory of its own: mapped, the file could not be removed or replaced meanwhile.
        opened = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
        content = opened.metadata
        groups = [content.row_group(i) for i in range(content.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        npy.check_size(file, max(8 * content.num_rows * content.num_columns, unpacked))
        return opened.read()
    except StoreError:
        raise
    except npy.DAMAGE as error:
        raise StoreError(f"{name!r} cannot be read", "a parquet file", error) from None


def _joined(read: Sequence[tuple[pa.Table, pa.Table | None]]) -> pd.DataFrame:
    """All tables as one, each joined with its own logs; made pandas's at once, which is faster."""
    table = _stacked([own for own, _ in read])
    table.attrs.update(_provenance.merged([_attrs(own) for own, _ in read]))
    logs = [(i, own) for i, (_, own) in enumerate(read) if own is not None]
    if not logs:
        return table
    extra = _stacked([own for _, own in logs])
    names = ["run", "epoch", *(c for c in extra.columns if c not in table.columns)]
    # Runs of one name in several files may have different logs.
    extra = extra[names].assign(
        **{_FILE: np.repeat([i for i, _ in logs], [len(own) for _, own in logs])}
    )
    table[_FILE] = np.repeat(np.arange(len(read)), [len(own) for own, _ in read])
    attrs = table.attrs
    table = table.merge(extra, on=[_FILE, "run", "epoch"], how="left").drop(columns=_FILE)
    table.attrs = attrs
    return table


def _stacked(tables: Sequence[pa.Table]) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except npy.DAMAGE as error:
        raise StoreError(
            "The tables cannot be put together", "columns of the same types", error
        ) from None


def _attrs(table: pa.Table) -> dict[str, Any]:
    """What pandas keeps of a frame's ``attrs`` in a parquet file."""
    text = (table.schema.metadata or {}).get(b"PANDAS_ATTRS")
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise StoreError("A table's attrs are damaged", "valid JSON", error) from None
    return found if isinstance(found, dict) else {}
