"""Recipes: how networks are trained, by the names of Keras's optimizers and layers."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ib_keras.arrays.checks import check_bool, check_count, check_nonnegative, check_rate
from ib_keras.config import Configured, construct
from ib_keras.errors import ArgumentError

SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
# The largest shift of an image, as a share of its side: 4 pixels of 32.
_SHIFT = 1 / 8
# Keras's layers that change images and labels together.
_MIX = ("CutMix", "MixUp")


@dataclasses.dataclass(frozen=True)
class Recipe(Configured):
    """How a network is trained: optimizer, learning rate, label smoothing, augmentation, precision.

    The learning rate rises linearly for ``warmup_epochs``. It then stays constant, or falls to 0
    along half a cosine until the end of the training.

    Args:
        optimizer: the name of a Keras optimizer, such as ``"adam"``, ``"adamw"`` or ``"sgd"``.
        momentum: momentum of optimizers that have this parameter; ``None`` for Keras's default.
        nesterov: whether the momentum is Nesterov's; ``None`` for Keras's default.
        weight_decay: λ; a step also multiplies all weights by 1 − η·λ with the learning rate η, as
            in AdamW. ``None`` for Keras's default, which is 0.004 for AdamW and Muon, and none for
            most others. PyTorch's
            SGD with momentum μ adds λ·w to the gradient instead, which has nearly the effect of
            λ/(1 − μ) here.
        schedule: ``"constant"`` or ``"cosine"``.
        warmup_epochs: number of epochs of rising learning rates.
        label_smoothing: α; the labels of K classes are (1 − α)·one-hot + α/K. Networks that
            reconstruct their inputs have no labels.
        augment: changes of the training images, which are drawn anew in each epoch: ``"flip"``
            (left and right, with probability 1/2), ``"crop"`` (a shift by up to an eighth of each
            side, with zeros outside), or a Keras layer that changes images but neither their size
            nor their labels, such as ``{"name": "RandomRotation", "factor": 0.1}``. A layer that
            changes colours gets the range of the images as its ``value_range``. A network that
            reconstructs has the changed images as its target.
        precision: ``"float32"``, ``"mixed_float16"`` or ``"mixed_bfloat16"``, Keras's dtype policy
            for networks that are built by name or function; with float16, Keras scales the loss.
            The outputs of the networks of ``ib_keras.models`` are float32; give the last layer of
            your own network ``dtype="float32"``. Networks in files have their own policy.

    Raises:
        ArgumentError: If an argument is invalid.

    Example:
        >>> Recipe("sgd", momentum=0.9, weight_decay=5e-3, schedule="cosine", augment=("flip",))
    """

    optimizer: str = "adam"
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    schedule: str = "constant"
    warmup_epochs: int = 0
    label_smoothing: float = 0.0
    augment: tuple[str | Mapping[str, Any], ...] = ()
    precision: str = "float32"

    name = "recipe"

    def __post_init__(self) -> None:
        augment = [self.augment] if isinstance(self.augment, (str, Mapping)) else self.augment
        if not isinstance(augment, (list, tuple)):
            raise ArgumentError(
                "`augment` is no list", 'a list such as ["flip", "crop"]', repr(augment)
            )
        object.__setattr__(self, "augment", tuple(augment))
        for field, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, field) not in known:
                raise ArgumentError(
                    f"`{field}` is unknown", f"one of {list(known)}", repr(getattr(self, field))
                )
        if self.momentum is not None:
            check_rate(self.momentum, "momentum")
        if self.nesterov is not None:
            check_bool(self.nesterov, "nesterov")
        if self.weight_decay is not None:
            check_nonnegative(self.weight_decay, "weight_decay")
        check_count(self.warmup_epochs, "warmup_epochs", 0)
        check_rate(self.label_smoothing, "label_smoothing")
        self.make_optimizer(1e-3, steps=1, epochs=self.warmup_epochs + 1)
        self.layers(seed=0)

    def make_optimizer(self, learning_rate: float, *, steps: int, epochs: int) -> Any:
        """Return the Keras optimizer.

        Args:
            learning_rate: the largest learning rate.
            steps: number of steps of an epoch.
            epochs: number of epochs of the training.

        Raises:
            ArgumentError: If there is no such optimizer, or it lacks a parameter that is given; or
                if the learning rate would rise until the end.
        """
        import keras

        if self.warmup_epochs >= epochs:
            raise ArgumentError(
                "`warmup_epochs` are too many", f"fewer than the {epochs} epochs of the training",
                self.warmup_epochs,
            )  # fmt: skip
        try:
            kind = type(keras.optimizers.get(str(self.optimizer)))
        except (ValueError, TypeError, KeyError):  # some are no optimizers by themselves
            raise ArgumentError(
                "The optimizer is unknown", "the name of a Keras optimizer", repr(self.optimizer)
            ) from None
        wanted: dict[str, Any] = {
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        parameters = inspect.signature(kind).parameters
        if "weight_decay" in given and "adam_weight_decay" in parameters:  # Muon's other weights
            given["adam_weight_decay"] = self.weight_decay
        if unknown := [key for key in given if key not in parameters]:
            raise ArgumentError(
                f"The optimizer {self.optimizer!r} has no {' and no '.join(unknown)}",
                "'sgd', or another optimizer that has these parameters",
                given,
            )
        warmup = self.warmup_epochs * steps
        rate: Any = learning_rate
        if warmup or self.schedule == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(
                0.0 if warmup else learning_rate,
                max(1, epochs * steps - warmup),
                alpha=float(self.schedule == "constant"),
                warmup_target=learning_rate if warmup else None,
                warmup_steps=warmup,
            )
        return kind(learning_rate=rate, **given)

    def layers(self, seed: int, value_range: tuple[float, float] = (0.0, 1.0)) -> list[Any]:
        """Return the Keras layers that change images.

        Args:
            seed: seed of their random numbers.
            value_range: see ``augmented``.

        Raises:
            ArgumentError: If there is no such layer, or it does not change images only.
        """
        given = {"seed": seed, "value_range": value_range}
        return [
            _layer(one, {**given, "seed": seed + place}) for place, one in enumerate(self.augment)
        ]

    def augmented(
        self, seed: int, value_range: tuple[float, float] = (0.0, 1.0)
    ) -> Callable[[Any], Any]:
        """Return a function that changes a batch of images at random.

        Args:
            seed: seed of the changes.
            value_range: the range of the images' values, for layers that change colours.
        """
        layers = self.layers(seed, value_range)

        def change(images: Any) -> Any:
            for layer in layers:
                images = layer(images, training=True)
            return images

        return change

    @contextlib.contextmanager
    def policy(self) -> Iterator[None]:
        """Set Keras's dtype policy to this precision in a ``with`` block.

        ``"float32"`` leaves the policy unchanged.
        """
        import keras

        before = keras.config.dtype_policy()
        if self.precision != "float32":
            keras.config.set_dtype_policy(self.precision)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


def parse(text: str | Mapping[str, Any]) -> Recipe:
    """Read a recipe from JSON.

    Args:
        text: a JSON object or dictionary with arguments of ``Recipe``.

    Raises:
        ArgumentError: If ``text`` is something else, or an argument is invalid.
    """
    content: Any = text
    if isinstance(text, str):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
    if not isinstance(content, Mapping):
        raise ArgumentError(
            "The recipe is no JSON object", '{"optimizer": "sgd", "momentum": 0.9}', repr(text)
        )
    return construct(Recipe, dict(content))


def _layer(description: str | Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    import keras

    short = {
        "flip": {"name": "RandomFlip", "mode": "horizontal"},
        "crop": {
            "name": "RandomTranslation", "height_factor": _SHIFT, "width_factor": _SHIFT,
            "fill_mode": "constant", "interpolation": "nearest",
        },
    }  # fmt: skip
    given = short.get(description) if isinstance(description, str) else description
    expected = f"{', '.join(map(repr, short))}, or a Keras layer such as {{'name': 'RandomZoom'}}"
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ArgumentError("`augment` names no change of images", expected, repr(description))
    arguments = {key: value for key, value in given.items() if key != "name"}
    kind = getattr(keras.layers, given["name"], None)
    if not (inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)):
        raise ArgumentError("`augment` names no Keras layer", expected, repr(description))
    if given["name"] in _MIX:
        raise ArgumentError(
            f"The layer {given['name']} would mix images but not their labels", expected,
            repr(description),
        )  # fmt: skip
    parameters = inspect.signature(kind).parameters
    arguments = {k: v for k, v in defaults.items() if k in parameters} | arguments
    try:
        layer: Any = kind(**arguments)
        layer.build((None, 8, 8, 3))
        learns = bool(layer.weights)
    except Exception as error:  # layers check their arguments in many ways
        raise ArgumentError(f"The layer {given['name']} cannot be made", expected, error) from None
    if learns:
        raise ArgumentError(
            f"The layer {given['name']} has weights, which would not be trained", expected,
            repr(description),
        )  # fmt: skip
    return layer
