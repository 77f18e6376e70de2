"""Checks of ``.keras`` files that may be damaged or malicious."""

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

# The suffixes of model files that are not read.
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
    """Whether a model's name refers to a file, in a supported or an unsupported format.

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
        ArgumentError: If it has another format, whatever its name is.
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
    """Check that a model's file is complete, and that file and model fit in memory.

    Args:
        file: the ``.keras`` file.

    Raises:
        StoreError: If the file is damaged, or file or model is larger than the available memory.
    """
    npy.check_zip(file)
    # In a separate thread, because Keras keeps a list of uninitialised variables for each thread.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        npy.check_size(file, thread.submit(_bytes, file).result())


def _bytes(file: pathlib.Path) -> int:
    """Size in bytes of the variables that a model's configuration describes."""
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in model.variables)
    except Exception:  # Keras itself reads or rejects the file later
        return 0
