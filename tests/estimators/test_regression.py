import math

import numpy as np
import pytest
import scipy.stats

from ib_keras import synthetic
from ib_keras.estimators.regression import by_regression

N = 2000
RNG = np.random.default_rng(0)
X, E = RNG.normal(size=(2, N, 1))


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order_of_the_tests():
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def normal_scores(values):
    return scipy.stats.norm.ppf(scipy.stats.rankdata(values, axis=0) / (len(values) + 1))


@pytest.mark.parametrize("noise", [1.0, 0.1, 1e-3, 1e-6])
def test_noise_of_any_size(noise):
    found = by_regression({"values": (X, X + noise * E)})
    exact = 0.5 * math.log1p(noise**-2)
    assert found.estimate.value == pytest.approx(exact, abs=3 * found.estimate.stderr)
    assert found.estimate.stderr < 0.05 and abs(found.rest) < 0.1


@pytest.mark.parametrize("mi", [0.0, 2.0, 10.0])
@pytest.mark.parametrize("draw", ["correlated_gaussians", "student_t", "log_gamma_exponential"])
def test_known_pairs(draw, mi):
    x, y = getattr(synthetic, draw)(N, 2, mi or 1.0, seed=1)
    if not mi:
        y = y[RNG.permutation(N)]
    rotate = np.linalg.qr(RNG.normal(size=(2, 2)))[0]
    found = by_regression({"values": (x @ rotate, y), "ranks": tuple(map(normal_scores, (x, y)))})
    tolerance = 3 * found.estimate.stderr + 0.05 * mi
    assert found.estimate.value == pytest.approx(mi, abs=tolerance)


def test_what_no_regression_predicts_is_left():
    """Without a mean of B given A, the information is that of the neighbours."""
    y = np.abs(X) * RNG.choice([-1, 1], (N, 1)) + 0.1 * E
    found = by_regression({"values": (X, y)})
    assert found.rest > 0.9 * found.estimate.value > 0.5


def test_ranks_show_no_more_than_their_resolution():
    """Ranks of nearly equal variables are equal, though the information is finite."""
    pair = normal_scores(X), normal_scores(X + 1e-6 * E)
    assert by_regression({"ranks": pair}) is None
    assert by_regression({"values": (X, X + 1e-6 * E), "ranks": pair}).by.split(", ")[1] == "values"


def test_one_column_of_ranks_has_a_known_entropy():
    y = 0.8 * X + 0.6 * E
    found = by_regression({"ranks": (normal_scores(X), normal_scores(y))})
    assert found.estimate.value == pytest.approx(-math.log(0.6), abs=3 * found.estimate.stderr)


@pytest.mark.parametrize("more", [[X], [1 - 3 * X], [E, X + E]])
def test_columns_that_repeat_others_add_nothing(more):
    x, noise = np.hstack([X, *more]), 0.75 * RNG.normal(size=(N, 1))
    for pair in ((x, X + noise), (X + noise, x)):
        found = by_regression({"values": pair, "ranks": tuple(map(normal_scores, pair))})
        exact = 0.5 * math.log1p(0.75**-2)
        assert found.estimate.value == pytest.approx(exact, abs=3.5 * found.estimate.stderr)


def test_samples_on_a_surface_are_not_predicted():
    angle = RNG.uniform(0, 2 * np.pi, (N, 1))
    circle = np.hstack([np.cos(angle), np.sin(angle)])
    found = by_regression({"values": (circle + 0.3 * RNG.normal(size=(N, 2)), circle)})
    assert found.by.startswith("a from b")


def test_an_exact_relation():
    assert by_regression({"values": (X, X**2 - X - 1)}).estimate.value == math.inf
    found = by_regression({"values": (X, np.sin(3 * X))})
    assert found.growth.value > 1
