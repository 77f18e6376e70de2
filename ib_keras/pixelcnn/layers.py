"""Layers in which each pixel depends only on the pixels before it, and blocks of such layers."""

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
    """Let each ``CausalConv`` that is called eagerly set its scale and bias from its input."""
    token = _INITIALISING.set(True)
    try:
        yield
    finally:
        _INITIALISING.reset(token)


def concat_elu(x: Any) -> Any:
    """Concatenate ELU(x) and ELU(−x), with twice the channels of x."""
    return tf.nn.elu(tf.concat([x, -x], axis=-1))


def down_shift(x: Any) -> Any:
    """Move each row down by one; the first row becomes zeros."""
    return tf.pad(_without_last(x, 1), [[0, 0], [1, 0], [0, 0], [0, 0]])


def right_shift(x: Any) -> Any:
    """Move each column to the right by one; the first column becomes zeros."""
    return tf.pad(_without_last(x, 2), [[0, 0], [0, 0], [1, 0], [0, 0]])


def _without_last(x: Any, axis: int) -> Any:
    """Leave out the last row or column; the gradient of a split is cheaper than that of a slice."""
    return tf.split(x, [x.shape[axis] - 1, 1], axis=axis)[0]


class CausalConv(keras.layers.Layer):
    """A weight-normalised convolution with a kernel that does not reach below its own pixel.

    y = g·(V/‖V‖) ∗ x + b, where the norm is that of each output channel's kernel. With stride 2, a
    side of length n becomes ⌈n/2⌉, and pixel i corresponds to the pixels 2i and 2i + 1.

    Args:
        filters: number of output channels.
        kernel: height and width of the kernel.
        shift: ``"down"``: the kernel ends in its pixel's row and is centred on its column;
            ``"right"``: the kernel ends in its pixel; ``"none"``: the kernel is centred on its
            pixel, for inputs that are not images.
        strides: 1 or 2.
        init_scale: standard deviation of each output channel on the data that initialise it.
        seed: integer seed of V.
        **kwargs: arguments of ``keras.layers.Layer``.

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
        """Make V, g and b, in full precision for any compute dtype.

        They are rows of one variable, because an optimizer is slow with many small variables.
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
        """Compute the convolution of ``x (n, height, width, channels)``."""
        if _INITIALISING.get() and tf.executing_eagerly():
            self._initialise(x)
        direction, scale, bias = tf.split(self.rows, [self.rows.shape[0] - 2, 1, 1])
        y = self._convolve(x, _weight_norm(direction, scale))
        return tf.nn.bias_add(y, tf.cast(bias[0], y.dtype))

    def _convolve(self, x: Any, rows: Any) -> Any:
        kernel = tf.cast(tf.reshape(rows, self._shape), x.dtype)
        # With padding inside the convolution, gradients are slower on a CPU.
        padded = x if self.kernel == (1, 1) else tf.pad(x, self._padding)
        return tf.nn.conv2d(padded, kernel, self.strides, "VALID")

    def _initialise(self, x: Any) -> None:
        direction = self.rows[:-2]
        y = self._convolve(x, _weight_norm(direction, tf.ones_like(direction[:1])))
        mean, variance = tf.nn.moments(tf.cast(y, direction.dtype), axes=[0, 1, 2])
        # A constant channel, as images with a single row have, has no scale to correct.
        varies = variance > 1e-6
        scale = self.init_scale * tf.where(varies, tf.math.rsqrt(tf.maximum(variance, 1e-6)), 1.0)
        self.rows.assign(tf.concat([direction, [scale], [-mean * scale]], axis=0))


