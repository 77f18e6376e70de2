"""What decoders with and without a condition say, compared on the same images."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

if TYPE_CHECKING:
    from ib_keras.pixelcnn.decoding import Decoded, Decoder, DecoderSettings
    from ib_keras.pixelcnn.network import PixelCNN

# With so many values of h at most, the mixture of q(x|h) over them is looked at.
_FEW = 64


def prior(
    settings: DecoderSettings,
    train: np.ndarray,
    held_out: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    folder: str | os.PathLike | None = None,
    progress: bool = False,
    make: Callable[..., Decoder] | None = None,
) -> tuple[PixelCNN, Decoded]:
    """q(x): pixels on their own, a decoder without a condition, or the mixture of one of classes.

    Args:
        settings: of both.
        train: images.
        held_out: images.
        labels: of both parts, 0, 1, …
        folder: as of ``Decoder.train``.
        progress: as of ``Decoder.train``.
        make: in place of ``Decoder``.

    Returns:
        The decoder without a condition, and what the best of the three says.
    """
    from ib_keras.pixelcnn.decoding import Decoder

    make = make or Decoder
    places = {name: None if folder is None else pathlib.Path(folder) / name for name in "xy"}
    plain = make(settings, train.shape[1:])
    said = plain.decoded((train, None), (held_out, None), folder=places["x"], progress=progress)
    nothing = _pixels(train, held_out, plain)._replace(history=said.history)
    if _better(said, nothing, plain):
        nothing = said
    if labels is not None and 1 < max(part.max() for part in labels) < _FEW:
        classes = np.eye(max(part.max() for part in labels) + 1, dtype=np.float32)
        decoder = make(settings, train.shape[1:], classes.shape[1:])
        parts = ((train, classes[labels[0]]), (held_out, classes[labels[1]]))
        decoder.train(*parts[0], folder=places["y"], progress=progress)
        nothing = with_mixture(nothing, decoder, *parts)
    return plain.model, nothing


def compared(
    nothing: Decoded,
    given: Decoded,
    decoder: Decoder,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> tuple[Decoded, Decoded]:
    """q(x) and q(x|h) as they are compared: each the best that is known.

    Args:
        nothing: what q(x) says.
        given: what a decoder with a condition says.
        decoder: that decoder.
        train: images and h of the rows that trained it.
        held_out: images and h.

    Returns:
        What the better of q(x) and Σ_h p(h) q(x|h) says, the latter where h takes few values; and
        what the better of that and the decoder says.
    """
    nothing = with_mixture(nothing, decoder, train, held_out)
    kept = _better(given, nothing, decoder)
    return nothing, given if kept else nothing._replace(history=given.history)


def with_mixture(
    nothing: Decoded,
    decoder: Decoder,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> Decoded:
    """q(x), or Σ_h p(h) q(x|h) where h takes few values and that is better.

    Both are distributions of images, so that both bound H(X); with the second, Î <= H(h).

    Args:
        nothing: what q(x) says.
        decoder: a trained q(x|h).
        train: images and h of the rows that trained it.
        held_out: images and h.
    """
    values, counts = np.unique(train[1], axis=0, return_counts=True)
    if len(values) > _FEW:
        return nothing

    def nats(images: np.ndarray) -> np.ndarray:
        logs = [decoder.model.log_prob(images, value[None]) for value in values]
        return -logsumexp(np.array(logs), axis=0, b=(counts / counts.sum())[:, None])

    mixed = nothing._replace(train=nats(train[0]), held_out=nats(held_out[0]))
    return mixed if _better(mixed, nothing, decoder) else nothing


def _better(said: Decoded, other: Decoded, decoder: Decoder) -> bool:
    """Whether it tells more of the stopping rows, and does not tell as much less of all rows."""
    gains = other.train - said.train
    of_few, of_all = gains[decoder.stop].mean(), gains.mean()
    return bool(of_few >= 0 and of_few + of_all >= 0)


def _pixels(train: np.ndarray, held_out: np.ndarray, decoder: Decoder) -> Decoded:
    """What Π q_i(x_i) says; levels are counted pixel by pixel, one more of each."""
    from ib_keras.pixelcnn.decoding import Decoded

    seen = np.delete(train, decoder.stop, axis=0).reshape(-1, train[0].size)
    levels = decoder.settings.levels
    counts = np.array([np.bincount(pixel, minlength=levels) for pixel in seen.T]) + 1
    nats = np.log(counts.sum(axis=1, keepdims=True)) - np.log(counts)

    def code(images: np.ndarray) -> np.ndarray:
        total = np.zeros(len(images))
        for own, pixel in zip(nats, images.reshape(len(images), -1).T, strict=True):
            total += own[pixel]
        return total

    return Decoded(code(train), code(held_out), np.empty(0))
