"""The activation functions of Chelombiev et al., and the two earlier studies.

The runs are ``ib-keras --pipeline=adaptive_estimators`` with the presets ``paper``, ``fixed-bins``
(Shwartz-Ziv & Tishby) and ``saxe`` (Saxe et al.).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import frame, studies
from ib_keras.studies.chelombiev_2019 import MEASURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN = "chelombiev"
BEFORE = ("fixed_bins", "saxe")
# Number of epochs in tables of curves.
_EPOCHS = 22
_LAYERS = [*(f"L{i}" for i in range(1, 6)), "output"]


def tables(run_folders: Mapping[str, pathlib.Path], data: pathlib.Path) -> None:
    """Reduce the runs to small tables.

    Args:
        run_folders: folders of the runs by name; missing ones are left out.
        data: the folder of the tables.
    """
    for name in BEFORE:
        if name in run_folders:
            curves = _curves(_read(run_folders[name]))
            _common.write(curves, data / f"{name}.csv")
    if RUN not in run_folders:
        return
    joined = _read(run_folders[RUN])
    adaptive = joined[joined["estimator"].str.startswith("ebab")]
    _common.write(_curves(adaptive), data / "chelombiev_curves.csv")
    _common.write(_falls(joined), data / "chelombiev_falls.csv")
    _common.write(_runs(adaptive), data / "chelombiev_runs.csv")
    _common.write(_correlations(joined), data / "chelombiev_correlations.csv")
    _common.write(_accuracies(adaptive), data / "chelombiev_accuracies.csv")


def _read(folder: pathlib.Path) -> pd.DataFrame:
    joined = frame.convert(ib.load(folder), "nats")
    layers = joined["layer"].str.replace("dense_", "L").str.removesuffix("_prelu")
    return joined.assign(cell=frame.without_seed(joined["run"]), layer=layers)


def _curves(joined: pd.DataFrame) -> pd.DataFrame:
    """Summarise the information at some epochs over seeds."""
    parts = []
    for _, part in joined.groupby("estimator", sort=False):
        epochs = np.sort(part["epoch"].unique())
        places = np.linspace(0, len(epochs) - 1, min(_EPOCHS, len(epochs))).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[places])])
    keys = ["cell", "estimator", "quantity", "layer", "epoch"]
    own = pd.concat(parts).sort_values(["layer_index", "epoch"])
    return _common.over_seeds(own, keys).sort_values(keys[:3], kind="stable")


def _falls(joined: pd.DataFrame) -> pd.DataFrame:
    """Summarise the falls, over all epochs and over the epochs that all estimators have."""
    epochs = joined.groupby("estimator")["epoch"].unique()
    common = set.intersection(*map(set, epochs))
    parts = []
    for name, part in (("all", joined), ("common", joined[joined["epoch"].isin(common)])):
        falls = frame.compression(part)
        falls["cell"] = frame.without_seed(falls["run"])
        keys = ["cell", "estimator", "layer"]
        falls = falls.sort_values("layer_index")
        parts.append(_common.over_seeds(falls, keys, "absolute").assign(epochs=name))
    return pd.concat(parts)


def _runs(adaptive: pd.DataFrame) -> pd.DataFrame:
    """Return each network's falls, ends and accuracies."""
    falls = frame.compression(adaptive)
    ends = adaptive.sort_values("epoch").groupby("run").last()
    accuracy, held_out = (falls["run"].map(ends[name]) for name in ("accuracy", "val_accuracy"))
    return falls[["run", "layer", "absolute", "end"]].assign(
        val_accuracy=held_out, gap=accuracy - held_out
    )


