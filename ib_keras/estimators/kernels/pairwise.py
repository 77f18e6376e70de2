"""Pairwise Gaussian kernel sums for the KDE estimators, in symmetric tiles compiled by XLA."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from ib_keras.arrays.places import places
from ib_keras.arrays.rows import Rows, slices
from ib_keras.arrays.scaling import magnitude
from ib_keras.estimators.kernels.mixture import NARROW
from ib_keras.progress import bar

_TILE = 1024
# Largest worst-case errors of an exponent in float32 and in float64. The errors of the sums are a
# few hundred times smaller.
_SINGLE, _DOUBLE = 1e-4, 1e-7
# Largest distance from the centre, in standard deviations of the kernel, at which differences of
# coordinates are accurate to 1e-4 in float32.
_NEAR = 2048.0
# Largest size in bytes at which the scaled samples are kept in memory.
_KEPT = 1 << 28


class _Sample(NamedTuple):
    """The distinct pairs of a row and a class (places), and the number of samples at each.

    Attributes:
        t: all samples, ``(n, d)``.
        first: index of the first sample at each place, ``(m,)``.
        counts: number of samples at each place, ``(m,)``.
        classes: class of each place, ``(m,)``, or ``None``.
        centre: mean of the samples, ``(d,)``.
    """

    t: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    classes: np.ndarray | None
    centre: np.ndarray

    def centred(self, part: slice) -> np.ndarray:
        """Return some of the places, minus the centre, in float64."""
        return self.t[self.first[part]].astype(np.float64) - self.centre


def kernel_sums(
    t: np.ndarray, variance: float, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of a Gaussian kernel over all samples and over samples of the same class.

    S_i = Σ_j exp(−|t_i − t_j|² / 2·variance), including j = i. Each pair of distinct rows is
    computed once, in tiles: the kernel is symmetric, and equal rows of one class are represented by
    one row and a count. The distances of narrow samples are sums of squared differences, in float32
    if the samples are float32 and not far apart. For wider samples, |t_i − t_j|² is
    |t_i|² + |t_j|² − 2 t_i·t_j in float32 if the rounding is negligible at this variance, otherwise
    in float64; if this is not accurate either, it is computed from differences.

    Args:
        t: samples, float32 or float64, ``(n, d)``.
        variance: the kernel's variance, in the squared unit of ``t``.
        labels: class codes, ``(n,)``; without them the second sum equals the first.

    Returns:
        Two float64 arrays ``(n,)``: the sums over all samples, and the sums within the class.
    """
    found = places(Rows.of(t) if labels is None else Rows.of(t, labels[:, None]))
    # Squares of larger values overflow, so only differences of values can be used.
    small = float(magnitude(t)[0, 0]) < 1e150 * min(1.0, math.sqrt(variance))
    sample = _Sample(
        t,
        found.first,
        found.sizes,
        None if labels is None else labels[found.first].astype(np.int32),
        t.mean(axis=0, dtype=np.float64) if small else np.zeros(t.shape[1]),
    )
    sums = np.zeros((2, len(found.first)))
    _method(sample, variance, small)(sample, variance, sums)
    everything, within = sums[:, found.of]
    return everything, everything if labels is None else within


def _method(
    sample: _Sample, variance: float, small: bool
) -> Callable[[_Sample, float, np.ndarray], None]:
    """Return the fastest function that computes accurate sums for these samples."""
    if not small:
        return _direct_sums
    t, centre = sample.t, sample.centre
    single = t.dtype == np.float32
    if t.shape[1] <= NARROW:
        farthest = np.maximum(t.max(axis=0) - centre, centre - t.min(axis=0)).max()
        near = single and farthest <= _NEAR * math.sqrt(variance)
        return functools.partial(_tiled_sums, np.float32 if near else np.float64)
    squared = max(
        float(np.square(sample.centred(part)).sum(axis=1).max())
        for part in slices(len(sample.first), _TILE)
    )
    spread = 4 * squared / (2 * variance)
    if single and spread * 2.0**-24 < _SINGLE:
        return functools.partial(_tiled_sums, np.float32)
    if spread * 2.0**-53 < _DOUBLE:
        return functools.partial(_tiled_sums, np.float64)
    return _direct_sums


