"""Copies several artifacts into one."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence

from ib_keras.storage import atomic


def run(inputs: Sequence[str | os.PathLike], output: str | os.PathLike) -> dict[str, int]:
    """Copy folders into one folder; ``components.base.parts`` lists them again.

    Args:
        inputs: the folders.
        output: the folder to write.

    Returns:
        The number of folders, for the artifact's metadata.
    """

    def fill(folder: pathlib.Path) -> None:
        for number, path in enumerate(inputs):
            shutil.copytree(path, folder / f"part-{number:05d}")

    atomic.write_folder(pathlib.Path(output), fill)
    return {"parts": len(inputs)}
