"""Entropy-based adaptive binning."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from ib_keras.arrays.checks import check_count
from ib_keras.estimators.plug_in import PlugIn, digitise

_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class EBAB(PlugIn):
    """Entropy-based adaptive binning: every bin of a layer holds equally many *unique* values.

    With u the layer's sorted unique values over all samples and neurons and U = |u|, the edges are
    u[⌊k·U/bins⌋] for k = 0…bins−1, and u[U−1]. A value equal to an edge belongs to the bin above
    it; the maximum is alone in the last bin. In a layer without negative values exact zeros are
    inactive units: they are left out of u and are a bin of their own below it. Information is the
    plug-in estimate on rows of bin indices, as in ``Binning``.

    The codes depend on the order of the values alone, so the estimate is the same after any
    strictly increasing map that fixes zero. For wide layers every row is a code of its own and
    I(X;T) reads ln n: flagged ``saturated``. Equal counts of *samples* are another estimator:
    ``Binning(quantile=True)``.

    Args:
        bins: number of bins B.

    Raises:
        ArgumentError: ``bins`` is not a positive integer.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037; the definition follows the
        authors' public code, which sets zeros aside for ReLU and softplus by name; here it is the
        sign of the values that decides, so that every activation function has a definition.
    """

    bins: int = 30

    name: ClassVar[str] = "ebab"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", check_count(self.bins, "bins"))

    def edges(self, t: np.ndarray) -> np.ndarray:
        """The layer's bin edges, ``(bins + 1,)``, in the dtype of ``t``; empty for a dead layer."""
        ordered = np.sort(t, axis=None)
        if ordered[0] >= 0:
            ordered = ordered[np.searchsorted(ordered, 0, side="right") :]
        if not ordered.size:
            return ordered
        new = np.append(True, ordered[1:] != ordered[:-1])
        unique = int(np.count_nonzero(new))
        # U/B is rounded before k multiplies it, as in the published code: where U·k/B is whole, the
        # index may be one lower than in exact arithmetic, and published values contain that.
        step = unique / self.bins
        wanted = np.append((np.arange(self.bins) * step).astype(np.int64), unique - 1)
        return ordered[_positions(new, wanted)]

    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Bin indices of the samples ``t (n, d)``, and flags."""
        return digitise(t, self.edges(t)), ()


def _positions(marks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the marks of the given numbers stand, without a list of all marks."""
    padded = np.zeros(-(-len(marks) // _BLOCK) * _BLOCK, bool)
    padded[: len(marks)] = marks
    blocks = padded.reshape(-1, _BLOCK)
    before = np.append(0, np.cumsum(np.count_nonzero(blocks, axis=1)))
    found = np.searchsorted(before, wanted, side="right") - 1
    return np.array(
        [_BLOCK * b + np.flatnonzero(blocks[b])[k - before[b]]
         for b, k in zip(found, wanted, strict=True)]
    )  # fmt: skip
