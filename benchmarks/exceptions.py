"""Which estimators are wrong on pairs of known information without giving a flag.

    python -m benchmarks.exceptions                         # estimators that train nothing
    python -m benchmarks.exceptions --estimators infonce flow --dims 1 4 16 --nats 0 1 5 10
    python -m benchmarks.exceptions --folder build/exceptions   # goes on where it was stopped

The pairs are the families of benchmarks/known_pairs.py: five distributions in 1 to 16 dimensions
from 0 to 10 nats, rotated at random. An estimate is wrong if it is off by more than three of its
standard errors plus 10 % of the truth, or if it is missing; a lower bound is wrong only if it is
above the truth by as much. Each estimate is a line of a file of JSON lines in the folder. The table
in docs/reliability.md is rewritten between its markers from all lines of the folder.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pandas as pd

import ib_keras as ib
from benchmarks._records import Records, replace
from benchmarks.known_pairs import DIMS, NATS, Case, families

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
MARKERS = "<!-- written by benchmarks/exceptions.py -->", "<!-- end of exceptions -->"
ERRORS, SHARE = 3.0, 0.1


def measure(case: Case, estimator: str, n: int) -> dict[str, Any]:
    """Estimate one pair, and return a line of the record."""
    a, b = case.draw(n, 0)
    row = ib.estimate({"b": b}, estimator, inputs=a, progress=False).iloc[0]
    # B is not a layer without noise, but a variable that has a density given A.
    flags = [flag for flag in row["flags"].split(",") if flag not in ("", "no_noise")]
    return {
        "estimator": estimator, "name": case.name, "dim": b.shape[1], "truth": case.truth,
        "rows": n, "value": row["value"], "stderr": row["stderr"], "kind": row["kind"],
        "flags": flags,
    }  # fmt: skip


def judged(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a frame of the lines, with the columns ``wrong`` and ``unnoticed``."""
    frame = pd.DataFrame(lines)
    allowed = ERRORS * frame["stderr"] + SHARE * frame["truth"]
    error = frame["value"] - frame["truth"]
    bound = frame["kind"] == "lower"
    frame["wrong"] = (error > allowed) | (~bound & (error < -allowed)) | frame["value"].isna()
    frame["unnoticed"] = frame["wrong"] & (frame["flags"].map(len) == 0)
    return frame


def summary(lines: list[dict[str, Any]]) -> str:
    """Return the table of the document."""
    rows = [
        "| estimator | pairs | off by more than 3 errors + 10 % | of these without a flag | "
        "flagged though right | those without a flag: truth → estimate in nats |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in judged(lines).groupby("estimator", sort=False):
        needless = (~part["wrong"] & (part["flags"].map(len) > 0)).sum()
        cases = [
            f"{row.name_}: {row.truth:.2g} → {row.value:.2f} ± {row.stderr:.2f}"
            for row in part[part["unnoticed"]].rename(columns={"name": "name_"}).itertuples()
        ]
        rows.append(
            f"| `{name}` | {len(part)} | {part['wrong'].sum()} | {len(cases)} | {needless} | "
            f"{'; '.join(cases) or 'none'} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--estimators", nargs="+", default=["gaussian", "ksg", "kl"])
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS))
    parser.add_argument("--nats", type=float, nargs="+", default=list(NATS))
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/exceptions"))
    given = parser.parse_args()
    records = Records(given.folder, ("estimator", "name", "truth", "rows"))
    for estimator in given.estimators:
        for case in families():
            dim = int(case.name.split("+")[-1])
            if dim not in given.dims or case.truth not in given.nats:
                continue
            key = {"estimator": estimator, "name": case.name, "truth": case.truth,
                   "rows": given.rows}  # fmt: skip
            if key not in records:
                records.add(measure(case, estimator, given.rows))
    table = summary(records.lines)
    print(table)
    replace(DOCUMENT, MARKERS, table)


if __name__ == "__main__":
    main()
