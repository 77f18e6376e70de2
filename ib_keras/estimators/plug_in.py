"""The plug-in estimator, which all binning estimators share."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples, check_lengths
from ib_keras.arrays.codes import entropy as entropy_of_codes
from ib_keras.arrays.codes import mutual_information as information_of_codes
from ib_keras.arrays.codes import row_codes
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import slices
from ib_keras.arrays.structures import array_codes
from ib_keras.estimators.base import (
    SATURATION,
    FromClasses,
    check_memory,
    network_noise,
    of_chance,
    saturation,
)
from ib_keras.interface import Estimate, LayerInformation, Traits

_VALUES_AT_A_TIME = 1 << 16  # blocks that stay in the cache
_FEW_EDGES = 64


class PlugIn(FromClasses, abc.ABC):
    """Plug-in information of a discretised layer, I(X;T) = H(C) − H(C|X) for the bins C of T."""

    # The flags of all estimates.
    measurement: ClassVar[tuple[str, ...]] = ("measurement_bins",)

    def bytes_a_value(self, itemsize: int) -> int:
        """Return the memory for binning, in bytes per value: codes and a sorted copy."""
        return itemsize + 4

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        return TILES + n * (dim * self.bytes_a_value(itemsize) + 128)

    @property
    def traits(self) -> Traits:
        """The estimator takes any two variables."""
        return Traits(pairs=True)

    @property
    def filled_bins(self) -> int:
        """The number of bins that have equal counts by their definition; 0 if bins have not."""
        return 0

    def _at_bin_ceiling(self, codes: np.ndarray, bins: np.ndarray) -> bool:
        """Return whether the samples are on a line that fills the bins, whatever their values are.

        A single neuron is a line, and so are two outputs that sum to 1. The edges of two neurons
        divide a line into at most twice as many cells.
        """
        if self.filled_bins < 2:
            return False
        value, ceiling = entropy_of_codes(codes), math.log(self.filled_bins)
        return SATURATION * ceiling <= value <= ceiling + math.log(2) and _on_a_line(codes, bins)

    @abc.abstractmethod
    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the bin indices of valid samples ``t (n, d)``, in any dtype, and flags."""

    def codes(self, t: Any, name: str = "t") -> tuple[np.ndarray, tuple[str, ...]]:
        """Return a code per sample, ``(n,)``, equal if all neurons have equal bins; and flags."""
        bins, flags = self.discretise(as_samples(t, name))
        return row_codes(bins), flags

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I(X;T) = H(C) − H(C|X) and I(T;Y) = H(C) − H(C|Y) from counts of the codes C.

        Args:
            t: the layer's outputs, ``(n, ...)``, flattened to ``(n, d)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are divided into ``target_bins`` classes of equal counts.
            x: the inputs, ``(n, ...)``, in which equal rows are found; ``None`` if all n inputs are
                distinct, so that H(C|X) = 0.
            noise_std: standard deviation of the network's noise in this layer. If it is positive,
                the estimates have the flag ``network_noise``: for inputs that occur once, the noise
                counts as information about X.
            conditional: not used.

        Returns:
            I(X;T) and I(T;Y) in nats. The flag ``measurement_bins`` says that this is the
            information of the binned T, not of T; ``binned_target`` says the same of Y.

        Raises:
            ArgumentError: If the samples or labels are invalid, or values are outside a fixed
                range.
        """
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels, binned = self.classes(y, n)
        inputs = None if x is None else array_codes([as_array(x, "x")], n, "x")
        bins, flags = self.discretise(samples)
        codes = row_codes(bins)
        flags = (*flags, *self.measurement, *network_noise(noise_std))
        if inputs is None:
            xt, ceiling = entropy_of_codes(codes), None
        else:
            xt, ceiling = information_of_codes(codes, inputs), entropy_of_codes(inputs)
        # If each sample has its own bin, I(T;Y) is H(Y) for any labels, so both are saturated.
        flags = (*saturation(xt, n, ceiling), *flags)
        full = "saturated" not in flags and self._at_bin_ceiling(codes, bins)
        information = Estimate(xt, flags=("saturated", *flags) if full else flags, n=n, dim=dim)
        if labels is None:
            return LayerInformation(information)
        relevant = information_of_codes(codes, labels)
        if "saturated" not in flags:
            permuted = np.random.default_rng(0).permutation(labels)
            flags += of_chance(relevant, information_of_codes(codes, permuted))
        flags += binned
        return LayerInformation(information, Estimate(relevant, flags=flags, n=n, dim=dim))

    def entropy(self, a: np.ndarray) -> Estimate:
        """Estimate the entropy H(C) of the binned ``a (n, ...)``, in nats."""
        samples = as_samples(a, "a")
        codes, flags = self.codes(samples, "a")
        n, dim = samples.shape
        value = entropy_of_codes(codes)
        flags = (*saturation(value, n), *flags, *self.measurement)
        return Estimate(value, flags=flags, n=n, dim=dim)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) of two binned variables ``(n, ...)``, in nats."""
        first, flags_a = self.codes(a, "a")
        second, flags_b = self.codes(b, "b")
        check_lengths(first, second)
        value = information_of_codes(first, second)
        flags = tuple(dict.fromkeys((*saturation(value, len(first)), *flags_a, *flags_b)))
        dim = as_samples(b, "b").shape[1]
        return Estimate(value, flags=(*flags, *self.measurement), n=len(first), dim=dim)


def digitise(t: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the number of edges <= each value, like ``numpy.searchsorted(..., side="right")``.

    For few edges, one vectorised comparison per edge on blocks that stay in the cache is several
    times faster than a binary search per value.
    """
    if len(edges) > _FEW_EDGES:
        return np.searchsorted(edges, t, side="right")
    flat = t.reshape(-1)
    out = np.zeros(flat.size, np.uint8)
    above = np.empty(min(_VALUES_AT_A_TIME, flat.size), bool)
    for part in slices(flat.size, _VALUES_AT_A_TIME):
        block, codes = flat[part], out[part]
        mask = above[: block.size]
        for edge in edges:
            np.greater_equal(block, edge, out=mask)
            np.add(codes, mask.view(np.uint8), out=codes)
    return out.reshape(t.shape)


def _on_a_line(codes: np.ndarray, bins: np.ndarray) -> bool:
    """Return whether all columns of ``bins (n, d)`` rise or fall together.

    Args:
        codes: one code for each row, ``(n,)``, equal for equal rows of ``bins``.
        bins: the bin indices, ``(n, d)``.
    """
    if bins.shape[1] == 1:
        return True
    first = np.unique(codes, return_index=True)[1]
    cells = bins[first].astype(np.float64)
    centred = cells - cells.mean(axis=0)
    widest = centred[:, np.argmax(np.square(centred).sum(axis=0))]
    along = centred * np.sign(widest @ centred)
    ordered = along[np.argsort(along.sum(axis=1))]
    return bool((np.diff(ordered, axis=0) >= 0).all())
