"""Variational lower bounds on mutual information, with critics in Keras."""

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
from ib_keras.estimators.width import OneHot, flagged, too_loose
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
    """Base class of bounds from a critic, with own rows for training, stopping and estimate."""

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
        pairs = 4 * 4 * self.batch_size**2 * sum(self.hidden)
        # The first layer's weights, moments, gradients, and copies of them.
        weights = 10 * 4 * (dim + dim_x) * next(iter(self.hidden), 1)
        kept = sum(min(TILES, 4 * n * width) for width in (dim, dim_x))
        return 2 * TILES + pairs + weights + kept + 64 * n

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate a lower bound on I(A;B) in nats from a fifth of the rows.

        The other rows are used for training and early stopping.

        Args:
            a: samples of A, ``(n, ...)``; they need not be standardised.
            b: samples of B, ``(n, ...)``; they need not be standardised.

        Returns:
            The bound, of kind ``"lower"``, with the standard error over the rows of the estimate.

        Raises:
            ArgumentError: If the lengths differ, or a fifth of the rows is smaller than a batch.
        """
        first, second = (_standard(as_array(v, n), n) for v, n in ((a, "a"), (b, "b")))
        check_lengths(first, second)
        return self._estimate(first, second)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate a lower bound on I(A;Y), with the classes as one-hot vectors.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.
        """
        first, second = _standard(as_array(a, "a"), "a"), _Classes(labels)
        check_lengths(first, second)
        return self._estimate(first, second)

    def _estimate(self, first: _Numbers, second: _Numbers | _Classes) -> Estimate:
        n, dim = len(first), second.width
        if n < 5 * self.batch_size:
            raise ArgumentError(
                "There are too few samples for training, early stopping and the estimate",
                f"n >= {5 * self.batch_size}, which is five batches, or a smaller batch_size",
                f"{n} samples",
            )
        if first.constant or second.constant:
            return Estimate(0.0, 0.0, kind="lower", n=n, dim=dim)
        rows = np.random.default_rng(self.seed).permutation(n)
        train, stop, report = np.split(rows, [3 * n // 5, 4 * n // 5])
        # All seeds share one compiled critic.
        kinds = ((type(v), v.width) for v in (first, second))
        critic = _critic(dataclasses.replace(self, seed=0), *kinds)
        with critic.lock:
            self._train(critic, first, second, train, stop)
            value, error = self._bound(critic, first, second, report)
        estimate = Estimate(
            value, error, kind="lower", flags=self._flags(value), n=len(report), dim=dim
        )
        return flagged(estimate, too_loose(first.samples, second.samples, estimate))

    def _flags(self, value: float) -> tuple[str, ...]:
        return ()

    def _loss(self, scores: Any, state: Any) -> Any:
        """Return the loss for the scores of a batch; the diagonal belongs to the joint pairs."""
        raise NotImplementedError

    def _value(self, joint: np.ndarray, others: np.ndarray) -> tuple[float, float]:
        """Return the bound and its standard error from held-out scores."""
        raise NotImplementedError

    def _train(
        self,
        critic: _Critic,
        a: _Numbers,
        b: _Numbers | _Classes,
        train: np.ndarray,
        stop: np.ndarray,
    ) -> None:
        rng = np.random.default_rng([self.seed, 1])
        critic.begin(self.seed)
        best, kept = -math.inf, critic.model.get_weights()
        for count in bar(range(1, self.steps + 1), f"{self.name}: critic", unit="step"):
            batch = rng.choice(train, self.batch_size, replace=False)
            critic.step(a[batch], b[batch])
            if count % _EVERY == 0 or count == self.steps:
                value, _ = self._bound(critic, a, b, stop)
                if value > best:
                    best, kept = value, critic.model.get_weights()
        critic.model.set_weights(kept)

    def _bound(
        self, critic: _Critic, a: _Numbers, b: _Numbers | _Classes, rows: np.ndarray
    ) -> tuple[float, float]:
        """Return the bound on held-out rows, each paired with all rows of its block."""
        size = self.batch_size
        joint, others = [], []
        for start in range(0, len(rows) - size + 1, size):
            some = rows[start : start + size]
            scores = critic.scores(a[some], b[some])
            joint.append(np.diag(scores))
            others.append(scores[~np.eye(size, dtype=bool)].reshape(size, size - 1))
        return self._value(np.concatenate(joint), np.concatenate(others))


class _Numbers:
    """A variable of numbers, whose rows are standardised, clipped and converted to float32.

    The converted rows are kept in memory if they are small. Otherwise, each batch is converted.

    Args:
        rows: the rows ``(n, d)``, with a scale unless the variable is constant.
    """

    def __init__(self, rows: Rows) -> None:
        self.samples = rows
        self.width, self.constant = rows.shape[1], rows.scale is None
        self._kept: np.ndarray | None = None
        if 4 * len(rows) * self.width <= TILES:
            self._kept, start = np.empty(rows.shape, np.float32), 0
            for tile in rows.tiles():
                self._kept[start : start + len(tile)] = self._clipped(tile)
                start += len(tile)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the arrays of a batch: its rows."""
        return (self._clipped(self.samples[rows]) if self._kept is None else self._kept[rows],)

    @staticmethod
    def _clipped(values: np.ndarray) -> np.ndarray:
        return np.clip(values, -_CLIP, _CLIP, out=values).astype(np.float32)

    @staticmethod
    def specs(size: int, width: int) -> tuple[Any, ...]:
        """Return the shapes and dtypes of the arrays of a batch."""
        import tensorflow as tf

        return (tf.TensorSpec((size, width), tf.float32),)

    @staticmethod
    def product(kernel: Any, rows: Any) -> Any:
        """Return the rows of a batch times the kernel, ``(size, hidden)``."""
        return rows @ kernel


class _Classes:
    """A variable of classes, as standardised and clipped one-hot rows.

    Column k has two values, one for class k and one for all other classes. The product of a row and
    a kernel is therefore a scaled row of the kernel plus a sum that is the same for all rows. The
    one-hot rows are never computed.

    Args:
        labels: the classes, ``(n,)``.
    """

    def __init__(self, labels: np.ndarray) -> None:
        present, codes = np.unique(labels, return_inverse=True)
        self._codes = codes.astype(np.int32)
        self.samples = OneHot(self._codes, len(present))
        self.width, self.constant = len(present), len(present) == 1
        share = np.bincount(codes) / len(labels)
        deviation = 1.0 if self.constant else np.sqrt(share * (1 - share))
        other, own = (np.clip((v - share) / deviation, -_CLIP, _CLIP) for v in (0, 1))
        self._values = other.astype(np.float32), (own - other).astype(np.float32)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the arrays of a batch: its classes, and the columns' two values."""
        return (self._codes[rows], *self._values)

    @staticmethod
    def specs(size: int, width: int) -> tuple[Any, ...]:
        """Return the shapes and dtypes of the arrays of a batch."""
        import tensorflow as tf

        column = tf.TensorSpec((width,), tf.float32)
        return tf.TensorSpec((size,), tf.int32), column, column

    @staticmethod
    def product(kernel: Any, codes: Any, other: Any, rise: Any) -> Any:
        """Return the rows of a batch times the kernel, ``(size, hidden)``."""
        import tensorflow as tf

        shared = tf.linalg.matvec(kernel, other, transpose_a=True)
        return tf.gather(kernel * rise[:, None], codes) + shared


class _Critic:
    """A critic f(a, b) and its training step, compiled once for any number of trainings.

    The first layer is W[a; b] + c = W_a a + W_b b + c. The products W_a a and W_b b are computed
    once for each row of a batch, and only their sums are computed for all pairs.

    Args:
        settings: the estimator that trains the critic.
        variables: the class of A and of B, ``_Numbers`` or ``_Classes``, with the number of
            columns.
    """

    def __init__(self, settings: _Neural, *variables: tuple[Any, int]) -> None:
        import keras
        import tensorflow as tf

        size = settings.batch_size
        (a, b), widths = zip(*variables, strict=True)
        layers: list[Any] = [keras.Input((sum(widths),), dtype="float32")]
        for i, units in enumerate((*settings.hidden, 1)):
            activation = "silu" if i < len(settings.hidden) else None
            layers.append(keras.layers.Dense(units, activation, dtype="float32", name=f"layer_{i}"))
        self.model = model = keras.Sequential(layers, name="critic")
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
        optimizer = keras.optimizers.Adam(rate)
        state = tf.Variable(1.0, trainable=False)
        self._training = Retrained(model, optimizer, more=[state])
        self.lock = self._training.lock

        def scores(x: Any, y: Any) -> Any:
            first, *others = model.layers
            of_a, of_b = tf.split(first.kernel, widths)
            pairs = a.product(of_a, *x)[:, None] + b.product(of_b, *y)[None] + first.bias
            values = first.activation(tf.reshape(pairs, [size * size, -1]))
            for layer in others:
                values = layer(values)
            return tf.reshape(values, [size, size])

        def step(x: Any, y: Any) -> None:
            with tf.GradientTape() as tape:
                loss = settings._loss(scores(x, y), state)
            weights = [v.value for v in model.trainable_variables]
            optimizer.apply(tape.gradient(loss, weights), model.trainable_variables)

        # Each program has a fixed shape, because TensorFlow warns if a program is often compiled.
        specs = [kind.specs(size, columns) for kind, columns in variables]
        self._scores, self._step = (
            tf.function(
                program, jit_compile=True, autograph=False, reduce_retracing=False
            ).get_concrete_function(*specs)
            for program in (scores, step)
        )

    def begin(self, seed: int) -> None:
        """Draw new weights, and reset the optimizer."""
        import keras

        self._training.restart()
        for i, layer in enumerate(self.model.layers):
            kernel = keras.initializers.GlorotUniform(seed=1000 * seed + i)(layer.kernel.shape)
            layer.set_weights([np.asarray(kernel), np.zeros(layer.bias.shape, np.float32)])

    def step(self, x: tuple[np.ndarray, ...], y: tuple[np.ndarray, ...]) -> None:
        """Train on a batch of joint pairs."""
        self._step(*_tensors(x, y))

    def scores(self, x: tuple[np.ndarray, ...], y: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return f of all pairs of a batch, ``(size, size)``."""
        return self._scores(*_tensors(x, y)).numpy().astype(np.float64)


def _tensors(*batches: tuple[np.ndarray, ...]) -> list[tuple[Any, ...]]:
    import tensorflow as tf

    return [tuple(tf.constant(array) for array in batch) for batch in batches]


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
    """InfoNCE, ln B + E ln softmax of the joint pair among B pairs, which is at most ln B.

    Values near ln B have the flag ``log_batch``.

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


def _standard(values: np.ndarray, name: str) -> _Numbers:
    """Return the non-constant columns with shortened tails, standardised by the near rows.

    If all columns are constant, the result is a column of zeros.
    """
    samples = as_samples(values, name)
    varies = np.flatnonzero(samples.min(axis=0) < samples.max(axis=0))
    if not len(varies):
        return _Numbers(Rows.of(np.zeros((len(samples), 1))))
    rows = Rows.of(shorten_tails(samples)[0])
    if len(varies) < samples.shape[1]:
        rows = dataclasses.replace(rows, columns=varies)
    near = rows.near().standardised()
    return _Numbers(dataclasses.replace(rows, shift=near.shift, scale=near.scale))
