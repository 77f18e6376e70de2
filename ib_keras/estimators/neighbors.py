"""Nearest-neighbour estimators: Kraskov–Stögbauer–Grassberger and Kozachenko–Leonenko."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import digamma, gammaln

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_seed
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows, stride, usual
from ib_keras.arrays.scaling import magnitude, moderate, power_of_two, times_two
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators._base import FromPairs
from ib_keras.estimators._neighbors import WIDE, counts_within, distances, joint_counts
from ib_keras.interface import Estimate

# Largest norm of the weights, and dimension, at which weighting lowers the error.
_NORM, _WIDEST = 5.0, 12
# Disjoint subsets that a standard error is estimated from, and how often they are drawn.
_PARTS, _REPEATS = 10, 2
# The least variance of any direction of columns of variance 1, where they span the space.
_SPANNED = 1e-10
# Squares of such values, and sums of them, are numbers.
_LARGEST = 1e140
# Rows that tell most pairs of columns apart, and columns looked at together.
_FEW, _COLUMNS = 16, 64


class _Neighbors(FromPairs):
    """What both estimators share besides."""

    k: int

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Bytes that an estimate needs beside the samples, at most.

        Args:
            n: number of samples.
            dim: of T.
            dim_x: of X.
            itemsize: bytes of a value of T.
        """
        # Narrow samples are held in float64, with copies; wider ones as they are given, but for
        # copies without constant columns, and of another scale.
        held = sum(d for d in (dim, dim_x) if d <= WIDE)
        copied = 2 * itemsize * sum(d for d in (dim, dim_x) if d > WIDE)
        return 2 * TILES + n * (64 * held + copied + 64 * self.k + 128)

    def baseline(
        self, a: np.ndarray, b: np.ndarray, *, repeats: int = 10, seed: int = 0
    ) -> Estimate:
        """What the estimator says where there is no information: the rows of ``b`` permuted.

        Args:
            a: ``(n, ...)``.
            b: ``(n, ...)``.
            repeats: number of permutations.
            seed: of the permutations.

        Returns:
            The mean over permutations in nats; ``stderr`` is the standard deviation of one.
        """
        a, b = check_pair(a, b, self.k)[:2]
        rng = np.random.default_rng(check_seed(seed))
        repeats = check_count(repeats, "repeats", 2)
        values = [
            self.mutual_information(a, b[rng.permutation(len(b))]).value for _ in range(repeats)
        ]
        return Estimate(
            float(np.mean(values)), float(np.std(values, ddof=1)), n=len(a), dim=b.shape[1]
        )


