"""``.keras`` files that may be damaged, or made to do harm."""

from __future__ import annotations

import concurrent.futures
import json
import math
import os
import pathlib
import zipfile

import keras
import tensorflow as tf

from ib_keras.errors import ArgumentError
from ib_keras.storage import npy

# How files of models are called that are not read, and what they are.
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


def is_file(name: str) -> bool:
    """Whether a model's name is that of a file, of a format that is read or of another.

    Args:
        name: what ``models.build`` takes.
    """
    # os.path takes any text, also such as cannot be a name.
    known = pathlib.PurePath(name).suffix in (".keras", *_OTHERS)
    return known or os.path.isfile(os.path.join(name, "saved_model.pb"))


def refuse_other_formats(file: pathlib.Path) -> None:
    """Raises if a file or folder is no ``.keras`` file, and says how to make one of it.

    Args:
        file: which exists.

    Raises:
        ArgumentError: it is of another format, whatever its name.
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
            received = "HDF5 of weights alone"
            wanted = (
                "a .keras file: build the model as it was, "
                f"model.load_weights({str(file)!r}), model.save({new!r})"
            )
    raise ArgumentError(f"The model {str(file)!r} is not read", wanted, received)


def check(file: pathlib.Path) -> None:
    """Raises unless a model's file is whole, and file and model fit into memory.

    Args:
        file: the model.

    Raises:
        StoreError: it is damaged, or either is larger than the memory available.
    """
    npy.check_zip(file)
    # A thread of its own, since Keras keeps for each a list of variables without values.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        npy.check_size(file, thread.submit(_bytes, file).result())


def _bytes(file: pathlib.Path) -> int:
    """Bytes of the variables that a model's configuration asks for, which are not made."""
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in model.variables)
    except Exception:
        # What makes no sense, or needs its variables' values, is for Keras to read or refuse.
        return 0
