"""Compressors, which replace variables of many dimensions by a few numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ib_keras.arrays.checks import (
    as_samples,
    check_count,
    check_lengths,
    check_nonnegative,
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
# Number of standard deviations at which the inputs of networks are clipped.
_CLIP = 30.0
# Number of rows per whitened component, and the smallest standard deviation of a component relative
# to the first.
_ROWS_EACH, _RELATIVE = 4, 1e-2
# The smallest weight of a component, and the largest correlation from which weights are computed.
_LEAST, _HIGHEST = 0.2, 0.995


@dataclasses.dataclass(frozen=True)
class Compressed:
    """A fitted compressor. ``LossyCompression`` uses it without fitting it again.

    Args:
        transform: function that maps rows ``(n, ...)`` to codes ``(n, k)``.
        quality: ``explained_variance``, the share of the variance that the codes keep; or ``error``
            and ``error_of_mean``, the root mean squared errors of held-out rows for the compressor
            and for a prediction by the mean. None of these measures how much information the codes
            keep.
        name: name of the compressor.
        saved: the state that ``compression.save`` writes; ``None`` if the compressor cannot be
            saved.
    """

    transform: Callable[[np.ndarray], np.ndarray]
    quality: dict[str, float]
    name: str
    saved: EncoderState | None = dataclasses.field(default=None, repr=False, compare=False)

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Return the compressor unchanged."""
        return self


