"""estimate(): recorded activations in, a table of information out."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import _provenance, frame
from ib_keras import estimators as registry
from ib_keras._calibrate import Calibrator
from ib_keras._items import Item, Samples, from_arrays, from_model, from_store, propagates
from ib_keras._progress import bar
from ib_keras.activations import ActivationStore, fingerprint, flat_inputs
from ib_keras.errors import ArgumentError, Interrupted
from ib_keras.estimators.propagation import check_channel
from ib_keras.interface import Estimate, Estimator, LayerInformation, MutualInformation

# Estimates of an information further below 0, in nats, are flagged.
_BELOW = 0.05


def estimate(
    source: Any,
    estimators: Any,
    *,
    inputs: Any = None,
    targets: Any = None,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
    unit: str = "nats",
    progress: bool = True,
    calibrate: bool | Mapping[str, Any] = False,
) -> pd.DataFrame:
    """Estimates I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        source: an ``ActivationStore`` or its path; or a mapping layer name → ``(n, ...)`` such as
            the ``Activations`` that ``capture`` returns; or a Keras model, whose taps are captured.
        estimators: names, configurations or estimator objects; one or a list.
        inputs: ``(n, ...)`` X, for a mapping or a model; a store has its own. A mapping without
            inputs is taken to have n distinct ones.
        targets: ``(n,)`` labels, for a mapping or a model; a store has its own.
        layers: names or globs; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.
        unit: ``"nats"`` or ``"bits"``.
        progress: a progress bar on a terminal, with the time left.
        calibrate: adds to each I(X;T) the columns ``calibrated_lower`` and ``calibrated_upper``:
            which known informations the estimator answers so, on samples like the layer's (see
            ``ib_keras.calibrate``, whose ``mi``, ``repeats``, ``tolerance`` and ``seed`` a dict
            sets). Estimates that are not within the trusted range get the flag ``untrusted``. Each
            estimate is then made some 36 times.

    Returns:
        A frame in long form, one row for each run, epoch, layer, estimator and quantity, with the
        columns ``ib_keras.frame.COLUMNS``. ``value`` and ``stderr`` are in ``unit``; ``kind`` says
        whether the value is an estimate or a bound; ``flags`` why not to take it at face value.
        Estimators that have more to tell (a compressor's quality, the steps of a sweep) add a
        column ``details`` of JSON. ``attrs["provenance"]`` has the versions of the libraries, the
        estimators' settings, checksums of the data and the model where they are known, and the
        commit of the working directory.

    Raises:
        ArgumentError: an estimator, layer or epoch is unknown, lengths differ, or some activations
            are NaN, infinite or outside an estimator's fixed range: all before any is estimated.
        StoreError: the path holds no store of this version.
        Interrupted: Ctrl-C; its ``table`` has the estimates that were made.
    """
    frame.check_unit(unit)
    made = make_estimators(estimators)
    calibrator = Calibrator.of(calibrate)
    if isinstance(source, (str, os.PathLike)):
        source = ActivationStore(source)
    if isinstance(source, ActivationStore):
        _refuse(inputs=inputs, targets=targets)
        samples, items = from_store(source, layers, epochs)
    else:
        _refuse(epochs=epochs)
        if isinstance(source, Mapping):
            samples, items = from_arrays(source, inputs, targets, layers)
        else:
            samples, items = from_model(source, inputs, targets, layers, made)
    check(items, made)
    rows: list[dict[str, Any]] = []

    def so_far() -> pd.DataFrame:
        table = frame.convert(frame.from_rows(rows), unit)
        table.attrs.update(_provenance.attrs(made, **_origin(source, inputs, targets)))
        return table

    total = len(items) * len(made)
    with bar(what="estimates", unit="estimate", total=total, show=progress) as shown:
        try:
            rows.extend(run_all(items, made, samples, lambda: shown.update(), calibrator))
        except KeyboardInterrupt as stop:
            done = len({(r["run"], r["epoch"], r["layer"], r["estimator"]) for r in rows})
            raise Interrupted(f"{done} of {total} estimates were made", so_far()) from stop
    return so_far()


def _origin(source: Any, inputs: Any, targets: Any) -> dict[str, Any]:
    """Which data and which model a table is of, as far as that is known."""
    if isinstance(source, ActivationStore):
        return {"data": source.fingerprint, **source.made}
    arrays = None if inputs is None else flat_inputs(inputs)
    labels = None if targets is None else np.asarray(targets)
    model = None if isinstance(source, Mapping) else _provenance.of_model(source)
    return {"data": None if arrays is None else fingerprint(arrays, labels), "model": model}


def make_estimators(identifiers: Any) -> list[Estimator]:
    """The estimators that one identifier or a list of them names; at least one, all different."""
    if isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Iterable):
        identifiers = [identifiers]
    made = [registry.get(identifier) for identifier in identifiers]
    labels = [str(estimator) for estimator in made]
    if not made or len(set(labels)) < len(labels):
        raise ArgumentError("`estimators` is empty or repeats one", "different ones", labels)
    return made


def check(items: Sequence[Item], made: Sequence[Estimator]) -> None:
    """Raises for what any of the estimates would fail on, before the first is made."""
    if any(propagates(estimator) for estimator in made):
        _check_channels(items, made)
    for item in items:
        where = f"Layer {item.layer!r} at epoch {item.epoch}"
        extent = item.extent()
        if extent is None:
            raise ArgumentError(
                f"{where} has NaN or infinite values",
                "finite activations; choose the epochs before the training diverged by `epochs`",
                "a non-finite value",
            )
        for estimator in made:
            check_extent = getattr(estimator, "check_extent", None)
            if check_extent is None:
                continue
            try:
                check_extent(*extent)
            except ArgumentError as error:
                raise ArgumentError(
                    f"{where}: {error.invalid[0].lower()}{error.invalid[1:]}",
                    error.expected,
                    error.received,
                ) from None


def _check_channels(items: Sequence[Item], made: Sequence[Estimator]) -> None:
    # Beside others, its rows for a network without noise are empty, and say why.
    if all(map(propagates, made)) and not any(item.noise_std > 0 for item in items):
        check_channel(0.0)
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
) -> Iterator[dict[str, Any]]:
    """The rows of the table, in nats."""
    arguments = samples.arguments()
    wanting = any(getattr(estimator, "needs_inputs", False) for estimator in made)
    with_values = {**arguments, "x": samples.values() if wanting else None}
    ranged = [_over_all(estimator, items) for estimator in made]
    resolved = [_of_inputs(estimator, with_values) for estimator in ranged]
    for item in items:
        t = item.read()
        for named, over_all, estimator in zip(made, ranged, resolved, strict=True):
            start = time.perf_counter()
            if propagates(estimator):
                result = _propagate(estimator, item, t, arguments)
            else:
                own = with_values if getattr(estimator, "needs_inputs", False) else arguments
                result = estimator.estimate(t, noise_std=item.noise_std, **own)
            seconds = time.perf_counter() - start
            found = row(item, named, "I(X;T)", result.xt, seconds)
            if calibrator is not None:
                x = with_values["x"] if getattr(estimator, "needs_inputs", False) else None
                found |= calibrator.columns(over_all, t, x, item.noise_std, result.xt)
            yield found
            if result.ty is not None:
                yield row(item, named, "I(T;Y)", result.ty, seconds)
            for quantity, value in result.others.items():
                yield row(item, named, quantity, value, seconds)
            done()


def _over_all(estimator: Any, items: Sequence[Item]) -> Any:
    """The estimator, with its bins set by all layers and epochs if it asks for that."""
    if not getattr(estimator, "wants_global_extent", False):
        return estimator
    lows, highs = zip(*(item.global_extent() for item in items), strict=True)
    return estimator.over(min(lows), max(highs))


def _of_inputs(estimator: Any, values: dict[str, Any]) -> Any:
    """The estimator, with what it makes of the inputs made once for all layers and epochs."""
    made_once = values["x"] is not None and hasattr(estimator, "with_inputs")
    return estimator.with_inputs(values["x"], values["y"]) if made_once else estimator


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


def _propagate(
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


def _refuse(**arguments: Any) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ArgumentError(
            f"`{given[0]}` does not go with this source",
            "inputs and targets for arrays and models, epochs for stores",
            given,
        )
