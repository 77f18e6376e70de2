"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

import numpy as np

from ib_keras import _files, datasets
from ib_keras.errors import StoreError

SCHEMA, VERSION = "ib_keras.examples", 1
PARTS = ("x_train", "y_train", "x_test", "y_test")


class Examples(NamedTuple):
    """A data set that ``run`` wrote, memory-mapped."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x_train.shape[1:]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """X and Y of ``"train"``, ``"test"`` or ``"all"`` (train, then test)."""
        if name == "train":
            return self.x_train, self.y_train
        if name == "test":
            return self.x_test, self.y_test
        return (
            np.concatenate([self.x_train, self.x_test]),
            np.concatenate([self.y_train, self.y_test]),
        )


def run(
    data: str, output: str | os.PathLike, *, test_fraction: float = 0.2, seed: int = 0
) -> dict[str, int | str]:
    """Loads a data set and writes it.

    Args:
        data: a name or path that ``ib_keras.datasets.load`` takes.
        output: the folder to write.
        test_fraction: share of the rows held out, where the data come unsplit.
        seed: of that split.

    Returns:
        Facts about the data, for the artifact's metadata.
    """
    loaded = datasets.load(data, test_fraction=test_fraction, seed=seed)
    arrays = dict(
        zip(PARTS, (_floats(loaded.x_train), loaded.y_train, _floats(loaded.x_test), loaded.y_test),
            strict=True)
    )  # fmt: skip

    def fill(folder: pathlib.Path) -> None:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        _files.write_manifest(folder, SCHEMA, VERSION, data=data, seed=seed, shapes={
            name: list(array.shape) for name, array in arrays.items()
        })  # fmt: skip

    _files.write_folder(pathlib.Path(output), fill)
    return {
        "data": data,
        "train": len(loaded.x_train),
        "test": len(loaded.x_test),
        "classes": loaded.n_classes,
    }


def read(path: str | os.PathLike) -> Examples:
    """Opens what ``run`` wrote."""
    folder = pathlib.Path(path)
    _files.read_manifest(folder, SCHEMA, VERSION)
    try:
        arrays = [np.load(folder / f"{p}.npy", mmap_mode="r", allow_pickle=False) for p in PARTS]
    except (OSError, ValueError) as error:
        raise StoreError(f"{str(folder)!r} is damaged", f"{PARTS} as .npy", error) from None
    return Examples(*arrays)


def _floats(x: np.ndarray) -> np.ndarray:
    """8-bit images as float32 in [0, 1]; all else as it is."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 and x.ndim > 2 else x
