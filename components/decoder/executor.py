"""Trains decoders q(x|h) of a layer."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras import frame
from ib_keras.components.artifacts import checkpoints as trainer
from ib_keras.components.artifacts import prior as image_prior
from ib_keras.components.artifacts.samples import SAMPLES
from ib_keras.errors import ArgumentError
from ib_keras.estimation.decoding import LayerDecoding
from ib_keras.storage import atomic


class Cell(NamedTuple):
    """What one task decodes.

    Args:
        run: the network's name.
        layer: the name of a tap.
        epochs: its checkpoints.
    """

    run: str
    layer: str
    epochs: tuple[int, ...]


def read_cell(text: str) -> Cell:
    """A cell from JSON.

    Args:
        text: ``{"run": "resnet", "layer": "h3", "epochs": [0, 10]}``.

    Raises:
        ArgumentError: it is no such JSON.
    """
    wanted = '{"run": "resnet", "layer": "h3", "epochs": [0, 10]}'
    try:
        content = json.loads(text)
        run, layer, epochs = (content.pop(key) for key in ("run", "layer", "epochs"))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise ArgumentError("The cell is not the JSON of what to decode", wanted, text) from None
    whole = isinstance(epochs, list) and all(type(e) is int and e >= 0 for e in epochs)
    texts = isinstance(run, str) and isinstance(layer, str)
    if content or not whole or not texts or not epochs or len(set(epochs)) < len(epochs):
        raise ArgumentError("The cell is not the JSON of what to decode", wanted, text)
    return Cell(run, layer, tuple(epochs))


def run(
    checkpoints: Sequence[str | os.PathLike],
    data: str | os.PathLike,
    prior: str | os.PathLike,
    output: str | os.PathLike,
    *,
    cell: str,
    decoder: str = "{}",
    max_samples: int = 100_000,
    draws: int = 2,
    warm_start: bool = False,
    work: str | os.PathLike | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Trains a decoder for each checkpoint of a layer, estimates, and draws images.

    Args:
        checkpoints: folders that ``trainer`` wrote, the cell's network among them.
        data: what ``examples`` wrote, with rows set apart for decoders.
        prior: what ``image_prior`` wrote, with the same ``decoder`` and ``max_samples``.
        output: the folder to write: estimates, logs, and for some held-out images, one of each
            class, what was drawn.
        cell: JSON: the network's name, the layer, the checkpoints' epochs.
        decoder: JSON of a ``DecoderBound``'s parameters.
        max_samples: at most so many rows train it, and as many are evaluated.
        draws: images to draw for each.
        warm_start: begins with the decoder of the checkpoint before. Later decoders have then been
            trained longer, which in a curve over training looks like a network that still learns.
        work: where to keep what it takes to go on after an interruption.
        progress: Keras's progress bar.

    Returns:
        Facts about the estimates, for the artifact's metadata.

    Raises:
        ArgumentError: an argument is invalid, or the cell names what there is not.
    """
    wanted, made = read_cell(cell), image_prior.bound(decoder)
    saved = _find(checkpoints, wanted)
    parts = image_prior.parts(data, made, max_samples)
    classes = int(max(part.max() for part in parts.labels)) + 1
    shape = parts.images[0].shape[1:]
    decoding = LayerDecoding(
        made,
        parts.images,
        parts.inputs,
        parts.labels,
        nothing=image_prior.read(prior, made),
        noise=image_prior.noise(made, shape, draws),
        judge=_last(checkpoints, classes),
        warm_start=warm_start,
        progress=progress,
    )

    def folder(epoch: int, train: np.ndarray) -> pathlib.Path | None:
        """Where the training of a checkpoint's decoder goes on after an interruption."""
        if work is None:
            return None
        settings = [made.get_config(), *wanted, epoch, warm_start]
        own = image_prior.key(settings, train, saved.path(epoch).read_bytes())
        return pathlib.Path(work) / f"{own}-{epoch:06d}"

    rows, drawn = decoding.over_training(
        saved.load, wanted.run, wanted.layer, wanted.epochs, folder=folder
    )
    logs = saved.logs.copy()
    logs.insert(0, "run", wanted.run)
    table = frame.from_rows(rows)
    shown = decoding.shown
    none = np.empty((0, len(shown), draws, *shape), parts.images[1].dtype)
    images = {
        "originals": parts.images[1][shown],
        "samples": np.stack(list(drawn.values())) if drawn else none,
        "epochs": np.array(list(drawn), np.int64),
    }
    names = {"run": wanted.run, "layer": wanted.layer}
    _write(pathlib.Path(output), table, logs, **images, levels=made.levels, **names)
    last = table[table["epoch"] == wanted.epochs[-1]].set_index("quantity")["value"]
    return {"run": wanted.run, "layer": wanted.layer, "epochs": len(wanted.epochs), **last}


def _write(folder: pathlib.Path, table: pd.DataFrame, logs: pd.DataFrame, **drawn: Any) -> None:
    """Estimates, logs and what was drawn."""
    arrays: dict[str, Any] = {name: np.asarray(part) for name, part in drawn.items()}

    def fill(target: pathlib.Path) -> None:
        frame.write(table, target, logs=logs)
        with open(target / SAMPLES, "wb") as file:
            np.savez_compressed(file, **arrays)

    atomic.write_folder(folder, fill)


def _find(checkpoints: Sequence[str | os.PathLike], wanted: Cell) -> trainer.Checkpoints:
    found = {saved.run: saved for saved in map(trainer.read, checkpoints)}
    if wanted.run not in found:
        raise ArgumentError("There is no such network", f"one of {sorted(found)}", wanted.run)
    saved = found[wanted.run]
    missing = sorted(set(wanted.epochs) - set(saved.epochs))
    if missing:
        raise ArgumentError(
            f"{wanted.run!r} has no checkpoint of {missing}", f"some of {saved.epochs}", missing
        )
    return saved


def _last(checkpoints: Sequence[str | os.PathLike], classes: int) -> Any:
    """The last checkpoint of a classifier, which judges what was drawn; ``None`` without one."""
    for saved in map(trainer.read, checkpoints):
        model = saved.load(max(saved.epochs))
        if tuple(model.output_shape[1:]) == (classes,):
            return model
    return None
