"""Keras regularisers that are used in the papers."""

from __future__ import annotations

from typing import Any

import keras

from ib_keras.arrays.checks import check_positive


@keras.saving.register_keras_serializable(package="ib_keras")
class Orthonormal(keras.regularizers.Regularizer):
    """Penalises kernels whose columns are not orthonormal, by factor · ‖WᵀW − I‖_F.

    W is the kernel as a matrix ``(inputs, units)``; the kernel of a convolution is flattened to
    this shape. In a noisy network, the penalty keeps units different, so they do not saturate
    together and compress.

    Args:
        factor: weight of the penalty, > 0.

    Raises:
        ArgumentError: If ``factor`` is not a positive number.

    References:
        Cisse et al., *Parseval Networks*, ICML 2017; Goldfeld et al., ICML 2019,
        arXiv:1810.05728, section 6.
    """

    def __init__(self, factor: float = 1e-3) -> None:
        self.factor = check_positive(factor, "factor")

    def __call__(self, x: Any) -> Any:
        """Compute the penalty of the kernel ``x``."""
        units = x.shape[-1]
        w = keras.ops.reshape(x, (-1, units))
        gap = keras.ops.matmul(keras.ops.transpose(w), w) - keras.ops.eye(units, dtype=x.dtype)
        # The norm has no gradient at an orthonormal W; a small constant keeps the gradient finite.
        squared = keras.ops.sum(keras.ops.square(gap))
        return self.factor * keras.ops.sqrt(squared + keras.config.epsilon() ** 2)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"factor": self.factor}
