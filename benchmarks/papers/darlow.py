"""Darlow & Storkey 2020: tables and figures of docs/papers/resnet_decoder.md."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import frame
from ib_keras.components.artifacts import samples as artifact
from ib_keras.frame.table import CHANGES
from ib_keras.studies.darlow_2020 import change, turn
from ib_keras.studies.material import mean_interval

RUN, SEPARATE = "darlow_photographs", "darlow_separate"
_CHANGES, _SAMPLES = f"{RUN}_changes", f"{RUN}_samples"
# The quantities that are drawn, and the labels of their axes.
_DRAWN = {
    "I(X;T)": "I(x;h) [nats]",
    "I(T;Y)": "I(y;h), lower bound [nats]",
    "P(class kept)": "share of samples\nthat keep the class",
}


def tables(run_folders: dict[str, pathlib.Path], data: pathlib.Path) -> None:
    """Write the tables of the page from the folders of runs.

    Args:
        run_folders: ``darlow_photographs`` → the folder of the preset ``photographs``;
            ``darlow_separate`` → that of a run with ``share=false`` for some of its cells. Missing
            runs are left out.
        data: the folder to write. Estimates of other seeds in the folder are kept.
    """
    if RUN in run_folders:
        own = decoded(ib.load(run_folders[RUN]))
        table = _common.with_earlier(own, data / f"{RUN}_runs.csv")
        _common.write(summary(table), data / f"{RUN}.csv")
        _common.write(changes(table), data / f"{_CHANGES}.csv")
        firsts = table["run"].groupby(frame.without_seed(table["run"])).min()
        if firsts.isin(own["run"]).all():
            np.savez_compressed(data / f"{_SAMPLES}.npz", **grids(run_folders[RUN]))
        if SEPARATE in run_folders:
            both = compared(table, decoded(ib.load(run_folders[SEPARATE])))
            _common.write(both, data / f"{SEPARATE}.csv")


def decoded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates in nats, without the columns of other tables.

    Args:
        table: the table of a run of ``resnet_decoder``.

    Returns:
        The columns ``run``, ``layer``, ``layer_index``, ``epoch``, ``quantity``, ``value``,
        ``stderr``, ``flags``, and ``details``, which has only the changes of I(X;T).
    """
    table = frame.convert(table, "nats")

    def of_changes(text: Any) -> str:
        known = json.loads(text) if isinstance(text, str) and text else {}
        return json.dumps({CHANGES: known[CHANGES]}) if CHANGES in known else ""

    names = ["run", "layer", "layer_index", "epoch", "quantity", "value", "stderr", "flags"]
    details = table["details"].map(of_changes) if "details" in table else ""
    return table[names].assign(details=details)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return each quantity over the seeds of a network, with a 95 % interval by Student's t.

    Args:
        table: the estimates, with the columns of ``decoded``.

    Returns:
        The columns ``network``, ``layer``, ``epoch``, ``quantity``, ``n`` (seeds), ``mean``,
        ``low``, ``high`` and ``stderr`` (the mean standard error of a seed, over images).
    """
    table = table.assign(network=frame.without_seed(table["run"]))
    rows = []
    keys = ["network", "layer_index", "layer", "epoch", "quantity"]
    for key, part in table.groupby(keys):
        known = part[np.isfinite(part["value"])]
        if len(known):
            ends = mean_interval(known["value"])
            rows.append((*key, len(known), *ends, known["stderr"].mean()))
    names = [*keys, "n", "mean", "low", "high", "stderr"]
    return pd.DataFrame(rows, columns=names).drop(columns="layer_index")


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """Return how far I(X;T) rises until its largest mean over seeds, and falls after it.

    Args:
        table: the estimates, with the columns of ``decoded``.

    Returns:
        The columns ``network``, ``layer``, ``start`` and ``stop`` (epochs), ``n`` (seeds), ``mean``
        (the change), ``low`` and ``high`` (its 95 % interval).
    """
    table = table[(table["quantity"] == "I(X;T)") & np.isfinite(table["value"])]
    table = table.assign(
        network=frame.without_seed(table["run"]), details=table["details"].fillna("")
    )
    rows = []
    for (network, layer), curve in table.groupby(["network", "layer"]):
        first, top, last = turn(curve)
        for start, stop in ((first, top), (top, last)):
            if start < stop:
                ends = change(curve, start, stop)
                rows.append((network, layer, start, stop, curve["run"].nunique(), *ends))
    names = ["network", "layer", "start", "stop", "n", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def compared(shared: pd.DataFrame, separate: pd.DataFrame) -> pd.DataFrame:
    """Compare decoders that are shared by checkpoints with one decoder for each checkpoint.

    Args:
        shared: the estimates of a run with ``share=true``, with the columns of ``decoded``.
        separate: the estimates of a run of some of these cells with ``share=false``.

    Returns:
        The columns ``run``, ``layer``, ``epoch``, ``shared``, ``separate`` (I(X;T)), ``difference``
        and ``stderr`` (of the difference; it is too large, because it is computed from both
        standard errors as if their images were independent).
    """
    both = []
    for table in (shared, separate):
        own = table[table["quantity"] == "I(X;T)"]
        both.append(own.set_index(["run", "layer", "epoch"])[["value", "stderr"]])
    joined = both[1].join(both[0], lsuffix="_separate", rsuffix="_shared", how="inner")
    return pd.DataFrame({
        "shared": joined["value_shared"],
        "separate": joined["value_separate"],
        "difference": joined["value_shared"] - joined["value_separate"],
        "stderr": np.hypot(joined["stderr_shared"], joined["stderr_separate"]),
    }).reset_index()  # fmt: skip


def grids(folder: pathlib.Path) -> dict[str, Any]:
    """Return originals, and one sample for each layer and epoch, of the first seed of each network.

    Args:
        folder: the folder of a run.

    Returns:
        ``levels``; and for each network its ``…_originals`` ``(classes, height, width, channels)``
        and ``…_<layer>`` ``(classes, epochs, height, width, channels)``, and ``epochs``.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.rglob(artifact.SAMPLES), key=lambda path: path.stat().st_mtime):
        part = artifact.read(path.parent)
        newest[part["run"], part["layer"]] = part
    runs = pd.Series(sorted({run for run, _ in newest}), dtype="str")
    named = pd.Series(frame.without_seed(runs).to_numpy(), index=runs)
    arrays: dict[str, Any] = {}
    for run, network in named.drop_duplicates().items():
        for (of, layer), part in sorted(newest.items()):
            if of == run:
                arrays["levels"], arrays["epochs"] = part["levels"], part["epochs"]
                arrays[f"{network}_originals"] = part["originals"].astype(np.uint8)
                first = part["samples"][:, :, 0].astype(np.uint8)
                arrays[f"{network}_{layer}"] = first.swapaxes(0, 1)
    return arrays


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures of the page from its tables.

    Args:
        data: the folder that ``tables`` wrote.
        folder: the folder to write, with ``darlow_photographs.svg`` and, for each network,
            ``darlow_photographs_<network>.svg``.
    """
    if not (data / f"{RUN}.csv").exists():
        return
    with _common.style("darlow"):
        _common.save(_curves(pd.read_csv(data / f"{RUN}.csv")), folder / f"{RUN}.svg")
        with np.load(data / f"{_SAMPLES}.npz") as saved:
            arrays = dict(saved)
        for name in arrays:
            if name.endswith("_originals"):
                network = name.removesuffix("_originals")
                _common.save(_grid(arrays, network), folder / f"{RUN}_{network}.svg")


def _curves(table: pd.DataFrame) -> Any:
    """Draw each quantity over the epochs: a row for each, a column for each network."""
    networks, layers = (sorted(table[name].unique()) for name in ("network", "layer"))
    networks = sorted(networks, reverse=True)
    rows = [quantity for quantity in _DRAWN if quantity in set(table["quantity"])]
    figure, grid = _common.panels(len(rows), len(networks), 3.4, 2.1, sharex=True, sharey="row")
    colours = _common.palette(layers)
    for i, quantity in enumerate(rows):
        for axes, network in zip(grid[i], networks, strict=True):
            chosen = (table["quantity"] == quantity) & (table["network"] == network)
            for layer, line in table[chosen].groupby("layer"):
                half = (line["high"] - line["mean"]).fillna(1.96 * line["stderr"])
                axes.errorbar(
                    line["epoch"], line["mean"], half, color=colours[layer], marker="o",
                    markersize=3, linewidth=1.2, capsize=2, label=layer,
                )  # fmt: skip
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(-0.1, 1.4 * table["epoch"].max())
            if not i:
                axes.set_title(network)
        grid[i][0].set_ylabel(_DRAWN[quantity])
    ticks = sorted(table["epoch"].unique())
    for axes in grid[-1]:
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("epoch")
    grid[0][-1].legend()
    return figure


def _grid(arrays: dict[str, Any], network: str) -> Any:
    """Draw originals, and a sample for each layer and epoch, all from the same noise."""
    epochs = ", ".join(str(epoch) for epoch in arrays["epochs"])
    layers = sorted(n.rpartition("_")[2] for n in arrays if n.startswith(f"{network}_h"))
    return ib.plot.conditional_samples(
        arrays[f"{network}_originals"],
        {f"{layer}, epochs\n{epochs}": arrays[f"{network}_{layer}"] for layer in layers},
        levels=int(arrays["levels"]),
    )
