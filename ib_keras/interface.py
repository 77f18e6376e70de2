"""The interface of estimators; this module imports nothing from the package."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

Kind = Literal["estimate", "lower", "upper"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One estimated quantity in nats, with its standard error.

    Args:
        value: the estimate in nats; NaN if it is not available.
        stderr: its standard error in nats; NaN if it is unknown.
        kind: ``"estimate"``, or ``"lower"`` or ``"upper"`` for a bound on the true value.
        flags: reasons not to trust the value; empty if there are none.
        n: number of samples.
        dim: dimension of the variable whose information was estimated.
    """

    value: float
    stderr: float = math.nan
    kind: Kind = "estimate"
    flags: tuple[str, ...] = ()
    n: int = 0
    dim: int = 0

    def __float__(self) -> float:
        return float(self.value)


@dataclasses.dataclass(frozen=True)
class MutualInformation(Estimate):
    """An estimate of I(A;B), with its interval and its parts.

    Args:
        lower: lower end of the interval, in nats.
        upper: upper end of the interval, in nats.
        parts: the estimates of each estimator or each step, by name.
        details: further numbers or texts by name, such as the quality of a compression, or the
            reason why there is no estimate.
    """

    lower: float = math.nan
    upper: float = math.nan
    parts: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LayerInformation:
    """The information of one layer's representation T.

    Args:
        xt: I(X;T).
        ty: I(T;Y); ``None`` without Y.
        others: further quantities by name, such as ``"H(X|T)"``.
    """

    xt: Estimate
    ty: Estimate | None = None
    others: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Traits:
    """The requirements of an estimator besides T, and its additional methods.

    Args:
        inputs: whether the estimator compares T with X. Other estimators only need to know which
            inputs are equal.
        propagations: whether the estimator needs S, a layer's output before the layer's own noise,
            and inputs that are propagated several times. Its ``estimate`` then gets S as ``t``. If
            S is random given X, ``estimate`` also gets ``conditional``, and in a further argument
            ``conditional_rows`` the rows ``(m,)`` of ``t`` that have these inputs. The estimator
            must derive from ``estimators.base.BaseEstimator``, whose attributes
            ``conditional_inputs`` and ``propagations`` are the numbers m and n_x for a model.
        all_epochs: whether the estimator needs the smallest and the largest value over all layers
            and epochs.
        pairs: whether its ``mutual_information`` takes any two variables.
        labels_alone: whether its ``with_labels`` estimates I(T;Y) without I(X;T).
    """

    inputs: bool = False
    propagations: bool = False
    all_epochs: bool = False
    pairs: bool = False
    labels_alone: bool = False


@runtime_checkable
class Estimator(Protocol):
    """The methods of every estimator."""

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I(X;T) and I(T;Y).

        Args:
            t: the layer's outputs, ``(n, ...)``, which are flattened to ``(n, d)``.
            y: class labels, ``(n,)`` or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are floats that are not labels.
            x: the inputs, ``(n, ...)``; ``None`` if all n inputs are distinct.
            noise_std: standard deviation of the Gaussian noise that the network adds to this layer.
            conditional: outputs for m inputs, each propagated n_x times, ``(m, n_x, ...)``, for
                estimators with the trait ``propagations``.
        """
        ...

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, which can be serialised to JSON."""
        ...
