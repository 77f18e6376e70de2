"""Where a table of estimates came from: what is kept in its ``attrs``."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ib_keras.storage import manifests

# The entry of ``attrs``; so many different values of one thing are listed.
KEY, MOST = "provenance", 20


def attrs(estimators: Iterable[Any] = (), **known: Any) -> dict[str, Any]:
    """The ``attrs`` of a table that is made now.

    Args:
        estimators: with their settings, seeds among them.
        known: what else is known, such as ``data`` and ``model``; what is ``None`` is left out.

    Returns:
        ``{"provenance": {"versions": …, "git": …, "estimators": …, …}}``, fit for JSON.
    """
    content = {
        "versions": manifests.provenance(),
        "git": git_state(),
        "estimators": {str(estimator): _settings(estimator) for estimator in estimators} or None,
        **known,
    }
    content = {name: value for name, value in content.items() if value is not None}
    return {KEY: json.loads(json.dumps(content, default=str))}


def _settings(estimator: Any) -> Any:
    return estimator.get_config()


def git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether tracked files differ from it.

    Returns:
        ``{"commit": …, "changed": …}``; ``None`` outside a repository or without git.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def of_model(model: Any) -> dict[str, Any]:
    """What tells a model's architecture from others: a checksum of its layers' classes and weights'
    shapes, not of names, of which Keras makes new ones for each model.

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
    """The ``attrs`` of several tables as one: what differs becomes a list of the different values.

    Args:
        many: the tables' ``attrs``.
    """
    different = {json.dumps(one, sort_keys=True, default=str): one for one in many}
    parts = list(different.values())
    if len(parts) <= 1:
        return dict(parts[0]) if parts else {}
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        own = [part[name] for part in parts if name in part]
        if all(isinstance(value, Mapping) for value in own):
            found[name] = merged(own)
        else:
            found[name] = _listed(own)
    return found


def _listed(values: Sequence[Any]) -> Any:
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    known = {json.dumps(value, sort_keys=True, default=str): value for value in flat}
    if len(known) == 1:
        return values[0]
    listed = list(known.values())
    return listed if len(listed) <= MOST else [*listed[:MOST], f"… {len(listed)} in all"]
