"""Schedules of the recorded epochs."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.checks import check_count
from ib_keras.errors import ArgumentError

Epochs = str | int | Iterable[int] | Callable[[int], bool]
_PER_DECADE = 20
_POINTS = re.compile(r"log:([0-9]{1,9})")


def log_epochs(last: int, points: int | None = None) -> list[int]:
    """Return 0, epochs that are evenly spaced on a logarithmic scale, and ``last``.

    Args:
        last: the last epoch.
        points: number of points from 1 to ``last``, which are rounded to epochs. Fewer epochs may
            remain, because several early points round to the same epoch. ``None`` for about 20
            epochs per decade, which do not depend on ``last``: 0, 1, 2, …, 10, 11, 13, 14, ….
    """
    if points is not None:
        spaced = np.logspace(0, math.log10(last), points) if last > 0 else ()
        return sorted({0, last, *(round(epoch) for epoch in spaced)})
    epochs, k = {0, last}, 0
    while (epoch := round(10 ** (k / _PER_DECADE))) < last:
        epochs.add(epoch)
        k += 1
    return sorted(epochs)


def selector(epochs: Epochs) -> Callable[[int, int | None], bool]:
    """Return a function of the epoch and the last epoch that says whether to record the epoch.

    Args:
        epochs: ``"log"``; ``"log:100"`` for 100 points between the first and the last epoch (see
            ``log_epochs``); an integer k for every k-th epoch; a list of epochs; or a function from
            the epoch to a boolean. Epoch 0 is before training, epoch e is after e epochs.

    Raises:
        ArgumentError: If ``epochs`` is something else. The returned function raises it if
            ``"log:100"`` is used in a training whose last epoch is not known.
    """
    if callable(epochs):
        return lambda epoch, last: bool(epochs(epoch))
    if epochs == "log":
        return lambda epoch, last: epoch in log_epochs(epoch + 1) or epoch == last
    if isinstance(epochs, str) and (match := _POINTS.fullmatch(epochs)):
        return functools.partial(_selects_points, check_count(int(match[1]), "epochs", minimum=2))
    if isinstance(epochs, (int, float)):
        step = check_count(epochs, "epochs")
        return lambda epoch, last: epoch % step == 0
    if isinstance(epochs, Iterable) and not isinstance(epochs, str):
        chosen = {check_count(epoch, "epochs", minimum=0) for epoch in epochs}
        return lambda epoch, last: epoch in chosen
    raise ArgumentError(
        "`epochs` is not a schedule",
        "'log', 'log:100', a step, a list of epochs, or a predicate",
        repr(epochs),
    )


def beyond(epochs: Epochs, last: int | None) -> list[int]:
    """Return the epochs of a list that a training does not reach; empty for other schedules.

    Args:
        epochs: the schedule.
        last: the last epoch of the training, if it is known.
    """
    if last is None or isinstance(epochs, str) or not isinstance(epochs, Sequence):
        return []
    return sorted({int(epoch) for epoch in epochs if int(epoch) > last})


def _selects_points(points: int, epoch: int, last: int | None) -> bool:
    if last is None:
        raise ArgumentError(
            f"The schedule 'log:{points}' needs the last epoch",
            "a training by `fit` with its number of epochs, or a list of epochs",
            "an unknown number of epochs",
        )
    return epoch in _epochs_of(last, points)


@functools.cache
def _epochs_of(last: int, points: int) -> frozenset[int]:
    return frozenset(log_epochs(last, points))


def parse(text: str) -> Epochs:
    """Parse a schedule: ``"log"``, ``"log:100"``, or JSON such as ``10`` or ``[0, 1, 10]``.

    Raises:
        ArgumentError: If the text is none of these.
    """
    if text == "log" or _POINTS.fullmatch(text):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ArgumentError(
            "`record` is not a schedule",
            '"log", "log:100", or JSON such as 10 or [0, 1, 10]',
            repr(text),
        ) from None


def split(identifier: Any, record: Epochs) -> tuple[Any, Epochs]:
    """Split an estimator's configuration into the estimator and its schedule.

    Args:
        identifier: an identifier that ``estimators.get`` accepts, or a dictionary or its JSON with
            a schedule as ``"record"``.
        record: the schedule of an estimator without one of its own.

    Returns:
        The identifier without the schedule, and the schedule.

    Raises:
        ArgumentError: If the schedule is a text that cannot be parsed.
    """
    if isinstance(identifier, str) and identifier.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # invalid JSON is refused later
            identifier = json.loads(identifier)
    if not isinstance(identifier, Mapping) or "record" not in identifier:
        return identifier, record
    own = identifier["record"]
    rest = {key: value for key, value in identifier.items() if key != "record"}
    return rest, parse(own) if isinstance(own, str) else own
