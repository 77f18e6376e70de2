"""Frozen settings: conversion to JSON, and a short name for tables."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ib_keras.errors import ArgumentError


class Configured:
    """Adds ``get_config``, ``from_config`` and a short name for tables to a frozen dataclass.

    A class that is not a dataclass and has a constructor must define ``get_config``.
    """

    name: ClassVar[str]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, which can be serialised to JSON."""
        if not dataclasses.is_dataclass(self):
            if type(self).__init__ is object.__init__:
                return {}
            raise NotImplementedError(f"{type(self).__name__} needs a method `get_config`")
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Create an object from the result of ``get_config``."""
        return cls(**config)

    def __str__(self) -> str:
        name = getattr(self, "name", type(self).__name__)
        if dataclasses.is_dataclass(self):
            shown = {
                field.name: value
                for field in dataclasses.fields(self)
                if (value := getattr(self, field.name)) != field.default
            }
        else:
            shown = self.get_config()
        settings = ", ".join(f"{field}={value}" for field, value in shown.items())
        return f"{name}({settings})" if shown else name


def _plain(value: Any) -> Any:
    """Return a tuple as a list, and a number of NumPy as one of Python."""
    if isinstance(value, tuple):
        return list(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def construct(cls: type, kwargs: dict[str, Any]) -> Any:
    """Call a constructor, after a check of the arguments' names if the class is a dataclass.

    Raises:
        ArgumentError: If a dataclass has no parameter with the name of an argument.
    """
    if dataclasses.is_dataclass(cls):
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise ArgumentError(
                f"{cls.__name__} has no parameter {', '.join(map(repr, unknown))}",
                f"some of {known}",
                f"{sorted(kwargs)}",
            )
    return cls(**kwargs)
