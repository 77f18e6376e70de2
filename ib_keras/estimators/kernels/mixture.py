"""Densities of Gaussian mixtures relative to one component, in tiles and compiled by XLA.

A point t = s + βz is drawn from the component at s, whose density at t is φ(z)/β^d, where φ is the
standard normal density. The mixture is computed relative to this density,

    L(t) = ln Σ_l w_l exp((|z|² − |u − c_l|²) / 2),    u = t/β, c_l = s_l/β,

so that no maximum has to be found first, and common terms cancel before they are rounded.
|u − c|² is computed from differences of coordinates, which are small and exact where they matter;
|u|² + |c|² − 2u·c would lose all digits in float32 if β is small. No n×n array is stored: the
differences, the exponential and the sum are one fused loop. For wide T, a matrix product in float64
is used.

If every component has its own standard deviations σ_l, one for each coordinate, and the point is
drawn from component i,

    L(t) = ln Σ_l w_l exp((|z|² − |(u − c_l)/σ_l|²) / 2 + Σ_k ln σ_ik/σ_lk).

The caller adds Σ ln σ_i to |z|²/2 and subtracts Σ ln σ_l from ln w_l, so that differences of
coordinates only need one more multiplication, by 1/σ_l. If a broad and a narrow component overlap,
the exponent can be large and positive. A bound on it decides whether float32 is sufficient, and a
sum that overflows in float64 is repeated after subtraction of its maximum. Differences are accurate
if |u| and |c| are moderate in units of the smallest σ of their coordinate. For wide T, one matrix
product of twice the inner dimension is used, (u, u²)·(2c/σ², −1/σ²)ᵀ. Where the exponent is not
negligible, its terms cancel to about |c/σ|²·2⁻⁵³, as in the case of equal σ.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ib_keras.arrays.rows import slices

# Largest numbers of points and centres in a tile; lengths above _STEP are multiples of it.
_POINTS, _CENTRES, _STEP = 4096, 4096, 512
# Largest number of points for wide T, whose exponents are stored in float64.
_WIDE_POINTS = 1024
# Largest dimension for differences of coordinates; for wider T the matrix product is faster.
NARROW = 16
# Largest |c| at which float32 represents a point to 1e-4 β, and largest exponent for float32.
_SINGLE, _SINGLE_SHIFT = 2048.0, 60.0
_HALF = 2**-0.5
# Largest |c|² at which the float64 product is accurate to 1e-6.
_GRAM = 2.0**32
# Largest |c| at which scaled differences u − c are accurate to 1e-6.
FAR = 2.0**32


def log_sums(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    *,
    inverse: np.ndarray | None = None,
) -> np.ndarray:
    """Return L of each point, for a batch of mixtures.

    Args:
        points: u = s/β + z, ``(b, p, d)``.
        noise: |z|²/2, ``(b, p)``; with ``inverse``, plus Σ ln σ of the point's own component.
        centres: s_l/β, ``(b, c, d)``.
        log_weights: ln w_l, ``(c,)`` or ``(b, c)``; with ``inverse``, minus Σ ln σ_l.
        inverse: 1/σ_l in units of β, ``(b, c, d)``; ``None`` if all are 1.

    Returns:
        L in float64, ``(b, p)``; −∞ if no centre is near.
    """
    batch, _, dim = points.shape
    log_weights = np.broadcast_to(log_weights, (batch, centres.shape[1]))
    largest = _largest(points, centres, inverse)
    wide = dim > NARROW and _squares(centres, inverse) > _GRAM
    if wide or largest > FAR:
        return _far_apart(points, noise, centres, log_weights, inverse)
    dtype: Any = np.float64
    if dim <= NARROW:
        dtype = _precision(points, noise, centres, log_weights, inverse)
    sums = np.empty(noise.shape)
    height = _tile(points.shape[1], _POINTS if dim <= NARROW else _WIDE_POINTS)
    width = _tile(centres.shape[1], _CENTRES)
    # Small mixtures are computed in batches.
    many = max(1, min(batch, _POINTS * _CENTRES // (height * width)))
    kernel = _compiled(dim, many, height, width, dtype, inverse is not None)
    for part in slices(batch, many):
        tiles = [
            (
                _block(centres[part, columns], many, width, dtype, factor=_HALF, across=True),
                _block(log_weights[part, columns], many, width, dtype, fill=-np.inf),
                *(
                    _block(scales[part, columns], many, width, dtype, across=True)
                    for scales in (() if inverse is None else (inverse,))
                ),
            )
            for columns in slices(centres.shape[1], width)
        ]
        for rows in slices(points.shape[1], height):
            u = _block(points[part, rows], many, height, dtype, factor=_HALF)
            h = _block(noise[part, rows], many, height, dtype)
            pending = [kernel(u, h, *tile) for tile in tiles]
            total = np.sum([tile.numpy().astype(np.float64) for tile in pending], axis=0)
            target = sums[part, rows]
            target[...] = total[: target.shape[0], : target.shape[1]]
    if not np.isfinite(sums).all():  # a centre is much nearer than that from which t was drawn
        return _far_apart(points, noise, centres, log_weights, inverse)
    with np.errstate(divide="ignore"):
        return np.log(sums)


class Sums:
    """Sums over groups of centres for groups of points, ``Σ_l w_l exp((|z|² − |u − c_l|²) / 2)``.

    Args:
        points: u = s/β + z, ``(p, d)``.
        noise: |z|²/2, ``(p,)``.
        centres: s_l/β, ``(c, d)``.
        log_weights: ln w_l, ``(c,)``.
        many: number of pairs of groups in one program.
        length: number of points or centres in a group.
    """

    def __init__(
        self,
        points: np.ndarray,
        noise: np.ndarray,
        centres: np.ndarray,
        log_weights: np.ndarray,
        many: int,
        length: int,
    ) -> None:
        self._dtype = _precision(points[None], noise, centres[None], log_weights, None)
        self._many, self._length = many, length
        dim = points.shape[1]
        self._kernel = _compiled(dim, many, length, length, self._dtype, False)
        # The last row, which adds nothing, fills groups with fewer rows.
        self._points = _with_last(points * _HALF, 0.0, self._dtype)
        self._noise = _with_last(noise, -np.inf, self._dtype)
        self._centres = _with_last(centres * _HALF, 0.0, self._dtype)
        self._weights = _with_last(log_weights, -np.inf, self._dtype)

    def __call__(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the sums for pairs of groups, ``(pairs, length)``.

        Args:
            rows: the indices of the points of each group, ``(pairs, length)``, padded with −1.
            columns: the indices of the centres of each group, ``(pairs, length)``, padded with −1.
        """
        import tensorflow as tf

        pairs = len(rows)
        if pairs < self._many:
            fill = np.full((self._many - pairs, self._length), -1)
            rows, columns = np.concatenate([rows, fill]), np.concatenate([columns, fill])
        sums = self._kernel(
            tf.constant(self._points[rows]),
            tf.constant(self._noise[rows]),
            tf.constant(self._centres[columns].transpose(0, 2, 1)),
            tf.constant(self._weights[columns]),
        )
        return sums.numpy()[:pairs].astype(np.float64)


