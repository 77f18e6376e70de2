"""Trains an autoencoder of the inputs on the training rows."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ib_keras import compression
from ib_keras.arrays.checks import check_count
from ib_keras.arrays.rows import some_rows
from ib_keras.components.artifacts import examples
from ib_keras.errors import ArgumentError


def run(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    compressor: str = '{"name": "ae", "convolutional": true}',
    max_samples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Train an autoencoder on the training rows of a data set, and save it.

    Arguments that are not listed here are those of the component ``compressor``.

    Args:
        data: the folder that ``examples`` wrote.
        output: the folder to write, which ``compression.load`` reads.

    Returns:
        Facts about the compressor, for the artifact's metadata.
    """
    settings = read_compressor(compressor)
    rows = examples.read(data).x_train
    rows = rows[some_rows(len(rows), check_count(max_samples, "max_samples", 0) or len(rows))]
    fitted = settings.fit(np.asarray(rows), seed=seed)
    compression.save(fitted, output)
    return {"n": len(rows), "codes": settings.k, **fitted.quality}


def read_compressor(text: str) -> compression.Autoencoder:
    """Read the settings of an autoencoder from JSON.

    Raises:
        ArgumentError: If ``text`` is not JSON, or describes another compressor.
    """
    try:
        settings = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        settings = None
    found = compression.get(settings) if isinstance(settings, dict) else None
    if not isinstance(found, compression.Autoencoder):
        raise ArgumentError(
            "`compressor` is no autoencoder", 'JSON such as {"name": "ae", "epochs": 60}', text
        )
    return found
