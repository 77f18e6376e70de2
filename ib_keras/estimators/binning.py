"""Binning estimators with edges that are given, or equally spaced, or equally filled."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from ib_keras.arrays.checks import check_count, check_positive
from ib_keras.errors import ArgumentError
from ib_keras.estimators.plug_in import PlugIn, digitise
from ib_keras.interface import Traits

_VALUES_AT_A_TIME = 1 << 16


@dataclasses.dataclass(frozen=True)
class Binning(PlugIn):
    """Information of a layer whose neurons are binned: I(X;T) = H(C), C the row of bin indices.

    With c_1…c_K the counts of the distinct rows, H(C) = ln n − (1/n) Σ c_k ln c_k, and
    I(T;Y) = H(C) − Σ_y p(y) H(C|y). Four ways to set the bins:

    * ``range=(lo, hi)``: ``bins`` equal bins between the two. Values outside are an error, or with
      ``clip=True`` are counted in the end bins and flagged ``clipped``.
    * ``width``: bin ⌊t/width⌋, without a range.
    * ``range="layer"`` (default), ``"neuron"`` or ``"global"``: ``bins`` equal bins between the
      least and the largest value of the layer at that epoch, of each neuron, or of all the layers
      that are estimated at all recorded epochs.
    * ``quantile=True`` (with ``range="layer"`` or ``"neuron"``): ``bins`` bins with equally many
      values, edges halfway between the values on either side.

    A deterministic network's T has I(X;T) = H(X) or infinity; what is reported here is the
    clustering of T at the scale of the bins, hence the flag ``measurement_bins``.

    Args:
        bins: number of bins; ignored when ``width`` is given.
        range: ``(lo, hi)``, ``"layer"``, ``"neuron"`` or ``"global"``; arrays on their own have no
            epochs but their own, which ``"global"`` then means.
        width: width of the bins, in the activations' units.
        quantile: equally filled bins instead of equally wide ones.
        clip: count values outside a given range in its end bins.

    Raises:
        ArgumentError: an argument is invalid or contradicts another.

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

    name: ClassVar[str] = "binning"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", check_count(self.bins, "bins"))
        if self.width is not None:
            object.__setattr__(self, "width", check_positive(self.width, "width"))
            if self.quantile or self.range != "layer" or self.clip:
                raise ArgumentError(
                    "`width` excludes `range`, `quantile` and `clip`",
                    "either a width or a range",
                    str(dict(width=self.width, range=self.range, quantile=self.quantile)),
                )
        if not isinstance(self.range, str):
            object.__setattr__(self, "range", _check_range(self.range))
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
        """With ``range="global"`` the bins depend on all layers and epochs together."""
        return dataclasses.replace(super().traits, all_epochs=self.range == "global")

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Binning:
        """The estimator, with bins that cover all layers and epochs if it asks for that."""
        return self.over(*extent) if self.traits.all_epochs and extent is not None else self

    def over(self, low: float, high: float) -> Binning:
        """The same with bins between two values that all activations lie between."""
        # A constant network has one bin, whatever its width.
        return dataclasses.replace(self, range=(low, high if high > low else low + 1.0))

    def check_extent(self, low: float, high: float) -> None:
        """Raises when values between ``low`` and ``high`` do not fit a given range.

        Raises:
            ArgumentError: names the range of the values and the options.
        """
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
        """As of every plug-in estimator; a copy is sorted for quantiles only."""
        code = (
            8
            if self.width is not None
            else 1
            if self.bins <= 256
            else 2
            if self.bins <= 65536
            else 8
        )
        return 3 * code + (itemsize + code if self.quantile else 0)

    def discretise(self, t: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Bin indices of the samples ``t (n, d)``, and flags."""
        if self.width is not None:
            return _floor_codes(t, self.width), ()
        if self.quantile:
            return self._quantile_codes(t), ()
        if isinstance(self.range, str):
            axis = 0 if self.range == "neuron" else None
            return _range_codes(t, t.min(axis=axis), t.max(axis=axis), self.bins), ()
        low, high = self.range
        least, largest = float(t.min()), float(t.max())
        self.check_extent(least, largest)
        clipped = least < low or largest > high
        codes = _range_codes(t, np.asarray(low), np.asarray(high), self.bins)
        return codes, ("clipped",) if clipped else ()

    def _quantile_codes(self, t: np.ndarray) -> np.ndarray:
        if self.range == "layer":
            return digitise(t, _equal_count_edges(np.sort(t, axis=None), self.bins))
        ordered = np.sort(t, axis=0)
        columns = [
            digitise(t[:, j], _equal_count_edges(ordered[:, j], self.bins))
            for j in np.arange(t.shape[1])
        ]
        return np.stack(columns, axis=1)


def _check_range(value: object) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ArgumentError("`range` is not an interval", "(lo, hi) with lo < hi", repr(value))
    return low, high


def _range_codes(t: np.ndarray, low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """⌊(t − lo)·bins/(hi − lo)⌋, kept within 0…bins−1; a constant neuron has one bin."""
    dtype = np.uint8 if bins <= 256 else np.uint16 if bins <= 65536 else np.int64
    out = np.empty(t.shape, dtype)
    low = np.asarray(low, np.float64)
    # Halved, because hi − lo of huge values would overflow.
    half = np.asarray(high, np.float64) / 2 - low / 2
    scale = np.where(half > 0, half, 1.0)
    step = max(1, _VALUES_AT_A_TIME // t.shape[1])
    for i in range(0, len(t), step):
        position = t[i : i + step].astype(np.float64)
        position /= 2
        position -= low / 2
        position /= scale
        with np.errstate(over="ignore"):  # far outside of a given range
            position *= bins
        np.clip(position, 0, bins - 1, out=position)
        out[i : i + step] = position  # the cast truncates, which is ⌊·⌋ here
    return out


def _floor_codes(t: np.ndarray, width: float) -> np.ndarray:
    """⌊t/width⌋ as small integers where they fit, else as the exact float64 values."""
    largest = max(abs(float(t.min())), abs(float(t.max())))
    if largest / width > np.finfo(np.float64).max:
        raise ArgumentError(
            "The bins are too narrow to be numbered",
            f"a width of at least {largest / np.finfo(np.float64).max:.3g} for these activations",
            f"width={width}, values up to {largest:.6g}",
        )
    least = np.floor(float(t.min()) / width)
    # Halves, whose difference is a number.
    small = np.floor(float(t.max()) / width) / 2 - least / 2 < 32768
    out = np.empty(t.shape, np.uint16 if small else np.float64)
    step = max(1, _VALUES_AT_A_TIME // t.shape[1])
    for i in range(0, len(t), step):
        index = np.floor(t[i : i + step].astype(np.float64) / width)
        out[i : i + step] = index - least if small else index
    return out


def _equal_count_edges(ordered: np.ndarray, bins: int) -> np.ndarray:
    """Inner edges of ``bins`` runs of equal length (the first ones longer by one if need be)."""
    n = ordered.size
    starts = np.arange(1, bins) * (n // bins) + np.minimum(np.arange(1, bins), n % bins)
    starts = starts[(starts > 0) & (starts < n)]
    below, above = (ordered[i].astype(np.float64) for i in (starts - 1, starts))
    return below / 2 + above / 2
