"""Pairwise Gaussian kernel sums, the kernel of the KDE family: tiled, XLA-compiled, symmetric."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ib_keras.arrays.scaling import magnitude
from ib_keras.progress import bar

_TILE = 1024
# Largest error of an exponent that is tolerated before the next precision is taken. The bounds it
# is compared with are worst cases; the sums' errors are some hundred times smaller.
_SINGLE, _DOUBLE = 1e-4, 1e-7
# Bytes of samples that are kept in the form in which they are multiplied.
_KEPT = 1 << 28


def kernel_sums(
    t: np.ndarray, variance: float, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over all samples, and over those of the same class, of two Gaussian kernels.

    S_i = Σ_j exp(−|t_i − t_j|² / c·variance) for c = 8 and c = 2, j = i included. One matrix of
    distances serves both (the second kernel is the fourth power of the first) and both sums; it
    exists in tiles only. |t_i − t_j|² is |t_i|² + |t_j|² − 2 t_i·t_j, in float32 where the rounding
    of that cannot matter at this variance, else in float64, and by direct differences where even
    that would not do.

    Args:
        t: ``(n, d)`` samples, float32 or float64.
        variance: the kernel's variance, in the squared unit of ``t``.
        labels: ``(n,)`` class codes; without them the second sum equals the first.

    Returns:
        Two ``(2, n)`` float64 arrays: sums over all samples, sums within the class; in each the
        row 0 is for c = 8 and the row 1 for c = 2.
    """
    n = len(t)
    classes = np.zeros(n, np.int32) if labels is None else labels.astype(np.int32)
    sums = np.zeros((4, n))
    # Beyond, nothing is a number but differences of samples.
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
    """A tile of rows in float64: nothing of the size of all samples is made."""
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
    columns = _padded(dim)

    def block(start: int) -> Any:
        rows = _centred(t, centre, start) / np.sqrt(8 * variance)
        scaled = np.zeros((tile, columns), dtype)
        scaled[: len(rows), :dim] = rows
        norms = np.full(tile, np.inf, dtype)  # exp(−∞) = 0: the padding adds nothing
        norms[: len(rows)] = np.square(scaled[: len(rows)].astype(np.float64)).sum(axis=1)
        mine = np.full(tile, -1, np.int32)
        mine[: len(rows)] = classes[start : start + len(rows)]
        with tf.device("/CPU:0"):
            return tuple(tf.constant(a) for a in (scaled, norms, mine))

    # Made once where they fit, else again for each row of tiles, which costs little beside it.
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


def _padded(dim: int) -> int:
    """Widths are rounded up so that layers of similar width share one compiled program."""
    return max(8, 1 << (dim - 1).bit_length()) if dim <= 64 else -(-dim // 64) * 64


@functools.cache
def _compiled_tile() -> Any:
    """The kernel on one tile of rows and one of columns, with the sums along both."""
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def tile(a: Any, a2: Any, class_a: Any, b: Any, b2: Any, class_b: Any) -> Any:
        # Rounding can make a squared distance negative; the sample itself is then above 1.
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
    """The sums from exact differences: slower, right at any scale."""
    n = len(t)
    for i in range(0, n, _TILE):
        rows = slice(i, i + _TILE)
        one = _centred(t, centre, i)
        for j in range(0, n, _TILE):
            columns = slice(j, j + _TILE)
            # Squares that overflow are distinct samples: their kernel is exp(−∞) = 0, as it is.
            with np.errstate(over="ignore", under="ignore"):
                squared = cdist(one, _centred(t, centre, j), "sqeuclidean")
                wide = np.exp(-squared / (8 * variance))
                narrow = wide**4
            same = classes[rows, None] == classes[None, columns]
            for row, kernel in enumerate((wide, narrow, wide * same, narrow * same)):
                sums[row, rows] += kernel.sum(axis=1)
