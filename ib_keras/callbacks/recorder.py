"""Recorder: the Keras callback that records hidden representations during training."""

from __future__ import annotations

import math
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import keras

from ib_keras import examples
from ib_keras.arrays.checks import check_bool, check_count, check_seed
from ib_keras.arrays.targets import as_targets
from ib_keras.callbacks import tensorboard
from ib_keras.callbacks.sinks import Recording, Sink, StoreSink, TableSink
from ib_keras.errors import ArgumentError
from ib_keras.estimation import capture
from ib_keras.estimation.run import make_estimators
from ib_keras.frame import provenance
from ib_keras.instrumentation.model import InstrumentedModel, instrument
from ib_keras.instrumentation.taps import Layers
from ib_keras.training.schedule import Epochs, beyond, selector
from ib_keras.views import patterns


class Recorder(keras.callbacks.Callback):
    """Records the tapped layers' outputs for fixed inputs while a model trains.

    Epoch 0 is the untrained network, epoch e the network after e epochs. The forward passes run in
    inference mode and draw their own noise, so the recorder does not change the training.

    If training starts at a later epoch (``fit(initial_epoch=…)``, ``ib_keras.Backup``), the record
    at the same path is continued: epochs up to this one are kept, and later epochs, which belong
    to the lost training, are replaced when they are reached. Callbacks that make backups must come
    after this one in the list. If a training was killed before its first backup, it starts from the
    beginning, and the record of its first epoch is replaced.

    Args:
        path: folder to write: an ``ActivationStore``, or a table with ``keep="estimates"``. It must
            not exist, unless training resumes.
        inputs: X in any form that Keras accepts: an array ``(n, ...)``, a list or dict of arrays,
            or a data set (``tf.data.Dataset``, ``keras.utils.PyDataset``, an iterator that ends) of
            inputs, or of inputs and targets. A data set is read once at the start of training and
            once for each recorded epoch, one batch at a time; its rows must be the same, in the
            same order, each time.
        targets: Y: class labels ``(n,)`` or one-hot rows; numbers ``(n,)`` or ``(n, k)``; several
            targets as a dict by name, a matrix of several labels, or a list. ``None`` takes the
            targets of a data set; arrays then have none.
        epochs: ``"log"`` (0, about 20 per decade, and the last), an integer k for every k-th epoch,
            a list of epochs, or a predicate of the epoch. A warning names the epochs of a list that
            the training does not reach.
        layers: names or globs of taps; ``None`` for all. A model that is not instrumented is tapped
            without noise; ``layers`` is then the argument of ``instrument``.
        keep: ``"activations"``, or ``"estimates"`` to estimate during training and keep only the
            table of estimates.
        estimators: the estimators, for ``keep="estimates"`` or ``log_dir``. Their estimates are
            added to Keras's logs, in nats, under names such as ``I_XT_nats/ebab/dense_1``, for
            callbacks after this one in the list (CSVLogger, EarlyStopping, trackers) and for
            History. They appear from the first recorded epoch on, and are NaN in epochs that are
            not recorded.
        conditional: whether the estimators also estimate I(X;T|Y), as in ``ib_keras.estimate``.
        draws: number of noisy forward passes per epoch.
        conditional_inputs: m, the number of randomly chosen rows that are propagated repeatedly.
            From these rows, ``SamplePropagation`` measures how random a layer that comes after
            noise is, given the input. 0 for no such rows. Layers with more than 512 values are left
            out, because the propagations would not help at that width.
        propagations: n_x, the number of times each of these rows is propagated.
        views: functions of the layers' outputs that are recorded in their place (see
            ``ib_keras.views``): a view for all layers that it fits, or names or globs of layers →
            views, such as ``{"block*": "mean"}``. Only the views are stored.
        view_inputs: inputs on which the views ``"pca:k"`` are fitted at each recorded epoch. They
            should not be among ``inputs``.
        batch_size: number of samples per forward pass.
        seed: seed of the recorded noise.
        run: name of the run in tables; the default is the name of the folder.
        log_dir: TensorBoard's folder, which its own callback may share. Each estimate is written as
            a scalar in nats, below ``information``, at the step of its epoch; the information plane
            is written as an image, at about 20 epochs per decade.
        log_prefix: prefix of the names in Keras's logs, to distinguish two recorders; with ``None``
            the estimates are not added to the logs.

    Raises:
        ArgumentError: If an argument is invalid. ``fit`` raises it if the model does not fit the
            inputs, or if the path exists and the training does not resume the record there.
        MissingExtraError: If ``log_dir`` is given and TensorBoard or matplotlib is not installed.

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
        targets: Any = None,
        *,
        epochs: Epochs = "log",
        layers: Layers = None,
        keep: Literal["activations", "estimates"] = "activations",
        estimators: Any = None,
        conditional: bool = False,
        draws: int = 1,
        conditional_inputs: int = 128,
        propagations: int = 64,
        views: Any = None,
        view_inputs: Any = None,
        batch_size: int = 256,
        seed: int = 0,
        run: str | None = None,
        log_dir: str | os.PathLike | None = None,
        log_prefix: str | None = "",
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.inputs = inputs
        self.targets = targets
        self.views, self.view_inputs = views, view_inputs
        patterns(views)  # unknown views are noticed before the training
        self._examples = examples.of(inputs, targets)
        self._view_inputs = view_inputs
        if view_inputs is not None:  # an iterator is copied only once
            self._view_inputs = examples.of(view_inputs, name="view_inputs")
        if not examples.is_data_set(inputs):
            as_targets(targets, self._examples.n)
        self.draws = check_count(draws, "draws")
        self.batch_size = check_count(batch_size, "batch_size")
        self.conditional_inputs = check_count(conditional_inputs, "conditional_inputs", 0)
        self.propagations = check_count(propagations, "propagations", 2)
        self.layers = layers
        self.seed = check_seed(seed)
        self.run = run or self.path.resolve().name
        self.keep = keep
        if keep not in ("activations", "estimates"):
            raise ArgumentError("`keep` is unknown", "'activations' or 'estimates'", repr(keep))
        if estimators is None and (keep == "estimates" or log_dir is not None):
            raise ArgumentError(
                "`estimators` are missing",
                "at least one, with keep='estimates' or a log_dir",
                f"None, with keep={keep!r}, log_dir={log_dir!r}",
            )
        self._estimators = [] if estimators is None else make_estimators(estimators)
        for estimator in self._estimators:
            if estimator.traits.all_epochs:
                raise ArgumentError(
                    f"{estimator} needs all epochs, which are not available during training",
                    "range='layer', 'neuron' or (lo, hi); or a record of the activations, for "
                    "estimates after training",
                    "range='global'",
                )
        self._conditional = check_bool(conditional, "conditional")
        if isinstance(epochs, Iterable) and not isinstance(epochs, str):
            epochs = list(epochs)
        self._epochs, self._selects = epochs, selector(epochs)
        self._logs: list[dict[str, Any]] = []
        self._training: Mapping[str, Any] | None = None
        self._sink: Sink | None = None
        self._tensorboard = None if log_dir is None else tensorboard.TensorBoard(log_dir)
        self._draws_plane = selector("log")
        if not (log_prefix is None or isinstance(log_prefix, str)):
            raise ArgumentError(
                "`log_prefix` is not a string", "a string or None", repr(log_prefix)
            )
        self.log_prefix = log_prefix
        self._reported: dict[str, float] = {}

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Select the taps, and check that the inputs fit the model."""
        own = isinstance(self.model, InstrumentedModel)
        tapped = self.model if own else instrument(self.model, layers=self.layers)
        rows = tapped.examples(self._examples)
        targets = as_targets(rows.targets, rows.n)
        names = tapped.select_taps(self.layers if own else None)
        viewed = tapped.views(names, self.views)
        viewed.check_inputs(self._view_inputs)
        if viewed.unfitted:
            tapped.examples(self._view_inputs)
        self._recording = Recording(
            path=self.path,
            run=self.run,
            inputs=rows,
            targets=targets,
            tapped=tapped,
            names=tuple(names),
            viewed=viewed,
            view_inputs=self._view_inputs,
            estimators=tuple(self._estimators),
            conditional=self._conditional,
            rows=capture.propagated_rows(rows.n, self.conditional_inputs, self.seed),
            propagations=self.propagations,
            draws=self.draws,
            batch_size=self.batch_size,
            seed=self.seed,
            fingerprint=examples.fingerprint(rows, targets),
            origin={
                "model": provenance.of_model(self.model),
                **({} if self._training is None else {"training": dict(self._training)}),
                "recorder_seed": self.seed,
            },
        )
        self._sink = None
        self._logs = []
        self._reported = {}
        last = self.params.get("epochs")
        if missed := beyond(self._epochs, last):
            warnings.warn(
                f"Epochs {missed} are not recorded: the training ends at epoch {last}.",
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Open the record at the first epoch, whose number is not known earlier."""
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
        """Record a selected epoch, and add the estimates to the logs."""
        self._logs.append({"epoch": epoch + 1, **tensorboard.numbers(logs)})
        if self._sink is not None and not self._selects(epoch + 1, self.params.get("epochs")):
            self._sink.note(self._logs[-1])
        self._reported = dict.fromkeys(self._reported, math.nan)
        self._record(epoch + 1)
        if logs is not None and self.log_prefix is not None:
            logs.update({self.log_prefix + key: value for key, value in self._reported.items()})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close TensorBoard's file, and unlock the record."""
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
        *,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a finished training from its checkpoints.

        Args:
            model: the model into which the checkpoints are loaded.
            epochs: the epochs of the checkpoints, in ascending order.
            restore: function of an epoch that loads its checkpoint into the model.
            logs: Keras's logs of the training, each with the key ``epoch``.
            training: a JSON-serialisable description of the training, for the provenance of tables.
        """
        epochs = list(epochs)
        self._training = training
        self.set_model(model)
        self.set_params({"epochs": epochs[-1]})
        self.on_train_begin()
        pending = [dict(row) for row in logs]
        try:
            for epoch in epochs:
                restore(epoch)
                self._logs = [row for row in pending if row["epoch"] <= epoch]
                pending = [row for row in pending if row["epoch"] > epoch]
                if self._sink is None:
                    self.on_epoch_begin(epoch)
                else:
                    self._record(epoch)
        except BaseException:
            if self._sink is not None:
                self._sink.release()
            raise
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
