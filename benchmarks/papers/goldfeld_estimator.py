"""The estimator of Goldfeld et al. as in their code, beside ours, for the same noisy networks.

    python -m benchmarks.papers.goldfeld_estimator

It trains three networks of 12 bits as ``--preset=paper-szt`` does, and writes the table
``goldfeld_estimators.csv``.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import pathlib

import numpy as np
import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras.ensembles import Ensemble
from ib_keras.estimators.kernels.mixture import log_sums

NOISE, SEEDS, EPOCHS = 0.005, range(3), (1, 87, 559, 9999)
# Numbers of propagations of each input, and of draws.
PROPAGATIONS, DRAWS = (5, 10, 25, 1000), 2000
_TABLE = pathlib.Path("docs/papers/data/goldfeld_estimators.csv")


def as_authors(propagated: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Estimate what the authors' code estimates, h(p̂) − Σ_i h(p̂_i)/n, from fewer draws.

    p̂_i is the mixture of the propagations of row i, and p̂ that of all propagations. Both entropies
    are means over the same draws, from p̂_i of random rows i.

    Args:
        propagated: S of each row, ``(n, n_x, d)``, in units of the noise.
        rng: the source of the draws.

    Returns:
        I(X;T) in nats, and its standard error from the draws.
    """
    n, n_x, dim = propagated.shape
    row, z = rng.integers(n, size=DRAWS), rng.normal(size=(DRAWS, dim))
    points, noise = propagated[row, rng.integers(n_x, size=DRAWS)] + z, np.square(z).sum(1) / 2
    flat = propagated.reshape(1, n * n_x, dim)
    everything = log_sums(points[None], noise[None], flat, np.full(n * n_x, -math.log(n * n_x)))[0]
    own = log_sums(points[:, None], noise[:, None], propagated[row], np.full(n_x, -math.log(n_x)))[
        :, 0
    ]
    ratio = own - everything
    return float(ratio.mean()), float(ratio.std()) / math.sqrt(DRAWS)


def main() -> None:
    """Train the networks, estimate at some epochs, and write the table."""
    data, rows = ib.datasets.load("szt"), []
    networks = Ensemble(
        lambda seed: ib.models.szt(initial="uniform", seed=seed), SEEDS, noise_std=NOISE
    )
    ours = ib.estimators.SamplePropagation(resample=True, propagations=128)
    for epoch in networks.fit(*data.train, epochs=max(EPOCHS), batch_size=256, learning_rate=4e-4):
        if epoch not in EPOCHS:
            continue
        for k, seed in enumerate(networks.seeds):
            rng = np.random.default_rng([seed, epoch])
            drawn = rng.integers(len(data.x), size=len(data.x))
            many = networks.propagate(k, data.x[drawn], max(PROPAGATIONS), draw=epoch)
            few = networks.propagate(k, data.x, 128, draw=epoch)
            for layer, own in few.items():
                found = ours.estimate(own[:, 0], noise_std=NOISE, conditional=own).xt
                known = {"seed": seed, "epoch": epoch, "layer": layer.replace("dense_", "L")}
                rows.append({**known, "estimator": "sp", "propagations": 128,
                             "value": found.value, "stderr": found.stderr})  # fmt: skip
                for count in PROPAGATIONS:
                    value, error = as_authors(many[layer][:, :count] / NOISE, rng)
                    rows.append({**known, "estimator": "authors", "propagations": count,
                                 "value": value, "stderr": error})  # fmt: skip
                    print(rows[-1], flush=True)
            _common.write(pd.DataFrame(rows), _TABLE)


if __name__ == "__main__":
    main()
