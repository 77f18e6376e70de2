"""Critics of wide variables, against a critic that is evaluated on the joined rows of all pairs."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks._measure import Row, in_turn, table
from ib_keras.estimators import InfoNCE

N, INPUTS, UNITS, BATCH, HIDDEN, STEPS = 1000, 3072, 4096, 100, 128, 1000


def layer() -> tuple[np.ndarray, np.ndarray]:
    """Inputs like 32×32 images of three channels, and a wide layer of rectifiers, in float32."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, INPUTS)).astype(np.float32)
    weights = rng.normal(size=(INPUTS, UNITS)).astype(np.float32) / np.sqrt(INPUTS)
    return x, np.maximum(x @ weights, 0)


def joined_rows(a: int, b: int) -> Callable[[], object]:
    """Return a training step that joins the rows of all pairs, as the formula suggests."""
    model = keras.Sequential(
        [
            keras.Input((a + b,)),
            keras.layers.Dense(HIDDEN, "silu"),
            keras.layers.Dense(HIDDEN, "silu"),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    x, y = tf.random.normal((BATCH, a)), tf.random.normal((BATCH, b))

    @tf.function(jit_compile=True)
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            pairs = tf.concat([tf.repeat(x, BATCH, axis=0), tf.tile(y, [BATCH, 1])], axis=1)
            scores = tf.reshape(model(pairs), [BATCH, BATCH])
            joint = tf.linalg.diag_part(scores)
            loss = tf.reduce_mean(tf.reduce_logsumexp(scores, axis=1) - joint)
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    return lambda: step(x, y).numpy()


def run() -> list[Row]:
    x, t = layer()
    y = np.arange(N)
    made = InfoNCE(hidden=(HIDDEN, HIDDEN), steps=STEPS, batch_size=BATCH)

    def seconds(estimate: Callable[[], object]) -> float:
        start = time.perf_counter()
        estimate()
        return time.perf_counter() - start

    # A whole training is measured once, including its compilation, because it has many steps.
    wide = seconds(lambda: made.mutual_information(x, t))
    (step,) = in_turn(joined_rows(INPUTS, UNITS), repeat=3)
    classes = seconds(lambda: made.with_classes(t, y))
    detail = f"n = {N}, batch {BATCH}, {STEPS} steps, with compilation and held-out evaluations"
    of = f"infonce of {UNITS} units and"
    return [
        Row(f"{of} {INPUTS} inputs: joined rows / ours", STEPS * step / wide, ">= 50", detail),
        Row(f"{of} {INPUTS} inputs, s", wide, "<= 8", detail),
        Row(f"{of} {N} classes, s", classes, "<= 8", detail),
    ]


if __name__ == "__main__":
    print(table(run()))
