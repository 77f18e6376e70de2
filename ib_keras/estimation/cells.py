"""One cell of a table: an estimator, a layer and an epoch, and what is said where it cannot be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from ib_keras.errors import ArgumentError, IbKerasError, InfiniteError
from ib_keras.interface import Estimate, LayerInformation, MutualInformation

OnError = Literal["flag", "raise"]
NOT_ESTIMATED, INFINITE = "not_estimated", "infinite"


def check_on_error(value: Any) -> OnError:
    """``value`` if it is ``"flag"`` or ``"raise"``.

    Raises:
        ArgumentError: it is not.
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
    """What an estimator says of a layer; a value without a number where it cannot say anything.

    Where the estimator fails, I(X;T) and I(T;Y) are tried by themselves, so that one that can be
    had is not lost with the other.

    Args:
        run: the estimate, as a function of the labels or ``None``.
        labels_only: I(T;Y) alone, ``None`` if the estimator has no such; ``None`` where it can
            only be had together with I(X;T).
        y: the labels, or ``None``.
        n: number of samples.
        dim: of the layer.
        where: which layer, epoch and estimator, for errors.
        on_error: ``"raise"`` for the error itself, which then says where it happened.

    Raises:
        IbKerasError: the estimate failed, and ``on_error`` is ``"raise"``.
    """
    try:
        return run(y)
    # Whatever fails, estimators of users included, costs this cell and not the table.
    except Exception as error:
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
        return dataclasses.replace(part, ty=lost(str(failed), n, dim))
    try:
        return dataclasses.replace(part, ty=labels_only())
    except Exception as error:
        return dataclasses.replace(part, ty=lost(error, n, dim))


def lost(error: Exception | str, n: int, dim: int) -> Estimate:
    """An estimate without a number, or of an infinite information, with the reason in its details.

    Args:
        error: why.
        n: number of samples.
        dim: of the layer.
    """
    infinite = isinstance(error, InfiniteError)
    reason = str(error)
    if isinstance(error, Exception) and not isinstance(error, IbKerasError):
        reason = f"{type(error).__name__}: {reason}".splitlines()[0]
    return MutualInformation(
        math.inf if infinite else math.nan,
        flags=(INFINITE if infinite else NOT_ESTIMATED,),
        n=n,
        dim=dim,
        details={"reason": reason},
    )


def located(error: Exception, where: str) -> Exception:
    """An error of this package that says where it happened; any other as it is."""
    if not isinstance(error, ArgumentError):
        return error
    text = error.invalid
    # Names of arguments keep their case.
    text = text if text.startswith("`") else f"{text[0].lower()}{text[1:]}"
    return type(error)(f"{where}: {text}", error.expected, error.received)
