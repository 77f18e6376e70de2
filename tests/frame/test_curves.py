"""Compression and phases of curves, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

from ib_keras import frame, studies
from ib_keras.errors import ArgumentError
from ib_keras.studies import chelombiev_2019


def curve(values, run="tanh-0", **fixed):
    table = make_frame(runs=(run,), layers=("a",), epochs=range(len(values)), **fixed)
    which = table["quantity"] == "I(X;T)"
    table.loc[which, "value"] = list(values)
    return table[which]


def test_compression():
    table = curve([2.0, 3.0, 5.0, 4.0], stderr=0.3)
    (row,) = frame.compression(table).to_dict("records")
    assert (row["maximum"], row["turn"], row["end"], row["absolute"]) == (5.0, 2, 4.0, 1.0)
    assert row["relative"] == 0.2
    assert row["stderr"] == pytest.approx(math.hypot(0.3, 0.3))
    (rising,) = frame.compression(curve([0.0, 0.0])).to_dict("records")
    assert rising["absolute"] == 0 and math.isnan(rising["relative"])
    assert math.isnan(frame.compression(curve([1.0, 2.0]))["stderr"][0])


def test_compression_over_seeds():
    runs = [curve([2.0, fall], run=f"tanh-{i}") for i, fall in enumerate((1.0, 1.5, 2.0))]
    table = pd.concat([*runs, curve([1.0, 0.0], run="relu+l2-0")], ignore_index=True)
    found = frame.compression(table, over_seeds=True).set_index("run")
    assert found.loc["tanh", "seeds"] == 3 and found.loc["relu+l2", "seeds"] == 1
    assert found.loc["tanh", "absolute"] == 0.5
    assert found.loc["tanh", "absolute_std"] == pytest.approx(0.5)
    assert math.isnan(found.loc["relu+l2", "absolute_std"])


def test_falls_and_phases_have_the_unit_of_the_table():
    bits = curve([2.0, 3.0, 1.0], unit="bits")
    for found in (
        frame.compression(bits),
        frame.compression(bits, over_seeds=True),
        frame.phases(bits),
    ):
        assert set(found["unit"]) == {"bits"} and found.columns[-1] == "unit"
    both = pd.concat([bits, curve([2.0, 3.0, 1.0], run="tanh-1")])
    assert list(frame.compression(both, over_seeds=True)["unit"]) == ["bits", "nats"]


def test_studies_say_nats_and_mean_nats():
    table = curve([2.0, 4.0, 1.0])
    table = table.assign(layer_index=0, loss=[3.0, 2.0, 1.0], accuracy=0.9, val_accuracy=0.8)
    table = pd.concat([table, table.assign(layer="b", layer_index=1)], ignore_index=True)
    bits = frame.convert(table, "bits")
    assert not np.allclose(bits["value"], table["value"])
    for study in (studies.adaptive_estimators, studies.lossy_compression, studies.resnet_decoder):
        found = study(bits)
        assert len(found) and "nats" in found["finding"].iloc[0]
        assert found.equals(study(table))
    points, _, _ = studies.generalisation(bits, "ebab")["a"]
    assert points["compression"].tolist() == pytest.approx([3.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 3, 5, 4.9, 5.1, 2, 1], [("fitting", 0, 4), ("compression", 4, 6)]),
        ([5, 3, 1, 1.05, 1], [("compression", 0, 2)]),
        ([1, 2, 3], [("fitting", 0, 2)]),
        ([2, 2, 2], []),
        ([2, 4, 1, 3, 0], [("fitting", 0, 1), ("compression", 1, 2), ("fitting", 2, 3),
                           ("compression", 3, 4)]),
    ],
)  # fmt: skip
def test_phases(values, expected):
    found = frame.phases(curve(values))
    assert list(found[["phase", "start", "stop"]].itertuples(index=False, name=None)) == expected
    for row in found.itertuples():
        assert row.change == pytest.approx(values[row.stop] - values[row.start])


def test_movements_within_the_error_are_no_phases():
    values = [1.0, 1.4, 1.1, 1.5]
    assert len(frame.phases(curve(values))) == 3
    assert len(frame.phases(curve(values, stderr=0.15))) == 1


def test_smoothing():
    rng = np.random.default_rng(0)
    epochs = np.arange(200)
    true = 3 - 2 * np.cos(epochs / 40)
    smooth = frame.smoothed(curve(true + 0.1 * rng.normal(size=200), stderr=0.1))
    assert np.sqrt(np.mean((smooth["value"] - true) ** 2)) < 0.06
    assert 0.02 < smooth["stderr"].iloc[100] < 0.06
    # A polynomial of this degree is left as it is.
    exact = frame.smoothed(curve(list(1e-4 * epochs**2)))
    np.testing.assert_allclose(exact["value"], 1e-4 * epochs**2, atol=1e-9)
    for short in (curve([1.0, 2.0, 1.0]), curve(true).drop(index=100)):
        pd.testing.assert_frame_equal(frame.smoothed(short), short)
    # Noise makes many turns, of which smoothing leaves the true ones.
    noisy = curve(true + 0.15 * rng.normal(size=200), stderr=0.0)
    assert len(frame.phases(noisy)) > len(frame.phases(frame.smoothed(noisy)))
    for window in (4, 3):
        with pytest.raises(ArgumentError, match="odd number above 4"):
            frame.smoothed(short, window=window)


def test_bad_input():
    for function in (frame.compression, frame.phases):
        with pytest.raises(ArgumentError, match="no H"):
            function(curve([1, 2]), quantity="H(T)")
        with pytest.raises(ArgumentError, match="not a table of estimates"):
            function(curve([1, 2])[["run"]])


def test_errors_of_smoothed_curves_are_those_of_repeated_noise():
    """Also at the ends, where the polynomials are least certain."""
    rng = np.random.default_rng(0)
    many = [
        frame.smoothed(curve(rng.normal(size=60), stderr=1.0).set_axis(range(100, 160)))
        for _ in range(400)
    ]
    spread = np.std([one["value"] for one in many], axis=0)
    stated = many[0]["stderr"].to_numpy()
    assert (np.abs(spread / stated - 1) < 0.2).all()
    assert stated[0] > 2 * stated[30] and stated[-1] > 2 * stated[30]
    assert list(many[0].index) == list(range(100, 160))


def test_seeds_without_a_value_do_not_count():
    one = curve([3.0], run="gaussian-16-3-seed0").assign(mi=3.0)
    rest = [
        one.assign(run=f"gaussian-16-3-seed{seed}", value=value)
        for seed, value in ((1, np.nan), (2, 3.2))
    ]
    found = frame.over_seeds_of_truth(pd.concat([one, *rest], ignore_index=True))
    assert found["seeds"].tolist() == [2] and found["value"].tolist() == pytest.approx([3.1])
    alone = frame.over_seeds_of_truth(pd.concat([one, rest[0]], ignore_index=True))
    assert alone["seeds"].tolist() == [1] and alone["stderr"].isna().all()


def test_a_correlation_within_groups_is_rarely_found_by_chance():
    rng = np.random.default_rng(0)
    groups, false = np.repeat(np.arange(8), 3), 0
    for _ in range(300):
        pair = rng.normal(size=(2, 24))
        x, y = (v - np.array([v[groups == g].mean() for g in groups]) for v in pair)
        found = chelombiev_2019.Correlation(float(np.corrcoef(x, y)[0, 1]), 24 - 8)
        low, high = found.confidence_interval()
        assert low < found.statistic < high
        false += found.pvalue < 0.05
    # 5 % of 300, with 3 standard errors.
    assert 0.01 < false / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
