"""What the tables and figures of the papers' pages share."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = {
    "svg.fonttype": "none", "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip
# The quantiles at the ends of the range of 80 % of the seeds.
LOW, HIGH = 0.1, 0.9


def write(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Write a table, with numbers rounded to four digits."""
    floats = table.select_dtypes("float").columns
    rounded = {name: table[name].map(lambda value: float(f"{value:.4g}")) for name in floats}
    path.parent.mkdir(parents=True, exist_ok=True)
    table.assign(**rounded).to_csv(path, index=False)


def with_earlier(rows: pd.DataFrame, path: pathlib.Path) -> pd.DataFrame:
    """Write the rows of some runs, keep those of other runs in the file, and return all.

    Thus the seeds of an experiment can be run one after another, each adding to the tables.

    Args:
        rows: a table with the column ``run``.
        path: the file, which is replaced.
    """
    if path.exists():
        earlier = pd.read_csv(path)
        rows = pd.concat([earlier[~earlier["run"].isin(rows["run"])], rows], ignore_index=True)
    write(rows, path)
    return pd.read_csv(path)


def over_seeds(table: pd.DataFrame, keys: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Summarise a column over seeds: their number, the mean and three quantiles.

    Args:
        table: a row for each seed.
        keys: columns that are equal for the seeds of a row of the result.
        value: the column to summarise.

    Returns:
        A table with the keys, ``n``, ``mean``, ``low`` (10 %), ``median`` and ``high`` (90 %).
    """
    groups = table.groupby(list(keys), sort=False)[value]
    return pd.DataFrame(
        {
            "n": groups.count(),
            "mean": groups.mean(),
            "low": groups.quantile(LOW),
            "median": groups.median(),
            "high": groups.quantile(HIGH),
        }
    ).reset_index()


@contextlib.contextmanager
def style(salt: str) -> Iterator[None]:
    """Draw figures in a ``with`` block; equal tables give files that are equal byte for byte."""
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        yield


def panels(rows: int, columns: int, width: float, height: float, **axes: Any) -> tuple[Figure, Any]:
    """Make a figure with a grid of panels of one size, in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **axes)


def wrapped(
    count: int, most: int, width: float, height: float, **axes: Any
) -> tuple[Figure, list[Any]]:
    """Make a figure with at most ``most`` panels in a row, so that a page can show it in full size.

    Args:
        count: the number of panels.
        most: the largest number of panels in a row.
        width: width of a panel in inches.
        height: height of a panel in inches.
        **axes: arguments of ``subplots``.

    Returns:
        The figure and its panels.
    """
    columns = min(count, most)
    figure, grid = panels(-(-count // columns), columns, width, height, **axes)
    for unused in grid.flat[count:]:
        unused.set_axis_off()
        above = grid[-2, list(grid[-1]).index(unused)]
        above.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid.flat[:count])


def label_outer(shown: Sequence[Any], xlabel: str, ylabel: str) -> None:
    """Label the x axes of the lowest panels and the y axes of the first ones.

    Args:
        shown: panels of ``wrapped``.
        xlabel: label of the x axes.
        ylabel: label of the y axes.
    """
    columns = shown[0].get_subplotspec().get_gridspec().ncols
    for place, axes in enumerate(shown):
        if place + columns >= len(shown):
            axes.set_xlabel(xlabel)
        if place % columns == 0:
            axes.set_ylabel(ylabel)


def palette(names: Sequence[Any]) -> dict[Any, Any]:
    """Return a colour for each name, from dark to light."""
    import matplotlib as mpl

    return dict(zip(names, mpl.colormaps["viridis"](np.linspace(0, 0.9, len(names))), strict=True))


def save(figure: Figure, path: pathlib.Path) -> None:
    """Write a figure without the date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
