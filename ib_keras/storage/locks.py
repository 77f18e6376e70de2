"""Locks of folders: one process writes, and one that is killed leaves no lock behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from ib_keras.errors import StoreError

try:
    import fcntl
except ModuleNotFoundError:  # not on Windows: there, nothing is locked
    fcntl = None  # type: ignore[assignment]

# The locks of this process: folder → descriptor.
_own: dict[tuple[int, int], int] = {}


def acquire(folder: pathlib.Path) -> Lock:
    """Locks a folder for this process, until the lock is released or the process ends.

    Within a process the last to ask has the lock: what an interrupted ``fit`` left behind does not
    bar the next.

    Args:
        folder: an existing folder; nothing is written into it.

    Raises:
        StoreError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    status = os.fstat(descriptor)
    key = status.st_dev, status.st_ino
    if key in _own:
        os.close(descriptor)
        return Lock(key, _own[key])
    try:
        _lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"{str(folder)!r} is being written", "one process that writes", "a second one"
        ) from None
    _own[key] = descriptor
    return Lock(key, descriptor)


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder for a ``with`` block.

    Args:
        folder: an existing folder.

    Raises:
        StoreError: another process has it.
    """
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in _own:  # stays locked for who asked first
        yield
        return
    lock = acquire(folder)
    try:
        yield
    finally:
        lock.release()


def is_held(folder: pathlib.Path) -> bool:
    """Whether a process has the lock of a folder.

    Args:
        folder: perhaps gone meanwhile.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Lock:
    """A lock that was acquired.

    Args:
        key: of the folder.
        descriptor: of the open folder.
    """

    def __init__(self, key: tuple[int, int], descriptor: int) -> None:
        self._key, self._descriptor = key, descriptor

    def release(self) -> None:
        """Gives the lock back, if this process still has it."""
        if _own.get(self._key) == self._descriptor:
            os.close(_own.pop(self._key))


def _lock(descriptor: int) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # file systems of some networks and buckets have no locks: there, nothing is locked


def _forget() -> None:
    """A forked child has no locks, and must not keep its parent's alive."""
    for descriptor in _own.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
