"""Nearest neighbours, by trees in few dimensions and by blocks of all pairs in many.

Equal rows are represented as one place with a count, so that they are searched only once.
``_route`` chooses how neighbours are found; all routes give the same result, up to the rounding of
distances. The first row of this table that applies is used:

| route | applies to | compares |
|---|---|---|
| ``tree`` | few dimensions: at most 12, or 8 for ``counts_within`` | places, by a k-d tree |
| ``places`` | at most half as many places as rows | all pairs of places, in tiles |
| ``compiled`` | more than 1024 rows of at most 64 dimensions each | all pairs of rows, by XLA |
| ``tiles`` | all others | all pairs of rows, in tiles of float64 |

For ``joint_counts``, the dimensions of both spaces are added. Its trees need the Chebyshev metric
or one dimension in each space, because only then is the joint distance the metric of one tree. Its
routes ``places`` and ``tiles`` are the same: both compare places. With ``closed=True``, it does not
use compiled programs. A compiled program needs a fixed shape, and compiling it takes longer than
comparing few rows.

If rows that are near in time are left out (``Times``), all pairs of rows are compared in tiles of
float64.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from ib_keras.arrays.places import Places, neighbour_distances, places
from ib_keras.arrays.rows import Rows, slices
from ib_keras.arrays.scaling import Metric

Route = Literal["tree", "places", "compiled", "tiles"]

# Largest dimensions at which a tree is faster than all pairs (benchmarks/neighbors.py), for
# neighbours and for counts.
_TREE_NEIGHBOURS, _TREE_COUNTS = 12, 8
# Largest numbers of rows and of pairs in a block.
_ROWS, _PAIRS = 512, 1 << 23
# Factor of a squared radius that excludes the border in spite of rounding.
_INSIDE = 1 - 1e-10
# Largest dimension at which distances are summed by coordinate, not by a matrix product.
_UNROLLED = 16
# Samples of more than WIDE dimensions, and samples of at most _UNCOMPILED_ROWS rows, are compared
# without compiled programs. They are converted to float64 in tiles of _COLUMNS rows.
WIDE, _UNCOMPILED_ROWS, _COLUMNS = 64, 1024, 4096
# Squared distances from a matrix product below this share of the squared lengths are rounding.
_ROUNDING = 1e-13


@dataclasses.dataclass(frozen=True)
class Times:
    """The positions of rows in time; near rows are left out of each other's neighbours.

    Args:
        at: position of each row, ``(n,)``, all different.
        window: largest distance in time at which two rows are left out, at least 1.
    """

    at: np.ndarray
    window: int

    def take(self, rows: Any) -> Times:
        """Select rows."""
        return Times(self.at[rows], self.window)

    def counted(self) -> np.ndarray:
        """Return 1 + the number of rows outside the window of each row, ``(n,)``."""
        ordered = np.sort(self.at)
        first = np.searchsorted(ordered, self.at - self.window, side="left")
        last = np.searchsorted(ordered, self.at + self.window, side="right")
        return len(ordered) + 1 - (last - first)

    def left_out(self, rows: np.ndarray) -> np.ndarray:
        """Return whether all rows are left out of the neighbours of some rows, ``(rows, n)``."""
        near = np.abs(self.at[rows, None] - self.at) <= self.window
        near[np.arange(len(rows)), rows] = False
        return near


def joint_counts(
    x: np.ndarray,
    y: np.ndarray,
    k: int,
    metric: Metric,
    times: Times | None = None,
    *,
    closed: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of neighbours of each sample, and the numbers within ε in each space.

    ε_i is the distance to the k-th neighbour, where a distance is the larger of the distances in
    the two spaces. The samples that are strictly nearer than ε_i are counted; for ε_i = 0, the
    coinciding samples are. With ``closed=True``, the samples at the distance ε_i (the border) are
    counted, too, if more than k neighbours are within this distance, because values repeat.

    Args:
        x: samples of X, ``(n, dx)``.
        y: samples of Y, ``(n, dy)``.
        k: number of neighbours, < n.
        metric: metric of each space.
        times: positions of the rows in time; near rows are left out of all numbers.
        closed: whether to count samples on the border if there are several.

    Returns:
        Three arrays ``(n,)``: the number of neighbours, which exceeds k if the border is counted;
        and the numbers of samples within ε in X and in Y, which include the sample itself unless
        the border is counted.
    """
    if times is not None:
        every = np.arange(len(x))
        alone = Places(every, every, np.ones_like(every))
        return _pairs_in_tiles(x, y, alone, k, metric, closed, times)
    unique = places(Rows.of(x, y))
    route = _route(unique, (x.shape[1], y.shape[1]), metric, _TREE_NEIGHBOURS)
    if route == "compiled" and not closed:
        return _all_pairs(x, y, k, metric)
    if route != "tree":
        return _pairs_in_tiles(x, y, unique, k, metric, closed)
    joint = np.concatenate([x[unique.first], y[unique.first]], axis=1)
    radius = _in_tree(joint, unique.sizes, k, np.inf)[:, -1]
    inside = np.nextafter(radius, 0)
    same = radius == 0
    in_x, in_y = (_count(space, space[unique.first], inside) - same for space in (x, y))
    neighbours = np.where(same, unique.sizes - 1, k)
    if closed:
        within = _count(np.concatenate([x, y], axis=1), joint, radius) - 1
        border = within > k
        neighbours = np.where(border, within, neighbours)
        in_x, in_y = (
            np.where(border, _count(space, space[unique.first], radius) - 1, inner)
            for space, inner in ((x, in_x), (y, in_y))
        )
    return neighbours[unique.of], in_x[unique.of], in_y[unique.of]


