"""Layers of which each pixel sees only what comes before it, and the blocks made of them."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

Shift = Literal["down", "right", "none"]
Grid = tuple[tuple[float, ...], tuple[float, ...]]

_INITIALISING: contextvars.ContextVar[bool] = contextvars.ContextVar("initialising", default=False)


@contextlib.contextmanager
def initialising() -> Iterator[None]:
    """While it lasts, each ``CausalConv`` that is called eagerly takes scale and bias from it."""
    token = _INITIALISING.set(True)
    try:
        yield
    finally:
        _INITIALISING.reset(token)


def concat_elu(x: Any) -> Any:
    """ELU of x and of −x, side by side: twice the channels."""
    return tf.nn.elu(tf.concat([x, -x], axis=-1))


def down_shift(x: Any) -> Any:
    """Each row becomes that above it; the first becomes zeros."""
    return tf.pad(x[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]])


def right_shift(x: Any) -> Any:
    """Each column becomes that to its left; the first becomes zeros."""
    return tf.pad(x[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]])


class CausalConv(keras.layers.Layer):
    """A weight-normalised convolution; shifted, its kernel does not reach below its own pixel.

    y = g·(V/‖V‖) ∗ x + b, the norm being that of each output channel's kernel. With stride 2 a side
    of length n becomes ⌈n/2⌉, and pixel i stands for 2i and 2i + 1.

    Args:
        filters: output channels.
        kernel: height and width.
        shift: ``"down"``: the kernel ends in its pixel's row and is centred on its column;
            ``"right"``: it ends in its pixel; ``"none"``: it is centred, for what is not an image.
        strides: 1 or 2.
        init_scale: standard deviation of each output channel on the data that initialise it.
        seed: integer seed of V.
        **kwargs: of ``keras.layers.Layer``.

    References:
        Salimans & Kingma, *Weight Normalization*, NeurIPS 2016, arXiv:1602.07868, section 3.
    """

    def __init__(
        self,
        filters: int,
        kernel: tuple[int, int] = (1, 1),
        shift: Shift = "down",
        *,
        strides: int = 1,
        init_scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel, self.strides = filters, kernel, strides
        self.init_scale, self.seed = init_scale, seed
        height, width = kernel
        rows = [(height - 1) // 2] * 2 if shift == "none" else [height - 1, 0]
        columns = [width - 1, 0] if shift == "right" else [(width - 1) // 2] * 2
        self._padding = [[0, 0], rows, columns, [0, 0]]

    def build(self, input_shape: Any) -> None:
        """Makes V, g and b, in full precision whatever the layer computes in.

        They are rows of one variable: an optimizer's time is that of its many small steps.
        """
        self._shape = (*self.kernel, input_shape[-1], self.filters)
        rows = math.prod(self._shape[:-1])
        rng = np.random.default_rng(self.seed)
        direction = rng.normal(scale=0.05, size=(rows, self.filters))
        start = np.concatenate([direction, np.ones((1, self.filters)), np.zeros((1, self.filters))])
        self.rows = self.add_weight(
            name="rows",
            shape=start.shape,
            initializer=lambda shape, dtype: tf.constant(start, dtype),
            autocast=False,
        )

    def call(self, x: Any) -> Any:
        """The convolution of ``x (n, height, width, channels)``."""
        if _INITIALISING.get() and tf.executing_eagerly():
            self._initialise(x)
        direction, scale, bias = tf.split(self.rows, [self.rows.shape[0] - 2, 1, 1])
        y = self._convolve(x, _weight_norm(direction, scale))
        return tf.nn.bias_add(y, tf.cast(bias[0], y.dtype))

    def _convolve(self, x: Any, rows: Any) -> Any:
        kernel = tf.cast(tf.reshape(rows, self._shape), x.dtype)
        # The gradients of a convolution that pads by itself are slower on a CPU.
        padded = x if self.kernel == (1, 1) else tf.pad(x, self._padding)
        return tf.nn.conv2d(padded, kernel, self.strides, "VALID")

    def _initialise(self, x: Any) -> None:
        direction = self.rows[:-2]
        y = self._convolve(x, _weight_norm(direction, tf.ones_like(direction[:1])))
        mean, variance = tf.nn.moments(tf.cast(y, direction.dtype), axes=[0, 1, 2])
        # A channel that is constant, as the rows above a single row are, has no scale to correct.
        varies = variance > 1e-6
        scale = self.init_scale * tf.where(varies, tf.math.rsqrt(tf.maximum(variance, 1e-6)), 1.0)
        self.rows.assign(tf.concat([direction, [scale], [-mean * scale]], axis=0))


@tf.custom_gradient
def _weight_norm(direction: Any, scale: Any) -> Any:
    """g·V/‖V‖ for V ``(rows, filters)`` and g ``(1, filters)``, in few operations."""
    squares = tf.reduce_sum(tf.square(direction), axis=0, keepdims=True)
    inverse = tf.math.rsqrt(tf.maximum(squares, 1e-12))
    unit = direction * inverse

    def gradient(upstream: Any) -> Any:
        along = tf.reduce_sum(upstream * unit, axis=0, keepdims=True)
        return (upstream - unit * along) * (scale * inverse), along

    return unit * scale, gradient


class Dropout(keras.layers.Layer):
    """Zeroes each value with a probability in training, and scales the others up.

    As ``keras.layers.Dropout``, with Philox asked for by name: what XLA takes by itself on a CPU is
    many times slower. The probability is a multiple of 2⁻¹⁶.

    Args:
        rate: the probability.
        seed: integer seed.
        **kwargs: of ``keras.layers.Layer``.
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self._threshold = min(round(rate * 2**16), 2**16 - 1)
        self.seed_generator = keras.random.SeedGenerator(seed) if self._threshold else None
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """``x``, with values dropped in training."""
        if not training or self.seed_generator is None:
            return x
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max - 1), tf.int32)
        size = tf.size(x)
        words = tf.random.stateless_uniform(
            [(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
        )
        # Two numbers from each word: drawing is what dropout costs.
        halves = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size]
        kept = tf.reshape(halves >= tf.constant(self._threshold, tf.uint16), tf.shape(x))
        return x * (tf.cast(kept, x.dtype) / (1 - self._threshold / 2**16))


class Resize(keras.layers.Layer):
    """Averages maps over the area of each pixel of another grid.

    A side of 1 stays one, and broadcasts.

    Args:
        edges: for rows and columns, where the pixels of the new grid begin and end: ``(0, …, 1)``.
        coarsen: whether to leave sides alone that are shorter than the new ones. What follows is
            then computed on fewer pixels, and stretched afterwards.
        **kwargs: of ``keras.layers.Layer``.
    """

    def __init__(
        self,
        edges: Grid,
        *,
        coarsen: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._edges, self._coarsen = edges, coarsen
        self.built = True

    def call(self, x: Any) -> Any:
        """``x (n, height, width, channels)`` on the new grid."""
        for axis, equation in ((1, "ai,nijc->najc"), (2, "bj,nijc->nibc")):
            old, edges = x.shape[axis], self._edges[axis - 1]
            new = len(edges) - 1
            if old > 1 and old != new and not (self._coarsen and old < new):
                x = tf.einsum(equation, tf.constant(_overlaps(old, edges), x.dtype), x)
        return x


def _overlaps(old: int, new: tuple[float, ...]) -> list[list[float]]:
    """Which share of each new cell each of ``old`` equal cells covers."""
    rows = []
    for low, high in itertools.pairwise(new):
        covered = [max(0.0, min(high, (k + 1) / old) - max(low, k / old)) for k in range(old)]
        rows.append([share / (high - low) for share in covered])
    return rows


class Standardise(keras.layers.Layer):
    """(h − mean)/std for each channel, with statistics of the data that initialise the model."""

    def build(self, input_shape: Any) -> None:
        """Makes the statistics: 0 and 1 until they are known."""
        shape = (input_shape[-1],)
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer="zeros", trainable=False, autocast=False
        )
        self.std = self.add_weight(
            name="std", shape=shape, initializer="ones", trainable=False, autocast=False
        )

    def call(self, h: Any) -> Any:
        """``h``, standardised in full precision."""
        values = tf.cast(h, self.mean.dtype)
        return tf.cast((values - self.mean) / self.std, self.compute_dtype)


class GatedBlock(keras.layers.Layer):
    """x + a·σ(b), with a and b from two causal convolutions of concat_elu(x).

    The first convolution's output adds to it a 1×1 convolution of the other streams, the second's a
    1×1 convolution of the condition, which is not masked.

    Args:
        filters: channels of x.
        kernel: of both convolutions.
        shift: of both convolutions.
        dropout: rate between the two.
        aside: whether it is given other streams.
        grid: for ``Resize``, which puts the condition on this block's pixels; ``None`` where
            there is no condition.
        seeds: an iterator of integer seeds.
        **kwargs: of ``keras.layers.Layer``.

    References:
        van den Oord et al., NeurIPS 2016, arXiv:1606.05328; Salimans et al., ICLR 2017,
        arXiv:1701.05517.
    """

    def __init__(
        self,
        filters: int,
        kernel: tuple[int, int],
        shift: Shift,
        *,
        dropout: float,
        aside: bool,
        grid: Grid | None = None,
        seeds: Iterator[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}
        self.first = CausalConv(filters, kernel, shift, seed=next(seeds), **own)
        self.dropout = Dropout(dropout, seed=next(seeds), **own)
        self.second = CausalConv(
            2 * filters, kernel, shift, init_scale=0.1, seed=next(seeds), **own
        )
        if aside:
            self.aside = CausalConv(filters, seed=next(seeds), **own)
        if grid is not None:
            self.project = CausalConv(2 * filters, init_scale=0.1, seed=next(seeds), **own)
            self.resize = Resize(grid, **own)

    def call(self, x: Any, aside: Any = None, condition: Any = None, training: bool = False) -> Any:
        """The block's output, of the shape of ``x``."""
        y = self.first(concat_elu(x))
        if aside is not None:
            y += self.aside(concat_elu(aside))
        y = self.second(self.dropout(concat_elu(y), training=training))
        if condition is not None:
            y += self.resize(self.project(condition))
        a, b = tf.split(y, 2, axis=-1)
        return x + a * tf.sigmoid(b)


class Grow(keras.layers.Layer):
    """Twice the height and width, cut to a size: a transposed 2×2 convolution of stride 2.

    Args:
        filters: output channels.
        size: height and width.
        seed: integer seed.
        **kwargs: of ``keras.layers.Layer``.
    """

    def __init__(
        self, filters: int, size: tuple[int, int], *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._size = size
        self.conv = CausalConv(4 * filters, seed=seed, dtype=self.dtype_policy)

    def call(self, x: Any) -> Any:
        """``x``, grown."""
        height, width = self._size
        return tf.nn.depth_to_space(self.conv(x), 2)[:, :height, :width]
