"""Compiled forward passes that return the outputs of the taps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.activations.kinds import CLEAN, MASK, MEAN, NOISY, SCALE
from ib_keras.arrays.checks import check_seed
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation import randomness, trace
from ib_keras.instrumentation.conditionals import declared
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.masks import Masks, flattened
from ib_keras.instrumentation.taps import Plan
from ib_keras.instrumentation.viewed import Viewed
from ib_keras.layers import GaussianChannel
from ib_keras.progress import bar

# Kind of array → names of the taps.
Wanted = Mapping[str, Sequence[str]]
# Kind of array → name of the tap → float32 ``(batch, *shape)``.
Outputs = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass
class Program:
    """A compiled forward pass.

    Args:
        forward: a function of the inputs, a seed, int32 ``(2,)``, and the parameters of the views.
        wanted: the kinds and names of its results.
        written: the variables that a pass writes. They are restored after each batch, so that a
            capture does not change the training.
    """

    forward: Callable
    wanted: Wanted
    written: list[tf.Variable]

    def __call__(
        self, inputs: Any, seed: Any, parameters: list[list[Any]], entropy: Sequence[int]
    ) -> Outputs:
        """Run one batch.

        Args:
            inputs: a batch of the model's inputs.
            seed: the seed of the channels' noise, int32 ``(2,)``.
            parameters: the parameters of each view.
            entropy: integers that seed the random numbers of the model's own layers.
        """
        values = [variable.read_value() for variable in self.written]
        try:
            for i, value in randomness.seed_values(self.written, entropy).items():
                self.written[i].assign(value)
            results = self.forward(inputs, seed, parameters)
        finally:
            for variable, value in zip(self.written, values, strict=True):
                variable.assign(value)
        return {
            kind: {name: _array(t) for name, t in zip(names, tensors, strict=True)}
            for (kind, names), tensors in zip(self.wanted.items(), results, strict=True)
        }


class Programs:
    """The compiled forward passes of a model, one for each choice of arrays and form of input.

    Args:
        seed: the seed from which captures that are called without a seed get theirs.
    """

    def __init__(self, seed: int | None) -> None:
        self.programs: dict[tuple, Program] = {}
        self._seeds = np.random.default_rng(None if seed is None else [seed, 1])

    def seed(self, seed: int | tuple[int, ...] | None) -> tuple[int, ...]:
        """Convert a seed to a tuple of integers; ``None`` gives a new seed at each call."""
        if seed is None:
            return (int(self._seeds.integers(2**31)),)
        return tuple(map(check_seed, seed)) if isinstance(seed, tuple) else (check_seed(seed),)

    def get(
        self,
        model: keras.Model,
        plan: Plan,
        channels: Mapping[str, GaussianChannel],
        wanted: Wanted,
        viewed: Viewed,
        spec: Any,
        seed: tuple[int, ...],
    ) -> Program:
        """Return the program that computes arrays of some kinds and taps.

        Args:
            model: the tapped model.
            plan: its taps.
            channels: tap → the channel that adds its noise.
            wanted: the kinds and taps of the arrays.
            viewed: the views of the taps, with their parameters.
            spec: the structure of the inputs.
            seed: the seed of the capture. TensorFlow's stateful random operations, such as
                ``tf.random.normal``, keep their state in the compiled program. A model with such
                operations gets a new program for each capture, which is seeded while it is traced.
        """
        wanted = {kind: tuple(names) for kind, names in wanted.items()}
        key = (tuple(wanted.items()), viewed.key, tuple(keras.tree.flatten(spec)))
        if key in self.programs:
            return self.programs[key]
        words = np.random.SeedSequence([*seed, 3]).generate_state(1)
        signature = [spec, tf.TensorSpec([2], tf.int32), viewed.spec]

        @tf.function(autograph=False, input_signature=signature)
        def forward(inputs: Any, noise_seed: Any, parameters: list[list[Any]]) -> list[list[Any]]:
            found = _Outputs(plan, channels, wanted, viewed, noise_seed, parameters)
            if not tf.executing_eagerly():
                tf.random.set_seed(int(words[0] >> 1))  # for this graph only
            session = Session(plan.watched, found.record, on_call=found.masks.keep)
            with session as found.session:
                model(inputs, training=False)
            return [
                [tf.cast(found.values[kind, name], tf.float32) for name in names]
                for kind, names in wanted.items()
            ]

        with tf.init_scope():
            graph = forward.get_concrete_function().graph
        program = Program(forward, wanted, randomness.written_variables(graph))
        if not randomness.draws_from_kernels(graph):
            self.programs[key] = program
        return program


@dataclasses.dataclass
class _Outputs:
    """Collects the outputs of the taps while a forward pass is traced.

    Args:
        plan: the taps.
        channels: tap → the channel that adds its noise.
        wanted: the kinds and taps to collect.
        viewed: the views of the taps.
        noise_seed: the seed of the noise.
        parameters: the parameters of each view.
        values: kind and tap → the collected tensor.
        session: the session in which the forward pass is traced.
        masks: the masks of the tensors of this pass.
    """

    plan: Plan
    channels: Mapping[str, GaussianChannel]
    wanted: Wanted
    viewed: Viewed
    noise_seed: Any
    parameters: list[list[Any]]
    values: dict[tuple[str, str], Any] = dataclasses.field(default_factory=dict)
    session: Any = None
    masks: Masks = dataclasses.field(default_factory=Masks)

    def record(
        self, name: str, layer: Any, args: tuple, kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Note the output of a layer, and add the noise of its channel."""
        mask = None
        if self.viewed.views:
            mask = self.masks.of_output(layer, args, kwargs, output, self.session.arguments)
        first = True

        def note(leaf: str, tensor: Any) -> Any:
            nonlocal first
            replaced = tapped(leaf, tensor)
            if first and mask is not None:
                self.masks.put(replaced, mask)
            first = False
            return replaced

        def tapped(leaf: str, tensor: Any) -> Any:
            index = self.plan.index.get(leaf)
            if index is None:
                return tensor
            noisy = tensor
            if leaf in self.channels:
                own = tf.random.experimental.stateless_fold_in(self.noise_seed, index)
                noisy = self.channels[leaf].with_seed(tensor, own)
            valid = flattened(mask, tensor) if self.plan.taps[index].masked else None
            for kind, values in ((NOISY, noisy), (CLEAN, tensor)):
                if leaf in self.wanted.get(kind, ()):
                    self.values[kind, leaf] = self.viewed(leaf, values, valid, self.parameters)
            given = declared(layer, args, output) if leaf in self.wanted.get(MEAN, ()) else None
            if given is not None:
                mean, scale = given
                if leaf in self.channels:
                    scale = tf.sqrt(scale**2 + tf.cast(self.channels[leaf].scale, scale.dtype) ** 2)
                self.values[MEAN, leaf], self.values[SCALE, leaf] = mean, scale
            if leaf in self.wanted.get(MASK, ()):
                self.values[MASK, leaf] = valid
            return noisy

        return trace.map_outputs(name, output, note)


