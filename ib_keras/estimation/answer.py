"""What is known of I(A;B) after several estimators."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from ib_keras.interface import Estimate, MutualInformation

Budget = Literal["fast", "balanced", "thorough"]

# The number of standard errors beyond which a higher estimate is no chance.
_SURE = 4.0
# If the second half of the rows added this much, in nats and beyond its error, it is not known how
# much more rows would add.
_UNBOUNDED = 0.3
# The number of its standard errors that growth must exceed. Neighbours make the terms of near rows
# alike, so that the error is up to a third too small.
_NO_CHANCE = 3.0
# The flag of estimates that cannot be believed because the variables are too wide.
_WIDE = "high_dim"


def is_unbounded(growth: Estimate) -> bool:
    """Return whether the second half of the rows added too much to tell what more would add."""
    return growth.value > _UNBOUNDED + 3 * growth.stderr


def extrapolated(part: Estimate, growth: Estimate) -> Estimate:
    """Return an estimate plus what the second half of the rows added, if this is no chance.

    An estimate that misses information misses less of it with more rows. If what it misses falls
    like a power n^−c of the number of rows, with c at most 1, it still misses at least what the
    second half of the rows added.

    Args:
        part: the estimate from all rows.
        growth: the difference between it and the same estimate from half of the rows, in nats.
    """
    if not _NO_CHANCE * growth.stderr < growth.value or is_unbounded(growth):
        return part
    error = math.hypot(part.stderr, growth.stderr)
    return dataclasses.replace(part, value=part.value + growth.value, stderr=error)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A value with its parts, which later estimates may replace.

    Args:
        value: I(A;B) in nats.
        stderr: its standard error.
        n: number of rows.
        dim: dimension of B.
        parts: the estimates of each estimator, by name.
        flags: reasons for doubt.
        above: what the value may have missed, in nats.
        below: by how much the value may be too high, in nats.
        by: the name of the part that gave the value.
    """

    value: float
    stderr: float
    n: int
    dim: int
    parts: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    above: float = 0.0
    below: float = 0.0
    by: str = ""

    def with_part(self, name: str, part: Estimate) -> Answer:
        """Return the answer with one more part, and the same value."""
        return dataclasses.replace(self, parts={**self.parts, name: part})

    def at_least(
        self, name: str, part: Estimate, *, above: float = 0.0, below: float = 0.0
    ) -> Answer:
        """Return the answer with one more part, which replaces the value if it is clearly higher.

        All estimators miss information rather than invent it, so a part that exceeds the value by
        more than two of its standard errors is nearer to the truth. Unless it exceeds it by four of
        them, which chance does not explain even if there are several parts, the interval includes
        the value before.

        Args:
            name: the name of the part.
            part: its estimate.
            above: what this estimate may have missed, in nats.
            below: by how much it may be too high, in nats.
        """
        found = self.with_part(name, part)
        if not part.value > self.value + 2 * part.stderr:
            return found
        excess = part.value - self.value
        chance = excess if excess < _SURE * part.stderr else 0.0
        return dataclasses.replace(
            found, value=part.value, stderr=part.stderr, by=name,
            above=above, below=math.hypot(chance, below),
        )  # fmt: skip

    @property
    def is_too_wide(self) -> bool:
        """Whether there are too few rows for the columns, according to the part or the flags."""
        given = self.parts[self.by].flags if self.by else ()
        return _WIDE in (*self.flags, *given)

    def flagged(self, *flags: str) -> Answer:
        """Return the answer with further flags."""
        return dataclasses.replace(self, flags=tuple(dict.fromkeys((*self.flags, *flags))))

    def result(self, details: Mapping[str, object]) -> MutualInformation:
        """Return the result, with an interval of two standard errors and of what may be missed."""
        value = max(0.0, self.value)
        flags = self.flagged(_WIDE).flags if self.is_too_wide else self.flags
        return MutualInformation(
            value, self.stderr, flags=flags, n=self.n, dim=self.dim,
            lower=max(0.0, value - math.hypot(2 * self.stderr, self.below)),
            upper=value + math.hypot(2 * self.stderr, self.above),
            parts=self.parts, details=details,
        )  # fmt: skip
