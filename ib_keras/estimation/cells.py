"""The estimates of one layer at one epoch, and their replacements if they fail."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from ib_keras.errors import ArgumentError, IbKerasError, InfiniteError
from ib_keras.frame.table import NOT_ESTIMATED
from ib_keras.interface import Estimate, LayerInformation, MutualInformation

OnError = Literal["flag", "raise"]
INFINITE = "infinite"


def check_on_error(value: Any) -> OnError:
    """Check that a value is ``"flag"`` or ``"raise"``.

    Raises:
        ArgumentError: If it is neither.
    """
    if value not in ("flag", "raise"):
        raise ArgumentError("`on_error` is unknown", "'flag' or 'raise'", repr(value))
    return value


def estimated(
    run: Callable[[Any], LayerInformation],
    labels_only: Callable[[], Estimate | None] | None,
    y: Any,
    *,
    n: int,
    dim: int,
    where: str,
    on_error: OnError,
) -> LayerInformation:
    """Run an estimate, and replace the parts that fail by NaN or infinity with a flag.

    If the estimate fails, I(X;T) and I(T;Y) are estimated separately, because only one of them may
    be impossible.

    Args:
        run: function that estimates, given the labels or ``None``.
        labels_only: function that estimates I(T;Y) only, or returns ``None`` if the estimator
            cannot; ``None`` if I(T;Y) can only be estimated together with I(X;T).
        y: the labels, or ``None``.
        n: number of samples.
        dim: dimension of the layer.
        where: the layer, epoch and estimator, for errors.
        on_error: with ``"raise"``, the error is raised instead; an ``ArgumentError`` then has
            ``where`` in its message.

    Raises:
        Exception: The error of the estimate, if ``on_error`` is ``"raise"``.
    """
    try:
        return run(y)
    except Exception as error:  # custom estimators may raise any error
        if on_error == "raise":
            raise located(error, where) from error
        if y is None:
            return LayerInformation(lost(error, n, dim))
        failed = error
    try:
        part = run(None)
    except Exception as error:
        part = LayerInformation(lost(error, n, dim))
    if labels_only is None:
        # I(T;Y) is at most H(Y), so an error about infinite information concerns I(X;T).
        return dataclasses.replace(part, ty=lost(failed, n, dim, may_be_infinite=False))
    try:
        return dataclasses.replace(part, ty=labels_only())
    except Exception as error:
        return dataclasses.replace(part, ty=lost(error, n, dim))


def lost(error: Exception, n: int, dim: int, *, may_be_infinite: bool = True) -> Estimate:
    """Return an estimate with the value NaN or infinity, and the reason in its details.

    Args:
        error: the reason; ``InfiniteError`` gives the value infinity.
        n: number of samples.
        dim: dimension of the layer.
        may_be_infinite: ``False`` gives the value NaN for any error.
    """
    infinite = may_be_infinite and isinstance(error, InfiniteError)
    reason = str(error)
    if not isinstance(error, IbKerasError):
        reason = f"{type(error).__name__}: {reason}".splitlines()[0]
    return MutualInformation(
        math.inf if infinite else math.nan,
        flags=(INFINITE if infinite else NOT_ESTIMATED,),
        n=n,
        dim=dim,
        details={"reason": reason},
    )


def located(error: Exception, where: str) -> Exception:
    """Add the place to the message of an ``ArgumentError``; return other errors unchanged."""
    if not isinstance(error, ArgumentError):
        return error
    text = error.invalid
    text = text if text.startswith("`") else f"{text[0].lower()}{text[1:]}"
    return type(error)(f"{where}: {text}", error.expected, error.received)
