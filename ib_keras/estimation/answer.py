"""The combination of several estimates of I(A;B) into one value with an interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from ib_keras.interface import Estimate, MutualInformation

Budget = Literal["fast", "balanced", "thorough"]

# The number of standard errors beyond which a higher estimate is not due to chance.
_SURE = 4.0
# If the second half of the rows added more nats than this, beyond its error, it is unknown how much
# further rows would add.
_UNBOUNDED = 0.3
# The number of its standard errors that growth must exceed. Near rows share neighbours, so their
# terms are correlated and the error is up to a third too small.
_NO_CHANCE = 3.0
# The flag of estimates that are unreliable because the variables have too many columns.
_WIDE = "high_dim"


def is_unbounded(growth: Estimate) -> bool:
    """Return whether the second half of the rows added so much that no upper end can be given."""
    return growth.value > _UNBOUNDED + 3 * growth.stderr


def extrapolated(part: Estimate, growth: Estimate) -> Estimate:
    """Return an estimate plus what the second half of the rows added, unless that may be chance.

    An estimate that misses information misses less with more rows. If the missing amount falls like
    a power n^−c of the number of rows, with c at most 1, the estimate still misses at least what
    the second half of the rows added. The estimate is also unchanged if ``is_unbounded``.

    Args:
        part: the estimate from all rows.
        growth: the difference between this estimate and that from half of the rows, in nats.
    """
    if not _NO_CHANCE * growth.stderr < growth.value or is_unbounded(growth):
        return part
    error = math.hypot(part.stderr, growth.stderr)
    return dataclasses.replace(part, value=part.value + growth.value, stderr=error)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An estimate of I(A;B) with its parts; further parts may replace its value.

    Args:
        value: I(A;B) in nats.
        stderr: its standard error.
        n: number of rows.
        dim: dimension of B.
        parts: the estimate of each estimator, by name.
        flags: reasons for doubt.
        above: the amount by which the value may be too low, in nats.
        below: the amount by which the value may be too high, in nats.
        by: the name of the part that gave the value, or ``""``.
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
        """Return the answer with a further part, and the same value."""
        return dataclasses.replace(self, parts={**self.parts, name: part})

    def at_least(
        self, name: str, part: Estimate, *, above: float = 0.0, below: float = 0.0
    ) -> Answer:
        """Return the answer with a further part, which replaces the value if it is clearly higher.

        All estimators miss information rather than invent it, so a part that exceeds the value by
        more than two of its standard errors is nearer to the truth. An excess of four standard
        errors is not due to chance, even with several parts. If the excess is smaller, the interval
        still includes the previous value.

        Args:
            name: the name of the part.
            part: its estimate.
            above: the amount by which this estimate may be too low, in nats.
            below: the amount by which it may be too high, in nats.
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
        """Whether the flags, or those of the part that gave the value, say ``high_dim``."""
        given = self.parts[self.by].flags if self.by else ()
        return _WIDE in (*self.flags, *given)

    def flagged(self, *flags: str) -> Answer:
        """Return the answer with further flags."""
        return dataclasses.replace(self, flags=tuple(dict.fromkeys((*self.flags, *flags))))

    def result(self, details: Mapping[str, object]) -> MutualInformation:
        """Return the result; its interval combines two standard errors, ``above`` and ``below``."""
        value = max(0.0, self.value)
        flags = self.flagged(_WIDE).flags if self.is_too_wide else self.flags
        return MutualInformation(
            value, self.stderr, flags=flags, n=self.n, dim=self.dim,
            lower=max(0.0, value - math.hypot(2 * self.stderr, self.below)),
            upper=value + math.hypot(2 * self.stderr, self.above),
            parts=self.parts, details=details,
        )  # fmt: skip
