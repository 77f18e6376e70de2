"""Estimates of one package on stored pairs, in that package's own interpreter.

    python benchmarks/others_worker.py latentmi LMI build/others/samples/32-5000-0.npz …

``benchmarks.others`` starts this file. Each sample is a file with the arrays ``x`` and ``y``, and
each result is a line of JSON in standard output, in nats. Only the package that is asked for is
imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Result = dict[str, Any]
Estimator = Callable[[np.ndarray, np.ndarray, int], Result]

# latentmi trains for up to 300 epochs, which takes about 7 minutes of one core for 5 000 rows. For
# "LMI, cut", the number of epochs is such that they have at most this many rows together.
LATENT_ROWS = 150_000


def mine_as_published(
    x: np.ndarray,
    y: np.ndarray,
    seed: int = 0,
    *,
    hidden: tuple[int, ...] = (128, 128),
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    rate: float = 0.01,
) -> float:
    """Estimate I(X;Y) by Algorithm 1 of MINE, trained and reported on the same rows.

    The bound E f − ln E' e^f is increased by Adam. E' is over a batch of pairs (x, y') whose y' are
    drawn apart from their x. The gradient of the logarithm is E' e^f ∇f divided by an exponential
    moving average of E' e^f. The value is the bound of all rows, against permuted rows: nothing is
    held out. Columns are standardised.

    Args:
        x: samples, ``(n, d)``.
        y: samples, ``(n, k)``.
        seed: seed of the weights, the batches and the permutation.
        hidden: widths of the hidden layers of the statistics network f.
        steps: number of steps.
        batch_size: rows of a batch.
        learning_rate: learning rate of Adam.
        rate: weight of the newest batch in the moving average.

    Returns:
        The value of the bound in nats.

    References:
        Belghazi et al., ICML 2018, Algorithm 1 and Equation 12.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    a, b = (((v - v.mean(axis=0)) / v.std(axis=0)).astype("float32") for v in (x, y))
    dense = [keras.layers.Dense(width, "elu") for width in hidden]
    network = keras.Sequential(
        [keras.Input((a.shape[1] + b.shape[1],)), *dense, keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(learning_rate)
    average = tf.Variable(0.0)
    rows, others = tf.constant(a), tf.constant(b)

    def bound(first: Any, joint: Any, marginal: Any) -> tuple[Any, Any]:
        f = network(tf.concat([first, joint], axis=1))
        g = network(tf.concat([first, marginal], axis=1))
        return tf.reduce_mean(f), tf.reduce_logsumexp(g) - math.log(g.shape[0])

    @tf.function
    def train() -> None:
        for i in tf.range(steps):
            taken, drawn = (
                tf.random.experimental.stateless_shuffle(tf.range(len(a)), (seed, 2 * i + j))
                for j in (0, 1)
            )
            taken, drawn = taken[:batch_size], drawn[:batch_size]
            with tf.GradientTape() as tape:
                joint, log_mean = bound(
                    tf.gather(rows, taken), tf.gather(others, taken), tf.gather(others, drawn)
                )
                mean = tf.exp(log_mean)
                weight = tf.where(i == 0, 1.0, rate)
                average.assign_add(weight * (tf.stop_gradient(mean) - average))
                loss = mean / average.value() - joint
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    optimizer.build(network.trainable_variables)
    train()
    order = np.random.default_rng(seed).permutation(len(a))
    joint, log_mean = bound(rows, others, tf.gather(others, order))
    return float(joint - log_mean)


def _plain(value: Any) -> Result:
    return {"estimate": float(value)}


def _ours(name: str) -> Callable[[], Estimator]:
    def build() -> Estimator:
        import ib_keras as ib

        def estimate(x: np.ndarray, y: np.ndarray, seed: int) -> Result:
            if name in ("fast", "balanced"):
                found = ib.mutual_information(x, y, budget=name, seed=seed)
                ends = {"lower": found.lower, "upper": found.upper}
            else:
                seeded = {"seed": seed} if name != "ksg" else {}
                found = ib.estimators.get(name, **seeded).mutual_information(x, y)
                lower = found.value - 2 * found.stderr
                upper = math.inf if found.kind == "lower" else found.value + 2 * found.stderr
                ends = {"lower": lower, "upper": upper}
            return _plain(found.value) | ends | {"flags": list(found.flags)}

        return estimate

    return build


def _bmi(name: str, **settings: Any) -> Callable[[], Estimator]:
    def build() -> Estimator:
        import bmi.estimators

        seeded = "seed" in settings

        def estimate(x: np.ndarray, y: np.ndarray, seed: int) -> Result:
            given = settings | {"seed": settings["seed"] + seed} if seeded else settings
            return _plain(getattr(bmi.estimators, name)(**given).estimate(x, y))

        return estimate

    return build


def _mutinfo(name: str, k: int) -> Callable[[], Estimator]:
    def build() -> Estimator:
        from mutinfo.estimators import knn

        def estimate(x: np.ndarray, y: np.ndarray, seed: int) -> Result:
            value, error = getattr(knn, name)(k_neighbors=k)(x, y, std=True)
            ends = {"lower": float(value - 2 * error), "upper": float(value + 2 * error)}
            return _plain(value) | ends

        return estimate

    return build


def _infomeasure() -> Estimator:
    import infomeasure

    def estimate(x: np.ndarray, y: np.ndarray, seed: int) -> Result:
        return _plain(infomeasure.mutual_information(x, y, approach="ksg"))

    return estimate


def _latentmi(rows: int | None) -> Callable[[], Estimator]:
    def build() -> Estimator:
        import torch
        from latentmi import lmi

        def estimate(x: np.ndarray, y: np.ndarray, seed: int) -> Result:
            np.random.seed(seed)
            torch.manual_seed(seed)
            epochs = 300 if rows is None else min(300, rows // len(x))
            bits = np.nanmean(lmi.estimate(x, y, epochs=epochs)[0])
            return _plain(bits * math.log(2))

        return estimate

    return build


def _published() -> Estimator:
    import tensorflow  # noqa: F401

    return lambda x, y, seed: _plain(mine_as_published(x, y, seed))


_CRITIC = {"verbose": False, "seed": 42}
# Package → estimator → function that imports what it needs and returns the estimator.
ESTIMATORS: dict[str, dict[str, Callable[[], Estimator]]] = {
    "ib-keras": {
        "mutual_information, fast": _ours("fast"),
        "mutual_information, balanced": _ours("balanced"),
        "ksg": _ours("ksg"),
        "flow": _ours("flow"),
        "infonce": _ours("infonce"),
        "mine": _ours("mine"),
    },
    "baseline": {"MINE as published": _published},
    "benchmark-mi": {
        "KSG": _bmi("KSGEnsembleFirstEstimator"),
        "CCA": _bmi("CCAMutualInformationEstimator"),
        "MINE": _bmi("MINEEstimator", **_CRITIC),
        "InfoNCE": _bmi("InfoNCEEstimator", **_CRITIC),
        "NWJ": _bmi("NWJEstimator", **_CRITIC),
        "Donsker-Varadhan": _bmi("DonskerVaradhanEstimator", **_CRITIC),
    },
    "mutinfo": {
        "KSG, k = 1": _mutinfo("KSG", 1),
        "KSG, k = 5": _mutinfo("KSG", 5),
        "WKL, k = 1": _mutinfo("WKL", 1),
        "WKL, k = 5": _mutinfo("WKL", 5),
    },
    "infomeasure": {"KSG": _infomeasure},
    "latentmi": {"LMI, cut": _latentmi(LATENT_ROWS), "LMI": _latentmi(None)},
}
# Package → the distribution whose version is reported, if it has another name.
_VERSIONS = {"baseline": "tensorflow"}


def main() -> None:
    # The folder of this file comes first in the path, and its modules would hide others.
    sys.path.pop(0)
    package, name, *paths = sys.argv[1:]
    # Packages print to standard output, which is for results only.
    with os.fdopen(os.dup(1), "w") as results:
        os.dup2(2, 1)
        estimate = ESTIMATORS[package][name]()
        version = importlib.metadata.version(_VERSIONS.get(package, package))
        for path in paths:
            seed = int(pathlib.Path(path).stem.rpartition("-")[2])
            with np.load(path) as pair:
                x, y = pair["x"].astype(np.float64), pair["y"].astype(np.float64)
            start = time.process_time()
            try:
                found = estimate(x, y, seed)
            except Exception as error:  # that a package fails is a result, too
                found = {"error": f"{type(error).__name__}: {error}"[:200]}
            found |= {"seconds": time.process_time() - start, "version": version}
            print(json.dumps(found), file=results, flush=True)


if __name__ == "__main__":
    main()
