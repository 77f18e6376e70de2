"""Recorder: the Keras callback that records hidden representations over training."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from ib_keras.arrays.checks import check_count
from ib_keras.arrays.labels import encode_labels
from ib_keras.arrays.structures import fingerprint, flat_inputs
from ib_keras.callbacks import tensorboard
from ib_keras.callbacks.sinks import Recording, Sink, StoreSink, TableSink
from ib_keras.errors import ArgumentError
from ib_keras.estimation import capture
from ib_keras.estimation.run import make_estimators
from ib_keras.frame import provenance
from ib_keras.instrumentation.model import InstrumentedModel, instrument
from ib_keras.instrumentation.taps import Layers
from ib_keras.training.schedule import Epochs, selector


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
        self._estimators = [] if estimators is None else make_estimators(estimators)
        for estimator in self._estimators:
            if estimator.traits.all_epochs:
                raise ArgumentError(
                    f"{estimator} needs all epochs, and training has seen some only",
                    "range='layer', 'neuron' or (lo, hi); or a record of the activations, to be "
                    "estimated afterwards",
                    "range='global'",
                )
        self._selects = selector(epochs)
        self._fingerprint = fingerprint(arrays, None if targets is None else np.asarray(targets))
        self._logs: list[dict[str, Any]] = []
        self._sink: Sink | None = None
        self._tensorboard = None if log_dir is None else tensorboard.TensorBoard(log_dir)
        self._draws_plane = selector("log")
        if not (log_prefix is None or isinstance(log_prefix, str)):
            raise ArgumentError("`log_prefix` is not a text", "a string or None", repr(log_prefix))
        self.log_prefix = log_prefix
        self._reported: dict[str, float] = {}

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the taps, and fails early on what could not be recorded."""
        own = isinstance(self.model, InstrumentedModel)
        tapped = self.model if own else instrument(self.model, layers=self.layers)
        tapped.check_inputs(self.inputs)
        self._recording = Recording(
            path=self.path,
            run=self.run,
            inputs=self.inputs,
            targets=self.targets,
            n=self._n,
            tapped=tapped,
            names=tuple(tapped.select_taps(self.layers if own else None)),
            estimators=tuple(self._estimators),
            rows=capture.propagated_rows(self._n, self.conditional_inputs, self.seed),
            propagations=self.propagations,
            draws=self.draws,
            batch_size=self.batch_size,
            seed=self.seed,
            fingerprint=self._fingerprint,
            origin={"model": provenance.of_model(self.model), "recorder_seed": self.seed},
        )
        self._sink = None
        self._logs = []
        self._reported = {}

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Opens the record at the first epoch, when it is known where training starts."""
        if self._sink is not None:
            return
        kind: type[StoreSink | TableSink] = StoreSink if self.keep == "activations" else TableSink
        self._sink = kind(self._recording, start=epoch)
        if self._tensorboard is not None:
            self._tensorboard.begin(self._sink.rows())
        self._logs = self._logs or self._sink.noted(epoch)
        if epoch not in self._sink.epochs:
            self._record(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the epoch's logs, records if the epoch is one of those chosen, and adds to them."""
        self._logs.append({"epoch": epoch + 1, **tensorboard.numbers(logs)})
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
            self._reported |= {tensorboard.name(row): float(row["value"]) for row in rows}
            if self._tensorboard is not None:
                self._tensorboard.write(rows)
                if self._draws_plane(epoch, self.params.get("epochs")):
                    self._tensorboard.draw()
