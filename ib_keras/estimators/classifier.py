"""Classifiers q of a layer's outputs h, for the bound I(T;Y) >= H(Y) + E[ln q(y|h)]."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from ib_keras.arrays.rows import slices
from ib_keras.pixelcnn.inputs import statistics
from ib_keras.training.batches import batches, in_order
from ib_keras.training.retrained import Retrained

# Number of compiled classifiers that are cached.
_KEPT = 8
_BATCH, _EPOCHS = 64, 200
_PREDICTED = 256
# Largest number of training steps per call of the compiled program.
_AT_ONCE = 32
# Dropout rate, and the largest number of inputs without dropout.
_DROPPED, _MAX_INPUTS_WITHOUT_DROPOUT = 0.4, 64
# Standard deviations at which values are clipped.
_CLIP = 30.0
# Number of rows that are standardised at a time, in float64.
_IN_DOUBLE = 256


def log_probabilities(
    h: np.ndarray, y: np.ndarray, held_out: np.ndarray, *, classes: int, seed: int
) -> np.ndarray:
    """Train a classifier, and return ln q(y|h) of held-out rows, ``(m, classes)``.

    Args:
        h: maps or vectors, ``(n, ...)``; a tenth of them is used for early stopping, the others for
            training.
        y: labels 0…classes−1, ``(n,)``.
        held_out: held-out rows, ``(m, ...)``.
        classes: number of classes.
        seed: seed of the split, weights, dropout and batches.
    """
    mean, std = statistics(h)

    def standard(rows: np.ndarray) -> np.ndarray:
        scaled = np.empty(rows.shape, np.float32)
        for part in slices(len(rows), _IN_DOUBLE):
            scaled[part] = np.clip((rows[part] - mean) / std, -_CLIP, _CLIP)
        return scaled

    order = np.random.default_rng(seed).permutation(len(h))
    cut = max(1, len(h) // 10)
    stop, train = (standard(h[rows]) for rows in (order[:cut], order[cut:]))
    steps = max(1, len(train) // _BATCH)
    classifier = _classifier(h.shape[1:], classes, steps // -(-steps // _AT_ONCE), seed)
    with classifier.lock:
        classifier.train((train, y[order[cut:]]), (stop, y[order[:cut]]))
        logs = classifier.model.predict(in_order((standard(held_out),), _PREDICTED), verbose=0)
    return np.asarray(logs, np.float64)


class _Classifier:
    """A network that is compiled once and can be trained repeatedly, by one thread at a time."""

    def __init__(self, shape: tuple[int, ...], classes: int, at_once: int, seed: int) -> None:
        self._at_once, self._seed = at_once, seed
        seeds = iter(np.random.SeedSequence(seed).generate_state(64).tolist())

        def weights() -> keras.initializers.Initializer:
            return keras.initializers.GlorotUniform(next(seeds))

        # Layers do not follow the global dtype policy.
        exact: dict[str, Any] = {"dtype": "float32"}
        x = inputs = keras.Input(shape, **exact)
        while x.ndim == 4 and max(x.shape[1:3]) > 4:
            x = keras.layers.Conv2D(
                64, 3, 2, padding="same", activation="relu", kernel_initializer=weights(), **exact
            )(x)
        x = keras.layers.Flatten(**exact)(x)
        for hidden in (False, True):
            if hidden or x.shape[-1] > _MAX_INPUTS_WITHOUT_DROPOUT:
                x = keras.layers.Dropout(_DROPPED, seed=next(seeds), **exact)(x)
            x = keras.layers.Dense(128, activation="relu", kernel_initializer=weights(), **exact)(x)
        outputs = keras.layers.Dense(
            classes, activation="log_softmax", kernel_initializer=weights(), **exact
        )(x)
        self.model = keras.Model(inputs, outputs)
        self.model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=1e-3),
            lambda labels, logs: -keras.ops.sum(keras.ops.one_hot(labels, classes) * logs, axis=-1),
            steps_per_execution=at_once, jit_compile=False,
        )  # fmt: skip
        self._training = Retrained(self.model)
        self.lock = self._training.lock

    def train(
        self, train: tuple[np.ndarray, np.ndarray], stop: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Train from new weights with early stopping."""
        self._training.restart()
        epochs = range(_EPOCHS)
        data, steps = batches(train, _BATCH, self._seed, epochs, multiple=self._at_once)
        self.model.fit(
            data, steps_per_epoch=steps, epochs=_EPOCHS, shuffle=False, verbose=0,
            validation_data=in_order(stop, _PREDICTED),
            callbacks=[keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)],
        )  # fmt: skip


_classifier = functools.lru_cache(maxsize=_KEPT)(_Classifier)
