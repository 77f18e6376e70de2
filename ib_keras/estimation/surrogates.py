"""Synthetic samples that resemble the outputs of a layer and whose I(X;T) is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from ib_keras.arrays.ranks import normal_scores
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import BaseEstimator

# The number of linear pieces of a marginal's quantile function.
_STEPS = 32
# Below this signal-to-noise ratio, a component is treated as normal.
_FAINT = 0.05


class CalibrationError(ArgumentError):
    """No synthetic samples resemble a layer, or the estimator rejects them."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Samples with known information.

    Args:
        mi: the true I(X;T) in nats.
        t: T, ``(n, ...)``.
        x: the inputs ``(n, ...)``, or their codes ``(n,)``; ``None`` if all are distinct.
    """

    mi: float
    t: np.ndarray
    x: np.ndarray | None = None


# A sampler takes the requested information in nats, the number of rows and a generator. It returns
# samples whose information is as close as possible to the requested value.
Surrogate = Callable[[float, int, np.random.Generator], Drawn]


def pairs(t: np.ndarray, x: np.ndarray | None) -> Surrogate:
    """Return a sampler of X and T with given marginals and rank correlations.

    Both are monotone functions of normal vectors, one of which is the other plus noise. I(X;T) is
    therefore that of the vectors: Σ_i ½ ln(1 + λ_i/σ²), where λ_i are the variances of T's
    principal components and σ² is the variance of the noise, which is equal in all directions.

    Args:
        t: T of a layer, ``(n, ...)``.
        x: the inputs, ``(n, ...)``; ``None`` for normal ones.
    """
    of_t = _Copula(t)
    of_x = None if x is None else _Copula(x)
    count = of_t.rank if of_x is None else min(of_t.rank, of_x.rank)
    strengths = of_t.strengths[:count]

    def draw(mi: float, n: int, rng: np.random.Generator) -> Drawn:
        w = rng.standard_normal((n, of_t.rank))
        noise = rng.standard_normal((n, count if of_x is None else of_x.rank))
        if mi > 0:
            rho2 = strengths / (strengths + math.exp(_log_noise(strengths, mi)))
            noise[:, :count] = np.sqrt(rho2) * w[:, :count] + np.sqrt(1 - rho2) * noise[:, :count]
        return Drawn(mi, of_t.rows(w), noise if of_x is None else of_x.rows(noise))

    return draw


def channel(t: np.ndarray, variance: float, network: float) -> Surrogate:
    """Return a sampler of T = S + Z, where S resembles the outputs of a layer and Z is noise.

    S has the mean, the covariance and the marginals of the principal components of the outputs. Its
    components are independent, and Z has equal variance in all directions, so I(X;T) is a sum of
    integrals over one variable. S is scaled about its mean until I(X;T) has the requested value.

    Args:
        t: the outputs of a layer, ``(n, ...)``.
        variance: the variance of the whole noise, which limits the information.
        network: the variance of the noise that the samples contain; the estimator adds the rest.
    """
    flat = t.reshape(len(t), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    axes = _components(flat - mean)[1]
    scores = (flat - mean) @ axes
    grid = (np.arange(_STEPS + 1)) / _STEPS
    knots = np.stack([np.quantile(column, grid) for column in scores.T])
    knots -= 0.5 * (knots[:, :-1] + knots[:, 1:]).mean(axis=1, keepdims=True)
    left, right = knots[:, :-1], knots[:, 1:]
    spread = ((left * left + left * right + right * right) / 3).mean(axis=1)

    def information(scale: float) -> float:
        ratio = scale**2 * spread / variance
        loud = ratio > _FAINT
        total = 0.5 * float(np.log1p(ratio[~loud]).sum())
        return total + sum(
            _channel_information(row * scale / math.sqrt(variance)) for row in knots[loud]
        )

    def scale_of(mi: float) -> float:
        # A normal S of this covariance has more information, so its scale is a lower bound.
        low = 0.5 * (float(np.log(variance)) - _log_noise(spread, mi))
        high = low + 0.5
        while information(math.exp(high)) < mi:
            high += 1.0
        return math.exp(brentq(lambda s: information(math.exp(s)) - mi, low - 0.1, high, xtol=1e-4))

    scales: dict[float, float] = {}

    def draw(mi: float, n: int, rng: np.random.Generator) -> Drawn:
        if mi > 0 and mi not in scales:
            scales[mi] = scale_of(mi)
        u = rng.uniform(0, _STEPS, size=(n, len(knots)))
        step = u.astype(int)
        rows = np.arange(len(knots))
        low, high = knots[rows, step], knots[rows, step + 1]
        s = mean + (scales.get(mi, 0.0) * (low + (u - step) * (high - low))) @ axes.T
        if network:
            s += math.sqrt(network) * rng.standard_normal(s.shape)
        return Drawn(mi, s.reshape(n, *t.shape[1:]).astype(t.dtype))

    return draw


def alphabet(t: np.ndarray) -> Surrogate:
    """Return a sampler of T from K different, equally likely rows, so that I(X;T) = ln K.

    T is a function of X, as in a deterministic network. The rows have the marginals and rank
    correlations of ``t``; K is e^mi, rounded.
    """
    copula = _Copula(t)
    low, high = t.min(), t.max()

    def draw(mi: float, n: int, rng: np.random.Generator) -> Drawn:
        size = max(1, round(math.exp(min(mi, 40.0))))
        used, codes = np.unique(rng.integers(size, size=n), return_inverse=True)
        rows = copula.rows(rng.standard_normal((len(used), copula.rank)))
        return Drawn(math.log(size), np.clip(rows, low, high)[codes], codes.reshape(-1))

    return draw


class _Copula:
    """A map from normal vectors to samples with given marginals and rank correlations.

    Repeated values are spread towards their neighbours, because a function that is not strictly
    monotone would lose information.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._like = values
        flat = values.reshape(len(values), -1).astype(np.float64)
        self._varying = np.flatnonzero(flat.min(axis=0) < flat.max(axis=0))
        if not len(self._varying):
            raise CalibrationError(
                "The samples are constant", "varying samples", f"{flat[0][:3]} …"
            )
        self._constant = flat[0]
        varying = flat[:, self._varying]
        self._knots = [_quantiles(column) for column in varying.T]
        scores = normal_scores(varying)
        scores /= scores.std(axis=0)
        self.strengths, axes = _components(scores - scores.mean(axis=0))
        loadings = axes * np.sqrt(self.strengths)
        self._loadings = loadings / np.linalg.norm(loadings, axis=1, keepdims=True)
        self.rank = len(self.strengths)

    def rows(self, w: np.ndarray) -> np.ndarray:
        """Compute samples from standard normal ``w (n, rank)``."""
        u = ndtr(w @ self._loadings.T)
        flat = np.tile(self._constant, (len(w), 1))
        for column, uniform, (shares, levels) in zip(self._varying, u.T, self._knots, strict=True):
            flat[:, column] = np.interp(uniform, shares, levels)
        return flat.reshape(len(w), *self._like.shape[1:]).astype(self._like.dtype)


