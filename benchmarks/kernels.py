"""The kernels of the KDE and binning families, against the usual ways to write them."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from benchmarks._measure import Row, in_turn, table
from ib_keras.estimators import EBAB, KDE, AdaptiveKDE, Binning

N, KDE_DIM, BINNING_DIM, CLASSES = 4096, 256, 1024, 10
VARIANCE = 0.1


def activations(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """A tanh layer that gathers around ten classes, in float32, and its labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, N)
    centres = 0.5 * rng.normal(size=(CLASSES, dim))
    t = np.tanh(centres[y] + 0.02 * rng.normal(size=(N, dim)))
    return t.astype(np.float32), y


def scipy_kde(t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The upper bounds from SciPy's distances."""
    return _bounds(cdist(t, t, "sqeuclidean"), y)


def numpy_kde(t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The upper bounds from NumPy's distances, by a matrix product."""
    squares = np.square(t).sum(axis=1)
    return _bounds(np.maximum(squares[:, None] + squares[None, :] - 2 * t @ t.T, 0), y)


def _bounds(squared: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The bounds on I(X;T) and I(T;Y): logsumexp over all rows, and within each class."""
    kernel = -squared / (2 * VARIANCE)
    everything = -np.mean(logsumexp(kernel, axis=1) - np.log(N))
    within = 0.0
    for c in range(CLASSES):
        rows = y == c
        block = kernel[np.ix_(rows, rows)]
        within -= rows.mean() * np.mean(logsumexp(block, axis=1) - np.log(rows.sum()))
    return everything, everything - within


def original_binning(t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The first public code's way: digitize, a void view of the rows, unique."""
    edges = np.linspace(-1, 1, 31).astype(np.float32)
    digitised = edges[np.digitize(t.ravel(), edges) - 1].reshape(len(t), -1)

    def entropy(rows: np.ndarray) -> float:
        void = np.ascontiguousarray(rows).view(
            np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))
        )
        p = np.unique(void, return_counts=True)[1] / len(rows)
        return float(-(p * np.log(p)).sum())

    whole = entropy(digitised)
    within = sum(np.mean(y == c) * entropy(digitised[y == c]) for c in range(CLASSES))
    return whole, whole - within


def original_ebab(t: np.ndarray, y: np.ndarray, bins: int = 30) -> float:
    """The adaptive bins of the public code, and the entropy of the binned rows."""
    unique = np.unique(t)
    step = unique.size / bins
    index = np.append((np.arange(bins) * step).astype(np.int64), unique.size - 1)
    edges = unique[index]
    digitised = edges[np.digitize(t.ravel(), edges) - 1].reshape(len(t), -1)

    def entropy(rows: np.ndarray) -> float:
        void = np.ascontiguousarray(rows).view(
            np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))
        )
        p = np.unique(void, return_counts=True)[1] / len(rows)
        return float(-(p * np.log(p)).sum())

    whole = entropy(digitised)
    for c in range(CLASSES):
        entropy(digitised[y == c])
    return whole


def graph_per_call_kde(t: np.ndarray, variance: float) -> float:
    """The public code's pattern: a graph for each layer, epoch and bound, run once."""

    @tf.function
    def bound(x: tf.Tensor) -> tf.Tensor:
        squares = tf.reduce_sum(tf.square(x), axis=1)
        squared = squares[:, None] + squares[None, :] - 2 * tf.matmul(x, x, transpose_b=True)
        logs = tf.reduce_logsumexp(-squared / (2 * variance), axis=1)
        return -tf.reduce_mean(logs - tf.math.log(tf.cast(tf.shape(x)[0], x.dtype)))

    return float(bound(tf.constant(t)))


@functools.cache
def product_and_exp(dim: int) -> Any:
    """One pass over all pairs: a matrix product, its exponential, and the sum of each row."""

    @tf.function(jit_compile=True)
    def program(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.exp(tf.matmul(x, x, transpose_b=True)), axis=1)

    return program.get_concrete_function(tf.TensorSpec((N, dim), tf.float32))


def adaptive() -> list[Row]:
    rows = []
    for dim in (10, 100, 1000):
        t, y = activations(dim)
        made = EBAB()
        np.testing.assert_allclose(made.estimate(t, y=y).xt.value, original_ebab(t, y), atol=1e-9)
        ours, original = in_turn(
            lambda made=made, t=t, y=y: made.estimate(t, y=y),  # type: ignore[misc]
            lambda t=t, y=y: original_ebab(t, y),  # type: ignore[misc]
            repeat=5,
        )
        what = f"EBAB and H(code), n = {N}, d = {dim}: the original's time / ours"
        rows.append(Row(what, original / ours, ">= 5", "unique, digitize, void view, unique"))
    return rows


