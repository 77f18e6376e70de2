"""Runs estimators on pairs of images whose mutual information is known."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from ib_keras import frame, studies
from ib_keras.arrays.checks import check_bool, check_seed
from ib_keras.errors import ArgumentError

_OPTIONAL = {"seed", "rotate"}


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
        images: JSON object with ``"images"`` and ``"size"``, and perhaps ``"seed"`` and
            ``"rotate"``, see ``studies.against_truth``.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    settings = {"seed": seed, **read_images(images)}
    table, logs = studies.against_truth(
        list(estimators), mi=mi, n=samples, n_fit=samples, **settings
    )
    frame.write(table, output, logs=logs)
    return {"run": table["run"].iloc[0], "rows": len(table), "unit": "nats"}


def read_images(text: str) -> dict[str, Any]:
    """Read the kind and size of images from JSON, and a seed in a list, which names the runs.

    Raises:
        ArgumentError: If ``text`` is not JSON of this form.
    """
    try:
        settings = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or set(settings) - _OPTIONAL != {"images", "size"}:
        raise ArgumentError(
            "`images` does not describe images",
            '{"images": "gaussian", "correlated", "rectangle" or "hidden", "size": 16}, and '
            'perhaps "seed": 1 and "rotate": false',
            text,
        )
    studies.check_images(settings["images"], settings["size"])
    if "seed" in settings:
        settings["seed"] = [check_seed(settings["seed"])]
    check_bool(settings.get("rotate", True), "rotate")
    return settings
