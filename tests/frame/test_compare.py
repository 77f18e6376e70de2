"""compare(): differences of tables, and whether they are more than their errors."""

import math

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import frame
from ib_keras.errors import ArgumentError


def table(offset=0.0, **arguments):
    made = make_frame(**arguments)
    made["value"] += offset
    return made


def test_differences_and_combined_errors():
    first, second = table(stderr=0.3), table(1.05, stderr=0.4)
    found = ib.compare({"a": first, "b": second})
    assert len(found) == len(first)
    assert found["difference"].to_numpy() == pytest.approx(1.05)
    assert found["stderr"].to_numpy() == pytest.approx(0.5)  # a 3-4-5 triangle
    assert found["exceeds"].all()
    assert not ib.compare({"a": first, "b": table(0.95, stderr=0.4)})["exceeds"].any()
    assert set(found["baseline"]) == {"a"} and set(found["other"]) == {"b"}
    row = found[(found["layer"] == "b/c") & (found["epoch"] == 10)].iloc[0]
    assert row["quantity"] == "I(T;Y)" and row["value_baseline"] == pytest.approx(0.5)


def test_flags_and_few_runs_decide_less():
    first, second = table(stderr=0.3), table(1.05, stderr=0.4)
    second.loc[second["epoch"] == 1, "flags"] = "saturated"
    second.loc[second["epoch"] == 10, "flags"] = "measurement_bins"
    found = ib.compare({"a": first, "b": second}).set_index("epoch")["exceeds"]
    assert found[1].isna().all() and found[10].all()
    # Of two runs, the standard error is itself uncertain: 13.97 errors are required.
    runs = [table(offset, runs=("r-0", "r-1")) for offset in (0, 1.0, 2.0)]
    for own in runs:
        own["value"] += np.where(own["run"] == "r-0", -0.1, 0.1)
    few = ib.compare({"a": runs[0], "b": runs[1], "c": runs[2]}, by_run=False)
    assert few["stderr"].to_numpy() == pytest.approx(0.1 * np.sqrt(2))
    assert few.groupby("other")["exceeds"].all().to_dict() == {"b": False, "c": True}


def test_only_what_both_have():
    found = ib.compare({"a": table(epochs=(0, 1, 5)), "b": table(1, epochs=(1, 5, 9)),
                        "c": table(2, layers=("a",), epochs=(5,))})  # fmt: skip
    assert {k: set(v) for k, v in found.groupby("other")["epoch"]} == {"b": {1, 5}, "c": {5}}
    assert set(found[found["other"] == "c"]["layer"]) == {"a"}


def test_unknown_errors_decide_nothing():
    found = ib.compare({"a": table(), "b": table(1)})
    assert found["exceeds"].isna().all() and found["exceeds"].dtype == "boolean"


def test_runs_of_the_same_names_are_matched():
    found = ib.compare({"a": table(runs=("r", "s")), "b": table(1, runs=("s", "r"))})
    assert set(found["run"]) == {"r", "s"} and len(found) == 24
    assert "run" not in ib.compare({"a": table(), "b": table()}, by_run=False)
    with pytest.raises(ArgumentError, match="cannot be matched"):
        ib.compare({"a": table(runs=("r",)), "b": table(runs=("s",))}, by_run=True)


def test_other_runs_are_averaged_with_the_error_of_the_mean():
    runs = [table(offset, runs=(f"t-{i}",), stderr=9.0) for i, offset in enumerate((0, 1, 2))]
    found = ib.compare({"a": table(runs=("x",), stderr=0.1), "b": frame.concat(runs)})
    assert found["difference"].to_numpy() == pytest.approx(1.0)
    # Three values 0, 1, 2: standard deviation 1, of the mean 1/√3.
    assert found["stderr"].to_numpy() == pytest.approx(math.hypot(0.1, 1 / math.sqrt(3)))
    assert set(found["runs_other"]) == {3} and set(found["runs_baseline"]) == {1}


def test_units_and_flags():
    bits = frame.convert(table(flags="ties"), "bits")
    found = ib.compare({"a": table(flags="clipped,ties"), "b": bits})
    assert found["difference"].to_numpy() == pytest.approx(0)
    assert set(found["unit"]) == {"nats"} and set(found["flags"]) == {"clipped,ties"}
    assert set(ib.compare({"a": bits, "b": bits}, unit="nats")["unit"]) == {"nats"}


def test_paths_and_lists_of_paths(tmp_path):
    for name, offset in (("a", 0), ("b-0", 1), ("b-1", 3)):
        frame.write(table(offset, runs=(name,)), tmp_path / name)
    found = ib.compare({"a": tmp_path / "a", "b": [tmp_path / "b-0", tmp_path / "b-1"]})
    assert found["difference"].to_numpy() == pytest.approx(2.0)
    pd.testing.assert_frame_equal(ib.compare({"a": tmp_path / "a", "b": tmp_path / "b-*"}), found)


def test_what_cannot_be_compared():
    with pytest.raises(ArgumentError, match="nothing to compare"):
        ib.compare({"a": table()})
    with pytest.raises(ArgumentError, match="nothing in common"):
        ib.compare({"a": table(epochs=(0,)), "b": table(epochs=(1,))})
    with pytest.raises(ArgumentError, match="twice"):
        ib.compare({"a": pd.concat([table(), table()]), "b": table()})
    with pytest.raises(ArgumentError, match="is not a table"):
        ib.compare({"a": table(), "b": 3})
    with pytest.raises(ArgumentError, match=r"lacks \['value'\]"):
        ib.compare({"a": table(), "b": table().drop(columns="value")})
    assert np.isnan(ib.compare({"a": table(), "b": table(value=np.nan)})["difference"]).all()
