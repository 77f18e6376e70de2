"""A classifier of images that judges what decoders draw."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ib_keras import models
from ib_keras.training.batches import batches
from ib_keras.training.recipe import Recipe

_SIZES: dict[str, Any] = {"filters": (16, 32, 64), "blocks": 1}
_BATCH, _RATE, _EPOCHS = 64, 3e-3, 20


def train_judge(x: np.ndarray, y: np.ndarray, *, classes: int, seed: int) -> keras.Model:
    """Train a small residual network on rows that train no network that is measured.

    Args:
        x: images on the scale [0, 1], ``(n, height, width, channels)``.
        y: labels 0…classes−1, ``(n,)``.
        classes: number of classes.
        seed: seed of the weights and the order of the batches.
    """
    model = models.resnet(x.shape[1:], classes, **_SIZES, seed=seed)
    data, steps = batches([x, y], _BATCH, seed, range(_EPOCHS))
    optimizer = Recipe(schedule="cosine").make_optimizer(_RATE, steps=steps, epochs=_EPOCHS)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(data, steps_per_epoch=steps, epochs=_EPOCHS, shuffle=False, verbose=0)
    return model
