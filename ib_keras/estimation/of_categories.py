"""Estimates of I(A;B) for two categories, and for a category and numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ib_keras.arrays.codes import entropy, row_codes
from ib_keras.arrays.codes import mutual_information as information_of_codes
from ib_keras.arrays.variables import Variable
from ib_keras.errors import ArgumentError
from ib_keras.estimation.answer import Answer, Budget
from ib_keras.estimators.ksg import KSG
from ib_keras.interface import Estimate

# The number of permutations, and the mean information of permuted rows above which a table has too
# many cells for its rows.
_PERMUTATIONS, _UNDERSAMPLED = 20, 0.05
# The number of folds for classifiers. A class is rare if it has fewer than _ROWS_EACH rows, and the
# rows are too few if more than the share _RARE of them are in rare classes.
_FOLDS, _ROWS_EACH, _RARE = 4, 5, 0.05
# The number of rows that must repeat earlier ones before two variables count as the same.
_REPEATS = 10
# The smallest probability that a classifier may give.
_FLOOR = 1e-6
# The largest dimension in which neighbours miss little.
_MAX_DIM_OF_KSG = 5
# The largest number of rows for neighbours in more dimensions.
_MOST_ROWS = 2000
# What an estimate may have missed, measured on known pairs: the share _SHARE of it, _GROWTH times
# what the second half of the rows added, and for neighbours _MISSED·√(d·_MISSED_ROWS/n) nats.
_SHARE, _GROWTH, _MISSED, _MISSED_ROWS = 0.05, 2.5, 0.12, 100

Classify = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], np.ndarray]


def renamed(a: Variable, b: Variable) -> np.ndarray | None:
    """Return the codes of A if A and B are the same discrete variable under other names.

    The rows show it if equal rows of A are equal rows of B and the reverse, and if at least
    ``_REPEATS`` rows repeat earlier ones, which independent variables do not do by chance.

    Returns:
        Codes 0…K−1, ``(n,)``, or ``None`` if the variables differ, are not discrete, or are
        constant.
    """
    if not (a.is_discrete and b.is_discrete):
        return None
    codes, others = (v.labels if v.is_category else row_codes(v.columns()) for v in (a, b))
    kinds = len(np.unique(codes))
    if kinds < 2 or len(codes) - kinds < _REPEATS or len(np.unique(others)) != kinds:
        return None
    pairs = codes.astype(np.int64) * (int(others.max()) + 1) + others
    return _coded(codes) if len(np.unique(pairs)) == kinds else None


def own_entropy(codes: np.ndarray) -> Answer:
    """Estimate H(A) = I(A;A) of a discrete variable from its counts.

    The value is the plug-in entropy with the correction of Miller and Madow or, if it is higher,
    the estimate of Chao and Shen, which allows for values that were never seen. If less than two
    thirds of the rows repeat earlier ones, too little is known of the values that were not seen for
    an upper end, and the answer has the flag ``unbounded``.

    Args:
        codes: codes 0…K−1, ``(n,)``.

    References:
        Chao & Shen, Environmental and Ecological Statistics 10, 2003, equation 6.
    """
    n = len(codes)
    counts = np.bincount(codes)
    kinds, once = len(counts), int(np.count_nonzero(counts == 1))
    coverage = 1 - once / n
    p = coverage * counts / n
    unseen = float(-(p * np.log(p) / -np.expm1(n * np.log1p(-p))).sum()) if once < n else 0.0
    plug_in = entropy(codes)
    value = max(plug_in + (kinds - 1) / (2 * n), unseen)
    spread = float(np.log(counts[codes]).std(ddof=1)) / math.sqrt(n)
    # The errors of the corrections: of the second order, and of the share of unseen values.
    error = math.hypot(spread, math.sqrt(kinds / 2) / n, math.sqrt(once) / n * math.log(n))
    few = 3 * kinds > n
    answer = Answer(
        value, error, n, 1, {"counts": Estimate(plug_in, spread, n=n, dim=1)},
        above=math.inf if few else value - plug_in, below=value - plug_in,
    )  # fmt: skip
    return answer.flagged("unbounded") if few else answer


def two_categories(a: np.ndarray, b: np.ndarray, seed: int) -> Answer:
    """Estimate I(A;B) of codes from the counts of their pairs.

    The bias of the plug-in value is removed by the correction of Miller and Madow. If there are too
    few counts, a permuted B seems to have information as well. In that case, the mean over
    permutations is subtracted, the interval reaches up to the plug-in value, and the answer has the
    flag ``undersampled``.

    Args:
        a: codes 0…K−1, ``(n,)``.
        b: codes 0…K−1, ``(n,)``.
        seed: seed of the permutations.
    """
    n = len(a)
    plug_in = information_of_codes(a, b)
    pairs, first = np.unique(a.astype(np.int64) * (int(b.max()) + 1) + b, return_inverse=True)
    of_pair = np.bincount(first.reshape(-1))[first.reshape(-1)]
    p, q = np.bincount(a), np.bincount(b)
    ratios = np.log(n * of_pair / (p[a].astype(float) * q[b]))
    error = float(ratios.std(ddof=1)) / math.sqrt(n)
    # Without information the ratios vanish, and the error is of second order.
    freedom = min(n, int(np.count_nonzero(p) - 1) * int(np.count_nonzero(q) - 1))
    error = math.hypot(error, math.sqrt(freedom / 2) / n)
    cells = int(len(pairs) - np.count_nonzero(p) - np.count_nonzero(q)) + 1
    ceiling = min(entropy(a), entropy(b))
    value = min(plug_in - cells / (2 * n), ceiling)
    rng = np.random.default_rng(seed)
    chance = [information_of_codes(a, rng.permutation(b)) for _ in range(_PERMUTATIONS)]
    parts = {
        "counts": Estimate(plug_in, error, n=n, dim=1),
        "permuted": Estimate(float(np.mean(chance)), float(np.std(chance, ddof=1)), n=n, dim=1),
    }
    if parts["permuted"].value <= _UNDERSAMPLED or ceiling == 0:
        return Answer(value, error, n, 1, parts)
    lower = max(0.0, plug_in - parts["permuted"].value)
    error = math.hypot(error, parts["permuted"].stderr)
    return Answer(lower, error, n, 1, parts, ("undersampled",), above=plug_in - lower)


def category_and_numbers(
    a: Variable,
    labels: np.ndarray,
    *,
    budget: Budget,
    serial: bool = False,
    window: int = 0,
    seed: int,
) -> Answer:
    """Estimate I(A;Y) of numbers and labels.

    The estimates are nearest neighbours within the classes (Ross), by the ranks of each column and,
    for continuous numbers, by their values; and the held-out bound H(Y) − cross-entropy of
    classifiers: a linear discriminant and, unless the budget is ``"fast"``, a network. All of them
    miss information rather than invent it, so an estimate that is clearly higher replaces the value
    so far.

    Args:
        a: the numbers, possibly with categories.
        labels: codes 0…K−1, ``(n,)``.
        budget: whether to train a network.
        serial: whether the rows depend on the preceding rows. Only neighbours are used then,
            because held-out rows resemble other rows and are no test.
        window: number of rows before and after each row that are not used as its neighbours.
        seed: seed of ties, folds and weights.

    References:
        Ross, PLoS ONE 9(2), e87357, 2014; Barber & Agakov, NeurIPS 2003 (the bound).
    """
    n, counts = len(labels), np.bincount(labels)
    if len(counts) < 2 or not a.dim:
        return Answer(0.0, 0.0, n, a.dim)
    if counts.max() < 2:
        return Answer(0.0, 0.0, n, a.dim, flags=("undersampled",), above=entropy(labels))
    scores = a.scores(np.random.default_rng([seed, 2]))
    ceiling = entropy(labels)
    rows = _for_neighbours(a.dim, n)
    near = KSG(3, window=_thinned(window, rows.step or 1))
    numbers, known = a.numbers[rows], _coded(labels[rows])
    scores = scores[rows]
    ksg = near.with_classes(scores, known)
    nothing = Answer(-math.inf, 0.0, n, a.dim)
    answer = nothing.at_least("ksg", ksg)
    if a.kind == "continuous":
        answer = answer.at_least("ksg_of_values", near.with_classes(numbers, known))
    half = _of_half(near, scores, known) if n > 4 * near.k else 0.0
    missed = _SHARE * answer.value + _GROWTH * max(0.0, ksg.value - half)
    missed += _MISSED * math.sqrt(a.dim * _MISSED_ROWS / n)
    if a.dim > _MAX_DIM_OF_KSG:
        missed = ceiling  # what neighbours miss is unknown
    if counts[counts > 0].min() >= _ROWS_EACH and not serial:
        features = a.features()
        for name, classify in _CLASSIFIERS[:1] if budget == "fast" else _CLASSIFIERS:
            bound = _held_out(classify, features, labels, seed)
            if bound.value > max(0.0, answer.value) + 2 * bound.stderr:
                each = _every_second(labels)
                half = _held_out(classify, features[each], labels[each], seed).value
                missed = _SHARE * bound.value + _GROWTH * max(0.0, bound.value - half)
            answer = answer.at_least(name, bound)
    if a.dim > 1 and not any(name in answer.parts for name, _ in _CLASSIFIERS[1:]):
        answer = answer.flagged("no_critic")
    value = min(answer.value, ceiling)
    # H(Y) of the population may be higher than that of the rows.
    spread = float(np.log(counts[labels] / n).std(ddof=1)) / math.sqrt(n)
    ceiling += (np.count_nonzero(counts) - 1) / (2 * n) + 2 * spread
    few = (counts[labels] < _ROWS_EACH).mean() > _RARE
    answer = dataclasses.replace(
        answer,
        value=value,
        above=ceiling - value if few else min(missed, ceiling - value),
        below=value if few else _SHARE / 2 * value,
    )
    return answer.flagged("undersampled") if few else answer


def _for_neighbours(dim: int, n: int) -> slice:
    """Return the rows for neighbours, whose time in many dimensions grows with their square."""
    return slice(None, None, -(-n // _MOST_ROWS)) if dim > _MAX_DIM_OF_KSG else slice(None)


def _every_second(labels: np.ndarray) -> np.ndarray:
    """Return the indices of every second row of each class."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    places = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[places % 2 == 0])


