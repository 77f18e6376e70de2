"""Reporters of tables in which values are missing: they come after hours of work."""

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import frame
from ib_keras.components.reporter import executor as reporter

RUNS = ("tanh-0", "tanh-1")


def tables():
    table = make_frame(runs=RUNS, estimators=("ebab", "gaussian"))
    some = {
        "nothing": table["value"] == table["value"],
        "a layer": table["layer"] == "a",
        "a run": table["run"] == RUNS[0],
        "an estimator": table["estimator"] == "gaussian",
        "a quantity": table["quantity"] == "I(T;Y)",
    }
    for name, lost in some.items():
        changed = table.copy()
        changed.loc[lost, ["value", "flags"]] = [np.nan, "not_estimated"]
        yield name, changed
    yield "infinite", table.assign(value=np.inf, flags="infinite")
    yield "no labels", table[table["quantity"] == "I(X;T)"]


TABLES = dict(tables())


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("study", ["information_plane", "lossy_compression", "adaptive_estimators"])
def test_a_report_is_made_whatever_is_missing(study, name, tmp_path):
    table = TABLES[name]
    logs = table[["run", "epoch"]].drop_duplicates().assign(accuracy=0.5, val_accuracy=0.4)
    frame.write(table, tmp_path / "in", logs=pd.DataFrame(logs))
    facts = reporter.run([tmp_path / "in"], tmp_path / "out", study=study)
    assert facts["rows"] == len(table)
    page = (tmp_path / "out" / "report.html").read_text()
    lost = frame.count_not_estimated(table)
    assert (f"{lost} of {len(table)} values could not be estimated" in page) == (lost > 0)
    assert (tmp_path / "out" / "information_plane.png").exists() == (
        study != "adaptive_estimators" and name != "no labels"
    )
    assert isinstance(ib.report.last_epoch_text(table), str)


def test_a_report_is_made_without_accuracies_and_of_penalised_runs(tmp_path):
    table = TABLES["no labels"]
    whole = next(iter(TABLES.values()))
    logs = whole[["run", "epoch"]].drop_duplicates().assign(loss=1.0)
    penalised = whole.assign(run=whole["run"].str.replace(r"-(\d)$", r"+l2-\1", regex=True))
    for i, (one, own) in enumerate((
        (whole, logs), (table, logs),
        (penalised, logs.assign(run=penalised["run"].iloc[0], accuracy=0.5, val_accuracy=0.4)),
    )):  # fmt: skip
        frame.write(one, tmp_path / f"in{i}", logs=own.drop_duplicates(["run", "epoch"]))
        reporter.run([tmp_path / f"in{i}"], tmp_path / f"out{i}", study="adaptive_estimators")
        assert (tmp_path / f"out{i}" / "findings.csv").exists()
