"""Training of many small networks in one program, with a leading axis of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ib_keras import datasets, examples, frame
from ib_keras.arrays.checks import check_count, check_positive
from ib_keras.arrays.labels import Name, encode_labels, provenance_of, recode
from ib_keras.arrays.targets import as_targets
from ib_keras.errors import ArgumentError
from ib_keras.estimation import sources
from ib_keras.estimation.capture import Captured
from ib_keras.estimation.run import make_estimators, run_all
from ib_keras.frame import provenance
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.taps import input_spec, plan
from ib_keras.progress import bar
from ib_keras.training.schedule import Epochs, selector


class Ensemble:
    """Networks of one architecture whose weights are stacked along a leading axis.

    One step of all networks takes hardly longer than a step of one, because a step of a small
    network is mostly overhead. Each network is trained as Keras's ``fit`` would train it alone,
    with Adam on the same batches.

    Args:
        build: function of a seed that returns a Keras model with softmax outputs; the models may
            differ only in their initial weights.
        seeds: one seed for each network.

    Raises:
        ArgumentError: If the architectures differ, or have weights that gradients do not train
            (normalisation, dropout) and that therefore cannot be stacked.
    """

    def __init__(self, build: Callable[[int], keras.Model], seeds: Sequence[int]) -> None:
        if not len(seeds):
            raise ArgumentError("`seeds` are empty", "at least one", list(seeds))
        self.seeds = [int(seed) for seed in seeds]
        self._model = build(self.seeds[0])
        if frozen := [w.path for w in self._model.non_trainable_variables]:
            raise ArgumentError(
                "The networks have weights that gradients do not train",
                "dense, convolution, embedding and activation layers; no normalisation, no dropout",
                frozen,
            )
        weights = [self._model.get_weights()]
        for seed in self.seeds[1:]:
            model = build(seed)
            weights.append(model.get_weights())
            first, shapes = ([w.shape for w in one] for one in (weights[0], weights[-1]))
            if first != shapes:
                raise ArgumentError("The architectures differ", f"weights {first}", shapes)
        self._weights = [
            keras.Variable(np.stack(each), trainable=True, name=f"weight_{i}")
            for i, each in enumerate(zip(*weights, strict=True))
        ]
        self._plan = plan(self._model, None, input_spec(self._model))
        self._forward = tf.function(self._all_taps, autograph=False)
        self._label_names: tuple[Name, ...] = tuple(range(self._model.output_shape[-1]))

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def layers(self) -> list[str]:
        """The tapped layers' names."""
        return self._plan.names

    def weights(self, index: int) -> list[np.ndarray]:
        """Return the weights of the network ``index``, for ``keras.Model.set_weights``."""
        return [weight.numpy()[index] for weight in self._weights]

    def capture(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the tapped layers' outputs, name → ``(networks, n, *shape)``."""
        taps = self._forward(tf.constant(x, self._plan.spec.dtype))
        return {name: tap.numpy() for name, tap in zip(self.layers, taps, strict=True)}

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Compute each network's ``loss`` (cross-entropy and penalties, in nats) and ``accuracy``.

        Args:
            x: inputs, ``(n, ...)``.
            y: labels, ``(n,)``.

        Returns:
            ``{"loss": (networks,), "accuracy": (networks,)}``.
        """
        labels = tf.constant(self._codes(y, len(x)), tf.int32)
        losses, correct = self._evaluate(tf.constant(x, self._plan.spec.dtype), labels)
        return {"loss": losses.numpy(), "accuracy": correct.numpy()}

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        epochs: int,
        batch_size: int = 256,
        learning_rate: float = 4e-4,
        shuffle: bool = True,
    ) -> Iterator[int]:
        """Train with Adam and cross-entropy, and return to the caller after each epoch.

        Args:
            x: inputs, ``(n, ...)``.
            y: labels of any kind, ``(n,)``. If they are all integers from 0 to K−1, they are the
                indices of the K outputs; otherwise the K sorted labels are those of the outputs.
            epochs: number of epochs.
            batch_size: samples per step; the last batch of an epoch may be smaller.
            learning_rate: learning rate of Adam.
            shuffle: whether each network has the rows in an order of its own, a new one in every
                epoch (see ``order``); otherwise all have the order of ``x``.

        Yields:
            0 before the training, then the number of each epoch at its end.
        """
        epochs, batch_size = check_count(epochs, "epochs", 0), check_count(batch_size, "batch_size")
        n = len(x)
        names, classes = encode_labels(y, n).names, self._model.output_shape[-1]
        are_indices = all(type(name) is int and 0 <= name < classes for name in names)
        if not are_indices and len(names) != classes:
            raise ArgumentError("`y` does not fit the outputs", f"{classes} classes", list(names))
        self._label_names = tuple(range(classes)) if are_indices else names
        labels = tf.constant(self._codes(y, n), tf.int32)
        data = tf.constant(x, self._plan.spec.dtype)
        optimizer = keras.optimizers.Adam(check_positive(learning_rate, "learning_rate"))
        optimizer.build(self._weights)
        steps = -(-n // batch_size)
        present = np.zeros(steps * batch_size, np.float32)
        present[:n] = 1
        present = tf.constant(present.reshape(steps, batch_size))

        @tf.function(autograph=False)
        def one_epoch(order: Any) -> None:
            def step(i: Any) -> Any:
                rows = order[:, i]
                with tf.GradientTape() as tape:
                    total = tf.reduce_sum(
                        self._map(self._loss, tf.gather(data, rows), tf.gather(labels, rows),
                                  tf.repeat(present[None, i], len(self), axis=0))
                    )  # fmt: skip
                values = [weight.value for weight in self._weights]
                optimizer.apply(tape.gradient(total, values), self._weights)
                return i + 1

            tf.while_loop(lambda i: i < steps, lambda i: (step(i),), (0,))

        yield 0
        for epoch in bar(range(1, epochs + 1), "networks side by side", unit="epoch"):
            rows = np.zeros((len(self), steps * batch_size), np.int32)
            for k, seed in enumerate(self.seeds):
                rows[k, :n] = self.order(seed, epoch, n) if shuffle else np.arange(n)
            one_epoch(tf.constant(rows.reshape(len(self), steps, batch_size)))
            yield epoch

    @staticmethod
    def order(seed: int, epoch: int, n: int) -> np.ndarray:
        """Return the order of ``n`` rows in an epoch of the network with this seed."""
        return np.random.default_rng([seed, epoch]).permutation(n)

    def _codes(self, y: Any, n: int) -> np.ndarray:
        """Convert labels to indices of the outputs; some classes may be missing."""
        labels = recode(y, n)
        if unknown := sorted(set(labels.names) - set(self._label_names), key=str):
            raise ArgumentError(
                "`y` has other labels than the networks", str(list(self._label_names)), unknown
            )
        return np.array([self._label_names.index(one) for one in labels.names])[labels.codes]

    def _map(self, function: Callable, *arguments: Any) -> Any:
        """Apply a function to the weights and arguments of each network."""
        stacked = [weight.value for weight in self._weights]
        return tf.vectorized_map(lambda each: function(*each), (stacked, *arguments))

    def _loss(self, weights: Any, x: Any, y: Any, present: Any) -> Any:
        outputs, _, penalties = self._model.stateless_call(
            weights, [], x, training=True, return_losses=True
        )
        each = keras.losses.sparse_categorical_crossentropy(y, outputs)
        mean = tf.reduce_sum(each * present) / tf.reduce_sum(present)
        return tf.add_n([mean, *penalties])

    @tf.function(autograph=False)
    def _evaluate(self, x: Any, y: Any) -> Any:
        def one(weights: Any) -> Any:
            outputs, _, penalties = self._model.stateless_call(
                weights, [], x, training=False, return_losses=True
            )
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, outputs))
            hits = tf.argmax(outputs, axis=-1, output_type=tf.int32) == y
            return tf.add_n([loss, *penalties]), tf.reduce_mean(tf.cast(hits, tf.float32))

        return self._map(one)

    def _all_taps(self, x: Any) -> list[Any]:
        def one(weights: Any) -> list[Any]:
            outputs: dict[str, Any] = {}

            def record(name: str, layer: Any, args: tuple, kwargs: dict, output: Any) -> Any:
                outputs[name] = output
                return output

            with Session(self._plan.watched, record):
                self._model.stateless_call(weights, [], x, training=False)
            return [outputs[name] for name in self.layers]

        return self._map(one)


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
    label: str = "ensemble",
    workers: int = 2,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train networks with different seeds, and estimate the information of all their layers.

    Args:
        build: see ``Ensemble``.
        data: the data set; its training part trains, and activations are recorded for all rows.
        seeds: one seed for each network.
        estimators: a name, configuration or estimator object, or a list of these.
        epochs: number of epochs.
        record: the schedule of the recorded epochs, as for ``Recorder``.
        batch_size: samples per step.
        learning_rate: learning rate of Adam.
        label: the runs are named ``label-seed``.
        workers: number of threads for the estimates.

    Returns:
        A table of estimates in nats, and the logs with the columns ``run``, ``epoch``, and the loss
        and accuracy of both parts at the end of the epoch.

    Raises:
        ArgumentError: see ``Ensemble`` and ``estimate``.
    """
    made = make_estimators(estimators)
    selects = selector(record)
    ensemble = Ensemble(build, seeds)
    samples = sources.Samples.of(len(data.x), data.y, data.x)
    runs = [f"{label}-{seed}" for seed in ensemble.seeds]
    rows: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    with ThreadPoolExecutor(check_count(workers, "workers")) as pool:
        for epoch in ensemble.fit(data.x_train, data.y_train, **options):  # type: ignore[arg-type]
            if not selects(epoch, epochs):
                continue
            captured = ensemble.capture(data.x)
            train, test = ensemble.evaluate(*data.train), ensemble.evaluate(*data.test)
            for k, run in enumerate(runs):
                values = {name: float(v[k]) for name, v in train.items()}
                values |= {f"val_{name}": float(v[k]) for name, v in test.items()}
                logs.append({"run": run, "epoch": epoch, **values})

            def one(k: int, epoch: int = epoch, captured: Any = captured) -> list[dict[str, Any]]:
                arrays = {name: taps[k] for name, taps in captured.items()}
                layers = sources.sources_of(Captured(arrays), run=runs[k], epoch=epoch)
                return list(run_all(layers, made, samples))

            for part in pool.map(one, range(len(runs))):
                rows += part
    table = frame.from_rows(rows)
    origin = {
        "data": examples.fingerprint(examples.of(data.x), as_targets(data.y, len(data.x))),
        "model": provenance.of_model(ensemble._model),
        "seeds": ensemble.seeds,
        "labels": provenance_of(data.label_names),
    }
    table.attrs.update(provenance.attrs(made, **origin))
    table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
    return table, pd.DataFrame(logs)