def _thinned(window: int, step: int) -> int:
    """Return the window, in rows, when one of ``step`` rows is left."""
    return -(-window // step)


def _of_half(near: KSG, scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the estimate from every second row of each class, −∞ if there are too few rows."""
    rows = _every_second(labels)
    half = dataclasses.replace(near, window=_thinned(near.window, 2))
    try:
        return half.with_classes(scores[rows], _coded(labels[rows])).value
    except ArgumentError:
        return -math.inf


def _coded(labels: np.ndarray) -> np.ndarray:
    """Return labels with new codes, without gaps."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _held_out(classify: Classify, features: np.ndarray, labels: np.ndarray, seed: int) -> Estimate:
    """Return H(Y) − cross-entropy of folds, each predicted by a classifier of the other folds."""
    labels = _coded(labels)
    n, classes = len(labels), int(labels.max()) + 1
    folds = np.random.default_rng([seed, 3]).permutation(n) % _FOLDS
    logs = np.empty(n)
    for fold in range(_FOLDS):
        train, test = folds != fold, folds == fold
        found = classify(features[train], labels[train], features[test], classes, seed)
        logs[test] = found[np.arange(test.sum()), labels[test]]
    gains = np.maximum(logs, math.log(_FLOOR)) - np.log(np.bincount(labels) / n)[labels]
    error = float(gains.std(ddof=1)) / math.sqrt(n)
    return Estimate(float(gains.mean()), error, kind="lower", n=n, dim=features.shape[1])


def _linear(
    x: np.ndarray, y: np.ndarray, held_out: np.ndarray, classes: int, seed: int
) -> np.ndarray:
    if (y == y[0]).all():  # a rare class may have no row in these folds
        out = np.full((len(held_out), classes), math.log(_FLOOR))
        out[:, y[0]] = 0.0
        return out
    model = make_pipeline(
        StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    ).fit(x, y)
    out = np.full((len(held_out), classes), math.log(_FLOOR))
    out[:, model.classes_] = model.predict_log_proba(held_out)
    return out


def _network(
    x: np.ndarray, y: np.ndarray, held_out: np.ndarray, classes: int, seed: int
) -> np.ndarray:
    from ib_keras.estimators.classifier import log_probabilities

    return log_probabilities(
        x.astype(np.float32), y, held_out.astype(np.float32), classes=classes, seed=seed
    )


_CLASSIFIERS: tuple[tuple[str, Classify], ...] = (
    ("linear", _linear), ("network", _network),
)  # fmt: skip
