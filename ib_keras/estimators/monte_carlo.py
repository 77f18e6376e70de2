"""Monte-Carlo averages for sample propagation. All lengths are in units of the noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples
from ib_keras.arrays.rows import TILE, Rows, slices
from ib_keras.errors import ArgumentError
from ib_keras.estimators.gaussian_mixture import (
    DRAWS,
    Mean,
    Mixture,
    average,
    check_scale,
    drawn,
    draws_each,
    scaled_log_sums,
    unseen_error,
)
from ib_keras.estimators.kernels.mixture import log_sums

# Number of draws that is enough for a flag: a standard error of about 0.01 nats.
_FEW_DRAWS = 1 << 12
# Fewest rows that are halved.
_SAMPLE = 32


class Information(NamedTuple):
    """The information of a layer, in nats.

    Args:
        xt: I(X;T).
        ty: I(T;Y), with labels.
        half: I(X;T) from half of the propagations of each input, if there are enough.
    """

    xt: Mean
    ty: Mean | None = None
    half: Mean | None = None


@dataclasses.dataclass(frozen=True)
class Propagations:
    """S of n rows, and S of m inputs that are propagated n_x times.

    φ is the density of the noise, and p̂(t) = Σ_l w_l φ(t − s_l) is a mixture of all inputs. With
    p̂_i(t) = (1/n_x) Σ_k φ(t − s_ik), the mixture of input i, there are three cases:

    | case | method | I(X;T) |
    |---|---|---|
    | S is a function of X | ``distinct`` | −E ln p̂(t)/φ(t − s) |
    | S is random, rows known | ``_jointly`` | Σ_i v_i E_{t~p̂_i} ln p̂_i(t)/p̂(t) |
    | S is random, rows unknown | ``_separately`` | −E ln p̂(t)/φ(t − s) + (1/m) Σ_i E ln p̂_i/φ |

    In the first case, p̂ has one centre for each distinct row, whose weight is the share of the rows
    that are equal to it. In the others it has the n rows, with w_l = 1/n and v_i = 1/m. The second
    case differs from the paper in four ways:

    - If all inputs were propagated, p̂ has some or all of the propagations of each input instead of
      the n rows, and v_i = p(x_i).
    - The part of p̂ that belongs to input i is replaced by p(x_i) p̂_i. Then ln p̂_i/p̂ is at most
      −ln p(x_i), and both logarithms are averaged over the same draws.
    - The entropy of p̂_i is too small by χ²_i/2n_x to first order, where χ²_i = E φ/p̂_i − 1. This
      bias is removed, except for the part that also occurs in p̂, which contains p̂_i.
    - ln p̂ is too small on average, because p̂ has few centres, so h(T) is too large. To first
      order, this bias is the difference between all centres and half of them. If all inputs were
      propagated, the bias is removed; otherwise it is part of the standard error, because half of
      the centres also lack inputs.

    I(T;Y) = E ln p̂(t|y)/p̂(t) in all cases, where p̂(t|y) has the centres with the label y.

    In the first case, the noise may have different standard deviations for each row and coordinate.
    φ is then the density of the component from which t was drawn.

    Args:
        s: S, ``(n, d)``.
        codes: integer codes of the distinct inputs, ``(n,)``.
        labels: class codes 0…K−1, ``(n,)``, or ``None``.
        propagated: S of the propagated inputs, ``(m, n_x, d)``; ``None`` if S is a function of X.
        rows: the rows of ``s`` with these inputs, ``(m,)``; ``None`` if unknown.
        scale: standard deviations of the noise of each row, ``(n, d)``; ``None`` if all are 1.
    """

    s: Rows
    codes: np.ndarray
    labels: np.ndarray | None
    propagated: np.ndarray | None = None
    rows: np.ndarray | None = None
    scale: Rows | None = None

    @classmethod
    def of(
        cls,
        samples: np.ndarray,
        noise_std: float,
        codes: np.ndarray,
        labels: np.ndarray | None,
        conditional: Any = None,
        rows: Any = None,
    ) -> Propagations:
        """Check the arguments of ``SamplePropagation.estimate``, and convert S to units of β."""
        dim = samples.shape[1]
        check_scale(samples, noise_std, "t")
        s = Rows.of(samples).centred().divided(noise_std)
        if conditional is None:
            _check_function(
                samples,
                codes,
                "`t` differs between equal inputs: S is not a function of X, as after noise",
                "`conditional`: S of some inputs, each propagated n_x times with new noise",
            )
            return cls(s, codes, labels)
        array = as_array(conditional, "conditional")
        size = math.prod(array.shape[2:]) if array.ndim >= 2 else 0
        if size != dim or array.shape[0] < 1 or array.shape[1] < 2:
            raise ArgumentError(
                "`conditional` has the wrong shape",
                f"(m, n_x, ...) with m >= 1 inputs, n_x >= 2 propagations, and {dim} values each",
                f"shape {array.shape}",
            )
        m, n_x = array.shape[:2]
        flat = as_samples(array.reshape(m * n_x, dim), "conditional")
        check_scale(flat, noise_std, "conditional")
        propagated = ((flat - s.shift) / noise_std).reshape(m, n_x, dim)
        return cls(s, codes, labels, propagated, _rows(rows, m, codes))

    @classmethod
    def declared(
        cls, means: np.ndarray, scale: np.ndarray, codes: np.ndarray, labels: np.ndarray | None
    ) -> Propagations:
        """Check means and standard deviations of T given each input, and convert their units.

        Args:
            means: the means of T, ``(n, d)``.
            scale: the standard deviations, ``(n, d)``.
            codes: integer codes of the distinct inputs, ``(n,)``.
            labels: class codes 0…K−1, ``(n,)``, or ``None``.
        """
        check_scale(means, scale, "t")
        for name, values in (("t", means), ("scale", scale)):
            _check_function(
                values,
                codes,
                f"`{name}` differs between equal inputs: the distribution of T is not a function "
                "of X, as after noise",
                "means and standard deviations without noise or dropout before the layer; "
                "otherwise an estimator that needs only samples, such as 'ksg'",
            )
        s, deviations = Rows.of(means).centred(), Rows.of(scale)
        first = deviations[:1]
        if all((tile == first).all() for tile in deviations.tiles()):
            return cls(s.divided(first[0]), codes, labels)
        unit = deviations.centre()
        return cls(s.divided(unit), codes, labels, scale=deviations.divided(unit))

    def information(
        self, mc_draws: int | None, rng: np.random.Generator, *, sampled: bool = False
    ) -> Information:
        """Estimate I(X;T) and, with labels, I(T;Y), in nats.

        Args:
            mc_draws: see ``draws_each``.
            rng: the source of the draws.
            sampled: whether the standard error includes the choice of the rows; only if S is a
                function of X.
        """
        if self.propagated is None:
            rows = len(self.s) if sampled else 0
            return Information(*self.distinct().information(mc_draws, rng, random=False, rows=rows))
        if self.rows is None:
            return Information(*self._separately(self.propagated, mc_draws, rng))
        pool = self._pool(self.propagated, self.rows)
        return self._jointly(self.propagated, self.rows, pool, mc_draws, rng)

    def of_labels(self, mc_draws: int | None, rng: np.random.Generator) -> Mean | None:
        """Estimate I(T;Y); ``None`` without labels."""
        if self.labels is None:
            return None
        mixture = self._mixture()
        return mixture.information(mc_draws, rng, random=self.propagated is not None)[1]

    def of_permuted_labels(self, rng: np.random.Generator) -> Mean | None:
        """Estimate I(T;Y) of permuted labels, about which T has no information, from few points."""
        if self.labels is None:
            return None
        permuted = dataclasses.replace(self, labels=rng.permutation(self.labels))._mixture()
        n = len(permuted.s)
        origins = rng.choice(n, size=min(n, _FEW_DRAWS), replace=False)
        everything, within = permuted.logs(1, rng, origins)
        weights = permuted.weights[origins]
        return average(within - everything, weights / weights.sum(), random=True)

    def _mixture(self) -> Mixture:
        """Return the mixture that approximates p(t)."""
        if self.propagated is None:
            return self.distinct()
        if self.rows is not None:
            return self._pool(self.propagated, self.rows)
        n = len(self.s)
        return Mixture(self.s, np.full(n, 1 / n), self.labels)

    def resampled(self, rng: np.random.Generator) -> Propagations:
        """Draw n rows with replacement, and keep the propagations of the inputs that are drawn.

        Raises:
            ArgumentError: If rows of some propagated inputs are unknown, or no such row was drawn.
        """
        keep = rng.integers(len(self.s), size=len(self.s))
        part = None
        if self.propagated is None or self.rows is not None:
            part = self._part(keep, slice(None))
        if part is None:
            known = "unknown rows" if self.rows is None else f"rows of {len(self.rows)} inputs"
            raise ArgumentError(
                "No propagated input is known to be among rows that are drawn with replacement",
                "propagations of all inputs, or of many with their rows",
                f"{known}, of {len(self.s)} rows",
            )
        return part

    def in_batches(self, size: int, mc_draws: int | None, rng: np.random.Generator) -> Mean:
        """Estimate the InfoNCE bound with the optimal critic from random batches, in nats.

        This is the mean of ln q_i(t) / ((1/K) Σ_j q_j(t)) over rows i, draws t from q_i, and
        disjoint batches of K rows. Rows that do not fill a batch are left out.

        Args:
            size: K, the number of rows in each batch.
            mc_draws: see ``draws_each``.
            rng: the source of the batches and draws.
        """
        n, dim = self.s.shape
        batches = rng.permutation(n)[: n // size * size].reshape(-1, size)
        draws = draws_each(mc_draws, batches.size, dim)
        log_weights = np.full(size, -math.log(size))
        values = np.empty((batches.size, draws))
        for part in slices(len(batches), TILE // (size * draws * dim)):
            rows = batches[part]
            centres, scale = self.s[rows], None if self.scale is None else self.scale[rows]
            points, noise = drawn(centres, draws, rng, scale)
            logs = scaled_log_sums(points, noise, centres, log_weights, scale)
            values[part.start * size : part.stop * size] = -logs.reshape(-1, draws)
        weights = np.full(batches.size, 1 / batches.size)
        return average(values, weights, random=True)

    def from_halves(
        self, mc_draws: int | None, rng: np.random.Generator
    ) -> tuple[Mean | None, Mean | None]:
        """Estimate I(X;T) and I(T;Y) from each half of the samples, and return the means of both.

        Rows and propagations are halved. The means hardly depend on the choice of the halves, so
        their difference from the estimate from all samples is due to the number of samples.

        Args:
            mc_draws: see ``draws_each``.
            rng: the source of the halves and draws.

        Returns:
            The mean of I(X;T), ``None`` if there are too few samples; and the mean of I(T;Y),
            ``None`` also without labels.
        """
        found = [half.information(mc_draws, rng)[:2] for half in self._halves(rng)]
        if not found:
            return None, None
        xt, ty = (_mean_of([one for one in each if one]) for each in zip(*found, strict=True))
        return xt, ty

    def _halves(self, rng: np.random.Generator) -> list[Propagations]:
        """Return the halves of the rows and propagations, if there are enough."""
        n, n_x = len(self.s), 0 if self.propagated is None else self.propagated.shape[1]
        keep = [np.ones(n, bool)] * 2
        if n >= _SAMPLE:
            inputs = np.unique(self.codes)
            if len(inputs) > n // 2:
                first = np.isin(self.codes, rng.permutation(inputs)[: len(inputs) // 2])
            else:  # inputs repeat: every second row of each input
                order = np.lexsort((rng.permutation(n), self.codes))
                start = np.searchsorted(self.codes[order], self.codes[order])
                first = np.empty(n, bool)
                first[order] = (np.arange(n) - start) % 2 == 0
            keep = [first, ~first]
        elif n_x < 4:
            return []
        size = max(2, n_x // 2)
        propagations = slice(size), slice(n_x - size, n_x)
        halves = [self._part(*of) for of in zip(keep, propagations, strict=True)]
        return [half for half in halves if half is not None]

    def _part(self, keep: np.ndarray, propagations: slice) -> Propagations | None:
        """Return some of the rows and propagations; ``None`` if none of the rows was propagated.

        Args:
            keep: a mask of the rows, or their numbers, which may repeat.
            propagations: the propagations of each input.
        """
        labels = None if self.labels is None else self.labels[keep]
        if labels is not None:
            labels = np.unique(labels, return_inverse=True)[1]
        propagated, rows = self.propagated, self.rows
        if propagated is not None:
            propagated = propagated[:, propagations]
            if rows is not None:
                inside = np.isin(self.codes[rows], self.codes[keep])
                if not inside.any():
                    return None
                propagated = propagated[inside]
                where = {code: i for i, code in reversed(list(enumerate(self.codes[keep])))}
                rows = np.array([where[code] for code in self.codes[rows[inside]]])
        scale = None if self.scale is None else self.scale.take(keep)
        return Propagations(self.s.take(keep), self.codes[keep], labels, propagated, rows, scale)

    def distinct(self) -> Mixture:
        """Return the mixture of the distinct rows."""
        n = len(self.s)
        labels = np.zeros(n, int) if self.labels is None else self.labels
        pairs = self.codes * (int(labels.max()) + 1) + labels
        _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
        return Mixture(
            self.s.take(first),
            counts / n,
            None if self.labels is None else labels[first],
            None if self.scale is None else self.scale.take(first),
        )

    def _complete(self, rows: np.ndarray) -> bool:
        """Return whether every input was propagated."""
        return len(rows) == len(np.unique(self.codes))

    def _pool(self, propagated: np.ndarray, rows: np.ndarray) -> Mixture:
        """Return the mixture that approximates p(t).

        If all inputs were propagated, its centres are a limited number of propagations of each
        input; otherwise they are the rows.
        """
        n = len(self.s)
        if not self._complete(rows):
            return Mixture(self.s, np.full(n, 1 / n), self.labels)
        m, n_x, dim = propagated.shape
        q = max(2, min(n_x, DRAWS // m)) // 2 * 2
        return Mixture(
            Rows.of(propagated[:, :q].reshape(m * q, dim)),
            np.repeat(self._input_weights(rows) / q, q),
            None if self.labels is None else np.repeat(self.labels[rows], q),
        )

    def _input_weights(self, rows: np.ndarray) -> np.ndarray:
        """Return p(x) of the propagated inputs, ``(m,)``."""
        _, inverse, counts = np.unique(self.codes, return_inverse=True, return_counts=True)
        return counts[inverse[rows]] / len(self.codes)

    def _separately(
        self, propagated: np.ndarray, mc_draws: int | None, rng: np.random.Generator
    ) -> tuple[Mean, Mean | None]:
        """Estimate h(T) and the mean of h(T|x_i) from separate draws."""
        n = len(self.s)
        rows = Mixture(self.s, np.full(n, 1 / n), self.labels)
        (outer, outer_error, _), ty = rows.information(mc_draws, rng, random=True)
        m, n_x, _ = propagated.shape
        draws = draws_each(mc_draws, m * n_x, self.s.shape[1])
        points, noise = drawn(propagated, draws, rng)
        logs = log_sums(points, noise, propagated, np.full(n_x, -math.log(n_x)))
        logs = logs.reshape(m, n_x, draws)
        inner = logs.mean(axis=(1, 2)) - _excess(logs) / n_x
        share = 1 - m / len(np.unique(self.codes))
        within = logs.mean(axis=2).var(axis=1, ddof=1).mean() / (n_x * m)
        error = math.sqrt(outer_error**2 + share * _spread(inner) / m + within)
        return Mean(outer + float(inner.mean()), error), ty

    def _jointly(
        self,
        propagated: np.ndarray,
        rows: np.ndarray,
        pool: Mixture,
        mc_draws: int | None,
        rng: np.random.Generator,
    ) -> Information:
        """Estimate E ln p̂_i(t)/p̂(t) and E ln p̂(t|y)/p̂(t) from the same draws t from p̂_i."""
        m, n_x = propagated.shape[:2]
        weights, complete = self._input_weights(rows), self._complete(rows)
        # Number of propagations of each input from which points are drawn: at most half of them, so
        # that the same points serve for an estimate from half of the propagations.
        wanted = -(-DRAWS // m) if mc_draws is None else mc_draws
        used = min(max(2, n_x // 2), max(2, wanted))
        draws = max(1, -(-wanted // used))
        points, noise = drawn(propagated[:, :used], draws, rng)
        labels = None if self.labels is None else self.labels[rows]
        halves = [
            self._others(half, inside, rows, points, noise)
            for half, inside in self._pool_halves(pool, rows, rng)
        ]
        unseen = unseen_error(len(pool.s), noise.size)

        def mean(ratio: np.ndarray, bias: Any = 0.0, missing: float = 0.0) -> Mean:
            """Return the average over the inputs, minus the bias of each input."""
            each = ratio.mean(axis=1) - bias
            within = ratio.reshape(m, used, draws).mean(axis=2).var(axis=1, ddof=1) / used
            shares = weights / weights.sum()
            variance = float(shares**2 @ within) + unseen
            if not complete:
                unknown = 1 - m / len(np.unique(self.codes))
                variance += unknown * _spread(each) * float(shares @ shares)
            return Mean(float(shares @ each), math.sqrt(variance + missing**2))

        def of(count: int) -> tuple[Mean, Mean | None]:
            """Return the estimates from the first ``count`` propagations of each input."""
            centres = propagated[:, :count]
            conditional = log_sums(points, noise, centres, np.full(count, -math.log(count)))
            own = conditional + np.log(weights)[:, None]
            everything, missing = _from_halves(own, [others for others, _ in halves])
            if complete:
                everything = everything + missing
            ratio = conditional - everything
            shared = (np.exp(-everything) - np.exp(ratio)).mean(axis=1) / 2
            bias = (_excess(conditional) - weights * shared) / count
            # Terms of higher order remain of a bias that is removed.
            left = 1 / 3 if complete else 1.0
            xt = mean(ratio, bias, left * float(missing.mean()))
            if labels is None or not complete:
                return xt, None
            within, less = _from_halves(own, [inside for _, inside in halves])
            of_class = np.bincount(labels, weights)[labels]
            return xt, mean(within + less - np.log(of_class)[:, None] - everything)

        xt, ty = of(n_x)
        half = of(n_x // 2)[0] if n_x // 2 >= max(2, used) else None
        return Information(xt, self.of_labels(mc_draws, rng) if ty is None else ty, half)

    def _pool_halves(
        self, pool: Mixture, rows: np.ndarray, rng: np.random.Generator
    ) -> list[tuple[Mixture, np.ndarray]]:
        """Divide the centres of each input, or the rows, into two mixtures.

        Returns:
            Each mixture, and a mask of the centres of the pool that it contains.
        """
        n = len(pool.s)
        if self._complete(rows):
            each = n // len(rows)
            first = np.arange(n) % each < each // 2
        else:
            first = np.zeros(n, bool)
            first[rng.permutation(n)[: n // 2]] = True
        return [
            (
                Mixture(
                    pool.s.take(half),
                    pool.weights[half] / pool.weights[half].sum(),
                    None if pool.labels is None else pool.labels[half],
                ),
                half,
            )
            for half in (first, ~first)
        ]

    def _others(
        self,
        pool: Mixture,
        inside: np.ndarray,
        rows: np.ndarray,
        points: np.ndarray,
        noise: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ln of the parts of p̂(t)/φ from inputs other than that of t.

        Returns:
            The parts of all other inputs and of those with the same label, each ``(m, draws)``.
        """
        dim = points.shape[2]
        flat, lengths = points.reshape(1, -1, dim), noise.reshape(1, -1)
        labels = np.zeros(len(pool.s), int) if pool.labels is None else pool.labels
        own = np.zeros(len(rows), int) if self.labels is None else self.labels[rows]
        everything, within = np.full(noise.shape, -np.inf), np.full(noise.shape, -np.inf)
        for label in np.unique(labels):
            sums = pool.sums(flat, lengths, np.flatnonzero(labels == label)).reshape(noise.shape)
            everything = np.logaddexp(everything, sums)
            within[own == label] = sums[own == label]
        part = log_sums(points, noise, *self._of_inputs(pool, inside, rows))
        return _without(everything, part), _without(within, part)

    def _of_inputs(
        self, pool: Mixture, inside: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pool's centres of each input, ``(m, c, d)``, and log weights (−∞: padding)."""
        m, dim = len(rows), pool.s.shape[1]
        if self._complete(rows):
            return pool.s[:].reshape(m, -1, dim), np.log(pool.weights).reshape(m, -1)
        order = np.argsort(self.codes, kind="stable")
        in_order, wanted = self.codes[order], self.codes[rows]
        start = np.searchsorted(in_order, wanted)
        counts = np.searchsorted(in_order, wanted, side="right") - start
        place = np.arange(int(counts.max()))
        index = order[np.minimum(start[:, None] + place, len(order) - 1)]
        known = (place < counts[:, None]) & inside[index]
        return self.s[index], np.where(known, -math.log(len(pool.s)), -np.inf)


def _without(log_sums: np.ndarray, log_part: np.ndarray) -> np.ndarray:
    """Return ln(exp a − exp b)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(np.isneginf(log_part), 0, np.exp(log_part - log_sums))
        return log_sums + np.log1p(-np.minimum(share, 1))


def _from_halves(own: np.ndarray, others: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return ln p̂ from two halves of the centres, and the mean amount by which it is too small.

    The logarithm of a mean of few terms is too small; the comparison with half as many terms shows
    by how much.
    """
    parts = [np.logaddexp(part, own) for part in others]
    both = np.logaddexp(*parts) - math.log(2)
    return both, both - np.add(*parts) / 2


def _mean_of(means: Sequence[Mean]) -> Mean | None:
    """Return the mean of independent means; ``None`` if there are none."""
    if not means:
        return None
    values, errors, choices = np.array(means).T
    n = len(means)
    norm = np.linalg.norm
    return Mean(float(values.mean()), float(norm(errors)) / n, float(norm(choices)) / n)


def _excess(logs: np.ndarray) -> np.ndarray:
    """Return χ²/2, χ² = E φ/p̂ − 1, from ln p̂/φ ``(b, ...)``: the entropy's bias is −χ²/2n_x."""
    return (np.exp(-logs).mean(axis=tuple(range(1, logs.ndim))) - 1) / 2


def _spread(values: np.ndarray) -> float:
    """Return the variance of values, which is infinite for a single value."""
    return float(values.var(ddof=1)) if len(values) > 1 else math.inf


def _rows(rows: Any, m: int, codes: np.ndarray) -> np.ndarray | None:
    n = len(codes)
    first = np.sort(np.unique(codes, return_index=True)[1])
    if rows is None:
        return first if len(first) == m else None
    rows = np.asarray(rows)
    fits = rows.shape == (m,) and rows.dtype.kind in "iu" and rows.min() >= 0 and rows.max() < n
    if not fits or len(np.unique(codes[rows])) < m:
        raise ArgumentError(
            "`conditional_rows` are not rows of `t`",
            f"{m} row numbers in 0…{n - 1} with different inputs",
            rows,
        )
    return rows


def _check_function(samples: np.ndarray, codes: np.ndarray, otherwise: str, expected: str) -> None:
    """Raise an ``ArgumentError`` if rows with the same code differ."""
    first = np.unique(codes, return_index=True)[1][codes]
    repeated = np.flatnonzero(first != np.arange(len(codes)))
    for part in slices(len(repeated), TILE // samples.shape[1]):
        some = repeated[part]
        if not np.array_equal(samples[some], samples[first[some]]):
            raise ArgumentError(otherwise, expected, "different rows for one input")
