"""How the benchmarks measure and report."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

README = pathlib.Path(__file__).parent / "README.md"
_HEAD = """# Benchmarks

`make bench` runs all benchmarks and rewrites this file. `python -m benchmarks.kernels` runs one
group. Most values are ratios of two median times that are measured alternately in one run, because
absolute times depend on the machine and its load. If a row names a unit, its value has that unit.

`python -m benchmarks.others` compares the estimates of `mutual_information`, `ksg`, `flow`,
`infonce` and `mine` with those of other packages on pairs of known information, and rewrites the
tables of `docs/estimators/others.md`. Each package needs a virtual environment of its own, because
their requirements exclude each other:

```sh
for name in latentmi benchmark-mi infomeasure; do python -m venv venvs/$name; done
venvs/latentmi/bin/pip install latentmi                             # installs PyTorch
venvs/benchmark-mi/bin/pip install benchmark-mi "jax<0.4.34"        # equinox 0.10 needs this JAX
venvs/infomeasure/bin/pip install infomeasure
python -m benchmarks.others --python latentmi=venvs/latentmi/bin/python \\
    benchmark-mi=venvs/benchmark-mi/bin/python infomeasure=venvs/infomeasure/bin/python
```

`mutinfo` is installed from a checkout of its repository (`pip install .`), because it is not on
PyPI. Packages that are not given are left out, and a run that was stopped goes on. The tasks are
those of `benchmarks/known_pairs.py`; `--samples FILE.json` takes stored ones.

Three more write tables of the documentation, and go on where they were stopped:
`python -m benchmarks.known_pairs` (`mutual_information` on pairs of known information),
`python -m benchmarks.exceptions` (which estimators are wrong there without a flag), and
`python -m benchmarks.images` (images of known information through compressors).
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """A measured ratio and its goal, such as ``>= 4`` or ``<= 1.5``."""

    what: str
    ratio: float
    goal: str
    detail: str

    @property
    def reached(self) -> bool:
        """Whether the ratio reaches the goal."""
        sign, limit = self.goal.split()
        return self.ratio >= float(limit) if sign == ">=" else self.ratio <= float(limit)


def in_turn(*functions: Callable[[], object], repeat: int = 7) -> list[float]:
    """Return the median seconds of each function.

    The functions take turns, so that changes of the machine's speed affect all of them equally.
    """
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeat):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def own_peak_mb() -> float:
    """Return the peak resident memory of this process so far, in megabytes."""
    # ru_maxrss would be that of the parent process, if that was larger.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def machine() -> str:
    """The processor, in words."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [x.partition(":")[2] for x in info.read_text().splitlines() if "model name" in x]
        name = names[0].strip() if names else name
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ratio | goal | reached | detail |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.what} | {r.ratio:.2f} | {r.goal} | {'yes' if r.reached else '**no**'} | {r.detail} |"
        for r in rows
    ]
    return "\n".join(lines)


def write(groups: dict[str, list[Row]]) -> None:
    """Rewrites README.md with the results."""
    parts = [_HEAD, f"Last run: {time.strftime('%Y-%m-%d')}, {machine()}.\n"]
    parts += [f"## {name}\n\n{table(rows)}\n" for name, rows in groups.items()]
    README.write_text("\n".join(parts))