def distances(
    x: np.ndarray | Rows, k: int, metric: Metric = "euclidean", times: Times | None = None
) -> np.ndarray:
    """Return the distances to the k nearest neighbours in ascending order, ``(n, k)``.

    With ``times``, distances are infinite where fewer than k rows are outside the window.
    """
    if times is not None:
        near = np.empty((len(x), k))
        for rows, block in _apart(x, metric, times):
            near[rows] = np.sort(np.partition(block, k, axis=1)[:, : k + 1], axis=1)[:, 1:]
        return np.sqrt(near) if metric == "euclidean" else near
    unique = places(x)
    route = _route(unique, (x.shape[1],), metric, _TREE_NEIGHBOURS)
    if route == "tree":
        # In one dimension, all metrics are equal, and the maximum needs no squares.
        p = 2 if metric == "euclidean" and x.shape[1] > 1 else np.inf
        return _in_tree(x[unique.first], unique.sizes, k, p)[unique.of]
    if route == "places":
        some, centre = Rows.of(x).take(unique.first), Rows.of(x).centre()
        out = np.empty((len(some), k))
        for rows in _rows(len(some)):
            out[rows] = _nearest(_to_all(some, rows, metric, centre), rows, unique.sizes, k)
        out = out[unique.of]
    else:
        out = np.empty((len(x), k))
        for rows, block in _blocks(x, metric, route == "compiled"):
            out[rows] = np.sort(np.partition(block, k, axis=1)[:, : k + 1], axis=1)[:, 1:]
    return np.sqrt(out) if metric == "euclidean" else out


