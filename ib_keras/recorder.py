"""Recorder: the Keras callback that records hidden representations over training."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd

from ib_keras import _tracking, frame
from ib_keras.activations import ActivationStore, epoch_writer
from ib_keras.arrays import structures
from ib_keras.arrays.checks import check_count
from ib_keras.arrays.labels import encode_labels, provenance_of
from ib_keras.arrays.structures import fingerprint, flat_inputs
from ib_keras.errors import ArgumentError
from ib_keras.estimation import capture, sources
from ib_keras.estimation.run import make_estimators, run_all
from ib_keras.frame import files, provenance
from ib_keras.instrumentation.model import InstrumentedModel, instrument
from ib_keras.instrumentation.taps import Layers
from ib_keras.storage import atomic, journal, locks, manifests
from ib_keras.training.schedule import Epochs, selector

# In a record's journal: training has come to its end.
_ENDED = {"ended": True}


class Recorder(keras.callbacks.Callback):
    """Records the tapped layers' outputs for fixed inputs while a model trains.

    Epoch 0 is the untrained network, epoch e the network after e epochs. The forward passes are at
    inference and draw their own noise: training is the same with a recorder as without.

    When training starts at a later epoch (``fit(initial_epoch=…)``, ``ib_keras.Backup``), the
    record at the same path is continued: epochs up to there are kept, later ones, which belong to
    the training that was lost, are replaced as they are reached. What makes backups stands behind
    this callback in the list. A training that was killed before its first backup begins anew, and
    so does the record of its first epoch.

    Args:
        path: folder to write, an ``ActivationStore``, or a table with ``keep="estimates"``. It must
            not exist, unless training resumes.
        inputs: ``(n, ...)`` X, or the structure of arrays that the model takes.
        targets: ``(n,)`` class labels or ``(n, classes)`` one-hot; ``None`` for none.
        epochs: ``"log"`` (0, about 20 a decade, and the last), an integer k for every k-th, a list
            of epochs, or a predicate of the epoch.
        layers: names or globs of taps; ``None`` for all. A model that is not instrumented is tapped
            without noise, then ``layers`` is what ``instrument`` takes.
        keep: ``"activations"``, or ``"estimates"`` to estimate in place and keep the table only.
        estimators: what ``keep="estimates"`` keeps. Their estimates are put into Keras's logs, in
            nats, as ``I_XT_nats/ebab/dense_1``: History, CSVLogger, EarlyStopping and trackers that
            stand behind this callback in the list see them beside the loss. They are NaN in the
            epochs that are not recorded, and there from the first recorded epoch on.
        draws: number of noisy passes an epoch.
        conditional_inputs: m, of which ``SamplePropagation`` learns how random a layer behind
            noise is given its input: so many rows, chosen at random, are propagated repeatedly. 0
            for none. Layers with more than 512 values are left out: at that width it would not
            help.
        propagations: n_x, how often.
        batch_size: samples a forward pass.
        seed: of the recorded noise.
        run: name of the run in tables; the folder's name by default.
        log_dir: TensorBoard's folder: each estimate is written as a scalar in nats, below
            ``information``, at the step of its epoch; and the information plane as an image, at
            about 20 epochs a decade. TensorBoard's own callback may share the folder.
        log_prefix: before the names in Keras's logs, to tell two recorders apart; ``None`` keeps
            the estimates out of the logs.

    Raises:
        ArgumentError: an argument is invalid, or the path is taken by something else.
        MissingExtraError: ``log_dir`` is given and TensorBoard or matplotlib is not installed.

    Example::

        noisy = ib_keras.instrument(model, noise_std=0.05)
        noisy.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        recorder = ib_keras.Recorder("runs/mine", inputs=x_test, targets=y_test)
        noisy.fit(x_train, y_train, epochs=100, callbacks=[recorder])
    """

    def __init__(
        self,
        path: str | os.PathLike,
        inputs: Any,
        targets: Any,
        *,
        epochs: Epochs = "log",
        layers: Layers = None,
        keep: Literal["activations", "estimates"] = "activations",
        estimators: Any = None,
        draws: int = 1,
        conditional_inputs: int = 128,
        propagations: int = 64,
        batch_size: int = 256,
        seed: int = 0,
        run: str | None = None,
        log_dir: str | os.PathLike | None = None,
        log_prefix: str | None = "",
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.inputs = inputs
        arrays = flat_inputs(inputs)
        self._n = len(arrays[0])
        self.targets = targets
        if targets is not None:
            encode_labels(targets, self._n, "targets")
        self.draws = check_count(draws, "draws")
        self.batch_size = check_count(batch_size, "batch_size")
        self.conditional_inputs = check_count(conditional_inputs, "conditional_inputs", 0)
        self.propagations = check_count(propagations, "propagations", 2)
        self.layers = layers
        self.seed = seed
        self.run = run or self.path.resolve().name
        self.keep = keep
        if keep not in ("activations", "estimates"):
            raise ArgumentError("`keep` is unknown", "'activations' or 'estimates'", repr(keep))
        if estimators is None and (keep == "estimates" or log_dir is not None):
            raise ArgumentError(
                "`estimators` are missing",
                "some, with keep='estimates' or a log_dir",
                f"None, with keep={keep!r}, log_dir={log_dir!r}",
            )
        self._estimators = None if estimators is None else make_estimators(estimators)
        for estimator in self._estimators or []:
            if getattr(estimator, "wants_global_extent", False):
                raise ArgumentError(
                    f"{estimator} needs all epochs, and training has seen some only",
                    "range='layer', 'neuron' or (lo, hi); or a record of the activations, to be "
                    "estimated afterwards",
                    "range='global'",
                )
        self._selects = selector(epochs)
        self._fingerprint = fingerprint(arrays, None if targets is None else np.asarray(targets))
        self._logs: list[dict[str, Any]] = []
        self._sink: _StoreSink | _TableSink | None = None
        self._tensorboard = None if log_dir is None else _tracking.TensorBoard(log_dir)
        self._draws_plane = selector("log")
        if not (log_prefix is None or isinstance(log_prefix, str)):
            raise ArgumentError("`log_prefix` is no text", "a string or None", repr(log_prefix))
        self.log_prefix = log_prefix
        self._reported: dict[str, float] = {}

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the taps, and fails early on what could not be recorded."""
        own = isinstance(self.model, InstrumentedModel)
        self._tapped = self.model if own else instrument(self.model, layers=self.layers)
        self._tapped.check_inputs(self.inputs)
        self._names = self._tapped.select_taps(self.layers if own else None)
        self._rows = capture.propagated_rows(self._n, self.conditional_inputs, self.seed)
        self._made = {"model": provenance.of_model(self.model), "recorder_seed": self.seed}
        self._sink = None
        self._logs = []
        self._reported = {}

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Opens the record at the first epoch, when it is known where training starts."""
        if self._sink is not None:
            return
        kind = _StoreSink if self.keep == "activations" else _TableSink
        self._sink = kind(self, start=epoch)
        if self._tensorboard is not None:
            self._tensorboard.begin(self._sink.rows())
        self._logs = self._logs or self._sink.noted(epoch)
        if epoch not in self._sink.epochs:
            self._record(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the epoch's logs, records if the epoch is one of those chosen, and adds to them."""
        self._logs.append({"epoch": epoch + 1, **_tracking.numbers(logs)})
        if self._sink is not None and not self._selects(epoch + 1, self.params.get("epochs")):
            self._sink.note(self._logs[-1])
        self._reported = dict.fromkeys(self._reported, math.nan)
        self._record(epoch + 1)
        if logs is not None and self.log_prefix is not None:
            logs.update({self.log_prefix + key: value for key, value in self._reported.items()})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Closes TensorBoard's file, and lets others write the record."""
        if self._sink is not None:
            self._sink.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def replay(
        self,
        model: keras.Model,
        epochs: Iterable[int],
        restore: Callable[[int], object],
        logs: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Records a training that has happened, from its checkpoints.

        Args:
            model: the model into which the checkpoints are loaded.
            epochs: the checkpoints' epochs, ascending.
            restore: puts the model in the state that it had at an epoch.
            logs: Keras's logs of the training, each with the key ``epoch``.
        """
        epochs = list(epochs)
        self.set_model(model)
        self.set_params({"epochs": epochs[-1]})
        self.on_train_begin()
        pending = [dict(row) for row in logs]
        for epoch in epochs:
            restore(epoch)
            self._logs = [row for row in pending if row["epoch"] <= epoch]
            pending = [row for row in pending if row["epoch"] > epoch]
            if self._sink is None:
                self.on_epoch_begin(epoch)
            else:
                self._record(epoch)
        self.on_train_end()

    def _record(self, epoch: int) -> None:
        if self._sink is not None and self._selects(epoch, self.params.get("epochs")):
            rows = self._sink.record(epoch, self._logs)
            self._logs = []
            self._reported |= {_tracking.name(row): float(row["value"]) for row in rows}
            if self._tensorboard is not None:
                self._tensorboard.write(rows)
                if self._draws_plane(epoch, self.params.get("epochs")):
                    self._tensorboard.draw()

    def _propagate(self, names: list[str], epoch: int) -> Iterator[dict[str, np.ndarray]]:
        """S of the chosen rows, pass by pass."""
        inputs = structures.take(self.inputs, self._rows)
        for k in range(self.propagations if names else 0):
            for _, _, _, clean in self._tapped.stream(
                inputs, [], names, batch_size=self.batch_size, seed=(self.seed, epoch, k, 1)
            ):
                yield clean


class _StoreSink:
    """Streams activations into a store."""

    def __init__(self, recorder: Recorder, start: int) -> None:
        self._r = recorder
        self._store = self._found(start) or ActivationStore.create(
            recorder.path,
            inputs=recorder.inputs,
            targets=recorder.targets,
            layers=recorder._names,
            run=recorder.run,
            draws=recorder.draws,
            made=recorder._made,
        )
        self._lock = locks.acquire(recorder.path)
        atomic.remove_unfinished(recorder.path)
        self._stale = {epoch for epoch in self._store.epochs if epoch > start or not start}

    def _found(self, start: int) -> ActivationStore | None:
        """The record that is to be continued, if there is one."""
        path = self._r.path
        if not (path / manifests.MANIFEST).exists():
            return None
        store = ActivationStore(path)
        # What a training left that was killed before it could be backed up.
        begun = max(store.epochs, default=0) <= 1 and _ENDED not in journal.read(path)
        if not start and not (begun and store.made == self._r._made):
            atomic.check_free(path)
        _check_same(self._r, store.fingerprint, store.layers)
        return store

    def note(self, row: dict[str, Any]) -> None:
        self._store.note(row)

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        return self._store.noted(epoch) if epoch else []

    def close(self) -> None:
        journal.append(self._r.path, _ENDED)
        self._lock.release()

    @property
    def epochs(self) -> set[int]:
        return set(self._store.epochs) - self._stale

    def rows(self) -> list[dict[str, Any]]:
        return []

    def record(self, epoch: int, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if epoch in self._stale:
            self._store.remove(epoch)
            self._stale.remove(epoch)
        r = self._r
        noise = {name: r._tapped.noise_std[name] for name in r._names}
        noisy_layers = [name for name, stddev in noise.items() if stddev > 0]
        propagated = capture.propagated_taps(r._tapped, r._names) if len(r._rows) else []
        with self._store.writer(
            epoch,
            noise_std=noise,
            logs=logs,
            random=r._tapped.random_taps.intersection(r._names),
            propagated=(r._rows, r.propagations) if propagated else None,
        ) as writer:
            for draw in range(r.draws):
                stream = r._tapped.stream(
                    r.inputs,
                    r._names,
                    noisy_layers,
                    batch_size=r.batch_size,
                    seed=(r.seed, epoch, draw),
                )
                for _, _, noisy, clean in stream:
                    for name, values in noisy.items():
                        writer.write(name, values)
                    for name, values in clean.items():
                        writer.write(name, values, epoch_writer.CLEAN)
            for values in r._propagate(propagated, epoch):
                for name, chunk in values.items():
                    writer.write(name, chunk, epoch_writer.PROPAGATED)
        if r._estimators is None:
            return []
        samples, items = sources.from_store(self._store, epochs=[epoch])
        return list(run_all(items, r._estimators, samples))


class _TableSink:
    """Estimates in place; only the table and the logs reach the disk."""

    def __init__(self, recorder: Recorder, start: int) -> None:
        self._r = recorder
        self._frame, self._logs = frame.from_rows([]), pd.DataFrame()
        self._lock: locks.Lock | None = None
        # A training that ended well leaves no journal.
        parts = (journal.NAME, manifests.MANIFEST, frame.ESTIMATES)
        killed = all((recorder.path / name).exists() for name in parts)
        if (recorder.path / manifests.MANIFEST).exists() and (start or killed):
            table = frame.load(recorder.path)
            if not start and table["epoch"].max() > 1:
                atomic.check_free(recorder.path)
            self._lock = locks.acquire(recorder.path)
            kept = (table["epoch"] <= start) & bool(start)
            self._frame = table.loc[kept, frame.columns(table)]
            logs = frame.read_logs(recorder.path)
            self._logs = logs[logs["epoch"] <= start] if len(logs) else logs
        else:
            atomic.check_free(recorder.path)
        self._samples = sources.Samples.of(
            recorder._n, recorder.targets, recorder.inputs, recorder.draws
        )
        self._attrs = provenance.attrs(
            recorder._estimators or [],
            data=recorder._fingerprint,
            labels=provenance_of(self._samples.label_names),
            **recorder._made,
        )

    @property
    def epochs(self) -> set[int]:
        return set(self._frame["epoch"])

    def note(self, row: dict[str, Any]) -> None:
        if self._lock is not None:
            journal.append(self._r.path, {"logs": epoch_writer.finite(row)})

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        written = set(self._logs["epoch"]) if len(self._logs) else set()
        noted = journal.read(self._r.path) if epoch else []
        rows = {entry["logs"]["epoch"]: entry["logs"] for entry in noted if "logs" in entry}
        return [rows[e] for e in sorted(rows) if e <= epoch and e not in written]

    def close(self) -> None:
        if self._lock is not None:
            (self._r.path / journal.NAME).unlink(missing_ok=True)
            self._lock.release()

    def rows(self) -> list[dict[str, Any]]:
        """Those of the epochs before this training."""
        return [{str(k): v for k, v in row.items()} for row in self._frame.to_dict("records")]

    def record(self, epoch: int, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        r = self._r
        captured = capture.capture(
            r._tapped,
            r.inputs,
            r._names,
            r._estimators or [],
            rows=r._rows,
            propagations=r.propagations,
            draws=r.draws,
            batch_size=r.batch_size,
            seed=(r.seed, epoch),
        )
        items = sources.items_of(captured, run=r.run, epoch=epoch)
        rows = list(run_all(items, r._estimators or [], self._samples))
        self._frame = pd.concat([self._frame, frame.from_rows(rows)], ignore_index=True)
        added = pd.DataFrame([{"run": r.run, **row} for row in logs])
        self._logs = pd.concat([self._logs, added], ignore_index=True)
        self._frame.attrs.update(self._attrs)
        self._frame.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(self._frame)
        # The journal comes with the folder: a table without one is of a training that has ended.
        files.write_table(self._frame, r.path, self._logs, begun={"begun": epoch})
        if self._lock is None:
            self._lock = locks.acquire(r.path)
        return rows


def _check_same(recorder: Recorder, found: str, layers: list[str]) -> None:
    if found != recorder._fingerprint or layers != recorder._names:
        raise ArgumentError(
            f"The record at {str(recorder.path)!r} is of other data or layers",
            "the inputs, targets and layers with which it was begun, or a new path",
            f"layers {recorder._names}, recorded {layers}; "
            f"data {'equal' if found == recorder._fingerprint else 'different'}",
        )
