"""Estimates of all layers and epochs, as rows of the table."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras import estimators as registry
from ib_keras.errors import ArgumentError
from ib_keras.estimation.calibrate import Calibrator
from ib_keras.estimation.cells import OnError, estimated
from ib_keras.estimation.consistency import flagged
from ib_keras.estimation.sources import Samples, Source
from ib_keras.estimators.base import BaseEstimator, adapted
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame.table import row
from ib_keras.interface import Estimate, LayerInformation


def make_estimators(identifiers: Any) -> list[BaseEstimator]:
    """Make the estimators from one identifier or a list of different ones."""
    if isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Iterable):
        identifiers = [identifiers]
    made = [adapted(registry.get(identifier)) for identifier in identifiers]
    labels = [str(estimator) for estimator in made]
    if not made or len(set(labels)) < len(labels):
        raise ArgumentError("`estimators` is empty or repeats one", "different ones", labels)
    return made


def check(sources: Sequence[Source], made: Sequence[BaseEstimator], samples: Samples) -> None:
    """Check the estimators and the samples before anything is estimated."""
    for estimator in made:
        if estimator.traits.inputs and not samples.raw:
            raise ArgumentError(
                f"{estimator} compares T with X, and there are no inputs",
                "`inputs`, (n, ...), beside the activations",
                "inputs=None",
            )
    propagating = [estimator.traits.propagations for estimator in made]
    noisy = [source for source in sources if source.where.noise_std > 0]
    # With other estimators, its rows for a network without noise have no value, and a reason.
    if all(propagating) and not noisy:
        check_channel(0.0, random=any(source.random for source in sources))
    for source in noisy if any(propagating) else ():
        if source.clean() is None:
            raise ArgumentError(
                "Sample propagation wants S, each layer's output before its own noise",
                "a store, a model, or `capture(clean=True)`",
                f"noisy outputs of {source.where.layer!r}",
            )


def run_all(
    sources: Sequence[Source],
    made: Sequence[BaseEstimator],
    samples: Samples,
    done: Callable[[], object] = lambda: None,
    calibrator: Calibrator | None = None,
    on_error: OnError = "flag",
) -> Iterator[dict[str, Any]]:
    """Estimate all cells of the table.

    Args:
        sources: the layers and epochs.
        made: the estimators.
        samples: the inputs and labels of all sources.
        done: function that is called after each estimate.
        calibrator: calibrates the estimates of I(X;T); ``None`` for no calibration.
        on_error: ``"flag"`` or ``"raise"``.

    Yields:
        The rows, with values in nats.
    """
    arguments = samples.arguments()
    with_inputs = any(estimator.traits.inputs for estimator in made)
    with_values = {**arguments, "x": samples.values() if with_inputs else None}
    ranged = [_over_all(estimator, sources) for estimator in made]
    prepared = [_of_inputs(estimator, with_values, on_error) for estimator in ranged]
    y_of_x = samples.y_of_x
    for source in sources:
        where, t, finite = source.where, source.read(), source.extent()
        for named, over_all, estimator in zip(made, ranged, prepared, strict=True):
            start = time.perf_counter()
            own = with_values if named.traits.inputs else arguments
            result = _cell(estimator, named, source, t, finite, own, on_error)
            seconds = time.perf_counter() - start
            rows = [row(where, named, "I(X;T)", result.xt, seconds)]
            if calibrator is not None:
                columns = calibrator.columns(over_all, t, own["x"], where.noise_std, result.xt)
                if columns.pop("untrusted") and math.isfinite(result.xt.value):
                    rows[0]["flags"] = ",".join(filter(None, (rows[0]["flags"], "untrusted")))
                rows[0] |= columns
            if result.ty is not None:
                rows.append(row(where, named, "I(T;Y)", result.ty, seconds))
            rows += [row(where, named, q, value, seconds) for q, value in result.others.items()]
            yield from flagged(rows, y_of_x)
            done()


def _cell(
    estimator: Any,
    named: Any,
    source: Source,
    t: np.ndarray,
    finite: tuple[float, float] | None,
    own: Mapping[str, Any],
    on_error: OnError,
) -> LayerInformation:
    """Estimate one layer at one epoch."""
    where = source.where

    def run(y: Any) -> LayerInformation:
        if finite is None:
            raise ArgumentError(
                "The activations have NaN or infinite values",
                "finite activations; `epochs` can select those before the training diverged",
                "a non-finite value",
            )
        estimator.check_extent(*finite)
        if estimator.traits.propagations:
            return _propagate(estimator, source, t, {**own, "y": y})
        result = estimator.estimate(t, noise_std=where.noise_std, **{**own, "y": y})
        if not source.random or where.noise_std > 0:
            return result
        # The layer has noise although it has no channel: from earlier layers or random draws.
        flags = result.xt.flags
        if estimator.traits.inputs:
            flags = tuple(flag for flag in flags if flag != "no_noise")
        elif "network_noise" not in flags:
            flags = (*flags, "network_noise")
        return dataclasses.replace(result, xt=dataclasses.replace(result.xt, flags=flags))

    separate = named.traits.labels_alone and finite is not None
    return estimated(
        run,
        (lambda: named.with_labels(t, own["y"])) if separate else None,
        own["y"],
        n=len(t),
        dim=t[0].size,
        where=f"Layer {where.layer!r} at epoch {where.epoch}, {named}",
        on_error=on_error,
    )


def _over_all(estimator: BaseEstimator, sources: Sequence[Source]) -> BaseEstimator:
    """The estimator, prepared for the range of all layers and epochs if it needs this range."""
    if not estimator.traits.all_epochs:
        return estimator
    extents = [extent for source in sources if (extent := source.extent_over_epochs()) is not None]
    if not extents:  # each cell fails, with a reason
        return estimator
    return estimator.prepare(
        extent=(min(low for low, _ in extents), max(high for _, high in extents))
    )


def _of_inputs(
    estimator: BaseEstimator, values: dict[str, Any], on_error: OnError
) -> BaseEstimator:
    """The estimator, prepared for the inputs; an error of this is raised again in each cell."""
    if values["x"] is None or not estimator.traits.inputs:
        return estimator
    try:
        return estimator.prepare(inputs=values["x"], labels=values["y"])
    except Exception as error:
        if on_error == "raise":
            raise
        return _Failed(error)


@dataclasses.dataclass(frozen=True)
class _Failed(BaseEstimator):
    """Replaces an estimator whose preparation for the inputs failed."""

    error: Exception

    def estimate(self, *args: Any, **kwargs: Any) -> LayerInformation:
        raise self.error


def _propagate(
    estimator: Any, source: Source, t: np.ndarray, arguments: dict[str, Any]
) -> LayerInformation:
    """Estimate by propagation; the result is NaN with a flag without noise or propagations."""
    noise_std, repeated = source.where.noise_std, source.propagated()
    if not noise_std > 0 or (source.random and repeated is None):
        missing = "no_propagations" if noise_std > 0 else "no_channel"
        nothing = Estimate(math.nan, flags=(missing,), n=len(t), dim=t[0].size)
        return LayerInformation(nothing, None if arguments["y"] is None else nothing)
    if source.random and repeated is not None:
        arguments |= {"conditional_rows": repeated[0], "conditional": repeated[1]}
    return estimator.estimate(source.clean(), noise_std=noise_std, **arguments)
