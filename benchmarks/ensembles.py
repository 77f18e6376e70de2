"""Fifty seeds of a small network: trained in one program, and by one ``fit`` after another."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ib_keras as ib
from benchmarks._measure import Row, in_turn, table
from ib_keras.ensembles import Ensemble
from ib_keras.training.schedule import log_epochs

SEEDS, EPOCHS = 50, 200
# The number of sequential trainings that are run; all take the same time.
_SHARE = 2
# Epochs of the ensemble whose median time is compared.
_REPEATS = 40


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


def products(steps: int) -> Callable[[], object]:
    """Return a function that computes the matrix products of some steps of all networks."""
    widths = itertools.pairwise((12, 10, 7, 5, 4, 3, 2))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(SEEDS, 256, 12)), tf.float32)
    kernels = [tf.constant(rng.normal(size=(SEEDS, *pair)) / 4, tf.float32) for pair in widths]

    @tf.function(autograph=False)
    def compute() -> Any:
        def step(i: Any, total: Any) -> tuple[Any, Any]:
            layers = [x + 1e-9 * total]
            for kernel in kernels:
                layers.append(tf.matmul(layers[-1], kernel))
            back = layers.pop()
            for kernel in reversed(kernels):
                gradient = tf.matmul(layers.pop(), back, transpose_a=True)
                total += tf.reduce_sum(gradient) * 1e-9
                back = tf.matmul(back, kernel, transpose_b=True)
            return i + 1, total

        return tf.while_loop(lambda i, _: i < steps, step, (0, 0.0))[1]

    return compute


def step_ratio(data: ib.datasets.Dataset) -> float:
    """Return the time of a step of all networks, divided by that of its matrix products."""
    steps = -(-len(data.x_train) // 256)
    ensemble = Ensemble(lambda seed: ib.models.szt(seed=seed), range(SEEDS))
    epochs = ensemble.fit(data.x_train, data.y_train, epochs=10**6)
    next(epochs)
    own, floor = in_turn(lambda: next(epochs), products(steps), repeat=_REPEATS)
    return own / floor


def run() -> list[Row]:
    data = ib.datasets.load("szt")
    ours = batched(data)
    each = [sequential(data, seed) for seed in range(_SHARE)]
    detail = f"12-10-7-5-4-3-2, {EPOCHS} epochs; {_SHARE} fits measured, {SEEDS} counted"
    ratio = SEEDS * sum(each) / _SHARE / ours
    return [
        Row(f"{SEEDS} sequential fits / one ensemble", ratio, ">= 15", detail),
        Row("step of the ensemble / its matrix products", step_ratio(data), "<= 2", "256 rows"),
    ]


if __name__ == "__main__":
    print(table(run()))
