"""Layers that declare the distribution of their output given their input."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

from ib_keras.errors import ArgumentError
from ib_keras.instrumentation.interception import paused


def declared(layer: keras.Operation, args: tuple, output: Any) -> tuple[Any, Any] | None:
    """Return the means and standard deviations that a layer declares for its output.

    A method ``conditional`` that cannot be used gives a warning. It must not stop a training,
    because the layer may have it for other purposes.

    Args:
        layer: the layer, which declares a distribution if it has a method ``conditional``.
        args: the positional arguments of its call, which are those of ``conditional``.
        output: the output; of a structure of tensors, the distribution is that of the first.

    Returns:
        The means and the standard deviations, both with the shape of the output; ``None`` if the
        layer declares no distribution, or one that cannot be used.
    """
    if not callable(getattr(layer, "conditional", None)):
        return None
    try:
        with paused():  # the method may call layers that are watched
            mean, scale = gaussian_parameters(layer.conditional(*args))
        shape = keras.tree.flatten(output)[0].shape
        if not (mean.shape.is_compatible_with(shape) and scale.shape.is_compatible_with(shape)):
            raise ArgumentError(
                "The distribution that `conditional` returned does not fit the output",
                f"shape {shape}",
                f"shape {mean.shape}",
            )
        return mean, scale
    except Exception as error:  # of any kind, from layers of users
        warnings.warn(
            f"The layer {layer.name!r} has a method `conditional` that cannot be used, so the "
            f"layer counts as one without a known distribution. {type(error).__name__}: {error}",
            stacklevel=2,
        )
        return None


def gaussian_parameters(distribution: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the means and standard deviations of a Gaussian with independent coordinates.

    Args:
        distribution: a distribution of TensorFlow Probability: ``Normal``, ``Independent`` of it,
            ``MultivariateNormalDiag``, or ``MultivariateNormalLinearOperator`` whose scale is a
            diagonal operator.

    Returns:
        The mean and the standard deviation of each coordinate, both of the shape of a sample.

    Raises:
        ArgumentError: If it is another distribution.
    """
    import tensorflow_probability as tfp

    if not _is_diagonal(distribution, tfp.distributions):
        raise ArgumentError(
            "Sample propagation cannot use the distribution that `conditional` returned",
            "a Gaussian with independent coordinates, such as "
            "tfp.distributions.MultivariateNormalDiag or Independent(Normal(…)); for others, an "
            "estimator that needs only samples, such as 'ksg'",
            type(distribution).__name__,
        )
    return distribution.mean(), distribution.stddev()


def _is_diagonal(distribution: Any, known: Any) -> bool:
    if isinstance(distribution, known.Independent):
        return _is_diagonal(distribution.distribution, known)
    if isinstance(distribution, known.MultivariateNormalLinearOperator):
        diagonal = (
            tf.linalg.LinearOperatorDiag,
            tf.linalg.LinearOperatorIdentity,
            tf.linalg.LinearOperatorScaledIdentity,
        )
        return isinstance(distribution.scale, diagonal)
    return isinstance(distribution, known.Normal)
