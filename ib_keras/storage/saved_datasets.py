"""Data sets that ``tf.data.Dataset.save`` wrote."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import npy
from ib_keras.storage.labelled import Found, Label, choose_labels, message_of, split_parts

SPECIFICATION = "dataset_spec.pb"

_BATCH = 256


def parts(folder: pathlib.Path, valid: bool = False) -> list[pathlib.Path]:
    """Return the folder of a saved data set, or the folders of its training and its test part.

    The list is empty if the folder has neither.

    Args:
        folder: see ``read``.
        valid: whether to add the folder of the validation part, if there is one.
    """
    if (folder / SPECIFICATION).is_file():
        return [folder]
    found = split_parts(folder, lambda part: (part / SPECIFICATION).is_file())
    return found[: 3 if valid else 2]


def read(folder: pathlib.Path, label: Label = None, valid: bool = False) -> Found:
    """Read a saved data set.

    Args:
        folder: the folder of a data set with the elements ``(x, y)``, or dictionaries of these, in
            batches or not; or a folder with two data sets ``train`` and ``test``, and perhaps a
            third one ``valid`` (or ``val``, ``validation``).
        label: the key of the labels, if the elements are dictionaries; ``None`` for the only key
            that is called y, label, target or class.
        valid: whether to also read the validation part, if there is one.

    Raises:
        ArgumentError: If the data set cannot be read, is empty or does not fit in memory, or its
            elements are of another form.
    """
    return Found([_read(part, label) for part in parts(folder, valid)])


def _read(folder: pathlib.Path, label: Label) -> tuple[np.ndarray, np.ndarray]:
    try:
        import tensorflow as tf

        try:
            pairs = _pairs(tf.data.Dataset.load(str(folder)), folder, label)
        except tf.errors.DataLossError:
            packed = tf.data.Dataset.load(str(folder), compression="GZIP")
            pairs = _pairs(packed, folder, label)
    except ArgumentError:
        raise
    except StoreError as error:
        raise ArgumentError(
            f"The data set {error.invalid}", error.expected, error.received
        ) from None
    except npy.DAMAGE as error:
        raise ArgumentError(
            f"The data set {str(folder)!r} cannot be read",
            "a folder that tf.data.Dataset.save wrote, with elements of one shape",
            message_of(error),
        ) from None
    if not pairs:
        raise ArgumentError(
            f"The data set {str(folder)!r} is empty", "at least one element", "none"
        )
    x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return x, y


def _pairs(dataset: Any, folder: pathlib.Path, label: Label) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the inputs and labels of each batch."""
    keys = _keys(dataset.element_spec, folder, label)
    # The elements of a tuple come as several arguments, those of a dictionary as one.
    dataset = dataset.map(
        lambda *element: tuple((element[0] if len(element) == 1 else element)[k] for k in keys)
    )
    first = next(dataset.as_numpy_iterator(), None)
    if first is None:
        return []
    if not _is_batch(*(spec.shape for spec in dataset.element_spec), *first):
        dataset = dataset.batch(_BATCH)
    limit, size = memory.available(), 0
    pairs = []
    for x, y in dataset.as_numpy_iterator():
        pairs.append((x, y))
        size += x.nbytes + y.nbytes
        npy.check_size(folder, 2 * size, limit)  # the batches, and one array of all
    return pairs


def _keys(spec: Any, folder: pathlib.Path, label: Label) -> tuple[Any, Any]:
    """Return the keys of the inputs and the labels in an element."""
    import tensorflow as tf

    if isinstance(spec, Mapping):
        labels = choose_labels(label, sorted(spec), str(folder), "key")
        keys = [*(key for key in spec if key not in labels), *labels]
    elif label is not None:
        raise ArgumentError(
            "`label` does not apply", "None: the elements are not dictionaries", repr(label)
        )
    else:
        keys = list(range(len(spec))) if isinstance(spec, (tuple, list)) else []
    if len(keys) != 2 or not all(isinstance(spec[key], tf.TensorSpec) for key in keys):
        raise ArgumentError(
            f"The data set {str(folder)!r} has elements of another form",
            "elements (x, y), or dictionaries of x and y, with one array each",
            spec,
        )
    return keys[0], keys[1]


def _is_batch(x_spec: Any, y_spec: Any, x: np.ndarray, y: np.ndarray) -> bool:
    """Return whether an element is a batch of rows rather than one row.

    Args:
        x_spec: the declared shape of the inputs, in which sizes may be unknown.
        y_spec: the declared shape of the labels.
        x: the inputs of the first element.
        y: the labels of the first element.
    """
    if np.ndim(y) != 1:
        return np.ndim(y) > 1
    known = [spec.rank is not None and spec[0] is not None for spec in (x_spec, y_spec)]
    if np.ndim(x) < 2 or len(x) != len(y) or known[0] != known[1]:
        return False
    # A vector of labels as long as the first axis of the inputs may be one one-hot label.
    return not known[1] or not (y.dtype.kind in "fiu" and sorted(y)[-2:] == [0, 1])
