"""Smooth normal scores, and a regression whose residuals are as large as those of new rows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtri

# Number of groups of ordered values of a column, and number of values in the outermost groups.
_GROUPS, _OUTERMOST = 24, 4
# Numbers of centres of the kernels, and of rows from which their weights are computed.
_CENTRES, _KERNEL_ROWS = 400, 10_000
# Widths of the kernels, in units of √d, and ridge penalties, in units of the largest eigenvalue.
_WIDTHS, _PENALTIES = (0.7, 2.0, 5.0), 10.0 ** np.arange(-16, 6)
# Largest number of columns for which kernels are used.
_WIDEST = 32
# Directions of features that are shorter than this share of the longest are left out.
_PRECISION = 1e-12
# Kernels are used if they reduce the squared residuals to less than this share.
_IMPROVED = 0.98
# Largest share of a row in its own prediction (its leverage).
_LEVERAGE = 0.9


def smooth_scores(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map each column to roughly normal values by a smooth increasing function.

    The function interpolates between means of groups of ordered values and means of the normal
    quantiles of their ranks. The groups are smaller in the tails, beyond which the function
    continues as a logarithm. Means of groups have smaller errors than ranks, so that columns that
    are almost equal keep their small differences.

    Args:
        values: ``(n, d)``.
        train: indices of the rows from which the functions are computed.

    Returns:
        The scores, ``(n, d)``, and the sum of ln f′ over the columns, ``(n,)``.
    """
    scores, log_slope = np.empty(values.shape), np.zeros(len(values))
    for c, column in enumerate(values.T):
        x, z = _knots(np.sort(column[train]))
        inside = np.clip(column, x[0], x[-1])
        curve = PchipInterpolator(x, z)
        scores[:, c] = curve(inside)
        slope = np.log(np.maximum(curve.derivative()(inside), np.finfo(float).tiny))
        for end, sign in ((0, -1), (-1, 1)):
            near = 1 if end == 0 else -2
            width, rise = abs(x[end] - x[near]), abs(z[end] - z[near])
            beyond = sign * (column - x[end])
            out = beyond > 0
            scores[out, c] += sign * rise * np.log1p(beyond[out] / width)
            slope[out] = np.log(rise / width) - np.log1p(beyond[out] / width)
        log_slope += slope
    return scores, log_slope


