"""A symbolic forward pass: every call of a layer, and the tensors it depends on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ib_keras.instrumentation import conditionals, masks, randomness
from ib_keras.instrumentation.interception import Session

# Operations of TensorFlow that return their input unchanged.
_TRIVIAL = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "CheckNumerics")
# Operations whose outputs depend only on the shape of their input.
_OF_SHAPES = frozenset(["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One tensor that a layer returned in a forward pass.

    Args:
        name: path of the layer, with ``:k`` from the second call on, and ``[key]`` for the entries
            of a tuple, list or dict.
        layer: the layer; in a functional model also an operation such as ``a + b``.
        inputs: the input tensors of the layer.
        output: the tensor. Each call has a tensor of its own, even if the layer returned a tensor
            of another layer unchanged.
        first: whether the tensor is the only output of the call, or the first of several.
        children: whether watched layers were called inside this call.
        holders: the layers whose calls contain this call, the outermost first.
        in_loop: whether the call is inside a loop or branch of the graph, so that its output cannot
            be tapped.
        masked: whether some of the positions of the output are masked.
        declares: whether the layer declares the distribution of the output given its inputs.
        constant: whether the output depends at most on the shapes of the model's inputs, as a
            position embedding does. It is then the same for all samples, or has no axis of samples.
    """

    name: str
    layer: keras.Operation
    inputs: tuple
    output: Any
    first: bool
    children: bool
    holders: tuple[keras.Operation, ...]
    in_loop: bool
    masked: bool
    declares: bool
    constant: bool = False

    @property
    def path(self) -> str:
        """The layer's path, without the number of the call."""
        return base_path(self.name)

    @property
    def tappable(self) -> bool:
        """Whether noise can be added to the output, and the output may differ between samples."""
        return self.output.dtype.is_floating and not self.in_loop and not self.constant

    @property
    def weights(self) -> list:
        """The layer's weights; an operation has none."""
        return self.layer.weights if isinstance(self.layer, keras.layers.Layer) else []

    @functools.cached_property
    def value(self) -> Any:
        """The output of this call, before identities and casts between floats."""
        return source(self.output)

    @functools.cached_property
    def sources(self) -> tuple:
        """The distinct inputs of this call, before identities and casts between floats."""
        return tuple({id(s): s for s in map(source, self.inputs)}.values())

    @property
    def returns_input(self) -> bool:
        """Whether the layer returned an input unchanged, as a linear activation does."""
        return any(self.value is s for s in self.sources)


@dataclasses.dataclass(eq=False)
class Trace:
    """The calls of one symbolic forward pass.

    Args:
        calls: the calls in the order in which they ended; inner calls come before outer ones.
        inputs: the flattened inputs of the model.
        outputs: the flattened outputs of the model.
        random: the names of the tensors that depend on random numbers.
    """

    calls: list[Call]
    inputs: list[Any]
    outputs: list[Any]
    random: set[str]

    @property
    def leaves(self) -> list[Call]:
        """The first output of each call of a wrapper, or of a layer without watched inner layers.

        Calls inside a wrapper are left out.
        """
        return [
            call
            for call in self.calls
            if call.first
            and not any(isinstance(h, keras.layers.Wrapper) for h in call.holders)
            and (not call.children or isinstance(call.layer, keras.layers.Wrapper))
        ]

    @functools.cached_property
    def readers(self) -> dict[int, list[Call]]:
        """The ``id`` of a ``value`` → the leaves that compute something from it."""
        readers: dict[int, list[Call]] = {}
        for call in self.leaves:
            if not call.in_loop and not call.returns_input:
                for tensor in call.sources:
                    readers.setdefault(id(tensor), []).append(call)
        return readers

    def upstream(self, taps: Sequence[Call]) -> dict[str, frozenset[str]]:
        """Return tap → the taps that its output was computed from."""
        names = {tap.output.name: tap.name for tap in taps}
        taps_before: dict[str, frozenset[str]] = {}  # the taps that each tensor depends on
        upstream: dict[str, frozenset[str]] = {}
        # A graph lists its operations in topological order.
        for operation in taps[0].output.graph.get_operations():
            before = frozenset().union(
                *(taps_before.get(x.name, frozenset()) for x in operation.inputs)
            )
            for output in operation.outputs:
                name = names.get(output.name)
                taps_before[output.name] = before if name is None else before | {name}
                if name is not None:
                    upstream[name] = before
        return upstream

    def random_inside(self, taps: Sequence[Call]) -> frozenset[str]:
        """Return the taps whose output depends on random numbers that layers draw at inference."""
        return frozenset(tap.name for tap in taps if tap.output.name in self.random)

    def declared(self, taps: Sequence[Call]) -> frozenset[str]:
        """Return the taps whose layer declares p(T|X) and has inputs that are not random."""
        return frozenset(
            tap.name
            for tap in taps
            if tap.declares and self.random.isdisjoint(x.name for x in tap.inputs)
        )

    def channels_first(self, tap: Call) -> bool:
        """Return whether the channels come before the positions in the output of a tap.

        The ``data_format`` of the layer decides, or else that of the nearest earlier layer that it
        is connected to by outputs of the same shape.
        """
        call = self._producers.get(id(tap.value), tap)
        while (own := getattr(call.layer, "data_format", None)) is None:
            before = [
                self._producers[id(s)]
                for s in call.sources
                if id(s) in self._producers
                and (
                    s.shape == call.value.shape or isinstance(call.layer, keras.layers.Concatenate)
                )
            ]
            if not before or before[0] is call:
                return False
            call = before[0]
        return own == "channels_first" and len(tap.output.shape) > 2

    @functools.cached_property
    def _producers(self) -> dict[int, Call]:
        """The ``id`` of a ``value`` → the call that computed it."""
        return {id(call.value): call for call in reversed(self.calls)}


