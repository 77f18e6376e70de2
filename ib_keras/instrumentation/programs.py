"""Compiled forward passes that return the outputs of the taps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.arrays.checks import check_seed
from ib_keras.instrumentation import randomness, trace
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.taps import Plan
from ib_keras.layers import GaussianChannel
from ib_keras.progress import bar


@dataclasses.dataclass
class Program:
    """A compiled forward pass.

    Args:
        forward: a function of the inputs and a seed, int32 ``(2,)``.
        written: the variables that a pass writes. They are restored after each batch, so that a
            capture does not change the training.
    """

    forward: Callable
    written: list[tf.Variable]

    def __call__(self, inputs: Any, seed: Any, entropy: Sequence[int]) -> tuple[list, list]:
        """Run one batch.

        Args:
            inputs: a batch of the model's inputs.
            seed: the seed of the channels' noise, int32 ``(2,)``.
            entropy: integers that seed the random numbers of the model's own layers.

        Returns:
            T of the noisy taps and S of the clean taps, float32 ``(batch, *shape)``.
        """
        values = [variable.read_value() for variable in self.written]
        try:
            for i, value in randomness.seed_values(self.written, entropy).items():
                self.written[i].assign(value)
            return self.forward(inputs, seed)
        finally:
            for variable, value in zip(self.written, values, strict=True):
                variable.assign(value)


class Programs:
    """The compiled forward passes of a model, one for each choice of taps and kind of input.

    Args:
        seed: the seed of the captures that are called without one.
    """

    def __init__(self, seed: int | None) -> None:
        self.programs: dict[tuple, Program] = {}
        self._seeds = np.random.default_rng(None if seed is None else [seed, 1])

    def seed(self, seed: int | tuple[int, ...] | None) -> tuple[int, ...]:
        """Convert a seed to a tuple of integers; ``None`` gives a new one at each call."""
        if seed is None:
            return (int(self._seeds.integers(2**31)),)
        return tuple(map(check_seed, seed)) if isinstance(seed, tuple) else (check_seed(seed),)

    def get(
        self,
        model: keras.Model,
        plan: Plan,
        channels: Mapping[str, GaussianChannel],
        names: Sequence[str],
        cleaned: Sequence[str],
        spec: Any,
        seed: tuple[int, ...],
    ) -> Program:
        """Return the program that computes T of ``names`` and S of ``cleaned``.

        Args:
            model: the tapped model.
            plan: its taps.
            channels: tap → the channel that adds its noise.
            names: the taps of which T is returned.
            cleaned: the taps of which S is returned.
            spec: the structure of the inputs.
            seed: the seed of the capture. TensorFlow's stateful random operations, such as
                ``tf.random.normal``, keep their state in the compiled program; a model with these
                operations has a new program for each capture, seeded while it is traced.
        """
        key = (tuple(names), tuple(cleaned), tuple(keras.tree.flatten(spec)))
        if key in self.programs:
            return self.programs[key]
        names, cleaned, _ = key
        words = np.random.SeedSequence([*seed, 3]).generate_state(1)

        @tf.function(autograph=False, input_signature=[spec, tf.TensorSpec([2], tf.int32)])
        def forward(inputs: Any, noise_seed: Any) -> tuple[list, list]:
            noisy: dict[str, Any] = {}
            clean: dict[str, Any] = {}

            def record_tensor(name: str, tensor: Any) -> Any:
                index = plan.index.get(name)
                if index is None:
                    return tensor
                clean[name] = noisy[name] = tensor
                if name in channels:
                    own = tf.random.experimental.stateless_fold_in(noise_seed, index)
                    noisy[name] = channels[name].with_seed(tensor, own)
                return noisy[name]

            def record(name: str, layer: Any, args: tuple, output: Any) -> Any:
                return trace.map_outputs(name, output, record_tensor)

            if not tf.executing_eagerly():
                tf.random.set_seed(int(words[0] >> 1))  # for this graph only
            with Session(plan.watched, record):
                model(inputs, training=False)
            return (
                [tf.cast(noisy[name], tf.float32) for name in names],
                [tf.cast(clean[name], tf.float32) for name in cleaned],
            )

        with tf.init_scope():
            graph = forward.get_concrete_function().graph
        program = Program(forward, randomness.written_variables(graph))
        if not randomness.draws_from_kernels(graph):
            self.programs[key] = program
        return program


def run(
    program: Program,
    spec: Any,
    arrays: Sequence[np.ndarray],
    n: int,
    batch_size: int,
    seed: tuple[int, ...],
) -> Iterator[tuple[int, list[np.ndarray], list[np.ndarray]]]:
    """Run a program over all rows.

    Args:
        program: a program of ``Programs.get``.
        spec: the structure and dtypes of its inputs.
        arrays: the flattened inputs, each ``(n, ...)``.
        n: number of rows.
        batch_size: samples per forward pass.
        seed: integers that, with the batch size, determine the noise.

    Yields:
        The index of the batch's first row, T of the noisy taps and S of the clean taps.
    """
    dtypes = [s.dtype.as_numpy_dtype for s in keras.tree.flatten(spec)]
    root = np.random.SeedSequence(seed)
    for start in bar(range(0, n, batch_size), "forward passes", unit="batch"):
        batch = [
            tf.constant(np.asarray(a[start : start + batch_size], dtype))
            for a, dtype in zip(arrays, dtypes, strict=True)
        ]
        state = root.spawn(1)[0].generate_state(2) >> 1
        noisy, clean = program(
            keras.tree.pack_sequence_as(spec, batch),
            tf.constant(state.astype(np.int32)),
            [*seed, start],
        )
        yield start, [_view(t) for t in noisy], [_view(t) for t in clean]


def _view(tensor: Any) -> np.ndarray:
    """Return a tensor's values, without a copy if it is in the memory of the CPU."""
    return np.asarray(memoryview(tensor)) if "CPU" in tensor.device else tensor.numpy()
