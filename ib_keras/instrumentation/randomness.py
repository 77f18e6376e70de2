"""The random numbers of a traced graph, and the variables that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Operations that draw new numbers in each pass, and keep their state in TensorFlow's kernels.
KERNEL_STATE = frozenset(
    ["Multinomial", "ParameterizedTruncatedNormal", "RandomCrop", "RandomGamma", "RandomPoisson",
     "RandomPoissonV2", "RandomShuffle", "RandomStandardNormal", "RandomUniform",
     "RandomUniformInt", "SampleDistortedBoundingBoxV2", "TruncatedNormal"]
)  # fmt: skip
# Operations that draw new numbers in each pass, and keep their state in a variable of a
# `tf.random.Generator`.
_VARIABLE_STATE = frozenset(
    ["NonDeterministicInts", "RngReadAndSkip", "RngSkip", "StatefulRandomBinomial",
     "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniform",
     "StatefulUniformFullInt", "StatefulUniformInt"]
)  # fmt: skip
_STATELESS = ("StatelessRandom", "StatelessTruncated", "StatelessParameterized", "StatelessShuffle",
              "StatelessMultinomial", "StatelessSampleDistorted")  # fmt: skip
# Operations that only read the state of a stateless operation.
_NOT_DRAWS = ("StatelessRandomGetKeyCounter", "StatelessRandomGetAlg")
_WRITES = ("Assign", "Rng", "Stateful", "NonDeterministic", "Scatter", "ResourceScatter")


def random_tensors(graph: tf.Graph) -> set[str]:
    """Find the names of the tensors that depend on random numbers drawn in the graph.

    A stateless draw does not count if all its inputs, including its shape, are constant, because
    its result is then the same in every pass.
    """
    drawing = _functions_that(graph, _draws)
    constant: set[str] = set()
    random: set[str] = set()
    for operation in graph.get_operations():
        names = [x.name for x in operation.inputs]
        fixed = all(name in constant for name in names)
        draws = _draws(operation.type) and not (fixed and _is_stateless(operation.type))
        outputs = [x.name for x in operation.outputs]
        if draws or drawing & _called(operation.node_def) or random.intersection(names):
            random.update(outputs)
        elif operation.type == "Const" or (names and fixed and not _writes(operation.type)):
            constant.update(outputs)
    return random


def draws_from_kernels(graph: tf.Graph) -> bool:
    """Return whether random operations of the graph keep their state in TensorFlow's kernels.

    An example is ``tf.random.normal``. Such operations can be seeded only while the graph is
    traced.
    """
    return _has(graph, KERNEL_STATE.__contains__)


def written_variables(graph: Any) -> list[tf.Variable]:
    """Return the variables that a pass through a function's graph may write, in order of use."""
    if not _has(graph, _writes):
        return []
    places = {id(outside): place for place, (outside, _) in enumerate(graph.captures)}
    ordered = sorted(graph.variables, key=lambda variable: places.get(id(variable.handle), -1))
    return [variable for variable in ordered if not variable.trainable]


def seed_values(variables: Sequence[tf.Variable], seed: Sequence[int]) -> dict[int, np.ndarray]:
    """Compute seeded states for the random generators among some variables.

    Args:
        variables: the variables of ``written_variables``.
        seed: integers that determine the values.

    Returns:
        Index in ``variables`` → new value, for the state variables of
        ``keras.random.SeedGenerator`` and ``tf.random.Generator``.
    """
    values: dict[int, np.ndarray] = {}
    for i, variable in enumerate(variables):
        name = variable.name.rpartition("/")[2].partition(":")[0]
        vector = variable.dtype.is_integer and variable.shape.rank == 1
        if vector and name.startswith(("seed_generator_state", "StateVar")):
            # The last number keeps these seeds apart from the noise of channels.
            place = len(values)
            words = np.random.SeedSequence([*seed, place, 2]).generate_state(variable.shape[0])
            values[i] = (words >> 1).astype(variable.dtype.as_numpy_dtype)
    return values


def _draws(kind: str) -> bool:
    return kind in KERNEL_STATE or kind in _VARIABLE_STATE or _is_stateless(kind)


def _is_stateless(kind: str) -> bool:
    return kind.startswith(_STATELESS) and kind not in _NOT_DRAWS


def _writes(kind: str) -> bool:
    return kind.startswith(_WRITES) and kind != "StatefulPartitionedCall"


def _called(node: Any) -> set[str]:
    """Return the functions that a node of a graph runs, such as the body of a loop."""
    return {
        function.name
        for attribute in node.attr.values()
        for function in (attribute.func, *attribute.list.func)
        if function.name
    }


def _has(graph: tf.Graph, condition: Callable[[str], bool]) -> bool:
    """Return whether an operation of the graph, or of a function it calls, has the condition."""
    inside = _functions_that(graph, condition)
    return any(condition(o.type) or inside & _called(o.node_def) for o in graph.get_operations())


def _functions_that(graph: tf.Graph, condition: Callable[[str], bool]) -> frozenset[str]:
    """Find the functions that run an operation with the condition, directly or by a call."""
    library = graph.as_graph_def().library.function
    calls = {
        function.signature.name: set().union(*map(_called, function.node_def))
        for function in library
    }
    found = {f.signature.name for f in library if any(condition(node.op) for node in f.node_def)}
    while True:
        more = {name for name, inner in calls.items() if inner & found} - found
        if not more:
            return frozenset(found)
        found |= more
