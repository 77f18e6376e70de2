import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

import ib_keras as ib
from ib_keras import flags, synthetic
from ib_keras.estimators import KSG, InfoNCE, KozachenkoLeonenko, width

RNG = np.random.default_rng


def classes(n, dim, apart, seed):
    rng = RNG(seed)
    y = rng.integers(0, 2, n)
    a = rng.normal(size=(n, dim))
    a[:, 0] += apart * y
    return a, y


@pytest.mark.parametrize(
    "dim, mi, wide", [(2, 0.5, False), (2, 2, False), (10, 1, True), (30, 3, True)]
)
def test_neighbours_are_flagged_where_they_are_wrong(dim, mi, wide):
    """Those for 10 and 30 dimensions are less than half of the truth, with errors of 3 %."""
    found = KSG().mutual_information(*synthetic.correlated_gaussians(600, dim, mi, seed=1))
    wrong = abs(found.value - mi) > 3 * found.stderr + 0.1 * mi
    assert (wrong, "high_dim" in found.flags) == (wide, wide)


def test_neighbours_are_flagged_where_only_one_variable_is_wide():
    x, y = synthetic.correlated_gaussians(600, 2, 1.0, seed=1)
    wide = np.concatenate([x, RNG(0).normal(size=(600, 28))], axis=1)
    for pair in ((wide, y), (y, wide)):
        found = KSG().mutual_information(*pair)
        assert found.value < 0.5 and "high_dim" in found.flags
    # Half of the rows say the same, so they would not show it.
    half = KSG().mutual_information(wide[:300], y[:300])
    assert abs(half.value - found.value) < 3 * math.hypot(half.stderr, found.stderr)


def test_entropies_are_flagged_where_they_are_wrong():
    for dim, mi, wide in ((2, 1.0, False), (10, 3.0, True)):
        found = KozachenkoLeonenko().mutual_information(
            *synthetic.correlated_gaussians(600, dim, mi, seed=1)
        )
        wrong = abs(found.value - mi) > 3 * found.stderr + 0.1 * mi
        assert (wrong, "high_dim" in found.flags) == (wide, wide)


def test_classes_that_lie_apart_are_no_problem_in_many_dimensions():
    near = KSG().with_classes(*classes(600, 100, 2.0, seed=1))
    assert near.value < 0.2 and "high_dim" in near.flags  # the truth is 0.34
    apart = KSG().with_classes(*classes(600, 100, 6.0, seed=1))
    assert apart.value == pytest.approx(math.log(2), abs=0.03) and "high_dim" not in apart.flags
    narrow = KSG().with_classes(*classes(600, 2, 2.0, seed=1))
    assert narrow.value == pytest.approx(0.34, abs=0.1) and "high_dim" not in narrow.flags


def test_what_is_read_from_shuffled_classes_shows_values_that_are_too_high():
    """Between rows of small integers many Chebyshev distances are equal."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:900], y[:900]
    assert "high_dim" not in KSG().with_classes(x, y).flags
    shuffled = KSG(dither=False).with_classes(x.astype(float), RNG(0).permutation(y))
    assert shuffled.value > 0.1 + 3 * shuffled.stderr and "high_dim" in shuffled.flags


def test_terms_at_some_rows_are_those_of_the_estimate():
    a, b = synthetic.correlated_gaussians(300, 3, 1.0, seed=0)
    a = np.round(a)  # with rows that coincide
    ksg = KSG(rescale=False, dither=False)
    terms = width.pair_terms(a, b, np.arange(300), k=5, metric="chebyshev")
    assert terms.mean() == pytest.approx(ksg.mutual_information(a, b).value, abs=1e-12)
    y = RNG(0).integers(0, 3, 300)
    (terms,) = width._class_terms(a, [y], 5, "chebyshev")
    assert terms.mean() == pytest.approx(ksg.with_classes(a, y).value, abs=1e-12)


@pytest.mark.parametrize("information", [0.5, 2.0])
def test_drawn_rows_have_the_information_that_is_stated(information):
    """In one dimension, neighbours are right."""
    a = RNG(0).normal(size=(1024, 1))
    rows, stated = width.drawn_rows(a, information, RNG(1))
    assert stated == pytest.approx(information, abs=0.1)
    terms = width.pair_terms(a, a, rows, k=5, metric="chebyshev")
    error = terms.std() / math.sqrt(len(terms))
    assert abs(terms.mean() - stated) < 4 * error


def test_drawn_classes_have_the_information_that_is_stated():
    a, y = RNG(0).normal(size=(2000, 2)), RNG(1).choice(3, 2000, p=[0.6, 0.3, 0.1])
    drawn, stated = width.drawn_classes(a, y, 0.4, RNG(2))
    assert stated == pytest.approx(0.4, abs=0.02)
    share = np.bincount(drawn) / len(drawn)
    np.testing.assert_allclose(share, np.bincount(y) / len(y), atol=4 * math.sqrt(0.25 / 2000))
    found = KSG().with_classes(a, drawn)
    assert abs(found.value - stated) < 4 * found.stderr


@pytest.mark.parametrize("dim, mi", [(1, 0.0), (20, 0.0), (5, 1.0), (20, 3.0)])
def test_the_linear_bound_is_a_bound(dim, mi):
    bound = width.linear_bound(*synthetic.correlated_gaussians(1000, dim, mi, seed=0))
    assert 0.7 * mi - 1e-9 <= bound.value <= mi + 3 * bound.stderr
    # Components that depend on each other are not counted twice.
    x, y = synthetic.gaussian_images(1000, 8, 1.0, seed=0)
    bound = width.linear_bound(x.reshape(1000, -1), y.reshape(1000, -1))
    assert bound.value <= 1 + 3 * bound.stderr


def test_critics_that_find_less_than_half_of_a_linear_model_are_flagged():
    rng = RNG(0)
    x = rng.normal(size=(500, 20))
    layer = np.tanh(x @ rng.normal(size=(20, 60)) / math.sqrt(20))
    few = InfoNCE(hidden=(16,), steps=50)
    wide = few.mutual_information(x, layer)
    assert wide.value < 1 and "high_dim" in wide.flags
    assert "high_dim" not in few.mutual_information(x, rng.normal(size=(500, 60))).flags


def test_heavy_tails_hide_no_lack_of_rows():
    x, y = synthetic.correlated_gaussians(2000, 4, 3.3, seed=0)
    plain, tails = (
        KSG().mutual_information(f(x), f(y)) for f in (np.array, lambda v: np.sinh(3 * v))
    )
    assert plain.value == pytest.approx(2.5, abs=0.3)
    # Without their ranks, a linear model of such values finds less than neighbours.
    assert tails.value < 1.7 and "high_dim" in tails.flags
    bound = width.linear_bound(np.sinh(3 * x), np.sinh(3 * y))
    assert bound.value < tails.value
    ranks = width.linear_bound(np.sinh(3 * x), np.sinh(3 * y), ranks=True)
    assert ranks.value == pytest.approx(3.3, abs=4 * ranks.stderr)


def test_the_flag_says_that_the_value_is_no_use():
    assert flags.doubt(width.FLAG) == flags.NOTHING
    assert ib.estimators.KSG().mutual_information(*RNG(0).normal(size=(2, 80, 5))).flags == ()
