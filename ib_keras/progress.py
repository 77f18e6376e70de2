"""Progress bars with the remaining time, for terminals."""

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
    """Wrap ``items`` in tqdm's progress bar.

    The bar appears after two seconds, on terminals only, and disappears at the end.

    Args:
        items: the items to iterate over; ``None`` to call ``update`` by hand.
        what: text before the bar.
        unit: name of one item.
        total: number of items, if ``items`` has no length.
        show: ``False`` disables the bar.
    """
    # With ``disable=None``, tqdm prints nothing if stderr is not a terminal.
    return tqdm(
        items, what, total, unit=unit, leave=False, delay=_DELAY, dynamic_ncols=True,
        disable=None if show else True,
    )  # fmt: skip


def of_fit(what: str, epochs: int, *, start: int = 0) -> Any:
    """Return a Keras callback that shows a progress bar over the epochs of one ``fit``.

    Args:
        what: text before the bar.
        epochs: the last epoch.
        start: the epoch at which training starts.
    """
    import keras

    epoch_bar = bar(what=what, unit="epoch", total=epochs - start)
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epoch_bar.update(),
        on_train_end=lambda logs: epoch_bar.close(),
    )
