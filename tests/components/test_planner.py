"""The planner, and the texts that it passes to the estimator's tasks."""

import json

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.components.artifacts import shards
from ib_keras.components.artifacts.items import FILES_VARIABLE
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.planner import executor as planner
from ib_keras.errors import ArgumentError
from ib_keras.estimation.shards import Part
from ib_keras.studies import study

N = 40


def make_store(path, dims):
    rng = np.random.default_rng(0)
    made = ib.ActivationStore.create(
        path, inputs=np.arange(float(N)), targets=np.arange(N) % 2, layers=list(dims)
    )
    for epoch in (0, 3, 7):
        with made.writer(epoch, noise_std={}, logs=[{"epoch": epoch, "loss": 1.0}]) as writer:
            for name, dim in dims.items():
                writer.write(name, rng.normal(size=(N, dim)) * (np.nan if dim == 9 else 1))
    return path


def test_texts():
    parts = [
        Part(0, "ebab"),
        Part(2, '{"name": "kde", "variance": 0.1}', ("a/b", "[c]"), (0, 10)),
        Part(0, "akde", ("a",)),
    ]
    for part in parts:
        assert shards.read(shards.to_text([part])) == [part]
    assert shards.read(shards.to_text(parts)) == parts
    assert json.loads(shards.to_text(parts[:1])) == {"estimator": "ebab"}


def test_a_files_content_changes_the_text(monkeypatch):
    """A cache compares texts; the estimator's task does not name the user's files itself."""
    plain = shards.to_text([Part(0, "ebab")])
    monkeypatch.setenv(FILES_VARIABLE, "1f")
    assert shards.to_text([Part(0, "ebab")]) != plain
    assert shards.read(shards.to_text([Part(0, "ebab")])) == [Part(0, "ebab")]


@pytest.mark.parametrize(
    "text",
    [
        "", "ebab", "{", "3", "null", '{"layers": ["a"]}', '{"estimator": 3}', '["ebab"]',
        '{"estimator": "ebab", "layer": "a"}', '{"estimator": "ebab", "layers": "a"}',
        '{"estimator": "ebab", "epochs": 3}', '{"estimator": "ebab", "store": "0"}',
    ],
)  # fmt: skip
def test_texts_that_are_refused(text):
    with pytest.raises(
        ArgumentError, match=r'shard is invalid. Expected JSON such as {"estimator"'
    ):
        shards.read(text)


def test_what_is_planned_is_estimated(tmp_path):
    """One layer has NaN, whose rows have details; the others have none."""
    stores = [
        make_store(tmp_path / "one", {"a": 4, "b": 9, "c": 2}),
        make_store(tmp_path / "two", {"a": 3}),
    ]
    texts, facts = planner.run(stores, estimators=["ebab", "binning"], shards=5)
    assert facts["tasks"] == len(texts) and 1 < len(texts) <= 5
    parts = [part for text in texts for part in shards.read(text)]
    tables = [tmp_path / f"table-{i}" for i in range(len(parts))]
    for part, table in zip(parts, tables, strict=True):
        facts = estimator.run_part(stores, table, part)
        assert facts["run"] == stores[part.store].name and facts["unit"] == "nats"
    wholes = []
    for i, store in enumerate(stores):
        wholes.append(tmp_path / f"whole-{i}")
        estimator.run(store, wholes[-1], estimator=["ebab", "binning"])
    apart, together = study.read(tables), study.read(wholes)
    pd.testing.assert_frame_equal(
        apart.table.drop(columns="seconds"), together.table.drop(columns="seconds")
    )
    assert (apart.table["details"] != "").sum() == 3 * 2 * 2
    pd.testing.assert_frame_equal(apart.logs, together.logs)
    # A table of tables, as in a pipeline, can be read again.
    study.write(apart, tmp_path / "joined")
    pd.testing.assert_frame_equal(study.read([tmp_path / "joined"]).table, apart.table)
    with pytest.raises(ArgumentError, match="The shard names an unknown store"):
        estimator.run_part(stores, tmp_path / "none", Part(2, "ebab"))
    with pytest.raises(ArgumentError, match="ebba"):
        planner.run(stores, estimators=["ebba"])
