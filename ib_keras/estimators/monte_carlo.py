"""The Monte-Carlo averages behind sample propagation. All lengths are in units of the noise β."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples
from ib_keras.arrays.rows import TILE, Rows
from ib_keras.arrays.scaling import magnitude
from ib_keras.errors import ArgumentError
from ib_keras.estimators.kernels.mixture import log_sums

# Draws in all, where the number for each centre is not given: a standard error of some 0.005 nats.
_DRAWS = 1 << 15
# In units of the noise; squares of it, and sums of those, are numbers.
_LARGEST = 1e100
# Fewer rows than this are no sample of anything.
_SAMPLE = 32

# An average and its standard error.
Mean = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Propagations:
    """S of n rows, and of m inputs propagated n_x times.

    Args:
        s: ``(n, d)``.
        codes: ``(n,)`` integers, equal where the inputs are.
        labels: ``(n,)`` class codes 0…K−1, or ``None``.
        propagated: ``(m, n_x, d)``, or ``None`` where S is a function of X.
        rows: ``(m,)`` the rows that have these inputs, or ``None`` if that is unknown.
    """

    s: Rows
    codes: np.ndarray
    labels: np.ndarray | None
    propagated: np.ndarray | None = None
    rows: np.ndarray | None = None

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
        """Checks the arguments of ``SamplePropagation.estimate`` and changes to units of β.

        Raises:
            ArgumentError: they do not fit.
        """
        n, dim = samples.shape
        if len(codes) != n:
            raise ArgumentError("`x` does not match `t`", f"{n} inputs", len(codes))
        check_scale(samples, noise_std, "t")
        s = Rows.of(samples).centred().divided(noise_std)
        if conditional is None:
            _check_function(samples, codes)
            return cls(s, codes, labels)
        array = as_array(conditional, "conditional")
        size = math.prod(array.shape[2:]) if array.ndim >= 2 else 0
        if size != dim or array.shape[0] < 1 or array.shape[1] < 2:
            raise ArgumentError(
                "`conditional` has the wrong shape",
                f"(m, n_x, ...) with m >= 1 inputs, n_x >= 2 propagations, and {dim} values each "
                "as in `t`",
                f"shape {array.shape}",
            )
        m, n_x = array.shape[:2]
        flat = as_samples(array.reshape(m * n_x, dim), "conditional")
        check_scale(flat, noise_std, "conditional")
        propagated = ((flat - s.shift) / noise_std).reshape(m, n_x, dim)
        return cls(s, codes, labels, propagated, _rows(rows, m, codes))

    def information(
        self, mc_draws: int | None, rng: np.random.Generator
    ) -> tuple[Mean, Mean | None]:
        """I(X;T) and, with labels, I(T;Y), in nats."""
        if self.propagated is None:
            return self._distinct().information(mc_draws, rng, random=False)
        if self.rows is None:
            return self._apart(self.propagated, mc_draws, rng)
        pool = self._pool(self.propagated, self.rows)
        ty = None if self.labels is None else pool.information(mc_draws, rng, random=True)[1]
        return self._together(self.propagated, self.rows, pool, mc_draws, rng), ty

    def half(self, rng: np.random.Generator, *, halve_inputs: bool) -> Propagations | None:
        """Half of the rows (if asked) and of the propagations; ``None`` if there are too few."""
        n, n_x = len(self.s), 0 if self.propagated is None else self.propagated.shape[1]
        keep = np.ones(n, bool)
        if halve_inputs and n >= _SAMPLE:
            inputs = np.unique(self.codes)
            if len(inputs) > n // 2:
                keep = np.isin(self.codes, rng.permutation(inputs)[: len(inputs) // 2])
            else:  # they repeat: every second row of each
                order = np.lexsort((rng.permutation(n), self.codes))
                start = np.searchsorted(self.codes[order], self.codes[order])
                keep[order] = (np.arange(n) - start) % 2 == 0
        elif n_x < 4:
            return None
        labels = None if self.labels is None else self.labels[keep]
        if labels is not None:
            labels = np.unique(labels, return_inverse=True)[1]
        propagated, rows = self.propagated, self.rows
        if propagated is not None:
            propagated = propagated[:, : max(2, n_x // 2)]
            if rows is not None:
                inside = np.isin(self.codes[rows], self.codes[keep])
                if not inside.any():
                    return None
                propagated = propagated[inside]
                where = {code: i for i, code in reversed(list(enumerate(self.codes[keep])))}
                rows = np.array([where[code] for code in self.codes[rows[inside]]])
        return Propagations(self.s.take(keep), self.codes[keep], labels, propagated, rows)

    def _distinct(self) -> Mixture:
        """The rows, those that coincide taken together."""
        n = len(self.s)
        labels = np.zeros(n, int) if self.labels is None else self.labels
        together = self.codes * (int(labels.max()) + 1) + labels
        _, first, counts = np.unique(together, return_index=True, return_counts=True)
        return Mixture(
            self.s.take(first), counts / n, None if self.labels is None else labels[first]
        )

    def _complete(self, rows: np.ndarray) -> bool:
        """Whether every input was propagated."""
        return len(rows) == len(np.unique(self.codes))

    def _pool(self, propagated: np.ndarray, rows: np.ndarray) -> Mixture:
        """The mixture that stands for p(t).

        Of all propagations, as many of each input as keep the number within bounds, where all
        inputs were propagated; else of the rows.
        """
        n = len(self.s)
        if not self._complete(rows):
            return Mixture(self.s, np.full(n, 1 / n), self.labels)
        m, n_x, dim = propagated.shape
        q = max(1, min(n_x, _DRAWS // m))
        return Mixture(
            Rows.of(propagated[:, :q].reshape(m * q, dim)),
            np.repeat(self._input_weights(rows) / q, q),
            None if self.labels is None else np.repeat(self.labels[rows], q),
        )

    def _input_weights(self, rows: np.ndarray) -> np.ndarray:
        """p(x) of the propagated inputs, ``(m,)``."""
        _, inverse, counts = np.unique(self.codes, return_inverse=True, return_counts=True)
        return counts[inverse[rows]] / len(self.codes)

    def _apart(
        self, propagated: np.ndarray, mc_draws: int | None, rng: np.random.Generator
    ) -> tuple[Mean, Mean | None]:
        """h(T) and the mean of h(T|x_i), each from its own draws."""
        n = len(self.s)
        rows = Mixture(self.s, np.full(n, 1 / n), self.labels)
        (outer, outer_error), ty = rows.information(mc_draws, rng, random=True)
        m, n_x, _ = propagated.shape
        draws = draws_each(mc_draws, m * n_x, self.s.shape[1])
        points, noise = _drawn(propagated, draws, rng)
        logs = log_sums(points, noise, propagated, np.full(n_x, -math.log(n_x)))
        logs = logs.reshape(m, n_x, draws)
        inner = logs.mean(axis=(1, 2)) - _excess(logs) / n_x
        share = 1 - m / len(np.unique(self.codes))
        within = logs.mean(axis=2).var(axis=1, ddof=1).mean() / (n_x * m)
        error = math.sqrt(outer_error**2 + share * _spread(inner) / m + within)
        return (outer + float(inner.mean()), error), ty

    def _together(
        self,
        propagated: np.ndarray,
        rows: np.ndarray,
        pool: Mixture,
        mc_draws: int | None,
        rng: np.random.Generator,
    ) -> Mean:
        """E ln p̂_i(t)/p̂(t) at the same draws t from p̂_i."""
        m, n_x, dim = propagated.shape
        weights = self._input_weights(rows)
        # From each input so many propagations, and from each of these so many draws.
        used = min(n_x, max(2, -(-_DRAWS // m)))
        draws = draws_each(mc_draws, m * used, dim)
        points, noise = _drawn(propagated[:, :used], draws, rng)
        own = log_sums(points, noise, propagated, np.full(n_x, -math.log(n_x)))
        flat = pool.sums(points.reshape(1, -1, dim), noise.reshape(1, -1), np.arange(len(pool.s)))
        everything = flat.reshape(noise.shape)
        if len(pool.s) != m * n_x or not self._complete(rows):
            # The pool has few of the input's own propagations: p̂_i takes their place.
            part = log_sums(points, noise, *self._own(pool, rows))
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(np.isneginf(part), 0, np.exp(part - everything))
                others = everything + np.log1p(-np.minimum(share, 1))
            everything = np.logaddexp(others, own + np.log(weights)[:, None])
        ratio = own - everything
        shared = (np.exp(-everything) - np.exp(ratio)).mean(axis=1) / 2
        each = ratio.mean(axis=1) - (_excess(own) - weights * shared) / n_x
        within = ratio.reshape(m, used, draws).mean(axis=2).var(axis=1, ddof=1) / used
        unseen = _unseen(len(pool.s), ratio.size)
        if self._complete(rows):
            return float(weights @ each), math.sqrt(float(weights**2 @ within) + unseen)
        share = 1 - m / len(np.unique(self.codes))
        error = math.sqrt(share * _spread(each) / m + within.mean() / m + unseen)
        return float(each.mean()), error

    def _own(self, pool: Mixture, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the pool holds of each input: ``(m, c, d)``, and its log weights, −∞ for none."""
        m = len(rows)
        if self._complete(rows):
            return pool.s[:].reshape(m, -1, pool.s.shape[1]), np.log(pool.weights).reshape(m, -1)
        order = np.argsort(self.codes, kind="stable")
        in_order, wanted = self.codes[order], self.codes[rows]
        start = np.searchsorted(in_order, wanted)
        counts = np.searchsorted(in_order, wanted, side="right") - start
        place = np.arange(int(counts.max()))
        index = order[np.minimum(start[:, None] + place, len(order) - 1)]
        return self.s[index], np.where(place < counts[:, None], -math.log(len(order)), -np.inf)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Centres of a mixture, in units of the noise, with weights that sum to 1, and their labels."""

    s: Rows
    weights: np.ndarray
    labels: np.ndarray | None = None

    def information(
        self, mc_draws: int | None, rng: np.random.Generator, *, random: bool
    ) -> tuple[Mean, Mean | None]:
        """h(T) − h(Z) = −E ln p̂/φ, and E ln p̂(t|y)/p̂(t) where there are labels."""
        everything, within = self.logs(mc_draws, rng)
        xt = average(-everything, self.weights, random=random)
        if self.labels is None:
            return xt, None
        return xt, average(within - everything, self.weights, random=random)

    def logs(self, mc_draws: int | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """ln p̂/φ and ln p̂(·|y)/φ at points drawn from each centre, ``(n, draws)`` each."""
        n, dim = self.s.shape
        draws = draws_each(mc_draws, n, dim)
        labels = np.zeros(n, int) if self.labels is None else self.labels
        classes = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        everything, within = np.full((n, draws), -np.inf), np.empty((n, draws))
        step = max(1, TILE // (draws * dim))
        for start in range(0, n, step):
            block = slice(start, start + step)
            points, noise = _drawn(self.s[block][None], draws, rng)
            total, own = everything[block], within[block]
            for label, mine in enumerate(classes):
                sums = self.sums(points, noise, mine).reshape(total.shape)
                np.logaddexp(total, sums, out=total)
                inside = labels[block] == label
                own[inside] = sums[inside] - math.log(self.weights[mine].sum())
        return everything, within

    def sums(self, points: np.ndarray, noise: np.ndarray, mine: np.ndarray) -> np.ndarray:
        """ln Σ_l w_l φ(t − s_l)/φ over some of the centres, at points ``(1, p, d)``: ``(p,)``."""
        total = np.full(points.shape[1], -np.inf)
        step = max(1, TILE // self.s.shape[1])
        step -= step % 512 if step > 512 else 0  # a whole tile of the program's
        for start in range(0, len(mine), step):
            some = mine[start : start + step]
            part = log_sums(points, noise, self.s[some][None], np.log(self.weights[some]))[0]
            total = np.logaddexp(total, part)
        return total


def check_scale(samples: np.ndarray, noise_std: float, name: str) -> None:
    """Raises where distances, in units of the noise, have no squares.

    Raises:
        ArgumentError: names the largest magnitude.
    """
    largest = float(magnitude(samples)[0, 0])
    if not largest / _LARGEST < min(1.0, noise_std):
        raise ArgumentError(
            f"`{name}` is too large for its noise",
            f"magnitudes below {_LARGEST:.0e} standard deviations of the noise",
            f"max|{name}| = {largest:.3g}, noise_std={noise_std:.3g}",
        )


def _drawn(
    centres: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(b, n · draws, d)`` drawn around centres ``(b, n, d)``, and their |z|²/2."""
    batch, n, dim = centres.shape
    z = rng.standard_normal((batch, n, draws, dim))
    points = centres[:, :, None] + z
    # The noise as it was rounded: far from 0 next to nothing of it is left.
    np.subtract(points, centres[:, :, None], out=z)
    noise = 0.5 * np.square(z).sum(axis=-1).reshape(batch, n * draws)
    return points.reshape(batch, n * draws, dim), noise


