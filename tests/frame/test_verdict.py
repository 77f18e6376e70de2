"""What the report says in plain words."""

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

from ib_keras.frame import verdict as rule


def curves(values, estimator="ebab", run="tanh", stderr=np.nan, flags=""):
    """A table of I(X;T): layer → values at epochs 0, 1, 10."""
    table = make_frame(runs=(run,), estimators=(estimator,), layers=tuple(values), flags=flags)
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    table["value"] = np.concatenate([np.asarray(v, float) for v in values.values()])
    return table.assign(stderr=stderr)


def one(table):
    (verdict,) = rule.verdicts(table)
    return verdict


def test_a_fall_is_compression_and_a_rise_is_not():
    low, high = rule.verdicts(curves({"a": (5, 8, 6), "b": (5, 6, 8)}, stderr=0.1))
    assert (low.what, low.belief) == (rule.COMPRESSES, rule.YES)
    assert low.claim == "compresses (p < 0.001, adjusted for 2 tests)"
    assert low.curve == "8.00 at epoch 1 → 6.00 nats at the end (−25%), by ebab"
    assert (high.what, high.belief) == (rule.KEEPS, rule.YES)
    ((which, belief),) = rule.headline([low, high])
    assert which == "1 of 2 layers compresses: a."
    assert belief.startswith("You may believe it") and "one run" in belief
    assert "over 2 tests" in belief and "at most 5%" in belief


def test_without_an_error_and_a_second_seed_it_is_seen_in_one_run():
    low = one(curves({"a": (5, 8, 6)}))
    assert (low.what, low.belief, low.tested) == (rule.COMPRESSES, rule.CARE, False)
    assert low.claim.startswith("compresses, seen in one run (p = ")
    assert low.claim.endswith("adjusted for 1 test)")
    ((which, belief),) = rule.headline([low])
    assert which.startswith("In this one run, 1 of 1 layer compresses")
    assert "the values have no standard errors" in belief


@pytest.mark.parametrize(
    "end, stderr, what",
    [(7.7, 0, False), (7.5, 0, True), (7.5, 0.05, True), (7.5, 0.2, False), (6, 0.25, True)],
)
def test_noise_is_no_compression(end, stderr, what):
    # 5 % of 8 is 0.4. The error of a difference is taken as 2 · √2 times the standard error.
    found = one(curves({"a": (5, 8, end)}, stderr=stderr))
    assert found.what == (rule.COMPRESSES if what else rule.OPEN if stderr else rule.KEEPS)


def test_what_an_error_leaves_open_is_to_be_taken_with_care():
    found = one(curves({"a": (5, 8, 7.5)}, stderr=0.2))
    assert (found.what, found.belief, found.claim) == (rule.OPEN, rule.CARE, "may compress")
    assert found.why[0] == "errors and the number of comparisons leave it open whether a falls"
    ((which, belief),) = rule.headline([found])
    assert which == "It is open whether a compresses." and "leave it open" in belief
    both = curves({"a": (5, 8, 7.5), "b": (5, 7, 8), "c": (5, 8, 5)}, stderr=0.1)
    both.loc[both["layer"] == "a", "stderr"] = 0.2
    ((which, _),) = rule.headline(rule.verdicts(both))
    assert which == "1 of 3 layers compresses: c. It is open whether a compresses."


def test_a_curve_that_rises_again_is_said_to():
    table = make_frame(runs=("a",), layers=("l",), epochs=(0, 1, 2, 3, 4, 5, 6, 7))
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    falls = [7.0, 6.9, 6.5, 5.5, 4.8, 4.7, 4.6, 4.6]
    rises = [6.9, 5.0, 4.3, 4.6, 4.9, 5.2, 5.5, 5.7]
    wiggles = [7.0, 6.0, 5.0, 4.9, 5.0, 4.9, 5.1, 5.0]
    for values, again in ((falls, False), (rises, True), (wiggles, False)):
        found = one(table.assign(value=values, stderr=0.05))
        assert found.what == rule.COMPRESSES and (found.belief == rule.CARE) == again
        assert ("rises again after its lowest value, 4.30 at epoch 2" in found.why[0]) == again


def noise(rng, layers, epochs, runs):
    """A table of curves that differ by their errors alone."""
    table = make_frame(
        runs=tuple(f"a-{i}" for i in range(runs)),
        estimators=("ksg",),
        layers=tuple(f"l{i}" for i in range(layers)),
        epochs=tuple(range(epochs)),
    )
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    return table.assign(value=1 + 0.1 * rng.standard_normal(len(table)), stderr=0.1)