def _with_last(values: np.ndarray, last: float, dtype: Any) -> np.ndarray:
    out = np.full((len(values) + 1, *values.shape[1:]), last, dtype)
    out[:-1] = values
    return out


def _precision(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    inverse: np.ndarray | None,
) -> Any:
    """Return the dtype in which the sums for narrow T are accurate."""
    largest = _largest(points, centres, inverse)
    top = float(noise.max(initial=0)) + float(log_weights.max(initial=0))
    return np.float32 if largest <= _SINGLE and top <= _SINGLE_SHIFT else np.float64


def _largest(points: np.ndarray, centres: np.ndarray, inverse: np.ndarray | None) -> float:
    """Return the largest coordinate in units of the smallest standard deviation."""
    if inverse is None:
        return float(np.abs(centres).max(initial=0))
    # A point may be far from all centres if its own component is broad.
    lengths = np.maximum(np.abs(centres).max(axis=1), np.abs(points).max(axis=1))
    return float((lengths * inverse.max(axis=1)).max(initial=0))


def _squares(centres: np.ndarray, inverse: np.ndarray | None) -> float:
    """Return the largest |c|² in units of its own standard deviations."""
    scaled = centres if inverse is None else centres * inverse
    return float(np.square(scaled).sum(-1).max(initial=0))


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
def _compiled(dim: int, many: int, height: int, width: int, dtype: Any, scaled: bool) -> Any:
    """Compile the sums over a tile of centres for a tile of points, both in units of √2 β.

    Each shape has a separate program, because TensorFlow warns if a program is often compiled.
    """
    import tensorflow as tf

    def differences(u: Any, shift: Any, c: Any, log_weights: Any, *inverse: Any) -> Any:
        exponent = shift[:, :, None] + log_weights[:, None, :]
        for k in range(u.shape[2]):
            step = u[:, :, k, None] - c[:, None, k, :]
            for scale in inverse:
                step *= scale[:, None, k, :]
            exponent -= step * step
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    def product(u: Any, shift: Any, c: Any, log_weights: Any) -> Any:
        rows = shift - tf.reduce_sum(u * u, axis=2)
        columns = log_weights - tf.reduce_sum(c * c, axis=1)
        exponent = 2 * tf.matmul(u, c) + rows[:, :, None] + columns[:, None, :]
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    def scaled_product(u: Any, shift: Any, c: Any, log_weights: Any, inverse: Any) -> Any:
        precision = inverse * inverse
        columns = log_weights - tf.reduce_sum(c * c * precision, axis=1)
        left, right = tf.concat([u, u * u], 2), tf.concat([2 * c * precision, -precision], 1)
        exponent = tf.matmul(left, right) + shift[:, :, None] + columns[:, None, :]
        return tf.reduce_sum(tf.exp(exponent), axis=2)

    shapes: list[tuple[int, ...]] = [(many, height, dim), (many, height)]
    shapes += [(many, dim, width), (many, width), *([(many, dim, width)] if scaled else [])]
    wide = scaled_product if scaled else product
    program = tf.function(
        differences if dim <= NARROW else wide, jit_compile=True, autograph=False,
        reduce_retracing=False,
    )  # fmt: skip
    return program.get_concrete_function(*(tf.TensorSpec(shape, dtype) for shape in shapes))


def _far_apart(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    inverse: np.ndarray | None,
) -> np.ndarray:
    """Compute ``log_sums`` with SciPy or NumPy, which is slower but accurate at any scale."""
    out = np.empty(noise.shape)
    for b in range(len(points)):
        for rows in slices(points.shape[1], _POINTS * 512 // centres.shape[1]):
            if inverse is None:
                squared = cdist(points[b, rows], centres[b], "sqeuclidean")
            else:
                squared = _squared_distances(points[b, rows], centres[b], inverse[b])
            exponent = log_weights[b] + noise[b, rows, None] - squared / 2
            out[b, rows] = np.logaddexp.reduce(exponent, axis=1)
    return out


def _squared_distances(points: np.ndarray, centres: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return |(u − c_l)/σ_l|², ``(p, c)``, which is infinite if it overflows."""
    squared = np.zeros((len(points), len(centres)))
    with np.errstate(over="ignore"):
        for u, c, scale in zip(points.T, centres.T, inverse.T, strict=True):
            squared += np.square((u[:, None] - c) * scale)
    return squared
