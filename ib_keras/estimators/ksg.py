"""The KSG estimator of I(X;T) and I(T;Y) from nearest neighbours."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from scipy.special import digamma

from ib_keras.arrays.checks import check_bool, check_seed
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.grids import spread_cells
from ib_keras.arrays.scaling import Metric, magnitude, of_one_spread, shorten_tails
from ib_keras.errors import ArgumentError
from ib_keras.estimators import width
from ib_keras.estimators.continuous import (
    Neighbors,
    check_classes,
    check_pair,
    mean_with_error,
    numbers,
    of_subsets,
    rows_by_class,
    some,
)
from ib_keras.estimators.kernels.local_dimension import closely_bound
from ib_keras.estimators.kernels.neighbor_search import (
    Times,
    beyond,
    counts_within,
    distances,
    joint_counts,
)
from ib_keras.interface import Estimate

# Largest magnitude, and inverse of the smallest, whose squares neither overflow nor vanish.
_LARGEST = 1e100
# The second part of the seed, which distinguishes the random numbers of this estimator.
_STREAM = 0x4B5347


@dataclasses.dataclass(frozen=True)
class KSG(Neighbors):
    """I(A;B) = ψ(k) + ψ(n) − ⟨ψ(n_a + 1) + ψ(n_b + 1)⟩, from neighbours in the joint space.

    ε_i is the distance from sample i to its k-th neighbour, where a distance is the larger of the
    distances in the two spaces; n_a and n_b are the numbers of samples that are strictly nearer
    than ε_i in each space. For labels, the neighbours are taken among the samples of the same class
    (Ross).

    I(A;B) does not depend on the scales of A and B, but joint distances do: if one variable is much
    larger, it alone decides which samples are near, and the estimate is 0. Therefore one variable
    is first multiplied by a factor, so that the distances of its rows from their mean differ by 2 %
    from those of the other variable, in the root mean square. The factor follows the samples
    continuously. Variables whose distances differ by less than 2 % are not changed.

    The biases of the three entropies largely cancel, so the estimate is near 0 without information.
    Large information is underestimated, less so for smaller k. The flag ``strong`` says that, at
    the scale of neighbours, the pairs have clearly fewer dimensions than permuted pairs. The
    standard error includes the variance of the terms and the correlation between the terms of near
    samples, which is estimated from disjoint tenths of the samples. Fewer than 40·(k + 1) samples
    give too low a value; they are divided into halves, and the error includes the difference
    between the estimates from all samples and from half of them. The estimate has the flag
    ``few_rows`` if this difference is large, or if there are fewer than 4·(k + 1) samples.

    On a grid, such as that of integers, many samples are equally near. Discrete columns are
    therefore spread over their cells by uniform noise, which changes no information
    (``arrays.grids``). Columns that repeat some values, such as the zeros of a ReLU, are not
    changed, and the estimate has the flag ``ties``. If more than k neighbours are within ε_i, all
    k_i of them are counted, and n_a and n_b include the samples at the distance ε_i: the term is
    then ψ(k_i) + ψ(n) − ψ(n_a) − ψ(n_b). Within an atom, where ε_i = 0, this is the information
    from counts.

    Rows of a time series depend on the preceding rows, so rows may be near for this reason alone.
    With ``window=w``, rows i and j with 0 < |i − j| ≤ w are left out of each other's
    neighbours and counts (Theiler), and n is replaced by n_i, the number of rows that are counted
    for row i, including itself: I(A;B) = ⟨ψ(k) + ψ(n_i) − ψ(n_a + 1) − ψ(n_b + 1)⟩. The standard
    error then includes the correlation of the terms of consecutive rows. If the rows of both
    variables depend on each other over more rows than the window, the estimate has the flag
    ``dependent``.

    Cost: n·log n in few dimensions, by trees; n² in many dimensions or with a window, in blocks.

    Args:
        k: number of neighbours.
        metric: ``"chebyshev"``, as in Kraskov et al., or ``"euclidean"`` in each space, which is
            less biased in many dimensions.
        rescale: whether to rescale the variables to similar spreads and shorten their tails.
        dither: whether to spread discrete columns over their cells.
        seed: seed of the positions within the cells.
        window: number of rows before and after each row that are left out, for rows in temporal
            order. It should be at least the number of rows over which the series are correlated.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Kraskov, Stögbauer & Grassberger, Phys. Rev. E 69, 066138, 2004, eq. 8.
        Ross, PLoS ONE 9(2), e87357, 2014 (labels). Gao et al., NeurIPS 2017 (coinciding samples).
        Holmes & Nemenman, Phys. Rev. E 100, 022404, 2019 (errors from subsets). Theiler, Phys. Rev.
        A 34, 2427, 1986 (windows). Levina & Bickel, NeurIPS 2004 (dimensions).
    """

    k: int = 5
    metric: Metric = "chebyshev"
    rescale: bool = True
    window: int = 0
    dither: bool = True
    seed: int = 0

    name: ClassVar[str] = "ksg"

    def __post_init__(self) -> None:
        self.check_settings()
        if self.metric not in ("chebyshev", "euclidean"):
            raise ArgumentError("`metric` is unknown", "'chebyshev' or 'euclidean'", self.metric)
        for name in ("rescale", "dither"):
            check_bool(getattr(self, name), name)
        check_seed(self.seed)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) of two continuous variables, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n ≤ k + 2·window, the lengths differ, or A and B share a variable, so
                that I(A;B) is infinite.
        """
        a, b, flags = check_pair(a, b, self.k, once=not self.window)
        times = self.times(len(a))
        if not a.shape[1] or not b.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(a), dim=b.shape[1])
        flags += self.dependence(a, b)
        (a, b), flags = self._spread(flags, a, b)
        if self.rescale:
            a, b = of_one_spread(shorten_tails(a)[0], shorten_tails(b)[0], self.metric)
        else:
            _check_magnitudes(a, b)
        if "ties" not in flags and closely_bound(a, b, times):
            flags += ("strong",)
        ties = "ties" in flags
        terms = self._joint_terms(a, b, times, ties)
        subsets = of_subsets(
            lambda rows: self._joint_terms(a[rows], b[rows], some(times, rows), ties),
            len(a), self.k,
            window=self.window,
        )  # fmt: skip
        serial = self.window > 0
        estimate = mean_with_error(terms, flags, b.shape[1], subsets.excess, serial=serial)
        read = functools.partial(width.pair_terms, k=self.k, metric=self.metric)
        wide = width.too_wide(a, b, estimate, read)
        return width.flagged(subsets.judged(estimate), wide)

    def _spread(
        self, flags: tuple[str, ...], *variables: np.ndarray, labels: np.ndarray | None = None
    ) -> tuple[list[np.ndarray], tuple[str, ...]]:
        """Spread discrete columns, and remove the flag ``ties`` if no repeated values remain."""
        if not self.dither or "ties" not in flags:
            return list(variables), flags
        # The samples may have been drawn by a generator with the same seed.
        rng = np.random.default_rng([self.seed, _STREAM])
        spread, ties = spread_cells(variables, rng, labels)
        return spread, flags if ties else tuple(f for f in flags if f != "ties")

    def _joint_terms(
        self, a: np.ndarray, b: np.ndarray, times: Times | None, ties: bool
    ) -> np.ndarray:
        neighbours, in_a, in_b = joint_counts(a, b, self.k, self.metric, times, closed=ties)
        total = digamma(numbers(len(a), times))
        return digamma(neighbours) + total - digamma(in_a) - digamma(in_b)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate I(A;Y) = ψ(n) + ⟨ψ(k_i)⟩ − ⟨ψ(n_y)⟩ − ⟨ψ(m_i)⟩ of classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``. In a class of at most k samples, all other samples of
                the class are neighbours. Classes of a single sample are left out.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: If n ≤ k + 2·window, or no class has two samples that may be neighbours.
        """
        samples, labels, flags = check_classes(a, labels, self.k, once=not self.window)
        times = self.times(len(samples))
        flags += self.dependence(samples, labels)
        (samples,), flags = self._spread(flags, samples, labels=labels)
        rows = np.flatnonzero(np.bincount(labels)[labels] > 1)
        samples, labels, times = samples[rows], labels[rows], some(times, rows)
        if not len(samples):
            raise ArgumentError("All classes have a single sample", "a class of 2 or more", "none")
        if not samples.shape[1]:
            return Estimate(0.0, 0.0, flags=flags, n=len(samples), dim=0)
        samples = shorten_tails(samples)[0]
        ties = "ties" in flags
        terms = self._label_terms(samples, labels, times, ties)
        if not len(terms):
            raise ArgumentError(
                f"No sample has another of its class outside window={self.window}",
                "a smaller window, or labels that return",
                f"{len(samples)} samples",
            )
        subsets = of_subsets(
            lambda rows: self._label_terms(samples[rows], labels[rows], some(times, rows), ties),
            len(samples), self.k, window=self.window,
        )  # fmt: skip
        serial = self.window > 0
        estimate = mean_with_error(terms, flags, samples.shape[1], subsets.excess, serial=serial)
        # If the classes are separate, the estimate can slightly exceed H(Y).
        estimate = at_most_entropy(estimate, labels)
        wide = width.too_wide_for_classes(samples, labels, estimate, self.k, self.metric)
        return width.flagged(subsets.judged_if_few(estimate), wide)

    def _label_terms(
        self, samples: np.ndarray, labels: np.ndarray, times: Times | None, ties: bool
    ) -> np.ndarray:
        """Return the terms of the samples that are compared with others of their class."""
        rows = np.flatnonzero(np.bincount(labels)[labels] > 1)
        samples, labels, times = samples[rows], labels[rows], some(times, rows)
        n = len(samples)
        if not n:
            return np.zeros(0)
        radius, counts = np.empty(n), np.empty(n, int)
        classes = rows_by_class(labels)
        for rows in classes:
            counts[rows] = numbers(len(rows), some(times, rows))
        ks = np.minimum(self.k, counts - 1)
        for rows in classes:
            k = max(1, int(ks[rows].max()))
            near = distances(samples[rows], k, self.metric, some(times, rows))
            radius[rows] = near[np.arange(len(rows)), ks[rows] - 1]
        inside = counts_within(samples, radius, self.metric, times)
        if ties or (radius == 0).any():
            within, in_class = beyond(radius, self.metric), np.zeros(n, int)
            for rows in classes:
                in_class[rows] = counts_within(
                    samples[rows], within[rows], self.metric, some(times, rows)
                )
            up_to = counts_within(samples, within, self.metric, times) - 1
            border = (radius == 0) | (ties & (in_class - 1 > ks))
            ks, inside = np.where(border, in_class - 1, ks), np.where(border, up_to, inside)
        terms = digamma(numbers(n, times)) + digamma(ks) - digamma(counts) - digamma(inside)
        return terms if times is None else terms[counts > 1]


def _check_magnitudes(*variables: np.ndarray) -> None:
    for values in variables:
        largest = float(magnitude(values)[0, 0])
        if not 1 / _LARGEST < largest < _LARGEST:
            raise ArgumentError(
                "The values are too large or too small to be used without rescaling",
                f"magnitudes between {1 / _LARGEST:.0e} and {_LARGEST:.0e}, or rescale=True",
                f"{largest:.3g}",
            )
