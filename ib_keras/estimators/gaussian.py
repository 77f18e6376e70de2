"""Mutual information of jointly Gaussian variables, in closed form."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma

from ib_keras.arrays.checks import as_samples, check_lengths
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.ranks import normal_scores
from ib_keras.arrays.rows import TILE, Rows, slices
from ib_keras.arrays.scaling import moderate
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.interface import Estimate

# The number of standard errors by which the fourth moment of normal variables may differ from its
# expectation, and the fewest rows per column for which this is tested.
_ERRORS, _ROWS_EACH = 4.0, 10


@dataclasses.dataclass(frozen=True)
class Gaussian(FromPairs):
    """I(A;B) = −½ Σ_i ln(1 − ρ_i²) from the canonical correlations ρ, exact for Gaussian variables.

    The bias (d_a·d_b/2n to first order) is removed by the known expectation of the sample's
    log-determinants. With ``copula=True``, each coordinate is first replaced by the normal quantile
    of its rank. The estimate then does not depend on the scales of the coordinates. For any pair of
    scalars, it is a lower bound on I(A;B) in the limit of infinitely many samples.

    Args:
        copula: whether to use the ranks instead of the values.

    References:
        Cover & Thomas, *Elements of Information Theory*, 2006, chapter 8; Ahmed & Gokhale, IEEE
        Trans. Inf. Theory 35(3), 1989 (the unbiased log-determinant); Mardia, Biometrika 57(3),
        1970 (the test of normality).
    """

    copula: bool = False

    name: ClassVar[str] = "gaussian"

    def check_rows(self, a: Any, b: Any) -> None:
        """Raise an error if there are too few rows for a covariance matrix.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n is not larger than the number of non-constant columns plus 1.
        """
        both = [np.asarray(v).reshape(len(v), -1) for v in (a, b)]
        _check_rows(len(both[0]), sum(int((v != v[:1]).any(axis=0).sum()) for v in both))

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        square = 8 * 8 * (dim + dim_x) ** 2
        return TILES + square + n * (8 * (dim + dim_x) if self.copula else 128)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Returns:
            The estimate, with the flag ``not_normal`` if the means of |z|⁴ are not those of normal
            variables, where z are the canonical variates of A and the residuals of those of B, or
            if the squared lengths of both are correlated.

        Raises:
            ArgumentError: If the lengths differ, n ≤ d_a + d_b + 1, or a linear function of A
                equals one of B, so that I(A;B) is infinite.
        """
        first, second = (varying(as_samples(v, n)) for v, n in ((a, "a"), (b, "b")))
        check_lengths(first, second)
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
                "A linear function of `a` equals one of `b`: I(A;B) is infinite",
                "variables without an exact relation",
                f"a canonical correlation of {rho[0]}",
            )
        value = -0.5 * float(np.log1p(-np.square(rho)).sum())
        p, q = to_a.shape[1], to_b.shape[1]
        value -= _bias(n - 1, p, q)
        ratios, squares = _log_ratios(*sides, to_a, to_b, rho)
        # Without correlation the ratios vanish, and the error is of second order.
        error = math.hypot(float(ratios.std(ddof=1)) / math.sqrt(n), math.sqrt(p * q / 2) / n)
        flags = () if _may_be_normal(squares, len(rho)) else ("not_normal",)
        return Estimate(value, error, flags=flags, n=n, dim=second.shape[1])


def _may_be_normal(squares: np.ndarray, dim: int) -> bool:
    """Return whether squared lengths |z|² could be those of two independent normal variables.

    E |z|⁴ = d (d + 2) for a standard normal z of dimension d, and the variance of its sample mean
    is about 8 d (d + 2)/n. Squared lengths of independent variables are not correlated.

    Args:
        squares: the squared lengths of both variables, ``(2, n)``.
        dim: the dimension of each of them.
    """
    n = squares.shape[1]
    if n < 2 * _ROWS_EACH * dim:
        return True
    for lengths, d in ((squares[0], dim), (squares[1], dim), (squares.sum(axis=0), 2 * dim)):
        expected = d * (d + 2)
        found = float(np.square(lengths).mean())
        if abs(found - expected * (n - 1) / (n + 1)) > _ERRORS * math.sqrt(8 * expected / n):
            return False
    return abs(np.corrcoef(squares)[0, 1]) <= _ERRORS / math.sqrt(n)


