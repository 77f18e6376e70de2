"""The likelihood of integer images under a mixture of discretised logistics for each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from ib_keras.arrays.checks import check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import inputs, mixture


class DiscretizedLogisticMixture(tfp.distributions.Distribution):
    """Integer images whose pixels are independent mixtures of discretised logistics.

    #### Mathematical details

    A channel's level ξ ∈ {0…L−1} stands for x = 2ξ/(L−1) − 1, and a logistic of mean μ and scale s
    is summed over the bin of half-width u = 1/(L−1) around it; the end bins take the tails:

        P(x) = F((x + u − μ)/s) − F((x − u − μ)/s), F(z) = 1/(1 + e^{−z})
        P(−1) = F((u − 1 − μ)/s),  P(1) = 1 − F((1 − u − μ)/s)

    The channels of a pixel share one of K components, and the means shift with the channels before:
    μ_G + c₀₁·x_R and μ_B + c₀₂·x_R + c₁₂·x_G. So

        ln p(image) = Σ_pixels ln Σ_k π_k Π_c P_{k,c}(x_c)

    which is computed without cancellation and sums to 1 over all images.

    #### Examples

        d = DiscretizedLogisticMixture(logits, means, log_scales, levels=256)
        d.log_prob(images)         # nats per image, (...,)
        d.sample(3, seed=0)        # int32 (3, ..., H, W, C), the same whenever it is called

    Args:
        logits: ``(..., H, W, K)``, of the components.
        means: ``(..., H, W, K, C)`` on the scale [−1, 1], C = 1 or 3.
        log_scales: ``(..., H, W, K, C)``, ln s on the same scale.
        coeffs: ``(..., H, W, K, 3)``: c₀₁, c₀₂, c₁₂; ``None`` for zeros. Unused where C = 1.
        levels: L >= 2.
        validate_args: of ``tfp.distributions.Distribution``.
        allow_nan_stats: of ``tfp.distributions.Distribution``.
        name: of the distribution.

    Raises:
        ArgumentError: the shapes do not match, or ``levels`` is no integer >= 2.

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
        """``(..., H, W, K)``, of the components."""
        return self._logits

    @property
    def means(self) -> tf.Tensor:
        """``(..., H, W, K, C)`` on the scale [−1, 1]."""
        return self._means

    @property
    def log_scales(self) -> tf.Tensor:
        """``(..., H, W, K, C)``."""
        return self._log_scales

    @property
    def coeffs(self) -> tf.Tensor | None:
        """``(..., H, W, K, 3)``, or ``None``."""
        return self._coeffs

    @property
    def levels(self) -> int:
        """L."""
        return self._levels

    def log_prob(self, value: Any, name: str = "log_prob", **kwargs: Any) -> tf.Tensor:
        """ln p of images, in nats per image.

        Args:
            value: ``(..., H, W, C)`` whole numbers 0…L−1 of any type.
            name: of the operation.
            **kwargs: of ``tfp.distributions.Distribution.log_prob``.

        Returns:
            One number for each image.

        Raises:
            ArgumentError: ``value`` is outside 0…L−1 or between two levels. In a graph, where its
                values are unknown, such images have the probability 0.
        """
        value = inputs.as_levels(value, self.levels)
        return super().log_prob(tf.cast(value, self.dtype), name=name, **kwargs)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.concat([tf.shape(self._means)[-4:-2], tf.shape(self._means)[-1:]], axis=0)

    def _event_shape(self) -> tf.TensorShape:
        return self._means.shape[-4:-2].concatenate(self._means.shape[-1:])

    def _log_prob(self, value: Any) -> tf.Tensor:
        pixels = mixture.log_prob(self._mixtures, value, self.levels)
        inside = tf.reduce_all((value >= 0) & (value < self.levels), axis=-1)
        nowhere = tf.constant(-float("inf"), pixels.dtype)
        return tf.reduce_sum(tf.where(inside, pixels, nowhere), axis=[-2, -1])

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        shape = tf.concat(
            [[n], self.batch_shape_tensor(), self.event_shape_tensor()[:-1], [self._channels + 1]],
            axis=0,
        )
        if isinstance(seed, (int, np.integer)):
            # TFP would give other draws to each call.
            seed = divmod(check_seed(seed), 2**31)
        stateless = tfp.random.sanitize_seed(seed)
        noise = tf.random.stateless_uniform(shape, stateless, dtype=self._logits.dtype)
        return mixture.draw(self._mixtures, open_unit(noise), self.levels)

    def _mean(self) -> tf.Tensor:
        return mixture.mean(self._mixtures, self.levels)

    @property
    def _mixtures(self) -> mixture.Parameters:
        return mixture.Parameters(self._logits, self._means, self._log_scales, self._coeffs)

    @property
    def _channels(self) -> int:
        return self._means.shape[-1]


def open_unit(uniform: Any) -> Any:
    """Uniform numbers of [0, 1) as numbers of (0, 1)."""
    return tf.maximum(uniform, tf.constant(2.0**-25, uniform.dtype))


def _as_floats(values: Any, dtype: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(values, dtype_hint=dtype)
    # Bins of 1/255 are lost in half precision.
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
