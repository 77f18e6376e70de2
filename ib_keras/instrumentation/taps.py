"""Which layers' outputs are recorded: the rules of choice, on the calls of one forward pass."""

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
    """A tapped call: its name, the layer, the output's shape without the batch axis, its dtype."""

    name: str
    layer: keras.Operation
    shape: tuple
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is tapped in a model. Keras does not track it.

    Args:
        spec: the structure of ``tf.TensorSpec`` that the model takes.
        taps: in the order of the forward pass.
        outputs: the names of those that are outputs of the model.
        watched: the layers whose calls make up the taps' names.
        upstream: tap → the taps that its output is computed from.
        drawn: the taps that depend on random numbers which the model draws at inference by itself.
        blocks: the taps that are blocks of the model, as ``layers="blocks"`` chooses them.
        all_blocks: the number of the model's blocks.
    """

    spec: Any
    taps: tuple[Tap, ...]
    outputs: frozenset[str]
    watched: tuple[keras.Operation, ...]
    upstream: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    all_blocks: int = 0

    @property
    def names(self) -> list[str]:
        """The taps' names, in order."""
        return [tap.name for tap in self.taps]

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Name → place in the order."""
        return {name: i for i, name in enumerate(self.names)}

    def noise(self, noise_std: float | Mapping[str, float]) -> dict[str, float]:
        """Tap → standard deviation: a number is for the hidden taps, a dict for those it names.

        Raises:
            ArgumentError: a value is invalid, or a name or glob matches no tap.
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
        """Path, class, shape, noise and size of every tap, as text.

        Args:
            noise_std: the standard deviation of each tap.
            samples: the size is that of one recorded epoch of this many samples.
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
    """What ``layers`` asks to tap in ``model``, called with inputs of ``spec``.

    Raises:
        ArgumentError: nothing can be tapped.
    """
    _check_lambdas(model, layers)
    traced = trace(model, spec)
    if _asks_for_hidden(layers, traced):
        traced = _deep_trace(model, spec, layers)
    chosen = select(traced, layers)
    paths = {call.path for call in chosen}
    watched = {
        id(call.layer): call.layer
        for call in traced.calls
        if any(path == call.path or path.startswith(f"{call.path}/") for path in paths)
    }
    stages = {id(call) for call in blocks.blocks(traced)}
    return Plan(
        spec,
        tuple(
            Tap(call.name, call.layer, tuple(call.output.shape[1:]), call.output.dtype.name)
            for call in chosen
        ),
        frozenset(output_taps(traced, chosen)),
        tuple(watched.values()),
        traced.upstream(chosen),
        traced.drawn(chosen),
        frozenset(call.name for call in chosen if id(call) in stages),
        len(stages),
    )


def input_spec(model: keras.Model) -> Any:
    """The ``tf.TensorSpec`` structure that a Sequential or Functional model takes, or ``None``."""
    try:
        # A Sequential model has one input, and no property for its structure.
        struct = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError):
        return None
    if struct is None:
        return None
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), struct)


def built_spec(model: keras.Model) -> Any:
    """The inputs with which any other model was built, as far as it remembers, or ``None``.

    Keras remembers shapes and no dtypes: floats are assumed.
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
    """The structure of ``tf.TensorSpec`` of arrays or tensors, for any number of samples."""

    def spec(x: Any) -> tf.TensorSpec:
        dtype = tf.as_dtype(keras.backend.standardize_dtype(x.dtype))
        if dtype.is_floating and not tf.is_tensor(x):
            dtype = tf.as_dtype(keras.backend.floatx())  # as `fit` and `predict` do
        return tf.TensorSpec([None, *x.shape[1:]], dtype)

    return keras.tree.map_structure(spec, inputs)


def build(model: keras.Model, spec: Any) -> None:
    """Lets a model that was never called make its weights, by one call on zeros."""
    zeros = keras.tree.map_structure(
        lambda s: tf.zeros([1, *(size or 1 for size in s.shape[1:])], s.dtype), spec
    )
    with tf.init_scope():  # outside of any graph that is being traced
        model(zeros, training=False)


def select(traced: Trace, layers: Layers) -> list[Call]:
    """The calls that ``layers`` asks for, in the order of the forward pass.

    Args:
        traced: a forward pass.
        layers: ``None`` for the default, ``"blocks"``, names or globs, or a predicate of the layer.

    Raises:
        ArgumentError: nothing matches, or what matches cannot be tapped.
    """
    calls = traced.calls
    if layers is None:
        chosen = default_taps(traced)
        if not chosen:
            raise ArgumentError(
                "The model has no layer with weights",
                "at least one, or `layers` that name some",
                f"layers {[call.name for call in calls]}",
            )
        return chosen
    if layers == BLOCKS:
        return blocks.chosen(traced)
    if callable(layers):
        chosen = [
            call
            for call in calls
            if call.tappable and isinstance(call.layer, keras.layers.Layer) and layers(call.layer)
        ]
        if not chosen:
            raise ArgumentError(
                "The predicate `layers` is true of no layer",
                f"True for some of {[call.name for call in calls if call.tappable]}",
                layers,
            )
        return chosen
    names = [call.name for call in calls]
    wanted = set(layer_names.select(layers, names))
    named = wanted.intersection([layers] if isinstance(layers, str) else layers)
    for call in calls:
        if call.name in named:
            _check_tappable(call)
    # A glob asks for what can be tapped among the layers that it matches.
    chosen = [call for call in calls if call.name in wanted and call.tappable]
    if not chosen:
        for call in calls:
            if call.name in wanted:
                _check_tappable(call)
    return chosen


