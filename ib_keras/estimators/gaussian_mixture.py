"""Gaussian mixtures and averages over their draws. All lengths are in units of the noise."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ib_keras.arrays.rows import TILE, Rows, slices
from ib_keras.arrays.scaling import magnitude
from ib_keras.errors import ArgumentError
from ib_keras.estimators.kernels import mixture, near

# Total number of draws by default: a standard error of about 0.005 nats.
DRAWS = 1 << 15
# Largest magnitude in units of the noise, at which sums of squares do not overflow.
_LARGEST = 1e100


class Mean(NamedTuple):
    """An average over rows and Monte-Carlo draws.

    Args:
        value: the average.
        error: the standard error for given rows.
        choice: the standard error due to the choice of the rows, if they are a sample.
    """

    value: float
    error: float
    choice: float = 0.0

    @property
    def stderr(self) -> float:
        """The standard error that combines ``error`` and ``choice``."""
        return math.hypot(self.error, self.choice)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture in units of the noise.

    Args:
        s: the centres, ``(n, d)``.
        weights: weights that sum to 1, ``(n,)``.
        labels: class codes 0…K−1, ``(n,)``, or ``None``.
        scale: standard deviations of the components, ``(n, d)``; ``None`` if all are 1.
    """

    s: Rows
    weights: np.ndarray
    labels: np.ndarray | None = None
    scale: Rows | None = None

    def information(
        self, mc_draws: int | None, rng: np.random.Generator, *, random: bool, rows: int = 0
    ) -> tuple[Mean, Mean | None]:
        """Estimate h(T) − E h(T|S) = −E ln p̂/φ and, with labels, E ln p̂(t|y)/p̂(t).

        Args:
            mc_draws: see ``draws_each``.
            rng: the source of the draws.
            random: see ``average``.
            rows: see ``average``.
        """
        everything, within = self.logs(mc_draws, rng)
        xt = average(-everything, self.weights, random=random, rows=rows)
        if self.labels is None:
            return xt, None
        return xt, average(within - everything, self.weights, random=random, rows=rows)

    def logs(
        self, mc_draws: int | None, rng: np.random.Generator, origins: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ln p̂/φ and ln p̂(·|y)/φ at points drawn from each centre, each ``(n, draws)``.

        Args:
            mc_draws: see ``draws_each``.
            rng: the source of the draws.
            origins: the centres from which points are drawn; by default all n.
        """
        origins = np.arange(len(self.s)) if origins is None else origins
        n, dim = len(origins), self.s.shape[1]
        draws = draws_each(mc_draws, n, dim)
        labels = np.zeros(len(self.s), int) if self.labels is None else self.labels
        classes = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        everything, within = np.full((n, draws), -np.inf), np.empty((n, draws))
        for block in slices(n, TILE // (draws * dim)):
            some = origins[block]
            scale = None if self.scale is None else self.scale[some][None]
            points, noise = drawn(self.s[some][None], draws, rng, scale)
            total, conditional = everything[block], within[block]
            for label, members in enumerate(classes):
                sums = self.sums(points, noise, members).reshape(total.shape)
                np.logaddexp(total, sums, out=total)
                inside = labels[some] == label
                conditional[inside] = sums[inside] - math.log(self.weights[members].sum())
        return everything, within

    def sums(self, points: np.ndarray, noise: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Return ln Σ_l w_l φ(t − s_l)/φ over some centres, ``(p,)``, at points ``(1, p, d)``."""
        total = np.full(points.shape[1], -np.inf)
        step = TILE // self.s.shape[1]
        step -= step % 512 if step > 512 else 0  # a multiple of the kernel's tiles
        for tile in slices(len(members), step):
            some = members[tile]
            log_weights = np.log(self.weights[some])
            if self.scale is None:
                part = near.log_sums(points[0], noise[0], self.s[some], log_weights)
            else:
                scale = self.scale[some][None]
                part = scaled_log_sums(points, noise, self.s[some][None], log_weights, scale)[0]
            total = np.logaddexp(total, part)
        return total


def check_scale(samples: np.ndarray, noise_std: float | np.ndarray, name: str) -> None:
    """Raise an ``ArgumentError`` if squared distances in units of the noise would overflow.

    Args:
        samples: the centres, ``(n, d)``.
        noise_std: standard deviation of the noise, or those of each row, ``(n, d)``.
        name: name of the samples in the error message.
    """
    least, largest = float(np.min(noise_std)), float(magnitude(samples)[0, 0])
    if np.ndim(noise_std):
        largest = max(largest, float(np.max(noise_std)))
    if not largest / _LARGEST < min(1.0, least):
        raise ArgumentError(
            f"`{name}` is too large for its noise",
            f"magnitudes below {_LARGEST:.0e} standard deviations of the noise",
            f"max|{name}| = {largest:.3g}, noise_std={least:.3g}",
        )


def scaled_log_sums(
    points: np.ndarray,
    noise: np.ndarray,
    centres: np.ndarray,
    log_weights: np.ndarray,
    scale: np.ndarray | None,
) -> np.ndarray:
    """Call ``mixture.log_sums`` for components with standard deviations ``scale (b, c, d)``."""
    if scale is None:
        return mixture.log_sums(points, noise, centres, log_weights)
    log_weights = log_weights - np.log(scale).sum(axis=-1)
    return mixture.log_sums(points, noise, centres, log_weights, inverse=1 / scale)


def drawn(
    centres: np.ndarray, draws: int, rng: np.random.Generator, scale: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points around centres ``(b, n, d)``: ``(b, n · draws, d)``, with their |z|²/2.

    With standard deviations ``scale (b, n, d)``, Σ ln scale is added to |z|²/2.
    """
    batch, n, dim = centres.shape
    z = rng.standard_normal((batch, n, draws, dim))
    points = centres[:, :, None] + (z if scale is None else z * scale[:, :, None])
    # The noise after rounding, which may remove most of it if the centres are far from 0.
    np.subtract(points, centres[:, :, None], out=z)
    if scale is not None:
        z /= scale[:, :, None]
    noise = 0.5 * np.square(z).sum(axis=-1)
    if scale is not None:
        noise += np.log(scale).sum(axis=-1)[:, :, None]
    return points.reshape(batch, n * draws, dim), noise.reshape(batch, n * draws)


def average(values: np.ndarray, weights: np.ndarray, *, random: bool, rows: int = 0) -> Mean:
    """Return the weighted mean over centres of the mean over draws, with its standard error.

    Args:
        values: one value for each draw from each centre, ``(n, draws)``.
        weights: weights of the centres, which sum to 1, ``(n,)``.
        random: whether the centres are a sample; otherwise only the draws are random.
        rows: the number of independent rows that the centres represent, to also estimate the error
            due to their choice; 0 for no such error.
    """
    each = values.mean(axis=1)
    mean = float(weights @ each)
    draws = values.shape[1]
    choice = 0.0
    if random or draws < 2:
        square = np.square(each - mean) * len(each) / max(1, len(each) - 1)
    else:
        square = values.var(axis=1, ddof=1) / draws
        if rows > 1:  # the spread of the centres' means, without what the draws add to it
            spread = float(weights @ (np.square(each - mean) - square))
            choice = math.sqrt(max(0.0, spread) / (rows - 1))
    error = math.sqrt(float(np.square(weights) @ square) + unseen_error(len(each), values.size))
    return Mean(mean, error, choice)


def draws_each(mc_draws: int | None, centres: int, dim: int) -> int:
    """Return the number of draws per centre: ``mc_draws``, or by default fewer for wider T."""
    return -(-DRAWS // (centres * max(1, dim // 64))) if mc_draws is None else mc_draws


def unseen_error(centres: int, draws: int) -> float:
    """Return the squared error of unseen events of probability 1/draws and effect ln centres."""
    return (math.log(centres) / draws) ** 2
