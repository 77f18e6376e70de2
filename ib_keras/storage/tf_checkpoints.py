"""TensorFlow checkpoints of Keras models, whose weights are found in a graph of objects."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ib_keras.errors import StoreError
from ib_keras.storage import npy

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
# Keras 2 numbers the layers that have weights.
_NUMBERED = "layer_with_weights-"


def find_weights(prefix: pathlib.Path, model: keras.Model) -> dict[int, str]:
    """Find a model's weights in a checkpoint.

    The checkpoint was written by ``tf.train.Checkpoint`` with the model as its root or as one of
    its objects, or by ``save_weights`` of Keras 2. Other objects, such as optimizers, are ignored.

    Args:
        prefix: the prefix of the checkpoint's files.
        model: a built model.

    Returns:
        The position in ``model.weights`` → the key in the checkpoint.

    Raises:
        StoreError: If the checkpoint cannot be read, lacks a weight, or has one of another shape.
    """
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(reader.get_tensor(_GRAPH))
        nodes = list(graph.nodes)
        roots = [0, *(child.node_id for child in nodes[0].children)]
        found = max((_walk(nodes, root, model) for root in roots), key=len)
    except npy.DAMAGE as error:
        raise StoreError(
            f"{str(prefix)!r} cannot be read", "a TensorFlow checkpoint of objects", error
        ) from None
    for i, weight in enumerate(model.weights):
        saved = shapes.get(found.get(i))
        if saved != list(weight.shape):
            raise StoreError(
                f"{str(prefix)!r} does not fit the model {model.name!r}",
                f"a weight {weight.path!r} of the shape {tuple(weight.shape)}",
                "none" if saved is None else f"the shape {tuple(saved)}",
            )
    return found


def restore(prefix: pathlib.Path, model: keras.Model, keys: Mapping[int, str]) -> None:
    """Load the weights that ``find_weights`` found into a model.

    Raises:
        StoreError: If the checkpoint cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for i, weight in enumerate(model.weights):
            weight.assign(reader.get_tensor(keys[i]))
    except npy.DAMAGE as error:
        raise StoreError(
            f"{str(prefix)!r} cannot be read", "a TensorFlow checkpoint of objects", error
        ) from None


def _walk(nodes: list[Any], root: int, model: keras.Model) -> dict[int, str]:
    """Follow the names of objects in the checkpoint and in the model side by side."""
    positions = {id(weight): i for i, weight in enumerate(model.weights)}
    found: dict[int, str] = {}
    waiting: list[tuple[Any, int]] = [(model, root)]
    visited = set()
    while waiting:
        owner, number = waiting.pop()
        if (id(owner), number) in visited:
            continue
        visited.add((id(owner), number))
        for child in nodes[number].children:
            value = _child(owner, child.local_name)
            if id(value) in positions:
                attributes = nodes[child.node_id].attributes
                keys = [one.checkpoint_key for one in attributes if one.name == _VALUE]
                found.update({positions[id(value)]: key for key in keys})
            elif isinstance(value, (keras.Layer, list, tuple, dict)):
                waiting.append((value, child.node_id))
    return found


def _child(owner: Any, name: str) -> Any:
    """Return the part of a layer, list or dictionary to which a name in the checkpoint refers."""
    if isinstance(owner, (list, tuple)):
        return owner[int(name)] if name.isdecimal() and int(name) < len(owner) else None
    if isinstance(owner, dict):
        return owner.get(name)
    number = name.removeprefix(_NUMBERED)
    if number != name and number.isdecimal():
        layers = [layer for layer in getattr(owner, "layers", []) if layer.weights]
        return layers[int(number)] if int(number) < len(layers) else None
    try:
        return getattr(owner, name, None)
    except (ValueError, RuntimeError):  # properties that raise because they are not defined yet
        return None
