"""``python -m tests.soak``: kills, faults, every family of applications, nonsense, properties.

The short form of the same is part of the tests. What was done is on the last line, and the exit
code says whether anything failed.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

_TESTS = pathlib.Path(__file__).parent
# The fuzzing is begun anew, with another seed, until it has taken so long.
_FUZZ_SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fuzz_seconds", type=float, default=_FUZZ_SECONDS, help="CPU seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the first fuzzing")
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        soaked = _Soak(place)
        fuzz = _TESTS / "faults" / "test_fuzz.py"
        soaked.run(_TESTS / "faults", f"--ignore={fuzz}")
        soaked.run(_TESTS / "pipelines" / "test_local.py", "-k", "killed")
        soaked.run(_TESTS / "instrumentation" / "test_applications.py", "-n", "2")
        soaked.run(_TESTS / "estimators" / "test_propagation.py", "-k", "chain")
        seed, failures, least = arguments.seed, soaked.failures, arguments.fuzz_seconds
        while soaked.failures == failures and soaked.done["fuzz_cpu_seconds"] < least:
            soaked.run(fuzz, f"--hypothesis-seed={seed}")
            seed += 1
        soaked.run(_TESTS / "properties", "--hypothesis-profile=soak", "-n", "2")
        done = soaked.done
        minutes = (time.monotonic() - begin) / 60
    print(
        f"soak: {done['kills']:.0f} kills, {done['faults']:.0f} faults, {done['cases']:.0f} fuzzed "
        f"cases in {done['fuzz_cpu_seconds'] / 60:.1f} CPU minutes, {done['properties']:.0f} cases "
        f"of properties, {soaked.tests} tests, {soaked.failures} failures, {minutes:.0f} minutes"
    )
    return 1 if soaked.failures else 0


class _Soak:
    """Runs pytest, and adds up what it did."""

    def __init__(self, place: pathlib.Path) -> None:
        self._place = place
        self.tests = self.failures = 0

    @property
    def done(self) -> collections.Counter[str]:
        """Kills, faults, cases and seconds, as the tests noted them."""
        counted: collections.Counter[str] = collections.Counter()
        notes = self._place / "notes"
        for line in notes.read_text().splitlines() if notes.exists() else []:
            name, number = line.split()
            counted[name] += float(number)  # type: ignore[assignment]
        return counted

    def run(self, *arguments: str | pathlib.Path) -> None:
        report = self._place / "report.xml"
        report.unlink(missing_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *map(str, arguments)],
            cwd=_TESTS.parent,
            env={**os.environ, "IB_KERAS_SOAK": str(self._place / "notes")},
        )
        if not report.exists():
            self.failures += 1
            return
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            self.tests += int(suite.get("tests", 0))
            self.failures += int(suite.get("failures", 0)) + int(suite.get("errors", 0))


if __name__ == "__main__":
    sys.exit(main())
