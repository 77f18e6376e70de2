"""Estimates and images from decoders of a layer at its checkpoints."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ib_keras.errors import ArgumentError
from ib_keras.estimation.cells import lost
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.frame.table import Where, row
from ib_keras.interface import Estimate
from ib_keras.pixelcnn.comparison import compared
from ib_keras.pixelcnn.decoding import Decoded, Decoder
from ib_keras.pixelcnn.inputs import condition


class LayerDecoding:
    """Trains a decoder q(x|h) for each checkpoint of a layer, estimates, and draws images.

    Args:
        estimator: the decoders' settings.
        images: the images that train decoders and the held-out images, integers
            ``(n, *image_shape)``.
        inputs: both parts as inputs of the network.
        labels: the labels 0, 1, … of both parts, ``(n,)``.
        nothing: −ln q(x) of both parts, without a condition.
        noise: the noise from which images are drawn, ``(draws, height, width, 1 + channels)``.
        judge: a classifier that recognises the class of drawn images; ``None`` for none.
        warm_start: whether to start from the decoder of the checkpoint before.
        progress: whether to show Keras's progress bar.
    """

    def __init__(
        self,
        estimator: DecoderBound,
        images: tuple[np.ndarray, np.ndarray],
        inputs: tuple[np.ndarray, np.ndarray],
        labels: tuple[np.ndarray, np.ndarray],
        *,
        nothing: Decoded,
        noise: np.ndarray,
        judge: Any = None,
        warm_start: bool = False,
        progress: bool = False,
    ) -> None:
        self._estimator, self._images, self._inputs = estimator, images, inputs
        self._labels, self._unconditional, self._noise = labels, nothing, noise
        self._judge, self._warm_start, self._progress = judge, warm_start, progress
        self._decoder: Decoder | None = None
        self._start: list[np.ndarray] | None = None
        # One held-out image of each class.
        self.shown = np.array([np.flatnonzero(labels[1] == y)[0] for y in np.unique(labels[1])])

    def over_training(
        self,
        load: Callable[[int], Any],
        run: str,
        layer: str,
        epochs: Sequence[int],
        *,
        folder: Callable[[int, np.ndarray], pathlib.Path | None],
    ) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
        """Decode a layer at each of its checkpoints.

        Args:
            load: function from an epoch to the instrumented model at that epoch.
            run: the network's name.
            layer: the name of a tap.
            epochs: the epochs of the checkpoints.
            folder: function from an epoch and the training images to the folder for the state of
                the decoder's training, from which it is resumed; ``None`` for no folder.

        Returns:
            The rows of the table, and epoch → images ``(classes, draws, *image_shape)``. A
            checkpoint that cannot be decoded, because its training diverged for example, has rows
            without values and no images.

        Raises:
            ArgumentError: If the network has no such tap.
        """
        rows, drawn = [], {}
        for epoch in epochs:
            since = time.perf_counter()
            model = load(epoch)
            if layer not in model.tap_names:
                raise ArgumentError(f"{run!r} has no tap {layer!r}", model.tap_names, layer)
            try:
                values, drawn[epoch] = self._decode(model, layer, folder(epoch, self._images[0]))
            except Exception as error:
                failed = lost(error, len(self._images[1]), 0)
                values = dict.fromkeys(("I(X;T)", "I(T;Y)", "H(X|T)"), failed)
            where = Where(run, epoch, layer, model.tap_names.index(layer))
            seconds = time.perf_counter() - since
            rows += [row(where, self._estimator, q, value, seconds) for q, value in values.items()]
        return rows, drawn

    def _decode(
        self, model: Any, layer: str, folder: pathlib.Path | None
    ) -> tuple[dict[str, Estimate], np.ndarray]:
        """Estimate from the decoder of a checkpoint, and draw images from it."""
        train, held_out = (
            (images, condition(model.capture(x, layers=[layer])[layer]))
            for images, x in zip(self._images, self._inputs, strict=True)
        )
        estimator, labels, draws = self._estimator, self._labels, len(self._noise)
        if self._decoder is None:  # compiled once for all checkpoints
            self._decoder = Decoder(estimator.settings(), train[0].shape[1:], train[1].shape[1:])
        decoder = self._decoder
        conditional = decoder.decoded(
            train, held_out, start=self._start, folder=folder, progress=self._progress
        )
        if self._warm_start:
            self._start = decoder.model.get_weights()
        pair = compared(self._unconditional, conditional, decoder, train, held_out)
        xt, bounds = estimator.combine(*pair, dim=held_out[1][0].size)
        classes = int(max(part.max() for part in labels)) + 1
        ty = estimator.labels((train[1], labels[0]), (held_out[1], labels[1]), classes=classes)
        samples = decoder.model.sample(
            len(self.shown) * draws,
            np.repeat(held_out[1][self.shown], draws, axis=0),
            noise=np.tile(self._noise, (len(self.shown), 1, 1, 1)),
        )
        values: dict[str, Estimate] = {"I(X;T)": xt, "I(T;Y)": ty, **bounds}
        if self._judge is not None:
            like = self._inputs[0]
            x = samples if like.dtype.kind in "iu" else samples / (estimator.levels - 1)
            x = x.astype(like.dtype).reshape(-1, *like.shape[1:])
            hits = self._judge.predict(x, verbose=0).argmax(axis=1) == np.repeat(
                labels[1][self.shown], draws
            )
            n = len(hits)
            error = float(hits.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
            values["P(class kept)"] = Estimate(float(hits.mean()), error, n=n, dim=xt.dim)
        return values, samples.reshape(len(self.shown), draws, *samples.shape[1:])
