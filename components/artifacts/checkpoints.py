"""The checkpoints and logs of a training run."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import keras
import pandas as pd

from ib_keras import frame, models
from ib_keras.storage import manifests

SCHEMA, VERSION = "ib_keras.checkpoints", 1

LOGS = "logs.parquet"


class Checkpoints(NamedTuple):
    """The checkpoints that the component ``trainer`` wrote.

    Args:
        folder: the folder of the checkpoints.
        run: name of the run.
        epochs: the epochs with a checkpoint.
        logs: Keras's logs, one row per epoch.
        training: how the network was trained; ``None`` if it was trained elsewhere.
        model: the identifier of the model, whose module may register layers.
    """

    folder: pathlib.Path
    run: str
    epochs: list[int]
    logs: pd.DataFrame
    training: dict[str, Any] | None = None
    model: str = ""

    def path(self, epoch: int) -> pathlib.Path:
        """Return the ``.keras`` file of an epoch."""
        return self.folder / name(epoch)

    def load(self, epoch: int) -> keras.Model:
        """Return the model of an epoch."""
        models.register(self.model)
        return models.load(self.path(epoch))


def read(path: str | os.PathLike) -> Checkpoints:
    """Open the checkpoints that the component ``trainer`` wrote.

    Raises:
        StoreError: If ``path`` is not a folder of checkpoints, or is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    fields = {"run": lambda value: isinstance(value, str), "epochs": _is_epochs}
    manifests.check_fields(folder, manifest, fields)
    for epoch in manifest["epochs"]:
        manifests.checked_file(folder, manifest, name(epoch))
    logs = frame.read_parquet(manifests.checked_file(folder, manifest, LOGS))
    training = manifest.get("training")
    if not isinstance(training, dict):
        training = None  # folders of earlier versions have none
    model = str(manifest.get("model", ""))
    return Checkpoints(folder, manifest["run"], manifest["epochs"], logs, training, model)


def name(epoch: int) -> str:
    """Return the file name of an epoch's checkpoint."""
    return f"epoch-{epoch:06d}.keras"


def _is_epochs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(manifests.is_count, value))