def _quantiles(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots of a strictly increasing quantile function on [0, 1]."""
    levels, counts = np.unique(column, return_counts=True)
    shares = (np.cumsum(counts) - 0.5 * counts) / len(column)
    first = levels[0] - shares[0] * (levels[1] - levels[0]) / (shares[1] - shares[0])
    last = levels[-1] + (1 - shares[-1]) * (levels[-1] - levels[-2]) / (shares[-1] - shares[-2])
    return np.r_[0, shares, 1], np.r_[first, levels, last]


def _components(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return variances of principal components, ``(r,)``, descending, and axes, ``(d, r)``."""
    n, dim = centred.shape
    if dim <= n:
        strengths, axes = np.linalg.eigh(centred.T @ centred / n)
    else:
        strengths, inner = np.linalg.eigh(centred @ centred.T / n)
        axes = centred.T @ inner / np.sqrt(np.maximum(n * strengths, 1e-300))
    kept = np.flatnonzero(strengths > 1e-9 * max(strengths[-1], 1e-300))[::-1]
    if not len(kept):
        raise CalibrationError("The samples are constant", "varying samples", "variance 0")
    return strengths[kept], axes[:, kept]


def _log_noise(strengths: np.ndarray, mi: float) -> float:
    """Solve Σ_i ½ ln(1 + λ_i/σ²) = mi for ln σ²."""

    def gap(log_noise: float) -> float:
        return 0.5 * float(np.log1p(strengths * math.exp(-log_noise)).sum()) - mi

    top = math.log(float(strengths.sum()) / (2 * mi))
    bottom = math.log(float(strengths[0])) - 2 * mi - 1
    return float(brentq(gap, bottom, top + 1, xtol=1e-12))


_LEGENDRE = np.polynomial.legendre.leggauss(5)
_HERMITE = np.polynomial.hermite_e.hermegauss(15)


def _channel_information(knots: np.ndarray) -> float:
    """Compute I(S; S + N(0, 1)) in nats, for S with a piecewise linear quantile function."""
    low, high = knots[:-1], np.maximum(knots[1:], knots[:-1] + 1e-6)
    nodes, weights = _LEGENDRE
    points = 0.5 * (low + high)[:, None] + 0.5 * (high - low)[:, None] * nodes
    at = (points[..., None] + _HERMITE[0]).reshape(-1)
    weight = (weights[:, None] * _HERMITE[1] / (2 * math.sqrt(2 * math.pi))).reshape(-1)
    density = np.zeros_like(at)
    for a, b in zip(low, high, strict=True):
        # The tails are used on the side where the two values do not cancel.
        sign = np.where(at > 0.5 * (a + b), -1.0, 1.0)
        density += np.abs(ndtr(sign * (at - a)) - ndtr(sign * (at - b))) / (b - a)
    density /= len(low)
    entropy = -float((np.log(density).reshape(len(low), -1) @ weight).mean())
    return entropy - 0.5 * math.log(2 * math.pi * math.e)


def surrogate(
    estimator: BaseEstimator, t: np.ndarray, x: np.ndarray | None, noise_std: float
) -> Surrogate:
    """Return the sampler with which to calibrate an estimator.

    Args:
        estimator: the estimator to calibrate.
        t: T of a layer, ``(n, ...)``.
        x: the inputs, ``(n, ...)``, or ``None``.
        noise_std: standard deviation of the layer's own noise.

    Raises:
        CalibrationError: If the samples are constant, or the estimator needs noise and there is
            none.
    """
    if estimator.traits.inputs:
        return pairs(t, x)
    if estimator.traits.propagations:
        if not noise_std > 0:
            raise CalibrationError(f"{estimator} needs a noisy layer", "noise_std > 0", noise_std)
        return channel(t, noise_std**2, 0.0)
    if (kernel_variance := estimator.kernel_variance(t)) is not None:
        return channel(t, kernel_variance + noise_std**2, noise_std**2)
    return alphabet(t)
