"""The two streams of PixelCNN++: from scaled images to raw parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ib_keras.pixelcnn.layers import (
    CausalConv,
    GatedBlock,
    Grid,
    Grouped,
    Grow,
    Resize,
    Standardise,
    concat_elu,
    down_shift,
    right_shift,
)

_DOWN: tuple = ((2, 3), "down")
_RIGHT: tuple = ((2, 2), "right")


class Streams(keras.layers.Layer):
    """The network that computes each pixel's parameters from the pixels before it in raster order.

    The stream ``u`` of a pixel depends on the rows above it, the stream ``v`` also on the pixels to
    its left. Both go down through the stages and up again with shortcuts, as in a U-Net.

    Args:
        size: height and width of the images.
        outputs: the number of parameters of each pixel.
        filters: channels of each stage, the finest first; its length is the maximum number of
            stages.
        resnet_blocks: the number of blocks in each stage and direction.
        dropout: dropout rate in the blocks.
        condition: height, width and channels of the condition; ``None`` if there is none.
        groups: number of groups of conditions, see ``PixelCNN``.
        seed: integer seed of weights and dropout.
        **kwargs: arguments of ``keras.layers.Layer``.

    References:
        Salimans et al., *PixelCNN++*, ICLR 2017, arXiv:1701.05517, sections 2.3 to 2.5.
    """

    def __init__(
        self,
        size: tuple[int, int],
        outputs: int,
        *,
        filters: tuple[int, ...],
        resnet_blocks: int,
        dropout: float,
        condition: tuple[int, ...] | None,
        groups: int = 1,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        seeds = _seeds(seed)
        stages = stage_sizes(size, len(filters))
        grids = [_grid(size, stage) for stage in range(len(stages))]
        own = {"dtype": self.dtype_policy}

        def blocks(stage: int, count: int, kind: tuple, aside: bool) -> list[GatedBlock]:
            width, grid = filters[stage], None if condition is None else grids[stage]
            return [
                GatedBlock(
                    width, *kind, dropout=dropout, aside=aside, grid=grid, seeds=seeds, **own
                )
                for _ in range(count)
            ]

        def conv(width: int, *arguments: Any, strides: int = 1) -> CausalConv:
            return CausalConv(width, *arguments, strides=strides, seed=next(seeds), **own)

        first, last = filters[0], len(stages) - 1
        self.enter_u = conv(first, (2, 3), "down")
        self.enter_above = conv(first, (1, 3), "down")
        self.enter_left = conv(first, (2, 1), "right")
        self.down_u = [blocks(i, resnet_blocks, _DOWN, False) for i in range(len(stages))]
        self.down_v = [blocks(i, resnet_blocks, _RIGHT, True) for i in range(len(stages))]
        self.shrink_u = [conv(filters[i + 1], *_DOWN, strides=2) for i in range(last)]
        self.shrink_v = [conv(filters[i + 1], *_RIGHT, strides=2) for i in range(last)]
        # The coarsest stage starts from its last shortcut, so it has one shortcut less.
        counts = [resnet_blocks + (i < last) for i in range(len(stages))]
        self.up_u = [blocks(i, counts[i], _DOWN, True) for i in range(len(stages))]
        self.up_v = [blocks(i, counts[i], _RIGHT, True) for i in range(len(stages))]
        self.grow_u, self.grow_v = (
            [Grow(filters[i], stages[i], seed=next(seeds), **own) for i in range(last)]
            for _ in range(2)
        )
        self.leave = conv(outputs)
        self._conditional = condition is not None
        if condition is not None:
            self.standardise = (
                Standardise(**own) if groups == 1 else Grouped(groups, seed=next(seeds), **own)
            )
            self.pool = [Resize(grid, coarsen=True, **own) for grid in grids]
            wide = condition[:2] != (1, 1)
            self.look = [conv(min(first, condition[2]), (3, 3), "none") for _ in range(2 * wide)]

    def call(self, images: Any, condition: Any = None, training: bool = False) -> Any:
        """Compute the raw parameters ``(n, height, width, outputs)``.

        Args:
            images: ``(n, height, width, channels)`` on the scale [−1, 1].
            condition: ``(n, h, w, channels)``.
            training: whether to apply dropout.
        """
        conditions = [None] * len(self.down_u)
        if condition is not None:
            h = self._with_surroundings(self.standardise(condition))
            conditions = [pool(h) for pool in self.pool]
        # The channel of ones distinguishes the image from the padding.
        x = tf.pad(tf.cast(images, self.compute_dtype), [[0, 0]] * 3 + [[0, 1]], constant_values=1)
        u = down_shift(self.enter_u(x))
        v = down_shift(self.enter_above(x)) + right_shift(self.enter_left(x))
        shortcuts = [(u, v)]
        last = len(self.down_u) - 1
        for stage, h in enumerate(conditions):
            for for_u, for_v in zip(self.down_u[stage], self.down_v[stage], strict=True):
                u = for_u(u, condition=h, training=training)
                v = for_v(v, aside=u, condition=h, training=training)
                shortcuts.append((u, v))
            if stage < last:
                u, v = self.shrink_u[stage](u), self.shrink_v[stage](v)
                shortcuts.append((u, v))
        u, v = shortcuts.pop()
        for stage in range(last, -1, -1):
            h = conditions[stage]
            for for_u, for_v in zip(self.up_u[stage], self.up_v[stage], strict=True):
                other_u, other_v = shortcuts.pop()
                u = for_u(u, aside=other_u, condition=h, training=training)
                both = tf.concat([u, other_v], axis=-1)
                v = for_v(v, aside=both, condition=h, training=training)
            if stage:
                u, v = self.grow_u[stage - 1](u), self.grow_v[stage - 1](v)
        return self.leave(tf.nn.elu(v))

    def convolutions(self) -> dict[str, CausalConv]:
        """Return the convolutions by their places, which are the same with and without a condition.

        The linear map of groups is left out.
        """
        found: dict[str, CausalConv] = {}

        def add(path: str, part: Any) -> None:
            if isinstance(part, CausalConv):
                found[path] = part
            elif isinstance(part, list):
                for place, one in enumerate(part):
                    add(f"{path}/{place}", one)
            else:
                for name in ("first", "second", "aside", "project", "conv"):
                    if hasattr(part, name):
                        add(f"{path}/{name}", getattr(part, name))

        for name in (
            "enter_u", "enter_above", "enter_left", "down_u", "down_v", "shrink_u", "shrink_v",
            "up_u", "up_v", "grow_u", "grow_v", "leave", *(["look"] if self._conditional else []),
        ):  # fmt: skip
            add(name, getattr(self, name))
        return found

    def _with_surroundings(self, h: Any) -> Any:
        """Add convolutions of a map, and its mean over all positions, as further channels."""
        if not self.look:
            return h
        around = h
        for conv in self.look:
            around = conv(concat_elu(around))
        mean = tf.reduce_mean(h, axis=[1, 2], keepdims=True)
        return tf.concat([h, around, tf.broadcast_to(mean, tf.shape(h))], axis=-1)


def stage_sizes(size: tuple[int, int], most: int) -> list[tuple[int, int]]:
    """Return the height and width of each stage: halved, rounded up, while a side exceeds 2."""
    sizes = [size]
    while len(sizes) < most and max(sizes[-1]) > 2:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def _grid(size: tuple[int, int], stage: int) -> Grid:
    """Return the edges of a stage's pixels as shares of the image, for rows and columns."""

    def edges(n: int) -> tuple[float, ...]:
        return tuple(np.minimum(np.arange(-(-n // 2**stage) + 1) * 2**stage, n) / n)

    return edges(size[0]), edges(size[1])


def _seeds(seed: int | None) -> Iterator[int]:
    """Generate integer seeds that depend only on ``seed``."""
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31 - 1))
