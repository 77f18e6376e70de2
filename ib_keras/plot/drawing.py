"""What the figures share: selection of rows, panels, markers and legends."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError, MissingExtraError
from ib_keras.frame.table import has_unit, measured, one_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

XT = "I(X;T)"
_LEGEND_ROWS = 18
# With more layers, colours show their depth, because so many markers could not be told apart.
_MANY_LAYERS = 30
# Longer names of layers are written with their first and last characters.
_LONG_NAME = 48
MARKERS = "osD^vP*Xph<>8"
# Markers that are not full: their faces, and the entries of the legend.
_FACES = {flagging.CARE: "0.8", flagging.NOTHING: "none"}
_DOUBTS = {doubt: f"{flagging.LOOKS[doubt]}: {flagging.MEANINGS[doubt]}" for doubt in _FACES}
_BOUNDS = {"upper": "upper bound on", "lower": "lower bound on"}


class _Matplotlib:
    """The parts of matplotlib that the figures use, imported on demand, without global state."""

    def __init__(self) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize, SymLogNorm
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        _show_in_notebooks()
        self.ScalarMappable, self.ListedColormap = ScalarMappable, ListedColormap
        self.Normalize, self.SymLogNorm = Normalize, SymLogNorm
        self.Figure, self.Line2D = Figure, Line2D
        # Perceptually uniform, and safe for the colour-blind.
        self.colormap = colormaps["viridis"]

    def palette(self, names: Sequence[Any]) -> dict[Any, Any]:
        """Return a colour for each name."""
        return dict(zip(names, self.colormap(np.linspace(0, 0.92, len(names))), strict=True))


def _show_in_notebooks() -> None:
    """Let a notebook display figures that are not pyplot's, as ``%matplotlib inline`` does."""
    if "ipykernel" not in sys.modules:
        return
    import matplotlib

    if "inline" in str(matplotlib.get_backend(auto_select=False)):
        importlib.import_module("matplotlib_inline.backend_inline")


def matplotlib(feature: str) -> Any:
    """Import matplotlib, or raise an error that says how to install it for this feature."""
    try:
        return _Matplotlib()
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(feature, "matplotlib", "plot") from error


def select(
    frame: pd.DataFrame,
    run: str | Sequence[str] | None,
    estimator: str | Sequence[str] | None,
    over_seeds: bool = False,
) -> pd.DataFrame:
    """Return the rows of the selected runs and estimators, which must have one unit."""
    table = frames.validate(frame)
    for column, wanted in (("run", run), ("estimator", estimator)):
        if wanted is None:
            continue
        known = list(dict.fromkeys(table[column]))
        chosen = [wanted] if isinstance(wanted, str) else list(wanted)
        if not set(chosen) <= set(known):
            raise ArgumentError(f"`{column}` is not in the table", f"some of {known}", chosen)
        table = table[table[column].isin(chosen)]
    one_unit(table)
    return frames.over_seeds(table) if over_seeds else table


def points_of(table: pd.DataFrame, relevant: str) -> pd.DataFrame:
    """Return a row for each point of the plane: x, y, their errors, and the larger doubt.

    Args:
        table: a table of estimates.
        relevant: the quantity of the vertical axis, such as ``"I(T;Y)"``.
    """
    keys = ["run", "estimator", "layer_index", "layer", "epoch"]
    sides = []
    for quantity in (XT, relevant):
        side = table[table["quantity"] == quantity].set_index(keys)
        sides.append(side[~side.index.duplicated()])
    x, y = sides
    points = pd.DataFrame({
        "x": x["value"], "kind": x["kind"], "unit": x["unit"], "flags": x["flags"],
    })  # fmt: skip
    points["y"] = y["value"]
    points["x_error"], points["y_error"] = x["stderr"].fillna(0), y["stderr"].fillna(0)
    doubts = pd.DataFrame({i: s["flags"].map(flagging.doubt) for i, s in enumerate(sides)})
    points["doubt"] = doubts.max(axis=1)
    points = points[np.isfinite(points["x"]) & np.isfinite(points["y"])]
    return points.reset_index().sort_values(["layer_index", "epoch"])


def nothing(figures: Any, ax: Axes | None, what: str) -> Figure:
    """Return a figure, or the given axes, with a note that there are no finite values."""
    figure, axes = one(figures, ax, (4.0, 3.4))
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"no finite values\nof {what}", ha="center", va="center", color="0.35")
    return figure


def layers_of(points: pd.DataFrame) -> list[str]:
    """Return the names of the layers, in the order of the network."""
    return list(points.sort_values("layer_index")["layer"].drop_duplicates())


