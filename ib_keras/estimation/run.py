"""Estimates of all layers and epochs, as rows of the table."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras import estimators as registry
from ib_keras.arrays import memory
from ib_keras.arrays.rows import slices
from ib_keras.errors import ArgumentError
from ib_keras.estimation.calibrate import Calibrator
from ib_keras.estimation.cells import OnError, estimated, located, lost
from ib_keras.estimation.consistency import flagged
from ib_keras.estimation.sources import Samples, Source
from ib_keras.estimators.base import BaseEstimator, adapted, renamed
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame.table import given_target, row, with_flags
from ib_keras.interface import Estimate, LayerInformation

_VALUES_AT_A_TIME = 1 << 16  # blocks that stay in the cache


def make_estimators(identifiers: Any) -> list[BaseEstimator]:
    """Return the estimators of one identifier or of a list of different identifiers."""
    if isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Iterable):
        identifiers = [identifiers]
    estimators = [adapted(registry.get(identifier)) for identifier in identifiers]
    if not estimators:
        raise ArgumentError("`estimators` is empty", "at least one estimator", repr(identifiers))
    labels = [str(estimator) for estimator in estimators]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ArgumentError(f"`estimators` repeats {repeated[0]!r}", "different ones", labels)
    return estimators


def check(sources: Sequence[Source], estimators: Sequence[BaseEstimator], samples: Samples) -> None:
    """Raise an error before anything is estimated if an estimator lacks what it needs."""
    for estimator in estimators:
        if estimator.traits.inputs and samples.raw is None:
            raise ArgumentError(
                f"{estimator} compares T with X, and there are no inputs",
                "`inputs`, (n, ...), beside the activations",
                "inputs=None",
            )
    propagating = [estimator.traits.propagations for estimator in estimators]
    noisy = [source for source in sources if source.where.noise_std > 0]
    # Beside other estimators, sample propagation gives rows without a value, with a reason.
    if all(propagating) and not any(source.has_channel for source in sources):
        check_channel(0.0, random=any(source.random for source in sources))
    for source in noisy if any(propagating) else ():
        if not source.has_clean:
            raise ArgumentError(
                "Sample propagation needs S, each layer's output before its own noise",
                "a store, a model, or `capture(clean=True)`",
                f"noisy outputs of {source.where.layer!r}",
            )


def run_all(
    sources: Sequence[Source],
    estimators: Sequence[BaseEstimator],
    samples: Samples,
    done: Callable[[], object] = lambda: None,
    calibrator: Calibrator | None = None,
    on_error: OnError = "flag",
    conditional: bool = False,
) -> Iterator[dict[str, Any]]:
    """Make all estimates of a table: each estimator for each layer at each epoch.

    Args:
        sources: the layers and epochs.
        estimators: the estimators.
        samples: the inputs and labels of all sources.
        done: function that is called after each estimator has finished a layer and epoch.
        calibrator: the calibrator of the estimates of I(X;T); ``None`` for no calibration.
        on_error: ``"flag"`` or ``"raise"``.
        conditional: whether to also estimate I(X;T|Y) of each target.

    Yields:
        The rows, with values in nats.
    """
    methods = []
    with_inputs = any(estimator.traits.inputs for estimator in estimators)
    values = samples.values() if with_inputs else None
    for original in estimators:
        over_all = _over_all(original, sources)
        prepared = over_all
        if original.traits.inputs and values is not None:
            prepared = _of_inputs(over_all, values, samples.labels(), on_error)
        methods.append(_Method(original, over_all, prepared))
    of_x = {target.quantity for target in samples.targets if samples.y_of_x(target)}
    for source in sources:
        where, t, extent, of_rows = source.where, source.read(), source.extent(), source.rows()
        codes = samples.input_codes(of_rows)
        constant = extent is not None and all(map(_is_constant, _before_noise(source, t)))
        targets = {
            target.quantity: samples.target_values(target, of_rows) for target in samples.targets
        }
        for method in methods:
            start = time.perf_counter()
            x = codes
            if method.original.traits.inputs and values is not None:
                try:
                    x = values if of_rows is None else _repeated(values, of_rows)
                except ArgumentError as error:
                    method = dataclasses.replace(method, prepared=_Failed(error))
            xt, others = _cell(method, source, t, extent, x, targets, on_error, conditional)
            seconds = time.perf_counter() - start
            name = method.original
            rows = [row(where, name, "I(X;T)", xt, seconds)]
            if name.traits.inputs and samples.has_ids():
                rows[0] = with_flags(rows[0], "integer_inputs")
            if calibrator is not None:
                columns = calibrator.columns(method.over_all, t, x, where.noise_std, xt)
                if columns.pop("untrusted") and math.isfinite(xt.value):
                    rows[0] = with_flags(rows[0], "untrusted")
                rows[0] |= columns
            rows += [row(where, name, q, value, seconds) for q, value in others.items()]
            if constant:
                rows = [with_flags(one, "constant") for one in rows]
            yield from flagged(rows, of_x)
            done()


def _before_noise(source: Source, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what is random only through X: S, the parameters of a declared distribution, or T."""
    declared = source.conditional()
    if declared is not None:
        return declared
    clean = source.clean() if source.where.noise_std > 0 else None
    return (t if clean is None else clean,)


