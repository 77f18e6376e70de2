"""Binning estimators with fixed, equally wide or equally filled bins."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from ib_keras.arrays.checks import check_count, check_interval, check_positive
from ib_keras.arrays.rows import slices
from ib_keras.arrays.scaling import few_rows_set_range
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import OUTLIERS
from ib_keras.estimators.plug_in import PlugIn, digitise
from ib_keras.interface import Traits

_VALUES_AT_A_TIME = 1 << 16


@dataclasses.dataclass(frozen=True)
class Binning(PlugIn):
    """Information of a binned layer: I(X;T) = H(C), where C are the bin indices of each row.

    With the counts c_1…c_K of the distinct rows, H(C) = ln n − (1/n) Σ c_k ln c_k, and
    I(T;Y) = H(C) − Σ_y p(y) H(C|y). There are four ways to choose the bins:

    * ``range=(lo, hi)``: ``bins`` equal bins between the two values. Values outside raise an error;
      with ``clip=True``, they are counted in the outermost bins, and the estimate has the flag
      ``clipped``.
    * ``width``: the bin of a value t is ⌊t/width⌋, without a range.
    * ``range="layer"`` (default), ``"neuron"`` or ``"global"``: ``bins`` equal bins between the
      smallest and largest value of the layer at each epoch, of each neuron at each epoch, or of all
      estimated layers and all recorded epochs.
    * ``quantile=True`` (with ``range="layer"`` or ``"neuron"``): ``bins`` bins with equal numbers
      of values. The edges are halfway between neighbouring values.

    In a deterministic network, I(X;T) is H(X) or infinite. The estimate instead measures how T
    clusters at the scale of the bins, which the flag ``measurement_bins`` says.

    Args:
        bins: number of bins; ignored if ``width`` is given.
        range: the range that is divided into bins: ``(lo, hi)``, ``"layer"``, ``"neuron"`` or
            ``"global"``. For arrays without epochs, ``"global"`` is the range of these arrays.
        width: width of the bins, in the unit of the activations; ``None`` for a number of bins.
        quantile: whether bins are equally filled instead of equally wide.
        clip: whether to count values outside ``range=(lo, hi)`` in the outermost bins.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid or contradicts another.

    References:
        Shwartz-Ziv & Tishby, arXiv:1703.00810: 30 bins over [−1, 1].
        Saxe et al., ICLR 2018: fixed widths, 0.07 and 0.5.
        Lorenzen, Igel & Nielsen, ICLR 2022: equally filled bins, ranges by layer and neuron.
    """

    bins: int = 30
    range: tuple[float, float] | Literal["layer", "neuron", "global"] = "layer"
    width: float | None = None
    quantile: bool = False
    clip: bool = False
    target_bins: int = 10

    name: ClassVar[str] = "binning"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", check_count(self.bins, "bins"))
        self.check_target_bins()
        if self.width is not None:
            object.__setattr__(self, "width", check_positive(self.width, "width"))
            if self.quantile or self.range != "layer" or self.clip:
                raise ArgumentError(
                    "`width` excludes `range`, `quantile` and `clip`",
                    "either a width or a range",
                    str(dict(width=self.width, range=self.range, quantile=self.quantile)),
                )
        if not isinstance(self.range, str):
            object.__setattr__(self, "range", check_interval(self.range, "range"))
        elif self.range not in ("layer", "neuron", "global"):
            raise ArgumentError(
                "`range` is unknown", "(lo, hi), 'layer', 'neuron' or 'global'", repr(self.range)
            )
        if isinstance(self.range, str) and self.clip:
            raise ArgumentError(
                "`clip` needs a given range", "range=(lo, hi)", f"range={self.range!r}"
            )
        if self.quantile and self.range not in ("layer", "neuron"):
            raise ArgumentError(
                "`quantile` takes its edges from the data",
                "range='layer' or 'neuron'",
                f"range={self.range}",
            )

    @property
    def traits(self) -> Traits:
        """The estimator takes any two variables; ``range="global"`` needs all layers and epochs."""
        return dataclasses.replace(super().traits, all_epochs=self.range == "global")

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Binning:
        """Return the estimator; with ``range="global"``, its bins cover ``extent``."""
        return self.over(*extent) if self.traits.all_epochs and extent is not None else self

    def over(self, low: float, high: float) -> Binning:
        """Return the estimator with bins between ``low`` and ``high``."""
        # All values of a constant network are in one bin of any width.
        return dataclasses.replace(self, range=(low, high if high > low else low + 1.0))

    @property
    def filled_bins(self) -> int:
        """The number of bins if they are quantiles, otherwise 0."""
        return self.bins if self.quantile else 0

    def check_extent(self, low: float, high: float) -> None:
        """Raise an ``ArgumentError`` if values from ``low`` to ``high`` exceed a fixed range."""
        if isinstance(self.range, str) or self.width is not None or self.clip:
            return
        if low < self.range[0] or high > self.range[1]:
            raise ArgumentError(
                f"Activations lie outside the bins' range {list(self.range)}",
                "a range that covers them, range='layer' or 'neuron' (from the data), width=… "
                "(unbounded), or clip=True to count them in the end bins",
                f"values from {low:.6g} to {high:.6g}",
            )

    def bytes_a_value(self, itemsize: int) -> int:
        """Return the memory for binning, in bytes per value: codes and, for quantiles, a copy."""
        code = 8 if self.width is not None else _code_dtype(self.bins)().itemsize
        return 3 * code + (itemsize + code if self.quantile else 0)

    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the bin indices of the samples ``t (n, d)``, and flags."""
        if self.width is not None:
            return _floor_codes(t, self.width), ()
        if self.quantile:
            return self._quantile_codes(t), ()
        if isinstance(self.range, str):
            by_neuron = self.range == "neuron"
            axis = 0 if by_neuron else None
            codes = _range_codes(t, t.min(axis=axis), t.max(axis=axis), self.bins)
            return codes, (OUTLIERS,) if few_rows_set_range(t, columns=by_neuron) else ()
        low, high = self.range
        least, largest = float(t.min()), float(t.max())
        self.check_extent(least, largest)
        clipped = least < low or largest > high
        codes = _range_codes(t, np.asarray(low), np.asarray(high), self.bins)
        return codes, ("clipped",) if clipped else ()

    def _quantile_codes(self, t: np.ndarray) -> np.ndarray:
        if self.range == "layer":
            return digitise(t, _equal_count_edges(np.sort(t, axis=None), self.bins))
        columns = [
            digitise(column, _equal_count_edges(ordered, self.bins))
            for column, ordered in zip(t.T, np.sort(t, axis=0).T, strict=True)
        ]
        return np.stack(columns, axis=1)


