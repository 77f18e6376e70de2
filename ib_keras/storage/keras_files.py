"""Checks of ``.keras`` files that may be damaged or malicious, and comparisons of them."""

from __future__ import annotations

import concurrent.futures
import io
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import npy

# The suffixes of model files in formats that are not supported.
_OTHERS = {
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".hdf": "HDF5",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite model",
    ".onnx": "an ONNX model",
    ".pt": "a PyTorch model",
    ".pth": "a PyTorch model",
    ".safetensors": "weights without a model",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
# Keys of a configuration that may differ between checkpoints of one training.
_INCIDENTAL = (
    "build_config", "build_input_shape", "compile_config", "name", "seed", "shared_object_id",
    "trainable",
)  # fmt: skip
_INCIDENTAL_ENDS = ("_constraint", "_initializer", "_regularizer")


def is_file(name: str) -> bool:
    """Return whether a model's name refers to a file, in a supported or an unsupported format.

    Args:
        name: the name that was passed to ``models.build``.
    """
    known = pathlib.PurePath(name).suffix in (".keras", *_OTHERS)
    # os.path accepts any text, even if it cannot be a file's name.
    return known or os.path.isfile(os.path.join(name, "saved_model.pb"))


def refuse_other_formats(file: pathlib.Path) -> None:
    """Check that a file is a ``.keras`` file; otherwise, say how to make one from it.

    Args:
        file: an existing file or folder.

    Raises:
        ArgumentError: If the file has another format, whatever its name is.
    """
    if file.is_dir():
        saved = (file / "saved_model.pb").is_file()
        received = "a SavedModel, whose layers cannot be tapped" if saved else "a folder"
    else:
        with open(file, "rb") as opened:
            hdf5 = opened.read(len(_HDF5)) == _HDF5
        if file.suffix == ".keras" and not hdf5:
            return
        received = "HDF5" if hdf5 else _OTHERS.get(file.suffix, "another file")
    wanted = "a .keras file: model.save('m.keras')"
    if received == "HDF5":
        new = f"{file.stem.removesuffix('.weights')}.keras"
        old = file if file.suffix in (".h5", ".hdf5") else file.with_suffix(".h5")
        rename = "" if old == file else f"rename it to {old.name}, then "
        wanted = f"a .keras file: {rename}keras.models.load_model({str(old)!r}).save({new!r})"
        if file.stem.endswith(".weights"):
            received = "HDF5 with weights only"
            wanted = (
                "a .keras file: build the model as it was, "
                f"model.load_weights({str(file)!r}), model.save({new!r})"
            )
    raise ArgumentError(f"The model {str(file)!r} cannot be read", wanted, received)


def check(file: pathlib.Path) -> None:
    """Check that the file of a model is complete, and that the file and the model fit in memory.

    Args:
        file: the ``.keras`` file.

    Raises:
        StoreError: If the file is damaged, or the file or the model is larger than the available
            memory.
    """
    npy.check_zip(file)
    # In a separate thread, because Keras keeps a list of uninitialised variables for each thread.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        npy.check_size(file, thread.submit(_bytes, file).result())


def _bytes(file: pathlib.Path) -> int:
    """Return the size in bytes of the variables that a model's configuration describes.

    0 if the configuration cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in model.variables)
    except Exception:  # Keras itself reads or rejects the file later
        return 0


def read_architecture(file: pathlib.Path) -> Any:
    """Return the essential configuration of the model in a ``.keras`` file, for ``difference``.

    This leaves out what may differ between checkpoints of one training: how the model was compiled,
    initialised and regularised, which layers were trainable, and names, which Keras generates.

    Args:
        file: the ``.keras`` file.

    Raises:
        StoreError: If the file has no configuration.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
    except npy.DAMAGE as error:
        raise StoreError(f"{str(file)!r} cannot be read", "a .keras file", error) from None
    names = {name: f"#{i}" for i, name in enumerate(dict.fromkeys(_names(config)))}
    return _essential(config, names)


def _names(config: Any) -> Iterator[str]:
    """Yield the names of all layers in a configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("name"), str):
            yield config["name"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _names(part)


def _essential(config: Any, names: Mapping[str, str]) -> Any:
    if isinstance(config, dict):
        return {
            key: _essential(value, names)
            for key, value in config.items()
            if key not in _INCIDENTAL and not key.endswith(_INCIDENTAL_ENDS)
        }
    if isinstance(config, list):
        return [_essential(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


def difference(a: Any, b: Any, place: str = "model") -> str | None:
    """Return the first difference of two configurations in words; ``None`` if they are equal.

    Keys that only one of them has, as files of other versions of Keras may, are not compared.

    Args:
        a: the expected configuration.
        b: the received configuration.
        place: the name of the part that is compared.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        inner = [(a[key], b[key], place if key == "config" else f"{place}.{key}") for key in a
                 if key in b]  # fmt: skip
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        inner = [(*pair, f"{place}[{i}]") for i, pair in enumerate(zip(a, b, strict=True))]
    elif isinstance(a, list) and isinstance(b, list):
        return f"{place} has the length {len(b)} instead of {len(a)}"
    else:
        return None if a == b else f"{place} is {str(b)[:80]!r} instead of {str(a)[:80]!r}"
    return next((found for parts in inner if (found := difference(*parts))), None)


class Weights(NamedTuple):
    """The shapes of the weights in a file.

    Args:
        shapes: the name of each array in the file → its shape.
        older: whether the file has the format of Keras 1 and 2, in which arrays have other names.
    """

    shapes: dict[str, tuple[int, ...]]
    older: bool


def read_weights(file: pathlib.Path) -> Weights:
    """Return the shapes of the weights in a ``.keras`` or HDF5 file, without those of optimizers.

    Args:
        file: the file.

    Raises:
        StoreError: If the file is damaged, or larger than the available memory.
    """
    import h5py

    try:
        opened: Any = file
        if file.suffix == ".keras":
            with zipfile.ZipFile(file) as archive:
                npy.check_size(file, archive.getinfo(_WEIGHTS).file_size)
                opened = io.BytesIO(archive.read(_WEIGHTS))  # compares the checksum
        with h5py.File(opened, "r") as content:
            older = "layer_names" in content.attrs or "model_weights" in content
            root = content["model_weights"] if "model_weights" in content else content
            shapes: dict[str, tuple[int, ...]] = {}

            def add(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and "optimizer" not in name.split("/"):
                    shapes[name] = tuple(item.shape)

            root.visititems(add)
    except StoreError:
        raise
    except npy.DAMAGE as error:
        raise StoreError(
            f"{str(file)!r} cannot be read", "a file of weights that Keras wrote", error
        ) from None
    return Weights(shapes, older)
