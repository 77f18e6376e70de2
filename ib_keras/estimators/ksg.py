"""The KSG estimator of I(X;T) and I(T;Y) from nearest neighbours."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np
from scipy.special import digamma

from ib_keras.arrays.checks import check_count
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.scaling import magnitude, of_one_spread, shorten_tails
from ib_keras.errors import ArgumentError
from ib_keras.estimators.continuous import (
    Neighbors,
    as_continuous,
    check_pair,
    excess_variance,
    mean_with_error,
    rows_by_class,
)
from ib_keras.estimators.kernels.neighbor_search import counts_within, distances, joint_counts
from ib_keras.interface import Estimate

# Largest magnitude, and inverse of the smallest, whose squares neither overflow nor vanish.
_LARGEST = 1e100


@dataclasses.dataclass(frozen=True)
class KSG(Neighbors):
    """I(A;B) = ψ(k) + ψ(n) − ⟨ψ(n_a + 1) + ψ(n_b + 1)⟩, from neighbours in the joint space.

    ε_i is the distance from sample i to its k-th neighbour, where the distance is the larger of the
    distances in the two spaces; n_a and n_b are the numbers of samples strictly nearer than ε_i in
    each space. For labels, the neighbours are taken among the samples of the same class (Ross).

    I(A;B) does not depend on the scales of A and B, but joint distances do: if one variable is much
    larger, it alone decides which samples are near, and the estimate is 0. Therefore one variable
    is first multiplied by the power of two that makes the spreads most similar. Variables whose
    spreads are within √2 of each other are not changed.

    The biases of the three entropies largely cancel, so the estimate is near 0 without information.
    Large information is underestimated, less so for smaller k. Coinciding samples are counted
    without adding noise, and flagged ``ties``. The standard error includes the variance of the
    terms and the correlation between the terms of near samples, which is estimated from disjoint
    tenths of the samples.

    Cost: n·log n in few dimensions, by trees, and n² in many, in blocks.

    Args:
        k: number of neighbours.
        metric: ``"chebyshev"``, as in Kraskov et al., or ``"euclidean"`` in each space, which is
            less biased in many dimensions.
        rescale: whether to rescale the variables to similar spreads and shorten their tails.

    Raises:
        ArgumentError: If an argument is invalid.

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
        """Estimate I(A;B) of two continuous variables, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n ≤ k, the lengths differ, or A and B share a variable, so that I(A;B)
                is infinite.
        """
        a, b, flags = check_pair(a, b, self.k)
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        if self.rescale:
            a, b = of_one_spread(shorten_tails(a)[0], shorten_tails(b)[0])
        else:
            _check_magnitudes(a, b)
        terms = self._joint_terms(a, b)
        excess = excess_variance(lambda rows: self._joint_terms(a[rows], b[rows]), len(a), self.k)
        return mean_with_error(terms, flags, b.shape[1], excess)

    def _joint_terms(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        neighbours, in_a, in_b = joint_counts(a, b, self.k, self.metric)
        return digamma(neighbours) + digamma(len(a)) - digamma(in_a) - digamma(in_b)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate I(A;Y) = ψ(n) + ⟨ψ(k_i)⟩ − ⟨ψ(n_y)⟩ − ⟨ψ(m_i)⟩ of classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``. In a class of at most k samples, all other samples are
                neighbours; classes of a single sample are left out.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: If n ≤ k, or all classes have a single sample.
        """
        samples, flags = as_continuous(a, "a", self.k)
        counts = np.bincount(labels)[labels]
        samples, labels, counts = (v[counts > 1] for v in (samples, labels, counts))
        if not len(samples):
            raise ArgumentError("All classes have a single sample", "a class of 2 or more", "none")
        if not samples.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(samples), dim=0)
        samples = shorten_tails(samples)[0]
        terms = self._label_terms(samples, labels)
        excess = excess_variance(
            lambda rows: self._label_terms(samples[rows], labels[rows]), len(samples), self.k
        )
        estimate = mean_with_error(terms, flags, samples.shape[1], excess)
        # If the classes are separate, the digamma functions slightly exceed H(Y).
        return at_most_entropy(estimate, labels)

    def _label_terms(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        counts = np.bincount(labels)[labels]
        samples, labels, counts = (v[counts > 1] for v in (samples, labels, counts))
        n = len(samples)
        if not n:
            return np.zeros(0)
        radius, ks = np.empty(n), np.minimum(self.k, counts - 1)
        classes = rows_by_class(labels)
        for rows in classes:
            radius[rows] = distances(samples[rows], int(ks[rows[0]]), self.metric)[:, -1]
        inside = counts_within(samples, radius, self.metric)
        same = radius == 0
        if same.any():
            in_class = np.zeros(n, int)
            for rows in classes:
                in_class[rows] = self._coinciding(samples[rows])
            ks, inside = (
                np.where(same, in_class, ks),
                np.where(same, self._coinciding(samples), inside),
            )
        return digamma(n) + digamma(ks) - digamma(counts) - digamma(inside)

    def _coinciding(self, samples: np.ndarray) -> np.ndarray:
        tiny = np.full(len(samples), np.nextafter(0, 1))
        return counts_within(samples, tiny, self.metric) - 1


def _check_magnitudes(*variables: np.ndarray) -> None:
    for values in variables:
        largest = float(magnitude(values)[0, 0])
        if not 1 / _LARGEST < largest < _LARGEST:
            raise ArgumentError(
                "The values are too large or too small to be used without rescaling",
                f"magnitudes between {1 / _LARGEST:.0e} and {_LARGEST:.0e}, or rescale=True",
                f"{largest:.3g}",
            )
