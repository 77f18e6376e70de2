"""Files in a bucket, through fsspec."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from ib_keras.errors import MissingExtraError, StoreError
from ib_keras.storage import atomic

_ACCESS = {
    "gs": "credentials (gcloud auth application-default login) that have "
    "roles/storage.objectViewer on the bucket",
}

# The start of a URL such as gs://bucket.
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# The number of passing copies (see ``Mirror.fetch``) that a mirror keeps.
_KEPT = 4


def is_url(path: str | os.PathLike) -> bool:
    """Return whether a path is the URL of a bucket, such as ``gs://bucket/folder``."""
    return _URL.match(os.fspath(path)) is not None


def matches(url: str) -> list[str]:
    """Return the URLs that a glob of URLs matches, in order; or the URL itself if it exists.

    Raises:
        StoreError: If the bucket cannot be read.
        MissingExtraError: If the package that reads URLs of this protocol is not installed.
    """
    system, path = _system(url)
    with _readable(url):
        return [system.unstrip_protocol(match) for match in _matching(system, path)]


class Mirror:
    """A folder in a bucket, whose files are copied to this machine when they are needed.

    The copies are in a temporary folder, which is removed with this object.

    Args:
        url: the URL of the folder.

    Attributes:
        folder: the folder of the copies; its path ends with the path in the bucket.

    Raises:
        StoreError: If the protocol is unknown.
        MissingExtraError: If the package that reads URLs of this protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._system, self._root = _system(self.url)
        self._temporary = tempfile.TemporaryDirectory(prefix="ib-keras-")
        parts = [part for part in self._root.split("/") if part not in ("", ".", "..")]
        self.folder = pathlib.Path(self._temporary.name, *parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._passing: collections.deque[pathlib.Path] = collections.deque()

    def fetch(self, *names: str, again: bool = False, passing: bool = False) -> bool:
        """Copy a file to this machine, unless there is a copy of it.

        Args:
            *names: the parts of the file's path in the folder.
            again: whether to replace an earlier copy; for files that change.
            passing: whether the copy may be removed when other passing copies are made, for large
                files that are read once. Memory maps of a removed copy stay valid.

        Returns:
            Whether there is a copy; ``False`` if the file does not exist in the bucket.

        Raises:
            StoreError: If the bucket cannot be read.
        """
        copy = self.folder.joinpath(*names)
        if copy.exists() and not again:
            return True
        temporary = atomic.sibling(self.folder / names[-1])
        with _readable(self.url):
            try:
                self._system.get_file("/".join((self._root, *names)), str(temporary))
            except FileNotFoundError:
                copy.unlink(missing_ok=True)
                return False
            copy.parent.mkdir(exist_ok=True)
            os.replace(temporary, copy)
        if passing:
            self._passing.append(copy)
            while len(self._passing) > _KEPT:
                with contextlib.suppress(OSError):  # an open file stays on Windows
                    self._passing.popleft().unlink()
        return True

    def folders(self) -> list[str]:
        """Return the names of the folders in the folder.

        Raises:
            StoreError: If the bucket cannot be read.
        """
        with _readable(self.url):
            self._system.invalidate_cache()
            entries = self._system.ls(self._root, detail=True)
        names = [entry["name"] for entry in entries if entry["type"] == "directory"]
        return [name.rstrip("/").rpartition("/")[2] for name in names]


@contextlib.contextmanager
def files(url: str, wanted: Sequence[str]) -> Iterator[list[tuple[str, pathlib.Path]]]:
    """Copy files from a bucket to a temporary folder, for a ``with`` block.

    Args:
        url: the URL of a folder or a file, or a glob of URLs.
        wanted: the names of the files to copy from a folder; for a file, the names of the files
            beside it to copy with it.

    Yields:
        A list of the matching URLs, each with the path of its copy, a folder or a file. If a folder
        lacks the first of the wanted files, its copy has an empty file for each other name, so that
        an error can list what the folder contains.

    Raises:
        StoreError: If nothing matches the URL, or it cannot be read.
        MissingExtraError: If the package that reads URLs of this protocol is not installed.
    """
    system, path = _system(url)
    with tempfile.TemporaryDirectory() as folder:
        with _readable(url):
            copies = [
                _copy(system, match, wanted, pathlib.Path(folder, str(number)))
                for number, match in enumerate(_matching(system, path))
            ]
        if not copies:
            raise StoreError(f"{url!r} does not exist", f"a folder with {wanted[0]}", "nothing")
        yield copies


def _matching(system: Any, path: str) -> list[str]:
    return [path] if system.exists(path) else sorted(system.glob(path))


def _copy(
    system: Any, match: str, wanted: Sequence[str], place: pathlib.Path
) -> tuple[str, pathlib.Path]:
    place.mkdir()
    is_folder = system.isdir(match)
    folder, _, own = (match, "", "") if is_folder else match.rpartition("/")
    names = [entry.rstrip("/").rpartition("/")[2] for entry in system.ls(folder, detail=False)]
    copied = [name for name in names if name == own or name in wanted]
    for name in copied:
        system.get_file(f"{folder}/{name}", str(place / name))
    if is_folder and wanted[0] not in copied:
        for name in filter(None, names):
            (place / name).touch()  # keeps the content of copied files
    return system.unstrip_protocol(match), place if is_folder else place / own


def _system(url: str) -> tuple[Any, str]:
    protocol = url.partition("://")[0]
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(f"Reading {protocol}:// paths", "fsspec", "vertex") from error
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        if protocol in ("gs", "gcs"):
            raise MissingExtraError.of(f"Reading {protocol}:// paths", "gcsfs", "vertex") from error
        raise MissingExtraError(
            f"Reading {protocol}:// paths needs a package that fsspec uses for this protocol",
            "the package to be installed with pip",
            error,
        ) from error
    except ValueError as error:
        raise StoreError(
            f"{url!r} cannot be read", "gs://…, or another protocol of fsspec", error
        ) from None


@contextlib.contextmanager
def _readable(url: str) -> Iterator[None]:
    """Turn the errors of the library that reads a bucket into errors that say what to do."""
    logger = logging.getLogger("gcsfs")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # it would log the error at length as well
    try:
        yield
    except Exception as error:  # each protocol has its own; not all are subclasses of OSError
        raise StoreError(
            f"{url!r} cannot be read",
            _ACCESS.get(url.partition("://")[0], "a place that you may read"),
            f"{type(error).__name__}: {error}",
        ) from error
    finally:
        logger.setLevel(level)
