"""Images sampled from decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ib_keras.errors import ArgumentError
from ib_keras.plot import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def conditional_samples(
    originals: np.ndarray,
    samples: Mapping[str, np.ndarray],
    *,
    levels: int = 256,
    labels: Sequence[Any] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw images beside samples of decoders given a representation of these images.

    Each row has an original and, for each name, several samples. The samples share with the
    original what the representation keeps, and differ in what it forgets.

    Args:
        originals: ``(m, height, width, channels)`` images with values 0…levels−1.
        samples: arrays of samples by name, each ``(m, draws, height, width, channels)``.
        levels: number of values of a pixel.
        labels: labels of the originals, which are written beside them.
        title: title of the figure.
        ax: axes of a grid that the panels replace; by default, a new figure is made.

    Returns:
        The figure.

    Raises:
        ArgumentError: If there are no samples, shapes do not match, or ``ax`` is not part of a
            grid.
        MissingExtraError: If matplotlib is not installed.
    """
    figures = drawing.matplotlib("plot.conditional_samples()")
    images = np.asarray(originals)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ArgumentError("`originals` is not images", "(m, h, w, 1 or 3)", images.shape)
    if not samples:
        raise ArgumentError("`samples` is empty", "at least one name with its images", "{}")
    drawn = {name: np.asarray(values) for name, values in samples.items()}
    for name, values in drawn.items():
        if values.ndim != 5 or (values.shape[0], *values.shape[2:]) != images.shape:
            wanted = f"({len(images)}, draws, {', '.join(map(str, images.shape[1:]))})"
            raise ArgumentError(f"`samples[{name!r}]` does not match", wanted, values.shape)
    widths = [1, *(values.shape[1] for values in drawn.values())]
    cell = 0.62
    size = (cell * (sum(widths) + 0.35 * len(widths)) + 0.4, cell * len(images) + 0.9)
    figure, grid = drawing.divided(figures, ax, title, 1, len(widths), size, width_ratios=widths)
    panels = grid[0]
    columns = {"original": images[:, None], **drawn}
    for axes, (name, values) in zip(panels, columns.items(), strict=True):
        axes.imshow(
            _montage(values, levels), cmap="gray", vmin=0, vmax=1, interpolation="nearest",
            clip_on=False,  # the names of clip paths in SVG files differ from drawing to drawing
        )  # fmt: skip
        axes.set_title(name, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    if labels is not None:
        pitch = images.shape[1] + _gap(images.shape[1])
        places = [pitch * i + images.shape[1] / 2 for i in range(len(images))]
        panels[0].set_yticks(places, labels=[str(label) for label in labels], fontsize=8)
        panels[0].tick_params(length=0)
    return figure


def _gap(side: int) -> int:
    return max(1, side // 12)


def _montage(images: np.ndarray, levels: int) -> np.ndarray:
    """Join images ``(rows, columns, height, width, channels)`` into one, with white gaps."""
    rows, columns, height, width, channels = images.shape
    gap = _gap(height)
    canvas = np.ones(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.float32
    )
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = images[i, j] / (levels - 1)
    return canvas[..., 0] if channels == 1 else canvas