def _check_rows(n: int, columns: int) -> None:
    if n <= columns + 1:
        raise ArgumentError(
            "There are too few samples for a covariance",
            f"more than {columns + 1} for {columns} non-constant columns of both variables",
            f"{n}",
        )


def _unit_columns(samples: np.ndarray) -> Rows:
    """Return the columns centred and scaled to unit length; no column may be constant."""
    rows = Rows.of(moderate(samples, columns=True)[0])
    rows = rows.shifted(rows.mean())
    return rows.divided(np.sqrt(rows.squares()))


def _rounding(columns: Rows) -> np.ndarray:
    """Return the length of the rounding errors in each column of unit length, ``(d,)``.

    The errors are a few units in the last place of float32 or float64. Float64 values are assumed
    to be computed in float32 if float32 can represent all of them.
    """
    some = columns.parts[0][:1024]
    with np.errstate(over="ignore"):
        single = np.array_equal(some, some.astype(np.float32))
    resolution = 8 * float(np.finfo(np.float32 if single else np.float64).eps)
    raw = np.hypot(columns.scale, math.sqrt(len(columns)) * columns.shift)
    # The limit keeps columns that are far from zero, whose rounding errors are large.
    return np.minimum(resolution * raw / columns.scale, 1e-2)


def _canonical(a: Rows, b: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices to canonical variates of unit length, and the correlations ``(r,)``.

    The factor R of [A B] = QR is updated tile by tile; its columns have the same inner products.
    """
    width = a.shape[1] + b.shape[1]
    triangle = np.zeros((0, width))
    for rows in slices(len(a), max(4 * width, TILE // width)):
        both = np.concatenate([a[rows], b[rows]], axis=1)
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, both]), mode="r"))
    of_a, of_b = np.split(triangle, [a.shape[1]], axis=1)
    u, to_a = _orthonormal(of_a, _rounding(a))
    v, to_b = _orthonormal(of_b, _rounding(b))
    left, rho, right = np.linalg.svd(u.T @ v)
    return to_a @ left, to_b @ right.T, rho


def _orthonormal(matrix: np.ndarray, rounding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthonormal basis of the columns, and the matrix that maps the columns to it.

    Directions that are not longer than the rounding errors are removed, such as the sum of the
    outputs of a softmax.
    """
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    kept = s > np.maximum(1e-10 * s[0], np.sqrt(np.square(v) @ np.square(rounding)))
    return u[:, kept], v[kept].T / s[kept]


def _log_ratios(
    a: Rows, b: Rows, to_a: np.ndarray, to_b: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln p(a,b)/p(a)p(b) of each sample under the fitted Gaussian, ``(n,)``, and |z|².

    z are the canonical variates of A, and of B after the linear relation with A is removed; their
    squared lengths are ``(2, n)``.
    """
    n, k, width = len(a), len(rho), a.shape[1] + b.shape[1]
    r2 = np.square(rho)
    out, squares = np.empty(n), np.empty((2, n))
    for rows in slices(n, max(4 * width, TILE // width)):
        x = math.sqrt(n) * (a[rows] @ to_a[:, :k])
        y = math.sqrt(n) * (b[rows] @ to_b[:, :k])
        quadratic = (r2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - r2))
        out[rows] = -0.5 * np.log1p(-r2).sum() - quadratic.sum(axis=1)
        squares[0, rows] = np.square(x).sum(axis=1)
        squares[1, rows] = (np.square(y - rho * x) / (1 - r2)).sum(axis=1)
    return out, squares


def varying(samples: np.ndarray) -> np.ndarray:
    """Return the columns that are not constant."""
    varies = samples.min(axis=0) < samples.max(axis=0)
    return samples if varies.all() else samples[:, varies]


def _bias(dof: int, p: int, q: int) -> float:
    """Return E Î − I, from the expected log-determinants of Wishart matrices."""

    def log_det(d: int) -> float:
        return float(digamma((dof - np.arange(d)) / 2).sum())

    return 0.5 * (log_det(p) + log_det(q) - log_det(p + q))


def canonical(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all canonical variates of A and of B with unit variance, and their correlations.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
    """
    first, second = _unit_columns(a), _unit_columns(b)
    to_a, to_b, rho = _canonical(first, second)
    scale = math.sqrt(len(a))
    return scale * first[:] @ to_a, scale * second[:] @ to_b, np.clip(rho, 0, 1 - 1e-9)
