"""Information through lossy compression: compress both sides, then count neighbours."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ib_keras import compression
from ib_keras._checks import as_array, as_labels, as_samples, check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.estimators._base import FromPairs
from ib_keras.estimators.neighbors import KSG, KozachenkoLeonenko
from ib_keras.interface import Estimate, MutualInformation

_ESTIMATORS = {
    "ksg": lambda: KSG(3),
    "kl": lambda: KozachenkoLeonenko(5, whiten=True),
    "wkl": lambda: KozachenkoLeonenko(60, weighted=True, whiten=True),
}


@dataclasses.dataclass(frozen=True)
class LossyCompression(FromPairs):
    """I(E(A); E(B)) of compressed variables: in the population a lower bound on I(A;B).

    Each side wider than k is replaced by k numbers, found on rows that are not evaluated. That no
    information was lost cannot be read off the error: an error-optimal compressor may
    lose all of it. What does say something is a sweep: ``sweep=True`` doubles k until the estimate
    no longer rises by more than two standard errors, and keeps what each k gave.

    Args:
        compressor: ``"pca"``, ``"ae"`` or ``"first"``.
        estimator: ``"ksg"``, ``"kl"`` or ``"wkl"``.
        k: numbers a side; with ``sweep`` the first, and at most 16.
        sweep: see above.
        fit_share: of the rows, for the compressors.
        seed: of the choice of rows, and of the compressors.

    Raises:
        ArgumentError: an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013.
    """

    compressor: str = "pca"
    estimator: str = "ksg"
    k: int = 4
    sweep: bool = False
    fit_share: float = 0.3
    seed: int = 0

    name: ClassVar[str] = "lossy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count(self.k, "k"))
        check_seed(self.seed)
        compression.get(self.compressor)
        if self.estimator not in _ESTIMATORS:
            raise ArgumentError(
                "`estimator` is unknown", f"one of {sorted(_ESTIMATORS)}", repr(self.estimator)
            )
        if not 0 < self.fit_share < 1:
            raise ArgumentError("`fit_share` is no share", "0 < value < 1", self.fit_share)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> MutualInformation:
        """I(E(A);E(B)) in nats, with the compressors' quality and, of a sweep, every step.

        Args:
            a: ``(n, ...)``; images with their shape, for convolutions.
            b: ``(n, ...)``.

        Raises:
            ArgumentError: bad samples, or different lengths.
        """
        a, b = as_array(a, "a"), as_array(b, "b")
        as_samples(a, "a"), as_samples(b, "b")
        if len(a) != len(b):
            raise ArgumentError("`a` and `b` differ in length", "as many", f"{len(a)}, {len(b)}")
        fit, rest = self._rows(len(a))
        parts: dict[str, Estimate] = {}
        k = self.k
        while True:
            first, of_a = self._codes(a, k, fit, rest)
            second, of_b = self._codes(b, k, fit, rest)
            found = _ESTIMATORS[self.estimator]().mutual_information(first, second)
            best = max(parts.values(), key=float, default=None)
            parts[f"k={k}"] = found
            rises = best is None or found.value > best.value + 2 * max(found.stderr, best.stderr)
            if rises:
                kept, details = found, {
                    **{f"a {name}": value for name, value in of_a.items()},
                    **{f"b {name}": value for name, value in of_b.items()},
                    "k": float(k),
                }  # fmt: skip
            wider = min(16, max(a[0].size, b[0].size))
            if not self.sweep or not rises or 2 * k > wider:
                break
            k *= 2
        return MutualInformation(
            kept.value, kept.stderr, flags=kept.flags, n=kept.n, dim=b[0].size,
            lower=max(0.0, kept.value - 2 * kept.stderr), upper=kept.value + 2 * kept.stderr,
            parts=parts, details=details,
        )  # fmt: skip

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate | None:
        """I(E(A);Y) of the compressed variable and class labels, in nats.

        Args:
            a: ``(n, ...)``.
            y: ``(n,)`` class labels.
        """
        values = as_array(a, "a")
        as_samples(values, "a")
        fit, rest = self._rows(len(values))
        codes, _ = self._codes(values, self.k, fit, rest)
        labels = as_labels(y, len(values))[rest]
        return _ESTIMATORS[self.estimator]().with_labels(codes, labels)

    def _rows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to fit on, and rows to evaluate."""
        rows = np.random.default_rng(self.seed).permutation(n)
        cut = round(self.fit_share * n)
        return rows[:cut], rows[cut:]

    def _codes(
        self, values: np.ndarray, k: int, fit: np.ndarray, rest: np.ndarray
    ) -> tuple[np.ndarray, dict[str, float]]:
        if values[0].size <= k:
            return as_samples(values[rest]).astype(np.float64), {}
        made = compression.get(self.compressor, k=k).fit(values[fit], seed=self.seed)
        return made.transform(values[rest]), made.quality
