"""What all components share: their image, their version, and how they take several items."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ib_keras
from ib_keras.errors import ArgumentError
from ib_keras.storage import atomic

try:
    from kfp import dsl
except ModuleNotFoundError as error:
    from ib_keras.errors import MissingExtraError

    raise MissingExtraError.of("ib_keras.components", "kfp", "pipelines") from error

# Begins the line in a task's log that says what it made.
MARK = "ib-keras:"

# The name has "python" in it because the local runner warns about others.
DEFAULT_IMAGE = "ib-keras-python:latest"

# Caches see a task's inputs, image and environment, never the library's code.
VERSION_VARIABLE = "IB_KERAS_VERSION"


def component(function: Any) -> Any:
    """Declares a component that installs nothing at run time: the image has ``ib_keras``.

    Each of its tasks carries the library's version in its environment, in any pipeline.
    """
    made = dsl.component(
        function, base_image=DEFAULT_IMAGE, packages_to_install=[], install_kfp_package=False
    )
    made.component_spec.implementation.container.env = {VERSION_VARIABLE: version()}
    return made


@functools.cache
def version() -> str:
    """The library's version with a fingerprint of its source, such as ``0.1.0+3f2a9c01``.

    What was edited is another version. The environment variable ``IB_KERAS_VERSION`` overrides it,
    for who knows that an edit changes no result.
    """
    if given := os.environ.get(VERSION_VARIABLE):
        return given
    library, components = pathlib.Path(ib_keras.__file__).parent, pathlib.Path(__file__).parent
    apart = (library / "components", library / "pipelines")
    files = [p for p in library.rglob("*.py") if not any(a in p.parents for a in apart)]
    named = [(p.relative_to(library), p) for p in files]
    named += [("components" / p.relative_to(components), p) for p in components.rglob("*.py")]
    digest = hashlib.sha256()
    for name, path in sorted(named):
        digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{ib_keras.__version__}+{digest.hexdigest()[:8]}"


def publish(artifact: Any, facts: dict[str, Any]) -> None:
    """Puts what an executor says of its work on the artifact, and on the task's log.

    Args:
        artifact: a KFP artifact.
        facts: short names and JSON values.
    """
    artifact.metadata.update(facts)
    text = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    print(f"{MARK} {text}")


def items(text: str) -> list[str]:
    """What a loop's item stands for: itself, or where a large grid was grouped, a JSON list.

    Args:
        text: a model, an estimator, …; or a JSON list of these.

    Returns:
        One text or more.

    Raises:
        ArgumentError: it begins as a list, but does not parse as one.
    """
    if not text.lstrip().startswith("["):
        return [text]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError("An item does not parse", "a JSON list", error) from None
    return [item if isinstance(item, str) else json.dumps(item) for item in found]


def each(
    run: Callable[[str, Any], dict[str, Any]], output: str, inputs: Sequence[Any]
) -> dict[str, Any]:
    """Runs an executor for each of a task's items; several fill a folder for each.

    Args:
        run: called with the folder to write and an item, returns facts.
        output: the artifact's path.
        inputs: the items.

    Returns:
        The facts of a single run; of several, those that are alike, and their number.
    """
    if len(inputs) == 1:
        return run(output, inputs[0])
    facts: list[dict[str, Any]] = []

    def fill(folder: pathlib.Path) -> None:
        for number, item in enumerate(inputs):
            facts.append(run(str(folder / f"part-{number:05d}"), item))

    atomic.write_folder(pathlib.Path(output), fill)
    common = {k: v for k, v in facts[0].items() if all(f.get(k) == v for f in facts)}
    return {"parts": len(facts), **common}


def parts(*paths: str) -> list[str]:
    """The folders that executors wrote at these paths, also where ``each`` put several into one.

    Args:
        paths: of artifacts.

    Returns:
        At least as many paths, in their order.
    """
    found: list[str] = []
    for path in paths:
        inner = sorted(str(p) for p in pathlib.Path(path).glob("part-*"))
        found += inner or [path]
    return found
