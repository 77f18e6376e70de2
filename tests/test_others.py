"""The comparison with other packages: its record, its tables and MINE as published."""

import json
import math
import sys

import numpy as np
import pytest

import ib_keras as ib

pytest.importorskip("benchmarks", reason="the benchmarks are not beside the tests")
from benchmarks import _records, others, others_worker


def line(package, estimator, task, truth, estimate, **rest):
    return {
        "package": package, "estimator": estimator, "task": task, "truth": truth, "rows": 100,
        "seed": 0, "estimate": estimate, "seconds": 2.0, "version": "1.2", **rest,
    }  # fmt: skip


LINES = [
    line("mutinfo", "KSG, k = 5", "easy", 0.5, 0.45, lower=0.4, upper=0.49),
    line("mutinfo", "KSG, k = 5", "hard", 1.0, 0.2, lower=0.1, upper=0.3),
    line("ib-keras", "ksg", "easy", 0.5, 0.52, lower=0.4, upper=0.6, flags=[]),
    line("ib-keras", "ksg", "hard", 1.0, 0.3, lower=0.2, upper=0.4, flags=["high_dim"]),
    line("latentmi", "LMI, cut", "easy", 0.5, 0.48),
    line("latentmi", "LMI, cut", "hard", 1.0, None, error="ValueError: too few rows"),
]


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_summary_counts_errors_and_intervals():
    rows = [cells(row) for row in others.summary(LINES).splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["ib-keras", "ksg"], ["mutinfo", "KSG, k = 5"], ["latentmi", "LMI, cut"],
    ]  # fmt: skip
    ours, theirs, failed = rows
    assert ours[3:] == ["0.360", "-0.70 (hard)", "1 of 2", "1 of 2, 1 of the others flagged", "2.0"]
    assert theirs[3:] == ["0.425", "-0.80 (hard)", "1 of 2", "0 of 2", "2.0"]
    assert failed[3:6] == ["0.020", "-0.02 (easy)", "1 of 2"] and failed[6] == "none given"


def test_the_tables_are_written_between_the_markers(tmp_path):
    page = tmp_path / "others.md"
    page.write_text(f"before\n{others.MARKERS[0]}\nold\n{others.MARKERS[1]}\nafter\n")
    for _ in range(2):
        others.write(LINES, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| task | truth |") == 2 and "Versions: latentmi 1.2, mutinfo 1.2." in text
    assert "| hard | 1.00 | 0.30 |" in text and "| hard | 1.00 | 0.20 | – |" in text


def test_a_line_that_was_cut_is_measured_again(tmp_path):
    record = tmp_path / "estimates.jsonl"
    assert _records.read(record) == []
    record.write_text(json.dumps(LINES[0]) + "\n" + json.dumps(LINES[1])[:40])
    assert _records.read(record) == LINES[:1]


def test_given_samples_are_cut_into_parts(tmp_path):
    x = np.arange(10.0)[:, None]
    np.savez(tmp_path / "given.npz", **{"7_x": x, "7_y": -x})
    tasks = [{"index": 7, "name": "a line", "mi_nats": 2.0}]
    (tmp_path / "given.json").write_text(json.dumps(tasks))
    found = list(others.pairs(tmp_path / "samples", [4], 3, tmp_path / "given.json"))
    assert [p[:4] for p in found] == [("a line", 2.0, 4, seed) for seed in (0, 1)]
    assert np.load(found[1].path)["y"].ravel().tolist() == [-4, -5, -6, -7]


def test_a_worker_uses_the_package_of_its_interpreter(tmp_path, capfd):
    """A package of that name that prints, and fails on the second sample."""
    site = tmp_path / "site"
    (site / "infomeasure-9.9.dist-info").mkdir(parents=True)
    (site / "infomeasure-9.9.dist-info" / "METADATA").write_text("Name: infomeasure\nVersion: 9.9")
    (site / "infomeasure.py").write_text(
        "def mutual_information(x, y, approach):\n"
        "    print('working on it')\n"
        "    return float(x.sum()) / (len(x) == 2)\n"
    )
    # An interpreter whose site is the folder, as that of a virtual environment is.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    pairs = []
    for seed, x in enumerate(([[1.0], [2.0]], [[1.0]])):
        pairs.append(others.Pair("sum", 0.5, 2, seed, tmp_path / f"0-2-{seed}.npz"))
        np.savez(pairs[-1].path, x=x, y=x)
    log = tmp_path / "log"
    found = list(others.estimates("infomeasure", "KSG", str(python), pairs, log))
    assert [(f["task"], f["seed"], f["version"]) for f in found] == [
        ("sum", 0, "9.9"), ("sum", 1, "9.9"),
    ]  # fmt: skip
    assert found[0]["estimate"] == 3.0 and found[1]["error"].startswith("ZeroDivisionError")
    assert "working on it" in log.read_text()
    # The worker of a package that is not installed ends, and the others go on.
    assert list(others.estimates("mutinfo", "KSG, k = 1", str(python), pairs, log)) == []
    assert "mutinfo, KSG, k = 1: exit status 1" in capfd.readouterr().err


def test_mine_as_published_fits_its_own_rows():
    settings = {"hidden": (32,), "steps": 200, "batch_size": 100, "learning_rate": 0.01}
    x, y = ib.synthetic.correlated_gaussians(2000, 1, 0.8, seed=0)
    found = others_worker.mine_as_published(x, y, **settings)
    # The standard error of a mean of e^f over 2 000 pairs is about 0.05.
    assert found == pytest.approx(0.8, abs=0.15)
    # The rows are independent, but twenty columns are enough to tell them apart by heart.
    wide = np.random.default_rng(0).normal(size=(2, 200, 20))
    assert 0.5 < others_worker.mine_as_published(*wide, **settings) < math.inf
