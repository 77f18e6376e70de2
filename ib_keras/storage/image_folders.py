"""Data sets in folders of images, with one folder for each class."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError
from ib_keras.storage.images import Size, resized, size_of
from ib_keras.storage.labelled import Found, described, split_parts

SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Files that operating systems and programs add.
_NO_DATA = ("desktop.ini", "thumbs.db", "__macosx")
# The modes of grey images, with up to 16 bits.
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
# What Pillow raises for damaged files.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
# The tag of a photograph's orientation, and its values for images that lie on their side.
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


def parts(folder: pathlib.Path, valid: bool = False) -> list[pathlib.Path]:
    """Return the folders of the training and the test part, or the folder itself if it has none.

    Args:
        folder: see ``read``.
        valid: whether to add the folder of the validation part, if there is one.

    Raises:
        ArgumentError: If it is not clear which folders are parts.
    """

    def has_folders(part: pathlib.Path) -> bool:
        return any(entry.is_dir() and not _is_hidden(entry.name) for entry in part.iterdir())

    return split_parts(folder, has_folders)[: 3 if valid else 2] or [folder]


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
            folders are not read. Other usual names of parts are accepted, and ``valid`` replaces a
            missing ``test``. The images are BMP, GIF (the first frame), JPEG, PNG, PPM, TIFF or
            WebP files. Other files, and names that start with a dot, are ignored.
        image_size: the height and width to which images are resized, as ``"32x48"``, ``"32"`` for
            squares, or integers; ``None`` if all images have one size.
        seed: seed of the order of the images.
        valid: whether to also read the folder ``valid``, if there is one beside ``test``.

    Returns:
        The images, uint8 ``(n, height, width, channels)``, in random order. There is one channel
        if all images are grey, otherwise three; transparency is left out. Photographs are turned
        as their orientation says.

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


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NO_DATA


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Iterate over the files in a folder at any depth, behind links, too."""
    # A link may lead to a folder above it.
    visited = set(map(str, pathlib.Path(os.path.realpath(folder)).parents))
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in visited else [name for name in folders if not _is_hidden(name)]
        if real not in visited:
            paths = (pathlib.Path(place, name) for name in names if not _is_hidden(name))
            yield from (path for path in paths if path.is_file() or path.is_symlink())
        visited.add(real)


def _by_class(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Return the images of each class, both in the order of their names."""
    entries = sorted(p for p in folder.iterdir() if not _is_hidden(p.name))
    files = {entry.name: sorted(_files(entry)) for entry in entries if entry.is_dir()}
    classes = {
        name: [path for path in paths if path.suffix.lower() in SUFFIXES]
        for name, paths in files.items()
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
    others = {
        path.suffix or path.name
        for paths in files.values()
        for path in paths
        if path.suffix.lower() not in SUFFIXES
    }
    if others:
        logging.warning("%s: files %s are not read.", folder, described(sorted(others)))
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
    images = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        try:
            with Image.open(path, formats=FORMATS) as file:
                image = _converted(ImageOps.exif_transpose(file), shape[2])
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        images[i] = resized(image[None], shape[:2])[0] if resize else image
    return images


def _converted(image: Image.Image, channels: int) -> np.ndarray:
    """Return the values of an image from 0 to 255, ``(height, width, channels)``."""
    if image.mode.startswith("I"):  # 16 bits
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return values[..., None] if channels == 1 else values


def _header(path: pathlib.Path) -> tuple[int, int, int]:
    """Return the height, the width and the number of channels (1 or 3) of an image."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _LYING:
                width, height = height, width
            return height, width, 1 if image.mode in _GREY else 3
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: pathlib.Path, error: Exception) -> ArgumentError:
    received = str(error).replace(f" {str(path)!r}", "") or type(error).__name__
    return ArgumentError(
        f"The image {str(path)!r} cannot be read", f"a file of the kinds {', '.join(FORMATS)}",
        received,
    )  # fmt: skip
