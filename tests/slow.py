"""Rewrites ``slow.txt``, the tests that ``make test-fast`` leaves out, from a run of all tests.

.venv/bin/python -m pytest -n 2 --durations=0 -vv > build/durations.txt
.venv/bin/python -m tests.slow build/durations.txt
"""

from __future__ import annotations

import collections
import pathlib
import re
import sys

LIST = pathlib.Path(__file__).with_name("slow.txt")
# A test function that takes longer, all its cases together, is slow.
SECONDS = 2.0


def read() -> set[str]:
    """The slow tests, as ``file.py::function``."""
    return set(LIST.read_text().split())


def main() -> None:
    total: collections.Counter[str] = collections.Counter()
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        if found := re.match(r"([\d.]+)s \w+ +\S*?(\w+\.py::\w+)", line):
            total[found[2]] += float(found[1])
    LIST.write_text("".join(f"{name}\n" for name in sorted(total) if total[name] > SECONDS))


if __name__ == "__main__":
    main()
