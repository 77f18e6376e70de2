"""What estimators take and return. Imports nothing from the package, so that all of it may."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

Kind = Literal["estimate", "lower", "upper"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One estimated quantity in nats, with what is known of its error.

    Args:
        value: the estimate in nats; NaN where it is not available.
        stderr: its standard error in nats; NaN where none is known.
        kind: ``"estimate"``, or on which side of the truth a bound lies: ``"lower"``, ``"upper"``.
        flags: reasons not to take the value at face value; empty when it is trustworthy.
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
    """An estimate of I(A;B), with its interval and how it came about.

    Args:
        lower: end of the interval, in nats.
        upper: the other end.
        parts: what each estimator, or each step, said.
        details: further numbers or texts by name, such as the quality of a compression, or the
            reason why there is no estimate.
    """

    lower: float = math.nan
    upper: float = math.nan
    parts: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LayerInformation:
    """What one layer's representation T knows: I(X;T), and I(T;Y) where labels were given.

    Args:
        xt: I(X;T).
        ty: I(T;Y).
        others: further quantities by name, such as ``"H(X|T)"``.
    """

    xt: Estimate
    ty: Estimate | None = None
    others: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What an estimator needs beside T, and what else it can do.

    Args:
        inputs: whether it compares T with X itself. Other estimators only need to know which
            inputs are equal.
        propagations: whether it needs S, a layer's output before the layer's own noise, and inputs
            that are propagated several times.
        all_epochs: whether it needs the least and the largest value of all layers and epochs.
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
    """What every estimator can do."""

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimates I(X;T) and I(T;Y).

        Args:
            t: ``(n, ...)`` the layer's outputs, flattened to ``(n, d)``.
            y: ``(n,)`` class labels, or ``(n, classes)`` one-hot.
            x: ``(n, ...)`` the inputs; ``None`` says that all n are distinct.
            noise_std: standard deviation of the Gaussian noise that the network adds to this layer.
            conditional: ``(m, n_x, ...)`` outputs for m inputs, each propagated n_x times.
        """
        ...

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-serialisable."""
        ...
