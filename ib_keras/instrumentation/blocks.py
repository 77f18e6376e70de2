"""Parts of a network that belong together: a layer with its activation, and blocks of layers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import keras

from ib_keras.instrumentation.operations import ACTIVATIONS
from ib_keras.instrumentation.trace import Call, Trace, source

# Layers that belong to the layer before them; T is their output.
_ACTIVATIONS = (
    keras.layers.Activation, keras.layers.ELU, keras.layers.LeakyReLU, keras.layers.PReLU,
    keras.layers.ReLU, keras.layers.Softmax,
)  # fmt: skip
# These belong to the layer before them, too; if it has no weights, they have no tap.
_NORMALISATIONS = (
    keras.layers.BatchNormalization, keras.layers.GroupNormalization,
    keras.layers.LayerNormalization, keras.layers.Normalization,
    keras.layers.RMSNormalization, keras.layers.UnitNormalization,
)  # fmt: skip
_SUMS = (keras.layers.Add, keras.layers.Average, keras.layers.Maximum)
_SUM_OPERATIONS = frozenset(["Add", "Average", "Maximum"])


def belongs_to_others(layer: keras.Operation) -> bool:
    """Return whether a layer is an activation or normalisation that belongs to the one before."""
    if isinstance(layer, keras.layers.Layer):
        return isinstance(layer, _ACTIVATIONS + _NORMALISATIONS)
    return type(layer).__name__ in ACTIVATIONS


def last_of_group(traced: Trace, call: Call, belongs: Callable = belongs_to_others) -> Call:
    """Return the last activation or normalisation that belongs to a call, or the call itself.

    Args:
        traced: the forward pass.
        call: one of its calls.
        belongs: function that says whether a layer belongs to the layer before it.
    """
    while True:
        readers = traced.readers.get(id(call.value), [])
        if len(readers) != 1 or len(readers[0].sources) != 1 or not belongs(readers[0].layer):
            return call
        call = readers[0]


def _is_activation(layer: keras.Operation) -> bool:
    return belongs_to_others(layer) and not isinstance(layer, _NORMALISATIONS)


def blocks(traced: Trace) -> list[Call]:
    """Find the stages of a deep network: residual sums, concatenations and nested blocks.

    - If several layers of one class that Keras does not define are in the same layer or model and
      contain layers with weights, these are the blocks, such as the encoder layers of a
      transformer.
    - Otherwise the blocks are the sums and concatenations at which all paths that have branched
      meet again, each with the activation that belongs to it. A sum that only other sums read, or
      that a longer path bypasses, is part of a block. Nested models and layers without a sum or
      concatenation of this kind inside are blocks, too.

    Args:
        traced: a forward pass.

    Returns:
        The calls of the blocks, in the order of the forward pass; an empty list if the network has
        no blocks.
    """
    nested = [
        call
        for call in traced.calls
        if call.first and call.children and call.weights and not call.in_loop
        and not any(isinstance(x, keras.layers.Wrapper) for x in (call.layer, *call.holders))
    ]  # fmt: skip
    found = _repeated(nested)
    if not found:
        found = [last_of_group(traced, call, _is_activation) for call in _joins(traced)]
        inside = {id(holder) for call in found for holder in call.holders}
        found += [
            call
            for call in nested
            if id(call.layer) not in inside
            and not any(isinstance(h, keras.layers.Layer) for h in call.holders)
        ]
    unique = {id(call) for call in found if call.tappable}
    return [call for call in traced.calls if id(call) in unique]


def _repeated(nested: Sequence[Call]) -> list[Call]:
    """Find the outermost calls of custom layers that have a sibling of the same class."""
    kinds = [(tuple(map(id, call.holders[-1:])), type(call.layer)) for call in nested]
    count = Counter(kinds)
    repeated = [
        call
        for call, kind in zip(nested, kinds, strict=True)
        if count[kind] > 1 and not kind[1].__module__.startswith("keras.")
    ]
    layers = {id(call.layer) for call in repeated}
    return [call for call in repeated if not any(id(h) in layers for h in call.holders)]


def _joins(traced: Trace) -> list[Call]:
    """Find the sums and concatenations at which all paths that have branched meet again."""
    joins = [c for c in traced.leaves if not c.in_loop and len(c.sources) > 1 and _joins_paths(c)]
    values = {id(call.value) for call in joins}
    flow = _Flow(traced)
    found = []
    for call in joins:
        readers = traced.readers.get(id(call.value), [])
        if readers and all(id(reader.value) in values for reader in readers):
            continue
        # The paths of overlapping cells, as in a NASNet, do not all meet in one operation. There,
        # concatenations at which new branches begin are the blocks.
        branches = type(call.layer).__name__ == "Concatenate" and len(readers) > 1
        if branches or flow.meets(call):
            found.append(call)
    return found


def _joins_paths(call: Call) -> bool:
    layer, kind = call.layer, type(call.layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        return kind in _SUM_OPERATIONS or kind == "Concatenate"
    if type(layer).__module__.startswith("keras.src.layers."):
        return isinstance(layer, (*_SUMS, keras.layers.Concatenate))
    # A custom sum, such as one that scales a branch.
    shapes = {tuple(tensor.shape) for tensor in (*call.sources, call.output)}
    return not layer.weights and len(shapes) == 1


class _Flow:
    """The graph of a forward pass, with the dominators of its operations in both directions."""

    def __init__(self, traced: Trace) -> None:
        inputs = [id(t.op) for t in traced.inputs]
        outputs = {id(source(t).op) for t in traced.outputs if hasattr(t, "op")}
        graph = traced.inputs[0].op.graph if inputs else None
        order = [o for o in (graph.get_operations() if graph else []) if o.type != "Shape"]
        # Node 0 comes before all inputs and after all outputs.
        before = {key: [0] for key in inputs}
        after: dict[int, list[int]] = {key: [] for key in inputs}
        for operation in order:
            key = id(operation)
            # A mask, which is boolean, bypasses all blocks.
            values = [x for x in operation.inputs if x.dtype.name != "bool"]
            sources = list(dict.fromkeys(id(x.op) for x in values if id(x.op) in after))
            if sources:
                before.setdefault(key, sources)
                after[key] = []
                for one in sources:
                    after[one].append(key)
        for key in outputs.intersection(after):
            after[key].append(0)
        nodes = [id(o) for o in order if id(o) in after]
        self._forward = _dominators(nodes, before)
        self._backward = _dominators(nodes[::-1], after)

    def meets(self, call: Call) -> bool:
        """Return whether all paths from the point where a join's branches part lead through it."""
        parents = self._forward
        branches = [id(t.op) for t in call.sources if hasattr(t, "op") and id(t.op) in parents]
        if len(branches) < 2:
            return False
        step = functools.reduce(functools.partial(_common, parents), branches)
        if step == 0:  # the branches begin at several inputs of the model
            return True
        while step in self._backward and step != 0:
            step = self._backward[step][0]
            if step == id(call.value.op):
                return True
        return False


def _dominators(order: Iterable[int], before: dict[int, list[int]]) -> dict[int, tuple[int, int]]:
    """Compute node → (immediate dominator, depth in the dominator tree) of an acyclic graph.

    Args:
        order: the nodes in topological order.
        before: node → its predecessors; 0 is the root.
    """
    tree: dict[int, tuple[int, int]] = {0: (0, 0)}
    for node in order:
        reached = [one for one in before.get(node, []) if one in tree]
        if reached:
            parent = functools.reduce(functools.partial(_common, tree), reached)
            tree[node] = (parent, tree[parent][1] + 1)
    return tree


def _common(tree: dict[int, tuple[int, int]], a: int, b: int) -> int:
    """Find the nearest node that dominates both."""
    while a != b:
        if tree[a][1] < tree[b][1]:
            a, b = b, a
        a = tree[a][0]
    return a
