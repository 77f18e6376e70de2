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
    """Entropy-based adaptive binning: all bins of a layer contain equally many *unique* values.

    Let u be the sorted unique values of the layer over all samples and neurons, and U = |u|. The
    edges are u[⌊k·U/bins⌋] for k = 0…bins−1, and u[U−1]. A value equal to an edge belongs to the
    bin above it, so the maximum is alone in the last bin. In a layer without negative values, exact
    zeros are inactive units: they are removed from u and have a separate bin below it. I(X;T) and
    I(T;Y) are the plug-in estimates for rows of bin indices, as in ``Binning``.

    The codes depend only on the order of the values, so the estimate does not change under any
    strictly increasing map that fixes zero. In wide layers every row has a different code, and
    I(X;T) is ln n, which is flagged ``saturated``. For a single neuron with distinct values, or
    a softmax of two classes, I(X;T) is ln(bins) whatever the values are, which is also flagged. For
    equal numbers of *samples* per bin, use ``Binning(quantile=True)``.

    Args:
        bins: number of bins.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If ``bins`` is not a positive integer, or ``target_bins`` is below 2.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037. The definition follows the
        authors' public code, which treats zeros separately for ReLU and softplus, by name. Here the
        sign of the values decides, so that the definition applies to every activation function.
    """

    bins: int = 30
    target_bins: int = 10

    name: ClassVar[str] = "ebab"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", check_count(self.bins, "bins"))
        self.check_target_bins()

    def edges(self, t: np.ndarray) -> np.ndarray:
        """Return the bin edges, ``(bins + 1,)``, in the dtype of ``t``; empty for a dead layer."""
        ordered = np.sort(t, axis=None)
        if ordered[0] >= 0:
            ordered = ordered[np.searchsorted(ordered, 0, side="right") :]
        if not ordered.size:
            return ordered
        new = np.append(True, ordered[1:] != ordered[:-1])
        unique = int(np.count_nonzero(new))
        # As in the published code, U/bins is rounded before it is multiplied by k. The index may
        # be one lower than in exact arithmetic, which affects the published values.
        step = unique / self.bins
        wanted = np.append((np.arange(self.bins) * step).astype(np.int64), unique - 1)
        return ordered[_positions(new, wanted)]

    @property
    def filled_bins(self) -> int:
        """The number of bins, which have equal counts for distinct values."""
        return self.bins

    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the bin indices of the samples ``t (n, d)``, and flags."""
        return digitise(t, self.edges(t)), ()


def _positions(marks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return ``np.flatnonzero(marks)[wanted]`` without an array of all positions."""
    padded = np.zeros(-(-len(marks) // _BLOCK) * _BLOCK, bool)
    padded[: len(marks)] = marks
    blocks = padded.reshape(-1, _BLOCK)
    before = np.append(0, np.cumsum(np.count_nonzero(blocks, axis=1)))
    block_of = np.searchsorted(before, wanted, side="right") - 1
    return np.array(
        [_BLOCK * b + np.flatnonzero(blocks[b])[k - before[b]]
         for b, k in zip(block_of, wanted, strict=True)]
    )  # fmt: skip
