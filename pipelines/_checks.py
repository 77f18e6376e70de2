"""What all pipelines check before their first task starts."""

from __future__ import annotations

from typing import Any

import ib_keras
from ib_keras._checks import check_count, check_positive
from ib_keras._schedule import parse as parse_record
from ib_keras._schedule import selector
from ib_keras.errors import ArgumentError
from ib_keras.layers import check_stddev

_COUNTS = (
    "epochs", "batch_size", "max_samples", "conditional_inputs", "propagations", "seeds",
)  # fmt: skip


def check(settings: dict[str, Any]) -> None:
    """Raises for settings on which a task would fail, before the first task starts.

    Args:
        settings: the pipeline's arguments; those that are not given have their defaults.

    Raises:
        ArgumentError: an estimator, model, data set, schedule or number is invalid.
    """
    for identifier in settings.get("estimators", []):
        ib_keras.estimators.get(identifier)
    for key in ("models", "estimators"):
        if not settings.get(key, [key]):
            raise ArgumentError(f"`{key}` is empty", "at least one", "[]")
    for identifier in settings.get("models", []):
        ib_keras.models.check(identifier)
    ib_keras.datasets.check(settings.get("data", "szt"))
    selector(parse_record(settings.get("record", "log")))
    if settings.get("split", "all") not in ("train", "test", "all"):
        raise ArgumentError("`split` is unknown", "'train', 'test' or 'all'", settings["split"])
    for key in (
        "epochs",
        "batch_size",
        "max_samples",
        "conditional_inputs",
        "propagations",
        "seeds",
    ):
        if key in settings:
            check_count(settings[key], key)
    if "learning_rate" in settings:
        check_positive(settings["learning_rate"], "learning_rate")
    for key in ("noise_std", "width"):
        check_stddev(settings.get(key, 0.0), key)
