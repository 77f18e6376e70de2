"""Checks, baselines and standard errors of the nearest-neighbour estimators."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_lengths, check_seed
from ib_keras.arrays.dependence import serial_dependence
from ib_keras.arrays.grids import repeated
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.variables import repeated_in_classes, repeated_pairs
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.base import FromPairs
from ib_keras.estimators.gaussian import varying
from ib_keras.estimators.kernels.neighbor_search import WIDE, Times
from ib_keras.interface import Estimate

# Number of disjoint subsets from which a standard error is estimated, and number of repetitions.
PARTS, _REPEATS = 10, 2
# Number of repetitions if the subsets are halves of fewer than _MANY rows.
_HALVED, _MANY = 10, 1000
# An estimate grows with the number of rows if it exceeds the estimate from subsets by more than the
# share _GROWS of it plus _GROWS_ERRORS of its standard errors.
_GROWS, _GROWS_ERRORS = 0.1, 3.0
# Number of rows that are also compared by their ranks, and the share of the value and the number of
# standard errors by which ranks must show more before the value counts as too low.
_RANKED, _MORE, _MORE_ERRORS = 2000, 0.1, 3.0
# Number of rows that are compared first to find equal columns.
_COMPARED_ROWS = 16


class Neighbors(FromPairs):
    """Base class of the nearest-neighbour estimators.

    Attributes:
        k: number of neighbours.
        window: rows i and j with 0 < |i − j| <= window are left out of each other's neighbours.
    """

    k: int
    window: int

    def check_settings(self) -> None:
        """Convert ``k`` and ``window`` to integers, and raise an error if they are invalid."""
        object.__setattr__(self, "k", check_count(self.k, "k"))
        object.__setattr__(self, "window", check_count(self.window, "window", 0))

    def times(self, n: int) -> Times | None:
        """Return the positions of n consecutive rows in time; ``None`` if ``window`` is 0.

        Raises:
            ArgumentError: If a row may have fewer than k other rows outside its window.
        """
        if n <= 2 * self.window + self.k:
            raise ArgumentError(
                f"There are too few samples for k={self.k} and window={self.window}",
                f"more than {2 * self.window + self.k}, 2·window + k",
                f"{n} samples",
            )
        return Times(np.arange(n), self.window) if self.window else None

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        # Narrow samples are held in float64 with copies. Wide samples keep their dtype; they may be
        # copied to remove constant columns, to rescale and to permute.
        held = sum(d for d in (dim, dim_x) if d <= WIDE)
        copied = 3 * itemsize * sum(d for d in (dim, dim_x) if d > WIDE)
        return 2 * TILES + n * (64 * held + copied + 64 * self.k + 128)

    def dependence(self, a: np.ndarray, b: np.ndarray) -> tuple[str, ...]:
        """Return ``("dependent",)`` if rows depend on each other over more than the window.

        Args:
            a: samples of A, ``(n, d)``.
            b: samples of B, ``(n, d)``, or classes, ``(n,)``.
        """
        return ("dependent",) if serial_dependence(a, b) > self.window else ()

    def baseline(
        self,
        a: np.ndarray,
        b: np.ndarray,
        *,
        repeats: int = 10,
        seed: int = 0,
        rotate: bool | None = None,
    ) -> Estimate:
        """Estimate I(A;B) after permuting or rotating the rows of ``b``, which removes information.

        A permutation also destroys the dependence between consecutive rows, so the estimates lack
        the bias that this dependence causes. A rotation, b_i ← b_(i+s) with row indices modulo n,
        preserves it. The shifts s are random, and at least as long as the dependence lasts.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.
            repeats: number of permutations or rotations, at least 2.
            seed: seed of the permutations or shifts.
            rotate: whether to rotate; ``None`` rotates if a dependence between the rows of both
                variables is noticed, as for the flag ``dependent``.

        Returns:
            The mean in nats over permutations or rotations; ``stderr`` is the standard deviation
            between them.
        """
        if rotate not in (None, True, False):
            raise ArgumentError("`rotate` is unknown", "True, False or None", repr(rotate))
        return without_information(
            self.mutual_information, a, b, repeats, seed, rotate, max(self.window, 1)
        )


class Permuted(FromPairs):
    """Base class of estimators whose bias without information is that of permuted rows."""

    # The default number of permutations.
    _permutations = 5

    def baseline(
        self, a: np.ndarray, b: np.ndarray, *, repeats: int | None = None, seed: int = 0
    ) -> Estimate:
        """Estimate I(A;B) after permuting the rows of ``b``, so that there is no information.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.
            repeats: number of permutations, at least 2; ``None`` for 5, or 3 if the estimator has
                to be trained.
            seed: seed of the permutations.

        Returns:
            The mean over permutations in nats; ``stderr`` is the standard deviation between them.
        """
        repeats = self._permutations if repeats is None else repeats
        return without_information(self.mutual_information, a, b, repeats, seed)


def without_information(
    estimate: Callable[[np.ndarray, np.ndarray], Estimate],
    a: Any,
    b: Any,
    repeats: int,
    seed: int,
    rotate: bool | None = False,
    least: int = 1,
) -> Estimate:
    """Estimate I(A;B) several times after permuting or rotating the rows of ``b``.

    Args:
        estimate: function of the samples ``a`` and ``b``.
        a: samples of A, ``(n, ...)``.
        b: samples of B, ``(n, ...)``.
        repeats: number of permutations or rotations, at least 2.
        seed: seed of the permutations or shifts.
        rotate: whether to rotate; ``None`` rotates if a dependence between the rows of both
            variables is noticed.
        least: smallest shift of a rotation.

    Returns:
        The mean over permutations or rotations; ``stderr`` is the standard deviation between them.
    """
    a, b = check_pair(a, b, 1)[:2]
    rng = np.random.default_rng(check_seed(seed))
    repeats = check_count(repeats, "repeats", 2)
    n, length = len(b), 0 if rotate is False else serial_dependence(a, b)
    near = min(max(length, least), n // 4)

    def moved() -> np.ndarray:
        if length or rotate:
            return np.roll(b, -int(rng.integers(near, n - near + 1)), axis=0)
        return b[rng.permutation(n)]

    values = [estimate(a, moved()).value for _ in range(repeats)]
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)), n=n, dim=b.shape[1])


def rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each class, in ascending order of the classes."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def numbers(n: int, times: Times | None) -> Any:
    """Return the number of rows that are compared with each row, including the row itself."""
    return n if times is None else times.counted()


def some(times: Times | None, rows: Any) -> Times | None:
    """Select the positions of some rows; ``None`` without positions."""
    return None if times is None else times.take(rows)


def mean_with_error(
    terms: np.ndarray,
    flags: tuple[str, ...],
    dim: int,
    excess: float = 0.0,
    *,
    serial: bool = False,
) -> Estimate:
    """Return the mean of the terms of an estimate, with a standard error for correlated terms.

    Args:
        terms: terms of the estimate, ``(n,)``, in the order of the rows.
        flags: flags of the estimate.
        dim: dimension of the variable.
        excess: the excess that ``of_subsets`` returns.
        serial: whether the terms of consecutive rows are correlated. The variance between the means
            of ten blocks of consecutive terms is then taken into account.
    """
    n = len(terms)
    if serial and n >= 2 * PARTS:
        size = n // PARTS
        means = terms[: size * PARTS].reshape(PARTS, size).mean(axis=1)
        excess += max(0.0, size * float(means.var(ddof=1)) - float(terms.var(ddof=1)))
    error = math.sqrt((float(terms.var(ddof=1)) + excess) / n)
    return Estimate(float(terms.mean()), error, flags=flags, n=n, dim=dim)


def less_than_ranks(
    a: np.ndarray, b: np.ndarray, terms: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[str, ...]:
    """Return ``("heavy_tails",)`` if the ranks of some rows show more information than the values.

    Both have the same information, but an estimator may miss it in values that are dense in some
    places and far apart in others.

    Args:
        a: samples of A, ``(n, da)``.
        b: samples of B, ``(n, db)``.
        terms: the estimator as a function of ``a`` and ``b``, which returns terms whose mean is the
            estimate.
    """
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(a))[:_RANKED]
    a, b = a[rows], b[rows]
    of_ranks = terms(*(_redrawn(side, rng) for side in (a, b)))
    gains = of_ranks - terms(a, b)
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    more = gains.mean() > _MORE * max(0.0, of_ranks.mean()) + _MORE_ERRORS * error
    return ("heavy_tails",) if more else ()


def _redrawn(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return normal samples with the ranks of other samples.

    Quantiles of the normal distribution would be spaced too evenly for neighbours.
    """
    drawn = np.sort(rng.normal(size=samples.shape), axis=0)
    ranks = rankdata(samples, method="min", axis=0).astype(np.int64) - 1
    return np.take_along_axis(drawn, ranks, axis=0)


