"""Curves of information over the epochs, by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame.table import measured
from ib_keras.plot import drawing
from ib_keras.plot.drawing import by_doubt, doubt_legend, filled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def layer_curves(
    frame: pd.DataFrame,
    *,
    quantity: str = "I(X;T)",
    run: str | Sequence[str] | None = None,
    estimator: str | Sequence[str] | None = None,
    levels: Mapping[str, float] | None = None,
    phases: bool = False,
    over_seeds: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw a quantity against the epoch, with a line and an error band for each layer.

    The band is one standard error wide on each side. Hollow markers are estimates that, by their
    flags, say nothing about the network; pale markers are to be interpreted with care. A line with
    only hollow markers is dashed.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, ``"I(T;Y)"``, or another quantity of the table.
        run: the runs to draw; all by default.
        estimator: names of the estimators to draw, as in the table; all by default.
        levels: values by label, in the unit of the table, which are drawn as dotted lines.
        phases: whether to mark the compression phases of ``ib_keras.frame.phases`` by wide lines.
        over_seeds: whether to draw the mean of runs that differ in their seeds (``tanh-0``,
            ``tanh-1``); the band is then one standard deviation over these runs, which is wider
            than the standard error of the mean.
        ax: axes to draw into, for a single run and estimator; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the table lacks columns, or the selection is empty.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.layer_curves()")
    table = drawing.select(frame, run, estimator, over_seeds)
    points = table[table["quantity"] == quantity]
    if points.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    points = points[np.isfinite(points["value"])]
    if points.empty:
        return drawing.nothing(figures, ax, quantity)
    points = points.sort_values(["layer_index", "epoch"])
    points = points.assign(doubt=points["flags"].map(flagging.doubt))
    falls = frames.phases(points, quantity=quantity) if phases else None
    layers = drawing.layers_of(points)
    colours = figures.palette(layers)
    figure, panels = drawing.panels(figures, points, ax)
    last = int(points["epoch"].max())
    for (panel_run, panel_estimator), axes in panels:
        part = drawing.part_of(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            _curve(axes, trace, drawing.marker(layers, str(layer)), colours[layer])
            if falls is not None:
                own = drawing.part_of(falls, panel_run, panel_estimator)
                _falls(axes, trace, own[own["layer"] == layer], colours[layer])
        for label, level in (levels or {}).items():
            axes.axhline(level, color="0.4", linestyle=":", linewidth=1)
            axes.annotate(
                label, (0, level), xycoords=("axes fraction", "data"), xytext=(4, 2),
                textcoords="offset points", ha="left", color="0.3", fontsize=9,
            )  # fmt: skip
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(-0.1, max(1, last) * 1.15)
        ticks = drawing.epoch_ticks(last)
        axes.set_xticks(ticks, labels=list(map(str, ticks)))
        axes.minorticks_off()
        axes.set(
            xlabel="epoch",
            ylabel=drawing.axis_label(measured(quantity, part["flags"]), part["unit"].iloc[0]),
            title=drawing.title_of(part, panel_run, panel_estimator, points, quantity),
        )
    wide = [figures.Line2D([], [], color="0.75", linewidth=7, label="wide: compression")]
    marked = falls is not None and (falls["phase"] == "compression").any()
    doubts = [*doubt_legend(figures, points), *(wide if marked else [])]
    if drawing.many(layers):
        drawing.depth_bar(figures, figure, layers, [axes for _, axes in panels], doubts)
        return figure
    handles = [
        figures.Line2D(
            [], [], marker=drawing.marker(layers, layer), color=colour, label=drawing.short(layer)
        )
        for layer, colour in colours.items()
    ]
    below = points["estimator"].nunique() > 1
    drawing.legend(figure, [*handles, *doubts], ax, None if below else "layer", below=below)
    return figure


def _curve(axes: Axes, trace: pd.DataFrame, marker: str, colour: Any) -> None:
    """Draw the line of one layer, with a band of one standard error if it has any."""
    error = trace["stderr"].fillna(0)
    if error.any():
        low, high = trace["value"] - error, trace["value"] + error
        axes.fill_between(trace["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
    style = "--" if (trace["doubt"] == flagging.NOTHING).all() else "-"
    axes.plot(trace["epoch"], trace["value"], linewidth=1.2, color=colour, linestyle=style)
    for doubt, group in by_doubt(trace):
        colours = np.tile(colour, (len(group), 1))
        axes.scatter(
            group["epoch"], group["value"], marker=marker, s=18, linewidths=0.9, zorder=2.5,
            facecolors=filled(colours, doubt), edgecolors=list(map(tuple, colours)),
        )  # fmt: skip


def _falls(axes: Axes, trace: pd.DataFrame, phases: pd.DataFrame, colour: Any) -> None:
    """Draw a wide line under each falling part of a curve whose last marker is not hollow."""
    for phase in phases[phases["phase"] == "compression"].itertuples():
        part = trace[trace["epoch"].between(phase.start, phase.stop)]  # type: ignore[arg-type]
        if part["doubt"].iloc[-1] == flagging.NOTHING:
            continue
        axes.plot(
            part["epoch"], part["value"], color=colour, alpha=0.25, linewidth=7, zorder=1,
            solid_capstyle="round",
        )  # fmt: skip
