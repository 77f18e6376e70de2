"""Histograms of the distances between samples, within and between classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ib_keras.errors import ArgumentError
from ib_keras.plot import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def clusters(
    histograms: pd.DataFrame,
    *,
    run: str | None = None,
    similarity: str = "distance",
    ax: Axes | None = None,
) -> Figure:
    """Draw histograms of the distances between samples, within and between classes.

    Each layer is a column of panels, and each epoch a row.

    Args:
        histograms: the result of ``clustering.histograms``.
        run: the run to draw; not needed if there is only one.
        similarity: ``"distance"`` or ``"cosine"``.
        ax: axes of a grid that the panels replace; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If columns are missing, if the selection is not exactly one run, or if
            ``ax`` is not part of a grid.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.clusters()")
    needed = {"run", "epoch", "layer", "layer_index", "similarity", "pairs", "density"}
    if not needed <= set(histograms):
        raise ArgumentError(
            "`histograms` is not a table of histograms",
            "a table from `clustering.histograms`",
            f"columns {list(histograms)}",
        )
    table = histograms if run is None else histograms[histograms["run"] == run]
    table = table[table["similarity"] == similarity]
    if table["run"].nunique() != 1:
        raise ArgumentError(
            "One run can be drawn at a time",
            f"`run` in {sorted(histograms['run'].unique())} and `similarity` in "
            f"{sorted(histograms['similarity'].unique())}",
            f"run={run!r}, similarity={similarity!r}",
        )
    layers = drawing.layers_of(table.sort_values("layer_index"))
    epochs = sorted(table["epoch"].unique())
    size = (2.4 * len(layers) + 0.6, 1.7 * len(epochs) + 0.8)
    title = f"{table['run'].iloc[0]}: pairs of samples, densities"
    figure, grid = drawing.divided(figures, ax, title, len(epochs), len(layers), size, sharex="col")
    colours = {"within": "#1f77b4", "between": "#d95f02", "all": "0.4"}
    names = {"within": "same class", "between": "different classes", "all": "all pairs"}
    shown: dict[str, Any] = {}
    for (epoch, layer), part in table.groupby(["epoch", "layer"]):
        axes = grid[epochs.index(epoch), layers.index(str(layer))]
        for group, bars in part.groupby("pairs", sort=False):
            edges = [*bars["left"], bars["right"].iloc[-1]]
            colour = colours[str(group)]
            shown[str(group)] = axes.stairs(
                bars["density"], edges, fill=True, alpha=0.5, color=colour, label=names[str(group)]
            )
        axes.set_yticks([])
        if epoch == epochs[0]:
            axes.set_title(str(layer), fontsize=10)
        if epoch == epochs[-1]:
            axes.set_xlabel("distance" if similarity == "distance" else "cosine similarity")
        if layer == layers[0]:
            axes.set_ylabel(f"epoch {epoch}")
    if ax is None:
        figure.legend(
            handles=list(shown.values()), loc="outside lower center", ncols=3, frameon=False
        )
    else:
        grid[0, -1].legend(handles=list(shown.values()), fontsize=8)
    return figure
