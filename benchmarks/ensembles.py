"""Fifty seeds of a small network: as one program, and by one ``fit`` after the other."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import tempfile
import time

import keras

import ib_keras as ib
from benchmarks._measure import Row, table
from ib_keras.ensembles import Ensemble
from ib_keras.training.schedule import log_epochs

SEEDS, EPOCHS = 50, 200
# So many of the sequential trainings are run; all take the same.
_SHARE = 2


def batched(data: ib.datasets.Dataset) -> float:
    """Seconds to build, train and capture all networks at the recorded epochs."""
    start = time.perf_counter()
    ensemble = Ensemble(lambda seed: ib.models.szt(seed=seed), range(SEEDS))
    for epoch in ensemble.fit(data.x_train, data.y_train, epochs=EPOCHS):
        if epoch in log_epochs(EPOCHS):
            ensemble.capture(data.x)
    return time.perf_counter() - start


def sequential(data: ib.datasets.Dataset, seed: int) -> float:
    """Seconds to build and train one network, recorded at the same epochs."""
    start = time.perf_counter()
    model = ib.instrument(ib.models.szt(seed=seed))
    model.compile(keras.optimizers.Adam(4e-4), "sparse_categorical_crossentropy")
    with tempfile.TemporaryDirectory() as folder:
        recorder = ib.Recorder(pathlib.Path(folder) / "r", data.x, data.y)
        model.fit(
            data.x_train, data.y_train, epochs=EPOCHS, batch_size=256, verbose=0,
            callbacks=[recorder],
        )  # fmt: skip
    return time.perf_counter() - start


def run() -> list[Row]:
    data = ib.datasets.load("szt")
    ours = batched(data)
    each = [sequential(data, seed) for seed in range(_SHARE)]
    detail = f"12-10-7-5-4-3-2, {EPOCHS} epochs; {_SHARE} fits measured, {SEEDS} counted"
    ratio = SEEDS * sum(each) / _SHARE / ours
    return [Row(f"{SEEDS} sequential fits / one ensemble", ratio, ">= 15", detail)]


if __name__ == "__main__":
    print(table(run()))
