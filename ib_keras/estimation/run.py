"""Runs estimators over layers and epochs: the rows of the table."""

from __future__ import annotations

import dataclasses
import json
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
from ib_keras.estimation.sources import (
    Item,
    Samples,
)
from ib_keras.estimators.propagation import check_channel
from ib_keras.interface import Estimate, Estimator, LayerInformation, MutualInformation, propagates

# Estimates of an information further below 0, in nats, are flagged.
_BELOW = 0.05


def make_estimators(identifiers: Any) -> list[Estimator]:
    """The estimators that one identifier or a list of them names; at least one, all different."""
    if isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Iterable):
        identifiers = [identifiers]
    made = [registry.get(identifier) for identifier in identifiers]
    labels = [str(estimator) for estimator in made]
    if not made or len(set(labels)) < len(labels):
        raise ArgumentError("`estimators` is empty or repeats one", "different ones", labels)
    return made


def check(items: Sequence[Item], made: Sequence[Estimator], samples: Samples) -> None:
    """Raises for what can be known to fail before anything is estimated."""
    for estimator in made:
        if getattr(estimator, "needs_inputs", False) and not samples.raw:
            raise ArgumentError(
                f"{estimator} compares T with X, and there are no inputs",
                "`inputs`, (n, ...), beside the activations",
                "inputs=None",
            )
    if any(propagates(estimator) for estimator in made):
        _check_channels(items, made)


def _check_channels(items: Sequence[Item], made: Sequence[Estimator]) -> None:
    # Beside others, its rows for a network without noise are empty, and say why.
    if all(map(propagates, made)) and not any(item.noise_std > 0 for item in items):
        check_channel(0.0, random=any(item.random for item in items))
    for item in items:
        if item.noise_std > 0 and item.clean() is None:
            raise ArgumentError(
                "Sample propagation wants S, each layer's output before its own noise",
                "a store, a model, or `capture(clean=True)`",
                f"noisy outputs of {item.layer!r}",
            )


def run_all(
    items: Sequence[Item],
    made: Sequence[Estimator],
    samples: Samples,
    done: Callable[[], object] = lambda: None,
    calibrator: Calibrator | None = None,
    on_error: OnError = "flag",
) -> Iterator[dict[str, Any]]:
    """The rows of the table, in nats."""
    arguments = samples.arguments()
    wanting = any(getattr(estimator, "needs_inputs", False) for estimator in made)
    with_values = {**arguments, "x": samples.values() if wanting else None}
    ranged = [_over_all(estimator, items) for estimator in made]
    resolved = [_of_inputs(estimator, with_values, on_error) for estimator in ranged]
    y_of_x = samples.y_of_x
    for item in items:
        t = item.read()
        finite = item.extent()
        for named, over_all, estimator in zip(made, ranged, resolved, strict=True):
            start = time.perf_counter()
            own = with_values if getattr(named, "needs_inputs", False) else arguments
            result = _cell(estimator, named, item, t, finite, own, on_error)
            seconds = time.perf_counter() - start
            rows = [row(item, named, "I(X;T)", result.xt, seconds)]
            if calibrator is not None:
                known = calibrator.columns(over_all, t, own["x"], item.noise_std, result.xt)
                if known.pop("untrusted") and math.isfinite(result.xt.value):
                    rows[0]["flags"] = ",".join(filter(None, (rows[0]["flags"], "untrusted")))
                rows[0] |= known
            if result.ty is not None:
                rows.append(row(item, named, "I(T;Y)", result.ty, seconds))
            rows += [row(item, named, q, value, seconds) for q, value in result.others.items()]
            yield from flagged(rows, y_of_x)
            done()


def _cell(
    estimator: Any,
    named: Any,
    item: Item,
    t: np.ndarray,
    finite: tuple[float, float] | None,
    own: Mapping[str, Any],
    on_error: OnError,
) -> LayerInformation:
    """What an estimator says of a layer at an epoch."""

    def run(y: Any) -> LayerInformation:
        if finite is None:
            raise ArgumentError(
                "The activations have NaN or infinite values",
                "finite activations; choose the epochs before the training diverged by `epochs`",
                "a non-finite value",
            )
        check_extent = getattr(estimator, "check_extent", None)
        if check_extent is not None:
            check_extent(*finite)
        if propagates(estimator):
            return propagate(estimator, item, t, {**own, "y": y})
        found = estimator.estimate(t, noise_std=item.noise_std, **{**own, "y": y})
        return _of_random(found, estimator) if item.random and not item.noise_std > 0 else found

    with_labels = getattr(estimator, "with_labels", None)
    return estimated(
        run,
        None if with_labels is None or finite is None else lambda: with_labels(t, own["y"]),
        own["y"],
        n=len(t),
        dim=t[0].size,
        where=f"Layer {item.layer!r} at epoch {item.epoch}, {named}",
        on_error=on_error,
    )


