"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ib_keras import datasets
from ib_keras.arrays.checks import check_count
from ib_keras.components.artifacts.examples import SCHEMA, VERSION
from ib_keras.errors import ArgumentError
from ib_keras.storage import array_files, atomic, manifests, table_files

# The number of labels or columns in the artifact's metadata; the manifest has all labels.
_SHOWN = 12
SCALES = ("auto", "images", "standard", "columns", "none")


def run(
    data: str,
    output: str | os.PathLike,
    *,
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    max_rows: int = 0,
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
    check_count(max_rows, "max_rows", 0)
    loaded = datasets.load(
        data,
        label=label or None,
        image_size=image_size or None,
        test_fraction=test_fraction,
        seed=seed,
        valid=decoder_fraction > 0,
    )
    parts = _parts(loaded, decoder_fraction, max_rows, seed)
    if scale == "auto":
        scale = "columns" if data.lower().endswith(table_files.SUFFIXES) else "images"
    inputs = _scaled([part.x for part in parts.values()], scale)
    arrays: dict[str, np.ndarray] = {}
    for (name, part), x in zip(parts.items(), inputs, strict=True):
        arrays |= {f"x_{name}": x, f"y_{name}": part.y}
        if decoder_fraction:
            arrays[f"rows_{name}"] = part.rows

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
        **{name: len(part.x) for name, part in parts.items()},
        **({"classes": loaded.n_classes} if loaded.n_classes else {"numbers": loaded.n_outputs}),
        **_named(loaded),
    }


class _Part(NamedTuple):
    """Inputs and labels of a part, and the positions of its rows in the loaded data set."""

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


def _parts(
    loaded: datasets.Dataset, decoder_fraction: float, max_rows: int, seed: int
) -> dict[str, _Part]:
    """Return the training part, that of decoders if there is one, and the test part."""
    given = [loaded.train, loaded.test, *([loaded.valid] if loaded.valid else [])]
    starts = np.cumsum([0, *(len(x) for x, _ in given)])
    train, test, *valid = (
        _Part(x, y, start + np.arange(len(x)))
        for (x, y), start in zip(given, starts[:-1], strict=True)
    )
    parts = {"train": train}
    if valid:
        parts["decoder"] = valid[0]
    elif decoder_fraction:
        parts["train"], parts["decoder"] = _divided(train, decoder_fraction, seed)
    parts["test"] = test
    if not max_rows:
        return parts
    if max_rows < loaded.n_classes:
        raise ArgumentError(
            "`max_rows` is too small", f"a row for each of {loaded.n_classes} classes", max_rows
        )
    return {
        name: _divided(part, max_rows, seed)[1] if len(part.x) > max_rows else part
        for name, part in parts.items()
    }


def _divided(part: _Part, second: float, seed: int) -> tuple[_Part, _Part]:
    """Divide rows at random in two by class; ``second`` is the share or number of the latter."""
    from sklearn.model_selection import train_test_split

    stratify = part.y if part.y.dtype.kind in "iu" else None
    try:
        both = train_test_split(
            np.arange(len(part.x)), test_size=second, random_state=seed, stratify=stratify
        )
    except ValueError as error:
        raise ArgumentError(
            "The rows of a part cannot be divided by class",
            "at least two rows of each class",
            error,
        ) from None
    first, other = (_Part(*(array[rows] for array in part)) for rows in both)
    return first, other


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


def _scaled(parts: Sequence[np.ndarray], scale: str) -> list[np.ndarray]:
    """Return the inputs of all parts, of which the first one trains, scaled as the parameter says.

    ``"standard"`` scales each channel of images by the training rows, ``"columns"`` each column.
    """
    train = parts[0]
    if scale == "columns" and train.ndim > 2:
        raise ArgumentError(
            "`scale` does not apply, because the inputs have no columns",
            "inputs (n, d), or scale='images' or 'none'",
            f"inputs {train.shape}",
        )
    if scale == "standard" and train.ndim < 3:
        raise ArgumentError(
            "`scale` does not apply, because the inputs are no images",
            "inputs (n, height, width[, channels]), or scale='columns'",
            f"inputs {train.shape}",
        )
    if scale != "columns":
        parts = [_floats(x, 1 if scale == "none" else 255) for x in parts]
    if scale in ("images", "none"):
        return list(parts)
    axes = tuple(range(min(train.ndim, 3))) if scale == "standard" else (0,)
    shift, spread = (f(parts[0], axis=axes, dtype=np.float64) for f in (np.mean, np.std))
    spread = np.where(spread > 0, spread, 1)  # constant columns
    return [((x - shift) / spread).astype(np.float32) for x in parts]


def _floats(x: np.ndarray, largest: int) -> np.ndarray:
    """Convert 8-bit images to float32, and divide them by ``largest``; return others unchanged."""
    return x.astype(np.float32) / largest if x.dtype == np.uint8 and x.ndim > 2 else x
