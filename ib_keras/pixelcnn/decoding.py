"""Training of decoders: one network, trained again and again on other conditions."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import check_count, check_positive, check_seed
from ib_keras.config import Configured
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.pixelcnn.network import PixelCNN, rate, widths
from ib_keras.progress import of_fit
from ib_keras.training.batches import batches, in_order
from ib_keras.training.retrained import Retrained
from ib_keras.training.state import load as load_state
from ib_keras.training.state import restore as restore_state
from ib_keras.training.state import save as save_state

# Of the rows that train, so many say when to stop.
_STOP = 0.1
_STATE = "state.npz"
# Images whose likelihood is one step.
_VALIDATED = 256


@dataclasses.dataclass(frozen=True)
class DecoderSettings(Configured):
    """A decoder's network and training, the same for all decoders that are compared.

    Args:
        levels: L, values a pixel can have.
        filters: of the ``PixelCNN``, as are the next four.
        stages: at most so many.
        resnet_blocks: of each stage.
        mixtures: components for each pixel.
        dropout: rate.
        epochs: at most so many.
        patience: epochs without a better likelihood of the rows that say when to stop.
        batch_size: images a step.
        learning_rate: Adam's at its highest: it rises for a few epochs, and falls along a cosine.
        ema_momentum: of the average of the weights, which is what is evaluated.
        jit_compile: through XLA; ``None``: where there is a GPU.
        seed: of weights, dropout, the order of the batches, and which rows say when to stop.
    """

    levels: int = 256
    filters: int | tuple[int, ...] = 32
    stages: int = 3
    resnet_blocks: int = 1
    mixtures: int = 5
    dropout: float = 0.3
    epochs: int = 60
    patience: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    ema_momentum: float = 0.99
    jit_compile: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.filters, list):
            object.__setattr__(self, "filters", tuple(self.filters))
        check_count(self.levels, "levels", 2)
        for field in ("stages", "resnet_blocks", "mixtures", "epochs", "patience", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        widths(self.filters, self.stages)
        rate(self.dropout)
        check_positive(self.learning_rate, "learning_rate")
        if not 0 <= self.ema_momentum < 1:
            raise ArgumentError(
                "`ema_momentum` is not a share", "0 <= value < 1", self.ema_momentum
            )
        check_seed(self.seed)

    def network(
        self, image_shape: tuple[int, ...], condition_shape: tuple[int, ...] | None
    ) -> PixelCNN:
        """A ``PixelCNN`` that has not been trained.

        Args:
            image_shape: height, width and channels.
            condition_shape: of h, or ``None``.
        """
        return PixelCNN(
            image_shape, condition_shape, levels=self.levels, filters=self.filters,
            stages=self.stages, resnet_blocks=self.resnet_blocks, mixtures=self.mixtures,
            dropout=self.dropout, seed=self.seed,
        )  # fmt: skip


class Decoded(NamedTuple):
    """What a decoder says: −ln q in nats, an image each, and how it was trained.

    Attributes:
        train: of the images that it was trained on, those included that said when to stop.
        held_out: of those that it has not seen.
        history: −ln q of the rows that say when to stop, by epoch.
    """

    train: np.ndarray
    held_out: np.ndarray
    history: np.ndarray


class Decoder:
    """A decoder q(x|h), or q(x), that can be trained anew without being compiled anew.

    Args:
        settings: of network and training.
        image_shape: height, width and channels.
        condition_shape: of h; ``None`` for q(x).

    Raises:
        ArgumentError: an argument is invalid.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        image_shape: tuple[int, ...],
        condition_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.settings = settings
        self.model = settings.network(image_shape, condition_shape)
        jit = settings.jit_compile
        if jit is None:
            jit = bool(tf.config.list_physical_devices("GPU"))
        optimizer = keras.optimizers.Adam(
            settings.learning_rate, use_ema=True, ema_momentum=settings.ema_momentum
        )
        self.model.compile(optimizer, jit_compile=jit)
        self._training = Retrained(self.model)

    def train(
        self,
        images: np.ndarray,
        h: np.ndarray | None = None,
        *,
        start: list[np.ndarray] | None = None,
        folder: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Trains, and keeps the weights that serve the stopping rows best.

        Args:
            images: ``(n, *image_shape)`` whole numbers.
            h: ``(n, *condition_shape)``.
            start: weights of a decoder like this (``model.get_weights()``) to begin with, and to
                keep if nothing better is found.
            folder: where to keep what it takes to go on after an interruption; training that was
                interrupted there goes on.
            progress: Keras's progress bar, in place of one over the epochs on a terminal.

        Returns:
            −ln q of the stopping rows in nats per image, by epoch; before the first epoch also, if
            there was a start.

        Raises:
            ArgumentError: there are fewer than 20 images, or they do not match.
            StoreError: what an interrupted training left in the folder is damaged.
        """
        if len(images) < 20:
            raise ArgumentError("Too few images train a decoder", ">= 20", len(images))
        self._training.restart()
        self.stop, train = stopping_rows(len(images), self.settings.seed)
        own = (images[train], None if h is None else h[train])
        held = (images[self.stop],) if h is None else (images[self.stop], h[self.stop])
        if start is None:
            self.model.initialise(*own)
        else:
            self.model.set_weights(start)
            if own[1] is not None:
                self.model.standardise(own[1])
        settings = self.settings
        keeper = _Keeper(settings, self._training.variables, folder)
        if keeper.finished:
            self.model.set_weights(keeper.weights)
            return np.array(keeper.history)
        if start is not None and not keeper.history:
            keeper.add(-float(self.model.log_prob(*held).mean()), self.model)
        callbacks: list[Any] = [
            keras.callbacks.LearningRateScheduler(
                lambda epoch, _: settings.learning_rate * _rate(epoch, settings.epochs)
            ),
            keeper,
            keras.callbacks.SwapEMAWeights(),
        ]
        if not progress:
            callbacks.append(of_fit("decoder", settings.epochs, start=keeper.epoch))
        epochs = range(keeper.epoch, settings.epochs)
        arrays = [array for array in own if array is not None]
        data, steps = batches(arrays, settings.batch_size, settings.seed, epochs)
        self.model.fit(
            data,
            steps_per_epoch=steps,
            validation_data=in_order(held, _VALIDATED),
            initial_epoch=keeper.epoch,
            epochs=settings.epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose="auto" if progress else 0,
        )
        self.model.set_weights(keeper.weights)
        return np.array(keeper.history)

    def decoded(
        self,
        train: tuple[np.ndarray, np.ndarray | None],
        held_out: tuple[np.ndarray, np.ndarray | None],
        **kwargs: Any,
    ) -> Decoded:
        """Trains on some images and says −ln q of them and of others.

        Args:
            train: images and h.
            held_out: images and h.
            **kwargs: of ``train``.
        """
        history = self.train(*train, **kwargs)
        seen, new = (-self.model.log_prob(*rows) for rows in (train, held_out))
        return Decoded(seen, new, history)


def stopping_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of n training rows say when to stop, and which train.

    Args:
        n: number of rows.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(n)
    cut = max(2, round(_STOP * n))
    return order[:cut], np.sort(order[cut:])


def _rate(epoch: int, epochs: int) -> float:
    """A share of the learning rate: Adam's first steps would undo what there is to begin with."""
    return min(1.0, (epoch + 1) / 4) * (1 + math.cos(math.pi * epoch / epochs)) / 2


class _Keeper(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and ends training when none has been better for long.

    It stands before ``SwapEMAWeights``, so that validation ends with the averages in place. With a
    folder it keeps there, in one file that is replaced at once, all that it takes to go on.
    """

    def __init__(
        self, settings: DecoderSettings, variables: list[Any], folder: str | os.PathLike | None
    ) -> None:
        super().__init__()
        self._settings, self._variables = settings, variables
        self._path = None if folder is None else pathlib.Path(folder) / _STATE
        self.history: list[float] = []
        self.weights: list[np.ndarray] = []
        self.epoch = 0
        self.finished = False
        if self._path is not None and self._path.exists():
            self._restore(self._path, load_state(self._path))

    def _restore(self, path: pathlib.Path, state: dict[str, np.ndarray]) -> None:
        try:
            self.epoch, self.finished = int(state["epoch"]), bool(state["finished"])
            self.history = state["history"].tolist()
            self.weights = [state[f"best_{i}"] for i in range(int(state["best"]))]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{str(path)!r} is not a decoder's state",
                "one; remove the file to start again",
                error,
            ) from None
        if not self.finished:
            restore_state(path, state, self._variables)

    def add(self, nats: float, model: keras.Model) -> None:
        """Notes a likelihood, and the weights if they are the best so far."""
        if nats < min(self.history, default=math.inf):
            self.weights = model.get_weights()
        self.history.append(nats if math.isfinite(nats) else math.inf)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Says which epoch's batches are asked for."""
        self.epoch = epoch

    def on_test_end(self, logs: Any = None) -> None:
        """Notes the epoch's likelihood."""
        self.add(logs["loss"], self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends training, or keeps its state."""
        waited = len(self.history) - 1 - int(np.argmin(self.history))
        if waited >= self._settings.patience:
            self.model.stop_training = True
        elif epoch + 1 < self._settings.epochs:
            self._write(self._variables, epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        """Sees to it that there are weights, however badly training went."""
        self.weights = self.weights or self.model.get_weights()
        self.finished = True
        self._write([], self.epoch + 1)

    def _write(self, variables: list[Any], epoch: int) -> None:
        if self._path is not None:
            best: dict[str, Any] = {f"best_{i}": value for i, value in enumerate(self.weights)}
            save_state(
                self._path, variables, epoch=epoch, finished=self.finished,
                history=np.array(self.history), best=len(self.weights), **best,
            )  # fmt: skip
