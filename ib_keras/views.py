"""Views: functions of a layer's output that are recorded in its place.

A wide layer has too many dimensions for most estimators. A view is a function v of T with fewer
dimensions. I(X;v(T)) ≤ I(X;T) and I(v(T);Y) ≤ I(T;Y): the layer has at least the information that a
view shows, and may have more.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays.checks import as_samples, check_count, check_seed
from ib_keras.errors import ArgumentError

Shape = tuple[int | None, ...]
Parameters = tuple[np.ndarray, ...]


class View(abc.ABC):
    """A function of a layer's output.

    Attributes:
        name: the name in the column ``view`` of tables.
        fitted: whether its parameters are fitted on other inputs at each epoch.
    """

    name: str
    fitted: bool = False

    @abc.abstractmethod
    def check(self, shape: Shape, layer: str) -> None:
        """Raise an error if the view does not fit a layer.

        Args:
            shape: the shape of the layer's output without the axis of the batch, with the channels
                last.
            layer: the layer's name.

        Raises:
            ArgumentError: If the view does not fit.
        """

    @abc.abstractmethod
    def __call__(self, output: Any, mask: Any, parameters: Sequence[Any]) -> Any:
        """Apply the view.

        Args:
            output: the layer's output ``(batch, *shape)``, a tensor.
            mask: booleans ``(batch, positions)``, true for valid positions; ``None`` if all are
                valid.
            parameters: the parameters, as tensors.

        Returns:
            A tensor ``(batch, ...)``.
        """

    def parameters(self, size: int, samples: np.ndarray | None = None) -> Parameters:
        """Return the parameters of the view for a layer.

        Args:
            size: number of values of the layer.
            samples: the layer's outputs for the inputs on which a view is fitted, ``(m, size)``.
        """
        return ()

    def noise_std(self, stddev: float, shape: Shape, masked: bool) -> float | None:
        """Return the standard deviation of the view's noise, if T has Gaussian noise.

        Args:
            stddev: the standard deviation of the noise of T.
            shape: the shape of T.
            masked: whether the layer has a mask.

        Returns:
            The standard deviation; ``None`` if the view's noise is not Gaussian with one standard
            deviation for all inputs.
        """
        return None

    def __repr__(self) -> str:
        return f"View({self.name!r})"


@dataclasses.dataclass(frozen=True, repr=False)
class _Pooled(View):
    """The mean, maximum, first or last of the positions of a layer, without masked positions."""

    name: str

    def check(self, shape: Shape, layer: str) -> None:
        if len(shape) < 2:
            raise ArgumentError(
                f"The view {self.name!r} does not fit the layer {layer!r}",
                "a layer with positions or tokens: (positions, channels) or (height, width, "
                "channels)",
                f"shape {shape}",
            )

    def __call__(self, output: Any, mask: Any, parameters: Sequence[Any]) -> Any:
        import tensorflow as tf

        rows = _positions(output)
        if self.name == "first" and mask is None:
            return rows[:, 0]
        if self.name == "last" and mask is None:
            return rows[:, -1]
        if mask is None:
            reduce = tf.reduce_mean if self.name == "mean" else tf.reduce_max
            return reduce(rows, axis=1)
        valid = tf.cast(mask, rows.dtype)
        if self.name == "mean":
            count = tf.maximum(tf.reduce_sum(valid, axis=1, keepdims=True), 1)
            return tf.reduce_sum(tf.where(mask[..., None], rows, 0), axis=1) / count
        if self.name == "max":
            highest = tf.reduce_max(tf.where(mask[..., None], rows, rows.dtype.min), axis=1)
            return tf.where(tf.reduce_any(mask, axis=1)[:, None], highest, 0)
        # argmax finds the first of several equal values.
        steps = tf.range(tf.shape(rows)[1])
        order = -steps if self.name == "first" else steps
        place = tf.argmax(tf.where(mask, order, order[0] - tf.size(steps) - 1), axis=1)
        return tf.gather(rows, place, batch_dims=1)

    def noise_std(self, stddev: float, shape: Shape, masked: bool) -> float | None:
        if self.name in ("first", "last"):
            return stddev
        if self.name == "max" or masked or None in shape[:-1]:
            return None
        return stddev / math.sqrt(math.prod(shape[:-1]))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, repr=False)
class _EachPosition(_Pooled):
    """Each position as a sample of its own."""

    name: str = "positions"

    def __call__(self, output: Any, mask: Any, parameters: Sequence[Any]) -> Any:
        return _positions(output)

    def noise_std(self, stddev: float, shape: Shape, masked: bool) -> float | None:
        return stddev


@dataclasses.dataclass(frozen=True, repr=False)
class _Projection(View):
    """The projection on k orthonormal directions.

    Args:
        name: the name of the view.
        k: number of directions.
        seed: the seed of random directions; ``None`` for principal components.
    """

    name: str
    k: int
    seed: int | None

    @property
    def fitted(self) -> bool:  # type: ignore[override]
        """Whether the directions are principal components."""
        return self.seed is None

    def check(self, shape: Shape, layer: str) -> None:
        if None in shape:
            raise ArgumentError(
                f"The view {self.name!r} does not fit the layer {layer!r}",
                "a layer of a known size, or a view such as 'mean'",
                f"shape {shape}",
            )

    def parameters(self, size: int, samples: np.ndarray | None = None) -> Parameters:
        k = min(self.k, size)
        if self.seed is not None:
            return _random_directions(size, k, self.seed)
        from sklearn.decomposition import PCA

        rows = as_samples(samples, "view_inputs", finite=False)
        if len(rows) <= k:
            raise ArgumentError(
                f"`view_inputs` are too few for the view {self.name!r}",
                f"more than {k} rows",
                f"{len(rows)} rows",
            )
        if not np.isfinite(rows).all():  # an error would stop a training that has diverged
            return np.full(size, np.nan, np.float32), np.full((size, k), np.nan, np.float32)
        with np.errstate(invalid="ignore"):  # constant layers
            pca = PCA(k, random_state=0).fit(rows)
        return pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32)

    def __call__(self, output: Any, mask: Any, parameters: Sequence[Any]) -> Any:
        import tensorflow as tf

        *mean, directions = parameters
        flat = tf.reshape(output, (tf.shape(output)[0], -1))
        return tf.matmul(flat - mean[0] if mean else flat, directions)

    def noise_std(self, stddev: float, shape: Shape, masked: bool) -> float | None:
        return stddev


@dataclasses.dataclass(frozen=True, repr=False)
class _Custom(View):
    """A Keras layer or a registered function of the output.

    Args:
        name: the name of the view.
        function: function of a tensor ``(batch, *shape)``, which returns a tensor ``(batch, ...)``.
    """

    name: str
    function: Callable[[Any], Any]

    def check(self, shape: Shape, layer: str) -> None:
        import tensorflow as tf

        known = [size or 2 for size in shape]
        try:
            result = self.function(tf.zeros([2, *known]))
            received = f"{tuple(result.shape)}, {result.dtype.name}"
            fits = len(result.shape) > 1 and result.shape[0] == 2 and result.dtype.is_floating
        except Exception as error:  # functions of users may raise any
            fits, received = False, f"{type(error).__name__}: {error}".splitlines()[0]
        if not fits:
            raise ArgumentError(
                f"The view {self.name!r} does not fit the layer {layer!r}, of shape {shape}",
                "a function of a batch (2, *shape) that returns floating-point numbers (2, ...)",
                received,
            )

    def __call__(self, output: Any, mask: Any, parameters: Sequence[Any]) -> Any:
        if mask is not None and _is_layer(self.function) and len(output.shape) == 3:
            import tensorflow as tf

            output = tf.identity(output)
            output._keras_mask = mask
        return self.function(output)


FLAT, POSITIONS = "flat", "positions"
_NAMES = ("mean", "first", "last", "max")
_RESERVED = (FLAT, POSITIONS, *_NAMES, "pca", "random")
_REGISTERED: dict[str, _Custom] = {}


def register(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Register a function of a layer's output as a view, replacing an earlier one of its name.

    Args:
        name: the view's name in ``views=`` and in tables, without colons.
        function: function of a tensor ``(batch, *shape)``, which returns a tensor of floating-point
            numbers ``(batch, ...)``. It is compiled with the model.

    Returns:
        The function.

    Raises:
        ArgumentError: If the name is that of a view of the library, or has a colon.

    Example::

        ib_keras.views.register("power", lambda t: tf.reduce_mean(t**2, axis=(1, 2)))
        recorder = ib_keras.Recorder("runs/mine", x, y, views={"conv*": "power"})
    """
    _check_name(name)
    _REGISTERED[name] = _Custom(name, function)
    return function


