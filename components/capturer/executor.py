"""Records activations of a model's checkpoints."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Literal

import numpy as np

from ib_keras import ActivationStore, Recorder
from ib_keras.arrays.rows import some_rows
from ib_keras.components.artifacts import checkpoints as trainer
from ib_keras.components.artifacts import examples
from ib_keras.errors import ArgumentError
from ib_keras.views import parse

# Maximum number of rows on which views are fitted.
_FITTED = 1000


def run(
    checkpoints: str | os.PathLike,
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    split: Literal["train", "test", "all"] = "all",
    max_samples: int = 10_000,
    draws: int = 1,
    conditional_inputs: int = 128,
    propagations: int = 64,
    views: str = "",
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Record every tap of every checkpoint for the same rows.

    Arguments that are not listed here are those of the component ``capturer``.

    Args:
        checkpoints: the folder that ``trainer`` wrote.
        data: the folder that ``examples`` wrote.
        output: the folder of the activation store to write.
        batch_size: number of samples per forward pass.

    Returns:
        Facts about the record, for the artifact's metadata.
    """
    if split not in ("train", "test", "all"):
        raise ArgumentError("`split` is unknown", "'train', 'test' or 'all'", repr(split))
    saved = trainer.read(checkpoints)
    loaded = examples.read(data)
    x_all, y_all = loaded.split(split)
    rows = some_rows(len(x_all), max_samples)
    x, y = x_all[rows], loaded.labels(y_all[rows])
    model = saved.load(saved.epochs[0])
    recorder = Recorder(
        pathlib.Path(output), x, y, epochs=lambda epoch: True, draws=draws, seed=seed,
        batch_size=batch_size, conditional_inputs=conditional_inputs, propagations=propagations,
        views=parse(views), view_inputs=_others(loaded, split, x_all, rows), run=saved.run,
    )  # fmt: skip
    recorder.replay(
        model,
        saved.epochs,
        lambda epoch: model.load_weights(saved.path(epoch)),
        saved.logs.to_dict("records"),
        training=saved.training,
    )
    store = ActivationStore(output)
    counts = {"n": store.n, "epochs": len(store.epochs), "layers": len(store.layers)}
    return {"run": saved.run, **counts}


def _others(
    loaded: examples.Examples, split: str, inputs: np.ndarray, recorded: np.ndarray | slice
) -> np.ndarray | None:
    """Return inputs that are not recorded, on which views are fitted; ``None`` without any."""
    others = loaded.x_train if split == "test" else np.delete(inputs, recorded, axis=0)
    if not len(others) and split == "train":
        others = loaded.x_test
    return others[:_FITTED] if len(others) else None
