"""Writing and reading of fitted autoencoders, as folders."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from ib_keras.compression.compressors import Autoencoder, Compressed, EncoderState, get
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import atomic, manifests, npy

SCHEMA, VERSION = "ib_keras.compressor", 1
_ARRAYS = "arrays.npz"


def save(compressed: Compressed, path: str | os.PathLike) -> None:
    """Write a fitted autoencoder to a folder, so that other programs can compute the same codes.

    Args:
        compressed: the result of ``Autoencoder.fit``.
        path: the folder to write.

    Raises:
        ArgumentError: If the compressor is not a fitted ``Autoencoder``.
    """
    state = getattr(compressed, "saved", None)
    if state is None:
        raise ArgumentError(
            "The compressor cannot be saved", "the result of Autoencoder.fit", repr(compressed)
        )
    arrays = {f"weights-{i}": array for i, array in enumerate(state.weights)}

    def fill(folder: pathlib.Path) -> None:
        np.savez(folder / _ARRAYS, mean=state.mean, **arrays)
        manifests.write_manifest(
            folder, SCHEMA, VERSION, settings={"name": "ae", **state.settings.get_config()},
            scale=state.scale, exponent=state.exponent, shape=list(state.shape),
            steps=state.steps, seed=state.seed, quality=compressed.quality,
            files=manifests.checksums(folder),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(path), fill)


def load(path: str | os.PathLike) -> Compressed:
    """Read a fitted autoencoder that ``save`` wrote.

    Args:
        path: the folder.

    Raises:
        StoreError: If ``path`` is not such a folder, or is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    arrays = npy.read_npz(manifests.checked_file(folder, manifest, _ARRAYS))
    try:
        settings: Any = get(manifest["settings"])
        if not isinstance(settings, Autoencoder):
            raise TypeError(settings)
        state = EncoderState(
            settings,
            [arrays[f"weights-{i}"] for i in range(len(arrays) - 1)],
            arrays["mean"],
            float(manifest["scale"]),
            int(manifest["exponent"]),
            tuple(map(int, manifest["shape"])),
            int(manifest["steps"]),
            int(manifest["seed"]),
        )
        return state.compressed({k: float(v) for k, v in manifest["quality"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{str(folder)!r} is damaged", "a compressor", repr(error)) from None
