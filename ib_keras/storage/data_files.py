"""Data sets in files and folders of all formats."""

from __future__ import annotations

import os
import pathlib

from ib_keras.errors import ArgumentError
from ib_keras.storage import array_files, image_folders, images, saved_datasets, table_files
from ib_keras.storage.labelled import Found, Label

# The suffixes of files; folders have none.
SUFFIXES = (*array_files.SUFFIXES, *table_files.SUFFIXES)
FORMATS = (
    "an .npz, .mat, .csv, .tsv or .parquet file, a folder of images by class, or a folder that "
    "tf.data.Dataset.save wrote"
)


def is_file(name: str) -> bool:
    """Return whether a name is that of a file or folder rather than of a data set."""
    return name.lower().endswith(SUFFIXES) or os.path.isdir(name)


def _is_table(path: pathlib.Path) -> bool:
    return path.name.lower().endswith(table_files.SUFFIXES)


def check(path: pathlib.Path, label: Label = None, image_size: images.Size = None) -> None:
    """Check that a file or folder has a data set, as far as this can be checked quickly.

    Args:
        path: see ``read``.
        label: see ``read``.
        image_size: see ``read``.

    Raises:
        ArgumentError: If the path does not exist or has no data set of a known format, or
            ``label`` or ``image_size`` does not apply to its format.
    """
    if not os.path.exists(path):
        raise ArgumentError(f"The file {str(path)!r} does not exist", "an existing file", str(path))
    is_table = _is_table(path)
    is_saved = path.is_dir() and bool(saved_datasets.parts(path))
    is_images = path.is_dir() and not is_saved
    if label is not None and not (is_table or is_saved):
        raise ArgumentError(
            "`label` does not apply",
            "None: only tables and saved data sets of dictionaries have names to choose",
            f"label={label!r} for {str(path)!r}",
        )
    if image_size is not None and is_table:
        raise ArgumentError(
            "`image_size` does not apply",
            "None: only images are resized",
            f"image_size={image_size!r} for {str(path)!r}",
        )
    images.size_of(image_size)
    if is_table:
        table_files.check(path, label)
    elif is_images:
        image_folders.check(path, image_size)


def read(
    path: pathlib.Path,
    label: Label = None,
    image_size: images.Size = None,
    seed: int = 0,
    valid: bool = False,
) -> Found:
    """Read the inputs and labels of a file or folder.

    Args:
        path: a file with one of the ``SUFFIXES``, a folder of images by class, or a folder that
            ``tf.data.Dataset.save`` wrote.
        label: the name of the labels in a table or in a saved data set of dictionaries, or several
            names; ``None`` for the only one that is called y, label, target or class.
        image_size: the height and width to which images are resized; ``None`` for no change.
        seed: seed of the order of the images of a folder.
        valid: whether to read the validation part as well, if the data have one.

    Raises:
        ArgumentError: If the data cannot be read, or it is not clear which are inputs and labels.
    """
    check(path, label, image_size)
    if _is_table(path):
        return table_files.read(path, label)
    if path.is_dir() and not saved_datasets.parts(path):
        return image_folders.read(path, image_size, seed, valid)
    is_folder = path.is_dir()
    found = saved_datasets.read(path, label, valid) if is_folder else array_files.read(path, valid)
    size = images.size_of(image_size)
    if size is None:
        return found
    return found._replace(parts=[(images.resized(x, size), y) for x, y in found.parts])
