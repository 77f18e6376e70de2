"""The networks for MNIST of Goldfeld et al.: held-out errors and cosine similarities by noise.

The run is ``ib-keras --pipeline=noisy_dnn --preset=mnist --data=mnist.npz``.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import frame
from ib_keras.studies import goldfeld_mnist as study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN = "goldfeld_mnist"
ERRORS, COSINES = "goldfeld_mnist_errors.csv", "goldfeld_mnist_cosines.csv"
HISTOGRAMS = "goldfeld_mnist_histograms.csv"
# The noises whose histograms are kept.
SHOWN = (0.0, 0.1, 1.0)
_COLOURS = {"within": "#1f77b4", "between": "#d95f02"}
_NAMES = {"within": "same class", "between": "different classes"}


def tables(run_folders: Mapping[str, pathlib.Path], data: pathlib.Path) -> None:
    """Reduce the run ``"goldfeld_mnist"`` to tables of errors, cosine similarities and histograms.

    Args:
        run_folders: folders of runs by name; other runs are ignored.
        data: the folder of the tables.
    """
    if RUN not in run_folders:
        return
    folder = run_folders[RUN]
    measures = pd.read_parquet(folder / "clusters.parquet")
    errors = study.held_out_errors(ib.load(folder))
    _common.write(errors, data / ERRORS)
    _common.write(study.cosines(measures), data / COSINES)
    histograms = pd.read_parquet(folder / "histograms.parquet")
    _common.write(_histograms(histograms, errors), data / HISTOGRAMS)


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures from the tables only.

    Args:
        data: the folder of the tables.
        folder: the folder of the figures.
    """
    if not (data / ERRORS).exists():
        return
    errors, cosines, histograms = (
        pd.read_csv(data / name) for name in (ERRORS, COSINES, HISTOGRAMS)
    )
    with _common.style("goldfeld_mnist"):
        drawn = {"errors": _errors(errors), "cosines": _cosines(cosines)}
        for noise, part in histograms.groupby("noise_std"):
            drawn[f"histograms_{noise:g}"] = _shapes(part)
        for name, figure in drawn.items():
            _common.save(figure, folder / f"goldfeld_mnist_{name}.svg")


def _histograms(histograms: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Return the mean densities over seeds of the cosine similarities, in bins twice as wide."""
    noise = errors.drop_duplicates("run").set_index("run")["noise_std"]
    part = histograms[histograms["similarity"] == "cosine"]
    kinds = part["run"].map(frame.seed_groups(part["run"]))
    part = part.assign(noise_std=kinds.map(noise).astype(float))
    part = part[part["noise_std"].isin(SHOWN)]
    # The bins are those of `clustering.histograms` from −1 to 1; pairs of bins are joined.
    width = part["right"] - part["left"]
    pair = ((part["left"] + 1) / (2 * width) + 1e-6).astype(int)
    part = part.assign(left=(2 * width * pair - 1).round(6))
    keys = ["noise_std", "layer_index", "layer", "epoch", "pairs", "left"]
    groups = part.groupby(keys)["density"]
    table = pd.DataFrame({"density": groups.mean(), "seeds": groups.count() // 2}).reset_index()
    return table.drop(columns="layer_index").assign(right=table["left"] + 2 * width.iloc[0])


def _layers(table: pd.DataFrame) -> list[Any]:
    return list(dict.fromkeys(table["layer"]))


def _errors(errors: pd.DataFrame) -> Figure:
    """Draw the error at the end against the noise, and against the epoch."""
    from matplotlib.ticker import StrMethodFormatter

    figure, ((left, right),) = _common.panels(1, 2, 3.7, 3.0)
    last = errors[errors["epoch"] == errors["epoch"].max()].sort_values("noise_std")
    places = range(len(last))
    whisker = 100 * (last["high"] - last["error"])
    left.errorbar(places, 100 * last["error"], yerr=whisker, fmt="o", capsize=3, color="0.2")
    left.set_xticks(places, [f"{noise:g}" for noise in last["noise_std"]])
    left.set(xlabel="noise β", ylabel="held-out error [%]", yscale="log")
    colours = _common.palette(list(last["noise_std"]))
    for noise, part in errors.sort_values("epoch").groupby("noise_std"):
        label = f"β = {noise:g}"
        right.plot(part["epoch"], 100 * part["error"], ".-", color=colours[noise], label=label)
    right.set(xlabel="epoch", yscale="log")
    for axes in (left, right):
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(loc="outside lower center", ncols=6)
    return figure


def _cosines(cosines: pd.DataFrame) -> Figure:
    """Draw the mean cosine similarity against the epoch, a row for each kind of pairs."""
    layers = _layers(cosines.sort_values("layer_index"))
    figure, grid = _common.panels(2, len(layers), 2.2, 1.9, sharex=True, sharey=True)
    colours = _common.palette(sorted(cosines["noise_std"].unique()))
    for (pairs, layer, noise), part in cosines.groupby(["pairs", "layer", "noise_std"]):
        axes = grid[list(_NAMES).index(pairs), layers.index(layer)]
        line = part.sort_values("epoch")
        axes.plot(line["epoch"], line["mean"], ".-", color=colours[noise], label=f"β = {noise:g}")
        axes.fill_between(
            line["epoch"], line["low"], line["high"], color=colours[noise], alpha=0.2, linewidth=0
        )
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(layer, fontsize=9)
    for axes, name in zip(grid[:, 0], _NAMES.values(), strict=True):
        axes.set_ylabel(f"cosine, {name}")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _shapes(part: pd.DataFrame) -> Figure:
    """Draw the histograms of the cosine similarities, a row for each epoch."""
    layers, epochs = _layers(part), sorted(part["epoch"].unique())
    figure, grid = _common.panels(len(epochs), len(layers), 2.2, 1.4, sharex=True)
    shown: dict[str, Any] = {}
    for (epoch, layer, pairs), bars in part.groupby(["epoch", "layer", "pairs"]):
        axes = grid[epochs.index(epoch), layers.index(layer)]
        bars = bars.sort_values("left")
        edges = [*bars["left"], bars["right"].iloc[-1]]
        shown[pairs] = axes.stairs(
            bars["density"], edges, fill=True, alpha=0.5, color=_COLOURS[pairs], label=_NAMES[pairs]
        )
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(layer, fontsize=9)
    for axes, epoch in zip(grid[:, 0], epochs, strict=True):
        axes.set_ylabel(f"epoch {epoch}")
    for axes in grid.flat:
        axes.set_yticks([])
    for axes in grid[-1]:
        axes.set_xlabel("cosine similarity")
    figure.legend(handles=list(shown.values()), loc="outside lower center", ncols=2)
    return figure
