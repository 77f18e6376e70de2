"""Files and folders written beside their place, and moved there when they are whole."""

from __future__ import annotations

import errno
import glob
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable

from ib_keras.errors import ArgumentError
from ib_keras.storage import locks


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
    remove_unfinished(path.parent, glob.escape(path.name))
    temporary = sibling(path)
    temporary.mkdir()
    try:
        with locks.held(temporary):
            fill(temporary)
            move_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_folder(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Renames a folder that is finished.

    Raises:
        ArgumentError: meanwhile ``path`` has become a folder with files.
    """
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            check_free(path)
        raise


def remove_unfinished(folder: pathlib.Path, name: str = "*") -> None:
    """Removes what processes that were killed have left unfinished in a folder.

    Args:
        folder: to look in.
        name: the name that the finished file or folder would have had; a glob.
    """
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}.tmp"):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif not locks.is_held(path):  # else its process lives
            shutil.rmtree(path, ignore_errors=True)


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
