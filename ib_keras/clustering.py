"""Clustering of the samples in a layer, the cause of "compression" in information planes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from ib_keras.activations import ActivationStore
from ib_keras.arrays.checks import (
    as_samples,
    check_count,
    check_interval,
    check_positive,
    check_seed,
)
from ib_keras.arrays.codes import entropy, row_codes
from ib_keras.arrays.labels import are_labels, as_labels
from ib_keras.errors import ArgumentError
from ib_keras.estimation.sources import Recorded, Samples, Source, from_arrays, from_store
from ib_keras.frame.table import Where

WITHIN, BETWEEN, ALL = "within", "between", "all"
_KEYS = ["run", "epoch", "layer", "layer_index"]
MEASURES = [*_KEYS, "n", "noise_std", "measure", "value", "unit"]
HISTOGRAMS = [*_KEYS, "similarity", "pairs", "left", "right", "density"]
VALUES = [*_KEYS, "left", "right", "density"]
POINTS = [*_KEYS, "row", "label", "t_1", "t_2", "t_3"]


def binned_entropy(t: np.ndarray, width: float) -> float:
    """Compute H(Bin(T)) in nats, the entropy of T binned into cubes of side ``width``.

    H is −Σ_b p_b ln p_b over the occupied cubes b, where a row t is in the cube ⌊t/width⌋.

    Args:
        t: a layer's outputs, ``(n, ...)``.
        width: side of the cubes, in the unit of ``t``.

    Raises:
        ArgumentError: If samples or width are invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 5.
    """
    return entropy(_cubes(t, width))


def occupied_bins(t: np.ndarray, width: float) -> int:
    """Count the cubes of side ``width`` that contain a sample.

    Args:
        t: a layer's outputs, ``(n, ...)``.
        width: side of the cubes, in the unit of ``t``.
    """
    return int(_cubes(t, width).max()) + 1


def pairs(
    t: np.ndarray, y: Any = None, *, max_samples: int = 2000, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Compute Euclidean distances and cosine similarities of all pairs, within and between classes.

    The values are |t_i − t_j| and t_i·t_j / |t_i||t_j| for i < j. A zero vector has the cosine
    similarity 0 with all others.

    Args:
        t: a layer's outputs, ``(n, ...)``.
        y: class labels, ``(n,)``. If there are no labels, or if they are numbers rather than
            classes, all pairs are in one group ``"all"``.
        max_samples: the maximum number of rows; larger samples are subsampled without replacement.
        seed: seed of the subsampling.

    Returns:
        ``{"distance": {"within": …, "between": …}, "cosine": …}``, with one value per pair.

    Raises:
        ArgumentError: If samples or labels are invalid.
    """
    samples = as_samples(t)
    labels = as_labels(y, len(samples)) if y is not None and are_labels(y) else None
    if len(samples) > check_count(max_samples, "max_samples", 2):
        keep = np.random.default_rng(check_seed(seed)).permutation(len(samples))[:max_samples]
        samples, labels = samples[keep], None if labels is None else labels[keep]
    samples = samples.astype(np.float64)
    norms = np.linalg.norm(samples, axis=1, keepdims=True)
    units = np.divide(samples, norms, out=np.zeros_like(samples), where=norms > 0)
    upper = np.triu_indices(len(samples), 1)
    values = {"distance": pdist(samples), "cosine": np.clip(units @ units.T, -1, 1)[upper]}
    if labels is None:
        return {name: {ALL: value} for name, value in values.items()}
    same = labels[upper[0]] == labels[upper[1]]
    return {name: {WITHIN: v[same], BETWEEN: v[~same]} for name, v in values.items()}


