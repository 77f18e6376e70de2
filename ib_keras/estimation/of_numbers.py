"""Estimates of I(A;B) for two variables of numbers of any kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.decomposition import PCA

from ib_keras.arrays.grids import on_a_grid
from ib_keras.arrays.variables import Variable
from ib_keras.errors import InfiniteError
from ib_keras.estimation.answer import Answer, Budget, extrapolated, is_unbounded
from ib_keras.estimators.continuous import check_pair
from ib_keras.estimators.density_ratio import Settings, held_out_ratios
from ib_keras.estimators.flow import NormalizingFlow
from ib_keras.estimators.gaussian import Gaussian, canonical
from ib_keras.estimators.ksg import KSG
from ib_keras.estimators.regression import Predictors, Regressed, by_regression
from ib_keras.interface import Estimate

_SETTINGS = {"balanced": Settings(), "thorough": Settings(width=128, steps=4000)}
# The fewest rows that train a critic, and the largest dimensions of each variable for which
# neighbours and regressions are used.
_MIN_ROWS_OF_CRITIC, _MAX_DIM_OF_KSG, _MAX_DIM_OF_REGRESSION = 400, 5, 32
# The largest number of rows for regressions, at which errors are small: _MOST_ROWS in up to _MANY
# dimensions, else _MOST_ROWS_OF_MANY, because the time for neighbours then grows with its square.
_MOST_ROWS, _MOST_ROWS_OF_MANY, _MANY = 20_000, 5_000, 16
# The closed form is confirmed if another estimate is at least this share of it, minus a margin in
# nats. For samples on a curved surface, the closed form may be arbitrarily wrong.
_CONFIRMED_SHARE, _MARGIN_NATS = 0.8, 0.05
# What the estimate may have missed, measured on known pairs (benchmarks/known_pairs.py): the share
# _SLACK of the part that only a critic found; the share _SHARE of the value; _GROWTH times what the
# second half of the rows added; and, in D dimensions, _MISSED·√((D − 2)·_MISSED_ROWS/n) nats.
_SLACK, _SHARE, _GROWTH, _MISSED, _MISSED_ROWS = 0.3, 0.03, 2.0, 0.12, 1000
# Variables are too wide if there are fewer than _ROWS_EACH rows per column. Principal components
# then represent them, with at least _ROWS_OF_COMPONENT rows for each.
_ROWS_EACH, _ROWS_OF_COMPONENT = 4, 25
# A critic has not learned the dependence if the second half of the rows added more than this share
# of the value.
_GROWS = 0.1
# A part of B is copied from A if at least _LEAST_COPIES rows and the share _COPIED of all rows are
# equal in one of the first _COMPARED columns of both.
_LEAST_COPIES, _COPIED, _COMPARED = 5, 0.01, 32
# The ranks of n rows cannot show much more than ln n minus this number of nats.
_RESOLVED = 2.0


def two_numbers(
    a: Variable,
    b: Variable,
    *,
    budget: Budget,
    serial: bool = False,
    window: int = 0,
    seed: int,
) -> Answer:
    """Estimate I(A;B) of numbers of any kind, by the steps of ``mutual_information``.

    Args:
        a: the first variable.
        b: the second variable.
        budget: whether to train critics, for how long, and whether to train flows.
        serial: whether the rows depend on the preceding rows. Only the closed form and neighbours
            are used then, because held-out rows resemble other rows and are no test.
        window: number of rows before and after each row that are not used as its neighbours.
        seed: seed of ties, folds and weights.
    """
    n = len(a.numbers)
    if not a.dim or not b.dim:
        return Answer(0.0, 0.0, n, b.dim)
    try:
        scales, flags = _scales(a, b, np.random.default_rng([seed, 2]))
    except InfiniteError:  # a column of A is a column of B
        return Answer(math.inf, 0.0, n, b.dim).flagged("infinite")
    if not serial and _copied(a.numbers, b.numbers):
        return Answer(math.inf, 0.0, n, b.dim).flagged("infinite")
    x, y = scales["ranks"]
    wide = max(x.shape[1], y.shape[1])
    several = x.shape[1] + y.shape[1] > 2
    train = budget != "fast" and not serial and n >= _MIN_ROWS_OF_CRITIC and several
    near = KSG(3, window=window) if wide <= _MAX_DIM_OF_KSG else None
    ksg = None if near is None else _unless_exact(near, x, y)
    more = _predictors(a, b, scales, np.random.default_rng([seed, 6]))
    found = None if serial else _regressed(scales, more, wide, seed)
    critics = _Critics(x, y, _SETTINGS[budget], seed) if train else None
    trained = {} if critics is None else critics.estimates()
    answer = Answer(0.0, 0.0, n, b.dim, flags=flags)
    if several and not train:
        answer = answer.flagged("no_critic")
    if found is not None and math.isinf(found.estimate.value):
        exact = answer.with_part("regression", found.estimate)
        return dataclasses.replace(exact, value=math.inf).flagged("infinite")
    by_rows = [ksg, None if found is None else found.estimate]
    others = {"ksg": by_rows[0], "regression": by_rows[1], "": trained.get("gaussian_held_out")}
    closed = _unless_exact(Gaussian(), x, y)
    answer = _from_closed_form(answer, closed, {k: e for k, e in others.items() if e is not None})
    if critics is not None:
        answer = _grown(_with_critics(answer, trained), critics)
    if ksg is not None:
        answer = answer.at_least("ksg", ksg)
    if found is not None:
        # In 1 + 1 dimensions nothing is missed, so growth is due to chance.
        part = extrapolated(found.estimate, found.growth) if several else found.estimate
        added = part.value - found.estimate.value
        answer = answer.at_least("regression", part, below=added)
    if train and budget == "thorough" and wide <= _MAX_DIM_OF_REGRESSION:
        flow = NormalizingFlow(seed=seed).mutual_information(*next(iter(scales.values())))
        doubtful = {"low_dim", "few_rows"} & set(flow.flags)
        answer = answer.with_part("flow", flow) if doubtful else answer.at_least("flow", flow)
    # The information that neighbours and regressions cannot exclude.
    possible = max((e.value + 2 * e.stderr for e in by_rows if e is not None), default=0.0)
    missed = _missed(n, x.shape[1] + y.shape[1], answer.value)
    if found is not None:
        missed += _GROWTH * max(0.0, found.growth.value - found.growth.stderr)
    above = max(answer.above + missed, possible - answer.value)
    if found is None:
        grows = answer.value > math.log(n) - _RESOLVED  # ranks cannot show more
    else:
        grows = is_unbounded(found.growth)
    if closed is None and found is None:
        # The ranks are exactly related, and only ln n shows: I is larger, or infinite.
        answer, grows = dataclasses.replace(answer, value=max(answer.value, math.log(n))), True
    grows = grows or _critic_grows(answer)
    if grows:
        answer = answer.flagged("unbounded")
    return dataclasses.replace(answer, above=math.inf if grows or answer.is_too_wide else above)


def _copied(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether some rows of a column of B are exact copies of a column of A.

    Two continuous values are equal only if one is a copy. Values that repeat do not count.

    Args:
        a: numbers, ``(n, da)``.
        b: numbers, ``(n, db)``.
    """
    for i, j in np.ndindex(min(a.shape[1], _COMPARED), min(b.shape[1], _COMPARED)):
        equal = a[:, i] == b[:, j]
        if equal.sum() < max(_LEAST_COPIES, _COPIED * len(a)) or on_a_grid(b[:, j]):
            continue
        values, counts = np.unique(b[:, j], return_counts=True)
        alone = np.isin(b[equal, j], values[counts == 1])
        if alone.sum() >= max(_LEAST_COPIES, _COPIED * len(a)):
            return True
    return False


