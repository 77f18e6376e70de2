"""Kernel density estimators: pairwise-distance bounds on the information of T plus noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from ib_keras.arrays.checks import as_samples, check_positive
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.scaling import few_rows_set_range, magnitude, moderate
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import (
    OUTLIERS,
    FromClasses,
    check_memory,
    network_noise,
    of_chance,
    saturation,
)
from ib_keras.estimators.kernels.pairwise import kernel_sums
from ib_keras.interface import Estimate, Kind, LayerInformation

_FLAG = "measurement_noise"


class _KDE(FromClasses):
    """Base class of bounds from pairwise distances; subclasses define the kernel's variance."""

    kind: Literal["upper", "lower"]

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        return 2 * TILES + n * 128

    def kernel_variance(self, t: np.ndarray) -> float:
        """Return the kernel's variance σ² for the samples ``t (n, d)``."""
        raise NotImplementedError

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I(X;T') and I(T';Y) for T' = T + N(0, σ²I), with X uniform on the samples.

        Args:
            t: the layer's outputs, ``(n, ...)``, flattened to ``(n, d)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are divided into ``target_bins`` classes of equal counts.
            x: not used. T is assumed to be a function of X, so that h(T'|X) = (d/2) ln(2πeσ²).
            noise_std: standard deviation of the network's noise in this layer. If it is positive,
                the estimates have the flag ``network_noise``: the network's noise counts as
                information about X, and "lower" is no longer a bound. σ² is the variance of the
                additional measurement noise.
            conditional: not used.

        Returns:
            I(X;T') in nats, a bound of kind ``kind``, and I(T';Y), which is a difference of two
            bounds and therefore not a bound.

        Raises:
            ArgumentError: If the samples or labels are invalid.
        """
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels, binned = self.classes(y, n)
        everything, within = self._log_means(samples, labels)
        xt = max(0.0, -float(everything.mean()))
        flags = (*saturation(xt, n), _FLAG, *self._of_scale(samples), *network_noise(noise_std))
        kind: Kind = "estimate" if noise_std > 0 and self.kind == "lower" else self.kind
        information = Estimate(xt, kind=kind, flags=flags, n=n, dim=dim)
        if labels is None:
            return LayerInformation(information)
        ty = float((within - everything).mean())
        ty = 0.0 if abs(ty) < 1e-12 else ty  # rounding in a constant layer
        if "saturated" not in flags:
            flags += of_chance(ty, _of_permuted(everything, labels))
        flags += binned
        return LayerInformation(information, Estimate(ty, flags=flags, n=n, dim=dim))

    def given_target(
        self,
        t: np.ndarray,
        y: Any,
        known: LayerInformation,
        *,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
    ) -> Estimate | None:
        """Estimate I(X;T'|Y) = I(X;T') − I(T';Y), which is the mean of the bounds for each class.

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: one target: codes of classes, or numbers.
            known: the estimates of I(X;T') and I(T';Y).
            x: not used.
            noise_std: standard deviation of the layer's own noise.

        Returns:
            The difference, a bound of the kind of I(X;T').

        Raises:
            ArgumentError: If I(X;T') or I(T';Y) could not be estimated.
        """
        found = super().given_target(t, y, known, x=x, noise_std=noise_std)
        return found and dataclasses.replace(found, kind=known.xt.kind)

    def entropy(self, a: np.ndarray) -> Estimate:
        """Estimate the differential entropy h(A + N(0, σ²I)) in nats, a bound of kind ``kind``.

        It is (d/2)(1 + ln 2πσ²) − (1/n) Σ_i ln (1/n) Σ_j exp(−|a_i − a_j|²/cσ²), where c is 2 for
        the upper and 8 for the lower bound.

        Args:
            a: samples, ``(n, ...)``, flattened to ``(n, d)``.

        Raises:
            ArgumentError: If the samples are invalid, or σ² is 0.
        """
        samples = as_samples(a, "a")
        n, dim = samples.shape
        variance = self.kernel_variance(samples)
        if not variance > 0:
            raise ArgumentError(
                "The entropy of a constant layer is -inf at zero kernel variance",
                "samples that differ, or KDE with a fixed variance",
                f"max|a| = {np.abs(samples).max()}",
            )
        everything, _ = self._log_means(samples, None)
        noise = dim / 2 * (1 + math.log(2 * math.pi * variance))
        return Estimate(
            noise - float(everything.mean()), kind=self.kind, flags=(_FLAG,), n=n, dim=dim
        )

    def _log_means(
        self, samples: np.ndarray, labels: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ln of the mean kernel over all samples and over the same class, each ``(n,)``."""
        n = len(samples)
        samples = self._rescaled(samples)
        variance = self.kernel_variance(samples)
        if not variance > 0:  # a dead layer
            return np.zeros(n), np.zeros(n)
        counts = n if labels is None else np.bincount(labels)[labels]
        scale = 1 if self.kind == "upper" else 4
        sums, class_sums = kernel_sums(samples, scale * variance, labels)
        return np.log(sums / n), np.log(class_sums / counts)

    def _rescaled(self, samples: np.ndarray) -> np.ndarray:
        """Return the samples, rescaled if the estimate does not depend on their scale."""
        return samples

    def _of_scale(self, samples: np.ndarray) -> tuple[str, ...]:
        """Return the flag ``outliers`` if a few rows determine the variance, otherwise no flag."""
        return ()

    def _check_kind(self) -> None:
        if self.kind not in ("upper", "lower"):
            raise ArgumentError("`kind` is unknown", "'upper' or 'lower'", repr(self.kind))


@dataclasses.dataclass(frozen=True)
class KDE(_KDE):
    """Pairwise-distance bounds on I(X;T') for T' = T + N(0, σ²I) at a fixed variance σ².

    The upper bound is I(X;T') ≤ −(1/n) Σ_i ln (1/n) Σ_j exp(−|t_i − t_j|² / 2σ²); the lower bound
    has 8σ² instead of 2σ². I(T';Y) is this value minus the class-weighted mean of the values within
    classes. It is a difference of two bounds and therefore of kind ``"estimate"``.

    The noise belongs to the measurement, not to the network, which the flag ``measurement_noise``
    says. Values are between 0 and ln n; within 1 % of ln n they are flagged ``saturated``. The
    estimate depends on the variance as strongly as a histogram depends on its bins.

    Cost: n²·d operations, in tiles, with O(n·d) memory.

    Args:
        variance: σ², in the squared unit of the activations.
        kind: ``"upper"`` or ``"lower"``.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Kolchinsky & Tracey, Entropy 19(7):361, 2017, eqs. 10 and 11.
        Saxe et al., ICLR 2018: σ² = 1e-3 (12-bit task), 0.1 (MNIST).
    """

    variance: float = 1e-3
    kind: Literal["upper", "lower"] = "upper"
    target_bins: int = 10

    name: ClassVar[str] = "kde"

    def __post_init__(self) -> None:
        object.__setattr__(self, "variance", check_positive(self.variance, "variance"))
        self._check_kind()
        self.check_target_bins()

    def kernel_variance(self, t: np.ndarray) -> float:
        """Return σ², which does not depend on the samples."""
        return self.variance


@dataclasses.dataclass(frozen=True)
class AdaptiveKDE(_KDE):
    """``KDE`` with a variance that adapts to the layer's activations: σ² = scale · max|t|^power.

    The maximum is over the samples and neurons of the layer at each epoch. ``power=1`` is the
    published form; with ``power=2`` the estimate does not depend on the scale of the activations.

    Args:
        scale: factor of the variance. The paper does not state its constant.
        power: exponent, 1 or 2.
        kind: ``"upper"`` or ``"lower"``.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """

    scale: float = 1e-3
    power: int = 1
    kind: Literal["upper", "lower"] = "upper"
    target_bins: int = 10

    name: ClassVar[str] = "akde"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_positive(self.scale, "scale"))
        if self.power not in (1, 2):
            raise ArgumentError("`power` is unknown", "1 or 2", repr(self.power))
        object.__setattr__(self, "power", int(self.power))
        self._check_kind()
        self.check_target_bins()

    def kernel_variance(self, t: np.ndarray) -> float:
        """Return scale · max|t|^power."""
        largest = float(magnitude(t)[0, 0])
        variance = self.scale * (largest if self.power == 1 else largest * largest)
        if not math.isfinite(variance):
            raise ArgumentError(
                "The kernel's variance overflows",
                "activations whose squares are finite",
                f"max|t| = {largest:.3g}",
            )
        return variance

    def with_fixed_kernel(self, t: np.ndarray) -> KDE:
        """Return the ``KDE`` that has this estimator's variance for the samples ``t (n, d)``."""
        return KDE(self.kernel_variance(t), self.kind, self.target_bins)

    def _rescaled(self, samples: np.ndarray) -> np.ndarray:
        return moderate(samples)[0] if self.power == 2 else samples

    def _of_scale(self, samples: np.ndarray) -> tuple[str, ...]:
        return (OUTLIERS,) if few_rows_set_range(samples) else ()


def _of_permuted(logs: np.ndarray, labels: np.ndarray) -> float:
    """Return about the I(T';Y) that labels in random order have.

    Each sample is certain to be in its own class; every other sample is so by chance.

    Args:
        logs: ln of the mean kernel over all samples, ``(n,)``.
        labels: classes 0…K−1, ``(n,)``.
    """
    n, counts = len(logs), np.bincount(labels)[labels]
    others = np.maximum(n * np.exp(logs) - 1, 0)
    within = (1 + others * (counts - 1) / max(1, n - 1)) / counts
    return float((np.log(within) - logs).mean())
