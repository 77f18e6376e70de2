"""Inputs that are one array, a list of arrays or a dictionary of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_array
from ib_keras.arrays.codes import row_codes
from ib_keras.errors import ArgumentError

_BLOCK_BYTES = 1 << 24


class Checksum:
    """SHA-256 of the values, shape and dtype of an array, to which rows are added in parts."""

    def __init__(self) -> None:
        self._hash, self._row, self.rows = hashlib.sha256(), "", 0

    def add(self, rows: np.ndarray) -> None:
        """Add rows ``(m, ...)``."""
        self.rows += len(rows)
        self._row = f"{rows.shape[1:]}{rows.dtype}"
        if rows.dtype.hasobject:  # the bytes of objects are addresses
            rows = rows.astype(str)
        self._hash.update(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")

    def digest(self) -> str:
        """Return the checksum of the rows so far."""
        whole = self._hash.copy()
        whole.update(f"{self.rows}{self._row}".encode())
        return whole.hexdigest()


def checksum(array: np.ndarray) -> str:
    """Return a checksum of an array's values, shape and dtype."""
    whole = Checksum()
    size = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, max(1, len(array)), size):  # a memory-mapped file is read in parts
        whole.add(array[start : start + size])
    return whole.digest()


def join_checksums(checksums: Iterable[str]) -> str:
    """Return one checksum of the checksums of several arrays."""
    return hashlib.sha256("".join(checksums).encode()).hexdigest()


def unpack(inputs: Any, name: str = "inputs") -> tuple[list[np.ndarray], dict[str, Any]]:
    """Return the arrays of a structure of inputs, and a description to restore the structure.

    Args:
        inputs: an array or a nested list of numbers, ``(n, ...)``; or a list or dict of arrays.
        name: name of the argument in error messages.

    Returns:
        The arrays, and a dict with ``count``, the number of arrays; ``keys``, the sorted keys of a
        dict, otherwise ``None``; and ``single``, whether the inputs are one array that is not in a
        list.
    """
    keys = None
    if isinstance(inputs, Mapping):
        if not all(isinstance(key, str) for key in inputs):
            raise ArgumentError(
                f"`{name}` has keys that are not names", "strings", repr(list(inputs))
            )
        keys = sorted(inputs)
        values = [inputs[key] for key in keys]
    elif isinstance(inputs, (list, tuple)) and all(hasattr(a, "shape") for a in inputs):
        values = list(inputs)
    else:
        return [as_array(inputs, name)], {"count": 1, "keys": None, "single": True}
    if not values:
        raise ArgumentError(f"`{name}` has no arrays", "at least one", repr(inputs))
    places = [f"{name}[{key!r}]" for key in (keys or range(len(values)))]
    arrays = [as_array(value, place) for value, place in zip(values, places, strict=True)]
    return arrays, {"count": len(values), "keys": keys, "single": False}


def pack(arrays: Sequence[Any], structure: Mapping[str, Any]) -> Any:
    """Return arrays in the structure that ``unpack`` described."""
    if structure["keys"] is not None:
        return dict(zip(structure["keys"], arrays, strict=True))
    return arrays[0] if structure["single"] else list(arrays)


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
