"""Files of tables of estimates: writing, replacing, and reading them with their logs."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras.errors import ArgumentError, StoreError
from ib_keras.frame import provenance
from ib_keras.frame.table import TYPES, check_columns, columns, fill_texts, validate
from ib_keras.storage import atomic, buckets, journal, locks, manifests, npy

if TYPE_CHECKING:
    import pyarrow as pa

ESTIMATES, LOGS = "estimates.parquet", "logs.parquet"

SCHEMA, VERSION = "ib_keras.estimates", 1

# How long a reader waits, in seconds, until a table and its logs belong together: another process
# may be replacing them.
_PATIENCE = 0.5
# A temporary column with the number of each row's file, for joining tables and logs.
_FILE = "__file__"


def write(
    frame: pd.DataFrame, path: str | os.PathLike, *, logs: pd.DataFrame | None = None
) -> pathlib.Path:
    """Write a folder that ``load`` reads: ``estimates.parquet``, ``logs.parquet``, a manifest.

    Args:
        frame: a table of estimates.
        path: the folder to write. The files of an existing folder of estimates are replaced.
        logs: Keras's logs with the columns ``run`` and ``epoch``; ``None`` for no logs, in which
            case the logs of an existing folder are kept.

    Returns:
        The folder.

    Raises:
        ArgumentError: If the frame lacks columns, or the path is another kind of folder or file.
        StoreError: If another process is writing to the folder, or the folder is damaged.
    """
    return write_table(frame, path, logs)


def write_table(
    frame: pd.DataFrame,
    path: str | os.PathLike,
    logs: pd.DataFrame | None,
    begun: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """Write as ``write`` does; a new folder also gets a journal with the entry ``begun``."""
    folder = pathlib.Path(path)
    table = validate(frame)[columns(frame)]
    # The logs come first, because logs of additional epochs do no harm.
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
    """Replace tables; if the process is killed, each table is either the old or the new one."""
    old = {name: entry for name in manifest["files"] if (entry := current(folder, manifest, name))}
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


def current(
    folder: pathlib.Path, manifest: Mapping[str, Any], name: str
) -> Mapping[str, Any] | None:
    """Return the manifest's entry that matches a file: the new one, or the one it replaces.

    ``None`` if the file matches neither.
    """
    for files in (manifest["files"], manifest.get("replaced") or {}):
        with contextlib.suppress(StoreError):
            manifests.checked_file(folder, {"files": files}, name)
            return files[name]
    return None


def _to_parquet(table: pd.DataFrame, file: pathlib.Path) -> None:
    table.to_parquet(file, index=False, write_page_checksum=True)


def load(path: str | os.PathLike | Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Read tables of estimates, joined with the logs of their epochs.

    Args:
        path: a folder with ``estimates.parquet``, a file of this kind, or a glob of either; on this
            machine, or in a bucket (``gs://…``, or any other URL that fsspec reads); or a list of
            these.

    Returns:
        A frame with the columns ``COLUMNS``, and one column for each of Keras's logs (loss,
        metrics). Its ``attrs`` have the provenance; values that differ between runs are listed.

    Raises:
        StoreError: If the path does not exist, is not a table of estimates, or cannot be read.
        ArgumentError: If a table lacks columns, or the list is empty.
        MissingExtraError: If the package that reads the bucket is not installed.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise ArgumentError("`path` is empty", "a path, or a list of them", "[]")
    tables = [table for one in paths for table in _read(os.fspath(one))]
    return _joined(tables)


def read_parquet(file: str | os.PathLike) -> pd.DataFrame:
    """Read any parquet file that fits in memory.

    Args:
        file: path of the file.

    Raises:
        StoreError: If the file cannot be read.
    """
    return _stacked([_read_parquet(pathlib.Path(file), os.fspath(file))])


def read_logs(path: str | os.PathLike) -> pd.DataFrame:
    """Read Keras's logs from a folder that ``write`` wrote.

    Args:
        path: the folder.

    Returns:
        A frame with the columns ``run`` and ``epoch``, or an empty frame if there are no logs.

    Raises:
        StoreError: If the folder has no estimates, or is damaged.
    """
    _, logs = _read_one(pathlib.Path(path), os.fspath(path))
    return pd.DataFrame() if logs is None else _stacked([logs])


def _read(path: str) -> list[tuple[pa.Table, pa.Table | None]]:
    """Return the estimates and the logs of each folder or file that a path names."""
    if buckets.is_url(path):
        with buckets.files(path, (ESTIMATES, LOGS, manifests.MANIFEST)) as copies:
            return [_read_one(copy, name) for name, copy in copies]
    matches = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not matches:
        raise StoreError(
            f"{path!r} does not exist", f"a folder with {ESTIMATES}, or a parquet file", "nothing"
        )
    return [_read_one(pathlib.Path(match), match) for match in matches]


def _read_one(path: pathlib.Path, name: str) -> tuple[pa.Table, pa.Table | None]:
    file = path / ESTIMATES if path.is_dir() else path
    if not file.is_file():
        raise StoreError(
            f"{name!r} has no estimates",
            f"a folder with {ESTIMATES}; for an activation store, ib_keras.frame.write saves the "
            "table that ib_keras.estimate returns, and ib_keras.Recorder with `estimators` its own",
            sorted(p.name for p in path.iterdir())[:10],
        )
    shown = name if file == path else f"{name}/{ESTIMATES}"
    deadline = time.monotonic() + _PATIENCE
    while True:
        is_late = time.monotonic() > deadline
        manifest, version = before = _state(file)
        try:
            tables = _read_tables(file, name, shown, manifest)
        except StoreError:
            if _state(file) == before and (version is None or is_late):
                raise
        else:
            if is_late or (_state(file) == before and not _is_mixed(manifest, version)):
                return tables
        time.sleep(0.001)


def _state(file: pathlib.Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return a table's manifest and, while its tables are being replaced, their entries.

    A file of another name is a table of its own, whatever else its folder has.
    """
    folder = file.parent
    if file.name != ESTIMATES or not (folder / manifests.MANIFEST).is_file():
        return None, None
    manifest = _manifest(folder)
    if manifest.get("replaced") is None:
        return manifest, None
    return manifest, {name: current(folder, manifest, name) for name in (ESTIMATES, LOGS)}


