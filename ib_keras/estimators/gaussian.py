"""Mutual information of jointly Gaussian variables, in closed form."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from ib_keras._checks import as_samples
from ib_keras.errors import ArgumentError
from ib_keras.estimators._base import FromPairs
from ib_keras.interface import Estimate


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
        if n <= p + q + 1:
            raise ArgumentError(
                "There are too few samples for a covariance", f"more than {p + q + 1}", f"{n}"
            )
        if not p or not q:
            return Estimate(0.0, 0.0, n=n, dim=q)
        u, v = _basis(first), _basis(second)
        rho = np.linalg.svd(u.T @ v, compute_uv=False)
        if rho[0] > 1 - 1e-12:
            raise ArgumentError(
                "A linear function of `a` is one of `b`: I(A;B) is infinite",
                "variables without an exact relation",
                f"a canonical correlation of {rho[0]}",
            )
        value = -0.5 * float(np.log1p(-np.square(rho)).sum())
        value -= _bias(n - 1, u.shape[1], v.shape[1])
        return Estimate(value, _stderr(u, v, rho), n=n, dim=q)


def normal_scores(samples: np.ndarray) -> np.ndarray:
    """Each column's values as the normal quantiles of their ranks; ties share theirs."""
    return ndtri(rankdata(samples, axis=0) / (len(samples) + 1))


def varying(samples: np.ndarray) -> np.ndarray:
    """The columns that are not constant, in float64."""
    return samples[:, samples.min(axis=0) < samples.max(axis=0)].astype(np.float64)


def _basis(samples: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the centred columns."""
    centred = samples - samples.mean(axis=0)
    u, s, _ = np.linalg.svd(centred / np.linalg.norm(centred, axis=0), full_matrices=False)
    return u[:, s > 1e-10 * s[0]]


def _bias(dof: int, p: int, q: int) -> float:
    """E Î − I, from the expected log-determinants of Wishart matrices."""

    def log_det(d: int) -> float:
        return float(digamma((dof - np.arange(d)) / 2).sum())

    return 0.5 * (log_det(p) + log_det(q) - log_det(p + q))


def _stderr(u: np.ndarray, v: np.ndarray, rho: np.ndarray) -> float:
    """From the log-density ratios of the samples, which need no Gaussian tails."""
    return float(log_ratios(u, v).std(ddof=1)) / math.sqrt(len(u))


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


def log_ratios(u: Any, v: Any) -> np.ndarray:
    """ln p(a,b)/p(a)p(b) of each sample under the fitted Gaussian."""
    n = len(u)
    left, rho, right = np.linalg.svd(u.T @ v, full_matrices=False)
    a, b = math.sqrt(n) * u @ left, math.sqrt(n) * v @ right.T
    r2 = np.square(rho)
    quadratic = (r2 * (a**2 + b**2) - 2 * rho * a * b) / (2 * (1 - r2))
    return -0.5 * np.log1p(-r2).sum() - quadratic.sum(axis=1)
