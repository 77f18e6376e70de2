"""instrument(): the same model, with a noise channel and a tap after each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.activations import Activations, layer_names
from ib_keras.arrays.checks import as_array, check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation import custom_steps, taps, trace
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.programs import Programs, run
from ib_keras.instrumentation.taps import Layers
from ib_keras.layers import GaussianChannel

Noise = float | Mapping[str, float]


def instrument(
    model: keras.Model,
    noise_std: Noise = 0.0,
    *,
    layers: Layers = None,
    seed: int | None = None,
) -> InstrumentedModel:
    """Wraps a Keras model so that its hidden representations can be recorded and made noisy.

    After each tapped layer ℓ the returned model has a channel T_ℓ = S_ℓ + N(0, noise_std²·I), in
    training and at inference; with ``noise_std=0`` it computes what ``model`` computes. The weights
    are shared: training one trains the other. ``model`` itself is not changed.

    Args:
        model: any Keras model: Sequential, Functional, subclassed, with nested models and layers
            called several times. One that was never called finds its layers at its first call;
            until then its taps are unknown.
        noise_std: standard deviation of the noise, in the activations' unit. A number is for the
            hidden layers: the output layer stays noiseless. A dict maps tap names or globs
            (``{"dense_*": 0.05}``) to numbers; taps that it does not name have none. An output
            has a channel only if it is named.
        layers: what to tap. ``None``: the output of each layer with weights, taken behind the
            activation and normalisation layers that belong to it. ``"blocks"``: the stages of a
            deep network, which are its residual sums, concatenations and nested blocks. Else
            names, globs (``"encoder/*"``), or a predicate of the layer. A layer called several
            times has the taps ``name``, ``name:1``, …; one that returns a tuple or dict the taps
            ``name[0]``, ``name[key]``, of which the first is the default.
        seed: integer seed of all noise; ``None`` for a random one.

    Returns:
        An ``InstrumentedModel``: a ``keras.Model`` with the same inputs and outputs.

    Raises:
        ArgumentError: no layer matches (the available ones are listed), one that was asked for is
            called inside a loop and out of reach, or ``noise_std`` is invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 2 (noisy DNNs).
    """
    if not isinstance(model, keras.Model):
        raise ArgumentError("`model` is not a Keras model", "a keras.Model", repr(type(model)))
    if isinstance(model, InstrumentedModel):
        raise ArgumentError(
            "`model` is instrumented already",
            "the model that it wraps, `model.model`: several instrumentations of one live side by "
            "side",
            repr(model.name),
        )
    if seed is not None:
        check_seed(seed)
    return InstrumentedModel(model, noise_std, layers=layers, seed=seed)


class _State:
    """What an instrumented model knows that Keras shall not track."""

    def __init__(self, noise_std: Noise, layers: Layers, seed: int | None) -> None:
        self.noise_std, self.layers = noise_std, layers
        self.plan: taps.Plan | None = None
        # Whether the model itself says what it takes.
        self.defined = False
        self.programs = Programs(seed)


@keras.saving.register_keras_serializable(package="ib_keras")
class InstrumentedModel(keras.Model):
    """A model with channels and taps; made by ``ib_keras.instrument``.

    Args:
        model: the wrapped model, whose weights it shares.
        noise_std: see ``instrument``.
        layers: see ``instrument``.
        seed: see ``instrument``.
        **kwargs: of ``keras.Model``.
    """

    def __init__(
        self,
        model: keras.Model,
        noise_std: Noise = 0.0,
        *,
        layers: Layers = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", f"instrumented_{model.name}")
        super().__init__(**kwargs)
        self.model = model
        self.seed = seed
        self._state = _State(noise_std, layers, seed)
        spec = taps.input_spec(model)
        self._state.defined = spec is not None
        if spec is None:
            spec = taps.built_spec(model)
        if spec is not None:
            self._find_taps(spec)

    def _find_taps(self, spec: Any) -> None:
        """Chooses the taps and makes their channels, once it is known what the model takes."""
        state = self._state
        if not self.model.built:
            taps.build(self.model, spec)
        plan = taps.plan(self.model, state.layers, spec)
        stddev = plan.noise(state.noise_std)
        seeds = np.random.SeedSequence(self.seed).generate_state(len(plan.taps)) >> 1
        with tf.init_scope():
            # An output without noise has no channel: Keras finds the logits behind a softmax by
            # the very tensor that the layer returned.
            self.channels = {
                tap.name: GaussianChannel(
                    stddev.get(tap.name, 0.0),
                    seed=None if self.seed is None else int(seeds[i]),
                    dtype=tap.dtype,
                    name=f"channel_{i}",
                )
                for i, tap in enumerate(plan.taps)
                if tap.name in stddev or tap.name not in plan.outputs
            }
        state.plan = plan
        self.built = True

    @property
    def plan(self) -> taps.Plan:
        """What is tapped, with shapes."""
        if self._state.plan is None:
            raise ArgumentError(
                f"The model {self.model.name!r} is not built, so that its layers are unknown",
                "one call on a batch first, or model.build(input_shape)",
                f"{type(self.model).__name__}, built={self.model.built}",
            )
        return self._state.plan

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A model that was not built before finds its layers at its first call."""
        if self._state.plan is None:
            self._find_taps(taps.spec_of(inputs))
        return super().__call__(inputs, *args, **kwargs)

    @property
    def tap_names(self) -> list[str]:
        """The tapped layers' names, in the order of the forward pass."""
        return self.plan.names

    @property
    def noise_std(self) -> dict[str, float]:
        """The standard deviation of each tap's noise; 0 where there is none."""
        noise = {name: channel.stddev for name, channel in self.channels.items()}
        return {name: noise.get(name, 0.0) for name in self.plan.names}

    def set_noise_std(self, value: Noise) -> None:
        """Sets the noise without retracing anything.

        Args:
            value: what ``instrument`` takes; taps that a dict does not name have no noise.

        Raises:
            ArgumentError: it is invalid, or names an output that ``instrument`` gave no channel.
        """
        stddev = self.plan.noise(value)
        without = sorted(set(stddev) - set(self.channels))
        if without:
            raise ArgumentError(
                f"The output {without[0]!r} has no channel",
                "an output that was named to `instrument`: noise_std={'"
                f"{without[0]}': 0.0}} gives it a channel to be set later",
                value,
            )
        for name, channel in self.channels.items():
            channel.stddev = stddev.get(name, 0.0)

    @property
    def input(self) -> Any:
        """The wrapped model's symbolic inputs, in their structure."""
        model = self.model
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    @property
    def inputs(self) -> Any:
        """The wrapped model's symbolic inputs."""
        return self.model.inputs

    @property
    def outputs(self) -> Any:
        """The wrapped model's symbolic outputs."""
        return self.model.outputs

    @property
    def input_shape(self) -> Any:
        """The wrapped model's input shape."""
        return self.model.input_shape

    @property
    def output_shape(self) -> Any:
        """The wrapped model's output shape."""
        return self.model.output_shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer of the wrapped model."""
        return self.model.get_layer(name=name, index=index)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The wrapped model's forward pass, through the channels."""

        with Session(self.plan.watched, self._through_channels):
            return self.model(inputs, training=training)

    def _through_channels(self, name: str, layer: Any, args: tuple, output: Any) -> Any:
        def add_noise(name: str, tensor: Any) -> Any:
            channel = self.channels.get(name)
            return tensor if channel is None else channel(tensor)

        return trace.map_outputs(name, output, add_noise)

    def train_step(self, data: Any) -> Any:
        """The wrapped model's training step where it has one of its own, else Keras's."""
        return self._step("train_step", data)

    def test_step(self, data: Any) -> Any:
        """The wrapped model's test step where it has one of its own, else Keras's."""
        return self._step("test_step", data)

    def predict_step(self, data: Any) -> Any:
        """The wrapped model's prediction step where it has one of its own, else Keras's."""
        return self._step("predict_step", data)

    def _step(self, step: str, data: Any) -> Any:
        if not custom_steps.is_customised(self.model):
            return getattr(super(), step)(data)
        with (
            custom_steps.compiled_as(self.model, self),
            Session(self.plan.watched, self._through_channels, root=self.model),
        ):
            return getattr(self.model, step)(data)

    @property
    def metrics(self) -> list:
        """The metrics of the training, with those that the wrapped model keeps itself."""
        if not custom_steps.is_customised(self.model):
            return super().metrics
        with custom_steps.compiled_as(self.model, self):
            return self.model.metrics

    def capture(
        self,
        inputs: Any,
        *,
        batch_size: int = 256,
        layers: Layers = None,
        clean: bool = False,
        draws: int = 1,
        seed: int | tuple[int, ...] | None = None,
    ) -> Activations:
        """The tapped layers' outputs for ``inputs``, at inference.

        Args:
            inputs: ``(n, ...)``, or the structure of arrays that the model takes.
            batch_size: samples a forward pass.
            layers: names or globs of taps, or ``"blocks"``; ``None`` for all.
            clean: S, each layer's output before its own noise (earlier layers still noisy),
                instead of T.
            draws: number of independent passes, each with fresh noise.
            seed: of the noise, and of the random numbers that the model's own layers draw at
                inference; ``None`` for fresh ones at every call. What training draws is not
                affected.

        Returns:
            Tap name → float32 ``(n, *shape)``, or ``(draws, n, *shape)`` for ``draws`` > 1.

        Raises:
            ArgumentError: the inputs do not fit the model, or no tap matches.
        """
        draws = check_count(draws, "draws")
        arrays: dict[str, np.ndarray] = {}
        root = self._state.programs.seed(seed)
        for draw in range(draws):
            for start, n, batch in self.capture_batches(
                inputs, batch_size=batch_size, layers=layers, clean=clean, seed=(*root, draw)
            ):
                for name, value in batch.items():
                    if name not in arrays:
                        arrays[name] = np.empty((draws, n, *value.shape[1:]), np.float32)
                    arrays[name][draw, start : start + len(value)] = value
        if draws == 1:
            arrays = {name: array[0] for name, array in arrays.items()}
        return Activations(arrays, noise_std=self.noise_std, clean=clean, random=self.random_taps)

    def capture_batches(
        self,
        inputs: Any,
        *,
        batch_size: int = 256,
        layers: Layers = None,
        clean: bool = False,
        seed: int | tuple[int, ...] | None = None,
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """As ``capture``, one batch at a time: for outputs that do not fit in memory.

        Args:
            inputs: see ``capture``.
            batch_size: see ``capture``.
            layers: see ``capture``.
            clean: see ``capture``.
            seed: see ``capture``; a tuple of integers is one seed too.

        Yields:
            The number of the batch's first row, the number of rows in all, and tap name → float32
            ``(batch, *shape)``.
        """
        self.check_inputs(inputs)
        names = self.select_taps(layers)
        cleaned = names if clean else []
        for start, n, noisy, before in self.stream(
            inputs, names, cleaned, batch_size=batch_size, seed=self._state.programs.seed(seed)
        ):
            yield start, n, before if clean else noisy

    def propagate(
        self,
        inputs: Any,
        *,
        propagations: int = 64,
        layers: Layers = None,
        batch_size: int = 256,
        seed: int | tuple[int, ...] | None = None,
    ) -> Activations:
        """S of the layers behind noise, for each input propagated many times with fresh noise.

        It is what ``SamplePropagation`` calls ``conditional``. Layers whose S is a function of the
        input, such as the first, are left out.

        Args:
            inputs: see ``capture``.
            propagations: n_x, passes for each input.
            layers: names or globs of taps; ``None`` for all.
            batch_size: see ``capture``.
            seed: see ``capture``.

        Returns:
            Tap name → float32 ``(m, n_x, *shape)``.
        """
        propagations = check_count(propagations, "propagations")
        names = [name for name in self.select_taps(layers) if name in self.random_taps]
        arrays: dict[str, np.ndarray] = {}
        root = self._state.programs.seed(seed)
        for k in range(propagations) if names else ():
            # The last number keeps these draws apart from those of ``capture`` at this seed.
            for start, n, _, clean in self.stream(
                inputs, [], names, batch_size=batch_size, seed=(*root, k, 1)
            ):
                for name, value in clean.items():
                    if name not in arrays:
                        arrays[name] = np.empty((n, propagations, *value.shape[1:]), np.float32)
                    arrays[name][start : start + len(value), k] = value
        return Activations(arrays, noise_std=self.noise_std, clean=True, random=self.random_taps)

    @property
    def random_taps(self) -> frozenset[str]:
        """The taps whose S is random given the input: noise acts before them, or they depend on
        random numbers that the model draws at inference by itself, as a VAE's sampling does."""
        noise = self.noise_std
        upstream = self.plan.upstream
        behind_noise = {t for t in self.tap_names if any(noise[u] > 0 for u in upstream[t])}
        return frozenset(behind_noise | self.plan.drawn)

    def stream(
        self,
        inputs: Any,
        names: Sequence[str],
        cleaned: Sequence[str],
        *,
        batch_size: int,
        seed: tuple[int, ...],
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """T of the taps ``names`` and S of the taps ``cleaned`` from one pass, batch by batch.

        Args:
            inputs: see ``capture``.
            names: taps.
            cleaned: taps.
            batch_size: see ``capture``.
            seed: integers that determine the noise.

        Yields:
            The number of the batch's first row, the number of rows in all, T and S.
        """
        batch_size = check_count(batch_size, "batch_size")
        flat, n = self.check_inputs(inputs)
        spec = self.plan.spec if self._state.defined else taps.spec_of(_arrays(inputs))
        program = self._state.programs.get(
            self.model, self.plan, self.channels, names, cleaned, spec, seed
        )
        for start, noisy, clean in run(program, spec, flat, n, batch_size, seed):
            yield (
                start,
                n,
                dict(zip(names, noisy, strict=True)),
                dict(zip(cleaned, clean, strict=True)),
            )

    def summary(self, *, samples: int = 1000, print_fn: Any = print, **kwargs: Any) -> None:
        """Prints path, class, shape, noise and size of every tap, before anything runs.

        Args:
            samples: the size is that of one recorded epoch of this many samples.
            print_fn: called with the table.
            **kwargs: accepted for compatibility with ``keras.Model.summary`` and not used.
        """
        title = f"Instrumented model {self.model.name!r}: {self.model.count_params():,} parameters"
        print_fn(f"{title}\n{self.plan.table(self.noise_std, samples)}")
        if self.plan.all_blocks > len(self.plan.blocks):
            print_fn(f'The model has {self.plan.all_blocks} blocks: `layers="blocks"` taps these.')

    def get_config(self) -> dict[str, Any]:
        """The wrapped model, the taps by name, and the noise as it is now."""
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "noise_std": {name: channel.stddev for name, channel in self.channels.items()},
            "layers": self.tap_names,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> InstrumentedModel:
        """The inverse of ``get_config``."""
        config = dict(config)
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)

    def check_inputs(self, inputs: Any) -> tuple[list[Any], int]:
        """The arrays of ``inputs`` in the model's order, and their length.

        Args:
            inputs: what ``capture`` takes.

        Raises:
            ArgumentError: they do not fit the model.
        """
        flat = keras.tree.flatten(_arrays(inputs))
        if self._state.plan is None:
            self._find_taps(taps.spec_of(_arrays(inputs)))
        specs = keras.tree.flatten(self.plan.spec)
        if not hasattr(inputs, "shape") and len(flat) != len(specs):
            flat = [np.asarray(inputs)]  # a list of rows
        shapes = [tuple(a.shape) for a in flat]
        expected = [tuple(s.shape) for s in specs]
        fits = len(flat) == len(specs) and all(
            len(a) == len(s) and all(j in (None, i) for i, j in zip(a, s, strict=True))
            for a, s in zip(shapes, expected, strict=True)
        )
        # A model without defined inputs may take other shapes than the first it saw.
        if not (fits or (not self._state.defined and all(shapes))):
            raise ArgumentError(
                "`inputs` do not fit the model",
                f"shapes {expected}",
                f"shapes {shapes}",
            )
        n = shapes[0][0]
        if n == 0 or any(shape[0] != n for shape in shapes):
            raise ArgumentError(
                "`inputs` differ in length or are empty", "the same n >= 1", f"shapes {shapes}"
            )
        return flat, n

    def select_taps(self, layers: Layers = None) -> list[str]:
        """The taps that names or globs ask for, in order; ``None`` for all.

        Args:
            layers: names or globs of taps.

        Raises:
            ArgumentError: one of them matches no tap.
        """
        if layers is None:
            return self.tap_names
        if layers == taps.BLOCKS:
            found = [name for name in self.tap_names if name in self.plan.blocks]
            if not found:
                raise ArgumentError(
                    "None of the taps is a block of the model",
                    'a model instrumented by `instrument(model, layers="blocks")`',
                    f"taps {self.tap_names}",
                )
            return found
        if callable(layers):
            raise ArgumentError("`layers` of a capture are names", "names or globs", repr(layers))
        return layer_names.select(layers, self.plan.names)


def _arrays(inputs: Any) -> Any:
    """A structure of inputs with arrays for leaves."""
    return keras.tree.map_structure(
        lambda a: a if hasattr(a, "shape") else as_array(a, "inputs"), inputs
    )
