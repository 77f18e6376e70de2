"""Estimates from pairs of images whose mutual information is known."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras import compression, frame, synthetic
from ib_keras.arrays.checks import check_bool, check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.estimation.cells import lost
from ib_keras.estimation.run import make_estimators
from ib_keras.estimators import KSG, LossyCompression
from ib_keras.frame import provenance
from ib_keras.frame.table import LATENTS, TRUTH, Where, row
from ib_keras.interface import Estimate


class Kind(NamedTuple):
    """A kind of images.

    Args:
        draw: function that draws pairs of images.
        shared: the number of parameters that carry the information.
        parameters: the number of parameters that determine an image.
    """

    draw: Callable[..., synthetic.Pair]
    shared: int
    parameters: int


IMAGES = {
    "gaussian": Kind(synthetic.gaussian_images, 2, 2),
    "correlated": Kind(synthetic.correlated_blob_images, 5, 5),
    "rectangle": Kind(synthetic.rectangle_images, 4, 4),
    "hidden": Kind(synthetic.hidden_pairs, 1, 2),
}


def against_truth(
    estimators: Any,
    *,
    images: str = "gaussian",
    size: int = 16,
    mi: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0),
    n: int = 5000,
    n_fit: int = 5000,
    k: int | None = None,
    rotate: bool = True,
    seed: int | Sequence[int] = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run estimators on pairs of images with known I(X;Y).

    Compressors are fitted once for all estimators and pairs, on images that are not part of an
    evaluated pair, with different seeds for the two sides. For comparison, I(X;Y) is also estimated
    from the parameters of the images, by ``KSG(1)`` and by KSG with the number of neighbours of
    each compressing estimator; no compressor can be expected to do better than this.

    Args:
        estimators: estimators as for ``estimate``; the ``k`` of a ``LossyCompression`` is replaced
            by ``k`` below.
        images: ``"gaussian"``, ``"correlated"`` or ``"rectangle"``; or ``"hidden"``, which are
            vectors whose principal components lose the information. See ``synthetic``.
        size: height and width of the images, or number of coordinates.
        mi: the known values of I(X;Y) in nats.
        n: the number of pairs for each value.
        n_fit: the number of images on which the compressors are fitted.
        k: the number of codes of a compressor; by default the number of the images' parameters, or
            one more for PCA.
        rotate: whether the normal variables from which the parameters are computed are rotated at
            random, as in the paper.
        seed: seed of the images and the compressors; or several seeds, for each of which everything
            is repeated.

    Returns:
        A table of estimates, and the logs. The run ``gaussian-16-3`` contains the estimates for
        3 nats, with the layers ``latents`` (the parameters) and ``images``. If an estimate fails,
        its row gets NaN, a flag and a reason, as in ``ib_keras.estimate``. With several seeds, the
        runs are ``gaussian-16-3-seed0`` and so on. The logs have the known I(X;Y) of each run in
        the column ``mi``.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    check_images(images, size)
    kind = IMAGES[images]
    n, n_fit, rotate = (
        check_count(n, "n"),
        check_count(n_fit, "n_fit"),
        check_bool(rotate, "rotate"),
    )
    several = not isinstance(seed, int | np.integer)
    seeds = [check_seed(one) for one in (seed if isinstance(seed, Sequence) else [seed])]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ArgumentError("`seed` is invalid", "an integer, or several different ones", seed)
    for truth in mi:
        synthetic.correlated_uniforms(2, kind.shared, truth, seed=0)
    estimators = make_estimators(estimators)
    for estimator in estimators:
        if not estimator.traits.pairs:
            raise ArgumentError(
                "The estimator takes no pair", "one with `mutual_information`", str(estimator)
            )
    settings = {"rotate": rotate, "size": size}
    rows, logs = [], []
    for one in seeds:
        marginal = kind.draw(n_fit, mi=0.0, seed=one + 1_000_003, **settings)
        fitted = _all_fitted(estimators, marginal, kind.parameters, k, one)
        compressing: list[Any] = [e for e in fitted if isinstance(e, LossyCompression)]
        neighbors = {1, *(e.neighbors or 3 for e in compressing if e.estimator == "ksg")}
        references = [KSG(count) for count in sorted(neighbors)]
        for i, truth in enumerate(mi):
            known = np.format_float_positional(truth, trim="-")  # without an exponent
            run = f"{images}-{size}-{known}" + (f"-seed{one}" if several else "")
            logs.append({"run": run, "epoch": 0, TRUTH: float(truth)})
            latents = synthetic.correlated_uniforms(
                n, kind.shared, truth, rotate=rotate, seed=1000 * one + i
            )
            pair = kind.draw(n, mi=truth, seed=1000 * one + i, **settings)
            for index, (layer, (x, y), used) in enumerate(
                ((LATENTS, latents, references), ("images", pair, fitted))
            ):
                for estimator in used:
                    start = time.perf_counter()
                    result = _estimated(estimator, x, y)
                    seconds = time.perf_counter() - start
                    where = Where(run, 0, layer, index)
                    rows.append(row(where, estimator, "I(X;T)", result, seconds))
    table = frame.from_rows(rows)
    data = {"images": images, "n": n, "n_fit": n_fit, "seed": seed, **settings}
    attrs = provenance.attrs([*references, *fitted], data=data)
    return frame.with_attrs(table, attrs), pd.DataFrame(logs)


def _estimated(estimator: Any, x: np.ndarray, y: np.ndarray) -> Estimate:
    """Return an estimate; if it fails, its value is NaN or infinity, with a flag and the reason."""
    try:
        return estimator.mutual_information(x, y)
    except Exception as error:  # custom estimators may raise any error
        return lost(error, len(x), y[0].size)


def check_images(images: str, size: int) -> None:
    """Check the images of ``against_truth``.

    Raises:
        ArgumentError: If their kind is unknown, or they are too small.
    """
    if images not in IMAGES:
        raise ArgumentError("`images` are unknown", f"one of {sorted(IMAGES)}", repr(images))
    check_count(size, "size", 4)


def _all_fitted(
    estimators: Sequence[Any], marginal: synthetic.Pair, parameters: int, k: int | None, seed: int
) -> list[Any]:
    """Return the estimators, with compressors fitted to images if they have compressors.

    Estimators with equal compressors share the fitted ones.
    """
    fits: dict[tuple[str, int, int], Any] = {}
    fitted: list[Any] = []
    for estimator in estimators:
        if not isinstance(estimator, LossyCompression):
            fitted.append(estimator)
            continue
        sides: dict[str, Any] = {}
        for side, name in enumerate(("compress_x", "compress_t")):
            compressor = compression.get(getattr(estimator, name))
            codes = k or parameters + (compressor.name == "pca")
            compressor = compression.get(compressor, k=codes)
            if not getattr(compressor, "paired", False):  # a paired one is fitted on the pairs
                key = repr(compressor), codes, side
                if key not in fits:
                    fits[key] = compressor.fit(marginal[side], seed=seed + side)
                compressor = fits[key]
            sides[name] = compressor
        fitted.append(dataclasses.replace(estimator, **sides, k=codes))
    return fitted
