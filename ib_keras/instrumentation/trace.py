"""One symbolic forward pass: every call that a layer made, and what its output was made from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ib_keras.instrumentation import randomness
from ib_keras.instrumentation.interception import Session

# Operations of TensorFlow that hand on the numbers they are given.
_TRIVIAL = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "CheckNumerics")


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One tensor that a layer returned in a forward pass.

    Args:
        name: path of the layer, with ``:k`` from the second call on, and ``[key]`` for the entries
            of a tuple, list or dict.
        layer: the layer; in a functional model also an operation such as that of ``a + b``.
        inputs: the tensors that the layer was given.
        output: the tensor. It belongs to this call alone, even where the layer handed on a tensor
            that another layer had returned.
        first: whether the tensor is all that the call returned, or the first of several.
        children: whether watched layers were called inside this call.
        holders: the layers inside whose calls this call was made, the outermost first.
        in_loop: whether the call was made inside a loop or branch of the graph, out of reach.
    """

    name: str
    layer: keras.Operation
    inputs: tuple
    output: Any
    first: bool
    children: bool
    holders: tuple[keras.Operation, ...]
    in_loop: bool

    @property
    def path(self) -> str:
        """The layer's path, without the number of the call."""
        return base_path(self.name)

    @property
    def tappable(self) -> bool:
        """Whether the output is one that noise can be added to."""
        return self.output.dtype.is_floating and not self.in_loop

    @property
    def weights(self) -> list:
        """The layer's weights; an operation has none."""
        return self.layer.weights if isinstance(self.layer, keras.layers.Layer) else []

    @functools.cached_property
    def value(self) -> Any:
        """The tensor in which the numbers came to be that this call returned."""
        return source(self.output)

    @functools.cached_property
    def sources(self) -> tuple:
        """The tensors in which the numbers came to be that this call was given, each once."""
        return tuple({id(s): s for s in map(source, self.inputs)}.values())

    @property
    def hands_on(self) -> bool:
        """Whether the layer returned a tensor that it was given, as a linear activation does."""
        return any(self.value is s for s in self.sources)


class Trace:
    """The calls of one symbolic forward pass, and the graph in which they were made.

    Args:
        calls: in the order in which the calls ended, so that inner calls come before outer ones.
        inputs: the tensors that the model was given, flat.
        outputs: the tensors that the model returned, flat.
    """

    def __init__(self, calls: list[Call], inputs: list[Any], outputs: list[Any]) -> None:
        self.calls, self.inputs, self.outputs = calls, inputs, outputs

    @property
    def leaves(self) -> list[Call]:
        """The calls of layers that stand for themselves, one for each: of several tensors the
        first, no layer around others, but a wrapper for what it wraps."""
        return [
            call
            for call in self.calls
            if call.first
            and not any(isinstance(h, keras.layers.Wrapper) for h in call.holders)
            and (not call.children or isinstance(call.layer, keras.layers.Wrapper))
        ]

    @functools.cached_property
    def readers(self) -> dict[int, list[Call]]:
        """Identity of a ``value`` → the leaves that make something else of it."""
        found: dict[int, list[Call]] = {}
        for call in self.leaves:
            if not call.in_loop and not call.hands_on:
                for tensor in call.sources:
                    found.setdefault(id(tensor), []).append(call)
        return found

    def upstream(self, taps: Iterable[Call]) -> dict[str, frozenset[str]]:
        """Tap → the taps that its output was computed from."""
        names = {tap.output.name: tap.name for tap in taps}
        made_from: dict[str, frozenset[str]] = {}
        found: dict[str, frozenset[str]] = {}
        # A graph lists its operations in an order in which they can run.
        for operation in next(iter(taps)).output.graph.get_operations():
            before = frozenset().union(
                *(made_from.get(x.name, frozenset()) for x in operation.inputs)
            )
            for output in operation.outputs:
                name = names.get(output.name)
                made_from[output.name] = before if name is None else before | {name}
                if name is not None:
                    found[name] = before
        return found

    def drawn(self, taps: Iterable[Call]) -> frozenset[str]:
        """The taps whose output depends on random numbers that layers draw at inference."""
        taps = list(taps)
        random = randomness.random_tensors(taps[0].output.graph)
        return frozenset(tap.name for tap in taps if tap.output.name in random)


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
    if not isinstance(output, tf.Tensor):  # sparse and ragged tensors are not tapped
        return output
    replaced = function(name, output)
    mask = getattr(output, "_keras_mask", None)
    if mask is not None and replaced is not output:
        replaced._keras_mask = mask
    return replaced