def _check_name(name: str) -> None:
    if not name or ":" in name or name in _RESERVED:
        raise ArgumentError(
            "The name of the view cannot be used", "another, without colons", repr(name)
        )


def names() -> list[str]:
    """Return the names of all views, in which k and seed stand for integers."""
    return [FLAT, *_NAMES, POSITIONS, "pca:k", "random:k", "random:k:seed", *sorted(_REGISTERED)]


def get(identifier: Any) -> View | None:
    """Return a view; ``None`` for ``"flat"``, which leaves the layer's output unchanged.

    Args:
        identifier: a name of ``names()``, a Keras layer, or a ``View``.

    Raises:
        ArgumentError: If the view is unknown.
    """
    if isinstance(identifier, View):
        return identifier
    if isinstance(identifier, str):
        kind, *numbers = identifier.split(":")
        if not numbers:
            if kind == FLAT:
                return None
            if kind in _REGISTERED:
                return _REGISTERED[kind]
            if kind in _NAMES:
                return _Pooled(kind)
            if kind == POSITIONS:
                return _EachPosition()
        elif all(part.isdecimal() for part in numbers):
            k, *seed = map(int, numbers)
            if kind == "pca" and not seed:
                return _Projection(identifier, check_count(k, identifier), None)
            if kind == "random" and len(seed) < 2:
                own = check_seed(seed[0]) if seed else 0
                return _Projection(identifier, check_count(k, identifier), own)
    elif _is_layer(identifier):
        _check_name(identifier.name)
        return _Custom(identifier.name, identifier)
    raise ArgumentError(
        "The view is unknown", f"one of {names()}, or a Keras layer", repr(identifier)
    )


