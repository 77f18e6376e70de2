"""Shards as texts, which the component ``planner`` passes to the component ``estimator``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from ib_keras.components.artifacts.items import FILES_VARIABLE, items
from ib_keras.errors import ArgumentError
from ib_keras.estimation.shards import Part

_EXAMPLE = '{"estimator": "ebab", "layers": ["dense"], "epochs": [0, 10]}'


def to_text(parts: Sequence[Part]) -> str:
    """Return the parts of a shard as a JSON object, or as a list if there are several.

    If the arguments of this task name files of the user, the text has a fingerprint of them, so
    that a cache compares the files as well.

    Args:
        parts: the parts of the shard.
    """
    contents = []
    for part in parts:
        content: dict[str, Any] = {"estimator": part.estimator}
        if part.store:
            content["store"] = part.store
        if part.layers is not None:
            content["layers"] = list(part.layers)
        if part.epochs is not None:
            content["epochs"] = list(part.epochs)
        if files := os.environ.get(FILES_VARIABLE):
            content["files"] = files
        contents.append(content)
    return json.dumps(contents[0] if len(contents) == 1 else contents)


def read(text: str) -> list[Part]:
    """Read the parts of a shard.

    Raises:
        ArgumentError: If the text is not JSON that ``to_text`` returns.
    """
    return [_read(item) for item in items(text)]


def _read(text: str) -> Part:
    invalid = ArgumentError("The shard is invalid", f"JSON such as {_EXAMPLE}", text)
    try:
        content = json.loads(text)
        estimator, store = content.pop("estimator"), content.pop("store", 0)
        layers, epochs = content.pop("layers", None), content.pop("epochs", None)
        content.pop("files", None)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise invalid from None
    lists = all(value is None or isinstance(value, list) for value in (layers, epochs))
    if content or not isinstance(estimator, str) or type(store) is not int or not lists:
        raise invalid
    return Part(store, estimator, *(None if v is None else tuple(v) for v in (layers, epochs)))
