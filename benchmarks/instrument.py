"""The cost of channels and taps: training steps, captures, recordings."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ib_keras as ib
from benchmarks._measure import Row, in_turn, own_peak_mb, table
from ib_keras.activations.kinds import NOISY
from ib_keras.layers import normal

BATCH = 256


class NaiveNoise(keras.layers.Layer):
    """Noise as one would first write it."""

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = stddev
        self.generator = keras.random.SeedGenerator(0)

    def call(self, x: Any) -> Any:
        noise = keras.random.normal(keras.ops.shape(x), seed=self.generator)
        return x + self.stddev * noise


def cnn(noise: bool = False) -> keras.Model:
    """Convolutions of 8, 16 and 32 filters, dense 32, dense 10; perhaps with the naive noise.

    The noise follows each hidden layer with weights.
    """
    layers: list[Any] = [keras.Input((28, 28, 1))]
    for filters in (8, 16, 32):
        layers += [keras.layers.Conv2D(filters, 3, activation="relu")]
        layers += [NaiveNoise(0.1)] * noise + [keras.layers.MaxPooling2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(32, activation="relu")]
    layers += [NaiveNoise(0.1)] * noise + [keras.layers.Dense(10, activation="softmax")]
    return keras.Sequential(layers)


def step(model: keras.Model) -> Callable[[], object]:
    """Return a function that runs ten training steps of a model on one batch."""
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10 * BATCH, 28, 28, 1)).astype(np.float32)
    data = tf.data.Dataset.from_tensors((x[:BATCH], rng.integers(0, 10, BATCH))).repeat(10).cache()
    return lambda: model.fit(data, verbose=0)


def training() -> list[Row]:
    plain, zero, noisy, naive = in_turn(
        step(cnn()), step(ib.instrument(cnn())), step(ib.instrument(cnn(), 0.1)), step(cnn(True)),
        repeat=15,
    )  # fmt: skip
    taps = ib.instrument(cnn(), 0.1)
    per_step = sum(
        int(np.prod(shape)) for shape in (tap.shape for tap in taps.plan.taps[:-1])
    ) * BATCH  # fmt: skip
    seed, like = tf.constant([1, 2]), tf.zeros([per_step])
    alone = tf.function(lambda: normal(like, seed))
    (draw,) = in_turn(lambda: [alone() for _ in range(10)])
    millions = f"{per_step / 1e6:.1f} million normals a step"
    return [
        Row("training step, zero noise / plain", zero / plain, "<= 1.05", "MNIST CNN, batch 256"),
        Row(
            "training step, noise in all hidden layers / (plain + the normals alone)",
            noisy / (plain + draw),
            "<= 1.1",
            f"{millions}; the floor draws them in one call, in the fastest way found",
        ),
        Row("training step, the naive layer / ours", naive / noisy, ">= 2", millions),
    ]


def captures() -> list[Row]:
    model = cnn()
    taps = ib.instrument(model)
    x = np.random.default_rng(0).normal(size=(10_000, 28, 28, 1)).astype(np.float32)
    capture, predict = in_turn(
        lambda: taps.capture(x, batch_size=BATCH),
        lambda: model.predict(x, batch_size=BATCH, verbose=0),
        repeat=5,
    )
    szt = ib.models.szt()
    rows, _ = ib.datasets.szt()
    szt_taps = ib.instrument(szt)
    reference = keras.Model(
        szt.inputs[0], [szt.get_layer(name).output for name in szt_taps.tap_names]
    )
    ours, idiom = in_turn(
        lambda: szt_taps.capture(rows, batch_size=4096),
        lambda: reference.predict(rows, batch_size=4096, verbose=0),
    )
    return [
        Row(
            "capture of all layers / predict of the plain model",
            capture / predict,
            "<= 1.25",
            "CNN, 10 000 images, batch 256",
        ),
        Row(
            "keras.Model(inputs, outputs).predict / capture",
            idiom / ours,
            ">= 10",
            "12-10-7-5-4-3-2 network, 4 096 rows in one batch",
        ),
    ]


def steadiness() -> list[Row]:
    """Measure whether calls get slower, memory grows, or programs are traced again."""
    taps = ib.instrument(ib.models.szt())
    rows, _ = ib.datasets.szt()
    seconds, resident = [], []
    for _ in range(111):
        start = time.perf_counter()
        taps.capture(rows, batch_size=4096)
        seconds.append(time.perf_counter() - start)
        resident.append(_resident_mb())
    (program,) = taps._state.programs.programs.values()
    early, late = statistics.median(seconds[1:12]), statistics.median(seconds[100:111])
    where = "12-10-7-5-4-3-2 network, 4 096 rows"
    return [
        Row(
            "capture: calls 101 to 111 / calls 2 to 12",
            late / early,
            "<= 1.1",
            f"{where}; {program.forward.experimental_get_tracing_count()} trace",
        ),
        Row(
            "capture: resident memory after call 111 - after call 12, MB",
            resident[-1] - resident[11],
            "<= 5",
            where,
        ),
    ]


def recording() -> list[Row]:
    taps = ib.instrument(cnn())
    x = np.random.default_rng(0).normal(size=(10_000, 28, 28, 1)).astype(np.float32)
    arrays = taps.capture(x)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        runs = iter(range(10**6))

        def ours() -> None:
            recorder = ib.Recorder(root / f"r{next(runs)}", x, None, epochs=lambda epoch: True)
            recorder.replay(taps, [0], lambda epoch: None)

        def forward() -> None:
            for _ in taps.stream(x, {NOISY: taps.tap_names}, batch_size=256, seed=(0,)):
                pass

        def plain() -> None:
            for i, array in enumerate(arrays.values()):
                np.save(root / f"p{next(runs)}-{i}.npy", array)

        ours_s, forward_s, plain_s = in_turn(ours, forward, plain, repeat=5)
    size = f"{arrays.nbytes / 1e6:.0f} MB, checksums included"
    return [
        Row(
            "numpy.save of the same bytes / Recorder without its forward passes",
            plain_s / (ours_s - forward_s),
            ">= 0.5",
            size,
        ),
        Row("capture and numpy.save / Recorder", (forward_s + plain_s) / ours_s, ">= 0.5", size),
        Row(
            "recording 60 000 images: peak memory above plain predict's, MB",
            _peak_mb("record") - _peak_mb("predict"),
            "<= 600",
            f"{6 * arrays.nbytes / 1e6:.0f} MB of activations",
        ),
    ]


def _resident_mb() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak_mb(what: str) -> float:
    """The peak memory of a process that does nothing but ``what``."""
    code = f"from benchmarks import instrument; instrument.{what}_60_000()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def predict_60_000() -> None:
    """Predict, and print this process's peak memory in MB."""
    x = np.zeros((60_000, 28, 28, 1), np.float32)
    cnn().predict(x, batch_size=BATCH, verbose=0)
    print(own_peak_mb())


def record_60_000() -> None:
    """Record to disk, and print this process's peak memory in MB."""
    x = np.zeros((60_000, 28, 28, 1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        recorder = ib.Recorder(pathlib.Path(folder) / "r", x, None, batch_size=BATCH)
        recorder.replay(ib.instrument(cnn()), [0], lambda epoch: None)
    print(own_peak_mb())


def run() -> list[Row]:
    return [*training(), *captures(), *steadiness(), *recording()]


if __name__ == "__main__":
    print(table(run()))
