"""A store's journal: a line for each epoch that was recorded, removed or logged, with a checksum.

Each epoch has a folder of its own, so the cost of recording an epoch does not depend on the number
of epochs. The journal has the information that the folders lack: which epochs should exist, and the
logs of the epochs since the last recorded one.
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
    """Add a line, after ending a line that a killed process left unfinished.

    Args:
        folder: the store's folder.
        entry: the content of the line, serialisable to JSON.
    """
    text = json.dumps(entry, allow_nan=False)
    with open(folder / NAME, "ab+") as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            file.write(b"" if file.read(1) == b"\n" else _TORN)
        file.write(f"{_checksum(text)} {text}\n".encode())


def read(folder: pathlib.Path, *, required: bool = False) -> list[dict[str, Any]]:
    """Read all lines except those that killed processes left unfinished.

    Args:
        folder: the store's folder.
        required: whether a missing journal is an error; otherwise it counts as empty.

    Raises:
        StoreError: If a complete line does not match its checksum, the end of the last line is
            damaged, or a required journal is missing.
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
    for number, line in enumerate(lines[:-1], start=1):
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
    # The last line has its whole text and one more character: it was finished, and its end was
    # overwritten.
    if text and written == _checksum(text[:-1]):
        raise StoreError(
            f"{str(path)!r} is damaged in line {len(lines)}", "a line's end", repr(text[-1])
        )
    return entries


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
