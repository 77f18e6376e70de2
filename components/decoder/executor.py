"""Trains decoders q(x|h) of a layer."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ib_keras import frame
from ib_keras.arrays.labels import provenance_of
from ib_keras.arrays.structures import checksum, join_checksums
from ib_keras.components.artifacts import checkpoints as trainer
from ib_keras.components.artifacts import prior as image_prior
from ib_keras.components.artifacts import samples
from ib_keras.errors import ArgumentError
from ib_keras.estimation.decoding import LayerDecoding
from ib_keras.frame import provenance
from ib_keras.storage import atomic


class Cell(NamedTuple):
    """The checkpoints that one task decodes.

    Args:
        run: name of the network's run.
        layer: name of a tap.
        epochs: epochs of the checkpoints.
    """

    run: str
    layer: str
    epochs: tuple[int, ...]


def read_cell(text: str) -> Cell:
    """Read a cell from JSON.

    Args:
        text: JSON such as ``{"run": "resnet", "layer": "h3", "epochs": [0, 10]}``.

    Raises:
        ArgumentError: If ``text`` is not JSON of this form, or an epoch repeats.
    """
    invalid = ArgumentError(
        "The cell does not name a run, a layer and epochs",
        'JSON such as {"run": "resnet", "layer": "h3", "epochs": [0, 10]}',
        text,
    )
    try:
        content = json.loads(text)
        run, layer, epochs = (content.pop(key) for key in ("run", "layer", "epochs"))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise invalid from None
    whole = isinstance(epochs, list) and all(type(e) is int and e >= 0 for e in epochs)
    texts = isinstance(run, str) and isinstance(layer, str)
    if content or not whole or not texts or not epochs or len(set(epochs)) < len(epochs):
        raise invalid
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
    judged: int = 200,
    share: bool = False,
    warm_start: bool = False,
    work: str | os.PathLike | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train decoders of a layer's checkpoints, estimate, and sample images.

    Arguments that are not listed here are those of the component ``decoder``.

    Args:
        checkpoints: folders that ``trainer`` wrote, one of which is the cell's network.
        data: the folder that ``examples`` wrote, with rows set apart for decoders.
        prior: the folder that ``image_prior`` wrote, with the same ``decoder`` and
            ``max_samples``.
        output: the folder to write: estimates, logs, and samples for one held-out image of each
            class.
        work: a folder in which an interrupted training is resumed; ``None`` for no such folder.
        progress: whether to show Keras's progress bar.

    Returns:
        Facts about the estimates, for the artifact's metadata.

    Raises:
        ArgumentError: If an argument is invalid, or the cell's run, layer or epochs do not exist.
    """
    wanted, estimator = read_cell(cell), image_prior.bound(decoder)
    saved = _find(checkpoints, wanted)
    parts = image_prior.parts(data, estimator, max_samples)
    shape = parts.images[0].shape[1:]
    decoding = LayerDecoding(
        estimator, parts.images, parts.inputs, parts.labels,
        nothing=image_prior.read(prior, estimator),
        noise=image_prior.noise(estimator, shape, draws),
        judge=image_prior.model(prior, image_prior.JUDGE), asked=judged,
        start=image_prior.model(prior) if estimator.prior_epochs else None,
        share=share, warm_start=warm_start, progress=progress,
    )  # fmt: skip

    def folder(epochs: Sequence[int], train: np.ndarray) -> pathlib.Path | None:
        """Return the folder in which the training of a decoder is resumed."""
        if work is None:
            return None
        settings = [estimator.get_config(), *wanted, list(epochs), share, warm_start]
        saves = [saved.path(epoch).read_bytes() for epoch in epochs]
        return pathlib.Path(work) / f"{image_prior.key(settings, train, *saves)}-{epochs[0]:06d}"

    rows, drawn = decoding.over_training(
        saved.load, wanted.run, wanted.layer, wanted.epochs, folder=folder
    )
    logs = saved.logs.copy()
    logs.insert(0, "run", wanted.run)
    table = frame.from_rows(rows)
    origin = {
        "data": join_checksums(
            [*map(checksum, parts.inputs), checksum(np.concatenate(parts.labels))]
        ),
        "model": provenance.of_model(saved.load(wanted.epochs[0])),
        "training": saved.training,
        "labels": provenance_of(parts.label_names),
    }
    frame.with_attrs(table, provenance.attrs([estimator], **origin))
    shown = decoding.shown
    none = np.empty((0, len(shown), draws, *shape), parts.images[1].dtype)
    arrays: dict[str, Any] = {
        "originals": parts.images[1][shown],
        "samples": np.stack(list(drawn.values())) if drawn else none,
        "epochs": np.array(list(drawn), np.int64),
        "levels": np.asarray(estimator.levels),
        "run": np.asarray(wanted.run),
        "layer": np.asarray(wanted.layer),
    }

    def fill(target: pathlib.Path) -> None:
        frame.write(table, target, logs=logs)
        samples.write(target, arrays)

    atomic.write_folder(pathlib.Path(output), fill)
    last = table[table["epoch"] == wanted.epochs[-1]].set_index("quantity")["value"]
    return {"run": wanted.run, "layer": wanted.layer, "epochs": len(wanted.epochs), **last}


def _find(checkpoints: Sequence[str | os.PathLike], wanted: Cell) -> trainer.Checkpoints:
    by_run = {saved.run: saved for saved in map(trainer.read, checkpoints)}
    if wanted.run not in by_run:
        raise ArgumentError("The network does not exist", f"one of {sorted(by_run)}", wanted.run)
    saved = by_run[wanted.run]
    missing = sorted(set(wanted.epochs) - set(saved.epochs))
    if missing:
        raise ArgumentError(
            f"{wanted.run!r} has no checkpoint of {missing}", f"some of {saved.epochs}", missing
        )
    return saved
