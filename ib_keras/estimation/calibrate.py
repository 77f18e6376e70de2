"""calibrate(): what an estimator says of samples like these where the truth is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ib_keras import estimators as registry
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
from ib_keras.estimators.base import adapted
from ib_keras.estimators.kde import KDE
from ib_keras.interface import Estimate
from ib_keras.progress import bar

MI = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
COLUMNS = ["estimator", "n", "dim", "mi", "mean", "bias", "spread", "stderr", "repeats", "trusted"]


class Calibration(NamedTuple):
    """What an estimator says of samples whose information is known.

    Attributes:
        frame: a row for each known ``mi``: ``mean`` of the estimates, ``bias`` = mean − mi,
            ``spread`` (standard deviation over the repeats), ``stderr`` (the mean of what the
            estimator itself states, NaN where nothing), ``trusted``; all in nats.
        trust: the longest range ``(from, to)`` of known information, among those tried, in which
            |bias| is below the tolerance; ``(nan, nan)`` where there is none.
    """

    frame: pd.DataFrame
    trust: tuple[float, float]

    def interval(self, value: float) -> tuple[float, float]:
        """The true values of the information that are consistent with this estimate.

        Those at which it lies within two standard deviations of the mean estimate, both linear
        between the ones that were tried. The upper end is ``inf`` where the largest one that was
        tried is among them.

        Args:
            value: an estimate in nats.

        Returns:
            The ends, in nats.
        """
        table = self.frame
        known = table["mi"].to_numpy()
        if math.isnan(value):
            return math.nan, math.nan
        fine = np.union1d(np.linspace(known[0], known[-1], 2001), known)
        mean = np.interp(fine, known, table["mean"])
        own = np.fmax(table["spread"].to_numpy(), table["stderr"].fillna(0.0).to_numpy())
        # The mean is known from so many repeats only.
        width = 2 * np.sqrt(1 + 1 / table["repeats"].iloc[0]) * np.interp(fine, known, own)
        likely = fine[np.abs(value - mean) <= np.maximum(width, 1e-9)]
        if not len(likely):  # below all, above all, or between two without any spread
            nearest = int(np.argmin(np.abs(value - mean)))
            likely = fine[[nearest]]
        return float(likely[0]), float(likely[-1]) if likely[-1] < known[-1] else math.inf

    def trusts(self, value: float) -> bool:
        """Whether all of the estimate's interval is in the trusted range."""
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
    """Runs an estimator on synthetic samples like a layer's, of known I(X;T): how far is it off?

    The samples have the layer's number, dimension, noise and marginals:

    - for estimators that compare T with X, both are monotone functions of normal vectors, with the
      marginals and rank correlations of the layer and of the inputs;
    - for those that measure T behind Gaussian noise (KDE, sample propagation), S has the layer's
      mean, covariance and principal components' marginals, and is scaled until I(X;S+Z) is what is
      asked for; an adaptive variance is the layer's own;
    - for all others (binning) T is one of K different rows, I = ln K.

    What is found holds for networks as far as they resemble such samples: how the dependence lies
    between the coordinates also matters to an estimator, and here it lies in all directions.

    Args:
        estimator: a name, a configuration or an estimator.
        like: ``(n, ...)`` a layer's outputs, or what ``capture`` returned, with one layer.
        mi: the known informations in nats, as near to which as possible the samples are made.
        inputs: ``(n, ...)`` X; ``None`` for normal ones of the layer's own dimension.
        noise_std: of the layer's own noise; ``None`` for what ``capture`` noted, or none.
        repeats: samples drawn for each.
        tolerance: of the bias in nats, for ``trust``.
        seed: of the samples.

    Returns:
        ``(frame, trust)``, a ``Calibration``.

    Raises:
        ArgumentError: an argument is invalid, or the samples are constant.
    """
    made: Any = adapted(registry.get(estimator))
    values, noted = _layer(like)
    as_samples(values, "like")
    noise = check_stddev(noted if noise_std is None else noise_std)
    x = None if inputs is None else as_array(inputs, "inputs")
    if x is not None:
        as_samples(x, "inputs")
        if len(x) != len(values):
            raise ArgumentError(
                "`inputs` do not match `like`", f"{len(values)} rows", f"shape {x.shape}"
            )
    grid = _grid(mi)
    repeats = check_count(repeats, "repeats", 2)
    check_positive(tolerance, "tolerance")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64 if values.dtype.kind in "iub" else np.float32)
    draw = surrogates.surrogate(made, values, x, noise)
    if (variance := made.kernel_variance(values)) is not None:
        made = KDE(variance, made.kind)
    rng = np.random.default_rng(check_seed(seed))
    rows = []
    for known in bar(grid, "known information"):
        samples = [draw(known, len(values), rng) for _ in range(repeats)]
        found = [_run(made, drawn, noise) for drawn in samples]
        estimates = np.array([one.value for one in found])
        truth = samples[0].mi
        mean = float(estimates.mean())
        stderrs = [one.stderr for one in found]
        row = (
            str(registry.get(estimator)), len(values), values[0].size, truth, mean, mean - truth,
            float(estimates.std(ddof=1)), float(np.mean(stderrs)), repeats,
            bool(abs(mean - truth) < tolerance),
        )  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates("mi", ignore_index=True)
    return Calibration(frame, _trust(frame))