class Subsets(NamedTuple):
    """The results of estimates from disjoint subsets of the rows.

    Args:
        excess: n·Var(estimate) − Var(terms), the variance due to the correlation of the terms; 0 if
            there are no subsets, or only halves.
        value: the mean estimate from the subsets in nats; NaN if there are no subsets.
        few: whether there are so few rows that the subsets, if any, are halves.
        flags: the flags that every estimate from so few rows has.
        of_halves: the excess from halves.
    """

    excess: float
    value: float
    few: bool = False
    flags: tuple[str, ...] = ()
    of_halves: float = 0.0

    def judged(self, estimate: Estimate) -> Estimate:
        """Return the estimate, with a flag if it clearly exceeds ``value``.

        The flag is ``unbounded``, or ``few_rows`` if the rows are few. The standard error from few
        rows then includes the excess, and the difference between the estimates from all rows and
        from half of them, which is about as large as the bias that is left.

        Args:
            estimate: the estimate from all rows.
        """
        growth = estimate.value - self.value
        if math.isnan(growth):
            return dataclasses.replace(estimate, flags=estimate.flags + self.flags)
        least = _GROWS * max(0.0, estimate.value) + _GROWS_ERRORS * estimate.stderr
        flags = estimate.flags + self.flags
        if growth > least:
            flags += ("few_rows" if self.few else "unbounded",)
        error = estimate.stderr
        if self.few:
            error = math.hypot(error, growth, math.sqrt(self.of_halves / estimate.n))
        return dataclasses.replace(estimate, stderr=error, flags=tuple(dict.fromkeys(flags)))

    def judged_if_few(self, estimate: Estimate) -> Estimate:
        """Return the estimate, judged if the rows are few; for values that have a limit.

        Args:
            estimate: the estimate from all rows.
        """
        return self.judged(estimate) if self.few else estimate


