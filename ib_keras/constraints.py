"""Keras constraints that are used in the papers."""

from __future__ import annotations

from typing import Any

import keras

from ib_keras.arrays.checks import check_positive


@keras.saving.register_keras_serializable(package="ib_keras")
class OrthonormalStep(keras.constraints.Constraint):
    """Moves a kernel towards orthonormal columns after each update, W ← W − rate · (WWᵀW − W).

    W is the kernel as a matrix ``(inputs, units)``; the kernel of a convolution is flattened to
    this shape. The step follows the gradient of ‖WᵀW − I‖²_F / 4 and is not rescaled by the
    optimizer, unlike the penalty ``regularizers.Orthonormal``. In a noisy network, it keeps units
    different, so they do not saturate together and compress.

    Args:
        rate: size of the step, > 0.

    Raises:
        ArgumentError: If ``rate`` is not a positive number.

    Example:
        >>> layer = keras.layers.Dense(8, kernel_constraint=OrthonormalStep(1e-4))

    References:
        Cisse et al., *Parseval Networks*, ICML 2017, eq. 9; Goldfeld et al., ICML 2019,
        arXiv:1810.05728, section 6 (rate 1e-4).
    """

    def __init__(self, rate: float = 1e-4) -> None:
        self.rate = check_positive(rate, "rate")

    def __call__(self, w: Any) -> Any:
        """Return the kernel after the step."""
        flat = keras.ops.reshape(w, (-1, w.shape[-1]))
        gram = keras.ops.matmul(keras.ops.transpose(flat), flat)
        return w - self.rate * keras.ops.reshape(keras.ops.matmul(flat, gram) - flat, w.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"rate": self.rate}
