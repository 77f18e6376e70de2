"""I(X;T|Y): class by class, as a difference, and what is said where the two disagree."""

import json

import numpy as np
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import flags
from ib_keras.errors import ArgumentError
from ib_keras.estimation.consistency import flagged
from ib_keras.frame.table import target_quantities
from ib_keras.interface import Estimate, LayerInformation

Y = np.arange(600) % 3


def noisy(n=600, seed=0):
    """X with a mean for each class, and T = X + N: given Y, I(X;T|Y) = ½ ln 2 a column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1)) + 4.0 * Y[:n, None]
    return x, x + rng.normal(size=(n, 1))


def cells(table):
    return table.set_index(["estimator", "quantity"])


def test_class_by_class_is_the_known_value_and_the_difference():
    x, t = noisy()
    table = cells(
        ib.estimate({"h": t}, ["ksg", "kl", "gaussian"], inputs=x, targets=Y, conditional=True)
    )
    for name in ("ksg", "kl", "gaussian"):
        row = table.loc[(name, "I(X;T|Y)")]
        assert abs(row["value"] - 0.5 * np.log(2)) < 3 * row["stderr"] + 0.03
        assert 0 < row["stderr"] < 0.1 and row["n"] == 600 and "inconsistent" not in row["flags"]
    for name in ("ksg", "kl"):
        difference = table.loc[(name, "I(X;T)"), "value"] - table.loc[(name, "I(T;Y)"), "value"]
        assert difference == pytest.approx(table.loc[(name, "I(X;T|Y)"), "value"], abs=0.1)
    assert ("gaussian", "I(T;Y)") not in table.index  # it knows no labels, and X and T none apart


def test_of_bins_and_kernels_it_is_the_difference():
    x, t = noisy(300)
    made = ["binning", "ebab", ib.estimators.KDE(0.5), ib.estimators.KDE(0.5, kind="lower")]
    table = cells(ib.estimate({"h": t}, made, inputs=x, targets=Y[:300], conditional=True))
    for name in map(str, map(ib.estimators.get, made)):
        whole, ty, given = (table.loc[(name, q)] for q in ("I(X;T)", "I(T;Y)", "I(X;T|Y)"))
        assert given["value"] == pytest.approx(whole["value"] - ty["value"])
        assert given["kind"] == whole["kind"] and "measurement" in given["flags"]
    # Of the same bins: the entropy that is left within the classes.
    codes = ib.estimators.Binning().codes(t)[0]
    within = [
        float(-(p * np.log(p)).sum())
        for p in (np.unique(codes[Y[:300] == c], return_counts=True)[1] / 100 for c in range(3))
    ]
    assert table.loc[("binning", "I(X;T|Y)"), "value"] == pytest.approx(np.mean(within))
    # Of the same kernel: the mean bound of the classes.
    bounds = [float(made[2].estimate(t[Y[:300] == c]).xt) for c in range(3)]
    assert table.loc[("kde(variance=0.5)", "I(X;T|Y)"), "value"] == pytest.approx(np.mean(bounds))


def test_several_targets_numbers_and_units():
    x, t = noisy(300)
    targets = {"class": Y[:300], "angle": t[:, 0] + 0.1}
    table = ib.estimate(
        {"h": t}, ["ksg", "ebab"], inputs=x, targets=targets, conditional=True, unit="bits"
    )
    assert table["quantity"].tolist() == [
        "I(X;T)", "I(T;Y[class])", "I(T;Y[angle])", "I(X;T|Y[class])",
        "I(X;T)", "I(T;Y[class])", "I(T;Y[angle])", "I(X;T|Y[class])", "I(X;T|Y[angle])",
    ]  # fmt: skip
    assert "binned_target" in table["flags"].iloc[-1]
    assert abs(table["value"].iloc[3] - 0.5) < 0.15
    assert len(ib.estimate({"h": t}, "ksg", inputs=x, targets=Y[:300])) == 2
    with pytest.raises(ArgumentError, match="conditional"):
        ib.estimate({"h": t}, "ksg", inputs=x, targets=Y[:300], conditional="yes")


def test_classes_that_are_too_small_have_no_value():
    x, t = noisy(60)
    y = np.r_[np.zeros(57, int), 1, 1, 1]
    table = cells(ib.estimate({"h": t}, "ksg", inputs=x, targets=y, conditional=True))
    row = table.loc[("ksg", "I(X;T|Y)")]
    assert np.isnan(row["value"]) and row["flags"] == "not_estimated"
    reason = json.loads(row["details"])["reason"]
    assert "class 1 with 3 rows" in reason and "k=5" in reason
    assert np.isfinite(table.loc[("ksg", "I(X;T)"), "value"])
    with pytest.raises(ArgumentError, match=r"I\(X;T\|Y\)"):
        ib.estimate({"h": t}, "ksg", inputs=x, targets=y, conditional=True, on_error="raise")


def test_what_is_infinite_or_missing_stays_so():
    x, _ = noisy(90)
    table = cells(ib.estimate({"h": x}, "ksg", inputs=x, targets=Y[:90], conditional=True))
    row = table.loc[("ksg", "I(X;T|Y)")]
    assert row["value"] == np.inf and row["flags"] == "infinite"
    table = cells(
        ib.estimate({"h": x * np.nan}, ["ksg", "ebab"], inputs=x, targets=Y[:90], conditional=True)
    )
    assert table["value"].isna().all() and (table["flags"] == "not_estimated").all()
    assert ("ebab", "I(X;T|Y)") in table.index


def test_values_that_disagree_are_flagged():
    def rows(given, kind="estimate", more=""):
        values = {"I(X;T)": 1.0, "I(T;Y)": 0.4, "I(X;T|Y)": given}
        return [
            {
                "run": "r", "epoch": 0, "layer": "h", "estimator": "e", "quantity": q, "value": v,
                "stderr": 0.05, "kind": kind, "flags": more, "unit": "nats",
            }
            for q, v in values.items()
        ]  # fmt: skip

    def marked(table):
        return [row["quantity"] for row in flagged(table, {"I(T;Y)"}) if "inc" in row["flags"]]

    # Twice the error of three values, 0.17 nats, and 0.05 nats.
    assert marked(rows(0.81)) == marked(rows(0.39)) == []
    assert marked(rows(0.83)) == marked(rows(0.37)) == ["I(X;T|Y)"]
    assert marked(rows(np.nan)) == marked(rows(np.inf)) == marked(rows(3.0, kind="lower")) == []
    assert marked(rows(3.0, more="sliced")) == marked(rows(3.0, more="measurement_kernel")) == []
    assert flags.doubt("inconsistent") == flags.NOTHING


def test_critics_and_custom_estimators():
    class Plain:
        name = "plain"

        def estimate(self, t, *, y=None, x=None, noise_std=0.0, conditional=None):
            return LayerInformation(Estimate(2.0, 0.3, n=len(t), dim=1), Estimate(0.5, 0.4))

        def get_config(self):
            return {}

    x, t = noisy(150)
    critic = ib.estimators.get("mine", hidden=(4,), steps=10, batch_size=8)
    table = ib.estimate({"h": t}, [Plain(), critic], inputs=x, targets=Y[:150], conditional=True)
    given = table[table["quantity"] == "I(X;T|Y)"].set_index("estimator")
    assert given.loc["plain", "value"] == 1.5 and given.loc["plain", "stderr"] == 0.5
    assert given["kind"].tolist() == ["estimate", "lower"]


def test_the_report_and_the_plots_take_the_quantity(tmp_path):
    table = make_frame(estimators=("ebab",))
    third = table[table["quantity"] == "I(T;Y)"].assign(quantity="I(X;T|Y)")
    table = ib.frame.concat([table, third])
    ib.report.write(table, tmp_path / "report.html")
    assert "I(X;T|Y)" in (tmp_path / "report.html").read_text()
    ib.plot.information_plane(table)
    ib.plot.layer_curves(table, quantity="I(X;T|Y)")
    assert target_quantities(table) == ["I(T;Y)"]