def _is_layer(value: Any) -> bool:
    import keras

    return isinstance(value, keras.layers.Layer)


def parse(text: str) -> Any:
    """Return the argument ``views`` from a text.

    Args:
        text: the name of a view; a JSON object with names or globs of layers → views; or an empty
            text for no views.

    Raises:
        ArgumentError: If a view is unknown, or JSON does not parse.
    """
    views: Any = text.strip() or None
    if views is not None and views.startswith("{"):
        try:
            views = json.loads(views)
        except ValueError as error:
            raise ArgumentError(
                f"The JSON of `views` does not parse ({error})",
                'a name such as "mean", or JSON such as {"block*": "mean"}',
                text,
            ) from None
    patterns(views)
    return views


def patterns(views: Any) -> dict[str, View | None]:
    """Return the argument ``views`` as a dict: name or glob of layers → view.

    Args:
        views: a view for all layers that it fits, or a mapping of names or globs of layers to
            views; ``None`` for no views.

    Raises:
        ArgumentError: If a view is unknown.
    """
    if views is None:
        return {}
    if not isinstance(views, Mapping):
        return {"*": get(views)}
    if not all(isinstance(pattern, str) for pattern in views):
        raise ArgumentError("`views` has keys that are not names", "names or globs", repr(views))
    return {pattern: get(view) for pattern, view in views.items()}


def _positions(output: Any) -> Any:
    """Reshape ``(batch, height, …, channels)`` to ``(batch, positions, channels)``."""
    import tensorflow as tf

    if len(output.shape) == 3:
        return output
    shape = tf.shape(output)
    flat = tf.reshape(output, (shape[0], -1, shape[-1]))
    flat.set_shape((None, None, output.shape[-1]))
    return flat


@functools.lru_cache(maxsize=8)
def _random_directions(size: int, k: int, seed: int) -> Parameters:
    """Return k random orthonormal directions, ``(size, k)``."""
    normal = np.random.default_rng([size, k, seed]).standard_normal((size, k), np.float32)
    return (np.linalg.qr(normal)[0].astype(np.float32),)
