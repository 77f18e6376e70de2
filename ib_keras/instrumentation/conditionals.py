"""Layers that declare the distribution of their output given their input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ib_keras.errors import ArgumentError


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
