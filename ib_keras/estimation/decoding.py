"""Estimates and images from decoders of a layer at its checkpoints."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.codes import row_codes
from ib_keras.errors import ArgumentError
from ib_keras.estimation.cells import lost
from ib_keras.estimation.consistency import flagged
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.frame.table import CHANGES, Where, row
from ib_keras.interface import Estimate, MutualInformation
from ib_keras.pixelcnn.comparison import compared
from ib_keras.pixelcnn.decoding import Decoded, Decoder
from ib_keras.pixelcnn.inputs import condition
from ib_keras.pixelcnn.network import PixelCNN


class LayerDecoding:
    """Decoding of a layer at its checkpoints: trained decoders, estimates and drawn images.

    A decoder q(x|h) is trained for each checkpoint, where h are the outputs of the layer.

    Args:
        estimator: the decoders' settings.
        images: the images that train the decoders, and the held-out images, as integers
            ``(n, *image_shape)``.
        inputs: the images of both parts as inputs of the network.
        labels: the labels 0, 1, … of both parts, ``(n,)``.
        nothing: −ln q(x) of both parts, without a condition.
        noise: the noise from which images are drawn, ``(draws, height, width, 1 + channels)``.
        judge: a classifier of images on the scale [0, 1], which is asked for the class of drawn
            images; ``None`` for no classifier.
        asked: number of held-out images for which the classifier is asked about one drawn image.
        start: the model q(x) whose weights decoders start with; ``None`` for random weights.
        share: whether to train one decoder for all checkpoints and for no condition, with the
            budget of a single decoder. Each checkpoint has its own linear map from h to the
            condition that the decoder sees. I(X;T) is then the gain of this decoder by h. Chance in
            the training hardly differs between its conditions and cancels, which is not the case
            for two separate decoders.
        warm_start: whether to start from the decoder of the preceding checkpoint.
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
        asked: int = 200,
        start: PixelCNN | None = None,
        share: bool = False,
        warm_start: bool = False,
        progress: bool = False,
    ) -> None:
        self._estimator, self._images, self._inputs = estimator, images, inputs
        self._labels, self._unconditional, self._noise = labels, nothing, noise
        self._judge, self._share, self._progress = judge, share, progress
        self._warm_start = warm_start
        self._decoder: Decoder | None = None
        self._start: list[np.ndarray] | PixelCNN | None = start
        rng = np.random.default_rng(estimator.seed)
        self._asked = rng.permutation(len(images[1]))[:asked]
        codes = row_codes(images[1].reshape(len(images[1]), -1))
        of_first = labels[1][np.unique(codes, return_index=True)[1]]
        self._labels_of_images = bool((of_first[codes] == labels[1]).all())
        # One held-out image of each class.
        self.shown = np.array([np.flatnonzero(labels[1] == y)[0] for y in np.unique(labels[1])])

    def over_training(
        self,
        load: Callable[[int], Any],
        run: str,
        layer: str,
        epochs: Sequence[int],
        *,
        folder: Callable[[Sequence[int], np.ndarray], pathlib.Path | None],
    ) -> tuple[list[dict[str, Any]], dict[int, np.ndarray]]:
        """Decode a layer at each of its checkpoints.

        Args:
            load: function from an epoch to the instrumented model at that epoch.
            run: the network's name.
            layer: the name of a tap.
            epochs: the epochs of the checkpoints.
            folder: function from the epochs of a decoder and the training images to the folder in
                which the state of its training is kept and from which it is resumed. It may return
                ``None`` for no folder.

        Returns:
            The rows of the table, and a dict epoch → images ``(classes, draws, *image_shape)``. A
            checkpoint that cannot be decoded, for example because its training diverged, has rows
            without values and no images.

        Raises:
            ArgumentError: If the network has no such tap.
        """
        rows, drawn = [], {}
        earlier: dict[int, np.ndarray] = {}
        for group in [epochs] if self._share else [[epoch] for epoch in epochs]:
            since = time.perf_counter()
            places, known, failed = {}, {}, {}
            for epoch in group:
                model = load(epoch)
                if layer not in model.tap_names:
                    raise ArgumentError(f"{run!r} has no tap {layer!r}", model.tap_names, layer)
                places[epoch] = model.tap_names.index(layer)
                try:
                    known[epoch] = self._conditions(model, layer)
                except Exception as error:
                    failed[epoch] = error
            try:
                found = self._decode(known, folder(list(known), self._images[0])) if known else {}
            except Exception as error:
                found, failed = {}, {**failed, **dict.fromkeys(known, error)}
            seconds = (time.perf_counter() - since) / len(group)
            values: dict[str, Any]
            for epoch in group:
                if epoch in failed:
                    none = lost(failed[epoch], len(self._images[1]), 0)
                    values = dict.fromkeys(("I(X;T)", "I(T;Y)", "H(X|T)"), none)
                else:
                    values, drawn[epoch], terms = found[epoch]
                    values["I(X;T)"] = _with_changes(values["I(X;T)"], earlier, terms)
                    earlier[epoch] = terms
                where = Where(run, epoch, layer, places[epoch])
                rows += [row(where, self._estimator, q, v, seconds) for q, v in values.items()]
        return flagged(rows, ["I(T;Y)"] if self._labels_of_images else []), drawn

    def _conditions(self, model: Any, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return h of both parts at a checkpoint."""
        train, held_out = (condition(model.capture(x, layers=[layer])[layer]) for x in self._inputs)
        return train, held_out

    def _decode(
        self, known: Mapping[int, tuple[np.ndarray, np.ndarray]], folder: pathlib.Path | None
    ) -> dict[int, tuple[dict[str, Any], np.ndarray, np.ndarray]]:
        """Train one decoder for one or several checkpoints.

        Returns:
            For each checkpoint: the estimates, the drawn images, and ln q(x|h) − ln q(x) of each
            held-out image.
        """
        conditions = list(known.values())
        if self._share:
            train_h, held_out_h = conditions[0]
            conditions.append((np.zeros_like(train_h), np.zeros_like(held_out_h)))
        groups = len(conditions)
        train, held_out = (
            (images, _numbered([pair[place] for pair in conditions]))
            for place, images in enumerate(self._images)
        )
        if self._decoder is None or self._decoder.groups != groups:  # compiled once
            self._decoder = Decoder(
                self._estimator.settings(), train[0].shape[1:], train[1].shape[1:], groups=groups
            )
        decoder = self._decoder
        decoded = decoder.decoded_groups(
            train, held_out, start=self._start, folder=folder, progress=self._progress
        )
        if self._warm_start:
            self._start = decoder.model.get_weights()
        nothing = decoded[-1] if self._share else self._unconditional
        found = {}
        for place, epoch in enumerate(known):
            own = tuple((x, decoder.of_group(h, place)) for x, h in (train, held_out))
            pair = compared(nothing, decoded[place], decoder, *own)
            found[epoch] = self._of_checkpoint(known[epoch], decoder, pair, own[1][1])
        return found

    def _of_checkpoint(
        self,
        known: tuple[np.ndarray, np.ndarray],
        decoder: Decoder,
        pair: tuple[Decoded, Decoded],
        conditions: np.ndarray,
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Return the estimates of a checkpoint, the images that its decoder draws, and its terms.

        The terms are ln q(x|h) − ln q(x) of each held-out image.

        Args:
            known: h of both parts.
            decoder: the trained decoder.
            pair: the likelihoods without and with h.
            conditions: the conditions of the decoder for the held-out images.
        """
        estimator, labels, draws = self._estimator, self._labels, len(self._noise)
        xt, bounds = estimator.combine(*pair, dim=known[1][0].size)
        alone = float(self._unconditional.held_out.mean())
        xt = dataclasses.replace(xt, details={**xt.details, "nll_prior": alone})
        classes = int(max(part.max() for part in labels)) + 1
        ty = estimator.labels((known[0], labels[0]), (known[1], labels[1]), classes=classes)
        samples = decoder.model.sample(
            len(self.shown) * draws,
            np.repeat(conditions[self.shown], draws, axis=0),
            noise=np.tile(self._noise, (len(self.shown), 1, 1, 1)),
        )
        values: dict[str, Any] = {"I(X;T)": xt, "I(T;Y)": ty, **bounds}
        if self._judge is not None:
            asked, y = self._asked, labels[1][self._asked]
            images = decoder.model.sample(len(asked), conditions[asked], seed=estimator.seed)
            values["P(class kept)"] = judged(self._judge, images / (estimator.levels - 1), y)
            images = self._images[1][asked]
            values["P(class recognised)"] = judged(self._judge, images / (estimator.levels - 1), y)
        images = samples.reshape(len(self.shown), draws, *samples.shape[1:])
        return values, images, pair[0].held_out - pair[1].held_out


def judged(judge: Any, x: np.ndarray, y: np.ndarray) -> Estimate:
    """Return the share of images whose class a classifier recognises, with its standard error.

    Args:
        judge: a classifier, a Keras model.
        x: images on the scale [0, 1], ``(n, height, width, channels)``.
        y: their classes, ``(n,)``.
    """
    hits = np.concatenate([
        np.asarray(judge.predict_on_batch(x[start : start + 256])).argmax(axis=1)
        for start in range(0, len(x), 256)
    ]) == y  # fmt: skip
    n = len(hits)
    # One more hit and one more miss give shares of 0 and 1 an error, too.
    p = (hits.sum() + 1) / (n + 2)
    return Estimate(float(hits.mean()), float(np.sqrt(p * (1 - p) / n)), n=n)


def _with_changes(
    estimate: MutualInformation, before: Mapping[int, np.ndarray], terms: np.ndarray
) -> MutualInformation:
    """Add the changes since earlier epochs, with the errors of differences paired by image."""
    if not before:
        return estimate
    changes = {}
    for epoch, own in before.items():
        rises = terms - own
        error = rises.std(ddof=1) / np.sqrt(len(rises))
        changes[str(epoch)] = [float(rises.mean()), float(error)]
    return dataclasses.replace(estimate, details={**estimate.details, CHANGES: changes})


def _numbered(conditions: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate the conditions of all checkpoints, with their numbers if there are several."""
    if len(conditions) == 1:
        return conditions[0]
    return np.concatenate([
        np.concatenate([h, np.full((*h.shape[:-1], 1), number, h.dtype)], axis=-1)
        for number, h in enumerate(conditions)
    ])  # fmt: skip
