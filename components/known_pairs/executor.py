"""Runs estimators on pairs of images whose mutual information is known."""

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
    """Run estimators on pairs of images whose mutual information is known.

    Arguments that are not listed here are those of the component ``known_pairs``.

    Args:
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        images: JSON object with ``"images"`` and ``"size"``, see ``studies.against_truth``.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    table, logs = studies.against_truth(
        list(estimators), **read_images(images), mi=mi, n=samples, n_fit=samples, seed=seed
    )
    frame.write(table, output, logs=logs)
    return {"run": table["run"].iloc[0], "rows": len(table), "unit": "nats"}


def read_images(text: str) -> dict[str, Any]:
    """Read the kind and size of images from JSON.

    Raises:
        ArgumentError: If ``text`` is not JSON of this form.
    """
    try:
        settings = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or set(settings) != {"images", "size"}:
        raise ArgumentError(
            "`images` does not describe images",
            '{"images": "gaussian" or "rectangle", "size": 16}',
            text,
        )
    studies.check_images(**settings)
    return settings
