"""Backup: the state of a training, from which it goes on when it was interrupted."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from ib_keras.training.state import load, restore, save


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
