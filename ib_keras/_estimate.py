"""estimate(): recorded activations in, a table of information out."""

from __future__ import annotations

import dataclasses
import glob
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import estimators as registry
from ib_keras import frame
from ib_keras._calibrate import Calibrator
from ib_keras._cells import OnError, check_on_error, estimated
from ib_keras._consistency import flagged
from ib_keras._items import Item, Samples, from_arrays, from_model, from_store, propagates
from ib_keras.activations import ActivationStore
from ib_keras.arrays.labels import provenance_of
from ib_keras.arrays.structures import fingerprint, flat_inputs
from ib_keras.errors import ArgumentError, Interrupted, StoreError
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame import provenance
from ib_keras.interface import Estimate, Estimator, LayerInformation, MutualInformation
from ib_keras.progress import bar

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
    on_error: OnError = "flag",
) -> pd.DataFrame:
    """Estimates I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        source: an ``ActivationStore``, its path or a glob of paths, or a list of these; or a
            mapping layer name → ``(n, ...)`` such as the ``Activations`` that ``capture`` returns;
            or a Keras model, whose taps are captured.
        estimators: names, configurations or estimator objects; one or a list.
        inputs: ``(n, ...)`` X, for a mapping or a model; a store has its own. A mapping without
            inputs is taken to have n distinct ones.
        targets: ``(n,)`` labels, for a mapping or a model; a store has its own.
        layers: names or globs; ``None`` for all. For a model that is not instrumented, what
            ``instrument`` takes, ``"blocks"`` among it.
        epochs: epochs of a store; ``None`` for all.
        unit: ``"nats"`` or ``"bits"``.
        progress: a progress bar on a terminal, with the time left.
        calibrate: adds to each I(X;T) the columns ``calibrated_lower`` and ``calibrated_upper``:
            which known informations the estimator answers so, on samples like the layer's (see
            ``ib_keras.calibrate``, whose ``mi``, ``repeats``, ``tolerance`` and ``seed`` a dict
            sets). Estimates that are not within the trusted range get the flag ``untrusted``. Each
            estimate is then made some 36 times.
        on_error: what becomes of an estimate that cannot be made, such as one of a layer that is
            too wide for its estimator. ``"flag"``: its row has the value NaN and the flag
            ``not_estimated``, or the value inf and the flag ``infinite`` where the information is
            infinite, and the reason in ``details``; all other rows are there. ``"raise"``: the
            error, which names layer, epoch and estimator.

    Returns:
        A frame in long form, one row for each run, epoch, layer, estimator and quantity, with the
        columns ``ib_keras.frame.COLUMNS``. ``value`` and ``stderr`` are in ``unit``; ``kind`` says
        whether the value is an estimate or a bound; ``flags`` why not to take it at face value.
        Estimators that have more to tell (a compressor's quality, the steps of a sweep) add a
        column ``details`` of JSON. ``attrs["provenance"]`` has the versions of the libraries, the
        estimators' settings, checksums of the data and the model where they are known, and the
        commit of the working directory. ``attrs["not_estimated"]`` is the number of rows without
        an estimate.

    Raises:
        ArgumentError: an estimator, layer or epoch is unknown, lengths differ, or inputs are
            missing, before anything is estimated; with ``on_error="raise"`` also what an estimator
            cannot do.
        StoreError: the path holds no store of this version.
        Interrupted: Ctrl-C; its ``table`` has the estimates that were made.
    """
    frame.check_unit(unit)
    made = make_estimators(estimators)
    calibrator = Calibrator.of(calibrate)
    check_on_error(on_error)
    if (stores := _several(source)) is not None:
        _refuse(inputs=inputs, targets=targets)
        options = {"layers": layers, "epochs": epochs, "unit": unit, "progress": progress}
        parts = [
            estimate(one, made, calibrate=calibrate, on_error=on_error, **options)  # type: ignore[arg-type]
            for one in stores
        ]
        table = frame.concat(parts)
        table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
        return table
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
    check(items, made, samples)
    rows: list[dict[str, Any]] = []

    def so_far() -> pd.DataFrame:
        table = frame.convert(frame.from_rows(rows), unit)
        origin = _origin(source, inputs, targets)
        origin["labels"] = provenance_of(samples.label_names)
        table.attrs.update(provenance.attrs(made, **origin))
        table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
        return table

    total = len(items) * len(made)
    with bar(what="estimates", unit="estimate", total=total, show=progress) as shown:
        try:
            work = run_all(items, made, samples, lambda: shown.update(), calibrator, on_error)
            rows.extend(work)
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
    model = None if isinstance(source, Mapping) else provenance.of_model(source)
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


def _several(source: Any) -> list[Any] | None:
    """The stores of a list or a glob of paths; ``None`` of any other source.

    Raises:
        StoreError: a glob matches nothing.
    """
    if isinstance(source, (list, tuple)):
        if not source or not all(
            isinstance(one, (str, os.PathLike, ActivationStore)) for one in source
        ):
            raise ArgumentError(
                "`source` is a list of something else", "stores or their paths", repr(source)[:200]
            )
        return list(source)
    if not isinstance(source, (str, os.PathLike)) or os.path.exists(source):
        return None
    text = os.fspath(source)
    if not glob.has_magic(text):
        return None
    matches = sorted(glob.glob(text))
    if not matches:
        raise StoreError(f"{text!r} matches nothing", "a glob of stores", "no path")
    return matches


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
            return _propagate(estimator, item, t, {**own, "y": y})
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
