"""The files of checkpoints, and the epochs in their names."""

from __future__ import annotations

import glob
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ib_keras.arrays.checks import check_count
from ib_keras.errors import ArgumentError

Checkpoints = str | os.PathLike | Sequence[str | os.PathLike] | Mapping[int, str | os.PathLike]

# Files of weights that Keras reads. A TensorFlow checkpoint consists of several files, which are
# named by their common prefix.
HDF5 = (".h5", ".hdf5")
_INDEX = ".index"
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_SUFFIXES = (".keras", ".weights.h5", *HDF5, ".ckpt")

# The largest number of characters of a path in most file systems.
_LONGEST = 4096
_EXPECTED = (
    "a glob such as 'run/*.keras', a list of paths, or a mapping from epochs to paths; .keras or "
    ".weights.h5 files, HDF5 weights, or prefixes of TensorFlow checkpoints"
)
_PATTERN = r"a regular expression such as pattern=r'epoch_(\d+)'"
# Numbers that are not epochs: 0.33, 3.3e-01, 1e-05.
_DECIMAL = re.compile(r"\d+\.\d+(e[+-]?\d+)?|\d+e[+-]\d+", re.IGNORECASE)
# In net2.05-0.33, it is not clear whether 2.05 is a decimal number or the epoch 5.
_UNCLEAR = re.compile(r"[a-z]\d+\.\d+", re.IGNORECASE)
_EPOCH = re.compile(r"(?<![a-z])(?:epoch|ep)[\W_]{0,2}(\d+)", re.IGNORECASE)


def find(checkpoints: Checkpoints, pattern: str | None = None) -> dict[int, pathlib.Path]:
    r"""Return the files of checkpoints by their epochs.

    Without a pattern, the epoch of ``model_epoch_012.keras`` is the integer after the word "epoch"
    (or "ep"). In names without this word, it is the only integer that differs between the files, as
    in ``ckpt-12``, ``12.keras`` or ``vgg16-12.weights.h5``; in the name of a single file, it is the
    last integer. Numbers with a decimal point or an exponent are ignored, so that
    ``weights.05-0.33.keras``, a name as in the documentation of Keras's ``ModelCheckpoint``,
    belongs to epoch 5.

    Args:
        checkpoints: a glob (``**`` matches folders at any depth), a list of paths, or a mapping
            from epochs to paths. Epoch e is the network after e epochs; 0 is before training. The
            files are ``.keras`` files, ``.weights.h5`` or other HDF5 files of weights, or
            TensorFlow checkpoints, which are named by their prefix or by the files
            ``prefix.index``.
        pattern: regular expression with one group, the epoch: ``r"step_(\d+)"``. It is searched
            in the name of each file, and in its whole path if the name does not match.

    Returns:
        Epoch → path, in ascending order; for TensorFlow checkpoints, the path is the prefix.

    Raises:
        ArgumentError: If there are no files, a file is missing or is not a checkpoint, a name has
            no epoch, it is not clear which number is the epoch, or epochs repeat.
    """
    if isinstance(checkpoints, Mapping):
        if pattern is not None:
            raise ArgumentError(
                "`pattern` does not apply",
                "None with a mapping from epochs to paths",
                repr(pattern),
            )
        paths = _existing(checkpoints.values())
        epochs = [check_count(epoch, "epochs", 0) for epoch in checkpoints]
    else:
        paths = _listed(checkpoints)
        epochs = _read_epochs(paths) if pattern is None else _matched(paths, pattern)
    if not paths:
        raise ArgumentError("There are no checkpoints", _EXPECTED, repr(checkpoints))
    by_epoch: dict[int, pathlib.Path] = {}
    for epoch, path in sorted(zip(epochs, paths, strict=True)):
        if epoch in by_epoch:
            raise ArgumentError(
                f"Two checkpoints are of the epoch {epoch}",
                f"different epochs: other files, or {_PATTERN}",
                f"{str(by_epoch[epoch])!r} and {str(path)!r}",
            )
        by_epoch[epoch] = path
    return by_epoch


def is_tensorflow(path: pathlib.Path) -> bool:
    """Return whether a path is the prefix of a TensorFlow checkpoint."""
    return os.path.isfile(f"{path}{_INDEX}")


