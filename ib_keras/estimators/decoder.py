"""The information that a PixelCNN++ decoder finds in a representation of images."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array, check_counts, check_share
from ib_keras.arrays.memory import TILES
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import FromClasses, check_memory
from ib_keras.interface import Estimate, LayerInformation, MutualInformation, Traits
from ib_keras.pixelcnn.comparison import compared, prior
from ib_keras.pixelcnn.inputs import condition

if TYPE_CHECKING:
    from ib_keras.pixelcnn.decoding import Decoded, Decoder, DecoderSettings
    from ib_keras.pixelcnn.network import PixelCNN

# The least number of rows that train a decoder.
_MIN_TRAINING_ROWS = 20
# The number of compiled decoders that are cached, one for each shape of h. The lock must be held to
# train a decoder.
_DECODERS = 8
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class DecoderBound(FromClasses):
    """Î(X;T) = NLL_0 − NLL_h from PixelCNN++ decoders q(x) and q(x|h), and a bound on I(T;Y).

    Both terms are evaluated on images that no decoder has seen. NLL_h = E[−ln q(x|h)] is an upper
    bound on H(X|T), and NLL_0 = E[−ln q(x)] is an upper bound on H(X). Their difference is
    therefore an *estimate*, not a bound. H(X) is the same for all layers and epochs, so changes of
    NLL_h show what the network has learned or lost. For a deterministic network, I(X;T) itself may
    be H(X) throughout. Î is then the information that these decoders can use, and the data
    processing inequality need not hold for it.

    q(x) is the best of three models: independent pixels, Π q_i(x_i); a decoder without a condition;
    and a mixture Σ p(c) q(x|c) over the classes c, or over the values of T (over a sample of them
    if there are many). All of these are distributions of images, so each gives a bound on H(X).
    q(x|h) is a decoder with the condition h, or q(x) if that is better, so an uninformative layer
    gives 0. The better of two models is the one with the higher likelihood on the rows that decide
    when to stop, unless it loses as much on all training rows: the stopping rows are few and may
    prefer a worse model by chance.

    I(T;Y) >= H(Y) + E[ln q(y|h)], with a classifier q that is trained on h.

    The given rows are divided into two parts. One trains the decoders and the classifier, and the
    other evaluates them. Neither should contain rows on which the network was trained.

    Args:
        levels: the number L of values of a pixel, such as 256, or 17 for the digits data set. The
            images hold the integers 0…L−1, or floats k/(L−1).
        filters: the ``filters`` of ``PixelCNN``.
        stages: the largest number of stages of ``PixelCNN``.
        resnet_blocks: the number of blocks of each stage.
        mixtures: the number of mixture components of each pixel.
        dropout: the dropout rate.
        epochs: the largest number of epochs of training.
        patience: training stops after this number of epochs without improvement on the stopping
            rows.
        batch_size: the number of images in a step.
        learning_rate: the learning rate of Adam.
        ema_momentum: the momentum of the moving average of the weights.
        jit_compile: whether to compile with XLA; ``None`` compiles if there is a GPU.
        prior_epochs: the number of epochs for which q(x) is trained first. All decoders then start
            with its weights, and the scale of their condition is learned. With 0, decoders start
            with random weights.
        test_fraction: the share of the rows on which decoders are evaluated.
        image_shape: height, width and channels, for images that are passed as flat rows.
        seed: the seed of the division of the rows, the weights and the batches.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid.

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
    prior_epochs: int = 0
    test_fraction: float = 1 / 3
    image_shape: tuple[int, ...] | None = None
    seed: int = 0
    target_bins: int = 10

    name: ClassVar[str] = "decoder"

    def __post_init__(self) -> None:
        for field in ("filters", "image_shape"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        if self.image_shape is not None:
            check_counts(self.image_shape, "image_shape")
        check_share(self.test_fraction, "test_fraction")
        self.check_target_bins()
        self.settings()

    def __str__(self) -> str:
        return self.name

    @property
    def traits(self) -> Traits:
        """The estimator needs the images."""
        return Traits(inputs=True)

    def settings(self) -> DecoderSettings:
        """Return the settings of the decoders."""
        from ib_keras.pixelcnn.decoding import DecoderSettings

        names = [field.name for field in dataclasses.fields(DecoderSettings)]
        return DecoderSettings(**{name: getattr(self, name) for name in names})

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        filters = self.filters if isinstance(self.filters, int) else max(self.filters)
        # Activations of a batch of 256 for each block, twice for the gradient; then the images.
        batch = 256 * dim_x * filters * 4 * 16 * self.stages * (self.resnet_blocks + 1)
        return 4 * TILES + batch + n * (dim_x * 16 + dim * 16)

    def images(self, x: Any) -> np.ndarray:
        """Convert ``x`` to int32 images ``(n, height, width, channels)`` of 0…levels−1.

        Args:
            x: integers, or floats k/(levels−1), ``(n, height, width[, channels])`` or flat.

        Raises:
            ArgumentError: If the shape or the values do not match.
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
            elif _are_8_bit(array, self.levels):
                raise ArgumentError(
                    f"`x` does not match levels={self.levels}",
                    "levels=256 for 8-bit images (in pipelines "
                    "--set decoder_settings.levels=256, or a preset for photographs)",
                    "values k/255",
                )
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
        """Train decoders on one part of the rows, and evaluate them on the other.

        Args:
            t: the outputs of the layer ``(n, ...)``; maps are ``(n, height, width, channels)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are divided into ``target_bins`` classes of equal counts.
            x: the images ``(n, ...)``.
            noise_std: not used, because decoders see the noisy T.
            conditional: not used.

        Returns:
            Î(X;T) in nats, whose ``details`` have the number of epochs and the gaps between
            training and held-out images; the bound on I(T;Y); and the upper bounds ``"H(X)"`` and
            ``"H(X|T)"``.

        Raises:
            ArgumentError: If ``x`` is missing, or images, samples or labels are invalid.
        """
        if x is None:
            raise ArgumentError(f"{self} compares T with X", "`x`, the images", "x=None")
        images = self.images(x)
        h = condition(t)
        n = len(h)
        if n != len(images):
            raise ArgumentError("`t` and `x` differ in length", "one length", f"{n}, {len(images)}")
        if round((1 - self.test_fraction) * n) < _MIN_TRAINING_ROWS:
            raise ArgumentError("Too few rows train a decoder", f">= {_MIN_TRAINING_ROWS}", n)
        labels, binned = self.classes(y, n)
        check_memory(self, n, h[0].size, images[0].size)
        start, unconditional = self._prior(images, labels)
        train, test = self._parts(n)
        parts = ((images[train], h[train]), (images[test], h[test]))
        with _LOCK:
            decoder = _decoder(self.settings(), images.shape[1:], h.shape[1:])
            begin: Any = {"start": start} if self.prior_epochs else {}
            given = decoder.decoded(*parts, **begin)
            pair = compared(unconditional, given, decoder, *parts)
        xt, bounds = self.combine(*pair, dim=h[0].size)
        ty = None
        if labels is not None:
            both = (h[train], labels[train]), (h[test], labels[test])
            ty = self.labels(*both, classes=int(labels.max()) + 1)
            ty = dataclasses.replace(ty, flags=(*ty.flags, *binned))
        return LayerInformation(xt, ty, bounds)

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> DecoderBound:
        """Train q(x) once for all layers and epochs, if the images are given.

        Args:
            extent: not used.
            inputs: the images with which ``estimate`` will be called.
            labels: Y: class labels, ``(n,)``, or numbers, ``(n, k)``.
        """
        if inputs is None:
            return self
        images = self.images(inputs)
        codes = self.classes(labels, len(images), "labels")[0]
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _OfImages(**fields, prior=self._prior(images, codes))

    def combine(
        self, nothing: Decoded, given: Decoded, *, dim: int = 0
    ) -> tuple[MutualInformation, dict[str, Estimate]]:
        """Compute Î(X;T) and the two upper bounds of which it is the difference.

        Args:
            nothing: the likelihoods of q(x), for the same images in the same order.
            given: the likelihoods of q(x|h).
            dim: the dimension of T.

        Returns:
            The estimate, whose standard error is that of the paired differences over images; and
            the bounds ``"H(X)"`` and ``"H(X|T)"``.

        Raises:
            ArgumentError: If the numbers of images differ.
        """
        if nothing.held_out.shape != given.held_out.shape:
            sizes = f"{nothing.held_out.shape}, {given.held_out.shape}"
            raise ArgumentError("The decoders have different held-out images", "the same", sizes)
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
        # Whether the likelihood still improves by more than 1 % over the last fifth of the epochs.
        history = given.history
        falls = history[-1 - len(history) // 5] - history[-1] > 0.01 * abs(history[-1])
        flags = ("unfinished",) if falls and history.argmin() == len(history) - 1 else ()
        information = MutualInformation(
            value, error, flags=flags, n=n, dim=dim, lower=value - 2 * error,
            upper=value + 2 * error, details=details,
        )  # fmt: skip
        return information, bounds

    def labels(
        self,
        train: tuple[np.ndarray, np.ndarray],
        held_out: tuple[np.ndarray, np.ndarray],
        *,
        classes: int,
    ) -> Estimate:
        """Compute the bound I(T;Y) >= H(Y) + E[ln q(y|h)] in nats, by a classifier on h.

        Args:
            train: h and the labels 0…classes−1 of the rows that train the classifier.
            held_out: h and the labels of the rows that are evaluated.
            classes: the number of classes.

        Returns:
            The lower bound, with its standard error over rows.
        """
        from ib_keras.estimators.classifier import log_probabilities

        logs = log_probabilities(*train, held_out[0], classes=classes, seed=self.seed)
        y = held_out[1]
        shares = np.bincount(y, minlength=classes) / len(y)
        terms = logs[np.arange(len(y)), y] - np.log(shares[y])
        return Estimate(*_mean(terms), kind="lower", n=len(y), dim=held_out[0][0].size)

    def _prior(
        self, images: np.ndarray, labels: np.ndarray | None
    ) -> tuple[PixelCNN | None, Decoded]:
        train, test = self._parts(len(images))
        both = None if labels is None else (labels[train], labels[test])
        with _LOCK:
            return prior(self.settings(), images[train], images[test], both, make=_decoder)

    def _parts(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, n]).permutation(n)
        cut = max(2, round(self.test_fraction * n))
        return order[cut:], order[:cut]


@dataclasses.dataclass(frozen=True)
class _OfImages(DecoderBound):
    """A decoder bound for known images, whose q(x) is already trained."""

    prior: Any = dataclasses.field(default=None, compare=False, repr=False)

    def _prior(
        self, images: np.ndarray, labels: np.ndarray | None
    ) -> tuple[PixelCNN | None, Decoded]:
        return self.prior


@functools.lru_cache(maxsize=_DECODERS)
def _decoder(settings: DecoderSettings, *shapes: tuple[int, ...]) -> Decoder:
    """Return the decoder for these shapes, which is compiled once."""
    from ib_keras.pixelcnn.decoding import Decoder

    return Decoder(settings, *shapes)


def _are_8_bit(array: np.ndarray, levels: int) -> bool:
    """Return whether numbers from 0 to 1 are k/255, with more values than ``levels``."""
    k = array * 255.0
    return bool(np.abs(k - k.round()).max() < 0.01) and len(np.unique(k.round())) > levels


def _mean(terms: np.ndarray) -> tuple[float, float]:
    error = float(terms.std(ddof=1)) / math.sqrt(len(terms)) if len(terms) > 1 else math.nan
    return float(terms.mean()), error
