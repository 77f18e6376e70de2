"""Capture of the activations of a model at one epoch, as far as estimators need them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ib_keras.activations import Activations
from ib_keras.activations.kinds import CLEAN, MASK, MEAN, NOISY, SCALE
from ib_keras.estimators.base import BaseEstimator
from ib_keras.examples import Examples

if TYPE_CHECKING:
    from ib_keras.instrumentation.model import InstrumentedModel
    from ib_keras.instrumentation.viewed import Viewed

# The largest dimension of a layer whose propagations are captured. A mixture of a few propagations
# cannot describe more dimensions.
_WIDEST = 512


@dataclasses.dataclass(frozen=True)
class Captured:
    """The activations of one pass over the inputs.

    Args:
        noisy: T of each layer.
        clean: S of each layer, the output before its own noise, if an estimator propagates S.
        rows: the rows ``(m,)`` that were propagated repeatedly, if any.
        propagated: S of these rows, ``(m, n_x, *shape)``, for each layer behind noise.
        declared: the mean and the standard deviation of T given each input, for layers that declare
            them.
    """

    noisy: Mapping[str, Any]
    clean: Activations | None = None
    rows: np.ndarray | None = None
    propagated: Activations | None = None
    declared: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)


def capture(
    tapped: InstrumentedModel,
    inputs: Examples,
    names: Sequence[str],
    estimators: Sequence[BaseEstimator],
    *,
    rows: np.ndarray,
    propagations: int,
    draws: int = 1,
    batch_size: int = 256,
    seed: tuple[int, ...] | None = None,
    viewed: Viewed,
    view_inputs: Any = None,
) -> Captured:
    """Capture T and, for estimators that propagate, also S and repeated passes over some rows.

    Args:
        tapped: the instrumented model.
        inputs: the rows of the inputs.
        names: the taps to capture.
        estimators: the estimators.
        rows: the rows that are propagated repeatedly.
        propagations: the number of passes over these rows.
        draws: the number of noisy passes over all rows.
        batch_size: samples per forward pass.
        seed: integers that determine the noise; ``None`` for a random seed.
        viewed: the views of the taps.
        view_inputs: inputs on which views are fitted.
    """
    if seed is None:
        seed = tuple(np.random.SeedSequence().generate_state(2).tolist())
    viewed = tapped.fit_views(viewed, view_inputs, (*seed, 4), batch_size)
    wanted = {NOISY: names, MASK: tapped.masked_positions(viewed)}
    propagates = any(estimator.traits.propagations for estimator in estimators)
    if propagates:
        declared = [name for name in tapped.declared_taps(viewed) if name in names]
        wanted |= {CLEAN: names, MEAN: declared, SCALE: declared}
    found = {
        kind: gathered.flat(draws)
        for kind, gathered in tapped.gather(
            inputs, wanted, viewed=viewed, draws=draws, batch_size=batch_size, seed=seed
        ).items()
    }
    if not propagates:
        return Captured(found[NOISY])
    given = {name: (found[MEAN][name], found[SCALE][name]) for name in found[MEAN]}
    layers = propagated_taps(tapped, names, viewed) if len(rows) else []
    if not layers:
        return Captured(found[NOISY], found[CLEAN], declared=given)
    propagated = tapped.propagate(
        inputs.take(rows),
        propagations=propagations,
        layers=layers,
        batch_size=batch_size,
        seed=seed,
        views=viewed,
    )
    return Captured(found[NOISY], found[CLEAN], rows, propagated, given)


def propagated_rows(n: int, count: int, seed: int) -> np.ndarray:
    """Choose the rows that are propagated repeatedly, at most ``count`` of ``n``."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


def propagated_taps(tapped: InstrumentedModel, names: Sequence[str], viewed: Viewed) -> list[str]:
    """Select the taps that are random given the input, add noise of their own, and are not wide."""
    noise, random = tapped.view_noise(viewed), tapped.random_taps
    taps = {tap.name: tap for tap in tapped.plan.taps}
    return [
        name
        for name in names
        if name in random
        and noise[name] > 0
        and name not in viewed.positions
        and viewed.size(taps[name]) <= _WIDEST
    ]
