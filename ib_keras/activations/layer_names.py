"""How names of layers are matched, everywhere."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from ib_keras.errors import ArgumentError


def match(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that equal ``pattern``, else those that the glob matches."""
    names = set(names)
    return {pattern} if pattern in names else set(fnmatch.filter(names, pattern))


def select(patterns: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that one pattern or several ask for, in the order of ``names``.

    Raises:
        ArgumentError: a pattern matches nothing; the names are listed.
    """
    if not isinstance(patterns, str) and not (
        isinstance(patterns, Sequence) and patterns and all(isinstance(p, str) for p in patterns)
    ):
        raise ArgumentError(
            "`layers` are not names", f"names or globs of some of {list(names)}", repr(patterns)
        )
    wanted: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else list(patterns):
        matches = match(pattern, names)
        if not matches:
            raise ArgumentError(
                f"No layer matches `layers={pattern!r}`", f"some of {list(names)}", repr(patterns)
            )
        wanted |= matches
    return [name for name in names if name in wanted]
