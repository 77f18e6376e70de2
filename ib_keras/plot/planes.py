"""Pictures of a table of estimates, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.plot import drawing
from ib_keras.plot.drawing import by_doubt, doubts, filled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def information_plane(
    frame: pd.DataFrame,
    *,
    run: str | Sequence[str] | None = None,
    estimator: str | Sequence[str] | None = None,
    over_seeds: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draws I(T;Y) against I(X;T): a marker a layer, a colour an epoch.

    Each run and estimator has a panel. Hollow markers are flagged as saying nothing about the
    network (``saturated``, ``high_dim``, …), pale ones as to be taken with care. The last epoch's
    markers have a black edge.

    Args:
        frame: a table of estimates.
        run: the runs to draw; all by default.
        estimator: the estimators to draw, as the table names them; all by default.
        over_seeds: draws the mean of runs that differ in their seeds (``tanh-0``, ``tanh-1``), with
            bars of one standard deviation over them.
        ax: draws into these axes; then one run and one estimator must remain.

    Returns:
        The figure.

    Raises:
        ArgumentError: the table lacks columns, or nothing is left to draw.
        MissingExtraError: matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.information_plane()")
    table = drawing.select(frame, run, estimator)
    table = frames.over_seeds(table) if over_seeds else table
    points = drawing.points_of(table)
    if points.empty and not {drawing.XT, drawing.TY} <= set(table["quantity"]):
        raise ArgumentError(
            "There is nothing to draw",
            f"rows of both {drawing.XT} and {drawing.TY}",
            f"quantities {sorted(table['quantity'].unique())}",
        )
    if points.empty:
        return drawing.nothing(figures, ax, f"{drawing.XT} and {drawing.TY}")
    norm = figures.SymLogNorm(linthresh=1, vmin=0, vmax=max(1, points["epoch"].max()))
    layers = drawing.layers_of(points)
    figure, panels = drawing.panels(figures, points, ax)
    for (panel_run, panel_estimator), axes in panels:
        part = drawing.part_of(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            axes.plot(trace["x"], trace["y"], color="0.75", linewidth=0.8, zorder=1)
            if over_seeds:
                axes.errorbar(
                    trace["x"], trace["y"], xerr=trace["x_error"], yerr=trace["y_error"],
                    fmt="none", ecolor="0.8", elinewidth=0.8, zorder=0,
                )  # fmt: skip
            _scatter(axes, trace, drawing.marker(layers, str(layer)), figures.colormap, norm)
        unit = part["unit"].iloc[0]
        axes.set(
            xlabel=f"{drawing.XT} [{unit}]",
            ylabel=f"{drawing.TY} [{unit}]",
            title=drawing.title_of(part, panel_run, panel_estimator, points),
        )
        axes.margins(0.06)
    grey = {"linestyle": "none", "color": "0.35"}
    handles = [
        figures.Line2D([], [], marker=drawing.marker(layers, layer), label=layer, **grey)
        for layer in layers
    ]
    handles += doubts(figures, points)
    drawing.legend(figure, handles, ax)
    if ax is None:
        bar = figure.colorbar(
            figures.ScalarMappable(norm, figures.colormap),
            ax=[axes for _, axes in panels],
            label="epoch",
            fraction=0.05,
            pad=0.01,
            aspect=30,
        )
        ticks = drawing.epoch_ticks(int(points["epoch"].max()))
        bar.set_ticks(ticks, labels=[str(t) for t in ticks])
        bar.minorticks_off()
    return figure


def _scatter(axes: Axes, trace: pd.DataFrame, marker: str, colormap: Any, norm: Any) -> None:
    """One layer's points, coloured by epoch, filled by doubt, the last with a black edge."""
    last = trace["epoch"].max()
    for doubt, group in by_doubt(trace):
        colours = colormap(norm(group["epoch"].to_numpy()))
        edges = np.where((group["epoch"] == last).to_numpy()[:, None], (0, 0, 0, 1), colours)
        axes.scatter(
            group["x"],
            group["y"],
            marker=marker,
            s=34,
            facecolors=filled(colours, doubt),
            edgecolors=list(map(tuple, edges)),
            linewidths=1.0,
            zorder=2,
        )
