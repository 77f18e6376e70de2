"""Records of long benchmarks, which continue where they were stopped, and tables in documents."""

from __future__ import annotations

import json
import pathlib
from typing import Any

_NAME = "estimates.jsonl"


class Records:
    """The lines of a file of JSON lines in a folder, each with a key.

    Args:
        folder: the folder; it is made if it does not exist.
        keys: names of the fields that together identify a line.
    """

    def __init__(self, folder: pathlib.Path, keys: tuple[str, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._keys = folder / _NAME, keys
        self.lines = read(self._path)
        self._path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        self._done = {self._key(line) for line in self.lines}

    def _key(self, line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(line[key] for key in self._keys)

    def __contains__(self, line: dict[str, Any]) -> bool:
        return self._key(line) in self._done

    def add(self, line: dict[str, Any]) -> None:
        """Append a line to the file."""
        self.lines.append(line)
        self._done.add(self._key(line))
        with self._path.open("a") as file:
            print(json.dumps(line), file=file)


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Return the lines of a file, without a last line that was written only in part."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def replace(document: pathlib.Path, markers: tuple[str, str], text: str) -> None:
    """Replace the text between two markers of a document."""
    before, rest = document.read_text().split(markers[0])
    after = rest.split(markers[1])[1]
    document.write_text(f"{before}{markers[0]}\n\n{text}\n\n{markers[1]}{after}")