def base_path(name: str) -> str:
    """Return a tap's name without the number of the call and the key of its output."""
    return name.partition("[")[0].partition(":")[0]


def map_outputs(name: str, output: Any, function: Callable[[str, Any], Any]) -> Any:
    """Replace each tensor of a layer's output.

    Args:
        name: the name of the call.
        output: a tensor, or a nested structure of tensors.
        function: function of a tensor's name and the tensor, which returns the new tensor.
    """
    if isinstance(output, dict):
        entries = {k: map_outputs(f"{name}[{k}]", v, function) for k, v in output.items()}
        return type(output)(entries)
    if isinstance(output, (list, tuple)):
        items = [map_outputs(f"{name}[{i}]", v, function) for i, v in enumerate(output)]
        is_named = hasattr(output, "_fields")  # a named tuple
        return type(output)(*items) if is_named else type(output)(items)
    if not isinstance(output, tf.Tensor):  # sparse and ragged tensors are not tapped
        return output
    replaced = function(name, output)
    mask = getattr(output, "_keras_mask", None)
    if mask is not None and replaced is not output:
        replaced._keras_mask = mask
    return replaced


def source(tensor: Any) -> Any:
    """Return the tensor whose values a tensor has, before identities and casts between floats."""
    while tf.is_symbolic_tensor(tensor):
        operation = tensor.op
        is_float_cast = operation.type == "Cast" and all(
            x.dtype.is_floating for x in (*operation.inputs, *operation.outputs)
        )
        if operation.type not in _TRIVIAL and not is_float_cast:
            break
        tensor = operation.inputs[tensor.value_index]
    return tensor


def trace(model: keras.Model, spec: Any, *, deep: bool = False) -> Trace:
    """Trace one forward pass at inference, without running it.

    Args:
        model: a built model.
        spec: the model's inputs, as a structure of ``tf.TensorSpec``.
        deep: whether to watch the layers inside Keras's own layers as well.
    """
    calls: list[Call] = []
    inputs: list[Any] = []
    outputs: list[Any] = []

    def forward(batch: Any) -> None:
        graph = tf.compat.v1.get_default_graph()
        # TensorFlow traces the function again if it has created variables.
        for tensors in (calls, inputs, outputs):
            tensors.clear()
        parents: set[str] = set()

        def note(
            name: str, layer: keras.Operation, args: tuple, kwargs: dict[str, Any], output: Any
        ) -> Any:
            path = base_path(name)
            children = path in parents
            parents.update(path[:i] for i, c in enumerate(path) if c == "/")
            sources = tuple(
                x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, tf.Tensor)
            )
            mask = known.of_output(layer, args, kwargs, output, session.arguments)
            declares = conditionals.declared(layer, args, output) is not None
            holders = session.holders
            first = True

            def note_tensor(leaf: str, tensor: Any) -> Any:
                nonlocal first
                # A new operation distinguishes this call from others that return the same tensor.
                own = tf.identity(tensor)
                in_loop = own.graph is not graph
                calls.append(
                    Call(
                        leaf,
                        layer,
                        sources,
                        own,
                        first,
                        children,
                        holders,
                        in_loop,
                        masked=first and mask is not None,
                        declares=first and declares,
                    )
                )
                if first and mask is not None:
                    known.put(own, mask)
                first = False
                return own

            return map_outputs(name, output, note_tensor)

        inputs.extend(keras.tree.flatten(batch))
        known = masks.Masks()
        with Session(watchable(model, deep=deep), note, on_call=known.keep) as session:
            outputs.extend(keras.tree.flatten(model(batch, training=False)))

    with tf.init_scope():
        graph = tf.function(forward, autograph=False).get_concrete_function(spec).graph
    random = randomness.random_tensors(graph)
    varying = random | _varying(inputs, graph)
    return Trace(
        [
            call
            if call.in_loop or call.output.name in varying
            else dataclasses.replace(call, constant=True)
            for call in calls
        ],
        inputs,
        outputs,
        random,
    )


def _varying(inputs: Sequence[Any], graph: tf.Graph) -> set[str]:
    """Find the names of the tensors that depend on more than the shapes of a model's inputs."""
    found = {x.name for x in tf.nest.flatten(list(inputs), expand_composites=True)}
    # A graph lists its operations in topological order.
    for operation in graph.get_operations():
        if operation.type not in _OF_SHAPES and not found.isdisjoint(
            x.name for x in operation.inputs
        ):
            found.update(x.name for x in operation.outputs)
    return found


def watchable(model: keras.Model, *, deep: bool = False) -> list[keras.Operation]:
    """Find the layers of a model and the operations of functional models, including nested ones.

    Args:
        model: a Keras model.
        deep: whether to include the layers inside Keras's own layers.
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
    """Return whether a layer is one of Keras's own, whose inner layers are not watched by default.

    Models do not count.
    """
    return type(layer).__module__.startswith("keras.") and not isinstance(layer, keras.Model)


def hidden_layers(model: keras.Model) -> Mapping[str, keras.layers.Layer]:
    """Return the name of each layer inside one of Keras's own layers → the containing layer."""
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
    # A functional model also has operations that are not layers, such as a + b.
    operations = [] if isinstance(layer, keras.Sequential) else getattr(layer, "operations", [])
    return [*layers, *(o for o in operations if not isinstance(o, keras.layers.Layer))]
