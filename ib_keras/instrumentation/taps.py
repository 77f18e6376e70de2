"""The choice of the taps, the outputs of layers that are recorded."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ib_keras.activations import layer_names
from ib_keras.arrays.checks import check_stddev
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation import blocks
from ib_keras.instrumentation.trace import Call, Trace, hidden_layers, source, trace, watchable

Layers = str | Sequence[str] | Callable[[keras.layers.Layer], bool] | None
BLOCKS = "blocks"


@dataclasses.dataclass(frozen=True)
class Tap:
    """A tapped call.

    Args:
        name: the tap's name.
        layer: the layer.
        shape: the shape of the output without the batch axis.
        dtype: the dtype of the output.
        masked: whether some of the positions of the output are masked.
        channels_first: whether the channels come before the positions.
    """

    name: str
    layer: keras.Operation
    shape: tuple
    dtype: str = "float32"
    masked: bool = False
    channels_first: bool = False

    @property
    def channels_last(self) -> tuple:
        """The shape with the channels last."""
        return (*self.shape[1:], self.shape[0]) if self.channels_first else self.shape


@dataclasses.dataclass(frozen=True)
class Plan:
    """The taps of a model; Keras does not track this object.

    Args:
        spec: the model's inputs, as a structure of ``tf.TensorSpec``.
        taps: the taps, in the order of the forward pass.
        outputs: the names of the taps that are outputs of the model.
        watched: the layers whose names are parts of the taps' names.
        upstream: tap → the taps that its output is computed from.
        random_inside: the taps that depend on random numbers that the model itself draws at
            inference.
        declared: the taps whose layer declares the distribution p(T|X), and whose inputs do not
            depend on random numbers.
        blocks: the taps that are blocks of the model, as ``layers="blocks"`` chooses them.
        n_blocks: the number of the model's blocks.
    """

    spec: Any
    taps: tuple[Tap, ...]
    outputs: frozenset[str]
    watched: tuple[keras.Operation, ...]
    upstream: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    random_inside: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    n_blocks: int = 0

    @property
    def names(self) -> list[str]:
        """The taps' names, in order."""
        return [tap.name for tap in self.taps]

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """The position of each tap in the order of the forward pass."""
        return {name: i for i, name in enumerate(self.names)}

    def noise(self, noise_std: float | Mapping[str, float]) -> dict[str, float]:
        """Resolve a noise setting into the standard deviation of each tap.

        Args:
            noise_std: a number for all taps that are not outputs, or a mapping of names or globs
                to numbers.

        Returns:
            Tap → standard deviation, without the taps that the setting does not apply to.

        Raises:
            ArgumentError: If a value is invalid, or a name or glob matches no tap.
        """
        if not isinstance(noise_std, Mapping):
            value = check_stddev(noise_std)
            return {name: value for name in self.names if name not in self.outputs}
        resolved: dict[str, float] = {}
        for pattern, value in noise_std.items():
            matches = layer_names.match(pattern, self.names)
            if not matches:
                raise ArgumentError(
                    f"`noise_std` names no tap by {pattern!r}",
                    f"some of {self.names}",
                    dict(noise_std),
                )
            for name in matches:
                resolved[name] = check_stddev(value, f"noise_std[{pattern!r}]")
        return resolved

    def table(self, noise_std: Mapping[str, float], samples: int) -> str:
        """Format the path, class, shape, noise and size of every tap as a table of text.

        Args:
            noise_std: the standard deviation of each tap.
            samples: the number of samples in a recorded epoch, for its size.
        """
        rows = [("tap", "class", "shape", "noise_std", f"bytes/epoch (n = {samples})")]
        total = 0
        for tap in self.taps:
            known = None not in tap.shape
            size = 4 * samples * math.prod(tap.shape) if known else 0
            total += size
            kind, noise = type(tap.layer).__name__, f"{noise_std[tap.name]:g}"
            rows.append((tap.name, kind, str(tap.shape), noise, f"{size:,}" if known else "?"))
        rows.append(("all taps", "", "", "", f"{total:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([rule, lines[0], rule, *lines[1:-1], rule, lines[-1]])


def plan(model: keras.Model, layers: Layers, spec: Any) -> Plan:
    """Choose the taps of a model.

    Args:
        model: a built model.
        layers: the taps to choose, as for ``instrument``.
        spec: the model's inputs, as a structure of ``tf.TensorSpec``.

    Raises:
        ArgumentError: If nothing can be tapped.
    """
    _check_lambdas(model, layers)
    traced = trace(model, spec)
    names = [call.name for call in traced.calls]
    # Patterns that match no watched layer may name a layer inside one of Keras's own layers.
    if layers != BLOCKS and any(not layer_names.match(p, names) for p in _patterns(layers)):
        traced = _deep_trace(model, spec, layers)
    chosen = select(traced, layers)
    paths = {call.path for call in chosen}
    # If a tap is masked, all layers are watched, because any earlier layer may pass the mask on.
    masked = any(call.masked for call in chosen)
    watched = {
        id(call.layer): call.layer
        for call in traced.calls
        if masked or any(path == call.path or path.startswith(f"{call.path}/") for path in paths)
    }
    stages = {id(call) for call in blocks.blocks(traced)}
    values = {id(source(tensor)) for tensor in traced.outputs if isinstance(tensor, tf.Tensor)}
    outputs = {c.name for c in chosen if not c.in_loop and id(c.value) in values}
    if not outputs:
        last = _weighted(traced)[-1:]
        outputs = {call.name for call in chosen if call in last}
    return Plan(
        spec,
        tuple(
            Tap(
                call.name,
                call.layer,
                tuple(call.output.shape[1:]),
                call.output.dtype.name,
                call.masked,
                traced.channels_first(call),
            )
            for call in chosen
        ),
        frozenset(outputs),
        tuple(watched.values()),
        traced.upstream(chosen),
        traced.random_inside(chosen),
        traced.declared(chosen),
        frozenset(call.name for call in chosen if id(call) in stages),
        len(stages),
    )


def input_spec(model: keras.Model) -> Any:
    """Return the inputs' ``tf.TensorSpec`` of a Sequential or Functional model, or ``None``."""
    try:
        # A Sequential model has one input, and no property for its structure.
        inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError):
        return None
    if inputs is None:
        return None
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)