def _listed(checkpoints: Any) -> list[pathlib.Path]:
    """Return the checkpoints of a glob or a list of paths."""
    if isinstance(checkpoints, (str, os.PathLike)):
        text = os.path.expanduser(os.fspath(checkpoints))
        if not glob.has_magic(text):
            return _existing([text])
        if len(text) > _LONGEST:  # long patterns take very long
            raise ArgumentError("The glob of the checkpoints is too long", _EXPECTED, len(text))
        # A glob for the prefixes of TensorFlow checkpoints matches no files.
        matches = glob.glob(text, recursive=True) or glob.glob(text + _INDEX, recursive=True)
        paths = sorted(set(map(_without_part, matches)))
        # TensorFlow writes a file of this name beside its checkpoints.
        return _existing(path for path in paths if path.name != "checkpoint")
    if isinstance(checkpoints, Sequence):
        return _existing(checkpoints)
    raise ArgumentError("`checkpoints` are no files", _EXPECTED, repr(checkpoints))


def _without_part(path: str) -> pathlib.Path:
    """Return the prefix of a TensorFlow checkpoint for one of its files, other paths unchanged."""
    prefix = path.removesuffix(_INDEX) if path.endswith(_INDEX) else _DATA.sub("", path)
    return pathlib.Path(prefix)


def _existing(paths: Any) -> list[pathlib.Path]:
    checked = []
    for one in paths:
        if not isinstance(one, (str, os.PathLike)):
            raise ArgumentError("A checkpoint is not a path", _EXPECTED, repr(one))
        path = _without_part(os.path.expanduser(os.fspath(one)))
        if not is_tensorflow(path):
            if not os.path.exists(path):
                raise ArgumentError(
                    f"The checkpoint {str(path)!r} does not exist", _EXPECTED, repr(str(one))
                )
            if not path.is_file() or not path.name.endswith((".keras", *HDF5)):
                raise ArgumentError(
                    f"{str(path)!r} is not a checkpoint", _EXPECTED,
                    "a folder" if path.is_dir() else "another file",
                )  # fmt: skip
        checked.append(path)
    return checked


def _stem(path: pathlib.Path) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), "")
    return path.name.removesuffix(suffix)


def _read_epochs(paths: Sequence[pathlib.Path]) -> list[int]:
    """Return the epochs of all names by the rule of ``find``."""
    stems = [_stem(path) for path in paths]
    words = [_EPOCH.search(_DECIMAL.sub(" ", stem)) for stem in stems]
    if all(words):
        return [int(word[1]) for word in words if word]
    numbers = [[int(n) for n in re.findall(r"\d+", _DECIMAL.sub(" ", stem))] for stem in stems]
    for path, own in zip(paths, numbers, strict=True):
        if not own:
            raise ArgumentError(
                f"The name of the checkpoint {str(path)!r} has no epoch",
                f"an integer in each name, {_PATTERN}, or a mapping from epochs to paths",
                repr(path.name),
            )
    same_form = len({len(own) for own in numbers}) == 1
    different = [i for i, column in enumerate(zip(*numbers, strict=False)) if len(set(column)) > 1]
    is_unclear = not different and any(map(_UNCLEAR.search, stems))
    if not same_form or len(different) > 1 or is_unclear:
        raise ArgumentError(
            "It is not clear which number in the names of the checkpoints is the epoch",
            f"one integer that differs between the names, {_PATTERN}, or a mapping",
            ", ".join(
                f"{path.name!r} with {' and '.join(map(str, own))}"
                for path, own in list(zip(paths, numbers, strict=True))[:3]
            ),
        )
    return [own[different[0] if different else -1] for own in numbers]


def _matched(paths: Sequence[pathlib.Path], pattern: str) -> list[int]:
    """Return the epochs that a pattern finds."""
    try:
        search = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ArgumentError("`pattern` is invalid", _PATTERN, f"{pattern!r}: {error}") from None
    if search.groups != 1:
        raise ArgumentError("`pattern` must have one group", _PATTERN, repr(pattern))
    epochs = []
    for path in paths:
        match = search.search(path.name) or search.search(path.as_posix())
        if match is None or not (match[1] or "").isdecimal():
            raise ArgumentError(
                f"The pattern finds no epoch in {str(path)!r}",
                f"digits in the group of {pattern!r}",
                repr(match[1]) if match else "no match",
            )
        epochs.append(int(match[1]))
    return epochs
