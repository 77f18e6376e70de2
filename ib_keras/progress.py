"""Progress bars, with the time left, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

_DELAY = 2.0


def bar(
    items: Iterable[Any] | None = None,
    what: str | None = None,
    *,
    unit: str = "it",
    total: int | None = None,
    show: bool = True,
) -> Any:
    """tqdm's bar around ``items``: after two seconds, on a terminal only, and gone at the end.

    Args:
        items: what is gone through; ``None`` to ``update`` by hand.
        what: said before the bar.
        unit: of which ``items`` are.
        total: their number, where they do not have a length.
        show: ``False`` keeps it silent on a terminal too.
    """
    # ``disable=None`` is tqdm's way to be silent where stderr is no terminal.
    return tqdm(
        items, what, total, unit=unit, leave=False, delay=_DELAY, dynamic_ncols=True,
        disable=None if show else True,
    )  # fmt: skip


def of_fit(what: str, epochs: int, *, start: int = 0) -> Any:
    """A Keras callback with a bar over the epochs of one ``fit``.

    Args:
        what: said before the bar.
        epochs: the last epoch.
        start: the epoch at which training begins.
    """
    import keras

    shown = bar(what=what, unit="epoch", total=epochs - start)
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: shown.update(), on_train_end=lambda logs: shown.close()
    )
