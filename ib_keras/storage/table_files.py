"""Data sets in tables: ``.csv``, ``.tsv`` (also compressed with gzip) and ``.parquet`` files."""

from __future__ import annotations

import gzip
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import npy
from ib_keras.storage.labelled import Found, Label, choose_labels, described

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def check(path: pathlib.Path, label: Label) -> None:
    """Check the columns of a table without reading its rows.

    Args:
        path: a file with one of the ``SUFFIXES``.
        label: see ``read``.

    Raises:
        ArgumentError: As for ``read``.
    """
    _columns(path, label)


def read(path: pathlib.Path, label: Label = None) -> Found:
    """Read the inputs and labels of a table.

    Args:
        path: a file with one of the ``SUFFIXES``; the first line of a text has the names of the
            columns.
        label: the name of the column with the labels, or the names of several columns of numbers;
            ``None`` for the only column that is called y, label, target or class. All other columns
            are inputs.

    Raises:
        ArgumentError: If the file cannot be read, has no rows, or is larger than the available
            memory; if names of columns are missing or repeated; if it is not clear which column has
            the labels; or if an input is not a finite number.
    """
    names, labels = _columns(path, label)
    frame = _readable(path, _read_parquet if path.suffix == ".parquet" else _read_text, names)
    if not len(frame):
        raise ArgumentError(f"The file {str(path)!r} has no rows", "a row for each sample", "none")
    inputs = [name for name in names if name not in labels]
    return Found(
        [(_inputs(frame[inputs], path), _labels(frame[labels], path))],
        (*inputs, *labels),
        ",".join(labels),
    )


def _columns(path: pathlib.Path, label: Label) -> tuple[list[str], list[str]]:
    """Return the names of all columns, and of those with the labels."""
    names = _readable(path, _parquet_names if path.suffix == ".parquet" else _text_names)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        raise ArgumentError(
            f"Names of columns in {str(path)!r} are {'repeated' if repeated else 'missing'}",
            "a different name for each column; with pandas, to_csv(…, index=False)",
            described(list(map(repr, repeated or names))),
        )
    labels = choose_labels(label, names, str(path), "column")
    if len(labels) == len(names):
        raise ArgumentError(
            f"The file {str(path)!r} has no inputs",
            "columns besides those of the labels, separated by "
            + ("tabs" if ".tsv" in path.suffixes else "commas"),
            f"the columns {described(list(map(repr, names)))}",
        )
    return names, labels


def _readable(path: pathlib.Path, read: Callable[..., Any], *arguments: Any) -> Any:
    """Call a reader, and turn its errors into one that names the file."""
    try:
        return read(path, *arguments)
    except StoreError as error:
        raise ArgumentError(f"The file {error.invalid}", error.expected, error.received) from None
    except npy.DAMAGE as error:
        kind = "parquet file" if path.suffix == ".parquet" else "text of columns in UTF-8"
        raise ArgumentError(
            f"The file {str(path)!r} cannot be read", f"a {kind}", str(error).strip() or repr(error)
        ) from None


def _text(path: pathlib.Path, **options: Any) -> pd.DataFrame:
    separator = "\t" if ".tsv" in path.suffixes else ","
    with warnings.catch_warnings():
        # Rows with more values than the first line.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, sep=separator, index_col=False, low_memory=False, **options)


def _text_names(path: pathlib.Path) -> list[str]:
    first = _text(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    return [str(name).strip() for name in first.iloc[0]]


def _read_text(path: pathlib.Path, names: list[str]) -> pd.DataFrame:
    limit, size, lines = memory.available(), 0, 0
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        while piece := file.read(1 << 20):
            size, lines = size + len(piece), lines + piece.count(b"\n")
            npy.check_size(path, max(size, 8 * lines * len(names)), limit)
    return _text(path, header=0, names=names)


def _parquet_names(path: pathlib.Path) -> list[str]:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    stored = (schema.pandas_metadata or {}).get("index_columns", [])
    index = [name for name in stored if isinstance(name, str)]  # else it is a range
    return [name for name in schema.names if name not in index]


def _read_parquet(path: pathlib.Path, names: list[str]) -> pd.DataFrame:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    content = file.metadata
    groups = (content.row_group(i).total_byte_size for i in range(content.num_row_groups))
    npy.check_size(path, max(8 * content.num_rows * content.num_columns, sum(groups)))
    return file.read(columns=names).to_pandas(ignore_metadata=True)


def _inputs(frame: pd.DataFrame, path: pathlib.Path) -> np.ndarray:
    """Return the inputs as finite float32 numbers."""
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if texts:
        shown = [f"{name!r} with {frame[name].iloc[0]!r}" for name in texts]
        raise ArgumentError(
            f"Some inputs in {str(path)!r} are not numbers",
            "numbers in all columns except the labels: leave these columns out, or encode them, "
            f"for example by pandas.get_dummies(frame, columns={texts[:3]})",
            described(shown),
        )
    with np.errstate(over="ignore"):
        x = frame.to_numpy(np.float32, na_value=np.nan)
    invalid = ~np.isfinite(x)
    if invalid.any():
        counts = zip(frame.columns, invalid.sum(axis=0).tolist(), strict=True)
        shown = [f"{name!r} {count}" for name, count in counts if count]
        raise ArgumentError(
            f"Some inputs in {str(path)!r} are missing or not finite",
            "a number in each row: leave out these rows or columns, or fill the gaps",
            f"{int(invalid.any(axis=1).sum())} of {len(x)} rows, by column: {described(shown)}",
        )
    return x


def _labels(frame: pd.DataFrame, path: pathlib.Path) -> np.ndarray:
    """Return the labels ``(n,)``, or several columns of numbers ``(n, k)``."""
    if frame.shape[1] == 1:
        return np.asarray(frame.iloc[:, 0])
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if texts:
        raise ArgumentError(
            f"Some of several labels in {str(path)!r} are not numbers",
            "one column of classes, or several of numbers",
            described(list(map(repr, texts))),
        )
    return frame.to_numpy(np.float64, na_value=np.nan)