def names_by_place(points: pd.DataFrame) -> dict[int, str]:
    """Map each ``layer_index`` to a layer's name; runs may name a layer differently.

    If there are several names, the first is taken, without the suffix of a separate PReLU layer.
    """
    first = points.drop_duplicates("layer_index").sort_values("layer_index")
    names = first["layer"].str.removesuffix("_prelu")
    return dict(zip(first["layer_index"], names, strict=True))


def many(layers: Sequence[str]) -> bool:
    """Return whether there are too many layers for each to have a marker in the legend."""
    return len(layers) > _MANY_LAYERS


def marker(layers: list[str], layer: str) -> str:
    """Return the marker of a layer, which is a circle if there are many."""
    return "o" if many(layers) else MARKERS[layers.index(layer) % len(MARKERS)]


def part_of(points: pd.DataFrame, run: str, estimator: str) -> pd.DataFrame:
    """Return the rows of a panel."""
    return points[(points["run"] == run) & (points["estimator"] == estimator)]


def panels(
    figures: Any, points: pd.DataFrame, ax: Axes | None
) -> tuple[Figure, list[tuple[tuple[str, str], Axes]]]:
    """Make a grid of axes with a row for each run and a column for each estimator."""
    runs, estimators = (sorted(points[c].unique()) for c in ("run", "estimator"))
    if ax is not None:
        if len(runs) * len(estimators) != 1:
            raise ArgumentError(
                "`ax` is for one panel", "one run and one estimator: choose by `run`, `estimator`",
                f"runs {runs}, estimators {estimators}",
            )  # fmt: skip
        return ax.figure, [((runs[0], estimators[0]), ax)]  # type: ignore[return-value]
    figure = figures.Figure(figsize=_size(points, len(runs), len(estimators)), layout="constrained")
    grid = figure.subplots(len(runs), len(estimators), squeeze=False)
    used = []
    for key, axes in zip(itertools.product(runs, estimators), grid.flat, strict=True):
        if part_of(points, *key).empty:
            axes.set_axis_off()
        else:
            axes.tick_params(labelsize=9)
            used.append((key, axes))
    return figure, used


