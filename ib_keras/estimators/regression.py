"""Mutual information of numbers from the entropy of the residual of a regression."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy.spatial import KDTree
from scipy.special import digamma, gammaln
from sklearn.preprocessing import PolynomialFeatures

from ib_keras.arrays.rows import slices
from ib_keras.arrays.scaling import of_one_spread, shorten_tails
from ib_keras.estimators.continuous import mean_with_error, of_subsets
from ib_keras.estimators.kernels.local_dimension import on_surface
from ib_keras.estimators.kernels.neighbor_search import distances, joint_counts
from ib_keras.estimators.kozachenko_leonenko import independent_columns
from ib_keras.interface import Estimate

# The largest degree of polynomials and the fewest rows per coefficient; the largest dimension of
# local regressions and the number of neighbours per coefficient.
_DEGREE, _ROWS_EACH, _LOCAL_DIM, _LOCAL = 3, 20, 3, 10
# Numbers of neighbours for the entropies and for I(A;R).
_K, _K_OF_REST = 5, 3
# A relation counts as exact if the residual has at most this share of the variance.
_EXACT = 1e-26
# The number of distances between neighbouring ranks that the residual of ranks must span.
_RANKS = 20
# The number of random splits into halves that measure what the second half of the rows adds.
_SPLITS = 3
# The entropy of a normal variable.
_NORMAL = 0.5 * math.log(2 * math.pi * math.e)
# The upper quartile of a normal variable.
_QUARTILE = 0.6745
# The distance between neighbouring normal scores at the median, times the number of scores.
_SPACING = math.sqrt(2 * math.pi)
_UNKNOWN = Estimate(math.nan, math.nan)
# Rows whose local regressions are computed together.
_TOGETHER = 4096

Regression = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Regressed:
    """An estimate of I(A;B) by a regression.

    Args:
        estimate: I(A;B) in nats; infinite if the residual is no larger than rounding errors.
        rest: I(A;R), the information about A in the residual R, in nats.
        by: the direction, the scale and the regression, such as ``"b from a, values, local"``.
        growth: the difference between the estimate and the mean of the same estimate from both
            halves of the rows, in nats. It is positive if the regression predicts better with more
            rows, as for an exact relation.
    """

    estimate: Estimate
    rest: float
    by: str
    growth: Estimate = _UNKNOWN


@dataclasses.dataclass(frozen=True, eq=False)
class Predictors:
    """Columns that predict B although they have no density, such as counts and categories.

    Args:
        columns: the columns, ``(n, k)``, which determine A.
        a: A as normal scores, whose equal values are in random order, ``(n, da)``.
        b: samples of B, which has a density, ``(n, db)``.
        known: whether B consists of the normal scores of one column.
        way: the direction, ``"b from a"`` or ``"a from b"``.
    """

    columns: np.ndarray
    a: np.ndarray
    b: np.ndarray
    known: bool
    way: str

    def take(self, rows: np.ndarray) -> Predictors:
        """Return some of the rows."""
        sides = {name: getattr(self, name)[rows] for name in ("columns", "a", "b")}
        return dataclasses.replace(self, **sides)


def by_regression(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], more: Sequence[Predictors] = ()
) -> Regressed | None:
    """Estimate I(A;B) = h(B) − h(R) + I(A;R) with R = B − f(A) for a regression f.

    The identity holds for any f, because h(B|A) = h(R|A) = h(R) − I(A;R). A regression that
    predicts B well moves the information from I(A;R), which neighbours underestimate if it is
    large, to a difference of entropies, which has no ceiling. Several regressions are tried in each
    scale: polynomials, and local linear functions in at most three dimensions, both from A to B and
    from B to A. Local functions are fitted without the row itself, and the residuals of polynomials
    are corrected for its influence. An imperfect regression makes the estimate lower. The
    candidates are therefore the highest estimate and those that are not below it by more than two
    standard errors of the difference; the one with the smallest error is used. Columns that are
    linear functions of others are left out. So are regressions to samples on a surface, which have
    no density.

    Args:
        pairs: samples of A and B, ``(n, da)`` and ``(n, db)``, by the name of the scale. In the
            scale ``"ranks"``, each column consists of normal scores.
        more: predictors without a density, from which polynomials are also tried.

    Returns:
        The estimate in nats; ``None`` if no regression has a residual with a density.

    References:
        Kozachenko & Leonenko, 1987 (entropies); Kraskov et al., 2004, eq. 8 (I(A;R)).
    """
    found = [*_candidates(pairs), *_of_predictors(more)]
    exact = [one.regressed for one in found if math.isinf(one.regressed.estimate.value)]
    if exact or not found:
        return exact[0] if exact else None
    # The choice must not depend on the order in which the regressions are tried.
    highest = max(found, key=lambda one: one.regressed.estimate.value)
    alike = [one for one in found if not _is_higher(highest.every, one.every)]
    best = min(alike, key=lambda one: one.regressed.estimate.stderr)
    estimate, terms, n = best.regressed.estimate, best.terms, len(best.every)
    error = math.sqrt(estimate.stderr**2 + of_subsets(terms, n, _K).excess / n)
    added, rng = best.every.copy(), np.random.default_rng(0)
    for _ in range(_SPLITS):
        for rows in np.array_split(rng.permutation(n), 2):
            added[rows] -= best.again(rows) / _SPLITS
    return dataclasses.replace(
        best.regressed,
        estimate=dataclasses.replace(estimate, stderr=error),
        growth=mean_with_error(added, (), estimate.dim),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    regressed: Regressed
    terms: _Terms
    every: np.ndarray
    regression: Regression
    predictors: np.ndarray

    def again(self, rows: np.ndarray) -> np.ndarray:
        """Return the terms of the same estimate from some of the rows, ``(rows,)``."""
        a, b = self.terms.a[rows], self.terms.b[rows]
        residual = self.regression(self.predictors[rows], b)
        return _Terms(a, b, residual, self.terms.known)(slice(None))


def _of_predictors(more: Sequence[Predictors]) -> Iterator[_Candidate]:
    for one in more:
        columns = independent_columns(one.columns)
        b = independent_columns(shorten_tails(one.b)[0])
        if on_surface(b) or not columns.shape[1]:
            continue
        residual = _polynomial(columns, b)
        terms = _Terms(one.a, b, residual, one.known)
        by = f"{one.way}, columns, polynomial"
        found = _candidate(terms, columns, _polynomial, by)
        if found is not None:
            yield found


def _candidate(terms: _Terms, predictors: np.ndarray, f: Regression, by: str) -> _Candidate | None:
    """Return an estimate by one regression, or ``None`` if its residual has no density."""
    if not np.isfinite(terms.residual).all() or on_surface(terms.residual):
        return None
    rest = terms.rest(slice(None))
    every = terms.entropies(slice(None)) + rest
    if not np.isfinite(every).all():
        return None
    estimate = mean_with_error(every, (), terms.b.shape[1])
    return _Candidate(Regressed(estimate, float(rest.mean()), by), terms, every, f, predictors)


def _candidates(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[_Candidate]:
    for scale, sides in pairs.items():
        first, second = (independent_columns(shorten_tails(side)[0]) for side in sides)
        for way, a, b in (("b from a", first, second), ("a from b", second, first)):
            known = scale == "ranks" and b.shape[1] == 1
            if on_surface(b):
                continue  # B has no density
            for name, f in _regressions(*a.shape):
                residual = f(a, b)
                by = f"{way}, {scale}, {name}"
                if not np.isfinite(residual).all():
                    continue
                if scale == "ranks" and _narrowest(residual) * len(a) < _RANKS * _SPACING:
                    continue  # the residual is mainly the rounding to ranks
                terms = _Terms(a, b, residual, known)
                if (residual.var(axis=0) <= _EXACT * b.var(axis=0)).any():
                    infinite = Estimate(math.inf, math.nan, n=len(a), dim=second.shape[1])
                    yield _Candidate(
                        Regressed(infinite, math.inf, by), terms, np.full(len(a), np.inf), f, a
                    )
                    return
                one = _candidate(terms, a, f, by)
                if one is not None:
                    yield one


def _is_higher(terms: np.ndarray, others: np.ndarray) -> bool:
    """Return whether terms have a significantly higher mean than others of the same rows."""
    difference = terms - others
    return bool(difference.mean() > 2 * difference.std(ddof=1) / math.sqrt(len(terms)))


def _narrowest(samples: np.ndarray) -> float:
    """Return the smallest robust standard deviation of any principal component."""
    axes = np.linalg.eigh(np.atleast_2d(np.cov(samples, rowvar=False)))[1]
    components = (samples - samples.mean(axis=0)) @ axes
    return float(np.median(np.abs(components), axis=0).min()) / _QUARTILE


@dataclasses.dataclass(frozen=True)
class _Terms:
    """The terms of −ln p(b) + ln p(r), and those of I(A;R), of some rows.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        residual: samples of R, ``(n, db)``.
        known: whether B consists of the normal scores of one column. Ranks are equally spaced, so
            distances to neighbours would mislead, but the entropy of B is known.
    """

    a: np.ndarray
    b: np.ndarray
    residual: np.ndarray
    known: bool

    def __call__(self, rows: np.ndarray | slice) -> np.ndarray:
        return self.entropies(rows) + self.rest(rows)

    def entropies(self, rows: np.ndarray | slice) -> np.ndarray:
        after = _surprises(self.residual[rows])
        with np.errstate(invalid="ignore"):  # equal rows, whose estimate is not used
            return (_NORMAL if self.known else _surprises(self.b[rows])) - after

    def rest(self, rows: np.ndarray | slice) -> np.ndarray:
        a, residual = of_one_spread(
            self.a[rows], shorten_tails(self.residual[rows])[0], "chebyshev"
        )
        near, in_a, in_r = joint_counts(a, residual, _K_OF_REST, "chebyshev")
        return digamma(near) + digamma(len(a)) - digamma(in_a) - digamma(in_r)


def _surprises(samples: np.ndarray) -> np.ndarray:
    """Return −ln of the density at each row, ``(n,)``, after whitening by the covariance.

    The rows of a residual and of B have similar biases if both are whitened.
    """
    n, dim = samples.shape
    short, log_slope = shorten_tails(samples)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(short, rowvar=False)))
    values = np.maximum(values, 1e-30 * values[-1])
    near = distances((short - short.mean(axis=0)) @ (vectors / np.sqrt(values)), _K)[:, -1]
    with np.errstate(divide="ignore"):
        logs = dim * np.log(near) + np.log(values).sum() / 2 - log_slope
    volume = dim / 2 * math.log(math.pi) - gammaln(dim / 2 + 1)
    return logs + volume + digamma(n) - digamma(_K)


def _regressions(n: int, dim: int) -> Iterator[tuple[str, Regression]]:
    yield "polynomial", _polynomial
    if dim <= _LOCAL_DIM and n > 4 * _LOCAL * (dim + 1):
        yield "local", _local


def _polynomial(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the residuals of a polynomial of the highest degree that the number of rows allows.

    They are divided by √(1 − leverage), which gives them the variance of the noise.
    """
    n, dim = a.shape
    degrees = range(_DEGREE, 1, -1)
    allowed = (d for d in degrees if math.comb(dim + d, d) * _ROWS_EACH <= n)
    scaled = (a - a.mean(axis=0)) / a.std(axis=0)
    q = np.linalg.qr(PolynomialFeatures(next(allowed, 1)).fit_transform(scaled))[0]
    leverage = np.minimum(np.square(q).sum(axis=1), 0.99)
    centred = b - b.mean(axis=0)
    return (centred - q @ (q.T @ centred)) / np.sqrt(1 - leverage)[:, None]


def _local(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the residuals of linear functions, each fitted to the other rows near a row."""
    dim = a.shape[1]
    near = KDTree(a).query(a, _LOCAL * (dim + 1) + 1)[1][:, 1:]
    out = np.empty(b.shape)
    for rows in slices(len(a), _TOGETHER):
        steps = a[near[rows]] - a[rows, None]
        steps /= np.maximum(np.abs(steps).max(axis=(1, 2), keepdims=True), np.finfo(float).tiny)
        features = np.concatenate([np.ones((*steps.shape[:2], 1)), steps], axis=2)
        inverse = np.linalg.pinv(features.transpose(0, 2, 1) @ features, hermitian=True)
        others = b[near[rows]] - b[rows, None]
        at_row = (inverse @ (features.transpose(0, 2, 1) @ others))[:, 0]
        out[rows] = -at_row / np.sqrt(1 + inverse[:, 0, 0])[:, None]
    return out
