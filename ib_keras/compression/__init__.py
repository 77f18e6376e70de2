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

__all__ = ["PCA", "Autoencoder", "Compressed", "FirstCoordinates", "Latent", "get", "serialise"]
