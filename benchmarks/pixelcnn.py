"""PixelCNN++ on the digits, against ``tfp.distributions.PixelCNN`` of the same width."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from benchmarks._measure import Row, in_turn, table
from ib_keras.pixelcnn import PixelCNN

LEVELS, BATCH, STEPS, IMAGES = 17, 32, 600, 64
# The number of steps in one measurement.
_CHUNK = 20
_FILTERS = 32


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return batches ``(STEPS, BATCH, 8, 8, 1)`` of 1 400 digits, the other digits, and these."""
    rng = np.random.default_rng(0)
    images = rng.permutation(load_digits().images.astype("int32")[..., None])
    batches = images[rng.integers(0, 1400, (STEPS, BATCH))]
    return batches, images[1400:], images[:1400]


def theirs() -> tuple[Any, Callable]:
    """Return TFP's distribution, and a training step as one would write it."""
    import tensorflow_probability as tfp
    import tf_keras

    distribution = tfp.distributions.PixelCNN(
        (8, 8, 1), num_resnet=1, num_hierarchies=2, num_filters=_FILTERS, num_logistic_mix=5,
        dropout_p=0.5, high=LEVELS - 1, low=0,
    )  # fmt: skip
    optimizer = tf_keras.optimizers.Adam(1e-3)

    def step(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(images, training=True))
        variables = distribution.network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return distribution, tf.function(step)


def ours() -> PixelCNN:
    """Return our model, compiled by XLA, which takes half a minute once and saves time later."""
    model = PixelCNN(
        (8, 8, 1), levels=LEVELS, filters=_FILTERS, stages=2, resnet_blocks=1, mixtures=5, seed=0
    )
    model.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.97), jit_compile=True)
    return model


def bits(nats: np.ndarray) -> float:
    """Convert nats per image to bits per dimension."""
    return float(np.mean(nats)) / (64 * np.log(2))


def run() -> list[Row]:
    batches, held_out, images = data()
    floats = [tf.constant(batch, tf.float32) for batch in batches]
    distribution, step = theirs()
    model = ours()
    model.initialise(images)

    # Both see the same batches, in the same order.
    for batch in floats:
        step(batch)
    model.fit(tf.data.Dataset.from_tensor_slices(batches), verbose=0)
    their_nats = -distribution.log_prob(tf.constant(held_out, tf.float32)).numpy()
    our_nats = -model.log_prob(held_out)
    their_bits, our_bits = bits(their_nats), bits(our_nats)
    gap = our_nats - their_nats
    error = bits(gap.std() / len(gap) ** 0.5)

    again = iter(tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(2))

    def our_steps() -> object:
        for _ in range(_CHUNK):
            logs = model.train_function(again)
        return keras.tree.map_structure(np.asarray, logs)

    ours_s, theirs_s = in_turn(
        our_steps,
        lambda: [step(batch) for batch in floats[:_CHUNK]][-1].numpy(),
    )
    # As many further steps as fit into the time that tfp needed.
    for _ in range(round(STEPS / _CHUNK * (theirs_s / ours_s - 1))):
        our_steps()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    later_bits = bits(-model.log_prob(held_out))
    graph = tf.function(lambda: distribution.sample(IMAGES))
    our_draw_s, their_draw_s = in_turn(
        lambda: model.sample(IMAGES, seed=0), lambda: graph().numpy(), repeat=3
    )
    start = time.perf_counter()
    distribution.sample(IMAGES)
    eager_s = time.perf_counter() - start

    count = sum(int(np.prod(v.shape)) for v in distribution.network.trainable_variables)
    setting = f"digits 8×8×1, batch {BATCH}, {_FILTERS} filters, {model.count_params()} parameters"
    of_ours = f"tfp: {count} parameters with the masked ones"
    return [
        Row("training step: tfp's in a tf.function / ours in fit", theirs_s / ours_s, ">= 2",
            f"{setting}; {of_ours}; {_CHUNK / theirs_s:.0f} and {_CHUNK / ours_s:.0f} steps/s"),
        Row(f"{IMAGES} images: tfp's sample in a tf.function / ours", their_draw_s / our_draw_s,
            ">= 3", f"{their_draw_s:.2f} s and {our_draw_s:.3f} s"),
        Row(f"{IMAGES} images: tfp's sample as documented / ours", eager_s / our_draw_s, ">= 20",
            f"eager, {eager_s:.1f} s, measured once"),
        Row("held-out bits per dimension: tfp's / ours", their_bits / our_bits, ">= 1",
            f"{STEPS} steps of Adam at 1e-3 on the same batches, dropout 0.5; {their_bits:.3f} and "
            f"{our_bits:.3f}, difference {our_bits - their_bits:.3f} ± {error:.3f} over images"),
        Row("the same after as much time", their_bits / later_bits, ">= 1",
            f"{their_bits:.3f} and {later_bits:.3f}"),
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
