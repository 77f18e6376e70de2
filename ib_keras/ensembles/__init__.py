"""Training of many small networks in one program, and the study of their layers."""

from ib_keras.ensembles.networks import Ensemble
from ib_keras.ensembles.study import study, without_schedule

__all__ = ["Ensemble", "study", "without_schedule"]
