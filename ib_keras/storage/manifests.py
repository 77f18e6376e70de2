"""Manifests: descriptions of folders, with checksums that are compared when files are read."""

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
_LARGEST_MANIFEST = 64 << 20  # bytes; a manifest of ten thousand files has 2 MB
_PACKAGES = ("ib-keras", "tensorflow", "keras", "numpy", "pandas")
# Schema → a description of its folders, for messages.
_FOLDERS = {
    "ib_keras.activations": "the folder of an `ActivationStore`, as `Recorder` writes it",
    "ib_keras.activations.epoch": "the folder of an epoch of an `ActivationStore`",
    "ib_keras.estimates": "the folder of a table of estimates, as `frame.write` writes it",
    "ib_keras.examples": "the folder of a data set, as the component `examples` writes it",
    "ib_keras.checkpoints": "the folder of checkpoints, as the component `trainer` writes it",
    "ib_keras.clusters": "the folder of clusters, as the component `clusterer` writes it",
    "ib_keras.compressor": "the folder of a compressor, as `compression.save` writes it",
    "ib_keras.image_prior": "the folder of q(x), as the component `image_prior` writes it",
}
# Files that this process has compared with a checksum: path → status at that time, and checksum.
_compared: dict[str, tuple[tuple[int, ...], str]] = {}


def write_manifest(folder: pathlib.Path, schema: str, version: int, **content: Any) -> None:
    """Write ``manifest.json`` with a checksum of itself; it marks the folder as complete."""
    manifest = {"schema": schema, "version": version, "made_by": provenance(), **content}
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    manifest["sha256"] = content_checksum(manifest)
    text = json.dumps(manifest, indent=1)
    write_file(folder / MANIFEST, lambda temporary: temporary.write_text(text + "\n"))


def read_manifest(folder: pathlib.Path, schema: str, version: int) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        StoreError: If the folder does not exist, does not have this schema or version, or is
            damaged.
    """
    path = folder / MANIFEST
    expected = _FOLDERS.get(schema, f"a folder of {schema}")
    if not folder.exists():
        raise StoreError(f"{str(folder)!r} does not exist", expected, "nothing")
    if not path.is_file():
        raise StoreError(
            f"{str(folder)!r} is not of the expected kind",
            expected,
            "a file" if folder.is_file() else f"a folder without {MANIFEST}",
        )
    manifest = _parse(path)
    received = manifest.get("schema") if isinstance(manifest, dict) else None
    if received != schema:
        raise StoreError(f"{str(folder)!r} is not of the expected kind", expected, repr(received))
    if manifest.get("version") != version:
        raise StoreError(
            f"{str(folder)!r} has another schema version",
            f"version {version} of {schema}: use the ib_keras that wrote it, or record again",
            f"version {manifest.get('version')!r}",
        )
    written = manifest.pop("sha256", None)
    if written is None:
        raise StoreError(
            f"{str(path)!r} has no checksum",
            "the key 'sha256'; folders from versions without checksums must be made again",
            "none",
        )
    digest = content_checksum(manifest)
    if written != digest:
        raise StoreError(f"{str(path)!r} is damaged", f"the checksum {written!r}", digest)
    return manifest


def _parse(path: pathlib.Path) -> Any:
    try:
        if (size := path.stat().st_size) > _LARGEST_MANIFEST:
            raise StoreError(f"{str(path)!r} is too large", f"<= {_LARGEST_MANIFEST} bytes", size)
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{str(path)!r} is damaged", "valid JSON", error) from None


def content_checksum(content: Any) -> str:
    """Return the SHA-256 of a manifest's content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_fields(
    path: pathlib.Path, content: Any, fields: Mapping[str, Callable[[Any], bool]]
) -> dict[str, Any]:
    """Return ``content`` if it has all fields with valid values.

    Args:
        path: the folder, for the error.
        content: the content of a manifest.
        fields: name → function that says whether a value is valid.

    Raises:
        StoreError: If a field is missing or its value is not valid.
    """
    if not isinstance(content, dict):
        raise StoreError(f"The manifest of {str(path)!r} is damaged", "an object", repr(content))
    for name, is_valid in fields.items():
        if name not in content or not is_valid(content[name]):
            received = repr(content[name])[:200] if name in content else "nothing"
            raise StoreError(
                f"The manifest of {str(path)!r} is damaged", f"a valid field {name!r}", received
            )
    return content


def is_count(value: Any) -> bool:
    """Return whether a JSON value is a nonnegative integer."""
    return type(value) is int and value >= 0


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return type(value) is int or (type(value) is float and abs(value) < float("inf"))


def is_texts(value: Any) -> bool:
    """Return whether a JSON value is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def checksums(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Return the sizes and checksums of a folder's files, without subfolders, for its manifest."""
    paths = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    return {path.name: entry(path) for path in paths}


def entry(path: pathlib.Path) -> dict[str, Any]:
    """Return the size in bytes and the checksum of a file, for a manifest."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def checksum(path: pathlib.Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_file(folder: pathlib.Path, manifest: Mapping[str, Any], name: str) -> pathlib.Path:
    """Compare a file with its checksum in a manifest, and return its path.

    Args:
        folder: the folder with the file.
        manifest: the folder's manifest, whose field ``files`` was made by ``checksums``.
        name: the name of the file.

    Raises:
        StoreError: If the file is not in the manifest, is missing or damaged, or is outside the
            folder.
    """
    files = manifest.get("files")
    file_entry = files.get(name) if isinstance(files, dict) else None
    expected = file_entry.get("sha256") if isinstance(file_entry, dict) else None
    if not isinstance(expected, str):
        raise StoreError(f"{str(folder)!r} has no file {name!r}", "one in its manifest", "none")
    path = inside(folder, name)
    compare(path, expected)
    return path


def inside(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """Join a folder and names from a manifest, and check that the path is inside the folder.

    Args:
        folder: the folder.
        *names: the parts of the file's path in the folder.

    Raises:
        StoreError: If the path would be outside the folder, by its name or by a link.
    """
    path = folder.joinpath(*names)
    plain = all(n and "\0" not in n and n not in (".", "..") and pathlib.PurePath(n).name == n
                for n in names)  # fmt: skip
    if not plain or not path.resolve().is_relative_to(folder.resolve()):
        raise StoreError(
            f"{str(path)!r} is not inside {str(folder)!r}", "a file in the folder", names[-1]
        )
    return path


def compare(path: pathlib.Path, expected: str) -> None:
    """Compare a file with its checksum, once per process unless the file changes.

    Args:
        path: the file.
        expected: its SHA-256.

    Raises:
        StoreError: If the file is missing, or its content has changed.
    """
    if not path.is_file():
        raise StoreError(f"{str(path)!r} is missing", "the file that was written", "nothing")
    status = path.stat()
    now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = os.path.abspath(path)
    if _compared.get(key) == (now, expected):
        return
    try:
        received = checksum(path)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be read", "the file that was written", error
        ) from None
    if received != expected:
        raise StoreError(f"{str(path)!r} is damaged", f"the checksum {expected}", received)
    _compared[key] = now, expected


@functools.cache
def provenance() -> dict[str, str]:
    """Return the versions of Python and of the packages that make an artifact."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