@tf.custom_gradient
def _weight_norm(direction: Any, scale: Any) -> Any:
    """Compute g·V/‖V‖ for V ``(rows, filters)`` and g ``(1, filters)`` with few operations."""
    squares = tf.reduce_sum(tf.square(direction), axis=0, keepdims=True)
    inverse = tf.math.rsqrt(tf.maximum(squares, 1e-12))
    unit = direction * inverse

    def gradient(upstream: Any) -> Any:
        along = tf.reduce_sum(upstream * unit, axis=0, keepdims=True)
        return (upstream - unit * along) * (scale * inverse), along

    return unit * scale, gradient


class Dropout(keras.layers.Layer):
    """Dropout as in ``keras.layers.Dropout``, with the Philox generator.

    The default generator of XLA is many times slower on a CPU.

    Args:
        rate: the probability of zeroing a value, rounded to a multiple of 2⁻¹⁶.
        seed: integer seed.
        **kwargs: arguments of ``keras.layers.Layer``.
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self._threshold = min(round(rate * 2**16), 2**16 - 1)
        self.seed_generator = keras.random.SeedGenerator(seed) if self._threshold else None
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Apply dropout to ``x`` in training."""
        if not training or self.seed_generator is None:
            return x
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max - 1), tf.int32)
        size = tf.size(x)
        words = tf.random.stateless_uniform(
            [(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
        )
        # Each word gives two numbers, because drawing is the main cost of dropout.
        halves = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size]
        kept = tf.reshape(halves >= tf.constant(self._threshold, tf.uint16), tf.shape(x))
        return x * (tf.cast(kept, x.dtype) / (1 - self._threshold / 2**16))


class Resize(keras.layers.Layer):
    """Averages maps over the area of each pixel of another grid; a side of 1 is left unchanged.

    Args:
        edges: the edges of the new grid's pixels for rows and columns, ``(0, …, 1)``.
        coarsen: whether sides that are shorter than the new ones stay unchanged; the next layers
            then compute fewer pixels, which are resized afterwards.
        **kwargs: arguments of ``keras.layers.Layer``.
    """

    def __init__(self, edges: Grid, *, coarsen: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._edges, self._coarsen = edges, coarsen
        self.built = True

    def call(self, x: Any) -> Any:
        """Resize ``x (n, height, width, channels)`` to the new grid."""
        for axis, equation in ((1, "ai,nijc->najc"), (2, "bj,nijc->nibc")):
            old, edges = x.shape[axis], self._edges[axis - 1]
            new = len(edges) - 1
            if old == 1 or old == new or (self._coarsen and old < new):
                continue
            overlaps = _overlaps(old, edges)
            if new % old == 0 and np.array_equal(overlaps, np.repeat(np.eye(old), new // old, 0)):
                x = _repeated(x, new // old, axis)  # much cheaper
            else:
                x = tf.einsum(equation, tf.constant(overlaps, x.dtype), x)
        return x


def _repeated(x: Any, times: int, axis: int) -> Any:
    """Repeat each row or column of ``x`` several times."""
    shape, full = tf.shape(x), x.shape.as_list()
    times_each = [1] * (len(full) + 1)
    times_each[axis + 1] = times
    repeated = tf.tile(tf.expand_dims(x, axis + 1), times_each)
    full[axis] *= times
    return tf.reshape(repeated, [shape[0], *full[1:]])


def _overlaps(old: int, new: tuple[float, ...]) -> list[list[float]]:
    """Return the share of each new cell that each of ``old`` equal cells covers."""
    rows = []
    for low, high in itertools.pairwise(new):
        covered = [max(0.0, min(high, (k + 1) / old) - max(low, k / old)) for k in range(old)]
        rows.append([share / (high - low) for share in covered])
    return rows


class Standardise(keras.layers.Layer):
    """Standardises each channel, (h − mean)/std, by statistics of the data that initialise it."""

    def build(self, input_shape: Any) -> None:
        """Make the statistics, which are 0 and 1 initially."""
        self._add((input_shape[-1],))

    def _add(self, shape: tuple[int, ...]) -> None:
        self.mean = self.add_weight(
            name="mean", shape=shape, initializer="zeros", trainable=False, autocast=False
        )
        self.std = self.add_weight(
            name="std", shape=shape, initializer="ones", trainable=False, autocast=False
        )

    def call(self, h: Any) -> Any:
        """Standardise ``h`` in full precision."""
        values = tf.cast(h, self.mean.dtype)
        return tf.cast((values - self.mean) / self.std, self.compute_dtype)


class Grouped(Standardise):
    """Standardises and linearly maps the h of each group, with its own statistics and weights.

    The last channel of h is the number of the group. The output has a linear map of the other
    channels, with as many channels, and one channel for each group, which is 1 for rows of the
    group and 0 for others.

    Args:
        groups: K, the number of groups.
        seed: integer seed of the weights.
        **kwargs: arguments of ``keras.layers.Layer``.
    """

    def __init__(self, groups: int, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._groups, self._seed = groups, seed

    def build(self, input_shape: Any) -> None:
        """Make the statistics, and one convolution of all groups' channels side by side."""
        channels = input_shape[-1] - 1
        self._add((self._groups, channels))
        self.mix = CausalConv(channels, seed=self._seed, dtype=self.dtype_policy)
        self.mix.build((*input_shape[:-1], self._groups * (channels + 1)))

    def call(self, h: Any) -> Any:
        """Map ``h (n, height, width, channels + 1)``."""
        shape, channels = tf.shape(h), h.shape[-1] - 1
        values = tf.cast(h, self.mean.dtype)
        values, number = tf.split(values, [channels, 1], axis=-1)
        group = tf.one_hot(tf.cast(number[..., 0], tf.int32), self._groups, dtype=values.dtype)
        mean, std = (tf.tensordot(group, part, 1) for part in (self.mean, self.std))
        standard = (values - mean) / std
        apart = tf.reshape(
            group[..., None] * standard[..., None, :],
            [shape[0], *h.shape[1:3], self._groups * channels],
        )
        mixed = self.mix(tf.cast(tf.concat([apart, group], axis=-1), self.compute_dtype))
        return tf.concat([mixed, tf.cast(group, mixed.dtype)], axis=-1)


class GatedBlock(keras.layers.Layer):
    """A gated residual block, x + a·σ(b), with a and b from two causal convolutions.

    A 1×1 convolution of other streams is added to the output of the first convolution. A 1×1
    convolution of the condition is added to the output of the second; each pixel may depend on the
    whole condition.

    Args:
        filters: number of channels of x.
        kernel: height and width of both kernels.
        shift: the shift of both convolutions, as for ``CausalConv``.
        dropout: dropout rate between the convolutions.
        aside: whether the block has other streams as an input.
        grid: the edges of this block's pixels, to which the condition is resized; ``None`` if there
            is no condition.
        seeds: an iterator of integer seeds.
        **kwargs: arguments of ``keras.layers.Layer``.

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
        """Compute the block's output, with the shape of ``x``."""
        y = self.first(concat_elu(x))
        if aside is not None:
            y += self.aside(concat_elu(aside))
        y = self.second(self.dropout(concat_elu(y), training=training))
        if condition is not None:
            y += self.resize(self.project(condition))
        a, b = tf.split(y, 2, axis=-1)
        return x + a * tf.sigmoid(b)


class Grow(keras.layers.Layer):
    """A transposed 2×2 convolution of stride 2, with its output cropped to a size.

    Args:
        filters: number of output channels.
        size: height and width of the output.
        seed: integer seed.
        **kwargs: arguments of ``keras.layers.Layer``.
    """

    def __init__(
        self, filters: int, size: tuple[int, int], *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._size = size
        self.conv = CausalConv(4 * filters, seed=seed, dtype=self.dtype_policy)

    def call(self, x: Any) -> Any:
        """Upsample ``x``."""
        height, width = self._size
        y = tf.nn.depth_to_space(self.conv(x), 2)
        return y if y.shape[1:3] == (height, width) else y[:, :height, :width]
