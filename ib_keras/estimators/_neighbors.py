"""Nearest neighbours: trees in few dimensions, blocks of all pairs in many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from ib_keras.estimators._rows import Rows

Metric = Literal["chebyshev", "euclidean"]

# Above these dimensions all pairs are faster than a tree (benchmarks/neighbors.py).
_TREE_JOINT, _TREE_ONE = 12, 8
_ROWS, _PAIRS = 512, 1 << 23
# Of a squared radius: what is strictly inside, whatever the rounding of distances.
_INSIDE = 1 - 1e-10
# Up to here distances are summed coordinate by coordinate; then by a matrix product.
_UNROLLED = 16
# Wider samples stay as they were given, and become float64 a tile at a time; so do so few that
# compiling a program for them takes longer than counting.
WIDE, _FEW, _COLUMNS = 64, 1024, 4096
# Squared distances by a matrix product, relative to the squared lengths, that are rounding.
_ROUNDING = 1e-13


def joint_counts(
    x: np.ndarray, y: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each sample: how many neighbours define its ball, and how many lie in it in each space.

    With ε_i the distance to the k-th neighbour, the larger of the distances in the two spaces, the
    counts are of samples strictly nearer than ε_i. Where the k nearest coincide with the sample,
    ε_i = 0, the counts are of those that coincide.

    Args:
        x: ``(n, dx)``.
        y: ``(n, dy)``.
        k: the neighbour, < n.
        metric: of the distance in each space.

    Returns:
        Three ``(n,)`` arrays: the number of neighbours (k, or more at ε = 0), and n_x + 1 and
        n_y + 1 (the sample itself is counted; at ε = 0 it is not).
    """
    dims = x.shape[1] + y.shape[1]
    tree = metric == "chebyshev" or max(x.shape[1], y.shape[1]) == 1
    if not (tree and dims <= _TREE_JOINT):
        compiled = len(x) > _FEW and max(x.shape[1], y.shape[1]) <= WIDE
        return (_all_pairs if compiled else _pairs_in_tiles)(x, y, k, metric)
    joint = np.concatenate([x, y], axis=1)
    # In spaces of one dimension each, every norm is the same.
    found = KDTree(joint).query(joint, k=[k + 1], p=np.inf, workers=-1)[0]
    radius = np.asarray(found)[:, 0]
    inside = np.nextafter(radius, 0)
    in_x, in_y = (_count(space, inside) for space in (x, y))
    same = radius == 0
    neighbours = np.full(len(x), k)
    if same.any():
        both = _count(joint, np.zeros(len(x)))
        neighbours = np.where(same, both - 1, neighbours)
        in_x, in_y = np.where(same, in_x - 1, in_x), np.where(same, in_y - 1, in_y)
    return neighbours, in_x, in_y


def distances(x: np.ndarray | Rows, k: int, metric: Metric = "euclidean") -> np.ndarray:
    """Distances to the nearest 1…k neighbours, ``(n, k)``."""
    if x.shape[1] <= _TREE_JOINT:
        x = x[:]
        # Of one coordinate all norms are the same, and this one needs no squares.
        p = 2 if metric == "euclidean" and x.shape[1] > 1 else np.inf
        found = KDTree(x).query(x, k=np.arange(2, k + 2), p=p, workers=-1)[0]
        return np.asarray(found).reshape(len(x), k)
    out = np.empty((len(x), k))
    for rows, block in _blocks(x, metric):
        out[rows] = np.sort(np.partition(block, k, axis=1)[:, : k + 1], axis=1)[:, 1:]
    return np.sqrt(out) if metric == "euclidean" else out


def counts_within(x: np.ndarray, radius: np.ndarray, metric: Metric) -> np.ndarray:
    """The number of samples strictly nearer than each sample's radius, itself included."""
    if x.shape[1] == 1 or (metric == "chebyshev" and x.shape[1] <= _TREE_ONE):
        return _count(x, np.nextafter(radius, 0))
    found = np.empty(len(x), int)
    # The border belongs to the neighbour that set the radius, whose distance may round otherwise.
    limit = np.nextafter(np.square(radius) * _INSIDE if metric == "euclidean" else radius, 0)
    for rows, block in _blocks(x, metric):
        found[rows] = (block <= limit[rows, None]).sum(axis=1)
    return np.maximum(found, 1)


