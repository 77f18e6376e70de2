"""Reading arrays from files that may be damaged, or made to do harm."""

from __future__ import annotations

import math
import os
import pathlib
import zipfile
from typing import IO

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import StoreError

# What NumPy, SciPy, Arrow and zipfile raise for nonsense has no common class: there is even
# tokenize.TokenError.
DAMAGE = Exception


def read_npy(path: pathlib.Path) -> np.ndarray:
    """A ``.npy`` file, memory-mapped, read-only.

    Args:
        path: of the file.

    Raises:
        StoreError: it is not such a file, holds objects, or its header does not match its size.
    """
    try:
        with open(path, "rb") as file:
            shape, dtype, _ = _header(file, os.fstat(file.fileno()).st_size)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise StoreError(f"{str(path)!r} cannot be read", "a .npy file", error) from None


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file; each has a checksum, which is compared.

    Args:
        path: of the file.

    Raises:
        StoreError: it is not such a file, is damaged, holds objects, or does not fit into memory.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            check_size(path, sum(m.file_size for m in members.values()))
            for name, member in members.items():
                with archive.open(member) as stream:
                    _header(stream, member.file_size)
                with archive.open(member) as stream:
                    found[name] = np.lib.format.read_array(stream, allow_pickle=False)
                    stream.read(1)  # the end, where the checksum is compared
    except StoreError:
        raise
    except DAMAGE as error:
        raise StoreError(
            f"{str(path)!r} cannot be read", "an .npz file of plain arrays", error
        ) from None
    return found


def check_zip(path: pathlib.Path) -> None:
    """Raises unless a zip file's members are whole and fit into memory together.

    Args:
        path: of the file.

    Raises:
        StoreError: it is not such a file, is damaged, or says that it does not fit into memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(member.file_size for member in archive.infolist()))
            damaged = archive.testzip()
    except StoreError:
        raise
    except DAMAGE as error:
        raise StoreError(f"{str(path)!r} is damaged", "a zip file", error) from None
    if damaged is not None:
        raise StoreError(f"{str(path)!r} is damaged", "its checksums", f"another of {damaged!r}")


def check_size(path: pathlib.Path, size: int, available: int | None = None) -> None:
    """Raises if a file says that it holds more than there is memory for.

    Args:
        path: of the file.
        size: what it says, in bytes.
        available: bytes; as much as this machine has by default.

    Raises:
        StoreError: it does.
    """
    available = memory.available() if available is None else available
    if available is not None and size > available:
        raise StoreError(
            f"{str(path)!r} is too large",
            f"at most {available / 1e9:.1f} GB, the memory available",
            f"{size / 1e9:.1f} GB unpacked, {path.stat().st_size / 1e9:.3g} GB packed",
        )


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, dtype and order of a ``.npy`` file of so many bytes, which must be as many as these
    take."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0
    )  # fmt: skip
    shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    found = size - file.tell()
    if math.prod(shape) * dtype.itemsize != found:
        raise ValueError(f"shape {shape} of {dtype} in {found} bytes")
    return shape, dtype, fortran_order
