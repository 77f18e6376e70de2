"""The memory that is available to this process."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

_GROUP = pathlib.Path("/sys/fs/cgroup")
# Bytes that an estimator may use for tiles, and again for compiled programs.
TILES = 1 << 28


def available() -> int | None:
    """Return the bytes that this process can still allocate, or ``None`` if this is unknown.

    This is the available memory of the machine, or of the control group if that is smaller.
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
        # The kernel frees cached files when memory is needed.
        cached = dict(
            line.split() for line in (_GROUP / "memory.stat").read_text().splitlines()
        ).get("inactive_file", 0)
        yield max(0, limit - used + int(cached))
    except (OSError, ValueError):
        pass
