"""How much memory there is, and what does not fit in it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from ib_keras.errors import ArgumentError

_GROUP = pathlib.Path("/sys/fs/cgroup")
# What all estimators allow themselves for tiles, and compiled programs for themselves.
TILES = 1 << 28


def available() -> int | None:
    """Bytes that this process can still take: the machine's, or the control group's if fewer.

    Returns:
        The number; ``None`` where the system does not say.
    """
    return min(_sources(), default=None)


def check_memory(estimator: Any, n: int, dim: int, dim_x: int = 0, itemsize: int = 8) -> None:
    """Raises where an estimate of samples of this size cannot fit, before it begins.

    Args:
        estimator: an estimator; one without ``peak_bytes`` is taken at its word.
        n: number of samples.
        dim: of T.
        dim_x: of X, where the estimator wants X itself.
        itemsize: bytes of a value as it is given.

    Raises:
        ArgumentError: says what is needed and what there is.
    """
    peak_bytes = getattr(estimator, "peak_bytes", None)
    if peak_bytes is None:
        return
    needed, free = peak_bytes(n, dim, dim_x=dim_x, itemsize=itemsize), available()
    if free is not None and needed > free:
        raise ArgumentError(
            f"An estimate by {estimator} of {n} samples in {dim} dimensions does not fit in memory",
            "fewer samples, a narrower layer, or an estimator that goes through tiles (see "
            "docs/reliability.md)",
            f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB available",
        )


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
