"""Estimates against known information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame.table import LATENTS, TRUTH
from ib_keras.plot import drawing
from ib_keras.plot.drawing import by_doubt, doubt_legend, filled, one_or_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def against_truth(frame: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Draw estimates against the true information, with the line on which both are equal.

    Each kind of images has a panel, and each estimator a colour. Bars are one standard error, or,
    for the mean of several seeds, one standard deviation over the seeds. Dotted lines are
    nearest-neighbour estimates from the parameters of the images. The band of a calibrated estimate
    is its calibrated interval. Hollow markers are estimates that, by their flags, say nothing about
    the network; pale markers are to be interpreted with care. Values are in nats, as the true
    information is.

    Args:
        frame: estimates of ``studies.against_truth`` joined with the logs.
        ax: axes to draw into, for a single kind of images; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the table lacks columns.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.against_truth()")
    table = frames.validate(frame)
    if TRUTH not in table:
        raise ArgumentError(
            "`frame` lacks the true information",
            f"a column {TRUTH!r}, as from studies.against_truth joined with its logs",
            f"columns {list(table)}",
        )
    table = frames.over_seeds_of_truth(frames.convert(table, "nats"))
    table = table.assign(doubt=table["flags"].map(flagging.doubt))
    groups = sorted(table["group"].unique())
    latents = table["layer"] == LATENTS
    names = [*table["estimator"][~latents].unique(), *table["estimator"][latents].unique()]
    names = list(dict.fromkeys(names))
    colours = figures.palette(names)
    figure, grid = one_or_grid(figures, groups, ax, 3.4)
    handles: dict[str, Any] = {}
    for axes, group in zip(grid, groups, strict=True):
        part = table[table["group"] == group]
        top = float(part[TRUTH].max())
        axes.plot([0, top], [0, top], color="0.6", linewidth=1, zorder=1)
        for (estimator, layer), line in part.groupby(["estimator", "layer"], sort=False):
            of_latents = layer == LATENTS
            marker = drawing.MARKERS[names.index(estimator) % len(drawing.MARKERS)]
            label = f"{estimator} of the parameters" if of_latents else estimator
            handles[label] = axes.errorbar(
                line[TRUTH], line["value"], yerr=line["stderr"].fillna(0), label=label,
                color=colours[estimator], capsize=2, linewidth=1.4, markersize=4,
                fmt=":" if of_latents else f"-{marker}",
            )  # fmt: skip
            for doubt, flagged in [] if of_latents else by_doubt(line):
                # White covers the full marker below.
                hollow = doubt == flagging.NOTHING
                faces = ["white"] if hollow else filled(np.array([colours[estimator]]), doubt)
                axes.plot(
                    flagged[TRUTH], flagged["value"], linestyle="none", markersize=4, zorder=4,
                    marker=marker, color=colours[estimator], markerfacecolor=faces[0],
                )  # fmt: skip
            if {"calibrated_lower", "calibrated_upper"} <= set(line):
                axes.fill_between(
                    line[TRUTH], line["calibrated_lower"], line["calibrated_upper"],
                    color=colours[estimator], alpha=0.15, linewidth=0,
                )  # fmt: skip
        axes.set_title(group, fontsize=10)
        axes.set(xlabel="true information [nats]", ylabel="estimate [nats]")
    key = doubt_legend(figures, table[~latents])
    drawing.legend(figure, [*handles.values(), *key], ax)
    return figure
