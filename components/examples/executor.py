"""Writes a data set as a folder of arrays."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from ib_keras import datasets
from ib_keras.arrays.checks import check_count, check_rate
from ib_keras.components.artifacts.examples import SCHEMA, VERSION
from ib_keras.errors import ArgumentError
from ib_keras.storage import array_files, atomic, manifests, table_files

# The number of labels or columns in the artifact's metadata; the manifest has all labels.
_SHOWN = 12
# The smallest largest value of whole numbers that are taken for 8-bit images.
_BRIGHT = 128
# The share of copies among the test images above which there is a warning.
_COPIES = 0.01
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
    loaded, parts = prepare(
        data, label=label, image_size=image_size, scale=scale, test_fraction=test_fraction,
        decoder_fraction=decoder_fraction, max_rows=max_rows, seed=seed,
    )  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        arrays |= {f"x_{name}": part.x, f"y_{name}": part.y}
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


class Part(NamedTuple):
    """Inputs and labels of a part, and the positions of its rows in the loaded data set."""

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


def prepare(
    data: str,
    *,
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    max_rows: int = 0,
    seed: int = 0,
) -> tuple[datasets.Dataset, dict[str, Part]]:
    """Load, divide and scale a data set; the arguments and errors are those of ``run``.

    Returns:
        The data set as it was loaded; and the parts ``train``, perhaps ``decoder``, and ``test``.
    """
    check_scale(scale)
    check_rate(decoder_fraction, "decoder_fraction")
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
    inputs = scaled([part.x for part in parts.values()], scale)
    if "decoder" in parts and parts["test"].x.ndim > 2:
        _warn_of_copies(data, parts)
    named = zip(parts.items(), inputs, strict=True)
    return loaded, {name: part._replace(x=x) for (name, part), x in named}


def _parts(
    loaded: datasets.Dataset, decoder_fraction: float, max_rows: int, seed: int
) -> dict[str, Part]:
    """Return the training part, that of decoders if there is one, and the test part."""
    given = [loaded.train, loaded.test, *([loaded.valid] if loaded.valid else [])]
    starts = np.cumsum([0, *(len(x) for x, _ in given)])
    train, test, *valid = (
        Part(x, y, start + np.arange(len(x)))
        for (x, y), start in zip(given, starts[:-1], strict=True)
    )
    parts = {"train": train}
    if valid:
        parts["decoder"] = valid[0]
    elif decoder_fraction:
        number = math.ceil(decoder_fraction * len(train.x))
        _check_classes(loaded, decoder_fraction, number)
        parts["train"], parts["decoder"] = _divided(train, number, seed)
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


def _warn_of_copies(data: str, parts: Mapping[str, Part]) -> None:
    """Warn if images of the test part are in another part too, so that they are not new."""
    seen = {hash(row.tobytes()) for name in ("train", "decoder") for row in parts[name].x}
    copies = sum(hash(row.tobytes()) in seen for row in parts["test"].x)
    if copies > _COPIES * len(parts["test"].x):
        logging.warning(
            "%s: %d of %d test images are copies of images in other parts. Decoders and networks "
            "have seen them, so I(X;T) is too large.", data, copies, len(parts["test"].x),
        )  # fmt: skip


def _check_classes(loaded: datasets.Dataset, decoder_fraction: float, number: int) -> None:
    """Check that the training rows can be divided so that both parts have all classes."""
    if loaded.label_names is None:
        return
    counts = np.bincount(loaded.y_train, minlength=loaded.n_classes)
    rare = [loaded.label_names[code] for code in np.flatnonzero(counts == 1)]
    if rare or not loaded.n_classes <= number <= len(loaded.y_train) - loaded.n_classes:
        raise ArgumentError(
            f"The training rows cannot be divided by decoder_fraction={decoder_fraction}",
            "at least two rows of each class, and a row of each class in both parts",
            f"one row of the class {rare[0]!r}"
            if rare
            else f"{number} of {len(loaded.y_train)} rows for decoders, {loaded.n_classes} classes",
        )


def _divided(part: Part, second: int, seed: int) -> tuple[Part, Part]:
    """Divide rows at random in two with equal shares of the classes; ``second`` are the latter."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(part.x))
    if part.y.dtype.kind in "iu":
        codes = part.y[order]
        counts = np.bincount(codes)
        by_class = np.argsort(codes, kind="stable")
        places = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Where a row is within its class, from 0 to 1: the first rows have all classes alike.
        share = (places + rng.uniform(size=len(counts))[codes[by_class]]) / counts[codes[by_class]]
        order = order[by_class[np.argsort(share, kind="stable")]]
    both = rng.permutation(order[second:]), rng.permutation(order[:second])
    first, other = (Part(*(array[rows] for array in part)) for rows in both)
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


def scaled(parts: Sequence[np.ndarray], scale: str) -> list[np.ndarray]:
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
    if scale != "columns" and train.ndim > 2:
        largest = 255 if scale != "none" and _are_8_bit(parts) else 1
        parts = [
            x.astype(np.float32) / largest if x.dtype.kind in "iub" or largest > 1 else x
            for x in parts
        ]
    if scale in ("images", "none"):
        return list(parts)
    axes = tuple(range(min(train.ndim, 3))) if scale == "standard" else (0,)
    shift, spread = (f(parts[0], axis=axes, dtype=np.float64) for f in (np.mean, np.std))
    spread = np.where(spread > 0, spread, 1)  # constant columns
    return [((x - shift) / spread).astype(np.float32) for x in parts]


def _are_8_bit(parts: Sequence[np.ndarray]) -> bool:
    """Return whether images have whole numbers 0…255, of any type."""
    low, high = min(x.min() for x in parts), max(x.max() for x in parts)
    if parts[0].dtype == np.uint8:
        return bool(high > 1)  # otherwise they are black and white, 0 and 1
    if not (low >= 0 and _BRIGHT <= high <= 255):
        return False
    return all(x.dtype.kind in "iu" or np.array_equal(x, np.floor(x)) for x in parts)
