"""The base class of estimators, what compares pairs, and the checks that all share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ib_keras.arrays import memory
from ib_keras.config import Configured
from ib_keras.errors import ArgumentError
from ib_keras.interface import Estimate, LayerInformation, Traits

# Below this share of its ceiling an estimate may still say something about the network.
SATURATION = 0.99


class BaseEstimator(Configured):
    """All that the library asks of an estimator besides ``estimate``, with defaults.

    An estimator of yours may derive from this class and override what differs. It need not: of a
    class with ``name``, ``estimate`` and ``get_config`` the defaults are assumed.
    """

    @property
    def traits(self) -> Traits:
        """What the estimator needs, and what else it can do."""
        return Traits()

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Any:
        """The estimator, with what it learns from all layers and epochs together.

        Args:
            extent: the least and the largest value of all layers and epochs, for estimators with
                the trait ``all_epochs``.
            inputs: ``(n, ...)`` X, for estimators with the trait ``inputs``.
            labels: ``(n,)`` Y, beside the inputs.

        Returns:
            An estimator whose ``estimate`` is called in place of this one's.
        """
        return self

    def check_extent(self, low: float, high: float) -> None:
        """Raises if values from ``low`` to ``high`` cannot be estimated, before any work."""

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples.

        Args:
            n: number of samples.
            dim: dimension of T.
            dim_x: dimension of X.
            itemsize: bytes of a value of T.
        """
        return 0

    def kernel_variance(self, t: np.ndarray) -> float | None:
        """The variance of the kernel that it adds to the samples ``t (n, d)``, if there is one."""
        return None

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """I(A;B) of two variables, for estimators with the trait ``pairs``."""
        raise NotImplementedError(f"{self} takes no pair of variables")

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate | None:
        """I(A;Y) of a variable and class labels, for estimators with the trait ``labels_alone``."""
        raise NotImplementedError(f"{self} estimates I(T;Y) together with I(X;T)")


class Adapted(BaseEstimator):
    """An estimator of any class, with the defaults of ``BaseEstimator``.

    Args:
        own: an object with ``estimate`` and ``get_config``.
    """

    def __init__(self, own: Any) -> None:
        self.own = own

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the object, or of its class."""
        return getattr(self.own, "name", type(self.own).__name__)

    def get_config(self) -> dict[str, Any]:
        """The configuration of the object."""
        return self.own.get_config()

    def estimate(self, *args: Any, **kwargs: Any) -> LayerInformation:
        """The estimate of the object."""
        return self.own.estimate(*args, **kwargs)

    def __str__(self) -> str:
        # The default text has an address, which is another in each process.
        has_text = type(self.own).__repr__ is not object.__repr__
        return (
            str(self.own) if has_text or type(self.own).__str__ is not object.__str__ else self.name
        )


def declared_name(cls: Any) -> str | None:
    """The ``name`` of a class, if it has one."""
    name = getattr(cls, "name", None)
    return name if isinstance(cls, type) and isinstance(name, str) else None


def adapted(estimator: Any) -> Any:
    """The estimator itself if it derives from ``BaseEstimator``, or else one that does."""
    return estimator if isinstance(estimator, BaseEstimator) else Adapted(estimator)


class FromPairs(BaseEstimator):
    """Gives an estimator of I(A;B) for any pair its ``estimate``: I(X;T), and I(T;Y) of labels."""

    @property
    def traits(self) -> Traits:
        """It compares T with X itself, and takes any two variables."""
        return Traits(inputs=True, pairs=True, labels_alone=True)

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimates I(X;T) and, where the estimator takes labels, I(T;Y).

        Args:
            t: ``(n, ...)`` the layer's outputs.
            y: ``(n,)`` class labels, or ``(n, classes)`` one-hot.
            x: ``(n, ...)`` the inputs themselves.
            noise_std: of the layer's own noise. Without any, I(X;T) is infinite unless noise acts
                before the layer, and what is reported is how much of it n samples show: hence the
                flag ``no_noise``.
            conditional: not used.

        Returns:
            Both in nats, with standard errors.

        Raises:
            ArgumentError: ``x`` is missing, or bad samples or labels.
        """
        if x is None:
            raise ArgumentError(f"{self} compares T with X", "`x`, the inputs (n, ...)", "x=None")
        n, dim, itemsize = _size(t)
        self.check_rows(x, t)
        check_memory(self, n, dim, _size(x)[1], itemsize)
        xt = self.mutual_information(x, t)
        if not noise_std > 0:
            xt = dataclasses.replace(xt, flags=(*xt.flags, "no_noise"))
        kind = np.asarray(x).dtype
        if kind.kind in "iu" and kind.itemsize > 2:
            # Ids, such as those of tokens, come as such; the bytes of images do not.
            xt = dataclasses.replace(xt, flags=(*xt.flags, "integer_inputs"))
        return LayerInformation(xt, None if y is None else self.with_labels(t, y))

    def check_rows(self, a: Any, b: Any) -> None:
        """Raises where there are too few rows for variables of this width, before any work."""

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate | None:
        """I(A;Y) of a continuous variable and class labels; ``None`` where there is no such."""
        return None


def _size(values: Any) -> tuple[int, int, int]:
    """Number of rows, values in each, and bytes of a value."""
    array = np.asarray(values) if np.ndim(values) else np.zeros(1)
    return len(array), array[0].size if len(array) else 0, array.itemsize


def saturation(value: float, n: int, ceiling: float | None = None) -> tuple[str, ...]:
    """``("saturated",)`` when ``value`` lies within 1 % of ln n, or of a lower ceiling H(X)."""
    limit = math.log(n) if ceiling is None else min(math.log(n), ceiling)
    return ("saturated",) if limit > 0 and value >= SATURATION * limit else ()


def network_noise(noise_std: float) -> tuple[str, ...]:
    """``("network_noise",)`` for a noisy network: its noise counts as information about X."""
    return ("network_noise",) if noise_std > 0 else ()


def check_memory(
    estimator: BaseEstimator, n: int, dim: int, dim_x: int = 0, itemsize: int = 8
) -> None:
    """Raises where an estimate of samples of this size cannot fit, before it begins.

    Args:
        estimator: the estimator.
        n: number of samples.
        dim: of T.
        dim_x: of X, where the estimator wants X itself.
        itemsize: bytes of a value as it is given.

    Raises:
        ArgumentError: says what is needed and what there is.
    """
    needed, free = estimator.peak_bytes(n, dim, dim_x=dim_x, itemsize=itemsize), memory.available()
    if free is not None and needed > free:
        raise ArgumentError(
            f"An estimate by {estimator} of {n} samples in {dim} dimensions does not fit in memory",
            "fewer samples, a narrower layer, or an estimator that goes through tiles (see "
            "docs/reliability.md)",
            f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB available",
        )
