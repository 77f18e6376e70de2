"""Compressors, which reduce the dimension of variables before an estimate."""

from ib_keras.compression.compressors import (
    PCA,
    Autoencoder,
    Compressed,
    FirstCoordinates,
    Latent,
    get,
    serialise,
)
from ib_keras.compression.files import load, save

__all__ = [
    "PCA", "Autoencoder", "Compressed", "FirstCoordinates", "Latent", "get", "load", "save",
    "serialise",
]  # fmt: skip
