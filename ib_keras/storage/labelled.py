"""Inputs with labels, and the names under which they are found in files."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ib_keras.errors import ArgumentError

# Other accepted names of the inputs x and the labels y; case does not matter.
ALIASES = {
    "x": ("f", "data", "input", "inputs", "feature", "features", "image", "images"),
    "y": ("label", "labels", "target", "targets", "class", "classes"),
}
# The names of the two parts of a split data set, and those of a third part.
PARTS = ("train", "test")
VALIDATION = ("valid", "val", "validation")
# The names of the parts in folders, without case and other characters than letters and digits.
_FOLDERS = {
    "train": ("train", "training", "trainset", "trainingset"),
    "test": ("test", "testing", "testset"),
    "valid": (*VALIDATION, "validationset", "valset", "dev"),
}
# The name of the labels, or of several columns of them; None if it is to be found.
Label = str | Sequence[str] | None
# The largest number of names that an error lists.
_LISTED = 12


class Found(NamedTuple):
    """The data set in a file or folder.

    Args:
        parts: one pair ``(x, y)`` of all rows; or a pair of the training rows, one of the test
            rows, and perhaps one of the validation rows.
        names: the names of the arrays or columns that were read; empty if they have no names.
        label: the name of the labels in error messages.
    """

    parts: list[tuple[np.ndarray, np.ndarray]]
    names: tuple[str, ...] = ()
    label: str = "y"


def split_parts(
    folder: pathlib.Path, is_part: Callable[[pathlib.Path], bool]
) -> list[pathlib.Path]:
    """Return the folders of the training, the test and the validation part; none without parts.

    A validation part is the test part if there is no other.

    Args:
        folder: the folder of the data set.
        is_part: function of a folder of such a name, which returns whether it holds a part.

    Raises:
        ArgumentError: If there is a training part but no other, or the reverse, or a part has
            several folders.
    """
    named: dict[str, list[pathlib.Path]] = {kind: [] for kind in _FOLDERS}
    entries = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for entry in entries:
        for kind, names in _FOLDERS.items():
            if plain(entry.name) in names and is_part(entry):
                named[kind].append(entry)
    found = [entry for part in named.values() for entry in part]
    train, test, valid = named.values()
    if not train and len(found) < len(entries):
        return []  # other folders are classes, of which one may have such a name
    held_out = test or valid
    if found and not (len(train) == len(held_out) == 1 and len(valid) <= 1):
        raise ArgumentError(
            f"The parts of {str(folder)!r} are not clear",
            "one folder train and one folder test or valid with the same form, and perhaps a third "
            "one; or another name for a folder that is a class",
            described([repr(entry.name) for entry in entries]),
        )
    return [*train, *held_out, *(valid if test else [])]


def plain(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return re.sub("[^a-z0-9]", "", name.lower())


def described(names: Sequence[str]) -> str:
    """Join names for an error; if there are many, only the first ones and their number."""
    more = [f"… {len(names)} in all"] if len(names) > _LISTED else []
    return ", ".join([*names[:_LISTED], *more])


def message_of(error: Exception) -> str:
    """Return the message of an error without the operation that TensorFlow adds to it."""
    return re.sub(r"^\{\{.*?\}\} ", "", str(error).partition(" [Op:")[0])


def choose_labels(
    label: str | Sequence[str] | None, names: Sequence[str], place: str, kind: str
) -> list[str]:
    """Return the names of the labels among the names of columns.

    Args:
        label: one name, several names, or several in one text with commas between them. ``None``
            for the only column that is called y, label, target or class.
        names: the names of the columns.
        place: the file, for errors.
        kind: ``"column"``, or another word for what the names denote, for errors.

    Raises:
        ArgumentError: If a name is missing or repeated, or it is not clear which column has the
            labels.
    """
    if label is None:
        usual = [name for name in names if plain(name) in ("y", *ALIASES["y"])]
        if len(usual) == 1:
            return usual
        raise ArgumentError(
            f"It is not clear which {kind} of {place!r} has the labels",
            f"label=… with the name of the {kind} (in pipelines --set label=…)",
            f"the {kind}s {described(list(map(repr, names)))}",
        )
    if isinstance(label, str):
        label = [label] if label in names else [one.strip() for one in label.split(",")]
    chosen = list(label)
    unknown = [one for one in chosen if one not in names]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise ArgumentError(
            f"`label` names no {kind} of {place!r}: {', '.join(map(repr, unknown))}"
            if unknown
            else "`label` is empty or repeats a name",
            f"one or more of the {kind}s {described(list(map(repr, names)))}",
            repr(label),
        )
    return chosen
