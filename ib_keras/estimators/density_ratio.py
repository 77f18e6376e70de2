"""Density ratios that are learned by classification and evaluated on held-out rows."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from typing import Any

import numpy as np
from scipy.special import logsumexp

from ib_keras.progress import bar

_BATCH, _SHIFTS = 256, 4
# Steps between evaluations.
_EVERY = 50
# Number of compiled programs that are cached.
_PROGRAMS = 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the networks and their training.

    Args:
        width: width of the two hidden layers.
        steps: number of steps of Adam.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
        decay: factor of the penalty Σ w².
        folds: number of parts of the rows, each of which is held out once.
    """

    width: int = 64
    steps: int = 1200
    learning_rate: float = 3e-3
    decay: float = 1e-3
    folds: int = 8


def held_out_ratios(
    a: np.ndarray,
    b: np.ndarray,
    pieces: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
    seed: int,
    share: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate ln p(a,b)/(p(a)p(b)) at rows that were not used to learn it.

    The rows are split into folds. For each fold, a network is trained on most of the other rows to
    distinguish pairs (a, b) of the same row from pairs of different rows; its logit estimates the
    logarithm of the ratio. The remaining other rows are used for early stopping. All folds are
    trained together, in one program.

    Args:
        a: features of A, ``(n, da)``.
        b: features of B, ``(n, db)``.
        pieces: factors u and v, each ``(n, r + 1)``, of a known part g = Σ_i u_i v_i + u_r + v_r of
            the log-ratio, to which the network's output is added; ``None`` for no known part.
        settings: settings of the training.
        seed: seed of the folds, weights and batches.
        share: the share of the other rows that is used to learn the ratio. The rows at which the
            ratio is evaluated are the same for any share.

    Returns:
        For each fold of m rows: the log-ratios of its pairs, ``(folds, m)``; ln of the mean ratio
        of pairs of different rows, ``(folds,)``; and the difference of these two for the known part
        alone, ``(folds, m)``.
    """
    rng = np.random.default_rng(seed)
    n = len(a)
    train, stop, test = _folds(n, settings.folds, share, rng)
    batch = min(_BATCH, train.shape[1])
    zero = np.zeros((n, 1), np.float32)
    u, v = (zero, zero) if pieces is None else pieces
    data = [np.asarray(x, np.float32) for x in (a, b, u, v)]
    program = _program(n, batch, tuple(x.shape[1] for x in data), settings)
    with program.lock:
        try:
            return _trained(program, data, (train, stop, test), settings, rng)
        finally:
            program.end()


def _trained(
    program: _Program, data: list[np.ndarray], parts: Any, settings: Settings, rng: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    train, stop, test = parts
    model = program.begin(data, rng)
    best = np.full(settings.folds, np.inf)
    kept = [np.array(w.numpy()) for w in model.weights]
    some = tuple(range(0, stop.shape[1], max(1, stop.shape[1] // 30)))
    for count in bar(range(settings.steps + 1), "critic", unit="step"):
        if count:
            rows = np.stack([rng.choice(fold, program.batch, replace=False) for fold in train])
            rate = settings.learning_rate * (1 + np.cos(np.pi * count / settings.steps)) / 2
            program.step(rows, rate, count)
        if count % _EVERY == 0:
            logits = np.add(*program.evaluate(stop, some))
            wrong = np.logaddexp(0, -logits[:, 0]).mean(axis=1)
            wrong += np.logaddexp(0, logits[:, 1:]).mean(axis=(1, 2))
            better = wrong < best
            best = np.where(better, wrong, best)
            for old, new in zip(kept, model.weights, strict=True):
                old[better] = new.numpy()[better]
    for weight, value in zip(model.weights, kept, strict=True):
        weight.assign(value)
    every = tuple(range(0, test.shape[1], max(1, test.shape[1] // 250)))
    learned, known = (x.astype(np.float64) for x in program.evaluate(test, every))
    logits = learned + known

    def log_mean(x: np.ndarray) -> np.ndarray:
        return logsumexp(x[:, 1:], axis=(1, 2)) - np.log(x[0, 1:].size)

    return logits[:, 0], log_mean(logits), known[:, 0] - log_mean(known)[:, None]


class _Program:
    """Training and evaluation for one shape, compiled once for any number of trainings.

    Args:
        n: number of rows.
        batch: number of rows per step.
        widths: widths of A, B and the two pieces of the known part.
        settings: settings of the training.
    """

    def __init__(self, n: int, batch: int, widths: tuple[int, ...], settings: Settings) -> None:
        import tensorflow as tf

        self.lock, self.batch = threading.Lock(), batch
        self._model = model = _FoldNetworks(widths[0], widths[1], settings)
        self._data: list[Any] = []

        @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
        def step(rows: Any, rate: Any, count: Any, data: list[Any]) -> None:
            def loss() -> Any:
                some = [tf.gather(x, rows) for x in data]
                learned, known = model.ratios(some, range(_SHIFTS + 1))
                logits = learned + known
                wrong = tf.reduce_mean(tf.nn.softplus(-logits[:, 0]), axis=1)
                wrong += tf.reduce_mean(tf.nn.softplus(logits[:, 1:]), axis=[1, 2])
                return tf.reduce_sum(wrong) + settings.decay * model.penalty()

            model.descend(loss, rate, count)

        # The shift is an argument, so that hundreds of shifts in `evaluate` need one trace.
        @tf.function(autograph=False)
        def sides(rows: Any, data: list[Any]) -> Any:
            return model.sides([tf.gather(x, rows) for x in data])

        @tf.function(autograph=False)
        def shifted(sides: Any, shift: Any) -> Any:
            return model.shifted(sides, shift)

        rows = tf.TensorSpec((settings.folds, batch), tf.int64)
        number = tf.TensorSpec((), tf.float32)
        columns = [tf.TensorSpec((n, width), tf.float32) for width in widths]
        self._step = step.get_concrete_function(rows, number, number, columns)
        self._sides, self._shifted = sides, shifted

    def begin(self, data: list[np.ndarray], rng: np.random.Generator) -> _FoldNetworks:
        """Set the rows ``[a, b, u, v]``, and draw new weights."""
        import tensorflow as tf

        self._data = [tf.constant(x) for x in data]
        self._model.begin(rng)
        return self._model

    def end(self) -> None:
        """Release the rows."""
        self._data = []

    def step(self, rows: np.ndarray, rate: float, count: int) -> None:
        """Train each fold on its rows for one step."""
        import tensorflow as tf

        numbers = (tf.constant(x, tf.float32) for x in (rate, count))
        self._step(tf.constant(rows), *numbers, self._data)

    def evaluate(self, rows: np.ndarray, shifts: tuple[int, ...]) -> list[np.ndarray]:
        """Return the learned and known parts of the log-ratios of rows and shifted rows."""
        import tensorflow as tf

        sides = self._sides(tf.constant(rows), self._data)
        found = [self._shifted(sides, tf.constant(shift)) for shift in shifts]
        return [np.stack([x.numpy() for x in part], axis=1) for part in zip(*found, strict=True)]


_program = functools.lru_cache(maxsize=_PROGRAMS)(_Program)


class _FoldNetworks:
    """The networks of all folds, on a leading axis: a layer for A and B, and two more layers."""

    def __init__(self, da: int, db: int, settings: Settings) -> None:
        import tensorflow as tf

        width, folds = settings.width, settings.folds
        self._a, self._b, self._deep = (
            tf.Variable(tf.zeros([folds, k, width])) for k in (da, db, width)
        )
        # The output is 0 before training.
        self._last = tf.Variable(tf.zeros([folds, width, 1]))
        self._biases = [tf.Variable(tf.zeros([folds, 1, k])) for k in (width, width, 1)]
        self.weights = [self._a, self._b, self._deep, self._last, *self._biases]
        self._moments = [
            (tf.Variable(tf.zeros_like(w)), tf.Variable(tf.zeros_like(w))) for w in self.weights
        ]

    def begin(self, rng: np.random.Generator) -> None:
        """Draw new weights, and reset the moments."""
        for weight in (self._a, self._b, self._deep):
            values = rng.normal(size=weight.shape) / np.sqrt(weight.shape[1])
            weight.assign(values.astype(np.float32))
        for variable in (self._last, *self._biases, *sum(self._moments, ())):
            variable.assign(np.zeros(variable.shape, np.float32))

    def penalty(self) -> Any:
        """Return Σ w² over all networks, without the biases and the last layer."""
        import tensorflow as tf

        return tf.add_n([tf.reduce_sum(w * w) for w in (self._a, self._b, self._deep)])

    def ratios(self, data: list[Any], shifts: Any) -> tuple[Any, Any]:
        """Return both parts of the log-ratios of rows (i, i − shift), ``(folds, shifts, rows)``."""
        import tensorflow as tf

        sides = self.sides(data)
        learned, known = zip(*(self.shifted(sides, shift) for shift in shifts), strict=True)
        return tf.stack(learned, axis=1), tf.stack(known, axis=1)

    def sides(self, data: list[Any]) -> tuple[Any, Any, Any, Any]:
        """Return what A and what B contribute to the first layer, and u and v."""
        import tensorflow as tf

        a, b, u, v = data
        return tf.matmul(a, self._a) + self._biases[0], tf.matmul(b, self._b), u, v

    def shifted(self, sides: tuple[Any, Any, Any, Any], shift: Any) -> tuple[Any, Any]:
        """Return the learned and the known part, ``(folds, rows)``, for one shift."""
        import tensorflow as tf

        first, second, u, v = sides
        hidden = tf.nn.silu(first + tf.roll(second, shift, axis=1))
        hidden = tf.nn.silu(tf.matmul(hidden, self._deep) + self._biases[1])
        learned = (tf.matmul(hidden, self._last) + self._biases[2])[..., 0]
        other = tf.roll(v, shift, axis=1)
        products = tf.reduce_sum(u[..., :-1] * other[..., :-1], axis=-1)
        return learned, products + u[..., -1] + other[..., -1]

    def descend(self, loss: Any, rate: Any, count: Any) -> None:
        """Perform a step of Adam."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        for weight, gradient, (mean, square) in zip(
            self.weights, tape.gradient(value, self.weights), self._moments, strict=True
        ):
            mean.assign(0.9 * mean + 0.1 * gradient)
            square.assign(0.999 * square + 0.001 * gradient * gradient)
            scale = tf.sqrt(square / (1 - 0.999**count)) + 1e-7
            weight.assign_sub(rate * mean / (1 - 0.9**count) / scale)


def _folds(
    n: int, folds: int, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows for training, early stopping and evaluation, each ``(folds, rows)``."""
    m = n // folds
    parts = rng.permutation(n)[: m * folds].reshape(folds, m)
    rest = np.stack(
        [rng.permutation(np.delete(parts, fold, axis=0).reshape(-1)) for fold in range(folds)]
    )
    eighth = rest.shape[1] // 8
    train, stop = rest[:, eighth:], rest[:, :eighth]
    some, few = (math.ceil(share * rows.shape[1]) for rows in (train, stop))
    return train[:, :some], stop[:, :few], parts
