"""Recorded activations: in memory, and in a store on disk."""

from ib_keras.activations.activations import Activations
from ib_keras.activations.epoch_writer import EpochWriter
from ib_keras.activations.store import ActivationStore

__all__ = ["ActivationStore", "Activations", "EpochWriter"]
