"""Mutual information of jointly Gaussian variables, in closed form."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from ib_keras.arrays.checks import as_samples
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import TILE, Rows
from ib_keras.arrays.scaling import moderate
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.interface import Estimate

_COLUMNS = 64


@dataclasses.dataclass(frozen=True)
class Gaussian(FromPairs):
    """I(A;B) = −½ Σ_i ln(1 − ρ_i²) with ρ the canonical correlations: exact for Gaussian variables.

    The expectation of the sample's log-determinants is known, so that the estimate is free of bias
    (of d_a·d_b/2n to first order). With ``copula=True`` each coordinate is first replaced by the
    normal quantile of its rank: I then does not depend on the coordinates' scales, and for any
    pair of scalars it is a lower bound in the population.

    Args:
        copula: ranks instead of values.

    References:
        Cover & Thomas, *Elements of Information Theory*, 2006, chapter 8; Ahmed & Gokhale, IEEE
        Trans. Inf. Theory 35(3), 1989 (the unbiased log-determinant).
    """

    copula: bool = False

    name: ClassVar[str] = "gaussian"

    def check_rows(self, a: Any, b: Any) -> None:
        """Raises where there are too few rows for a covariance, before any memory is asked for.

        Args:
            a: ``(n, ...)``.
            b: ``(n, ...)``.

        Raises:
            ArgumentError: n is not above the number of columns that vary, and 1.
        """
        both = [np.asarray(v).reshape(len(v), -1) for v in (a, b)]
        _check_rows(len(both[0]), sum(int((v != v[:1]).any(axis=0).sum()) for v in both))

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
        square = 8 * 8 * (dim + dim_x) ** 2
        return TILES + square + n * (8 * (dim + dim_x) if self.copula else 128)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """I(A;B) in nats.

        Args:
            a: ``(n, ...)``.
            b: ``(n, ...)``.

        Raises:
            ArgumentError: lengths differ, n is not above d_a + d_b + 1, or a linear function of A
                is one of B.
        """
        first, second = (varying(as_samples(v, n)) for v, n in ((a, "a"), (b, "b")))
        if len(first) != len(second):
            raise ArgumentError(
                "`a` and `b` differ in length", "as many", f"{len(first)} and {len(second)}"
            )
        if self.copula:
            first, second = normal_scores(first), normal_scores(second)
        n, p, q = len(first), first.shape[1], second.shape[1]
        _check_rows(n, p + q)
        if not p or not q:
            return Estimate(0.0, 0.0, n=n, dim=q)
        sides = _unit_columns(first), _unit_columns(second)
        to_a, to_b, rho = _canonical(*sides)
        if rho[0] > 1 - 1e-12:
            raise InfiniteError(
                "A linear function of `a` is one of `b`: I(A;B) is infinite",
                "variables without an exact relation",
                f"a canonical correlation of {rho[0]}",
            )
        value = -0.5 * float(np.log1p(-np.square(rho)).sum())
        p, q = to_a.shape[1], to_b.shape[1]
        value -= _bias(n - 1, p, q)
        ratios = _log_ratios(*sides, to_a, to_b, rho)
        # Without correlation the ratios say nothing of the error, which is then of second order.
        error = math.hypot(float(ratios.std(ddof=1)) / math.sqrt(n), math.sqrt(p * q / 2) / n)
        return Estimate(value, error, n=n, dim=second.shape[1])


def _check_rows(n: int, columns: int) -> None:
    if n <= columns + 1:
        raise ArgumentError(
            "There are too few samples for a covariance",
            f"more than {columns + 1} for {columns} columns of both variables that vary",
            f"{n}",
        )


def _unit_columns(samples: np.ndarray) -> Rows:
    """Columns centred and of unit length; none of them is constant."""
    rows = Rows.of(moderate(samples, columns=True)[0])
    rows = rows.shifted(rows.mean())
    return rows.divided(np.sqrt(rows.squares()))


def _rounding(columns: Rows) -> np.ndarray:
    """``(d,)`` the length of what rounding may have added to each column of unit length.

    Values were computed in float32 or float64, to a few units of the last place. Values of float64
    that all are values of float32 have been float32 before.
    """
    some = columns.parts[0][:1024]
    with np.errstate(over="ignore"):
        single = np.array_equal(some, some.astype(np.float32))
    resolution = 8 * float(np.finfo(np.float32 if single else np.float64).eps)
    raw = np.hypot(columns.scale, math.sqrt(len(columns)) * columns.shift)
    # At most a hundredth: a column far from zero may be coarse, and varies all the same.
    return np.minimum(resolution * raw / columns.scale, 1e-2)


def _canonical(a: Rows, b: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices that make canonical variates of unit length, and the correlations ``(r,)``.

    The triangle R of [A B] = QR has all inner products of the columns; it grows tile by tile.
    """
    width = a.shape[1] + b.shape[1]
    triangle = np.zeros((0, width))
    for rows in _slices(len(a), width):
        both = np.concatenate([a[rows], b[rows]], axis=1)
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, both]), mode="r"))
    own = np.split(triangle, [a.shape[1]], axis=1)
    (u, to_a), (v, to_b) = (
        _orthonormal(side, _rounding(columns)) for side, columns in zip(own, (a, b), strict=True)
    )
    left, rho, right = np.linalg.svd(u.T @ v)
    return to_a @ left, to_b @ right.T, rho