def source(tensor: Any) -> Any:
    """The tensor in which the numbers of ``tensor`` came to be, behind all that hands them on."""
    while True:
        operation = tensor.op if tf.is_symbolic_tensor(tensor) else None
        if operation is None or not (operation.type in _TRIVIAL or _is_float_cast(operation)):
            return tensor
        tensor = operation.inputs[tensor.value_index]


def _is_float_cast(operation: Any) -> bool:
    return (
        operation.type == "Cast"
        and operation.inputs[0].dtype.is_floating
        and operation.outputs[0].dtype.is_floating
    )


def trace(model: keras.Model, spec: Any, *, deep: bool = False) -> Trace:
    """Traces one forward pass at inference, and runs nothing.

    Args:
        model: a built model.
        spec: the structure of ``tf.TensorSpec`` that it takes.
        deep: whether layers inside Keras's own layers are watched, too.
    """
    calls: list[Call] = []
    inputs: list[Any] = []
    outputs: list[Any] = []

    def forward(given: Any) -> None:
        graph = tf.compat.v1.get_default_graph()
        # TensorFlow traces anew what made variables.
        for found in (calls, inputs, outputs):
            found.clear()
        parents: set[str] = set()

        def note(name: str, layer: keras.Operation, args: tuple, output: Any) -> Any:
            path = base_path(name)
            children = path in parents
            parents.update(path[:i] for i, c in enumerate(path) if c == "/")
            given = tuple(x for x in keras.tree.flatten(args) if isinstance(x, tf.Tensor))
            holders = session.holders
            first = True

            def one(leaf: str, tensor: Any) -> Any:
                nonlocal first
                # An operation of its own tells this call from others that return the same tensor.
                own = tf.identity(tensor)
                in_loop = own.graph is not graph
                calls.append(Call(leaf, layer, given, own, first, children, holders, in_loop))
                first = False
                return own

            return map_outputs(name, output, one)

        session = Session(watchable(model, deep=deep), note)
        inputs.extend(keras.tree.flatten(given))
        with session:
            outputs.extend(keras.tree.flatten(model(given, training=False)))

    with tf.init_scope():
        tf.function(forward, autograph=False).get_concrete_function(spec)
    return Trace(calls, inputs, outputs)


def watchable(model: keras.Model, *, deep: bool = False) -> list[keras.Operation]:
    """The model's layers and functional models' operations, nested ones included.

    Args:
        model: a Keras model.
        deep: whether layers inside Keras's own layers are among them.
    """
    found: dict[int, keras.Operation] = {}
    pending = _parts(model)
    while pending:
        part = pending.pop()
        if id(part) in found or isinstance(part, keras.layers.InputLayer):
            continue
        found[id(part)] = part
        if isinstance(part, keras.layers.Layer) and (deep or not is_atomic(part)):
            pending.extend(_parts(part))
    return list(found.values())


def is_atomic(layer: keras.layers.Layer) -> bool:
    """Whether a layer is one of Keras's own, whose inner layers are its own business."""
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)


def hidden_layers(model: keras.Model) -> Mapping[str, keras.layers.Layer]:
    """Name of each layer inside one of Keras's own layers → that layer of Keras."""
    found: dict[str, keras.layers.Layer] = {}
    for holder in watchable(model):
        if isinstance(holder, keras.layers.Layer) and is_atomic(holder):
            pending = _parts(holder)
            while pending:
                part = pending.pop()
                if part.name not in found:
                    found[part.name] = holder
                    pending.extend(_parts(part))
    return found


def _parts(layer: keras.Operation) -> list[keras.Operation]:
    if not isinstance(layer, keras.layers.Layer):
        return []
    layers = list(layer._flatten_layers(include_self=False, recursive=False))
    # Of a functional model, what is not a layer: a + b, keras.ops.relu(a).
    operations = [] if isinstance(layer, keras.Sequential) else getattr(layer, "operations", [])
    return [*layers, *(o for o in operations if not isinstance(o, keras.layers.Layer))]
