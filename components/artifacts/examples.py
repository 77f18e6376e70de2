"""A data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ib_keras.errors import ArgumentError

if TYPE_CHECKING:
    pass

from typing import NamedTuple

from ib_keras.arrays.labels import are_names
from ib_keras.errors import StoreError
from ib_keras.storage import manifests, npy

SCHEMA, VERSION = "ib_keras.examples", 1

PARTS = ("x_train", "y_train", "x_test", "y_test")

DECODER = ("x_decoder", "y_decoder")

ROWS = ("rows_train", "rows_decoder", "rows_test")


class Examples(NamedTuple):
    """A data set that ``run`` wrote, memory-mapped.

    Args:
        x_train: inputs that train a network.
        y_train: their labels.
        x_test: inputs held out.
        y_test: their labels.
        x_decoder: inputs that train decoders, if any were set apart.
        y_decoder: their labels.
        rows: of the three parts, where there are three: positions in the data set as loaded, by the
            names ``train``, ``decoder`` and ``test``.
        label_names: what the labels' codes 0…K−1 stand for.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_decoder: np.ndarray | None = None
    y_decoder: np.ndarray | None = None
    rows: dict[str, np.ndarray] | None = None
    label_names: tuple[str | int, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x_train.shape[1:]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Codes as the labels that they stand for."""
        return np.array(self.label_names)[y]

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


def read(path: str | os.PathLike) -> Examples:
    """Opens what ``run`` wrote.

    Raises:
        StoreError: it is no such folder, or damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    files = manifest.get("files")
    three = isinstance(files, dict) and f"{DECODER[0]}.npy" in files
    names = (*PARTS, *DECODER, *ROWS) if three else PARTS
    arrays = {
        name: npy.read_npy(manifests.checked_file(folder, manifest, f"{name}.npy"))
        for name in names
    }
    lengths = {name: array.shape[:1] for name, array in arrays.items()}
    for part in ("train", "test", *(("decoder",) if three else ())):
        if lengths[f"x_{part}"] != lengths[f"y_{part}"] or 0 in lengths[f"x_{part}"]:
            raise StoreError(f"{str(folder)!r} is damaged", "a label an input", str(lengths))
    rows = {name.removeprefix("rows_"): arrays.pop(name) for name in ROWS} if three else None
    classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    names = manifest.get("label_names", list(range(classes)))  # earlier folders have none
    if not are_names(names) or len(names) < classes:
        raise StoreError(f"{str(folder)!r} is damaged", "a name for each label", repr(names)[:200])
    return Examples(**arrays, rows=rows, label_names=tuple(names))


def check_disjoint(**rows: Any) -> None:
    """Raises unless the parts have no row in common.

    Args:
        **rows: integer ids of rows, by the part's name.

    Raises:
        ArgumentError: a row is in two parts, or twice in one.
    """
    names = list(rows)
    ids = [np.asarray(part).reshape(-1) for part in rows.values()]
    for i, first in enumerate(ids):
        if len(np.unique(first)) < len(first):
            raise ArgumentError(f"The rows of {names[i]!r} repeat", "each once", "repeated rows")
        for j in range(i):
            shared = np.intersect1d(first, ids[j])
            if len(shared):
                raise ArgumentError(
                    f"{names[j]!r} and {names[i]!r} have {len(shared)} rows in common",
                    "disjoint parts: one trains the network, one the decoders, one is evaluated",
                    f"both hold row {shared[0]}",
                )
