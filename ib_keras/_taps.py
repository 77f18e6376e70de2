"""Which layers' outputs are recorded: one look at the model's calls, and the rules of choice."""

from __future__ import annotations

import dataclasses
import functools
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
_BELONGING = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer in a forward pass.

    Args:
        name: path of the layer, with ``:k`` from the second call on.
        layer: the layer.
        inputs: the tensors that it was given.
        output: what it returned.
        children: whether watched layers were called inside it.
    """

    name: str
    layer: keras.layers.Layer
    inputs: tuple
    output: Any
    children: bool

    @property
    def tappable(self) -> bool:
        """Whether the output is one floating-point tensor."""
        return tf.is_tensor(self.output) and self.output.dtype.is_floating


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
    """

    spec: Any
    taps: tuple[Tap, ...]
    outputs: frozenset[str]
    watched: tuple[keras.layers.Layer, ...]

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


def plan(model: keras.Model, layers: Layers = None) -> Plan:
    """What ``layers`` asks to tap in ``model``.

    Raises:
        ArgumentError: the model has no defined inputs, or nothing can be tapped.
    """
    calls, outputs = trace_calls(model)
    chosen = select(calls, layers)
    paths = {call.name.partition(":")[0] for call in chosen}
    watched = {
        id(call.layer): call.layer
        for call in calls
        for base in [call.name.partition(":")[0]]
        if any(path == base or path.startswith(f"{base}/") for path in paths)
    }
    return Plan(
        input_spec(model),
        tuple(Tap(call.name, call.layer, tuple(call.output.shape[1:])) for call in chosen),
        frozenset(output_taps(chosen, outputs)),
        tuple(watched.values()),
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
    """The structure of ``tf.TensorSpec`` that the model takes.

    Raises:
        ArgumentError: the model has no defined inputs.
    """
    try:
        # A Sequential model has one input, and no property for its structure.
        struct = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError):
        struct = None
    if struct is None:
        raise ArgumentError(
            f"The model {model.name!r} has no defined inputs",
            "a Sequential or Functional model that is built: start it with keras.Input(shape), or "
            "call model.build(input_shape) first",
            f"{type(model).__name__}, built={model.built}",
        )
    return keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), struct)


def trace_calls(model: keras.Model) -> tuple[list[Call], list[Any]]:
    """The calls of one symbolic forward pass in order of completion, and the model's outputs."""
    calls: list[Call] = []

    def note(name: str, layer: keras.layers.Layer, args: tuple, output: Any) -> Any:
        inputs = tuple(x for x in keras.tree.flatten(args) if tf.is_tensor(x))
        base = name.partition(":")[0]
        children = any(call.name.startswith(f"{base}/") for call in calls)
        calls.append(Call(name, layer, inputs, output, children))
        return output

    outputs: list[Any] = []

    def forward(inputs: Any) -> None:
        with Session(watchable(model), note):
            outputs.extend(keras.tree.flatten(model(inputs, training=False)))

    tf.function(forward, autograph=False).get_concrete_function(input_spec(model))
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
        if not call.tappable:
            raise ArgumentError(
                f"The layer {call.name!r} cannot be tapped",
                "a layer that returns one floating-point tensor",
                f"{type(call.layer).__name__} returning {call.output!r}",
            )
    return chosen


def default_taps(calls: Sequence[Call]) -> list[Call]:
    """T_1…T_L: the output of each layer with weights, behind the activation that belongs to it.

    A normalisation or activation layer that takes a layer's output and nothing else belongs to it,
    unless other layers take that output too.
    """
    leaves = [call for call in calls if not call.children and call.tappable]
    readers: dict[int, list[Call]] = {}
    for call in leaves:
        for tensor in call.inputs:
            readers.setdefault(id(tensor), []).append(call)
    absorbed: set[int] = set()
    taps: list[Call] = []
    for call in leaves:
        if id(call) in absorbed or not call.layer.weights:
            continue
        last = call
        while True:
            following = readers.get(id(last.output), [])
            if len(following) != 1 or not isinstance(following[0].layer, _BELONGING):
                break
            last = following[0]
            absorbed.add(id(last))
        taps.append(last)
    order = {id(call): i for i, call in enumerate(calls)}
    return sorted(taps, key=lambda call: order[id(call)])


def output_taps(taps: Sequence[Call], outputs: Sequence[Any]) -> set[str]:
    """The taps that are outputs of the model; the last one where none is."""
    ids = {id(tensor) for tensor in outputs}
    return {call.name for call in taps if id(call.output) in ids} or {taps[-1].name}
