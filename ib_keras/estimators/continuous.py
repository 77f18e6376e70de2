"""Checks, baselines and standard errors of the nearest-neighbour estimators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_lengths, check_seed
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import slices
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.estimators.gaussian import varying
from ib_keras.estimators.kernels.neighbor_search import WIDE
from ib_keras.interface import Estimate

# Number of disjoint subsets from which a standard error is estimated, and of repetitions.
PARTS, _REPEATS = 10, 2
# Number of rows that distinguish most pairs of columns, and of columns that are sorted together.
_COMPARED_ROWS, _SORTED_COLUMNS = 16, 64


class Neighbors(FromPairs):
    """Base class of the nearest-neighbour estimators."""

    k: int

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        # Narrow samples are held in float64 with copies. Wide samples keep their dtype; they may be
        # copied to remove constant columns and to rescale.
        held = sum(d for d in (dim, dim_x) if d <= WIDE)
        copied = 2 * itemsize * sum(d for d in (dim, dim_x) if d > WIDE)
        return 2 * TILES + n * (64 * held + copied + 64 * self.k + 128)

    def baseline(
        self, a: np.ndarray, b: np.ndarray, *, repeats: int = 10, seed: int = 0
    ) -> Estimate:
        """Estimate I(A;B) after permuting the rows of ``b``, so that there is no information.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.
            repeats: number of permutations, at least 2.
            seed: seed of the permutations.

        Returns:
            The mean over permutations in nats; ``stderr`` is the standard deviation between them.
        """
        return permuted(self.mutual_information, a, b, repeats, seed)


def permuted(
    estimate: Callable[[np.ndarray, np.ndarray], Estimate], a: Any, b: Any, repeats: int, seed: int
) -> Estimate:
    """Estimate I(A;B) several times after permuting the rows of ``b``.

    Args:
        estimate: function of the samples ``a`` and ``b``.
        a: samples of A, ``(n, ...)``.
        b: samples of B, ``(n, ...)``.
        repeats: number of permutations, at least 2.
        seed: seed of the permutations.

    Returns:
        The mean over permutations; ``stderr`` is the standard deviation between them.
    """
    a, b = check_pair(a, b, 1)[:2]
    rng = np.random.default_rng(check_seed(seed))
    repeats = check_count(repeats, "repeats", 2)
    values = [estimate(a, b[rng.permutation(len(b))]).value for _ in range(repeats)]
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)), n=len(a), dim=b.shape[1])


def rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each class, in ascending order of the classes."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def mean_with_error(
    terms: np.ndarray, flags: tuple[str, ...], dim: int, excess: float = 0.0
) -> Estimate:
    """Return the mean of an estimate's terms, with the standard error for correlated terms."""
    n = len(terms)
    error = math.sqrt((float(terms.var(ddof=1)) + excess) / n)
    return Estimate(float(terms.mean()), error, flags=flags, n=n, dim=dim)


def excess_variance(
    terms: Callable[[np.ndarray], np.ndarray], n: int, k: int, labels: np.ndarray | None = None
) -> float:
    """Return n·Var(estimate) − Var(terms), the variance due to the correlation of the terms.

    The terms of near samples share neighbours and are correlated. The effect is estimated from the
    estimates of disjoint subsets. The result is 0 if there are too few samples for these.
    """
    parts = min(PARTS, n // (8 * (k + 1)))
    if parts < PARTS // 2:
        return 0.0
    size, rng, differences = n // parts, np.random.default_rng(0), []
    for _ in range(_REPEATS):
        rows = rng.permutation(n)
        if labels is not None:
            rows = rows[np.argsort(labels[rows], kind="stable")]
        # The subsets have equal sizes, and each contains its share of each class.
        each = [terms(part) for part in rows[: size * parts].reshape(size, parts).T]
        if min(map(len, each)) < 2:
            return 0.0
        between = float(np.var([part.mean() for part in each], ddof=1))
        within = float(np.mean([part.var(ddof=1) / len(part) for part in each]))
        differences.append(size * (between - within))
    return max(0.0, float(np.mean(differences)))


def check_pair(a: Any, b: Any, k: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return two samples without constant columns, and flags.

    Raises:
        ArgumentError: If the lengths differ, n ≤ k, or the samples share a variable.
    """
    first, flags_a = as_continuous(a, "a", k)
    second, flags_b = as_continuous(b, "b", k)
    check_lengths(first, second)
    for i in range(first.shape[1]):
        alike = np.flatnonzero(
            (first[:_COMPARED_ROWS, i, None] == second[:_COMPARED_ROWS]).all(axis=0)
        )
        if any(np.array_equal(first[:, i], second[:, j]) for j in alike):
            raise InfiniteError(
                "`a` and `b` share a variable: I(A;B) is infinite",
                "variables without an exact relation: add noise to one of them",
                f"column {i} of `a`",
            )
    return first, second, tuple(dict.fromkeys((*flags_a, *flags_b)))


def as_continuous(
    values: Any, name: str, k: int, *, drop: bool = True
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return samples, by default without constant columns, and the flag ``ties``.

    Narrow samples become float64; wide ones are converted where they are used.
    """
    samples = as_samples(as_array(values, name), name)
    n = len(samples)
    if n <= k:
        raise ArgumentError(
            f"`{name}` has too few samples for k={k}", f"more than {k}", f"{n} samples"
        )
    kept = varying(samples)
    ties = False
    for columns in slices(kept.shape[1], _SORTED_COLUMNS):
        # Integers and quantised or saturated units have repeated values.
        ordered = np.sort(kept[:, columns], axis=0)
        # A few float32 values repeat by chance.
        ties = ties or bool(((ordered[1:] == ordered[:-1]).mean(axis=0) > 0.01).any())
    chosen = kept if drop else samples
    if chosen.shape[1] <= WIDE:
        chosen = chosen.astype(np.float64)
    return chosen, ("ties",) if ties else ()
