"""The dimension that samples have at the scale of their nearest neighbours.

Where the density is constant, the number of samples within a distance ρ grows as ρ^d. The distances
ρ_j to the neighbours 1…k therefore give d = (k − 1)/⟨Σ_j ln(ρ_k/ρ_j)⟩ (Levina and Bickel; averaged
as by MacKay and Ghahramani). Near borders and in thin ellipsoids, this is below the number of
columns. It is therefore compared with the dimension of reference samples that have the same numbers
of rows and columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ib_keras.arrays.rows import Rows
from ib_keras.estimators.kernels.neighbor_search import WIDE, Times, distances_from

# Number of neighbours, and largest number of rows whose neighbours are found.
_NEIGHBOURS, _ROWS = 5, 1000
# Fewest rows whose neighbours do not coincide with them.
_LEAST = 30
# Shares of the reference's dimension below which samples lie on a surface, and below which pairs
# are bound more closely than distances to neighbours can show; each with the number of standard
# errors by which the dimension must be below the share.
_SURFACE, _BOUND = (0.75, 2.0), (0.9, 3.0)


class Dimension(NamedTuple):
    """An estimated dimension and its relative standard error."""

    value: float
    error: float


def local_dimension(x: np.ndarray | Rows, times: Times | None = None) -> Dimension | None:
    """Estimate the dimension of samples at the scale of their five nearest neighbours.

    Args:
        x: samples, ``(n, d)``.
        times: positions of the rows in time; rows that are near in time are not neighbours.

    Returns:
        The dimension, from at most 1 000 rows and their neighbours among all rows; ``None`` if
        there are fewer than 30 rows with neighbours at different distances.
    """
    n = len(x)
    if n <= _LEAST:
        return None
    at = np.sort(np.random.default_rng(0).permutation(n)[:_ROWS])
    near = distances_from(x, at, _NEIGHBOURS, times)
    near = near[(near[:, 0] > 0) & np.isfinite(near[:, -1])]
    sums = np.log(near[:, -1:] / near[:, :-1]).sum(axis=1)
    if len(sums) < _LEAST or not sums.mean() > 0:
        return None
    # The terms of near rows are correlated.
    error = 1.3 * float(sums.std(ddof=1) / sums.mean()) / math.sqrt(len(sums))
    return Dimension((_NEIGHBOURS - 1) / float(sums.mean()), error)


def on_surface(x: np.ndarray | Rows, times: Times | None = None) -> bool:
    """Return whether samples lie on a surface of fewer dimensions than their columns span.

    The dimension is compared with that of the same number of normal samples with the same
    covariance, which are equally thin in every direction. Samples lie on a surface if their
    dimension is below 75 % of this reference by more than two standard errors. This finds surfaces
    of at most 70 % of the dimensions whose curvature and thickness the neighbours resolve; it does
    not find, for example, a sphere in 5 dimensions. Clusters of about ten rows each in five or more
    dimensions are mistaken for surfaces. Samples of one or of more than 64 dimensions are not
    examined.
    """
    rows = Rows.of(x).centred()
    n, d = rows.shape
    found = local_dimension(rows, times) if 1 < d <= WIDE else None
    if found is None:
        return False
    rows = rows.standardised()
    values, vectors = np.linalg.eigh(rows.products() / n)
    deviations = np.sqrt(np.maximum(values, 0))
    normal = np.random.default_rng(1).normal(size=(n, d)) * deviations @ vectors.T * rows.scale
    return _below(found, local_dimension(normal), _SURFACE)


def closely_bound(a: np.ndarray, b: np.ndarray, times: Times | None = None) -> bool:
    """Return whether pairs have fewer dimensions than their variables have together.

    The dimension of the pairs is compared with that of permuted pairs. If it is below 90 % of that
    by more than three standard errors, B is nearly a function of A at the scale of the nearest
    neighbours. Densities then vary within this scale, and estimates from neighbours are too low.

    Args:
        a: samples of A, ``(n, d)``.
        b: samples of B, ``(n, d)``, of a similar spread.
        times: positions of the rows in time.
    """
    order = np.random.default_rng(1).permutation(len(b))
    pairs = local_dimension(Rows.of(a, b), times)
    apart = local_dimension(Rows.of(a, b[order]))
    return pairs is not None and _below(pairs, apart, _BOUND)


def _below(found: Dimension, reference: Dimension | None, rule: tuple[float, float]) -> bool:
    share, errors = rule
    if reference is None:
        return False
    error = math.hypot(found.error, reference.error)
    return found.value / reference.value * (1 + errors * error) < share