@dataclasses.dataclass(frozen=True)
class KSG(_Neighbors):
    """I(A;B) = ψ(k) + ψ(n) − ⟨ψ(n_a + 1) + ψ(n_b + 1)⟩, from neighbours in the joint space.

    ε_i is the distance from sample i to its k-th neighbour, the larger of the two spaces'
    distances; n_a and n_b count the samples strictly nearer than ε_i in each space. For labels, the
    neighbours are sought among the samples of the same class (Ross).

    I(A;B) does not depend on the scales of A and B, and joint distances do: where one variable is
    far larger, it alone decides which samples are near, and I reads as 0. So one of them is first
    multiplied by the power of two that brings their spreads nearest; where these are within √2 of
    one another, as in most tests, nothing is changed.

    The biases of its three entropies largely cancel, so that it is near 0 without information;
    large information is underestimated, the less so the smaller k. Samples that coincide are
    counted as such, without noise added to them, and flagged ``ties``. The standard error is that
    of the terms, and of what near samples' terms share, as seen on disjoint tenths of the samples.

    Cost: n·log n in few dimensions (trees), n² in many, in blocks.

    Args:
        k: the neighbour.
        metric: ``"chebyshev"``, Kraskov's, or ``"euclidean"`` in each space, which is less biased
            in many dimensions.
        rescale: ``False`` takes the variables as they are.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Kraskov, Stögbauer & Grassberger, Phys. Rev. E 69, 066138, 2004, eq. 8.
        Ross, PLoS ONE 9(2), e87357, 2014 (labels). Gao et al., NeurIPS 2017 (coinciding samples).
        Holmes & Nemenman, Phys. Rev. E 100, 022404, 2019 (errors from subsets).
    """

    k: int = 5
    metric: Literal["chebyshev", "euclidean"] = "chebyshev"
    rescale: bool = True

    name: ClassVar[str] = "ksg"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))
        if self.metric not in ("chebyshev", "euclidean"):
            raise ArgumentError("`metric` is unknown", "'chebyshev' or 'euclidean'", self.metric)
        if not isinstance(self.rescale, bool):
            raise ArgumentError("`rescale` is unknown", "True or False", repr(self.rescale))

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """I(A;B) of two continuous variables, in nats.

        Args:
            a: ``(n, ...)``.
            b: ``(n, ...)``.

        Raises:
            ArgumentError: n ≤ k, lengths differ, or A and B share a variable: I is infinite then.
        """
        a, b, flags = check_pair(a, b, self.k)
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        if self.rescale:
            a, b = _of_one_spread(a, b)
        # One factor for both: their ratio is what the joint distances depend on.
        exponent = power_of_two(np.maximum(magnitude(a), magnitude(b)))
        a, b = times_two(a, exponent), times_two(b, exponent)
        terms = self._joint_terms(a, b)
        excess = _excess(lambda rows: self._joint_terms(a[rows], b[rows]), len(a), self.k)
        return _mean(terms, flags, b.shape[1], excess)

    def _joint_terms(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        neighbours, in_a, in_b = joint_counts(a, b, self.k, self.metric)
        return digamma(neighbours) + digamma(len(a)) - digamma(in_a) - digamma(in_b)

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate:
        """I(A;Y) = ψ(n) + ⟨ψ(k_i)⟩ − ⟨ψ(n_y)⟩ − ⟨ψ(m_i)⟩ of a continuous variable and labels.

        Args:
            a: ``(n, ...)``.
            y: ``(n,)`` class labels. A class of k samples or fewer takes all its others for
                neighbours; a sample alone in its class is left out.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: n ≤ k, or all samples are alone in their classes.
        """
        samples, flags = _continuous(a, "a", self.k)
        labels = as_labels(y, len(samples))
        counts = np.bincount(labels)[labels]
        samples, labels, counts = (v[counts > 1] for v in (samples, labels, counts))
        if not len(samples):
            raise ArgumentError(
                "Every sample is alone in its class", "classes of 2 or more", "none"
            )
        if not samples.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(samples), dim=0)
        samples = moderate(samples)[0]
        terms = self._label_terms(samples, labels)
        excess = _excess(
            lambda rows: self._label_terms(samples[rows], labels[rows]), len(samples), self.k
        )
        found = _mean(terms, flags, samples.shape[1], excess)
        # Digamma functions exceed the labels' own entropy a little where classes lie apart.
        return at_most_entropy(found, labels)

    def _label_terms(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        counts = np.bincount(labels)[labels]
        samples, labels, counts = (v[counts > 1] for v in (samples, labels, counts))
        n = len(samples)
        if not n:
            return np.zeros(0)
        radius, ks = np.empty(n), np.minimum(self.k, counts - 1)
        classes = _classes(labels)
        for rows in classes:
            radius[rows] = distances(samples[rows], int(ks[rows[0]]), self.metric)[:, -1]
        inside = counts_within(samples, radius, self.metric)
        same = radius == 0
        if same.any():
            # As many as coincide, in the class and at all.
            at = counts_within(samples, np.full(n, np.nextafter(0, 1)), self.metric) - 1
            own = np.zeros(n, int)
            for rows in classes:
                tiny = np.full(len(rows), np.nextafter(0, 1))
                own[rows] = counts_within(samples[rows], tiny, self.metric) - 1
            ks, inside = np.where(same, own, ks), np.where(same, at, inside)
        return digamma(n) + digamma(ks) - digamma(counts) - digamma(inside)


@dataclasses.dataclass(frozen=True)
class KozachenkoLeonenko(_Neighbors):
    """Differential entropy h = ψ(n) − ψ(k) + ln V_d + (d/n) Σ ln ρ_k,i, and I from sums of it.

    ρ_k,i is the Euclidean distance from sample i to its k-th neighbour; with ``whiten=True`` after
    whitening by Σ, which is corrected by ½ ln det Σ. I(A;B) = h(A) + h(B) − h(A,B), and
    I(A;Y) = h(A) − Σ_y p(y) h(A|y).
    The standard error of I is that of the paired terms, and of what they share, as seen on disjoint
    tenths of the samples. Sums of three entropies are biased below 0
    where there is no information (−0.1 to −2 nats on bounded codes): compare with ``baseline``, or
    take ``KSG`` where no entropy is wanted.

    ``weighted=True`` takes the neighbours 1…k with the L2-smallest weights that cancel the leading
    bias: Σ w_j = 1, Σ_j w_j Γ(j + 2l/d)/Γ(j) = 0 for l = 1…⌊d/4⌋. Of some thousand samples in 4 or
    5 dimensions, k = 10 more than halves the bias, and makes the error a third larger; with more
    neighbours, which lie farther off, bias comes back. From 8 dimensions on only k of 20 to 50 and
    more have weights of bounded size; up to 5 000 samples these are no nearer to the truth than the
    fifth neighbour alone. Where weights would only add variance they are refused.

    Args:
        k: the neighbour; with weights the number of neighbours.
        weighted: see above.
        whiten: by the covariance, for columns of different scales or correlated ones.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Kozachenko & Leonenko, 1987. Berrett, Samworth & Yuan, Ann. Statist. 47(1), 2019 (weights).
        Butakov et al., ICLR 2024, arXiv:2305.08013.
    """

    k: int = 5
    weighted: bool = False
    whiten: bool = False

    name: ClassVar[str] = "kl"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))

    def entropy(self, a: np.ndarray) -> Estimate:
        """The differential entropy h(A) in nats.

        Args:
            a: ``(n, ...)``.

        Raises:
            ArgumentError: n ≤ k, some samples coincide, or A lies in a subspace: h is −∞ then.
        """
        samples, flags = _continuous(a, "a", self.k, drop=False)
        rows = Rows.of(samples)
        rank = _independent(rows)
        if len(rank) < samples.shape[1]:
            raise ArgumentError(
                "The entropy of `a` is -inf: it lies in a subspace",
                "no column that is constant or a linear function of others",
                f"{len(rank)} independent columns of {samples.shape[1]}",
            )
        excess = self._excess(lambda some: self._terms(rows.take(some)), rows)
        return _mean(self._terms(rows), flags, samples.shape[1], excess)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """I(A;B) = h(A) + h(B) − h(A,B) of two continuous variables, in nats.

        Args:
            a: ``(n, ...)``; columns that are linear functions of others are left out, which I does
                not feel.
            b: ``(n, ...)``.

        Raises:
            ArgumentError: n ≤ k, lengths differ, samples coincide, or a linear function of A is one
                of B: I is infinite then.
        """
        a, b, flags = check_pair(a, b, self.k)
        a, b = (_columns(v, _independent(Rows.of(v))) for v in (a, b))
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        joint = Rows.of(a, b)
        rank = _independent(joint)
        if len(rank) < joint.shape[1]:
            if len(a) <= joint.shape[1]:
                raise ArgumentError(
                    "There are too few samples to tell whether `a` and `b` are exactly related",
                    f"more than {joint.shape[1]}, the columns of both",
                    len(a),
                )
            raise InfiniteError(
                "A linear function of `a` is one of `b`: I(A;B) is infinite",
                "variables without an exact relation; add noise to one of them",
                f"{len(rank)} independent columns of {joint.shape[1]}",
            )

        def terms(some: Any) -> np.ndarray:
            of_a, of_b, of_both = (
                self._terms(rows.take(some)) for rows in (Rows.of(a), Rows.of(b), joint)
            )
            return of_a + of_b - of_both

        return _mean(terms(slice(None)), flags, b.shape[1], self._excess(terms, joint))

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate:
        """I(A;Y) = h(A) − Σ_y p(y) h(A|y) of a continuous variable and class labels, in nats.

        Args:
            a: ``(n, ...)``.
            y: ``(n,)`` class labels.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: a class has k samples or fewer, or A lies in a subspace within one.
        """
        samples, flags = _continuous(a, "a", self.k)
        samples = _columns(samples, _independent(Rows.of(samples)))
        labels = as_labels(y, len(samples))
        dim = samples.shape[1]
        if not dim:
            return Estimate(0.0, 0.0, flags=flags, n=len(samples), dim=0)
        rows = Rows.of(samples)
        for label, count in enumerate(np.bincount(labels)):
            if count <= max(self.k, dim):
                raise ArgumentError(
                    f"A class has too few samples for k={self.k} in {dim} dimensions",
                    "more than k and d samples of each class; KSG takes smaller ones",
                    f"{count} samples",
                )
            if len(_independent(rows.take(labels == label))) < dim:
                raise ArgumentError(
                    "Within a class `a` lies in a subspace: I(A;Y) has no such estimate",
                    "columns that vary within each class; KSG needs none",
                    f"class {label}",
                )
        excess = 0.0
        # Each subset has its share of each class.
        if np.bincount(labels).min() > 2 * _PARTS * max(self.k, dim):
            excess = _excess(
                lambda some: self._label_terms(rows.take(some), labels[some]), len(labels), self.k,
                labels,
            )  # fmt: skip
        return at_most_entropy(_mean(self._label_terms(rows, labels), flags, dim, excess), labels)

    def _label_terms(self, rows: Rows, labels: np.ndarray) -> np.ndarray:
        terms = self._terms(rows)
        for mine in _classes(labels):
            terms[mine] -= self._terms(rows.take(mine))
        return terms

    def _excess(self, terms: Callable[[np.ndarray], np.ndarray], rows: Rows) -> float:
        """Of disjoint subsets, where these still span the space."""
        n, dim = rows.shape
        return 0.0 if n < 4 * _PARTS * dim else _excess(terms, n, self.k)

    def _terms(self, rows: Rows) -> np.ndarray:
        """−ln of the density at each sample, ``(n,)``."""
        n, d = rows.shape
        rows, exponent = rows.moderate(axis=0 if self.whiten else None)
        log_det = math.log(2) * float(np.broadcast_to(exponent, (1, d)).sum())
        rows, log_scale = _whitened(rows) if self.whiten else (rows.centred(), 0.0)
        log_det += log_scale
        near = distances(rows, self.k)
        if self.weighted:
            weights = berrett_weights(self.k, d)
        else:
            weights = np.zeros(self.k)
            weights[-1] = 1.0
        used = np.flatnonzero(weights)
        if (near[:, used] == 0).any():
            raise ArgumentError(
                "Samples coincide: the density at them is infinite",
                f"fewer than {self.k + 1} at one place; KSG counts them as they are, or add noise "
                "of a size that means something",
                f"{int((near[:, used[0]] == 0).sum())} of {n} samples",
            )
        volume = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
        logs = d * np.log(near[:, used]) - digamma(used + 1)
        return digamma(n) + volume + log_det + logs @ weights[used]


