"""Checkpoints of a training, with its logs."""

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
    """What ``run`` wrote."""

    folder: pathlib.Path
    run: str
    epochs: list[int]
    logs: pd.DataFrame

    def path(self, epoch: int) -> pathlib.Path:
        """The model at that epoch, a ``.keras`` file."""
        return self.folder / name(epoch)

    def load(self, epoch: int) -> keras.Model:
        """The model at that epoch."""
        return models.load(self.path(epoch))


def read(path: str | os.PathLike) -> Checkpoints:
    """Opens what ``run`` wrote.

    Raises:
        StoreError: it is no such folder, or damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    manifests.check_fields(folder, manifest, {"run": _is_text, "epochs": _is_epochs})
    for epoch in manifest["epochs"]:
        manifests.checked_file(folder, manifest, name(epoch))
    logs = frame.read_parquet(manifests.checked_file(folder, manifest, LOGS))
    return Checkpoints(folder, manifest["run"], manifest["epochs"], logs)


def name(epoch: int) -> str:
    """The file name of an epoch's checkpoint."""
    return f"epoch-{epoch:06d}.keras"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_epochs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(manifests.is_count, value))
