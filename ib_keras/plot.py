"""Pictures of a table of estimates, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import _drawing
from ib_keras import frame as frames
from ib_keras._plot_ensembles import against_truth as against_truth
from ib_keras._plot_ensembles import compression as compression
from ib_keras._plot_ensembles import ensemble_planes as ensemble_planes
from ib_keras._plot_ensembles import scatter as scatter
from ib_keras._plot_samples import conditional_samples as conditional_samples
from ib_keras.errors import ArgumentError
from ib_keras.frame import verdict

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
    figures = _drawing.matplotlib("plot.information_plane()")
    table = _drawing.select(frame, run, estimator)
    table = frames.over_seeds(table) if over_seeds else table
    points = _drawing.points_of(table)
    if points.empty and not {_drawing.XT, _drawing.TY} <= set(table["quantity"]):
        raise ArgumentError(
            "There is nothing to draw",
            f"rows of both {_drawing.XT} and {_drawing.TY}",
            f"quantities {sorted(table['quantity'].unique())}",
        )
    if points.empty:
        return _drawing.nothing(figures, ax, f"{_drawing.XT} and {_drawing.TY}")
    norm = figures.SymLogNorm(linthresh=1, vmin=0, vmax=max(1, points["epoch"].max()))
    layers = _drawing.layers_of(points)
    figure, panels = _drawing.panels(figures, points, ax)
    for (panel_run, panel_estimator), axes in panels:
        part = _drawing.part_of(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            axes.plot(trace["x"], trace["y"], color="0.75", linewidth=0.8, zorder=1)
            if over_seeds:
                axes.errorbar(
                    trace["x"], trace["y"], xerr=trace["x_error"], yerr=trace["y_error"],
                    fmt="none", ecolor="0.8", elinewidth=0.8, zorder=0,
                )  # fmt: skip
            _scatter(axes, trace, _drawing.marker(layers, str(layer)), figures.colormap, norm)
        unit = part["unit"].iloc[0]
        axes.set(
            xlabel=f"{_drawing.XT} [{unit}]",
            ylabel=f"{_drawing.TY} [{unit}]",
            title=_drawing.title_of(part, panel_run, panel_estimator, points),
        )
        axes.margins(0.06)
    grey = {"linestyle": "none", "color": "0.35"}
    handles = [
        figures.Line2D([], [], marker=_drawing.marker(layers, layer), label=layer, **grey)
        for layer in layers
    ]
    handles += _doubts(figures, points)
    _drawing.legend(figure, handles, ax)
    if ax is None:
        bar = figure.colorbar(
            figures.ScalarMappable(norm, figures.colormap),
            ax=[axes for _, axes in panels],
            label="epoch",
            fraction=0.05,
            pad=0.01,
            aspect=30,
        )
        ticks = _drawing.epoch_ticks(int(points["epoch"].max()))
        bar.set_ticks(ticks, labels=[str(t) for t in ticks])
        bar.minorticks_off()
    return figure


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
    """Draws a quantity against the epoch, a line a layer, with a band of one standard error.

    Hollow markers are flagged as saying nothing about the network, pale ones as to be taken with
    care; a line of hollow ones is dashed.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, ``"I(T;Y)"``, or another that the table has.
        run: the runs to draw; all by default.
        estimator: the estimators to draw, as the table names them; all by default.
        levels: label → value in the table's unit, drawn as dotted lines.
        phases: marks where a curve falls, as ``ib_keras.frame.phases`` finds it, by a wide line.
        over_seeds: draws the mean of runs that differ in their seeds (``tanh-0``, ``tanh-1``); the
            band is then one standard deviation over them.
        ax: draws into these axes; then one run and one estimator must remain.

    Returns:
        The figure.

    Raises:
        ArgumentError: the table lacks columns, or nothing is left to draw.
        MissingExtraError: matplotlib is not installed.
    """
    figures = _drawing.matplotlib("plot.layer_curves()")
    table = _drawing.select(frame, run, estimator)
    table = frames.over_seeds(table) if over_seeds else table
    points = table[table["quantity"] == quantity]
    if points.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    points = points[np.isfinite(points["value"])]
    if points.empty:
        return _drawing.nothing(figures, ax, quantity)
    points = points.sort_values(["layer_index", "epoch"])
    points = points.assign(doubt=points["flags"].map(verdict.doubt))
    falls = frames.phases(points, quantity=quantity) if phases else None
    layers = _drawing.layers_of(points)
    colours = figures.colormap(np.linspace(0.0, 0.92, len(layers)))
    figure, panels = _drawing.panels(figures, points, ax)
    last = int(points["epoch"].max())
    for (panel_run, panel_estimator), axes in panels:
        part = _drawing.part_of(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            colour = colours[layers.index(str(layer))]
            _curve(axes, trace, _drawing.marker(layers, str(layer)), colour)
            if falls is not None:
                own = _drawing.part_of(falls, panel_run, panel_estimator)
                _falls(axes, trace, own[own["layer"] == layer], colour)
        for label, level in (levels or {}).items():
            axes.axhline(level, color="0.4", linestyle=":", linewidth=1)
            axes.annotate(
                label, (0, level), xycoords=("axes fraction", "data"), xytext=(4, 2),
                textcoords="offset points", ha="left", color="0.3", fontsize=9,
            )  # fmt: skip
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(-0.1, max(1, last) * 1.15)
        ticks = _drawing.epoch_ticks(last)
        axes.set_xticks(ticks, labels=[str(t) for t in ticks])
        axes.minorticks_off()
        axes.set(
            xlabel="epoch",
            ylabel=f"{quantity} [{part['unit'].iloc[0]}]",
            title=_drawing.title_of(part, panel_run, panel_estimator, points, quantity),
        )
    handles = [
        figures.Line2D([], [], marker=_drawing.marker(layers, layer), color=colour, label=layer)
        for layer, colour in zip(layers, colours, strict=True)
    ]
    handles += _doubts(figures, points)
    if falls is not None and (falls["phase"] == "compression").any():
        handles.append(figures.Line2D([], [], color="0.75", linewidth=7, label="wide: compression"))
    _drawing.legend(figure, handles, ax)
    return figure


def clusters(
    histograms: pd.DataFrame,
    *,
    run: str | None = None,
    similarity: str = "distance",
    ax: Axes | None = None,
) -> Figure:
    """Draws how far apart samples lie in each layer, within classes and between: a row an epoch.

    Args:
        histograms: what ``clustering.histograms`` returns.
        run: the run to draw; the only one by default.
        similarity: ``"distance"`` or ``"cosine"``.
        ax: axes of a grid, in whose place the panels are drawn; otherwise a figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: columns are missing; nothing, or more than one run, is left to draw; or
            ``ax`` is in no grid.
        MissingExtraError: matplotlib is not installed.
    """
    figures = _drawing.matplotlib("plot.clusters()")
    needed = {"run", "epoch", "layer", "layer_index", "similarity", "pairs", "density"}
    if not needed <= set(histograms):
        raise ArgumentError(
            "`histograms` is no table of histograms",
            "what `clustering.histograms` returns",
            f"columns {list(histograms)}",
        )
    table = histograms if run is None else histograms[histograms["run"] == run]
    table = table[table["similarity"] == similarity]
    if table["run"].nunique() != 1:
        raise ArgumentError(
            "One run can be drawn at a time",
            f"`run`, one of {sorted(histograms['run'].unique())}, and a similarity "
            f"of {sorted(histograms['similarity'].unique())}",
            f"run={run!r}, similarity={similarity!r}",
        )
    layers = _drawing.layers_of(table.sort_values("layer_index"))
    epochs = sorted(table["epoch"].unique())
    size = (2.4 * len(layers) + 0.6, 1.7 * len(epochs) + 0.8)
    title = f"{table['run'].iloc[0]}: pairs of samples, densities"
    figure, grid = _drawing.divided(
        figures, ax, title, len(epochs), len(layers), size, sharex="col"
    )
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


def _scatter(axes: Axes, trace: pd.DataFrame, marker: str, colormap: Any, norm: Any) -> None:
    """One layer's points, coloured by epoch, filled by doubt, the last with a black edge."""
    last = trace["epoch"].max()
    for doubt, group in _by_doubt(trace):
        colours = colormap(norm(group["epoch"].to_numpy()))
        edges = np.where((group["epoch"] == last).to_numpy()[:, None], (0, 0, 0, 1), colours)
        axes.scatter(
            group["x"],
            group["y"],
            marker=marker,
            s=34,
            facecolors=_filled(colours, doubt),
            edgecolors=list(map(tuple, edges)),
            linewidths=1.0,
            zorder=2,
        )


