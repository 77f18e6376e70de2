"""Images that decoders drew."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from ib_keras.errors import StoreError
from ib_keras.storage import npy

SAMPLES = "samples.npz"


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The images that a decoder's task drew, with the run, layer and epochs that they belong to.

    Raises:
        StoreError: the file is missing or damaged.
    """
    file = pathlib.Path(path) / SAMPLES
    found = npy.read_npz(file)
    missing = sorted({"originals", "samples", "epochs", "run", "layer", "levels"} - set(found))
    if missing:
        raise StoreError(f"{str(file)!r} is damaged", f"the arrays {missing}", sorted(found))
    return {**found, "run": str(found["run"]), "layer": str(found["layer"])}
