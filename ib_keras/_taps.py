"""Which layers' outputs are recorded: one look at the model's calls, and the rules of choice."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ib_keras import _names
from ib_keras._shadow import Session
from ib_keras.errors import ArgumentError
from ib_keras.layers import check_stddev

Layers = str | Sequence[str] | Callable[[keras.layers.Layer], bool] | None

# Layers that belong to the one before them: T is what comes out behind them.
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)
# The same; and where they follow no layer with weights, they are no T of their own.
_NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
    keras.layers.SpectralNormalization,
    keras.layers.UnitNormalization,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One tensor that a layer returned in a forward pass.

    Args:
        name: path of the layer, with ``:k`` from the second call on, and ``[key]`` for the entries
            of a tuple, list or dict.
        layer: the layer.
        inputs: the tensors that it was given.
        output: the tensor.
        first: whether it is all that the call returned, or the first of it.
        children: whether watched layers were called inside it.
        in_loop: whether it lives inside a loop or branch, out of reach.
    """

    name: str
    layer: keras.layers.Layer
    inputs: tuple
    output: Any
    first: bool
    children: bool
    in_loop: bool

    @property
    def path(self) -> str:
        """The layer's path, without the number of the call."""
        return base_path(self.name)

    @property
    def tappable(self) -> bool:
        """Whether the output is one that noise can be added to."""
        return self.output.dtype.is_floating and not self.in_loop


def base_path(name: str) -> str:
    """A tap's name without the number of the call and the key of its output."""
    return name.partition("[")[0].partition(":")[0]


def map_outputs(name: str, output: Any, function: Callable[[str, Any], Any]) -> Any:
    """``output`` with each tensor replaced by ``function`` of its name and it."""
    if isinstance(output, dict):
        entries = {k: map_outputs(f"{name}[{k}]", v, function) for k, v in output.items()}
        return type(output)(entries)
    if isinstance(output, (list, tuple)):
        items = [map_outputs(f"{name}[{i}]", v, function) for i, v in enumerate(output)]
        # A named tuple takes its fields one by one.
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return function(name, output) if tf.is_tensor(output) else output


@dataclasses.dataclass(frozen=True)
class Tap:
    """A tapped call: its name, the layer, and the output's shape without the batch axis."""

    name: str
    layer: keras.layers.Layer
    shape: tuple


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is tapped in a model. Keras does not track it.

    Args:
        spec: the structure of ``tf.TensorSpec`` that the model takes.
        taps: in the order of the forward pass.
        outputs: the names of those that are outputs of the model.
        watched: the layers whose calls make up the taps' names.
        upstream: tap → the taps that its output is computed from.
    """

    spec: Any
    taps: tuple[Tap, ...]
    outputs: frozenset[str]
    watched: tuple[keras.layers.Layer, ...]
    upstream: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)

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
            matches = _names.match(pattern, self.names)
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
    calls, outputs = trace_calls(model, spec)
    chosen = select(calls, layers)
    paths = {call.path for call in chosen}
    watched = {
        id(call.layer): call.layer
        for call in calls
        if any(path == call.path or path.startswith(f"{call.path}/") for path in paths)
    }
    return Plan(
        spec,
        tuple(Tap(call.name, call.layer, tuple(call.output.shape[1:])) for call in chosen),
        frozenset(output_taps(calls, chosen, outputs)),
        tuple(watched.values()),
        _upstream(chosen),
    )


def watchable(model: keras.Model) -> list[keras.layers.Layer]:
    """The model's layers, nested ones included; layers inside Keras's own layers are not."""
    found: dict[int, keras.layers.Layer] = {}
    pending = _sublayers(model)
    while pending:
        layer = pending.pop()
        if id(layer) in found or isinstance(layer, keras.layers.InputLayer):
            continue
        found[id(layer)] = layer
        atomic = type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)
        if not atomic:
            pending.extend(_sublayers(layer))
    return list(found.values())


def _sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


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


def trace_calls(model: keras.Model, spec: Any) -> tuple[list[Call], list[Any]]:
    """The calls of one symbolic forward pass in order of completion, and the model's outputs."""
    calls: list[Call] = []
    outputs: list[Any] = []

    def forward(inputs: Any) -> None:
        graph = tf.compat.v1.get_default_graph()
        # TensorFlow traces anew what made variables.
        calls.clear()
        outputs.clear()

        def note(name: str, layer: keras.layers.Layer, args: tuple, output: Any) -> Any:
            inputs = tuple(x for x in keras.tree.flatten(args) if tf.is_tensor(x))
            children = any(call.path.startswith(f"{base_path(name)}/") for call in calls)
            found: list[tuple[str, Any]] = []
            map_outputs(name, output, lambda leaf, tensor: found.append((leaf, tensor)))
            for i, (leaf, tensor) in enumerate(found):
                in_loop = tensor.graph is not graph
                calls.append(Call(leaf, layer, inputs, tensor, i == 0, children, in_loop))
            return output

        with Session(watchable(model), note):
            outputs.extend(keras.tree.flatten(model(inputs, training=False)))

    with tf.init_scope():
        tf.function(forward, autograph=False).get_concrete_function(spec)
    return calls, outputs


