"""``.keras`` files that may be damaged, or made to do harm."""

from __future__ import annotations

import concurrent.futures
import json
import math
import pathlib
import zipfile

import keras
import tensorflow as tf

from ib_keras import _arrays


def check(file: pathlib.Path) -> None:
    """Raises unless a model's file is whole, and file and model fit into memory.

    Args:
        file: the model.

    Raises:
        StoreError: it is damaged, or either is larger than the memory available.
    """
    _arrays.check_zip(file)
    # A thread of its own, since Keras keeps for each a list of variables without values.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        _arrays.check_size(file, thread.submit(_bytes, file).result())


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