def _code_dtype(bins: int) -> type[np.integer]:
    return np.uint8 if bins <= 256 else np.uint16 if bins <= 65536 else np.int64


def _range_codes(t: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """Return ⌊(t − lo)·bins/(hi − lo)⌋ clipped to 0…bins−1; a constant neuron has one bin."""
    out = np.empty(t.shape, _code_dtype(bins))
    low = np.asarray(low, np.float64)
    # Half of the range does not overflow.
    half = np.asarray(high, np.float64) / 2 - low / 2
    scale = np.where(half > 0, half, 1.0)
    for rows in slices(len(t), _VALUES_AT_A_TIME // t.shape[1]):
        position = t[rows].astype(np.float64)
        position /= 2
        position -= low / 2
        position /= scale
        with np.errstate(over="ignore"):  # values far outside a fixed range
            position *= bins
        np.clip(position, 0, bins - 1, out=position)
        out[rows] = position  # the cast truncates; no position is negative
    return out


def _floor_codes(t: np.ndarray, width: float) -> np.ndarray:
    """Return ⌊t/width⌋ as small integers if they fit, else as the exact float64 values."""
    largest = max(abs(float(t.min())), abs(float(t.max())))
    if largest / width > np.finfo(np.float64).max:
        raise ArgumentError(
            "The bins are too narrow: their indices overflow",
            f"a width of at least {largest / np.finfo(np.float64).max:.3g} for these activations",
            f"width={width}, values up to {largest:.6g}",
        )
    least = np.floor(float(t.min()) / width)
    # The difference of halves does not overflow.
    small = np.floor(float(t.max()) / width) / 2 - least / 2 < 32768
    out = np.empty(t.shape, np.uint16 if small else np.float64)
    for rows in slices(len(t), _VALUES_AT_A_TIME // t.shape[1]):
        index = np.floor(t[rows].astype(np.float64) / width)
        out[rows] = index - least if small else index
    return out


def _equal_count_edges(ordered: np.ndarray, bins: int) -> np.ndarray:
    """Return the inner edges of ``bins`` runs of equal length; the first may be longer by one."""
    n = ordered.size
    starts = np.arange(1, bins) * (n // bins) + np.minimum(np.arange(1, bins), n % bins)
    starts = starts[(starts > 0) & (starts < n)]
    below, above = (ordered[i].astype(np.float64) for i in (starts - 1, starts))
    return below / 2 + above / 2