def small_layers() -> list[Row]:
    """The hidden layers of a 12-10-7-5-4-3-2 network at five epochs, with ten classes."""
    rows = []
    layers = [activations(dim)[0] for dim in (10, 7, 5, 4, 3)] * 5
    labels = activations(2)[1]
    rounded = [np.round(t, 1) for t in layers]
    # As `ensembles.study` estimates.
    with ThreadPoolExecutor(2) as pool:
        for made in (KDE(1e-3), AdaptiveKDE()):

            def ours(samples: list[np.ndarray], made: KDE | AdaptiveKDE = made) -> None:
                list(pool.map(lambda t: made.estimate(t, y=labels), samples))

            def one_pass() -> None:
                list(pool.map(lambda t: product_and_exp(t.shape[1])(tf.constant(t)), layers))

            distinct, single, repeated = in_turn(
                lambda ours=ours: ours(layers),  # type: ignore[misc]
                one_pass,
                lambda ours=ours: ours(rounded),  # type: ignore[misc]
                repeat=5,
            )
            start = time.perf_counter()
            for layer in layers[:5]:
                for part in (layer, *(layer[labels == c] for c in range(CLASSES))):
                    graph_per_call_kde(part, made.kernel_variance(layer))
            original = 5 * (time.perf_counter() - start)
            what = f"{made.name} of 25 layers, n = {N}: "
            detail = "I(X;T) and I(T;Y) of ten classes, d = 3 to 10, float32"
            rows += [
                Row(
                    f"{what}ours / one pass of matrix product and exp",
                    distinct / single, "<= 2", detail,
                ),
                Row(
                    f"{what}distinct rows / repeated rows",
                    distinct / repeated, ">= 1", "the same layers, rounded to one decimal",
                ),
                Row(
                    f"{what}a graph per call / ours",
                    original / distinct, ">= 10", f"{detail}; 5 layers measured, 25 counted",
                ),
            ]  # fmt: skip
    return rows


def run() -> list[Row]:
    return [*fixed(), *adaptive(), *small_layers()]


def fixed() -> list[Row]:
    t, y = activations(KDE_DIM)
    t64, on_device = t.astype(np.float64), tf.constant(t)
    kde = KDE(VARIANCE)
    np.testing.assert_allclose(kde.estimate(t, y=y).xt.value, scipy_kde(t64, y)[0], atol=1e-4)
    ours, ours64, scipy_way, numpy_way, product = in_turn(
        lambda: kde.estimate(t, y=y),
        lambda: kde.estimate(t64, y=y),
        lambda: scipy_kde(t, y),
        lambda: numpy_kde(t, y),
        lambda: tf.matmul(on_device, on_device, transpose_b=True).numpy(),
    )
    wide, y = activations(BINNING_DIM)
    made = Binning(30, range=(-1, 1))
    np.testing.assert_allclose(
        made.estimate(wide, y=y).xt.value, original_binning(wide, y)[0], atol=1e-9
    )
    binning, ebab, original = in_turn(
        lambda: made.estimate(wide, y=y),
        lambda: EBAB().estimate(wide, y=y),
        lambda: original_binning(wide, y),
    )
    size = f"n = {N}, d = {KDE_DIM}"
    return [
        Row(
            f"KDE, {size}: SciPy's time / ours",
            scipy_way / ours,
            ">= 4",
            "cdist and logsumexp, over all and within 10 classes",
        ),
        Row(
            f"KDE, {size}: NumPy's time / ours",
            numpy_way / ours,
            ">= 4",
            "matrix product and logsumexp, over all and within 10 classes, float32",
        ),
        Row(
            f"KDE, {size}: ours / bare float32 matrix product",
            ours / product,
            "<= 1.5",
            "tf.matmul of the same size, result fetched",
        ),
        Row(
            f"KDE in float64, {size}: SciPy's time / ours",
            scipy_way / ours64,
            ">= 4",
            "float64 activations are never rounded",
        ),
        Row(
            f"Binning, n = {N}, d = {BINNING_DIM}: the original's time / ours",
            original / binning,
            ">= 5",
            "numpy.digitize, void view, numpy.unique, over all and within 10 classes",
        ),
        Row(
            f"EBAB, n = {N}, d = {BINNING_DIM}: the original binning's time / EBAB's",
            original / ebab,
            ">= 1",
            "EBAB sorts all values first; fixed bins do not",
        ),
    ]


if __name__ == "__main__":
    print(table(run()))
