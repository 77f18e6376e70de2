"""Atomic writes: files and folders are written under a temporary name and renamed when complete."""

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
    """Return a new temporary name beside ``path``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_file(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Let ``write`` write a temporary sibling, then rename it to ``path``."""
    temporary = sibling(path)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: pathlib.Path, fill: Callable[[pathlib.Path], object]) -> None:
    """Let ``fill`` fill a temporary sibling folder, then rename it to ``path``.

    Raises:
        ArgumentError: If ``path`` exists and is not an empty folder; it is left unchanged.
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
    """Rename a finished temporary folder to ``path``.

    Raises:
        ArgumentError: If ``path`` has become a file or a folder with files in the meantime.
    """
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            check_free(path)
        raise


def remove_unfinished(folder: pathlib.Path, name: str = "*") -> None:
    """Remove the temporary files and folders that killed processes left in a folder.

    Args:
        folder: the folder to search.
        name: a glob of the names that the finished files or folders would have had.
    """
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}.tmp"):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif not locks.is_held(path):  # its process is no longer alive
            shutil.rmtree(path, ignore_errors=True)


def check_free(path: pathlib.Path) -> None:
    """Check that nothing would be overwritten at ``path``.

    Raises:
        ArgumentError: If ``path`` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ArgumentError(
            f"{str(path)!r} exists",
            "a new path: nothing is overwritten; or delete it, if it is not needed",
            "a folder with files" if path.is_dir() else "a file",
        )
