"""Comparison of decoders with and without a condition on the same images."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

if TYPE_CHECKING:
    from ib_keras.pixelcnn.decoding import Decoded, Decoder, DecoderSettings
    from ib_keras.pixelcnn.network import PixelCNN

# The largest number of values of h for which the mixture of q(x|h) over all values is evaluated. If
# h has more, the mixture is over rows that are drawn at random. Their number is between the two of
# _DRAWN, and so small that, if possible, at most _LIKELIHOODS likelihoods are computed. Such a
# mixture is first tried on _TRIED images, because it is rarely good: an image must be likely given
# one of the drawn values.
_MAX_VALUES_OF_MIXTURE = 64
_DRAWN, _LIKELIHOODS, _TRIED = (16, 128), 300_000, 100


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
    """Train q(x), and return the best of three models without a condition.

    The three models are independent pixels; a decoder without a condition; and the mixture, over
    the classes, of a decoder whose condition is the class. With ``prior_epochs`` in the settings,
    both decoders begin as a q(x) that is trained for that number of epochs.

    Args:
        settings: the settings of both decoders.
        train: the images of training, ``(n, height, width, channels)``.
        held_out: held-out images.
        labels: the labels 0, 1, … of the training and the held-out images, each ``(n,)``; ``None``
            leaves the mixture out.
        folder: as for ``Decoder.train``, with a subfolder for each decoder.
        progress: as for ``Decoder.train``.
        make: a constructor that replaces ``Decoder``.

    Returns:
        The decoder without a condition, or with ``prior_epochs`` the q(x) from which the decoders
        begin; and −ln q of the best model.
    """
    from ib_keras.pixelcnn.decoding import Decoder

    make = make or Decoder
    folders = {name: None if folder is None else pathlib.Path(folder) / name for name in "xys"}
    start = None
    if settings.prior_epochs:
        first = make(_before(settings), train.shape[1:])
        first.train(train, folder=folders["s"], progress=progress)
        # A copy, because a decoder that was made once may be trained again.
        start = settings.network(train.shape[1:], None)
        start.set_weights(first.model.get_weights())
    plain = make(settings, train.shape[1:])
    decoded = plain.decoded(
        (train, None), (held_out, None), start=start, folder=folders["x"], progress=progress
    )
    best = _pixels(train, held_out, plain)._replace(history=decoded.history)
    if _better(decoded, best, plain):
        best = decoded
    if labels is not None and 0 < max(part.max() for part in labels) < _MAX_VALUES_OF_MIXTURE:
        classes = np.eye(max(part.max() for part in labels) + 1, dtype=np.float32)
        decoder = make(settings, train.shape[1:], classes.shape[1:])
        parts = ((train, classes[labels[0]]), (held_out, classes[labels[1]]))
        decoder.train(*parts[0], start=start, folder=folders["y"], progress=progress)
        best = with_mixture(best, decoder, *parts)
    return start or plain.model, best


def _before(settings: DecoderSettings) -> DecoderSettings:
    """Return the settings of the q(x) from which the decoders begin."""
    return dataclasses.replace(settings, epochs=settings.prior_epochs, prior_epochs=0)


def compared(
    unconditional: Decoded,
    conditional: Decoded,
    decoder: Decoder,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> tuple[Decoded, Decoded]:
    """Choose the best known q(x) and the best known q(x|h) for a comparison.

    Args:
        unconditional: −ln q of q(x).
        conditional: −ln q of a decoder with a condition.
        decoder: the decoder with a condition.
        train: the images and h of the rows that trained it.
        held_out: the images and h of the held-out rows.

    Returns:
        Two values of −ln q. The first is the better of q(x) and Σ_h p(h) q(x|h). The second is the
        better of the first and the decoder q(x|h).
    """
    unconditional = with_mixture(unconditional, decoder, train, held_out)
    if _better(conditional, unconditional, decoder):
        return unconditional, conditional
    return unconditional, unconditional._replace(history=conditional.history)


def with_mixture(
    unconditional: Decoded,
    decoder: Decoder,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> Decoded:
    """Choose the better of the two models q(x) and Σ_h p(h) q(x|h).

    The sum is over the values of h, or over some training rows if h has many values. Both are
    distributions of images, so both bound H(X). With the second, the estimate of I(X;h) is at most
    H(h), and what the decoder without h failed to learn about the images does not count as
    information in h.

    Args:
        unconditional: −ln q of q(x).
        decoder: a trained q(x|h).
        train: the images and h of the rows that trained it.
        held_out: the images and h of the held-out rows.
    """
    values, counts = np.unique(train[1], axis=0, return_counts=True)
    many = len(values) > _MAX_VALUES_OF_MIXTURE
    if many:
        rng = np.random.default_rng(decoder.settings.seed)
        seen = np.delete(train[1], decoder.stop, axis=0)
        drawn = np.clip(_LIKELIHOODS // (len(train[1]) + len(held_out[1])), *_DRAWN)
        values = seen[rng.permutation(len(seen))[:drawn]]
        counts = np.ones(len(values), np.int64)

    def nats(images: np.ndarray) -> np.ndarray:
        logs = [decoder.model.log_prob(images, value[None]) for value in values]
        return -logsumexp(np.array(logs), axis=0, b=(counts / counts.sum())[:, None])

    tried = decoder.stop[:_TRIED]
    if many and not nats(train[0][tried]).mean() < unconditional.train[tried].mean():
        return unconditional
    mixed = unconditional._replace(train=nats(train[0]), held_out=nats(held_out[0]))
    return mixed if _better(mixed, unconditional, decoder) else unconditional


def _better(decoded: Decoded, other: Decoded, decoder: Decoder) -> bool:
    """Return whether ``decoded`` is at least as good as ``other``.

    It must be at least as good on the stopping rows, and on all rows it may lose at most what it
    gains on the stopping rows.
    """
    gains = other.train - decoded.train
    stopping, overall = gains[decoder.stop].mean(), gains.mean()
    return bool(stopping >= 0 and stopping + overall >= 0)


def _pixels(train: np.ndarray, held_out: np.ndarray, decoder: Decoder) -> Decoded:
    """Compute −ln Π q_i(x_i), where q_i is proportional to the levels' counts in pixel i plus 1."""
    from ib_keras.pixelcnn.decoding import Decoded

    seen = np.delete(train, decoder.stop, axis=0).reshape(-1, train[0].size)
    levels = decoder.settings.levels
    counts = np.array([np.bincount(pixel, minlength=levels) for pixel in seen.T]) + 1
    nats = np.log(counts.sum(axis=1, keepdims=True)) - np.log(counts)

    def code(images: np.ndarray) -> np.ndarray:
        total = np.zeros(len(images))
        for table, pixel in zip(nats, images.reshape(len(images), -1).T, strict=True):
            total += table[pixel]
        return total

    return Decoded(code(train), code(held_out), np.empty(0))
