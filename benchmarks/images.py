"""Pairs of images of known information, through compression.

    python -m benchmarks.images
    python -m benchmarks.images --nats 10 --sizes 16 --estimators ae+flow

Every estimate is a line of ``estimates.jsonl`` in the folder. Each run adds the lines that are
missing, and rewrites the table in ``docs/estimators/lossy.md`` from all lines of the folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pandas as pd

import ib_keras as ib
from benchmarks._records import Records, replace
from ib_keras import synthetic

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "estimators" / "lossy.md"
MARKERS = "<!-- written by benchmarks/images.py -->", "<!-- end of images -->"
# Kind of images → function that draws them, the number of their parameters, and the goal.
IMAGES: dict[str, tuple[Any, int, float]] = {
    "blobs": (synthetic.gaussian_images, 2, 0.10),
    "rectangles": (synthetic.rectangle_images, 4, 0.15),
}
KEYS = ("images", "size", "estimator", "truth", "rows", "seed")


def measure(key: dict[str, Any]) -> dict[str, Any]:
    """Estimate one pair with as many codes as the images have parameters, and return a line."""
    draw, parameters, _ = IMAGES[key["images"]]
    x, y = draw(key["rows"], key["size"], key["truth"], rotate=False, seed=key["seed"])
    estimator = ib.estimators.get(key["estimator"], k=parameters, fit_share=1.0, seed=key["seed"])
    start = time.process_time()
    found = estimator.mutual_information(x, y)
    return {
        **key, "value": found.value, "stderr": found.stderr, "flags": list(found.flags),
        "left_out": max(found.details[f"{side} left_out"] for side in "ab"),
        "seconds": time.process_time() - start,
    }  # fmt: skip


def summary(lines: list[dict[str, Any]]) -> str:
    """Return the table of the document."""
    rows = [
        "| images | estimator | truth, nats | estimate | error | goal | flags | left out | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in pd.DataFrame(lines).sort_values(list(KEYS)).itertuples():
        error = row.value / row.truth - 1
        goal = IMAGES[row.images][2]
        met = "met" if abs(error) <= goal else "missed"
        flags = ", ".join(f"`{flag}`" for flag in row.flags)
        rows.append(
            f"| {row.images}, {row.size}×{row.size} | `{row.estimator}` | {row.truth:g} | "
            f"{row.value:.2f} ± {row.stderr:.2f} | {error:+.0%} | {goal:.0%}, {met} | {flags} | "
            f"{row.left_out:.2f} | {row.seconds:.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nats", type=float, nargs="+", default=[10.0, 5.0, 1.0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--images", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--estimators", nargs="+", default=["pca+flow", "ae+flow"])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=1, help="number of samples of each pair")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/images"))
    given = parser.parse_args()
    records = Records(given.folder, KEYS)
    wanted = itertools.product(
        range(given.seeds), given.nats, given.sizes, given.images, given.estimators
    )
    for seed, truth, size, images, estimator in wanted:
        values = images, size, estimator, truth, given.rows, seed
        key = dict(zip(KEYS, values, strict=True))
        if key not in records:
            records.add(measure(key))
    table = summary(records.lines)
    print(table)
    replace(DOCUMENT, MARKERS, table)


if __name__ == "__main__":
    main()
