"""The 12-bit networks of Goldfeld et al.: information, values and clustering over training.

The runs are ``ib-keras --pipeline=noisy_dnn --preset=paper-szt`` and ``--preset=paper-szt-more``.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import frame, plot
from ib_keras.studies.material import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN, MORE = "goldfeld_szt", "goldfeld_szt_more"
# The files of the authors' run: one network with the same settings.
PUBLISHED, PUBLISHED_LOGS = "goldfeld_published.csv", "goldfeld_published_logs.csv"
_LAYERS = [f"L{i}" for i in range(1, 6)]
# Epochs of the authors' figure.
_SHOWN = (11, 35, 356, 7389)
# Falls after this epoch are not those from the first peak, which is near epoch 25.
_LATE = 100
# Number of epochs in tables of distributions.
_EPOCHS = 24


def tables(run_folders: Mapping[str, pathlib.Path], data: pathlib.Path) -> None:
    """Reduce the runs to small tables.

    Args:
        run_folders: folders of the runs by name; missing ones are left out.
        data: the folder of the tables.
    """
    found = [run_folders[name] for name in (RUN, MORE) if name in run_folders]
    if not found:
        return
    joined = [ib.load(folder) for folder in found]
    if RUN in run_folders:
        own = _information(joined[0])
        own = own[own["inputs"].eq("resampled") & own["run"].str.fullmatch(r"tanh-\d+")]
        _common.write(own[["run", "epoch", "layer", "value", "stderr"]], data / f"{RUN}.csv")
        _common.write(_values(found[0]), data / "goldfeld_values.csv")
        _common.write(_points(found[0]), data / "goldfeld_points.csv")
    everything = pd.concat(joined, ignore_index=True)
    curves = _information(everything)
    keys = ["cell", "inputs", "layer", "epoch"]
    _common.write(_common.over_seeds(curves, keys), data / "goldfeld_cells.csv")
    _common.write(_falls(curves[curves["inputs"] == "resampled"]), data / "goldfeld_falls.csv")
    _common.write(_logs(everything), data / "goldfeld_logs.csv")
    measures = pd.concat([pd.read_parquet(folder / "clusters.parquet") for folder in found])
    _common.write(_clusters(measures), data / "goldfeld_clusters.csv")


def _cell(runs: pd.Series) -> pd.Series:
    return frame.without_seed(runs)


def _short(layers: pd.Series) -> pd.Series:
    return layers.str.replace("dense_", "L")


def _information(joined: pd.DataFrame) -> pd.DataFrame:
    """Return I(X;T) of the hidden layers by sample propagation, in nats."""
    own = frame.convert(joined, "nats")
    own = own[
        own["estimator"].str.startswith("sp")
        & own["quantity"].eq("I(X;T)")
        & own["layer"].str.startswith("dense_")
        & own["value"].notna()
    ]
    inputs = np.where(own["estimator"].str.contains("resample=True"), "resampled", "all")
    return own.assign(
        inputs=inputs, cell=_cell(own["run"]), layer=_short(own["layer"])
    ).sort_values(["inputs", "run", "epoch", "layer"])


def _falls(curves: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, with 95 % intervals, of how far I(X;T) rises and falls."""
    rows = []
    for (cell, layer, _), own in curves.groupby(["cell", "layer", "run"]):
        values = own.sort_values("epoch").set_index("epoch")["value"]
        late, last = values[values.index >= _LATE], values.iloc[-1]
        rows.append({
            "cell": cell, "layer": layer, "first": values.iloc[0], "largest": values.max(),
            "last": last, "fall": values.max() - last, "late fall": late.max() - last,
        })  # fmt: skip
    long = pd.DataFrame(rows).melt(["cell", "layer"], var_name="measure")
    groups = long.groupby(["cell", "layer", "measure"], sort=False)["value"]
    found = groups.apply(lambda own: pd.Series(mean_interval(own), ["mean", "low", "high"]))
    return found.unstack().assign(n=groups.size()).reset_index()


