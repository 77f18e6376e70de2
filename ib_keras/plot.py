"""Pictures of a table of estimates, as matplotlib figures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import _verdict
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
_LEGEND_ROWS = 18
_MARKERS = "osD^vP*Xph<>8"
_BOUNDS = {"upper": "upper bound on", "lower": "lower bound on"}


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
    figures = _matplotlib("plot.information_plane()")
    table = _select(frame, run, estimator)
    table = frames.over_seeds(table) if over_seeds else table
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
            if over_seeds:
                axes.errorbar(
                    trace["x"], trace["y"], xerr=trace["x_error"], yerr=trace["y_error"],
                    fmt="none", ecolor="0.8", elinewidth=0.8, zorder=0,
                )  # fmt: skip
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
    handles += _doubts(figures, points)
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
    figures = _matplotlib("plot.layer_curves()")
    table = _select(frame, run, estimator)
    table = frames.over_seeds(table) if over_seeds else table
    points = table[(table["quantity"] == quantity) & np.isfinite(table["value"])]
    if points.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    points = points.sort_values(["layer_index", "epoch"])
    points = points.assign(doubt=points["flags"].map(_verdict.doubt))
    falls = frames.phases(points, quantity=quantity) if phases else None
    layers = _layers(points)
    colours = figures.colormap(np.linspace(0.0, 0.92, len(layers)))
    figure, panels = _panels(figures, points, ax)
    last = int(points["epoch"].max())
    for (panel_run, panel_estimator), axes in panels:
        part = _part(points, panel_run, panel_estimator)
        for layer, trace in part.groupby("layer", sort=False):
            colour = colours[layers.index(str(layer))]
            _curve(axes, trace, _marker(layers, str(layer)), colour)
            if falls is not None:
                own = _part(falls, panel_run, panel_estimator)
                _falls(axes, trace, own[own["layer"] == layer], colour)
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
    handles += _doubts(figures, points)
    if falls is not None and (falls["phase"] == "compression").any():
        handles.append(figures.Line2D([], [], color="0.75", linewidth=7, label="wide: compression"))
    _legend(figure, handles, ax)
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
    title = f"{table['run'].iloc[0]}: pairs of samples, densities"
    figure, grid = _divided(figures, ax, title, len(epochs), len(layers), size, sharex="col")
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


class _Matplotlib:
    """What the figures need of matplotlib, imported once it is asked for. No global state."""

    def __init__(self) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import SymLogNorm
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        _show_in_notebooks()
        self.ScalarMappable, self.SymLogNorm = ScalarMappable, SymLogNorm
        self.Figure, self.Line2D = Figure, Line2D
        # Even in brightness and safe for the colour-blind.
        self.colormap = colormaps["viridis"]


def _show_in_notebooks() -> None:
    """Lets a notebook draw these figures, which are not pyplot's: as ``%matplotlib inline``."""
    if "ipykernel" not in sys.modules:
        return
    import matplotlib

    if "inline" in str(matplotlib.get_backend(auto_select=False)):
        importlib.import_module("matplotlib_inline.backend_inline")


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
    """One row a point of the plane: x, y, their errors, and how much to doubt either."""
    keys = ["run", "estimator", "layer_index", "layer", "epoch"]
    sides = []
    for quantity in (_XT, _TY):
        side = table[table["quantity"] == quantity].set_index(keys)
        sides.append(side[~side.index.duplicated()])
    x, y = sides
    points = pd.DataFrame({"x": x["value"], "kind": x["kind"], "unit": x["unit"]})
    points["y"] = y["value"]
    points["x_error"], points["y_error"] = x["stderr"].fillna(0), y["stderr"].fillna(0)
    doubts = pd.DataFrame({i: s["flags"].map(_verdict.doubt) for i, s in enumerate(sides)})
    points["doubt"] = doubts.max(axis=1)
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
    # Room for a legend of many layers, beside the panels and not in their place.
    names = points["layer"].unique()
    columns = -(-(len(names) + 3) // _LEGEND_ROWS)
    legend = columns * (0.085 * max(map(len, map(str, names))) + 0.65)
    least = 0.19 * min(len(names) + 3, _LEGEND_ROWS) + 0.7
    size = (4.0 * len(estimators) + max(2.4, legend + 1.0), max(3.4 * len(runs) + 0.4, least))
    figure = figures.Figure(figsize=size, layout="constrained")
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


def _divided(
    figures: Any,
    ax: Axes | None,
    title: str,
    rows: int,
    columns: int,
    size: tuple[float, float],
    **kwargs: Any,
) -> tuple[Figure, Any]:
    """A grid of panels below a title: of a figure of their own, or in the place of ``ax``."""
    if ax is None:
        figure = figures.Figure(figsize=size, layout="constrained")
        if title:
            figure.suptitle(title, fontsize=11)
        return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)
    place = ax.get_subplotspec()
    if place is None:
        raise ArgumentError(
            "`ax` has no place in a grid that could be divided",
            "axes that `subplots` made",
            f"axes at {ax.get_position().bounds}",
        )
    ax.set_axis_off()
    halves = place.subgridspec(2, 1, height_ratios=(1, 20))
    top = ax.figure.add_subplot(halves[0])
    top.set_axis_off()
    top.text(0.5, 0, title, ha="center", fontsize=11)
    inner = halves[1].subgridspec(rows, columns, width_ratios=kwargs.pop("width_ratios", None))
    return ax.figure, inner.subplots(squeeze=False, **kwargs)  # type: ignore[return-value]


def _title(
    part: pd.DataFrame, run: str, estimator: str, points: pd.DataFrame, quantity: str = _XT
) -> str:
    lines = [estimator if points["run"].nunique() == 1 else f"{run} · {estimator}"]
    if part["kind"].iloc[0] in _BOUNDS:
        lines.append(f"({_BOUNDS[part['kind'].iloc[0]]} {quantity})")
    return "\n".join(lines)


def _legend(figure: Figure, handles: list[Any], ax: Axes | None) -> None:
    arguments: dict[str, Any] = {
        "handles": handles,
        "title": "layer",
        "fontsize": 9,
        "ncols": -(-len(handles) // _LEGEND_ROWS),
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