def measures(
    source: Any,
    *,
    targets: Any = None,
    width: float | None = None,
    width_factor: float = 10.0,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
    max_samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the clustering of each layer and epoch.

    Args:
        source: an ``ActivationStore`` or its path, a mapping layer name → ``(n, ...)``, or the
            argument that ``ensembles.study`` passes to its observer.
        targets: class labels ``(n,)``, for a mapping; a store has its own.
        width: side of the bins; ``None`` for ``width_factor`` times the layer's noise.
        width_factor: ratio of the bins' side to the noise; with the default, points whose noise
            hardly overlaps are in different bins.
        layers: names or globs of layers; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.
        max_samples: the maximum number of rows from which pairs are formed.
        seed: seed of the choice of these rows.

    Returns:
        A row for each run, epoch, layer and measure, with the columns ``MEASURES``. The measures
        are ``H(Bin(T))`` in nats, ``occupied_bins`` (a count), and the mean ``distance`` (in the
        unit of the activations) and ``cosine`` within and between classes. A layer without noise
        has no rows for the entropy and the bins unless ``width`` is given.

    Raises:
        ArgumentError: If no layer has noise and ``width`` is not given; if layers, epochs or labels
            are invalid; or if a layer has values that are not finite.
    """
    samples, sources = _source(source, targets, layers, epochs)
    if width is not None:
        check_positive(width, "width")
    elif not any(one.where.noise_std > 0 for one in sources):
        raise ArgumentError(
            "The bins have no width, because no layer has noise",
            "`width`, such as 10 times the noise of a noisy version of the network",
            "width=None",
        )
    rows = []
    for source in sources:
        where, t, labels = source.where, source.read(), samples.labels(source.rows())
        key = (*where[:4], len(t), where.noise_std)
        side = width if width is not None else width_factor * where.noise_std
        if side > 0:
            rows.append((*key, "H(Bin(T))", binned_entropy(t, side), "nats"))
            rows.append((*key, "occupied_bins", occupied_bins(t, side), "count"))
        for name, groups in pairs(t, labels, max_samples=max_samples, seed=seed).items():
            unit = "activation" if name == "distance" else "1"
            for group, values in groups.items():
                mean = float(values.mean()) if len(values) else np.nan
                rows.append((*key, f"mean {name} {group}", mean, unit))
    return pd.DataFrame(rows, columns=MEASURES)


def histograms(
    source: Any,
    *,
    targets: Any = None,
    bins: int = 60,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
    max_samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute histograms of the pairs' distances and cosine similarities, by kind of pairs.

    Args:
        source: as for ``measures``.
        targets: class labels ``(n,)``, for a mapping; a store has its own.
        bins: number of bins; the distances of a layer have the same bins at all epochs.
        layers: names or globs of layers; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.
        max_samples: the maximum number of rows from which pairs are formed.
        seed: seed of the choice of these rows.

    Returns:
        A row for each bin, with the columns ``HISTOGRAMS``. The densities of each kind of pairs
        (within classes, between classes, or all) integrate to 1.

    Raises:
        ArgumentError: If layers, epochs or labels are invalid, or a layer has values that are not
            finite.
    """
    check_count(bins, "bins")
    samples, sources = _source(source, targets, layers, epochs)

    def similarities() -> Iterator[tuple[Where, dict[str, dict[str, np.ndarray]]]]:
        for one in sources:
            labels = samples.labels(one.rows())
            yield one.where, pairs(one.read(), labels, max_samples=max_samples, seed=seed)

    largest: dict[tuple[str, str], float] = {}
    for where, similarity in similarities():
        top = max(float(v.max(initial=0)) for v in similarity["distance"].values())
        layer = (where.run, where.layer)
        largest[layer] = max(largest.get(layer, 0), top)
    rows = []
    # The pairs are formed a second time, because those of many epochs do not fit in memory.
    for where, similarity in similarities():
        edges = {
            "distance": np.linspace(0, largest[where.run, where.layer] or 1.0, bins + 1),
            "cosine": np.linspace(-1, 1, bins + 1),
        }
        for name, groups in similarity.items():
            for group, values in groups.items():
                if len(values):
                    density, edge = np.histogram(values, edges[name], density=True)
                    key = (*where[:4], name, group)
                    rows += [(*key, *bar) for bar in zip(edge[:-1], edge[1:], density, strict=True)]
    return pd.DataFrame(rows, columns=HISTOGRAMS)


def values(
    source: Any,
    *,
    bins: int = 40,
    range: tuple[float, float] | None = None,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
) -> pd.DataFrame:
    """Compute histograms of all values of each layer, which show how far its units saturate.

    Args:
        source: as for ``measures``.
        bins: number of bins.
        range: smallest and largest value of the bins; values outside are left out. ``None`` for the
            range of each layer at each epoch.
        layers: names or globs of layers; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.

    Returns:
        A row for each bin, with the columns ``VALUES``. The densities of a layer integrate to 1.

    Raises:
        ArgumentError: If layers, epochs or ``range`` are invalid, ``bins`` is not a count, or a
            layer has values that are not finite.
    """
    check_count(bins, "bins")
    if range is not None:
        range = check_interval(range, "range")
    _, sources = _source(source, None, layers, epochs)
    rows: list[tuple] = []
    for one in sources:
        read = as_samples(one.read(), one.where.layer, min_samples=1)
        density, edges = np.histogram(read, bins, range, density=True)
        if np.isfinite(density).all():
            bars = zip(edges[:-1], edges[1:], density, strict=True)
            rows += [(*one.where[:4], *bar) for bar in bars]
    return pd.DataFrame(rows, columns=VALUES)


def points(
    source: Any,
    *,
    targets: Any = None,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
    max_samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Collect the coordinates of samples in layers of two or three units, for scatter plots.

    Args:
        source: as for ``measures``.
        targets: class labels ``(n,)``, for a mapping; a store has its own.
        layers: names or globs of layers; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.
        max_samples: the maximum number of rows; the same rows are shown at all epochs.
        seed: seed of the choice of these rows.

    Returns:
        A row for each sample, with the columns ``POINTS``; ``t_3`` is NaN if there are two units,
        and ``label`` is −1 without labels.

    Raises:
        ArgumentError: If layers, epochs or labels are invalid.
    """
    samples, sources = _source(source, targets, layers, epochs)
    tables = []
    for one in sources:
        t = one.read().reshape(-1, math.prod(one.read().shape[1:]))
        if t.shape[1] not in (2, 3):
            continue
        labels = samples.labels(one.rows())
        rows = np.arange(len(t))
        if len(t) > check_count(max_samples, "max_samples"):
            rows = np.sort(
                np.random.default_rng(check_seed(seed)).permutation(len(t))[:max_samples]
            )
        where: dict[str, Any] = dict(zip(_KEYS, one.where[:4], strict=True))
        units = {f"t_{k + 1}": t[rows, k] if k < t.shape[1] else np.nan for k in range(3)}
        label = -1 if labels is None else labels[rows]
        tables.append(pd.DataFrame({**where, "row": rows, "label": label, **units})[POINTS])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=POINTS)


def _cubes(t: np.ndarray, width: float) -> np.ndarray:
    samples = as_samples(t, min_samples=1)
    return row_codes(np.floor(samples.astype(np.float64) / check_positive(width, "width")))


def _source(source: Any, targets: Any, layers: Any, epochs: Any) -> tuple[Samples, list[Source]]:
    if isinstance(source, (str, os.PathLike)):
        source = ActivationStore(source)
    if isinstance(source, ActivationStore):
        return from_store(source, layers, epochs)
    if isinstance(source, Recorded):
        return source
    if not isinstance(source, Mapping):
        raise ArgumentError(
            "`source` has no activations",
            "a store or its path, or a mapping layer name → array",
            repr(type(source)),
        )
    return from_arrays(source, None, targets, layers)