def distances_from(
    x: np.ndarray | Rows, at: np.ndarray, k: int, times: Times | None = None
) -> np.ndarray:
    """Return the distances of some rows to their k nearest neighbours, ``(m, k)``.

    Args:
        x: samples, ``(n, d)``.
        at: indices of the rows, ``(m,)``.
        k: number of neighbours, < n.
        times: positions of the rows in time.

    Returns:
        Distances in ascending order: Chebyshev in up to 12 dimensions without ``times``, otherwise
        Euclidean.
    """
    if times is None and x.shape[1] <= _TREE_NEIGHBOURS:
        return KDTree(x[:]).query(x[at], k=range(1, k + 2), p=np.inf, workers=-1)[0][:, 1:]
    out, centre = np.empty((len(at), k)), Rows.of(x).centre()
    for part in slices(len(at), max(16, min(_ROWS, _PAIRS // len(x)))):
        rows = at[part]
        block = _to_all(x, rows, "euclidean", centre)
        if times is not None:
            block[times.left_out(rows)] = np.inf
        block[np.arange(len(rows)), rows] = 0
        out[part] = np.sort(np.partition(block, k, axis=1)[:, : k + 1], axis=1)[:, 1:]
    return np.sqrt(out)


def counts_within(
    x: np.ndarray, radius: np.ndarray, metric: Metric, times: Times | None = None
) -> np.ndarray:
    """Return the number of samples strictly nearer than each radius, including the sample itself.

    With ``beyond(radius)`` as the radius, samples at this distance are counted, too.
    """
    if times is not None:
        inside, limit = np.empty(len(x), int), _inside(radius, metric)
        for rows, block in _apart(x, metric, times):
            inside[rows] = (block <= limit[rows, None]).sum(axis=1)
        return np.maximum(inside, 1)
    unique = places(x)
    # Rows with equal places and radii have equal counts.
    queries = places(np.stack([unique.of, radius], axis=1))
    at, radius_at = unique.of[queries.first], radius[queries.first]
    route = _route(unique, (x.shape[1],), metric, _TREE_COUNTS)
    if route == "tree":
        metric = "chebyshev" if x.shape[1] == 1 else metric
        return _count(x, x[unique.first[at]], _inside(radius_at, metric), metric)[queries.of]
    limit = _inside(radius_at if route == "places" else radius, metric)
    counts = np.empty(len(limit), int)
    if route != "places":
        for rows, block in _blocks(x, metric, route == "compiled"):
            counts[rows] = (block <= limit[rows, None]).sum(axis=1)
        return np.maximum(counts, 1)
    some, centre = Rows.of(x).take(unique.first), Rows.of(x).centre()
    for rows in _rows(len(at)):
        within = _to_all(some, at[rows], metric, centre) <= limit[rows, None]
        counts[rows] = within @ unique.sizes
    return np.maximum(counts, unique.sizes[at])[queries.of]


def _route(unique: Places, dims: tuple[int, ...], metric: Metric, tree_dims: int) -> Route:
    """Choose how neighbours are found, by the table of this module.

    Args:
        unique: the places of the rows, of both spaces together.
        dims: the dimension of each space.
        metric: the metric of each space.
        tree_dims: the largest sum of dimensions for a tree.
    """
    n = len(unique.of)
    one_tree = len(dims) == 1 or metric == "chebyshev" or max(dims) == 1
    if one_tree and sum(dims) <= tree_dims:
        return "tree"
    if 2 * len(unique.first) <= n:
        return "places"
    return "compiled" if n > _UNCOMPILED_ROWS and max(dims) <= WIDE else "tiles"


def beyond(radius: np.ndarray, metric: Metric) -> np.ndarray:
    """Return radii with which ``counts_within`` also counts samples at the given radii."""
    larger = radius / _INSIDE if metric == "euclidean" else radius
    return np.nextafter(larger, np.inf)


def _inside(radius: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the largest distance, squared if Euclidean, that is strictly less than a radius.

    The neighbour that defines the radius is excluded even if its distance is rounded differently.
    """
    return np.nextafter(np.square(radius) * _INSIDE if metric == "euclidean" else radius, 0)


def _in_tree(x: np.ndarray, count: np.ndarray, k: int, p: float) -> np.ndarray:
    """Return the distances from each place to the k nearest other rows, ``(m, k)``."""
    order = np.arange(1, min(k + 1, len(x)) + 1)
    near, index = KDTree(x).query(x, k=order, p=p, workers=-1)
    return neighbour_distances(near, count[index], k)


def _nearest(block: np.ndarray, rows: np.ndarray, count: np.ndarray, k: int) -> np.ndarray:
    """Return distances to the k nearest rows, ``(rows, k)``, of places with distances ``block``."""
    # A matrix product may round the distance of a place to itself.
    block[np.arange(len(rows)), rows] = 0
    reach = min(k + 1, len(count))
    index = np.argpartition(block, reach - 1, axis=1)[:, :reach]
    near = np.take_along_axis(block, index, axis=1)
    order = np.argsort(near, axis=1)
    index = np.take_along_axis(index, order, axis=1)
    return neighbour_distances(np.take_along_axis(near, order, axis=1), count[index], k)


def _count(
    x: np.ndarray, at: np.ndarray, limit: np.ndarray, metric: Metric = "chebyshev"
) -> np.ndarray:
    """Return the number of samples up to a distance, squared if Euclidean, from each point."""
    if x.shape[1] == 1:
        values, counts = np.unique(x[:, 0], return_counts=True)
        low = np.searchsorted(values, at[:, 0] - limit, side="left")
        high = np.searchsorted(values, at[:, 0] + limit, side="right")
        low, high = _exact(at[:, 0], values, limit, low, high)
        before = np.concatenate([[0], np.cumsum(counts)])
        return before[high] - before[low]
    from sklearn.neighbors import KDTree as FastTree

    limit = np.sqrt(limit) if metric == "euclidean" else limit
    return FastTree(x, metric=metric).query_radius(at, limit, count_only=True)


def _exact(
    x: np.ndarray, values: np.ndarray, radius: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correct index limits for the rounding of x ± radius, so that |x − x_j| ≤ radius holds."""
    n = len(values)
    for _ in range(3):
        low -= (low > 0) & (np.abs(x - values[np.maximum(low - 1, 0)]) <= radius)
        high += (high < n) & (np.abs(x - values[np.minimum(high, n - 1)]) <= radius)
    for _ in range(3):
        low += (low < high - 1) & (np.abs(x - values[np.minimum(low, n - 1)]) > radius)
        high -= (high > low + 1) & (np.abs(x - values[np.maximum(high - 1, 0)]) > radius)
    return low, high


def _blocks(x: np.ndarray | Rows, metric: Metric, compiled: bool) -> Any:
    """Iterate over blocks of rows and their distances to all samples, squared if Euclidean."""
    if not compiled:
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
    """Return the distances of some rows to all samples, ``(rows, n)``, squared if Euclidean."""
    out = np.empty((len(rows), len(x)))
    product = metric == "euclidean" and x.shape[1] > _UNROLLED
    # Only the product needs centring; without it, differences of values on a grid are exact.
    shift = centre if product else 0.0
    one = x[rows].astype(np.float64) - shift
    for columns in slices(len(x), _COLUMNS):
        tile = x[columns].astype(np.float64)
        tile -= shift
        part = out[:, columns]
        if not product:
            part[...] = cdist(one, tile, "sqeuclidean" if metric == "euclidean" else metric)
            continue
        lengths = np.square(one).sum(axis=1)[:, None] + np.square(tile).sum(axis=1)
        np.matmul(one, tile.T, out=part)
        part *= -2
        part += lengths
        part[part < _ROUNDING * lengths] = 0
    return out


def _apart(
    x: np.ndarray | Rows, metric: Metric, times: Times
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterate as ``_blocks`` does; distances of rows near in time are infinite."""
    for rows, block in _blocks(x, metric, compiled=False):
        block[times.left_out(rows)] = np.inf
        block[np.arange(len(rows)), rows] = 0
        yield rows, block


def _pairs_in_tiles(
    x: np.ndarray,
    y: np.ndarray,
    unique: Places,
    k: int,
    metric: Metric,
    closed: bool,
    times: Times | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute ``joint_counts`` with the memory of a few tiles."""
    out = np.empty((3, len(unique.first)), int)
    centres = [Rows.of(v).centre() for v in (x, y)]
    spaces = [Rows.of(v).take(unique.first) for v in (x, y)]
    for rows in _rows(len(unique.first)):
        in_x, in_y = (
            _to_all(v, rows, metric, centre) for v, centre in zip(spaces, centres, strict=True)
        )
        if times is not None:
            near = times.left_out(rows)
            in_x[near] = in_y[near] = np.inf
        both = np.maximum(in_x, in_y)
        radius = _nearest(both, rows, unique.sizes, k)[:, -1:]
        border = radius[:, 0] == 0
        if closed:
            border |= (both <= radius) @ unique.sizes - 1 > k
        for i, space in enumerate((both, in_x, in_y)):
            # If the border is counted, as at ε = 0, the sample itself is not.
            up_to = (space <= radius) @ unique.sizes - 1
            inside = k if i == 0 else np.maximum((space < radius) @ unique.sizes, 1)
            out[i, rows] = np.where(border, up_to, inside)
    return out[0][unique.of], out[1][unique.of], out[2][unique.of]


def _rows(n: int) -> Iterator[np.ndarray]:
    """Iterate over blocks of rows of equal length; the last may overlap with its predecessor."""
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
    """Compile distances for one shape; TensorFlow warns if a program is often compiled."""
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
    """Compile ε and the counts within ε, for all pairs of a block of rows and all samples."""
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
    def kernel(ax: Any, ay: Any, bx: Any, by: Any, rows: Any) -> Any:
        in_x = _distance(ax, bx, metric, unrolled)
        in_y = _distance(ay, by, metric, unrolled)
        index = tf.range(tf.shape(bx)[0])
        far = tf.constant(np.inf, in_x.dtype)
        others = tf.where(index[None, :] == rows[:, None], far, tf.maximum(in_x, in_y))
        # The k-th smallest value, found by one pass for each neighbour, because k is small.
        radius = tf.reduce_min(others, axis=1)
        for _ in range(k - 1):
            reached = tf.reduce_sum(tf.cast(others <= radius[:, None], tf.int32), axis=1)
            following = tf.reduce_min(tf.where(others > radius[:, None], others, far), axis=1)
            radius = tf.where(reached >= k, radius, following)

        def count(mask: Any) -> Any:
            return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)

        within = [space < radius[:, None] for space in (in_x, in_y)]
        return radius, *(count(mask) for mask in (*within, others <= 0, in_x <= 0, in_y <= 0))

    sides = (*((rows, shape[1]) for shape in shapes), *shapes)
    specs = [tf.TensorSpec(s, tf.float64) for s in sides]
    return kernel.get_concrete_function(*specs, tf.TensorSpec((rows,), tf.int32))


def _all_pairs(
    x: np.ndarray, y: np.ndarray, k: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute ``joint_counts`` by compiled programs, for blocks of rows and all samples."""
    import tensorflow as tf

    n = len(x)
    unrolled = metric == "chebyshev" or max(x.shape[1], y.shape[1]) <= _UNROLLED
    x, y = (x, y) if unrolled else (v - Rows.of(v).centre() for v in (x, y))
    whole = (_tensor(x), _tensor(y))
    counts = np.empty((6, n))
    for rows in _rows(n):
        kernel = _compiled_joint(metric, k, unrolled, len(rows), x.shape, y.shape)
        block = kernel(_tensor(x[rows]), _tensor(y[rows]), *whole, tf.constant(rows, tf.int32))
        counts[:, rows] = [part.numpy() for part in block]
    radius, in_x, in_y, both, same_x, same_y = counts
    coincide = radius == 0
    return (
        np.where(coincide, both, k),
        # A matrix product may round the distance of a sample to itself.
        np.where(coincide, same_x - 1, np.maximum(in_x, 1)),
        np.where(coincide, same_y - 1, np.maximum(in_y, 1)),
    )
