"""instrument(): a Keras model with a noise channel and a tap after each layer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras import examples
from ib_keras.activations import Activations, layer_names
from ib_keras.activations.kinds import CLEAN, MASK, NOISY
from ib_keras.arrays.checks import check_count, check_seed
from ib_keras.errors import ArgumentError
from ib_keras.examples import Examples
from ib_keras.instrumentation import custom_steps, model_inputs, taps, trace
from ib_keras.instrumentation import viewed as viewed_taps
from ib_keras.instrumentation.interception import Session
from ib_keras.instrumentation.programs import Outputs, Programs, Wanted, run
from ib_keras.instrumentation.taps import Layers
from ib_keras.instrumentation.viewed import Viewed
from ib_keras.layers import GaussianChannel

Noise = float | Mapping[str, float]


def instrument(
    model: keras.Model,
    noise_std: Noise = 0.0,
    *,
    layers: Layers = None,
    seed: int | None = None,
) -> InstrumentedModel:
    """Wrap a Keras model so that its hidden representations can be recorded and made noisy.

    After each tapped layer ℓ, the returned model has a channel T_ℓ = S_ℓ + N(0, noise_std²·I), in
    training and at inference. With ``noise_std=0`` it computes the same as ``model``. The weights
    are shared, so training one model trains the other. ``model`` itself is not changed.

    Args:
        model: a Keras model of any kind: Sequential, Functional, subclassed, with nested models and
            layers that are called several times. The taps of a model that was never called are
            unknown until its first call.
        noise_std: standard deviation of the noise, in the activations' unit. A number applies to
            all hidden layers; the output layer has no noise. A dict maps tap names or globs to
            numbers, such as ``{"dense_*": 0.05}``; taps that it does not name have no noise. An
            output has a channel only if the dict names it.
        layers: the layers to tap. ``None`` taps the output of each layer with weights, after the
            activation and normalisation layers that belong to it, and of layers that declare their
            distribution, such as ``ib_keras.layers.GaussianSampling``. ``"blocks"`` taps the stages
            of a deep network: its residual sums, concatenations and nested blocks. Names, globs
            such as ``"encoder/*"``, or a function from a layer to a boolean tap other layers. A
            layer that is called several times has the taps ``name``, ``name:1``, …; a layer that
            returns a tuple or dict has the taps ``name[0]``, ``name[key]``, and only the first by
            default.
        seed: integer seed of all noise; ``None`` for a random seed.

    Returns:
        An ``InstrumentedModel``, a ``keras.Model`` with the same inputs and outputs.

    Raises:
        ArgumentError: If no layer matches, a layer that ``layers`` names is called inside a loop,
            or ``noise_std`` is invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 2 (noisy DNNs).
    """
    if not isinstance(model, keras.Model):
        raise ArgumentError("`model` is not a Keras model", "a keras.Model", repr(type(model)))
    if isinstance(model, InstrumentedModel):
        raise ArgumentError(
            "`model` is instrumented already",
            "the wrapped model, `model.model`, which can be instrumented several times",
            repr(model.name),
        )
    if seed is not None:
        check_seed(seed)
    return InstrumentedModel(model, noise_std, layers=layers, seed=seed)


class _State:
    """The attributes of an instrumented model that Keras must not track."""

    def __init__(self, noise_std: Noise, layers: Layers, seed: int | None) -> None:
        self.noise_std, self.layers = noise_std, layers
        self.plan: taps.Plan | None = None
        self.layer_ids: tuple[int, ...] = ()  # the layers of which the plan was made
        self.defined = False  # whether the wrapped model defines its inputs
        self.programs = Programs(seed)


def _layer_ids(model: keras.Model) -> tuple[int, ...]:
    """Return what identifies the layers of a Sequential model, to which layers can be added."""
    return tuple(map(id, model.layers)) if isinstance(model, keras.Sequential) else ()


@keras.saving.register_keras_serializable(package="ib_keras")
class InstrumentedModel(keras.Model):
    """A Keras model with noise channels and taps; ``ib_keras.instrument`` makes it.

    Args:
        model: the wrapped model, which shares its weights.
        noise_std: see ``instrument``.
        layers: see ``instrument``.
        seed: see ``instrument``.
        **kwargs: arguments of ``keras.Model``.
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
        # With float16, `compile` of a model of this policy scales the loss.
        kwargs.setdefault("dtype", model.dtype_policy)
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
        """Choose the taps and make their channels, once the model's inputs are known."""
        state = self._state
        if not self.model.built:
            taps.build(self.model, spec)
        plan = taps.plan(self.model, state.layers, spec)
        stddev = plan.noise(state.noise_std)
        seeds = np.random.SeedSequence(self.seed).generate_state(len(plan.taps)) >> 1
        with tf.init_scope():
            # An output without noise has no channel, because Keras finds the logits of a softmax
            # by the tensor that the layer returned.
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
        state.plan, state.layer_ids = plan, _layer_ids(self.model)
        self.built = True

    def _check_unchanged(self) -> None:
        """Raise an ``ArgumentError`` if layers were added or removed since the taps were found."""
        if self._state.plan is not None and _layer_ids(self.model) != self._state.layer_ids:
            raise ArgumentError(
                f"The layers of the model {self.model.name!r} have changed since it was "
                "instrumented",
                "a new call of ib_keras.instrument, which finds the layers again",
                f"layers {[layer.name for layer in self.model.layers]}",
            )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configure the training as the wrapped model's ``compile`` does; captures trace again.

        Args:
            *args: see ``keras.Model.compile``, or the wrapped model's own ``compile``, which is
                then called too.
            **kwargs: as ``args``.
        """
        self._check_unchanged()
        self._state.programs.programs.clear()  # layers such as Normalization may be adapted anew
        if not self._own_compile:
            super().compile(*args, **kwargs)
            return
        self.model.compile(*args, **kwargs)
        super().compile()
        custom_steps.copy_compiled(self.model, self)

    @property
    def _own_compile(self) -> bool:
        """Whether the class of the wrapped model overrides ``compile``."""
        return type(self.model).compile is not keras.Model.compile

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return the settings of ``compile`` for a saved model."""
        return (
            self.model.get_compile_config() if self._own_compile else super().get_compile_config()
        )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model; one with a ``compile`` of its own by its own method.

        Args:
            config: the result of ``get_compile_config``.
        """
        if self._own_compile:
            self.model.compile_from_config(config)
            # By default, Keras does not compile such a model, and says so.
            if getattr(self.model, "optimizer", None) is not None:
                super().compile()
                custom_steps.copy_compiled(self.model, self)
            return
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def plan(self) -> taps.Plan:
        """The taps, with their shapes."""
        if self._state.plan is None:
            raise ArgumentError(
                f"The model {self.model.name!r} is not built, so its layers are unknown",
                "a call on a batch first, or model.build(input_shape)",
                f"{type(self.model).__name__}, built={self.model.built}",
            )
        return self._state.plan

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model; the first call finds the taps if the model was not built."""
        if self._state.plan is None:
            self._find_taps(taps.spec_of(inputs))
        return super().__call__(inputs, *args, **kwargs)

    @property
    def tap_names(self) -> list[str]:
        """The tapped layers' names, in the order of the forward pass."""
        return self.plan.names

    @property
    def noise_std(self) -> dict[str, float]:
        """Tap → standard deviation of its noise; 0 for taps without noise."""
        noise = {name: channel.stddev for name, channel in self.channels.items()}
        return {name: noise.get(name, 0.0) for name in self.plan.names}

    def set_noise_std(self, value: Noise) -> None:
        """Set the standard deviation of the noise, without retracing.

        Args:
            value: a number or dict, as for ``instrument``; taps that a dict does not name have no
                noise.

        Raises:
            ArgumentError: If the value is invalid, or names an output without a channel.
        """
        stddev = self.plan.noise(value)
        without = sorted(set(stddev) - set(self.channels))
        if without:
            raise ArgumentError(
                f"The output {without[0]!r} has no channel",
                "an output that was named when the model was instrumented: "
                f"instrument(…, noise_std={{'{without[0]}': 0.0}}) gives it a channel",
                value,
            )
        for name, channel in self.channels.items():
            channel.stddev = stddev.get(name, 0.0)

    @property
    def input(self) -> Any:
        """The wrapped model's symbolic input, or structure of inputs."""
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
        """Return a layer of the wrapped model."""
        return self.model.get_layer(name=name, index=index)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the wrapped model's forward pass with noise."""
        with Session(self.plan.watched, self._through_channels):
            return self.model(inputs, training=training)

    def _through_channels(
        self, name: str, layer: Any, args: tuple, kwargs: dict[str, Any], output: Any
    ) -> Any:
        def add_noise(name: str, tensor: Any) -> Any:
            channel = self.channels.get(name)
            return tensor if channel is None else channel(tensor)

        return trace.map_outputs(name, output, add_noise)

    def train_step(self, data: Any) -> Any:
        """Run the wrapped model's training step if it overrides any step, else that of Keras."""
        return self._step("train_step", data)

    def test_step(self, data: Any) -> Any:
        """Run the wrapped model's test step if it overrides any step, else that of Keras."""
        return self._step("test_step", data)

    def predict_step(self, data: Any) -> Any:
        """Run the wrapped model's prediction step if it overrides any step, else that of Keras."""
        return self._step("predict_step", data)

    def _step(self, step: str, data: Any) -> Any:
        if not custom_steps.is_customised(self.model):
            return getattr(super(), step)(data)
        with (
            custom_steps.compiled_as(self.model, self),
            Session(self.plan.watched, self._through_channels, root=self.model),
        ):
            return getattr(self.model, step)(data)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Export the wrapped model, as ``keras.Model.export`` does.

        Args:
            *args: as in Keras.
            **kwargs: as in Keras.

        Raises:
            ArgumentError: If channels add noise, which an exported model does not have.
        """
        noisy = {name: std for name, std in self.noise_std.items() if std > 0}
        if noisy:
            raise ArgumentError(
                "An exported model has no noise channels",
                "noise of 0; or `instrumented.model.export(…)`, which leaves the noise out",
                f"noise_std={noisy}",
            )
        self.model.export(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        """Save the weights, and this model's optimizer, in a file that the wrapped model can load.

        Args:
            *args: as in ``keras.Model.save_weights``.
            **kwargs: as in Keras.
        """
        with custom_steps.compiled_as(self.model, self):
            self.model.save_weights(*args, **kwargs)

    def load_weights(self, *args: Any, **kwargs: Any) -> None:
        """Load weights that an instrumented model or the wrapped model saved.

        Args:
            *args: as in ``keras.Model.load_weights``.
            **kwargs: as in Keras.
        """
        try:
            with (
                warnings.catch_warnings(record=True) as told,
                custom_steps.compiled_as(self.model, self),
            ):
                self.model.load_weights(*args, **kwargs)
        except ValueError as error:
            try:  # the layout of version 0.1 and of `save`, in which the model is an attribute
                super().load_weights(*args, **kwargs)
            except ValueError:
                raise error from None
        else:
            for one in told:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    @property
    def metrics(self) -> list:
        """The metrics of the training, including those of the wrapped model."""
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
        views: Any = None,
        view_inputs: Any = None,
    ) -> Activations:
        """Compute the outputs of the tapped layers at inference.

        Args:
            inputs: the model's inputs in any form that Keras accepts: an array ``(n, ...)``, a list
                or dict of arrays, or a data set (``tf.data.Dataset``, ``keras.utils.PyDataset``, an
                iterator that ends), of which only one batch at a time is in memory. Its rows must
                be the same in each pass.
            batch_size: samples per forward pass.
            layers: names or globs of taps, or ``"blocks"``; ``None`` for all taps.
            clean: ``True`` returns S, each layer's output before its own noise but with the noise
                of earlier layers, instead of T.
            draws: number of independent passes, each with new noise.
            seed: an integer or a tuple of integers, the seed of the noise and of the random numbers
                that the model's own layers draw at inference; ``None`` for a new seed at every
                call. The random numbers of training are not affected.
            views: functions of the layers' outputs to return in their place (see
                ``ib_keras.views``): a view for all layers that it fits, or names or globs of layers
                → views, such as ``{"block*": "mean"}``.
            view_inputs: inputs on which the views ``"pca:k"`` are fitted; they should not be among
                ``inputs``.

        Returns:
            Tap name → float32 ``(n, *shape)``, or ``(draws, n, *shape)`` for ``draws`` > 1.

        Raises:
            ArgumentError: If the inputs do not fit the model or differ between two passes, no tap
                matches, or a view does not fit.
        """
        draws = check_count(draws, "draws")
        rows = self.examples(inputs)
        names = self.select_taps(layers)
        root = self._state.programs.seed(seed)
        viewed = self.fit_views(self.views(names, views), view_inputs, (*root, 4), batch_size)
        if draws > 1 and not self._is_random(names, clean):
            warnings.warn(
                "All draws are equal, because no layer is random at inference. As in `predict`, "
                "Keras replaces the argument `training=True` of a layer in a Functional model: to "
                "draw at inference, a layer of your own must pass it to dropout in its `call`.",
                stacklevel=2,
            )
        kind = CLEAN if clean else NOISY
        wanted = {kind: names, MASK: self.masked_positions(viewed)}
        return self.gather(
            rows, wanted, viewed=viewed, draws=draws, batch_size=batch_size, seed=root
        )[kind]

    def gather(
        self,
        inputs: Any,
        wanted: Wanted,
        *,
        viewed: Viewed,
        draws: int,
        batch_size: int,
        seed: tuple[int, ...],
    ) -> dict[str, Activations]:
        """Compute arrays of several kinds in one or several passes, in memory.

        Args:
            inputs: see ``capture``.
            wanted: the kinds of arrays (see ``activations.kinds``), each with the names of taps.
            viewed: the views of the taps.
            draws: see ``capture``.
            batch_size: see ``capture``.
            seed: integers that determine the noise.

        Returns:
            Kind → activations.
        """
        rows = self.examples(inputs)
        arrays: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in wanted}
        for draw in range(draws):
            for start, batch in self.stream(
                rows, wanted, viewed=viewed, batch_size=batch_size, seed=(*seed, draw)
            ):
                for kind, outputs in batch.items():
                    for name, value in outputs.items():
                        if name not in arrays[kind]:
                            shape = (draws, rows.n, *value.shape[1:])
                            arrays[kind][name] = np.empty(shape, np.float32)
                        arrays[kind][name][draw, start : start + len(value)] = value
        if draws == 1:
            arrays = {k: {name: a[0] for name, a in each.items()} for k, each in arrays.items()}
        noise_std, random = self.view_noise(viewed), self.random_views(viewed)
        return {
            kind: Activations(
                each,
                noise_std=noise_std,
                clean=kind == CLEAN,
                random=random,
                views=viewed.names,
                masks=arrays.get(MASK),
            )
            for kind, each in arrays.items()
        }

    def propagate(
        self,
        inputs: Any,
        *,
        propagations: int = 64,
        layers: Layers = None,
        batch_size: int = 256,
        seed: int | tuple[int, ...] | None = None,
        views: Any = None,
        view_inputs: Any = None,
    ) -> Activations:
        """Compute S of the layers that come after noise, in many passes of each input.

        Each pass has new noise. ``SamplePropagation`` takes the result as ``conditional``. Layers
        whose S is a function of the input, such as the first layer, are left out.

        Args:
            inputs: see ``capture``.
            propagations: n_x, the number of passes for each input.
            layers: names or globs of taps; ``None`` for all taps.
            batch_size: see ``capture``.
            seed: see ``capture``.
            views: see ``capture``.
            view_inputs: see ``capture``.

        Returns:
            Tap name → float32 ``(m, n_x, *shape)``.
        """
        propagations = check_count(propagations, "propagations")
        rows = self.examples(inputs)
        names = [name for name in self.select_taps(layers) if name in self.random_taps]
        arrays: dict[str, np.ndarray] = {}
        root = self._state.programs.seed(seed)
        viewed = self.fit_views(self.views(names, views), view_inputs, (*root, 4), batch_size)
        for k, start, batch in self.propagations(
            rows, names, propagations, viewed=viewed, batch_size=batch_size, seed=root
        ):
            for name, value in batch.items():
                if name not in arrays:
                    shape = (rows.n, propagations, *value.shape[1:])
                    arrays[name] = np.empty(shape, np.float32)
                arrays[name][start : start + len(value), k] = value
        return Activations(
            arrays,
            noise_std=self.view_noise(viewed),
            clean=True,
            random=self.random_views(viewed),
            views=viewed.names,
        )

    def propagations(
        self,
        inputs: Any,
        names: Sequence[str],
        propagations: int,
        *,
        viewed: Viewed,
        batch_size: int,
        seed: tuple[int, ...],
    ) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
        """Compute what ``propagate`` returns, one batch of a pass at a time.

        Args:
            inputs: see ``capture``.
            names: taps that come after noise.
            propagations: the number of passes.
            viewed: the views of the taps.
            batch_size: see ``capture``.
            seed: integers that determine the noise.

        Yields:
            The number of the pass, the index of the batch's first row, and tap name → float32
            ``(batch, *shape)``.
        """
        for k in range(propagations) if names else ():
            # The last number keeps these draws apart from those of ``capture`` at this seed.
            for start, batch in self.stream(
                inputs, {CLEAN: names}, viewed=viewed, batch_size=batch_size, seed=(*seed, k, 1)
            ):
                yield k, start, batch[CLEAN]

    def views(self, names: Sequence[str], views: Any) -> Viewed:
        """Assign views to taps; see ``capture``.

        Args:
            names: the taps.
            views: see ``capture``.

        Raises:
            ArgumentError: If a view is unknown or does not fit.
        """
        if isinstance(views, Viewed):
            return views
        return viewed_taps.resolve(self.plan, names, views)

    def fit_views(
        self, viewed: Viewed, inputs: Any, seed: tuple[int, ...], batch_size: int = 256
    ) -> Viewed:
        """Fit the views that have to be fitted, on inputs other than those that are captured.

        Args:
            viewed: the views.
            inputs: the inputs; see ``capture``.
            seed: integers that determine the noise.
            batch_size: samples per forward pass.

        Raises:
            ArgumentError: If there are no inputs, or too few.
        """
        if not viewed.unfitted:
            return viewed
        viewed.check_inputs(inputs)
        samples: dict[str, list[np.ndarray]] = {name: [] for name in viewed.unfitted}
        for _, batch in self.stream(
            examples.of(inputs, name="view_inputs"),
            {NOISY: viewed.unfitted},
            batch_size=batch_size,
            seed=seed,
        ):
            for name, values in batch[NOISY].items():
                samples[name].append(values.copy())
        return viewed.with_fitted({name: np.concatenate(each) for name, each in samples.items()})

    def view_noise(self, viewed: Viewed) -> dict[str, float]:
        """Return the standard deviation of the noise of each tap, or of its view if it has one."""
        return {name: viewed.noise_std(name, own) for name, own in self.noise_std.items()}

    def _is_random(self, names: Sequence[str], clean: bool) -> bool:
        """Return whether any of these taps has a new value at each pass."""
        noisy = () if clean else (name for name in names if self.noise_std[name] > 0)
        return bool(self.random_taps.intersection(names)) or any(noisy)

    def random_views(self, viewed: Viewed) -> frozenset[str]:
        """Return the taps whose S, or the view of it, is random given the input.

        These include noisy taps whose view has noise that is no longer Gaussian, such as a maximum:
        this noise counts as part of S.
        """
        if not viewed.views:
            return self.random_taps
        noise = self.noise_std
        lost = {n for n, own in noise.items() if own > 0 and not viewed.noise_std(n, own) > 0}
        return self.random_taps | lost

    def masked_positions(self, viewed: Viewed) -> list[str]:
        """Return the taps with the view ``"positions"`` of which some positions are masked."""
        return [name for name in viewed.positions if viewed.taps[name].masked]

    def declared_taps(self, viewed: Viewed) -> list[str]:
        """Return the taps without a view, and without noise before them, that declare p(T|X)."""
        noise, upstream = self.noise_std, self.plan.upstream
        return [
            name
            for name in self.tap_names
            if name in self.plan.declared
            and name not in viewed.views
            and not any(noise[u] > 0 for u in upstream[name])
        ]

    @property
    def random_taps(self) -> frozenset[str]:
        """The taps whose S is random given the input.

        S is random if noise acts before the tap, or if it depends on random numbers that the model
        itself draws at inference, as a VAE does.
        """
        noise = self.noise_std
        upstream = self.plan.upstream
        behind_noise = {t for t in self.tap_names if any(noise[u] > 0 for u in upstream[t])}
        return frozenset(behind_noise | self.plan.random_inside)

    def stream(
        self,
        inputs: Any,
        wanted: Wanted,
        *,
        viewed: Viewed | None = None,
        batch_size: int,
        seed: tuple[int, ...],
    ) -> Iterator[tuple[int, Outputs]]:
        """Compute arrays of several kinds in one pass, and yield them batch by batch.

        Args:
            inputs: see ``capture``.
            wanted: the kinds of arrays (see ``activations.kinds``), each with the names of taps.
            viewed: the views of the taps.
            batch_size: see ``capture``.
            seed: integers that determine the noise.

        Yields:
            The index of the batch's first row; and kind → tap name → float32 ``(batch, *shape)``.
        """
        batch_size = check_count(batch_size, "batch_size")
        self._check_unchanged()
        rows = self.examples(inputs)
        viewed = Viewed() if viewed is None else viewed
        spec = self.plan.spec if self._state.defined else model_inputs.spec_of(rows)
        batch_size = model_inputs.batch_size(spec) or batch_size
        program = self._state.programs.get(
            self.model, self.plan, self.channels, wanted, viewed, spec, seed
        )
        batches = model_inputs.arranged(self.model, spec, rows, batch_size)
        yield from run(program, spec, batches, rows.n, batch_size, viewed, seed)

    def summary(self, *, samples: int = 1000, print_fn: Any = print, **kwargs: Any) -> None:
        """Print the path, class, shape, noise and size of every tap.

        Args:
            samples: the number of samples in a recorded epoch, for its size.
            print_fn: function that prints a text.
            **kwargs: ignored; accepted for compatibility with ``keras.Model.summary``.
        """
        title = f"Instrumented model {self.model.name!r}: {self.model.count_params():,} parameters"
        print_fn(f"{title}\n{self.plan.table(self.noise_std, samples)}")
        if self.plan.n_blocks > len(self.plan.blocks):
            count = f"{self.plan.n_blocks} block{'s' if self.plan.n_blocks > 1 else ''}"
            print_fn(f'The model has {count}: `layers="blocks"` taps these.')

    def get_config(self) -> dict[str, Any]:
        """Return the wrapped model, the names of the taps, and the current noise."""
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "noise_std": {name: channel.stddev for name, channel in self.channels.items()},
            "layers": self.tap_names,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> InstrumentedModel:
        """Create a model from the result of ``get_config``."""
        config = dict(config)
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)

    def examples(self, inputs: Any) -> Examples:
        """Return the rows of inputs, checked for this model.

        Args:
            inputs: see ``capture``.

        Raises:
            ArgumentError: If the inputs do not fit the model.
        """
        rows = examples.of(inputs)
        if self._state.plan is not None:
            rows.expect(model_inputs.row_shapes(self.plan.spec))
        else:
            self._find_taps(model_inputs.spec_of(rows))
        if self._state.defined:
            model_inputs.order(self.model, self.plan.spec, rows)
        return rows

    def select_taps(self, layers: Layers = None) -> list[str]:
        """Select taps, in the order of the forward pass.

        Args:
            layers: names or globs of taps, or ``"blocks"``; ``None`` for all taps.

        Raises:
            ArgumentError: If a name or glob matches no tap.
        """
        if layers is None:
            return self.tap_names
        if layers == taps.BLOCKS:
            selected = [name for name in self.tap_names if name in self.plan.blocks]
            if not selected:
                raise ArgumentError(
                    "None of the taps is a block of the model",
                    'a model instrumented by `instrument(model, layers="blocks")`',
                    f"taps {self.tap_names}",
                )
            return selected
        if callable(layers):
            raise ArgumentError("`layers` must be names of taps", "names or globs", repr(layers))
        return layer_names.select(layers, self.plan.names)
