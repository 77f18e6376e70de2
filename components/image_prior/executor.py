"""Trains the unconditional decoder q(x)."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from ib_keras.components.artifacts import prior as artifact
from ib_keras.components.image_prior.judge import train_judge
from ib_keras.estimation.decoding import judged
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
    """Train q(x) and a classifier that judges samples, and write the likelihoods of images.

    Arguments that are not listed here are those of the component ``image_prior``.

    Args:
        data: the folder that ``examples`` wrote, with rows set apart for decoders.
        output: the folder to write.
        work: a folder in which an interrupted training is resumed; ``None`` for no such folder.
        progress: whether to show Keras's progress bar.

    Returns:
        Facts about the model, for the artifact's metadata.
    """
    estimator = artifact.bound(decoder)
    config = estimator.get_config()
    parts = artifact.parts(data, estimator, max_samples)
    train, held_out = parts.images
    folder = None
    if work is not None:
        folder = pathlib.Path(work) / f"prior-{artifact.key(config, train, parts.labels[0])}"
    model, decoded = prior(
        estimator.settings(), train, held_out, parts.labels, folder=folder, progress=progress
    )
    classes = int(max(part.max() for part in parts.labels)) + 1
    seen, new = (images / (estimator.levels - 1) for images in parts.images)
    judge = train_judge(seen, parts.labels[0], classes=classes, seed=estimator.seed)
    recognised = judged(judge, new, parts.labels[1])
    samples = model.sample(draws, noise=artifact.noise(estimator, train.shape[1:], draws))

    def fill(target: pathlib.Path) -> None:
        model.save(target / artifact.MODEL)
        judge.save(target / artifact.JUDGE)
        artifact.write(target / "decoded.npz", decoded, samples)
        manifests.write_manifest(
            target, artifact.SCHEMA, artifact.VERSION, decoder=config,
            files=manifests.checksums(target),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(output), fill)
    nats = float(decoded.held_out.mean())
    bits = nats / (train[0].size * float(np.log(2)))
    accuracy = recognised.value
    return {"n": len(held_out), "nll_0": nats, "bits_per_dim": bits, "judge_accuracy": accuracy}
