"""I(A;B) of numbers of any kind."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ib_keras.arrays.variables import Variable
from ib_keras.errors import InfiniteError
from ib_keras.estimation.answer import Answer
from ib_keras.estimators.continuous import check_pair
from ib_keras.estimators.density_ratio import Settings, held_out_ratios
from ib_keras.estimators.gaussian import Gaussian, canonical
from ib_keras.estimators.ksg import KSG
from ib_keras.estimators.regression import by_regression
from ib_keras.interface import Estimate

# The fewest rows that train a critic, and the largest dimensions of each variable for which
# neighbours and regressions are used.
_MIN_ROWS_OF_CRITIC, _MAX_DIM_OF_KSG, _MAX_DIM_OF_REGRESSION = 400, 5, 16
# The closed form is confirmed if other estimates give at least this share of it, less a margin in
# nats. For samples on a curved surface it may be arbitrarily wrong.
_CONFIRMED_SHARE, _MARGIN_NATS = 0.8, 0.05
# The shares that the estimate may have missed, as on benchmarks with known information: of the part
# that only a critic found, and of the whole value.
_SLACK, _SHARE = 0.3, 0.03
# An estimate that exceeds that from half of the rows by this much, in nats and beyond its error,
# would be higher with more rows.
_GROWS = 0.3
# Without values, the ranks of n rows cannot show much more than ln n less this number of nats.
_RESOLVED = 2.0


def two_numbers(a: Variable, b: Variable, *, train: bool, seed: int) -> Answer:
    """Estimate I(A;B) of numbers of any kind, by the steps of ``mutual_information``."""
    rng = np.random.default_rng([seed, 2])
    n = len(a.numbers)
    if not a.dim or not b.dim:
        return Answer(0.0, 0.0, n, b.dim)
    x, y = a.scores(rng), b.scores(rng)
    pairs = {"ranks": (x, y)}
    values = a.values(rng), b.values(rng)
    if values[0] is not None and values[1] is not None:
        check_pair(*values, 3)
        pairs = {"values": (values[0], values[1]), **pairs}
    answer = Answer(0.0, 0.0, n, b.dim)
    wide = max(a.dim, b.dim)
    exact = doubted = False
    closed = _unless_exact(Gaussian(), x, y)
    if closed is not None:
        answer = dataclasses.replace(
            answer.with_part("gaussian", closed), value=closed.value, stderr=closed.stderr
        )
    found = by_regression(pairs) if wide <= _MAX_DIM_OF_REGRESSION else None
    if found is not None and math.isinf(found.estimate.value):
        return dataclasses.replace(
            answer.with_part("regression", found.estimate), value=math.inf, stderr=0.0
        ).flagged("infinite")
    ksg = _unless_exact(KSG(3), x, y) if wide <= _MAX_DIM_OF_KSG else None
    train = train and n >= _MIN_ROWS_OF_CRITIC and a.dim + b.dim > 2
    residual, critic, held_out = _critics(x, y, seed) if train else (None, None, None)
    others = [e for e in (found and found.estimate, ksg, held_out) if e is not None]
    if closed is not None and others:
        seen = max(others, key=lambda e: e.value)
        if seen.value < _CONFIRMED_SHARE * closed.value - _MARGIN_NATS:
            answer = dataclasses.replace(answer, value=seen.value, stderr=seen.stderr)
            doubted = True
    if residual is not None and held_out is not None and critic is not None:
        answer = answer.with_part("gaussian_held_out", held_out).with_part("residual", residual)
        if residual.value > 2 * residual.stderr:
            answer = dataclasses.replace(
                answer,
                value=answer.value + residual.value,
                stderr=math.hypot(answer.stderr, residual.stderr),
                above=_SLACK * residual.value,
            )
        learned = critic.value - (closed.value if closed else 0.0)
        answer = answer.at_least("critic", critic, _SLACK * learned)
    if ksg is not None:
        answer = answer.at_least("ksg", ksg)
    if found is not None:
        answer = answer.at_least("regression", found.estimate)
        exact = found.estimate.value - found.half > _GROWS + 3 * found.estimate.stderr
    elif answer.value > math.log(n) - _RESOLVED:
        exact = True  # ranks cannot show more
    # Information that neighbours cannot exclude may be there.
    possible = max(
        (e.value + 2 * e.stderr for e in (ksg, found and found.estimate) if e is not None),
        default=0.0,
    )
    above = math.hypot(answer.above, _SHARE * answer.value)
    above = max(above, possible - answer.value)
    if doubted and closed is not None:
        # A closed form that is not confirmed may still be right, so the interval includes it.
        above = max(above, closed.value - answer.value)
    flags = ("unconfirmed",) if doubted else ()
    if not train and a.dim + b.dim > 2:
        flags = (*flags, "no_critic")
    if exact:
        flags, above = (*flags, "unbounded"), math.inf
    return dataclasses.replace(answer, above=above).flagged(*flags)


def _unless_exact(estimator: KSG | Gaussian, x: np.ndarray, y: np.ndarray) -> Estimate | None:
    """Return an estimate from the ranks, or ``None`` if these are exactly related.

    The values need not be: ranks cannot show small differences.
    """
    try:
        return estimator.mutual_information(x, y)
    except InfiniteError:
        return None


def _critics(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the parts ``residual``, ``critic`` and ``gaussian_held_out``."""
    u, v, rho = canonical(x, y)
    first, second = _radial(u), _radial(v)
    k = len(rho)
    r2 = np.square(rho)
    scale = np.sqrt(rho / (1 - r2))
    # The terms of the Gaussian's ln r, which the critic adds to its own.
    u_terms, v_terms = (
        np.column_stack([
            side * scale,
            -(np.square(side) * (r2 / (2 * (1 - r2)))).sum(axis=1) - np.log1p(-r2).sum() / 4,
        ])
        for side in (u[:, :k], v[:, :k])
    )  # fmt: skip
    ratios, normal, gaussian = held_out_ratios(first, second, (u_terms, v_terms), Settings(), seed)
    residual = ratios - normal[:, None] - gaussian
    ratios, normal, _ = held_out_ratios(first, second, None, Settings(), seed)
    critic = ratios - normal[:, None]
    return _held_out(residual, y), _held_out(critic, y), _held_out(gaussian, y)


def _held_out(terms: np.ndarray, y: np.ndarray) -> Estimate:
    error = float(terms.std(ddof=1)) / math.sqrt(terms.size)
    return Estimate(float(terms.mean()), error, kind="lower", n=terms.size, dim=y.shape[1])


def _radial(t: np.ndarray) -> np.ndarray:
    """Coordinates, their length, and their products with it, as features for a critic."""
    square = np.square(t).mean(axis=1, keepdims=True)
    features = np.concatenate([t, np.sqrt(square), square - 1, t * (square - 1)], axis=1)
    return np.clip(features / features.std(axis=0), -6, 6)
