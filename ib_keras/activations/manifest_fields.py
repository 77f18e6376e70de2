"""The fields of a store's manifests, each with a function that checks its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ib_keras.activations import kinds
from ib_keras.arrays import labels
from ib_keras.storage import manifests


def _is_structure(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"count", "keys", "single"}:
        return False
    count, keys = value["count"], value["keys"]
    named = keys is None or (manifests.is_texts(keys) and len(keys) == count)
    return manifests.is_count(count) and count > 0 and named and isinstance(value["single"], bool)


def _is_logs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and manifests.is_count(row.get("epoch"))
        and all(v is None or manifests.is_number(v) for v in row.values())
        for row in value
    )


def _is_extent(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2 and all(map(manifests.is_number, value))
    return value is None or (pair and value[0] <= value[1])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_targets(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and set(one) == {"name", "file", "class_names"}
        and _is_text(one["name"])
        and _is_text(one["file"])
        and (one["class_names"] is None or labels.are_names(one["class_names"]))
        for one in value
    )


FIELDS: dict[str, Callable[[Any], bool]] = {
    "run": lambda value: value is None or _is_text(value),
    "n": manifests.is_count,
    "draws": lambda value: manifests.is_count(value) and value > 0,
    "layers": lambda value: manifests.is_texts(value) and len(set(value)) == len(value),
    "inputs": _is_structure,
    "fingerprint": _is_text,
    "made": lambda value: isinstance(value, dict),
    "files": lambda value: isinstance(value, dict),
}

# Fields that older stores do not have.
LATER_FIELDS: dict[str, Callable[[Any], bool]] = {
    "label_names": lambda value: value is None or labels.are_names(value),
    "targets": lambda value: value is None or _are_targets(value),
    "views": lambda value: isinstance(value, dict) and manifests.is_texts(list(value.values())),
}

EPOCH_FIELDS: dict[str, Callable[[Any], bool]] = {
    "epoch": manifests.is_count,
    "noise_std": lambda value: (
        isinstance(value, dict) and all(map(manifests.is_number, value.values()))
    ),
    "random": manifests.is_texts,
    "files": lambda value: isinstance(value, list),
    "logs": _is_logs,
    "rows": lambda value: value is None or _is_text(value),
}

FILE_FIELDS: dict[str, Callable[[Any], bool]] = {
    "layer": _is_text,
    "kind": lambda value: value in kinds.ALL,
    "file": _is_text,
    "shape": lambda value: isinstance(value, list) and all(map(manifests.is_count, value)),
    "sha256": _is_text,
    "extent": _is_extent,
}
