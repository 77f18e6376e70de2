"""The state of a training, saved and restored: weights, optimizer, random states."""

from __future__ import annotations

import glob
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.errors import StoreError
from ib_keras.storage import atomic, npy


def save(path: pathlib.Path, variables: Sequence[Any], **more: Any) -> None:
    """Writes variables and arrays to one file, which replaces an earlier one at once.

    Args:
        path: of the file.
        variables: of Keras.
        **more: arrays, by names that do not begin with ``variable_``.
    """
    arrays: dict[str, Any] = {f"variable_{i}": _plain(v.numpy()) for i, v in enumerate(variables)}
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(temporary: pathlib.Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays, **more)

    atomic.remove_unfinished(path.parent, glob.escape(path.name))
    atomic.write_file(path, write)


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """What ``save`` wrote.

    Args:
        path: of the file.

    Raises:
        StoreError: it is damaged; without it, training begins anew.
    """
    try:
        return npy.read_npz(path)
    except StoreError as error:
        raise StoreError(
            error.invalid, f"{error.expected}; remove it to begin anew", error.received
        ) from None


def restore(path: pathlib.Path, state: Mapping[str, np.ndarray], variables: Sequence[Any]) -> None:
    """Gives variables the values that were kept.

    Args:
        path: of the file, for the error.
        state: what ``load`` returned.
        variables: of Keras, as many and of the same shapes as were kept.

    Raises:
        StoreError: they are others.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    kept = [state[f"variable_{i}"] for i in range(len(state)) if f"variable_{i}" in state]
    if [value.shape for value in kept] != shapes or "epoch" not in state:
        raise StoreError(
            f"{str(path)!r} is of another model",
            f"the state of {len(shapes)} variables; remove it to begin anew",
            f"{len(kept)} variables, or of other shapes",
        )
    for variable, value in zip(variables, kept, strict=True):
        dtype = np.dtype(variable.numpy().dtype)
        variable.assign(value if value.dtype == dtype else value.view(dtype))


def _plain(value: np.ndarray) -> np.ndarray:
    """The same bytes as a type that ``.npy`` files can hold, which bfloat16 is not."""
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "V" else value