def select(calls: Sequence[Call], layers: Layers) -> list[Call]:
    """The calls that ``layers`` asks for, in the order of the forward pass.

    Args:
        calls: of ``trace_calls``.
        layers: ``None`` for the default, names or globs, or a predicate of the layer.

    Raises:
        ArgumentError: nothing matches, or what matches cannot be tapped.
    """
    if layers is None:
        chosen = default_taps(calls)
        if not chosen:
            raise ArgumentError(
                "The model has no layer with weights",
                "at least one, or `layers` that name some",
                f"layers {[call.name for call in calls]}",
            )
        return chosen
    if callable(layers):
        chosen = [call for call in calls if call.tappable and layers(call.layer)]
        if not chosen:
            raise ArgumentError(
                "The predicate `layers` is true of no layer",
                f"of some of {[call.name for call in calls if call.tappable]}",
                layers,
            )
        return chosen
    wanted = set(_names.select(layers, [call.name for call in calls]))
    chosen = [call for call in calls if call.name in wanted]
    for call in chosen:
        _check_reach(call)
        if not call.tappable:
            raise ArgumentError(
                f"The layer {call.name!r} cannot be tapped",
                "a layer that returns floating-point numbers",
                f"{type(call.layer).__name__} returning {call.output.dtype.name}",
            )
    return chosen


def _upstream(taps: Sequence[Call]) -> dict[str, frozenset[str]]:
    """Tap → the taps that it depends on, from the operations of the traced graph."""
    names = {tap.output.name: tap.name for tap in taps}
    sources: dict[str, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {}
    # A graph lists its operations in an order in which they can run.
    for operation in taps[0].output.graph.get_operations():
        inputs = frozenset().union(*(sources.get(x.name, frozenset()) for x in operation.inputs))
        for output in operation.outputs:
            name = names.get(output.name)
            sources[output.name] = inputs if name is None else inputs | {name}
            if name is not None:
                found[name] = inputs
    return found


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
    return any(isinstance(p, str) and _names.match(p, [layer.name]) for p in patterns)


def default_taps(calls: Sequence[Call]) -> list[Call]:
    """T_1…T_L: the output of each layer with weights, behind the activation that belongs to it.

    A normalisation or activation layer that takes a layer's output and nothing else belongs to it,
    unless other layers take that output too. A normalisation that follows no such layer is no T. Of
    a layer that returns several tensors the first is T.

    Raises:
        ArgumentError: one of them is out of reach.
    """
    taps = _weighted(calls)
    for call in taps:
        _check_reach(call)
    return [call for call in taps if call.tappable]


def _weighted(calls: Sequence[Call]) -> list[Call]:
    leaves = [call for call in calls if not call.children and call.first]
    readers: dict[int, list[Call]] = {}
    for call in leaves:
        for tensor in call.inputs:
            readers.setdefault(id(tensor), []).append(call)
    found: list[Call] = []
    for call in leaves:
        if not call.layer.weights or isinstance(call.layer, _ACTIVATIONS + _NORMALISATIONS):
            continue
        last = call
        while True:
            following = readers.get(id(last.output), [])
            if len(following) != 1 or not isinstance(
                following[0].layer, _ACTIVATIONS + _NORMALISATIONS
            ):
                break
            last = following[0]
        found.append(last)
    order = {id(call): i for i, call in enumerate(calls)}
    return sorted(found, key=lambda call: order[id(call)])


def output_taps(calls: Sequence[Call], taps: Sequence[Call], outputs: Sequence[Any]) -> set[str]:
    """The taps that are outputs of the model, or the last layer with weights where none is."""
    ids = {id(tensor) for tensor in outputs}
    last = _weighted(calls)[-1:]
    return {call.name for call in taps if id(call.output) in ids} or {
        call.name for call in taps if call in last
    }
