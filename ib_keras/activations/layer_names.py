"""Matching of layer names with patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from ib_keras.errors import ArgumentError


def match(pattern: str, names: Iterable[str]) -> set[str]:
    """Return ``{pattern}`` if it is one of the names, else the names that it matches as a glob."""
    names = set(names)
    return {pattern} if pattern in names else set(fnmatch.filter(names, pattern))


def select(patterns: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that match one or several patterns, in the order of ``names``.

    Args:
        patterns: a name or glob, or a list of these.
        names: the names to choose from.

    Raises:
        ArgumentError: If a pattern matches no name.
    """
    several = [patterns] if isinstance(patterns, str) else patterns
    if not (isinstance(several, Sequence) and several and all(isinstance(p, str) for p in several)):
        raise ArgumentError(
            "`layers` are not names", f"names or globs of some of {list(names)}", repr(patterns)
        )
    selected: set[str] = set()
    for pattern in several:
        matches = match(pattern, names)
        if not matches:
            raise ArgumentError(
                f"No layer matches `layers={pattern!r}`", f"some of {list(names)}", repr(patterns)
            )
        selected |= matches
    return [name for name in names if name in selected]
