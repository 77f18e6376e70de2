"""Data sets in ``.npz`` and ``.mat`` files: finding the arrays of the inputs and labels."""

from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import npy
from ib_keras.storage.labelled import ALIASES, PARTS, VALIDATION, Found, described, plain

SUFFIXES = (".npz", ".mat")
_LABELS = ("y", "y_train", "y_test")
LAYOUTS = (("x", "y"), ("x_train", "y_train", "x_test", "y_test"))
_EXPECTED = (
    "the arrays x and y, or x_train, y_train, x_test and y_test; x may also be called "
    f"{', '.join(ALIASES['x'])}, and y {', '.join(ALIASES['y'])}"
)
# The type of a compressed element in a MATLAB file.
_COMPRESSED = 15


def read(path: pathlib.Path, valid: bool = False) -> Found:
    """Read the inputs and labels of a file.

    Args:
        path: a ``.npz`` or ``.mat`` file.
        valid: whether to also read the arrays ``x_valid`` and ``y_valid`` (or ``val``,
            ``validation``), if the file has a training and a test part.

    Raises:
        ArgumentError: If the file cannot be read, or its inputs or labels are missing or ambiguous.
    """
    if path.suffix.lower() == ".mat":
        arrays, others = _read_mat(path)
    else:
        arrays, others = _read_npz(path), []
    names = _choose(arrays, path, others)
    if valid and len(names) > 2:
        names += tuple(name for name in _third(arrays) if name not in names)
    chosen = [arrays[name] for name in names]
    return Found(list(zip(chosen[::2], chosen[1::2], strict=True)), names, names[1])


def _choose(
    arrays: Mapping[str, np.ndarray], path: pathlib.Path, others: Sequence[str]
) -> tuple[str, ...]:
    """Return the array names of the first layout that has exactly one array for each role."""
    # A validation part is the test part if there is no other.
    held_out = [("x_train", "y_train", f"x_{part}", f"y_{part}") for part in VALIDATION]
    layouts = [_candidates(roles, arrays) for roles in (*LAYOUTS, *held_out)]
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
                f"only one of them, or one that is called {role}",
                received,
            )
    missing = " and ".join(repr(role) for role, names in nearest.items() if not names)
    raise ArgumentError(f"The file {str(path)!r} lacks {missing}", _EXPECTED, received)


def _third(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names of the inputs and labels of the validation part, if there is one."""
    for part in VALIDATION:
        found = _candidates((f"x_{part}", f"y_{part}"), arrays)
        if all(len(names) == 1 for names in found.values()):
            return tuple(names[0] for names in found.values())
    return ()


def _candidates(roles: tuple[str, ...], arrays: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """Return role → the names of the arrays that match it best."""
    matches = {role: _nearest(role, list(arrays)) for role in roles}
    for x, y in zip(roles[::2], roles[1::2], strict=True):
        if len(matches[x]) == 1 and len(matches[y]) > 1:  # one may be a list of the class names
            rows = arrays[matches[x][0]].shape[:1]
            same_rows = [name for name in matches[y] if arrays[name].shape[:1] == rows]
            matches[y] = same_rows or matches[y]
    return matches


def _nearest(role: str, names: list[str]) -> list[str]:
    """Find the name that is the role itself, else other spellings of it, else its aliases."""
    if role in names:
        return [role]
    side, _, part = role.partition("_")
    for sides in ((side,), ALIASES[side]):
        spellings = {text for one in sides for text in (one + part, part + one)}
        matches = [name for name in names if plain(name) in spellings]
        if matches:
            return matches
    return []


def _described(arrays: Mapping[str, np.ndarray], others: Sequence[str]) -> str:
    each = [f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items()]
    return described([*each, *others]) or "no arrays"


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return npy.read_npz(path)
    except StoreError as error:
        expected = error.expected
        if "objects" in str(error.received):
            expected += " without Python objects: save texts as y.astype(str)"
        raise ArgumentError(f"The file {error.invalid}", expected, error.received) from None


_MAT_READER = """
import json, re, sys
import numpy as np
from scipy.io import loadmat, whosmat

def plain(array):
    if array.dtype.hasobject:
        if not all(isinstance(item, np.ndarray) and item.dtype.kind == "U" and item.size == 1
                   for item in array.flat):
            sys.exit("arrays of objects")
        array = np.array([item.item() for item in array.flat])
    return np.char.rstrip(array) if array.dtype.kind == "U" else array

wanted = re.compile(sys.argv[3], re.I)
names = [name for name, _, _ in whosmat(sys.argv[1])]
loaded = loadmat(sys.argv[1], variable_names=[name for name in names if wanted.fullmatch(name)])
arrays = {name: plain(np.asarray(loaded[name])) for name in names if name in loaded}
np.savez(sys.argv[2], **arrays)
print(json.dumps([name for name in names if name not in arrays]))
"""


def _read_mat(path: pathlib.Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the arrays of the accepted names, and the names of all others.

    A separate process reads them, because SciPy's reader can crash on damaged files.
    """
    expected = "a MATLAB file of version 7 or less"
    try:
        _check_unpacked(path)
    except npy.DAMAGE as error:
        raise ArgumentError(f"The file {str(path)!r} cannot be read", expected, error) from None
    sides = "|".join(one for side, more in ALIASES.items() for one in (side, *more))
    kinds = "|".join((*PARTS, *VALIDATION))
    names = f"(({kinds})_?)?({sides})(_?({kinds}))?"
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "arrays.npz")
        # -P: nothing is imported from the current folder.
        reader = [sys.executable, "-P", "-c", _MAT_READER, os.path.abspath(path), str(copy), names]
        result = subprocess.run(reader, capture_output=True, text=True)
        if result.returncode:
            lines = result.stderr.strip().splitlines() if result.returncode > 0 else []
            received = lines[-1] if lines else "a file on which the reader crashed"
            raise ArgumentError(f"The file {str(path)!r} cannot be read", expected, received)
        arrays = _read_npz(copy)
    for name, array in arrays.items():
        if array.ndim == 2 and len(array) == 1 and any(_nearest(y, [name]) for y in _LABELS):
            arrays[name] = array[0]  # a vector that MATLAB saved as a row
    return arrays, json.loads(result.stdout)


def _check_unpacked(path: pathlib.Path) -> None:
    """Check that the elements of a MATLAB file fit in memory when they are unpacked."""
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