def built_spec(model: keras.Model) -> Any:
    """Return the ``tf.TensorSpec`` structure with which any other model was built, or ``None``.

    Keras keeps the shapes but not the dtypes; floats are assumed.
    """
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if shape is None:
        return None

    def spec(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            return {key: spec(value) for key, value in shape.items()}
        if any(isinstance(size, (list, tuple)) for size in shape):
            return [spec(value) for value in shape]
        return tf.TensorSpec([None, *shape[1:]], keras.backend.floatx())

    return spec(shape)


def spec_of(inputs: Any) -> Any:
    """Return the ``tf.TensorSpec`` structure of arrays or tensors, for any number of samples."""

    def spec(x: Any) -> tf.TensorSpec:
        dtype = tf.as_dtype(keras.backend.standardize_dtype(x.dtype))
        if dtype.is_floating and not tf.is_tensor(x):
            dtype = tf.as_dtype(keras.backend.floatx())  # as `fit` and `predict` do
        return tf.TensorSpec([None, *x.shape[1:]], dtype)

    return keras.tree.map_structure(spec, inputs)


def build(model: keras.Model, spec: Any) -> None:
    """Build a model that was never called, by one call on zeros."""
    with tf.init_scope():  # outside of any graph that is being traced
        zeros = keras.tree.map_structure(
            lambda s: tf.zeros([1, *(size or 1 for size in s.shape[1:])], s.dtype), spec
        )
        model(zeros, training=False)


def select(traced: Trace, layers: Layers) -> list[Call]:
    """Choose calls of a forward pass, in its order.

    Args:
        traced: a forward pass.
        layers: ``None`` for the default, ``"blocks"``, names or globs, or a function from a layer
            to a boolean.

    Raises:
        ArgumentError: If nothing matches, or a match cannot be tapped.
    """
    calls = traced.calls
    names = [call.name for call in calls]
    if layers is None:
        chosen = default_taps(traced)
        expected = "at least one, or `layers` that name some"
        if not chosen:
            raise ArgumentError("The model has no layer with weights", expected, f"layers {names}")
        return chosen
    if layers == BLOCKS:
        chosen = blocks.blocks(traced)
        if not chosen:
            raise ArgumentError(
                'The model has no blocks for `layers="blocks"`: it joins no branches and nests no '
                "layers",
                "`layers=None` for each layer with weights, or names or globs of layers",
                names,
            )
        return chosen
    if callable(layers):
        chosen = [
            call
            for call in calls
            if call.tappable and isinstance(call.layer, keras.layers.Layer) and layers(call.layer)
        ]
        if not chosen:
            raise ArgumentError(
                "The predicate `layers` is true for no layer",
                f"True for some of {[call.name for call in calls if call.tappable]}",
                layers,
            )
        return chosen
    selected = set(layer_names.select(layers, names))
    chosen = [call for call in calls if call.name in selected and call.tappable]
    # A glob may match layers that cannot be tapped, unless it matches only those.
    named = selected.intersection(_patterns(layers)) if chosen else selected
    for call in calls:
        if call.name in named:
            _check_tappable(call)
    return chosen


def _patterns(layers: Any) -> list[str]:
    """Return the names and globs in ``layers``."""
    patterns = [layers] if isinstance(layers, str) else layers
    return [p for p in patterns if isinstance(p, str)] if isinstance(patterns, Sequence) else []


def _check_tappable(call: Call) -> None:
    _check_reach(call)
    if call.constant:
        raise ArgumentError(
            f"The output of the layer {call.name!r} does not depend on the model's inputs, only on "
            "weights or on shapes, as a position embedding does: it has no information about them",
            "a layer that is computed from the inputs",
            f"{type(call.layer).__name__} returning {tuple(call.output.shape)}",
        )
    if not call.tappable:
        raise ArgumentError(
            f"The layer {call.name!r} cannot be tapped",
            "a layer that returns floating-point numbers",
            f"{type(call.layer).__name__} returning {call.output.dtype.name}",
        )


def _deep_trace(model: keras.Model, spec: Any, layers: Any) -> Trace:
    """Trace a forward pass with the layers inside Keras's own layers.

    Raises:
        ArgumentError: If a pattern names an inner layer that cannot be tapped, or that has to be
            named by its path.
    """
    traced = trace(model, spec, deep=True)
    reached = [call for call in traced.calls if not call.in_loop]
    names = [call.name for call in reached]
    hidden = hidden_layers(model)
    for pattern in _patterns(layers):
        if layer_names.match(pattern, names):
            continue
        inside = sorted(layer_names.match(pattern.rpartition("/")[2], hidden))
        if not inside:
            continue
        holder = hidden[inside[0]]
        kind = type(holder).__name__
        within = [
            call.name
            for call in reached
            if holder in call.holders and call.tappable and call.name.endswith(f"/{inside[0]}")
        ]
        if within:
            raise ArgumentError(
                f"The layer {inside[0]!r} is inside the {kind} {holder.name!r}",
                f"its path, {within[0]!r}, in `layers`",
                repr(pattern),
            )
        raise ArgumentError(
            f"The layer {inside[0]!r} is out of reach: the {kind} {holder.name!r} calls it inside "
            "a loop, or does not call it as a layer",
            f"the {kind} itself, {holder.name!r}, or others of "
            f"{[call.name for call in reached if call.tappable and not call.holders]}",
            repr(pattern),
        )
    return traced


def _check_reach(call: Call) -> None:
    if call.in_loop:
        raise ArgumentError(
            f"The layer {call.name!r} is called inside a loop or branch of the graph, and its "
            "output cannot be tapped",
            "`layers` that name a layer around the loop instead, such as the RNN that contains the "
            "cell",
            f"{type(call.layer).__name__} {call.name!r}",
        )


def _check_lambdas(model: keras.Model, layers: Layers) -> None:
    """Check that no layer to be tapped is called by the function of a ``Lambda``.

    Such a layer is not part of the Keras model, and its weights are not trained.
    """
    for holder in watchable(model):
        if not isinstance(holder, keras.layers.Lambda) or not inspect.isfunction(holder.function):
            continue
        variables = inspect.getclosurevars(holder.function)
        for layer in keras.tree.flatten(
            [*variables.nonlocals.values(), *variables.globals.values()]
        ):
            if isinstance(layer, keras.layers.Layer) and _is_chosen(layer, layers):
                raise ArgumentError(
                    f"The layer {layer.name!r} is called inside the Lambda {holder.name!r}, which "
                    "hides it from Keras: it cannot be tapped, and its weights are not trained",
                    "a subclass of keras.layers.Layer that holds it as an attribute, instead of "
                    "the Lambda",
                    f"{type(layer).__name__} {layer.name!r}",
                )


def _is_chosen(layer: keras.layers.Layer, layers: Layers) -> bool:
    if layers is None:
        return bool(layer.weights)
    if callable(layers):
        return bool(layers(layer))
    return any(layer_names.match(pattern, [layer.name]) for pattern in _patterns(layers))


def default_taps(traced: Trace) -> list[Call]:
    """Choose T_1…T_L: the output of each layer with weights, after the activation of the layer.

    An activation or normalisation layer belongs to the layer before it if that layer's output is
    its only input and no other layer takes this output. A normalisation that belongs to no layer
    with weights has no tap. A layer that returns its input unchanged, such as a linear activation
    or a dropout at inference, has no tap either. If a layer returns several tensors, the first is
    T. A layer whose output does not depend on the inputs, such as a position embedding, has no tap.
    A wrapper is tapped instead of the layer that it wraps. A layer that declares the distribution
    of its output, such as ``ib_keras.layers.GaussianSampling``, has a tap even without weights.

    Raises:
        ArgumentError: If one of these layers is called inside a loop.
    """
    taps = _weighted(traced)
    for call in taps:
        _check_reach(call)
    return [call for call in taps if call.tappable]


def _weighted(traced: Trace) -> list[Call]:
    found = set()
    for call in traced.leaves:
        if call.weights and not blocks.belongs_to_others(call.layer) and not call.returns_input:
            found.add(id(call if call.in_loop else blocks.last_of_group(traced, call)))
    found |= {id(call) for call in traced.calls if call.declares and call.tappable}
    return [call for call in traced.calls if id(call) in found]
