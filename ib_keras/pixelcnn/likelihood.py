"""The likelihood of integer images under a mixture of discretised logistics for each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ib_keras.arrays.checks import check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import inputs


class DiscretizedLogisticMixture(tfp.distributions.Distribution):
    """Integer images whose pixels are independent mixtures of discretised logistics.

    #### Mathematical details

    The level ξ ∈ {0…L−1} of a channel has the value x = 2ξ/(L−1) − 1. Its probability is that of a
    logistic of mean μ and scale s in the bin of half-width u = 1/(L−1) around x; the first and last
    bin include the tails:

        P(x) = F((x + u − μ)/s) − F((x − u − μ)/s), F(z) = 1/(1 + e^{−z})
        P(−1) = F((u − 1 − μ)/s),  P(1) = 1 − F((1 − u − μ)/s)

    The channels of a pixel share one of K components, and the means of later channels depend on the
    channels before them: μ_G + c₀₁·x_R and μ_B + c₀₂·x_R + c₁₂·x_G. Hence

        ln p(image) = Σ_pixels ln Σ_k π_k Π_c P_{k,c}(x_c)

    This is computed without cancellation, and p sums to 1 over all images.

    #### Examples

        d = DiscretizedLogisticMixture(logits, means, log_scales, levels=256)
        d.log_prob(images)         # nats per image, (...,)
        d.sample(3, seed=0)        # int32 (3, ..., H, W, C), the same at each call

    Args:
        logits: ``(..., H, W, K)``, the logits of the components' weights π.
        means: ``(..., H, W, K, C)``, the means on the scale [−1, 1], with C = 1 or 3.
        log_scales: ``(..., H, W, K, C)``, ln s on the same scale.
        coeffs: ``(..., H, W, K, 3)``, the coefficients c₀₁, c₀₂, c₁₂; ``None`` for zeros. Not used
            if C = 1.
        levels: L, the number of levels, at least 2.
        validate_args: as for ``tfp.distributions.Distribution``.
        allow_nan_stats: as for ``tfp.distributions.Distribution``.
        name: the name of the distribution.

    Raises:
        ArgumentError: If the shapes do not match, or ``levels`` is not an integer >= 2.

    References:
        Salimans et al., *PixelCNN++*, ICLR 2017, arXiv:1701.05517, sections 2.1 and 2.2.
    """

    def __init__(
        self,
        logits: Any,
        means: Any,
        log_scales: Any,
        coeffs: Any = None,
        *,
        levels: int,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "DiscretizedLogisticMixture",
    ) -> None:
        parameters = dict(locals())
        self._levels = check_count(levels, "levels", 2)
        with tf.name_scope(name):
            self._logits = _as_floats(logits, None)
            dtype = self._logits.dtype
            self._means = _as_floats(means, dtype)
            self._log_scales = _as_floats(log_scales, dtype)
            self._coeffs = None if coeffs is None else _as_floats(coeffs, dtype)
            _check_shapes(self._logits, self._means, self._log_scales, self._coeffs)
            super().__init__(
                dtype=tf.int32,
                reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        properties = tfp.util.ParameterProperties
        return {
            "logits": properties(event_ndims=3),
            "means": properties(event_ndims=4),
            "log_scales": properties(event_ndims=4),
            "coeffs": properties(event_ndims=4),
        }

    @property
    def logits(self) -> tf.Tensor:
        """The logits of the components' weights, ``(..., H, W, K)``."""
        return self._logits

    @property
    def means(self) -> tf.Tensor:
        """The means on the scale [−1, 1], ``(..., H, W, K, C)``."""
        return self._means

    @property
    def log_scales(self) -> tf.Tensor:
        """The logarithms of the scales, ``(..., H, W, K, C)``."""
        return self._log_scales

    @property
    def coeffs(self) -> tf.Tensor | None:
        """The coefficients of the means, ``(..., H, W, K, 3)``, or ``None``."""
        return self._coeffs

    @property
    def levels(self) -> int:
        """L, the number of levels."""
        return self._levels

    def log_prob(self, value: Any, name: str = "log_prob", **kwargs: Any) -> tf.Tensor:
        """Compute ln p of images, in nats per image.

        Args:
            value: images ``(..., H, W, C)``, integers 0…L−1 of any dtype.
            name: the name of the operation.
            **kwargs: arguments of ``tfp.distributions.Distribution.log_prob``.

        Returns:
            ``(...,)``, one number for each image.

        Raises:
            ArgumentError: If a value is outside 0…L−1 or not an integer. In a graph, where the
                values are unknown, an image with values outside 0…L−1 has the probability 0.
        """
        value = inputs.as_levels(value, self.levels)
        return super().log_prob(tf.cast(value, self.dtype), name=name, **kwargs)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.concat([tf.shape(self._means)[-4:-2], tf.shape(self._means)[-1:]], axis=0)

    def _event_shape(self) -> tf.TensorShape:
        return self._means.shape[-4:-2].concatenate(self._means.shape[-1:])

    def draw(self, noise: Any, temperature: Any = 1.0) -> tf.Tensor:
        """Draw images from the distribution, as a function of uniform noise.

        The first number of a pixel chooses its component by the cumulative weights. Each of the
        others gives a channel by the inverse distribution function. A channel is rounded to its
        level before the next channel's mean is computed from it.

        Args:
            noise: ``(..., H, W, 1 + C)``, uniform on (0, 1).
            temperature: a factor that divides the logits and multiplies the scales. As it goes to
                0, all draws become the centre of the most likely component.

        Returns:
            ``(..., H, W, C)`` int32.
        """
        dtype = self._logits.dtype
        temperature = tf.cast(temperature, dtype)
        chosen = _choose(self._logits / temperature, noise[..., :1])
        means = tf.reduce_sum(chosen * self._means, axis=-2)
        scales = tf.exp(tf.reduce_sum(chosen * self._log_scales, axis=-2)) * temperature
        uniform = noise[..., 1:]
        deviations = scales * (tf.math.log(uniform) - tf.math.log1p(-uniform))
        if not self._shifts:
            return _level(means + deviations, self.levels)
        coeffs = tf.reduce_sum(chosen * self._coeffs, axis=-2)
        red = _level(means[..., 0] + deviations[..., 0], self.levels)
        r = scaled(red, self.levels, dtype)
        green = _level(means[..., 1] + coeffs[..., 0] * r + deviations[..., 1], self.levels)
        g = scaled(green, self.levels, dtype)
        shift = coeffs[..., 1] * r + coeffs[..., 2] * g
        blue = _level(means[..., 2] + shift + deviations[..., 2], self.levels)
        return tf.stack([red, green, blue], axis=-1)

    def _log_prob(self, value: Any) -> tf.Tensor:
        inside = tf.reduce_all((value >= 0) & (value < self.levels), axis=-1)
        x = value[..., None, :]
        per_channel = _log_prob_given_mean(x, self._shifted_means(x), self._log_scales, self.levels)
        joint = tf.nn.log_softmax(self._logits) + tf.reduce_sum(per_channel, axis=-1)
        pixels = tf.reduce_logsumexp(joint, axis=-1)
        nowhere = tf.constant(-float("inf"), pixels.dtype)
        return tf.reduce_sum(tf.where(inside, pixels, nowhere), axis=[-2, -1])

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        shape = tf.concat(
            [[n], self.batch_shape_tensor(), self.event_shape_tensor()[:-1], [self._channels + 1]],
            axis=0,
        )
        if isinstance(seed, (int, np.integer)):
            # TFP would give different draws at each call.
            seed = divmod(check_seed(seed), 2**31)
        stateless = tfp.random.sanitize_seed(seed)
        noise = tf.random.stateless_uniform(shape, stateless, dtype=self._logits.dtype)
        # Map [0, 1) to (0, 1).
        return self.draw(tf.maximum(noise, tf.constant(2.0**-25, noise.dtype)))

    def _mean(self) -> tf.Tensor:
        """Compute E x; a shifted channel is averaged over all values of the earlier channels."""
        weights = tf.nn.softmax(self._logits)
        expected = _expected_level(self._means, self._log_scales, self.levels)
        if self._shifts:
            later = [self._expected_shifted(channel) for channel in (1, 2)]
            expected = tf.stack([expected[..., 0], *later], axis=-1)
        return tf.reduce_sum(weights[..., None] * expected, axis=-2)

    def _expected_shifted(self, channel: int) -> Any:
        """Compute E x of a channel of each component, over the values of the earlier channels."""
        levels = self.levels

        def add(i: Any, total: Any) -> Any:
            earlier = tf.stack([i % levels, i // levels, 0])[:3]
            x = tf.reshape(earlier, [1] * (len(self._means.shape) - 1) + [3])
            means = self._shifted_means(x)
            terms = _log_prob_given_mean(x, means, self._log_scales, levels)
            probability = tf.exp(tf.reduce_sum(terms[..., :channel], axis=-1))
            level = _expected_level(means[..., channel], self._log_scales[..., channel], levels)
            return i + 1, total + probability * level

        start = (tf.constant(0), tf.zeros_like(self._means[..., 0]))
        return tf.while_loop(lambda i, total: i < levels**channel, add, start)[1]

    def _shifted_means(self, x: Any) -> Any:
        """Return the means given the channels of ``x``, integers ``(..., H, W, 1, C)``."""
        means, coeffs = self._means, self._coeffs
        if coeffs is None or not self._shifts:
            return means
        values = scaled(x, self.levels, means.dtype)
        red, green = values[..., 0], values[..., 1]
        first, second, third = tf.unstack(means, axis=-1)
        red_on_green, red_on_blue, green_on_blue = tf.unstack(coeffs, axis=-1)
        return tf.stack(
            [
                first + tf.zeros_like(red),
                second + red_on_green * red,
                third + red_on_blue * red + green_on_blue * green,
            ],
            axis=-1,
        )

    @property
    def _shifts(self) -> bool:
        return self._coeffs is not None and self._channels == 3

    @property
    def _channels(self) -> int:
        return self._means.shape[-1]


def _as_floats(values: Any, dtype: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(values, dtype_hint=dtype)
    # Half precision is too coarse for bins of 1/255.
    wide = tensor.dtype.is_floating and tensor.dtype.size >= 4
    return tf.cast(tensor, dtype or (tensor.dtype if wide else tf.float32))


def _check_shapes(logits: Any, means: Any, log_scales: Any, coeffs: Any) -> None:
    channels = means.shape[-1]
    expected = {"means": (means, channels), "log_scales": (log_scales, channels)}
    if coeffs is not None and channels == 3:
        expected["coeffs"] = (coeffs, 3)
    matching = channels in (1, 3) and logits.shape.rank >= 3
    for tensor, last in expected.values():
        matching = matching and tensor.shape[-4:].is_compatible_with([*logits.shape[-3:], last])
    if not matching:
        received = {name: tensor.shape.as_list() for name, (tensor, _) in expected.items()}
        raise ArgumentError(
            "The parameters' shapes do not match",
            "logits (..., H, W, K), means and log_scales (..., H, W, K, C) with C = 1 or 3, "
            "coeffs (..., H, W, K, 3)",
            {"logits": logits.shape.as_list(), **received},
        )


def scaled(x: Any, levels: int, dtype: Any) -> Any:
    """Convert levels 0…L−1 to the scale [−1, 1], in ``dtype``."""
    top = levels - 1
    return tf.cast(2 * tf.cast(x, tf.int32) - top, dtype) / tf.constant(top, dtype)


def _log_prob_given_mean(x: Any, means: Any, log_scales: Any, levels: int) -> Any:
    """Compute ln P of each channel given its mean.

    With the logistic function F, a = (x + u − μ)/s, b = (x − u − μ)/s and u = 1/(L − 1),
    ln(F(a) − F(b)) = ln F(a) + ln F(−b) + ln(1 − e^{−2u/s}), without cancellation. The lowest level
    has ln F(a), the highest ln F(−b).
    """
    dtype = means.dtype
    top = tf.constant(levels - 1, dtype)
    inverse_scale = tf.exp(-log_scales)
    # Computed from integers, so that adjacent levels have exactly the same edge between them.
    upper = (tf.cast(2 * x - levels + 2, dtype) / top - means) * inverse_scale
    lower = (tf.cast(2 * x - levels, dtype) / top - means) * inverse_scale
    width = tf.math.log(-tf.math.expm1(-2 / top * inverse_scale))
    is_bottom, is_top = tf.equal(x, 0), tf.equal(x, levels - 1)
    zero = tf.zeros([], dtype)
    below_upper = tf.where(is_top, zero, tf.math.log_sigmoid(upper))
    above_lower = tf.where(is_bottom, zero, tf.math.log_sigmoid(-lower))
    return below_upper + above_lower + tf.where(is_bottom | is_top, zero, width)


def _expected_level(means: Any, log_scales: Any, levels: int) -> Any:
    """Compute E x = Σ_{t ≥ 1} P(x ≥ t) of each channel."""
    top = tf.constant(levels - 1, means.dtype)
    edges = tf.cast(2 * tf.range(1, levels) - levels, means.dtype) / top
    return tf.reduce_sum(
        tf.sigmoid((means[..., None] - edges) * tf.exp(-log_scales)[..., None]), axis=-1
    )


def _choose(logits: Any, uniform: Any) -> Any:
    """Choose components, as one-hot ``(..., K, 1)``."""
    cumulated = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    # The last component gets the rest, because the sum of all may be rounded to less than 1.
    index = tf.reduce_sum(tf.cast(uniform >= cumulated[..., :-1], tf.int32), axis=-1)
    return tf.one_hot(index, logits.shape[-1], dtype=logits.dtype)[..., None]


def _level(value: Any, levels: int) -> Any:
    """Return the level whose edges enclose a value on [−1, 1]."""
    top = levels - 1
    # Clipped before the cast, which is undefined for floats outside the range of integers.
    level = tf.math.ceil((value * top + (levels - 2)) / 2)
    return tf.cast(tf.clip_by_value(level, 0, top), tf.int32)
