"""Data sets in folders of images, with one folder for each class."""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Sequence
from typing import IO

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError
from ib_keras.storage.images import Size, resized, size_of
from ib_keras.storage.labelled import Found, described, message_of, split_parts

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

# Colour types of PNG files with and without alpha, and the number of channels that are read.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}


def parts(folder: pathlib.Path, valid: bool = False) -> list[pathlib.Path]:
    """Return the folders of the training and the test part, or the folder itself if it has none.

    Args:
        folder: see ``read``.
        valid: whether to add the folder of the validation part, if there is one.
    """

    def has_folders(name: str) -> bool:
        return (folder / name).is_dir() and any(map(os.path.isdir, (folder / name).iterdir()))

    return [folder / name for name in split_parts(has_folders, valid)] or [folder]


def check(folder: pathlib.Path, image_size: Size) -> None:
    """Check that a folder has images of several classes, without reading them.

    Args:
        folder: see ``read``.
        image_size: see ``read``.

    Raises:
        ArgumentError: If the folder has no such images, or the size is invalid.
    """
    size_of(image_size)
    for part in parts(folder):
        _by_class(part)


def read(
    folder: pathlib.Path, image_size: Size = None, seed: int = 0, valid: bool = False
) -> Found:
    """Read the images of a folder.

    Args:
        folder: a folder with a subfolder for each class, in which images may be at any depth; or a
            folder with such folders ``train`` and ``test``, and perhaps ``valid``, whose other
            folders are not read. The images are BMP, GIF (the first frame), JPEG or PNG files.
            Other files, and names that start with a dot, are ignored.
        image_size: the height and width to which images are resized, as ``"32x48"``, ``"32"`` for
            squares, or integers; ``None`` if all images have one size.
        seed: seed of the order of the images.
        valid: whether to also read the folder ``valid`` (or ``val``, ``validation``), if there is
            one.

    Returns:
        The images, uint8 ``(n, height, width, channels)``, in random order. There is one channel
        if all images are grey, otherwise three; transparency is left out.

    Raises:
        ArgumentError: If there are no images, or images of one class only; if an image is damaged;
            if sizes differ and ``image_size`` is ``None``; or if the images do not fit in memory.
    """
    size = size_of(image_size)
    listed = [
        [(path, name) for name, paths in _by_class(part).items() for path in paths]
        for part in parts(folder, valid)
    ]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(images)) for images in listed]
    shuffled = [[images[i] for i in order] for images, order in zip(listed, orders, strict=True)]
    shape, channels = _common_shape([path for images in shuffled for path, _ in images], size)
    return Found([
        (
            _decoded([path for path, _ in images], (*shape, channels), resize=size is not None),
            np.array([name for _, name in images]),
        )
        for images in shuffled
    ])  # fmt: skip


def _by_class(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Return the images of each class, both in the order of their names."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    classes = {
        entry.name: sorted(
            path
            for path in entry.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        for entry in entries
        if entry.is_dir()
    }
    empty = [name for name, paths in classes.items() if not paths]
    if len(classes) < 2 or empty:
        expected = f"a folder for each of at least two classes, with {', '.join(SUFFIXES)} files"
        if empty and len(empty) < len(classes):
            invalid = f"Folders of {str(folder)!r} have no images"
            received = f"none in {described(list(map(repr, empty)))}"
        elif classes and not empty:
            invalid = f"The folder {str(folder)!r} has images of one class only"
            received = repr(next(iter(classes)))
        else:
            invalid = f"The folder {str(folder)!r} has no images by class"
            expected += "; or a data set that tf.data.Dataset.save wrote"
            received = described([repr(p.name) for p in entries]) or "an empty folder"
        raise ArgumentError(invalid, expected, received)
    return classes


def _common_shape(
    paths: Sequence[pathlib.Path], size: tuple[int, int] | None
) -> tuple[tuple[int, int], int]:
    """Return the height and width, and the number of channels, of all images together.

    Only the headers of the files are read.
    """
    headers = [_header(path) for path in paths]
    first = headers[0][:2]
    for path, (height, width, _) in zip(paths, headers, strict=True):
        if size is None and (height, width) != first:
            raise ArgumentError(
                "The images differ in size",
                "images of one size, or image_size=… (in pipelines --set image_size=32x32)",
                f"{first[0]}x{first[1]} ({paths[0]}) and {height}x{width} ({path})",
            )
    shape, channels = size or first, max(header[2] for header in headers)
    # While an image is resized, memory holds it as 8-bit and as 32-bit numbers.
    largest = 5 * 3 * max(height * width for height, width, _ in headers)
    needed, available = len(paths) * shape[0] * shape[1] * channels + largest, memory.available()
    if available is not None and needed > available:
        raise ArgumentError(
            "The images are too large",
            f"at most {available / 1e9:.1f} GB, the memory available; image_size=… makes them "
            "smaller",
            f"{len(paths)} images, {needed / 1e9:.1f} GB",
        )
    return shape, channels


def _decoded(
    paths: Sequence[pathlib.Path], shape: tuple[int, int, int], *, resize: bool
) -> np.ndarray:
    import tensorflow as tf

    images = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        try:
            image = tf.io.decode_image(
                path.read_bytes(), channels=shape[2], expand_animations=False
            )
            image = image.numpy()
            images[i] = resized(image[None], shape[:2])[0] if resize else image
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise _damaged(path, message_of(error)) from None
    return images


def _header(path: pathlib.Path) -> tuple[int, int, int]:
    """Return the height, the width and the number of channels (1 or 3) of an image."""
    try:
        with open(path, "rb") as file:
            height, width, channels = _parsed(file)
    except (struct.error, IndexError):
        raise _damaged(path, "a file that ends too early") from None
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from None
    if not height or not width:
        raise _damaged(path, f"an image of the size {height}x{width}")
    return height, width, channels


def _parsed(file: IO[bytes]) -> tuple[int, int, int]:
    start = file.read(30)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack(">II", start[16:24])
        return height, width, _PNG_CHANNELS[start[25]]
    if start.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack("<HH", start[6:10])
        return height, width, 3
    if start.startswith(b"BM"):
        width, height = struct.unpack("<ii", start[18:26])
        return abs(height), abs(width), 3 if start[28] > 8 else 1
    if not start.startswith(b"\xff\xd8"):
        raise ValueError("not a BMP, GIF, JPEG or PNG file")
    file.seek(2)
    while True:  # the segments of a JPEG file, up to the one with the size
        marker, length = struct.unpack(">2sH", file.read(4))
        if marker[0] != 0xFF:
            raise ValueError("a JPEG file with an invalid segment")
        if marker[1] in (
            *range(0xC0, 0xC4),
            *range(0xC5, 0xC8),
            *range(0xC9, 0xCC),
            0xCD,
            0xCE,
            0xCF,
        ):
            _, height, width, components = struct.unpack(">BHHB", file.read(6))
            return height, width, 1 if components == 1 else 3
        file.seek(length - 2, os.SEEK_CUR)


def _damaged(path: pathlib.Path, received: object) -> ArgumentError:
    return ArgumentError(
        f"The image {str(path)!r} cannot be read", "a BMP, GIF, JPEG or PNG file", received
    )
