"""Conditional densities from masked autoregressive flows, compiled once for each shape."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors

from ib_keras.arrays.rows import slices
from ib_keras.estimators.kernels.regression import log_normal
from ib_keras.progress import bar

# Number of compiled programs that are cached.
_PROGRAMS = 16
# Number of steps between evaluations, which one call of the compiled program performs; number of
# evaluations without improvement after which training ends; number of rows evaluated together.
_EVERY, _PATIENCE, _ROWS = 50, 6, 1024
# A spline acts between −_EDGE and _EDGE, in _BINS bins with at least the share _LEAST of the range.
_EDGE, _BINS, _LEAST = 5.0, 8, 1e-3
# Largest logarithm of a scale, and largest magnitude of the values that the networks see.
_LOG_SCALE, _CLIP = 8.0, 6.0
# Weight decay of AdamW, and norm at which gradients are clipped.
_DECAY, _NORM = 1e-2, 5.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a flow and its training.

    Args:
        hidden: widths of the hidden layers of each network.
        layers: number of autoregressive maps, between which the order of the columns is reversed.
            With 0, each column is mapped separately, given only its own part of the condition.
        steps: maximum number of steps of AdamW, rounded up to a multiple of 50.
        batch_size: number of rows per step.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
    """

    hidden: tuple[int, ...]
    layers: int
    steps: int
    batch_size: int
    learning_rate: float


