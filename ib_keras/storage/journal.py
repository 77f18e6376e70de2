"""A store's journal: a line for what was recorded, removed or logged, each with a checksum.

The epochs are in folders of their own, so that a commit costs the same however many there are. What
the folders cannot say is in the journal: that one has disappeared, and the logs of epochs that
were not recorded, until the next that is.
"""

from __future__ import annotations

import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

from ib_keras.errors import StoreError

NAME = "journal.jsonl"
_TORN = b" (unfinished)\n"


def append(folder: pathlib.Path, entry: Mapping[str, Any]) -> None:
    """Adds a line; one that a killed process left unfinished is ended first.

    Args:
        folder: of the store.
        entry: of JSON.
    """
    text = json.dumps(entry, allow_nan=False)
    with open(folder / NAME, "ab+") as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            file.write(b"" if file.read(1) == b"\n" else _TORN)
        file.write(f"{_checksum(text)} {text}\n".encode())


def read(folder: pathlib.Path, *, required: bool = False) -> list[dict[str, Any]]:
    """All lines, but for those that killed processes left unfinished.

    Args:
        folder: of the store.
        required: a folder without a journal is damaged; else there is nothing in it.

    Raises:
        StoreError: a whole line does not have its checksum, its end is damaged, or all is missing.
    """
    path = folder / NAME
    if not path.exists():
        if required:
            raise StoreError(f"{str(path)!r} is missing", "the store's journal", "nothing")
        return []
    entries = []
    try:
        lines = path.read_bytes().decode().split("\n")
    except (OSError, ValueError) as error:
        raise StoreError(f"{str(path)!r} is damaged", "lines of JSON", error) from None
    for number, line in enumerate(lines[:-1], start=1):  # behind the last line's end is nothing
        if line.endswith(_TORN.decode().rstrip("\n")):
            continue
        written, _, text = line.partition(" ")
        if written != _checksum(text):
            raise StoreError(
                f"{str(path)!r} is damaged in line {number}",
                f"the checksum {written!r}",
                _checksum(text),
            )
        entries.append(json.loads(text))
    written, _, text = lines[-1].partition(" ")
    # An unfinished line is shorter than its checksum says; this one has something for its end.
    if text and written == _checksum(text[:-1]):
        raise StoreError(
            f"{str(path)!r} is damaged in line {len(lines)}", "a line's end", repr(text[-1])
        )
    return entries


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
