"""Normal scores: the ranks of values as quantiles of the normal distribution."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from ib_keras.arrays.rows import slices

# Number of columns that are ranked at a time.
_COLUMNS = 64


def normal_scores(samples: np.ndarray) -> np.ndarray:
    """Replace the values of each column by the normal quantiles of their ranks.

    Equal values have their mean rank. The map changes no mutual information of distinct values.
    """
    out = np.empty(samples.shape)
    for columns in slices(samples.shape[1], _COLUMNS):
        ranks = rankdata(samples[:, columns], axis=0)
        out[:, columns] = ndtri(ranks / (len(samples) + 1))
    return out
