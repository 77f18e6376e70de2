"""Batches in an order that a seed decides, whatever the random state of the process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def batches(
    arrays: Sequence[np.ndarray], size: int, seed: int, epochs: range, *, multiple: int = 1
) -> tuple[tf.data.Dataset, int]:
    """Equal-sized batches for these epochs, and the number of batches per epoch.

    An epoch's order is decided by seed and epoch. The rows are drawn beforehand: TensorFlow keeps
    a Python generator, and with it the arrays, as long as the process lives.

    Args:
        arrays: of one length n, each of which is a part of every batch.
        size: rows of a batch; n if that is fewer. What is left of an epoch is left out.
        seed: of the orders.
        epochs: their numbers.
        multiple: the number of batches of an epoch is divisible by it.
    """
    n = len(arrays[0])
    size = min(size, n)
    steps = n // size // multiple * multiple
    orders = [np.random.default_rng((seed, epoch)).permutation(n) for epoch in epochs]
    rows = np.array(orders, np.int32)[:, : steps * size].reshape(-1, size)
    with tf.device("CPU"):
        kept = [tf.constant(array) for array in arrays]
        data = tf.data.Dataset.from_tensor_slices(rows)
    return data.map(lambda some: tuple(tf.gather(part, some) for part in kept)).prefetch(2), steps


def in_order(arrays: Sequence[np.ndarray], size: int) -> tf.data.Dataset:
    """Batches in the order of the rows, the last of which may be smaller.

    What Keras itself makes of arrays leaves some 10 kB behind with each call; operations alone,
    without a function, leave nothing.

    Args:
        arrays: of one length, each of which is a part of every batch.
        size: rows of a batch.
    """
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(size)
