"""Training of an ensemble with estimates of the information of all layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pandas as pd

from ib_keras import datasets, examples, frame
from ib_keras.activations import Activations
from ib_keras.arrays.checks import check_count
from ib_keras.arrays.labels import provenance_of
from ib_keras.arrays.targets import as_targets
from ib_keras.ensembles.networks import Ensemble
from ib_keras.errors import ArgumentError
from ib_keras.estimation import sources
from ib_keras.estimation.capture import Captured, propagated_rows
from ib_keras.estimation.run import make_estimators, run_all
from ib_keras.estimators.base import BaseEstimator
from ib_keras.frame import provenance
from ib_keras.training.schedule import Epochs, selector, split

# Called with the layers of one network at one epoch.
Observer = Callable[[sources.Recorded], object]


def study(
    build: Callable[[int], keras.Model],
    data: datasets.Dataset,
    *,
    seeds: Sequence[int],
    estimators: Any,
    epochs: int,
    record: Epochs = "log",
    batch_size: int = 256,
    learning_rate: float = 4e-4,
    noise_std: float | Mapping[str, float] = 0.0,
    label: str = "ensemble",
    observer: Observer | None = None,
    workers: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train networks with different seeds, and estimate the information of all their layers.

    Args:
        build: see ``Ensemble``.
        data: the data set; its training part trains, and activations are recorded for all rows.
        seeds: one seed for each network.
        estimators: a name, configuration or estimator object, or a list of these. A configuration
            may have a schedule of its own, ``{"name": "akde", "record": "log:40"}``. Sample
            propagation needs ``noise_std``.
        epochs: number of epochs.
        record: the schedule of the recorded epochs, as for ``Recorder``, of all estimators without
            a schedule of their own.
        batch_size: samples per step.
        learning_rate: learning rate of Adam.
        noise_std: standard deviation of the networks' noise, see ``Ensemble``.
        label: the runs are named ``label-seed``.
        observer: function that is called for each network at each recorded epoch with its layers,
            in the form that ``clustering.measures`` accepts. It may be called from several threads.
        workers: number of threads for the estimates; ``None`` for as many as TensorFlow uses.

    Returns:
        A table of estimates in nats; and the logs with the columns ``run``, ``epoch``, and the loss
        and accuracy of both parts at the end of the epoch. Noisy networks are also evaluated
        without noise (``noiseless_loss``, ``val_noiseless_accuracy``, …).

    Raises:
        ArgumentError: As for ``Ensemble`` and ``estimate``; or if estimators need different numbers
            of propagations, or no estimator runs at any epoch.
    """
    planned = [split(one, record) for one in _listed(estimators)]
    made = make_estimators([identifier for identifier, _ in planned])
    _check_propagations(made)
    schedules = [selector(schedule) for _, schedule in planned]
    ensemble = Ensemble(build, seeds, noise_std=noise_std)
    samples = sources.Samples.of(len(data.x), data.y, data.x)
    runs = [f"{label}-{seed}" for seed in ensemble.seeds]
    rows: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    threads = _threads() if workers is None else check_count(workers, "workers")
    with ThreadPoolExecutor(threads) as pool:
        for epoch in ensemble.fit(data.x_train, data.y_train, **options):  # type: ignore[arg-type]
            used = [e for e, at in zip(made, schedules, strict=True) if at(epoch, epochs)]
            if not used:
                continue
            noisy, clean = ensemble.passes(data.x, draw=epoch)
            measured = _evaluations(ensemble, data)
            for k, run in enumerate(runs):
                values = {name: float(each[k]) for name, each in measured.items()}
                logs.append({"run": run, "epoch": epoch, **values})

            def one(
                k: int, epoch: int = epoch, noisy: Any = noisy, clean: Any = clean, used: Any = used
            ) -> list[dict[str, Any]]:
                taps = ensemble.activations(noisy, k)
                captured = _captured(ensemble, k, data.x, taps, clean, used, epoch)
                layers = sources.sources_of(captured, run=runs[k], epoch=epoch)
                if observer is not None:
                    observer(sources.Recorded(samples, layers))
                return list(run_all(layers, used, samples))

            for part in pool.map(one, range(len(runs))):
                rows += part
    if not logs:
        raise ArgumentError(
            "No epoch was recorded", f"a schedule with epochs up to {epochs}", repr(record)
        )
    table = frame.from_rows(rows)
    origin = {
        "data": examples.fingerprint(examples.of(data.x), as_targets(data.y, len(data.x))),
        "model": provenance.of_model(ensemble.model),
        "seeds": ensemble.seeds,
        "labels": provenance_of(data.label_names),
    }
    return frame.with_attrs(table, provenance.attrs(made, **origin)), pd.DataFrame(logs)


def _evaluations(ensemble: Ensemble, data: datasets.Dataset) -> dict[str, np.ndarray]:
    """Return the loss and accuracy of each network on both parts, by their names in logs."""
    found: dict[str, np.ndarray] = {}
    kinds = {"": True, "noiseless_": False} if any(ensemble.noise_std.values()) else {"": True}
    for kind, noisy in kinds.items():
        for part, prefix in ((data.train, ""), (data.test, "val_")):
            measured = ensemble.evaluate(*part, noisy=noisy)
            found |= {f"{prefix}{kind}{name}": each for name, each in measured.items()}
    return found


def _check_propagations(estimators: Sequence[Any]) -> None:
    """Check that all estimators need the same propagations, which are computed only once."""
    wanted = {
        (one.conditional_inputs, one.propagations) for one in estimators if one.traits.propagations
    }
    if len(wanted) > 1:
        raise ArgumentError(
            "The estimators of an ensemble want different propagations",
            "equal `conditional_inputs` and `propagations`",
            sorted(wanted),
        )


def _captured(
    ensemble: Ensemble,
    index: int,
    x: np.ndarray,
    taps: Any,
    clean: Mapping[str, np.ndarray],
    estimators: Sequence[BaseEstimator],
    draw: int,
) -> Captured:
    """Return the outputs, and if needed the propagations, that the estimators use of a network."""
    propagating: list[Any] = [one for one in estimators if one.traits.propagations]
    if not propagating:
        return Captured(taps)
    rows = propagated_rows(len(x), max(one.conditional_inputs for one in propagating), 0)
    times = max(one.propagations for one in propagating)
    propagated = Activations(ensemble.propagate(index, x[rows], times, draw=draw))
    return Captured(taps, ensemble.activations(clean, index), rows, propagated)


def _threads() -> int:
    """Return the number of threads that TensorFlow uses for one operation."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 0) or os.cpu_count() or 1


def _listed(identifiers: Any) -> list[Any]:
    alone = isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Sequence)
    return [identifiers] if alone else list(identifiers)
