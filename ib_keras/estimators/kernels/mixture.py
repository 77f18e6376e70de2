"""The densities of Gaussian mixtures, relative to one component: tiled, in one pass, XLA-compiled.

A point t = s + βz was drawn from the component at s, whose density there is known to be
φ(z)/β^d. Every other one is taken relative to it,

    L(t) = ln Σ_l w_l exp((|z|² − |u − c_l|²) / 2),    u = t/β, c_l = s_l/β,

so that no maximum has to be found first, and what all mixtures share cancels before it is rounded.
|u − c|² is summed from differences of coordinates: where it matters, they are small and exact,
while |u|² + |c|² − 2u·c loses all digits in float32 when β is small. Nothing of size n×n exists:
differences, exponential and sum are one fused loop. Wide T take the matrix product in float64.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

_POINTS, _CENTRES, _STEP = 4096, 4096, 512
# Of wide T the exponents are held in float64.
_WIDE_POINTS = 1024
# Widest T that is compared coordinate by coordinate; the matrix product is faster beyond.
NARROW = 16
# Largest |c| at which float32 places a point to 1e-4 of β, and |z|²/2 that its exp can hold.
_SINGLE, _SINGLE_SHIFT = 2048.0, 60.0
_HALF = 2**-0.5
# Largest |c|² at which the float64 product is good to 1e-6.
_GRAM = 2.0**32
# Largest |c| of which a multiple can be subtracted from one of u, to 1e-6.
_FAR = 2.0**32


def log_sums(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    *,
    double: bool = False,
) -> np.ndarray:
    """L of each point, for a batch of mixtures, in units of the noise.

    Args:
        points: ``(b, p, d)`` u = s/β + z.
        noise: ``(b, p)`` |z|²/2.
        centres: ``(b, c, d)`` s_l/β.
        log_weights: ``(c,)`` or ``(b, c)`` ln w_l.
        double: computes in float64 where float32 would do, to 1e-7.

    Returns:
        ``(b, p)`` float64; −∞ where no centre is near.
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
    # Small mixtures go through the program many at a time.
    many = max(1, min(batch, _POINTS * _CENTRES // (height * width)))
    kernel = _compiled(dim, many, height, width, dtype)
    for b in range(0, batch, many):
        part = slice(b, b + many)
        tiles = [
            (
                _block(centres[part, i : i + width], many, width, dtype, factor=_HALF, across=True),
                _block(log_weights[part, i : i + width], many, width, dtype, fill=-np.inf),
            )
            for i in range(0, centres.shape[1], width)
        ]
        for i in range(0, points.shape[1], height):
            rows = slice(i, i + height)
            u = _block(points[part, rows], many, height, dtype, factor=_HALF)
            h = _block(noise[part, rows], many, height, dtype)
            pending = [kernel(u, h, c, w) for c, w in tiles]
            total = np.sum([tile.numpy().astype(np.float64) for tile in pending], axis=0)
            target = sums[part, rows]
            target[...] = total[: target.shape[0], : target.shape[1]]
    if not np.isfinite(sums).all():  # a centre far nearer than the one drawn from
        return _far_apart(points, noise, centres, log_weights)
    with np.errstate(divide="ignore"):
        return np.log(sums)


def _tile(length: int, limit: int) -> int:
    """Lengths are rounded up so that mixtures of similar size share one compiled program."""
    if length <= _STEP:
        return max(16, 1 << (max(length, 1) - 1).bit_length())
    part = -(-length // -(-length // limit))
    return -(-part // _STEP) * _STEP


def _block(
    values: np.ndarray, many: int, length: int, dtype: Any, *, fill: float = 0.0,
    factor: float = 1.0, across: bool = False,
) -> Any:  # fmt: skip
    """A tensor of the program's shape: padded, scaled, and transposed if ``across``."""
    import tensorflow as tf

    block = np.full((many, length, *values.shape[2:]), fill, dtype)
    np.multiply(
        values, factor, out=block[: values.shape[0], : values.shape[1]], casting="same_kind"
    )
    return tf.constant(block.transpose(0, 2, 1) if across else block)


@functools.cache
def _compiled(dim: int, many: int, height: int, width: int, dtype: Any) -> Any:
    """Sums over a tile of centres, for a tile of points; both in units of √2 β.

    A program for one shape: TensorFlow would warn of one that it is to compile for many.
    """
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def differences(u: Any, shift: Any, c: Any, log_weights: Any) -> Any:
        exponent = shift[:, :, None] + log_weights[:, None, :]
        for k in range(u.shape[2]):
            step = u[:, :, k, None] - c[:, None, k, :]
            exponent -= step * step
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def product(u: Any, shift: Any, c: Any, log_weights: Any) -> Any:
        rows = shift - tf.reduce_sum(u * u, axis=2)
        columns = log_weights - tf.reduce_sum(c * c, axis=1)
        exponent = 2 * tf.matmul(u, c) + rows[:, :, None] + columns[:, None, :]
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    shapes = ((many, height, dim), (many, height), (many, dim, width), (many, width))
    program = differences if dim <= NARROW else product
    return program.get_concrete_function(*(tf.TensorSpec(shape, dtype) for shape in shapes))


def _far_apart(
    points: np.ndarray, noise: np.ndarray, centres: np.ndarray, log_weights: np.ndarray
) -> np.ndarray:
    """The same from SciPy's distances: slower, right at any scale."""
    out = np.empty(noise.shape)
    for b in range(len(points)):
        step = max(1, _POINTS * 512 // centres.shape[1])
        for i in range(0, points.shape[1], step):
            rows = slice(i, i + step)
            squared = cdist(points[b, rows], centres[b], "sqeuclidean")
            exponent = log_weights[b] + noise[b, rows, None] - squared / 2
            out[b, rows] = np.logaddexp.reduce(exponent, axis=1)
    return out