def _count(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The number of samples within a Chebyshev radius, border and the sample itself included."""
    if x.shape[1] == 1:
        # Values that repeat are one place: however many lie on the border, they count alike.
        places, counts = np.unique(x[:, 0], return_counts=True)
        low = np.searchsorted(places, x[:, 0] - radius, side="left")
        high = np.searchsorted(places, x[:, 0] + radius, side="right")
        low, high = _exact(x[:, 0], places, radius, low, high)
        before = np.concatenate([[0], np.cumsum(counts)])
        return before[high] - before[low]
    from sklearn.neighbors import KDTree as FastTree

    return FastTree(x, metric="chebyshev").query_radius(x, radius, count_only=True)


def _exact(
    x: np.ndarray, places: np.ndarray, radius: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corrects limits for the rounding of x ± radius: the rule is |x − x_j| ≤ radius."""
    n = len(places)
    for _ in range(3):
        low -= (low > 0) & (np.abs(x - places[np.maximum(low - 1, 0)]) <= radius)
        high += (high < n) & (np.abs(x - places[np.minimum(high, n - 1)]) <= radius)
    for _ in range(3):
        low += (low < high - 1) & (np.abs(x - places[np.minimum(low, n - 1)]) > radius)
        high -= (high > low + 1) & (np.abs(x - places[np.maximum(high - 1, 0)]) > radius)
    return low, high


def _blocks(x: np.ndarray | Rows, metric: Metric) -> Any:
    """Rows and their distances to all samples; squared ones for Euclidean."""
    if len(x) <= _FEW or x.shape[1] > WIDE:
        centre = Rows.of(x).centre()
        for rows in _rows(len(x)):
            yield rows, _to_all(x, rows, metric, centre)
        return
    x, unrolled = x[:], x.shape[1] <= _UNROLLED or metric == "chebyshev"
    x = x if unrolled else x - Rows.of(x).centre()
    whole = _tensor(x)
    for rows in _rows(len(x)):
        kernel = _compiled(metric, unrolled, len(rows), x.shape)
        yield rows, kernel(_tensor(x[rows]), whole).numpy()


def _to_all(
    x: np.ndarray | Rows, rows: np.ndarray, metric: Metric, centre: np.ndarray
) -> np.ndarray:
    """Distances of some rows to all samples, ``(rows, n)``; squared ones for Euclidean."""
    out = np.empty((len(rows), len(x)))
    product = metric == "euclidean" and x.shape[1] > _UNROLLED
    # Only the product needs it; differences of what lies on a grid stay exact without.
    shift = centre if product else 0.0
    one = x[rows].astype(np.float64) - shift
    for start in range(0, len(x), _COLUMNS):
        tile = x[start : start + _COLUMNS].astype(np.float64)
        tile -= shift
        part = out[:, start : start + _COLUMNS]
        if not product:
            part[...] = cdist(one, tile, "sqeuclidean" if metric == "euclidean" else metric)
            continue
        lengths = np.square(one).sum(axis=1)[:, None] + np.square(tile).sum(axis=1)
        np.matmul(one, tile.T, out=part)
        part *= -2
        part += lengths
        part[part < _ROUNDING * lengths] = 0
    return out


def _pairs_in_tiles(
    x: np.ndarray, y: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``joint_counts`` with a memory of tiles beside the samples."""
    found = np.empty((3, len(x)), int)
    centres = [Rows.of(v).centre() for v in (x, y)]
    for rows in _rows(len(x)):
        in_x, in_y = (
            _to_all(v, rows, metric, centre) for v, centre in zip((x, y), centres, strict=True)
        )
        both = np.maximum(in_x, in_y)
        both[np.arange(len(rows)), rows] = np.inf
        radius = np.partition(both, k - 1, axis=1)[:, k - 1 : k]
        same = radius[:, 0] == 0
        for i, (space, least) in enumerate(((both, 0), (in_x, 1), (in_y, 1))):
            # At ε = 0 those that coincide, without the sample itself; else those within.
            coincide = (space <= 0).sum(axis=1) - least
            inside = k if i == 0 else np.maximum((space < radius).sum(axis=1), 1)
            found[i, rows] = np.where(same, coincide, inside)
    return found[0], found[1], found[2]


def _rows(n: int) -> Iterator[np.ndarray]:
    """Blocks of rows, all of one length: the last reaches back."""
    length = min(n, max(16, min(_ROWS, _PAIRS // n)))
    for start in range(0, n, length):
        yield np.arange(length) + min(start, n - length)


def _tensor(x: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(x, tf.float64)


def _distance(a: Any, b: Any, metric: str, unrolled: bool) -> Any:
    import tensorflow as tf

    if not unrolled:
        lengths = tf.reduce_sum(a * a, axis=1)[:, None] + tf.reduce_sum(b * b, axis=1)[None, :]
        squared = lengths - 2 * tf.matmul(a, b, transpose_b=True)
        return tf.where(squared < _ROUNDING * lengths, tf.zeros_like(squared), squared)
    columns = tf.transpose(b)
    total = tf.zeros([], a.dtype)
    for i in range(a.shape[1]):
        step = a[:, i, None] - columns[None, i, :]
        total = total + step * step if metric == "euclidean" else tf.maximum(total, tf.abs(step))
    return total


@functools.cache
def _compiled(metric: str, unrolled: bool, rows: int, shape: tuple[int, ...]) -> Callable:
    """A program for one shape: TensorFlow would warn of one that it is to compile for many."""
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def kernel(a: Any, b: Any) -> Any:
        return _distance(a, b, metric, unrolled)

    sides = ((rows, shape[1]), shape)
    return kernel.get_concrete_function(*(tf.TensorSpec(s, tf.float64) for s in sides))


@functools.cache
def _compiled_joint(
    metric: str, k: int, unrolled: bool, rows: int, *shapes: tuple[int, ...]
) -> Callable:
    """ε, and the counts within it, from all pairs of a block of rows and all samples."""
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def kernel(ax: Any, ay: Any, bx: Any, by: Any, own: Any) -> Any:
        in_x = _distance(ax, bx, metric, unrolled)
        in_y = _distance(ay, by, metric, unrolled)
        index = tf.range(tf.shape(bx)[0])
        far = tf.constant(np.inf, in_x.dtype)
        others = tf.where(index[None, :] == own[:, None], far, tf.maximum(in_x, in_y))
        # The k-th smallest: the least value that k others do not exceed. Few, so one pass each.
        radius = tf.reduce_min(others, axis=1)
        for _ in range(k - 1):
            reached = tf.reduce_sum(tf.cast(others <= radius[:, None], tf.int32), axis=1)
            following = tf.reduce_min(tf.where(others > radius[:, None], others, far), axis=1)
            radius = tf.where(reached >= k, radius, following)

        def count(mask: Any) -> Any:
            return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)

        return (
            radius,
            count(in_x < radius[:, None]),
            count(in_y < radius[:, None]),
            count(others <= 0),
            count(in_x <= 0),
            count(in_y <= 0),
        )

    sides = (*((rows, shape[1]) for shape in shapes), *shapes)
    specs = [tf.TensorSpec(s, tf.float64) for s in sides]
    return kernel.get_concrete_function(*specs, tf.TensorSpec((rows,), tf.int32))


def _all_pairs(
    x: np.ndarray, y: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import tensorflow as tf

    n = len(x)
    unrolled = metric == "chebyshev" or max(x.shape[1], y.shape[1]) <= _UNROLLED
    x, y = (x, y) if unrolled else (v - Rows.of(v).centre() for v in (x, y))
    whole = (_tensor(x), _tensor(y))
    found = np.empty((6, n))
    for rows in _rows(n):
        kernel = _compiled_joint(metric, k, unrolled, len(rows), x.shape, y.shape)
        block = kernel(_tensor(x[rows]), _tensor(y[rows]), *whole, tf.constant(rows, tf.int32))
        found[:, rows] = [part.numpy() for part in block]
    radius, in_x, in_y, both, same_x, same_y = found
    coincide = radius == 0
    return (
        np.where(coincide, both, k),
        # The sample's own distance rounds to something else than 0 in a matrix product.
        np.where(coincide, same_x - 1, np.maximum(in_x, 1)),
        np.where(coincide, same_y - 1, np.maximum(in_y, 1)),
    )
