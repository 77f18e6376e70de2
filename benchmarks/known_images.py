"""Decoders on 16×16 colour images whose information is known, separate and shared.

    python -m benchmarks.known_images

Each image is one of eight patterns with noise in each pixel. A layer that encodes the pattern has
ln 8 nats of information about the image; one that encodes in which half of the patterns it is has
ln 2 nats; and one that is independent has none. The entropy of an image's noise is 491 nats, so
decoders must be exact to a thousandth. A decoder that has not learned to recognise the pattern from
the pixels before would gain more by h than h has information, if q(x) could not be a mixture of
q(x|h).
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import time

import numpy as np
import pandas as pd

from ib_keras.estimators import DecoderBound
from ib_keras.pixelcnn.comparison import compared, prior
from ib_keras.pixelcnn.decoding import Decoder

_TRAIN, _HELD_OUT, _PATTERNS = 900, 500, 8
_SETTINGS = DecoderBound(
    levels=8, filters=(8, 12), mixtures=8, dropout=0.0, epochs=40, prior_epochs=20, patience=40,
    batch_size=32, learning_rate=0.008, ema_momentum=0.98,
)  # fmt: skip
_TRUTH = {"pattern": math.log(_PATTERNS), "half": math.log(2), "independent": 0.0}


def data(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return images ``(n, 16, 16, 3)``, their patterns' numbers, and layers ``(n, 2, 2, 5)``."""
    rng = np.random.default_rng(seed)
    n = _TRAIN + _HELD_OUT
    patterns = rng.integers(1, 7, (_PATTERNS, 2, 2, 3)).repeat(8, axis=1).repeat(8, axis=2)
    which = rng.integers(0, _PATTERNS, n)
    images = patterns[which] + rng.choice([-1, 0, 1], (n, 16, 16, 3), p=[0.1, 0.8, 0.1])
    codes = {
        "pattern": rng.normal(size=(_PATTERNS, 2, 2, 5))[which],
        "half": rng.normal(size=(2, 2, 2, 5))[which % 2],
        "independent": rng.normal(size=(n, 2, 2, 5)),
    }
    layers = {name: code + 0.05 * rng.normal(size=code.shape) for name, code in codes.items()}
    return images, which, layers


def measure(seed: int) -> pd.DataFrame:
    """Estimate each layer by a decoder of its own, and all layers by a shared decoder."""
    images, which, layers = data(seed)
    parts = (slice(_TRAIN), slice(_TRAIN, None))
    both = [images[part] for part in parts]
    settings = _SETTINGS.settings()
    start, nothing = prior(settings, *both, (which[parts[0]], which[parts[1]]))
    rows = []

    def add(how: str, name: str, pair: tuple, seconds: float) -> None:
        found = _SETTINGS.combine(*pair)[0]
        known = (found.value, found.stderr, found.details["nll_h"])
        rows.append((seed, how, name, _TRUTH[name], *known, seconds))

    for name, h in layers.items():
        since = time.perf_counter()
        decoder = Decoder(settings, images.shape[1:], h.shape[1:])
        own = [(images[part], h[part]) for part in parts]
        given = decoder.decoded(*own, start=start)
        add("separate", name, compared(nothing, given, decoder, *own), time.perf_counter() - since)
    since = time.perf_counter()
    # The last condition is constant, so that it stands for no condition.
    layers = {**layers, "none": np.zeros_like(layers["half"])}
    decoder = Decoder(settings, images.shape[1:], (2, 2, 6), groups=len(layers))
    grouped = []
    for part in parts:
        numbered = [
            np.concatenate([h[part], np.full((*h[part].shape[:3], 1), k)], axis=-1)
            for k, h in enumerate(layers.values())
        ]
        grouped.append((images[part], np.concatenate(numbered)))
    found = decoder.decoded_groups(*grouped, start=start)
    seconds = (time.perf_counter() - since) / len(layers)
    for k, name in enumerate(_TRUTH):
        own = [(x, decoder.of_group(h, k)) for x, h in grouped]
        add("shared", name, compared(found[-1], found[k], decoder, *own), seconds)
    names = ["seed", "decoders", "layer", "truth", "value", "stderr", "nll_h", "seconds"]
    return pd.DataFrame(rows, columns=names)


if __name__ == "__main__":
    for seed in range(1):
        print(measure(seed).round(3).to_string(index=False), flush=True)
