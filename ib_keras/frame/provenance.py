"""The provenance of a table of estimates, which is kept in its ``attrs``."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ib_keras.storage import manifests

# The key in ``attrs``, and the maximum number of different values that are listed.
KEY, MOST = "provenance", 20


def attrs(estimators: Iterable[Any] = (), **known: Any) -> dict[str, Any]:
    """Return the ``attrs`` of a new table.

    Args:
        estimators: the estimators, whose settings are included.
        **known: other entries, such as ``data`` and ``model``; ``None`` values are left out. The
            entry ``git`` is the state of the working directory, if it was found before.

    Returns:
        ``{"provenance": {"versions": …, "git": …, "estimators": …, …}}``, which can be serialised
        to JSON.
    """
    content = {
        "versions": manifests.provenance(),
        "git": known["git"] if "git" in known else git_state(),
        "estimators": {str(one): one.get_config() for one in estimators} or None,
        **known,
    }
    content = {name: value for name, value in content.items() if value is not None}
    return {KEY: json.loads(json.dumps(content, default=str))}


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory, and whether tracked files differ from it.

    Returns:
        ``{"commit": …, "changed": …}``; ``None`` outside a repository or if git is missing.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def of_model(model: Any) -> dict[str, Any]:
    """Return the name of a model, a checksum of its architecture and its number of parameters.

    The checksum covers the classes of the layers and the shapes of the weights. It does not cover
    the names of layers, because Keras generates new ones for each model.

    Args:
        model: a built Keras model.
    """
    shapes = [(w.name, tuple(w.shape), str(w.dtype)) for w in model.weights]
    layers = [type(layer).__name__ for layer in model.layers]
    digest = hashlib.sha256(repr((layers, shapes)).encode()).hexdigest()
    return {
        "name": model.name,
        "architecture": digest,
        "parameters": sum(math.prod(shape) for _, shape, _ in shapes),
    }


def merged(many: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Combine the ``attrs`` of several tables; values that differ become lists.

    Args:
        many: the ``attrs`` of the tables.
    """
    parts = _distinct(many)
    if len(parts) <= 1:
        return dict(parts[0]) if parts else {}
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if name in part]
        mappings = all(isinstance(value, Mapping) for value in values)
        result[name] = merged(values) if mappings else _listed(values)
    return result


def _listed(values: Sequence[Any]) -> Any:
    listed = _distinct([v for each in values for v in (each if isinstance(each, list) else [each])])
    if len(listed) == 1:
        return values[0]
    return listed if len(listed) <= MOST else [*listed[:MOST], f"… {len(listed)} in all"]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({json.dumps(v, sort_keys=True, default=str): v for v in values}.values())