class EncoderState(NamedTuple):
    """The state of a fitted ``Autoencoder``, which determines its codes.

    Args:
        settings: the ``Autoencoder``.
        weights: the weights of its encoder.
        mean: the mean of the training rows, ``(d,)``, in units of 2^exponent.
        scale: the standard deviation of all their values, in the same unit.
        exponent: exponent of the power of two by which rows are divided.
        shape: shape of a row of the encoder's inputs.
        steps: number of batches per epoch of the training.
        seed: seed of the initial weights.
    """

    settings: Autoencoder
    weights: list[np.ndarray]
    mean: np.ndarray
    scale: float
    exponent: int
    shape: tuple[int, ...]
    steps: int
    seed: int

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Return rows standardised and clipped for the encoder, flattened to ``(n, d)``."""
        with np.errstate(over="ignore"):
            flat = times_two(_flat(rows), np.asarray(self.exponent)).astype(np.float32)
            return np.clip((flat - self.mean) / self.scale, -_CLIP, _CLIP)

    def compressed(self, quality: dict[str, float]) -> Compressed:
        """Return the fitted compressor."""
        from ib_keras.compression import autoencoder

        def transform(values: np.ndarray) -> np.ndarray:
            network = autoencoder.network(
                self.settings, self.shape, len(self.mean), self.steps, self.seed
            )
            return network.encode(self.weights, self.scaled(values).reshape(-1, *self.shape))

        return Compressed(transform, quality, self.settings.name, self)


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

    The encoder and the decoder are dense; with ``convolutional=True``, the encoder begins with
    convolutions, for large images. Noise on the code during training keeps the code smooth.

    Args:
        k: width of the code.
        convolutional: whether to begin with convolutions, for images
            ``(n, height, width[, channels])`` of at least 8×8 pixels.
        epochs: maximum number of epochs.
        patience: number of epochs without a lower held-out error after which training stops.
        noise: standard deviation of the noise on the code, whose standard deviation is 1.
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
    widths: ClassVar[tuple[int, ...]] = (256, 256, 128)

    def __post_init__(self) -> None:
        for field in ("k", "epochs", "patience", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        check_stddev(self.noise, "noise")
        check_positive(self.learning_rate, "learning_rate")

    def fit(self, x: np.ndarray, *, seed: int = 0) -> Compressed:
        """Train the encoder and the decoder; a tenth of the rows is held out for early stopping.

        Rows whose distance from the centre is about 30 standard deviations larger than usual are
        not used.

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
        seed = check_seed(seed)
        rng = np.random.default_rng(seed)
        rows = rng.permutation(_near(flat))  # far rows would dominate the error
        held, train = rows[: len(rows) // 10], rows[len(rows) // 10 :]
        shape = np.shape(x)[1:]
        if self.convolutional and len(shape) == 2:
            shape = (*shape, 1)
        power = int(exponent[0, 0])
        scale = float(flat[train].std()) or 1.0
        steps = -(-len(train) // self.batch_size)
        mean = flat[train].mean(axis=0)
        state = EncoderState(self, [], mean, scale, power, shape, steps, seed)
        network = autoencoder.network(self, shape, flat.shape[1], steps, seed)
        targets = state.scaled(x)
        inputs = targets.reshape(len(flat), *shape)
        weights, error = network.train(
            (inputs[train], targets[train]), (inputs[held], targets[held])
        )
        error = math.sqrt(error) * scale
        of_mean = math.sqrt(np.square(targets[held]).mean()) * scale
        with np.errstate(over="ignore"):
            error, of_mean = (float(np.ldexp(v, power)) for v in (error, of_mean))
        quality = {"error": error, "error_of_mean": of_mean}
        return state._replace(weights=weights).compressed(quality)


@dataclasses.dataclass(frozen=True)
class Latent(Configured):
    """The code of a network that predicts the other variable from whitened components.

    Other compressors see only one variable, and lose information that is carried by a small part of
    its variance. This code z(A) is trained to predict B: it minimises ‖B − f(z)‖² + r·‖A − g(z)‖²,
    with early stopping. A and B are first replaced by their principal components, scaled to unit
    variance, so that directions of small variance are not neglected. These are rotated to canonical
    variates, which are weighted by their held-out correlation. Columns that carry no information
    about B are left out of the code even if they have most of the variance.

    The code keeps the features of A on which the mean of B given A depends. Dependence that leaves
    this mean unchanged may be lost.

    Args:
        k: width of the code.
        components: maximum number of principal components of each variable; never more than a
            quarter of the training rows.
        reconstruction: r, the weight of the prediction of the variable itself.
        epochs: maximum number of epochs.
        patience: number of epochs without a lower held-out error after which training stops.
        noise: standard deviation of the noise on the code, whose standard deviation is 1.
        batch_size: number of rows per step.
        learning_rate: initial learning rate of Adam, which follows a cosine decay.

    References:
        Gowri et al., NeurIPS 2024, arXiv:2409.02732 (codes that predict the other variable).
    """

    k: int = 4
    components: int = 100
    reconstruction: float = 0.01
    epochs: int = 200
    patience: int = 30
    noise: float = 0.02
    batch_size: int = 128
    learning_rate: float = 1e-3

    name: ClassVar[str] = "latent"
    paired: ClassVar[bool] = True
    convolutional: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = (64,)

    def __post_init__(self) -> None:
        for field in ("k", "components", "epochs", "patience", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        for field in ("noise", "reconstruction"):
            check_nonnegative(getattr(self, field), field)
        check_positive(self.learning_rate, "learning_rate")

    def fit(self, x: np.ndarray, *, other: np.ndarray, seed: int = 0) -> Compressed:
        """Train the network; a fifth of the rows is held out for early stopping.

        Args:
            x: samples of the variable to compress, ``(n, ...)``, at least 20.
            other: samples of the other variable, ``(n, ...)``; classes as one-hot vectors.
            seed: seed of the split, the weights, the noise and the batches.

        Returns:
            The compressor of ``x``. Its ``error`` and ``error_of_mean`` are those of the weighted
            whitened components that the network predicts.

        Raises:
            ArgumentError: If n < 20, the lengths differ, or there are fewer than k values in a row.
        """
        from ib_keras.compression import autoencoder

        flat, target = (as_samples(v, min_samples=20) for v in (x, other))
        check_lengths(flat, target)
        _check_dimension(flat, self.k)
        rows = np.random.default_rng(check_seed(seed)).permutation(len(flat))
        held, train = rows[: len(rows) // 5], rows[len(rows) // 5 :]
        whiten = Whitening(flat[train], self.components)
        inputs, outputs = whiten(flat), Whitening(target[train], self.components)(target)
        of_inputs, of_outputs, rho = canonical(inputs, outputs, train, held)
        axes = of_inputs * (_LEAST + (1 - _LEAST) * _padded(rho, inputs.shape[1]))
        rho = _padded(rho, outputs.shape[1])
        outputs = outputs @ of_outputs * (_LEAST + (1 - _LEAST) * rho) / np.sqrt(1 - rho**2)
        inputs = inputs @ axes
        targets = np.concatenate([outputs, math.sqrt(self.reconstruction) * inputs], axis=1)
        steps = -(-len(train) // self.batch_size)
        network = autoencoder.network(self, inputs.shape[1:], targets.shape[1], steps, seed)
        weights, error = network.train(
            (inputs[train], targets[train]), (inputs[held], targets[held])
        )
        of_mean = math.sqrt(np.square(targets[held]).mean())
        return Compressed(
            lambda values: network.encode(weights, whiten(_flat(values)) @ axes),
            {"error": math.sqrt(error), "error_of_mean": of_mean},
            self.name,
        )


def canonical(
    a: np.ndarray, b: np.ndarray, train: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rotations of whitened A and B to canonical variates, and their correlations.

    The rotations are computed from the training rows, the correlations from the held-out rows.
    """
    left, _, right = np.linalg.svd(a[train].T @ b[train])
    k = min(a.shape[1], b.shape[1])
    x, y = a[held] @ left[:, :k], b[held] @ right[:k].T
    size = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    rho = (x * y).sum(axis=0) / np.maximum(size, 1e-12)
    return left, right.T, np.clip(rho, 0, _HIGHEST)


def _padded(rho: np.ndarray, count: int) -> np.ndarray:
    return np.pad(rho, (0, count - len(rho)))


class Whitening:
    """Map of rows to principal components of unit variance, as float32, with far values clipped.

    Args:
        rows: rows that determine the components, ``(n, d)``.
        components: maximum number of components.
    """

    def __init__(self, rows: np.ndarray, components: int) -> None:
        _, self._exponent = moderate(rows)
        scaled = self._scaled(rows)
        scaled = scaled[_near(scaled)]  # far rows would determine the components
        self._mean = scaled.mean(axis=0)
        _, size, axes = np.linalg.svd(scaled - self._mean, full_matrices=False)
        count = min(components, max(1, len(scaled) // _ROWS_EACH))
        count = min(count, max(1, int((size > _RELATIVE * size[0]).sum())))
        unit = np.where(size[:count] > 0, size[:count], 1) / math.sqrt(len(scaled))
        self._axes = axes[:count].T / unit

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return times_two(rows, self._exponent).astype(np.float64)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the components of rows, ``(n, k)``."""
        with np.errstate(over="ignore", invalid="ignore"):
            codes = _finite((self._scaled(rows) - self._mean) @ self._axes, rows)
            return np.clip(codes, -_CLIP, _CLIP).astype(np.float32)


_COMPRESSORS: dict[str, Any] = {
    cls.name: cls for cls in (PCA, FirstCoordinates, Autoencoder, Latent)
}


def get(identifier: Any, **kwargs: Any) -> Any:
    """Return a compressor from its name or configuration.

    Args:
        identifier: a name (``"pca"``, ``"ae"``, ``"latent"`` or ``"first"``), a dict
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
    if isinstance(identifier, PCA | FirstCoordinates | Autoencoder | Latent):
        return dataclasses.replace(identifier, **kwargs)
    if callable(getattr(identifier, "fit", None)):
        return identifier
    raise ArgumentError(
        "The compressor is unknown", f"one of {sorted(_COMPRESSORS)}", repr(identifier)
    )


def serialise(identifier: Any) -> Any:
    """Return the JSON form of a compressor of this module; return other compressors unchanged.

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


def _near(flat: np.ndarray) -> np.ndarray:
    """Return the indices of the rows whose distance from the centre is not far from the usual one.

    Far values of single columns are not considered: a pixel at the border is 0 in most images.
    """
    away = np.concatenate([
        np.sqrt(np.square(tile).sum(axis=1)) for tile in Rows.of(flat).centred().tiles()
    ])  # fmt: skip
    near = Rows.of(away[:, None]).near().index
    return np.arange(len(flat)) if near is None else near


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows).reshape(len(rows), -1)


def _check_dimension(flat: np.ndarray, k: int) -> None:
    if k > min(flat.shape):
        raise ArgumentError(
            "`k` exceeds the size of the data", f"k <= {min(flat.shape)}", f"k={k}, {flat.shape}"
        )