def _curve(axes: Axes, trace: pd.DataFrame, marker: str, colour: Any) -> None:
    """One layer's line, with a band of one standard error where there is one."""
    error = trace["stderr"].fillna(0)
    if error.any():
        low, high = trace["value"] - error, trace["value"] + error
        axes.fill_between(trace["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
    style = "--" if (trace["doubt"] == 2).all() else "-"
    axes.plot(trace["epoch"], trace["value"], linewidth=1.2, color=colour, linestyle=style)
    for doubt, group in _by_doubt(trace):
        colours = np.tile(colour, (len(group), 1))
        axes.scatter(
            group["epoch"], group["value"], marker=marker, s=18, linewidths=0.9, zorder=2.5,
            facecolors=_filled(colours, doubt), edgecolors=list(map(tuple, colours)),
        )  # fmt: skip


def _falls(axes: Axes, trace: pd.DataFrame, phases: pd.DataFrame, colour: Any) -> None:
    """A wide line under the part of a curve in which it falls, unless its end says nothing."""
    for phase in phases[phases["phase"] == "compression"].itertuples():
        part = trace[trace["epoch"].between(phase.start, phase.stop)]  # type: ignore[arg-type]
        if part["doubt"].iloc[-1] == 2:
            continue
        axes.plot(
            part["epoch"], part["value"], color=colour, alpha=0.25, linewidth=7, zorder=1,
            solid_capstyle="round",
        )  # fmt: skip


def _by_doubt(trace: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    for doubt in range(3):
        group = trace[trace["doubt"] == doubt]
        if len(group):
            yield doubt, group


def _filled(colours: np.ndarray, doubt: int) -> Any:
    """Full where nothing is flagged, pale where care is due, hollow where nothing is said."""
    if doubt == 2:
        return "none"
    pale = 1 - 0.35 * (1 - colours[:, :3])
    return list(map(tuple, pale if doubt else colours))


def _doubts(figures: Any, points: pd.DataFrame) -> list[Any]:
    """What the legend says of markers that are not full."""
    grey = {"linestyle": "none", "marker": "o", "color": "0.35"}
    kinds = ((1, "0.8", "pale: flagged, with care"), (2, "none", "hollow: says nothing"))
    return [
        figures.Line2D([], [], markerfacecolor=face, label=label, **grey)
        for doubt, face, label in kinds
        if (points["doubt"] == doubt).any()
    ]
