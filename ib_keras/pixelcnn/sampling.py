"""Images from an autoregressive model by fixed-point iteration, from noise drawn ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import as_array, check_count, check_seed
from ib_keras.errors import ArgumentError

Update = Callable[[Any], Any]


def draw_noise(n: int, image_shape: tuple[int, int, int], seed: int | None = None) -> np.ndarray:
    """Uniform noise on (0, 1) for ``n`` images: a function of the arguments, not of a model.

    Args:
        n: number of images.
        image_shape: height, width and channels.
        seed: integer seed; ``None`` for a random one.

    Returns:
        float32 ``(n, height, width, 1 + channels)``: for each pixel one number that chooses the
        component of its mixture, and one for each channel.

    Raises:
        ArgumentError: ``n`` is no count, or ``seed`` no seed.
    """
    height, width, channels = image_shape
    rng = np.random.default_rng(None if seed is None else check_seed(seed))
    shape = (check_count(n, "n"), height, width, 1 + channels)
    return np.maximum(rng.random(shape, np.float32), np.float32(2**-25))


def as_noise(noise: Any, n: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """``noise`` as ``draw_noise`` returns it; one row stands for all ``n`` images.

    Raises:
        ArgumentError: the shape does not match, or values are outside (0, 1).
    """
    array = as_array(noise, "noise")
    *size, channels = image_shape
    shape = (*size, 1 + channels)
    if array.shape not in ((n, *shape), (1, *shape)):
        raise ArgumentError(
            "`noise` has the wrong shape", f"{(n, *shape)} or {(1, *shape)}", f"{array.shape}"
        )
    if array.dtype.kind != "f" or not (array.min() > 0 and array.max() < 1):
        raise ArgumentError(
            "`noise` is not uniform on (0, 1)",
            "what draw_noise returns",
            f"values from {array.min()} to {array.max()} of dtype {array.dtype}",
        )
    return np.broadcast_to(array.astype(np.float32), (n, *shape))


def fixed_point(update: Update, start: Any, most: int) -> tuple[Any, Any]:
    """The images x = update(x), found by iteration.

    Where each pixel of ``update(x)`` depends on the pixels of x before it alone, pass k sets at
    least the first k pixels for good: the result is that of drawing pixel after pixel, and
    ``most`` = number of pixels passes suffice. Most pixels are right long before.

    Args:
        update: whole images, with their noise held fixed.
        start: int32 images; they decide the number of passes, not the result.
        most: at most so many passes.

    Returns:
        The images, and the number of passes: the last one changed nothing, unless all were used.

    References:
        Wiggers & Hoogeboom, ICML 2020, arXiv:2002.09928; Song et al., ICML 2021, arXiv:2002.03629.
    """

    def again(passes: Any, changed: Any, images: Any) -> Any:
        return changed & (passes < most)

    def once(passes: Any, changed: Any, images: Any) -> Any:
        new = update(images)
        return passes + 1, tf.reduce_any(tf.not_equal(new, images)), new

    passes, _, images = tf.while_loop(
        again, once, (tf.constant(0), tf.constant(True), start), maximum_iterations=most
    )
    return images, passes


def pixel_by_pixel(update: Update, start: np.ndarray) -> np.ndarray:
    """What ``fixed_point`` finds, drawn in raster order: one pass for each pixel.

    Args:
        update: whole images, with their noise held fixed.
        start: int32 ``(n, height, width, channels)``.
    """
    images = np.array(start)
    for row in range(images.shape[1]):
        for column in range(images.shape[2]):
            images[:, row, column] = np.asarray(update(images))[:, row, column]
    return images
