"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np

from ib_keras import datasets
from ib_keras.components.artifacts.examples import PARTS, SCHEMA, VERSION
from ib_keras.errors import ArgumentError
from ib_keras.storage import atomic, data_files, manifests

# The number of labels in the artifact's metadata; the manifest has all labels.
_SHOWN = 12


def run(
    data: str,
    output: str | os.PathLike,
    *,
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Load a data set, split it, and write its arrays.

    Arguments that are not listed here are those of the component ``examples``.

    Args:
        data: a name or path that ``ib_keras.datasets.load`` accepts.
        output: the folder to write.

    Returns:
        Facts about the data, for the artifact's metadata.

    Raises:
        ArgumentError: If a fraction is out of range, or a class has too few rows to be split.
    """
    if not 0 <= decoder_fraction < 1:
        raise ArgumentError(
            "`decoder_fraction` is out of range", "0 <= value < 1", decoder_fraction
        )
    loaded = datasets.load(data, test_fraction=test_fraction, seed=seed)
    x_train, x_test = _floats(loaded.x_train), _floats(loaded.x_test)
    arrays = dict(zip(PARTS, (x_train, loaded.y_train, x_test, loaded.y_test), strict=True))
    if decoder_fraction:
        arrays |= _set_apart(arrays, decoder_fraction, seed)

    def fill(folder: pathlib.Path) -> None:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        manifests.write_manifest(
            folder, SCHEMA, VERSION, data=data, seed=seed, shapes=shapes,
            label_names=list(loaded.label_names), files=manifests.checksums(folder),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(output), fill)
    return {
        "data": data,
        "train": len(arrays["x_train"]),
        **({"decoder": len(arrays["x_decoder"])} if decoder_fraction else {}),
        "test": len(loaded.x_test),
        "classes": loaded.n_classes,
        **_named(loaded),
    }


def _set_apart(arrays: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """Split the training rows in two parts by class; also return the row numbers of all parts."""
    from sklearn.model_selection import train_test_split

    n = len(arrays["x_train"])
    try:
        train, decoder = train_test_split(
            np.arange(n), test_size=share, random_state=seed, stratify=arrays["y_train"]
        )
    except ValueError as error:
        raise ArgumentError(
            "The training rows cannot be split by class", "at least two rows of each class", error
        ) from None
    return {
        **{f"{name}_train": arrays[f"{name}_train"][train] for name in "xy"},
        **{f"{name}_decoder": arrays[f"{name}_train"][decoder] for name in "xy"},
        "rows_train": train,
        "rows_decoder": decoder,
        "rows_test": np.arange(n, n + len(arrays["x_test"])),
    }


def _named(loaded: datasets.Dataset) -> dict[str, str]:
    """Return the labels, unless they are 0…K−1, and the arrays that were used as x and y."""
    names, facts = loaded.label_names, {}
    if names != tuple(range(len(names))):
        shown = [*names[:_SHOWN], *(("…", names[-1]) if len(names) > _SHOWN else ())]
        facts["labels"] = " / ".join(map(str, shown))
    if loaded.arrays and loaded.arrays not in data_files.LAYOUTS:
        facts["arrays"] = " / ".join(loaded.arrays)
    return facts


def _floats(x: np.ndarray) -> np.ndarray:
    """Convert 8-bit images to float32 in [0, 1]; return other inputs unchanged."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 and x.ndim > 2 else x
