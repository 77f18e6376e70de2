"""Densities of Gaussian mixtures relative to one component, in tiles and compiled by XLA.

A point t = s + βz is drawn from the component at s, whose density at t is φ(z)/β^d. The mixture is
computed relative to this density,

    L(t) = ln Σ_l w_l exp((|z|² − |u − c_l|²) / 2),    u = t/β, c_l = s_l/β,

so that no maximum has to be found first, and common terms cancel before they are rounded.
|u − c|² is computed from differences of coordinates, which are small and exact where they matter,
while |u|² + |c|² − 2u·c loses all digits in float32 if β is small. No n×n array is stored:
differences, exponential and sum are one fused loop. Wide T use a matrix product in float64.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ib_keras.arrays.rows import slices

# Largest tile, and the unit of its lengths.
_POINTS, _CENTRES, _STEP = 4096, 4096, 512
# Largest number of points for wide T, whose exponents are stored in float64.
_WIDE_POINTS = 1024
# Largest dimension for differences of coordinates; for wider T the matrix product is faster.
NARROW = 16
# Largest |c| at which float32 represents a point to 1e-4 β, and largest |z|²/2 for its exp.
_SINGLE, _SINGLE_SHIFT = 2048.0, 60.0
_HALF = 2**-0.5
# Largest |c|² at which the float64 product is accurate to 1e-6.
_GRAM = 2.0**32
# Largest |c| at which scaled differences u − c are accurate to 1e-6.
_FAR = 2.0**32


def log_sums(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    *,
    double: bool = False,
) -> np.ndarray:
    """Return L of each point, for a batch of mixtures.

    Args:
        points: u = s/β + z, ``(b, p, d)``.
        noise: |z|²/2, ``(b, p)``.
        centres: s_l/β, ``(b, c, d)``.
        log_weights: ln w_l, ``(c,)`` or ``(b, c)``.
        double: whether to use float64 even if float32 is accurate to 1e-4.

    Returns:
        L in float64, ``(b, p)``; −∞ if no centre is near.
    """
    batch, _, dim = points.shape
    log_weights = np.broadcast_to(log_weights, (batch, centres.shape[1]))
    largest = float(np.abs(centres).max(initial=0))
    wide = dim > NARROW and float(np.square(centres).sum(-1).max(initial=0)) > _GRAM
    if wide or largest > _FAR:
        return _far_apart(points, noise, centres, log_weights)
    single = (
        not double
        and dim <= NARROW
        and largest <= _SINGLE
        and float(noise.max(initial=0)) <= _SINGLE_SHIFT
    )
    dtype = np.float32 if single else np.float64
    sums = np.empty(noise.shape)
    height = _tile(points.shape[1], _POINTS if dim <= NARROW else _WIDE_POINTS)
    width = _tile(centres.shape[1], _CENTRES)
    # Small mixtures are computed in batches.
    many = max(1, min(batch, _POINTS * _CENTRES // (height * width)))
    kernel = _compiled(dim, many, height, width, dtype)
    for part in slices(batch, many):
        tiles = [
            (
                _block(centres[part, columns], many, width, dtype, factor=_HALF, across=True),
                _block(log_weights[part, columns], many, width, dtype, fill=-np.inf),
            )
            for columns in slices(centres.shape[1], width)
        ]
        for rows in slices(points.shape[1], height):
            u = _block(points[part, rows], many, height, dtype, factor=_HALF)
            h = _block(noise[part, rows], many, height, dtype)
            pending = [kernel(u, h, c, w) for c, w in tiles]
            total = np.sum([tile.numpy().astype(np.float64) for tile in pending], axis=0)
            target = sums[part, rows]
            target[...] = total[: target.shape[0], : target.shape[1]]
    if not np.isfinite(sums).all():  # a centre is much nearer than the one drawn from
        return _far_apart(points, noise, centres, log_weights)
    with np.errstate(divide="ignore"):
        return np.log(sums)


def _tile(length: int, limit: int) -> int:
    """Round a length up, so that mixtures of similar size share one compiled program."""
    if length <= _STEP:
        return max(16, 1 << (max(length, 1) - 1).bit_length())
    part = -(-length // -(-length // limit))
    return -(-part // _STEP) * _STEP


def _block(
    values: np.ndarray, many: int, length: int, dtype: Any, *, fill: float = 0.0,
    factor: float = 1.0, across: bool = False,
) -> Any:  # fmt: skip
    """Return a tensor of the program's shape: padded, scaled, and transposed if ``across``."""
    import tensorflow as tf

    block = np.full((many, length, *values.shape[2:]), fill, dtype)
    np.multiply(
        values, factor, out=block[: values.shape[0], : values.shape[1]], casting="same_kind"
    )
    return tf.constant(block.transpose(0, 2, 1) if across else block)


@functools.cache
def _compiled(dim: int, many: int, height: int, width: int, dtype: Any) -> Any:
    """Compile the sums over a tile of centres for a tile of points, both in units of √2 β.

    Each shape has a separate program, because TensorFlow warns if one program is compiled often.
    """
    import tensorflow as tf

    def differences(u: Any, shift: Any, c: Any, log_weights: Any) -> Any:
        exponent = shift[:, :, None] + log_weights[:, None, :]
        for k in range(u.shape[2]):
            step = u[:, :, k, None] - c[:, None, k, :]
            exponent -= step * step
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    def product(u: Any, shift: Any, c: Any, log_weights: Any) -> Any:
        rows = shift - tf.reduce_sum(u * u, axis=2)
        columns = log_weights - tf.reduce_sum(c * c, axis=1)
        exponent = 2 * tf.matmul(u, c) + rows[:, :, None] + columns[:, None, :]
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    shapes = ((many, height, dim), (many, height), (many, dim, width), (many, width))
    program = tf.function(
        differences if dim <= NARROW else product, jit_compile=True, autograph=False,
        reduce_retracing=False,
    )  # fmt: skip
    return program.get_concrete_function(*(tf.TensorSpec(shape, dtype) for shape in shapes))


def _far_apart(
    points: np.ndarray, noise: np.ndarray, centres: np.ndarray, log_weights: np.ndarray
) -> np.ndarray:
    """Compute the same from SciPy's distances, which is slower but accurate at any scale."""
    out = np.empty(noise.shape)
    for b in range(len(points)):
        for rows in slices(points.shape[1], _POINTS * 512 // centres.shape[1]):
            squared = cdist(points[b, rows], centres[b], "sqeuclidean")
            exponent = log_weights[b] + noise[b, rows, None] - squared / 2
            out[b, rows] = np.logaddexp.reduce(exponent, axis=1)
    return out
