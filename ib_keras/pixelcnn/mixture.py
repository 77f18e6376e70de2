"""Discretised mixtures of logistics as functions of tensors: probabilities and draws of pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Parameters(NamedTuple):
    """A mixture of K components for each pixel, on the scale [−1, 1].

    Args:
        logits: ``(..., H, W, K)``, of the components; all channels of a pixel share one.
        means: ``(..., H, W, K, C)``.
        log_scales: ``(..., H, W, K, C)``.
        coeffs: ``(..., H, W, K, 3)``, how green shifts with red, blue with red, blue with green;
            ``None`` where nothing shifts.
    """

    logits: Any
    means: Any
    log_scales: Any
    coeffs: Any = None


def scaled(x: Any, levels: int, dtype: Any) -> Any:
    """Levels 0…L−1 on the scale [−1, 1], in ``dtype``."""
    top = levels - 1
    return tf.cast(2 * tf.cast(x, tf.int32) - top, dtype) / tf.constant(top, dtype)


def log_prob(parameters: Parameters, x: Any, levels: int) -> Any:
    """ln p of each pixel, in nats.

    ln(F(a) − F(b)) = ln F(a) + ln F(−b) + ln(1 − e^{−2u/s}) with F the logistic function,
    a = (x + u − μ)/s, b = (x − u − μ)/s and u = 1/(L − 1): nothing cancels. The lowest level has
    ln F(a), the highest ln F(−b).

    Args:
        parameters: of the mixtures.
        x: ``(..., H, W, C)`` integers.
        levels: L.

    Returns:
        ``(..., H, W)``.
    """
    x = tf.cast(x, tf.int32)[..., None, :]
    per_channel = _log_prob_given_mean(
        x, _shifted_means(parameters, x, levels), parameters.log_scales, levels
    )
    joint = tf.nn.log_softmax(parameters.logits) + tf.reduce_sum(per_channel, axis=-1)
    return tf.reduce_logsumexp(joint, axis=-1)


def draw(parameters: Parameters, noise: Any, levels: int, temperature: Any = 1.0) -> Any:
    """Pixels that follow ``log_prob``, as a function of uniform noise.

    The first number of a pixel chooses its component by the cumulated weights, the others put the
    channels on the inverse distribution function, each rounded to its level before the next
    channel's mean shifts with it.

    Args:
        parameters: of the mixtures.
        noise: ``(..., H, W, 1 + C)``, uniform on (0, 1).
        levels: L.
        temperature: divides the logits and multiplies the scales; towards 0 all draws become the
            centre of the most likely component.

    Returns:
        ``(..., H, W, C)`` int32.
    """
    dtype = parameters.logits.dtype
    temperature = tf.cast(temperature, dtype)
    chosen = _choose(parameters.logits / temperature, noise[..., :1])
    means = tf.reduce_sum(chosen * parameters.means, axis=-2)
    scales = tf.exp(tf.reduce_sum(chosen * parameters.log_scales, axis=-2)) * temperature
    uniform = noise[..., 1:]
    deviations = scales * (tf.math.log(uniform) - tf.math.log1p(-uniform))
    if parameters.coeffs is None or means.shape[-1] == 1:
        return _level(means + deviations, levels)
    coeffs = tf.reduce_sum(chosen * parameters.coeffs, axis=-2)
    red = _level(means[..., 0] + deviations[..., 0], levels)
    r = scaled(red, levels, dtype)
    green = _level(means[..., 1] + coeffs[..., 0] * r + deviations[..., 1], levels)
    g = scaled(green, levels, dtype)
    shift = coeffs[..., 1] * r + coeffs[..., 2] * g
    return tf.stack([red, green, _level(means[..., 2] + shift + deviations[..., 2], levels)], -1)


def mean(parameters: Parameters, levels: int) -> Any:
    """The expected level of each channel, ``(..., H, W, C)``.

    E x = Σ_{t ≥ 1} P(x ≥ t). A channel whose mean shifts is averaged over all values of the
    channels before it: L² of them for blue.
    """
    weights = tf.nn.softmax(parameters.logits)
    channels = parameters.means.shape[-1]
    tails = _expected_level(parameters.means, parameters.log_scales, levels)
    if channels == 1 or parameters.coeffs is None:
        return tf.reduce_sum(weights[..., None] * tails, axis=-2)

    def shifted(channel: int) -> Any:
        """E of one channel over the values of the earlier ones."""
        count = levels**channel

        def add(i: Any, total: Any) -> Any:
            earlier = tf.stack([i % levels, i // levels, 0])[:3]
            x = tf.reshape(earlier, [1] * (len(parameters.means.shape) - 1) + [3])
            means = _shifted_means(parameters, x, levels)
            terms = _log_prob_given_mean(x, means, parameters.log_scales, levels)
            probability = tf.exp(tf.reduce_sum(terms[..., :channel], axis=-1))
            level = _expected_level(
                means[..., channel], parameters.log_scales[..., channel], levels
            )
            return i + 1, total + probability * level

        start = (tf.constant(0), tf.zeros_like(parameters.means[..., 0]))
        return tf.while_loop(lambda i, total: i < count, add, start)[1]

    by_component = tf.stack([tails[..., 0], shifted(1), shifted(2)], axis=-1)
    return tf.reduce_sum(weights[..., None] * by_component, axis=-2)


def _shifted_means(parameters: Parameters, x: Any, levels: int) -> Any:
    means, coeffs = parameters.means, parameters.coeffs
    if coeffs is None or means.shape[-1] == 1:
        return means
    values = scaled(x, levels, means.dtype)
    red, green = values[..., 0], values[..., 1]
    return tf.stack(
        [
            means[..., 0] + tf.zeros_like(red),
            means[..., 1] + coeffs[..., 0] * red,
            means[..., 2] + coeffs[..., 1] * red + coeffs[..., 2] * green,
        ],
        axis=-1,
    )


def _log_prob_given_mean(x: Any, means: Any, log_scales: Any, levels: int) -> Any:
    dtype = means.dtype
    top = tf.constant(levels - 1, dtype)
    inverse_scale = tf.exp(-log_scales)
    # From the integers, so that the upper edge of a level is the very lower edge of the next.
    upper = (tf.cast(2 * x - levels + 2, dtype) / top - means) * inverse_scale
    lower = (tf.cast(2 * x - levels, dtype) / top - means) * inverse_scale
    width = tf.math.log(-tf.math.expm1(-2 / top * inverse_scale))
    is_bottom, is_top = tf.equal(x, 0), tf.equal(x, levels - 1)
    zero = tf.zeros([], dtype)
    below_upper = tf.where(is_top, zero, tf.math.log_sigmoid(upper))
    above_lower = tf.where(is_bottom, zero, tf.math.log_sigmoid(-lower))
    return below_upper + above_lower + tf.where(is_bottom | is_top, zero, width)


def _expected_level(means: Any, log_scales: Any, levels: int) -> Any:
    top = tf.constant(levels - 1, means.dtype)
    edges = tf.cast(2 * tf.range(1, levels) - levels, means.dtype) / top
    return tf.reduce_sum(
        tf.sigmoid((means[..., None] - edges) * tf.exp(-log_scales)[..., None]), axis=-1
    )


def _choose(logits: Any, uniform: Any) -> Any:
    """One-hot ``(..., K, 1)`` choices of components."""
    cumulated = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    # Rounding may leave the last sum below 1; then the last component has the rest.
    index = tf.reduce_sum(tf.cast(uniform >= cumulated[..., :-1], tf.int32), axis=-1)
    return tf.one_hot(index, logits.shape[-1], dtype=logits.dtype)[..., None]


def _level(value: Any, levels: int) -> Any:
    """The level whose edges enclose a value on [−1, 1]."""
    top = levels - 1
    # Clipped as floats: casting what no integer can hold is undefined.
    level = tf.math.ceil((value * top + (levels - 2)) / 2)
    return tf.cast(tf.clip_by_value(level, 0, top), tf.int32)
