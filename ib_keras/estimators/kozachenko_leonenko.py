"""The Kozachenko–Leonenko estimator: entropies from nearest neighbours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from ib_keras.arrays.checks import check_count
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.continuous import (
    PARTS,
    Neighbors,
    as_continuous,
    check_pair,
    excess_variance,
    mean_with_error,
    rows_by_class,
)
from ib_keras.estimators.kernels.neighbor_search import distances
from ib_keras.interface import Estimate

# Largest norm of the weights, and dimension, at which weighting lowers the error.
_NORM, _WIDEST = 5.0, 12


@dataclasses.dataclass(frozen=True)
class KozachenkoLeonenko(Neighbors):
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
        samples, flags = as_continuous(a, "a", self.k, drop=False)
        samples, log_slope = shorten_tails(samples)
        rows = Rows.of(samples)
        rank = _independent(rows)
        if len(rank) < samples.shape[1]:
            raise ArgumentError(
                "The entropy of `a` is -inf: it lies in a subspace",
                "no column that is constant or a linear function of others",
                f"{len(rank)} independent columns of {samples.shape[1]}",
            )

        def terms(some: Any) -> np.ndarray:
            return self._terms(rows.take(some)) - log_slope[some]

        excess = self.excess_variance(terms, rows)
        return mean_with_error(terms(slice(None)), flags, samples.shape[1], excess)

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
        a, b = (shorten_tails(v)[0] for v in (a, b))
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

        return mean_with_error(
            terms(slice(None)), flags, b.shape[1], self.excess_variance(terms, joint)
        )

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
        samples, flags = as_continuous(a, "a", self.k)
        samples = shorten_tails(samples)[0]
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
        if np.bincount(labels).min() > 2 * PARTS * max(self.k, dim):
            excess = excess_variance(
                lambda some: self._label_terms(rows.take(some), labels[some]), len(labels), self.k,
                labels,
            )  # fmt: skip
        return at_most_entropy(
            mean_with_error(self._label_terms(rows, labels), flags, dim, excess), labels
        )

    def _label_terms(self, rows: Rows, labels: np.ndarray) -> np.ndarray:
        terms = self._terms(rows)
        for mine in rows_by_class(labels):
            terms[mine] -= self._terms(rows.take(mine))
        return terms

    def excess_variance(self, terms: Callable[[np.ndarray], np.ndarray], rows: Rows) -> float:
        """Of disjoint subsets, where these still span the space."""
        n, dim = rows.shape
        return 0.0 if n < 4 * PARTS * dim else excess_variance(terms, n, self.k)

    def _terms(self, rows: Rows) -> np.ndarray:
        """−ln of the density at each sample, ``(n,)``."""
        n, d = rows.shape
        rows, log_det = _whitened(rows) if self.whiten else (rows.centred(), 0.0)
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
    """Rows of covariance 1 but for the far ones, and ln of the determinant of the division."""
    near = rows.near().standardised()
    values, vectors = np.linalg.eigh(near.products() / len(near))
    # Values below this are roundings, which may be negative.
    values = np.maximum(values, 1e-14 * values[-1])
    log_det = float(np.log(values).sum() / 2 + np.log(near.scale).sum())
    matrix = vectors / np.sqrt(values)
    return dataclasses.replace(rows, shift=near.shift, scale=near.scale, matrix=matrix), log_det


def _columns(samples: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Some columns, or the samples themselves if these are all."""
    return samples if len(kept) == samples.shape[1] else samples[:, kept]


def _independent(rows: Rows) -> np.ndarray:
    """Indices of columns of which none is a linear function of those before it."""
    if not rows.shape[1]:
        return np.zeros(0, int)
    # A linear relation of the samples holds for the rows whose tails were not shortened.
    near = rows.near()
    spanning = _spanning(near)
    return spanning if near is rows or len(spanning) == rows.shape[1] else _spanning(rows)


def _spanning(rows: Rows) -> np.ndarray:
    rows = rows.centred()
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
