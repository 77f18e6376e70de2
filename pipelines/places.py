"""Checks that results can be written to a place, before the computations that make them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile

from ib_keras.errors import ArgumentError


def check_folder(folder: pathlib.Path) -> None:
    """Check that files can be written to a folder, which is created for this and removed again.

    Args:
        folder: an existing or a new folder.

    Raises:
        ArgumentError: If the folder cannot be created, or is not writable.
    """
    new: list[pathlib.Path] = []
    try:
        new += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{str(folder)!r} cannot be written", "a folder that you may create or write to", error
        ) from None
    finally:
        for path in new:
            with contextlib.suppress(OSError, ValueError):
                path.rmdir()


def check_file(output: str | os.PathLike, expected: str = "a file") -> None:
    """Check that a file can be written.

    Args:
        output: an existing or a new file in an existing folder.
        expected: the expected value, for the error.

    Raises:
        ArgumentError: If ``output`` is a folder, its folder does not exist, or it is not writable.
    """
    path = pathlib.Path(output)
    if not path.parent.is_dir() or path.is_dir():
        raise ArgumentError("`output` is not a file in an existing folder", expected, str(output))
    check_folder(path.parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise ArgumentError("`output` cannot be written", expected, str(output))
