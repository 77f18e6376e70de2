"""Writing artifacts so that a reader never meets a half-written one, and reading them back."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import secrets
import shutil
from collections.abc import Callable
from typing import Any

from ib_keras.errors import ArgumentError, StoreError

MANIFEST = "manifest.json"
_PACKAGES = ("ib-keras", "tensorflow", "keras", "numpy", "pandas")


def sibling(path: pathlib.Path) -> pathlib.Path:
    """A new name beside ``path`` for what is not finished."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_file(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Lets ``write`` fill a temporary sibling, then renames it to ``path``."""
    temporary = sibling(path)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: pathlib.Path, fill: Callable[[pathlib.Path], object]) -> None:
    """Lets ``fill`` fill a temporary sibling folder, then renames it to ``path``.

    Raises:
        ArgumentError: ``path`` exists and is no empty folder; it is left as it was.
    """
    check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    temporary.mkdir()
    try:
        fill(temporary)
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: pathlib.Path) -> None:
    """Raises unless nothing would be overwritten at ``path``.

    Raises:
        ArgumentError: it exists and is no empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ArgumentError(
            f"{str(path)!r} exists",
            "a new path: nothing is overwritten",
            "a folder with files" if path.is_dir() else "a file",
        )


def write_manifest(folder: pathlib.Path, schema: str, version: int, **content: Any) -> None:
    """Writes ``manifest.json``, the mark that the folder is complete."""
    manifest = {"schema": schema, "version": version, "made_by": provenance(), **content}
    text = json.dumps(manifest, indent=1, allow_nan=False)
    write_file(folder / MANIFEST, lambda temporary: temporary.write_text(text + "\n"))


def read_manifest(folder: pathlib.Path, schema: str, version: int) -> dict[str, Any]:
    """The folder's manifest.

    Raises:
        StoreError: the folder does not exist, is no such artifact, or has another version.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise StoreError(f"{str(folder)!r} does not exist", f"a folder of {schema}", "nothing")
    if not path.is_file():
        raise StoreError(
            f"{str(folder)!r} is no folder of {schema}",
            f"a folder with a {MANIFEST}",
            "a file" if folder.is_file() else f"a folder without {MANIFEST}",
        )
    try:
        manifest = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{str(path)!r} is damaged", "valid JSON", str(error)) from None
    found = manifest.get("schema") if isinstance(manifest, dict) else None
    if found != schema:
        raise StoreError(f"{str(folder)!r} is no folder of {schema}", schema, repr(found))
    if manifest.get("version") != version:
        raise StoreError(
            f"{str(folder)!r} has another schema version",
            f"version {version} of {schema}: use the ib_keras that wrote it, or record anew",
            f"version {manifest.get('version')!r}",
        )
    return manifest


def provenance() -> dict[str, str]:
    """Versions of what made an artifact."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
