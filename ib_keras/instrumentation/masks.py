"""The masks of sequences, which say which positions of a layer's output are valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ib_keras.instrumentation.interception import Arguments

# Names of keyword arguments that are masks of the positions.
_KEYWORDS = ("mask", "padding_mask")


def of_output(
    layer: keras.Operation,
    args: tuple,
    kwargs: dict[str, Any],
    output: Any,
    holders: Sequence[Arguments] = (),
) -> Any:
    """Return the mask of a layer's output, or of its first output.

    Args:
        layer: the layer.
        args: the positional arguments of its call.
        kwargs: the keyword arguments of its call.
        output: the output, before Keras sets its mask.
        holders: the calls that contain this one. A layer inside a transformer's block, which is not
            given the mask of the block itself, has it nevertheless.

    Returns:
        A boolean tensor ``(batch, positions)``; ``None`` if no mask is known. The positions of
        images at each time are in the order of the flattened output.
    """
    tensors = [x for x in keras.tree.flatten(output) if isinstance(x, tf.Tensor)]
    if not tensors or (tensors[0].shape.rank or 0) < 3:
        return None
    candidates = [_mask(tensors[0]), *_computed(layer, args)]
    candidates += [kwargs.get(name) for name in _KEYWORDS]
    for mask in candidates:
        if (
            isinstance(mask, tf.Tensor)
            and mask.shape.rank == 2
            and mask.shape.is_compatible_with(tensors[0].shape[:2])
        ):
            each = tf.reduce_prod(tf.shape(tensors[0])[2:-1])
            return tf.repeat(tf.cast(mask, tf.bool), each, axis=1)
    return _of_holder(tensors[0], holders)


def _of_holder(output: Any, holders: Sequence[Arguments]) -> Any:
    """Return the mask of the innermost call around a layer whose positions are the layer's own."""
    for layer, args, kwargs in reversed(holders):
        given = [_mask(x) for x in keras.tree.flatten(args[:1])]
        for mask in (*(kwargs.get(name) for name in _KEYWORDS), *given):
            if (
                isinstance(layer, keras.layers.Layer)
                and isinstance(mask, tf.Tensor)
                and output.shape.rank == 3
                and mask.shape.rank == 2
                and mask.shape.is_compatible_with(output.shape[:2])
            ):
                return _if_fitting(tf.cast(mask, tf.bool), tf.shape(output)[:2])
    return None


def _if_fitting(mask: Any, shape: Any) -> Any:
    """Return a mask, or one without masked positions if it has another shape."""
    same = tf.reduce_all(tf.shape(mask) == shape)
    return tf.cond(same, lambda: mask, lambda: tf.ones(shape, tf.bool))


def _computed(layer: keras.Operation, args: tuple) -> list[Any]:
    """Return the masks that a layer computes from those of its inputs."""
    if not isinstance(layer, keras.layers.Layer) or not args:
        return []
    own = type(layer).compute_mask is not keras.layers.Layer.compute_mask
    if not (layer.supports_masking or own):
        return []
    previous = keras.tree.map_structure(_mask, args[0])
    try:
        return keras.tree.flatten(layer.compute_mask(args[0], previous))[:1]
    except Exception:  # a layer of the user, whose mask Keras could not compute either
        return []


def _mask(tensor: Any) -> Any:
    return getattr(tensor, "_keras_mask", None)
