"""KSG against the usual ways to write it, and against other libraries."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma
from sklearn.neighbors import KDTree

from benchmarks._measure import Row, table
from ib_keras import synthetic
from ib_keras.estimators import KSG

N, K = 10_000, 5


def sorted_matrix(x: np.ndarray, y: np.ndarray) -> float:
    """KSG from a matrix of all distances, whose rows are sorted."""
    dx, dy = cdist(x, x, "chebyshev"), cdist(y, y, "chebyshev")
    joint = np.sort(np.maximum(dx, dy), axis=1)
    radius = joint[:, K : K + 1]
    inside = digamma((dx < radius).sum(axis=1)) + digamma((dy < radius).sum(axis=1))
    return float(digamma(K) + digamma(len(x)) - inside.mean())


def trees(x: np.ndarray, y: np.ndarray) -> float:
    """KSG with scikit-learn's trees, as public code uses them."""
    joint = np.concatenate([x, y], axis=1)
    radius = KDTree(joint, metric="chebyshev").query(joint, k=K + 1)[0][:, -1]
    radius = np.nextafter(radius, 0)
    inside = sum(
        digamma(KDTree(v, metric="chebyshev").query_radius(v, radius, count_only=True))
        for v in (x, y)
    )
    return float(digamma(K) + digamma(len(x)) - np.mean(inside))


def others(dim: int) -> dict[str, Callable]:
    """Return the other libraries that are installed and take variables of this dimension."""
    found: dict[str, Callable] = {}
    ennemi = _module("ennemi")
    if ennemi is not None and dim == 1:
        found["ennemi"] = lambda x, y: ennemi.estimate_mi(y[:, 0], x[:, 0], k=K)
    infomeasure = _module("infomeasure")
    if infomeasure is not None:
        found["infomeasure"] = lambda x, y: infomeasure.mutual_information(
            x, y, approach="ksg", k=K
        )
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def seconds(function: Callable, *arguments: Any, repeat: int = 3) -> float:
    """Return the shortest time of several runs; a run of more than 10 s is the last."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
        if times[-1] > 10:
            break
    return min(times)


def run() -> list[Row]:
    rows = []
    made = KSG(K)
    for dim in (1, 2, 5, 32):
        x, y = synthetic.correlated_gaussians(N, dim, 1.0, seed=0)
        ours = seconds(made.mutual_information, x, y)
        size = f"n = {N}, k = {K}, d = {dim} + {dim}"
        if dim == 5:
            np.testing.assert_allclose(
                made.mutual_information(x, y).value, sorted_matrix(x, y), atol=1e-9
            )
            ratio = seconds(sorted_matrix, x, y, repeat=1) / ours
            rows.append(Row("distance matrix, sorted / KSG", ratio, ">= 15", size))
        goal = ">= 5" if dim == 32 else ">= 1"
        repeat = 3 if dim < 32 else 1
        ratio = seconds(trees, x, y, repeat=repeat) / ours
        rows.append(Row("scikit-learn's trees / KSG", ratio, goal, size))
        for name, function in others(dim).items():
            theirs = seconds(function, x, y, repeat=1)
            rows.append(Row(f"{name} / KSG", theirs / ours, ">= 1", size))
    return rows


if __name__ == "__main__":
    print(table(run()))