def _knots(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, size = len(ordered), _OUTERMOST
    sizes: list[int] = []
    usual = max(size, n // _GROUPS)
    while size < usual and 2 * (sum(sizes) + size) < n:
        sizes.append(size)
        size *= 2
    tails = sum(sizes)
    inner = np.linspace(tails, n - tails, max(2, round((n - 2 * tails) / usual) + 1))
    edges = np.concatenate([np.cumsum([0, *sizes])[:-1], inner, n - np.cumsum(sizes[::-1])[::-1]])
    edges = np.unique(np.append(edges, n).round().astype(int))
    start, counts = edges[:-1], np.diff(edges)
    z = np.add.reduceat(ndtri((np.arange(n) + 0.5) / n), start) / counts
    x, group = np.unique(np.add.reduceat(ordered, start) / counts, return_inverse=True)
    if len(x) == 1:  # the column is constant in these rows
        return x[0] + np.array([-1.0, 1.0]), np.array([-1.0, 1.0])
    return x, np.bincount(group, z) / np.bincount(group)


def log_normal(rows: np.ndarray) -> np.ndarray:
    """Return the standard normal log-density of rows ``(n, d)``, ``(n,)``."""
    return -np.square(rows).sum(axis=1) / 2 - rows.shape[1] * math.log(2 * math.pi) / 2


@dataclasses.dataclass(frozen=True)
class Residuals:
    """B minus its prediction from A.

    Args:
        values: the residuals, ``(n, d)``; each training row is predicted from the other ones.
        degrees: effective number of coefficients of each column, ``(d,)``.
    """

    values: np.ndarray
    degrees: np.ndarray


def residuals(a: np.ndarray, b: np.ndarray, train: np.ndarray, seed: int) -> Residuals:
    """Predict B from A by ridge regression, with penalties chosen by leave-one-out errors.

    The features are one column of A, all columns of A, or all columns and Gaussian kernels around
    some rows. Each column of B uses the features that predict it best.

    Args:
        a: features, whitened, ``(n, da)``.
        b: values to predict, ``(n, db)``.
        train: indices of the rows from which the coefficients are computed.
        seed: seed of the choice of the centres.
    """
    centred = b - b[train].mean(axis=0)
    own = np.full(len(train), 1 / len(train))
    best = Residuals(centred.copy(), np.ones(b.shape[1]))
    best.values[train] /= 1 - own[:, None]
    a = a - a[train].mean(axis=0)
    best = _single_feature(a, centred, own, train, best)
    basis, best = _ridge(a, centred, own, train, best, 1.0)
    if a.shape[1] > _WIDEST:
        return best
    # The kernels are made orthogonal to the columns of the linear regression, to which they add.
    to_basis = np.linalg.lstsq(a[train], basis, rcond=None)[0]
    own = own + np.square(basis).sum(axis=1)
    centred = centred - a @ (to_basis @ (basis.T @ centred[train]))
    some = np.random.default_rng(seed).permutation(train)[:_KERNEL_ROWS]
    centres = a[some[: min(_CENTRES, len(some) // 4)]]
    for width in _WIDTHS:
        features = np.exp(-_squares(a, centres) / (2 * width**2 * a.shape[1]))
        features -= features[train].mean(axis=0)
        features -= a @ (to_basis @ (basis.T @ features[train]))
        best = _ridge(features, centred, own, train, best, _IMPROVED)[1]
    return best


def _single_feature(
    features: np.ndarray, rest: np.ndarray, own: np.ndarray, train: np.ndarray, best: Residuals
) -> Residuals:
    """Predict each column from the one feature that is most correlated with it."""
    x, y = features[train], rest[train]
    squares = np.square(x).sum(axis=0)
    products = x.T @ y
    chosen = (np.square(products) / squares[:, None]).argmax(axis=0)
    slopes = products[chosen, np.arange(y.shape[1])] / squares[chosen]
    values = rest - features[:, chosen] * slopes
    values[train] /= 1 - own[:, None] - np.square(x[:, chosen]) / squares[chosen]
    # Without any relation, the best of many features reduces the squared error by this factor.
    chance = 1 - 2 * math.log(max(2, x.shape[1])) / len(train)
    before = np.square(best.values[train]).mean(axis=0)
    better = np.square(values[train]).mean(axis=0) < chance * before
    return Residuals(
        np.where(better, values, best.values), np.where(better, best.degrees + 1, best.degrees)
    )


def _squares(a: np.ndarray, centres: np.ndarray) -> np.ndarray:
    lengths = np.square(a).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.maximum(lengths - 2 * a @ centres.T, 0)


def _ridge(
    features: np.ndarray,
    rest: np.ndarray,
    own: np.ndarray,
    train: np.ndarray,
    best: Residuals,
    improved: float,
) -> tuple[np.ndarray, Residuals]:
    """Predict the remainder of B from further features, with the best of several penalties.

    Args:
        features: centred features, ``(n, f)``.
        rest: the remainder of B after previous predictions, ``(n, d)``.
        own: share of each training row in its own prediction so far, ``(m,)``.
        train: indices of the training rows.
        best: the best residuals so far.
        improved: share of the previous squared error below which the new error must be.

    Returns:
        An orthonormal basis of the features of training rows, and, for each column, the better of
        ``best`` and the new residuals.
    """
    u, s, v = np.linalg.svd(features[train], full_matrices=False)
    kept = s > _PRECISION * s[0]
    u, s, v = u[:, kept], s[kept], v[kept]
    onto, leverage = u.T @ rest[train], np.square(u)
    values, degrees = best.values.copy(), best.degrees.copy()
    limit = improved * np.square(values[train]).mean(axis=0)
    for penalty in _PENALTIES * np.square(s[:1]):
        share = np.square(s) / (np.square(s) + penalty)
        hat = own + leverage @ share
        if hat.max() > _LEVERAGE:
            continue
        left = (rest[train] - u @ (share[:, None] * onto)) / (1 - hat)[:, None]
        error = np.square(left).mean(axis=0)
        better = np.flatnonzero(error < limit)
        weights = v.T @ ((share / s)[:, None] * onto[:, better])
        values[:, better] = rest[:, better] - features @ weights
        values[np.ix_(train, better)] = left[:, better]
        degrees[better], limit[better] = hat.sum(), error[better]
    return u, Residuals(values, degrees)
