"""The image prior q(x), and the data and settings that all decoders share."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple, cast

import numpy as np

from ib_keras import estimators
from ib_keras.arrays.rows import some_rows
from ib_keras.components.artifacts import examples
from ib_keras.components.artifacts.examples import check_disjoint
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.pixelcnn import sampling
from ib_keras.pixelcnn.decoding import Decoded
from ib_keras.storage import manifests, npy

SCHEMA, VERSION = "ib_keras.image_prior", 1

MODEL, JUDGE = "prior.keras", "judge.keras"


class Parts(NamedTuple):
    """The rows that train decoders, and the rows on which decoders are evaluated.

    Args:
        images: the two parts as images, in the decoders' levels.
        inputs: the two parts as inputs of a network.
        labels: the label codes of the two parts.
        label_names: the labels that the codes denote.
    """

    images: tuple[np.ndarray, np.ndarray]
    inputs: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]
    label_names: tuple[str | int, ...]


def bound(decoder: str) -> DecoderBound:
    """Return the decoder estimator with the given settings.

    Args:
        decoder: JSON object with the parameters of a ``DecoderBound``.

    Raises:
        ArgumentError: If ``decoder`` is not a JSON object, or a parameter is invalid.
    """
    expected = 'a JSON object such as {"levels": 17}'
    try:
        settings = json.loads(decoder)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"`decoder` does not parse ({error})", expected, decoder) from None
    if not isinstance(settings, dict):
        raise ArgumentError("`decoder` is not a JSON object", expected, decoder)
    return cast(DecoderBound, estimators.get({**settings, "name": DecoderBound.name}))


def parts(data: str | os.PathLike, estimator: DecoderBound, most: int) -> Parts:
    """Return the rows that were set apart for decoders, and the held-out rows.

    Args:
        data: the folder that ``examples`` wrote.
        estimator: the decoder estimator; its ``levels`` determine how images are quantized.
        most: the maximum number of rows of each part, which are chosen at random.

    Raises:
        ArgumentError: If no rows were set apart, the parts overlap, the labels are not classes, or
            the inputs are not images that the decoders accept.
    """
    loaded = examples.read(data)
    if loaded.x_decoder is None or loaded.y_decoder is None or loaded.rows is None:
        raise ArgumentError(
            "No rows are set apart for decoders",
            "a data set written with `decoder_fraction` > 0",
            "none",
        )
    label_names = loaded.classes("a decoder")
    check_disjoint(**loaded.rows)
    train, held_out = (some_rows(len(x), most) for x in (loaded.x_decoder, loaded.x_test))
    inputs = (loaded.x_decoder[train], loaded.x_test[held_out])
    images = (estimator.images(inputs[0]), estimator.images(inputs[1]))
    labels = (loaded.y_decoder[train], loaded.y_test[held_out])
    return Parts(images, inputs, labels, label_names)


def noise(estimator: DecoderBound, image_shape: tuple[int, ...], draws: int) -> np.ndarray:
    """Return the noise from which samples are drawn; it is the same for all layers and checkpoints.

    Args:
        estimator: the decoder estimator, which has the seed.
        image_shape: height, width and channels.
        draws: number of samples per image.
    """
    height, width, channels = image_shape
    return sampling.draw_noise(draws, (height, width, channels), estimator.seed)


def model(path: str | os.PathLike, name: str = MODEL) -> Any:
    """Return q(x), as which decoders may begin, or the classifier that judges samples.

    Args:
        path: the folder that ``image_prior`` wrote.
        name: ``MODEL`` or ``JUDGE``.

    Raises:
        StoreError: If the folder is damaged.
        ArgumentError: If the file cannot be loaded.
    """
    from ib_keras import models

    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    return models.load(manifests.checked_file(folder, manifest, name))


def write(path: pathlib.Path, decoded: Decoded, samples: np.ndarray) -> None:
    """Write a decoder's log-likelihoods and samples to an ``.npz`` file."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **decoded._asdict(), samples=samples)


def key(content: Any, *data: np.ndarray | bytes) -> str:
    """Return a short checksum that identifies a computation.

    Args:
        content: the settings of the computation, JSON-serialisable.
        *data: the arrays or bytes that it uses.
    """
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for part in data:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:12]


def read(path: str | os.PathLike, estimator: DecoderBound) -> Decoded:
    """Read the likelihoods of q(x).

    Args:
        path: the folder that ``image_prior`` wrote.
        estimator: the estimator of the decoders that are compared with q(x).

    Raises:
        ArgumentError: If q(x) was trained with different settings.
        StoreError: If the folder is damaged.
    """
    folder = pathlib.Path(path)
    manifest = manifests.read_manifest(folder, SCHEMA, VERSION)
    # JSON turns tuples into lists, as in the manifest.
    if manifest.get("decoder") != json.loads(json.dumps(estimator.get_config())):
        raise ArgumentError(
            "q(x) was trained with different settings",
            str(manifest.get("decoder")),
            estimator.get_config(),
        )
    saved = npy.read_npz(manifests.checked_file(folder, manifest, "decoded.npz"))
    missing = [name for name in Decoded._fields if name not in saved]
    if missing:
        raise StoreError(f"{str(folder)!r} is damaged", f"the arrays {missing}", sorted(saved))
    return Decoded(*(saved[name] for name in Decoded._fields))
