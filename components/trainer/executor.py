"""Trains a model and saves checkpoints, or collects those of an earlier training."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from ib_keras import instrument, models
from ib_keras.components.artifacts import examples
from ib_keras.components.artifacts.checkpoints import LOGS, SCHEMA, VERSION, name, read
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation.model import InstrumentedModel
from ib_keras.models import from_checkpoints
from ib_keras.storage import atomic, manifests
from ib_keras.training import fitting, schedule
from ib_keras.training import recipe as recipes


def run(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    model: Any = "szt",
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    noise_std: float = 0.0,
    record: str = "log",
    recipe: str | Mapping[str, Any] = "{}",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a model with the cross-entropy; checkpoints are instrumented models.

    A model whose output has the shape of its input is trained to reconstruct it, with the mean
    squared error. If the labels are numbers, the loss is the mean squared error of the labels,
    which are shifted and scaled to mean 0 and standard deviation 1 over the training rows; the
    root of it and the mean absolute error (``rmse``, ``mae``) are logged in this unit. A model
    whose JSON has ``"checkpoints"`` is not trained: these are collected. Arguments that are not
    listed here are those of the component ``trainer``.

    Args:
        data: the folder that ``examples`` wrote.
        output: the folder to write.
        model: any identifier that ``ib_keras.models.build`` accepts: a name, JSON with parameters,
            a ``.keras`` file, or ``"module:function"``. Its JSON may also name a ``"loss"``, for
            which labels are not scaled, the ``"layers"`` to record, ``"shuffled_labels"``, and a
            ``"recipe"`` and ``"learning_rate"`` of its own.
        progress: whether to show Keras's progress bar.

    Returns:
        Facts about the training, for the artifact's metadata.
    """
    selects = schedule.selector(schedule.parse(record))
    how = recipes.parse(models.recipe(model) or recipe)
    learning_rate = models.learning_rate(model) or learning_rate
    own_seed = models.seed(model)
    seed = seed if own_seed is None else own_seed
    keras.utils.set_random_seed(seed)
    loaded = examples.read(data)
    with how.policy():
        built = models.build(
            model,
            input_shape=loaded.input_shape,
            n_classes=loaded.n_outputs,
            regression=loaded.is_regression,
            seed=seed,
        )
    layers = [layer for layer in getattr(built, "model", built).layers if layer.weights]
    policies = {layer.dtype_policy.name for layer in layers}
    if how.precision != "float32" and how.precision not in policies:
        raise ArgumentError(
            f"`precision` does not apply to the model {models.label(model)!r}",
            "float32, or a model that is built by name or function without a policy of its own",
            f"{how.precision}; the model's layers have {', '.join(sorted(policies))}",
        )
    if isinstance(built, InstrumentedModel):
        noisy = built
    else:
        model_noise = models.noise_std(model)
        noise = noise_std if model_noise is None else model_noise
        noisy = instrument(built, noise, layers=models.layers(model), seed=seed)
    label = models.label(model)
    files = models.checkpoints(model)
    settings = {
        "recipe": how.get_config(), "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip

    def fill(folder: pathlib.Path) -> None:
        if files:
            recorded, logs = _collect(noisy, files, folder), models.logs(model)
        else:
            saver = _Saver(folder, lambda epoch: selects(epoch, epochs))
            steps = -(-len(loaded.x_train) // batch_size)
            optimizer = how.make_optimizer(learning_rate, steps=steps, epochs=epochs)
            rows = [loaded.training(models.shuffles_labels(model), seed), loaded.split("test")]
            train, held_out = fitting.prepared(
                noisy, rows, how, optimizer, steps=steps, loss=models.loss(model),
                reconstructs=models.reconstructs(noisy.model, loaded.n_outputs),
                regression=loaded.is_regression,
            )  # fmt: skip
            noisy.fit(
                **fitting.batches(train, how, batch_size, seed),
                epochs=epochs,
                validation_data=held_out,
                validation_batch_size=batch_size,
                verbose="auto" if progress else 0,
                callbacks=[saver],
            )
            recorded, logs = saver.epochs, saver.logs
        table = pd.DataFrame(logs or {"epoch": np.empty(0, np.int64)})
        table.to_parquet(folder / LOGS, index=False)
        manifests.write_manifest(
            folder, SCHEMA, VERSION, run=label, epochs=recorded, model=str(model), seed=seed,
            training=None if files else settings, files=manifests.checksums(folder),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(output), fill)
    last = read(output).logs.tail(1).to_dict("records")
    values = {key: float(value) for row in last for key, value in row.items() if key != "epoch"}
    trained = {"checkpoints": len(files), "epochs": max(files)} if files else {"epochs": epochs}
    return {"run": label, **trained, **values}


def _collect(
    noisy: InstrumentedModel, files: Mapping[int, pathlib.Path], folder: pathlib.Path
) -> list[int]:
    """Save the networks of an earlier training, and return their epochs."""
    _, restore = from_checkpoints.open_all(files, noisy)
    for epoch in files:
        restore(epoch)
        noisy.save(folder / name(epoch), include_optimizer=False)
    return list(files)


class _Saver(keras.callbacks.Callback):
    """Saves the model before training and after the selected epochs."""

    def __init__(self, folder: pathlib.Path, selects: Any) -> None:
        super().__init__()
        self._folder, self._selects = folder, selects
        self.epochs: list[int] = []
        self.logs: list[dict[str, float]] = []

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._save(0)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.logs.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}})
        self._save(epoch + 1)

    def _save(self, epoch: int) -> None:
        if self._selects(epoch):
            self.model.save(self._folder / name(epoch), include_optimizer=False)
            self.epochs.append(epoch)
