"""Estimators of I(X;T) and I(T;Y): immutable objects, which ``get`` creates by name."""

from __future__ import annotations

import json
from typing import Any

from ib_keras.config import construct
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import adapted
from ib_keras.estimators.binning import Binning
from ib_keras.estimators.decoder import DecoderBound
from ib_keras.estimators.ebab import EBAB
from ib_keras.estimators.flow import NormalizingFlow
from ib_keras.estimators.gaussian import Gaussian
from ib_keras.estimators.kde import KDE, AdaptiveKDE
from ib_keras.estimators.kozachenko_leonenko import KozachenkoLeonenko
from ib_keras.estimators.ksg import KSG
from ib_keras.estimators.lossy import LossyCompression
from ib_keras.estimators.neural import MINE, NWJ, InfoNCE
from ib_keras.estimators.propagation import SamplePropagation
from ib_keras.estimators.quantized import Quantized
from ib_keras.estimators.renyi import MatrixRenyi
from ib_keras.estimators.sliced import Sliced
from ib_keras.interface import Estimator

__all__ = [
    "EBAB", "KDE", "KSG", "MINE", "NWJ", "AdaptiveKDE", "Binning", "DecoderBound", "Gaussian",
    "InfoNCE", "KozachenkoLeonenko", "LossyCompression", "MatrixRenyi", "NormalizingFlow",
    "Quantized", "SamplePropagation", "Sliced", "get", "names", "register", "to_json",
]  # fmt: skip

_REGISTRY: dict[str, type] = {}


def register(cls: type) -> type:
    """Register an estimator class under its ``name``. It can be used as a decorator.

    Args:
        cls: class with a ``name`` and the methods of ``ib_keras.interface.Estimator``.

    Returns:
        The class.

    Raises:
        ArgumentError: If ``cls`` is not an estimator, or another class has the same name.
    """
    name = getattr(cls, "name", None)
    if not (isinstance(cls, type) and isinstance(name, str) and issubclass(cls, Estimator)):
        raise ArgumentError(
            "The class is not an estimator",
            "a class with `name`, `estimate` and `get_config`",
            repr(cls),
        )
    if _REGISTRY.get(name, cls) is not cls:
        raise ArgumentError(
            f"The name {name!r} is taken", "a new name", repr(_REGISTRY[name].__qualname__)
        )
    _REGISTRY[name] = cls
    return cls


for _cls in (
    Binning, EBAB, KDE, AdaptiveKDE, Quantized, SamplePropagation, KSG, KozachenkoLeonenko,
    Gaussian, LossyCompression, NormalizingFlow, MINE, NWJ, InfoNCE, DecoderBound, MatrixRenyi,
    Sliced,
):  # fmt: skip
    register(_cls)


def names() -> list[str]:
    """Return the names of all registered estimators."""
    return sorted(_REGISTRY)


def get(identifier: Any, **kwargs: Any) -> Estimator:
    """Return an estimator from its name or configuration.

    Args:
        identifier: a name (``"ebab"``), a compressor and an estimator (``"pca+kl"``,
            ``"ae+ksg"``), a dict or JSON string (``{"name": "kde", "variance": 0.1}``), an
            estimator class, or an estimator, which is returned unchanged if there are no
            ``kwargs``.
        **kwargs: arguments of the constructor; for an estimator, the arguments to change.

    Raises:
        ArgumentError: If the name or an argument is unknown. The message lists the known ones.
    """
    if isinstance(identifier, str) and identifier.lstrip().startswith("{"):
        try:
            identifier = json.loads(identifier)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(
                f"The estimator's JSON does not parse ({error})",
                'JSON such as {"name": "kde", "variance": 0.1}',
                identifier,
            ) from None
    if isinstance(identifier, dict):
        kwargs = {**identifier, **kwargs}
        identifier = kwargs.pop("name", None)
    if isinstance(identifier, str) and "+" in identifier:
        compressor, _, estimator = identifier.partition("+")
        sides = {"compress_x": compressor, "compress_t": compressor}
        kwargs = {**sides, "estimator": estimator, **kwargs}
        identifier = LossyCompression.name
    if isinstance(identifier, str) and identifier in _REGISTRY:
        identifier = _REGISTRY[identifier]
    if isinstance(identifier, type) and issubclass(identifier, Estimator):
        return construct(identifier, kwargs)
    if not isinstance(identifier, type) and isinstance(identifier, Estimator):
        if not kwargs:
            return identifier
        return construct(type(identifier), {**identifier.get_config(), **kwargs})
    raise ArgumentError(
        "The estimator is unknown",
        f"one of {names()}, or an object with `estimate` and `get_config`",
        repr(identifier),
    )


def to_json(estimator: Any) -> str:
    """Return the estimator as a JSON string that ``get`` accepts."""
    instance = adapted(get(estimator))
    return json.dumps({"name": instance.name, **instance.get_config()}, sort_keys=True)