def _correlations(joined: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for estimator in dict.fromkeys(joined["estimator"]):
        for measure in MEASURES:
            found = studies.generalisation(joined, estimator, measure=measure)
            for layer, (points, _, result) in found.items():
                if result is not None:
                    low, high = result.confidence_interval()
                    row = (result.statistic, low, high, result.pvalue, len(points))
                    rows.append((estimator, layer, measure, *row))
    return pd.DataFrame(
        rows, columns=["estimator", "layer", "measure", "r", "low", "high", "p", "n"]
    )


def _accuracies(joined: pd.DataFrame) -> pd.DataFrame:
    names = ["loss", "accuracy", "val_loss", "val_accuracy"]
    logs = joined[["run", "cell", "epoch", *names]].drop_duplicates(["run", "epoch"])
    logs = logs.sort_values("epoch")
    ends = logs.groupby("run").last()
    highest, least = (logs.groupby("run")[name] for name in ("val_accuracy", "val_loss"))
    ends["fall of val_accuracy"] = highest.max() - ends["val_accuracy"]
    ends["rise of val_loss"] = ends["val_loss"] - least.min()
    long = ends.melt(
        "cell", [*names, "fall of val_accuracy", "rise of val_loss"], "measure", ignore_index=False
    )
    return _common.over_seeds(long, ["cell", "measure"])


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures from the tables only.

    Args:
        data: the folder of the tables.
        folder: the folder of the figures.
    """
    with _common.style("chelombiev"):
        for name in BEFORE:
            if (data / f"{name}.csv").exists():
                figure = _planes(pd.read_csv(data / f"{name}.csv"))
                _common.save(figure, folder / f"{name}.svg")
        if not (data / "chelombiev_curves.csv").exists():
            return
        read = {path.stem: pd.read_csv(path) for path in data.glob("chelombiev_*.csv")}
        curves, falls, runs, correlations = (
            read[f"chelombiev_{name}"] for name in ("curves", "falls", "runs", "correlations")
        )
        drawn: dict[str, Any] = {
            "curves": _by_cell(curves),
            "falls": _by_layer(falls),
            "estimators": _by_estimator(falls),
            "generalisation": _scatter(runs, correlations),
        }
        for name, figure in drawn.items():
            _common.save(figure, folder / f"chelombiev_{name}.svg")


def _planes(curves: pd.DataFrame) -> Figure:
    """Draw the information planes of the means over seeds."""
    cells = list(dict.fromkeys(zip(curves["estimator"], curves["cell"], strict=True)))
    figure, row = _common.wrapped(len(cells), 2, 4.2, 2.8, sharey=True)
    colours = _common.palette(_LAYERS)
    for axes, (estimator, cell) in zip(row, cells, strict=True):
        own = curves[(curves["estimator"] == estimator) & (curves["cell"] == cell)]
        for layer in _LAYERS:
            part = own[own["layer"] == layer]
            x, y = (
                part[part["quantity"] == q].sort_values("epoch")["mean"].to_numpy()
                for q in ("I(X;T)", "I(T;Y)")
            )
            axes.plot(x, y, color=colours[layer], label=layer, linewidth=1)
            axes.plot(x[:1], y[:1], "o", color=colours[layer], markerfacecolor="white")
            axes.plot(x[-1:], y[-1:], "o", color=colours[layer])
        axes.set_title(f"{cell}\n{estimator}", fontsize="medium")
    _common.label_outer(row, "I(X;T) [nats]", "I(T;Y) [nats]")
    columns = min(6, 3 * len(cells))
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return figure


def _plain(cells: pd.Series) -> list[str]:
    return list(dict.fromkeys(cells.str.removesuffix("+l2")))


def _by_cell(curves: pd.DataFrame) -> Figure:
    """Draw I(X;T) by EBAB against the epoch, without L2 above and with it below."""
    own = curves[curves["quantity"] == "I(X;T)"]
    names = _plain(own["cell"])
    pairs = [(name, name + "+l2") for name in names]
    shown = [c for some in (pairs[:4], pairs[4:]) for row in zip(*some, strict=True) for c in row]
    figure, grid = _common.wrapped(
        len(shown), min(4, len(names)), 2.3, 1.9, sharex=True, sharey=True
    )
    colours = _common.palette(_LAYERS)
    for axes, cell in zip(grid, shown, strict=True):
        for layer in _LAYERS:
            part = own[(own["cell"] == cell) & (own["layer"] == layer)].sort_values("epoch")
            epochs = part["epoch"].clip(lower=0.7)
            axes.plot(epochs, part["mean"], color=colours[layer], label=layer, linewidth=1)
            axes.fill_between(
                epochs, part["low"], part["high"], color=colours[layer], alpha=0.15, linewidth=0
            )
        axes.set(title=cell, xscale="log")
    _common.label_outer(grid, "epoch", "I(X;T) [nats]")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _by_layer(falls: pd.DataFrame) -> Figure:
    """Draw the falls by EBAB in each layer, without L2 and with it."""
    own = falls[falls["estimator"].str.startswith("ebab") & falls["epochs"].eq("all")]
    figure, (row,) = _common.panels(1, 2, 4.6, 3.0, sharey=True)
    names = _plain(own["cell"])
    colours = _common.palette(names)
    for axes, suffix, title in zip(row, ("", "+l2"), ("without L2", "with L2"), strict=True):
        for i, name in enumerate(names):
            part = own[own["cell"] == name + suffix].set_index("layer").reindex(_LAYERS)
            x = np.arange(len(_LAYERS)) + (i - len(names) / 2) * 0.09
            ends = [part["median"] - part["low"], part["high"] - part["median"]]
            axes.errorbar(
                x, part["median"], yerr=ends, fmt="o", markersize=3, linewidth=1,
                color=colours[name], label=name,
            )  # fmt: skip
        axes.set_xticks(range(len(_LAYERS)), _LAYERS)
        axes.set_title(title)
    row[0].set_ylabel("fall of I(X;T) [nats]")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return figure


def _by_estimator(falls: pd.DataFrame) -> Figure:
    """Draw the falls of the last hidden layer by each estimator, at the same epochs."""
    own = falls[falls["epochs"].eq("common") & falls["layer"].eq("L5")]
    own = own[~own["cell"].str.endswith("+l2")]
    names, estimators = _plain(own["cell"]), list(dict.fromkeys(own["estimator"]))
    figure, ((axes,),) = _common.panels(1, 1, 8.4, 3.0)
    colours = _common.palette(estimators)
    for i, estimator in enumerate(estimators):
        part = own[own["estimator"] == estimator].set_index("cell").reindex(names)
        x = np.arange(len(names)) + (i - (len(estimators) - 1) / 2) * 0.18
        ends = [part["median"] - part["low"], part["high"] - part["median"]]
        axes.errorbar(
            x, part["median"], yerr=ends, fmt="o", capsize=2, color=colours[estimator],
            label=estimator,
        )  # fmt: skip
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("fall of I(X;T) in L5 [nats]")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _scatter(runs: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Draw each network's compression of the output layer beside its generalisation."""
    cell = frame.without_seed(runs["run"])
    own = runs.assign(cell=cell)[~cell.str.endswith("+l2") & runs["layer"].eq("output")]
    figure, (row,) = _common.panels(1, 2, 4.4, 3.0)
    colours = _common.palette(_plain(own["cell"]))
    known = correlations[correlations["estimator"].str.startswith("ebab")]
    known = known[known["layer"] == "output"].set_index("measure")
    for axes, (measure, title) in zip(row, MEASURES.items(), strict=True):
        for name, part in own.groupby("cell", sort=False):
            axes.plot(
                part["absolute"], part[measure], ".", color=colours[name], label=name, markersize=4
            )
        axes.set(xlabel="fall of I(X;T) in the output layer [nats]", ylabel=title)
        if measure in known.index:
            r = known.loc[measure]
            axes.set_title(
                f"within an activation: r = {r['r']:.2f} ({r['low']:.2f} to {r['high']:.2f})"
            )
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return figure
