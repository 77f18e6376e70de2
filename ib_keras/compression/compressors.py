"""Compressors, which replace variables of many dimensions by a few numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import (
    as_samples,
    check_count,
    check_positive,
    check_seed,
    check_stddev,
)
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import moderate, times_two
from ib_keras.config import Configured, construct
from ib_keras.errors import ArgumentError

# Number of values above which PCA is fitted incrementally.
_IN_MEMORY = 1 << 27
# Standard deviations at which the autoencoder clips values.
_CLIP = 30.0


@dataclasses.dataclass(frozen=True)
class Compressed:
    """A fitted compressor. ``LossyCompression`` uses it without fitting it again.

    Args:
        transform: function that maps rows ``(n, ...)`` to codes ``(n, k)``.
        quality: the share ``explained_variance``, or ``error`` and ``error_of_mean``: the root mean
            squared errors of held-out rows, for the compressor and for the constant mean. None of
            these measures how much information the codes keep.
        name: name of the compressor.
    """

    transform: Callable[[np.ndarray], np.ndarray]
    quality: dict[str, float]
    name: str

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Return the compressor unchanged."""
        return self


@dataclasses.dataclass(frozen=True)
class PCA(Configured):
    """The first k principal components. Large arrays are fitted incrementally.

    Args:
        k: number of components.
    """

    k: int = 4

    name: ClassVar[str] = "pca"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Fit the components.

        Args:
            x: samples, ``(n, ...)``, flattened to ``(n, d)``.
            seed: seed of scikit-learn's solver.

        Raises:
            ArgumentError: If n or d is less than k.
        """
        from sklearn import decomposition

        flat = as_samples(x)
        _check_dimension(flat, self.k)
        flat, exponent = moderate(flat)
        varies = bool((flat != flat[0]).any())
        with np.errstate(divide="ignore", invalid="ignore"):  # the variance may be 0
            if flat.size <= _IN_MEMORY:
                pca = decomposition.PCA(self.k, random_state=check_seed(seed)).fit(flat)
            else:
                size = max(self.k, _IN_MEMORY // (8 * flat.shape[1]))
                pca = decomposition.IncrementalPCA(self.k, batch_size=size).fit(flat)
            explained = float(np.sum(pca.explained_variance_ratio_)) if varies else math.nan

        def transform(rows: np.ndarray) -> np.ndarray:
            units = _finite(times_two(_flat(rows), exponent[0, 0]), rows)
            with np.errstate(over="ignore", invalid="ignore"):
                codes = np.asarray(pca.transform(units))
            return _finite(times_two(codes, -exponent[0, 0]), rows)

        return Compressed(transform, {"explained_variance": explained}, self.name)


@dataclasses.dataclass(frozen=True)
class FirstCoordinates(Configured):
    """The first k values of each row, as a baseline for other compressors.

    Args:
        k: number of values.
    """

    k: int = 4

    name: ClassVar[str] = "first"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Compute the share of the variance that the first k values have.

        Args:
            x: samples, ``(n, ...)``, flattened to ``(n, d)``.
            seed: not used.

        Raises:
            ArgumentError: If n or d is less than k.
        """
        flat = as_samples(x)
        _check_dimension(flat, self.k)
        variance = moderate(flat)[0].var(axis=0, dtype=np.float64)
        share = float(variance[: self.k].sum() / variance.sum()) if variance.any() else math.nan
        return Compressed(
            lambda rows: _flat(rows)[:, : self.k], {"explained_variance": share}, self.name
        )