def _of_random(found: LayerInformation, estimator: Any) -> LayerInformation:
    """What an estimator says of a layer without a channel that is random given the input, because
    noise acts before it or its network draws random numbers: it has noise, though not of its own.
    """
    flags = found.xt.flags
    if getattr(estimator, "needs_inputs", False):
        flags = tuple(flag for flag in flags if flag != "no_noise")
    elif "network_noise" not in flags:
        flags = (*flags, "network_noise")
    return dataclasses.replace(found, xt=dataclasses.replace(found.xt, flags=flags))


def _over_all(estimator: Any, items: Sequence[Item]) -> Any:
    """The estimator, with its bins set by all layers and epochs if it asks for that."""
    if not getattr(estimator, "wants_global_extent", False):
        return estimator
    extents = [item.global_extent() for item in items]
    finite = [extent for extent in extents if all(map(math.isfinite, extent))]
    if not finite:  # no cell can be estimated, and each says why
        return estimator
    return estimator.over(min(low for low, _ in finite), max(high for _, high in finite))


def _of_inputs(estimator: Any, values: dict[str, Any], on_error: OnError) -> Any:
    """The estimator, with what it makes of the inputs made once for all layers and epochs; the
    error where it cannot make it, which then is that of each cell."""
    if values["x"] is None or not hasattr(estimator, "with_inputs"):
        return estimator
    try:
        return estimator.with_inputs(values["x"], values["y"])
    except Exception as error:
        if on_error == "raise":
            raise
        return _Failed(error)


@dataclasses.dataclass(frozen=True)
class _Failed:
    """Stands for an estimator that could not take the inputs."""

    error: Exception

    def estimate(self, *args: Any, **kwargs: Any) -> LayerInformation:
        raise self.error


def row(
    item: Item, estimator: Estimator | str, quantity: str, value: Estimate, seconds: float
) -> dict[str, Any]:
    """A row of the table."""
    return {
        "run": item.run,
        "epoch": item.epoch,
        "layer": item.layer,
        "layer_index": item.layer_index,
        "dim": value.dim,
        "n": value.n,
        "estimator": str(estimator),
        "quantity": quantity,
        "value": value.value,
        "stderr": value.stderr,
        "kind": value.kind,
        "flags": ",".join(_flags(quantity, value)),
        "noise_std": item.noise_std,
        "seconds": seconds,
        "unit": "nats",
        "details": _details(value),
    }


def _flags(quantity: str, value: Estimate) -> tuple[str, ...]:
    """The estimate's own, and whether it is an information below 0, which there is not."""
    error = value.stderr if math.isfinite(value.stderr) else 0.0
    below = quantity.startswith("I(") and value.kind == "estimate" and value.value < -_BELOW
    return (*value.flags, "negative") if below and value.value < -3 * error else value.flags


def _details(value: Estimate) -> str:
    """What an estimate tells of how it came about, as JSON; nothing of most."""
    if not isinstance(value, MutualInformation):
        return ""
    steps = {name: part.value for name, part in value.parts.items()}
    content = {**value.details, **({"steps": steps} if len(steps) > 1 else {})}
    return json.dumps(content) if content else ""


def propagate(
    estimator: Any, item: Item, t: np.ndarray, arguments: dict[str, Any]
) -> LayerInformation:
    """I of a layer with noise; NaN, with the reason as flag, where there is nothing to go by."""
    missing = ""
    repeated = item.propagated()
    if not item.noise_std > 0:
        missing = "no_channel"
    elif item.random and repeated is None:
        missing = "no_propagations"
    if missing:
        nothing = Estimate(math.nan, flags=(missing,), n=len(t), dim=t[0].size)
        return LayerInformation(nothing, None if arguments["y"] is None else nothing)
    more: dict[str, Any] = {}
    if item.random and repeated is not None:
        more = {"conditional_rows": repeated[0], "conditional": repeated[1]}
    return estimator.estimate(item.clean(), noise_std=item.noise_std, **more, **arguments)
