"""Batches in an order that depends only on a seed, not on the random state of the process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def batches(
    arrays: Sequence[np.ndarray],
    size: int,
    seed: int,
    epochs: range,
    *,
    multiple: int = 1,
    parts: int = 1,
) -> tuple[tf.data.Dataset, int]:
    """Make equal-sized batches for some epochs, in an order that depends on seed and epoch.

    The order is drawn beforehand, because TensorFlow would keep a Python generator, and with it the
    arrays, until the process ends.

    Args:
        arrays: arrays of one length n; every batch has the same rows of each.
        size: the number of rows per batch; a larger number than n // parts counts as n // parts.
            Rows that do not fill a batch are left out.
        seed: the seed of the orders.
        epochs: the numbers of the epochs.
        multiple: a divisor of the number of batches per epoch.
        parts: the number of consecutive epochs that divide the rows among them: each row occurs at
            most once in these epochs.

    Returns:
        The batches of all epochs, and the number of batches per epoch.
    """
    n = len(arrays[0])
    each = n // parts
    size = min(size, each)
    steps = each // size // multiple * multiple
    orders = [
        np.random.default_rng((seed, epoch // parts)).permutation(n)[epoch % parts * each :]
        for epoch in epochs
    ]
    rows = np.array([order[: steps * size] for order in orders], np.int32).reshape(-1, size)
    with tf.device("CPU"):
        tensors = [tf.constant(array) for array in arrays]
        data = tf.data.Dataset.from_tensor_slices(rows)
    return data.map(lambda row: tuple(tf.gather(t, row) for t in tensors)).prefetch(2), steps


def in_order(arrays: Sequence[np.ndarray], size: int) -> tf.data.Dataset:
    """Make batches in the order of the rows; the last batch may be smaller.

    Keras's own conversion of arrays leaks about 10 kB with each call; a data set without a mapped
    function leaks nothing.

    Args:
        arrays: arrays of one length; every batch has the same rows of each.
        size: the number of rows per batch.
    """
    with tf.device("CPU"):
        return tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(size)
