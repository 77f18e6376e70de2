"""The sinks of a recorder: a store of activations, or a table of estimates."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ib_keras import frame
from ib_keras.activations import ActivationStore, epoch_writer
from ib_keras.activations.kinds import CLEAN, MASK, MEAN, NOISY, PROPAGATED, SCALE
from ib_keras.arrays.targets import Target
from ib_keras.errors import ArgumentError
from ib_keras.estimation import capture, sources
from ib_keras.estimation.run import run_all
from ib_keras.estimators.base import BaseEstimator
from ib_keras.examples import Examples
from ib_keras.frame import files, provenance
from ib_keras.instrumentation.model import InstrumentedModel
from ib_keras.instrumentation.viewed import Viewed
from ib_keras.storage import atomic, journal, locks, manifests

# The entry of a record's journal at the end of training.
_ENDED = {"ended": True}


@dataclasses.dataclass(frozen=True)
class Recording:
    """The settings of a record of one training.

    Args:
        path: the folder of the record.
        run: name of the run in tables.
        inputs: the rows of X.
        targets: the targets of these rows.
        tapped: the model whose layers are recorded.
        names: names of the recorded layers.
        viewed: the views of these layers.
        view_inputs: inputs on which views are fitted.
        estimators: the estimators that run at each recorded epoch.
        conditional: whether they also estimate I(X;T|Y).
        rows: ``(m,)`` the rows that are propagated repeatedly.
        propagations: number of times each of these rows is propagated.
        draws: number of noisy forward passes per epoch.
        batch_size: number of samples per forward pass.
        seed: seed of the recorded noise.
        fingerprint: checksum of inputs and targets.
        origin: provenance of the model and the recorder.
    """

    path: pathlib.Path
    run: str
    inputs: Examples
    targets: tuple[Target, ...]
    tapped: InstrumentedModel
    names: tuple[str, ...]
    viewed: Viewed
    view_inputs: Any
    estimators: tuple[BaseEstimator, ...]
    conditional: bool
    rows: np.ndarray
    propagations: int
    draws: int
    batch_size: int
    seed: int
    fingerprint: str
    origin: Mapping[str, Any]

    def fitted(self, epoch: int) -> Viewed:
        """Return the views, fitted at this epoch."""
        return self.tapped.fit_views(
            self.viewed, self.view_inputs, (self.seed, epoch, 4), self.batch_size
        )

    def propagate(
        self, names: list[str], epoch: int, viewed: Viewed
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield S of the repeatedly propagated rows, one batch of a forward pass at a time."""
        if not names:
            return
        passes = self.tapped.propagations(
            self.inputs.take(self.rows), names, self.propagations, viewed=viewed,
            batch_size=self.batch_size, seed=(self.seed, epoch),
        )  # fmt: skip
        for _, _, batch in passes:
            yield batch