def _orthonormal(matrix: np.ndarray, rounding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of the columns, and the matrix that makes it of them.

    Directions that are no longer than rounding makes them, such as the sum of a softmax, are left
    out.

    Args:
        matrix: ``(n, d)`` columns of unit length.
        rounding: ``(d,)`` the length of what rounding may have added to each.
    """
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    kept = s > np.maximum(1e-10 * s[0], np.sqrt(np.square(v) @ np.square(rounding)))
    return u[:, kept], v[kept].T / s[kept]


def _log_ratios(
    a: Rows, b: Rows, to_a: np.ndarray, to_b: np.ndarray, rho: np.ndarray
) -> np.ndarray:
    """ln p(a,b)/p(a)p(b) of each sample under the fitted Gaussian, ``(n,)``."""
    n, k = len(a), len(rho)
    r2 = np.square(rho)
    out = np.empty(n)
    for rows in _slices(n, a.shape[1] + b.shape[1]):
        x = math.sqrt(n) * (a[rows] @ to_a[:, :k])
        y = math.sqrt(n) * (b[rows] @ to_b[:, :k])
        quadratic = (r2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - r2))
        out[rows] = -0.5 * np.log1p(-r2).sum() - quadratic.sum(axis=1)
    return out


def _slices(n: int, width: int) -> list[slice]:
    """Runs of rows, of which ``width`` columns fit in memory a few times."""
    step = max(4 * width, TILE // width)
    return [slice(start, start + step) for start in range(0, n, step)]


def normal_scores(samples: np.ndarray) -> np.ndarray:
    """Each column's values as the normal quantiles of their ranks; ties share theirs."""
    out = np.empty(samples.shape)
    for start in range(0, samples.shape[1], _COLUMNS):
        ranks = rankdata(samples[:, start : start + _COLUMNS], axis=0)
        out[:, start : start + _COLUMNS] = ndtri(ranks / (len(samples) + 1))
    return out


def varying(samples: np.ndarray) -> np.ndarray:
    """The columns that are not constant."""
    varies = samples.min(axis=0) < samples.max(axis=0)
    return samples if varies.all() else samples[:, varies]


def _bias(dof: int, p: int, q: int) -> float:
    """E Î − I, from the expected log-determinants of Wishart matrices."""

    def log_det(d: int) -> float:
        return float(digamma((dof - np.arange(d)) / 2).sum())

    return 0.5 * (log_det(p) + log_det(q) - log_det(p + q))


def canonical(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical variates of unit variance, all of each side, and the canonical correlations.

    Args:
        a: ``(n, da)``.
        b: ``(n, db)``.

    Returns:
        Variates of A and of B, in the order of the correlations ``(min(da, db),)``.
    """
    first, second = _unit_columns(a), _unit_columns(b)
    to_a, to_b, rho = _canonical(first, second)
    scale = math.sqrt(len(a))
    return scale * first[:] @ to_a, scale * second[:] @ to_b, np.clip(rho, 0, 1 - 1e-9)
