"""Reading arrays from files that may be damaged or malicious."""

from __future__ import annotations

import math
import os
import pathlib
import zipfile
from typing import IO

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import StoreError

# The errors that NumPy, SciPy, Arrow and zipfile raise for damaged files, such as
# tokenize.TokenError, have no other common base class.
DAMAGE = Exception


def read_npy(path: pathlib.Path) -> np.ndarray:
    """Open a ``.npy`` file, memory-mapped and read-only.

    Args:
        path: the file.

    Raises:
        StoreError: If the file is not a ``.npy`` file, holds objects, or has a header that does not
            match its size.
    """
    try:
        with open(path, "rb") as file:
            shape, dtype = _header(file, os.fstat(file.fileno()).st_size)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise StoreError(f"{str(path)!r} cannot be read", "a .npy file", error) from None


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file and compare them with their checksums.

    Args:
        path: the file.

    Raises:
        StoreError: If the file is not an ``.npz`` file, is damaged, holds objects, or does not fit
            in memory.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            check_size(path, sum(m.file_size for m in members.values()))
            for name, member in members.items():
                with archive.open(member) as stream:
                    _header(stream, member.file_size)
                with archive.open(member) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                    stream.read(1)  # zipfile compares the checksum at the end of the stream
    except StoreError:
        raise
    except DAMAGE as error:
        raise StoreError(
            f"{str(path)!r} cannot be read", "an .npz file of plain arrays", error
        ) from None
    return arrays


def check_zip(path: pathlib.Path) -> None:
    """Check that the members of a zip file are undamaged and fit in memory together.

    Args:
        path: the file.

    Raises:
        StoreError: If the file is not a zip file, is damaged, or does not fit in memory.
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
        raise StoreError(
            f"{str(path)!r} is damaged", "matching checksums", f"another checksum of {damaged!r}"
        )


def check_size(path: pathlib.Path, size: int, available: int | None = None) -> None:
    """Check that the content of a file fits in memory.

    Args:
        path: the file.
        size: the size of its unpacked content in bytes.
        available: the available memory in bytes; that of this machine by default.

    Raises:
        StoreError: If the content is larger than the available memory.
    """
    available = memory.available() if available is None else available
    if available is not None and size > available:
        raise StoreError(
            f"{str(path)!r} is too large",
            f"at most {available / 1e9:.1f} GB, the memory available",
            f"{size / 1e9:.1f} GB unpacked, {path.stat().st_size / 1e9:.3g} GB packed",
        )


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and dtype of a ``.npy`` file, and check them against its size in bytes."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    formats = np.lib.format
    read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    remaining = size - file.tell()
    if math.prod(shape) * dtype.itemsize != remaining:
        raise ValueError(f"shape {shape} of {dtype} in {remaining} bytes")
    return shape, dtype
