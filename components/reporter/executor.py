"""Merges estimates and draws them."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ib_keras import frame, plot, report
from ib_keras.errors import ArgumentError
from ib_keras.storage import atomic

PICTURE, PAGE = "information_plane.png", "report.html"


def run(
    estimates: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    title: str = "Information plane",
    page: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Merges tables of estimates into one, with an information plane and a page.

    Args:
        estimates: folders that ``estimator`` wrote.
        output: the folder to write: ``estimates.parquet``, ``logs.parquet``,
            ``report.html``, and ``information_plane.png`` of a table with I(X;T) and I(T;Y).
        title: of the page.
        page: where to put a second copy of the page.

    Returns:
        Facts about the table, for the artifact's metadata.
    """
    _, table, logs = merge(estimates)

    def fill(folder: pathlib.Path) -> None:
        frame.write(table, folder, logs=logs)
        for name, figure in plane(table).items():
            figure.savefig(folder / name, dpi=150)
        report.write(table, folder / PAGE, title=title)

    folder = pathlib.Path(output)
    atomic.write_folder(folder, fill)
    if page is not None:
        shutil.copyfile(folder / PAGE, page)
    return {"rows": len(table), "unit": str(table["unit"].iloc[0])}


def plane(table: pd.DataFrame) -> dict[str, Any]:
    """The information plane by its file's name; nothing of a table that lacks I(X;T) or I(T;Y)."""
    both = {"I(X;T)", "I(T;Y)"} <= set(table["quantity"])
    return {PICTURE: plot.information_plane(table)} if both else {}


def merge(
    estimates: Sequence[str | os.PathLike],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables of estimates as one.

    Args:
        estimates: folders that ``estimator`` wrote.

    Returns:
        The table joined with the logs, the table alone in order, and the logs.

    Raises:
        ArgumentError: there are none.
    """
    folders = [pathlib.Path(path) for path in estimates]
    if not folders:
        raise ArgumentError("There are no estimates", "at least one folder", list(estimates))
    joined = frame.load(folders)
    own = frame.columns(joined)
    table = joined[own].sort_values(
        ["run", "estimator", "epoch", "layer_index", "quantity"], ignore_index=True
    )
    measured = [c for c in joined.columns if c not in own]
    logs = joined[["run", "epoch", *measured]].drop_duplicates(["run", "epoch"], ignore_index=True)
    return joined, table, logs
