"""Sliced mutual information: the mean information of random projections."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_samples, check_count, check_lengths, check_seed
from ib_keras.arrays.codes import at_most_entropy, first_rows, row_codes
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import moderate, of_one_spread, shorten_tails
from ib_keras.estimators.base import FromPairs
from ib_keras.estimators.continuous import mean_with_error, of_subsets
from ib_keras.estimators.gaussian import varying
from ib_keras.estimators.ksg import KSG
from ib_keras.interface import Estimate

_FLAG = "sliced"
# Number of projections from which the correlation between near samples is estimated.
_FEW = 16

# The terms of the samples under one projection, for all samples or the given rows.
_Terms = Callable[[int, Any], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sliced(FromPairs):
    """SI_k(A;B) = E[I(ΘᵀA; ΦᵀB)], the mean over random k-dimensional projections Θ and Φ.

    Θ and Φ are independent and uniform among the matrices with orthonormal columns. The expectation
    is a mean over ``projections`` pairs, and ``KSG`` estimates the information of each pair. A
    variable with at most k columns is not projected. With classes, only A is projected:
    SI_k(A;Y) = E[I(ΘᵀA; Y)].

    This quantity is not the mutual information. It is at most I(A;B), and 0 only if A and B are
    independent, but it falls with the dimension and need not fall when A is processed further.
    Therefore every estimate of projected variables has the flag ``sliced``. Translations and
    rotations of A and B do not change it, but the scales of their columns do.

    All projections use the same samples. The squared standard error is the sum of two parts: the
    variance of the estimate over samples, computed as for ``KSG`` from the mean of each sample's
    terms over the projections, and the variance between projections, divided by their number.

    Args:
        k: dimension of the projections.
        projections: number of pairs of projections, at least 2.
        neighbors: number of neighbours of ``KSG``.
        seed: seed of the projections.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Goldfeld & Greenewald, NeurIPS 2021, arXiv:2110.05279. Goldfeld, Greenewald, Nuradha &
        Reeves, NeurIPS 2022, arXiv:2206.08526 (k > 1).
    """

    k: int = 1
    projections: int = 128
    neighbors: int = 5
    seed: int = 0

    name: ClassVar[str] = "sliced"

    def __post_init__(self) -> None:
        for field, least in (("k", 1), ("projections", 2), ("neighbors", 1)):
            object.__setattr__(self, field, check_count(getattr(self, field), field, least))
        check_seed(self.seed)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        width = self.projections * self.k
        ksg = self._ksg().peak_bytes(n, self.k, dim_x=self.k)
        return ksg + TILES + 16 * width * (n + dim + dim_x) + itemsize * n * (dim + dim_x)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate SI_k(A;B) of two continuous variables, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Returns:
            The estimate. If A and B have at most k columns each, it is I(A;B), without the flag
            ``sliced``.

        Raises:
            ArgumentError: If there are at most ``neighbors`` samples, the lengths differ, or A and
                B have at most k columns and share one, so that I(A;B) is infinite.
        """
        first, second = _Side(a, "a", self), _Side(b, "b", self)
        check_lengths(first.values, second.values)
        ksg, dim = self._ksg(), second.dim
        if not (first.projected or second.projected):
            return ksg.mutual_information(a, b)
        if not first.dim or not dim:
            return Estimate(0.0, 0.0, n=len(first.values), dim=dim)
        flags = (*ksg.mutual_information(first[0], second[0]).flags, _FLAG)

        def terms(number: int, rows: Any = slice(None)) -> np.ndarray:
            a, b = (shorten_tails(side[number][rows])[0] for side in (first, second))
            return ksg._joint_terms(*of_one_spread(a, b, ksg.metric), None, "ties" in flags)

        return self._mean(terms, len(first.values), flags, dim)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate SI_k(A;Y) = E[I(ΘᵀA; Y)] of a continuous variable and classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``, as for ``KSG``.

        Returns:
            The estimate, at most H(Y) of these labels.

        Raises:
            ArgumentError: Under the same conditions as for ``KSG``.
        """
        side, ksg = _Side(a, "a", self), self._ksg()
        alone = ksg.with_classes(side[0] if side.projected else a, labels)
        if not side.projected:
            return alone
        kept = np.bincount(labels)[labels] > 1
        labels = labels[kept]

        def terms(number: int, rows: Any = slice(None)) -> np.ndarray:
            samples = shorten_tails(side[number][kept][rows])[0]
            return ksg._label_terms(samples, labels[rows], None, "ties" in alone.flags)

        found = self._mean(terms, len(labels), (*alone.flags, _FLAG), side.dim, labels)
        return at_most_entropy(found, labels)

    def _mean(
        self,
        terms: _Terms,
        n: int,
        flags: tuple[str, ...],
        dim: int,
        labels: np.ndarray | None = None,
    ) -> Estimate:
        """Return the mean over projections and samples, with both parts of the standard error."""
        total, values = np.zeros(n), []
        for number in range(self.projections):
            own = terms(number, slice(None))
            total += own
            values.append(float(own.mean()))
        few = range(min(_FEW, self.projections))

        def of_few(rows: np.ndarray) -> np.ndarray:
            return np.mean([terms(number, rows) for number in few], axis=0)

        subsets = of_subsets(of_few, n, self.neighbors, labels)
        found = mean_with_error(total / self.projections, flags, dim, subsets.excess)
        if subsets.few:
            lower = float(of_few(np.arange(n)).mean()) - subsets.value
            found = subsets._replace(value=found.value - lower).judged(found)
        between = float(np.std(values, ddof=1)) / math.sqrt(self.projections)
        return dataclasses.replace(found, stderr=math.hypot(found.stderr, between))

    def _ksg(self) -> KSG:
        return KSG(self.neighbors)


class _Side:
    """A variable and its projections.

    Args:
        values: the samples, ``(n, ...)``.
        name: ``"a"`` or ``"b"``; the projections of the two are independent.
        settings: the estimator.
    """

    def __init__(self, values: Any, name: str, settings: Sliced) -> None:
        self.values = varying(as_samples(values, name))
        self.dim = self.values.shape[1]
        self.projected = self.dim > settings.k
        self._width = settings.k
        if not self.projected:
            return
        rng = np.random.default_rng([settings.seed, ord(name)])
        random = rng.normal(size=(settings.projections, self.dim, settings.k))
        columns = np.linalg.qr(random)[0].transpose(1, 0, 2).reshape(self.dim, -1)
        codes = row_codes(self.values)
        first = first_rows(codes)
        different = Rows.of(moderate(self.values, dtype=np.float64)[0]).take(first)
        # Equal rows remain equal, whatever the order of summation.
        self._products = np.concatenate([tile @ columns for tile in different.tiles()])[codes]

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a projection of the samples, ``(n, k)``, or the samples if not projected."""
        if not self.projected:
            return self.values
        return self._products[:, number * self._width : (number + 1) * self._width]
