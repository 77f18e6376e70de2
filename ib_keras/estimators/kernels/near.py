"""Sums of Gaussian kernels over the centres that are near enough to matter.

Points and centres are divided into groups of neighbours by halving them along their widest
coordinate. The smallest distance between the bounding boxes of two groups bounds the terms of all
their pairs, so that pairs of groups with negligible terms can be left out. Samples of a layer that
lie in K separate clusters need about 1/K of all terms.
"""

from __future__ import annotations

import math

import numpy as np

from ib_keras.arrays.rows import slices
from ib_keras.estimators.kernels import mixture

# Number of points or centres in a group, and number of pairs of groups in one call.
_GROUP, _PAIRS = 128, 256
# Fewer terms than this are summed without groups.
_FEW = 1 << 24
# The terms that are left out of a sum add up to less than exp(−_MARGIN) of the smallest weight.
_MARGIN = 16.0


def log_sums(
    points: np.ndarray, noise: np.ndarray, centres: np.ndarray, log_weights: np.ndarray
) -> np.ndarray:
    """Return L of each point, as ``mixture.log_sums`` defines it, up to a factor of 1 + 1e-7.

    Terms are left out if they are negligible compared with the smallest weight. Each sum is at
    least the weight of the centre from which the point was drawn.

    Args:
        points: u = s/β + z, ``(p, d)``.
        noise: |z|²/2, ``(p,)``.
        centres: s_l/β, ``(c, d)``.
        log_weights: ln w_l, ``(c,)``.

    Returns:
        L in float64, ``(p,)``; −∞ if no centre is near.
    """
    few, wide = len(points) * len(centres) < _FEW, points.shape[1] > mixture.NARROW
    if few or wide or np.abs(centres).max() > mixture.FAR:
        return mixture.log_sums(points[None], noise[None], centres[None], log_weights)[0]
    rows, columns = _groups(points), _groups(centres)
    near = _near(points, noise, centres, log_weights, rows, columns)
    kernel = mixture.Sums(points, noise, centres, log_weights, _PAIRS, _GROUP)
    totals = np.zeros(rows.shape)
    for part in slices(len(near), _PAIRS):
        i, j = near[part].T
        np.add.at(totals, i, kernel(rows[i], columns[j]))
    out = np.empty(len(points))
    with np.errstate(divide="ignore"):
        out[rows[rows >= 0]] = np.log(totals[rows >= 0])
    return out


def _groups(values: np.ndarray) -> np.ndarray:
    """Divide rows into groups of neighbours.

    Args:
        values: the rows, ``(n, d)``.

    Returns:
        The indices of the rows of each group, ``(groups, _GROUP)``, padded with −1.
    """
    parts = [np.arange(len(values))]
    while len(parts[0]) > _GROUP:
        parts = [half for part in parts for half in _halves(values, part)]
    groups = np.full((len(parts), _GROUP), -1)
    for group, part in zip(groups, parts, strict=True):
        group[: len(part)] = part
    return groups


def _halves(values: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve rows along their widest coordinate; the first half is the larger one."""
    own = values[part]
    widest = int(np.argmax(np.ptp(own, axis=0)))
    middle = (len(part) + 1) // 2
    order = np.argpartition(own[:, widest], min(middle, len(part) - 1))
    return part[order[:middle]], part[order[middle:]]


def _near(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return the pairs of groups ``(pairs, 2)`` whose terms are not negligible."""
    low, high = _boxes(points, rows)
    below, above = _boxes(centres, columns)
    top = np.where(rows >= 0, noise[rows], -np.inf).max(axis=1)
    weight = np.where(columns >= 0, log_weights[columns], -np.inf).max(axis=1)
    least = float(log_weights.min()) - math.log(len(centres)) - _MARGIN
    pairs = []
    for i in range(len(rows)):
        gap = np.maximum(0, np.maximum(low[i] - above, below - high[i]))
        terms = top[i] + weight - np.square(gap).sum(axis=1) / 2
        (near,) = np.nonzero(terms > least)
        pairs.append(np.stack([np.full(len(near), i), near], axis=1))
    return np.concatenate(pairs)


def _boxes(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest coordinates of each group, ``(groups, d)``."""
    inside = (groups >= 0)[:, :, None]
    own = values[groups]
    low = np.where(inside, own, np.inf).min(axis=1)
    return low, np.where(inside, own, -np.inf).max(axis=1)
