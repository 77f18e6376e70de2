"""estimate(): a table of information from recorded activations."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ib_keras import examples, frame
from ib_keras.activations import ActivationStore
from ib_keras.arrays.checks import check_bool
from ib_keras.errors import ArgumentError, Interrupted, StoreError
from ib_keras.estimation.calibrate import Calibrator
from ib_keras.estimation.cells import OnError, check_on_error
from ib_keras.estimation.run import check, make_estimators, run_all
from ib_keras.estimation.sources import (
    Samples,
    Source,
    check_epochs,
    from_arrays,
    from_model,
    from_store,
)
from ib_keras.estimators.base import BaseEstimator
from ib_keras.frame import provenance
from ib_keras.progress import bar
from ib_keras.storage import buckets


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
    conditional: bool = False,
    views: Any = None,
    view_inputs: Any = None,
    batch_size: int = 256,
    seed: int | None = None,
) -> pd.DataFrame:
    """Estimate I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        source: an ``ActivationStore``, its path, a glob of paths, or a list of stores or paths; a
            mapping layer name → ``(n, ...)``, such as the ``Activations`` that ``capture`` returns;
            or a Keras model, whose taps are captured. A path may be in a bucket (``gs://…``), from
            which only the selected layers are copied.
        estimators: a name, configuration or estimator object, or a list of these.
        inputs: X in any form that ``InstrumentedModel.capture`` takes, arrays or data sets, for a
            mapping or a model; a store has its own. Without inputs for a mapping, all n inputs are
            assumed to be distinct.
        targets: Y, for a mapping or a model; a store has its own. Class labels ``(n,)`` or one-hot
            rows; numbers ``(n,)`` or ``(n, k)``; or several targets, as a dict by name, a matrix of
            several labels, or a list. Each of several targets has its own rows, with the quantity
            ``I(T;Y[name])``. With ``None``, the targets of the data set are used, if it has any.
        layers: names or globs of layers; ``None`` for all. The range of values that some estimators
            need is always that of all layers and epochs of a store. For a model that is not
            instrumented, ``layers`` as for ``instrument``, including ``"blocks"``.
        epochs: epochs of a store; ``None`` for all.
        unit: ``"nats"`` or ``"bits"``.
        progress: whether to show a progress bar on a terminal.
        calibrate: whether to add the columns ``calibrated_lower`` and ``calibrated_upper`` to each
            I(X;T). They are the ends of the interval of true values that are consistent with the
            estimate, on samples that resemble the layer's (see ``ib_keras.calibrate``). A dict sets
            the arguments ``mi``, ``repeats``, ``tolerance`` and ``seed`` of that function.
            Estimates whose interval is not within the trusted range get the flag ``untrusted``.
            Calibration makes each estimate about 36 times.
        on_error: the treatment of estimates that cannot be made, for example because a layer is too
            wide for an estimator. With ``"flag"``, the row has the value NaN and the flag
            ``not_estimated``, or the value inf and the flag ``infinite`` if the information is
            infinite, and the reason is in ``details``. With ``"raise"``, the error is raised; its
            message names the layer, epoch and estimator.
        conditional: whether to also estimate I(X;T|Y), the information about the input that the
            target does not explain, with the quantity ``I(X;T|Y)`` or ``I(X;T|Y[name])``. Because
            Y → X → T is a Markov chain, it equals I(X;T) − I(T;Y). Estimators that compare T with X
            estimate it within each class, and the row gets the flag ``inconsistent`` if it differs
            from this difference by more than the errors. A class with too few rows gives NaN and
            the reason. The other estimators return the difference itself. No row is added if an
            estimator does not estimate I(T;Y), or if Y consists of numbers that are not binned.
        views: functions of the layers of a model, as for ``InstrumentedModel.capture``.
        view_inputs: inputs on which the views ``"pca:k"`` are fitted.
        batch_size: samples per forward pass, for a model.
        seed: seed of a model's noise and random numbers; ``None`` for a new seed at every call.

    Returns:
        A frame in long form, with one row for each run, epoch, layer, estimator and quantity, and
        the columns ``ib_keras.frame.COLUMNS``. ``value`` and ``stderr`` are in ``unit``; ``kind``
        says whether the value is an estimate or a bound; ``flags`` are reasons to distrust the
        value. Some estimators add a column ``details`` of JSON, for example with the quality of a
        compressor or the steps of a sweep. ``attrs["provenance"]`` has the versions of the
        libraries, the estimators' settings, checksums of the data and the model if they are known,
        and the commit of the working directory. ``attrs["not_estimated"]`` is the number of rows
        without an estimate.

    Raises:
        ArgumentError: If an estimator, layer or epoch is unknown, lengths differ, or inputs are
            missing; this is checked for all stores before anything is estimated. With
            ``on_error="raise"``, also if an estimate cannot be made.
        StoreError: If the path is not a store of this version.
        Interrupted: If Ctrl-C is pressed; its ``table`` has the estimates so far.
    """
    frame.check_unit(unit)
    estimators = make_estimators(estimators)
    calibrator = Calibrator.of(calibrate)
    check_on_error(on_error)
    check_bool(conditional, "conditional")
    epochs = None if epochs is None else check_epochs(epochs)
    capture = {"views": views, "view_inputs": view_inputs, "seed": seed}
    parts = [
        _part(one, estimators, inputs, targets, layers, epochs, capture, batch_size)
        for one in _stores_or_source(source)
    ]
    for part in parts:
        check(part.sources, estimators, part.samples)

    def table_so_far() -> pd.DataFrame:
        started = [part for part in parts if part.rows] or parts[:1]
        git = provenance.git_state()
        tables = [_table(part, estimators, unit, git) for part in started]
        table = tables[0] if len(parts) == 1 else frame.concat(tables)
        return frame.with_attrs(table, {})

    total = len(estimators) * sum(len(part.sources) for part in parts)
    with bar(what="estimates", unit="estimate", total=total, show=progress) as shown:
        try:
            for part in parts:
                part.rows.extend(
                    run_all(
                        part.sources, estimators, part.samples, lambda: shown.update(), calibrator,
                        on_error, conditional,
                    )
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            cells = ("run", "epoch", "layer", "estimator")
            done = sum(len({tuple(row[c] for c in cells) for row in part.rows}) for part in parts)
            raise Interrupted(f"{done} of {total} estimates were made", table_so_far()) from stop
    return table_so_far()


@dataclasses.dataclass
class _Part:
    """The layers and epochs of one store, mapping or model, and their estimates.

    Args:
        source: the store, mapping or model.
        samples: the inputs and labels of its rows.
        sources: its layers and epochs.
        rows: the rows of the table so far, in nats.
    """

    source: Any
    samples: Samples
    sources: list[Source]
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def _part(
    source: Any, estimators: Sequence[BaseEstimator], inputs: Any, targets: Any, layers: Any,
    epochs: Any, capture: Mapping[str, Any], batch_size: int,
) -> _Part:  # fmt: skip
    if isinstance(source, ActivationStore):
        _refuse(inputs=inputs, targets=targets, **capture)
        return _Part(source, *from_store(source, layers, epochs))
    _refuse(epochs=epochs)
    if isinstance(source, Mapping):
        _refuse(**capture)
        return _Part(source, *from_arrays(source, inputs, targets, layers))
    found = from_model(
        source, inputs, targets, layers, estimators, batch_size=batch_size, **capture
    )
    return _Part(source, *found)


def _table(
    part: _Part, estimators: Sequence[BaseEstimator], unit: str, git: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Make the table of the estimates so far, with its provenance."""
    table = frame.convert(frame.from_rows(part.rows), unit)
    origin = {**_origin(part), "labels": part.samples.provenance(), "git": git}
    return frame.with_attrs(table, provenance.attrs(estimators, **origin))


def _origin(part: _Part) -> dict[str, Any]:
    """Return the data and the model of a table, as far as they are known."""
    if isinstance(part.source, ActivationStore):
        return {"data": part.source.fingerprint, **part.source.made}
    raw = part.samples.raw
    data = None if raw is None else examples.fingerprint(raw, part.samples.targets)
    model = None if isinstance(part.source, Mapping) else provenance.of_model(part.source)
    return {"data": data, "model": model}


def _stores_or_source(source: Any) -> list[Any]:
    """Open the stores of a path, a glob or a list; return any other source in a list."""
    if isinstance(source, (list, tuple)):
        if not source or not all(
            isinstance(one, (str, os.PathLike, ActivationStore)) for one in source
        ):
            raise ArgumentError(
                "`source` is not a list of stores", "stores or their paths", repr(source)[:200]
            )
        return [store for one in source for store in _stores_or_source(one)]
    if not isinstance(source, (str, os.PathLike)):
        return [source]
    path = os.fspath(source)
    remote = buckets.is_url(path)
    if not glob.has_magic(path) or (not remote and os.path.exists(path)):
        return [ActivationStore(path)]
    matches = buckets.matches(path) if remote else sorted(glob.glob(path))
    if not matches:
        raise StoreError(f"{path!r} matches nothing", "a glob of stores", "no path")
    return [ActivationStore(match) for match in matches]


def _refuse(**arguments: Any) -> None:
    passed = [name for name, value in arguments.items() if value is not None]
    if passed:
        raise ArgumentError(
            f"`{passed[0]}` cannot be used with this source",
            "inputs and targets for arrays and models, views and a seed for models, epochs for "
            "stores",
            passed,
        )
