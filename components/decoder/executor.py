"""Trains decoders q(x|h) of a layer."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras import frame
from ib_keras.components.artifacts import checkpoints as trainer
from ib_keras.components.artifacts import prior as image_prior
from ib_keras.components.artifacts.samples import SAMPLES
from ib_keras.errors import ArgumentError
from ib_keras.estimation.cells import lost
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.frame.table import Where, row
from ib_keras.interface import Estimate
from ib_keras.pixelcnn.comparison import compared
from ib_keras.pixelcnn.decoding import Decoder
from ib_keras.pixelcnn.inputs import condition
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
    nothing = image_prior.read(prior, made)
    labels = parts.labels
    classes = int(max(part.max() for part in labels)) + 1
    shown = np.array([np.flatnonzero(labels[1] == y)[0] for y in np.unique(labels[1])])
    shape = parts.images[0].shape[1:]
    noise = image_prior.noise(made, shape, draws)
    judge = _last(checkpoints, classes)
    begun: Decoder | None = None
    start: list[np.ndarray] | None = None

    def decode(epoch: int, model: Any) -> tuple[dict[str, Estimate], np.ndarray]:
        """What the decoder of a checkpoint says, and images that it draws."""
        nonlocal begun, start
        train, held_out = (
            (images, condition(model.capture(x, layers=[wanted.layer])[wanted.layer]))
            for images, x in zip(parts.images, parts.inputs, strict=True)
        )
        if begun is None:
            begun = Decoder(made.settings(), shape, train[1].shape[1:])
        folder = None
        if work is not None:
            settings = [made.get_config(), *wanted, epoch, warm_start]
            own = image_prior.key(settings, train[0], saved.path(epoch).read_bytes())
            folder = pathlib.Path(work) / f"{own}-{epoch:06d}"
        given = begun.decoded(train, held_out, start=start, folder=folder, progress=progress)
        if warm_start:
            start = begun.model.get_weights()
        pair = compared(nothing, given, begun, train, held_out)
        xt, bounds = made.combine(*pair, dim=held_out[1][0].size)
        ty = made.labels((train[1], labels[0]), (held_out[1], labels[1]), classes=classes)
        samples = begun.model.sample(
            len(shown) * draws,
            np.repeat(held_out[1][shown], draws, axis=0),
            noise=np.tile(noise, (len(shown), 1, 1, 1)),
        )
        found: dict[str, Estimate] = {"I(X;T)": xt, "I(T;Y)": ty, **bounds}
        if judge is not None:
            said = judge.predict(_inputs(samples, made, parts.inputs[0]), verbose=0).argmax(axis=1)
            found["P(class kept)"] = _share(said == np.repeat(labels[1][shown], draws), xt.dim)
        return found, samples.reshape(len(shown), draws, *shape)

    rows, drawn = [], {}
    for epoch in wanted.epochs:
        since = time.perf_counter()
        model = saved.load(epoch)
        if wanted.layer not in model.tap_names:
            raise ArgumentError(
                f"{wanted.run!r} has no tap {wanted.layer!r}", model.tap_names, wanted.layer
            )
        try:
            found, drawn[epoch] = decode(epoch, model)
        # Whatever fails, such as a checkpoint whose training diverged, costs that checkpoint.
        except Exception as error:
            reason = lost(error, len(parts.images[1]), 0)
            found = dict.fromkeys(("I(X;T)", "I(T;Y)", "H(X|T)"), reason)
        where = Where(wanted.run, epoch, wanted.layer, model.tap_names.index(wanted.layer))
        seconds = time.perf_counter() - since
        rows += [row(where, made, quantity, value, seconds) for quantity, value in found.items()]
    logs = saved.logs.copy()
    logs.insert(0, "run", wanted.run)
    table = frame.from_rows(rows)
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


def _share(hits: np.ndarray, dim: int) -> Estimate:
    """The share of images that were what they should be, with its standard error."""
    n = len(hits)
    error = float(hits.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Estimate(float(hits.mean()), error, n=n, dim=dim)


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


def _inputs(samples: np.ndarray, made: DecoderBound, like: np.ndarray) -> np.ndarray:
    """Drawn images as a network takes them."""
    scaled = samples if like.dtype.kind in "iu" else samples / (made.levels - 1)
    return scaled.astype(like.dtype).reshape(-1, *like.shape[1:])