def run(
    program: Program,
    spec: Any,
    batches: Iterator[list[np.ndarray]],
    n: int,
    batch_size: int,
    viewed: Viewed,
    seed: tuple[int, ...],
) -> Iterator[tuple[int, Outputs]]:
    """Run a program over all rows.

    Args:
        program: a program of ``Programs.get``.
        spec: the structure and dtypes of its inputs.
        batches: the flattened inputs, ``batch_size`` rows at a time.
        n: number of rows.
        batch_size: samples per forward pass.
        viewed: the views of the taps, with their parameters.
        seed: integers that, with the batch size, determine the noise.

    Yields:
        The index of the batch's first row, and the outputs.

    Raises:
        ArgumentError: If the output of a layer does not have one row for each sample.
    """
    dtypes = [s.dtype.as_numpy_dtype for s in keras.tree.flatten(spec)]
    root, parameters = np.random.SeedSequence(seed), viewed.parameters
    starts = bar(range(0, n, batch_size), "forward passes", unit="batch")
    for start, arrays in zip(starts, batches, strict=False):
        batch = [tf.constant(np.asarray(a, dtype)) for a, dtype in zip(arrays, dtypes, strict=True)]
        state = root.spawn(1)[0].generate_state(2) >> 1
        found = program(
            keras.tree.pack_sequence_as(spec, batch),
            tf.constant(state.astype(np.int32)),
            parameters,
            [*seed, start],
        )
        _check_rows(found, batch[0].shape[0])
        yield (
            start,
            {  # without the rows that filled up the last batch
                kind: {name: array[: n - start] for name, array in each.items()}
                for kind, each in found.items()
            },
        )
    next(batches, None)  # at its end, a data set compares this pass with the first one


def _check_rows(found: Outputs, rows: int) -> None:
    """Raise an error unless each output has a row for each sample."""
    for each in found.values():
        for name, array in each.items():
            if len(array) != rows:
                raise ArgumentError(
                    f"The output of the layer {name!r} has no row for each sample, as inside a "
                    "layer that joins the samples with their positions",
                    f"{rows} rows for {rows} samples; choose `layers` without it, such as the "
                    "layer around it",
                    f"shape {array.shape}",
                )


def _array(tensor: Any) -> np.ndarray:
    """Return a tensor's values, without copying them if they are in the memory of the CPU."""
    return np.asarray(memoryview(tensor)) if "CPU" in tensor.device else tensor.numpy()
