"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from ib_keras import datasets
from ib_keras.arrays.labels import are_names
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import atomic, data_files, manifests, npy

SCHEMA, VERSION = "ib_keras.examples", 1
PARTS = ("x_train", "y_train", "x_test", "y_test")
DECODER = ("x_decoder", "y_decoder")
# So many labels are named in the artifact's metadata; all of them in the manifest.
_SHOWN = 12
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


def run(
    data: str,
    output: str | os.PathLike,
    *,
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Loads a data set and writes it.

    Args:
        data: a name or path that ``ib_keras.datasets.load`` takes.
        output: the folder to write.
        test_fraction: share of the rows held out, where the data come unsplit.
        decoder_fraction: share of the training rows that is set apart, to train decoders.
        seed: of these splits.

    Returns:
        Facts about the data, for the artifact's metadata.

    Raises:
        ArgumentError: a share is not one, or a class has too few rows to be split.
    """
    if not 0 <= decoder_fraction < 1:
        raise ArgumentError("`decoder_fraction` is no share", "0 <= value < 1", decoder_fraction)
    loaded = datasets.load(data, test_fraction=test_fraction, seed=seed)
    arrays = dict(
        zip(PARTS, (_floats(loaded.x_train), loaded.y_train, _floats(loaded.x_test), loaded.y_test),
            strict=True)
    )  # fmt: skip
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


def _set_apart(arrays: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """The training rows in two parts, stratified by class, and which rows each part holds."""
    from sklearn.model_selection import train_test_split

    n = len(arrays["x_train"])
    try:
        train, decoder = train_test_split(
            np.arange(n), test_size=share, random_state=seed, stratify=arrays["y_train"]
        )
    except ValueError as error:
        raise ArgumentError(
            "The training rows cannot be split by class", "two of each class", error
        ) from None
    return {
        **{f"{name}_train": arrays[f"{name}_train"][train] for name in "xy"},
        **{f"{name}_decoder": arrays[f"{name}_train"][decoder] for name in "xy"},
        "rows_train": train,
        "rows_decoder": decoder,
        "rows_test": np.arange(n, n + len(arrays["x_test"])),
    }


def _named(loaded: datasets.Dataset) -> dict[str, str]:
    """What the labels were, unless 0…K−1, and which arrays were taken for x and y."""
    names, facts = loaded.label_names, {}
    if names != tuple(range(len(names))):
        shown = [*names[:_SHOWN], *(("…", names[-1]) if len(names) > _SHOWN else ())]
        facts["labels"] = " / ".join(map(str, shown))
    if loaded.arrays and loaded.arrays not in data_files.LAYOUTS:
        facts["arrays"] = " / ".join(loaded.arrays)
    return facts


def _floats(x: np.ndarray) -> np.ndarray:
    """8-bit images as float32 in [0, 1]; all else as it is."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 and x.ndim > 2 else x
