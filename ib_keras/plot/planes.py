"""Information planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ib_keras.errors import ArgumentError
from ib_keras.frame.table import measured, target_quantity
from ib_keras.plot import drawing
from ib_keras.plot.drawing import by_doubt, doubt_legend, filled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 0.05  # nats or bits


def information_plane(
    frame: pd.DataFrame,
    *,
    run: str | Sequence[str] | None = None,
    estimator: str | Sequence[str] | None = None,
    target: str | None = None,
    over_seeds: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw I(T;Y) against I(X;T), with a marker for each layer and a colour for each epoch.

    Each run and estimator has a panel. Hollow markers are estimates that, by their flags
    (``saturated``, ``high_dim``, …), say nothing about the network; pale markers are to be
    interpreted with care. The markers of the last epoch have a black edge. With more than 30
    layers, the colours show the depth of the layers, and only the last epoch has markers.

    Args:
        frame: a table of estimates.
        run: the runs to draw; all by default.
        estimator: names of the estimators to draw, as in the table; all by default.
        target: name of the target Y, if the table has several; the first by default.
        over_seeds: whether to draw the mean of runs that differ in their seeds (``tanh-0``,
            ``tanh-1``), with bars of one standard deviation over these runs, which are longer than
            the standard error of the mean.
        ax: axes to draw into, for a single run and estimator; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the table lacks columns, or the selection is empty.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.information_plane()")
    table = drawing.select(frame, run, estimator, over_seeds)
    relevant = target_quantity(table, target)
    points = drawing.points_of(table, relevant)
    if points.empty and not {drawing.XT, relevant} <= set(table["quantity"]):
        raise ArgumentError(
            "There is nothing to draw",
            f"rows of both {drawing.XT} and {relevant}; without targets, "
            "ib_keras.plot.layer_curves draws I(X;T)",
            f"quantities {sorted(table['quantity'].unique())}",
        )
    if points.empty:
        return drawing.nothing(figures, ax, f"{drawing.XT} and {relevant}")
    norm = figures.SymLogNorm(linthresh=1, vmin=0, vmax=max(1, points["epoch"].max()))
    layers = drawing.layers_of(points)
    colours = figures.palette(layers) if drawing.many(layers) else None
    figure, panels = drawing.panels(figures, points, ax)
    for (panel_run, panel_estimator), axes in panels:
        part = drawing.part_of(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            own = "0.75" if colours is None else (*colours[layer][:3], 0.4)
            axes.plot(trace["x"], trace["y"], color=own, linewidth=0.8, zorder=1)
            if over_seeds:
                axes.errorbar(
                    trace["x"], trace["y"], xerr=trace["x_error"], yerr=trace["y_error"],
                    fmt="none", ecolor="0.8", elinewidth=0.8, zorder=0,
                )  # fmt: skip
            if colours is not None:
                trace = trace[trace["epoch"] == trace["epoch"].max()]
                shades = colours[layer][None]
            else:
                shades = figures.colormap(norm(trace["epoch"].to_numpy()))
            _scatter(axes, trace, drawing.marker(layers, str(layer)), shades)
        unit = part["unit"].iloc[0]
        axes.set(
            xlabel=f"{measured(drawing.XT, part['flags'])} [{unit}]",
            ylabel=f"{measured(relevant, part['flags'])} [{unit}]",
            title=drawing.title_of(part, panel_run, panel_estimator, points),
        )
        axes.margins(0.06)
        _widen(axes)
    if colours is not None:
        doubts = doubt_legend(figures, points)
        drawing.depth_bar(figures, figure, layers, [axes for _, axes in panels], doubts)
        return figure
    grey = {"linestyle": "none", "color": "0.35"}
    handles = [
        figures.Line2D(
            [], [], marker=drawing.marker(layers, layer), label=drawing.short(layer), **grey
        )
        for layer in layers
    ]
    handles += doubt_legend(figures, points)
    below = points["estimator"].nunique() > 1
    drawing.legend(figure, handles, ax, None if below else "layer", below=below)
    if ax is None:
        bar = figure.colorbar(
            figures.ScalarMappable(norm, figures.colormap), ax=[axes for _, axes in panels],
            label="epoch", fraction=0.05, pad=0.01, aspect=30,
        )  # fmt: skip
        ticks = drawing.epoch_ticks(int(points["epoch"].max()))
        bar.set_ticks(ticks, labels=list(map(str, ticks)))
        bar.minorticks_off()
    return figure


def _widen(axes: Axes) -> None:
    """Show at least ``_LEAST`` along both axes, so that rounding errors do not fill a panel."""
    for get, put in ((axes.get_xlim, axes.set_xlim), (axes.get_ylim, axes.set_ylim)):
        low, high = get()
        missing = _LEAST - (high - low)
        if missing > 0:
            put(low - missing / 2, high + missing / 2)


def _scatter(axes: Axes, trace: pd.DataFrame, marker: str, shades: np.ndarray) -> None:
    """Draw the points of a layer, filled by doubt; those of the last epoch have a black edge."""
    last = trace["epoch"].max()
    for doubt, group in by_doubt(trace):
        colours = shades[(trace["doubt"] == doubt).to_numpy()]
        edges = np.where((group["epoch"] == last).to_numpy()[:, None], (0, 0, 0, 1), colours)
        axes.scatter(
            group["x"], group["y"], marker=marker, s=34, linewidths=1.0, zorder=2,
            facecolors=filled(colours, doubt), edgecolors=list(map(tuple, edges)),
        )  # fmt: skip