def berrett_weights(k: int, dim: int) -> np.ndarray:
    """The L2-smallest weights of the neighbours 1…k that cancel the leading bias terms.

    Σ_j w_j = 1 and Σ_j w_j Γ(j + 2l/d)/Γ(j) = 0 for l = 1…⌊d/4⌋.

    Args:
        k: number of neighbours.
        dim: d.

    Raises:
        ArgumentError: d > 12, too few neighbours, or weights so large that they add more variance
            than they remove bias.
    """
    enough = "10 to 20" if dim < 8 else "50 to 100"
    advice = "KSG, or weighted=False" + ("" if dim > _WIDEST else f", or k of {enough}")
    if dim > _WIDEST:
        raise ArgumentError(
            f"Weights do not help in {dim} dimensions", f"at most {_WIDEST}; {advice}", f"d={dim}"
        )
    orders = np.arange(dim // 4 + 1)
    j = np.arange(1, k + 1)
    rows = np.exp(gammaln(j + 2 * orders[:, None] / dim) - gammaln(j))
    target = (orders == 0).astype(float)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    weights = np.linalg.lstsq(rows / norms, target / norms[:, 0], rcond=None)[0]
    feasible = np.allclose(rows / norms @ weights, target / norms[:, 0], atol=1e-6)
    if k < len(orders) or not feasible or np.linalg.norm(weights) > _NORM:
        raise ArgumentError(
            f"The weights of {k} neighbours in {dim} dimensions add more variance than they "
            "remove bias",
            advice,
            f"|w| = {np.linalg.norm(weights):.3g}" if feasible else "no weights exist",
        )
    return weights


def _whitened(rows: Rows) -> tuple[Rows, float]:
    """Rows of covariance 1, and ln of the determinant of what they were divided by.

    The covariance is that of rows that do not lie far off, if these span the space: any linear map
    serves, but that of one row at 10⁴ makes a thin disc of the others.
    """
    for some in (rows.near(), rows):
        some = some.centred()
        # Whose far values, divided, still have squares that are numbers.
        least = dataclasses.replace(rows, shift=some.shift).largest(axis=0)[0] / _LARGEST
        scale = np.maximum(some.spread(), least)
        scale[scale == 0] = 1.0
        some = some.divided(scale)
        values, vectors = np.linalg.eigh(some.products() / len(some))
        if values[0] > _SPANNED:
            break
    # Below are roundings, which may be negative.
    values = np.maximum(values, 1e-14 * values[-1])
    matrix = vectors / np.sqrt(values)
    log_det = float(np.log(values).sum() / 2 + np.log(scale).sum())
    return dataclasses.replace(rows, shift=some.shift, scale=scale, matrix=matrix), log_det


def _classes(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each class, in order, by one sorting however many classes there are."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _mean(terms: np.ndarray, flags: tuple[str, ...], dim: int, excess: float = 0.0) -> Estimate:
    n = len(terms)
    error = math.sqrt((float(terms.var(ddof=1)) + excess) / n)
    return Estimate(float(terms.mean()), error, flags=flags, n=n, dim=dim)


def _excess(
    terms: Callable[[np.ndarray], np.ndarray], n: int, k: int, labels: np.ndarray | None = None
) -> float:
    """By how much n times the variance of the estimate exceeds the variance of its terms.

    The terms of near samples are of the same neighbours, and correlated; how much so is seen on
    disjoint subsets, each estimated by itself. 0 where there are too few samples for them.
    """
    parts = min(_PARTS, n // (8 * (k + 1)))
    if parts < _PARTS // 2:
        return 0.0
    size, rng, found = n // parts, np.random.default_rng(0), []
    for _ in range(_REPEATS):
        rows = rng.permutation(n)
        if labels is not None:
            rows = rows[np.argsort(labels[rows], kind="stable")]
        # Of one size, and dealt out: of each class its share to each.
        each = [terms(part) for part in rows[: size * parts].reshape(size, parts).T]
        if min(map(len, each)) < 2:
            return 0.0
        between = float(np.var([part.mean() for part in each], ddof=1))
        within = float(np.mean([part.var(ddof=1) / len(part) for part in each]))
        found.append(size * (between - within))
    return max(0.0, float(np.mean(found)))


def _of_one_spread(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and B, the narrower one times the power of two that brings their spreads nearest."""
    # Each at a scale from which the other's is reached without overflow.
    a, b = moderate(a)[0], moderate(b)[0]
    exponent = round(_log_spread(b) - _log_spread(a))
    narrow, wide = (a, b) if a.shape[1] < b.shape[1] else (b, a)
    exponent = exponent if narrow is a else -exponent
    exponent = min(exponent, int(math.log2(_LARGEST / (float(magnitude(narrow)[0, 0]) or 1.0))))
    if not exponent:
        return a, b
    narrow = _times(narrow, exponent)
    return (wide, narrow) if wide is a else (narrow, wide)


def _log_spread(samples: np.ndarray) -> float:
    """log2 of a coordinate's root mean square deviation, from some thousand rows.

    What lies far off counts as the farthest that does not: one row at 10⁴ would make nothing of
    the others.
    """
    for some in (samples[:: stride(*samples.shape)], samples):
        clipped = np.clip(some, *usual(some))
        variance = float(np.var(clipped, axis=0, dtype=np.float64).mean())
        if variance > 0:
            return 0.5 * math.log2(variance)
        # What varies in a few rows only may be constant in the first ones looked at.
    return 0.0


def _times(samples: np.ndarray, exponent: int) -> np.ndarray:
    """Times 2^exponent; wide samples keep their dtype, others are float64 later anyway."""
    if samples.shape[1] > WIDE and abs(exponent) < 60 and magnitude(samples)[0, 0] < 1e18:
        return samples * samples.dtype.type(2.0**exponent)
    return times_two(samples, np.asarray(-exponent))


def check_pair(a: Any, b: Any, k: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Two samples of one length that share no variable, without constant columns, and flags.

    Raises:
        ArgumentError: lengths differ, n ≤ k, or a variable is shared.
    """
    first, flags_a = _continuous(a, "a", k)
    second, flags_b = _continuous(b, "b", k)
    if len(first) != len(second):
        raise ArgumentError(
            "`a` and `b` differ in length", "as many samples", f"{len(first)} and {len(second)}"
        )
    for i in range(first.shape[1]):
        alike = np.flatnonzero((first[:_FEW, i, None] == second[:_FEW]).all(axis=0))
        if any(np.array_equal(first[:, i], second[:, j]) for j in alike):
            raise InfiniteError(
                "`a` and `b` share a variable: I(A;B) is infinite",
                "variables without an exact relation; add noise to one of them",
                f"column {i} of `a`",
            )
    return first, second, tuple(dict.fromkeys((*flags_a, *flags_b)))


def _continuous(
    values: Any, name: str, k: int, *, drop: bool = True
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples without constant columns, narrow ones in float64, and ``ties`` of repeated values."""
    samples = as_samples(as_array(values, name), name)
    n = len(samples)
    if n <= k:
        raise ArgumentError(
            f"`{name}` has too few samples for k={k}", f"more than {k}", f"{n} samples"
        )
    varies = samples.min(axis=0) < samples.max(axis=0)
    kept = samples if varies.all() else samples[:, varies]
    ties = False
    for start in range(0, kept.shape[1], _COLUMNS):
        # Repeated values of one coordinate: integers, quantised or saturated units.
        ordered = np.sort(kept[:, start : start + _COLUMNS], axis=0)
        # Float32 data repeat by chance.
        ties = ties or bool(((ordered[1:] == ordered[:-1]).mean(axis=0) > 0.01).any())
    chosen = kept if drop else samples
    # Wide samples become float64 where they are used.
    wide = chosen.shape[1] > WIDE
    return chosen if wide else chosen.astype(np.float64), ("ties",) if ties else ()


def _columns(samples: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Some columns, or the samples themselves if these are all."""
    return samples if len(kept) == samples.shape[1] else samples[:, kept]


def _independent(rows: Rows) -> np.ndarray:
    """Indices of columns of which none is a linear function of those before it."""
    if not rows.shape[1]:
        return np.zeros(0, int)
    rows = rows.moderate(axis=0)[0]
    near = rows.near()
    # What is far off hides the others from sums over all.
    found = _spanning(near.centred())
    if near is rows or len(found) == rows.shape[1]:
        return found
    return _spanning(rows.centred())


def _spanning(rows: Rows) -> np.ndarray:
    norms = np.sqrt(rows.squares())
    triangle = np.zeros((0, rows.shape[1]))
    for tile in rows.divided(np.where(norms > 0, norms, 1)).tiles():
        # What is above has the same lengths and angles as its triangle.
        above = np.linalg.qr(triangle, mode="r") if len(triangle) else triangle
        triangle = np.concatenate([above, tile])
    r, order = _qr(triangle)
    size = np.abs(np.diag(r))
    return np.sort(order[: len(size)][size > 1e-10 * math.sqrt(len(rows))])


def _qr(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import qr

    return qr(matrix, mode="r", pivoting=True)
