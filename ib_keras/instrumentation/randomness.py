"""What a traced graph draws at random, and which variables a pass through it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Operations that draw anew in each pass, from a state that TensorFlow keeps in the kernel.
KERNEL_STATE = frozenset(
    ["Multinomial", "ParameterizedTruncatedNormal", "RandomCrop", "RandomGamma", "RandomPoisson",
     "RandomPoissonV2", "RandomShuffle", "RandomStandardNormal", "RandomUniform",
     "RandomUniformInt", "SampleDistortedBoundingBoxV2", "TruncatedNormal"]
)  # fmt: skip
# The same, from a state that a `tf.random.Generator` keeps in a variable.
_VARIABLE_STATE = frozenset(
    ["NonDeterministicInts", "RngReadAndSkip", "RngSkip", "StatefulRandomBinomial",
     "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniform",
     "StatefulUniformFullInt", "StatefulUniformInt"]
)  # fmt: skip
_STATELESS = ("StatelessRandom", "StatelessTruncated", "StatelessParameterized", "StatelessShuffle",
              "StatelessMultinomial", "StatelessSampleDistorted")  # fmt: skip
# Reads of the state by which a stateless operation was once seeded.
_NOT_DRAWS = ("StatelessRandomGetKeyCounter", "StatelessRandomGetAlg")
_WRITES = ("Assign", "Rng", "Stateful", "NonDeterministic", "Scatter", "ResourceScatter")


def random_tensors(graph: tf.Graph) -> set[str]:
    """Names of the tensors that depend on random numbers drawn in the graph.

    A stateless draw counts unless all that goes into it, its shape included, is constant: such a
    draw is the same in every pass, for any rows.
    """
    drawing = _functions_that(graph, lambda name: _draws(name, ()))
    constant: set[str] = set()
    random: set[str] = set()
    for operation in graph.get_operations():
        names = [x.name for x in operation.inputs]
        fixed = all(name in constant for name in names)
        draws = _draws(operation.type, names) and not (fixed and _is_stateless(operation.type))
        outputs = [x.name for x in operation.outputs]
        if draws or drawing.intersection(_called(operation)) or random.intersection(names):
            random.update(outputs)
        elif operation.type == "Const" or (names and fixed and not _writes(operation.type)):
            constant.update(outputs)
    return random


def draws_from_kernels(graph: tf.Graph) -> bool:
    """Whether the graph has draws whose state is in TensorFlow's kernels, as ``tf.random.normal``'s
    is: no variable holds it, and a seed can be set while tracing only."""
    inside = _functions_that(graph, KERNEL_STATE.__contains__)
    return any(o.type in KERNEL_STATE or inside & set(_called(o)) for o in graph.get_operations())


def written_variables(graph: Any) -> list[tf.Variable]:
    """The variables that a pass through a function's graph may write."""
    inside = _functions_that(graph, _writes)
    if not any(_writes(o.type) or inside & set(_called(o)) for o in graph.get_operations()):
        return []
    return [variable for variable in graph.variables if not variable.trainable]


def seed_values(variables: Sequence[tf.Variable], seed: Sequence[int]) -> dict[int, np.ndarray]:
    """Values for the variables that hold the state of random numbers, by their place in the list.

    Args:
        variables: of ``written_variables``.
        seed: integers that determine the values.

    Returns:
        Place → value. The states are those of ``keras.random.SeedGenerator`` and of
        ``tf.random.Generator``.
    """
    found: dict[int, np.ndarray] = {}
    for i, variable in enumerate(variables):
        if not _is_random_state(variable):
            continue
        # The last number keeps these seeds apart from the noise of channels.
        words = np.random.SeedSequence([*seed, i, 2]).generate_state(variable.shape[0])
        found[i] = (words >> 1).astype(variable.dtype.as_numpy_dtype)
    return found


def _is_random_state(variable: tf.Variable) -> bool:
    name = variable.name.rpartition("/")[2].partition(":")[0]
    vector = variable.dtype.is_integer and variable.shape.rank == 1
    return vector and name.startswith(("seed_generator_state", "StateVar"))


def _draws(kind: str, inputs: Iterable[str]) -> bool:
    return kind in KERNEL_STATE or kind in _VARIABLE_STATE or _is_stateless(kind)


def _is_stateless(kind: str) -> bool:
    return kind.startswith(_STATELESS) and kind not in _NOT_DRAWS


def _writes(kind: str) -> bool:
    return kind.startswith(_WRITES) and kind != "StatefulPartitionedCall"


def _called(operation: tf.Operation) -> list[str]:
    """The names of the functions that an operation runs, such as the body of a loop."""
    names = []
    for attribute in operation.node_def.attr.values():
        names += [f.name for f in (attribute.func, *attribute.list.func) if f.name]
    return names


def _functions_that(graph: tf.Graph, has: Any) -> frozenset[str]:
    """The graph's functions in which, or in what they call, ``has`` is true of an operation."""
    library = graph.as_graph_def().library.function
    calls: Mapping[str, set[str]] = {
        function.signature.name: {
            f.name
            for node in function.node_def
            for attribute in node.attr.values()
            for f in (attribute.func, *attribute.list.func)
            if f.name
        }
        for function in library
    }
    found = {f.signature.name for f in library if any(has(node.op) for node in f.node_def)}
    while True:
        more = {name for name, inner in calls.items() if inner & found} - found
        if not more:
            return frozenset(found)
        found |= more
