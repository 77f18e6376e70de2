"""Whether an information falls during training by more than chance explains.

For a curve I_e over E recorded epochs, the null hypothesis is that no earlier value is above the
last one. Each earlier epoch is compared with the last,

    z_e = (I_e − I_end) / √(s_e² + s_end²),    p = min(1, (E − 1) · min_e (1 − Φ(z_e))),

where the factor E − 1 (Bonferroni) pays for having chosen the epoch of the maximum. The error s is
twice the standard error: where rows are few, standard errors were measured to be up to 1.7 times
too small. Where an estimator has none, s = ln n / √n, which bounds the standard deviation of a
plug-in entropy of n samples. The error s is at least the roughness of the curve, which is the scale
of its second differences, so that a curve that jumps from epoch to epoch is not believed to fall.
Runs that differ in their seeds are tested together. Each run k falls by

    d_k = I_k(e_k) − I_k(end),

where e_k is the epoch at which the mean over the *other* runs is largest, so that its choice owes
nothing to run k. Student's t test of the d_k needs no errors, but says little of three runs. So p
is twice the smaller of that test's and of the largest p of the runs alone.

Over all layers and estimators of a table, p is adjusted by Benjamini and Yekutieli's procedure,
which holds for dependent tests: of the falls that are claimed at level q, at most a share q is
expected to be chance.

References:
    Benjamini & Hochberg, J. R. Statist. Soc. B 57(1), 1995; Benjamini & Yekutieli, Ann. Statist.
    29(4), 2001. Antos & Kontoyiannis, Random Struct. Algorithms 19, 2001 (the variance of plug-in
    entropies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05
# What standard errors are multiplied by, for they leave out what a fit to other rows would change.
WIDER = 2.0
_LN2 = math.log(2)
# Exact values that differ by more than this differ.
_EXACT = 1e-9


def p_of_curve(values: np.ndarray, stderrs: np.ndarray, n: int, unit: str = "nats") -> float:
    """p of the fall of one curve.

    Args:
        values: ``(E,)`` in the order of the epochs, NaN where there is none.
        stderrs: ``(E,)`` standard errors, NaN where none is known.
        n: number of samples.
        unit: of both.

    Returns:
        p; 1 for a single epoch.
    """
    known = np.isfinite(values)
    values, stderrs = values[known], stderrs[known]
    if len(values) < 2:
        return 1.0
    bound = math.log(n) / math.sqrt(n) / (_LN2 if unit == "bits" else 1.0) if n > 1 else math.inf
    errors = np.where(np.isfinite(stderrs), WIDER * stderrs, bound)
    errors = np.maximum(errors, _roughness(values))
    falls = values[:-1] - values[-1]
    width = np.hypot(errors[:-1], errors[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(width > 0, falls / width, np.where(falls > _EXACT, np.inf, 0.0))
    return float(min(1.0, len(falls) * stats.norm.sf(z.max())))


def _roughness(values: np.ndarray) -> float:
    """The standard deviation of noise on a smooth curve, √(E[(I_{e−1} − 2 I_e + I_{e+1})²] / 6).

    The mean is estimated by the median, so that a single step does not count.
    """
    if len(values) < 5:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2))) / stats.norm.ppf(0.75) / math.sqrt(6))


def p_of_runs(values: np.ndarray, each: Sequence[float]) -> float:
    """p of the fall of several runs that differ in their seeds.

    It is twice the smaller of two p: that of Student's test, which needs no errors, and the largest
    of the runs' own, which says that every run falls.

    Args:
        values: ``(K, E)`` of K runs in the order of the epochs, NaN where a run has none.
        each: ``(K,)`` p of each run alone.

    Returns:
        p; 1 where the runs share fewer than two epochs.
    """
    shared = values[:, np.isfinite(values).all(axis=0)]
    runs, epochs = shared.shape
    if epochs < 2:
        return 1.0
    others = shared.sum(axis=0) - shared
    turns = others[:, :-1].argmax(axis=1)
    falls = shared[np.arange(runs), turns] - shared[:, -1]
    mean, spread = float(falls.mean()), float(falls.std(ddof=1))
    if spread > 0:
        student = float(stats.t.sf(mean / (spread / math.sqrt(runs)), runs - 1))
    else:
        student = 0.0 if mean > _EXACT else 1.0
    return min(1.0, 2 * min(student, max(each)))


def adjusted(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p adjusted for their number by Benjamini and Yekutieli: those below q have a false-discovery
    rate of at most q, whatever their dependence.

    Args:
        p: ``(m,)``.
    """
    values = np.asarray(p, float)
    return stats.false_discovery_control(values, method="by") if len(values) else values