def _logs(joined: pd.DataFrame) -> pd.DataFrame:
    """Return loss and accuracy over seeds, with noise, and without as the authors measured them."""
    names = [name for name in joined if name.endswith(("loss", "accuracy"))]
    logs = joined[["run", "epoch", *names]].drop_duplicates(["run", "epoch"])
    for name in names:  # networks without noise have no such columns
        if "noiseless_" in name:
            logs[name] = logs[name].fillna(logs[name.replace("noiseless_", "")])
    long = logs.assign(cell=_cell(logs["run"])).melt(["cell", "run", "epoch"], names, "measure")
    return _common.over_seeds(long.sort_values("epoch"), ["cell", "measure", "epoch"])


def _few(table: pd.DataFrame, count: int = _EPOCHS) -> pd.DataFrame:
    """Select some epochs of each kind of run, evenly among those that were recorded."""
    parts = []
    for _, part in table.groupby(_cell(table["run"]), sort=False):
        epochs = np.sort(part["epoch"].unique())
        places = np.linspace(0, len(epochs) - 1, min(count, len(epochs))).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[places])])
    return pd.concat(parts)


def _clusters(measures: pd.DataFrame) -> pd.DataFrame:
    kept = ["H(Bin(T))", "mean distance within", "mean distance between"]
    own = _few(measures[measures["measure"].isin(kept) & measures["layer"].ne("output")])
    own = own.assign(cell=_cell(own["run"]), layer=_short(own["layer"]))
    return _common.over_seeds(own, ["cell", "measure", "layer", "epoch"])


def _values(folder: pathlib.Path) -> pd.DataFrame:
    values = pd.read_parquet(folder / "values.parquet")
    own = _few(values[values["run"].eq("tanh-0") & values["layer"].ne("output")], 12)
    return own.assign(layer=_short(own["layer"]))