def fitted(
    rows: np.ndarray,
    given: np.ndarray,
    train: np.ndarray,
    stop: np.ndarray,
    settings: Settings,
    seed: int,
    others: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit a map of rows to independent standard normal values, given a condition.

    Before training, the map is the identity.

    Args:
        rows: the values, roughly centred and of unit variance, ``(n, d)``.
        given: the condition, ``(n, c)``. If ``settings.layers`` is 0, it consists of d parts of
            equal length.
        train: indices of the rows for training.
        stop: indices of the rows for early stopping.
        settings: settings of the flow and its training.
        seed: seed of the weights and batches.
        others: further pairs of values and conditions to map.

    Returns:
        The mapped values, ``(n, d)``, and the logarithm of the Jacobian determinant, ``(n,)``, of
        all rows and of each of ``others``.
    """
    flow = _flow(settings, rows.shape[1], given.shape[1])
    with flow.lock:
        flow.train(rows, given, train, stop, seed)
        return [flow.map(*pair) for pair in ((rows, given), *others)]


class MaskedNetwork(keras.layers.Layer):
    """A network whose outputs for a column depend only on earlier columns and the condition.

    Args:
        dim: number d of columns.
        given: number c of values of the condition.
        hidden: widths of the hidden layers.
        outputs: number of outputs for each column.
    """

    def __init__(self, dim: int, given: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__(dtype="float32")
        # A unit of degree i sees the first i columns.
        degrees = [
            np.arange(1, dim + 1),
            *(np.arange(width) % dim for width in hidden),
            np.repeat(np.arange(dim), outputs),
        ]
        self._masks = [
            (before[:, None] <= after).astype(np.float32)
            for before, after in itertools.pairwise(degrees)
        ]
        self._shape = [-1, dim, outputs]
        self._kernels = [self._weight(mask.shape) for mask in self._masks]
        self._biases = [self._weight((mask.shape[1],)) for mask in self._masks]
        self._given = [self._weight((given, mask.shape[1])) for mask in self._masks]
        self.built = True

    def _weight(self, shape: tuple[int, ...]) -> Any:
        return self.add_weight(shape=shape, initializer="zeros")

    def begin(self, rng: np.random.Generator) -> None:
        """Draw new weights, except those of the last layer, which stay 0."""
        for kernel, mask in zip(self._kernels[:-1], self._masks[:-1], strict=True):
            seen = np.maximum(mask.sum(axis=0), 1)
            kernel.assign(rng.normal(size=kernel.shape) / np.sqrt(seen))
        for kernel in self._given[:-1]:
            kernel.assign(rng.normal(size=kernel.shape) / np.sqrt(kernel.shape[0]))

    def call(self, rows: Any, given: Any) -> Any:
        """Return the outputs, ``(n, d, outputs)``."""
        h = rows
        for i, (kernel, mask) in enumerate(zip(self._kernels, self._masks, strict=True)):
            if i:
                h = tf.nn.silu(h)
            h = tf.matmul(h, kernel.value * mask) + self._biases[i].value
            h += tf.matmul(given, self._given[i].value)
        return tf.reshape(h, self._shape)


class ColumnNetworks(keras.layers.Layer):
    """Networks whose outputs for a column depend only on its own part of the condition.

    Args:
        dim: number d of columns.
        given: number of values of the condition, a multiple of d.
        hidden: widths of the hidden layers.
        outputs: number of outputs for each column.
    """

    def __init__(self, dim: int, given: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__(dtype="float32")
        self._dim, self._part = dim, given // dim
        widths = (self._part, *hidden, outputs)
        self._kernels = [
            self.add_weight(shape=(dim, *pair), initializer="zeros")
            for pair in itertools.pairwise(widths)
        ]
        self._biases = [self.add_weight(shape=(dim, w), initializer="zeros") for w in widths[1:]]
        self.built = True

    def begin(self, rng: np.random.Generator) -> None:
        """Draw new weights, except those of the last layer, which stay 0."""
        for kernel, bias in zip(self._kernels[:-1], self._biases, strict=False):
            kernel.assign(rng.normal(size=kernel.shape) / np.sqrt(kernel.shape[1]))
            bias.assign(rng.normal(size=bias.shape))

    def call(self, rows: Any, given: Any) -> Any:
        """Return the outputs, ``(n, d, outputs)``."""
        h = tf.reshape(given, [-1, self._dim, self._part])
        for i, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True)):
            h = tf.nn.silu(h) if i else h
            h = tf.einsum("ndi,dij->ndj", h, kernel.value) + bias.value
        return h


def _bijector(outputs: Any) -> Any:
    """Return the map of each column: shift, scale and spline; outputs of 0 give the identity."""

    def widths(logits: Any) -> Any:
        return 2 * _EDGE * (_LEAST + (1 - _BINS * _LEAST) * tf.nn.softmax(logits))

    shift, scale, across, up, slopes = tf.split(outputs, [1, 1, _BINS, _BINS, _BINS - 1], axis=-1)
    slopes = _LEAST + tf.nn.softplus(slopes + math.log(math.expm1(1 - _LEAST)))
    log_scale = _LOG_SCALE * tf.tanh(scale[..., 0] / _LOG_SCALE)
    return bijectors.Chain(
        [
            bijectors.RationalQuadraticSpline(widths(across), widths(up), slopes, range_min=-_EDGE),
            bijectors.Scale(log_scale=log_scale),
            bijectors.Shift(shift[..., 0]),
        ]
    )


class _Flow:
    """A flow and its training step, compiled once for any number of trainings.

    Args:
        settings: settings of the flow and its training.
        dim: number of columns.
        given: number of values of the condition.
    """

    def __init__(self, settings: Settings, dim: int, given: int) -> None:
        self.lock = threading.Lock()
        self._settings = settings
        outputs = 1 + 3 * _BINS
        kind = MaskedNetwork if settings.layers else ColumnNetworks
        self._networks: list[Any] = [
            kind(dim, given, settings.hidden, outputs) for _ in range(max(1, settings.layers))
        ]
        self._weights = [w for network in self._networks for w in network.trainable_variables]
        rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=_DECAY, global_clipnorm=_NORM)
        optimizer.build(self._weights)
        self._variables = [*self._weights, *optimizer.variables]
        self._start = [np.array(variable.numpy()) for variable in self._variables]

        @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
        def steps(rows: Any, given: Any) -> None:
            def step(i: Any) -> Any:
                with tf.GradientTape() as tape:
                    mapped, log_slope = self._map(rows[i], given[i])
                    squares = tf.reduce_sum(tf.square(mapped), axis=1)
                    loss = tf.reduce_mean(squares / 2 - log_slope)
                weights = [w.value for w in self._weights]
                optimizer.apply(tape.gradient(loss, weights), self._weights)
                return i + 1

            tf.while_loop(lambda i: i < _EVERY, step, [tf.constant(0)])

        @tf.function(jit_compile=True, autograph=False, reduce_retracing=False)
        def evaluate(rows: Any, given: Any) -> tuple[Any, Any]:
            return self._map(rows, given)

        def specs(*lead: int) -> list[Any]:
            return [tf.TensorSpec((*lead, width), tf.float32) for width in (dim, given)]

        # Each program has a fixed shape, because TensorFlow warns if a program is often compiled.
        self._steps = steps.get_concrete_function(*specs(_EVERY, settings.batch_size))
        self._evaluate = evaluate.get_concrete_function(*specs(_ROWS))

    def train(
        self, rows: np.ndarray, given: np.ndarray, train: np.ndarray, stop: np.ndarray, seed: int
    ) -> None:
        """Train new weights, and keep those with the highest density of the rows ``stop``."""
        for variable, value in zip(self._variables, self._start, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(seed)
        for network in self._networks:
            network.begin(rng)
        size, best, waited = _EVERY * self._settings.batch_size, -np.inf, 0
        kept: list[np.ndarray] = []
        blocks = -(-self._settings.steps // _EVERY)
        for count in bar(range(blocks + 1), "flow", unit=f"{_EVERY} steps"):
            if count:
                # All rows are used equally often.
                orders = [rng.permutation(train) for _ in range(-(-size // len(train)))]
                batches = np.concatenate(orders)[:size].reshape(_EVERY, -1)
                self._steps(_single(rows[batches]), _single(given[batches]))
            mapped, log_slope = self.map(rows[stop], given[stop])
            density = float((log_normal(mapped) + log_slope).mean())
            waited += 1
            if density > best:
                best, waited = density, 0
                kept = [np.array(weight.numpy()) for weight in self._weights]
            if waited == _PATIENCE:
                break
        for weight, value in zip(self._weights, kept, strict=True):
            weight.assign(value)

    def map(self, rows: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mapped rows ``(n, d)`` and the log-determinants ``(n,)``."""
        found = []
        for part in slices(len(rows), _ROWS):
            fill = [(0, _ROWS - len(rows[part])), (0, 0)]
            some = (_single(np.pad(values[part], fill)) for values in (rows, given))
            found.append([result.numpy() for result in self._evaluate(*some)])
        mapped, log_slope = (
            np.concatenate(parts)[: len(rows)].astype(np.float64)
            for parts in zip(*found, strict=True)
        )
        return mapped, log_slope

    def _map(self, rows: Any, given: Any) -> tuple[Any, Any]:
        log_slope = tf.zeros(rows.shape[:1])
        given = tf.clip_by_value(given, -_CLIP, _CLIP)
        for i, network in enumerate(self._networks):
            rows = rows[:, ::-1] if i else rows
            bijector = _bijector(network(tf.clip_by_value(rows, -_CLIP, _CLIP), given))
            log_slopes = bijector.forward_log_det_jacobian(rows, event_ndims=0)
            log_slope += tf.reduce_sum(log_slopes, axis=1)
            rows = bijector.forward(rows)
        return rows, log_slope


def _single(values: np.ndarray) -> Any:
    return tf.constant(values, tf.float32)


_flow = functools.lru_cache(maxsize=_PROGRAMS)(_Flow)