class Sink(Protocol):
    """The interface through which a recorder writes its record."""

    @property
    def epochs(self) -> set[int]:
        """The recorded epochs that are kept."""

    def note(self, row: dict[str, Any]) -> None:
        """Keep an epoch's logs until the next recorded epoch."""

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        """Return the logs up to an epoch that do not belong to a recorded epoch yet."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table before this training."""
        return []

    def record(self, epoch: int, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Record an epoch with the logs since the last one, and return its rows of the table."""

    def release(self) -> None:
        """Unlock a record that did not end."""

    def close(self) -> None:
        """End the record and unlock it."""


def _check_free(path: pathlib.Path) -> None:
    """Check that a new record overwrites nothing.

    If there is a record at the path, the error says how to resume it.

    Raises:
        ArgumentError: If ``path`` exists and is not an empty folder.
    """
    try:
        atomic.check_free(path)
    except ArgumentError as error:
        if not (path / manifests.MANIFEST).exists():
            raise
        raise ArgumentError(
            error.invalid,
            f"{error.expected}; or a training that resumes this record (`fit(initial_epoch=…)` or "
            "`ib_keras.Backup`)",
            "a record, and a training that starts at epoch 0",
        ) from None


def _check_same(
    recording: Recording, fingerprint: str, layers: list[str], views: Mapping[str, str]
) -> None:
    """Check that the record that a training resumes has the same data, layers and views.

    Raises:
        ArgumentError: If they differ.
    """
    names, own = list(recording.names), recording.viewed.names
    same = fingerprint == recording.fingerprint
    if not same or layers != names or views != own:
        raise ArgumentError(
            f"The record at {str(recording.path)!r} is of other data or layers",
            "the inputs, targets, layers and views of the existing record, or a new path",
            f"layers {names}, recorded {layers}; views {own}, recorded {views}; "
            f"data {'equal' if same else 'different'}",
        )


class StoreSink(Sink):
    """Writes activations to a store."""

    def __init__(self, recording: Recording, start: int) -> None:
        self._r = recording
        self._store = self._existing(start) or ActivationStore.create(
            recording.path,
            inputs=recording.inputs,
            targets=recording.targets,
            layers=list(recording.names),
            run=recording.run,
            draws=recording.draws,
            made=recording.origin,
            views=recording.viewed.names,
        )
        self._lock = locks.acquire(recording.path)
        atomic.remove_unfinished(recording.path)
        self._stale = {epoch for epoch in self._store.epochs if epoch > start or not start}

    def _existing(self, start: int) -> ActivationStore | None:
        """Return the record to continue, if there is one."""
        path = self._r.path
        if not (path / manifests.MANIFEST).exists():
            return None
        store = ActivationStore(path)
        # Whether the record may be that of a training that was killed before its first backup.
        begun = max(store.epochs, default=0) <= 1 and _ENDED not in journal.read(path)
        if not start and not (begun and store.made == self._r.origin):
            _check_free(path)
        _check_same(self._r, store.fingerprint, store.layers, store.views)
        return store

    def note(self, row: dict[str, Any]) -> None:
        """Keep an epoch's logs until the next recorded epoch."""
        self._store.note(row)

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        """Return the logs up to an epoch that do not belong to a recorded epoch yet."""
        return self._store.noted(epoch) if epoch else []

    def close(self) -> None:
        """End the record and unlock it."""
        journal.append(self._r.path, _ENDED)
        self._lock.release()

    def release(self) -> None:
        """Unlock a record that did not end."""
        self._lock.release()

    @property
    def epochs(self) -> set[int]:
        """The recorded epochs that are kept."""
        return set(self._store.epochs) - self._stale

    def record(self, epoch: int, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Record an epoch with the logs since the last one."""
        if epoch in self._stale:
            self._store.remove(epoch)
            self._stale.remove(epoch)
        r = self._r
        viewed = r.fitted(epoch)
        noise = {name: r.tapped.view_noise(viewed)[name] for name in r.names}
        declared = [name for name in r.tapped.declared_taps(viewed) if name in r.names]
        wanted = {
            NOISY: r.names,
            CLEAN: [name for name, stddev in noise.items() if stddev > 0],
            MEAN: declared,
            SCALE: declared,
            MASK: r.tapped.masked_positions(viewed),
        }
        propagated = capture.propagated_taps(r.tapped, r.names, viewed) if len(r.rows) else []
        with self._store.writer(
            epoch,
            noise_std=noise,
            logs=logs,
            random=r.tapped.random_views(viewed).intersection(r.names),
            propagated=(r.rows, r.propagations) if propagated else None,
        ) as writer:
            for draw in range(r.draws):
                for _, batch in r.tapped.stream(
                    r.inputs, wanted, viewed=viewed, batch_size=r.batch_size,
                    seed=(r.seed, epoch, draw),
                ):  # fmt: skip
                    for kind, arrays in batch.items():
                        for name, values in arrays.items():
                            writer.write(name, values, kind)
            for clean in r.propagate(propagated, epoch, viewed):
                for name, chunk in clean.items():
                    writer.write(name, chunk, PROPAGATED)
        if not r.estimators:
            return []
        samples, layers = sources.from_store(self._store, epochs=[epoch])
        return list(run_all(layers, r.estimators, samples, conditional=r.conditional))


class TableSink(Sink):
    """Estimates during training, and writes only the table and the logs."""

    def __init__(self, recording: Recording, start: int) -> None:
        self._r = recording
        self._frame, self._logs = frame.from_rows([]), pd.DataFrame()
        self._lock: locks.Lock | None = None
        # The journal is removed at the end of training.
        parts = (journal.NAME, manifests.MANIFEST, frame.ESTIMATES)
        killed = all((recording.path / name).exists() for name in parts)
        if (recording.path / manifests.MANIFEST).exists() and (start or killed):
            table = frame.load(recording.path)
            if not start and table["epoch"].max() > 1:
                _check_free(recording.path)
            rows = table.sort_values("layer_index").to_dict("records")
            views = {row["layer"]: row.get("view", "") for row in rows}
            _check_same(
                recording,
                table.attrs[provenance.KEY]["data"],
                list(views),
                {name: view for name, view in views.items() if view},
            )
            self._lock = locks.acquire(recording.path)
            kept = (table["epoch"] <= start) & bool(start)
            self._frame = table.loc[kept, frame.columns(table)]
            logs = frame.read_logs(recording.path)
            self._logs = logs[logs["epoch"] <= start] if len(logs) else logs
        else:
            _check_free(recording.path)
        self._samples = sources.Samples.of(
            recording.inputs.n, recording.targets, recording.inputs, recording.draws
        )
        self._attrs = provenance.attrs(
            recording.estimators,
            data=recording.fingerprint,
            labels=self._samples.provenance(),
            **recording.origin,
        )

    @property
    def epochs(self) -> set[int]:
        """The recorded epochs that are kept."""
        return set(self._frame["epoch"])

    def note(self, row: dict[str, Any]) -> None:
        """Keep an epoch's logs until the next recorded epoch."""
        if self._lock is not None:
            journal.append(self._r.path, {"logs": epoch_writer.finite(row)})

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        """Return the logs up to an epoch that do not belong to a recorded epoch yet."""
        written = set(self._logs["epoch"]) if len(self._logs) else set()
        noted = journal.read(self._r.path) if epoch else []
        rows = {entry["logs"]["epoch"]: entry["logs"] for entry in noted if "logs" in entry}
        return [rows[e] for e in sorted(rows) if e <= epoch and e not in written]

    def close(self) -> None:
        """End the record and unlock it."""
        if self._lock is not None:
            (self._r.path / journal.NAME).unlink(missing_ok=True)
            self._lock.release()

    def release(self) -> None:
        """Unlock a record that did not end."""
        if self._lock is not None:
            self._lock.release()

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table before this training."""
        return [{str(k): v for k, v in row.items()} for row in self._frame.to_dict("records")]

    def record(self, epoch: int, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Record an epoch with the logs since the last one."""
        r = self._r
        captured = capture.capture(
            r.tapped, r.inputs, r.names, r.estimators, rows=r.rows, propagations=r.propagations,
            draws=r.draws, batch_size=r.batch_size, seed=(r.seed, epoch), viewed=r.viewed,
            view_inputs=r.view_inputs,
        )  # fmt: skip
        layers = sources.sources_of(captured, run=r.run, epoch=epoch)
        rows = list(run_all(layers, r.estimators, self._samples, conditional=r.conditional))
        self._frame = pd.concat([self._frame, frame.from_rows(rows)], ignore_index=True)
        added = pd.DataFrame([{"run": r.run, **row} for row in logs])
        self._logs = pd.concat([self._logs, added], ignore_index=True)
        frame.with_attrs(self._frame, self._attrs)
        # A new folder gets a journal; a table without one belongs to a finished training.
        files.write_table(self._frame, r.path, self._logs, begun={"begun": epoch})
        if self._lock is None:
            self._lock = locks.acquire(r.path)
        return rows
