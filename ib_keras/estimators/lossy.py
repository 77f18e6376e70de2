"""Mutual information of variables that are compressed first."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ib_keras import compression
from ib_keras.arrays.checks import (
    as_array,
    as_samples,
    check_count,
    check_lengths,
    check_seed,
    check_share,
)
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows, slices
from ib_keras.compression.compressors import Whitening, canonical
from ib_keras.errors import ArgumentError
from ib_keras.estimators import width
from ib_keras.estimators.base import FromPairs
from ib_keras.estimators.flow import NormalizingFlow
from ib_keras.estimators.kernel_density import KernelDensity
from ib_keras.estimators.kernels.regression import residuals
from ib_keras.estimators.kozachenko_leonenko import KozachenkoLeonenko
from ib_keras.estimators.ksg import KSG
from ib_keras.interface import Estimate, LayerInformation, MutualInformation

_VALUES_AT_A_TIME = 1 << 24
FLAG = "lossy"
# The largest numbers of rows and components from which the left-out information is measured.
_ROWS, _COMPONENTS = 1000, 50
# Number of rows, in total and for each component, below which it is not noticed that codes leave
# out most of the information.
_FEW, _FEW_EACH = 100, 5
# The fewest different codes from which kernels predict, and the width above which PCA is applied
# first.
_LEAST, _WIDE = 64, 400
# The number of standard errors by which a correlation must exceed 0. Left-out information matters
# if it exceeds the share _SHARE of the estimate plus _ERRORS of its own standard errors.
_SIGNIFICANT, _SHARE, _ERRORS = 3.0, 0.05, 3.0

# Codes ``(rows, k)``, and the quality of the compressor.
_Codes = tuple[np.ndarray, dict[str, float]]

_ESTIMATORS: dict[str, Callable[[LossyCompression], Any]] = {
    "ksg": lambda settings: KSG(settings.neighbors or 3),
    "kl": lambda settings: KozachenkoLeonenko(settings.neighbors or 5, whiten=True),
    "wkl": lambda settings: KozachenkoLeonenko(60, weighted=True, whiten=True),
    "kde": lambda settings: KernelDensity(),
    "flow": lambda settings: NormalizingFlow(seed=settings.seed),
}


@dataclasses.dataclass(frozen=True)
class LossyCompression(FromPairs):
    """I(E(A); E(B)) of compressed variables, a lower bound on I(A;B) for infinitely many samples.

    E is a compressor: each variable wider than k is replaced by k numbers. By default, the
    compressor is fitted on rows that are not used for the estimate. Its error does not show whether
    information was lost: a compressor with the smallest error may lose all information. Two things
    show a loss. The flag ``lossy`` is set if the parts of A and B that the codes do not predict are
    correlated, or if a linear model of A and B shows more information than the codes. If there are
    too few rows to find this, the flag is ``few_rows``. A sweep,
    ``sweep=True``, doubles k until the estimate no longer rises by more than two standard errors,
    and reports the estimate for each k.

    Args:
        compress_x: compressor of A, or X: ``"pca"``, ``"ae"``, ``"latent"``, ``"first"``, another
            value that ``compression.get`` accepts, or a fitted compressor. ``"latent"`` is trained
            to predict the other variable, or the classes.
        compress_t: compressor of B, or T.
        estimator: the estimator of the information of the codes: ``"ksg"``, ``"kl"``, ``"wkl"``
            (``KozachenkoLeonenko`` with weights), ``"kde"`` (kernel densities) or ``"flow"``.
        k: dimension of the codes. With ``sweep``, the first dimension, which is doubled up to at
            most 16.
        k_x: dimension of the codes of A; ``None`` for the same dimension as the codes of B.
        neighbors: number of neighbours of ``"ksg"`` and ``"kl"``; ``None`` for 3 and 5. The others
            ignore it: ``"wkl"`` always uses 60 neighbours, ``"kde"`` and ``"flow"`` use none.
        sweep: whether to sweep over k.
        fit_share: share of the rows on which the compressors are fitted and which the estimate
            leaves out; no rows are left out if both compressors are already fitted. With 1, all
            rows are used for both. This does not bias the estimate, because a compressor that sees
            one variable does not know which rows belong together; ``"latent"`` sees both, and needs
            a share below 1.
        seed: seed of the choice of rows, of the compressors and of ``"flow"``.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013.
    """

    compress_x: Any = "pca"
    compress_t: Any = "pca"
    estimator: str = "ksg"
    k: int = 4
    k_x: int | None = None
    neighbors: int | None = None
    sweep: bool = False
    fit_share: float = 0.3
    seed: int = 0

    name: ClassVar[str] = "lossy"
    # Within ``estimate``, the variables that were compressed.
    _sides: ClassVar[dict[tuple[int, int], tuple[Any, _Side]] | None] = None

    def __post_init__(self) -> None:
        for field in ("k", "k_x", "neighbors"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, check_count(value, field))
        check_seed(self.seed)
        for field in ("compress_x", "compress_t"):
            object.__setattr__(self, field, compression.serialise(getattr(self, field)))
        if not isinstance(self.estimator, str) or self.estimator not in _ESTIMATORS:
            raise ArgumentError(
                "`estimator` is unknown", f"one of {sorted(_ESTIMATORS)}", repr(self.estimator)
            )
        if self.fit_share != 1:
            check_share(self.fit_share, "fit_share")
        elif any(_paired(side) for side in (self.compress_x, self.compress_t)):
            raise ArgumentError(
                "A compressor that sees both variables needs rows of its own",
                "fit_share < 1",
                repr(self.fit_share),
            )

    def __str__(self) -> str:
        sides = [compression.get(side).name for side in (self.compress_x, self.compress_t)]
        options = [(field, getattr(self, field)) for field in ("k_x", "neighbors")]
        more = "".join(f", {field}={value}" for field, value in options if value is not None)
        return f"{'/'.join(dict.fromkeys(sides))}+{self.estimator}(k={self.k}{more})"

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        more = 40 if any(_paired(side) for side in (self.compress_x, self.compress_t)) else 8
        fitted = n * (dim + dim_x) * self.fit_share * (2 * itemsize + more)
        return 2 * TILES + round(fitted) + n * 64 * (2 * self.k + (self.k_x or self.k) + 8)

    def estimate(self, t: np.ndarray, **arguments: Any) -> LayerInformation:
        """Estimate I(E(X);E(T)) and I(E(T);Y) in nats; a layer is compressed once for both.

        Args:
            t: the layer's outputs, ``(n, ...)``.
            **arguments: as for ``FromPairs.estimate``.
        """
        shared = copy.copy(self)
        object.__setattr__(shared, "_sides", {})
        return super(LossyCompression, shared).estimate(t, **arguments)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> MutualInformation:
        """Estimate I(E(A);E(B)) in nats.

        Args:
            a: samples of A, ``(n, ...)``; images must have their shape for convolutions.
            b: samples of B, ``(n, ...)``.

        Returns:
            The estimate, with the estimate for each k in ``parts``, and the quality of the
            compressors in ``details``.

        Raises:
            ArgumentError: If the samples are invalid or their lengths differ.
        """
        return self._between(self._side(a, "a", self.compress_x), b, self.k_x)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate | None:
        """Estimate I(E(A);Y) of a compressed variable and classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.

        Returns:
            The estimate from the rows on which the compressor was not fitted, at most H(Y) of all
            labels.
        """
        side = self._side(a, "a", self.compress_t)
        one_hot = np.eye(labels.max() + 1)[labels]
        codes, _ = side.codes(self.k, one_hot)
        estimate = self._inner().with_labels(codes, labels[side.rest])
        classes = width.OneHot(labels[side.rest], one_hot.shape[1])
        left = side.left_out(codes, components(one_hot[side.rest[:_ROWS]]))
        few = side.has_few_rows(codes)
        estimate = _flagged(estimate, (left,), side.linear, classes, few)
        return at_most_entropy(estimate, labels)

    def with_numbers(self, a: np.ndarray, y: np.ndarray) -> Estimate:
        """Estimate I(E(A);E(Y)) of a compressed variable and numbers, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            y: numbers ``(n, d)``, which are compressed by PCA if d is above k.

        Raises:
            ArgumentError: If the numbers must be compressed, but no rows are set aside to fit PCA.
        """
        side = self._side(y, "a", "pca")
        if side.dim > self.k and not len(side.fit):
            raise ArgumentError(
                "`a` is wider than the codes, and both compressors are fitted already, so no rows "
                "are set aside to fit a compressor of `a`",
                f"at most {self.k} columns, or a compressor that is not fitted",
                f"{side.dim} columns",
            )
        return self._between(side, a, None)

    def baseline(
        self, a: np.ndarray, b: np.ndarray, *, repeats: int = 5, seed: int = 0
    ) -> Estimate:
        """Estimate I(E(A);E(B)) after permuting the codes of B, so that there is no information.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.
            repeats: number of permutations, at least 2.
            seed: seed of the permutations.

        Returns:
            The mean over permutations in nats; ``stderr`` is the standard deviation between them.
        """
        of_a, of_b = self._side(a, "a", self.compress_x), self._side(b, "b", self.compress_t)
        first, second = self._codes(of_a, of_b, self.k_x or self.k, self.k)
        return self._inner().baseline(first[0], second[0], repeats=repeats, seed=seed)

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> LossyCompression:
        """Return the estimator; if the inputs are given, they are compressed only once."""
        return self if inputs is None else self.with_inputs(inputs, labels)

    def with_inputs(self, x: np.ndarray, y: Any = None) -> LossyCompression:
        """Return the estimator with these inputs, compressed once for all layers and epochs.

        Args:
            x: the inputs, ``(n, ...)``, with which ``estimate`` will be called.
            y: not used.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _OfInputs(**fields, inputs=self._side(x, "x", self.compress_x))

    def _between(self, first: _Side, b: Any, k_a: int | None) -> MutualInformation:
        second = self._side(b, "b", self.compress_t)
        check_lengths(first.values, second.values)
        parts: dict[str, Estimate] = {}
        k = self.k
        while True:
            of_a, of_b = self._codes(first, second, k_a or k, k)
            estimate = self._inner().mutual_information(of_a[0], of_b[0])
            best = max(parts.values(), key=float, default=None)
            parts[f"k={k}"] = estimate
            rises = best is None or (
                estimate.value > best.value + 2 * max(estimate.stderr, best.stderr)
            )
            if rises:
                left = {
                    "a left_out": first.left_out(of_a[0], second.components),
                    "b left_out": second.left_out(of_b[0], first.components),
                }
                few = first.has_few_rows(of_a[0]) or second.has_few_rows(of_b[0])
                flagged = _flagged(estimate, left.values(), first.linear, second.linear, few)
                kept, details = flagged, {
                    **{name: found.value for name, found in left.items()},
                    **{f"a {name}": value for name, value in of_a[1].items()},
                    **{f"b {name}": value for name, value in of_b[1].items()},
                    "k": float(k),
                }  # fmt: skip
            if not self.sweep or not rises or 2 * k > min(16, max(first.dim, second.dim)):
                break
            k *= 2
        return MutualInformation(
            kept.value, kept.stderr, flags=kept.flags, n=kept.n, dim=second.dim,
            lower=max(0.0, kept.value - 2 * kept.stderr), upper=kept.value + 2 * kept.stderr,
            parts=parts, details=details,
        )  # fmt: skip

    def _codes(self, first: _Side, second: _Side, k_a: int, k_b: int) -> tuple[_Codes, _Codes]:
        check_lengths(first.values, second.values)
        return first.codes(k_a, second.values), second.codes(k_b, first.values)

    def _side(self, values: Any, name: str, compressor: Any) -> _Side:
        if self._sides is None:
            return self._new_side(values, name, compressor)
        key = id(values), id(compressor)
        if key not in self._sides:  # with the values, so that their id remains theirs
            self._sides[key] = values, self._new_side(values, name, compressor)
        return self._sides[key][1]

    def _new_side(self, values: Any, name: str, compressor: Any) -> _Side:
        values = as_array(values, name)
        as_samples(values, name)
        rows = np.random.default_rng(self.seed).permutation(len(values))
        sides = (self.compress_x, self.compress_t)
        fitted = all(isinstance(side, compression.Compressed) for side in sides)
        cut = 0 if fitted else round(self.fit_share * len(values))
        rest = rows if self.fit_share == 1 else rows[cut:]
        return _Side(values, compressor, rows[:cut], rest, self.seed)

    def _inner(self) -> Any:
        return _ESTIMATORS[self.estimator](self)


