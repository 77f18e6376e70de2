"""Pairwise Gaussian kernel sums for the KDE estimators, in symmetric tiles compiled by XLA."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ib_keras.arrays.rows import slices
from ib_keras.arrays.scaling import magnitude
from ib_keras.progress import bar

_TILE = 1024
# Largest worst-case error of an exponent in float32 and in float64. The errors of the sums are some
# hundred times smaller.
_SINGLE, _DOUBLE = 1e-4, 1e-7
# Largest size in bytes at which the scaled samples are kept in memory.
_KEPT = 1 << 28


def kernel_sums(
    t: np.ndarray, variance: float, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of two Gaussian kernels over all samples and over samples of the same class.

    S_i = Σ_j exp(−|t_i − t_j|² / c·variance) for c = 8 and c = 2, including j = i. Both kernels
    (the second is the fourth power of the first) and both sums use one matrix of distances, which
    is computed in tiles. |t_i − t_j|² is |t_i|² + |t_j|² − 2 t_i·t_j in float32 if the rounding is
    negligible at this variance, otherwise in float64; if this is not accurate either, it is
    computed from differences.

    Args:
        t: samples, float32 or float64, ``(n, d)``.
        variance: the kernel's variance, in the squared unit of ``t``.
        labels: class codes, ``(n,)``; without them the second sum equals the first.

    Returns:
        Two float64 arrays ``(2, n)``: sums over all samples, and sums within the class. In each,
        row 0 is for c = 8 and row 1 for c = 2.
    """
    n = len(t)
    classes = np.zeros(n, np.int32) if labels is None else labels.astype(np.int32)
    sums = np.zeros((4, n))
    # Larger values have no finite squares, and only their differences can be used.
    small = float(magnitude(t)[0, 0]) < 1e150
    centre = t.mean(axis=0, dtype=np.float64) if small else np.zeros(t.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        squared = max(
            float(np.square(_centred(t, centre, i)).sum(axis=1).max()) for i in range(0, n, _TILE)
        )
        spread = 4 * squared / (2 * variance) if small else np.inf
    if t.dtype == np.float32 and spread * 2.0**-24 < _SINGLE:
        _gram_sums(t, centre, variance, classes, np.float32, sums)
    elif spread * 2.0**-53 < _DOUBLE:
        _gram_sums(t, centre, variance, classes, np.float64, sums)
    else:
        _direct_sums(t, centre, variance, classes, sums)
    return sums[:2], sums[2:]


def _centred(t: np.ndarray, centre: np.ndarray, start: int) -> np.ndarray:
    """Return a tile of centred rows in float64."""
    return t[start : start + _TILE].astype(np.float64) - centre


def _gram_sums(
    t: np.ndarray,
    centre: np.ndarray,
    variance: float,
    classes: np.ndarray,
    dtype: Any,
    sums: np.ndarray,
) -> None:
    import tensorflow as tf

    n, dim = t.shape
    tile = _TILE if n > _TILE // 2 else max(32, 1 << (n - 1).bit_length())
    # Layers of similar width share one compiled program.
    columns = max(8, 1 << (dim - 1).bit_length()) if dim <= 64 else -(-dim // 64) * 64

    def block(start: int) -> Any:
        rows = _centred(t, centre, start) / np.sqrt(8 * variance)
        scaled = np.zeros((tile, columns), dtype)
        scaled[: len(rows), :dim] = rows
        norms = np.full(tile, np.inf, dtype)  # the padding adds exp(−∞) = 0
        norms[: len(rows)] = np.square(scaled[: len(rows)].astype(np.float64)).sum(axis=1)
        row_classes = np.full(tile, -1, np.int32)
        row_classes[: len(rows)] = classes[start : start + len(rows)]
        with tf.device("/CPU:0"):
            return tuple(tf.constant(a) for a in (scaled, norms, row_classes))

    # Blocks are cached if they fit, or computed again for each row of tiles, which is cheap.
    if n * columns * np.dtype(dtype).itemsize <= _KEPT:
        block = functools.cache(block)
    kernel = _compiled_tile()
    for i in bar(range(0, n, tile), "all pairs", unit="row of tiles"):
        row_block = block(i)
        for j in range(i, n, tile):
            along_rows, along_columns = kernel(*row_block, *block(j))
            _add(sums, i, along_rows.numpy())
            if j > i:
                _add(sums, j, along_columns.numpy())


def _add(sums: np.ndarray, start: int, part: np.ndarray) -> None:
    target = sums[:, start : start + part.shape[1]]
    target += part[:, : target.shape[1]]


@functools.cache
def _compiled_tile() -> Any:
    """Compile the kernel for a tile of rows and a tile of columns, with sums along both."""
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def tile(a: Any, a2: Any, class_a: Any, b: Any, b2: Any, class_b: Any) -> Any:
        # Rounding can make a squared distance negative, and the kernel larger than 1.
        exponent = 2 * tf.matmul(a, b, transpose_b=True) - a2[:, None] - b2[None, :]
        wide = tf.exp(tf.minimum(exponent, 0))
        narrow = tf.square(tf.square(wide))
        same = tf.cast(class_a[:, None] == class_b[None, :], wide.dtype)
        kernels = (wide, narrow, wide * same, narrow * same)
        return (
            tf.stack([tf.reduce_sum(k, axis=1) for k in kernels]),
            tf.stack([tf.reduce_sum(k, axis=0) for k in kernels]),
        )

    return tile


def _direct_sums(
    t: np.ndarray, centre: np.ndarray, variance: float, classes: np.ndarray, sums: np.ndarray
) -> None:
    """Compute the sums from exact differences, which is slower but accurate at any scale."""
    n = len(t)
    for rows in slices(n, _TILE):
        one = _centred(t, centre, rows.start)
        for columns in slices(n, _TILE):
            # Squares overflow for distant samples, whose kernel is exp(−∞) = 0.
            with np.errstate(over="ignore", under="ignore"):
                squared = cdist(one, _centred(t, centre, columns.start), "sqeuclidean")
                wide = np.exp(-squared / (8 * variance))
                narrow = wide**4
            same = classes[rows, None] == classes[None, columns]
            for row, kernel in enumerate((wide, narrow, wide * same, narrow * same)):
                sums[row, rows] += kernel.sum(axis=1)
