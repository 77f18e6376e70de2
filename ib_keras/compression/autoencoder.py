"""The networks of ``compression.Autoencoder``, compiled once for each shape."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from ib_keras.errors import ArgumentError
from ib_keras.progress import of_fit
from ib_keras.training.batches import batches, in_order
from ib_keras.training.retrained import Retrained

_KEPT = 4
# Rows whose codes or errors are one step.
_AT_ONCE = 1024
# Whatever the global policy.
_EXACT: dict[str, Any] = {"dtype": "float32"}


@functools.lru_cache(maxsize=_KEPT)
def network(made: Any, shape: tuple[int, ...], size: int, steps: int, seed: int) -> Network:
    """The network of an autoencoder for rows of a shape, flat of a size.

    Args:
        made: the ``compression.Autoencoder`` that is asked for.
        shape: of a row.
        size: of a row, flat.
        steps: batches of an epoch.
        seed: of weights, noise and batches.
    """
    return Network(made, shape, size, steps, seed)


class Network:
    """Encoder and decoder, which can be trained again and again.

    One after the other: training and encoding wait for the lock.
    """

    def __init__(self, made: Any, shape: tuple[int, ...], size: int, steps: int, seed: int) -> None:
        self._made, self._steps, self._seed = made, steps, seed
        self._encoder = _encoder(made, shape, seed)
        self._model = keras.Sequential([self._encoder, *_decoder(made, size, seed)])
        rate = keras.optimizers.schedules.CosineDecay(made.learning_rate, steps * made.epochs)
        optimizer = keras.optimizers.Adam(rate)
        # One call of the compiled program an epoch.
        self._model.compile(optimizer, "mse", steps_per_execution=steps)
        self._training = Retrained(self._model)

    def train(
        self, train: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray]
    ) -> tuple[list[np.ndarray], float]:
        """Trains anew.

        Args:
            train: rows, and the same rows flat.
            held: of the rows that say when to stop.

        Returns:
            The encoder's weights, and the mean squared error of the held-out rows.
        """
        made = self._made
        stop = keras.callbacks.EarlyStopping(
            patience=made.patience, restore_best_weights=True, start_from_epoch=made.patience
        )
        # Batches of one size, of which an epoch leaves next to nothing out.
        size = len(train[0]) // self._steps
        data, steps = batches(train, size, self._seed, range(made.epochs), multiple=self._steps)
        held_out = in_order(held, _AT_ONCE)
        with self._training.lock:
            self._training.restart()
            self._model.fit(
                data, steps_per_epoch=steps, validation_data=held_out, epochs=made.epochs,
                verbose=0, shuffle=False, callbacks=[stop, of_fit("autoencoder", made.epochs)],
            )  # fmt: skip
            error = self._model.evaluate(held_out, verbose=0)
            return self._encoder.get_weights(), float(error)

    def encode(self, weights: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Codes ``(n, k)`` by the encoder with these weights."""
        with self._training.lock:
            self._encoder.set_weights(weights)
            codes = self._encoder.predict(in_order((rows,), _AT_ONCE), verbose=0)
        return np.asarray(codes, np.float64)


def _encoder(made: Any, shape: tuple[int, ...], seed: int) -> keras.Sequential:
    layers: list[keras.Layer] = [keras.Input(shape, dtype="float32")]
    if made.convolutional:
        if len(shape) != 3 or min(shape[:2]) < 8:
            raise ArgumentError(
                "Convolutions want images", "(n, height, width[, channels]) >= 8×8", shape
            )
        for i, filters in enumerate((16, 32, 64)):
            start = keras.initializers.GlorotUniform(seed=1000 * seed + 20 + i)
            layers.append(
                keras.layers.Conv2D(
                    filters, 3, strides=2, padding="same", activation="silu",
                    kernel_initializer=start, **_EXACT,
                )
            )  # fmt: skip
    layers.append(keras.layers.Flatten(**_EXACT))
    for i, width in enumerate((256, 256, 128)):
        start = keras.initializers.GlorotUniform(seed=1000 * seed + i)
        layers.append(
            keras.layers.Dense(width, activation="silu", kernel_initializer=start, **_EXACT)
        )
    start = keras.initializers.GlorotUniform(seed=1000 * seed + 3)
    layers.append(keras.layers.Dense(made.k, activation="tanh", kernel_initializer=start, **_EXACT))
    return keras.Sequential(layers)


def _decoder(made: Any, size: int, seed: int) -> list[keras.Layer]:
    layers: list[keras.Layer] = [keras.layers.GaussianNoise(made.noise, seed=seed, **_EXACT)]
    for i, (width, activation) in enumerate(
        ((128, "silu"), (256, "silu"), (256, "silu"), (size, None))
    ):
        start = keras.initializers.GlorotUniform(seed=1000 * seed + 10 + i)
        layers.append(
            keras.layers.Dense(width, activation=activation, kernel_initializer=start, **_EXACT)
        )
    return layers
