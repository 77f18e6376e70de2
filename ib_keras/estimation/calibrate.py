"""calibrate(): the bias of an estimator on synthetic samples whose I(X;T) is known."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras import estimators as registry
from ib_keras import examples
from ib_keras.activations import Activations
from ib_keras.arrays.checks import (
    as_array,
    as_samples,
    check_count,
    check_positive,
    check_seed,
    check_stddev,
)
from ib_keras.errors import ArgumentError
from ib_keras.estimation import surrogates
from ib_keras.estimation.surrogates import CalibrationError
from ib_keras.estimators.base import adapted
from ib_keras.interface import Estimate
from ib_keras.progress import bar

MI = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
COLUMNS = ["estimator", "n", "dim", "mi", "mean", "bias", "spread", "stderr", "repeats", "trusted"]


class Calibration(NamedTuple):
    """Estimates from samples whose information is known.

    Attributes:
        frame: a row for each known value ``mi``, with ``mean`` of the estimates, ``bias`` = mean −
            mi, ``spread`` (the standard deviation over the repeats) and ``stderr`` (the mean of the
            estimator's own standard errors; NaN if it has none), all in nats; ``trusted``, whether
            |bias| is below the tolerance; and ``estimator``, ``n``, ``dim`` and ``repeats``.
        trust: the longest range ``(from, to)`` of known information in nats in which all rows are
            trusted; ``(nan, nan)`` if there is none.
    """

    frame: pd.DataFrame
    trust: tuple[float, float]

    def interval(self, value: float) -> tuple[float, float]:
        """Find the true values of the information that are consistent with an estimate.

        A true value is consistent if the estimate is within two standard deviations of the mean
        estimate for this value. The mean and the standard deviation are interpolated linearly
        between the known values. The upper end is ``inf`` if the largest known value is consistent.

        Args:
            value: an estimate in nats.

        Returns:
            The lower and upper end of the interval, in nats.
        """
        table = self.frame
        known = table["mi"].to_numpy()
        if math.isnan(value):
            return math.nan, math.nan
        fine = np.union1d(np.linspace(known[0], known[-1], 2001), known)
        mean = np.interp(fine, known, table["mean"])
        spread = np.fmax(table["spread"].to_numpy(), table["stderr"].fillna(0.0).to_numpy())
        # The mean over the repeats has an error, too.
        width = 2 * np.sqrt(1 + 1 / table["repeats"].iloc[0]) * np.interp(fine, known, spread)
        likely = fine[np.abs(value - mean) <= np.maximum(width, 1e-9)]
        if not len(likely):  # the value is outside of all means, or between two without spread
            likely = fine[[np.argmin(np.abs(value - mean))]]
        return float(likely[0]), float(likely[-1]) if likely[-1] < known[-1] else math.inf

    def trusts(self, value: float) -> bool:
        """Return whether the whole interval of an estimate is in the trusted range."""
        lower, upper = self.interval(value)
        return self.trust[0] <= lower and upper <= self.trust[1]


def calibrate(
    estimator: Any,
    like: Any,
    mi: Sequence[float] = MI,
    *,
    inputs: Any = None,
    noise_std: float | None = None,
    repeats: int = 4,
    tolerance: float = 0.25,
    seed: int = 0,
) -> Calibration:
    """Measure the bias of an estimator on synthetic samples whose I(X;T) is known.

    The samples resemble the outputs of a layer: they have the same number of rows, dimension and
    noise, and similar marginals. How they are drawn depends on the estimator:

    - For estimators that compare T with X, both are monotone functions of normal vectors, with the
      marginals and rank correlations of the layer and of the inputs.
    - For estimators of T with Gaussian noise Z (KDE, sample propagation), T = S + Z. S has the
      layer's mean, covariance and marginals of the principal components, and is scaled about its
      mean until I(X;S+Z) has the known value. The variance of an adaptive kernel is computed from
      the layer.
    - For all others (binning), T is one of K different rows, with I = ln K.

    The result applies to a network only as far as its activations resemble these samples. The bias
    of an estimator also depends on the directions in which T and X are dependent; these samples are
    dependent in all directions.

    Args:
        estimator: a name, a configuration or an estimator.
        like: a layer's outputs ``(n, ...)``, or the ``Activations`` of one layer.
        mi: the known values of I(X;T) in nats; the samples come as close to them as possible.
        inputs: X, ``(n, ...)``, in any form that ``InstrumentedModel.capture`` takes; with
            ``None``, the inputs are normal and have the dimension of the layer.
        noise_std: standard deviation of the layer's own noise; ``None`` takes that of the
            ``Activations``, and no noise for arrays.
        repeats: the number of samples that are drawn for each known value.
        tolerance: the bias in nats below which a known value is trusted.
        seed: seed of the samples.

    Returns:
        A ``Calibration``, the named tuple ``(frame, trust)``.

    Raises:
        ArgumentError: If an argument is invalid, or no samples resemble the layer, for example
            because it is constant.
    """
    tested: Any = adapted(registry.get(estimator))
    values, recorded_noise = _layer(like)
    as_samples(values, "like")
    noise = check_stddev(recorded_noise if noise_std is None else noise_std)
    x = None if inputs is None else examples.of(inputs).matrix()
    if x is not None:
        as_samples(x, "inputs")
        if len(x) != len(values):
            raise ArgumentError(
                "`inputs` do not match `like`", f"{len(values)} rows", f"shape {x.shape}"
            )
    grid, repeats, seed = _check_settings(mi, repeats, tolerance, seed)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64 if values.dtype.kind in "iub" else np.float32)
    draw = surrogates.surrogate(tested, values, x, noise)
    tested = tested.with_fixed_kernel(values)
    rng = np.random.default_rng(seed)
    rows = []
    for known in bar(grid, "known information"):
        samples = [draw(known, len(values), rng) for _ in range(repeats)]
        try:
            results = [tested.estimate(s.t, x=s.x, noise_std=noise).xt for s in samples]
        except ArgumentError as error:
            raise CalibrationError(error.invalid, error.expected, error.received) from error
        estimates = np.array([result.value for result in results])
        stderr = float(np.mean([result.stderr for result in results]))
        truth = samples[0].mi
        mean = float(estimates.mean())
        row = (
            str(registry.get(estimator)), len(values), values[0].size, truth, mean, mean - truth,
            float(estimates.std(ddof=1)), stderr, repeats, bool(abs(mean - truth) < tolerance),
        )  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates("mi", ignore_index=True)
    return Calibration(frame, _trust(frame))


def _trust(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the longest range of known values in which all rows are trusted."""
    trusted = frame[frame["trusted"]]
    runs = (~frame["trusted"]).cumsum()[frame["trusted"]]
    ranges = trusted.groupby(runs)["mi"].agg(["min", "max"])
    if ranges.empty:
        return math.nan, math.nan
    low, high = ranges.iloc[int((ranges["max"] - ranges["min"]).argmax())]
    return float(low), float(high)


def _layer(like: Any) -> tuple[np.ndarray, float]:
    """Return the samples, and the noise that was recorded with them."""
    if not isinstance(like, Mapping):
        return as_array(like, "like"), 0.0
    if len(like) != 1:
        raise ArgumentError(
            "`like` is not one layer", "one, such as activations['dense']", f"layers {list(like)}"
        )
    ((name, values),) = like.items()
    noise = like.noise_std.get(name, 0.0) if isinstance(like, Activations) else 0.0
    return as_array(values, "like"), noise


def _check_settings(
    mi: Any = MI, repeats: Any = 4, tolerance: Any = 0.25, seed: Any = 0
) -> tuple[list[float], int, int]:
    """Check settings of ``calibrate``, and return the known values, the repeats and the seed."""
    check_positive(tolerance, "tolerance")
    return _grid(mi), check_count(repeats, "repeats", 2), check_seed(seed)


def _grid(mi: Any) -> list[float]:
    values = np.atleast_1d(as_array(mi, "mi"))
    numeric = values.ndim == 1 and values.dtype.kind in "fiu" and len(values) >= 2
    if not numeric or not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError("`mi` is invalid", "two or more finite numbers >= 0", repr(mi))
    return sorted({float(value) for value in values})


@dataclasses.dataclass
class Calibrator:
    """A function that calibrates each estimate of a table.

    Args:
        settings: the arguments ``mi``, ``repeats``, ``tolerance`` and ``seed`` of ``calibrate``.
    """

    settings: Mapping[str, Any]

    @classmethod
    def of(cls, calibrate: Any) -> Calibrator | None:
        """Make a calibrator from the argument ``calibrate`` of ``estimate``; ``None`` for False."""
        if isinstance(calibrate, bool) or calibrate is None:
            return cls({}) if calibrate else None
        known = ("mi", "repeats", "tolerance", "seed")
        if not isinstance(calibrate, Mapping) or set(calibrate) - set(known):
            raise ArgumentError(
                "`calibrate` is invalid", f"True, False, or a dict of {known}", repr(calibrate)
            )
        _check_settings(**calibrate)
        return cls(calibrate)

    def columns(
        self,
        estimator: Any,
        t: np.ndarray,
        x: np.ndarray | None,
        noise_std: float,
        estimate: Estimate,
    ) -> dict[str, Any]:
        """Calibrate one estimate.

        Returns:
            ``calibrated_lower`` and ``calibrated_upper``, the ends of the interval in nats, and
            ``untrusted``, whether the interval leaves the trusted range. The ends are NaN if the
            estimate cannot be calibrated: it is not finite, the layer is constant or lacks the
            noise that the estimator needs, or the estimator rejects the synthetic samples.
        """
        lower, upper, trusted = math.nan, math.nan, False
        if math.isfinite(estimate.value):
            with contextlib.suppress(CalibrationError):
                calibration = calibrate(
                    estimator, t, inputs=x, noise_std=noise_std, **self.settings
                )
                lower, upper = calibration.interval(estimate.value)
                trusted = calibration.trusts(estimate.value)
        return {
            "calibrated_lower": lower, "calibrated_upper": upper, "untrusted": not trusted
        }  # fmt: skip
