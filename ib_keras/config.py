"""Frozen settings: conversion to JSON, and a short name for tables."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from ib_keras.errors import ArgumentError


class Configured:
    """Adds ``get_config``, ``from_config`` and a short name for tables to a frozen dataclass."""

    name: ClassVar[str]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, JSON-serialisable."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            for value in [getattr(self, field.name)]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Creates an object from the result of ``get_config``."""
        return cls(**config)

    def __str__(self) -> str:
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


def construct(cls: type, kwargs: dict[str, Any]) -> Any:
    """Call a constructor, and raise an ``ArgumentError`` if a dataclass lacks an argument."""
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
