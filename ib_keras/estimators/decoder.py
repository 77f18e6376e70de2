"""Information that a decoder can use: likelihoods of images given a representation."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.memory import TILES
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import BaseEstimator, check_memory
from ib_keras.interface import Estimate, LayerInformation, MutualInformation, Traits
from ib_keras.pixelcnn.comparison import compared, prior
from ib_keras.pixelcnn.inputs import condition

if TYPE_CHECKING:
    from ib_keras.pixelcnn.decoding import Decoded, Decoder, DecoderSettings

Rows = tuple[np.ndarray, np.ndarray]
_FEWEST = 20
# Compiled decoders that are kept, one for each shape of h; and who may train them.
_DECODERS = 8
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class DecoderBound(BaseEstimator):
    """Î(X;T) = NLL_0 − NLL_h, by PixelCNN++ decoders q(x) and q(x|h), and a bound on I(T;Y).

    On images that no decoder has seen, NLL_h = E[−ln q(x|h)] >= H(X|T): that is the bound. NLL_0 =
    E[−ln q(x)] >= H(X) likewise, so that their difference is an *estimate*, and no bound; H(X) is
    the same for all layers and epochs, so that changes of NLL_h say what was learned or lost. For a
    deterministic network Î is the information that such decoders can use: I(X;T) itself may be
    H(X) throughout, and data processing need not hold.

    q(x) is the best of three, all of which are distributions of images and bound H(X): pixels on
    their own, Π q_i(x_i); a decoder without a condition, trained alike; and a mixture Σ p(c) q(x|c)
    over the classes c, or over the values of a T of few values. q(x|h) is a decoder with the
    condition h, or q(x) where that is better: what tells nothing gives 0. Better is what tells more
    of the rows that say when to stop, unless it tells as much less of all training rows: few of the
    former may choose, by chance, a network that knows nothing.

    I(T;Y) >= H(Y) + E[ln q(y|h)], with a classifier q trained on h.

    The rows that are given are cut into two parts: one trains decoders and classifier, the other is
    evaluated. The network's own training rows should be neither: a third part.

    Args:
        levels: L, values a pixel can have: 256, 17 for the digits. Images hold 0…L−1, or floats
            k/(L−1).
        filters: of the ``PixelCNN``, as are the next four.
        stages: at most so many.
        resnet_blocks: of each stage.
        mixtures: components for each pixel.
        dropout: rate.
        epochs: of training, at most.
        patience: epochs without improvement on some of the training rows, after which it ends.
        batch_size: images a step.
        learning_rate: Adam's.
        ema_momentum: of the average of the weights.
        jit_compile: through XLA; ``None``: where there is a GPU.
        test_fraction: share of the rows that is evaluated.
        image_shape: height, width and channels, for images that come flat.
        seed: of the parts, the weights and the batches.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Darlow & Storkey, *What Information Does a ResNet Compress?*, arXiv:2003.06254; Salimans et
        al., ICLR 2017, arXiv:1701.05517; Barber & Agakov, NeurIPS 2003 (the bound); Xu et al., ICLR
        2020, arXiv:2002.10689 (usable information).
    """

    levels: int = 256
    filters: int | tuple[int, ...] = 32
    stages: int = 3
    resnet_blocks: int = 1
    mixtures: int = 5
    dropout: float = 0.3
    epochs: int = 60
    patience: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    ema_momentum: float = 0.99
    jit_compile: bool | None = None
    test_fraction: float = 1 / 3
    image_shape: tuple[int, ...] | None = None
    seed: int = 0

    name: ClassVar[str] = "decoder"

    def __post_init__(self) -> None:
        for field in ("filters", "image_shape"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        if not 0 < self.test_fraction < 1:
            raise ArgumentError(
                "`test_fraction` is not a share", "0 < value < 1", self.test_fraction
            )
        self.settings()

    def __str__(self) -> str:
        return self.name

    @property
    def traits(self) -> Traits:
        """It needs the images themselves."""
        return Traits(inputs=True)

    def settings(self) -> DecoderSettings:
        """What its decoders are made and trained with."""
        from ib_keras.pixelcnn.decoding import DecoderSettings

        names = [field.name for field in dataclasses.fields(DecoderSettings)]
        return DecoderSettings(**{name: getattr(self, name) for name in names})

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
        filters = self.filters if isinstance(self.filters, int) else max(self.filters)
        # Activations of a batch of 256 for each block, twice for the gradient; then the images.
        batch = 256 * dim_x * filters * 4 * 16 * self.stages * (self.resnet_blocks + 1)
        return 4 * TILES + batch + n * (dim_x * 16 + dim * 16)

    def images(self, x: Any) -> np.ndarray:
        """``x`` as int32 ``(n, height, width, channels)`` of 0…levels−1.

        Args:
            x: whole numbers, or floats k/(levels−1); ``(n, height, width[, channels])``, or flat.

        Raises:
            ArgumentError: the shape or the values do not fit.
        """
        from ib_keras.pixelcnn.inputs import as_levels

        array = as_array(x, "x")
        if self.image_shape is not None and array.ndim == 2:
            if array.shape[1] != math.prod(self.image_shape):
                raise ArgumentError("`x` does not fit", f"images {self.image_shape}", array.shape)
            array = array.reshape(-1, *self.image_shape)
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or array.shape[-1] not in (1, 3):
            raise ArgumentError(
                "`x` holds no images",
                "(n, height, width[, 1 or 3]), or `image_shape`",
                f"shape {array.shape}",
            )
        if array.dtype.kind == "f" and array.size and 0 <= array.min() and array.max() <= 1:
            scaled = array.astype(np.float64) * (self.levels - 1)
            if np.abs(scaled - scaled.round()).max() < 1e-3:
                array = scaled.round()
        return np.asarray(as_levels(array, self.levels, "x"))

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Trains decoders on a part of the rows and says what they know of the others.

        Args:
            t: ``(n, ...)`` the layer's outputs; maps are ``(n, height, width, channels)``.
            y: ``(n,)`` class labels, or ``(n, classes)`` one-hot.
            x: ``(n, ...)`` the images.
            noise_std: not used: decoders see the noisy T.
            conditional: not used.

        Returns:
            In nats: Î(X;T), with the lengths of training and the gaps between training and held-out
            images in ``details``; the bound on I(T;Y); ``"H(X)"`` and ``"H(X|T)"``, upper bounds.

        Raises:
            ArgumentError: ``x`` is missing, or bad images, samples or labels.
        """
        if x is None:
            raise ArgumentError(f"{self} compares T with X", "`x`, the images", "x=None")
        images = self.images(x)
        self._checked(t, images, y)
        check_memory(self, len(images), np.asarray(t)[0].size, images[0].size)
        return self._against(images, self._prior(images, y), t, y)

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> DecoderBound:
        """The estimator, with q(x) trained once if the images are known."""
        return self if inputs is None else self.with_inputs(inputs, labels)

    def with_inputs(self, x: np.ndarray, y: Any = None) -> DecoderBound:
        """The estimator, with q(x) trained once for all layers and epochs.

        Args:
            x: the images that ``estimate`` is then called with.
            y: their labels.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _OfImages(**fields, prior=self._prior(self.images(x), y))

    def combine(
        self, nothing: Decoded, given: Decoded, *, dim: int = 0
    ) -> tuple[MutualInformation, dict[str, Estimate]]:
        """Î(X;T), and the two upper bounds that it is the difference of.

        Args:
            nothing: of q(x), on the same images in the same order.
            given: of q(x|h).
            dim: of T.

        Returns:
            The estimate with a standard error over images (paired); and ``"H(X)"``, ``"H(X|T)"``.

        Raises:
            ArgumentError: they are not of as many images.
        """
        if nothing.held_out.shape != given.held_out.shape:
            sizes = f"{nothing.held_out.shape}, {given.held_out.shape}"
            raise ArgumentError("The decoders were held to different images", "the same", sizes)
        n = len(given.held_out)
        bounds = {
            name: Estimate(*_mean(part.held_out), kind="upper", n=n, dim=dim)
            for name, part in (("H(X)", nothing), ("H(X|T)", given))
        }
        value, error = _mean(nothing.held_out - given.held_out)
        details = {
            "nll_0": bounds["H(X)"].value,
            "nll_h": bounds["H(X|T)"].value,
            "gap_0": float(nothing.held_out.mean() - nothing.train.mean()),
            "gap_h": float(given.held_out.mean() - given.train.mean()),
            "epochs": float(len(given.history)),
        }
        # Falling by more than a hundredth over the last fifth of the epochs: more would tell more.
        history = given.history
        falls = history[-1 - len(history) // 5] - history[-1] > 0.01 * abs(history[-1])
        flags = ("unfinished",) if falls and history.argmin() == len(history) - 1 else ()
        found = MutualInformation(
            value, error, flags=flags, n=n, dim=dim, lower=value - 2 * error,
            upper=value + 2 * error, details=details,
        )  # fmt: skip
        return found, bounds

    def labels(self, train: Rows, held_out: Rows, *, classes: int) -> Estimate:
        """I(T;Y) >= H(Y) + E[ln q(y|h)] in nats, by a classifier on h.

        Args:
            train: h and the labels 0…classes−1 of the rows that train it.
            held_out: those of the rows that are evaluated.
            classes: their number.

        Returns:
            The lower bound, with its standard error over rows.
        """
        from ib_keras.estimators.classifier import log_probabilities

        logs = log_probabilities(*train, held_out[0], classes=classes, seed=self.seed)
        y = held_out[1]
        shares = np.bincount(y, minlength=classes) / len(y)
        terms = logs[np.arange(len(y)), y] - np.log(shares[y])
        return Estimate(*_mean(terms), kind="lower", n=len(y), dim=held_out[0][0].size)

    def _prior(self, images: np.ndarray, y: Any) -> Decoded:
        train, test = self._parts(len(images))
        labels = None if y is None else as_labels(y, len(images))
        both = None if labels is None else (labels[train], labels[test])
        with _LOCK:
            return prior(self.settings(), images[train], images[test], both, make=_decoder)[1]

    def _against(self, images: np.ndarray, nothing: Decoded, t: Any, y: Any) -> LayerInformation:
        h, labels = self._checked(t, images, y)
        train, test = self._parts(len(images))
        parts = ((images[train], h[train]), (images[test], h[test]))
        with _LOCK:
            decoder = _decoder(self.settings(), images.shape[1:], h.shape[1:])
            given = decoder.decoded(*parts)
            pair = compared(nothing, given, decoder, *parts)
        xt, bounds = self.combine(*pair, dim=h[0].size)
        ty = None
        if labels is not None:
            ty = self.labels(
                (h[train], labels[train]), (h[test], labels[test]), classes=int(labels.max()) + 1
            )
        return LayerInformation(xt, ty, bounds)

    def _checked(self, t: Any, images: np.ndarray, y: Any) -> tuple[np.ndarray, np.ndarray | None]:
        h = condition(t)
        if len(h) != len(images):
            raise ArgumentError(
                "`t` and `x` differ in length", "as many", f"{len(h)}, {len(images)}"
            )
        if round((1 - self.test_fraction) * len(h)) < _FEWEST:
            raise ArgumentError("Too few rows train a decoder", f">= {_FEWEST}", len(h))
        return h, None if y is None else as_labels(y, len(h))

    def _parts(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, n]).permutation(n)
        cut = max(2, round(self.test_fraction * n))
        return order[cut:], order[:cut]


@dataclasses.dataclass(frozen=True)
class _OfImages(DecoderBound):
    """A decoder bound whose q(x) has been trained."""

    prior: Any = dataclasses.field(default=None, compare=False, repr=False)

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        return self._against(self.images(x), self.prior, t, y)


@functools.lru_cache(maxsize=_DECODERS)
def _decoder(settings: DecoderSettings, *shapes: tuple[int, ...]) -> Decoder:
    """A decoder of such shapes, which is compiled once; whoever trains it has ``_LOCK``."""
    from ib_keras.pixelcnn.decoding import Decoder

    return Decoder(settings, *shapes)


def _mean(terms: np.ndarray) -> tuple[float, float]:
    error = float(terms.std(ddof=1)) / math.sqrt(len(terms)) if len(terms) > 1 else math.nan
    return float(terms.mean()), error
