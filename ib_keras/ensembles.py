"""Many small networks trained side by side, as one program with a leading axis of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ib_keras import datasets, frame
from ib_keras.arrays.checks import check_count, check_positive
from ib_keras.arrays.labels import Name, encode_labels, recode
from ib_keras.errors import ArgumentError
from ib_keras.estimation import sources
from ib_keras.estimation.capture import Captured
from ib_keras.estimation.run import make_estimators, run_all
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.taps import input_spec, plan
from ib_keras.progress import bar
from ib_keras.training.schedule import Epochs, selector


class Ensemble:
    """Networks of one architecture whose weights are stacked along a leading axis.

    A step of all takes hardly longer than a step of one: small networks are all overhead. Each is
    trained as Keras's ``fit`` would train it alone with Adam on the same batches.

    Args:
        build: a function of a seed that returns a Keras model with softmax outputs; the models
            differ in their initial weights only.
        seeds: one for each network.

    Raises:
        ArgumentError: the architectures differ, or have weights that are not trained by gradients
            (normalisation, dropout), which cannot be stacked.
    """

    def __init__(self, build: Callable[[int], keras.Model], seeds: Sequence[int]) -> None:
        if not len(seeds):
            raise ArgumentError("`seeds` are empty", "at least one", list(seeds))
        self.seeds = [int(seed) for seed in seeds]
        self._model = build(self.seeds[0])
        self._check_stackable()
        weights = [self._model.get_weights()]
        for seed in self.seeds[1:]:
            model = build(seed)
            weights.append(model.get_weights())
            shapes = [[w.shape for w in some] for some in (weights[0], weights[-1])]
            if shapes[0] != shapes[1]:
                raise ArgumentError("The architectures differ", f"weights {shapes[0]}", shapes[1])
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
        """The weights of one network, as ``keras.Model.set_weights`` takes them."""
        return [weight.numpy()[index] for weight in self._weights]

    def capture(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The tapped layers' outputs: name → ``(networks, n, *shape)``."""
        taps = self._forward(tf.constant(x, self._plan.spec.dtype))
        return {name: tap.numpy() for name, tap in zip(self.layers, taps, strict=True)}

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """``loss`` (cross-entropy and penalties, in nats) and ``accuracy`` of each network."""
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
        """Trains with Adam and cross-entropy, and stops after each epoch for its caller.

        Args:
            x: ``(n, ...)`` inputs.
            y: ``(n,)`` labels of any kind; the classes of the outputs are 0…K−1, or if labels are
                none of these, the K different ones in their order.
            epochs: number of epochs.
            batch_size: samples a step; the last batch of an epoch may be smaller.
            learning_rate: Adam's.
            shuffle: whether each network goes through the rows in its own order, anew in every
                epoch (``order``), or all in the order given.

        Yields:
            0 before the training, then the number of each epoch that has ended.
        """
        epochs, batch_size = check_count(epochs, "epochs", 0), check_count(batch_size, "batch_size")
        n = len(x)
        names, classes = encode_labels(y, n).names, self._model.output_shape[-1]
        known = all(type(one) is int and 0 <= one < classes for one in names)
        if not known and len(names) != classes:
            raise ArgumentError("`y` does not fit the outputs", f"{classes} classes", list(names))
        self._label_names = tuple(range(classes)) if known else names
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
        """The order in which a network goes through ``n`` rows in an epoch."""
        return np.random.default_rng([seed, epoch]).permutation(n)

    def _codes(self, y: Any, n: int) -> np.ndarray:
        """Labels as positions in the outputs, of some of the classes only, too."""
        labels = recode(y, n)
        if unknown := sorted(set(labels.names) - set(self._label_names), key=str):
            raise ArgumentError(
                "`y` has other labels than the networks", str(list(self._label_names)), unknown
            )
        return np.array([self._label_names.index(one) for one in labels.names])[labels.codes]

    def _check_stackable(self) -> None:
        frozen = [w.path for w in self._model.non_trainable_variables]
        if frozen:
            raise ArgumentError(
                "The networks have weights that gradients do not train",
                "dense, convolution, embedding and activation layers; no normalisation, no dropout",
                frozen,
            )

    def _map(self, function: Callable, *arguments: Any) -> Any:
        """``function`` of each network's weights and arguments."""
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
            found: dict[str, Any] = {}

            def record(name: str, layer: Any, args: tuple, output: Any) -> Any:
                found[name] = output
                return output

            with Session(self._plan.watched, record):
                self._model.stateless_call(weights, [], x, training=False)
            return [found[name] for name in self.layers]

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
    """Trains networks that differ in their seeds, and estimates all layers of all of them.

    Args:
        build: see ``Ensemble``.
        data: trained on its first part; activations are recorded for all rows.
        seeds: one for each network.
        estimators: names, configurations or estimator objects.
        epochs: number of epochs.
        record: which epochs are recorded, as ``Recorder`` takes it.
        batch_size: samples a step.
        learning_rate: Adam's.
        label: the runs are named ``label-seed``.
        workers: threads that estimate.

    Returns:
        A table of estimates in nats, and the logs: ``run``, ``epoch``, and the losses and
        accuracies of both parts at the end of the epoch.

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
                found = sources.sources_of(Captured(arrays), run=runs[k], epoch=epoch)
                return list(run_all(found, made, samples))

            for part in pool.map(one, range(len(runs))):
                rows += part
    table = frame.from_rows(rows)
    table.attrs[frame.NOT_ESTIMATED] = frame.count_not_estimated(table)
    return table, pd.DataFrame(logs)