@dataclasses.dataclass(frozen=True)
class Autoencoder(Configured):
    """The code of an autoencoder that is trained on the mean squared error with early stopping.

    The encoder and the decoder are dense; ``convolutional=True`` puts convolutions before the
    encoder, for large images. Noise on the code during training keeps the code smooth.

    Args:
        k: width of the code.
        convolutional: whether to begin with convolutions, for images
            ``(n, height, width[, channels])`` of at least 8×8 pixels.
        epochs: maximum number of epochs.
        patience: number of epochs without a lower held-out error after which training stops.
        noise: standard deviation of the noise on the code, whose range is [−1, 1].
        batch_size: number of rows per step.
        learning_rate: initial learning rate of Adam, which follows a cosine decay.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013.
    """

    k: int = 4
    convolutional: bool = False
    epochs: int = 400
    patience: int = 60
    noise: float = 0.02
    batch_size: int = 128
    learning_rate: float = 1e-3

    name: ClassVar[str] = "ae"

    def __post_init__(self) -> None:
        for field in ("k", "epochs", "patience", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        check_stddev(self.noise, "noise")
        check_positive(self.learning_rate, "learning_rate")

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Train the encoder and the decoder; a tenth of the rows is held out for early stopping.

        Rows with a value that is some 30 standard deviations from the column's median are not used.

        Args:
            x: samples, ``(n, ...)``, at least 20.
            seed: seed of the split, the weights, the noise and the batches.

        Raises:
            ArgumentError: If n < 20, there are fewer than k values in a row, or the shape is not
                that of images for ``convolutional=True``.
        """
        from ib_keras.compression import autoencoder

        flat = as_samples(x, min_samples=20)
        _check_dimension(flat, self.k)
        flat, exponent = moderate(flat, dtype=np.float32)
        flat = flat.astype(np.float32)
        rng = np.random.default_rng(check_seed(seed))
        near = Rows.of(flat).near().index  # far rows would dominate the error
        rows = rng.permutation(len(flat) if near is None else near)
        held, train = rows[: len(rows) // 10], rows[len(rows) // 10 :]
        mean = flat[train].mean(axis=0)
        scale = float(flat[train].std()) or 1.0
        shape = np.shape(x)[1:]
        if self.convolutional and len(shape) == 2:
            shape = (*shape, 1)
        steps = -(-len(train) // self.batch_size)
        network = autoencoder.network(self, shape, flat.shape[1], steps, seed)

        def scaled(part: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.clip((part - mean) / scale, -_CLIP, _CLIP)

        targets = scaled(flat)
        inputs = targets.reshape(len(flat), *shape)
        weights, error = network.train(
            (inputs[train], targets[train]), (inputs[held], targets[held])
        )
        error = math.sqrt(error) * scale
        of_mean = math.sqrt(np.square(targets[held]).mean()) * scale
        with np.errstate(over="ignore"):
            error, of_mean = (float(np.ldexp(v, exponent[0, 0])) for v in (error, of_mean))
        quality = {"error": error, "error_of_mean": of_mean}

        def transform(values: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                part = times_two(_flat(values), exponent[0, 0]).astype(np.float32)
            return network.encode(weights, scaled(part).reshape(len(values), *shape))

        return Compressed(transform, quality, self.name)


_COMPRESSORS: dict[str, Any] = {cls.name: cls for cls in (PCA, FirstCoordinates, Autoencoder)}


def get(identifier: Any, **kwargs: Any) -> Any:
    """Return a compressor from its name or configuration.

    Args:
        identifier: a name (``"pca"``, ``"ae"`` or ``"first"``), a dict
            (``{"name": "ae", "convolutional": True}``), or an object with a method ``fit``.
        **kwargs: arguments of the constructor; for a compressor of this module, the arguments to
            change. Custom and fitted compressors ignore them.

    Raises:
        ArgumentError: If the name or an argument is unknown.
    """
    if isinstance(identifier, dict):
        kwargs = {**identifier, **kwargs}
        identifier = kwargs.pop("name", None)
    if isinstance(identifier, str) and identifier in _COMPRESSORS:
        return construct(_COMPRESSORS[identifier], kwargs)
    if isinstance(identifier, PCA | FirstCoordinates | Autoencoder):
        return dataclasses.replace(identifier, **kwargs)
    if callable(getattr(identifier, "fit", None)):
        return identifier
    raise ArgumentError(
        "The compressor is unknown", f"one of {sorted(_COMPRESSORS)}", repr(identifier)
    )


def serialise(identifier: Any) -> Any:
    """Return the JSON form of a compressor of this module; other compressors stay objects.

    Args:
        identifier: any value that ``get`` accepts.

    Returns:
        A value that ``get`` accepts.

    Raises:
        ArgumentError: If the compressor is unknown.
    """
    compressor = get(identifier)
    if isinstance(identifier, str) or not isinstance(compressor, Configured):
        return identifier
    return {"name": compressor.name, **compressor.get_config()}


def _finite(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ArgumentError(
            "The rows are too large to be compressed",
            "magnitudes near those of the fitted rows",
            f"max|row| = {float(np.abs(rows).max()):.3g}",
        )
    return values


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows).reshape(len(rows), -1)


def _check_dimension(flat: np.ndarray, k: int) -> None:
    if k > min(flat.shape):
        raise ArgumentError(
            "`k` exceeds the size of the data", f"k <= {min(flat.shape)}", f"k={k}, {flat.shape}"
        )
