"""The rows of inputs in the order of a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.structures import pack
from ib_keras.errors import ArgumentError
from ib_keras.examples import Examples
from ib_keras.examples.rows import Shape, fits


def spec_of(rows: Examples) -> Any:
    """Return the ``tf.TensorSpec`` structure of inputs, for any number of samples."""
    kinds = {"f": keras.backend.floatx(), "U": "string"}  # as `fit` and `predict` take them
    specs = [
        tf.TensorSpec([None, *shape], kinds.get(dtype.kind, dtype))
        for shape, dtype in zip(rows.shapes, rows.dtypes, strict=True)
    ]
    return pack(specs, rows.structure)


def row_shapes(spec: Any) -> list[Shape]:
    """Return the shape of a row of each input of a model; an empty list if a rank is unknown."""
    shapes = [one.shape for one in keras.tree.flatten(spec)]
    return [] if any(s.rank is None for s in shapes) else [tuple(s[1:]) for s in shapes]


def batch_size(spec: Any) -> int | None:
    """Return the fixed batch size of a model; ``None`` if the model takes any size."""
    return next((size for one in keras.tree.flatten(spec) if (size := one.shape[0])), None)


def order(model: keras.Model, spec: Any, rows: Examples) -> list[int]:
    """Return the index of the array for each of a model's inputs.

    Arrays in a dict are assigned by the names of the inputs, as Keras assigns them.

    Args:
        model: the model.
        spec: the structure of its inputs.
        rows: the rows.

    Returns:
        The indices, in the order of the flattened structure of the inputs.

    Raises:
        ArgumentError: If names are missing or unknown, or the shapes do not fit.
    """
    invalid = f"`{rows.name}` do not fit the model"
    keys, specs, names = rows.structure["keys"], keras.tree.flatten(spec), []
    if keys is not None and isinstance(spec, dict):
        names = [path[-1] for path, _ in keras.tree.flatten_with_path(spec)]
    elif keys is not None and len(getattr(model, "inputs", None) or ()) == len(specs):
        names = [one.name for one in model.inputs]
    if names and set(names) != set(keys):
        raise ArgumentError(invalid, f"the names {names}", f"names {keys}")
    places = [keys.index(name) for name in names] or [*range(len(rows.shapes))]
    received = [(rows.shapes[i], rows.dtypes[i]) for i in places]
    if len(received) != len(specs) or not all(
        fits(shape, row) and (dtype.kind == "U") == (one.dtype == tf.string)
        for (shape, dtype), row, one in zip(received, row_shapes(spec), specs, strict=True)
    ):
        raise ArgumentError(
            invalid,
            f"shapes {[tuple(one.shape) for one in specs]}, dtypes {[s.dtype.name for s in specs]}",
            f"shapes {[(rows.n, *shape) for shape, _ in received]}, "
            f"dtypes {[dtype.name for _, dtype in received]}",
        )
    return places


def arranged(
    model: keras.Model, spec: Any, rows: Examples, size: int
) -> Iterator[list[np.ndarray]]:
    """Yield batches of rows in the form that a model takes.

    Args:
        model: the model.
        spec: the structure of its inputs.
        rows: the rows.
        size: rows in a batch. If the model has a fixed batch size, a smaller last batch is filled
            up with copies of its last row.

    Yields:
        The arrays in the order of ``order``, with an axis of size 1 at the end where the model
        expects it, and only there.
    """
    places, ranks = order(model, spec, rows), [len(s) + 1 for s in row_shapes(spec)]
    full = np.arange(size) if batch_size(spec) else None
    for batch in rows.batches(size):
        arrays = [_of_rank(batch[i], rank) for i, rank in zip(places, ranks, strict=True)]
        if full is not None and len(arrays[0]) < size:
            arrays = [array.take(full, axis=0, mode="clip") for array in arrays]
        yield arrays


def _of_rank(array: np.ndarray, rank: int) -> np.ndarray:
    if array.ndim == rank:
        return array
    return array[..., None] if array.ndim < rank else array[..., 0]
