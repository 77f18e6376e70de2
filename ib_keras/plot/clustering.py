"""Figures of how samples cluster in a layer: distances, values, and points by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
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


def activation_values(
    values: pd.DataFrame, *, run: str | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the distribution of each layer's values over training, as a map of densities.

    Args:
        values: the result of ``clustering.values``.
        run: the run to draw; not needed if there is only one.
        ax: axes of a grid that the panels replace; by default, a new figure is made.

    Returns:
        The figure, with a panel for each layer.

    Raises:
        ArgumentError: If columns are missing, or if the selection is not exactly one run.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.activation_values()")
    table = _of_run(values, run, {"left", "right", "density"}, "clustering.values")
    layers = drawing.layers_of(table.sort_values("layer_index"))
    size = (2.3 * len(layers) + 0.6, 2.6)
    title = f"{table['run'].iloc[0]}: values of the layers"
    figure, grid = drawing.divided(figures, ax, title, 1, len(layers), size, sharex=True)
    for axes, layer in zip(grid[0], layers, strict=True):
        part = table[table["layer"] == layer]
        epochs = sorted(part["epoch"].unique())
        edges = np.linspace(part["left"].min(), part["right"].max(), 41)
        centres = (edges[1:] + edges[:-1]) / 2
        columns = []
        for epoch in epochs:
            bars = part[part["epoch"] == epoch].sort_values("left")
            place = np.searchsorted(bars["left"], centres, side="right") - 1
            inside = (place >= 0) & (centres < bars["right"].iloc[-1])
            columns.append(np.where(inside, bars["density"].to_numpy()[place], 0.0))
        # Epochs are equally far apart, because epoch 0 has no logarithm.
        times = np.arange(len(epochs) + 1)
        axes.pcolormesh(times, edges, np.log1p(np.transpose(columns)), cmap="magma", shading="flat")
        shown = np.unique(np.linspace(0, len(epochs) - 1, 4).round().astype(int))
        axes.set_xticks(shown + 0.5, [str(epochs[i]) for i in shown])
        axes.set_title(layer, fontsize=10)
        axes.set_xlabel("epoch")
    grid[0][0].set_ylabel("value")
    return figure


def points_by_class(
    points: pd.DataFrame,
    *,
    run: str | None = None,
    layer: str | None = None,
    epochs: Sequence[int] | None = None,
) -> Figure:
    """Draw the samples of a layer of two or three units at several epochs, coloured by class.

    Args:
        points: the result of ``clustering.points``.
        run: the run to draw; not needed if there is only one.
        layer: the layer to draw; ``None`` for the last layer of three units, or else of two.
        epochs: the epochs to draw; ``None`` for all.

    Returns:
        The figure, with a panel for each epoch.

    Raises:
        ArgumentError: If columns are missing, or if the selection has no samples of one run.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.points_by_class()")
    table = _of_run(points, run, {"row", "label", "t_1", "t_2", "t_3"}, "clustering.points")
    solid = table[table["t_3"].notna()]
    if layer is None:
        chosen = solid if len(solid) else table
        layer = str(chosen.sort_values("layer_index")["layer"].iloc[-1])
    table = table[table["layer"] == layer]
    if epochs is not None:
        table = table[table["epoch"].isin(list(epochs))]
    if not len(table):
        raise ArgumentError("No samples are selected", "a layer and epochs of `points`", layer)
    shown = sorted(table["epoch"].unique())
    flat = table["t_3"].isna().all()
    figure = figures.Figure(figsize=(2.7 * len(shown), 2.9), layout="constrained")
    colours = figures.palette(sorted(table["label"].unique()))
    for place, epoch in enumerate(shown):
        part = table[table["epoch"] == epoch]
        kind = {} if flat else {"projection": "3d"}
        axes = figure.add_subplot(1, len(shown), place + 1, **kind)
        units = [part[f"t_{unit}"] for unit in ((1, 2) if flat else (1, 2, 3))]
        axes.scatter(*units, color=[colours[label] for label in part["label"]], s=3, alpha=0.6)
        axes.set_title(f"epoch {epoch}", fontsize=10)
        axes.tick_params(labelsize=6)
        axes.locator_params(nbins=3)
        if not flat:
            axes.set_box_aspect(None, zoom=0.85)  # room for the numbers
    figure.suptitle(f"{table['run'].iloc[0]}, {layer}")
    return figure


def _of_run(table: pd.DataFrame, run: str | None, needed: set[str], source: str) -> pd.DataFrame:
    """Return the rows of one run of a table of the module ``clustering``."""
    if not {"run", "epoch", "layer", "layer_index", *needed} <= set(table):
        raise ArgumentError(
            "The table has other columns", f"a table from `{source}`", f"columns {list(table)}"
        )
    selected = table if run is None else table[table["run"] == run]
    if selected["run"].nunique() != 1:
        raise ArgumentError(
            "One run can be drawn at a time",
            f"`run` in {sorted(table['run'].unique())}",
            f"run={run!r}",
        )
    return selected