def _flagged(
    estimate: Any,
    left: Iterable[Estimate],
    a: width.Linear,
    b: width.Linear | width.OneHot,
    few: bool,
) -> Any:
    """Return the estimate, with the flag ``lossy`` if codes leave out much information.

    If this is not found, and there are too few rows to find it, the flag is ``few_rows``.

    Args:
        estimate: the estimate from the codes.
        left: what the codes of each variable leave out.
        a: the first variable before the compression.
        b: the second variable before the compression.
        few: whether there are too few rows.
    """
    matters = any(
        one.value > _SHARE * estimate.value + _ERRORS * one.stderr for one in left if one.value
    )
    if matters or width.linear_shows_more(a, b, width.Claim.of(estimate)):
        return dataclasses.replace(estimate, flags=(*estimate.flags, FLAG))
    if few and "few_rows" not in estimate.flags:
        return dataclasses.replace(estimate, flags=(*estimate.flags, "few_rows"))
    return estimate


def components(values: np.ndarray) -> np.ndarray:
    """Return up to 50 principal components of unit variance, ``(n, k)``.

    Args:
        values: samples, ``(n, d)``.
    """
    if values.shape[1] > _WIDE:
        fitted = compression.PCA(min(_COMPONENTS, len(values))).fit(values)
        values = fitted.transform(values)
    return Whitening(values, _COMPONENTS)(values).astype(np.float64)


