"""PixelCNN++ as a Keras model."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import check_count, check_positive
from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import layers, sampling
from ib_keras.pixelcnn.inputs import as_condition, as_images, statistics
from ib_keras.pixelcnn.likelihood import DiscretizedLogisticMixture, scaled
from ib_keras.pixelcnn.streams import Streams

# Images whose activations set the scales and biases at the beginning.
_INITIAL = 128
# Narrower and wider logistics than these change nothing but overflow in the gradients.
_LOG_SCALES = (-7.0, 20.0)


@keras.saving.register_keras_serializable(package="ib_keras")
class PixelCNN(keras.Model):
    """A PixelCNN++: q(x) or q(x|h) of integer images, one pixel after the other.

    ln q(x|h) = Σ_{i,j} ln q(x_{ij} | x_{<ij}, h), in raster order, each term being a
    ``DiscretizedLogisticMixture`` whose parameters come from two streams of shifted convolutions:
    no parameter depends on its own pixel or a later one, whatever the weights are. So the
    probabilities of all images sum to 1, and −ln q is a code length.

    h is standardised for each channel, brought to the size of each stage, and enters every block
    before its gate; a vector is a map of one pixel. A map is not masked: each pixel sees it around
    its own place on all sides, and its mean over all places.

    ``fit``, ``evaluate`` and ``predict`` take ``images``, or ``images, condition`` in the places of
    x and y (also as ``(images, condition)``, or a dict with these names). The loss is in nats per
    image. The first ``fit`` begins with ``initialise``. For an average of the weights, compile with
    ``use_ema=True``: ``fit`` ends with the averaged weights, and
    ``keras.callbacks.SwapEMAWeights()`` puts them in place for each validation.

        decoder = PixelCNN((8, 8, 1), (2, 2, 32), levels=17)
        decoder.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.995))
        decoder.fit(images, h, validation_data=(held_out, h_held_out), epochs=50,
                    callbacks=[keras.callbacks.SwapEMAWeights()])
        nats = decoder.log_prob(held_out, h_held_out)
        pictures = decoder.sample(16, h_held_out[:16], seed=0)

    Args:
        image_shape: height, width and channels (1 or 3) of the images; sides of any length.
        condition_shape: ``(channels,)`` or ``(height, width, channels)`` of h; ``None`` for q(x).
        levels: L >= 2; images hold 0…L−1.
        filters: channels of the streams; or one number for each stage, the finest first.
        stages: at most so many, each half the size of the one before; small images have fewer.
            With a sequence of ``filters`` their number.
        resnet_blocks: of each stage, in each stream and direction.
        mixtures: K, components for each pixel.
        dropout: rate in the blocks, in training.
        seed: integer seed of weights and dropout; ``None`` for a random one.
        **kwargs: of ``keras.Model``.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Salimans et al., *PixelCNN++*, ICLR 2017, arXiv:1701.05517; van den Oord et al., NeurIPS
        2016, arXiv:1606.05328 (the condition).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        condition_shape: Sequence[int] | None = None,
        *,
        levels: int = 256,
        filters: int | Sequence[int] = 64,
        stages: int = 3,
        resnet_blocks: int = 2,
        mixtures: int = 5,
        dropout: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.image_shape = _image_shape(image_shape)
        self.condition_shape = _condition_shape(condition_shape)
        self.levels = check_count(levels, "levels", 2)
        self.filters = widths(filters, stages)
        self.stages = len(self.filters)
        self.resnet_blocks = check_count(resnet_blocks, "resnet_blocks")
        self.mixtures = check_count(mixtures, "mixtures")
        self.dropout = rate(dropout)
        self.seed = seed
        channels = self.image_shape[-1]
        self.streams = Streams(
            self.image_shape[:2],
            self.mixtures * (1 + 2 * channels + 3 * (channels == 3)),
            filters=self.filters,
            resnet_blocks=self.resnet_blocks,
            dropout=self.dropout,
            condition=None if condition_shape is None else _as_map(self.condition_shape),
            seed=seed,
            dtype=self.dtype_policy,
        )
        self.bits_per_dim = keras.metrics.Mean(name="bits_per_dim")
        self.initialised = self.add_weight(
            name="initialised", shape=(), initializer="zeros", trainable=False, autocast=False
        )
        images = keras.Input(self.image_shape)
        if self.condition_shape is None:
            self.streams(images)
        else:
            self.streams(images, keras.Input(_as_map(self.condition_shape)))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Raw parameters of all pixels, in float32 or more, each from the pixels before it.

        Args:
            inputs: integer images ``(n, *image_shape)``, or ``(images, condition)``.
            training: whether to drop.

        Returns:
            ``(n, height, width, mixtures·(1 + 2·channels + 3 for RGB))``.
        """
        images, condition = _split(inputs)
        precision = self._precision
        if condition is not None:
            shape = [-1, *_as_map(self.condition_shape)]
            condition = tf.reshape(tf.cast(condition, precision), shape)
        x = scaled(images, self.levels, precision)
        return tf.cast(self.streams(x, condition, training=training), precision)

    def likelihood(self, images: Any, condition: Any = None) -> Any:
        """The distribution of each pixel given the pixels of ``images`` before it.

        Its ``log_prob(images)`` is that of this model; a draw from it changes all pixels at once,
        so that it is no draw of this model.

        Args:
            images: ``(n, *image_shape)``.
            condition: ``(n, *condition_shape)``, or one row for all.

        Returns:
            A ``DiscretizedLogisticMixture``.
        """
        return self._distribution(self(self._checked(images, condition)))

    def log_prob(self, images: Any, condition: Any = None, *, batch_size: int = 256) -> np.ndarray:
        """ln q(x), or ln q(x|h), in nats per image.

        Args:
            images: ``(n, *image_shape)`` whole numbers 0…levels−1.
            condition: ``(n, *condition_shape)``, or one row for all.
            batch_size: images at a time.

        Returns:
            float64 ``(n,)``.

        Raises:
            ArgumentError: images or condition do not match the model.
        """
        inputs = self._checked(images, condition)
        nats = self._in_batches(lambda part: _call(self._log_prob, part), inputs, batch_size)
        return nats.astype(np.float64)

    def sample(
        self,
        n: int,
        condition: Any = None,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        noise: Any = None,
        batch_size: int = 256,
    ) -> np.ndarray:
        """Draws images from q(x), or q(x|h), exactly.

        The noise is a function of ``seed``, ``n`` and the image's shape alone: models that are
        given the same draw from the same noise, so that their images differ for what they are.

        Args:
            n: number of images.
            condition: ``(n, *condition_shape)``, or one row for all.
            temperature: below 1 for likelier images: it divides the mixtures' logits and
                multiplies the scales.
            seed: integer seed; ``None`` for a random one.
            noise: in place of ``seed``: what ``sampling.draw_noise`` returns, or one row for all.
            batch_size: images at a time.

        Returns:
            int32 ``(n, *image_shape)``.

        Raises:
            ArgumentError: an argument is invalid.
        """
        n = check_count(n, "n")
        check_positive(temperature, "temperature")
        h = as_condition(condition, self.condition_shape, n)
        if noise is None:
            noise = sampling.draw_noise(n, self.image_shape, seed)
        noise = sampling.as_noise(noise, n, self.image_shape)
        inputs = noise if h is None else (noise, h)
        return self._in_batches(
            lambda part: _call(self._sample, part, tf.constant(temperature, self._precision))[0],
            inputs,
            batch_size,
        )

    def initialise(self, images: Any, condition: Any = None) -> None:
        """Sets what depends on data: the condition's statistics, then scales and biases.

        Each channel of the condition is standardised by its mean and standard deviation over all
        that is given here. Then, layer by layer, each convolution's scale and bias are set so that
        its outputs have mean 0 and standard deviation 1 (0.1 before a gate) on up to 128 of the
        images. The first ``fit`` does this with its data, of a data set with the first batch.

        Args:
            images: ``(n, *image_shape)``.
            condition: ``(n, *condition_shape)``.

        Raises:
            ArgumentError: images or condition do not match the model.
        """
        images, h = _split(self._checked(images, condition))
        if h is not None:
            self.standardise(h)
        rows = np.unique(np.linspace(0, len(images) - 1, _INITIAL).astype(int))
        inputs = images[rows] if h is None else (images[rows], h[rows])
        with tf.init_scope(), layers.initialising():
            self(inputs, training=True)
        self.initialised.assign(1.0)

    def standardise(self, condition: np.ndarray) -> None:
        """Sets mean and standard deviation of the condition's channels, which ``initialise`` does.

        Args:
            condition: ``(n, *condition_shape)``.
        """
        mean, std = statistics(condition)
        self.streams.standardise.mean.assign(mean)
        self.streams.standardise.std.assign(std)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Trains the model; as ``keras.Model.fit``, with what stands in the class's docstring.

        Args:
            x: images, or ``(images, condition)``, a dict of the two, or a data set of either.
            y: the condition, where ``x`` is images.
            batch_size: as in Keras.
            epochs: as in Keras.
            verbose: as in Keras.
            callbacks: as in Keras.
            validation_split: as in Keras.
            validation_data: ``(images,)``, ``(images, condition)`` or a data set.
            **kwargs: as in Keras.

        Raises:
            ArgumentError: images or condition do not match the model.
        """
        first, x = _first(x, y)
        images, condition = _split(self._checked(*first))
        if _is_arrays(x) and 2 * images.max() < self.levels - 1:
            warnings.warn(
                f"levels={self.levels}, but no image is above {images.max()}", stacklevel=2
            )
        if isinstance(validation_data, (tuple, list)):
            self._checked(*_split(_pack(validation_data)[0]))
        elif _is_arrays(validation_data):
            validation_data = (validation_data,)
        if not self.initialised.numpy():
            self.initialise(images, condition)
        return super().fit(
            x, y, batch_size=batch_size, epochs=epochs, verbose=verbose, callbacks=callbacks,
            validation_split=validation_split, validation_data=validation_data, **kwargs,
        )  # fmt: skip

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Loss in nats per image, and bits per dimension; as ``keras.Model.evaluate``.

        Args:
            x: as in ``fit``.
            y: as in ``fit``.
            *args: as in Keras.
            **kwargs: as in Keras.

        Raises:
            ArgumentError: images or condition do not match the model.
        """
        if _is_arrays(x):
            self._checked(*_split(x if y is None else (x, y)))
        return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data: Any) -> Any:
        """As in Keras."""
        return super().train_step(_pack(data))

    def test_step(self, data: Any) -> Any:
        """As in Keras."""
        return super().test_step(_pack(data))

    def predict_step(self, data: Any) -> Any:
        """As in Keras: the raw parameters."""
        return super().predict_step(_pack(data))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean of −ln q, in nats per image.

        Args:
            x: images, or ``(images, condition)``.
            y: unused.
            y_pred: the raw parameters.
            sample_weight: of each image.
            training: unused.
        """
        nats = -self._distribution(y_pred).log_prob(_split(x)[0])
        dimensions = math.prod(self.image_shape) * math.log(2)
        self.bits_per_dim.update_state(nats / dimensions, sample_weight=sample_weight)
        if sample_weight is not None:
            nats *= tf.cast(sample_weight, nats.dtype)
        return tf.reduce_mean(nats)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("levels", "filters", "resnet_blocks", "mixtures", "dropout", "seed")
        config = {name: getattr(self, name) for name in names}
        shapes = {"image_shape": self.image_shape, "condition_shape": self.condition_shape}
        base = {"name": self.name, "trainable": self.trainable}
        dtype = keras.dtype_policies.serialize(self.dtype_policy)
        return {**base, "dtype": dtype, **shapes, **config}

    @property
    def _precision(self) -> Any:
        return tf.float64 if self.dtype_policy.variable_dtype == "float64" else tf.float32

    def _checked(self, images: Any, condition: Any) -> Any:
        images = as_images(images, self.image_shape, self.levels)
        h = as_condition(condition, self.condition_shape, len(images))
        return images if h is None else (images, h)

    def _distribution(self, raw: Any) -> DiscretizedLogisticMixture:
        """The distribution that raw parameters stand for."""
        k, channels = self.mixtures, self.image_shape[-1]
        shape = tf.concat([tf.shape(raw)[:-1], [k, -1]], axis=0)
        rest = tf.reshape(raw[..., k:], shape)
        rest.set_shape([*raw.shape[:-1], k, raw.shape[-1] // k - 1])
        return DiscretizedLogisticMixture(
            raw[..., :k],
            rest[..., :channels],
            tf.clip_by_value(rest[..., channels : 2 * channels], *_LOG_SCALES),
            tf.tanh(rest[..., 2 * channels :]) if channels == 3 else None,
            levels=self.levels,
        )

    def _update(self, images: Any, noise: Any, condition: Any, temperature: Any) -> Any:
        """Draws all pixels anew, each given those before it."""
        raw = self(images if condition is None else (images, condition))
        return self._distribution(raw).draw(tf.cast(noise, raw.dtype), temperature)

    @functools.cached_property
    def _log_prob(self) -> Any:
        return tf.function(
            lambda inputs: self._distribution(self(inputs)).log_prob(_split(inputs)[0]),
            jit_compile=self.jit_compile,
            autograph=False,
        )

    @functools.cached_property
    def _sample(self) -> Any:
        def run(inputs: Any, temperature: Any) -> Any:
            noise, condition = _split(inputs)
            return sampling.fixed_point(
                lambda images: self._update(images, noise, condition, temperature),
                tf.zeros([noise.shape[0], *self.image_shape], tf.int32),
                math.prod(self.image_shape[:2]),
            )

        return tf.function(run, jit_compile=self.jit_compile, autograph=False)

    def _in_batches(self, program: Any, inputs: Any, batch_size: int) -> np.ndarray:
        """A program's results on all rows, at one batch size so that it is compiled once."""
        n = len(keras.tree.flatten(inputs)[0])
        size = min(n, check_count(batch_size, "batch_size"))
        results = []
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            results.append(program(_map(lambda v, r=rows: tf.constant(v[r]), inputs)).numpy())
        return np.concatenate(results)[:n]


def _call(program: Any, *arguments: Any) -> Any:
    """What a compiled program returns; TensorFlow warns of direct calls where networks are many."""
    return program.get_concrete_function(*arguments)(*arguments)


def _map(function: Any, inputs: Any) -> Any:
    return tuple(map(function, inputs)) if isinstance(inputs, tuple) else function(inputs)


def _split(inputs: Any) -> tuple[Any, Any]:
    """``inputs`` as ``(images, condition)``."""
    if isinstance(inputs, Mapping):
        return inputs["images"], inputs.get("condition")
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs, None)


def _pack(data: Any) -> Any:
    """What Keras hands on as x, y and weights: images and condition as x, and no y."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    images, condition = _split(x)
    condition = y if condition is None else condition
    return images if condition is None else (images, condition), None, weight


def _is_arrays(x: Any) -> bool:
    parts = keras.tree.flatten(x)
    return bool(parts) and all(hasattr(v, "shape") and hasattr(v, "dtype") for v in parts)


def _first(x: Any, y: Any) -> tuple[tuple[Any, Any], Any]:
    """Images and condition, all of them or of the first batch; and ``x`` to train on."""
    if _is_arrays(x):
        data = (x, y, None)
    elif isinstance(x, keras.utils.PyDataset):
        data = x[0]
    elif isinstance(x, tf.data.Dataset):
        data = next(iter(x))
    elif hasattr(x, "__next__"):
        data = next(x)
        x = _prepended(data, x)
    else:
        raise ArgumentError(
            "`x` holds no images", "arrays, a tf.data.Dataset, a PyDataset or a generator", type(x)
        )
    return _split(_pack(data)[0]), x


def _prepended(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator, as Keras asks for."""
    yield first
    yield from rest


def _as_map(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = shape or ()
    return (1, 1, *shape) if len(shape) == 1 else shape


def _image_shape(shape: Any) -> tuple[int, int, int]:
    sides = _sides(shape, "image_shape")
    if len(sides) != 3 or sides[-1] not in (1, 3):
        raise ArgumentError(
            "`image_shape` is invalid", "(height, width, channels) with 1 or 3 channels", shape
        )
    return sides


def _condition_shape(shape: Any) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sides = _sides(shape, "condition_shape")
    if len(sides) not in (1, 3):
        raise ArgumentError(
            "`condition_shape` is invalid", "(channels,) or (height, width, channels)", shape
        )
    return sides


def _sides(shape: Any, name: str) -> Any:
    if not isinstance(shape, (tuple, list)):
        raise ArgumentError(f"`{name}` is invalid", "a tuple of counts", repr(shape))
    return tuple(check_count(side, name) for side in shape)


def widths(filters: Any, stages: int) -> tuple[int, ...]:
    """Channels of each stage, checked; one number stands for all stages."""
    if isinstance(filters, (tuple, list)):
        if not filters:
            raise ArgumentError("`filters` is invalid", "at least one stage", filters)
        return tuple(check_count(width, "filters") for width in filters)
    return (check_count(filters, "filters"),) * check_count(stages, "stages")


def rate(dropout: Any) -> float:
    """A rate of dropout, checked."""
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ArgumentError("`dropout` is invalid", "a rate in [0, 1)", repr(dropout))
    return float(dropout)
