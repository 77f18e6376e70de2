"""Splits the estimates of stores into shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import ib_keras
from ib_keras.components.artifacts import shards as shards_artifact
from ib_keras.estimation.shards import Size, split


def run(
    stores: Sequence[str | os.PathLike], *, estimators: Sequence[str], shards: int = 0
) -> tuple[list[str], dict[str, Any]]:
    """Plan the tasks that estimate from stores; only the manifests of the stores are read.

    Arguments that are not listed here are those of the component ``planner``.

    Args:
        stores: the stores that a ``capturer`` task wrote.

    Returns:
        A text for each task, at most 100, which the component ``estimator`` accepts as ``shard``;
        and facts about the plan.

    Raises:
        ArgumentError: If an argument is invalid.
        StoreError: If a store is damaged.
    """
    sizes = [Size.of(ib_keras.ActivationStore(store)) for store in stores]
    shards_of = split(sizes, estimators, shards)
    texts = [shards_artifact.to_text(shard.parts) for shard in shards_of]
    facts = {"tasks": len(texts), "CPU seconds of the longest, about": shards_of[0].seconds}
    return texts, facts
