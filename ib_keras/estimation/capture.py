"""What estimators want captured of a model at one moment."""

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

# Widest layer whose propagations are kept: no mixture of the size that they allow resolves more.
_WIDEST = 512


@dataclasses.dataclass(frozen=True)
class Captured:
    """One pass over the inputs, with what estimators of noisy layers want besides T."""

    noisy: Mapping[str, Any]
    clean: Activations | None = None
    rows: np.ndarray | None = None
    propagated: Activations | None = None


def capture(
    tapped: InstrumentedModel,
    inputs: Any,
    names: Sequence[str],
    made: Sequence[BaseEstimator],
    *,
    rows: np.ndarray,
    propagations: int,
    draws: int = 1,
    batch_size: int = 256,
    seed: tuple[int, ...] | None = None,
) -> Captured:
    """Captures T, and for estimators that propagate S too, with repeated passes over some rows."""
    if seed is None:
        seed = tuple(np.random.SeedSequence().generate_state(2).tolist())

    def one(clean: bool) -> Activations:
        captured = tapped.capture(
            inputs, layers=names, batch_size=batch_size, draws=draws, seed=seed, clean=clean
        )
        return captured.flat(draws)

    noisy = one(clean=False)
    if not any(estimator.traits.propagations for estimator in made):
        return Captured(noisy)
    clean = one(clean=True)  # the same seed draws the same noise: S and T are of the same passes
    wanted = propagated_taps(tapped, names) if len(rows) else []
    if not wanted:
        return Captured(noisy, clean)
    propagated = tapped.propagate(
        take(inputs, rows),
        propagations=propagations,
        layers=wanted,
        batch_size=batch_size,
        seed=seed,
    )
    return Captured(noisy, clean, rows, propagated)


def propagated_rows(n: int, count: int, seed: int) -> np.ndarray:
    """The rows that are propagated repeatedly."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


def propagated_taps(tapped: InstrumentedModel, names: Sequence[str]) -> list[str]:
    """The taps behind noise, with noise of their own, narrow enough for a mixture."""
    noise, random = tapped.noise_std, tapped.random_taps
    sizes = {t.name: math.inf if None in t.shape else math.prod(t.shape) for t in tapped.plan.taps}
    return [n for n in names if n in random and noise[n] > 0 and sizes[n] <= _WIDEST]
