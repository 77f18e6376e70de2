"""Images sampled from decoders."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from ib_keras.errors import StoreError
from ib_keras.storage import npy

SAMPLES = "samples.npz"


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the images that a decoder task sampled, with their run, layer and epochs.

    Raises:
        StoreError: If the file is missing or damaged.
    """
    file = pathlib.Path(path) / SAMPLES
    arrays = npy.read_npz(file)
    missing = sorted({"originals", "samples", "epochs", "run", "layer", "levels"} - set(arrays))
    if missing:
        raise StoreError(f"{str(file)!r} is damaged", f"the arrays {missing}", sorted(arrays))
    return {**arrays, "run": str(arrays["run"]), "layer": str(arrays["layer"])}
