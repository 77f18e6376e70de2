"""What the estimators share: configuration, labels in tables, flags."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

# Below this share of its ceiling an estimate may still say something about the network.
SATURATION = 0.99


class Configured:
    """Gives a frozen dataclass ``get_config``, ``from_config`` and a short name for tables."""

    name: ClassVar[str]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-serialisable."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            for value in [getattr(self, field.name)]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The inverse of ``get_config``."""
        return cls(**config)

    def __str__(self) -> str:
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


def saturation(value: float, n: int, ceiling: float | None = None) -> tuple[str, ...]:
    """``("saturated",)`` when ``value`` lies within 1 % of ln n, or of a lower ceiling H(X)."""
    limit = math.log(n) if ceiling is None else min(math.log(n), ceiling)
    return ("saturated",) if limit > 0 and value >= SATURATION * limit else ()


def network_noise(noise_std: float) -> tuple[str, ...]:
    """``("network_noise",)`` for a noisy network, whose noise is counted as told by the input."""
    return ("network_noise",) if noise_std > 0 else ()
