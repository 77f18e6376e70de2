"""Runs estimators on pairs of images of known mutual information."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from ib_keras import frame, studies
from ib_keras.errors import ArgumentError


def run(
    output: str | os.PathLike,
    *,
    estimators: Sequence[Any],
    mi: Sequence[float],
    images: str = '{"images": "gaussian", "size": 16}',
    samples: int = 5000,
    seed: int = 0,
) -> dict[str, Any]:
    """Runs estimators on pairs of images whose mutual information is known.

    Args:
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        estimators: names, or JSON with parameters.
        mi: the known informations in nats.
        images: JSON with ``"images"`` and ``"size"``, see ``studies.against_truth``.
        samples: pairs; as many images more for the compressors.
        seed: of the images and the compressors.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    table, logs = studies.against_truth(
        list(estimators), **read_images(images), mi=mi, n=samples, n_fit=samples, seed=seed
    )
    frame.write(table, output, logs=logs)
    return {"run": table["run"].iloc[0], "rows": len(table), "unit": "nats"}


def read_images(text: str) -> dict[str, Any]:
    """Which images, from JSON.

    Raises:
        ArgumentError: it is no such JSON.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) != {"images", "size"}:
        raise ArgumentError(
            "The images are unknown", '{"images": "gaussian" or "rectangle", "size": 16}', text
        )
    studies.check_images(**found)
    return found
