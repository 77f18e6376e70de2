"""The size of images: what a user may give, and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.rows import slices
from ib_keras.errors import ArgumentError

# The number of images that are resized at a time.
_BATCH = 1024

Size = str | int | Sequence[int] | None


def size_of(image_size: Size) -> tuple[int, int] | None:
    """Return the height and width that ``image_size`` denotes.

    Raises:
        ArgumentError: If ``image_size`` is not one or two positive integers.
    """
    if image_size is None:
        return None
    if isinstance(image_size, str):
        numbers: Sequence[Any] = [int(n) if n.isdecimal() else n for n in image_size.split("x")]
    else:
        numbers = image_size if isinstance(image_size, (tuple, list)) else [image_size]
    if not all(type(n) is int and n > 0 for n in numbers) or len(numbers) not in (1, 2):
        raise ArgumentError(
            "`image_size` is invalid", "height and width such as '32x48', or '32'", repr(image_size)
        )
    return numbers[0], numbers[-1]


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether arrays of this shape look like images ``(n, channels, height, width)``."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 4


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize images, to a smaller size by means over areas, otherwise by linear interpolation.

    Args:
        images: ``(n, height, width)`` or ``(n, height, width, channels)``.
        size: the new height and width.

    Returns:
        Images of the same type; integers are rounded.

    Raises:
        ArgumentError: If the arrays are not images.
    """
    import tensorflow as tf

    if images.ndim not in (3, 4) or images.dtype.kind not in "fiu" or 0 in images.shape:
        raise ArgumentError(
            "`image_size` does not apply",
            "None, or images (n, height, width[, channels]) of numbers",
            f"inputs {images.dtype}{list(images.shape)}",
        )
    if channels_first(images.shape):
        raise ArgumentError(
            "The channels of the images come first",
            "images (n, height, width, channels), as np.moveaxis(images, 1, -1) returns them",
            f"inputs {images.dtype}{list(images.shape)}",
        )
    if images.shape[1:3] == size:
        return images
    smaller = size[0] <= images.shape[1] and size[1] <= images.shape[2]
    method = "area" if smaller else "bilinear"
    channels = images if images.ndim == 4 else images[..., None]
    out = np.empty((len(images), *size, channels.shape[3]), images.dtype)
    for part in slices(len(images), _BATCH):
        batch = tf.constant(channels[part], tf.float32)
        values = tf.image.resize(batch, size, method=method, antialias=True).numpy()
        out[part] = values if images.dtype.kind == "f" else values.round()
    return out if images.ndim == 4 else out[..., 0]
