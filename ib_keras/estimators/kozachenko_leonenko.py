"""The Kozachenko–Leonenko estimator of entropies from nearest neighbours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import qr
from scipy.special import digamma, gammaln

from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import of_one_spread, shorten_tails
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators import width
from ib_keras.estimators.continuous import (
    Neighbors,
    Subsets,
    as_continuous,
    check_classes,
    check_pair,
    less_than_ranks,
    mean_with_error,
    numbers,
    of_subsets,
    rows_by_class,
    some,
)
from ib_keras.estimators.kernels.local_dimension import closely_bound, on_surface
from ib_keras.estimators.kernels.neighbor_search import Times, distances
from ib_keras.interface import Estimate

# Largest norm of the weights, and largest dimension, at which weighting reduces the error.
_NORM, _WIDEST = 5.0, 12


@dataclasses.dataclass(frozen=True)
class KozachenkoLeonenko(Neighbors):
    """Differential entropy h = ψ(n) − ψ(k) + ln V_d + (d/n) Σ ln ρ_k,i, and I from sums of it.

    ρ_k,i is the Euclidean distance from sample i to its k-th neighbour, and V_d is the volume of
    the unit ball. With ``whiten=True``, the samples are first whitened by their covariance Σ, and
    ½ ln det Σ is added. Then I(A;B) = h(A) + h(B) − h(A,B), and I(A;Y) = h(A) − Σ_y p(y) h(A|y).

    The standard error of I includes the variance of the paired terms and their correlation, which
    is estimated from disjoint tenths of the samples, or from halves if there are few. It then
    includes the growth from half to all samples, and a large growth sets the flag ``few_rows``, as
    for ``KSG``. Without information, the sum of three entropies has a negative bias (−0.1 to
    −2 nats for bounded codes): compare it with ``baseline``, or use ``KSG`` if no entropy is
    needed.

    Samples on a curved surface have no density. The estimate has the flag ``low_dim`` if, at the
    scale of neighbours, the samples of A or B have clearly fewer dimensions than normal samples
    with the same covariance. It has the flag ``strong`` if the pairs have clearly fewer dimensions
    than permuted pairs. It has the flag ``heavy_tails`` if the ranks of some rows show clearly more
    information: cubes of normal pairs of 0.83 nats give 0.62 to 0.67.

    With ``window=w``, rows i and j with 0 < |i − j| ≤ w are left out of each other's neighbours,
    and n is replaced by n_i, the number of rows that are compared with row i, including itself:
    h = ⟨ψ(n_i) − ψ(k) + ln V_d + d ln ρ_k,i⟩. The standard error then includes the correlation of
    the terms of consecutive rows. The cost is n².

    With ``weighted=True``, the neighbours 1…k are combined with the weights of minimal L2 norm that
    cancel the leading bias: Σ w_j = 1, Σ_j w_j Γ(j + 2l/d)/Γ(j) = 0 for l = 1…⌊d/4⌋. For a few
    thousand samples in 4 or 5 dimensions, k = 10 more than halves the bias and makes the error a
    third larger; more neighbours are farther away and increase the bias again. From 8 dimensions
    on, weights of bounded size need k of 20 to 50 or more; up to 5 000 samples, they are not more
    accurate than the fifth neighbour alone. Weights that would only add variance raise an error.

    Args:
        k: number of neighbours. The k-th neighbour is used or, with ``weighted``, the first k.
        weighted: whether to use the weights.
        whiten: whether to whiten by the covariance, for columns that are correlated or have
            different scales.
        window: number of rows before and after each row that are left out, for rows in temporal
            order. It should be at least the number of rows over which the series are correlated.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Kozachenko & Leonenko, 1987. Berrett, Samworth & Yuan, Ann. Statist. 47(1), 2019 (weights).
        Butakov et al., ICLR 2024, arXiv:2305.08013. Theiler, Phys. Rev. A 34, 2427, 1986 (windows).
        Levina & Bickel, NeurIPS 2004 (dimensions).
    """

    k: int = 5
    weighted: bool = False
    whiten: bool = False
    window: int = 0

    name: ClassVar[str] = "kl"

    def __post_init__(self) -> None:
        self.check_settings()

    def entropy(self, a: np.ndarray) -> Estimate:
        """Estimate the differential entropy h(A) in nats.

        Args:
            a: samples of A, ``(n, ...)``.

        Raises:
            ArgumentError: If n ≤ k + 2·window, or h(A) is −∞ because samples coincide or lie in a
                subspace.
        """
        samples, flags = as_continuous(a, "a", self.k, drop=False)
        times = self.times(len(samples))
        samples, log_slope = shorten_tails(samples)
        rows = Rows.of(samples)
        rank = _independent(rows)
        if len(rank) < samples.shape[1]:
            raise ArgumentError(
                "The entropy of `a` is -inf: it lies in a subspace",
                "no column that is constant or a linear function of others",
                f"{len(rank)} independent columns of {samples.shape[1]}",
            )

        def terms(chosen: Any) -> np.ndarray:
            return self._terms(rows.take(chosen), some(times, chosen)) - log_slope[chosen]

        subsets, serial = self._of_subsets(terms, rows), self.window > 0
        flags += surface_flag(flags, times, samples)
        of_all, dim = terms(slice(None)), samples.shape[1]
        found = mean_with_error(of_all, flags, dim, subsets.excess, serial=serial)
        return subsets.judged_if_few(found)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) = h(A) + h(B) − h(A,B) of two continuous variables, in nats.

        Columns that are linear functions of other columns of the same variable are left out. A or B
        is multiplied by a factor that makes the spreads of their coordinates similar.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n ≤ k + 2·window, the lengths differ, samples coincide, or a linear
                function of A equals one of B, so that I(A;B) is infinite.
        """
        a, b, flags = check_pair(a, b, self.k, once=not self.window)
        times = self.times(len(a))
        flags += self.dependence(a, b)
        a, b = (independent_columns(shorten_tails(v)[0]) for v in (a, b))
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        a, b = of_one_spread(a, b)
        joint = Rows.of(a, b)
        rank = _independent(joint)
        if len(rank) < joint.shape[1]:
            if len(a) <= joint.shape[1]:
                raise ArgumentError(
                    "There are too few samples to decide whether `a` and `b` are exactly related",
                    f"more than {joint.shape[1]}, the number of columns of both",
                    len(a),
                )
            raise InfiniteError(
                "A linear function of `a` equals one of `b`: I(A;B) is infinite",
                "variables without an exact relation: add noise to one of them",
                f"{len(rank)} independent columns of {joint.shape[1]}",
            )

        def terms(chosen: Any) -> np.ndarray:
            of_a, of_b, of_both = (
                self._terms(rows.take(chosen), some(times, chosen))
                for rows in (Rows.of(a), Rows.of(b), joint)
            )
            return of_a + of_b - of_both

        each, serial = terms(slice(None)), self.window > 0
        subsets = self._of_subsets(terms, joint)
        flags += surface_flag(flags, times, a, b)
        if "ties" not in flags and closely_bound(a, b, times):
            flags += ("strong",)
        if not serial:
            flags += less_than_ranks(a, b, lambda a, b: self._read(a, b, np.arange(len(a))))
        estimate = mean_with_error(each, flags, b.shape[1], subsets.excess, serial=serial)
        wide = width.too_wide(a, b, estimate, self._read)
        return width.flagged(subsets.judged(estimate), wide)

    def _read(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the terms of I(A;B[rows]), ``(n,)``, whose second entropy is that of B."""
        of_a = self._terms(Rows.of(a), None)
        of_b = of_a if b is a else self._terms(Rows.of(b), None)
        return of_a + of_b[rows] - self._terms(Rows.of(a, b[rows]), None)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate I(A;Y) = h(A) − Σ_y p(y) h(A|y) of classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: If a class has at most k or at most d samples (outside the window of one
                of them), or A lies in a subspace within a class.
        """
        samples, labels, flags = check_classes(a, labels, self.k, once=not self.window)
        times = self.times(len(samples))
        flags += self.dependence(samples, labels)
        samples = independent_columns(shorten_tails(samples)[0])
        dim = samples.shape[1]
        if not dim:
            return Estimate(0.0, 0.0, flags=flags, n=len(samples), dim=0)
        rows = Rows.of(samples)
        smallest = len(labels)
        for label in range(int(labels.max()) + 1):
            members = np.flatnonzero(labels == label)
            count = int(np.min(numbers(len(members), some(times, members)), initial=len(members)))
            smallest = min(smallest, count)
            if count <= max(self.k, dim):
                raise ArgumentError(
                    f"A class has too few samples for k={self.k} in {dim} dimensions",
                    "more than k and d samples of each class outside the window; KSG accepts "
                    "smaller classes",
                    f"{count} samples",
                )
            if len(_independent(rows.take(members))) < dim:
                raise ArgumentError(
                    "Within a class `a` lies in a subspace, so h(A|y) is -inf",
                    "columns that vary independently in each class, or KSG",
                    f"class {label}",
                )
        # Each subset needs enough samples of each class.
        subsets = of_subsets(
            lambda chosen: self._label_terms(
                rows.take(chosen), labels[chosen], some(times, chosen)
            ),
            len(labels), self.k, labels,
            window=self.window, least=(max(self.k, dim) + 2) * len(labels) / smallest,
        )  # fmt: skip
        terms, serial = self._label_terms(rows, labels, times), self.window > 0
        flags += surface_flag(flags, times, samples)
        estimate = mean_with_error(terms, flags, dim, subsets.excess, serial=serial)
        return at_most_entropy(subsets.judged_if_few(estimate), labels)

    def _label_terms(self, rows: Rows, labels: np.ndarray, times: Times | None) -> np.ndarray:
        terms = self._terms(rows, times)
        for members in rows_by_class(labels):
            terms[members] -= self._terms(rows.take(members), some(times, members))
        return terms

    def _of_subsets(self, terms: Callable[[np.ndarray], np.ndarray], rows: Rows) -> Subsets:
        """Estimate from disjoint subsets that span the space."""
        n, dim = rows.shape
        return of_subsets(terms, n, self.k, window=self.window, least=2 * dim)

    def _terms(self, rows: Rows, times: Times | None) -> np.ndarray:
        """Return −ln of the density at each sample, ``(n,)``."""
        n, d = rows.shape
        rows, log_det = whitened(rows) if self.whiten else (rows.centred(), 0.0)
        near = distances(rows, self.k, times=times)
        weights = berrett_weights(self.k, d) if self.weighted else np.eye(self.k)[-1]
        used = np.flatnonzero(weights)
        if (near[:, used] == 0).any():
            raise ArgumentError(
                "Samples coincide: their density is infinite",
                f"at most {self.k} equal samples, KSG, which counts coinciding samples, or samples "
                "with noise of a meaningful size",
                f"{int((near[:, used[0]] == 0).sum())} of {n} samples",
            )
        volume = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
        logs = d * np.log(near[:, used]) - digamma(used + 1)
        return digamma(numbers(n, times)) + volume + log_det + logs @ weights[used]


def surface_flag(
    flags: tuple[str, ...], times: Times | None, *spaces: np.ndarray
) -> tuple[str, ...]:
    """Return ``("low_dim",)`` if there are no ties and the samples of a space lie on a surface."""
    found = "ties" not in flags and any(on_surface(samples, times) for samples in spaces)
    return ("low_dim",) if found else ()


def berrett_weights(k: int, dim: int) -> np.ndarray:
    """Return the weights of minimal L2 norm for the neighbours 1…k that cancel the leading bias.

    They satisfy Σ_j w_j = 1 and Σ_j w_j Γ(j + 2l/d)/Γ(j) = 0 for l = 1…⌊d/4⌋.

    Args:
        k: number of neighbours.
        dim: dimension d of the samples.

    Raises:
        ArgumentError: If d > 12, k is too small, or the weights are so large that they add more
            variance than they remove bias.
    """
    enough = "10 to 20" if dim < 8 else "50 to 100"
    advice = "KSG, or weighted=False" + ("" if dim > _WIDEST else f", or k of {enough}")
    if dim > _WIDEST:
        raise ArgumentError(
            f"Weights do not help in {dim} dimensions", f"d <= {_WIDEST}, {advice}", f"d={dim}"
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


def whitened(rows: Rows) -> tuple[Rows, float]:
    """Whiten rows by the covariance of those that are not far, and return ½ ln det of it."""
    near = rows.near().standardised()
    values, vectors = np.linalg.eigh(near.products() / len(near))
    # Smaller eigenvalues are rounding errors and may be negative.
    values = np.maximum(values, 1e-14 * values[-1])
    log_det = float(np.log(values).sum() / 2 + np.log(near.scale).sum())
    matrix = vectors / np.sqrt(values)
    return dataclasses.replace(rows, shift=near.shift, scale=near.scale, matrix=matrix), log_det


def independent_columns(samples: np.ndarray) -> np.ndarray:
    """Return the columns without those that are linear functions of others, ``(n, rank)``."""
    kept = _independent(Rows.of(samples))
    return samples if len(kept) == samples.shape[1] else samples[:, kept]


def _independent(rows: Rows) -> np.ndarray:
    """Return the indices of linearly independent columns that span all columns."""
    if not rows.shape[1]:
        return np.zeros(0, int)
    # A linear relation holds only for rows whose tails were not shortened.
    near = rows.near()
    spanning = _spanning(near)
    return spanning if near is rows or len(spanning) == rows.shape[1] else _spanning(rows)


def _spanning(rows: Rows) -> np.ndarray:
    # Centring by the mean removes the intercept of a linear relation.
    rows = rows.shifted(rows.mean())
    norms = np.sqrt(rows.squares())
    triangle = np.zeros((0, rows.shape[1]))
    for tile in rows.divided(np.where(norms > 0, norms, 1)).tiles():
        # The previous rows can be replaced by their triangular factor.
        above = np.linalg.qr(triangle, mode="r") if len(triangle) else triangle
        triangle = np.concatenate([above, tile])
    r, order = qr(triangle, mode="r", pivoting=True)
    size = np.abs(np.diag(r))
    return np.sort(order[: len(size)][size > 1e-10 * math.sqrt(len(rows))])
