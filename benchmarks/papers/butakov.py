"""Butakov et al. 2024: tables and figures of docs/papers/lossy_compression.md.

python -m benchmarks.papers.butakov decode cifar10_jpeg.npz cifar10.npz
"""

from __future__ import annotations

import itertools
import pathlib
import sys
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import flags, frame
from ib_keras.frame.table import LATENTS, TRUTH, groups_of_truth
from ib_keras.studies.butakov_2024 import fastest_fall
from ib_keras.studies.material import mean_interval

# The names of the run folders: synthetic images, and trainings, perhaps with several seeds.
SYNTHETIC, TRAININGS = "butakov_synthetic", ("mnist", "cifar10")
_QUANTITIES = ("I(X;T)", "I(T;Y)")
# The largest information of the synthetic pairs, and the range of estimates that is drawn, in nats.
_MOST, _SHOWN = 10.0, (-4.0, 13.5)


def tables(run_folders: dict[str, pathlib.Path], data: pathlib.Path) -> None:
    """Write the tables of the page from the folders of runs.

    Args:
        run_folders: ``butakov_synthetic`` → the folder of the preset ``synthetic``;
            ``butakov_mnist`` and ``butakov_cifar10`` likewise, or ``butakov_mnist-0``,
            ``butakov_mnist-1`` for several seeds of one preset. Missing runs are left out.
        data: the folder to write, with ``butakov_synthetic.csv``, ``butakov_<preset>.csv``,
            ``butakov_<preset>_logs.csv`` and ``butakov_<preset>_phases.csv``. Estimates of
            synthetic images of other seeds in the folder are kept.
    """
    if SYNTHETIC in run_folders:
        own = known(ib.load(run_folders[SYNTHETIC]))
        rows = _common.with_earlier(own, data / "butakov_synthetic_runs.csv")
        _common.write(against_truth(rows), data / "butakov_synthetic.csv")
    for preset in TRAININGS:
        runs = [
            (int(name.rpartition("-")[2]) if "-" in name else 0, ib.load(folder))
            for name, folder in sorted(run_folders.items())
            if name == f"butakov_{preset}" or name.startswith(f"butakov_{preset}-")
        ]
        if runs:
            curves, logs, phases = training(runs)
            _common.write(curves, data / f"butakov_{preset}.csv")
            _common.write(logs, data / f"butakov_{preset}_logs.csv")
            _common.write(phases, data / f"butakov_{preset}_phases.csv")


