"""A test of whether there are enough rows for the width of two variables.

In many dimensions, all rows are about equally far from each other. Nearest neighbours then have
little meaning, a critic memorises its training rows, and both report little information with a
small standard error. Half of the rows give the same wrong value, so a comparison of n with n/2 does
not reveal it. Three *controls* with known information do:

* **shuffled pairs** have no information;
* **drawn pairs** (A, A′) have a chosen information. A′ is another row of A, drawn with probability
  proportional to exp(−γ|a − a′|²), so A keeps its marginals, its dimension and its geometry. γ is
  chosen so that the information is about that of the estimate;
* **a linear model** of A and B, and one of their ranks, is evaluated on rows on which it was not
  fitted, and gives a lower bound on I(A;B).

To *read* a control is to run the estimator on it. An estimator fails if it does not read the known
values within the tolerance of ``Claim``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.special import digamma, logsumexp

from ib_keras.arrays.codes import entropy
from ib_keras.arrays.ranks import normal_scores
from ib_keras.arrays.rows import TILE, Rows, slices
from ib_keras.arrays.scaling import moderate
from ib_keras.interface import Estimate

FLAG = "high_dim"

# An estimate is wrong if it is off by more than this share plus this number of standard errors.
_SHARE, _ERRORS = 0.1, 3.0
# Rows are drawn within blocks of _BLOCK rows. The drawn information is at least _LEAST nats and at
# most ln(_BLOCK/_NEAR).
_BLOCK, _LEAST, _NEAR = 256, 0.5, 8
# Number of rows whose neighbours are sought, and the smaller number for more than _WIDE columns.
_QUERIES, _WIDE_QUERIES, _WIDE = 512, 256, 64
# If the controls are read correctly from this number of rows, more rows are not needed.
_FIRST_ROWS = 1000
# Number of labellings that are drawn, and the smallest information that they have, as a share of
# H(Y).
_LABELLINGS, _LEAST_SHARE = 3, 0.3
# Drawn classes divide one cloud of rows. Separate classes are easier to read: the share of the
# information that an estimator reads is about half as large again.
_EASIER = 1.5
# Number of steps that make the drawn classes as frequent as the true ones.
_BALANCING = 20
# For the linear model: the largest numbers of rows, values and components; rows per component; the
# limit of standardised values; and the standard errors by which a correlation must exceed 0.
_ROWS, _VALUES, _COMPONENTS, _ROWS_EACH, _CLIP, _SIGNIFICANT = 2000, 1 << 24, 50, 10, 4.0, 3.0
# The fewest rows from which anything is concluded.
_MIN_ROWS = 32
# A critic gives a lower bound, which may be loose. It fails below this share of the linear model.
_SHARE_OF_BOUND = 0.5

# A function of A, B and rows of B, which returns terms whose mean estimates I(A;B[rows]).
Read = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class OneHot:
    """One-hot rows of codes 0…K−1, which are computed when they are indexed.

    Args:
        codes: the codes, ``(n,)``.
        width: K, the number of columns.
    """

    codes: np.ndarray
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self.codes), self.width

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (self.codes[rows, None] == np.arange(self.width)).astype(np.float64)


Samples = np.ndarray | Rows | OneHot


@dataclasses.dataclass(frozen=True)
class Claim:
    """An estimate, which is wrong if its error exceeds 10 % plus three standard errors.

    Args:
        value: the estimate in nats.
        error: its standard error in nats.
    """

    value: float
    error: float

    @classmethod
    def of(cls, estimate: Estimate) -> Claim:
        """Return the claim of an estimate, with a value of at least its standard error."""
        error = estimate.stderr if math.isfinite(estimate.stderr) else 0.0
        return cls(max(estimate.value, error, 1e-9), error)

    @property
    def highest(self) -> float:
        """The largest true information, in nats, for which the estimate is not wrong."""
        return (self.value + _ERRORS * self.error) / (1 - _SHARE)

    def misses(self, low: float, high: float, limit: float = math.inf) -> bool:
        """Return whether the estimate is wrong if it is a share of the true information.

        Args:
            low: the smallest plausible share.
            high: the largest plausible share. The share between the two that is nearest to 1 is
                assumed.
            limit: the largest possible information in nats.
        """
        share = max(min(max(low, 1.0), high), 1e-9)
        truth = min(self.value / share, limit)
        return abs(self.value - truth) > _SHARE * truth + _ERRORS * self.error


def too_wide(a: np.ndarray, b: np.ndarray, estimate: Estimate, read: Read) -> bool:
    """Return whether an estimate of I(A;B) is unreliable because of the width of A or B.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        estimate: the estimate of I(A;B).
        read: the estimator as a function of ``a``, ``b`` and rows r ``(n,)``, which returns terms
            whose mean is the estimate of the information of A and B[r].
    """
    if max(a.shape[1], b.shape[1]) == 1 or len(a) < _MIN_ROWS:
        return False
    claim = Claim.of(estimate)
    if linear_shows_more(a, b, claim):
        return True
    return not any(_reads_pairs(a[rows], b[rows], claim, read) for rows in _increasing(len(a)))


def too_wide_for_classes(
    a: np.ndarray, labels: np.ndarray, estimate: Estimate, k: int, metric: str
) -> bool:
    """Return whether an estimate of I(A;Y) by ``KSG`` is unreliable because of the width of A.

    The drawn pairs are A and classes Y′, which are drawn with probability proportional to
    w(y) exp(−γ|a − a_y|²), where a_y are rows of A and w makes the classes as frequent as Y.

    Args:
        a: samples of A, ``(n, d)``.
        labels: classes 0…K−1, ``(n,)``.
        estimate: the estimate of I(A;Y).
        k: number of neighbours.
        metric: metric of the neighbours.
    """
    if a.shape[1] == 1 or len(a) < _MIN_ROWS or not entropy(labels):
        return False
    claim = Claim.of(estimate)
    if linear_shows_more(a, OneHot(labels, int(labels.max()) + 1), claim):
        return True
    return not any(
        _reads_classes(a[rows], labels[rows], claim, k, metric) for rows in _increasing(len(a))
    )


def flagged(estimate: Estimate, wide: bool) -> Estimate:
    """Return the estimate, with the flag ``high_dim`` if ``wide``."""
    return dataclasses.replace(estimate, flags=(*estimate.flags, FLAG)) if wide else estimate


def too_loose(a: Samples, b: Samples, estimate: Estimate) -> bool:
    """Return whether a lower bound on I(A;B) is below half of the bound of a linear model.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        estimate: the lower bound.
    """
    if max(a.shape[1], b.shape[1]) == 1 or len(a) < _MIN_ROWS:
        return False
    bound = linear_bound(a, b)
    share = dataclasses.replace(
        bound, value=_SHARE_OF_BOUND * bound.value, stderr=_SHARE_OF_BOUND * bound.stderr
    )
    return below(max(0.0, estimate.value) + _ERRORS * estimate.stderr, share)


def linear_shows_more(a: Samples | Linear, b: Samples | Linear, claim: Claim) -> bool:
    """Return whether a linear model of the values, or of their ranks, excludes an estimate."""
    if len(a) < _MIN_ROWS:
        return False
    bounds = (linear_bound(a, b, ranks=ranks) for ranks in (False, True))
    return any(below(claim.highest, bound) for bound in bounds)


def below(value: float, bound: Estimate) -> bool:
    """Return whether a value is below a lower bound by more than three of its standard errors."""
    return value < bound.value - _ERRORS * bound.stderr


class Linear:
    """Principal components of a variable for ``linear_bound``, which are computed once.

    Args:
        samples: samples, ``(n, d)``.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.shape = samples.shape
        self._found: dict[tuple[int, bool], np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def components(self, count: int, ranks: bool) -> np.ndarray:
        """Return components of ``count`` rows, of which the first half has unit covariance."""
        if (count, ranks) not in self._found:
            rows = np.random.default_rng(0).permutation(len(self))[:count]
            values = np.asarray(self._samples[rows])
            values = normal_scores(values) if ranks else values
            self._found[count, ranks] = _components(values, count // 2)
        return self._found[count, ranks]


def linear_bound(a: Samples | Linear, b: Samples | Linear, *, ranks: bool = False) -> Estimate:
    """Estimate a lower bound on I(A;B) in nats from a linear model and held-out rows.

    Half of at most 2 000 rows determine up to 50 principal components of A and of B and their
    canonical variates. On the other half, the density ratio r of a joint Gaussian with the
    correlations of these variates is the critic of E ln [r(a,b) / mean_b′ r(a,b′)], which is a
    lower bound for any distribution, and at most the logarithm of the number of these rows.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        ranks: whether values are replaced by normal scores, which have no heavy tails.

    Returns:
        The bound; 0 if no correlation is significant.

    References:
        van den Oord, Li & Vinyals, arXiv:1807.03748 (the bound).
    """
    n, width = len(a), max(a.shape[1], b.shape[1])
    count = min(n, _ROWS, max(200, _VALUES // width))
    train = count // 2
    sides = (v if isinstance(v, Linear) else Linear(v) for v in (a, b))
    x, y = (side.components(count, ranks) for side in sides)
    left, _, right = np.linalg.svd(x[:train].T @ y[:train], full_matrices=False)
    x, y = (_unit(v[train:] @ axes) for v, axes in ((x, left), (y, right.T)))
    rho = np.clip((x * y).mean(axis=0), 0, 0.999)
    rho[rho < _SIGNIFICANT / math.sqrt(len(x))] = 0
    half = rho**2 / (2 * (1 - rho**2))
    logs = (x * (rho / (1 - rho**2))) @ y.T - (x**2 @ half)[:, None] - y**2 @ half
    terms = np.diag(logs) - logsumexp(logs, axis=1) + math.log(len(logs))
    error = float(terms.std(ddof=1)) / math.sqrt(len(terms))
    return Estimate(float(terms.mean()), error, kind="lower", n=len(terms), dim=b.shape[1])


def _components(samples: np.ndarray, train: int) -> np.ndarray:
    """Return principal components that have unit covariance in the first ``train`` rows."""
    samples = moderate(samples, columns=True)[0].astype(np.float64)
    fitted = samples[:train]
    spread = fitted.std(axis=0)
    scaled = np.clip((samples - fitted.mean(axis=0)) / np.where(spread > 0, spread, 1), -10, 10)
    scaled -= scaled[:train].mean(axis=0)
    _, size, right = np.linalg.svd(scaled[:train], full_matrices=False)
    count = min(_COMPONENTS, max(1, train // _ROWS_EACH), np.count_nonzero(size > 1e-6 * size[0]))
    if not size[0] > 0:
        return np.zeros((len(samples), 1))
    return scaled @ (right[:count].T / size[:count]) * math.sqrt(train)


def _unit(variates: np.ndarray) -> np.ndarray:
    spread = variates.std(axis=0)
    scaled = (variates - variates.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.clip(scaled, -_CLIP, _CLIP)


def _increasing(n: int) -> Iterator[np.ndarray | slice]:
    """Yield the rows to use: some of them first, then all of them."""
    if n > 2 * _FIRST_ROWS:
        yield np.sort(np.random.default_rng(0).permutation(n)[:_FIRST_ROWS])
    yield slice(None)


def _reads_pairs(a: np.ndarray, b: np.ndarray, claim: Claim, read: Read) -> bool:
    """Return whether the estimator reads shuffled and drawn pairs within the tolerance."""
    rng = np.random.default_rng(0)
    if not _reads_none(read(a, b, rng.permutation(len(a))), claim):
        return False
    for side in sorted((a, b), key=lambda v: v.shape[1]):  # the narrow side is faster
        if side.shape[1] == 1:
            continue
        rows, information = drawn_rows(side, max(_LEAST, claim.highest), rng)
        mean, error = _mean(read(side, side, rows))
        low, high = mean - error, mean + error
        if information > 0 and claim.misses(low / information, high / information):
            return False
    return True


def _reads_classes(a: np.ndarray, labels: np.ndarray, claim: Claim, k: int, metric: str) -> bool:
    rng = np.random.default_rng(0)
    limit = entropy(labels)
    wanted = min(max(_LEAST_SHARE * limit, claim.highest), 0.95 * limit)
    drawn = [drawn_classes(a, labels, wanted, rng) for _ in range(_LABELLINGS)]
    classes = [rng.permutation(labels), *(y for y, _ in drawn)]
    none, *terms = _class_terms(a, classes, k, metric)
    if not _reads_none(none, claim):
        return False
    read = [_mean(some) for some in terms]
    ratios = [mean / information for (mean, _), (_, information) in zip(read, drawn, strict=True)
              if information > 0]  # fmt: skip
    # Shuffled classes have shown whether the estimate is too high.
    share = min(1.0, _EASIER * float(np.mean(ratios))) if ratios else 1.0
    return not claim.misses(share, share, limit)


def _reads_none(terms: np.ndarray, claim: Claim) -> bool:
    mean, error = _mean(terms)
    return mean - _ERRORS * error <= _SHARE * claim.value + _ERRORS * claim.error


def _mean(terms: np.ndarray) -> tuple[float, float]:
    return float(terms.mean()), float(terms.std(ddof=1)) / math.sqrt(len(terms))


def drawn_rows(
    a: np.ndarray, information: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draw a row of A for each row of A, with known information between them.

    Row i gets a row j ≠ i of its block of some hundred rows with p(j|i) ∝ exp(−γ|a_i − a_j|²).

    Args:
        a: samples, ``(n, d)``.
        information: the information in nats, which is limited to ln(block/8).
        rng: generator of the blocks and rows.

    Returns:
        The rows, ``(n,)``, and the information of these pairs, Σ p(i,j) ln p(j|i)/p(j).
    """
    n = len(a)
    blocks = np.array_split(rng.permutation(n), max(1, n // _BLOCK))
    wanted = min(information, math.log(max(2, len(blocks[0]) / _NEAR)))
    gamma, out, total = 0.0, np.empty(n, int), 0.0
    for block in blocks:
        squared = cdist(*[a[block].astype(np.float64)] * 2, "sqeuclidean")
        np.fill_diagonal(squared, np.inf)
        squared -= squared.min(axis=1, keepdims=True)
        if not gamma:
            gamma = _sharpness(functools.partial(_near, squared), squared, wanted)
        chances = _near(squared, gamma)
        total += len(block) * _information(chances)
        out[block] = block[_draw(chances, rng)]
    return out, total / n


def drawn_classes(
    a: np.ndarray, labels: np.ndarray, information: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Draw a class for each row of A, with known information between them.

    Args:
        a: samples, ``(n, d)``.
        labels: classes 0…K−1, ``(n,)``, whose frequencies the drawn classes have.
        information: the information in nats.
        rng: generator of the rows that are the centres of the classes, and of the classes.

    Returns:
        The classes, ``(n,)``, and their information.
    """
    share = np.bincount(labels) / len(labels)
    centres = a[rng.choice(len(a), len(share), replace=len(share) > len(a))].astype(np.float64)
    squared = np.concatenate([
        cdist(a[rows].astype(np.float64), centres, "sqeuclidean")
        for rows in slices(len(a), TILE // a.shape[1])
    ])  # fmt: skip

    def chances(gamma: float) -> np.ndarray:
        logs = -gamma * squared
        for _ in range(_BALANCING):
            found = _softmax(logs).mean(axis=0)
            with np.errstate(divide="ignore"):
                logs = logs + np.log(share / np.maximum(found, 1e-12))
        return _softmax(logs)

    drawn = chances(_sharpness(chances, squared, information))
    return _draw(drawn, rng), _information(drawn)


def _sharpness(
    chances: Callable[[float], np.ndarray], squared: np.ndarray, information: float
) -> float:
    """Return the γ for which the chances have this information, or the nearest possible one."""
    scale = float(squared[np.isfinite(squared)].mean()) or 1.0

    def gap(log: float) -> float:
        return _information(chances(math.exp(log) / scale)) - information

    low, high = -8.0, 12.0
    if gap(high) <= 0:
        return math.exp(high) / scale
    return math.exp(brentq(gap, low, high, xtol=0.02) if gap(low) < 0 else low) / scale


def _information(chances: np.ndarray) -> float:
    """Return the information between a uniform row and its column, with chances ``(n, m)``."""
    logs = np.log(np.maximum(chances, 1e-300)) - np.log(np.maximum(chances.mean(axis=0), 1e-300))
    return float((chances * logs).sum()) / len(chances)


def _near(squared: np.ndarray, gamma: float) -> np.ndarray:
    return _softmax(-gamma * squared)


def _softmax(logs: np.ndarray) -> np.ndarray:
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def _draw(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sums = chances.cumsum(axis=1)
    chosen = (sums < rng.uniform(size=(len(chances), 1)) * sums[:, -1:]).sum(axis=1)
    return np.minimum(chosen, chances.shape[1] - 1)


def pair_terms(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, *, k: int, metric: str
) -> np.ndarray:
    """Return the terms of ``KSG`` for A and B[rows], at some rows.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        rows: rows of B, ``(n,)``.
        k: number of neighbours.
        metric: metric of each space.
    """
    n, out = len(a), []
    for some in _queries(n, max(a.shape[1], b.shape[1])):
        in_a = _distances(a, some, metric)
        in_b = _distances(b, rows[some], metric)[:, rows]
        both = np.maximum(in_a, in_b)
        own = np.arange(len(some)), some
        both[own] = np.inf
        radius = np.partition(both, k - 1, axis=1)[:, k - 1 : k]
        near, closed = _on_border(both, radius, k)
        in_a, in_b = (_inside(space, radius, closed) for space in (in_a, in_b))
        out.append(digamma(near) + digamma(n) - digamma(in_a) - digamma(in_b))
    return np.concatenate(out)


def _on_border(
    others: np.ndarray, radius: np.ndarray, k: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of neighbours, and for which rows those on the border are counted.

    As in ``KSG``, they are counted if values repeat, so that more than k are within the radius.
    """
    up_to = (others <= radius).sum(axis=1)
    closed = (up_to > k) | (radius[:, 0] == 0)
    return np.where(closed, up_to, k), closed


def _inside(space: np.ndarray, radius: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Return the numbers of rows within the radius; closed radii exclude the row itself."""
    return np.where(closed, (space <= radius).sum(axis=1) - 1, (space < radius).sum(axis=1))


def _class_terms(a: np.ndarray, classes: list[np.ndarray], k: int, metric: str) -> list[np.ndarray]:
    """Return the terms of ``KSG`` for A and each of several labellings, at some rows."""
    n, out = len(a), [[] for _ in classes]  # type: ignore[var-annotated]
    for some in _queries(n, a.shape[1]):
        away = _distances(a, some, metric)
        for labels, terms in zip(classes, out, strict=True):
            counts = np.bincount(labels)[labels[some]]
            kept = counts > 1
            rows, counts, space = some[kept], counts[kept], away[kept]
            own = np.where(labels[rows, None] == labels, space, np.inf)
            own[np.arange(len(rows)), rows] = np.inf
            neighbours = np.minimum(k, counts - 1)
            reach = min(k, n - 1)
            nearest = np.sort(np.partition(own, reach - 1, axis=1)[:, :reach], axis=1)
            radius = nearest[np.arange(len(rows)), neighbours - 1][:, None]
            near, closed = _on_border(own, radius, neighbours)
            inside = _inside(space, radius, closed)
            terms.append(digamma(n) + digamma(near) - digamma(counts) - digamma(inside))
    return [np.concatenate(terms) for terms in out]


def _queries(n: int, dim: int) -> list[np.ndarray]:
    """Return rows whose neighbours are sought, in parts whose distances fit in a tile."""
    count = _QUERIES if dim <= _WIDE else _WIDE_QUERIES
    rows = np.random.default_rng(1).permutation(n)[:count]
    return [rows[part] for part in slices(len(rows), TILE // n)]


def _distances(samples: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Return the distances of some rows to all rows, ``(rows, n)``."""
    out = np.empty((len(rows), len(samples)))
    some = samples[rows].astype(np.float64)
    for part in slices(len(samples), TILE // samples.shape[1]):
        out[:, part] = cdist(some, samples[part].astype(np.float64), metric)
    return out
