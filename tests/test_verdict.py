"""What the report says in plain words."""

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

from ib_keras import _verdict


def curves(values, estimator="ebab", run="tanh", stderr=np.nan, flags=""):
    """A table of I(X;T): layer → values at epochs 0, 1, 10."""
    table = make_frame(runs=(run,), estimators=(estimator,), layers=tuple(values), flags=flags)
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    table["value"] = np.concatenate([np.asarray(v, float) for v in values.values()])
    return table.assign(stderr=stderr)


def one(table):
    (verdict,) = _verdict.verdicts(table)
    return verdict


def test_a_fall_is_compression_and_a_rise_is_not():
    low, high = _verdict.verdicts(curves({"a": (5, 8, 6), "b": (5, 6, 8)}))
    assert (low.what, low.belief) == (_verdict.COMPRESSES, _verdict.YES)
    assert low.curve == "8.00 at epoch 1 → 6.00 nats at the end (−25%), by ebab"
    assert (high.what, high.belief) == (_verdict.KEEPS, _verdict.YES)
    ((which, belief),) = _verdict.headline([low, high])
    assert which == "1 of 2 layers compresses: a."
    assert belief.startswith("You may believe it") and "one run" in belief


@pytest.mark.parametrize(
    "end, stderr, what",
    [(7.7, 0, "does not compress"), (7.5, 0, "compresses"), (7.5, 0.2, "does not compress")],
)
def test_noise_is_no_compression(end, stderr, what):
    # 5 % of 8 is 0.4; two standard errors of a difference are 2 · 0.2 · √2 = 0.57.
    assert one(curves({"a": (5, 8, end)}, stderr=stderr)).what == what


def test_what_tells_nothing_has_no_say():
    flagged = one(curves({"a": (5, 8, 6)}, flags="measurement_bins,high_dim"))
    assert (flagged.what, flagged.belief) == (_verdict.UNKNOWN, _verdict.NO)
    assert flagged.why == ("there are too few samples for so wide a layer",)
    ((which, belief),) = _verdict.headline([flagged])
    assert "cannot tell" in which and belief.startswith("Believe nothing yet")
    both = pd.concat([curves({"a": (5, 8, 6)}, flags="high_dim"), curves({"a": (5, 6, 8)}, "kde")])
    assert one(both).what == _verdict.KEEPS


def test_a_maximum_at_the_ceiling():
    table = curves({"a": (5, 8, 6)})
    table["flags"] = ["", "saturated", ""]
    assert one(table).what == _verdict.COMPRESSES and one(table).belief == _verdict.CARE
    table["flags"] = ["", "saturated", "saturated"]
    assert one(table).what == _verdict.UNKNOWN


def test_care_and_disagreement():
    care = one(curves({"a": (5, 8, 6)}, flags="measurement_bins"))
    assert care.belief == _verdict.CARE and "scale of the bins" in care.why[0]
    both = pd.concat([curves({"a": (5, 8, 6)}), curves({"a": (5, 6, 8)}, "kde")])
    assert (one(both).what, one(both).belief) == (_verdict.DISPUTED, _verdict.NO)
    assert one(both).why[0] == "ebab sees it; kde does not"
    ((which, belief),) = _verdict.headline([one(both)])
    assert "Estimates disagree about a" in which and belief.startswith("Do not believe it yet")


def test_seeds_are_taken_together():
    table = pd.concat([curves({"a": (5, 8, 6)}, run=f"tanh-{i}") for i in range(3)])
    assert one(table).group == "tanh" and one(table).runs == 3
    assert "3 runs" in _verdict.headline([one(table)])[0][1]


def test_nothing_to_say():
    table = curves({"a": (5, 8, 6)})
    assert _verdict.verdicts(table[:1]) == []
    assert _verdict.verdicts(table.assign(quantity="H(T)")) == []
    assert one(table.assign(value=np.nan, flags="no_channel")).what == _verdict.UNKNOWN
