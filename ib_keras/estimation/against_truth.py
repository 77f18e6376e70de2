"""Estimates of pairs of images whose mutual information is known."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import compression, frame, synthetic
from ib_keras.arrays.checks import check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.estimation.run import make_estimators
from ib_keras.estimators import KSG, LossyCompression
from ib_keras.frame import provenance
from ib_keras.frame.table import LATENTS, TRUTH, Where, row

# Kind of images → function that draws them, and the number of their parameters.
IMAGES = {"gaussian": (synthetic.gaussian_images, 2), "rectangle": (synthetic.rectangle_images, 4)}


def against_truth(
    estimators: Any,
    *,
    images: str = "gaussian",
    size: int = 16,
    mi: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0),
    n: int = 5000,
    n_fit: int = 5000,
    k: int | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run estimators on pairs of images with known I(X;Y).

    Compressors are fitted once, on images that are not part of an evaluated pair, with different
    seeds for the two sides. For comparison, the parameters of the images are estimated by
    ``KSG(1)`` and by KSG with the number of neighbours of each compressing estimator; no compressor
    can do better than this.

    Args:
        estimators: estimators as for ``estimate``; those of ``LossyCompression`` get their ``k``
            here.
        images: ``"gaussian"`` or ``"rectangle"``.
        size: height and width of the images.
        mi: the known values of I(X;Y) in nats.
        n: the number of pairs for each value.
        n_fit: the number of images for fitting the compressors.
        k: the number of codes of a compressor; by default the number of the images' parameters, or
            one more for PCA.
        seed: seed of the images and the compressors.

    Returns:
        A table of estimates and the logs. The run ``gaussian-16-3`` has the images of 3 nats, with
        the layers ``latents`` and ``images``. The logs have the column ``mi``.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    check_images(images, size)
    draw, parameters = IMAGES[images]
    n, n_fit, seed = check_count(n, "n"), check_count(n_fit, "n_fit"), check_seed(seed)
    for truth in mi:
        synthetic.correlated_uniforms(2, parameters, truth, seed=0)
    estimators = make_estimators(estimators)
    for estimator in estimators:
        if not estimator.traits.pairs:
            raise ArgumentError(
                "The estimator takes no pair", "one with `mutual_information`", str(estimator)
            )
    marginal = draw(n_fit, size, 0.0, seed=seed + 1_000_003)
    fitted = [_fitted(estimator, marginal, parameters, k, seed) for estimator in estimators]
    compressing: list[Any] = [e for e in fitted if isinstance(e, LossyCompression)]
    neighbors = {1, *(e.neighbors or 3 for e in compressing if e.estimator == "ksg")}
    references = [KSG(count) for count in sorted(neighbors)]
    rows, logs = [], []
    for i, truth in enumerate(mi):
        run = f"{images}-{size}-{truth:g}"
        logs.append({"run": run, "epoch": 0, TRUTH: float(truth)})
        latents = synthetic.correlated_uniforms(n, parameters, truth, seed=seed + i)
        pair = draw(n, size, truth, seed=seed + i)
        for index, (layer, (x, y), used) in enumerate(
            ((LATENTS, latents, references), ("images", pair, fitted))
        ):
            for estimator in used:
                start = time.perf_counter()
                result = estimator.mutual_information(x, y)
                seconds = time.perf_counter() - start
                rows.append(row(Where(run, 0, layer, index), estimator, "I(X;T)", result, seconds))
    table = frame.from_rows(rows)
    data = {"images": images, "size": size, "n": n, "n_fit": n_fit, "seed": seed}
    table.attrs.update(provenance.attrs([*references, *fitted], data=data))
    return table, pd.DataFrame(logs)


def check_images(images: str, size: int) -> None:
    """Check the images of ``against_truth``.

    Raises:
        ArgumentError: If their kind is unknown, or they are too small.
    """
    if images not in IMAGES:
        raise ArgumentError("`images` are unknown", f"one of {sorted(IMAGES)}", repr(images))
    check_count(size, "size", 4)


def _fitted(
    estimator: Any, marginal: Sequence[np.ndarray], parameters: int, k: int | None, seed: int
) -> Any:
    """Return the estimator, with compressors fitted to images if it has compressors."""
    if not isinstance(estimator, LossyCompression):
        return estimator
    fitted: dict[str, Any] = {}
    for side, (name, values) in enumerate(zip(("compress_x", "compress_t"), marginal, strict=True)):
        compressor = compression.get(getattr(estimator, name))
        codes = k or parameters + (compressor.name == "pca")
        fitted[name] = compression.get(compressor, k=codes)
        if not getattr(
            compressor, "paired", False
        ):  # one that predicts the other image needs pairs
            fitted[name] = fitted[name].fit(values, seed=seed + side)
    return dataclasses.replace(estimator, **fitted, k=codes)