def known(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the estimates of images with known information, without the columns of other tables.

    Args:
        joined: the table of the preset ``synthetic``, joined with its logs.

    Returns:
        The columns ``run``, ``images``, ``of`` (``images`` or ``parameters``), ``estimator``,
        ``truth``, ``value``, ``stderr``, ``flags`` and ``seconds``.
    """
    table = frame.convert(joined, "nats")
    table = table.assign(
        images=groups_of_truth(table),
        of=np.where(table["layer"] == LATENTS, "parameters", "images"),
        truth=table[TRUTH],
    )
    names = ["run", "images", "of", "estimator", "truth", "value", "stderr", "flags", "seconds"]
    return table[names]


def against_truth(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each estimate, with a 95 % interval by Student's t.

    Args:
        rows: the estimates, with the columns of ``known``.

    Returns:
        The columns ``images``, ``of``, ``estimator``, ``truth``, ``value``, ``low``, ``high``,
        ``seeds``, ``stderr`` (the mean that the estimator states), ``flags`` and ``seconds`` (the
        mean). Estimates that are not finite are left out.
    """
    keys = ["images", "of", "estimator", "truth"]
    summary = []
    for key, part in rows[np.isfinite(rows["value"])].groupby(keys):
        found = flags.split(",".join(part["flags"].fillna("")))
        summary.append((
            *key, *mean_interval(part["value"]), len(part), part["stderr"].mean(),
            ",".join(dict.fromkeys(found)), part["seconds"].mean(),
        ))  # fmt: skip
    names = [*keys, "value", "low", "high", "seeds", "stderr", "flags", "seconds"]
    return pd.DataFrame(summary, columns=names)


def training(
    runs: list[tuple[int, pd.DataFrame]],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the curves, the logs and the phases of trainings.

    Args:
        runs: the seed and the joined table of each training.

    Returns:
        The curves with the columns ``estimator``, ``quantity``, ``layer``, ``epoch``, ``value``,
        ``smooth``, ``half`` and ``seeds``: means over seeds, raw and smoothed, and half of the
        95 % interval over seeds, or, for a single seed, two standard errors of the smoothed value;
        the logs by epoch, means over seeds; and the phases of the smoothed curves of each seed.
    """
    curves, logs, phases = [], [], []
    for seed, joined in runs:
        table = frame.convert(joined[frame.columns(joined)], "nats")
        table = table[table["quantity"].isin(_QUANTITIES)]
        table["estimator"] = table["estimator"].str.partition("(")[0]
        smooth = frame.smoothed(table)
        own = table[["estimator", "quantity", "layer", "layer_index", "epoch", "value"]]
        curves.append(own.assign(smooth=smooth["value"], error=smooth["stderr"], seed=seed))
        names = [n for n in ("loss", "accuracy", "val_loss", "val_accuracy") if n in joined]
        log = joined[["epoch", *names]].dropna().drop_duplicates("epoch")
        logs.append(log.sort_values("epoch").assign(seed=seed))
        fall = fastest_fall(log.sort_values("epoch").set_index("epoch")["loss"])
        for quantity in _QUANTITIES:
            found = frame.phases(smooth, quantity=quantity)
            first = found[found["phase"] == "compression"].groupby(["estimator", "layer"]).head(1)
            meets = first[(first["start"] < fall[1]) & (first["stop"] > fall[0])].index
            phases.append(
                found.drop(columns=["run", "unit"]).assign(
                    quantity=quantity, seed=seed, loss_from=fall[0], loss_to=fall[1],
                    first_meets_loss=found.index.isin(meets),
                )
            )  # fmt: skip
    keys = ["estimator", "quantity", "layer_index", "layer", "epoch"]
    groups = pd.concat(curves).groupby(keys)
    means = groups[["value", "smooth"]].mean()
    seeds = groups["seed"].nunique()
    over = groups["smooth"].std() * stats.t.ppf(0.975, np.maximum(seeds - 1, 1)) / np.sqrt(seeds)
    half = over.where(seeds > 1, 2 * groups["error"].mean())
    means = means.assign(half=half, seeds=seeds)
    by_epoch = pd.concat(logs).groupby("epoch")
    mean_logs = by_epoch.mean().drop(columns="seed").assign(seeds=by_epoch["seed"].nunique())
    return (
        means.reset_index().drop(columns="layer_index"),
        mean_logs.reset_index(),
        pd.concat(phases, ignore_index=True),
    )


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures of the page from its tables.

    Args:
        data: the folder that ``tables`` wrote.
        folder: the folder to write, with ``butakov_synthetic.svg`` and ``butakov_<preset>.svg``.
    """
    with _common.style("butakov"):
        if (data / "butakov_synthetic.csv").exists():
            figure = _truth(pd.read_csv(data / "butakov_synthetic.csv"))
            _common.save(figure, folder / "butakov_synthetic.svg")
        for preset in TRAININGS:
            if (data / f"butakov_{preset}.csv").exists():
                parts = [pd.read_csv(data / f"butakov_{preset}{e}.csv") for e in ("", "_logs")]
                phases = pd.read_csv(data / f"butakov_{preset}_phases.csv")
                _common.save(_course(*parts, phases), folder / f"butakov_{preset}.svg")


def _truth(table: pd.DataFrame) -> Any:
    """Draw estimates against the truth: a row for each kind, a column for each compressor.

    Hollow markers have a flag that the value says nothing about the network.
    """
    from matplotlib.figure import Figure

    images = sorted(table["images"].unique())
    short = table["estimator"].str.replace(r"\(.*", "", regex=True)
    names = sorted(short[table["of"] == "images"].unique())
    sides = [s for s in ("pca", "ae", "first") if any(n.startswith(f"{s}+") for n in names)]
    methods = sorted({n.partition("+")[2] for n in names if "+" in n})
    figure = Figure(figsize=(2.4 * len(sides) + 0.4, 1.9 * len(images) + 0.6), layout="constrained")
    grid = figure.subplots(len(images), len(sides), sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for (i, kind), (j, side) in ((r, c) for r in enumerate(images) for c in enumerate(sides)):
        axes, part = grid[i][j], table[table["images"] == kind]
        axes.plot([0, _MOST], [0, _MOST], color="0.6", linewidth=0.8)
        for name, line in part.sort_values("truth").groupby("estimator"):
            own, _, method = str(name).partition("(")[0].partition("+")
            if (line["of"] == "parameters").all():
                method, style, colour = "ksg, parameters", ":", "black"
            elif not method:
                method, style, colour = own, "--", "0.4"
            elif own == side:
                style, colour = "-", f"C{methods.index(method)}"
            else:
                continue
            half = (line["high"] - line["value"]).fillna(line["stderr"])
            handles[method] = axes.errorbar(
                line["truth"], line["value"], half, color=colour, linestyle=style, linewidth=1,
                capsize=1.5,
            )  # fmt: skip
            useless = line["flags"].fillna("").map(flags.doubt) == flags.NOTHING
            for chosen, face in ((~useless, colour), (useless, "white")):
                axes.plot(
                    line["truth"][chosen], line["value"][chosen], "o", color=colour, markersize=3,
                    markerfacecolor=face, markeredgewidth=0.7,
                )  # fmt: skip
        axes.set_ylim(*_SHOWN)
        if i == 0:
            axes.set_title(side, fontsize=8)
        if j == 0:
            axes.set_ylabel(f"{kind} [nats]")
        if i == len(images) - 1:
            axes.set_xlabel("true information [nats]")
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4,
        frameon=False, fontsize=7,
    )  # fmt: skip
    return figure


def _course(curves: pd.DataFrame, logs: pd.DataFrame, phases: pd.DataFrame) -> Any:
    """Draw I(X;L), I(L;Y), the loss and the accuracy by epoch, a column for each estimator."""
    from matplotlib.figure import Figure

    estimators, layers = (list(curves[c].unique()) for c in ("estimator", "layer"))
    figure = Figure(figsize=(4.2 * len(estimators), 7.5), layout="constrained")
    grid = figure.subplots(4, len(estimators), sharex=True, squeeze=False)
    for j, estimator in enumerate(estimators):
        for i, quantity in enumerate(_QUANTITIES):
            axes = grid[i][j]
            chosen = (curves["estimator"] == estimator) & (curves["quantity"] == quantity)
            for layer, line in curves[chosen].groupby("layer", sort=False):
                colour = f"C{layers.index(layer)}"
                axes.plot(line["epoch"], line["value"], color=colour, alpha=0.25, linewidth=0.6)
                axes.plot(line["epoch"], line["smooth"], color=colour, linewidth=1.1, label=layer)
                low, high = line["smooth"] - line["half"], line["smooth"] + line["half"]
                axes.fill_between(line["epoch"], low, high, color=colour, alpha=0.15, linewidth=0)
                falls = phases[
                    (phases["estimator"] == estimator) & (phases["quantity"] == quantity)
                    & (phases["layer"] == layer) & (phases["phase"] == "compression")
                    & (phases["seed"] == phases["seed"].min())
                ]  # fmt: skip
                for fall in falls.itertuples():
                    part = line[line["epoch"].between(fall.start, fall.stop)]
                    axes.plot(
                        part["epoch"], part["smooth"], color=colour, alpha=0.3, linewidth=6,
                        solid_capstyle="butt",
                    )  # fmt: skip
            axes.set_ylabel(f"{quantity.replace('T', 'L')} [nats]")
        grid[0][j].set_title(estimator, fontsize=8)
        grid[0][j].legend(fontsize=6, frameon=False, ncols=len(layers))
        for i, name in ((2, "loss"), (3, "accuracy")):
            for column, style in ((name, "-"), (f"val_{name}", "--")):
                if column in logs:
                    grid[i][j].plot(logs["epoch"], logs[column], style, color="black", linewidth=1)
            grid[i][j].set_ylabel(f"{name} (dashed: test)")
            fall = phases.groupby("seed")[["loss_from", "loss_to"]].first()
            for span in fall.itertuples():
                grid[i][j].axvspan(span.loss_from, span.loss_to, color="C3", alpha=0.2, linewidth=0)
        grid[3][j].set_xlabel("epoch (wide: compression; red: fastest fall of the loss)")
    return figure


def decode(source: str, target: str) -> None:
    """Decode CIFAR-10 from JPEG files in an ``.npz`` file to arrays that ``datasets.load`` reads.

    Args:
        source: file with ``jpeg_train``, ``offset_train`` and ``y_train``, and the same for
            ``test``; image i is ``jpeg[offset[i]:offset[i + 1]]``.
        target: file to write, with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.
    """
    import tensorflow as tf

    saved, arrays = np.load(source), {}
    for part in ("train", "test"):
        raw, offsets = saved[f"jpeg_{part}"].tobytes(), saved[f"offset_{part}"]
        arrays[f"x_{part}"] = np.stack([
            tf.io.decode_jpeg(raw[start:stop], channels=3).numpy()
            for start, stop in itertools.pairwise(offsets)
        ])  # fmt: skip
        arrays[f"y_{part}"] = saved[f"y_{part}"]
    np.savez(target, **arrays)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "decode":
        raise SystemExit(__doc__)
    decode(*sys.argv[2:])
