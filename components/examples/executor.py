"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ib_keras import datasets
from ib_keras.components.artifacts.examples import PARTS, SCHEMA, VERSION
from ib_keras.errors import ArgumentError
from ib_keras.storage import array_files, atomic, manifests

# The number of labels or columns in the artifact's metadata; the manifest has all labels.
_SHOWN = 12
SCALES = ("images", "standard", "columns", "none")


def run(
    data: str,
    output: str | os.PathLike,
    *,
    label: str = "",
    image_size: str = "",
    scale: str = "images",
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
        ArgumentError: If the data cannot be loaded or scaled, a fraction is out of range, or a
            class has too few rows to be split.
    """
    check_scale(scale)
    if not 0 <= decoder_fraction < 1:
        raise ArgumentError(
            "`decoder_fraction` is out of range", "0 <= value < 1", decoder_fraction
        )
    loaded = datasets.load(
        data,
        label=label or None,
        image_size=image_size or None,
        test_fraction=test_fraction,
        seed=seed,
    )
    x_train, x_test = _scaled(loaded.x_train, loaded.x_test, scale)
    arrays = dict(zip(PARTS, (x_train, loaded.y_train, x_test, loaded.y_test), strict=True))
    if decoder_fraction:
        arrays |= _set_apart(arrays, decoder_fraction, seed)

    def fill(folder: pathlib.Path) -> None:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        manifests.write_manifest(
            folder, SCHEMA, VERSION, data=data, seed=seed, shapes=shapes,
            label_names=None if loaded.label_names is None else list(loaded.label_names),
            files=manifests.checksums(folder),
        )  # fmt: skip

    atomic.write_folder(pathlib.Path(output), fill)
    return {
        "data": data,
        "train": len(arrays["x_train"]),
        **({"decoder": len(arrays["x_decoder"])} if decoder_fraction else {}),
        "test": len(loaded.x_test),
        **({"classes": loaded.n_classes} if loaded.n_classes else {"numbers": loaded.n_outputs}),
        **_named(loaded),
    }


def _set_apart(arrays: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """Split the training rows in two parts by class; also return the row numbers of all parts."""
    from sklearn.model_selection import train_test_split

    n, y = len(arrays["x_train"]), arrays["y_train"]
    try:
        train, decoder = train_test_split(
            np.arange(n),
            test_size=share,
            random_state=seed,
            stratify=y if y.dtype.kind in "iu" else None,
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
    """Return the labels, unless they are 0…K−1, and the arrays or columns that were read."""
    names, facts = loaded.label_names, {}
    if names is not None and names != tuple(range(len(names))):
        facts["labels"] = _listed(names)
    if loaded.arrays and loaded.arrays not in array_files.LAYOUTS:
        facts["arrays"] = _listed(loaded.arrays)
    return facts


def _listed(names: Sequence[str | int]) -> str:
    shown = [*names[:_SHOWN], *(("…", names[-1]) if len(names) > _SHOWN else ())]
    return " / ".join(map(str, shown))


def check_scale(scale: str) -> None:
    """Check the name of a scaling.

    Raises:
        ArgumentError: If it is unknown.
    """
    if scale not in SCALES:
        raise ArgumentError("`scale` is unknown", f"one of {list(SCALES)}", repr(scale))


def _scaled(train: np.ndarray, test: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs of both parts, scaled as the component's parameter says."""
    if scale == "standard":
        return _standardised(train, test)
    if scale != "columns":
        largest = 255 if scale == "images" else 1
        return _floats(train, largest), _floats(test, largest)
    if train.ndim > 2:
        raise ArgumentError(
            "`scale` does not apply, because the inputs have no columns",
            "inputs (n, d), or scale='images' or 'none'",
            f"inputs {train.shape}",
        )
    shift, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1  # constant columns
    scaled = [((x - shift) / spread).astype(np.float32) for x in (train, test)]
    return scaled[0], scaled[1]


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images of mean 0 and standard deviation 1 over the training rows, by channel."""
    if train.ndim < 3:
        raise ArgumentError(
            "`scale` does not apply, because the inputs are no images",
            "inputs (n, height, width[, channels]), or scale='columns'",
            f"inputs {train.shape}",
        )
    train, test = _floats(train, 255), _floats(test, 255)
    axes = tuple(range(min(train.ndim, 3)))  # a last axis after height and width has channels
    shift, spread = (f(train, axis=axes, dtype=np.float64) for f in (np.mean, np.std))
    spread = np.where(spread > 0, spread, 1)
    scaled = [((x - shift) / spread).astype(np.float32) for x in (train, test)]
    return scaled[0], scaled[1]


def _floats(x: np.ndarray, largest: int) -> np.ndarray:
    """Convert 8-bit images to float32, and divide them by ``largest``; return others unchanged."""
    return x.astype(np.float32) / largest if x.dtype == np.uint8 and x.ndim > 2 else x