def _is_constant(t: np.ndarray) -> bool:
    """Return whether all rows are equal, reading only the first rows if they differ."""
    parts = slices(len(t), _VALUES_AT_A_TIME // max(1, t[0].size))
    return len(t) > 1 and all((t[part] == t[:1]).all() for part in parts)


def _repeated(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the inputs once for each position of a layer.

    Raises:
        ArgumentError: If these do not fit in memory.
    """
    needed, free = values[0].nbytes * len(rows), memory.available()
    if free is not None and needed > free:
        raise ArgumentError(
            "The inputs do not fit in memory once for each position",
            "fewer inputs, another view, or an estimator that does not compare T with X",
            f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB available",
        )
    return values[rows]


@dataclasses.dataclass(frozen=True)
class _Method:
    """An estimator at the stages of its preparation.

    Args:
        original: the estimator that was passed, whose name is in the table.
        over_all: the estimator, prepared for the range of all layers and epochs.
        prepared: ``over_all``, also prepared for the inputs.
    """

    original: Any
    over_all: Any
    prepared: Any


def _cell(
    method: _Method,
    source: Source,
    t: np.ndarray,
    extent: tuple[float, float] | None,
    x: np.ndarray | None,
    targets: Mapping[str, Any],
    on_error: OnError,
    conditional: bool,
) -> tuple[Estimate, dict[str, Estimate]]:
    """Estimate one layer at one epoch.

    Args:
        method: the estimator.
        source: the layer and epoch.
        t: T, ``(n, d)``.
        extent: the range of T; ``None`` if a value is not finite.
        x: the inputs or their codes.
        targets: quantity → target.
        on_error: ``"flag"`` or ``"raise"``.
        conditional: whether to also estimate I(X;T|Y).

    Returns:
        I(X;T), and the other quantities by name, beginning with those of the targets.
    """
    where, estimator = source.where, method.prepared
    place = f"Layer {where.layer!r} at epoch {where.epoch}, {method.original}"

    def run(y: Any) -> LayerInformation:
        if extent is None:
            raise ArgumentError(
                "The activations have NaN or infinite values",
                "finite activations; `epochs` can select those before the training diverged",
                "a non-finite value",
            )
        estimator.check_extent(*extent)
        if estimator.traits.propagations:
            return _propagate(estimator, source, t, {"x": x, "y": y})
        result = estimator.estimate(t, noise_std=where.noise_std, x=x, y=y)
        return dataclasses.replace(result, xt=_of_noise(result.xt, source, estimator))

    separate = method.original.traits.labels_alone and extent is not None

    def both(y: Any, quantity: str) -> LayerInformation:
        def labels_only() -> Estimate | None:
            with renamed(a="t"):
                return method.original.with_labels(t, y)

        return estimated(
            run,
            labels_only if separate else None,
            y,
            n=len(t),
            dim=t[0].size,
            where=f"{place}, {quantity}" if len(targets) > 1 else place,
            on_error=on_error,
        )

    quantities = list(targets)
    first = quantities[0] if quantities else ""
    result = both(targets.get(first), first)
    others = {} if result.ty is None else {first: result.ty}
    for quantity in quantities[1:]:
        y = targets[quantity]
        if separate:
            more = _alone(method.original, t, y, f"{place}, {quantity}", on_error)
        else:
            more = both(y, quantity).ty
        if more is not None:
            others[quantity] = more
    given = {}
    for quantity, y in targets.items() if conditional else ():
        name = given_target(quantity)
        try:
            # A prepared estimator may have its own copy of all inputs.
            found = result.xt if math.isnan(result.xt.value) else method.original.given_target(
                t, y, LayerInformation(result.xt, others.get(quantity)),
                x=x, noise_std=where.noise_std,
            )  # fmt: skip
        except Exception as error:  # custom estimators may raise any error
            if on_error == "raise":
                raise located(error, f"{place}, {name}") from error
            found = lost(error, len(t), t[0].size)
        if found is not None:
            given[name] = _of_noise(found, source, estimator)
    return result.xt, {**others, **given, **result.others}


def _of_noise(estimate: Estimate, source: Source, estimator: BaseEstimator) -> Estimate:
    """Correct the flags for a layer that is random although it has no noise of its own.

    The noise comes from earlier layers or from random draws.
    """
    if not source.random or source.where.noise_std > 0 or estimator.traits.propagations:
        return estimate
    flags = estimate.flags
    if estimator.traits.inputs:
        flags = tuple(flag for flag in flags if flag != "no_noise")
    elif "network_noise" not in flags:
        flags = (*flags, "network_noise")
    return dataclasses.replace(estimate, flags=flags)


def _alone(
    estimator: BaseEstimator, t: np.ndarray, y: Any, place: str, on_error: OnError
) -> Estimate | None:
    """Estimate only I(T;Y), for a further target."""
    try:
        with renamed(a="t"):
            return estimator.with_labels(t, y)
    except Exception as error:  # custom estimators may raise any error
        if on_error == "raise":
            raise located(error, place) from error
        return lost(error, len(t), t[0].size)


def _over_all(estimator: BaseEstimator, sources: Sequence[Source]) -> BaseEstimator:
    """Prepare the estimator for the range of all layers and epochs if it needs this range."""
    if not estimator.traits.all_epochs:
        return estimator
    extents = [extent for source in sources if (extent := source.extent_of_all()) is not None]
    if not extents:  # no value is finite, so each estimate fails with a reason
        return estimator
    return estimator.prepare(
        extent=(min(low for low, _ in extents), max(high for _, high in extents))
    )


def _of_inputs(
    estimator: BaseEstimator, values: np.ndarray, labels: np.ndarray | None, on_error: OnError
) -> BaseEstimator:
    """Prepare the estimator for the inputs; if this fails, each estimate raises the same error."""
    try:
        return estimator.prepare(inputs=values, labels=labels)
    except Exception as error:
        if on_error == "raise":
            raise
        return _Failed(error)


@dataclasses.dataclass(frozen=True)
class _Failed(BaseEstimator):
    """The replacement of an estimator whose preparation for the inputs failed."""

    error: Exception

    def estimate(self, *args: Any, **kwargs: Any) -> LayerInformation:
        raise self.error


def _propagate(
    estimator: Any, source: Source, t: np.ndarray, arguments: dict[str, Any]
) -> LayerInformation:
    """Estimate by propagation; without noise or propagations, return NaN with a flag."""
    if (declared := source.conditional()) is not None:
        mean, scale = declared
        return estimator.estimate(mean, scale=scale, **arguments)
    noise_std, repeated = source.where.noise_std, source.propagated()
    random = source.random or source.rows() is not None  # S at one of several positions
    if not noise_std > 0 or (random and repeated is None):
        missing = "no_propagations" if noise_std > 0 else "no_channel"
        nothing = Estimate(math.nan, flags=(missing,), n=len(t), dim=t[0].size)
        return LayerInformation(nothing, None if arguments["y"] is None else nothing)
    if random and repeated is not None:
        arguments |= {"conditional_rows": repeated[0], "conditional": repeated[1]}
    return estimator.estimate(source.clean(), noise_std=noise_std, **arguments)