def left_out(first: np.ndarray, second: np.ndarray, codes: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate I(A;B|E(A)), the information that codes of A leave out, in nats.

    I(A;B) = I(E(A);B) + I(A;B|E(A)). Principal components of A and of B are predicted from the
    codes by kernel ridge regression. If the codes have all the information, the residuals of A and
    of B are uncorrelated, even if the predictions have small errors. The estimate is
    −½ ln(1 − ρ²) for the largest canonical correlation ρ of the residuals, measured on rows that
    were not used to compute the canonical variates; it is 0 if ρ is not significant. More
    information may be left out in other directions, or as dependence without correlation.

    Args:
        first: the components of A, as ``components`` returns them.
        second: the components of B.
        codes: codes of A, ``(n, k)``.
        seed: seed of the choice of kernels.

    References:
        Shah & Peters, Ann. Statist. 48, 2020 (conditional dependence by residuals of regressions).
    """
    train, held = np.split(np.arange(len(codes)), [len(codes) // 2])
    # Columns are predicted independently, so both variables can share one regression.
    rest = _unpredicted(np.concatenate([first, second], axis=1), codes, seed)
    left = [
        Whitening(part[train], _COMPONENTS)(part)
        for part in np.split(rest, [first.shape[1]], axis=1)
    ]
    rho = canonical(left[0], left[1], train, held)[2]
    largest = float(rho.max())
    # The largest of several correlations is above 0 by chance.
    chance = math.sqrt(_SIGNIFICANT**2 + 2 * math.log(len(rho))) / math.sqrt(len(held))
    if largest < chance:
        return Estimate(0.0, 0.0, kind="lower", n=len(held))
    error = largest / math.sqrt(len(held))
    return Estimate(-0.5 * math.log1p(-(largest**2)), error, kind="lower", n=len(held))


def _unpredicted(values: np.ndarray, codes: np.ndarray, seed: int) -> np.ndarray:
    """Return values minus their predictions from codes; few codes predict by their means."""
    found, of = np.unique(codes, axis=0, return_inverse=True)
    if len(found) < _LEAST:
        groups = pd.DataFrame(values).groupby(of.reshape(-1))
        return values - groups.transform("mean").to_numpy()
    white = Whitening(codes, _COMPONENTS)(codes).astype(np.float64)
    return residuals(white, values, np.arange(len(codes)), seed).values


def _paired(compressor: Any) -> bool:
    """Return whether a compressor sees both variables."""
    return getattr(compression.get(compressor), "paired", False)


class _Side:
    """A variable with its compressors: fitted on some rows, applied to other rows, and cached."""

    def __init__(
        self, values: np.ndarray, compressor: Any, fit: np.ndarray, rest: np.ndarray, seed: int
    ) -> None:
        self.values, self.rest = values, rest
        self.n, self.dim = len(values), values[0].size
        self.fit, self._compressor, self._seed = fit, compressor, seed
        self._codes: dict[int, _Codes] = {}
        self._other: np.ndarray | None = None
        self.linear = width.Linear(Rows.of(values.reshape(self.n, -1)).take(rest))

    def codes(self, k: int, other: np.ndarray) -> _Codes:
        """Return the codes ``(rows, k)`` and the compressor's quality.

        Args:
            k: the number of codes.
            other: the other variable, ``(n, ...)``, for compressors that predict it.
        """
        compressor = compression.get(self._compressor, k=k)
        more = {}
        if _paired(compressor):
            if other is not self._other:
                self._codes.clear()  # the codes are those for another layer
            self._other = other
            more = {"other": other[self.fit]}
        if k not in self._codes:
            if self.dim <= k:
                self._codes[k] = as_samples(self.values[self.rest]).astype(np.float64), {}
            else:
                fitted = compressor.fit(self.values[self.fit], **more, seed=self._seed)
                size = max(1024, _VALUES_AT_A_TIME // self.dim)
                parts = [
                    fitted.transform(self.values[self.rest[part]])
                    for part in slices(len(self.rest), size)
                ]
                self._codes[k] = np.concatenate(parts), fitted.quality
        return self._codes[k]

    @functools.cached_property
    def components(self) -> np.ndarray:
        """Principal components of the first rows, for what the codes of each side leave out."""
        return components(as_samples(self.values[self.rest[:_ROWS]]))

    def has_few_rows(self, codes: np.ndarray) -> bool:
        """Return whether there are too few rows to find what the codes leave out."""
        least = max(_FEW, _FEW_EACH * min(self.dim, _COMPONENTS))
        return self.dim > codes.shape[1] and len(self.rest) < least

    def left_out(self, codes: np.ndarray, other: np.ndarray) -> Estimate:
        """Estimate the information about the other variable that the codes leave out, in nats.

        Args:
            codes: the codes of this variable.
            other: the components of the other variable.
        """
        if self.dim <= codes.shape[1]:  # nothing was compressed
            return Estimate(0.0, 0.0, kind="lower", n=len(other))
        return left_out(self.components, other, codes[:_ROWS])


@dataclasses.dataclass(frozen=True)
class _OfInputs(LossyCompression):
    inputs: Any = None

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> MutualInformation:
        return self._between(self.inputs, b, self.k_x)
