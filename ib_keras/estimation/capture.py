"""Capture of the activations that estimators need from a model at one epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ib_keras.activations import Activations
from ib_keras.arrays.structures import take
from ib_keras.estimators.base import BaseEstimator

if TYPE_CHECKING:
    from ib_keras.instrumentation.model import InstrumentedModel

# The largest dimension of a layer whose propagations are captured. A mixture of that few
# propagations cannot describe more dimensions.
_WIDEST = 512


@dataclasses.dataclass(frozen=True)
class Captured:
    """The activations of one pass over the inputs.

    Args:
        noisy: T of each layer.
        clean: S of each layer, if an estimator propagates S.
        rows: the rows ``(m,)`` that were propagated repeatedly, if any.
        propagated: S of these rows, ``(m, n_x, *shape)``, of each layer behind noise.
    """

    noisy: Mapping[str, Any]
    clean: Activations | None = None
    rows: np.ndarray | None = None
    propagated: Activations | None = None


def capture(
    tapped: InstrumentedModel,
    inputs: Any,
    names: Sequence[str],
    estimators: Sequence[BaseEstimator],
    *,
    rows: np.ndarray,
    propagations: int,
    draws: int = 1,
    batch_size: int = 256,
    seed: tuple[int, ...] | None = None,
) -> Captured:
    """Capture T, and for estimators that propagate, also S and repeated passes over some rows.

    Args:
        tapped: the instrumented model.
        inputs: the model's inputs, ``(n, ...)``.
        names: the taps to capture.
        estimators: the estimators.
        rows: the rows that are propagated repeatedly.
        propagations: the number of passes over these rows.
        draws: the number of noisy passes over all rows.
        batch_size: samples per forward pass.
        seed: integers that determine the noise; ``None`` for a random seed.
    """
    if seed is None:
        seed = tuple(np.random.SeedSequence().generate_state(2).tolist())

    def passes(clean: bool) -> Activations:
        captured = tapped.capture(
            inputs, layers=names, batch_size=batch_size, draws=draws, seed=seed, clean=clean
        )
        return captured.flat(draws)

    noisy = passes(clean=False)
    if not any(estimator.traits.propagations for estimator in estimators):
        return Captured(noisy)
    clean = passes(clean=True)  # the same seed gives the same noise, so S and T belong together
    layers = propagated_taps(tapped, names) if len(rows) else []
    if not layers:
        return Captured(noisy, clean)
    propagated = tapped.propagate(
        take(inputs, rows),
        propagations=propagations,
        layers=layers,
        batch_size=batch_size,
        seed=seed,
    )
    return Captured(noisy, clean, rows, propagated)


def propagated_rows(n: int, count: int, seed: int) -> np.ndarray:
    """Choose the rows that are propagated repeatedly, at most ``count`` of ``n``."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


def propagated_taps(tapped: InstrumentedModel, names: Sequence[str]) -> list[str]:
    """Select the taps that are random given the input, have own noise, and are narrow enough."""
    noise, random = tapped.noise_std, tapped.random_taps
    sizes = {t.name: math.inf if None in t.shape else math.prod(t.shape) for t in tapped.plan.taps}
    return [n for n in names if n in random and noise[n] > 0 and sizes[n] <= _WIDEST]
