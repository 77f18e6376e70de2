"""The views of a model's taps, with their parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ib_keras.activations import layer_names
from ib_keras.errors import ArgumentError
from ib_keras.instrumentation.taps import Plan, Tap
from ib_keras.views import POSITIONS, View, patterns


@dataclasses.dataclass(frozen=True)
class Viewed:
    """The views of some taps.

    Args:
        taps: the taps that have a view, by name.
        views: their views, by name.
        values: the parameters of the views, by name, without views that are not fitted yet.
    """

    taps: Mapping[str, Tap] = dataclasses.field(default_factory=dict)
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)
    values: Mapping[str, tuple[np.ndarray, ...]] = dataclasses.field(default_factory=dict)

    @property
    def unfitted(self) -> list[str]:
        """The taps whose view has to be fitted."""
        return [n for n, view in self.views.items() if view.fitted and n not in self.values]

    @property
    def positions(self) -> list[str]:
        """The taps with the view ``"positions"``, of which each position is a sample."""
        return [name for name, view in self.views.items() if view.name == POSITIONS]

    @property
    def names(self) -> dict[str, str]:
        """Tap → name of its view."""
        return {name: view.name for name, view in self.views.items()}

    @property
    def key(self) -> tuple:
        """A key of the views and the shapes of their parameters."""
        shapes = [tuple(p.shape for p in self.values[name]) for name in self.views]
        return tuple(zip(self.views.items(), shapes, strict=True))

    @property
    def spec(self) -> list[list[tf.TensorSpec]]:
        """The ``tf.TensorSpec`` of ``parameters``."""
        return [[tf.TensorSpec(p.shape, p.dtype) for p in self.values[name]] for name in self.views]

    @property
    def parameters(self) -> list[list[Any]]:
        """The parameters of each view, as tensors."""
        return [[tf.constant(p) for p in self.values[name]] for name in self.views]

    def check_inputs(self, inputs: Any) -> None:
        """Raise an error if views have to be fitted and there are no inputs on which to fit them.

        Raises:
            ArgumentError: If a view has to be fitted and ``inputs`` is ``None``.
        """
        if self.unfitted and inputs is None:
            raise ArgumentError(
                f"The view {self.views[self.unfitted[0]].name!r} has to be fitted",
                "`view_inputs`, inputs that are not evaluated, such as x_train[:1000]",
                "view_inputs=None",
            )

    def with_fitted(self, samples: Mapping[str, np.ndarray]) -> Viewed:
        """Fit views on outputs of their taps.

        Args:
            samples: tap → outputs ``(m, ...)``.
        """
        fitted = {
            name: self.views[name].parameters(_size(self.taps[name]), t.reshape(len(t), -1))
            for name, t in samples.items()
        }
        return dataclasses.replace(self, values={**self.values, **fitted})

    def __call__(self, name: str, output: Any, mask: Any, parameters: list[list[Any]]) -> Any:
        """Apply the view of a tap, if it has one, to its output."""
        view = self.views.get(name)
        if view is None:
            return output
        output = tf.cast(output, tf.float32)  # sums of float16 would lose digits
        if self.taps[name].channels_first:
            output = tf.transpose(output, [0, *range(2, len(output.shape)), 1])
        return view(output, mask, parameters[list(self.views).index(name)])

    def noise_std(self, name: str, stddev: float) -> float:
        """Return the standard deviation of the noise in a tap's view; 0 if it is not Gaussian."""
        view = self.views.get(name)
        if view is None or not stddev:
            return stddev
        tap = self.taps[name]
        return view.noise_std(stddev, tap.channels_last, tap.masked) or 0.0

    def size(self, tap: Tap) -> float:
        """Return the number of values of a tap's view, or of the tap if it has no view.

        It is infinite for a tap of unknown size without a view. In a view, unknown sizes of the
        layer count as 2.
        """
        view = self.views.get(tap.name)
        if view is None:
            return _size(tap)
        shape = [2, *((size or 2) for size in tap.channels_last)]
        parameters = [tf.constant(p) for p in self.values[tap.name]]
        return math.prod(view(tf.zeros(shape), None, parameters).shape[1:])


def resolve(plan: Plan, names: Sequence[str], views: Any) -> Viewed:
    """Assign views to taps.

    Args:
        plan: the taps of a model.
        names: the recorded taps.
        views: a view for all taps that it fits, or names or globs of taps → views; later entries
            replace earlier ones.

    Raises:
        ArgumentError: If a view is unknown or fits none of the taps of its pattern, or a pattern
            matches no tap.
    """
    taps = {tap.name: tap for tap in plan.taps}
    chosen: dict[str, View] = {}
    for pattern, view in patterns(views).items():
        matches = layer_names.match(pattern, taps)
        if not matches:
            raise ArgumentError(
                f"`views` names no layer by {pattern!r}", f"some of {list(taps)}", repr(views)
            )
        matches &= set(names)
        errors = []
        for name in matches:
            if view is None:
                chosen.pop(name, None)
                continue
            try:
                view.check(taps[name].channels_last, name)
                chosen[name] = view
            except ArgumentError as error:  # a glob may match layers that the view does not fit
                errors.append(error)
        if errors and len(errors) == len(matches):
            raise errors[0]
    ordered = {name: chosen[name] for name in taps if name in chosen}
    values = {
        name: view.parameters(_size(taps[name]))
        for name, view in ordered.items()
        if not view.fitted
    }
    return Viewed({name: taps[name] for name in ordered}, ordered, values)


def _size(tap: Tap) -> Any:
    return math.inf if None in tap.shape else math.prod(tap.shape)
