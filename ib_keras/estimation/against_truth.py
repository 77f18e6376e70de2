"""Estimates on pairs of images whose mutual information is known."""

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
from ib_keras.frame.table import LATENTS, TRUTH, Where, row

# How the images are drawn, and the dimension of what they are drawn from.
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
    """Runs estimators on pairs of images of known I(X;Y).

    Compressors are fitted once, on images of which no pair is evaluated; those of the two sides
    differ by their seed. Beside the estimators the images' own parameters are measured by
    ``KSG(1)`` and, where a compressing estimator takes other neighbours, by those: no compressor
    can be asked for more.

    Args:
        estimators: as ``estimate`` takes them; those of ``LossyCompression`` get their ``k`` here.
        images: ``"gaussian"`` or ``"rectangle"``.
        size: height and width.
        mi: the known informations in nats.
        n: pairs for each.
        n_fit: images for the compressors.
        k: codes of a compressor; one more than the images' parameters by default for PCA, as many
            for the others.
        seed: of the images and the compressors.

    Returns:
        A table of estimates, a run ``gaussian-16-3`` for the images of 3 nats with the layers
        ``latents`` and ``images``; and logs with the column ``mi``.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    check_images(images, size)
    draw, parameters = IMAGES[images]
    n, n_fit, seed = check_count(n, "n"), check_count(n_fit, "n_fit"), check_seed(seed)
    for truth in mi:
        synthetic.correlated_uniforms(2, parameters, truth, seed=0)
    made = make_estimators(estimators)
    for estimator in made:
        if not estimator.traits.pairs:
            raise ArgumentError(
                "The estimator takes no pair", "one with `mutual_information`", str(estimator)
            )
    marginal = draw(n_fit, size, 0.0, seed=seed + 1_000_003)
    fitted = [_fitted(estimator, marginal, parameters, k, seed) for estimator in made]
    neighbors = {1, *(e.neighbors or 3 for e in fitted if _counts_neighbors(e))}
    of_latents = [KSG(count) for count in sorted(neighbors)]
    rows, logs = [], []
    for i, truth in enumerate(mi):
        run = f"{images}-{size}-{truth:g}"
        logs.append({"run": run, "epoch": 0, TRUTH: float(truth)})
        own = synthetic.correlated_uniforms(n, parameters, truth, seed=seed + i)
        pair = draw(n, size, truth, seed=seed + i)
        for index, (layer, (x, y), asked) in enumerate(
            ((LATENTS, own, of_latents), ("images", pair, fitted))
        ):
            for estimator in asked:
                start = time.perf_counter()
                found = estimator.mutual_information(x, y)
                seconds = time.perf_counter() - start
                rows.append(row(Where(run, 0, layer, index), estimator, "I(X;T)", found, seconds))
    return frame.from_rows(rows), pd.DataFrame(logs)


def check_images(images: str, size: int) -> None:
    """Raises for images that ``against_truth`` does not draw.

    Raises:
        ArgumentError: they are unknown, or too small.
    """
    if images not in IMAGES:
        raise ArgumentError("`images` are unknown", f"one of {sorted(IMAGES)}", repr(images))
    check_count(size, "size", 4)


def _counts_neighbors(estimator: Any) -> bool:
    return isinstance(estimator, LossyCompression) and estimator.estimator == "ksg"


def _fitted(
    estimator: Any, marginal: Sequence[np.ndarray], parameters: int, k: int | None, seed: int
) -> Any:
    """The estimator, with compressors that have seen images where it has compressors."""
    if not isinstance(estimator, LossyCompression):
        return estimator
    fitted: dict[str, Any] = {}
    given = {"compress_x": estimator.compress_x, "compress_t": estimator.compress_t}
    for side, (name, values) in enumerate(zip(given, marginal, strict=True)):
        compressor = compression.get(given[name])
        wanted = k or parameters + (compressor.name == "pca")
        fitted[name] = compression.get(compressor, k=wanted).fit(values, seed=seed + side)
    return dataclasses.replace(estimator, **fitted, k=wanted)
