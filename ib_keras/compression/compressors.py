"""Compressors for estimates of information in many dimensions: a few numbers in place of many."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_samples, check_count, check_seed
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import moderate, times_two
from ib_keras.config import Configured
from ib_keras.errors import ArgumentError

# Above this many values PCA goes through the rows in parts.
_IN_MEMORY = 1 << 27
# The autoencoder sees values beyond this many standard deviations as if they were this far.
_CLIP = 30.0


@dataclasses.dataclass(frozen=True)
class Compressed:
    """A compressor that has seen data; as a compressor of ``LossyCompression`` it stays as it is.

    Args:
        transform: rows ``(n, ...)`` → codes ``(n, k)``.
        quality: ``explained_variance`` (a share), or ``error`` and ``error_of_mean``: the root
            mean squared error of held-out rows, of the compressor and of the constant mean. Neither
            says what information was kept.
        name: of the compressor.
    """

    transform: Callable[[np.ndarray], np.ndarray]
    quality: dict[str, float]
    name: str

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Itself."""
        return self


@dataclasses.dataclass(frozen=True)
class PCA(Configured):
    """The first k principal components; incremental where the rows do not fit in memory twice.

    Args:
        k: number of components.
    """

    k: int = 4

    name: ClassVar[str] = "pca"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Finds the components of ``x (n, ...)``.

        Raises:
            ArgumentError: there are fewer rows or values than components.
        """
        from sklearn import decomposition

        flat = as_samples(x)
        _check_dimension(flat, self.k)
        flat, exponent = moderate(flat)
        varies = bool((flat != flat[0]).any())
        with np.errstate(divide="ignore", invalid="ignore"):  # of a constant there are no shares
            if flat.size <= _IN_MEMORY:
                made = decomposition.PCA(self.k, random_state=check_seed(seed)).fit(flat)
            else:
                made = decomposition.IncrementalPCA(
                    self.k, batch_size=max(self.k, _IN_MEMORY // (8 * flat.shape[1]))
                ).fit(flat)
            explained = float(np.sum(made.explained_variance_ratio_)) if varies else math.nan

        def transform(rows: np.ndarray) -> np.ndarray:
            units = _finite(times_two(_flat(rows), exponent[0, 0]), rows)
            with np.errstate(over="ignore", invalid="ignore"):
                codes = np.asarray(made.transform(units))
            return _finite(times_two(codes, -exponent[0, 0]), rows)

        return Compressed(transform, {"explained_variance": explained}, self.name)


@dataclasses.dataclass(frozen=True)
class FirstCoordinates(Configured):
    """The first k values of each row: a control, against which compressors show their worth.

    Args:
        k: number of values.
    """

    k: int = 4

    name: ClassVar[str] = "first"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Notes how much of the variance the first coordinates have."""
        flat = as_samples(x)
        _check_dimension(flat, self.k)
        variance = moderate(flat)[0].var(axis=0, dtype=np.float64)
        share = float(variance[: self.k].sum() / variance.sum()) if variance.any() else math.nan
        return Compressed(
            lambda rows: _flat(rows)[:, : self.k], {"explained_variance": share}, self.name
        )


@dataclasses.dataclass(frozen=True)
class Autoencoder(Configured):
    """The code of an autoencoder trained on the mean squared error, with early stopping.

    Encoder and decoder are dense; for large images ``convolutional=True`` puts convolutions before
    the encoder. A little noise on the code while training keeps it smooth.

    Args:
        k: width of the code.
        convolutional: for images ``(n, height, width[, channels])`` of at least 8×8.
        epochs: at most so many.
        patience: epochs without a better held-out error after which training ends.
        noise: of the code, relative to its range of [−1, 1].
        batch_size: rows a step.
        learning_rate: Adam's at the beginning; it falls along a cosine.

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

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Trains encoder and decoder on ``x (n, ...)``; a tenth of the rows says when to stop.

        Rows that lie far off, some 30 standard deviations in a column, do neither.
        """
        from ib_keras.compression import autoencoder

        flat = as_samples(x, min_samples=20)
        _check_dimension(flat, self.k)
        flat, exponent = moderate(flat, dtype=np.float32)
        flat = flat.astype(np.float32)
        rng = np.random.default_rng(check_seed(seed))
        # A row far off would be all that is learned.
        near = Rows.of(flat).near().index
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
            with np.errstate(over="ignore"):  # as far as what lies far off
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


_COMPRESSORS: dict[str, Any] = {made.name: made for made in (PCA, FirstCoordinates, Autoencoder)}


def get(identifier: Any, **kwargs: Any) -> Any:
    """A compressor from its name (``"pca"``, ``"ae"``, ``"first"``), a configuration, or itself.

    Args:
        identifier: a name, a dict (``{"name": "ae", "convolutional": True}``), or an object with
            ``fit``.
        **kwargs: arguments of its constructor; for one of these objects, the ones to change.

    Raises:
        ArgumentError: the name or an argument is unknown.
    """
    if isinstance(identifier, dict):
        kwargs = {**identifier, **kwargs}
        identifier = kwargs.pop("name", None)
    if isinstance(identifier, str) and identifier in _COMPRESSORS:
        cls = _COMPRESSORS[identifier]
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise ArgumentError(
                f"{cls.__name__} has no parameter {unknown[0]!r}", f"some of {known}", unknown
            )
        return cls(**kwargs)
    if isinstance(identifier, PCA | FirstCoordinates | Autoencoder):
        return dataclasses.replace(identifier, **kwargs)
    if callable(getattr(identifier, "fit", None)):
        return identifier
    raise ArgumentError(
        "The compressor is unknown", f"one of {sorted(_COMPRESSORS)}", repr(identifier)
    )


def serialise(identifier: Any) -> Any:
    """A compressor as ``get`` takes it and JSON can hold it, where it is one of this module's.

    Args:
        identifier: as ``get`` takes it.

    Raises:
        ArgumentError: it is unknown.
    """
    made = get(identifier)
    if isinstance(identifier, str) or not isinstance(made, Configured):
        return identifier
    return {"name": made.name, **made.get_config()}


def _finite(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ArgumentError(
            "The rows are too large to be compressed",
            "magnitudes near those of the rows that were fitted",
            f"max|row| = {float(np.abs(rows).max()):.3g}",
        )
    return values


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows).reshape(len(rows), -1)


def _check_dimension(flat: np.ndarray, k: int) -> None:
    if k > min(flat.shape):
        raise ArgumentError(
            f"{k} numbers are no compression", f"k <= {min(flat.shape)}", f"shape {flat.shape}"
        )