def _points(folder: pathlib.Path) -> pd.DataFrame:
    points = pd.read_parquet(folder / "points.parquet")
    own = points[points["run"].eq("tanh-0") & points["layer"].eq("dense_5")]
    recorded = np.sort(own["epoch"].unique())
    nearest = {recorded[np.abs(np.log1p(recorded) - np.log1p(e)).argmin()] for e in _SHOWN}
    own = own[own["epoch"].isin(nearest)]
    rows = np.sort(own["row"].unique())[::2]
    return own[own["row"].isin(rows)].assign(layer="L5")


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures from the tables only.

    Args:
        data: the folder of the tables.
        folder: the folder of the figures.
    """
    if not (data / "goldfeld_cells.csv").exists():
        return
    read = {path.stem: pd.read_csv(path) for path in data.glob("goldfeld_*.csv")}
    theirs = pd.read_csv(data / PUBLISHED_LOGS)
    cells, logs, clusters = (read[f"goldfeld_{name}"] for name in ("cells", "logs", "clusters"))
    with _common.style("goldfeld"):
        drawn: dict[str, Any] = {"cells": _cells(cells), "losses": _losses(logs, theirs)}
        drawn["clusters"] = _measures(clusters)
        if RUN in read:
            published = pd.read_csv(data / PUBLISHED)
            drawn["szt"] = _beside_published(read[RUN], cells, published)
            drawn["values"] = plot.activation_values(read["goldfeld_values"])
            drawn["points"] = plot.points_by_class(read["goldfeld_points"])
        for name, figure in drawn.items():
            _common.save(figure, folder / f"goldfeld_{name}.svg")


def _beside_published(own: pd.DataFrame, cells: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw the seeds of each layer, their mean, and the authors' curve."""
    figure, row = _common.wrapped(5, 3, 3.0, 2.2, sharex=True, sharey=True)
    whole = cells[cells["cell"].eq("tanh") & cells["inputs"].eq("all")]
    for axes, layer in zip(row, _LAYERS, strict=True):
        part = own[own["layer"] == layer]
        for _, run in part.groupby("run"):
            axes.plot(run["epoch"].clip(lower=0.7), run["value"], color="0.75", linewidth=0.6)
        mean = part.groupby("epoch")["value"].mean()
        axes.plot(mean.index.to_numpy().clip(0.7), mean, color="#1f77b4", label="mean of our seeds")
        theirs = published[published["layer"] == layer]
        axes.plot(theirs["epoch"], theirs["value"], color="#d95f02", label="published run")
        complete = whole[whole["layer"] == layer]
        axes.plot(
            complete["epoch"].clip(lower=0.7), complete["mean"], "k.", markersize=3,
            label="ours, all 4 096 inputs",
        )  # fmt: skip
        axes.set(title=layer, xscale="log")
    _common.label_outer(row, "epoch", "I(X;T) [nats]")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _cells(cells: pd.DataFrame) -> Figure:
    """Draw the mean of I(X;T) over seeds in each kind of network."""
    own = cells[cells["inputs"] == "resampled"]
    names = list(dict.fromkeys(own["cell"]))
    figure, row = _common.wrapped(len(names), 3, 3.0, 2.2, sharex=True, sharey=True)
    colours = _common.palette(_LAYERS)
    for axes, name in zip(row, names, strict=True):
        for layer in _LAYERS:
            part = own[(own["cell"] == name) & (own["layer"] == layer)].sort_values("epoch")
            epochs = part["epoch"].clip(lower=0.7)
            axes.plot(epochs, part["mean"], color=colours[layer], label=layer)
            axes.fill_between(
                epochs, part["low"], part["high"], color=colours[layer], alpha=0.2, linewidth=0
            )
        axes.set(title=name, xscale="log")
    _common.label_outer(row, "epoch", "I(X;T) [nats]")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _losses(logs: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Draw loss and accuracy of training and held-out rows without noise, and the authors'."""
    figure, row = _common.wrapped(4, 2, 4.2, 2.2, sharex=True)
    colours = _common.palette(list(dict.fromkeys(logs["cell"])))
    titles = {
        "loss": "loss [nats]", "val_loss": "held-out loss [nats]",
        "accuracy": "accuracy", "val_accuracy": "held-out accuracy",
    }  # fmt: skip
    for axes, (name, title) in zip(row, titles.items(), strict=True):
        own = logs[logs["measure"] == _noiseless(name)]
        for cell, part in own.groupby("cell", sort=False):
            part = part.sort_values("epoch")
            axes.plot(part["epoch"].clip(lower=0.7), part["mean"], color=colours[cell], label=cell)
        theirs = published[published["measure"] == name]
        axes.plot(theirs["epoch"], theirs["value"], "--", color="#d95f02", label="published run")
        axes.set(title=title, xscale="log")
    _common.label_outer(row, "epoch", "")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _noiseless(name: str) -> str:
    """Return the name in the logs of a measure that is taken without the network's noise."""
    return f"val_noiseless_{name[4:]}" if name.startswith("val_") else f"noiseless_{name}"


def _measures(clusters: pd.DataFrame) -> Figure:
    """Draw the binned entropy and the distances of the networks with tanh."""
    own = clusters[clusters["cell"] == "tanh"]
    names = list(dict.fromkeys(own["measure"]))
    figure, (row,) = _common.panels(1, len(names), 3.2, 2.4, sharex=True)
    colours = _common.palette(_LAYERS)
    for axes, name in zip(row, names, strict=True):
        for layer in _LAYERS:
            part = own[(own["measure"] == name) & (own["layer"] == layer)].sort_values("epoch")
            epochs = part["epoch"].clip(lower=0.7)
            axes.plot(epochs, part["mean"], color=colours[layer], label=layer)
        axes.set(title=name, xscale="log", xlabel="epoch")
    row[0].set_ylabel("nats, or the unit of the activations")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
