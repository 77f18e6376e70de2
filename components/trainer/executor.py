"""Trains a model and saves checkpoints at the selected epochs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import pandas as pd

from ib_keras import instrument, models
from ib_keras.components.artifacts import examples
from ib_keras.components.artifacts.checkpoints import LOGS, SCHEMA, VERSION, name, read
from ib_keras.instrumentation.model import InstrumentedModel
from ib_keras.storage import atomic, manifests
from ib_keras.training import schedule


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
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a model with Adam and cross-entropy; checkpoints are instrumented models.

    A model whose output has the shape of its input is trained to reconstruct it, with the mean
    squared error. Arguments that are not listed here are those of the component ``trainer``.

    Args:
        data: the folder that ``examples`` wrote.
        output: the folder to write.
        model: any identifier that ``ib_keras.models.build`` accepts: a name, JSON with parameters,
            a ``.keras`` file, or ``"module:function"``. Its JSON may also name a ``"loss"``, and
            the ``"layers"`` to record.
        progress: whether to show Keras's progress bar.

    Returns:
        Facts about the training, for the artifact's metadata.
    """
    selects = schedule.selector(schedule.parse(record))
    keras.utils.set_random_seed(seed)
    loaded = examples.read(data)
    built = models.build(
        model, input_shape=loaded.input_shape, n_classes=loaded.n_classes, seed=seed
    )
    if isinstance(built, InstrumentedModel):
        noisy = built
    else:
        model_noise = models.noise_std(model)
        noise = noise_std if model_noise is None else model_noise
        noisy = instrument(built, noise, layers=models.layers(model), seed=seed)
    label = models.label(model)
    x, y = loaded.split("train")
    held_out = loaded.split("test")
    reconstructs = models.reconstructs(built, loaded.n_classes)
    if reconstructs:
        y, held_out = x, (held_out[0], held_out[0])
    # For small networks, the overhead of one call per batch would dominate.
    noisy.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=models.loss(model) or ("mse" if reconstructs else _loss(noisy.output_shape)),
        metrics=[] if reconstructs else ["accuracy"],
        steps_per_execution=min(64, -(-len(x) // batch_size)),
    )
    folder = pathlib.Path(output)

    def fill(temporary: pathlib.Path) -> None:
        saver = _Saver(temporary, lambda epoch: selects(epoch, epochs))
        noisy.fit(
            x,
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=held_out,
            verbose="auto" if progress else 0,
            callbacks=[saver],
        )
        pd.DataFrame(saver.logs).to_parquet(temporary / LOGS, index=False)
        manifests.write_manifest(
            temporary, SCHEMA, VERSION, run=label, epochs=saver.epochs, model=str(model), seed=seed,
            files=manifests.checksums(temporary),
        )  # fmt: skip

    atomic.write_folder(folder, fill)
    last = read(folder).logs.iloc[-1]
    return {"run": label, "epochs": epochs, **{key: float(last[key]) for key in last.index[1:]}}


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


def _loss(output_shape: tuple) -> str:
    return "binary_crossentropy" if output_shape[-1] == 1 else "sparse_categorical_crossentropy"
