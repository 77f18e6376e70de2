"""What the nearest-neighbour estimators share: samples, subsets, standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_seed
from ib_keras.arrays.memory import TILES
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.estimators.kernels.neighbor_search import WIDE
from ib_keras.interface import Estimate

# Disjoint subsets that a standard error is estimated from, and how often they are drawn.
PARTS, _REPEATS = 10, 2
# Rows that tell most pairs of columns apart, and columns looked at together.
_FEW, _COLUMNS = 16, 64


class Neighbors(FromPairs):
    """What both estimators share besides."""

    k: int

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
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


def rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each class, in order, by one sorting however many classes there are."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def mean_with_error(
    terms: np.ndarray, flags: tuple[str, ...], dim: int, excess: float = 0.0
) -> Estimate:
    """The mean of an estimate's terms, with the error of a mean of correlated terms."""
    n = len(terms)
    error = math.sqrt((float(terms.var(ddof=1)) + excess) / n)
    return Estimate(float(terms.mean()), error, flags=flags, n=n, dim=dim)


def excess_variance(
    terms: Callable[[np.ndarray], np.ndarray], n: int, k: int, labels: np.ndarray | None = None
) -> float:
    """By how much n times the variance of the estimate exceeds the variance of its terms.

    The terms of near samples are of the same neighbours, and correlated; how much so is seen on
    disjoint subsets, each estimated by itself. 0 where there are too few samples for them.
    """
    parts = min(PARTS, n // (8 * (k + 1)))
    if parts < PARTS // 2:
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


def check_pair(a: Any, b: Any, k: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Two samples of one length that share no variable, without constant columns, and flags.

    Raises:
        ArgumentError: lengths differ, n ≤ k, or a variable is shared.
    """
    first, flags_a = as_continuous(a, "a", k)
    second, flags_b = as_continuous(b, "b", k)
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


def as_continuous(
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
