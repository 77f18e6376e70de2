"""Backup: saves the training state, so that an interrupted training can be resumed."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from ib_keras.training.state import load, restore, save


class Backup(keras.callbacks.Callback):
    """Saves the training state after each epoch, so that an interrupted ``fit`` can be resumed.

    Unlike ``keras.callbacks.BackupAndRestore``, it is safe if the process is killed at any moment.
    Keras's callback writes two files in place; if one is incomplete, or of another epoch than the
    other, resuming fails or gives a wrong result. Here the variables of the model and the
    optimizer and the number of the epoch are in one file, which is replaced atomically.

    Put it last in the list of callbacks, so that the other callbacks have saved an epoch before
    its backup. The state of global random generators, which determine for example how ``fit``
    shuffles arrays, is not saved. A resumed training is bitwise the same with ``shuffle=False``,
    or with a ``tf.data.Dataset`` whose order depends on the epoch only.

    Args:
        path: the file to write; it is removed at the end of training.

    Raises:
        StoreError: At the start of training, if the file is damaged or belongs to another model.

    Example::

        callbacks = [ib_keras.Recorder("runs/mine", inputs=x, targets=y),
                     ib_keras.Backup("runs/mine.backup")]
        model.fit(x_train, y_train, epochs=1000, callbacks=callbacks)  # and again when killed
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = pathlib.Path(path)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the model and the optimizer, if there is a backup."""
        if not self.path.exists():
            return
        state = load(self.path)
        restore(self.path, state, self._variables())
        # `fit` reads this attribute, which Keras's own callback sets as well.
        self.model._initial_epoch = int(state["epoch"])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save the state."""
        save(self.path, self._variables(), epoch=epoch + 1)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _variables(self) -> list[Any]:
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return [*self.model.variables, *([] if optimizer is None else optimizer.variables)]
