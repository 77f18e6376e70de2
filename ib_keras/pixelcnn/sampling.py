"""Sampling from an autoregressive model by fixed-point iteration, with noise drawn beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import as_array, check_count, check_seed
from ib_keras.errors import ArgumentError

Update = Callable[[Any], Any]


def draw_noise(n: int, image_shape: tuple[int, int, int], seed: int | None = None) -> np.ndarray:
    """Draw uniform noise on (0, 1) for ``n`` images; it does not depend on a model.

    Args:
        n: number of images.
        image_shape: height, width and channels.
        seed: integer seed; ``None`` for a random seed.

    Returns:
        float32 ``(n, height, width, 1 + channels)``: for each pixel, one number that chooses the
        component of its mixture, and one for each channel.

    Raises:
        ArgumentError: If ``n`` is not a positive integer, or ``seed`` is not a seed.
    """
    height, width, channels = image_shape
    rng = np.random.default_rng(None if seed is None else check_seed(seed))
    shape = (check_count(n, "n"), height, width, 1 + channels)
    return np.maximum(rng.random(shape, np.float32), np.float32(2**-25))


def as_noise(noise: Any, n: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Check noise of the form that ``draw_noise`` returns; a single row is repeated ``n`` times.

    Raises:
        ArgumentError: If the shape does not match, or values are outside (0, 1).
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
            "values as draw_noise returns them",
            f"values from {array.min()} to {array.max()} of dtype {array.dtype}",
        )
    return np.broadcast_to(array.astype(np.float32), (n, *shape))


def fixed_point(update: Update, start: Any, most: int) -> tuple[Any, Any]:
    """Find the images x = update(x) by iteration.

    If each pixel of ``update(x)`` depends only on the pixels of x before it, at least the first k
    pixels are final after pass k. The result is then the same as that of drawing pixel after pixel,
    and at most as many passes as pixels are needed, usually far fewer.

    Args:
        update: function that draws whole images from images, with fixed noise.
        start: int32 images. They affect the number of passes, but not the result.
        most: the maximum number of passes.

    Returns:
        The images and the number of passes. The last pass changed nothing, unless it was the last
        one allowed.

    References:
        Wiggers & Hoogeboom, ICML 2020, arXiv:2002.09928; Song et al., ICML 2021, arXiv:2002.03629.
    """

    def goes_on(passes: Any, changed: Any, images: Any) -> Any:
        return changed & (passes < most)

    def one_pass(passes: Any, changed: Any, images: Any) -> Any:
        new = update(images)
        return passes + 1, tf.reduce_any(tf.not_equal(new, images)), new

    passes, _, images = tf.while_loop(
        goes_on, one_pass, (tf.constant(0), tf.constant(True), start), maximum_iterations=most
    )
    return images, passes