def _tiled_sums(dtype: Any, sample: _Sample, variance: float, sums: np.ndarray) -> None:
    """Add the sums of all tiles; each tile is summed along its rows and along its columns."""
    import tensorflow as tf

    n, dim = len(sample.first), sample.t.shape[1]
    tile = _TILE if n > _TILE // 2 else max(32, 1 << (n - 1).bit_length())
    # Layers of similar width share one compiled program.
    columns = dim if dim <= NARROW else max(32, 1 << (dim - 1).bit_length())
    columns = -(-dim // 64) * 64 if dim > 64 else columns

    def block(start: int) -> Any:
        part = slice(start, start + tile)
        rows = sample.centred(part) / math.sqrt(2 * variance)
        scaled = np.zeros((tile, columns), dtype)
        scaled[: len(rows), :dim] = rows
        counts = np.zeros(tile, dtype)  # the padding is counted 0 times
        counts[: len(rows)] = sample.counts[part]
        block = [scaled.T if dim <= NARROW else scaled, counts]
        if sample.classes is not None:
            classes = np.full(tile, -1, np.int32)
            classes[: len(rows)] = sample.classes[part]
            block.append(classes)
        if dim > NARROW:
            block.append(np.square(scaled.astype(np.float64)).sum(axis=1).astype(dtype))
        with tf.device("/CPU:0"):
            return tuple(tf.constant(array) for array in block)

    # Blocks are cached if they fit in memory; otherwise they are computed again, which is cheap.
    if n * columns * np.dtype(dtype).itemsize <= _KEPT:
        block = functools.cache(block)
    kernel = _compiled_tile(tile, columns, dtype, sample.classes is not None)
    for i in bar(range(0, n, tile), "all pairs", unit="row of tiles"):
        row_block = block(i)
        for j in range(i, n, tile):
            along_rows, along_columns = kernel(*row_block, *block(j))
            _add(sums, i, along_rows.numpy())
            if j > i:
                _add(sums, j, along_columns.numpy())
    sums /= sample.counts


def _add(sums: np.ndarray, start: int, part: np.ndarray) -> None:
    target = sums[:, start : start + part.shape[1]]
    target += part[:, : target.shape[1]]


@functools.cache
def _compiled_tile(tile: int, columns: int, dtype: Any, classes: bool) -> Any:
    """Compile the sums along the rows and the columns of a tile, times the own count of each.

    Each shape has a separate program, because TensorFlow warns if a program is often compiled.
    """
    import tensorflow as tf

    def exponents(a: Any, b: Any) -> Any:
        if columns <= NARROW:
            steps = [a[0][k][:, None] - b[0][k][None, :] for k in range(columns)]
            return functools.reduce(lambda total, step: total - step * step, steps, 0.0)
        products = tf.matmul(a[0], b[0], transpose_b=True)
        # Rounding can make a squared distance negative, and the kernel larger than 1.
        return tf.minimum(2 * products - a[-1][:, None] - b[-1][None, :], 0)

    def program(*blocks: Any) -> Any:
        a, b = blocks[: len(blocks) // 2], blocks[len(blocks) // 2 :]
        # Both counts are multiplied here, so that the kernel is computed once for all sums.
        kernels = [tf.exp(exponents(a, b)) * (a[1][:, None] * b[1][None, :])]
        if classes:
            kernels.append(tf.where(a[2][:, None] == b[2][None, :], kernels[0], 0))
        return tuple(
            tf.stack([tf.reduce_sum(kernel, axis=axis) for kernel in kernels]) for axis in (1, 0)
        )

    narrow = columns <= NARROW
    specs = [tf.TensorSpec((columns, tile) if narrow else (tile, columns), dtype)]
    specs += [tf.TensorSpec((tile,), kind) for kind in (dtype, *((tf.int32,) if classes else ()))]
    block = tuple(specs) if narrow else (*specs, tf.TensorSpec((tile,), dtype))
    return tf.function(
        program, jit_compile=True, autograph=False, reduce_retracing=False
    ).get_concrete_function(*block, *block)


def _direct_sums(sample: _Sample, variance: float, sums: np.ndarray) -> None:
    """Compute the sums from exact differences, which is slower but accurate at any scale."""
    parts = slices(len(sample.first), _TILE)
    for rows in parts:
        one = sample.centred(rows)
        for columns in parts:
            # Squares overflow for distant samples, whose kernel is exp(−∞) = 0.
            with np.errstate(over="ignore", under="ignore"):
                squared = cdist(one, sample.centred(columns), "sqeuclidean")
                kernel = np.exp(-squared / (2 * variance)) * sample.counts[columns]
            sums[0, rows] += kernel.sum(axis=1)
            if sample.classes is not None:
                same = sample.classes[rows, None] == sample.classes[None, columns]
                sums[1, rows] += (kernel * same).sum(axis=1)
