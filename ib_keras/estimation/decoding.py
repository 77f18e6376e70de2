"""What decoders say of a layer over its training, and what they draw."""

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
        images: ``(n, *image_shape)`` whole numbers: those that train decoders, and the held-out
            ones.
        inputs: both parts as the network takes them.
        labels: both parts' labels 0, 1, …
        nothing: what q(x) says of both parts.
        noise: what images are drawn from, ``(draws, height, width, 1 + channels)``.
        judge: a classifier that says which class is drawn; ``None`` for none.
        warm_start: begins with the decoder of the checkpoint before.
        progress: Keras's progress bar.
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
        self._labels, self._nothing, self._noise = labels, nothing, noise
        self._judge, self._warm_start, self._progress = judge, warm_start, progress
        self._made: Decoder | None = None
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
        """Decodes a layer at each of its checkpoints.

        Args:
            load: the instrumented model at an epoch.
            run: the network's name.
            layer: the name of a tap.
            epochs: the checkpoints.
            folder: from an epoch and the images that train its decoder to the place where an
                interrupted training goes on; ``None`` for nowhere.

        Returns:
            The rows of the table, and by epoch the images ``(classes, draws, *image_shape)``. What
            fails, such as a checkpoint whose training diverged, costs that checkpoint.

        Raises:
            ArgumentError: the network has no such tap.
        """
        rows, drawn = [], {}
        for epoch in epochs:
            since = time.perf_counter()
            model = load(epoch)
            if layer not in model.tap_names:
                raise ArgumentError(f"{run!r} has no tap {layer!r}", model.tap_names, layer)
            try:
                found, drawn[epoch] = self._decode(model, layer, folder(epoch, self._images[0]))
            except Exception as error:
                reason = lost(error, len(self._images[1]), 0)
                found = dict.fromkeys(("I(X;T)", "I(T;Y)", "H(X|T)"), reason)
            where = Where(run, epoch, layer, model.tap_names.index(layer))
            seconds = time.perf_counter() - since
            rows += [row(where, self._estimator, q, value, seconds) for q, value in found.items()]
        return rows, drawn

    def _decode(
        self, model: Any, layer: str, folder: pathlib.Path | None
    ) -> tuple[dict[str, Estimate], np.ndarray]:
        """What the decoder of a checkpoint says, and images that it draws."""
        train, held_out = (
            (images, condition(model.capture(x, layers=[layer])[layer]))
            for images, x in zip(self._images, self._inputs, strict=True)
        )
        if self._made is None:  # compiled once for all checkpoints
            self._made = Decoder(self._estimator.settings(), train[0].shape[1:], train[1].shape[1:])
        decoder = self._made
        given = decoder.decoded(
            train, held_out, start=self._start, folder=folder, progress=self._progress
        )
        if self._warm_start:
            self._start = decoder.model.get_weights()
        made, labels, draws = self._estimator, self._labels, len(self._noise)
        pair = compared(self._nothing, given, decoder, train, held_out)
        xt, bounds = made.combine(*pair, dim=held_out[1][0].size)
        classes = int(max(part.max() for part in labels)) + 1
        ty = made.labels((train[1], labels[0]), (held_out[1], labels[1]), classes=classes)
        samples = decoder.model.sample(
            len(self.shown) * draws,
            np.repeat(held_out[1][self.shown], draws, axis=0),
            noise=np.tile(self._noise, (len(self.shown), 1, 1, 1)),
        )
        found: dict[str, Estimate] = {"I(X;T)": xt, "I(T;Y)": ty, **bounds}
        if self._judge is not None:
            said = self._judge.predict(self._as_inputs(samples), verbose=0).argmax(axis=1)
            hits = said == np.repeat(labels[1][self.shown], draws)
            found["P(class kept)"] = _share(hits, xt.dim)
        return found, samples.reshape(len(self.shown), draws, *samples.shape[1:])

    def _as_inputs(self, samples: np.ndarray) -> np.ndarray:
        """Drawn images as the network takes them."""
        like = self._inputs[0]
        whole = like.dtype.kind in "iu"
        scaled = samples if whole else samples / (self._estimator.levels - 1)
        return scaled.astype(like.dtype).reshape(-1, *like.shape[1:])


def _share(hits: np.ndarray, dim: int) -> Estimate:
    """The share of images that are what they should be, with its standard error."""
    n = len(hits)
    error = float(hits.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Estimate(float(hits.mean()), error, n=n, dim=dim)
