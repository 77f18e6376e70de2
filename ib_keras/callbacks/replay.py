"""replay(): records a training that took place elsewhere, from its checkpoints."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import pandas as pd

from ib_keras import frame
from ib_keras.activations import ActivationStore
from ib_keras.callbacks.recorder import Recorder
from ib_keras.models import from_checkpoints
from ib_keras.storage import atomic, checkpoint_files
from ib_keras.storage.checkpoint_files import Checkpoints
from ib_keras.training import logs as training_logs
from ib_keras.training.logs import Logs


def replay(
    path: str | os.PathLike,
    checkpoints: Checkpoints,
    inputs: Any,
    targets: Any = None,
    *,
    model: keras.Model | Callable[[], keras.Model] | None = None,
    pattern: str | None = None,
    logs: Logs = None,
    **recorder_arguments: Any,
) -> ActivationStore | pd.DataFrame:
    r"""Record a training that took place elsewhere, from its checkpoints.

    All checkpoints are compared with the first one, or with ``model``, before the first one is
    recorded. Optimizers in the files are ignored.

    Args:
        path: a new folder to write, as for ``Recorder``.
        checkpoints: a glob such as ``"run/*.keras"``, a list of paths, or a mapping from epochs to
            paths, where epoch e is the network after e epochs. The files are ``.keras`` files; or,
            with ``model``, weights in ``.weights.h5`` or other HDF5 files, or TensorFlow
            checkpoints, which are named by their prefix or their ``.index`` file.
        inputs: X, as for ``Recorder``.
        targets: Y, as for ``Recorder``.
        model: the network, or a function without arguments that returns it; needed for weights
            without a model, and for ``.keras`` files with classes that are not registered. At the
            end it has the weights of the last checkpoint. An instrumented model adds its noise.
        pattern: regular expression with one group, the epoch, which is searched in the name of each
            file: ``r"step_(\d+)"``. By default, the epoch is the integer after the word "epoch", or
            else the only integer that differs between the names. Decimal numbers are ignored, so
            that ``weights.05-0.33.keras`` belongs to epoch 5.
        logs: losses and metrics of the training for the report: the file of a ``CSVLogger``, a
            DataFrame, or a list of dictionaries, with the column or key ``epoch``, which Keras
            counts from 0. The logs of Keras's epoch e belong to the network after e + 1 epochs.
        **recorder_arguments: further arguments of ``Recorder``, such as ``layers``,
            ``estimators``, ``seed`` and ``run``. All checkpoints are recorded, unless ``epochs`` is
            given.

    Returns:
        The store of activations; or, with ``keep="estimates"``, the table of estimates.

    Raises:
        ArgumentError: If the path is taken; if a file is missing, damaged or not a checkpoint; if a
            name has no epoch, or epochs repeat; if a checkpoint has another architecture; if
            ``model`` is needed and missing; if ``logs`` cannot be read; or if an argument of
            ``Recorder`` is invalid.

    Example::

        store = ib_keras.replay(
            "runs/last_year", "old/weights.*.keras", x_test, y_test, logs="old/log.csv"
        )
        table = ib_keras.estimate(store, "ebab")
    """
    files = checkpoint_files.find(checkpoints, pattern)
    rows = training_logs.read(logs)
    atomic.check_free(pathlib.Path(path))
    recorder = Recorder(path, inputs, targets, **{"epochs": 1, **recorder_arguments})
    network, restore = from_checkpoints.open_all(files, model)
    recorder.replay(network, files, restore, rows)
    return ActivationStore(path) if recorder.keep == "activations" else frame.load(path)
