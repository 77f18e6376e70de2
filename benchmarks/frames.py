"""Reading the tables of many runs, against pandas on the same files."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
import pandas as pd

import ib_keras
from benchmarks._measure import Row, in_turn, table
from ib_keras import frame

RUNS, LAYERS, EPOCHS = 1_000, 10, 25


def write(folder: pathlib.Path) -> None:
    """Write ``RUNS`` runs, each with 1 000 rows and its losses."""
    rng = np.random.default_rng(0)
    keys = [
        (epoch, layer, estimator, quantity)
        for epoch in range(EPOCHS)
        for layer in range(LAYERS)
        for estimator in ("ebab(bins=30)", "kde(variance=0.001)")
        for quantity in ("I(X;T)", "I(T;Y)")
    ]
    one = pd.DataFrame(keys, columns=["epoch", "layer_index", "estimator", "quantity"])
    for number in range(RUNS):
        made = one.assign(
            run=f"tanh-{number}", layer="dense_" + one["layer_index"].astype(str), dim=10, n=4096,
            value=rng.normal(size=len(one)), stderr=np.nan, kind="estimate", flags="",
            noise_std=0.0, seconds=rng.random(len(one)), unit="nats",
        )  # fmt: skip
        made.attrs = {"provenance": {"versions": {"ib-keras": "0"}, "seed": number}}
        logs = pd.DataFrame({"run": f"tanh-{number}", "epoch": range(EPOCHS)})
        logs["loss"] = rng.random(EPOCHS)
        frame.write(made[frame.COLUMNS], folder / f"tanh-{number}", logs=logs)


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(folder)
        files = sorted(folder.glob(f"*/{frame.ESTIMATES}"))
        ours, theirs, at_once = in_turn(
            lambda: ib_keras.load(f"{name}/*"),
            lambda: pd.concat([pd.read_parquet(file) for file in files], ignore_index=True),
            lambda: pd.read_parquet(files),
            repeat=3,
        )
        rows = len(ib_keras.load(f"{name}/*"))
    size = f"{RUNS} runs, {rows} rows"
    return [
        Row("ib.load / pandas.read_parquet of each file and concat", ours / theirs, "<= 3",
            f"{size}; with logs joined and provenance: {ours:.2f} s and {theirs:.2f} s"),
        Row("ib.load / one pandas.read_parquet of all files", ours / at_once, "<= 3",
            f"{size}; {ours:.2f} s and {at_once:.2f} s"),
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
