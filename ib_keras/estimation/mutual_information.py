"""mutual_information(): one call, several estimators, and what each of them said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_seed
from ib_keras.arrays.codes import mutual_information as information_of_codes
from ib_keras.arrays.labels import as_labels
from ib_keras.errors import ArgumentError
from ib_keras.estimators.continuous import check_pair
from ib_keras.estimators.density_ratio import Settings, held_out_ratios
from ib_keras.estimators.gaussian import Gaussian, canonical, normal_scores, varying
from ib_keras.estimators.ksg import KSG
from ib_keras.interface import Estimate, MutualInformation

# Fewer rows do not train a critic; neighbours in more dimensions than this see too little.
_FEWEST, _NEIGHBOURS = 400, 5
# The closed form is believed where held-out rows give this share of it, less a little: of samples
# on a curved surface it may say anything.
_CONFIRMED, _NOTHING = 0.8, 0.05
# What they may have missed, as on benchmarks of known MI: a third of what only a critic found, and
# a little of everything.
_SLACK, _SHARE = 0.3, 0.03


def mutual_information(a: Any, b: Any, *, neural: bool = True, seed: int = 0) -> MutualInformation:
    """Estimates I(A;B) of two variables of any kind, with an interval.

    Continuous variables: each coordinate is replaced by the normal quantile of its rank, which I
    does not feel, and which tames tails and scales. Then, in nats,

    * ``gaussian``: the closed form from correlations, without bias; believed where its density
      ratio as a critic confirms it on held-out rows (``gaussian_held_out``);
    * ``ksg``: neighbours, in up to 5 + 5 dimensions;
    * ``residual``: a held-out bound on what is not Gaussian: a critic is trained to tell pairs from
      strangers, beginning with the Gaussian's density ratio, and
      E ln r − ln E' r of rows that it has not seen is compared with the Gaussian's own;
    * ``critic``: the same without the Gaussian to begin with.

    All but the first are known to err to the low side, so that the largest of ``ksg``, ``gaussian``
    + ``residual`` and ``critic`` is the estimate. The interval holds two standard errors, and above
    also 3 % of the value and a third of what only a critic found, for what may have been missed.

    A variable of integers, booleans or strings in one column is discrete: with another it is
    counted, with a continuous one neighbours within its classes are sought.

    Args:
        a: ``(n, ...)``.
        b: ``(n, ...)``.
        neural: whether critics are trained, which takes some 20 seconds; without them what is not
            Gaussian is seen in few dimensions only.
        seed: of the critics.

    Returns:
        The estimate, with the flag ``no_critic`` where none was trained, and ``unconfirmed`` where
        held-out rows do not confirm the closed form, to which the interval then reaches.

    Raises:
        ArgumentError: bad samples, different lengths, or an exact relation, which makes I infinite.

    References:
        Kraskov et al., 2004; Poole et al., ICML 2019 (held-out bounds); Czyż et al., NeurIPS 2023.
    """
    check_seed(seed)
    a, b = as_array(a, "a"), as_array(b, "b")
    discrete = [_is_discrete(v) for v in (a, b)]
    if all(discrete):
        return _both_discrete(a, b)
    if any(discrete):
        continuous, labels = (b, a) if discrete[0] else (a, b)
        scores = _scored(continuous)
        codes = as_labels(labels, len(scores), "a" if discrete[0] else "b")
        if not scores.shape[1]:
            return _result(0.0, 0.0, {}, (), n=len(scores))
        found = KSG().with_labels(scores, codes)
        return _result(found.value, found.stderr, {"ksg": found}, found.flags, n=found.n)
    first, second = varying(as_samples(a, "a")), varying(as_samples(b, "b"))
    parts: dict[str, Estimate] = {}
    low_dim = max(first.shape[1], second.shape[1]) <= _NEIGHBOURS
    flags = check_pair(a, b, 3)[2]
    x, y = normal_scores(first), normal_scores(second)
    if not x.shape[1] or not y.shape[1]:
        return _result(0.0, 0.0, {}, flags, n=len(a))
    gaussian = parts["gaussian"] = Gaussian(copula=True).mutual_information(first, second)
    best, error, learned, doubted = gaussian.value, gaussian.stderr, 0.0, False
    if low_dim:
        parts["ksg"] = KSG(3).mutual_information(x, y)
    train = neural and len(a) >= _FEWEST
    if train:
        residual, critic, held_out = _critics(x, y, seed)
        parts |= {"residual": residual, "critic": critic, "gaussian_held_out": held_out}
        doubted = held_out.value < _CONFIRMED * best - _NOTHING
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
    # Where the closed form is doubted nothing says that it is wrong: the interval reaches to it.
    above = max(_SLACK * learned, gaussian.value - best if doubted else 0.0)
    return _result(best, error, parts, flags, n=len(a), above=above)


def _critics(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """What critics find beyond the Gaussian, and on their own; and the Gaussian as a critic."""
    u, v, rho = canonical(x, y)
    first, second = _radial(u), _radial(v)
    k = len(rho)
    r2 = np.square(rho)
    scale = np.sqrt(rho / (1 - r2))
    known = []
    for side in (u[:, :k], v[:, :k]):
        own = -(np.square(side) * (r2 / (2 * (1 - r2)))).sum(axis=1) - np.log1p(-r2).sum() / 4
        known.append(np.column_stack([side * scale, own]))
    found, of_gaussian = [], np.zeros(1)
    for pieces in ((known[0], known[1]), None):
        ratios, normal, gaussian = held_out_ratios(first, second, pieces, Settings(), seed)
        own = ratios - normal[:, None]
        of_gaussian = gaussian if pieces is not None else of_gaussian
        found.append(_held_out(own if pieces is None else own - gaussian, y))
    return found[0], found[1], _held_out(of_gaussian, y)


def _held_out(terms: np.ndarray, y: np.ndarray) -> Estimate:
    error = float(terms.std(ddof=1)) / math.sqrt(terms.size)
    return Estimate(float(terms.mean()), error, kind="lower", n=terms.size, dim=y.shape[1])


def _radial(t: np.ndarray) -> np.ndarray:
    """Coordinates, their length, and their products with it: what rotations and tails depend on."""
    square = np.square(t).mean(axis=1, keepdims=True)
    features = np.concatenate([t, np.sqrt(square), square - 1, t * (square - 1)], axis=1)
    return np.clip(features / features.std(axis=0), -6, 6)


def _both_discrete(a: np.ndarray, b: np.ndarray) -> MutualInformation:
    n = len(a)
    first, second = as_labels(a, n, "a"), as_labels(b, n, "b")
    value = information_of_codes(first, second)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    p, q = table.sum(axis=1), table.sum(axis=0)
    ratios = np.log(n * table[first, second] / (p[first] * q[second]))
    error = float(ratios.std(ddof=1)) / math.sqrt(n)
    # Miller and Madow: each cell that is filled adds half a sample.
    filled = np.count_nonzero(table) - np.count_nonzero(p) - np.count_nonzero(q) + 1
    corrected = max(0.0, value - filled / (2 * n))
    parts = {"counts": Estimate(value, error, n=n, dim=1)}
    return _result(corrected, error, parts, (), n=n)


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


def _scored(values: np.ndarray) -> np.ndarray:
    return normal_scores(varying(as_samples(values)))


def _is_discrete(values: np.ndarray) -> bool:
    if values.ndim == 0:
        raise ArgumentError("A variable has no samples", "an array (n, ...)", repr(values))
    one = values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)
    if values.dtype.kind == "b" and not one:
        # Of classes one-hot, or else numbers 0 and 1.
        return values.ndim == 2 and bool((values.sum(axis=1) == 1).all())
    return values.dtype.kind in "OUS" or (one and values.dtype.kind in "biu")
