"""Keras layers that make a network random: noise, sampling and rounding of representations."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from ib_keras.arrays.checks import check_bool, check_interval, check_nonnegative, check_stddev
from ib_keras.errors import ArgumentError

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "ib_keras needs Keras on TensorFlow. Expected KERAS_BACKEND=tensorflow. "
        f"Received: {keras.backend.backend()!r}"
    )


class _Hidden:
    """Keeps a variable out of Keras's automatic tracking."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable


@keras.saving.register_keras_serializable(package="ib_keras")
class GaussianChannel(keras.layers.Layer):
    """Adds N(0, stddev²) to every element, in training *and* at inference.

    T = S + Z with Z ~ N(0, stddev²·I), with new noise for every element, sample and call. This is
    the channel of noisy DNNs, for which I(X;T) is finite and meaningful. Keras's ``GaussianNoise``,
    in contrast, is a regulariser that adds no noise at inference. With ``stddev=0`` the input is
    returned unchanged and no random numbers are drawn.

    With ``relative=True``, T = S + stddev·S·Z: the noise of each value is proportional to the
    value, and vanishes near zero. I(X;T) is finite if E ln|S| is, as for any bounded density of S.
    But T reveals small values precisely, and an exact zero has no noise: the zeros of a ReLU reveal
    exactly which units are inactive.

    Args:
        stddev: standard deviation, >= 0, in the unit of the activations; with ``relative``, as a
            share of each value. It can be assigned later, without retracing.
        relative: whether the noise is proportional to each value.
        seed: integer seed of the noise; ``None`` for a random seed.
        **kwargs: arguments of ``keras.layers.Layer``.

    Raises:
        ArgumentError: If ``stddev`` is negative or not finite.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 2; relative: Butakov et al., ICLR
        2024, arXiv:2305.08013.
    """

    def __init__(
        self,
        stddev: float = 0.0,
        *,
        relative: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.relative = check_bool(relative, "relative")
        self.supports_masking = True
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # A variable can change without retracing. It is hidden from Keras, so that an instrumented
        # model has the same `weights` as the original. It has an initializer, so that the layer can
        # be made in a scope where variables have no values.
        value = check_stddev(stddev)
        self._stddev = _Hidden(
            keras.Variable(
                lambda shape, dtype: keras.ops.full(shape, value, dtype),
                shape=(),
                dtype="float64",
                trainable=False,
                name="stddev",
            )
        )
        self.built = True

    @property
    def stddev(self) -> float:
        """The standard deviation of the noise."""
        return float(self._stddev.variable.numpy())

    @stddev.setter
    def stddev(self, value: float) -> None:
        self._stddev.variable.assign(check_stddev(value))

    @property
    def scale(self) -> Any:
        """The standard deviation as a tensor, which has the current value in compiled functions."""
        return self._stddev.variable.value

    @property
    def variables(self) -> list:
        """All variables, including the standard deviation and the state of the seed."""
        return [*super().variables, self._stddev.variable]

    def call(self, inputs: Any) -> Any:
        """Add noise to ``inputs``."""
        return self._add(inputs, lambda: self.seed_generator.next())

    def with_seed(self, inputs: Any, seed: Any) -> Any:
        """Add noise that is a function of ``seed``, an int32 tensor of shape (2,).

        The state of the layer's own random generator does not change.
        """
        return self._add(inputs, lambda: seed)

    def _add(self, inputs: Any, make_seed: Any) -> Any:
        stddev = self._stddev.variable.value

        def noisy() -> Any:
            noise = tf.cast(normal(inputs, _int32(make_seed()), stddev), inputs.dtype)
            return inputs + (inputs * noise if self.relative else noise)

        return tf.cond(stddev > 0, noisy, lambda: tf.identity(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "stddev": self.stddev,
            "relative": self.relative,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="ib_keras")
class GaussianSampling(keras.layers.Layer):
    """Draws Z ~ N(mean, diag exp(log_var)) for each input, in training *and* at inference.

    z = mean + exp(log_var/2)·ε with ε ~ N(0, I), with new numbers for every element, sample and
    call. This is the stochastic layer of variational autoencoders and of the variational
    information bottleneck. Because Z is also random at inference, I(X;Z) is finite. The layer
    declares its distribution q(z|x) by ``conditional``, from which
    ``estimators.SamplePropagation`` estimates I(X;Z) and its bounds.

    With ``kl_weight`` β > 0, the layer adds to the loss of the model

        β · (1/n) Σ_i KL(q(z|x_i) ‖ N(0, I)) = β · (1/2n) Σ_i Σ_k (σ_ik² + μ_ik² − 1 − ln σ_ik²),

    in nats per sample, which bounds β·I(X;Z) from above. The values of ``log_var`` are not clipped.

    Any other layer declares its distribution if it has a method ``conditional(inputs)`` that takes
    the inputs of its ``call`` and returns a distribution of TensorFlow Probability.

    Args:
        kl_weight: β, the weight of the divergence in the loss, >= 0; 0 adds no loss.
        seed: integer seed of the draws; ``None`` for a random seed.
        **kwargs: arguments of ``keras.layers.Layer``.

    Raises:
        ArgumentError: If ``kl_weight`` is negative or not finite, or the layer is called on
            anything but ``[mean, log_var]`` of equal shapes ``(batch, ...)``.

    References:
        Kingma & Welling, ICLR 2014, arXiv:1312.6114, sections 2.3 and 2.4; Alemi et al., ICLR 2017,
        arXiv:1612.00410, eq. 17.
    """

    def __init__(self, *, kl_weight: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kl_weight = check_nonnegative(kl_weight, "kl_weight")
        self.supports_masking = True
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Check the shapes of ``[mean, log_var]``."""
        shapes = [tuple(s) if isinstance(s, (list, tuple)) else () for s in input_shape]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) < 2:
            raise ArgumentError(
                f"The inputs of the layer {self.name!r} do not fit",
                "[mean, log_var], two tensors of the same shape (batch, ...)",
                f"shapes {input_shape}",
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Draw z from ``inputs``, which are ``[mean, log_var]``."""
        mean, log_var = (_at_least_float32(x) for x in inputs)
        if self.kl_weight:
            self.add_loss(self.kl_weight * _mean_divergence(mean, log_var))
        noise = normal(mean, _int32(self.seed_generator.next()))
        return tf.cast(mean + tf.exp(log_var / 2) * noise, inputs[0].dtype)

    def conditional(self, inputs: Any) -> Any:
        """Return q(z|x), a ``MultivariateNormalDiag`` of TensorFlow Probability.

        Args:
            inputs: ``[mean, log_var]``.
        """
        import tensorflow_probability as tfp

        mean, log_var = (_at_least_float32(x) for x in inputs)
        return tfp.distributions.MultivariateNormalDiag(mean, tf.exp(log_var / 2))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the mean."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "kl_weight": self.kl_weight, "seed": self.seed}


@keras.saving.register_keras_serializable(package="ib_keras")
def log_variance(x: Any) -> Any:
    """Return 2 ln σ of σ = softplus(x − 5), an activation for the ``log_var`` of a sampling layer.

    For x = 0, as at the start of a training, σ = 0.0067.

    Args:
        x: a tensor of any shape.

    References:
        Alemi et al., ICLR 2017, arXiv:1612.00410, section 4.1.
    """
    y = x - 5.0
    # Far below 0, softplus(y) is exp(y), which would underflow.
    above = keras.ops.log(keras.ops.softplus(keras.ops.maximum(y, -15.0)))
    return 2 * keras.ops.where(y < -15.0, y, above)


@keras.saving.register_keras_serializable(package="ib_keras")
class QuantizedActivation(keras.layers.Layer):
    """An activation whose values are rounded to 2^bits levels, with a straight-through gradient.

    q(x) = lo + Δ·round((min(max(f(x), lo), hi) − lo)/Δ), Δ = (hi − lo)/(2^bits − 1). The gradient
    is that of f inside the range and 0 outside, as without rounding. T then has a finite number of
    values, and ``estimators.Quantized`` computes H(T) exactly.

    Args:
        activation: f, the name of a Keras activation or a function.
        bits: 1 to 16, or 32 for no rounding.
        range: ``(lo, hi)``; ``None`` for the range of tanh, sigmoid, softmax or hard_sigmoid.
        **kwargs: arguments of ``keras.layers.Layer``.

    Raises:
        ArgumentError: If an argument is invalid, or an activation without a known range has no
            ``range``.

    References:
        Lorenzen, Igel & Nielsen, *Information Bottleneck: Exact Analysis of (Quantized) Neural
        Networks*, ICLR 2022, arXiv:2106.12912.
    """

    def __init__(
        self,
        activation: Any = "tanh",
        *,
        bits: int = 8,
        range: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if bits not in (*_BITS, 32) or isinstance(bits, bool):
            raise ArgumentError("`bits` is invalid", "1 to 16, or 32 for no rounding", repr(bits))
        self.activation, self.bits = keras.activations.get(activation), int(bits)
        name = getattr(self.activation, "__name__", "")
        if range is None and name not in _RANGES:
            raise ArgumentError(
                f"The range of the activation {name!r} is unknown", "range=(lo, hi)", "range=None"
            )
        self.range = check_interval(_RANGES[name] if range is None else range, "range")
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Compute f and round it."""
        y = self.activation(inputs)
        if self.bits == 32:
            return y
        low, high = self.range
        step = (high - low) / (2**self.bits - 1)
        clipped = keras.ops.clip(y, low, high)
        rounded = low + step * keras.ops.round((clipped - low) / step)
        return clipped + keras.ops.stop_gradient(rounded - clipped)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        name = keras.activations.serialize(self.activation)
        config = {"activation": name, "bits": self.bits, "range": self.range}
        return {**super().get_config(), **config}


_BITS = tuple(range(1, 17))
_RANGES = {
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
}


def _int32(seed: Any) -> Any:
    """Convert the seed of a ``SeedGenerator`` to a seed of TensorFlow's stateless operations."""
    return tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)


def _at_least_float32(x: Any) -> Any:
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _mean_divergence(mean: Any, log_var: Any) -> Any:
    """Return the mean of KL(N(mean, exp(log_var)) ‖ N(0, I)) over the batch."""
    each = tf.square(mean) + tf.math.expm1(log_var) - log_var
    return tf.reduce_sum(each) / 2 / tf.cast(tf.shape(mean)[0], each.dtype)


def normal(like: Any, seed: Any, stddev: Any = 1.0) -> Any:
    """Draw independent N(0, stddev²) numbers, in float64 for a float64 tensor and else in float32.

    The method is that of Box and Muller, σ·√(−2 ln(1−u))·(cos 2πv, sin 2πv) for uniform u, v. On a
    CPU it takes half the time of ``tf.random.stateless_normal``, and XLA's default generator is
    about thirty times slower than Philox. In float32, u has 23 random bits, so the largest number
    is 5.6·σ.

    Args:
        like: a tensor of the shape of the numbers.
        seed: int32 ``(2,)``; the numbers are a function of the seed and the shape.
        stddev: σ, a number or a scalar tensor.
    """
    dtype = tf.float64 if like.dtype == tf.float64 else tf.float32
    size = tf.size(like)
    u, v = tf.unstack(
        tf.random.stateless_uniform([2, (size + 1) // 2], seed, dtype=dtype, alg="philox")
    )
    radius = tf.cast(stddev, dtype) * tf.sqrt(-2 * tf.math.log1p(-u))
    angle = 2 * math.pi * v
    pairs = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)
    # An even number needs no slice, which would copy.
    even = any(length is not None and length % 2 == 0 for length in like.shape)
    return tf.reshape(pairs if even else pairs[:size], tf.shape(like))