def _check_tappable(call: Call) -> None:
    _check_reach(call)
    if not call.tappable:
        raise ArgumentError(
            f"The layer {call.name!r} cannot be tapped",
            "a layer that returns floating-point numbers",
            f"{type(call.layer).__name__} returning {call.output.dtype.name}",
        )


def _asks_for_hidden(layers: Layers, traced: Trace) -> bool:
    """Whether some pattern matches none of the layers that are watched by default."""
    if not isinstance(layers, (str, Sequence)) or layers == BLOCKS:
        return False
    patterns = [layers] if isinstance(layers, str) else layers
    names = [call.name for call in traced.calls]
    return any(isinstance(p, str) and not layer_names.match(p, names) for p in patterns)


def _deep_trace(model: keras.Model, spec: Any, layers: Any) -> Trace:
    """A trace that looks into Keras's own layers, whose inner layers can be named by their paths.

    Raises:
        ArgumentError: a pattern names an inner layer that is out of reach; the error says which
            layer holds it, and what can be tapped.
    """
    traced = trace(model, spec, deep=True)
    patterns = [layers] if isinstance(layers, str) else list(layers)
    reached = [call for call in traced.calls if not call.in_loop]
    names = [call.name for call in reached]
    hidden = hidden_layers(model)
    for pattern in patterns:
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
            "a loop, or not as a layer of its own",
            f"the {kind} itself, {holder.name!r}, or others of "
            f"{[call.name for call in reached if call.tappable and not call.holders]}",
            repr(pattern),
        )
    return traced


def _check_reach(call: Call) -> None:
    if call.in_loop:
        raise ArgumentError(
            f"The layer {call.name!r} is called inside a loop or branch of the graph, and what it "
            "returns cannot be tapped",
            "a layer around the loop, such as the RNN that holds the cell: name it, and leave this "
            "one out, by `layers`",
            f"{type(call.layer).__name__} {call.name!r}",
        )


def _check_lambdas(model: keras.Model, layers: Layers) -> None:
    """Raises if a layer that is to be tapped is called by the function of a ``Lambda``.

    Keras does not know of such a layer: it is no part of the model, and its weights do not train.
    """
    for holder in watchable(model):
        if not isinstance(holder, keras.layers.Lambda) or not inspect.isfunction(holder.function):
            continue
        seen = inspect.getclosurevars(holder.function)
        named = keras.tree.flatten([*seen.nonlocals.values(), *seen.globals.values()])
        for layer in named:
            if isinstance(layer, keras.layers.Layer) and _is_wanted(layer, layers):
                raise ArgumentError(
                    f"The layer {layer.name!r} is called inside the Lambda {holder.name!r}, which "
                    "hides it from Keras: it cannot be tapped, nor are its weights trained",
                    "a subclass of keras.layers.Layer that holds it as an attribute, instead of "
                    "the Lambda",
                    f"{type(layer).__name__} {layer.name!r}",
                )


def _is_wanted(layer: keras.layers.Layer, layers: Layers) -> bool:
    if layers is None:
        return bool(layer.weights)
    if callable(layers):
        return bool(layers(layer))
    patterns = [layers] if isinstance(layers, str) else layers
    return any(isinstance(p, str) and layer_names.match(p, [layer.name]) for p in patterns)


def default_taps(traced: Trace) -> list[Call]:
    """T_1…T_L: the output of each layer with weights, behind the activation that belongs to it.

    A normalisation or activation layer that takes a layer's output and nothing else belongs to it,
    unless other layers take that output too. A normalisation that follows no such layer is no T. A
    layer that hands on what it is given, such as a linear activation or a dropout at inference, is
    no T either, and what follows it follows the layer before. Of a layer that returns several
    tensors the first is T. A wrapper stands for the layer that it wraps.

    Raises:
        ArgumentError: one of them is out of reach.
    """
    taps = _weighted(traced)
    for call in taps:
        _check_reach(call)
    return [call for call in taps if call.tappable]


def _weighted(traced: Trace) -> list[Call]:
    found = {}
    for call in traced.leaves:
        if not call.weights or blocks.belongs_to_others(call.layer) or call.hands_on:
            continue
        last = call if call.in_loop else blocks.behind(traced, call)
        found[id(last)] = last
    order = {id(call): i for i, call in enumerate(traced.calls)}
    return sorted(found.values(), key=lambda call: order[id(call)])


def output_taps(traced: Trace, taps: Sequence[Call]) -> set[str]:
    """The taps that are outputs of the model, or the last layer with weights where none is."""
    values = {id(source(tensor)) for tensor in traced.outputs if isinstance(tensor, tf.Tensor)}
    last = _weighted(traced)[-1:]
    return {call.name for call in taps if not call.in_loop and id(call.value) in values} or {
        call.name for call in taps if call in last
    }