def test_of_noise_at_most_one_table_in_twenty_has_a_claim():
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (3, 20), (20, 10), (50, 3)]
    tables = [noise(rng, *shapes[i % 4], runs=1 + i // 4 % 4) for i in range(48)]
    claims = [
        any(v.what in (rule.COMPRESSES, rule.DISPUTED) for v in rule.verdicts(table))
        for table in tables
    ]
    # A rate of 5 % gives more than 6 of 48 once in a hundred times.
    assert sum(claims) <= 6


def test_a_fall_among_many_curves_of_noise_is_found():
    rng = np.random.default_rng(0)
    table = noise(rng, 20, 10, runs=3)
    falls = table["layer"] == "l7"
    table.loc[falls, "value"] += 2 * (1 - table.loc[falls, "epoch"] / 9)
    claimed = [v.layer for v in rule.verdicts(table) if v.what == rule.COMPRESSES]
    assert claimed == ["l7"]


def test_exact_values_that_jump_are_not_believed_to_fall():
    # Without an error the roughness of the curve stands for it.
    values = np.tile([5.0, 8.0], 8)
    table = pd.concat(
        [curves({"a": (v, v, v)}).iloc[:1].assign(epoch=e) for e, v in enumerate(values[:-1])]
    )
    assert one(table.reset_index(drop=True)).what == rule.OPEN


def test_what_tells_nothing_has_no_say():
    flagged = one(curves({"a": (5, 8, 6)}, flags="measurement_bins,high_dim"))
    assert (flagged.what, flagged.belief) == (rule.UNKNOWN, rule.NO)
    assert flagged.why == ("there are too few samples for the width of the layer",)
    ((which, belief),) = rule.headline([flagged])
    assert "cannot tell" in which and belief.startswith("Draw no conclusions yet")
    both = pd.concat([curves({"a": (5, 8, 6)}, flags="high_dim"), curves({"a": (5, 6, 8)}, "kde")])
    assert one(both).what == rule.KEEPS


def test_a_maximum_at_the_ceiling():
    table = curves({"a": (5, 8, 6)})
    table["flags"] = ["", "saturated", ""]
    assert one(table).what == rule.COMPRESSES and one(table).belief == rule.CARE
    table["flags"] = ["", "saturated", "saturated"]
    assert one(table).what == rule.UNKNOWN


def test_a_dead_layer_does_not_compress():
    table = curves({"a": (6, 5, 0), "b": (6, 5, 3)}, stderr=0.01)
    dead = (table["layer"] == "a") & (table["epoch"] == 10)
    table["flags"] = np.where(dead, "measurement_bins,constant", "measurement_bins")
    died, falls = rule.verdicts(table)
    assert died.what == rule.UNKNOWN and "units are dead or the training diverged" in died.why[0]
    assert falls.what == rule.COMPRESSES
    ((which, _),) = rule.headline([died, falls])
    assert which == "1 of 2 layers compresses: b. No verdict is possible on a."


def test_care_and_disagreement():
    care = one(curves({"a": (5, 8, 6)}, flags="measurement_bins", stderr=0.1))
    assert care.belief == rule.CARE and "scale of the bins" in care.why[0]
    both = pd.concat([curves({"a": (5, 8, 6)}), curves({"a": (5, 6, 8)}, "kde")])
    assert (one(both).what, one(both).belief) == (rule.DISPUTED, rule.NO)
    assert one(both).why[0] == "ebab finds a fall; kde does not"
    # What is shown is the fall, also where another estimator is flagged less.
    pale = both.assign(flags=np.where(both["estimator"] == "ebab", "ties", ""))
    assert one(pale).curve.endswith("by ebab")
    ((which, belief),) = rule.headline([one(both)])
    assert "Estimates disagree about a" in which and belief.startswith("Do not believe it yet")


def test_what_is_disputed_is_not_to_be_believed_beside_what_is_not():
    both = pd.concat(
        [curves({"a": (5, 8, 6), "b": (5, 8, 6)}, stderr=0.1), curves({"a": (5, 6, 8)}, "kde")]
    )
    ((which, belief),) = rule.headline(rule.verdicts(both))
    assert "1 of 2 layers compresses: b." in which and "disagree about a" in which
    assert belief.startswith("Believe it with care") and "ebab finds a fall; kde does" in belief


def test_saturation_is_said_first():
    table = curves({"a": (8.3, 8.3, 8.3)}, flags="saturated")
    assert rule.saturation(table).startswith("3 of 3 values of I(X;T) are saturated")
    assert rule.saturation(table.assign(flags="")) == ""


def test_seeds_are_taken_together():
    table = pd.concat([curves({"a": (5, 8, 6)}, run=f"tanh-{i}") for i in range(3)])
    assert one(table).group == "tanh" and one(table).runs == 3
    assert "3 runs" in rule.headline([one(table)])[0][1]


@pytest.mark.parametrize("left_out", [1, 2])
def test_runs_that_are_left_out_are_told(left_out):
    tables = [curves({"a": (5, 8, 6)}, run=f"tanh-{i}", stderr=0.1) for i in range(3)]
    for table in tables[:left_out]:
        table["flags"] = "high_dim"
    found = one(pd.concat(tables, ignore_index=True))
    assert (found.runs, found.all_runs, found.belief) == (3 - left_out, 3, rule.CARE)
    assert f"{left_out} of 3 runs are left out, because there are too few" in found.why[0]
    believe = rule.headline([found])[0][1]
    assert f"based on {3 - left_out} of 3 runs" in believe and "only one run" not in believe


def test_nothing_to_say():
    table = curves({"a": (5, 8, 6)})
    assert rule.verdicts(table[:1]) == []
    assert rule.verdicts(table.assign(quantity="H(T)")) == []
    assert one(table.assign(value=np.nan, flags="no_channel")).what == rule.UNKNOWN


@pytest.mark.parametrize("last", [np.nan, np.inf])
def test_a_curve_without_a_last_value_has_no_end(last):
    """Its training diverged: what it fell to before is not what it ends at."""
    table = curves({"a": (8, 5, last)}, stderr=0.1)
    found = one(table)
    assert (found.what, found.belief) == (rule.UNKNOWN, rule.NO)
    both = pd.concat([table, curves({"a": (5, 6, 8)}, "kde", stderr=0.1)], ignore_index=True)
    assert one(both).what == rule.KEEPS
