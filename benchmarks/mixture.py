"""The Gaussian mixture in sample propagation, against SciPy, TFP and the least possible work."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from benchmarks._measure import Row, in_turn, own_peak_mb, table
from ib_keras.estimators.kernels.mixture import log_sums
from ib_keras.estimators.propagation import mixture_entropy

N, DIM, BETA = 20_000, 10, 0.1
# The slow competitors get one in so many points, and their time is multiplied.
_SHARE = 20


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres in units of the noise, points, and |z|²/2."""
    rng = np.random.default_rng(0)
    centres = np.tanh(rng.normal(size=(N, DIM))) / BETA
    z = rng.normal(size=(N, DIM))
    return centres, centres + z, 0.5 * np.square(z).sum(axis=1)


def floor(centres: np.ndarray, points: np.ndarray) -> Callable[[], object]:
    """The least work that a density needs: a float32 matrix product, one exp and one sum."""

    @tf.function(jit_compile=True, autograph=False)
    def tile(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.exp(1e-3 * tf.matmul(a, b, transpose_b=True)), axis=1)

    b = tf.constant(centres, tf.float32)
    tiles = [tf.constant(points[i : i + 1000], tf.float32) for i in range(0, N, 1000)]
    return lambda: [tile(a, b) for a in tiles][-1].numpy()


def run() -> list[Row]:
    import tensorflow_probability as tfp

    centres, points, noise = data()
    weights = np.full(N, -math.log(N))
    part = slice(0, N // _SHARE)

    def ours() -> np.ndarray:
        return log_sums(points[None], noise[None], centres[None], weights)[0]

    # Each component with its own scales, around the same centres.
    scales = np.exp(np.random.default_rng(1).uniform(-0.5, 0.5, size=centres.shape))
    spread = centres + scales * (points - centres)
    logs, inverse = np.log(scales).sum(axis=1), 1 / scales

    def scaled() -> np.ndarray:
        return log_sums(
            spread[None], (noise + logs)[None], centres[None], weights - logs,
            inverse=inverse[None],
        )[0]  # fmt: skip

    def scipy() -> np.ndarray:
        squared = cdist(points[part], centres, "sqeuclidean")
        return logsumexp(noise[part, None] - squared / 2, axis=1) - math.log(N)

    mixture = tfp.distributions.MixtureSameFamily(
        tfp.distributions.Categorical(logits=tf.zeros(N)),
        tfp.distributions.MultivariateNormalDiag(tf.constant(centres, tf.float32)),
    )
    # As many points at a time as fit in about 1.6 GB.
    some = [tf.constant(points[i : i + 1000], tf.float32) for i in range(0, N // _SHARE, 1000)]
    log_prob = tf.function(mixture.log_prob)
    ours_s, scaled_s, floor_s, scipy_s, tfp_s = in_turn(
        ours, scaled, floor(centres, points), scipy,
        lambda: [log_prob(p) for p in some][-1].numpy(), repeat=5,
    )  # fmt: skip
    np.testing.assert_allclose(ours()[part], scipy(), atol=1e-4)
    size = f"{N} centres and as many points, d = {DIM}"
    return [
        Row("SciPy's cdist, logsumexp in float64 / ours", _SHARE * scipy_s / ours_s, ">= 10", size),
        Row("tfp MixtureSameFamily.log_prob / ours", _SHARE * tfp_s / ours_s, ">= 15", size),
        Row("ours / matrix product, one exp, one sum", ours_s / floor_s, "<= 1.5", size),
        Row("components of different scales / of equal scale", scaled_s / ours_s, "<= 1.5", size),
        Row("peak memory of mixture_entropy, MB", peak_mb(), "<= 300", "100 000 centres, d = 10"),
    ]  # fmt: skip


def peak_mb() -> float:
    """Return by how much the entropy of 100 000 centres raises a process's peak memory, in MB."""
    code = "from benchmarks import mixture; mixture.print_peak()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def print_peak() -> None:
    """Print this increase, measured after TensorFlow is loaded and the programs are compiled."""
    rng = np.random.default_rng(0)
    centres = np.tanh(rng.normal(size=(100_000, 10)))
    mixture_entropy(centres[:5000], 0.1, mc_draws=1)
    before = own_peak_mb()
    mixture_entropy(centres, 0.1, mc_draws=1)
    print(own_peak_mb() - before)


if __name__ == "__main__":
    print(table(run()))
