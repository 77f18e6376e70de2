"""The plug-in estimator that all ways of binning share: only the codes differ."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import as_array, as_samples
from ib_keras.arrays.codes import entropy as entropy_of_codes
from ib_keras.arrays.codes import mutual_information as information_of_codes
from ib_keras.arrays.codes import row_codes
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.memory import TILES
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import BaseEstimator, check_memory, network_noise, saturation
from ib_keras.interface import Estimate, LayerInformation, Traits

_VALUES_AT_A_TIME = 1 << 16  # blocks that stay in the cache
_FEW_EDGES = 64


class PlugIn(BaseEstimator, abc.ABC):
    """Plug-in information of a discretised layer: I(X;T) = H(C) − H(C|X), C the rows' bins."""

    # What the estimates say of their scale.
    measurement: ClassVar[tuple[str, ...]] = ("measurement_bins",)

    def bytes_a_value(self, itemsize: int) -> int:
        """Bytes that binning needs for each value: its code, copies of that, and a sorted copy."""
        return itemsize + 4

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
        return TILES + n * (dim * self.bytes_a_value(itemsize) + 128)

    @property
    def traits(self) -> Traits:
        """It takes any two variables."""
        return Traits(pairs=True)

    @abc.abstractmethod
    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Bin indices of the checked samples ``t (n, d)``, in any dtype, and flags."""

    def codes(self, t: Any, name: str = "t") -> tuple[np.ndarray, tuple[str, ...]]:
        """One integer code per sample, ``(n,)``: equal when all of its neurons share their bins."""
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
        """Estimates I(X;T) = H(C) − H(C|X) and I(T;Y) = H(C) − H(C|Y) by counting codes C.

        Args:
            t: ``(n, ...)`` the layer's outputs, flattened to ``(n, d)``.
            y: ``(n,)`` class labels, or ``(n, classes)`` one-hot.
            x: ``(n, ...)`` the inputs, for which equal rows are found; ``None`` says that all n
                are distinct, so that H(C|X) = 0.
            noise_std: of the network's noise in this layer. It cannot be told from the input's
                part of T where an input is seen once, hence the flag ``network_noise``.
            conditional: not used.

        Returns:
            Both in nats. They carry the flag ``measurement_bins``: the information of the binned
            T, not of T.

        Raises:
            ArgumentError: bad samples or labels, or values outside a fixed range.
        """
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels = None if y is None else as_labels(y, n)
        inputs = None if x is None else input_codes(x, n)
        bins, flags = self.discretise(samples)
        codes = row_codes(bins)
        flags = (*flags, *self.measurement, *network_noise(noise_std))
        if inputs is None:
            xt, ceiling = entropy_of_codes(codes), None
        else:
            xt, ceiling = information_of_codes(codes, inputs), entropy_of_codes(inputs)
        saturated = saturation(xt, n, ceiling)
        information = Estimate(xt, flags=(*saturated, *flags), n=n, dim=dim)
        if labels is None:
            return LayerInformation(information)
        relevant = information_of_codes(codes, labels)
        # When every sample has a bin of its own, I(T;Y) is H(Y), whatever the labels.
        return LayerInformation(
            information, Estimate(relevant, flags=(*saturated, *flags), n=n, dim=dim)
        )

    def entropy(self, a: np.ndarray) -> Estimate:
        """The plug-in entropy H(C) of the binned ``a (n, ...)``, in nats."""
        samples = as_samples(a, "a")
        codes, flags = self.codes(samples, "a")
        n, dim = samples.shape
        value = entropy_of_codes(codes)
        return Estimate(
            value, flags=(*saturation(value, n), *flags, *self.measurement), n=n, dim=dim
        )

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """The plug-in I(A;B) of two binned variables ``(n, ...)``, in nats."""
        first, flags_a = self.codes(a, "a")
        second, flags_b = self.codes(b, "b")
        if len(first) != len(second):
            raise ArgumentError(
                "`a` and `b` differ in length",
                "as many samples in both",
                f"{len(first)} and {len(second)}",
            )
        value = information_of_codes(first, second)
        flags = tuple(dict.fromkeys((*saturation(value, len(first)), *flags_a, *flags_b)))
        dim = as_samples(a, "a").shape[1]
        return Estimate(value, flags=(*flags, "measurement_bins"), n=len(first), dim=dim)


def input_codes(x: Any, n: int) -> np.ndarray:
    """Codes of the distinct inputs; a ``(n,)`` integer array is taken as such codes."""
    inputs = as_array(x, "x")
    if inputs.dtype == object:
        raise ArgumentError("`x` is not an array of numbers", "numbers (n, ...)", inputs.dtype)
    if inputs.ndim == 0 or len(inputs) != n:
        raise ArgumentError(
            "`x` does not match the activations",
            f"one input for each of the {n} samples",
            f"shape {inputs.shape}",
        )
    return row_codes(inputs)


def digitise(t: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The number of edges that are <= each value: ``numpy.searchsorted(..., side="right")``.

    For few edges one vectorised comparison an edge, on blocks that stay in the cache, is several
    times faster than a binary search a value.
    """
    if len(edges) > _FEW_EDGES:
        return np.searchsorted(edges, t, side="right")
    flat = t.reshape(-1)
    out = np.zeros(flat.size, np.uint8)
    above = np.empty(min(_VALUES_AT_A_TIME, flat.size), bool)
    for i in range(0, flat.size, _VALUES_AT_A_TIME):
        block, codes = flat[i : i + _VALUES_AT_A_TIME], out[i : i + _VALUES_AT_A_TIME]
        mask = above[: block.size]
        for edge in edges:
            np.greater_equal(block, edge, out=mask)
            np.add(codes, mask.view(np.uint8), out=codes)
    return out.reshape(t.shape)