def of_subsets(
    terms: Callable[[np.ndarray], np.ndarray],
    n: int,
    k: int,
    labels: np.ndarray | None = None,
    *,
    window: int = 0,
    least: float = 0,
) -> Subsets:
    """Estimate from disjoint subsets of the rows.

    The terms of near samples are correlated because they share neighbours, which increases the
    variance between the subsets. The excess is 0 if there are too few samples for subsets.

    Args:
        terms: function that returns the terms of an estimate from some of the rows.
        n: number of rows.
        k: number of neighbours.
        labels: classes of the rows, ``(n,)``, if each subset must have its share of each class.
        window: number of rows before and after each row that are left out.
        least: the number of rows that an estimate needs, if it is more than k + 2.
    """
    least, used = max(k + 2, least), n - 2 * window
    parts = int(min(PARTS, used // (8 * (k + 1)), used // (2 * least)))
    few, repeats = parts < PARTS // 2, _REPEATS
    if few:
        parts, repeats = 2, _HALVED if n < _MANY else _REPEATS
    size, rng, differences, values = n // parts, np.random.default_rng(0), [], []
    # Of the rows in a window, each subset has its share only.
    possible = used // parts >= least
    flags = () if possible and used >= 4 * (k + 1) else ("few_rows",)
    if not possible:
        return Subsets(0.0, math.nan, few, flags)
    for _ in range(repeats):
        rows = rng.permutation(n)
        if labels is not None:
            rows = rows[np.argsort(labels[rows], kind="stable")]
        # The subsets have equal sizes, and each contains its share of each class.
        each = [terms(part) for part in rows[: size * parts].reshape(size, parts).T]
        if min(map(len, each)) < 2:
            return Subsets(0.0, math.nan, few, flags)
        values += [float(part.mean()) for part in each]
        between = float(np.var([part.mean() for part in each], ddof=1))
        within = float(np.mean([part.var(ddof=1) / len(part) for part in each]))
        differences.append(size * (between - within))
    excess, value = max(0.0, float(np.mean(differences))), float(np.mean(values))
    return Subsets(0.0, value, True, flags, excess) if few else Subsets(excess, value)


def check_pair(
    a: Any, b: Any, k: int, *, once: bool = True
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return two samples without constant columns, and flags.

    Args:
        a: samples of A, ``(n, ...)``.
        b: samples of B, ``(n, ...)``.
        k: number of neighbours.
        once: whether rows that were repeated as a whole are returned once, with ``dependent``.
            Copies are neighbours of each other, and would seem to have information.

    Raises:
        ArgumentError: If the lengths differ, n ≤ k, or a column of ``a`` equals one of ``b``.
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
    rows = repeated_pairs(first, second) if once and first.size and second.size else None
    if rows is not None and len(rows) > k:
        first, second, flags = check_pair(first[rows], second[rows], k, once=False)
        return first, second, (*flags, "dependent")
    return first, second, tuple(dict.fromkeys((*flags_a, *flags_b)))


def check_classes(
    a: Any, labels: np.ndarray, k: int, *, once: bool = True
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return samples without constant columns, their labels, and flags, as ``check_pair``."""
    samples, flags = as_continuous(a, "a", k)
    rows = repeated_in_classes(samples, labels) if once and samples.size else None
    if rows is None or len(rows) <= k:
        return samples, labels, flags
    samples, flags = as_continuous(samples[rows], "a", k)
    return samples, labels[rows], (*flags, "dependent")


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
    ties = bool(repeated(kept).any())
    chosen = kept if drop else samples
    if chosen.shape[1] <= WIDE:
        chosen = chosen.astype(np.float64)
    return chosen, ("ties",) if ties else ()
