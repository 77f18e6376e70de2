"""What a decoder knows of images without a layer, and what all decoders share."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple, cast

import numpy as np

from ib_keras import estimators
from ib_keras.components.artifacts import examples
from ib_keras.components.artifacts.examples import check_disjoint
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.pixelcnn import sampling
from ib_keras.pixelcnn.decoding import Decoded
from ib_keras.storage import manifests, npy

SCHEMA, VERSION = "ib_keras.image_prior", 1

MODEL = "prior.keras"


class Parts(NamedTuple):
    """The two parts of a data set that decoders see: as images, as inputs of a network, labels.

    Args:
        images: of the rows that train decoders, and of those that are evaluated.
        inputs: the same as a network takes them.
        labels: the same.
    """

    images: tuple[np.ndarray, np.ndarray]
    inputs: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]


def bound(decoder: str) -> DecoderBound:
    """The settings of decoders.

    Args:
        decoder: JSON of a ``DecoderBound``'s parameters.

    Raises:
        ArgumentError: it does not parse, or a parameter is invalid.
    """
    try:
        settings = json.loads(decoder)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(
            f"`decoder` does not parse ({error})", 'such as {"levels": 17}', decoder
        ) from None
    if not isinstance(settings, dict):
        raise ArgumentError("`decoder` is not a JSON object", 'such as {"levels": 17}', decoder)
    return cast(DecoderBound, estimators.get({**settings, "name": DecoderBound.name}))


def parts(data: str | os.PathLike, made: DecoderBound, most: int) -> Parts:
    """What ``examples`` set apart for decoders, and what it held out.

    Args:
        data: what ``examples`` wrote.
        made: which says how many levels there are.
        most: at most so many rows of each.

    Raises:
        ArgumentError: nothing was set apart, the parts overlap, or the inputs are no such images.
    """
    loaded = examples.read(data)
    if loaded.x_decoder is None or loaded.y_decoder is None or loaded.rows is None:
        raise ArgumentError(
            "No rows are set apart for decoders", "`decoder_fraction` of `examples` > 0", "none"
        )
    check_disjoint(**loaded.rows)
    inputs = (loaded.x_decoder[:most], loaded.x_test[:most])
    first, second = (made.images(x) for x in inputs)
    return Parts((first, second), inputs, (loaded.y_decoder[:most], loaded.y_test[:most]))


def noise(made: DecoderBound, image_shape: tuple[int, ...], draws: int) -> np.ndarray:
    """The noise of all samples: the same for all layers and checkpoints.

    Args:
        made: which has the seed.
        image_shape: height, width and channels.
        draws: samples for each image.
    """
    height, width, channels = image_shape
    return sampling.draw_noise(draws, (height, width, channels), made.seed)


def write(path: pathlib.Path, said: Decoded, samples: np.ndarray) -> None:
    """Writes what a decoder says, and what it draws."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **said._asdict(), samples=samples)


def key(content: Any, *data: np.ndarray | bytes) -> str:
    """A short name that another piece of work does not have.

    Args:
        content: its settings, as JSON.
        *data: what it works on.
    """
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for part in data:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:12]


def read(path: str | os.PathLike, made: DecoderBound) -> Decoded:
    """What q(x) says.

    Args:
        path: what ``run`` wrote.
        made: of the decoders that are compared with it.

    Raises:
        ArgumentError: it was made with other settings.
        StoreError: it is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    # Through JSON, which knows no tuples.
    if manifest.get("decoder") != json.loads(json.dumps(made.get_config())):
        raise ArgumentError(
            "q(x) was trained with other settings", str(manifest.get("decoder")), made.get_config()
        )
    saved = npy.read_npz(manifests.checked_file(folder, manifest, "decoded.npz"))
    missing = [name for name in Decoded._fields if name not in saved]
    if missing:
        raise StoreError(f"{str(folder)!r} is damaged", f"the arrays {missing}", sorted(saved))
    return Decoded(*(saved[name] for name in Decoded._fields))
