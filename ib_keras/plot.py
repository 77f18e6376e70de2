"""Pictures of a table of estimates, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import frame as frames
from ib_keras._plot_ensembles import against_truth as against_truth
from ib_keras._plot_ensembles import compression as compression
from ib_keras._plot_ensembles import ensemble_planes as ensemble_planes
from ib_keras._plot_ensembles import scatter as scatter
from ib_keras._plot_samples import conditional_samples as conditional_samples
from ib_keras.errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_XT, _TY = "I(X;T)", "I(T;Y)"
_MARKERS = "osD^vP*Xph<>8"
_BOUNDS = {"upper": "upper bound on", "lower": "lower bound on"}


def information_plane(
    frame: pd.DataFrame,
    *,
    run: str | Sequence[str] | None = None,
    estimator: str | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws I(T;Y) against I(X;T): a marker a layer, a colour an epoch.

    Each run and estimator has a panel. Hollow markers are estimates flagged ``saturated``: they say
    nothing about the network. The last epoch's markers have a black edge.

    Args:
        frame: a table of estimates.
        run: the runs to draw; all by default.
        estimator: the estimators to draw, as the table names them; all by default.
        ax: draws into these axes; then one run and one estimator must remain.

    Returns:
        The figure.

    Raises:
        ArgumentError: the table lacks columns, or nothing is left to draw.
        MissingExtraError: matplotlib is not installed.
    """
    figures = _matplotlib("plot.information_plane()")
    table = _select(frame, run, estimator)
    points = _points(table)
    if points.empty:
        raise ArgumentError(
            "There is nothing to draw",
            f"rows of both {_XT} and {_TY} with finite values",
            f"quantities {sorted(table['quantity'].unique())}",
        )
    norm = figures.SymLogNorm(linthresh=1, vmin=0, vmax=max(1, points["epoch"].max()))
    layers = _layers(points)
    figure, panels = _panels(figures, points, ax)
    for (panel_run, panel_estimator), axes in panels:
        part = _part(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            axes.plot(trace["x"], trace["y"], color="0.75", linewidth=0.8, zorder=1)
            _scatter(axes, trace, _marker(layers, str(layer)), figures.colormap, norm)
        unit = part["unit"].iloc[0]
        axes.set(
            xlabel=f"{_XT} [{unit}]",
            ylabel=f"{_TY} [{unit}]",
            title=_title(part, panel_run, panel_estimator, points),
        )
        axes.margins(0.06)
    grey = {"linestyle": "none", "color": "0.35"}
    handles = [
        figures.Line2D([], [], marker=_marker(layers, layer), label=layer, **grey)
        for layer in layers
    ]
    if points["saturated"].any():
        hollow = {"marker": "o", "markerfacecolor": "none", "label": "hollow: saturated"}
        handles.append(figures.Line2D([], [], **hollow, **grey))
    _legend(figure, handles, ax)
    if ax is None:
        bar = figure.colorbar(
            figures.ScalarMappable(norm, figures.colormap),
            ax=[axes for _, axes in panels],
            label="epoch",
            fraction=0.05,
            pad=0.01,
            aspect=30,
        )
        ticks = _epoch_ticks(int(points["epoch"].max()))
        bar.set_ticks(ticks, labels=[str(t) for t in ticks])
        bar.minorticks_off()
    return figure


def layer_curves(
    frame: pd.DataFrame,
    *,
    quantity: str = _XT,
    run: str | Sequence[str] | None = None,
    estimator: str | Sequence[str] | None = None,
    levels: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws a quantity against the epoch, a line a layer, with a band of one standard error.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, ``"I(T;Y)"``, or another that the table has.
        run: the runs to draw; all by default.
        estimator: the estimators to draw, as the table names them; all by default.
        levels: label → value in the table's unit, drawn as dotted lines.
        ax: draws into these axes; then one run and one estimator must remain.

    Returns:
        The figure.

    Raises:
        ArgumentError: the table lacks columns, or nothing is left to draw.
        MissingExtraError: matplotlib is not installed.
    """
    figures = _matplotlib("plot.layer_curves()")
    table = _select(frame, run, estimator)
    points = table[(table["quantity"] == quantity) & np.isfinite(table["value"])]
    if points.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    points = points.sort_values(["layer_index", "epoch"])
    layers = _layers(points)
    colours = figures.colormap(np.linspace(0.0, 0.92, len(layers)))
    figure, panels = _panels(figures, points, ax)
    last = int(points["epoch"].max())
    for (panel_run, panel_estimator), axes in panels:
        part = _part(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            colour = colours[layers.index(str(layer))]
            _curve(axes, trace, _marker(layers, str(layer)), colour)
        for label, level in (levels or {}).items():
            axes.axhline(level, color="0.4", linestyle=":", linewidth=1)
            axes.annotate(
                label, (0, level), xycoords=("axes fraction", "data"), xytext=(4, 2),
                textcoords="offset points", ha="left", color="0.3", fontsize=9,
            )  # fmt: skip
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(-0.1, max(1, last) * 1.15)
        axes.set_xticks(_epoch_ticks(last), labels=[str(t) for t in _epoch_ticks(last)])
        axes.minorticks_off()
        axes.set(
            xlabel="epoch",
            ylabel=f"{quantity} [{part['unit'].iloc[0]}]",
            title=_title(part, panel_run, panel_estimator, points, quantity),
        )
    handles = [
        figures.Line2D([], [], marker=_marker(layers, layer), color=colour, label=layer)
        for layer, colour in zip(layers, colours, strict=True)
    ]
    _legend(figure, handles, ax)
    return figure


def clusters(
    histograms: pd.DataFrame, *, run: str | None = None, similarity: str = "distance"
) -> Figure:
    """Draws how far apart samples lie in each layer, within classes and between: a row an epoch.

    Args:
        histograms: what ``clustering.histograms`` returns.
        run: the run to draw; the only one by default.
        similarity: ``"distance"`` or ``"cosine"``.

    Returns:
        The figure.

    Raises:
        ArgumentError: columns are missing, or nothing, or more than one run, is left to draw.
        MissingExtraError: matplotlib is not installed.
    """
    figures = _matplotlib("plot.clusters()")
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
    layers = _layers(table.sort_values("layer_index"))
    epochs = sorted(table["epoch"].unique())
    size = (2.4 * len(layers) + 0.6, 1.7 * len(epochs) + 0.8)
    figure = figures.Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(epochs), len(layers), squeeze=False, sharex="col")
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
    figure.legend(handles=list(shown.values()), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{table['run'].iloc[0]}: pairs of samples, densities", fontsize=11)
    return figure


def _scatter(axes: Axes, trace: pd.DataFrame, marker: str, colormap: Any, norm: Any) -> None:
    """One layer's points, coloured by epoch; hollow where saturated, the last with a black edge."""
    last = trace["epoch"].max()
    for saturated, group in trace.groupby("saturated"):
        colours = colormap(norm(group["epoch"].to_numpy()))
        edges = np.where((group["epoch"] == last).to_numpy()[:, None], (0, 0, 0, 1), colours)
        axes.scatter(
            group["x"],
            group["y"],
            marker=marker,
            s=34,
            facecolors="none" if saturated else colours,
            edgecolors=list(map(tuple, edges)),
            linewidths=1.0,
            zorder=2,
        )


def _curve(axes: Axes, trace: pd.DataFrame, marker: str, colour: Any) -> None:
    """One layer's line, with a band of one standard error where there is one."""
    axes.plot(
        trace["epoch"], trace["value"], marker=marker, markersize=4, linewidth=1.2, color=colour
    )
    error = trace["stderr"].fillna(0)
    if error.any():
        low, high = trace["value"] - error, trace["value"] + error
        axes.fill_between(trace["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)


class _Matplotlib:
    """What the figures need of matplotlib, imported once it is asked for. No global state."""

    def __init__(self) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import SymLogNorm
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        self.ScalarMappable, self.SymLogNorm = ScalarMappable, SymLogNorm
        self.Figure, self.Line2D = Figure, Line2D
        # Even in brightness and safe for the colour-blind.
        self.colormap = colormaps["viridis"]


def _matplotlib(feature: str) -> Any:
    try:
        return _Matplotlib()
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(feature, "matplotlib", "plot") from error


def _select(
    frame: pd.DataFrame, run: str | Sequence[str] | None, estimator: str | Sequence[str] | None
) -> pd.DataFrame:
    table = frames.validate(frame)
    for column, wanted in (("run", run), ("estimator", estimator)):
        if wanted is None:
            continue
        known = list(dict.fromkeys(table[column]))
        chosen = [wanted] if isinstance(wanted, str) else list(wanted)
        if not set(chosen) <= set(known):
            raise ArgumentError(f"`{column}` is not in the table", f"some of {known}", chosen)
        table = table[table[column].isin(chosen)]
    units = list(dict.fromkeys(table["unit"]))
    if len(units) > 1:
        raise ArgumentError(
            "The table mixes units", "one unit; see ib_keras.frame.convert", str(units)
        )
    return table


def _points(table: pd.DataFrame) -> pd.DataFrame:
    """One row a point of the plane: x, y, and whether either is saturated."""
    keys = ["run", "estimator", "layer_index", "layer", "epoch"]
    sides = []
    for quantity in (_XT, _TY):
        side = table[table["quantity"] == quantity].set_index(keys)
        sides.append(side[~side.index.duplicated()])
    x, y = sides
    points = pd.DataFrame({"x": x["value"], "kind": x["kind"], "unit": x["unit"]})
    points["y"] = y["value"]
    points["saturated"] = x["flags"].str.contains("saturated")
    points = points[np.isfinite(points["x"]) & np.isfinite(points["y"])]
    return points.reset_index().sort_values(["layer_index", "epoch"])


def _layers(points: pd.DataFrame) -> list[str]:
    return list(points.sort_values("layer_index")["layer"].drop_duplicates())


def _marker(layers: list[str], layer: str) -> str:
    return _MARKERS[layers.index(layer) % len(_MARKERS)]


def _part(points: pd.DataFrame, run: str, estimator: str) -> pd.DataFrame:
    return points[(points["run"] == run) & (points["estimator"] == estimator)]


def _panels(
    figures: Any, points: pd.DataFrame, ax: Axes | None
) -> tuple[Figure, list[tuple[tuple[str, str], Axes]]]:
    """A grid of axes, a row a run and a column an estimator, of those that have points."""
    runs, estimators = (sorted(points[c].unique()) for c in ("run", "estimator"))
    if ax is not None:
        if len(runs) * len(estimators) != 1:
            raise ArgumentError(
                "`ax` is for one panel", "one run and one estimator: choose by `run`, `estimator`",
                f"runs {runs}, estimators {estimators}",
            )  # fmt: skip
        return ax.figure, [((runs[0], estimators[0]), ax)]  # type: ignore[return-value]
    figure = figures.Figure(
        figsize=(4.0 * len(estimators) + 2.4, 3.4 * len(runs) + 0.4), layout="constrained"
    )
    grid = figure.subplots(len(runs), len(estimators), squeeze=False)

    def used() -> Iterator[tuple[tuple[str, str], Axes]]:
        for row, run in zip(grid, runs, strict=True):
            for axes, estimator in zip(row, estimators, strict=True):
                if _part(points, run, estimator).empty:
                    axes.set_axis_off()
                else:
                    axes.tick_params(labelsize=9)
                    yield (run, estimator), axes

    return figure, list(used())


def _title(
    part: pd.DataFrame, run: str, estimator: str, points: pd.DataFrame, quantity: str = _XT
) -> str:
    lines = [estimator if points["run"].nunique() == 1 else f"{run} · {estimator}"]
    if part["kind"].iloc[0] in _BOUNDS:
        lines.append(f"({_BOUNDS[part['kind'].iloc[0]]} {quantity})")
    return "\n".join(lines)


def _legend(figure: Figure, handles: list[Any], ax: Axes | None) -> None:
    rows = 18
    arguments: dict[str, Any] = {
        "handles": handles,
        "title": "layer",
        "fontsize": 9,
        "ncols": -(-len(handles) // rows),
    }
    if ax is not None:
        ax.legend(**arguments, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    else:
        figure.legend(**arguments, loc="outside right upper")


def _epoch_ticks(last: int) -> list[int]:
    """0, the powers of ten, and the last epoch if it does not crowd them."""
    ticks = [0, *(10**k for k in range(12) if 10**k <= last)]
    if last > 1.8 * ticks[-1]:
        ticks.append(last)
    return ticks
