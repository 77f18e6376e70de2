"""What belongs together in a network: a layer and its activation, the stages of a deep network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from ib_keras.errors import ArgumentError
from ib_keras.instrumentation.trace import Call, Trace, is_atomic, source

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
    keras.layers.UnitNormalization,
)
# Operations of a functional model that are activations: keras.ops.relu(x), keras.activations.relu.
_ACTIVATION_OPERATIONS = frozenset(
    ["Celu", "Elu", "Gelu", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid",
     "LogSoftmax", "ReLU", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "Softmax", "Softplus",
     "Softsign", "SparsePlus", "Squareplus", "Tanh"]
)  # fmt: skip
_SUMS = (keras.layers.Add, keras.layers.Average, keras.layers.Maximum)
_SUM_OPERATIONS = frozenset(["Add", "Average", "Maximum"])


def belongs_to_others(layer: keras.Operation) -> bool:
    """Whether a layer is an activation or normalisation, which belongs to the layer before it."""
    if isinstance(layer, keras.layers.Layer):
        return isinstance(layer, _ACTIVATIONS + _NORMALISATIONS)
    return type(layer).__name__ in _ACTIVATION_OPERATIONS


def behind(traced: Trace, call: Call, belongs: Callable = belongs_to_others) -> Call:
    """The last of the activations and normalisations that belong to a call; else the call itself.

    Args:
        traced: the forward pass.
        call: one of its calls.
        belongs: whether a layer belongs to the one before it.
    """
    while True:
        readers = traced.readers.get(id(call.value), [])
        if len(readers) != 1 or len(readers[0].sources) != 1:
            return call
        if not belongs(readers[0].layer):
            return call
        call = readers[0]


def _is_activation(layer: keras.Operation) -> bool:
    return belongs_to_others(layer) and not isinstance(layer, _NORMALISATIONS)


def chosen(traced: Trace) -> list[Call]:
    """``blocks``, of which there must be some.

    Raises:
        ArgumentError: the model has none.
    """
    found = blocks(traced)
    if not found:
        raise ArgumentError(
            'The model has no blocks for `layers="blocks"`: it joins no branches and nests no '
            "layers",
            "`layers=None` for each layer with weights, or names or globs of layers",
            [call.name for call in traced.calls],
        )
    return found


def blocks(traced: Trace) -> list[Call]:
    """The stages of a deep network: residual sums, concatenations and nested blocks.

    - Where layers of one class, written by a user or a library, stand side by side and hold layers
      with weights, these are the blocks: the encoder layers of a transformer.
    - Else the blocks are the sums and concatenations at which all paths from where they parted
      meet again, each behind the activation that belongs to it; a sum that only serves another
      one, or that a longer path bypasses, is part of a block. Nested models and layers in which
      nothing is joined are blocks, too.

    Args:
        traced: a forward pass.

    Returns:
        Their calls, in the order of the forward pass; none where a network has no such structure.
    """
    nested = [c for c in traced.calls if c.first and c.children and _is_block(traced, c)]
    found = _repeated(nested)
    if not found:
        found = [behind(traced, call, _is_activation) for call in _joins(traced)]
        inside = {id(holder) for call in found for holder in call.holders}
        found += [
            call
            for call in nested
            if id(call.layer) not in inside
            and not any(isinstance(h, keras.layers.Layer) for h in call.holders)
        ]
    unique = {id(call): call for call in found if call.tappable}
    return [call for call in traced.calls if id(call) in unique]


def _is_block(traced: Trace, call: Call) -> bool:
    """Whether a call is of a layer around others with weights, and no mere wrapper of one."""
    layer = call.layer
    if isinstance(layer, keras.layers.Wrapper) or not call.weights or call.in_loop:
        return False
    wrapped = any(isinstance(h, keras.layers.Wrapper) for h in call.holders)
    return not wrapped


def _repeated(nested: Sequence[Call]) -> list[Call]:
    """The outermost calls of layers whose class stands several times side by side."""
    siblings = Counter((_holder(call), type(call.layer)) for call in nested)
    repeated = [
        call
        for call in nested
        if siblings[_holder(call), type(call.layer)] > 1 and not _is_plain(call.layer)
    ]
    layers = {id(call.layer) for call in repeated}
    return [call for call in repeated if not any(id(h) in layers for h in call.holders)]


def _holder(call: Call) -> int:
    return id(call.holders[-1]) if call.holders else 0


def _is_plain(layer: keras.Operation) -> bool:
    """Whether a layer's class says nothing of what it holds: Sequential, Functional, an attention
    of Keras."""
    return type(layer).__module__.startswith("keras.") or is_atomic(layer)


def _joins(traced: Trace) -> list[Call]:
    """Sums and concatenations at which all paths from where they parted meet again."""
    joins = [c for c in traced.leaves if not c.in_loop and len(c.sources) > 1 and _joins_paths(c)]
    values = {id(call.value) for call in joins}
    served = set()
    for call in joins:
        readers = traced.readers.get(id(call.value), [])
        if readers and all(id(reader.value) in values for reader in readers):
            served.add(id(call.value))
    flow = _Flow(traced)
    return [
        call
        for call in joins
        if id(call.value) not in served and (flow.meets(call) or _is_read_by_several(traced, call))
    ]


def _joins_paths(call: Call) -> bool:
    layer, kind = call.layer, type(call.layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        return kind in _SUM_OPERATIONS or kind == "Concatenate"
    if type(layer).__module__.startswith("keras.src.layers."):
        return isinstance(layer, (*_SUMS, keras.layers.Concatenate))
    # A sum of somebody's own, such as one that scales a branch.
    shapes = {tuple(tensor.shape) for tensor in (*call.sources, call.output)}
    return not layer.weights and len(shapes) == 1


def _is_read_by_several(traced: Trace, call: Call) -> bool:
    """Whether branches begin at a concatenation, as at the cells of a NASNet, whose paths overlap
    and never all meet."""
    concatenates = type(call.layer).__name__ == "Concatenate"
    return concatenates and len(traced.readers.get(id(call.value), [])) > 1


class _Flow:
    """The graph of a forward pass: where paths part, and where they meet again.

    Args:
        traced: the forward pass.
    """

    def __init__(self, traced: Trace) -> None:
        inputs = [t.op for t in traced.inputs]
        outputs = [source(t).op for t in traced.outputs if hasattr(t, "op")]
        graph = inputs[0].graph if inputs else None
        order = [o for o in (graph.get_operations() if graph else []) if o.type != "Shape"]
        reached = {id(o): o for o in inputs}
        before: dict[int, list[int]] = {}
        for operation in order:
            own = [id(x.op) for x in operation.inputs if id(x.op) in reached]
            if own:
                reached[id(operation)] = operation
                before[id(operation)] = list(dict.fromkeys(own))
        after: dict[int, list[int]] = {key: [] for key in reached}
        for key, own in before.items():
            for one in own:
                after[one].append(key)
        ranks = [id(o) for o in order if id(o) in reached]
        # One begin before all inputs, one end behind all outputs.
        self._forward = _dominators(ranks, {**before, **{id(o): [0] for o in inputs}})
        ends = {id(o) for o in outputs}
        back = {key: [*own, *([0] if key in ends else [])] for key, own in after.items()}
        self._backward = _dominators(ranks[::-1], back)

    def meets(self, call: Call) -> bool:
        """Whether all paths from the place where a join's branches parted lead through the join."""
        parents = self._forward
        branches = [id(t.op) for t in call.sources if hasattr(t, "op") and id(t.op) in parents]
        if len(branches) < 2:
            return False
        parted = branches[0]
        for other in branches[1:]:
            parted = _common(parents, parted, other)
        join, step = id(call.value.op), parted
        if parted == 0:  # several inputs of the model
            return True
        while step in self._backward and step != 0:
            step = self._backward[step][0]
            if step == join:
                return True
        return False


def _dominators(order: Iterable[int], before: dict[int, list[int]]) -> dict[int, tuple[int, int]]:
    """Node → its immediate dominator and its depth in their tree, for an acyclic graph.

    Args:
        order: the nodes in an order in which each comes after its predecessors.
        before: node → its predecessors; 0 is the root.
    """
    tree: dict[int, tuple[int, int]] = {0: (0, 0)}
    for node in order:
        known = [one for one in before.get(node, []) if one in tree]
        if not known:
            continue
        parent = known[0]
        for other in known[1:]:
            parent = _common(tree, parent, other)
        tree[node] = (parent, tree[parent][1] + 1)
    return tree


def _common(tree: dict[int, tuple[int, int]], a: int, b: int) -> int:
    """The nearest node that dominates both."""
    while a != b:
        if tree[a][1] < tree[b][1]:
            a, b = b, a
        a = tree[a][0]
    return a


__all__: list[Any] = ["behind", "belongs_to_others", "blocks", "chosen"]
