"""Shared by all components: the image, the version, and the handling of several items."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ib_keras
from ib_keras.components.artifacts.items import items
from ib_keras.errors import MissingExtraError
from ib_keras.storage import atomic

try:
    from kfp import dsl
except ModuleNotFoundError as error:
    raise MissingExtraError.of("ib_keras.components", "kfp", "pipelines") from error

__all__ = [
    "DEFAULT_IMAGE", "MARK", "VERSION_VARIABLE", "component", "each", "items", "log", "parts",
    "publish", "version",
]  # fmt: skip

# Starts the line of a task's log that summarises its results.
MARK = "ib-keras:"
# The local runner warns about images without "python" in their names.
DEFAULT_IMAGE = "ib-keras-python:latest"
# A cache compares a task's inputs, image and environment, but not the library's code.
VERSION_VARIABLE = "IB_KERAS_VERSION"


def component(function: Any) -> Any:
    """Declare a component that installs nothing at run time, because its image has ``ib_keras``.

    Each of its tasks has the library's version in its environment, in any pipeline.
    """
    declared = dsl.component(
        function, base_image=DEFAULT_IMAGE, packages_to_install=[], install_kfp_package=False
    )
    declared.component_spec.implementation.container.env = {VERSION_VARIABLE: version()}
    return declared


@functools.cache
def version() -> str:
    """Return the library's version with a fingerprint of its source, such as ``0.2.0+3f2a9c01``.

    Editing the source changes the version. If an edit changes no result, set the environment
    variable ``IB_KERAS_VERSION``, which overrides the version.
    """
    if override := os.environ.get(VERSION_VARIABLE):
        return override
    library, components = pathlib.Path(ib_keras.__file__).parent, pathlib.Path(__file__).parent
    excluded = (library / "components", library / "pipelines")
    files = [p for p in library.rglob("*.py") if not any(e in p.parents for e in excluded)]
    named = [(p.relative_to(library), p) for p in files]
    named += [("components" / p.relative_to(components), p) for p in components.rglob("*.py")]
    digest = hashlib.sha256()
    for name, path in sorted(named):
        digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{ib_keras.__version__}+{digest.hexdigest()[:8]}"


def publish(artifact: Any, facts: dict[str, Any]) -> None:
    """Add an executor's facts to the artifact's metadata, and print them to the task's log.

    Args:
        artifact: a KFP artifact.
        facts: short names with JSON values.
    """
    artifact.metadata.update(facts)
    log(facts)


def log(facts: dict[str, Any]) -> None:
    """Print an executor's facts to the task's log.

    Args:
        facts: short names with JSON values.
    """
    text = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    print(f"{MARK} {text}")


def each(
    run: Callable[[str, Any], dict[str, Any]], output: str, inputs: Sequence[Any]
) -> dict[str, Any]:
    """Run an executor for each item of a task; several items get one folder each.

    Args:
        run: function of the folder to write and an item, which returns facts.
        output: path of the artifact.
        inputs: the items.

    Returns:
        The facts of a single run. For several runs, the facts that all have in common, and the
        number of runs as ``parts``.
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
    """Return the folders that executors wrote, including those that ``each`` put into one artifact.

    Args:
        *paths: paths of artifacts.

    Returns:
        The paths of the folders, in the order of the artifacts.
    """
    folders: list[str] = []
    for path in paths:
        folders += sorted(str(part) for part in pathlib.Path(path).glob("part-*")) or [path]
    return folders
