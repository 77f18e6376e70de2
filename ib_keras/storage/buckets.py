"""Files in a bucket, through fsspec."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from ib_keras.errors import MissingExtraError, StoreError

_ACCESS = {
    "gs": "credentials (gcloud auth application-default login) that have "
    "roles/storage.objectViewer on the bucket",
}


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
            matches = [path] if system.exists(path) else sorted(system.glob(path))
            copies = [
                _copy(system, match, wanted, pathlib.Path(folder, str(number)))
                for number, match in enumerate(matches)
            ]
        if not copies:
            raise StoreError(f"{url!r} does not exist", f"a folder with {wanted[0]}", "nothing")
        yield copies


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
    """Turn the errors of a bucket's library into errors that say what to do."""
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
