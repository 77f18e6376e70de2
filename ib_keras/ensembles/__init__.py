"""Training of many small networks in one program, and estimates for their layers."""

from ib_keras.ensembles.networks import Ensemble
from ib_keras.ensembles.study import study

__all__ = ["Ensemble", "study"]
