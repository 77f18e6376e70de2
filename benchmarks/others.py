"""Estimates of other packages and of this one on the same pairs of known information.

    python -m benchmarks.others --python latentmi=/path/to/venv/bin/python --folder build/others
    python -m benchmarks.others --samples bmi_tasks.json --rows 5000      # given tasks and rows
    python -m benchmarks.others --only ib-keras baseline                  # some of the packages

Each package runs in its own interpreter (see ``benchmarks/others_worker.py``); packages without a
``--python`` are left out. Each estimate is a line of a file of JSON lines in the folder, so that a
run that was stopped can be continued. The tables in docs/estimators/others.md are rewritten between
their markers from all lines of the folder.

The tasks are those of ``benchmarks.known_pairs``, drawn from their definitions. ``--samples`` takes
others: a JSON list of objects with ``index``, ``name`` and ``mi_nats``, beside a file .npz of the
same name with the arrays ``{index}_x`` and ``{index}_y``, of which consecutive parts are the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._records import Records, replace
from benchmarks.others_worker import ESTIMATORS

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "estimators" / "others.md"
MARKERS = "<!-- written by benchmarks/others.py -->", "<!-- end of other packages -->"
OWN = ("ib-keras", "baseline")
NEAR = 0.1  # nats


class Pair(NamedTuple):
    """A stored sample of a task of known information.

    Args:
        task: name of the task.
        truth: I(X;Y) in nats.
        rows: number of rows.
        seed: number of the sample.
        path: file with the arrays ``x`` and ``y``.
    """

    task: str
    truth: float
    rows: int
    seed: int
    path: pathlib.Path


def pairs(
    folder: pathlib.Path, rows: list[int], seeds: int, samples: pathlib.Path | None
) -> Iterator[Pair]:
    """Store the samples of all tasks, and yield them."""
    folder.mkdir(parents=True, exist_ok=True)
    if samples is None:
        from benchmarks import known_pairs

        drawn = [(str(i), c.name, c.truth, c.draw) for i, c in enumerate(known_pairs.tasks())]
    else:
        given = np.load(samples.with_suffix(".npz"))

        def part(index: int) -> Any:
            def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
                x, y = (given[f"{index}_{v}"][n * seed : n * (seed + 1)] for v in "xy")
                return x, y

            return draw

        drawn = [
            (str(t["index"]), t["name"], t["mi_nats"], part(t["index"]))
            for t in json.loads(samples.read_text())
        ]
    for index, name, truth, draw in drawn:
        for n in rows:
            for seed in range(seeds):
                path = folder / f"{index}-{n}-{seed}.npz"
                if not path.exists():
                    x, y = draw(n, seed)
                    if len(x) < n:  # the file has fewer samples than were asked for
                        continue
                    np.savez(path, x=x, y=y)
                yield Pair(name, truth, n, seed, path)


def estimates(
    package: str, name: str, python: str, todo: list[Pair], log: pathlib.Path
) -> Iterator[dict[str, Any]]:
    """Run one estimator in its interpreter, and yield a line for each pair."""
    worker = pathlib.Path(__file__).with_name("others_worker.py")
    command = [python, str(worker), package, name, *(str(pair.path.resolve()) for pair in todo)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("PYTHONPATH", None)
    if package in OWN:
        environment["PYTHONPATH"] = str(ROOT)
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, env=environment, text=True
        ) as process,
    ):
        for pair, found in zip(todo, process.stdout or (), strict=False):
            yield {
                "package": package, "estimator": name, "task": pair.task, "truth": pair.truth,
                "rows": pair.rows, "seed": pair.seed, **json.loads(found),
            }  # fmt: skip
    if process.returncode:
        print(f"{package}, {name}: exit status {process.returncode}, see {log}", file=sys.stderr)


def _frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(lines).reindex(
        columns=["package", "estimator", "task", "truth", "rows", "seed", "estimate", "lower",
                 "upper", "flags", "seconds", "version", "error"]
    )  # fmt: skip
    order = [(package, name) for package, names in ESTIMATORS.items() for name in names]
    rank = {key: i for i, key in enumerate(order)}
    keys = zip(frame["package"], frame["estimator"], strict=True)
    frame["rank"] = [rank.get(key, len(rank)) for key in keys]
    frame["off"] = (frame["estimate"] - frame["truth"]).abs()
    return frame.sort_values("rank", kind="stable")


def summary(lines: list[dict[str, Any]]) -> str:
    """Return a table of errors for each estimator and number of rows."""
    head = [
        "| package | estimator | rows | mean error, nats | worst | within 0.1 nats | truth in "
        "the interval | CPU s each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (n, _), part in _frame(lines).groupby(["rows", "rank"], sort=True):
        package, name = part.iloc[0][["package", "estimator"]]
        known = part[part["estimate"].notna()]
        start = f"| {package} | {name} | {n:,} | "
        if known.empty:
            head.append(f"{start}– | – | 0 of {len(part)} | – | – |")
            continue
        worst = known.loc[known["off"].idxmax()]
        stated = known[known["lower"].notna() & known["upper"].notna()]
        inside = (stated["lower"] <= stated["truth"]) & (stated["truth"] <= stated["upper"])
        coverage = f"{inside.sum()} of {len(stated)}" if len(stated) else "none given"
        if not inside.all() and stated["flags"].notna().all():
            flagged = stated.loc[~inside, "flags"].map(len) > 0
            coverage += f", {flagged.sum()} of the others flagged"
        head.append(
            f"{start}{known['off'].mean():.3f} | {worst['estimate'] - worst['truth']:+.2f} "
            f"({worst['task']}) | {(known['off'] <= NEAR).sum()} of {len(part)} | {coverage} | "
            f"{part['seconds'].mean():.1f} |"
        )
    return "\n".join(head)


def by_task(lines: list[dict[str, Any]], rows: int) -> str:
    """Return tables of all estimates of samples of ``rows`` rows, beside the truth."""
    frame = _frame(lines)
    frame = frame[frame["rows"] == rows]
    tasks = list(dict.fromkeys(line["task"] for line in lines if line["rows"] == rows))
    own = frame["package"].isin(OWN)
    tables = []
    for part in (frame[own], frame[~own]):
        if part.empty:
            continue
        columns = part[["rank", "package", "estimator"]].drop_duplicates().sort_values("rank")
        names = [
            r.estimator if r.package in OWN else f"{r.package} {r.estimator}"
            for r in columns.itertuples()
        ]
        means = part.groupby(["task", "rank"])["estimate"].mean()
        table = [f"| task | truth | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
        for task in tasks:
            truth = frame.loc[frame["task"] == task, "truth"].iloc[0]
            cells = [means.get((task, rank), np.nan) for rank in columns["rank"]]
            shown = ["–" if np.isnan(v) else f"{v:.2f}" for v in cells]
            table.append(f"| {task} | {truth:.2f} | {' | '.join(shown)} |")
        tables.append("\n".join(table))
    return "\n\n".join(tables)


def versions(lines: list[dict[str, Any]]) -> str:
    """Return a line with the versions of all packages."""
    last = {line["package"]: line["version"] for line in lines if "version" in line}
    shown = [f"{name} {v}" for name, v in sorted(last.items()) if name not in OWN]
    return f"Versions: {', '.join(shown)}." if shown else ""


def write(lines: list[dict[str, Any]], document: pathlib.Path = DOCUMENT) -> None:
    """Rewrite the tables between the markers of the document."""
    largest = max(line["rows"] for line in lines)
    parts = [summary(lines), versions(lines), by_task(lines, largest)]
    replace(document, MARKERS, "\n\n".join(part for part in parts if part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    others = [package for package in ESTIMATORS if package not in OWN]
    parser.add_argument(
        "--python", nargs="*", default=[], metavar="NAME=PATH", action="extend",
        help=f"interpreters of {others}",
    )  # fmt: skip
    parser.add_argument("--only", nargs="*", choices=list(ESTIMATORS), default=list(ESTIMATORS))
    parser.add_argument("--estimators", nargs="*", help="names of estimators; all without it")
    parser.add_argument("--tasks", nargs="*", help="parts of names of tasks; all without it")
    parser.add_argument("--rows", type=int, nargs="+", default=[5000])
    parser.add_argument("--seeds", type=int, default=1, help="number of samples of each task")
    parser.add_argument("--samples", type=pathlib.Path, help="JSON file of tasks, beside its .npz")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/others"))
    given = parser.parse_args()
    interpreters = dict.fromkeys(OWN, sys.executable)
    for text in given.python:
        name, sign, path = text.partition("=")
        if name not in others or not sign:
            parser.error(f"--python takes NAME=PATH with a name of {others}, not {text}")
        interpreters[name] = path
    stored = [
        pair
        for pair in pairs(given.folder / "samples", given.rows, given.seeds, given.samples)
        if given.tasks is None or any(part in pair.task for part in given.tasks)
    ]
    records = Records(given.folder, ("package", "estimator", "task", "rows", "seed"))
    for package, names in ESTIMATORS.items():
        if package not in interpreters or package not in given.only:
            continue
        for name in given.estimators or names:
            if name not in names:
                continue
            todo = [
                p
                for p in stored
                if {"package": package, "estimator": name, "task": p.task, "rows": p.rows,
                    "seed": p.seed} not in records
            ]  # fmt: skip
            if not todo:
                continue
            log = given.folder / f"{package}.log"
            for line in estimates(package, name, interpreters[package], todo, log):
                records.add(line)
                print(f"{package} {name}, {line['task']}: {line.get('estimate')}", flush=True)
    if records.lines:
        write(records.lines)
        print(summary(records.lines))


if __name__ == "__main__":
    main()
