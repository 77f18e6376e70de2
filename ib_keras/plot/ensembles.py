"""Figures of many runs that differ in their seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame.table import one_unit, target_quantity
from ib_keras.plot import drawing
from ib_keras.plot.drawing import one, one_or_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ensemble_planes(frame: pd.DataFrame, *, estimator: str, ax: Axes | None = None) -> Figure:
    """Draw the information planes of ensembles: single runs and their mean over seeds.

    Each ensemble has a panel, and each layer a colour. Thin lines are single runs. The thick line
    is their mean over seeds, from its start (ring) to its end (disc).

    Args:
        frame: a table of estimates, whose runs have a number at the end of their names
            (``tanh-0``, ``tanh-1``).
        estimator: name of the estimator to draw, as in the table.
        ax: axes to draw into, for a single ensemble; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the table lacks columns or the estimator.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.ensemble_planes()")
    table = drawing.select(frame, None, estimator)
    relevant = target_quantity(table)
    points = drawing.points_of(table, relevant)
    if points.empty:
        raise ArgumentError("There is nothing to draw", "both I(X;T) and I(T;Y)", "no rows")
    points["group"] = frames.without_seed(points["run"])
    groups = sorted(points["group"].unique())
    # Layers are matched by position, because a separate activation layer has another name.
    names = drawing.names_by_place(points)
    colours = figures.palette(list(names))
    figure, grid = one_or_grid(figures, groups, ax, 3.2)
    unit = table["unit"].iloc[0]
    for axes, group in zip(grid, groups, strict=True):
        part = points[points["group"] == group]
        for place, layer in part.groupby("layer_index"):
            for _, run in layer.groupby("run"):
                axes.plot(run["x"], run["y"], color=colours[place], alpha=0.22, linewidth=0.7)
            mean = layer.groupby("epoch")[["x", "y"]].mean()
            axes.plot(mean["x"], mean["y"], color=colours[place], linewidth=2)
            first, last = mean.iloc[0], mean.iloc[-1]
            ring = {"s": 34, "edgecolors": colours[place], "zorder": 3}
            axes.scatter(first["x"], first["y"], facecolors="white", **ring)
            axes.scatter(last["x"], last["y"], color=colours[place], s=34, zorder=3)
        axes.set_title(f"{group} ({part['run'].nunique()} seeds)", fontsize=10)
        axes.set(xlabel=f"I(X;T) [{unit}]", ylabel=f"{relevant} [{unit}]")
    handles = [
        figures.Line2D([], [], color=colours[place], label=name, linewidth=2)
        for place, name in names.items()
    ]
    drawing.legend(figure, handles, ax, "layer")
    if ax is None:
        figure.suptitle(estimator, fontsize=11)
    return figure


def compression(
    table: pd.DataFrame, *, estimator: str, measure: str = "absolute", ax: Axes | None = None
) -> Figure:
    """Draw the compression of each layer: the mean over seeds, with one standard deviation.

    Each layer has a group of points, and each ensemble a colour. Ensembles with ``+l2`` at the end
    of their names are drawn as squares, next to those without.

    Args:
        table: the result of ``frame.compression(..., over_seeds=True)``.
        estimator: name of the estimator to draw, as in the table.
        measure: ``"absolute"`` or ``"relative"``.
        ax: axes to draw into; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the table lacks the estimator or columns.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.compression()")
    if f"{measure}_std" not in table:
        raise ArgumentError(
            "`table` has no standard deviations over seeds",
            "frame.compression(..., over_seeds=True), and `measure` 'absolute' or 'relative'",
            f"measure={measure!r}, columns {list(table)}",
        )
    part = table[table["estimator"] == estimator]
    if part.empty:
        raise ArgumentError(
            "`estimator` is not in the table",
            f"one of {sorted(set(table['estimator']))}",
            estimator,
        )
    plain = sorted(set(part["run"].str.removesuffix("+l2")))
    names = drawing.names_by_place(part)
    places = list(names)
    size = (max(1.7 * min(len(places), 6), 0.55 * len(places)) + 2.4, 4.2)
    figure, axes = one(figures, ax, size)
    colours = figures.palette(plain)
    width = 0.8 / max(1, part["run"].nunique())
    runs = sorted(part["run"].unique(), key=lambda r: (plain.index(r.removesuffix("+l2")), r))
    for i, run in enumerate(runs):
        rows = part[part["run"] == run].sort_values("layer_index")
        x = np.array([places.index(k) for k in rows["layer_index"]]) + (i + 0.5) * width - 0.4
        penalised = run.endswith("+l2")
        axes.errorbar(
            x, rows[measure], yerr=rows[f"{measure}_std"], fmt="s" if penalised else "o",
            color=colours[run.removesuffix("+l2")], markerfacecolor="white" if penalised else None,
            markersize=5, linewidth=1, capsize=2, label=run,
        )  # fmt: skip
    axes.set_xticks(range(len(places)), list(names.values()))
    if len(places) > 8:
        axes.tick_params(axis="x", labelrotation=90, labelsize=8)
    axes.axhline(0, color="0.6", linewidth=0.8)
    # Tables of earlier versions have no unit.
    unit = one_unit(part) if "unit" in part else "nats"
    unit = f"[{unit}]" if measure == "absolute" else "(fraction)"
    axes.set_ylabel(f"fall of I(X;T) from its maximum to the end {unit}")
    axes.set_title(f"{estimator}: mean and standard deviation over seeds", fontsize=10)
    drawing.legend(figure, axes.get_legend_handles_labels()[0], ax)
    return figure


def scatter(
    x: Iterable[float], y: Iterable[float], groups: Iterable[str], *, xlabel: str, ylabel: str,
    title: str = "", ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Draw one point for each run, with a colour for each group.

    Args:
        x: x coordinates of the points.
        y: y coordinates of the points.
        groups: names of the points' groups.
        xlabel: label of the x axis, with its unit.
        ylabel: label of the y axis, with its unit.
        title: title of the panel.
        ax: axes to draw into; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.scatter()")
    figure, axes = one(figures, ax, (5.6, 3.8))
    table = pd.DataFrame({"x": list(x), "y": list(y), "group": list(groups)})
    for name, colour in figures.palette(sorted(table["group"].unique())).items():
        part = table[table["group"] == name]
        axes.scatter(part["x"], part["y"], color=colour, s=26, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10)
    drawing.legend(figure, axes.get_legend_handles_labels()[0], ax)
    return figure
