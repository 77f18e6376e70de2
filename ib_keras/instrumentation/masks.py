"""The masks of sequences, which say which positions of a layer's output are valid."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ib_keras.instrumentation.interception import Arguments
from ib_keras.instrumentation.operations import ELEMENTWISE

# Names of keyword arguments that are masks of the positions.
_KEYWORDS = ("mask", "padding_mask")
# Keras loses the mask of a sum if one of the inputs has none, as with a position embedding.
_SUMS = (
    keras.layers.Add, keras.layers.Average, keras.layers.Maximum, keras.layers.Minimum,
    keras.layers.Multiply, keras.layers.Subtract,
)  # fmt: skip


class Masks:
    """The masks of the tensors of one forward pass, including masks that Keras loses.

    ``MultiHeadAttention`` removes the masks from its inputs, which other layers read as well, and
    sums such as ``x + y`` pass no mask on, although the same positions are still padding.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[Any, Any]] = {}

    def keep(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Note the masks of a layer's inputs, before the layer runs."""
        for tensor in keras.tree.flatten((args, kwargs)):
            mask = getattr(tensor, "_keras_mask", None)
            if mask is not None:
                self.put(tensor, mask)

    def put(self, tensor: Any, mask: Any) -> None:
        """Note the mask of a tensor; the tensor is kept alive, so that its ``id`` stays unique."""
        self._of[id(tensor)] = (tensor, mask)

    def get(self, tensor: Any) -> Any:
        """Return the mask of a tensor, or ``None``."""
        mask = getattr(tensor, "_keras_mask", None)
        return self._of.get(id(tensor), (None, None))[1] if mask is None else mask

    def of_output(
        self,
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
            holders: the calls that contain this one. A layer inside a block has the mask of the
                block even if the block does not pass it on.

        Returns:
            A boolean tensor ``(batch, steps)``; ``None`` if no mask is known.
        """
        tensors = [x for x in keras.tree.flatten(output) if isinstance(x, tf.Tensor)]
        if not tensors or (tensors[0].shape.rank or 0) < 3:
            return None
        candidates = [self.get(tensors[0]), *self._computed(layer, args)]
        candidates += [kwargs.get(name) for name in _KEYWORDS]
        for mask in candidates:
            if _fits(mask, tensors[0]):
                return _if_fitting(tf.cast(mask, tf.bool), tf.shape(tensors[0])[:2])
        return self._of_holder(tensors[0], holders)

    def _of_holder(self, output: Any, holders: Sequence[Arguments]) -> Any:
        """Return the mask of the innermost enclosing call that fits the layer's output."""
        for layer, args, kwargs in reversed(holders):
            given = [self.get(x) for x in keras.tree.flatten(args[:1])]
            for mask in (*(kwargs.get(name) for name in _KEYWORDS), *given):
                if (
                    isinstance(layer, keras.layers.Layer)
                    and output.shape.rank == 3
                    and _fits(mask, output)
                ):
                    return _if_fitting(tf.cast(mask, tf.bool), tf.shape(output)[:2])
        return None

    def _computed(self, layer: keras.Operation, args: tuple) -> list[Any]:
        """Return the masks that a layer computes from the masks of its inputs."""
        if not args:
            return []
        if isinstance(layer, _SUMS) or type(layer).__name__ in ELEMENTWISE:
            found = [mask for mask in map(self.get, keras.tree.flatten(args)) if mask is not None]
            return [functools.reduce(tf.logical_or, found)] if found else []
        if not isinstance(layer, keras.layers.Layer):
            return []
        own = type(layer).compute_mask is not keras.layers.Layer.compute_mask
        if not (layer.supports_masking or own):
            return []
        previous = keras.tree.map_structure(self.get, args[0])
        try:
            return keras.tree.flatten(layer.compute_mask(args[0], previous))[:1]
        except Exception:  # a custom layer, whose mask Keras could not compute either
            return []


def flattened(mask: Any, output: Any) -> Any:
    """Repeat the mask of each step for all positions of the step, such as the pixels of an image.

    Args:
        mask: a mask ``(batch, steps)``, or ``None``.
        output: the output to which it belongs, ``(batch, steps, …, channels)``.

    Returns:
        A mask ``(batch, positions)``, or ``None``.
    """
    if mask is None:
        return None
    return tf.repeat(mask, tf.reduce_prod(tf.shape(output)[2:-1]), axis=1)


def _fits(mask: Any, output: Any) -> bool:
    """Return whether the static shape of a mask is compatible with an output."""
    return (
        isinstance(mask, tf.Tensor)
        and mask.shape.rank == 2
        and mask.shape.is_compatible_with(output.shape[:2])
    )


def _if_fitting(mask: Any, shape: Any) -> Any:
    """Return the mask if it has the given shape, else a mask in which all positions are valid."""
    same = tf.reduce_all(tf.shape(mask) == shape)
    return tf.cond(same, lambda: mask, lambda: tf.ones(shape, tf.bool))
