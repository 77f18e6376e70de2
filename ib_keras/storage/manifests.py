"""Manifests: what a folder holds, with checksums that are compared when it is read."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

from ib_keras.errors import StoreError
from ib_keras.storage.atomic import write_file

MANIFEST = "manifest.json"
# A manifest of ten thousand files has 2 MB.
_LARGEST_MANIFEST = 64 << 20
_PACKAGES = ("ib-keras", "tensorflow", "keras", "numpy", "pandas")
# Files whose content has been compared with a checksum by this process: what they were like then,
# and the checksum.
_compared: dict[str, tuple[tuple[int, ...], str]] = {}


def write_manifest(folder: pathlib.Path, schema: str, version: int, **content: Any) -> None:
    """Writes ``manifest.json``, with a checksum of itself: the mark that the folder is complete."""
    manifest = {"schema": schema, "version": version, "made_by": provenance(), **content}
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    manifest["sha256"] = _digest(manifest)
    text = json.dumps(manifest, indent=1)
    write_file(folder / MANIFEST, lambda temporary: temporary.write_text(text + "\n"))


def read_manifest(folder: pathlib.Path, schema: str, version: int) -> dict[str, Any]:
    """The folder's manifest.

    Raises:
        StoreError: the folder does not exist, is no such artifact, is damaged, or has another
            version.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise StoreError(f"{str(folder)!r} does not exist", f"a folder of {schema}", "nothing")
    if not path.is_file():
        raise StoreError(
            f"{str(folder)!r} is not a folder of {schema}",
            f"a folder with a {MANIFEST}",
            "a file" if folder.is_file() else f"a folder without {MANIFEST}",
        )
    manifest = _parse(path)
    found = manifest.get("schema") if isinstance(manifest, dict) else None
    if found != schema:
        raise StoreError(f"{str(folder)!r} is not a folder of {schema}", schema, repr(found))
    if manifest.get("version") != version:
        raise StoreError(
            f"{str(folder)!r} has another schema version",
            f"version {version} of {schema}: use the ib_keras that wrote it, or record anew",
            f"version {manifest.get('version')!r}",
        )
    written = manifest.pop("sha256", None)
    if written is None:
        raise StoreError(
            f"{str(path)!r} has no checksum",
            "one; folders that were written before there were any are to be made anew",
            "none",
        )
    content = _digest(manifest)
    if written != content:
        raise StoreError(f"{str(path)!r} is damaged", f"the checksum {written!r}", content)
    return manifest


def _parse(path: pathlib.Path) -> Any:
    try:
        if (size := path.stat().st_size) > _LARGEST_MANIFEST:
            raise StoreError(f"{str(path)!r} is too large", f"<= {_LARGEST_MANIFEST} bytes", size)
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{str(path)!r} is damaged", "valid JSON", error) from None


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_fields(
    path: pathlib.Path, content: Any, fields: Mapping[str, Callable[[Any], bool]]
) -> dict[str, Any]:
    """``content`` if it has all fields, each as it should be.

    Args:
        path: of the folder, for the error.
        content: what a manifest says.
        fields: name → whether a value is one.

    Raises:
        StoreError: a field is missing or is no such value.
    """
    if not isinstance(content, dict):
        raise StoreError(f"The manifest of {str(path)!r} is damaged", "an object", repr(content))
    for name, is_one in fields.items():
        if name not in content or not is_one(content[name]):
            received = repr(content[name])[:200] if name in content else "nothing"
            raise StoreError(
                f"The manifest of {str(path)!r} is damaged", f"{name!r} as it is written", received
            )
    return content


def is_count(value: Any) -> bool:
    """Whether a value of JSON is a whole number from 0 on."""
    return type(value) is int and value >= 0


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number."""
    return type(value) is int or (type(value) is float and abs(value) < float("inf"))


def is_texts(value: Any) -> bool:
    """Whether a value of JSON is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def checksums(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Sizes and checksums of a folder's files, for its manifest.

    Args:
        folder: with files; folders in it are left out.
    """
    paths = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    return {path.name: entry(path) for path in paths}


def entry(path: pathlib.Path) -> dict[str, Any]:
    """Size and checksum of a file, for a manifest."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def checksum(path: pathlib.Path) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_file(folder: pathlib.Path, manifest: Mapping[str, Any], name: str) -> pathlib.Path:
    """The path of a file of which the manifest has a checksum, which is compared.

    Args:
        folder: the artifact.
        manifest: which has the field ``files``, made by ``checksums``.
        name: of the file.

    Raises:
        StoreError: the manifest does not have it; it is missing, damaged, or outside the folder.
    """
    files = manifest.get("files")
    found = files.get(name) if isinstance(files, dict) else None
    expected = found.get("sha256") if isinstance(found, dict) else None
    if not isinstance(expected, str):
        raise StoreError(f"{str(folder)!r} has no file {name!r}", "one in its manifest", "none")
    path = inside(folder, name)
    compare(path, expected)
    return path


def inside(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """The path of a file or folder inside of an artifact, whatever the artifact says.

    Args:
        folder: the artifact.
        *names: folders and a file in it.

    Raises:
        StoreError: it would be outside of the folder, by its name or by a link.
    """
    path = folder.joinpath(*names)
    plain = all(n and "\0" not in n and n not in (".", "..") and pathlib.PurePath(n).name == n
                for n in names)  # fmt: skip
    if not plain or not path.resolve().is_relative_to(folder.resolve()):
        raise StoreError(
            f"{str(path)!r} is not inside of {str(folder)!r}", "a file in the folder", names[-1]
        )
    return path


def compare(path: pathlib.Path, expected: str) -> None:
    """Compares a file with its checksum: once in a process, unless it changes.

    Args:
        path: of the file.
        expected: its SHA-256.

    Raises:
        StoreError: the file is missing, or its content is another.
    """
    if not path.is_file():
        raise StoreError(f"{str(path)!r} is missing", "the file that was written", "nothing")
    status = path.stat()
    now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = os.path.abspath(path)
    if _compared.get(key) == (now, expected):
        return
    try:
        found = checksum(path)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be read", "the file that was written", error
        ) from None
    if found != expected:
        raise StoreError(f"{str(path)!r} is damaged", f"the checksum {expected}", found)
    _compared[key] = now, expected


def provenance() -> dict[str, str]:
    """Versions of what made an artifact."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