def average(values: np.ndarray, weights: np.ndarray, *, random: bool) -> Mean:
    """The weighted mean over centres of the mean over draws, with its standard error.

    Args:
        values: ``(n, draws)``.
        weights: ``(n,)``, which sum to 1.
        random: whether the centres are themselves a sample; else only the draws are.
    """
    each = values.mean(axis=1)
    mean = float(weights @ each)
    draws = values.shape[1]
    if random or draws < 2:
        square = np.square(each - mean) * len(each) / max(1, len(each) - 1)
    else:
        square = values.var(axis=1, ddof=1) / draws
    return mean, math.sqrt(float(np.square(weights) @ square) + _unseen(len(each), values.size))


def draws_each(mc_draws: int | None, centres: int, dim: int) -> int:
    """Draws for each centre: ``mc_draws``, or fewer the wider T, where each draw costs more."""
    return -(-_DRAWS // (centres * max(1, dim // 64))) if mc_draws is None else mc_draws


def _excess(logs: np.ndarray) -> np.ndarray:
    """Half of χ² = E φ/p̂ − 1, from ln p̂/φ ``(b, ...)``: n_x components miss χ²/2n_x of entropy."""
    return (np.exp(-logs).mean(axis=tuple(range(1, logs.ndim))) - 1) / 2


def _spread(values: np.ndarray) -> float:
    """The variance of values, which is unknown of a single one."""
    return float(values.var(ddof=1)) if len(values) > 1 else math.inf


def _unseen(centres: int, draws: int) -> float:
    """The squared error of what no draw has met, of probability 1/draws and at most ln centres."""
    return (math.log(centres) / draws) ** 2


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
            f"{m} rows of 0…{n - 1} with different inputs",
            rows,
        )
    return rows


def _check_function(samples: np.ndarray, codes: np.ndarray) -> None:
    first = np.unique(codes, return_index=True)[1][codes]
    again = np.flatnonzero(first != np.arange(len(codes)))
    step = max(1, TILE // samples.shape[1])
    for start in range(0, len(again), step):
        some = again[start : start + step]
        if np.array_equal(samples[some], samples[first[some]]):
            continue
        raise ArgumentError(
            "`t` differs between equal inputs: S is not a function of X, as behind a noisy layer",
            "`conditional`: S of some inputs, each propagated n_x times with fresh noise",
            "conditional=None",
        )