def _missed(n: int, dim: int, value: float) -> float:
    """Return what estimates of known pairs with ``dim`` columns in total have missed, in nats."""
    return _SHARE * value + _MISSED * math.sqrt(max(0, dim - 2) * _MISSED_ROWS / n)


def _scales(
    a: Variable, b: Variable, rng: np.random.Generator
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Return both variables as ranks and, if they have a density, as values; and flags.

    Variables that are too wide for the rows are represented by principal components of the ranks,
    which have at most the information of all columns.
    """
    n = len(a.numbers)
    x, y = a.scores(rng), b.scores(rng)
    if a.dim + b.dim > n / _ROWS_EACH:
        most = max(1, n // (2 * _ROWS_OF_COMPONENT))
        sides = (PCA(min(most, v.shape[1]), random_state=0).fit_transform(v) for v in (x, y))
        first, second = (side / side.std(axis=0) for side in sides)
        return {"ranks": (first, second)}, ("high_dim",)
    values = a.values(rng), b.values(rng)
    if values[0] is None or values[1] is None:
        return {"ranks": (x, y)}, ()
    check_pair(*values, 3)
    return {"values": (values[0], values[1]), "ranks": (x, y)}, ()


def _predictors(
    a: Variable,
    b: Variable,
    scales: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
) -> list[Predictors]:
    """Return the columns of A that predict B, and of B that predict A, if they have no density.

    In the ranks, equal values are in random order, which hides what they say together.
    """
    found = []
    ways = (("b from a", a, b, scales["ranks"]), ("a from b", b, a, scales["ranks"][::-1]))
    for way, side, other, (scores, target) in ways:
        if side.kind == "continuous" or side.dim != scores.shape[1] or side.dim == 1:
            continue
        values = other.values(rng)
        known = values is None and target.shape[1] == 1
        b_values = target if values is None else values
        found.append(Predictors(side.columns(), scores, b_values, known, way))
    return found


def _regressed(
    scales: Mapping[str, tuple[np.ndarray, np.ndarray]],
    more: Sequence[Predictors],
    wide: int,
    seed: int,
) -> Regressed | None:
    """Estimate I(A;B) by regressions, from some of the rows if there are many."""
    if wide > _MAX_DIM_OF_REGRESSION:
        return None
    n = len(scales["ranks"][0])
    most = _MOST_ROWS if wide <= _MANY else _MOST_ROWS_OF_MANY
    if n <= most:
        return by_regression(scales, more)
    rows = np.random.default_rng([seed, 5]).permutation(n)[:most]
    some = {name: (a[rows], b[rows]) for name, (a, b) in scales.items()}
    return by_regression(some, [one.take(rows) for one in more])


def _from_closed_form(
    answer: Answer, closed: Estimate | None, others: Mapping[str, Estimate]
) -> Answer:
    """Return the answer with the closed form as its value, or the highest of the others."""
    if closed is None:
        return answer
    answer = answer.with_part("gaussian", closed)
    by = max(others, key=lambda name: others[name].value, default="")
    seen = others.get(by, closed)
    if seen.value >= _CONFIRMED_SHARE * closed.value - _MARGIN_NATS:
        return dataclasses.replace(answer, value=closed.value, stderr=closed.stderr)
    # A closed form that is not confirmed may still be right, so the interval includes it.
    value = max(0.0, seen.value)
    answer = dataclasses.replace(answer, value=value, stderr=seen.stderr, by=by)
    return dataclasses.replace(answer, above=closed.value - value).flagged("unconfirmed")


def _with_critics(answer: Answer, trained: dict[str, Estimate]) -> Answer:
    """Add the information that critics found beyond the closed form."""
    residual, critic = trained["residual"], trained["critic"]
    closed = answer.parts["gaussian"].value if "gaussian" in answer.parts else 0.0
    for name in ("gaussian_held_out", "residual"):
        answer = answer.with_part(name, trained[name])
    if residual.value > 2 * residual.stderr:
        answer = dataclasses.replace(
            answer,
            value=answer.value + residual.value,
            by="residual",
            stderr=math.hypot(answer.stderr, residual.stderr),
            above=math.hypot(answer.above, _SLACK * residual.value),
        )
    return answer.at_least("critic", critic, above=_SLACK * max(0.0, critic.value - closed))


def _grown(answer: Answer, critics: _Critics) -> Answer:
    """Add once more what the second half of the rows added, if a critic gave the value."""
    if answer.by not in ("critic", "residual"):
        return answer
    growth = critics.growth(answer.by)
    whole = extrapolated(Estimate(answer.value, answer.stderr), growth)
    return dataclasses.replace(
        answer.with_part("second_half", growth),
        value=whole.value,
        stderr=whole.stderr,
        below=math.hypot(answer.below, whole.value - answer.value),
    )


def _critic_grows(answer: Answer) -> bool:
    """Return whether the second half of the rows added a large share of the value to a critic."""
    growth = answer.parts.get("second_half")
    return growth is not None and growth.value > _GROWS * answer.value + 3 * growth.stderr


def _unless_exact(estimator: KSG | Gaussian, x: np.ndarray, y: np.ndarray) -> Estimate | None:
    """Return an estimate from the ranks, or ``None`` if the ranks are exactly related.

    The values need not be exactly related then, because ranks cannot show small differences.
    """
    try:
        return estimator.mutual_information(x, y)
    except InfiniteError:
        return None


class _Critics:
    """The parts ``residual``, ``critic`` and ``gaussian_held_out``, from held-out density ratios.

    Args:
        x: samples of A, ``(n, da)``.
        y: samples of B, ``(n, db)``.
        settings: settings of the training.
        seed: seed of folds, weights and batches.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, settings: Settings, seed: int) -> None:
        u, v, rho = canonical(x, y)
        k = len(rho)
        r2 = np.square(rho)
        scale = np.sqrt(rho / (1 - r2))
        # The factors of the Gaussian's ln r, to which the critic's output is added.
        u_terms, v_terms = (
            np.column_stack([
                side * scale,
                -(np.square(side) * (r2 / (2 * (1 - r2)))).sum(axis=1) - np.log1p(-r2).sum() / 4,
            ])
            for side in (u[:, :k], v[:, :k])
        )  # fmt: skip
        self._sides, self._gaussian = (_radial(u), _radial(v)), (u_terms, v_terms)
        self._how, self._dim = (settings, seed), y.shape[1]
        self._terms: dict[str, np.ndarray] = {}

    def estimates(self) -> dict[str, Estimate]:
        """Train all critics, and return their estimates by name."""
        self._terms = {**self._ratios("residual"), **self._ratios("critic")}
        return {name: self._estimate(terms) for name, terms in self._terms.items()}

    def growth(self, name: str) -> Estimate:
        """Return what the second half of the training rows added to an estimate."""
        return self._estimate(self._terms[name] - self._ratios(name, share=0.5)[name])

    def _ratios(self, name: str, share: float = 1.0) -> dict[str, np.ndarray]:
        start = self._gaussian if name == "residual" else None
        ratios, normal, known = held_out_ratios(*self._sides, start, *self._how, share)
        learned = ratios - normal[:, None]
        if start is None:
            return {name: learned}
        return {name: learned - known, "gaussian_held_out": known}

    def _estimate(self, terms: np.ndarray) -> Estimate:
        error = float(terms.std(ddof=1)) / math.sqrt(terms.size)
        return Estimate(float(terms.mean()), error, kind="lower", n=terms.size, dim=self._dim)


def _radial(t: np.ndarray) -> np.ndarray:
    """Return coordinates, functions of their length, and products of both, as critic features."""
    square = np.square(t).mean(axis=1, keepdims=True)
    features = np.concatenate([t, np.sqrt(square), square - 1, t * (square - 1)], axis=1)
    return np.clip(features / features.std(axis=0), -6, 6)
