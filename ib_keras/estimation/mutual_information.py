"""mutual_information(): I(A;B) of any two variables, from several estimators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_seed
from ib_keras.arrays.codes import entropy
from ib_keras.arrays.codes import mutual_information as information_of_codes
from ib_keras.arrays.labels import as_labels
from ib_keras.errors import ArgumentError
from ib_keras.estimators.continuous import check_pair
from ib_keras.estimators.density_ratio import Settings, held_out_ratios
from ib_keras.estimators.gaussian import Gaussian, canonical, normal_scores, varying
from ib_keras.estimators.ksg import KSG
from ib_keras.interface import Estimate, MutualInformation

# The fewest rows that train a critic, and the largest dimension for which KSG is used.
_MIN_ROWS_OF_CRITIC, _MAX_DIM_OF_KSG = 400, 5
# The closed form is confirmed if held-out rows give at least this share of it, less a margin in
# nats. For samples on a curved surface it may be arbitrarily wrong.
_CONFIRMED_SHARE, _MARGIN_NATS = 0.8, 0.05
# The shares that the estimate may have missed, as on benchmarks with known information: of the part
# that only a critic found, and of the whole value.
_SLACK, _SHARE = 0.3, 0.03


def mutual_information(a: Any, b: Any, *, neural: bool = True, seed: int = 0) -> MutualInformation:
    """Estimate I(A;B) of two variables of any kind, with an interval.

    For continuous variables, each coordinate is replaced by the normal quantile of its rank. This
    leaves I unchanged and makes the estimates robust to tails and scales. Then there are these
    estimates, in nats:

    * ``gaussian``: the closed form from correlations, without bias. It is confirmed by its density
      ratio as a critic on held-out rows (``gaussian_held_out``).
    * ``ksg``: nearest neighbours, in up to 5 + 5 dimensions.
    * ``residual``: a held-out bound on the information that is not Gaussian. A critic that starts
      from the Gaussian's density ratio is trained to distinguish pairs from shuffled pairs, and
      E ln r − ln E' r on held-out rows is compared with that of the Gaussian.
    * ``critic``: the same without the Gaussian as a start.

    The estimate starts from ``gaussian``, or from ``gaussian_held_out`` if held-out rows do not
    confirm the closed form. ``residual`` is added if it exceeds two of its standard errors. The
    other estimates are biased downwards, so ``critic`` and then ``ksg`` replace the value if they
    exceed it by more than two of their standard errors. The interval has two standard errors on
    both sides. Its upper end also includes 3 % of the value and 30 % of the part that only a critic
    found, for information that may have been missed.

    A variable is discrete if it has integers, booleans or strings in one column, or one-hot rows of
    booleans. The information of two discrete variables follows from the counts of their pairs. For
    a discrete and a continuous variable, nearest neighbours within the classes are used.

    Args:
        a: samples of A, ``(n, ...)``.
        b: samples of B, ``(n, ...)``.
        neural: whether to train critics, which takes about 20 seconds. Without them, dependence
            that is not Gaussian is found only in few dimensions.
        seed: seed of the critics.

    Returns:
        The estimate. It has the flag ``no_critic`` if no critic was trained, and ``unconfirmed`` if
        held-out rows do not confirm the closed form; the interval then includes the closed form.

    Raises:
        ArgumentError: If samples are invalid, lengths differ, or an exact relation makes I
            infinite.

    References:
        Kraskov et al., 2004; Poole et al., ICML 2019 (held-out bounds); Czyż et al., NeurIPS 2023.
    """
    check_seed(seed)
    a, b = as_array(a, "a"), as_array(b, "b")
    discrete = [_is_discrete(v, name) for v, name in ((a, "a"), (b, "b"))]
    if all(discrete):
        return _both_discrete(a, b)
    if any(discrete):
        continuous, labels = (b, a) if discrete[0] else (a, b)
        scores = normal_scores(varying(as_samples(continuous, "b" if discrete[0] else "a")))
        codes = as_labels(labels, len(scores), "a" if discrete[0] else "b")
        if not scores.shape[1]:
            return _result(0.0, 0.0, {}, (), n=len(scores))
        ksg = KSG().with_classes(scores, codes)
        return _result(ksg.value, ksg.stderr, {"ksg": ksg}, ksg.flags, n=ksg.n)
    first, second = varying(as_samples(a, "a")), varying(as_samples(b, "b"))
    parts: dict[str, Estimate] = {}
    low_dim = max(first.shape[1], second.shape[1]) <= _MAX_DIM_OF_KSG
    flags = check_pair(a, b, 3)[2]
    x, y = normal_scores(first), normal_scores(second)
    if not x.shape[1] or not y.shape[1]:
        return _result(0.0, 0.0, {}, flags, n=len(a))
    gaussian = parts["gaussian"] = Gaussian(copula=True).mutual_information(first, second)
    best, error, learned, doubted = gaussian.value, gaussian.stderr, 0.0, False
    if low_dim:
        parts["ksg"] = KSG(3).mutual_information(x, y)
    train = neural and len(a) >= _MIN_ROWS_OF_CRITIC
    if train:
        residual, critic, held_out = _critics(x, y, seed)
        parts |= {"residual": residual, "critic": critic, "gaussian_held_out": held_out}
        doubted = held_out.value < _CONFIRMED_SHARE * best - _MARGIN_NATS
        if doubted:
            best, error = max(0.0, held_out.value), held_out.stderr
        if residual.value > 2 * residual.stderr:
            best += residual.value
            error = math.hypot(error, residual.stderr)
            learned = residual.value
        if critic.value > best + 2 * critic.stderr:
            learned, best, error = critic.value - gaussian.value, critic.value, critic.stderr
    if low_dim and parts["ksg"].value > best + 2 * parts["ksg"].stderr:
        best, error, learned = parts["ksg"].value, parts["ksg"].stderr, 0.0
    flags = (*flags, *(() if train else ("no_critic",)), *(("unconfirmed",) if doubted else ()))
    # A closed form that is not confirmed may still be right, so the interval includes it.
    above = max(_SLACK * learned, gaussian.value - best if doubted else 0.0)
    return _result(best, error, parts, flags, n=len(a), above=above)


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


def _both_discrete(a: np.ndarray, b: np.ndarray) -> MutualInformation:
    n = len(a)
    if n < 2:
        raise ArgumentError("`a` has too few samples", "n >= 2", f"shape {a.shape}")
    first, second = as_labels(a, n, "a"), as_labels(b, n, "b")
    value = information_of_codes(first, second)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    p, q = table.sum(axis=1), table.sum(axis=0)
    ratios = np.log(n * table[first, second] / (p[first] * q[second]))
    error = float(ratios.std(ddof=1)) / math.sqrt(n)
    # The correction of Miller and Madow. Information never exceeds an entropy.
    cells = int(np.count_nonzero(table) - np.count_nonzero(p) - np.count_nonzero(q)) + 1
    corrected = min(value - cells / (2 * n), entropy(first), entropy(second))
    return _result(corrected, error, {"counts": Estimate(value, error, n=n, dim=1)}, (), n=n)


def _result(
    value: float, error: float, parts: dict[str, Estimate], flags: tuple[str, ...], *, n: int,
    above: float = 0.0,
) -> MutualInformation:  # fmt: skip
    value = max(0.0, value)
    return MutualInformation(
        value,
        error,
        flags=flags,
        n=n,
        dim=max((p.dim for p in parts.values()), default=0),
        lower=max(0.0, value - 2 * error),
        upper=value + math.hypot(2 * error, above, _SHARE * value),
        parts=parts,
    )


def _is_discrete(values: np.ndarray, name: str) -> bool:
    if values.ndim == 0:
        raise ArgumentError(f"`{name}` has no samples", "an array (n, ...)", repr(values))
    one_column = values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)
    if values.dtype.kind == "b" and not one_column:
        return values.ndim == 2 and bool((values.sum(axis=1) == 1).all())  # one-hot classes
    return values.dtype.kind in "OUS" or (one_column and values.dtype.kind in "biu")
