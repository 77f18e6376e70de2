"""PixelCNN++ decoders: exact likelihoods of integer images, with or without a condition.

    decoder = ib_keras.pixelcnn.PixelCNN((8, 8, 1), (2, 2, 32), levels=17)
    decoder.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.995))
    decoder.fit(images, hidden, epochs=50)
    nats = decoder.log_prob(held_out, hidden_held_out)

The classes are imported on first use, as in ``ib_keras`` itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ib_keras.pixelcnn.likelihood import (
        DiscretizedLogisticMixture as DiscretizedLogisticMixture,
    )
    from ib_keras.pixelcnn.network import PixelCNN as PixelCNN

_OBJECTS = {
    "DiscretizedLogisticMixture": "ib_keras.pixelcnn.likelihood",
    "PixelCNN": "ib_keras.pixelcnn.network",
}

__all__ = ["DiscretizedLogisticMixture", "PixelCNN"]


def __getattr__(name: str) -> Any:
    if name not in _OBJECTS:
        raise AttributeError(f"module 'ib_keras.pixelcnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_OBJECTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
