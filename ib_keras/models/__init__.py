"""The networks of the papers, and models given by name, file or function."""

from ib_keras.models.identifiers import (
    Identifier,
    build,
    check,
    checkpoints,
    label,
    layers,
    load,
    logs,
    loss,
    names,
    noise_std,
    reconstructs,
)
from ib_keras.models.networks import (
    mlp,
    mnist_cnn,
    neuron,
    noisy_cnn,
    resnet,
    resnet_autoencoder,
    szt,
    vib,
)

__all__ = [
    "Identifier",
    "build",
    "check",
    "checkpoints",
    "label",
    "layers",
    "load",
    "logs",
    "loss",
    "mlp",
    "mnist_cnn",
    "names",
    "neuron",
    "noise_std",
    "noisy_cnn",
    "reconstructs",
    "resnet",
    "resnet_autoencoder",
    "szt",
    "vib",
]