def _run(estimator: Any, drawn: surrogates.Drawn, noise_std: float) -> Estimate:
    return estimator.estimate(drawn.t, x=drawn.x, noise_std=noise_std).xt


def _trust(frame: pd.DataFrame) -> tuple[float, float]:
    """The longest run of trusted rows."""
    trusted = frame[frame["trusted"]]
    runs = (~frame["trusted"]).cumsum()[frame["trusted"]]
    ranges = trusted.groupby(runs)["mi"].agg(["min", "max"])
    if ranges.empty:
        return math.nan, math.nan
    low, high = ranges.iloc[int((ranges["max"] - ranges["min"]).argmax())]
    return float(low), float(high)


def _layer(like: Any) -> tuple[np.ndarray, float]:
    """The samples, and the noise that is noted with them."""
    if not isinstance(like, Mapping):
        return as_array(like, "like"), 0.0
    if len(like) != 1:
        raise ArgumentError(
            "`like` is not one layer", "one, such as activations['dense']", f"layers {list(like)}"
        )
    ((name, values),) = like.items()
    noise = like.noise_std.get(name, 0.0) if isinstance(like, Activations) else 0.0
    return as_array(values, "like"), noise


def _grid(mi: Any) -> list[float]:
    values = np.atleast_1d(as_array(mi, "mi"))
    right = values.ndim == 1 and values.dtype.kind in "fiu" and len(values) >= 2
    if not right or not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError("`mi` are no informations", "two or more finite numbers >= 0", repr(mi))
    return sorted({float(value) for value in values})


@dataclasses.dataclass
class Calibrator:
    """Calibrates the estimates of a table.

    Args:
        settings: of ``calibrate``: ``mi``, ``repeats``, ``tolerance``, ``seed``.
    """

    settings: Mapping[str, Any]

    @classmethod
    def of(cls, calibrate: Any) -> Calibrator | None:
        """From the argument of ``estimate``: a bool, or arguments of ``calibrate``."""
        if isinstance(calibrate, bool) or calibrate is None:
            return cls({}) if calibrate else None
        known = ("mi", "repeats", "tolerance", "seed")
        if not isinstance(calibrate, Mapping) or set(calibrate) - set(known):
            raise ArgumentError(
                "`calibrate` is invalid", f"True, False, or a dict of {known}", repr(calibrate)
            )
        if "mi" in calibrate:
            _grid(calibrate["mi"])
        return cls(calibrate)

    def columns(
        self,
        estimator: Any,
        t: np.ndarray,
        x: np.ndarray | None,
        noise_std: float,
        estimate: Estimate,
    ) -> dict[str, Any]:
        """What the calibration says of one estimate.

        Returns:
            ``calibrated_lower`` and ``calibrated_upper``, the ends of the interval in nats, and
            ``untrusted``, whether the interval leaves the trusted range. The caller adds the flag
            ``untrusted`` to the flags that the row already has.
        """
        try:
            found = calibrate(estimator, t, inputs=x, noise_std=noise_std, **self.settings)
        except ArgumentError:  # a dead layer, or no noise: there is nothing alike to try it on
            lower, upper, trusted = math.nan, math.nan, False
        else:
            (lower, upper), trusted = found.interval(estimate.value), found.trusts(estimate.value)
        return {
            "calibrated_lower": lower, "calibrated_upper": upper, "untrusted": not trusted
        }  # fmt: skip
