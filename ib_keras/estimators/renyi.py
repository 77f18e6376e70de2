"""Matrix-based Rényi information from the eigenvalues of kernel matrices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import (
    as_samples,
    check_count,
    check_lengths,
    check_positive,
    check_seed,
)
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.arrays.targets import as_target
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import FromPairs, saturation
from ib_keras.estimators.continuous import rows_by_class
from ib_keras.estimators.gaussian import varying
from ib_keras.interface import Estimate, LayerInformation

_RULES = ("alignment", "neighbors")
# The widths that are compared with the labels, as multiples of the mean distance.
_MULTIPLES = np.geomspace(0.1, 10, 21)
# Number of nearest neighbours whose mean distance is the width without labels.
_NEIGHBORS = 10
# Smaller eigenvalues are rounding errors.
_ROUNDING = 1e-14
_FLAG = "measurement_kernel"


@dataclasses.dataclass(frozen=True)
class MatrixRenyi(FromPairs):
    """I_α(A;B) = S_α(K_A) + S_α(K_B) − S_α(K_A ∘ K_B) of normalised kernel matrices.

    S_α(K) = ln(Σ_i λ_i^α)/(1 − α), where λ_i are the eigenvalues of K/n, and α = 1 gives the von
    Neumann entropy −Σ_i λ_i ln λ_i. The kernel is K_ij = exp(−|a_i − a_j|²/σ²), and for classes it
    is 1 if two rows have the same class and 0 otherwise.

    This quantity is not the mutual information. For α near 1, it is between 0 and ln n; it is the
    logarithm of a number of samples that the kernels distinguish, and depends on σ. Every estimate
    therefore has the flag ``measurement_kernel``. The flag ``saturated`` says that S_α(K_A ∘ K_B)
    is within 1 % of its ceiling ln n: the kernels distinguish all pairs (a_i, b_i), whether A and B
    depend on each other or not.

    With ``width="alignment"``, σ is a multiple of the mean distance between rows. Of 21 multiples
    from 0.1 to 10, it is the one whose kernel matrix K is most similar to the kernel matrix K_Y of
    the labels, with the largest ⟨K, K_Y⟩/(|K| |K_Y|). Each layer and epoch has its own σ. Without
    labels, and for a Y of numbers, σ is the mean distance to the 10 nearest neighbours, as with
    ``width="neighbors"``.

    The cost of the eigenvalues is n³, so at most ``rows`` rows are used together. Larger samples
    are divided at random into disjoint batches of this size. The value is the mean over the
    batches, for which the same multiple is used, and the standard error is that of this mean; with
    a single batch it is unknown.

    Args:
        alpha: the order α, above 0. If it is far from 1, the value may be negative.
        width: the rule for σ, ``"alignment"`` or ``"neighbors"``; or σ as a multiple of the mean
            distance.
        rows: number of rows of a batch, at least 2.
        batches: largest number of batches.
        seed: seed of the division into batches.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Sánchez Giraldo, Rao & Príncipe, IEEE Trans. Inf. Theory 61(1), 2015, arXiv:1211.2459.
        Wickstrøm et al., arXiv:1909.11396 (layers, and the width by alignment). Yu, Yu &
        Príncipe, ICASSP 2021, arXiv:2102.00533 (the width by neighbours).
    """

    alpha: float = 1.01
    width: float | str = "alignment"
    rows: int = 300
    batches: int = 8
    seed: int = 0

    name: ClassVar[str] = "renyi"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", check_positive(self.alpha, "alpha"))
        if isinstance(self.width, str):
            if self.width not in _RULES:
                raise ArgumentError(
                    "`width` is unknown", f"one of {_RULES}, or a positive number", repr(self.width)
                )
        else:
            object.__setattr__(self, "width", check_positive(self.width, "width"))
        object.__setattr__(self, "rows", check_count(self.rows, "rows", 2))
        object.__setattr__(self, "batches", check_count(self.batches, "batches"))
        check_seed(self.seed)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        size, count = min(n, self.rows), self._count(n)
        return 8 * size * (size * (3 * count + 8) + 4 * (dim + dim_x)) + 16 * n + (1 << 24)

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I_α(X;T) and I_α(T;Y), in nats.

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``, which also determine the widths
                of X and T; or numbers, ``(n,)`` or ``(n, k)``.
            x: the inputs, ``(n, ...)``.
            noise_std: not used; the value is also finite without noise.
            conditional: not used.

        Raises:
            ArgumentError: If ``x`` is missing, or the samples or labels are invalid.
        """
        found = super().estimate(t, y=y, x=x, noise_std=noise_std)
        flags = tuple(flag for flag in found.xt.flags if flag != "no_noise")
        return dataclasses.replace(found, xt=dataclasses.replace(found.xt, flags=flags))

    def of_layer(self, x: np.ndarray, t: np.ndarray, labels: np.ndarray | None) -> Estimate:
        """Estimate I_α(X;T), with widths that are aligned to the labels if there are any."""
        return self._between(x, t, labels)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I_α(A;B) of two variables, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If the samples are invalid or their lengths differ.
        """
        return self._between(a, b, None)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate I_α(A;Y) of a variable and classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.

        Returns:
            The estimate, at most the Rényi entropy of these labels.
        """
        samples = as_samples(a, "a")
        parts = self._parts(len(samples))
        classes = [labels[part] for part in parts]
        kernels = self._kernels(samples, parts, classes)
        terms = []
        for kernel, own in zip(kernels, classes, strict=True):
            joint = self._of(kernel, own)
            of_labels = self._entropy(np.bincount(own) / len(own))
            terms.append((self._of(kernel) + of_labels - joint, joint))
        return self._mean(terms, parts, samples.shape[1])

    def given_target(
        self,
        t: np.ndarray,
        y: Any,
        known: LayerInformation,
        *,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
    ) -> Estimate | None:
        """Estimate I_α(X;T|Y) = S(K_X∘K_Y) + S(K_T∘K_Y) − S(K_X∘K_T∘K_Y) − S(K_Y) of classes.

        The kernels are those of I_α(X;T). For α = 1, it is the mean information within classes.

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: one target: codes of classes, or numbers.
            known: not used.
            x: the inputs, ``(n, ...)``.
            noise_std: not used.

        Returns:
            The estimate; ``None`` if Y consists of numbers.

        Raises:
            ArgumentError: If the samples are invalid or their lengths differ.
        """
        target = as_target(y, len(t))
        return None if target.is_continuous else self._between(x, t, target.values, given=True)

    def _between(
        self, a: Any, b: Any, labels: np.ndarray | None, *, given: bool = False
    ) -> Estimate:
        """Estimate I_α(A;B) or, with ``given``, I_α(A;B|Y), with widths aligned to the labels."""
        first, second = as_samples(a, "a"), as_samples(b, "b")
        check_lengths(first, second)
        parts = self._parts(len(first))
        classes = None if labels is None else [labels[part] for part in parts]
        kernels = (self._kernels(side, parts, classes) for side in (first, second))
        terms = []
        for number, (one, other) in enumerate(zip(*kernels, strict=True)):
            own = classes[number] if given and classes is not None else None
            joint = self._of(one * other, own)
            of_labels = 0.0 if own is None else self._entropy(np.bincount(own) / len(own))
            terms.append((self._of(one, own) + self._of(other, own) - joint - of_labels, joint))
        return self._mean(terms, parts, second.shape[1])

    def _mean(
        self, terms: list[tuple[float, float]], parts: list[np.ndarray], dim: int
    ) -> Estimate:
        # Rounding errors of the eigenvalues must not count as a spread.
        values, joint = np.round(terms, 10).T
        count, size = len(parts), len(parts[0])
        error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
        flags = (*saturation(float(joint.mean()), size), _FLAG)
        return Estimate(float(values.mean()), error, flags=flags, n=count * size, dim=dim)

    def _count(self, n: int) -> int:
        return max(1, min(self.batches, n // self.rows))

    def _parts(self, n: int) -> list[np.ndarray]:
        """Return the rows of each batch."""
        if n <= self.rows:
            return [np.arange(n)]
        rows = np.random.default_rng(self.seed).permutation(n)
        count = self._count(n)
        return list(rows[: count * self.rows].reshape(count, self.rows))

    def _kernels(
        self, samples: np.ndarray, parts: list[np.ndarray], labels: list[np.ndarray] | None
    ) -> list[np.ndarray]:
        """Return the kernel matrix of each batch."""
        squares = [_relative_squares(samples[part]) for part in parts]
        if not isinstance(self.width, str):
            multiple = self.width
        elif self.width == "alignment" and labels is not None:
            multiple = float(np.mean([*map(_aligned, squares, labels)]))
        else:
            multiple = float(np.mean([*map(_near, squares)]))
        return [np.exp(-square / multiple**2) for square in squares]

    def _of(self, kernel: np.ndarray, labels: np.ndarray | None = None) -> float:
        """Return S_α(K), or S_α(K ∘ K_Y), which has one block for each class."""
        blocks = [slice(None)] if labels is None else rows_by_class(labels)
        spectra = [np.linalg.eigvalsh(kernel[rows][:, rows] / len(kernel)) for rows in blocks]
        return self._entropy(np.concatenate(spectra))

    def _entropy(self, eigenvalues: np.ndarray) -> float:
        """Return the Rényi entropy of eigenvalues whose sum is 1."""
        shares = eigenvalues[eigenvalues > _ROUNDING]
        if self.alpha == 1:
            return float(-(shares * np.log(shares)).sum())
        return math.log(float((shares**self.alpha).sum())) / (1 - self.alpha)


def _relative_squares(samples: np.ndarray) -> np.ndarray:
    """Return the squared distances between rows, divided by the square of the mean distance."""
    values = varying(samples).astype(np.float64)
    n = len(values)
    if not values.shape[1]:
        return np.zeros((n, n))
    values = shorten_tails(values)[0]
    values = values - values.mean(axis=0)
    norms = np.square(values).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * (values @ values.T), 0.0)
    np.fill_diagonal(squares, 0.0)
    mean = float(np.sqrt(squares).sum()) / (n * (n - 1))
    return squares / mean**2 if mean > 0 else squares


def _aligned(squares: np.ndarray, labels: np.ndarray) -> float:
    """Return the multiple whose kernel matrix is most similar to that of the labels."""
    n = len(labels)
    above = np.triu_indices(n, 1)
    distances, same = squares[above], labels[above[0]] == labels[above[1]]
    similar = []
    for multiple in _MULTIPLES:
        kernel = np.exp(-distances / multiple**2)
        similar.append((n + 2 * kernel[same].sum()) / math.sqrt(n + 2 * (kernel @ kernel)) / n)
    # Rounding errors must not decide between equal similarities.
    return float(_MULTIPLES[np.argmax(np.round(similar, 9))])


def _near(squares: np.ndarray) -> float:
    """Return the mean distance to the nearest neighbours; if it is 0, the mean distance 1."""
    count = min(_NEIGHBORS, len(squares) - 1)
    nearest = np.partition(squares, count, axis=1)[:, : count + 1]
    return float(np.sqrt(nearest).sum() / (count * len(squares))) or 1.0
