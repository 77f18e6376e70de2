"""Reading many runs' tables, and what is known of their origin."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import frame
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.frame import provenance


@pytest.fixture
def folder(tmp_path):
    """Two runs: one with logs, one with a column more."""
    first = make_frame(runs=("a",))
    first.attrs = {"provenance": {"git": {"commit": "1"}, "recorder_seed": 0, "data": "x"}}
    logs = pd.DataFrame({"run": "a", "epoch": [0, 1, 10], "loss": [3.0, 2.0, 1.0]})
    frame.write(first, tmp_path / "a", logs=logs)
    second = make_frame(runs=("b",), details="{}")
    second.attrs = {"provenance": {"git": {"commit": "1"}, "recorder_seed": 1, "data": "x"}}
    frame.write(second, tmp_path / "b")
    return tmp_path


def test_many_are_read_as_pandas_reads_each(folder):
    loaded = ib.load(str(folder / "*"))
    parts = [pd.read_parquet(folder / run / frame.ESTIMATES) for run in "ab"]
    wanted = pd.concat(parts, ignore_index=True).fillna({"details": ""})
    pd.testing.assert_frame_equal(loaded[wanted.columns.tolist()], wanted)
    losses = loaded[loaded["run"] == "a"].groupby("epoch")["loss"].unique()
    assert [list(values) for values in losses] == [[3.0], [2.0], [1.0]]
    assert loaded.loc[loaded["run"] == "b", "loss"].isna().all()
    again = ib.load([folder / "a", folder / "b" / frame.ESTIMATES])
    pd.testing.assert_frame_equal(again, loaded)


def test_logs_belong_to_their_own_file(folder):
    for loss, name in ((1.0, "c"), (2.0, "d")):
        logs = pd.DataFrame({"run": "r", "epoch": [0], "loss": loss})
        frame.write(make_frame(runs=("r",), epochs=(0,)), folder / name, logs=logs)
    loaded = ib.load([folder / "c", folder / "d"])
    assert loaded["loss"].tolist() == [1.0] * 4 + [2.0] * 4


def test_attrs_say_what_the_runs_share_and_where_they_differ(folder):
    origin = ib.load(folder / "a").attrs["provenance"]
    assert origin == {"git": {"commit": "1"}, "recorder_seed": 0, "data": "x"}
    both = ib.load(folder / "*").attrs["provenance"]
    assert both == {"git": {"commit": "1"}, "recorder_seed": [0, 1], "data": "x"}
    parts = [ib.load(folder / run) for run in "ab"]
    assert frame.concat(parts).attrs["provenance"] == both
    # As pandas has it: kept where identical, forgotten where not.
    assert pd.concat([parts[0], parts[0]]).attrs["provenance"] == origin
    assert pd.concat(parts).attrs == {}


def test_attrs_of_many_are_not_endless():
    many = [{"provenance": {"recorder_seed": i}} for i in range(50)]
    seeds = provenance.merged(many)["provenance"]["recorder_seed"]
    assert seeds == [*range(20), "… 50 in all"]


def test_estimate_says_where_it_came_from(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", *arguments], check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    assert provenance.git_state() is None
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-m", "one")
    t, y = np.arange(8.0)[:, None], np.arange(8) % 2
    table = ib.estimate({"a": t}, ["ebab"], inputs=t, targets=y)
    origin = table.attrs["provenance"]
    assert len(origin["git"]["commit"]) == 40 and origin["git"]["changed"] is False
    assert origin["versions"]["pandas"] == pd.__version__
    assert origin["estimators"]["ebab"]["bins"] == 30
    other = ib.estimate({"a": t}, ["ebab"], inputs=t + 1, targets=y).attrs["provenance"]
    assert origin["data"] != other["data"] and len(origin["data"]) == 64
    (tmp_path / "file").write_text("2")
    assert provenance.git_state()["changed"] is True
    table.to_parquet(tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet").attrs == table.attrs
    frame.write(table, tmp_path / "t")
    assert ib.load(tmp_path / "t").attrs == table.attrs


def test_a_record_knows_its_model(mlp, inputs, tmp_path):
    x, y = inputs
    mlp.compile("adam", "sparse_categorical_crossentropy")
    kept = {"keep": "estimates", "estimators": ["ebab"]}
    found = []
    for name, arguments in (("store", {}), ("table", kept)):
        recorder = ib.Recorder(tmp_path / name, inputs=x, targets=y, seed=3, **arguments)
        mlp.fit(x, y, epochs=1, verbose=0, callbacks=[recorder])
        path = tmp_path / name
        table = ib.estimate(path, ["ebab"]) if name == "store" else ib.load(path)
        found.append(table.attrs["provenance"])
    assert found[0]["recorder_seed"] == 3
    assert found[0]["model"]["parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    assert found[0]["model"] == found[1]["model"] and found[0]["data"] == found[1]["data"]


def test_what_is_no_table(tmp_path):
    with pytest.raises(ArgumentError, match="`path` is empty"):
        ib.load([])
    pd.DataFrame({"run": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ArgumentError, match=r"x.parquet' is not a table|x.parquet` is not a table"):
        ib.load(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        ib.load(tmp_path / "y.parquet")
    with pytest.raises(ArgumentError, match="`frames` is empty"):
        frame.concat([])


def test_fractions_have_no_unit():
    quantities = ["I(X;T)", "H(X|T)", "h(T)", "P(class kept)"]
    table = make_frame(layers=("a",), epochs=(0, 1), value=0.9, stderr=0.1)
    table["quantity"] = quantities
    bits = frame.convert(table, "bits").set_index("quantity")
    for column, value in (("value", 0.9), ("stderr", 0.1)):
        assert bits.loc["P(class kept)", column] == value
        assert bits.loc[quantities[:3], column].to_numpy() == pytest.approx(value / np.log(2))
    with pytest.raises(ArgumentError, match="`unit` is unknown"):
        frame.convert(table.assign(unit="bans"), "bits")
    found = ib.compare({"a": table, "b": table.assign(value=0.8)}, unit="bits")
    (kept,) = found.loc[found["quantity"] == "P(class kept)", "difference"]
    assert kept == pytest.approx(-0.1)
    assert ib.plot.layer_curves(table, quantity="P(class kept)").axes[0].get_ylabel() == (
        "P(class kept)"
    )


def test_names_of_targets_and_of_what_was_measured():
    from ib_keras.frame import table

    names = ("class", "x[0]", "[a]", "a(b)")
    assert [table.target_name(f"I(T;Y[{name}])") for name in names] == list(names)
    assert table.target_name("I(T;Y)") == ""
    assert (
        table.measured("I(X;T)", ["measurement_noise", "saturated,measurement_noise"]) == "I(X;T+N)"
    )
    assert table.measured("I(X;T)", ["measurement_noise", ""]) == "I(X;T)"
    assert table.measured("I(X;T)", []) == "I(X;T)"


def test_a_file_beside_another_manifest_is_a_table_of_its_own(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema": "other"}')
    table = ib.estimate({"a": np.random.default_rng(0).normal(size=(50, 2))}, "ebab")
    table.to_parquet(tmp_path / "mine.parquet")
    assert len(ib.load(tmp_path / "mine.parquet")) == len(table)
