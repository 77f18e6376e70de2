"""Tests whether a mutual information falls during training by more than chance explains.

For a curve I_e over E recorded epochs, the null hypothesis is that no earlier value is above the
last one. Each earlier epoch is compared with the last,

    z_e = (I_e − I_end) / √(s_e² + s_end²),    p = min(1, (E − 1) · min_e (1 − Φ(z_e))),

where the factor E − 1 (Bonferroni) corrects for the choice of the epoch with the largest z. The
error s is twice the standard error, because standard errors from few rows were measured to be up to
1.7 times too small. If an estimator has no standard error, s = ln n / √n, which bounds the standard
deviation of a plug-in entropy of n samples. The error s is at least the roughness of the curve, the
scale of its second differences, so that jumps from epoch to epoch are not taken for a fall.

Runs that differ in their seeds are tested together. Each run k falls by

    d_k = I_k(e_k) − I_k(end),

where e_k is the epoch at which the mean over the *other* runs is largest, so that it is chosen
independently of run k. Student's t test of the d_k needs no errors, but has little power for three
runs. Therefore p is twice the smaller of two values: the p of this test, and the largest p of the
single runs.

Over all layers and estimators of a table, p is adjusted by Benjamini and Yekutieli's procedure,
which is valid for dependent tests: of the falls that are claimed at level q, at most a fraction q
is expected to be chance.

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
# The factor by which standard errors are enlarged, because they do not include the variation that
# comes from fitting to other rows.
WIDER = 2.0
_LN2 = math.log(2)
# The tolerance for comparing exact values.
_EXACT = 1e-9


def p_of_curve(values: np.ndarray, stderrs: np.ndarray, n: int, unit: str = "nats") -> float:
    """Return the p-value of the fall of one curve.

    Args:
        values: ``(E,)`` values in the order of the epochs, NaN if missing.
        stderrs: ``(E,)`` standard errors, NaN if unknown.
        n: number of samples.
        unit: unit of the values and errors, ``"nats"`` or ``"bits"``.

    Returns:
        The p-value; 1 for a single epoch.
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
    """Return the scale of noise on a smooth curve, √(E[(I_{e−1} − 2 I_e + I_{e+1})²] / 6).

    The mean is estimated by the median, so that a single step has no influence.
    """
    if len(values) < 5:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2))) / stats.norm.ppf(0.75) / math.sqrt(6))


def p_of_runs(values: np.ndarray, each: Sequence[float]) -> float:
    """Return the p-value of the fall of several runs that differ in their seeds.

    It is twice the smaller of two p-values: that of Student's test, which needs no errors, and the
    largest one of the single runs, which tests whether every run falls.

    Args:
        values: ``(K, E)`` values of K runs in the order of the epochs, NaN if missing.
        each: ``(K,)`` p-value of each run.

    Returns:
        The p-value; 1 if the runs share fewer than two epochs.
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
    """Adjust p-values for multiple tests by Benjamini and Yekutieli's procedure.

    Tests whose adjusted p-value is at most q have a false-discovery rate of at most q, for any
    dependence between them.

    Args:
        p: ``(m,)`` p-values.
    """
    values = np.asarray(p, float)
    return stats.false_discovery_control(values, method="by") if len(values) else values
