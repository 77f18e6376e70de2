"""How much memory there is, and what does not fit in it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

_GROUP = pathlib.Path("/sys/fs/cgroup")
# What all estimators allow themselves for tiles, and compiled programs for themselves.
TILES = 1 << 28


def available() -> int | None:
    """Bytes that this process can still take: the machine's, or the control group's if fewer.

    Returns:
        The number; ``None`` where the system does not say.
    """
    return min(_sources(), default=None)


def _sources() -> Iterator[int]:
    try:
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        # Cached files are given back when memory is asked for.
        cached = dict(
            line.split() for line in (_GROUP / "memory.stat").read_text().splitlines()
        ).get("inactive_file", 0)
        yield max(0, limit - used + int(cached))
    except (OSError, ValueError):
        pass
