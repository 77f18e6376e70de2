"""A data set stored as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from ib_keras.arrays.labels import are_names
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import manifests, npy

SCHEMA, VERSION = "ib_keras.examples", 1

PARTS = ("x_train", "y_train", "x_test", "y_test")
DECODER = ("x_decoder", "y_decoder")
ROWS = ("rows_train", "rows_decoder", "rows_test")


class Examples(NamedTuple):
    """A data set that the component ``examples`` wrote, memory-mapped.

    Args:
        x_train: inputs for training networks.
        y_train: labels of ``x_train``: codes of classes ``(n,)``, or numbers ``(n,)`` or
            ``(n, k)``.
        x_test: held-out inputs.
        y_test: labels of ``x_test``.
        x_decoder: inputs for training decoders; ``None`` if no rows were set apart.
        y_decoder: labels of ``x_decoder``.
        rows: the positions of the rows in the loaded data set, under the keys ``train``,
            ``decoder`` and ``test``; ``None`` if no rows were set apart for decoders.
        label_names: the labels that the codes 0…K−1 denote; ``None`` if the labels are numbers.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_decoder: np.ndarray | None = None
    y_decoder: np.ndarray | None = None
    rows: dict[str, np.ndarray] | None = None
    label_names: tuple[str | int, ...] | None = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.x_train.shape[1:]

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers rather than classes."""
        return self.label_names is None

    @property
    def n_classes(self) -> int:
        """The number of classes; 0 if the labels are numbers."""
        return len(self.label_names or ())

    @property
    def n_outputs(self) -> int:
        """The number of outputs of a network: one for each class, or each number of a label."""
        return self.n_classes or int(np.prod(self.y_train.shape[1:], dtype=int))

    def classes(self, user: str) -> tuple[str | int, ...]:
        """Return the names of the classes.

        Args:
            user: what needs classes, for the error.

        Raises:
            ArgumentError: If the labels are numbers.
        """
        if self.label_names is None:
            raise ArgumentError(
                f"The labels are numbers, but {user} needs classes",
                "classes: integers, texts, or floats with few different values",
                f"labels {self.y_train.dtype} of shape {self.y_train.shape}",
            )
        return self.label_names

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Return the labels that the codes ``y`` denote; numbers are returned unchanged."""
        return y if self.label_names is None else np.array(self.label_names)[y]

    def training(self, shuffled: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and labels of the training rows, whose labels may be shuffled."""
        y = self.y_train
        return self.x_train, np.random.default_rng(seed).permutation(y) if shuffled else y

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and labels of ``"train"``, ``"test"`` or ``"all"`` (both)."""
        if name == "train":
            return self.x_train, self.y_train
        if name == "test":
            return self.x_test, self.y_test
        return (
            np.concatenate([self.x_train, self.x_test]),
            np.concatenate([self.y_train, self.y_test]),
        )


def read(path: str | os.PathLike) -> Examples:
    """Open a data set that the component ``examples`` wrote.

    Raises:
        StoreError: If ``path`` is not the folder of a data set, or is damaged.
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
            raise StoreError(f"{str(folder)!r} is damaged", "one label per input", str(lengths))
    rows = {name.removeprefix("rows_"): arrays.pop(name) for name in ROWS} if three else None
    labels = [array for name, array in arrays.items() if name.startswith("y_")]
    label_names = _label_names(folder, manifest, labels)
    return Examples(**arrays, rows=rows, label_names=label_names)


def _label_names(
    folder: pathlib.Path, manifest: dict[str, Any], labels: list[np.ndarray]
) -> tuple[str | int, ...] | None:
    """Return the names of the classes; ``None`` if the labels are numbers."""
    are_codes = all(y.ndim == 1 and y.dtype.kind in "iu" for y in labels)
    if not are_codes and manifest.get("label_names", ()) is None:
        return None
    if not are_codes:
        raise StoreError(f"{str(folder)!r} is damaged", "integer codes", f"{labels[0].dtype}")
    classes = max(int(y.max()) for y in labels) + 1
    # Folders of earlier versions have no label names.
    names = manifest.get("label_names", list(range(classes)))
    if not are_names(names) or len(names) < classes:
        raise StoreError(f"{str(folder)!r} is damaged", "a name for each label", repr(names)[:200])
    return tuple(names)


def check_disjoint(**rows: Any) -> None:
    """Check that the parts of a data set share no row.

    Args:
        **rows: the integer ids of each part's rows, under the name of the part.

    Raises:
        ArgumentError: If a row occurs in two parts, or twice in one part.
    """
    names = list(rows)
    ids = [np.asarray(part).reshape(-1) for part in rows.values()]
    for i, first in enumerate(ids):
        if len(np.unique(first)) < len(first):
            raise ArgumentError(
                f"The rows of {names[i]!r} repeat", "each row once", "repeated rows"
            )
        for j in range(i):
            shared = np.intersect1d(first, ids[j])
            if len(shared):
                raise ArgumentError(
                    f"{names[j]!r} and {names[i]!r} have {len(shared)} rows in common",
                    "disjoint parts: one trains the network, one the decoders, one is evaluated",
                    f"both hold row {shared[0]}",
                )
