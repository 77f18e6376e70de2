"""I(X;T) ≥ I(T;Y) where Y is a function of X: which estimates contradict it."""

import math

import pytest
from make_frame import make_frame

from ib_keras.estimation.consistency import flagged


def pair(xt, ty, xt_error=math.nan, ty_error=math.nan, kinds=("estimate", "estimate"), **fixed):
    rows = make_frame(layers=("a",), epochs=(0,), **fixed).to_dict("records")
    for row, value, error, kind in zip(rows, (xt, ty), (xt_error, ty_error), kinds, strict=True):
        row.update(value=value, stderr=error, kind=kind)
    return rows


ALL = ("I(T;Y)", "I(T;Y[shape])")


def flags(rows, of_x=ALL):
    return [row["flags"] for row in flagged(rows, of_x)]


def test_a_token_networks_estimates():
    # As met in the field: 0.02 of the input, 0.37 of the label, which the input determines.
    rows = pair(0.02, 0.37, 0.03, 0.03, flags="no_noise")
    assert flags(rows) == ["no_noise,inconsistent"] * 2
    assert [row["flags"] for row in rows] == ["no_noise"] * 2  # the rows given are not changed
    assert flags(rows, of_x=()) == ["no_noise"] * 2
    assert flags(flagged(rows, ALL)) == ["no_noise,inconsistent"] * 2  # once is enough


@pytest.mark.parametrize(
    "xt, ty, error, unit, contradict",
    [
        (0.30, 0.34, 0.0, "nats", False),  # within 0.05 nats
        (0.30, 0.36, 0.0, "nats", True),
        (0.30, 0.36, 0.0, "bits", False),  # 0.05 nats are 0.072 bits
        (0.30, 0.38, 0.0, "bits", True),
        # Two errors of 0.1 are one of 0.1414; twice that and 0.05 are 0.333.
        (0.30, 0.63, 0.1, "nats", False),
        (0.30, 0.64, 0.1, "nats", True),
        (0.64, 0.30, 0.0, "nats", False),
        (math.nan, 0.3, 0.1, "nats", False),
        (0.3, math.nan, 0.1, "nats", False),
        (math.inf, 0.3, math.nan, "nats", False),
    ],
)
def test_beyond_the_errors(xt, ty, error, unit, contradict):
    wanted = "inconsistent" if contradict else ""
    assert flags(pair(xt, ty, error, error, unit=unit)) == [wanted] * 2


@pytest.mark.parametrize(
    "kinds, contradict",
    [
        (("upper", "estimate"), True),
        (("lower", "estimate"), False),  # I(X;T) may be larger
        (("estimate", "lower"), True),
        (("estimate", "upper"), False),  # I(T;Y) may be smaller
        (("upper", "lower"), True),
    ],
)
def test_bounds(kinds, contradict):
    wanted = "inconsistent" if contradict else ""
    assert flags(pair(0.1, 0.5, kinds=kinds)) == [wanted] * 2


def test_a_value_that_is_known_to_be_wrong_does_not_discredit_the_other():
    for flag in ("high_dim", "integer_inputs", "unbounded"):
        rows = pair(0.1, 0.5)
        rows[0]["flags"] = flag
        other = {**rows[1], "quantity": "I(T;Y[shape])"}
        assert flags([*rows, other]) == [f"{flag},inconsistent", "", ""]
        rows = pair(0.1, 0.5)
        rows[1]["flags"] = flag
        assert flags(rows) == ["", f"{flag},inconsistent"]
    both = pair(0.1, 0.5, flags="high_dim")
    assert flags(both) == ["high_dim,inconsistent"] * 2
    sliced = pair(0.1, 0.5)
    sliced[0]["flags"] = "sliced"
    assert flags(sliced) == ["sliced", ""]


def test_each_cell_by_itself():
    first, second = pair(0.1, 0.5), pair(0.5, 0.1)
    for row in second:
        row["layer"] = "b"
    rows = [first[0], second[0], second[1], first[1]]
    assert flags(rows) == ["inconsistent", "", "", "inconsistent"]
    # Several targets: only the one that contradicts.
    other = {**first[1], "quantity": "I(T;Y[shape])", "value": 0.05}
    found = flagged([*first, other], ALL)
    assert [row["flags"] for row in found] == ["inconsistent", "inconsistent", ""]
    assert flags([first[1]]) == [""]
