"""The networks of ``Autoencoder`` and ``Latent``, which are compiled once for each shape."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from ib_keras.errors import ArgumentError
from ib_keras.progress import of_fit
from ib_keras.training.batches import batches, in_order
from ib_keras.training.retrained import Retrained

# Number of compiled networks that are cached.
_KEPT = 4
# Batch size for codes and errors.
_AT_ONCE = 1024
# Momentum of the moving mean and variance of the codes.
_MOMENTUM = 0.9
# Layers do not follow the global dtype policy.
_EXACT: dict[str, Any] = {"dtype": "float32"}


class Network:
    """An encoder and a decoder that can be trained repeatedly.

    Training and encoding hold a lock, so that threads take turns.

    Args:
        settings: the ``compression.Autoencoder`` or ``compression.Latent``.
        shape: shape of a row.
        size: number of values that the decoder predicts for each row.
        steps: number of batches per epoch.
        seed: seed of the weights, noise and batches.
    """

    def __init__(
        self, settings: Any, shape: tuple[int, ...], size: int, steps: int, seed: int
    ) -> None:
        self._settings, self._steps, self._seed = settings, steps, seed
        self._encoder = _encoder(settings, shape, seed)
        self._model = keras.Sequential([self._encoder, *_decoder(settings, size, seed)])
        decay_steps = steps * settings.epochs
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay_steps)
        optimizer = keras.optimizers.Adam(rate)
        # The compiled program is called once per epoch.
        self._model.compile(optimizer, "mse", steps_per_execution=steps)
        self._training = Retrained(self._model)

    def train(
        self, train: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray]
    ) -> tuple[list[np.ndarray], float]:
        """Train from new weights.

        Args:
            train: training rows, and the values to predict for them, ``(n, size)``.
            held: rows for early stopping, and the values to predict for them.

        Returns:
            The encoder's weights, and the mean squared error of the rows for early stopping.
        """
        patience, epochs = self._settings.patience, self._settings.epochs
        stop = keras.callbacks.EarlyStopping(
            patience=patience, restore_best_weights=True, start_from_epoch=patience
        )
        # With this batch size, an epoch leaves out fewer rows than it has steps.
        size = len(train[0]) // self._steps
        data, steps = batches(train, size, self._seed, range(epochs), multiple=self._steps)
        held_out = in_order(held, _AT_ONCE)
        with self._training.lock:
            self._training.restart()
            self._model.fit(
                data, steps_per_epoch=steps, validation_data=held_out, epochs=epochs,
                verbose=0, shuffle=False, callbacks=[stop, of_fit("autoencoder", epochs)],
            )  # fmt: skip
            error = self._model.evaluate(held_out, verbose=0)
            return self._encoder.get_weights(), float(error)

    def encode(self, weights: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Return the codes of rows, ``(n, k)``, from the encoder with these weights."""
        with self._training.lock:
            self._encoder.set_weights(weights)
            codes = self._encoder.predict(in_order((rows,), _AT_ONCE), verbose=0)
        return np.asarray(codes, np.float64)


network = functools.lru_cache(maxsize=_KEPT)(Network)


def _encoder(settings: Any, shape: tuple[int, ...], seed: int) -> keras.Sequential:
    layers: list[keras.Layer] = [keras.Input(shape, dtype="float32")]
    if settings.convolutional:
        if len(shape) != 3 or min(shape[:2]) < 8:
            raise ArgumentError(
                "Convolutions need images", "(n, height, width[, channels]), at least 8×8", shape
            )
        for i, filters in enumerate((16, 32, 64)):
            layers.append(
                keras.layers.Conv2D(
                    filters, 3, strides=2, padding="same", activation="silu",
                    kernel_initializer=_initializer(seed, 20 + i), **_EXACT,
                )
            )  # fmt: skip
    layers.append(keras.layers.Flatten(**_EXACT))
    for i, width in enumerate(settings.widths):
        layers.append(_dense(width, "silu", seed, i))
    return keras.Sequential(
        [
            *layers,
            _dense(settings.k, None, seed, len(settings.widths)),
            # A bounded activation would crowd the codes at its limits and lose information.
            keras.layers.BatchNormalization(
                center=False, scale=False, momentum=_MOMENTUM, **_EXACT
            ),
        ]
    )


def _decoder(settings: Any, size: int, seed: int) -> list[keras.Layer]:
    hidden = settings.widths[::-1]
    return [
        keras.layers.GaussianNoise(settings.noise, seed=seed, **_EXACT),
        *(_dense(width, "silu", seed, 10 + i) for i, width in enumerate(hidden)),
        _dense(size, None, seed, 10 + len(hidden)),
    ]


def _dense(width: int, activation: str | None, seed: int, layer: int) -> keras.Layer:
    return keras.layers.Dense(
        width, activation, kernel_initializer=_initializer(seed, layer), **_EXACT
    )


def _initializer(seed: int, layer: int) -> keras.Initializer:
    return keras.initializers.GlorotUniform(seed=1000 * seed + layer)
