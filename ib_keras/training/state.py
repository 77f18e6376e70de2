"""Saving and restoring the state of a training: weights, optimizer, random states."""

from __future__ import annotations

import glob
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.errors import StoreError
from ib_keras.storage import atomic, npy


def save(path: pathlib.Path, variables: Sequence[Any], **more: Any) -> None:
    """Write variables and arrays to one file, which replaces an earlier file atomically.

    Args:
        path: the file.
        variables: Keras variables.
        **more: further arrays, whose names do not begin with ``variable_``.
    """
    arrays: dict[str, Any] = {f"variable_{i}": _plain(v.numpy()) for i, v in enumerate(variables)}
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(temporary: pathlib.Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays, **more)

    atomic.remove_unfinished(path.parent, glob.escape(path.name))
    atomic.write_file(path, write)


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read the arrays that ``save`` wrote.

    Args:
        path: the file.

    Raises:
        StoreError: If the file is damaged. Without the file, training starts from the beginning.
    """
    try:
        return npy.read_npz(path)
    except StoreError as error:
        raise StoreError(
            error.invalid, f"{error.expected}; remove the file to start again", error.received
        ) from None


def restore(path: pathlib.Path, state: Mapping[str, np.ndarray], variables: Sequence[Any]) -> None:
    """Assign saved values to variables.

    Args:
        path: the file, for the error.
        state: the arrays that ``load`` returned.
        variables: Keras variables, in the number and with the shapes of the saved ones.

    Raises:
        StoreError: If the number or the shapes of the variables differ from the saved ones.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    values = [state[f"variable_{i}"] for i in range(len(state)) if f"variable_{i}" in state]
    if [value.shape for value in values] != shapes or "epoch" not in state:
        raise StoreError(
            f"{str(path)!r} belongs to another model",
            f"the state of {len(shapes)} variables; remove the file to start again",
            f"{len(values)} variables, or other shapes",
        )
    for variable, value in zip(variables, values, strict=True):
        dtype = np.dtype(variable.numpy().dtype)
        variable.assign(value if value.dtype == dtype else value.view(dtype))


def _plain(value: np.ndarray) -> np.ndarray:
    """View arrays of types that ``.npy`` files cannot hold, such as bfloat16, as integers."""
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "V" else value
