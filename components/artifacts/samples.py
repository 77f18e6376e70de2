"""Images sampled from decoders."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ib_keras import frame
from ib_keras.errors import StoreError
from ib_keras.storage import manifests, npy

SAMPLES = "samples.npz"


def write(folder: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Write images into a folder of estimates, and add their checksum to its manifest.

    Args:
        folder: a folder that ``frame.write`` wrote.
        arrays: the images, with their run, layer and epochs.
    """
    manifest = manifests.read_manifest(folder, frame.SCHEMA, frame.VERSION)
    with open(folder / SAMPLES, "wb") as file:
        np.savez_compressed(file, **arrays)
    manifest["files"][SAMPLES] = manifests.entry(folder / SAMPLES)
    header = ("schema", "version", "made_by")
    content = {key: value for key, value in manifest.items() if key not in header}
    manifests.write_manifest(folder, frame.SCHEMA, frame.VERSION, **content)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Read the images that a decoder task sampled, with their run, layer and epochs.

    Raises:
        StoreError: If the folder has no images, or is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, frame.SCHEMA, frame.VERSION)
    file = manifests.checked_file(folder, manifest, SAMPLES)
    arrays = npy.read_npz(file)
    missing = sorted({"originals", "samples", "epochs", "run", "layer", "levels"} - set(arrays))
    if missing:
        raise StoreError(f"{str(file)!r} is damaged", f"the arrays {missing}", sorted(arrays))
    return {**arrays, "run": str(arrays["run"]), "layer": str(arrays["layer"])}
