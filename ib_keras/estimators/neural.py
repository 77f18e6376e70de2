"""Variational lower bounds on mutual information, with Keras critics."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp

from ib_keras.arrays.checks import as_array, as_samples, check_count, check_positive, check_seed
from ib_keras.arrays.labels import as_labels
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import FromPairs
from ib_keras.interface import Estimate
from ib_keras.progress import bar
from ib_keras.training.retrained import Retrained

_EVERY = 50
# The critic sees values beyond this many standard deviations as if they were this far.
_CLIP = 10.0
# Compiled critics that are kept.
_CRITICS = 16
# How near ln(batch) InfoNCE may come before the batch is what it measures.
_CEILING = 0.8


class _Neural(FromPairs):
    """A critic trained on one part of the rows, stopped by a second, and reported on a third."""

    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    learning_rate: float
    seed: int

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size"):
            value = check_count(getattr(self, field), field, 2)
            object.__setattr__(self, field, value)
        widths = tuple(check_count(width, "hidden") for width in self.hidden)
        object.__setattr__(self, "hidden", widths)
        check_positive(self.learning_rate, "learning_rate")
        check_seed(self.seed)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """The most bytes that an estimate needs beside the samples."""
        width = dim + dim_x
        pairs = 3 * 4 * self.batch_size**2 * (width + sum(self.hidden))
        return 2 * TILES + pairs + 64 * n

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """A lower bound on I(A;B) in nats, from rows that neither trained nor stopped the critic.

        Args:
            a: ``(n, ...)``, standardised here.
            b: ``(n, ...)``, standardised here.

        Returns:
            The bound, of kind ``"lower"``; its standard error is that of the reported rows.

        Raises:
            ArgumentError: lengths differ, or a fifth of the rows is not a batch.
        """
        first, second = (_standard(as_array(v, n), n) for v, n in ((a, "a"), (b, "b")))
        n = len(first)
        if n != len(second):
            raise ArgumentError("`a` and `b` differ in length", "as many", f"{n}, {len(second)}")
        if n < 5 * self.batch_size:
            raise ArgumentError(
                "There are too few samples to train, stop and report",
                f"n >= {5 * self.batch_size}, five batches; or a smaller batch_size",
                f"{n} samples",
            )
        if first.scale is None or second.scale is None:  # constant
            return Estimate(0.0, 0.0, kind="lower", n=n, dim=second.shape[1])
        rows = np.random.default_rng(self.seed).permutation(n)
        train, stop, report = np.split(rows, [3 * n // 5, 4 * n // 5])
        # Of one program for all seeds.
        made = dataclasses.replace(self, seed=0)  # type: ignore[type-var]
        critic = _critic(made, first.shape[1], second.shape[1])
        with critic.lock:
            self._train(critic, first, second, train, stop)
            value, error = self._bound(critic, first, second, report)
        return Estimate(
            value, error, kind="lower", flags=self._flags(value), n=len(report), dim=second.shape[1]
        )

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate:
        """A lower bound on I(A;Y), with the labels as one-hot vectors.

        Args:
            a: ``(n, ...)``.
            y: ``(n,)`` class labels.
        """
        labels = as_labels(y, len(a))
        return self.mutual_information(a, np.eye(labels.max() + 1)[labels])

    def _flags(self, value: float) -> tuple[str, ...]:
        return ()

    def _loss(self, scores: Any, state: Any) -> Any:
        """What is minimised, of a batch's matrix of scores; pairs that belong on the diagonal."""
        raise NotImplementedError

    def _value(self, own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        """The bound and its standard error, of held-out scores."""
        raise NotImplementedError

    def _train(
        self, critic: _Critic, a: Rows, b: Rows, train: np.ndarray, stop: np.ndarray
    ) -> None:
        rng = np.random.default_rng([self.seed, 1])
        critic.begin(self.seed)
        best, kept = -math.inf, critic.model.get_weights()
        for count in bar(range(1, self.steps + 1), f"{self.name}: critic", unit="step"):
            batch = rng.choice(train, self.batch_size, replace=False)
            critic.step(a[batch], b[batch])
            if count % _EVERY == 0:
                value, _ = self._bound(critic, a, b, stop)
                if value > best:
                    best, kept = value, critic.model.get_weights()
        critic.model.set_weights(kept)

    def _bound(self, critic: _Critic, a: Rows, b: Rows, rows: np.ndarray) -> tuple[float, float]:
        """The bound on held-out rows: each with itself, and with the others of its block."""
        size = self.batch_size
        own, others = [], []
        for start in range(0, len(rows) - size + 1, size):
            some = rows[start : start + size]
            scores = critic.scores(a[some], b[some])
            own.append(np.diag(scores))
            others.append(scores[~np.eye(size, dtype=bool)].reshape(size, size - 1))
        return self._value(np.concatenate(own), np.concatenate(others))


class _Critic:
    """f(a, b) of one shape, and a step of its training, compiled once for any number of trainings.

    Args:
        made: the estimator that trains it.
        widths: of A and B.
    """

    def __init__(self, made: _Neural, *widths: int) -> None:
        import keras
        import tensorflow as tf

        self._size = size = made.batch_size
        layers: list[Any] = [keras.Input((sum(widths),), dtype="float32")]
        for i, width in enumerate((*made.hidden, 1)):
            activation = "silu" if i < len(made.hidden) else None
            layers.append(keras.layers.Dense(width, activation, dtype="float32"))
        self.model = model = keras.Sequential(layers)
        rate = keras.optimizers.schedules.CosineDecay(made.learning_rate, made.steps)
        optimizer = keras.optimizers.Adam(rate)
        state = tf.Variable(1.0, trainable=False)
        self._training = Retrained(model, optimizer, more=[state])
        self.lock = self._training.lock

        @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                left, right = tf.repeat(x, size, axis=0), tf.tile(y, [size, 1])
                scores = model(tf.concat([left, right], axis=1), training=True)
                loss = made._loss(tf.reshape(scores, [size, size]), state)
            weights = [v.value for v in model.trainable_variables]
            optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)

        # A program for one shape: TensorFlow would warn of one that it is to compile for many.
        self._step = step.get_concrete_function(
            *(tf.TensorSpec((size, width), tf.float32) for width in widths)
        )

    def begin(self, seed: int) -> None:
        """New weights, and an optimizer that has done nothing."""
        import keras

        self._training.restart()
        for i, layer in enumerate(self.model.layers):
            kernel = keras.initializers.GlorotUniform(seed=1000 * seed + i)(layer.kernel.shape)
            layer.set_weights([np.asarray(kernel), np.zeros(layer.bias.shape, np.float32)])

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """Trains on a batch of pairs that belong together."""
        import tensorflow as tf

        self._step(*(tf.constant(np.clip(v, -_CLIP, _CLIP), tf.float32) for v in (x, y)))

    def scores(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """f of each x with each y of a batch, ``(size, size)``."""
        import tensorflow as tf

        size = self._size
        x, y = (np.clip(v, -_CLIP, _CLIP).astype(np.float32) for v in (x, y))
        pairs = np.concatenate([np.repeat(x, size, axis=0), np.tile(y, (size, 1))], axis=1)
        found = self.model(tf.constant(pairs)).numpy()
        return found.reshape(size, size).astype(np.float64)


@functools.lru_cache(maxsize=_CRITICS)
def _critic(made: _Neural, *widths: int) -> _Critic:
    return _Critic(made, *widths)


@dataclasses.dataclass(frozen=True)
class MINE(_Neural):
    """The bound of Donsker and Varadhan: E f − ln E' e^f.

    E' is over pairs that do not belong together. The gradient of the logarithm is corrected by a
    running mean of E' e^f.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: of Adam.
        batch_size: samples a step.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        seed: of the split, the weights and the batches.

    References:
        Belghazi et al., ICML 2018, arXiv:1801.04062.
    """

    hidden: tuple[int, ...] = (128, 128)
    steps: int = 1000
    batch_size: int = 100
    learning_rate: float = 1e-3
    seed: int = 0

    name: ClassVar[str] = "mine"

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        size = self.batch_size
        mask = 1 - tf.eye(size)
        mean = tf.reduce_sum(tf.exp(scores) * mask) / (size * (size - 1))
        state.assign(0.99 * state + 0.01 * tf.stop_gradient(mean))
        return mean / tf.stop_gradient(state) - tf.reduce_mean(tf.linalg.diag_part(scores))

    def _value(self, own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        log_mean = float(logsumexp(others) - math.log(others.size))
        ratios = np.exp(others - log_mean).mean(axis=1)
        error = math.hypot(own.std(ddof=1), ratios.std(ddof=1)) / math.sqrt(len(own))
        return float(own.mean()) - log_mean, error


@dataclasses.dataclass(frozen=True)
class NWJ(_Neural):
    """The bound of Nguyen, Wainwright and Jordan: E f − E' e^{f−1}; no logarithm of a mean.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: of Adam.
        batch_size: samples a step.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        seed: of the split, the weights and the batches.

    References:
        Nguyen, Wainwright & Jordan, IEEE Trans. Inf. Theory 56(11), 2010; Poole et al., ICML 2019.
    """

    hidden: tuple[int, ...] = (128, 128)
    steps: int = 1000
    batch_size: int = 100
    learning_rate: float = 1e-3
    seed: int = 0

    name: ClassVar[str] = "nwj"

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        size = self.batch_size
        mean = tf.reduce_sum(tf.exp(scores) * (1 - tf.eye(size))) / (size * (size - 1))
        # The critic is f − 1.
        return mean - tf.reduce_mean(tf.linalg.diag_part(scores))

    def _value(self, own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        means = np.exp(np.minimum(others, 500)).mean(axis=1)
        error = math.hypot(own.std(ddof=1), means.std(ddof=1)) / math.sqrt(len(own))
        return float(own.mean()) + 1 - float(means.mean()), error


@dataclasses.dataclass(frozen=True)
class InfoNCE(_Neural):
    """ln B + E ln softmax of the right partner among B: at most ln B, and flagged near it.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: of Adam.
        batch_size: B, samples a step.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        seed: of the split, the weights and the batches.

    References:
        van den Oord, Li & Vinyals, arXiv:1807.03748; Poole et al., ICML 2019.
    """

    hidden: tuple[int, ...] = (128, 128)
    steps: int = 1000
    batch_size: int = 100
    learning_rate: float = 1e-3
    seed: int = 0

    name: ClassVar[str] = "infonce"

    def _flags(self, value: float) -> tuple[str, ...]:
        return ("log_batch",) if value > _CEILING * math.log(self.batch_size) else ()

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        own = tf.linalg.diag_part(scores)
        return tf.reduce_mean(tf.reduce_logsumexp(scores, axis=1) - own)

    def _value(self, own: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        among = np.logaddexp(own, logsumexp(others, axis=1))
        terms = own - among + math.log(self.batch_size)
        return float(terms.mean()), float(terms.std(ddof=1)) / math.sqrt(len(terms))


def _standard(values: np.ndarray, name: str) -> Rows:
    """The columns that vary, with shortened tails, of mean 0 and variance 1 but for far rows.

    Where no column varies, this is a column of zeros without a scale.
    """
    samples = as_samples(values, name)
    varies = np.flatnonzero(samples.min(axis=0) < samples.max(axis=0))
    if not len(varies):
        return Rows.of(np.zeros((len(samples), 1)))
    rows = Rows.of(shorten_tails(samples)[0])
    if len(varies) < samples.shape[1]:
        rows = dataclasses.replace(rows, columns=varies)
    near = rows.near().standardised()
    return dataclasses.replace(rows, shift=near.shift, scale=near.scale)
