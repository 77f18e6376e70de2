"""Many networks of one architecture in one program, stacked along a leading axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.activations import Activations
from ib_keras.arrays.checks import check_count, check_positive
from ib_keras.arrays.labels import Name, encode_labels, recode
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.taps import input_spec, plan
from ib_keras.progress import bar

# Kinds of passes, whose noise is drawn from different streams.
_TRAINING, _EVALUATION, _RECORD, _PROPAGATION = range(4)
# Rows that one network propagates at a time.
_CHUNK = 1 << 15


class Ensemble:
    """Networks of one architecture whose weights are stacked along a leading axis.

    One step of all networks takes hardly longer than a step of one, because a step of a small
    network is mostly overhead. Each network is trained as Keras's ``fit`` would train it alone,
    with Adam on the same batches; constraints of the weights apply after each step.

    With ``noise_std``, the networks are noisy, T_ℓ = S_ℓ + N(0, noise_std²·I), in training and at
    inference, as ``instrument`` makes them. The noise of a network depends on its seed only.

    Args:
        build: function of a seed that returns a Keras model with softmax outputs; the models may
            differ only in their initial weights.
        seeds: one seed for each network.
        noise_std: standard deviation of the noise, as for ``instrument``: a number for all hidden
            layers, or a mapping of names or globs to numbers.

    Raises:
        ArgumentError: If the architectures differ, or have weights that gradients do not train
            (normalisation, dropout) and that therefore cannot be stacked, or the noise is invalid.

    Example:
        >>> networks = Ensemble(lambda seed: ib_keras.models.szt(seed=seed), range(10))
        >>> for epoch in networks.fit(x, y, epochs=100):
        ...     activations = networks.capture(x)
    """

    def __init__(
        self,
        build: Callable[[int], keras.Model],
        seeds: Sequence[int],
        *,
        noise_std: float | Mapping[str, float] = 0.0,
    ) -> None:
        if not len(seeds):
            raise ArgumentError("`seeds` are empty", "at least one", list(seeds))
        self.seeds = [int(seed) for seed in seeds]
        self.model = build(self.seeds[0])
        if frozen := [w.path for w in self.model.non_trainable_variables]:
            raise ArgumentError(
                "The networks have weights that gradients do not train",
                "dense, convolution, embedding and activation layers; no normalisation, no dropout",
                frozen,
            )
        weights = [self.model.get_weights()]
        for seed in self.seeds[1:]:
            model = build(seed)
            weights.append(model.get_weights())
            first, shapes = ([w.shape for w in one] for one in (weights[0], weights[-1]))
            if first != shapes:
                raise ArgumentError("The architectures differ", f"weights {first}", shapes)
        self._shapes = [weight.shape for weight in weights[0]]
        # One variable of all weights, so that the optimizer needs one update instead of many.
        flat = [np.concatenate([weight.reshape(-1) for weight in each]) for each in weights]
        self._flat = keras.Variable(np.stack(flat), trainable=True, name="weights")
        self._constraints = [weight.constraint for weight in self.model.trainable_variables]
        self._plan = plan(self.model, None, input_spec(self.model))
        noise = self._plan.noise(noise_std)
        self.noise_std = {name: noise.get(name, 0.0) for name in self._plan.names}
        shape = (1, *self.model.input_shape[1:])
        sums = np.sum(self.model(np.zeros(shape, self._plan.spec.dtype.name)), axis=-1)
        if not np.allclose(sums, 1, atol=1e-3) or any(noise.get(n) for n in self._plan.outputs):
            raise ArgumentError(
                "The outputs are not probabilities, which the cross-entropy needs",
                "a softmax at the end, and no noise after it",
                f"outputs that sum to {float(sums.ravel()[0]):.3g}, noise_std={noise_std}",
            )
        # The noise of all layers is drawn at once.
        self._sizes = [
            math.prod(tap.shape) if self.noise_std[tap.name] else 0 for tap in self._plan.taps
        ]
        self._forward = tf.function(self._all_taps, autograph=False)
        self._alone = tf.function(self._clean_taps, autograph=False, reduce_retracing=True)
        self._label_names: tuple[Name, ...] = tuple(range(self.model.output_shape[-1]))

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def layers(self) -> list[str]:
        """The tapped layers' names."""
        return self._plan.names

    def weights(self, index: int) -> list[np.ndarray]:
        """Return the weights of the network ``index``, for ``keras.Model.set_weights``."""
        return [weight.numpy()[0] for weight in self._stacked(self._flat.value[index : index + 1])]

    def _stacked(self, flat: Any) -> list[Any]:
        """Split the weights of networks, ``(networks, weights)``, into those of each layer."""
        parts = tf.split(flat, [math.prod(shape) for shape in self._shapes], axis=1)
        return [
            tf.reshape(part, (-1, *shape)) for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def capture(self, x: np.ndarray, *, draw: int = 0) -> dict[str, np.ndarray]:
        """Compute the tapped layers' outputs T, name → ``(networks, n, *shape)``.

        Args:
            x: inputs, ``(n, ...)``.
            draw: number of the noisy pass; passes with different numbers have different noise.
        """
        return self.passes(x, draw=draw)[0]

    def passes(
        self, x: np.ndarray, *, draw: int = 0
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Compute T of the tapped layers, and S, their outputs before their own noise.

        Args:
            x: inputs, ``(n, ...)``.
            draw: as for ``capture``.

        Returns:
            T and S of one pass, each name → ``(networks, n, *shape)``.
        """
        inputs = tf.constant(x, self._plan.spec.dtype)
        clean, noisy = self._forward(inputs, tf.constant([_RECORD, draw], tf.int64))
        return tuple(  # type: ignore[return-value]
            {name: tap.numpy() for name, tap in zip(self.layers, taps, strict=True)}
            for taps in (noisy, clean)
        )

    def propagate(
        self, index: int, x: np.ndarray, propagations: int, *, draw: int = 0
    ) -> dict[str, np.ndarray]:
        """Propagate each input several times through one network, with new noise each time.

        Args:
            index: index of the network.
            x: inputs, ``(m, ...)``.
            propagations: n_x, the number of passes over the inputs.
            draw: as for ``capture``.

        Returns:
            S of the layers that come after noise and have noise of their own, name →
            ``(m, n_x, *shape)``.
        """
        names = [name for name in self.random if self.noise_std[name]]
        if not names:
            return {}
        weights = [weight[0] for weight in self._stacked(self._flat.value[index : index + 1])]
        each = max(1, _CHUNK // max(1, propagations))
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for number, first in enumerate(range(0, len(x), each)):
            rows = np.repeat(x[first : first + each], propagations, axis=0)
            inputs = tf.constant(rows, self._plan.spec.dtype)
            stream = [self.seeds[index], _PROPAGATION, (draw << 32) + number]
            taps = self._alone(weights, inputs, tf.constant(stream, tf.int64))
            for name, tap in zip(self.layers, taps, strict=True):
                if name in parts:
                    shape = (-1, propagations, *tap.shape[1:])
                    parts[name].append(tap.numpy().reshape(shape))
        return {name: np.concatenate(values) for name, values in parts.items()}

    @property
    def random(self) -> list[str]:
        """Names of the layers whose S is random given the input, because of noise before them."""
        noisy = {name for name, stddev in self.noise_std.items() if stddev}
        return [name for name in self.layers if noisy & set(self._plan.upstream[name])]

    def activations(self, noisy: Mapping[str, np.ndarray], index: int) -> Activations:
        """Select the outputs of one network, and attach what is known of its noise.

        Args:
            noisy: the outputs of all networks, name → ``(networks, n, *shape)``.
            index: index of the network.
        """
        arrays = {name: taps[index] for name, taps in noisy.items()}
        return Activations(arrays, noise_std=self.noise_std, random=self.random)

    def evaluate(
        self, x: np.ndarray, y: np.ndarray, *, noisy: bool = True
    ) -> dict[str, np.ndarray]:
        """Compute each network's ``loss`` (cross-entropy and penalties, in nats) and ``accuracy``.

        Args:
            x: inputs, ``(n, ...)``.
            y: labels, ``(n,)``.
            noisy: whether the layers have their noise.

        Returns:
            ``{"loss": (networks,), "accuracy": (networks,)}``.
        """
        labels = tf.constant(self._codes(y, len(x)), tf.int32)
        inputs = tf.constant(x, self._plan.spec.dtype)
        noise = self._all_noise(len(x), [_EVALUATION, 0])
        if not noisy:
            noise = tf.zeros_like(noise)
        losses, correct = self._evaluate(inputs, labels, noise)
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
        """Train with Adam and cross-entropy, and yield after each epoch.

        Args:
            x: inputs, ``(n, ...)``.
            y: labels of any kind, ``(n,)``. If they are all integers from 0 to K−1, they are the
                indices of the K outputs; otherwise output k stands for label k of the K sorted
                labels.
            epochs: number of epochs.
            batch_size: samples per step; the last batch of an epoch may be smaller.
            learning_rate: learning rate of Adam.
            shuffle: whether each network gets the rows in an order of its own, which changes in
                every epoch (see ``order``); otherwise all networks get the order of ``x``.

        Yields:
            0 before the training, then the number of each epoch at its end.
        """
        epochs, batch_size = check_count(epochs, "epochs", 0), check_count(batch_size, "batch_size")
        n = len(x)
        names, classes = encode_labels(y, n).names, self.model.output_shape[-1]
        are_indices = all(type(name) is int and 0 <= name < classes for name in names)
        if not are_indices and len(names) != classes:
            raise ArgumentError("`y` does not fit the outputs", f"{classes} classes", list(names))
        self._label_names = tuple(range(classes)) if are_indices else names
        labels = tf.constant(self._codes(y, n), tf.int32)
        data = tf.constant(x, self._plan.spec.dtype)
        optimizer = keras.optimizers.Adam(check_positive(learning_rate, "learning_rate"))
        optimizer.build([self._flat])
        steps = -(-n // batch_size)
        present = np.zeros(steps * batch_size, np.float32)
        present[:n] = 1
        present = tf.constant(present.reshape(steps, batch_size))

        @tf.function(autograph=False)
        def one_epoch(order: Any, epoch: Any) -> None:
            def step(i: Any) -> Any:
                rows = order[:, i]
                number = epoch * steps + tf.cast(i, tf.int64)
                noise = self._all_noise(batch_size, [_TRAINING, number])
                flat = self._flat.value
                with tf.GradientTape() as tape:
                    tape.watch(flat)
                    total = tf.reduce_sum(
                        self._map(flat, self._loss, tf.gather(data, rows), tf.gather(labels, rows),
                                  tf.repeat(present[None, i], len(self), axis=0), noise)
                    )  # fmt: skip
                optimizer.apply([tape.gradient(total, flat)], [self._flat])
                if any(self._constraints):
                    self._flat.assign(self._constrained(self._flat.value))
                return i + 1

            tf.while_loop(lambda i: i < steps, lambda i: (step(i),), (0,))

        yield 0
        for epoch in bar(range(1, epochs + 1), "networks side by side", unit="epoch"):
            rows = np.zeros((len(self), steps * batch_size), np.int32)
            for k, seed in enumerate(self.seeds):
                rows[k, :n] = self.order(seed, epoch, n) if shuffle else np.arange(n)
            order = tf.constant(rows.reshape(len(self), steps, batch_size))
            one_epoch(order, tf.constant(epoch, tf.int64))
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
                "`y` has labels that the networks lack", str(list(self._label_names)), unknown
            )
        return np.array([self._label_names.index(one) for one in labels.names])[labels.codes]

    def _all_noise(self, rows: int, stream: Sequence[Any]) -> Any:
        """Draw the noise of all networks, ``(networks, rows, units)``, for all their layers."""
        if not sum(self._sizes):
            return tf.zeros((len(self), rows, 0))
        return tf.stack([self._noise(rows, [seed, *stream]) for seed in self.seeds])

    def _noise(self, rows: Any, stream: Sequence[Any]) -> Any:
        """Draw the noise of one network, ``(rows, units)``.

        Args:
            rows: number of rows.
            stream: the seed, the kind of the pass, and its number.
        """
        seed, kind, number = (tf.cast(word, tf.int64) for word in stream)
        shape = (rows, sum(self._sizes))
        return tf.random.stateless_normal(shape, tf.stack([4 * seed + kind, number]))

    def _call(self, weights: Any, x: Any, noise: Any, training: bool) -> tuple[Any, ...]:
        """Run one network; return S and T of its taps, its outputs and its penalties."""
        clean: dict[str, Any] = {}
        noisy: dict[str, Any] = {}
        parts = dict(zip(self.layers, tf.split(noise, self._sizes, axis=1), strict=True))

        def record(name: str, layer: Any, args: tuple, kwargs: dict, output: Any) -> Any:
            if name not in parts:
                return output
            clean[name] = noisy[name] = output
            if stddev := self.noise_std[name]:
                shape = (-1, *output.shape[1:])
                noisy[name] = output + stddev * tf.reshape(parts[name], shape)
            return noisy[name]

        with Session(self._plan.watched, record):
            outputs, _, penalties = self.model.stateless_call(
                weights, [], x, training=training, return_losses=True
            )
        taps = ([found[name] for name in self.layers] for found in (clean, noisy))
        return *taps, outputs, penalties

    def _map(self, flat: Any, function: Callable, *arguments: Any) -> Any:
        """Apply a function to the weights and arguments of each network."""
        stacked = self._stacked(flat)
        return tf.vectorized_map(lambda each: function(*each), (stacked, *arguments))

    def _constrained(self, flat: Any) -> Any:
        """Apply the constraints of the layers to the weights of all networks."""
        parts = [
            weight if constraint is None else tf.vectorized_map(constraint, weight)
            for weight, constraint in zip(self._stacked(flat), self._constraints, strict=True)
        ]
        return tf.concat([tf.reshape(part, (len(self), -1)) for part in parts], axis=1)

    def _loss(self, weights: Any, x: Any, y: Any, present: Any, noise: Any) -> Any:
        *_, outputs, penalties = self._call(weights, x, noise, training=True)
        mean = tf.reduce_sum(_cross_entropy(y, outputs) * present) / tf.reduce_sum(present)
        return tf.add_n([mean, *penalties])

    @tf.function(autograph=False)
    def _evaluate(self, x: Any, y: Any, noise: Any) -> Any:
        def one(weights: Any, noise: Any) -> Any:
            *_, outputs, penalties = self._call(weights, x, noise, training=False)
            hits = tf.argmax(outputs, axis=-1, output_type=tf.int32) == y
            loss = tf.add_n([tf.reduce_mean(_cross_entropy(y, outputs)), *penalties])
            return loss, tf.reduce_mean(tf.cast(hits, tf.float32))

        return self._map(self._flat.value, one, noise)

    def _all_taps(self, x: Any, stream: Any) -> Any:
        def one(weights: Any, noise: Any) -> Any:
            return self._call(weights, x, noise, training=False)[:2]

        noise = self._all_noise(tf.shape(x)[0], tf.unstack(stream))
        return self._map(self._flat.value, one, noise)

    def _clean_taps(self, weights: Any, x: Any, stream: Any) -> Any:
        noise = self._noise(tf.shape(x)[0], tf.unstack(stream))
        return self._call(weights, x, noise, training=False)[0]


def _cross_entropy(y: Any, outputs: Any) -> Any:
    """Compute −ln p(y) of each row, as Keras computes it, from the logits if there is a softmax.

    TensorFlow's own operation takes most of a step if there are few classes, because it reduces the
    last axis. Here the classes are the first axis.

    Args:
        y: labels, ``(n,)``.
        outputs: probabilities, ``(n, classes)``.
    """
    if outputs.op.type != "Softmax":
        return keras.losses.sparse_categorical_crossentropy(y, outputs)
    logits = tf.transpose(outputs.op.inputs[0])
    picked = tf.reduce_sum(tf.one_hot(y, outputs.shape[-1], axis=0) * logits, axis=0)
    return tf.reduce_logsumexp(logits, axis=0) - picked
