"""estimate(): recorded activations in, a table of information out."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame
from ib_keras.activations import ActivationStore
from ib_keras.arrays.labels import provenance_of
from ib_keras.arrays.structures import fingerprint, flat_inputs
from ib_keras.errors import ArgumentError, Interrupted, StoreError
from ib_keras.estimation.calibrate import Calibrator
from ib_keras.estimation.cells import OnError, check_on_error
from ib_keras.estimation.run import check, make_estimators, run_all
from ib_keras.estimation.sources import (
    from_arrays,
    from_model,
    from_store,
)
from ib_keras.frame import provenance
from ib_keras.progress import bar


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
        samples, sources = from_store(source, layers, epochs)
    else:
        _refuse(epochs=epochs)
        if isinstance(source, Mapping):
            samples, sources = from_arrays(source, inputs, targets, layers)
        else:
            samples, sources = from_model(source, inputs, targets, layers, made)
    check(sources, made, samples)
    rows: list[dict[str, Any]] = []

    def so_far() -> pd.DataFrame:
        table = frame.convert(frame.from_rows(rows), unit)
        origin = _origin(source, inputs, targets)
        origin["labels"] = provenance_of(samples.label_names)
        table.attrs.update(provenance.attrs(made, **origin))
        table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
        return table

    total = len(sources) * len(made)
    with bar(what="estimates", unit="estimate", total=total, show=progress) as shown:
        try:
            work = run_all(sources, made, samples, lambda: shown.update(), calibrator, on_error)
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


def _refuse(**arguments: Any) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ArgumentError(
            f"`{given[0]}` does not go with this source",
            "inputs and targets for arrays and models, epochs for stores",
            given,
        )