def _size(points: pd.DataFrame, rows: int, columns: int) -> tuple[float, float]:
    """Return the width and height of a grid of panels with room for its legend, in inches."""
    names = [short(name) for name in layers_of(points)]
    if columns > 1 and not many(names):
        width = 4.0 * columns + 0.8
        labels = [*names, *_DOUBTS.values()]
        lines = -(-len(labels) // _columns(labels, width))
        return width, 3.4 * rows + 0.5 + 0.2 * lines
    entries = len(names) + len(_DOUBTS)
    listed = 1 if many(names) else -(-entries // _LEGEND_ROWS)
    least = 0.19 * min(entries, _LEGEND_ROWS) + 0.7
    beside = listed * _entry_width(names) + 1.0
    return 4.0 * columns + max(2.4, beside), max(3.4 * rows + 0.4, least)


def _columns(labels: Sequence[str], width: float) -> int:
    """Return the largest number of columns of a legend that fit into a width in inches."""
    for count in range(len(labels), 1, -1):
        if sum(map(_entry_width, np.array_split(labels, count))) <= width:
            return count
    return 1


def _entry_width(labels: Iterable[Any]) -> float:
    """Return the width of the widest entry of a legend in inches."""
    return 0.085 * max(len(str(label)) for label in labels) + 0.65


def divided(
    figures: Any,
    ax: Axes | None,
    title: str,
    rows: int,
    columns: int,
    size: tuple[float, float],
    **kwargs: Any,
) -> tuple[Figure, Any]:
    """Make a grid of panels below a title, in a new figure or in place of ``ax``."""
    if ax is None:
        figure = figures.Figure(figsize=size, layout="constrained")
        if title:
            figure.suptitle(title, fontsize=11)
        return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)
    place = ax.get_subplotspec()
    if place is None:
        raise ArgumentError(
            "`ax` has no place in a grid that could be divided",
            "axes from `subplots`",
            f"axes at {ax.get_position().bounds}",
        )
    ax.set_axis_off()
    halves = place.subgridspec(2, 1, height_ratios=(1, 20))
    top = ax.figure.add_subplot(halves[0])
    top.set_axis_off()
    top.text(0.5, 0, title, ha="center", fontsize=11)
    inner = halves[1].subgridspec(rows, columns, width_ratios=kwargs.pop("width_ratios", None))
    return ax.figure, inner.subplots(squeeze=False, **kwargs)  # type: ignore[return-value]


def title_of(
    part: pd.DataFrame, run: str, estimator: str, points: pd.DataFrame, quantity: str = XT
) -> str:
    """Return the title of a panel."""
    lines = [estimator if points["run"].nunique() == 1 else f"{run} · {estimator}"]
    kind = part["kind"].iloc[0]
    if kind in _BOUNDS:
        what = measured(quantity.removesuffix(f" {kind}"), part["flags"])
        lines.append(f"({_BOUNDS[kind]} {what})")
    return "\n".join(lines)


def short(name: str) -> str:
    """Return a name for a legend, without the middle of a long one."""
    if len(name) <= _LONG_NAME:
        return name
    return f"{name[: _LONG_NAME // 3]}…{name[1 - _LONG_NAME + _LONG_NAME // 3 :]}"


def axis_label(quantity: str, unit: str) -> str:
    """Return the label of an axis; fractions have no unit."""
    return f"{quantity} [{unit}]" if has_unit(quantity) else quantity


def legend(
    figure: Figure,
    handles: list[Any],
    ax: Axes | None,
    title: str | None = None,
    *,
    below: bool = False,
) -> None:
    """Draw a legend beside the panels, or below them."""
    arguments: dict[str, Any] = {
        "handles": handles,
        "title": title,
        "fontsize": 9,
        "ncols": -(-len(handles) // _LEGEND_ROWS),
    }
    if ax is not None:
        ax.legend(**arguments, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    elif below:
        labels = [handle.get_label() for handle in handles]
        arguments["ncols"] = _columns(labels, figure.get_figwidth())
        figure.legend(**arguments, loc="outside lower center")
    else:
        figure.legend(**arguments, loc="outside right upper")


def depth_bar(
    figures: Any, figure: Figure, layers: list[str], axes: Sequence[Axes], handles: list[Any]
) -> None:
    """Draw the colours of many layers with the names of some, and the legend of the doubts."""
    places = np.linspace(0, len(layers) - 1, 9).round().astype(int)
    colormap = figures.ListedColormap(list(figures.palette(layers).values()))
    bar = figure.colorbar(
        figures.ScalarMappable(figures.Normalize(-0.5, len(layers) - 0.5), colormap),
        ax=list(axes), label="layer", fraction=0.05, pad=0.01, aspect=30,
    )  # fmt: skip
    bar.set_ticks(list(places), labels=[f"{place + 1}: {short(layers[place])}" for place in places])
    bar.ax.tick_params(labelsize=8)
    if handles:
        axes[-1].legend(handles=handles, fontsize=8, loc="best")


def epoch_ticks(last: int) -> list[int]:
    """Return 0, the powers of ten, and the last epoch if it is not too close to one of these."""
    ticks = [0, *(10**k for k in range(12) if 10**k <= last)]
    if last > 1.8 * ticks[-1]:
        ticks.append(last)
    return ticks


def by_doubt(trace: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the rows of each level of doubt that occurs."""
    for doubt in flagging.LOOKS:
        group = trace[trace["doubt"] == doubt]
        if len(group):
            yield doubt, group


def filled(colours: np.ndarray, doubt: int) -> Any:
    """Return the face colours of markers: full, pale or hollow, depending on the doubt."""
    if doubt == flagging.NOTHING:
        return "none"
    pale = 1 - 0.35 * (1 - colours[:, :3])
    return list(map(tuple, colours if doubt == flagging.NONE else pale))


def doubt_legend(figures: Any, points: pd.DataFrame) -> list[Any]:
    """Return the entries of the legend for markers that are not full."""
    grey = {"linestyle": "none", "marker": "o", "color": "0.35"}
    return [
        figures.Line2D([], [], markerfacecolor=face, label=_DOUBTS[doubt], **grey)
        for doubt, face in _FACES.items()
        if (points["doubt"] == doubt).any()
    ]


def one(figures: Any, ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Make a figure with one panel, or return the given axes."""
    if ax is not None:
        return ax.figure, ax  # type: ignore[return-value]
    figure = figures.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def one_or_grid(
    figures: Any, groups: list[str], ax: Axes | None, height: float
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a panel for each group, or return the given axes for a single group."""
    if ax is not None:
        if len(groups) != 1:
            raise ArgumentError("`ax` is for one panel", "rows of one group only", groups)
        return ax.figure, [ax]  # type: ignore[return-value]
    count = len(groups)
    columns = min(count, 4)
    rows = -(-count // columns)
    size = (3.6 * columns + 1.6, height * rows + 0.4)
    figure = figures.Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for i, unused in enumerate(axes[count:], start=count):
        unused.set_axis_off()
        axes[i - columns].tick_params(labelbottom=True)
    return figure, axes[:count]
