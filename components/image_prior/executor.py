"""Trains a decoder without a condition, q(x)."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from ib_keras.components.artifacts.prior import (
    MODEL,
    SCHEMA,
    VERSION,
    bound,
    key,
    noise,
    parts,
    write,
)
from ib_keras.pixelcnn.comparison import prior
from ib_keras.storage import atomic, manifests


def run(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    decoder: str = "{}",
    max_samples: int = 100_000,
    draws: int = 2,
    work: str | os.PathLike | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Trains q(x), and writes it with what it says of images that it has not seen.

    Args:
        data: what ``examples`` wrote, with rows set apart for decoders.
        output: the folder to write.
        decoder: JSON of a ``DecoderBound``'s parameters.
        max_samples: at most so many rows train it, and as many are evaluated.
        draws: images to draw.
        work: where to keep what it takes to go on after an interruption.
        progress: Keras's progress bar.

    Returns:
        Facts about it, for the artifact's metadata.
    """
    made = bound(decoder)
    given = parts(data, made, max_samples)
    train, held_out = given.images
    folder = None
    if work is not None:
        folder = pathlib.Path(work) / f"prior-{key(made.get_config(), train, given.labels[0])}"
    model, said = prior(
        made.settings(), train, held_out, given.labels, folder=folder, progress=progress
    )
    samples = model.sample(draws, noise=noise(made, train.shape[1:], draws))

    def fill(target: pathlib.Path) -> None:
        model.save(target / MODEL)
        write(target / "decoded.npz", said, samples)
        files = manifests.checksums(target)
        manifests.write_manifest(target, SCHEMA, VERSION, decoder=made.get_config(), files=files)

    atomic.write_folder(pathlib.Path(output), fill)
    nats = float(said.held_out.mean())
    bits = nats / (train[0].size * float(np.log(2)))
    return {"n": len(held_out), "nll_0": nats, "bits_per_dim": bits}
