"""Training of decoders: one network that is trained repeatedly, with different conditions."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import check_count, check_positive, check_rate, check_seed
from ib_keras.config import Configured
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.pixelcnn.network import PixelCNN, check_widths
from ib_keras.progress import of_fit
from ib_keras.training.batches import batches, in_order
from ib_keras.training.retrained import Retrained
from ib_keras.training.state import load as load_state
from ib_keras.training.state import restore as restore_state
from ib_keras.training.state import save as save_state

# The share of the training rows that decide when training stops.
_STOP = 0.1
_STATE = "state.npz"
# Images per step of the validation.
_VALIDATED = 256


@dataclasses.dataclass(frozen=True)
class DecoderSettings(Configured):
    """The network and training of decoders, the same for all decoders that are compared.

    Args:
        levels: L, the number of values of a pixel.
        prior_epochs: the number of epochs for which a q(x) is trained first. All decoders, with and
            without a condition, then begin as this q(x). With 0 they begin with random weights.
        filters: channels of the ``PixelCNN``; or one number per stage.
        stages: the maximum number of stages of the ``PixelCNN``.
        resnet_blocks: blocks of each stage of the ``PixelCNN``.
        mixtures: mixture components of each pixel.
        dropout: dropout rate.
        epochs: the maximum number of epochs.
        patience: training stops after this number of epochs without a better likelihood of the
            stopping rows, a tenth of the training rows that is set apart.
        batch_size: images per step.
        learning_rate: Adam's maximum learning rate; it rises for a few epochs and then falls along
            a cosine.
        ema_momentum: momentum of the exponential moving average of the weights, which is used for
            evaluation.
        jit_compile: whether to compile with XLA; ``None`` compiles if there is a GPU.
        seed: seed of the weights, the dropout, the order of the batches, and the choice of the
            stopping rows.
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
    prior_epochs: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.filters, list):
            object.__setattr__(self, "filters", tuple(self.filters))
        check_count(self.levels, "levels", 2)
        for field in ("stages", "resnet_blocks", "mixtures", "epochs", "patience", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        check_widths(self.filters, self.stages)
        check_rate(self.dropout, "dropout")
        check_positive(self.learning_rate, "learning_rate")
        check_rate(self.ema_momentum, "ema_momentum")
        check_count(self.prior_epochs, "prior_epochs", 0)
        check_seed(self.seed)

    def network(
        self,
        image_shape: tuple[int, ...],
        condition_shape: tuple[int, ...] | None,
        groups: int = 1,
    ) -> PixelCNN:
        """Make a ``PixelCNN`` that has not been trained.

        Args:
            image_shape: height, width and channels of the images.
            condition_shape: the shape of h; ``None`` for q(x).
            groups: number of groups of conditions.
        """
        return PixelCNN(
            image_shape, condition_shape, levels=self.levels, filters=self.filters,
            stages=self.stages, resnet_blocks=self.resnet_blocks, mixtures=self.mixtures,
            dropout=self.dropout, groups=groups, seed=self.seed,
        )  # fmt: skip


class Decoded(NamedTuple):
    """−ln q of a decoder in nats per image, and its history.

    Attributes:
        train: −ln q of each training image, including the stopping rows, ``(n,)``.
        held_out: −ln q of each held-out image, ``(m,)``.
        history: mean −ln q of the stopping rows, by epoch.
    """

    train: np.ndarray
    held_out: np.ndarray
    history: np.ndarray


class Decoder:
    """A decoder q(x|h), or q(x), that can be trained repeatedly but is compiled only once.

    Args:
        settings: the settings of network and training.
        image_shape: height, width and channels of the images.
        condition_shape: the shape of h; ``None`` for q(x).
        groups: number of groups of conditions. Each group has a condition for every image. h has
            the conditions of the first group, then those of the second, and so on, with the number
            of the group as the last channel.

    Raises:
        ArgumentError: If an argument is invalid.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        image_shape: tuple[int, ...],
        condition_shape: tuple[int, ...] | None = None,
        *,
        groups: int = 1,
    ) -> None:
        self.settings, self.groups = settings, groups
        self.model = settings.network(image_shape, condition_shape, groups)
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
        start: list[np.ndarray] | PixelCNN | None = None,
        folder: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Train the decoder, and keep the weights with the best likelihood of the stopping rows.

        Args:
            images: ``(n, *image_shape)``, integers 0…levels−1.
            h: the condition, ``(groups·n, *condition_shape)``.
            start: initial weights, as ``model.get_weights()`` of a decoder with the same settings
                returns; or a model q(x) that the decoder equals at first, see
                ``PixelCNN.begin_as``. The start is kept if no better weights are found.
            folder: a folder for the state of the training. If it has the state of an interrupted
                training, this training is resumed.
            progress: whether to show Keras's progress bar instead of a bar over the epochs.

        Returns:
            Mean −ln q of the stopping rows in nats per image, by epoch. An epoch has as many steps
            as a pass over the images of one group; its rows come from all groups. With a start, the
            first value is that of the start.

        Raises:
            ArgumentError: If there are fewer than 20 images, or images and h do not match the
                model.
            StoreError: If the state in the folder is damaged.
        """
        if len(images) < 20:
            raise ArgumentError("There are too few images", ">= 20", len(images))
        self._training.restart()
        n = len(images)
        # An image that decides when to stop does not train the decoder in any group.
        self.stop, train = stopping_rows(n, self.settings.seed)
        own, held = (self._rows(images, h, rows) for rows in (train, self.stop))
        if isinstance(start, list):
            self.model.set_weights(start)
            if h is not None:
                self.model.standardise(own[1])
        else:
            self.model.initialise(*own)
            if start is not None:
                self.model.begin_as(start)
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
        data, steps = batches(own, settings.batch_size, settings.seed, epochs, parts=self.groups)
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

    def _rows(
        self, images: np.ndarray, h: np.ndarray | None, rows: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return some images, and their conditions in all groups."""
        if h is None:
            return (images[rows],)
        every = np.concatenate([rows + group * len(images) for group in range(self.groups)])
        return np.tile(images[rows], (self.groups, 1, 1, 1)), h[every]

    def decoded(
        self,
        train: tuple[np.ndarray, np.ndarray | None],
        held_out: tuple[np.ndarray, np.ndarray | None],
        **kwargs: Any,
    ) -> Decoded:
        """Train on some images, and compute −ln q of these and of held-out images.

        Args:
            train: the images and h of training.
            held_out: the held-out images and their h.
            **kwargs: arguments of ``train``.
        """
        return self.decoded_groups(train, held_out, **kwargs)[0]

    def decoded_groups(
        self,
        train: tuple[np.ndarray, np.ndarray | None],
        held_out: tuple[np.ndarray, np.ndarray | None],
        **kwargs: Any,
    ) -> list[Decoded]:
        """Train for all groups, and compute −ln q of all images in each group.

        Args:
            train: the images and h of training.
            held_out: the held-out images and their h.
            **kwargs: arguments of ``train``.
        """
        history = self.train(*train, **kwargs)
        found = []
        for group in range(self.groups):
            of_train, of_held_out = (
                -self.model.log_prob(images, None if h is None else self.of_group(h, group))
                for images, h in (train, held_out)
            )
            found.append(Decoded(of_train, of_held_out, history))
        return found

    def of_group(self, h: np.ndarray, group: int) -> np.ndarray:
        """Return the conditions of all images in one group."""
        n = len(h) // self.groups
        return h[group * n : (group + 1) * n]


def stopping_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide training rows into stopping rows and rows that train the network.

    Args:
        n: number of rows.
        seed: seed of the division.

    Returns:
        The indices of the stopping rows, and those of the other rows.
    """
    order = np.random.default_rng(seed).permutation(n)
    cut = max(2, round(_STOP * n))
    return order[:cut], np.sort(order[cut:])


def _rate(epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate, small at first so that Adam stays near the start."""
    return min(1.0, (epoch + 1) / 4) * (1 + math.cos(math.pi * epoch / epochs)) / 2


class _Keeper(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and stops training after epochs without improvement.

    It must come before ``SwapEMAWeights``, so that the averaged weights are in place at the end of
    the validation. With a folder, it writes the state of the training there, atomically.
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
                "such a file; remove it to start again",
                error,
            ) from None
        if not self.finished:
            restore_state(path, state, self._variables)

    def add(self, nats: float, model: keras.Model) -> None:
        """Add −ln q to the history, and keep the weights if they are the best so far."""
        if nats < min(self.history, default=math.inf):
            self.weights = model.get_weights()
        self.history.append(nats if math.isfinite(nats) else math.inf)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_test_end(self, logs: Any = None) -> None:
        self.add(logs["loss"], self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        waited = len(self.history) - 1 - int(np.argmin(self.history))
        if waited >= self._settings.patience:
            self.model.stop_training = True
        elif epoch + 1 < self._settings.epochs:
            self._write(self._variables, epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self.weights = self.weights or self.model.get_weights()  # if no likelihood was finite
        self.finished = True
        self._write([], self.epoch + 1)

    def _write(self, variables: list[Any], epoch: int) -> None:
        if self._path is not None:
            best: dict[str, Any] = {f"best_{i}": value for i, value in enumerate(self.weights)}
            save_state(
                self._path, variables, epoch=epoch, finished=self.finished,
                history=np.array(self.history), best=len(self.weights), **best,
            )  # fmt: skip