def _is_mixed(manifest: Mapping[str, Any] | None, version: Mapping[str, Any] | None) -> bool:
    """Return whether only one of the two tables has been replaced so far."""
    if manifest is None or version is None:
        return False
    known = (manifest["files"], manifest["replaced"])
    return not any(all(files.get(name) == version[name] for name in version) for files in known)


def _read_tables(
    file: pathlib.Path, name: str, shown: str, manifest: Mapping[str, Any] | None
) -> tuple[pa.Table, pa.Table | None]:
    _check_whole(file, shown, manifest)
    table = _read_parquet(file, name)
    check_columns(table.column_names, shown)
    _check_types(table, TYPES, shown)
    logs_file = file.with_name(LOGS)
    shown = f"{name}, its {LOGS}"
    if not _check_whole(logs_file, shown, manifest) and not logs_file.is_file():
        return table, None
    logs = _read_parquet(logs_file, shown)
    _check_types(logs, {"run": "text", "epoch": "integer"}, shown)
    return table, logs


def _check_whole(file: pathlib.Path, name: str, manifest: Mapping[str, Any] | None) -> bool:
    """Check a table against its checksum; return ``False`` if no manifest has one."""
    if manifest is None:
        return False
    replaced = manifest.get("replaced")
    known = (manifest["files"], manifest["files"] if replaced is None else replaced)
    listed = [file.name in files for files in known]
    if not any(listed) or not (all(listed) or file.exists()):
        return False
    if not current(file.parent, manifest, file.name):
        raise StoreError(
            f"{name!r} is damaged", f"the checksum in its {manifests.MANIFEST}", "another"
        )
    return True


def _check_types(table: pa.Table, wanted: Mapping[str, str], name: str) -> None:
    import pyarrow as pa

    tests = {
        "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "integer": pa.types.is_integer,
        "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    }
    names = table.column_names
    if len(set(names)) < len(names) or not {"run", "epoch"} <= set(names):
        raise StoreError(
            f"{name!r} is damaged", "columns with different names, run and epoch among them", names
        )
    for column in table.schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        known = wanted.get(column.name)
        complete = known in (None, "number") or not table.column(column.name).null_count
        if known and table.num_rows and not (complete and tests[known](kind)):
            raise StoreError(
                f"The column {column.name!r} of {name!r} is of another type", f"{known}s", kind
            )


def _read_parquet(file: pathlib.Path, name: str) -> pa.Table:
    import pyarrow.parquet

    try:
        # Not memory-mapped, so that the file can be removed or replaced.
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
    """Join each table with its own logs, and stack all; a single conversion to pandas is fast."""
    table = fill_texts(_stacked([own for own, _ in read]))
    table.attrs.update(provenance.merged([_attrs(own) for own, _ in read]))
    logs = [(i, own) for i, (_, own) in enumerate(read) if own is not None]
    if not logs:
        return table
    extra = _stacked([own for _, own in logs])
    names = ["run", "epoch", *(c for c in extra.columns if c not in table.columns)]
    # Runs with the same name in different files may have different logs.
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
            "The tables cannot be combined", "columns of the same types", error
        ) from None


def _attrs(table: pa.Table) -> dict[str, Any]:
    """Return the ``attrs`` that pandas stored in a parquet file."""
    text = (table.schema.metadata or {}).get(b"PANDAS_ATTRS")
    try:
        attrs = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise StoreError("A table's attrs are damaged", "valid JSON", error) from None
    return attrs if isinstance(attrs, dict) else {}
