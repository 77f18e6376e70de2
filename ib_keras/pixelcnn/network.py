"""PixelCNN++ as a Keras model."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import check_count, check_counts, check_positive, check_rate
from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import layers, sampling
from ib_keras.pixelcnn.inputs import as_condition, as_images, statistics
from ib_keras.pixelcnn.likelihood import DiscretizedLogisticMixture, scaled
from ib_keras.pixelcnn.streams import Streams

# The number of images that initialise the scales and biases.
_INITIAL = 128
# The range of ln s. Logistics outside the range have the same likelihoods as at its ends, but their
# gradients overflow.
_LOG_SCALES = (-7.0, 20.0)


@keras.saving.register_keras_serializable(package="ib_keras")
class PixelCNN(keras.Model):
    """A PixelCNN++, an autoregressive model q(x) or q(x|h) of integer images.

    ln q(x|h) = Σ_{i,j} ln q(x_{ij} | x_{<ij}, h), in raster order. Each term is a
    ``DiscretizedLogisticMixture`` whose parameters come from two streams of shifted convolutions.
    No parameter depends on its own pixel or a later one, for any weights. Hence the probabilities
    of all images sum to 1, and −ln q is a code length.

    Each channel of h is standardised, resized to the size of each stage, and added in every block
    before its gate. A vector is treated as a map of one pixel. A map is not masked: each pixel
    depends on the map on all sides of its own position, and on the mean of the map.

    ``fit``, ``evaluate`` and ``predict`` take ``images`` as x, or ``images, condition`` as x and y.
    x may also be ``(images, condition)`` or a dict with these names. The loss is in nats per image.
    The first ``fit`` calls ``initialise``. To average the weights, compile with ``use_ema=True``:
    ``fit`` ends with the averaged weights, and ``keras.callbacks.SwapEMAWeights()`` uses them for
    each validation.

        decoder = PixelCNN((8, 8, 1), (2, 2, 32), levels=17)
        decoder.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.995))
        decoder.fit(images, h, validation_data=(held_out, h_held_out), epochs=50,
                    callbacks=[keras.callbacks.SwapEMAWeights()])
        nats = decoder.log_prob(held_out, h_held_out)
        pictures = decoder.sample(16, h_held_out[:16], seed=0)

    Args:
        image_shape: height, width and channels (1 or 3) of the images; height and width may have
            any value.
        condition_shape: ``(channels,)`` or ``(height, width, channels)`` of h; ``None`` for q(x).
        levels: L, the number of levels, at least 2; the values of images are 0…L−1.
        filters: channels of the streams, or a sequence with one number for each stage, the finest
            first.
        stages: the maximum number of stages, each half the size of the one before; small images
            have fewer. It is ignored if ``filters`` is a sequence.
        resnet_blocks: the number of blocks in each stage, stream and direction.
        mixtures: K, the number of mixture components of each pixel.
        dropout: dropout rate in the blocks.
        groups: number of groups of conditions, such as the checkpoints of a network. With several,
            the last channel of h is the number 0, 1, … of its group; each group has statistics and
            a linear map of its own, and all other weights are shared.
        seed: integer seed of weights and dropout; ``None`` for a random seed.
        **kwargs: arguments of ``keras.Model``.

    Raises:
        ArgumentError: If an argument is invalid.

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
        groups: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.image_shape: Any = _sides(image_shape, "image_shape")
        if len(self.image_shape) != 3 or self.image_shape[-1] not in (1, 3):
            expected = "(height, width, channels) with 1 or 3 channels"
            raise ArgumentError("`image_shape` is invalid", expected, image_shape)
        self.condition_shape: tuple[int, ...] | None = None
        if condition_shape is not None:
            self.condition_shape = _sides(condition_shape, "condition_shape")
            if len(self.condition_shape) not in (1, 3):
                expected = "(channels,) or (height, width, channels)"
                raise ArgumentError("`condition_shape` is invalid", expected, condition_shape)
        self.levels = check_count(levels, "levels", 2)
        self.filters = check_widths(filters, stages)
        self.stages = len(self.filters)
        self.resnet_blocks = check_count(resnet_blocks, "resnet_blocks")
        self.mixtures = check_count(mixtures, "mixtures")
        self.dropout = check_rate(dropout, "dropout")
        self.groups = check_count(groups, "groups")
        if self.groups > 1 and (self.condition_shape is None or self.condition_shape[-1] < 2):
            expected = "a `condition_shape` with the number of the group as the last channel"
            raise ArgumentError("`groups` need a condition", expected, condition_shape)
        self.seed = seed
        channels = self.image_shape[-1]
        self.streams = Streams(
            self.image_shape[:2],
            self.mixtures * (1 + 2 * channels + 3 * (channels == 3)),
            filters=self.filters,
            resnet_blocks=self.resnet_blocks,
            dropout=self.dropout,
            condition=None if condition_shape is None else _as_map(self.condition_shape),
            groups=self.groups,
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
        """Compute the raw parameters of each pixel from the pixels before it.

        Args:
            inputs: integer images ``(n, *image_shape)``, or ``(images, condition)``.
            training: whether to apply dropout.

        Returns:
            ``(n, height, width, mixtures·(1 + 2·channels + 3 for RGB))``, at least float32.
        """
        images, condition = _split(inputs)
        precision = self._precision
        if condition is not None:
            shape = [-1, *_as_map(self.condition_shape)]
            condition = tf.reshape(tf.cast(condition, precision), shape)
        x = scaled(images, self.levels, precision)
        return tf.cast(self.streams(x, condition, training=training), precision)

    def likelihood(self, images: Any, condition: Any = None) -> Any:
        """Compute the distribution of each pixel given the pixels of ``images`` before it.

        Its ``log_prob(images)`` is that of this model, but its draws are not draws of this model,
        because they draw all pixels at once.

        Args:
            images: ``(n, *image_shape)``, integers 0…levels−1.
            condition: ``(n, *condition_shape)``, or one row for all images.

        Returns:
            A ``DiscretizedLogisticMixture``.
        """
        return self._distribution(self(self._checked(images, condition)))

    def log_prob(self, images: Any, condition: Any = None, *, batch_size: int = 256) -> np.ndarray:
        """Compute ln q(x), or ln q(x|h), in nats per image.

        Args:
            images: ``(n, *image_shape)``, integers 0…levels−1.
            condition: ``(n, *condition_shape)``, or one row for all images.
            batch_size: images per forward pass.

        Returns:
            float64 ``(n,)``.

        Raises:
            ArgumentError: If images or condition do not match the model.
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
        """Draw exact samples of q(x), or q(x|h).

        The noise depends only on ``seed``, ``n`` and the shape of the images. Models for which
        these are equal draw from the same noise, so differences between their images come from the
        models.

        Args:
            n: number of images.
            condition: ``(n, *condition_shape)``, or one row for all images.
            temperature: a factor that divides the mixtures' logits and multiplies the scales;
                values below 1 give more likely images.
            seed: integer seed; ``None`` for a random seed.
            noise: the noise to use instead of ``seed``, as ``sampling.draw_noise`` returns it, or
                one row for all images.
            batch_size: images per forward pass.

        Returns:
            int32 ``(n, *image_shape)``.

        Raises:
            ArgumentError: If an argument is invalid.
        """
        n = check_count(n, "n")
        check_positive(temperature, "temperature")
        h = self._as_condition(condition, n)
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
        """Set the statistics of the condition, and the initial scales and biases, from data.

        Each channel of the condition is standardised by its mean and standard deviation over all
        rows. Then the scale and bias of each convolution are set, layer by layer, so that its
        outputs have mean 0 and standard deviation 1 (0.1 before a gate) on up to 128 of the images.
        The first ``fit`` does this with its arrays, or with the first batch of its data set.

        Args:
            images: ``(n, *image_shape)``, integers 0…levels−1.
            condition: ``(n, *condition_shape)``.

        Raises:
            ArgumentError: If images or condition do not match the model.
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
        """Set the mean and standard deviation of the condition's channels, as ``initialise`` does.

        Args:
            condition: ``(n, *condition_shape)``.
        """
        if self.groups == 1:
            mean, std = statistics(condition)
        else:
            numbers, values = condition[..., -1], condition[..., :-1]
            first = numbers.reshape(len(numbers), -1)[:, 0]
            mean = np.zeros((self.groups, values.shape[-1]))
            std = np.ones_like(mean)
            for k in np.unique(first).astype(int):
                mean[k], std[k] = statistics(values[first == k])
        self.streams.standardise.mean.assign(mean)
        self.streams.standardise.std.assign(std)

    def begin_as(self, other: PixelCNN) -> None:
        """Take the weights of a model without a condition, so that this model at first equals it.

        The condition enters with scales of 0, which training changes.

        Args:
            other: a model q(x) with the same image shape and sizes.

        Raises:
            ArgumentError: If the sizes of the models differ.
        """
        theirs = {path: conv.rows for path, conv in other.streams.convolutions().items()}
        for path, conv in self.streams.convolutions().items():
            if path.endswith("project"):
                rows = conv.rows.numpy()
                rows[-2:] = 0  # scale and bias
                conv.rows.assign(rows)
            elif path in theirs and theirs[path].shape == conv.rows.shape:
                conv.rows.assign(theirs[path])
            elif not path.startswith("look"):
                raise ArgumentError(
                    "The models differ in size",
                    f"{path} of the shape {tuple(conv.rows.shape)}",
                    tuple(theirs[path].shape) if path in theirs else "none",
                )
        self.initialised.assign(1.0)

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
        """Train the model as ``keras.Model.fit`` does; the first call also initialises it.

        Args:
            x: images, ``(images, condition)``, a dict of the two, or a data set of these.
            y: the condition, if ``x`` is images.
            batch_size: as in Keras.
            epochs: as in Keras.
            verbose: as in Keras.
            callbacks: as in Keras.
            validation_split: as in Keras.
            validation_data: ``(images,)``, ``(images, condition)`` or a data set.
            **kwargs: as in Keras.

        Raises:
            ArgumentError: If images or condition do not match the model.
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
        """Compute the loss in nats per image and the bits per dimension, as in Keras.

        Args:
            x: as in ``fit``.
            y: as in ``fit``.
            *args: as in Keras.
            **kwargs: as in Keras.

        Raises:
            ArgumentError: If images or condition do not match the model.
        """
        if _is_arrays(x):
            self._checked(*_split(x if y is None else (x, y)))
        return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data: Any) -> Any:
        """Run one step of training, as in Keras."""
        return super().train_step(_pack(data))

    def test_step(self, data: Any) -> Any:
        """Run one step of evaluation, as in Keras."""
        return super().test_step(_pack(data))

    def predict_step(self, data: Any) -> Any:
        """Compute the raw parameters of one batch."""
        return super().predict_step(_pack(data))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Compute the mean of −ln q, in nats per image.

        Args:
            x: images, or ``(images, condition)``.
            y: not used.
            y_pred: the raw parameters.
            sample_weight: the weight of each image, ``(n,)``.
            training: not used.
        """
        nats = -self._distribution(y_pred).log_prob(_split(x)[0])
        dimensions = math.prod(self.image_shape) * math.log(2)
        self.bits_per_dim.update_state(nats / dimensions, sample_weight=sample_weight)
        if sample_weight is not None:
            nats *= tf.cast(sample_weight, nats.dtype)
        return tf.reduce_mean(nats)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("levels", "filters", "resnet_blocks", "mixtures", "dropout", "groups", "seed")
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
        h = self._as_condition(condition, len(images))
        return images if h is None else (images, h)

    def _as_condition(self, condition: Any, n: int) -> np.ndarray | None:
        h = as_condition(condition, self.condition_shape, n)
        if h is None or self.groups == 1:
            return h
        numbers = h[..., -1].reshape(n, -1)
        valid = (numbers == numbers[:, :1]) & np.isin(numbers, np.arange(self.groups))
        if not valid.all():
            raise ArgumentError(
                "`condition` has no number of a group in its last channel",
                f"one integer from 0 to {self.groups - 1} for each row",
                f"{numbers[~valid][0]}",
            )
        return h

    def _distribution(self, raw: Any) -> DiscretizedLogisticMixture:
        """Convert raw parameters to a distribution."""
        k, channels = self.mixtures, self.image_shape[-1]
        # Gradients of splits are cheaper than those of slices.
        logits, rest = tf.split(raw, [k, raw.shape[-1] - k], axis=-1)
        rest = tf.reshape(rest, tf.concat([tf.shape(raw)[:-1], [k, -1]], axis=0))
        rest.set_shape([*raw.shape[:-1], k, raw.shape[-1] // k - 1])
        parts = tf.split(rest, [channels, channels, *([3] if channels == 3 else [])], axis=-1)
        return DiscretizedLogisticMixture(
            logits,
            parts[0],
            tf.clip_by_value(parts[1], *_LOG_SCALES),
            tf.tanh(parts[2]) if channels == 3 else None,
            levels=self.levels,
        )

    def _update(self, images: Any, noise: Any, condition: Any, temperature: Any) -> Any:
        """Draw all pixels, each given the pixels of ``images`` before it."""
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
        """Run a program on all rows, with one batch size so that it is compiled only once."""
        n = len(keras.tree.flatten(inputs)[0])
        size = min(n, check_count(batch_size, "batch_size"))
        results = []
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            part = keras.tree.map_structure(lambda v, r=rows: tf.constant(v[r]), inputs)
            results.append(program(part).numpy())
        return np.concatenate(results)[:n]


def _call(program: Any, *arguments: Any) -> Any:
    """Call a compiled program without TensorFlow's warning about frequent retracing."""
    return program.get_concrete_function(*arguments)(*arguments)


def _split(inputs: Any) -> tuple[Any, Any]:
    """Convert inputs to ``(images, condition)``."""
    if isinstance(inputs, Mapping):
        return inputs["images"], inputs.get("condition")
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs, None)


def _pack(data: Any) -> Any:
    """Convert a batch to x, y and weights for Keras: images and condition as x, and no y."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    images, condition = _split(x)
    condition = y if condition is None else condition
    return images if condition is None else (images, condition), None, weight


def _is_arrays(x: Any) -> bool:
    parts = keras.tree.flatten(x)
    return bool(parts) and all(hasattr(v, "shape") and hasattr(v, "dtype") for v in parts)


def _first(x: Any, y: Any) -> tuple[tuple[Any, Any], Any]:
    """Return images and condition, of all arrays or of the first batch; and ``x`` for training."""
    if _is_arrays(x):
        data = (x, y, None)
    elif isinstance(x, keras.utils.PyDataset):
        data = x[0]
    elif isinstance(x, tf.data.Dataset):
        data = next(iter(x))
    elif hasattr(x, "__next__"):
        data = next(x)
        x = (batch for batch in itertools.chain([data], x))  # Keras asks for a generator
    else:
        raise ArgumentError(
            "`x` holds no images", "arrays, a tf.data.Dataset, a PyDataset or a generator", type(x)
        )
    return _split(_pack(data)[0]), x


def _as_map(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = shape or ()
    return (1, 1, *shape) if len(shape) == 1 else shape


def _sides(shape: Any, name: str) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)):
        raise ArgumentError(f"`{name}` is invalid", "a tuple of positive integers", repr(shape))
    return tuple(check_count(side, name) for side in shape)


def check_widths(filters: Any, stages: int) -> tuple[int, ...]:
    """Check the number of channels of each stage; a single number applies to all stages."""
    if isinstance(filters, (tuple, list)):
        if not filters:
            raise ArgumentError("`filters` is invalid", "at least one stage", filters)
        return check_counts(filters, "filters")
    return (check_count(filters, "filters"),) * check_count(stages, "stages")
