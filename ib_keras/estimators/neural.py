"""Variational lower bounds on mutual information with Keras critics."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp

from ib_keras.arrays.checks import (
    as_array,
    as_samples,
    check_count,
    check_counts,
    check_lengths,
    check_positive,
    check_seed,
)
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import Rows
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import FromPairs, log_batch
from ib_keras.estimators.width import flagged, too_loose
from ib_keras.interface import Estimate
from ib_keras.progress import bar
from ib_keras.training.retrained import Retrained

# Steps between evaluations.
_EVERY = 50
# Standard deviations at which the critic clips values.
_CLIP = 10.0
# Number of compiled critics that are cached.
_CRITICS = 16


@dataclasses.dataclass(frozen=True)
class _Neural(FromPairs):
    """A critic with separate rows for training, early stopping and the estimate."""

    hidden: tuple[int, ...] = (128, 128)
    steps: int = 1000
    batch_size: int = 100
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field, 2))
        object.__setattr__(self, "hidden", check_counts(self.hidden, "hidden"))
        check_positive(self.learning_rate, "learning_rate")
        check_seed(self.seed)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        pairs = 3 * 4 * self.batch_size**2 * (dim + dim_x + sum(self.hidden))
        return 2 * TILES + pairs + 64 * n

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate a lower bound on I(A;B) in nats from a fifth of the rows.

        The other rows are used for training and early stopping.

        Args:
            a: samples of A, ``(n, ...)``, which are standardised here.
            b: samples of B, ``(n, ...)``, which are standardised here.

        Returns:
            The bound, of kind ``"lower"``, with the standard error over the rows of the estimate.

        Raises:
            ArgumentError: If the lengths differ, or a fifth of the rows is less than a batch.
        """
        first, second = (_standard(as_array(v, n), n) for v, n in ((a, "a"), (b, "b")))
        check_lengths(first, second)
        n = len(first)
        if n < 5 * self.batch_size:
            raise ArgumentError(
                "There are too few samples for training, early stopping and the estimate",
                f"n >= {5 * self.batch_size}, which is five batches, or a smaller batch_size",
                f"{n} samples",
            )
        if first.scale is None or second.scale is None:  # constant
            return Estimate(0.0, 0.0, kind="lower", n=n, dim=second.shape[1])
        rows = np.random.default_rng(self.seed).permutation(n)
        train, stop, report = np.split(rows, [3 * n // 5, 4 * n // 5])
        # All seeds share one compiled critic.
        critic = _critic(dataclasses.replace(self, seed=0), first.shape[1], second.shape[1])
        with critic.lock:
            self._train(critic, first, second, train, stop)
            value, error = self._bound(critic, first, second, report)
        estimate = Estimate(
            value, error, kind="lower", flags=self._flags(value), n=len(report), dim=second.shape[1]
        )
        return flagged(estimate, too_loose(first, second, estimate))

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate a lower bound on I(A;Y), with the classes as one-hot vectors.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.
        """
        return self.mutual_information(a, np.eye(labels.max() + 1)[labels])

    def _flags(self, value: float) -> tuple[str, ...]:
        return ()

    def _loss(self, scores: Any, state: Any) -> Any:
        """Return the loss of a batch's matrix of scores, whose diagonal has the joint pairs."""
        raise NotImplementedError

    def _value(self, joint: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        """Return the bound and its standard error from held-out scores."""
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
        """Return the bound on held-out rows, each paired with all rows of its block."""
        size = self.batch_size
        joint, others = [], []
        for start in range(0, len(rows) - size + 1, size):
            some = rows[start : start + size]
            scores = critic.scores(a[some], b[some])
            joint.append(np.diag(scores))
            others.append(scores[~np.eye(size, dtype=bool)].reshape(size, size - 1))
        return self._value(np.concatenate(joint), np.concatenate(others))


class _Critic:
    """A critic f(a, b) and its training step, compiled once for any number of trainings.

    Args:
        settings: the estimator that trains the critic.
        widths: numbers of columns of A and B.
    """

    def __init__(self, settings: _Neural, *widths: int) -> None:
        import keras
        import tensorflow as tf

        self._size = size = settings.batch_size
        layers: list[Any] = [keras.Input((sum(widths),), dtype="float32")]
        for i, width in enumerate((*settings.hidden, 1)):
            activation = "silu" if i < len(settings.hidden) else None
            layers.append(keras.layers.Dense(width, activation, dtype="float32"))
        self.model = model = keras.Sequential(layers)
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
        optimizer = keras.optimizers.Adam(rate)
        state = tf.Variable(1.0, trainable=False)
        self._training = Retrained(model, optimizer, more=[state])
        self.lock = self._training.lock

        @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                left, right = tf.repeat(x, size, axis=0), tf.tile(y, [size, 1])
                scores = model(tf.concat([left, right], axis=1), training=True)
                loss = settings._loss(tf.reshape(scores, [size, size]), state)
            weights = [v.value for v in model.trainable_variables]
            optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)

        # The program has one shape, because TensorFlow warns if one program is compiled often.
        self._step = step.get_concrete_function(
            *(tf.TensorSpec((size, width), tf.float32) for width in widths)
        )

    def begin(self, seed: int) -> None:
        """Draw new weights, and reset the optimizer."""
        import keras

        self._training.restart()
        for i, layer in enumerate(self.model.layers):
            kernel = keras.initializers.GlorotUniform(seed=1000 * seed + i)(layer.kernel.shape)
            layer.set_weights([np.asarray(kernel), np.zeros(layer.bias.shape, np.float32)])

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """Train on a batch of joint pairs."""
        import tensorflow as tf

        self._step(*(tf.constant(np.clip(v, -_CLIP, _CLIP), tf.float32) for v in (x, y)))

    def scores(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return f of all pairs of a batch, ``(size, size)``."""
        import tensorflow as tf

        size = self._size
        x, y = (np.clip(v, -_CLIP, _CLIP).astype(np.float32) for v in (x, y))
        pairs = np.concatenate([np.repeat(x, size, axis=0), np.tile(y, (size, 1))], axis=1)
        return self.model(tf.constant(pairs)).numpy().reshape(size, size).astype(np.float64)


_critic = functools.lru_cache(maxsize=_CRITICS)(_Critic)


def _mean_of_others(scores: Any, size: int) -> Any:
    """Return the mean of e^f over the pairs that are not joint."""
    import tensorflow as tf

    return tf.reduce_sum(tf.exp(scores) * (1 - tf.eye(size))) / (size * (size - 1))


@dataclasses.dataclass(frozen=True)
class MINE(_Neural):
    """The bound of Donsker and Varadhan, E f − ln E' e^f, where E' is over independent pairs.

    A running mean of E' e^f corrects the gradient of the logarithm.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: number of steps of Adam.
        batch_size: number of samples per step.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
        seed: seed of the split, the weights and the batches.

    References:
        Belghazi et al., ICML 2018, arXiv:1801.04062.
    """

    name: ClassVar[str] = "mine"

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        mean = _mean_of_others(scores, self.batch_size)
        state.assign(0.99 * state + 0.01 * tf.stop_gradient(mean))
        return mean / tf.stop_gradient(state) - tf.reduce_mean(tf.linalg.diag_part(scores))

    def _value(self, joint: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        log_mean = float(logsumexp(others) - math.log(others.size))
        ratios = np.exp(others - log_mean).mean(axis=1)
        error = math.hypot(joint.std(ddof=1), ratios.std(ddof=1)) / math.sqrt(len(joint))
        return float(joint.mean()) - log_mean, error


@dataclasses.dataclass(frozen=True)
class NWJ(_Neural):
    """The bound of Nguyen, Wainwright and Jordan, E f − E' e^{f−1}, without a logarithm of a mean.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: number of steps of Adam.
        batch_size: number of samples per step.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
        seed: seed of the split, the weights and the batches.

    References:
        Nguyen, Wainwright & Jordan, IEEE Trans. Inf. Theory 56(11), 2010; Poole et al., ICML 2019.
    """

    name: ClassVar[str] = "nwj"

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        mean = _mean_of_others(scores, self.batch_size)
        return mean - tf.reduce_mean(tf.linalg.diag_part(scores))

    def _value(self, joint: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        # The critic is f − 1.
        means = np.exp(np.minimum(others, 500)).mean(axis=1)
        error = math.hypot(joint.std(ddof=1), means.std(ddof=1)) / math.sqrt(len(joint))
        return float(joint.mean()) + 1 - float(means.mean()), error


@dataclasses.dataclass(frozen=True)
class InfoNCE(_Neural):
    """ln B + E ln softmax of the joint pair among B pairs: at most ln B, and flagged near it.

    Args:
        hidden: widths of the critic's hidden layers.
        steps: number of steps of Adam.
        batch_size: B, number of samples per step.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
        seed: seed of the split, the weights and the batches.

    References:
        van den Oord, Li & Vinyals, arXiv:1807.03748; Poole et al., ICML 2019.
    """

    name: ClassVar[str] = "infonce"

    def _flags(self, value: float) -> tuple[str, ...]:
        return log_batch(value, self.batch_size)

    def _loss(self, scores: Any, state: Any) -> Any:
        import tensorflow as tf

        joint = tf.linalg.diag_part(scores)
        return tf.reduce_mean(tf.reduce_logsumexp(scores, axis=1) - joint)

    def _value(self, joint: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        among = np.logaddexp(joint, logsumexp(others, axis=1))
        terms = joint - among + math.log(self.batch_size)
        return float(terms.mean()), float(terms.std(ddof=1)) / math.sqrt(len(terms))


def _standard(values: np.ndarray, name: str) -> Rows:
    """Return the non-constant columns with shortened tails, standardised by the near rows.

    If all columns are constant, the result is a column of zeros without a scale.
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
