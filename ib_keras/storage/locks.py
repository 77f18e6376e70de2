"""Locks of folders: one process at a time writes, and a killed process leaves no lock behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from ib_keras.errors import StoreError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows, nothing is locked
    fcntl = None  # type: ignore[assignment]

# The locks of this process: device and inode of the folder → file descriptor.
_own: dict[tuple[int, int], int] = {}


def acquire(folder: pathlib.Path) -> Lock:
    """Lock a folder for this process, until the lock is released or the process ends.

    A process may lock the same folder again, so a lock that an interrupted ``fit`` left behind does
    not block the next ``fit``.

    Args:
        folder: an existing folder; nothing is written into it.

    Raises:
        StoreError: If another process has locked the folder.
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
            f"{str(folder)!r} is being written", "one writing process", "a second process"
        ) from None
    _own[key] = descriptor
    return Lock(key, descriptor)


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Lock a folder for a ``with`` block.

    Args:
        folder: an existing folder.

    Raises:
        StoreError: If another process has locked the folder.
    """
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in _own:  # this process keeps the lock it already has
        yield
        return
    lock = acquire(folder)
    try:
        yield
    finally:
        lock.release()


def is_held(folder: pathlib.Path) -> bool:
    """Return whether a process has locked a folder; ``False`` if the folder does not exist."""
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
    """An acquired lock.

    Args:
        key: device and inode of the folder.
        descriptor: the file descriptor of the open folder.
    """

    def __init__(self, key: tuple[int, int], descriptor: int) -> None:
        self._key, self._descriptor = key, descriptor

    def release(self) -> None:
        """Release the lock, if this process still has it."""
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
        pass  # some network and bucket file systems have no locks; nothing is locked there


def _forget() -> None:
    """Close inherited descriptors in a forked child, which would keep its parent's locks alive."""
    for descriptor in _own.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
