"""Entropies from a density of Gaussian kernels whose width maximises the likelihood."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize_scalar

from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows, slices
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError
from ib_keras.estimators import width
from ib_keras.estimators.continuous import (
    Permuted,
    check_classes,
    check_pair,
    less_than_ranks,
    mean_with_error,
    rows_by_class,
)
from ib_keras.estimators.kernels.local_dimension import closely_bound
from ib_keras.estimators.kozachenko_leonenko import (
    independent_columns,
    surface_flag,
    whitened,
)
from ib_keras.interface import Estimate

# Number of rows whose likelihood is maximised, and the tolerance of ln h.
_ROWS, _TOLERANCE = 300, 0.01
# A class with fewer samples per dimension is too small to estimate its covariance and width.
_LEAST = 20
# The search is over widths of exp(−6) to 2 standard deviations.
_NARROWEST, _WIDEST = -6.0, math.log(2)
# Number of distances that are computed at a time.
_TILE = 1 << 22


@dataclasses.dataclass(frozen=True)
class KernelDensity(Permuted):
    """I(A;B) = ⟨ln p(a,b) − ln p(a) − ln p(b)⟩ from leave-one-out kernel densities.

        p(x_i) = 1/(n − 1) Σ_{j≠i} N(x_i − x_j; 0, h²Σ)

    Σ is the covariance of the pairs, and h maximises the likelihood of the pairs. The densities of
    A and of B have the marginals of the same kernels. I(A;Y) of classes is ⟨ln p(a|y) − ln p(a)⟩,
    where each density has its own covariance and width.

    The kernels smooth the density, so the estimate decreases with each dimension: 5 000 rotated
    uniform pairs of 5 nats give 4.97 in one dimension each, 4.52 in two and 4.27 in four, and
    independent pairs give −0.01, −0.05 and −0.17. A single width does not fit a density that is
    narrow in some places and wide in others: normal pairs of 0.83 nats whose values were mapped by
    sinh(3x) give 0.48. The standard error includes neither effect. If the ranks of some rows, which
    have the same information, show clearly more of it, the flag is ``heavy_tails``. Samples on a
    curved surface have no density; they get the flag ``low_dim``.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4. Hall & Morton, Ann. Inst. Statist.
        Math. 45, 1993 (entropies from leave-one-out kernel densities).
    """

    name: ClassVar[str] = "kernel_density"

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        return TILES + 24 * _TILE + 32 * n * (dim + dim_x + 4)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) of two continuous variables, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n ≤ 2, the lengths differ, or A and B share a variable.
        """
        a, b, flags = check_pair(a, b, 2)
        a, b = (independent_columns(shorten_tails(v)[0]) for v in (a, b))
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        flags += surface_flag(flags, None, a, b)
        if "ties" not in flags and closely_bound(a, b, None):
            flags += ("strong",)
        flags += less_than_ranks(a, b, lambda a, b: _terms(a, b, slice(None)))
        estimate = mean_with_error(_terms(a, b, slice(None)), flags, b.shape[1])
        return width.flagged(estimate, width.too_wide(a, b, estimate, _terms))

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate I(A;Y) of classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``, each of which has more than 2 and more than d rows.

        Returns:
            The estimate, at most H(Y) of these labels, with the flag ``high_dim`` if a class has
            fewer than 20·d samples.

        Raises:
            ArgumentError: If a class has too few samples, or A lies in a subspace within a class.
        """
        samples, labels, flags = check_classes(a, labels, 2)
        a = independent_columns(shorten_tails(samples)[0])
        if not a.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=0)
        flags += surface_flag(flags, None, a)
        rows, dim = Rows.of(a), a.shape[1]
        for members in rows_by_class(labels):
            own_columns = independent_columns(a[members]).shape[1]
            if len(members) <= max(2, dim) or own_columns < dim:
                raise ArgumentError(
                    "The density of a class cannot be estimated",
                    f"more than {max(2, dim)} samples of each class, whose {dim} columns vary "
                    "independently; KSG accepts smaller classes",
                    f"{len(members)} samples, {own_columns} columns",
                )
        if min(len(members) for members in rows_by_class(labels)) < _LEAST * dim:
            flags += ("high_dim",)
        everything = _Whitened(rows)
        terms = -everything.logs(everything.best_width())
        for members in rows_by_class(labels):
            own = _Whitened(rows.take(members))
            terms[members] += own.logs(own.best_width())
        return at_most_entropy(mean_with_error(terms, flags, a.shape[1]), labels)


def _terms(a: np.ndarray, b: np.ndarray, rows: Any) -> np.ndarray:
    """Return the terms of I(A;B[rows]), ``(n,)``."""
    joint = _Whitened(Rows.of(a, b[rows]))
    best = joint.best_width()
    marginals = (_Whitened(Rows.of(side)).logs(best) for side in (a, b[rows]))
    return joint.logs(best) - sum(marginals)


class _Whitened:
    """Rows that are whitened by their covariance, and their kernel densities."""

    def __init__(self, rows: Rows) -> None:
        white, self._log_det = whitened(rows)
        self._values: Any = np.concatenate(list(white.tiles()))
        self._squares = np.square(self._values).sum(axis=1)

    def best_width(self) -> float:
        """Return the width h that maximises the likelihood of some rows, given all other rows."""
        n = len(self._values)
        some = np.random.default_rng(0).permutation(n)[:_ROWS]
        distances = [(part, self._distances(some[part])) for part in self._parts(len(some))]

        def loss(log_width: float) -> float:
            return -sum(self._of(d, math.exp(log_width)).sum() for _, d in distances)

        found = minimize_scalar(
            loss, bounds=(_NARROWEST, _WIDEST), method="bounded", options={"xatol": _TOLERANCE}
        )
        return math.exp(float(found.x))

    def logs(self, width: float) -> np.ndarray:
        """Return ln of the leave-one-out density at each row, ``(n,)``.

        Args:
            width: h, in standard deviations.
        """
        rows = np.arange(len(self._values))
        parts = [self._of(self._distances(rows[part]), width) for part in self._parts(len(rows))]
        return np.concatenate(parts) - self._log_det

    def _parts(self, count: int) -> list[slice]:
        return list(slices(count, max(1, _TILE // len(self._values))))

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """Return the squared distances of rows from all rows, infinite from themselves."""
        values = self._values
        found = self._squares[rows, None] + self._squares - 2 * values[rows] @ values.T
        found[np.arange(len(rows)), rows] = np.inf
        return np.maximum(found, 0)

    def _of(self, distances: np.ndarray, width: float) -> np.ndarray:
        n, d = self._values.shape
        constant = math.log(n - 1) + d * math.log(width) + d / 2 * math.log(2 * math.pi)
        nearest = distances.min(axis=1)
        powers = ((nearest[:, None] - distances) / (2 * width**2)).astype(np.float32)
        sums = np.exp(powers, out=powers).sum(axis=1, dtype=np.float64)
        return np.log(sums) - nearest / (2 * width**2) - constant
