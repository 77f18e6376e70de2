"""Inputs that are one array, a list of arrays or a dictionary of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array
from ib_keras.arrays.codes import row_codes
from ib_keras.errors import ArgumentError


def fingerprint(arrays: Sequence[np.ndarray], targets: np.ndarray | None) -> str:
    """Return a checksum of arrays, their shapes and dtypes."""
    digest = hashlib.sha256()
    for array in (*arrays, *(() if targets is None else (targets,))):
        if array.dtype.hasobject:  # the bytes of objects are addresses
            array = array.astype(str)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def flat_inputs(inputs: Any) -> list[np.ndarray]:
    """Return the arrays of a structure of inputs."""
    return flatten(inputs)[0]


def flatten(inputs: Any) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Return the arrays of a structure of inputs, and a description to restore the structure."""
    keys = None
    if isinstance(inputs, Mapping):
        keys, values = list(inputs), list(inputs.values())
    elif isinstance(inputs, (list, tuple)) and all(hasattr(a, "shape") for a in inputs):
        values = list(inputs)
    else:
        return [as_array(inputs, "inputs")], {"count": 1, "keys": None, "single": True}
    arrays = [as_array(value, "inputs") for value in values]
    return arrays, {"count": len(values), "keys": keys, "single": False}


def take(inputs: Any, rows: np.ndarray) -> Any:
    """Select rows of a structure of inputs."""
    if isinstance(inputs, Mapping):
        return {key: np.asarray(value)[rows] for key, value in inputs.items()}
    arrays = flat_inputs(inputs)
    if isinstance(inputs, (list, tuple)) and len(arrays) == len(inputs) > 1:
        return [array[rows] for array in arrays]
    return arrays[0][rows]


def input_codes(inputs: Any, n: int) -> np.ndarray:
    """Return integer codes of the distinct inputs, ``(n,)``."""
    return array_codes(flat_inputs(inputs), n, "inputs")


def array_codes(arrays: Sequence[np.ndarray], n: int, name: str) -> np.ndarray:
    """Return integer codes ``(n,)`` that are equal where the rows of all arrays are equal."""
    if any(a.dtype == object for a in arrays):
        raise ArgumentError(f"`{name}` is not numeric", "arrays of numbers", "dtype object")
    if any(a.ndim == 0 or len(a) != n for a in arrays):
        raise ArgumentError(
            f"`{name}` has the wrong length",
            f"one input for each of the {n} samples",
            f"shapes {[a.shape for a in arrays]}",
        )
    codes = row_codes(arrays[0])
    for array in arrays[1:]:
        codes = row_codes(np.stack([codes, row_codes(array)], axis=1))
    return codes
