"""Schedules of the recorded epochs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ib_keras.arrays.checks import check_count
from ib_keras.errors import ArgumentError

Epochs = str | int | Iterable[int] | Callable[[int], bool]
_PER_DECADE = 20


def log_epochs(last: int) -> list[int]:
    """Return 0, about 20 epochs per decade, and ``last``: 0, 1, 2, …, 10, 11, 13, 14, ….

    Args:
        last: the last epoch.
    """
    epochs, k = {0, last}, 0
    while (epoch := round(10 ** (k / _PER_DECADE))) < last:
        epochs.add(epoch)
        k += 1
    return sorted(epochs)


def selector(epochs: Epochs) -> Callable[[int, int | None], bool]:
    """Return a function of the epoch and the last epoch that says whether to record the epoch.

    Args:
        epochs: ``"log"``; an integer k for every k-th epoch; a list of epochs; or a function from
            the epoch to a boolean. Epoch 0 is before training, epoch e is after e epochs.

    Raises:
        ArgumentError: If `epochs` is something else.
    """
    if callable(epochs):
        return lambda epoch, last: bool(epochs(epoch))
    if epochs == "log":
        return lambda epoch, last: epoch in log_epochs(epoch + 1) or epoch == last
    if isinstance(epochs, (int, float)):
        step = check_count(epochs, "epochs")
        return lambda epoch, last: epoch % step == 0
    if isinstance(epochs, Iterable) and not isinstance(epochs, str):
        chosen = {check_count(epoch, "epochs", minimum=0) for epoch in epochs}
        return lambda epoch, last: epoch in chosen
    raise ArgumentError(
        "`epochs` is not a schedule",
        "'log', a step, a list of epochs, or a predicate",
        repr(epochs),
    )


def parse(text: str) -> Epochs:
    """Parse a schedule: ``"log"``, or JSON such as ``10`` or ``[0, 1, 10]``.

    Raises:
        ArgumentError: If the text is neither.
    """
    if text == "log":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ArgumentError(
            "`record` is not a schedule", '"log", or JSON such as 10 or [0, 1, 10]', repr(text)
        ) from None
