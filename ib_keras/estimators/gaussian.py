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
from ib_keras.arrays.scaling import magnitude, power_of_two, times_two
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.interface import Estimate

_VALUES_AT_A_TIME, _COLUMNS = 1 << 22, 64


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
        first, second = (_varying(as_samples(v, n)) for v, n in ((a, "a"), (b, "b")))
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
        sides = _Columns.of(first), _Columns.of(second)
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


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Columns centred and of unit length, of which only parts of the rows are made.

    Args:
        samples: ``(n, d)`` as they were given, none of them constant.
        exponent: ``(1, d)`` powers of two that are taken out first.
        mean: ``(d,)`` of what is left.
        norm: ``(d,)`` of what is left, centred.
    """

    samples: np.ndarray
    exponent: np.ndarray
    mean: np.ndarray
    norm: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray) -> _Columns:
        exponent = power_of_two(magnitude(samples, axis=0))
        dim = samples.shape[1]
        made = cls(samples, exponent, np.zeros(dim), np.ones(dim))
        mean = sum(made.part(rows).sum(axis=0) for rows in made.parts(dim)) / len(samples)
        made = cls(samples, exponent, mean, np.ones(dim))
        square = sum(np.square(made.part(rows)).sum(axis=0) for rows in made.parts(dim))
        return cls(samples, exponent, mean, np.sqrt(square))

    def rounding(self) -> np.ndarray:
        """``(d,)`` the length of what rounding may have added to each column."""
        raw = np.hypot(self.norm, math.sqrt(len(self.samples)) * self.mean)
        # At most a hundredth: a column far from zero may be coarse, and varies all the same.
        return np.minimum(_resolution(self.samples) * raw / self.norm, 1e-2)

    def parts(self, width: int) -> list[slice]:
        """Runs of rows, of which ``width`` columns fit in memory a few times."""
        n = len(self.samples)
        step = max(4 * width, _VALUES_AT_A_TIME // width)
        return [slice(start, start + step) for start in range(0, n, step)]

    def part(self, rows: slice) -> np.ndarray:
        """Those rows, in float64."""
        values = times_two(self.samples[rows], self.exponent).astype(np.float64)
        values -= self.mean
        values /= self.norm
        return values


def _canonical(a: _Columns, b: _Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices that make canonical variates of unit length, and the correlations ``(r,)``.

    The triangle R of [A B] = QR has all inner products of the columns; it grows part by part.
    """
    dim = a.samples.shape[1]
    triangle = np.zeros((0, dim + b.samples.shape[1]))
    for rows in a.parts(triangle.shape[1]):
        both = np.concatenate([a.part(rows), b.part(rows)], axis=1)
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, both]), mode="r"))
    own = np.split(triangle, [dim], axis=1)
    (u, to_a), (v, to_b) = (
        _orthonormal(side, columns.rounding()) for side, columns in zip(own, (a, b), strict=True)
    )
    left, rho, right = np.linalg.svd(u.T @ v)
    return to_a @ left, to_b @ right.T, rho


def _orthonormal(matrix: np.ndarray, rounding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of the columns, and what makes it of them.

    Directions that are no longer than rounding makes them, such as the sum of a softmax, are left
    out.

    Args:
        matrix: ``(n, d)`` columns of unit length.
        rounding: ``(d,)`` the length of what rounding may have added to each.
    """
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    kept = s > np.maximum(1e-10 * s[0], np.sqrt(np.square(v) @ np.square(rounding)))
    return u[:, kept], v[kept].T / s[kept]


def _resolution(samples: np.ndarray) -> float:
    """The relative error of values that were computed in float32 or float64, a few units long.

    Values of float64 that are all of float32 have been float32 before.
    """
    some = samples[:1024]
    with np.errstate(over="ignore"):
        single = np.array_equal(some, some.astype(np.float32))
    return 8 * float(np.finfo(np.float32 if single else np.float64).eps)


def _log_ratios(
    a: _Columns, b: _Columns, to_a: np.ndarray, to_b: np.ndarray, rho: np.ndarray
) -> np.ndarray:
    """ln p(a,b)/p(a)p(b) of each sample under the fitted Gaussian, ``(n,)``."""
    n, k = len(a.samples), len(rho)
    r2 = np.square(rho)
    out = np.empty(n)
    for rows in a.parts(a.samples.shape[1] + b.samples.shape[1]):
        x = math.sqrt(n) * (a.part(rows) @ to_a[:, :k])
        y = math.sqrt(n) * (b.part(rows) @ to_b[:, :k])
        quadratic = (r2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - r2))
        out[rows] = -0.5 * np.log1p(-r2).sum() - quadratic.sum(axis=1)
    return out


def normal_scores(samples: np.ndarray) -> np.ndarray:
    """Each column's values as the normal quantiles of their ranks; ties share theirs."""
    out = np.empty(samples.shape)
    for start in range(0, samples.shape[1], _COLUMNS):
        ranks = rankdata(samples[:, start : start + _COLUMNS], axis=0)
        out[:, start : start + _COLUMNS] = ndtri(ranks / (len(samples) + 1))
    return out


def _varying(samples: np.ndarray) -> np.ndarray:
    """The columns that are not constant."""
    varies = samples.min(axis=0) < samples.max(axis=0)
    return samples if varies.all() else samples[:, varies]


def varying(samples: np.ndarray) -> np.ndarray:
    """The columns that are not constant, in float64."""
    return _varying(samples).astype(np.float64)


def _basis(samples: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the centred columns."""
    columns = _Columns.of(samples)
    return _orthonormal(columns.part(slice(None)), columns.rounding())[0]


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
    u, v = _basis(a), _basis(b)
    left, rho, right = np.linalg.svd(u.T @ v)
    scale = math.sqrt(len(a))
    return scale * u @ left, scale * v @ right.T, np.clip(rho, 0, 1 - 1e-9)
