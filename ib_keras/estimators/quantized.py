"""The exact information of quantised networks."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from ib_keras.errors import ArgumentError
from ib_keras.estimators.plug_in import PlugIn


@dataclasses.dataclass(frozen=True)
class Quantized(PlugIn):
    """I(X;T) = H(T) of a network with finitely many activation values, without binning.

    T is discrete, so its information is finite and is not estimated but computed: H(T) and I(T;Y)
    follow from the distinct rows of T, with X uniform on the samples.

    Args:
        bits: number of bits of the activations: each neuron has at most 2^bits different values.
            With 32, the activations are used as float32 values, and nearly every sample is
            distinct.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If ``bits`` is not 1 to 16 or 32, or ``target_bins`` is below 2.

    References:
        Lorenzen, Igel & Nielsen, *Information Bottleneck: Exact Analysis of (Quantized) Neural
        Networks*, ICLR 2022, arXiv:2106.12912.
    """

    bits: int = 8
    target_bins: int = 10

    name: ClassVar[str] = "quantized"
    # T is not binned, so its information needs no flag.
    measurement: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or self.bits not in (*range(1, 17), 32):
            raise ArgumentError("`bits` is invalid", "1 to 16, or 32", repr(self.bits))
        self.check_target_bins()

    def bytes_a_value(self, itemsize: int) -> int:
        """Return the memory for codes in bytes per value; the values themselves are the codes."""
        return 3 * itemsize + 2

    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the values themselves, and no flags.

        Raises:
            ArgumentError: If a neuron has more than 2^bits different values.
        """
        if self.bits == 32:
            with np.errstate(over="ignore"):
                values = t.astype(np.float32)
            if not np.isfinite([values.min(), values.max()]).all():
                raise ArgumentError(
                    "The activations are not float32 values",
                    f"magnitudes up to {np.finfo(np.float32).max:.3g}",
                    f"values from {t.min():.3g} to {t.max():.3g}",
                )
            return values, ()
        ordered = np.sort(t, axis=0)
        counts = 1 + (ordered[1:] != ordered[:-1]).sum(axis=0)
        if counts.max() > 2**self.bits:
            raise ArgumentError(
                f"The activations are not quantised to {self.bits} bits",
                f"at most {2**self.bits} values a neuron, as `layers.QuantizedActivation(bits="
                f"{self.bits})` gives; for other networks, 'ebab' or 'binning'",
                f"{int(counts.max())} values in neuron {int(counts.argmax())}",
            )
        return t, ()
