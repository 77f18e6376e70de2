"""Data sets in ``.npz`` and ``.mat`` files: which arrays are the inputs, which the labels."""

from __future__ import annotations

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import npy

# What else arrays are called that are x or y, in small or capital letters.
_ALIASES = {
    "x": ("f", "data", "input", "inputs", "feature", "features", "image", "images"),
    "y": ("label", "labels", "target", "targets", "class", "classes"),
}
_LABELS = ("y", "y_train", "y_test")
LAYOUTS = (("x", "y"), ("x_train", "y_train", "x_test", "y_test"))
_EXPECTED = (
    "the arrays x and y, or x_train, y_train, x_test and y_test; for x it may say "
    f"{', '.join(_ALIASES['x'])}, for y {', '.join(_ALIASES['y'])}"
)
# So many arrays are described in errors.
_DESCRIBED = 12

# The type of an element of a MATLAB file.
_COMPRESSED = 15


class Found(NamedTuple):
    """What a file holds.

    Args:
        parts: ``(x, y)`` of all rows, or one of the training and one of the test rows.
        names: of the arrays, in that order.
    """

    parts: list[tuple[np.ndarray, np.ndarray]]
    names: tuple[str, ...]


def read(path: pathlib.Path) -> Found:
    """The inputs and labels of a file.

    Args:
        path: ``.npz`` or ``.mat``.

    Raises:
        ArgumentError: it cannot be read, or does not say which arrays are meant.
    """
    if path.suffix == ".mat":
        arrays, others = _read_mat(path)
    else:
        arrays, others = _read_npz(path), []
    names = _choose(arrays, path, others)
    chosen = [arrays[name] for name in names]
    return Found(list(zip(chosen[::2], chosen[1::2], strict=True)), names)


def _choose(
    arrays: Mapping[str, np.ndarray], path: pathlib.Path, others: Sequence[str]
) -> tuple[str, ...]:
    """The arrays of the first layout that is there whole, with one array for each of its names."""
    layouts = [_candidates(roles, arrays) for roles in LAYOUTS]
    for layout in layouts:
        if all(len(names) == 1 for names in layout.values()):
            return tuple(names[0] for names in layout.values())
    nearest = max(layouts, key=lambda layout: sum(map(bool, layout.values())) / len(layout))
    known = [f"{role} = {names[0]!r}" for role, names in nearest.items() if len(names) == 1]
    received = _described(arrays, others) + (f"; taken for {', '.join(known)}" if known else "")
    for role, names in nearest.items():
        if len(names) > 1:
            raise ArgumentError(
                f"In the file {str(path)!r} several arrays may be {role}: "
                f"{', '.join(map(repr, names))}",
                f"one of them, or one that is called {role}",
                received,
            )
    lacks = " and ".join(repr(role) for role, names in nearest.items() if not names)
    raise ArgumentError(f"The file {str(path)!r} lacks {lacks}", _EXPECTED, received)


def _candidates(roles: tuple[str, ...], arrays: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """The arrays that each name of a layout may mean, the nearest names only."""
    found = {role: _nearest(role, list(arrays)) for role in roles}
    for x, y in zip(roles[::2], roles[1::2], strict=True):
        if len(found[x]) == 1 and len(found[y]) > 1:  # such as a list of the classes' names
            rows = arrays[found[x][0]].shape[:1]
            found[y] = [name for name in found[y] if arrays[name].shape[:1] == rows] or found[y]
    return found


def _nearest(role: str, names: list[str]) -> list[str]:
    """Those of just this name, or else of this name but for its spelling, or else of an alias."""
    if role in names:
        return [role]
    side, _, part = role.partition("_")
    for sides in ((side,), _ALIASES[side]):
        meant = {text for one in sides for text in (one + part, part + one)}
        if found := [name for name in names if re.sub("[^a-z0-9]", "", name.lower()) in meant]:
            return found
    return []


def _described(arrays: Mapping[str, np.ndarray], others: Sequence[str]) -> str:
    each = [f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items()]
    each += others
    more = [f"… {len(each)} in all"] if len(each) > _DESCRIBED else []
    return ", ".join([*each[:_DESCRIBED], *more]) or "no arrays"


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return npy.read_npz(path)
    except StoreError as error:
        expected = error.expected
        if "objects" in str(error.received):
            expected += ", which hold no Python objects: save texts as y.astype(str)"
        raise ArgumentError(f"The file {error.invalid}", expected, error.received) from None


_MAT_READER = """
import json, re, sys
import numpy as np
from scipy.io import loadmat, whosmat

def plain(array):
    if array.dtype.hasobject:
        if not all(isinstance(one, np.ndarray) and one.dtype.kind == "U" and one.size == 1
                   for one in array.flat):
            sys.exit("arrays of objects")
        array = np.array([one.item() for one in array.flat])
    return np.char.rstrip(array) if array.dtype.kind == "U" else array

wanted = re.compile(sys.argv[3], re.I)
names = [name for name, _, _ in whosmat(sys.argv[1])]
found = loadmat(sys.argv[1], variable_names=[name for name in names if wanted.fullmatch(name)])
arrays = {name: plain(np.asarray(found[name])) for name in names if name in found}
np.savez(sys.argv[2], **arrays)
print(json.dumps([name for name in names if name not in arrays]))
"""


def _read_mat(path: pathlib.Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that may be meant, and the names of others, read by another process: SciPy's
    reader can crash on damaged files."""
    wanted = "a MATLAB file of version 7 or less"
    try:
        _check_unpacked(path)
    except npy.DAMAGE as error:
        raise ArgumentError(f"The file {str(path)!r} cannot be read", wanted, error) from None
    sides = "|".join(one for side, more in _ALIASES.items() for one in (side, *more))
    meant = f"((train|test)_?)?({sides})(_?(train|test))?"
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder, "found.npz")
        # -P: nothing is imported from the folder that it happens to run in.
        reader = [sys.executable, "-P", "-c", _MAT_READER, os.path.abspath(path), str(found), meant]
        done = subprocess.run(reader, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] if done.returncode > 0 else []
            received = said[0] if said else "a file on which the reader crashed"
            raise ArgumentError(f"The file {str(path)!r} cannot be read", wanted, received)
        arrays = _read_npz(found)
    for name, array in arrays.items():
        if array.ndim == 2 and len(array) == 1 and any(_nearest(y, [name]) for y in _LABELS):
            arrays[name] = array[0]  # MATLAB's vectors are rows as often as columns
    return arrays, json.loads(done.stdout)


def _check_unpacked(path: pathlib.Path) -> None:
    """Raises if the compressed elements of a MATLAB file are larger than the memory available."""
    limit, unpacked = memory.available(), 0
    with open(path, "rb") as file:
        order = "<" if file.read(128)[-2:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != _COMPRESSED:
                file.seek(size, os.SEEK_CUR)
                continue
            packed = zlib.decompressobj()
            rest = file.read(size)
            while rest and not packed.eof:
                unpacked += len(packed.decompress(rest, 1 << 20))
                rest = packed.unconsumed_tail
                npy.check_size(path, unpacked, limit)
