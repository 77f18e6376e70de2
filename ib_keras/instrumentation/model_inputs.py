"""The rows of inputs in the order of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ib_keras.arrays.structures import pack
from ib_keras.errors import ArgumentError
from ib_keras.examples import Examples
from ib_keras.instrumentation import taps


def spec_of(rows: Examples) -> Any:
    """Return the ``tf.TensorSpec`` structure of inputs, for any number of samples."""
    # Arrays that repeat one value need no memory.
    values = [
        np.broadcast_to(np.zeros((), dtype), (1, *shape))
        for shape, dtype in zip(rows.shapes, rows.dtypes, strict=True)
    ]
    return taps.spec_of(pack(values, rows.structure))


def ranks(spec: Any) -> list[int]:
    """Return the number of axes of each input of a model, or nothing if one is unknown."""
    shapes = [one.shape for one in keras.tree.flatten(spec)]
    return [] if any(s.rank is None for s in shapes) else [s.rank for s in shapes]


def order(model: keras.Model, spec: Any, rows: Examples) -> list[int]:
    """Return which array is each of a model's inputs, in the order of the flattened structure.

    A dict is assigned by the names of the inputs, as Keras does it.

    Args:
        model: the model.
        spec: the structure of its inputs.
        rows: the rows.

    Raises:
        ArgumentError: If names are missing or unknown, or the shapes do not fit.
    """
    keys, specs = rows.structure["keys"], keras.tree.flatten(spec)
    if isinstance(spec, Mapping):
        names = sorted(spec)
    elif keys is not None and len(getattr(model, "inputs", None) or ()) == len(specs):
        names = [one.name for one in model.inputs]
    else:
        names = []
    if keys is not None and names and set(names) != set(keys):
        raise ArgumentError("`inputs` do not fit the model", f"the names {names}", f"names {keys}")
    places = [keys.index(name) for name in names] if keys and names else [*range(len(rows.shapes))]
    expected = [tuple(one.shape) for one in specs]
    received = [(rows.n, *rows.shapes[i]) for i in places]
    fits = len(received) == len(expected) and all(
        len(a) == len(b) and all(j in (None, i) for i, j in zip(a, b, strict=True))
        for a, b in zip(received, expected, strict=True)
    )
    if not fits:
        raise ArgumentError(
            "`inputs` do not fit the model", f"shapes {expected}", f"shapes {received}"
        )
    return places
