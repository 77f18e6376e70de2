"""Backup: the state of a training, from which it goes on when it was interrupted."""

from __future__ import annotations

import glob
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ib_keras.errors import StoreError
from ib_keras.storage import atomic, npy


class Backup(keras.callbacks.Callback):
    """Keeps the state of a training after each epoch: an interrupted ``fit`` goes on from there.

    It is ``keras.callbacks.BackupAndRestore`` for processes that may be killed at any moment: that
    one writes its two files in place, and one that is half written, or of another epoch than its
    neighbour, is an error or a wrong result when training goes on. Here the variables of model and
    optimizer and the number of the epoch are one file, which is replaced at once.

    It stands last among the callbacks, so that whatever the others keep of an epoch is kept before
    training goes on behind it. What ``fit`` draws from global generators, such as the order in
    which it shuffles arrays, is not part of the state: training that goes on is bitwise the same
    with ``shuffle=False``, or with a ``tf.data.Dataset`` whose order the epoch decides.

    Args:
        path: of the file; it is removed when training has ended.

    Raises:
        StoreError: on the begin of training: the file is damaged or of another model.

    Example::

        callbacks = [ib_keras.Recorder("runs/mine", inputs=x, targets=y),
                     ib_keras.Backup("runs/mine.backup")]
        model.fit(x_train, y_train, epochs=1000, callbacks=callbacks)  # and again when killed
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = pathlib.Path(path)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Puts model and optimizer in the state that was kept, if there is one."""
        if not self.path.exists():
            return
        state = load(self.path)
        restore(self.path, state, self._variables())
        # Where Keras's own callback puts it, and fit looks for it.
        self.model._initial_epoch = int(state["epoch"])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the state."""
        save(self.path, self._variables(), epoch=epoch + 1)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    def _variables(self) -> list[Any]:
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *([] if optimizer is None else optimizer.variables)]


def save(path: pathlib.Path, variables: Sequence[Any], **more: Any) -> None:
    """Writes variables and arrays to one file, which replaces an earlier one at once.

    Args:
        path: of the file.
        variables: of Keras.
        **more: arrays, by names that do not begin with ``variable_``.
    """
    arrays: dict[str, Any] = {f"variable_{i}": _plain(v.numpy()) for i, v in enumerate(variables)}
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(temporary: pathlib.Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays, **more)

    atomic.remove_unfinished(path.parent, glob.escape(path.name))
    atomic.write_file(path, write)


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """What ``save`` wrote.

    Args:
        path: of the file.

    Raises:
        StoreError: it is damaged; without it, training begins anew.
    """
    try:
        return npy.read_npz(path)
    except StoreError as error:
        raise StoreError(
            error.invalid, f"{error.expected}; remove it to begin anew", error.received
        ) from None


def restore(path: pathlib.Path, state: Mapping[str, np.ndarray], variables: Sequence[Any]) -> None:
    """Gives variables the values that were kept.

    Args:
        path: of the file, for the error.
        state: what ``load`` returned.
        variables: of Keras, as many and of the same shapes as were kept.

    Raises:
        StoreError: they are others.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    kept = [state[f"variable_{i}"] for i in range(len(state)) if f"variable_{i}" in state]
    if [value.shape for value in kept] != shapes or "epoch" not in state:
        raise StoreError(
            f"{str(path)!r} is of another model",
            f"the state of {len(shapes)} variables; remove it to begin anew",
            f"{len(kept)} variables, or of other shapes",
        )
    for variable, value in zip(variables, kept, strict=True):
        dtype = np.dtype(variable.numpy().dtype)
        variable.assign(value if value.dtype == dtype else value.view(dtype))


def _plain(value: np.ndarray) -> np.ndarray:
    """The same bytes as a type that ``.npy`` files know: bfloat16 is none."""
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "V" else value
