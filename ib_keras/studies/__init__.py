"""The studies of the four papers: tables beside what each paper reports."""

from ib_keras.estimation.against_truth import against_truth, check_images
from ib_keras.studies.adaptive_estimators import adaptive_estimators, generalisation
from ib_keras.studies.lossy_compression import known_information, lossy_compression
from ib_keras.studies.material import COLUMNS
from ib_keras.studies.noisy_dnn import levels, noisy_dnn
from ib_keras.studies.resnet_decoder import resnet_decoder

__all__ = [
    "COLUMNS",
    "adaptive_estimators",
    "against_truth",
    "check_images",
    "generalisation",
    "known_information",
    "levels",
    "lossy_compression",
    "noisy_dnn",
    "resnet_decoder",
]
