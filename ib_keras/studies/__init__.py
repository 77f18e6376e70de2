"""The studies of the four papers: measured results beside the findings of each paper."""

from ib_keras.estimation.against_truth import against_truth, check_images
from ib_keras.frame.table import LATENTS, TRUTH, groups_of_truth
from ib_keras.studies.butakov_2024 import known_information, lossy_compression
from ib_keras.studies.chelombiev_2019 import adaptive_estimators, generalisation
from ib_keras.studies.darlow_2020 import resnet_decoder
from ib_keras.studies.goldfeld_2019 import levels, noisy_dnn
from ib_keras.studies.material import COLUMNS

__all__ = [
    "COLUMNS",
    "LATENTS",
    "TRUTH",
    "adaptive_estimators",
    "against_truth",
    "check_images",
    "generalisation",
    "groups_of_truth",
    "known_information",
    "levels",
    "lossy_compression",
    "noisy_dnn",
    "resnet_decoder",
]
