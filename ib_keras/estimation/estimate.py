"""estimate(): a table of information from recorded activations."""

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
from ib_keras.estimation.sources import from_arrays, from_model, from_store
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
    """Estimate I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        source: an ``ActivationStore``, its path, a glob of paths, or a list of stores or paths; a
            mapping layer name → ``(n, ...)``, such as the ``Activations`` that ``capture`` returns;
            or a Keras model, whose taps are captured.
        estimators: a name, configuration or estimator object, or a list of these.
        inputs: X, ``(n, ...)``, for a mapping or a model; a store has its own. If a mapping has no
            inputs, all n are assumed to be distinct.
        targets: class labels ``(n,)``, for a mapping or a model; a store has its own.
        layers: names or globs of layers; ``None`` for all. For a model that is not instrumented,
            ``layers`` as for ``instrument``, including ``"blocks"``.
        epochs: epochs of a store; ``None`` for all.
        unit: ``"nats"`` or ``"bits"``.
        progress: whether to show a progress bar on a terminal.
        calibrate: whether to add the columns ``calibrated_lower`` and ``calibrated_upper`` to each
            I(X;T). They are the ends of the interval of true values that are consistent with the
            estimate, on samples that resemble the layer's (see ``ib_keras.calibrate``). A dict sets
            its arguments ``mi``, ``repeats``, ``tolerance`` and ``seed``. Estimates whose interval
            is not within the trusted range get the flag ``untrusted``. Each estimate is then made
            about 36 times.
        on_error: the treatment of estimates that cannot be made, for example because a layer is too
            wide for an estimator. With ``"flag"``, the row has the value NaN and the flag
            ``not_estimated``, or the value inf and the flag ``infinite`` if the information is
            infinite, and the reason in ``details``. With ``"raise"``, the error is raised, and
            names layer, epoch and estimator.

    Returns:
        A frame in long form, with one row for each run, epoch, layer, estimator and quantity, and
        the columns ``ib_keras.frame.COLUMNS``. ``value`` and ``stderr`` are in ``unit``; ``kind``
        says whether the value is an estimate or a bound; ``flags`` are reasons not to trust the
        value. Some estimators add a column ``details`` of JSON, for example with the quality of a
        compressor or the steps of a sweep. ``attrs["provenance"]`` has the versions of the
        libraries, the estimators' settings, checksums of the data and the model if they are known,
        and the commit of the working directory. ``attrs["not_estimated"]`` is the number of rows
        without an estimate.

    Raises:
        ArgumentError: If an estimator, layer or epoch is unknown, lengths differ, or inputs are
            missing; all this is checked before anything is estimated. With ``on_error="raise"``,
            also if an estimate cannot be made.
        StoreError: If the path is not a store of this version.
        Interrupted: If Ctrl-C is pressed; its ``table`` has the estimates so far.
    """
    frame.check_unit(unit)
    made = make_estimators(estimators)
    calibrator = Calibrator.of(calibrate)
    check_on_error(on_error)
    if (stores := _several(source)) is not None:
        _refuse(inputs=inputs, targets=targets)
        options: dict[str, Any] = {
            "layers": layers, "epochs": epochs, "unit": unit, "progress": progress,
            "calibrate": calibrate, "on_error": on_error,
        }  # fmt: skip
        table = frame.concat([estimate(store, made, **options) for store in stores])
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

    def table_so_far() -> pd.DataFrame:
        table = frame.convert(frame.from_rows(rows), unit)
        origin = _origin(source, inputs, targets)
        origin["labels"] = provenance_of(samples.label_names)
        table.attrs.update(provenance.attrs(made, **origin))
        table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
        return table

    total = len(sources) * len(made)
    with bar(what="estimates", unit="estimate", total=total, show=progress) as shown:
        try:
            rows.extend(
                run_all(sources, made, samples, lambda: shown.update(), calibrator, on_error)
            )
        except KeyboardInterrupt as stop:
            done = len({(r["run"], r["epoch"], r["layer"], r["estimator"]) for r in rows})
            raise Interrupted(f"{done} of {total} estimates were made", table_so_far()) from stop
    return table_so_far()


def _origin(source: Any, inputs: Any, targets: Any) -> dict[str, Any]:
    """The data and the model of a table, as far as they are known."""
    if isinstance(source, ActivationStore):
        return {"data": source.fingerprint, **source.made}
    arrays = None if inputs is None else flat_inputs(inputs)
    labels = None if targets is None else np.asarray(targets)
    model = None if isinstance(source, Mapping) else provenance.of_model(source)
    return {"data": None if arrays is None else fingerprint(arrays, labels), "model": model}


def _several(source: Any) -> list[Any] | None:
    """The stores of a list or a glob of paths; ``None`` for any other source."""
    if isinstance(source, (list, tuple)):
        if not source or not all(
            isinstance(one, (str, os.PathLike, ActivationStore)) for one in source
        ):
            raise ArgumentError(
                "`source` is not a list of stores", "stores or their paths", repr(source)[:200]
            )
        return list(source)
    if not isinstance(source, (str, os.PathLike)) or os.path.exists(source):
        return None
    pattern = os.fspath(source)
    if not glob.has_magic(pattern):
        return None
    matches = sorted(glob.glob(pattern))
    if not matches:
        raise StoreError(f"{pattern!r} matches nothing", "a glob of stores", "no path")
    return matches


def _refuse(**arguments: Any) -> None:
    passed = [name for name, value in arguments.items() if value is not None]
    if passed:
        raise ArgumentError(
            f"`{passed[0]}` cannot be used with this source",
            "inputs and targets for arrays and models, epochs for stores",
            passed,
        )
