import dataclasses
import math

import numpy as np
import pytest

from ib_keras import estimators, synthetic
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators import NormalizingFlow, lossy
from ib_keras.estimators.kernels import regression

# All tests of one width share compiled programs, except where the number of steps differs.
SMALL = NormalizingFlow(hidden=(16,), layers=1, steps=150, batch_size=128, learning_rate=5e-3)


def off(found, truth):
    return abs(found.value - truth) / found.stderr


@pytest.mark.parametrize("mi", [1.0, 10.0])
def test_gaussians_have_their_closed_form(mi):
    x, y = synthetic.correlated_gaussians(2000, 2, mi, seed=0)
    found = SMALL.mutual_information(x, y @ [[0.6, -0.8], [0.8, 0.6]])
    assert off(found, mi) < 3 and not found.flags and found.kind == "estimate"
    assert found.lower < mi < found.upper and found.n == 400
    assert abs(float(found.parts["gaussian"]) - mi) < 0.1


def test_independent_variables_share_nothing():
    rng = np.random.default_rng(0)
    found = SMALL.mutual_information(rng.exponential(size=(1000, 2)), rng.uniform(size=(1000, 2)))
    assert abs(found.value) < 2 * found.stderr + 0.02
    assert found.value - 2 * found.stderr <= 0


@pytest.mark.parametrize(("noise", "dtype"), [(1e-3, np.float64), (1e-6, np.float32)])
def test_noise_far_below_the_scale_of_a_variable_is_resolved(noise, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    y = x + [noise, 1] * rng.normal(size=x.shape)
    truth = 0.5 * math.log1p(1 / noise**2) + 0.5 * math.log(2)
    found = SMALL.mutual_information(x.astype(dtype), y.astype(dtype))
    assert abs(found.value - truth) < 3 * found.stderr + 0.02 * truth


def test_flows_find_what_a_gaussian_misses():
    x, y = synthetic.smoothed_uniforms(4000, 2, 1.0, seed=0)
    found = SMALL.mutual_information(x, y)
    # The closed form has 0.71.
    assert found.value > float(found.parts["gaussian"]) + 3 * found.stderr
    assert found.value < 1 + 3 * found.stderr


def test_a_curved_relation_is_followed():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    y = x + 0.01 * rng.normal(size=(2000, 2))
    curved = np.stack([y[:, 0] + 0.3 * np.sin(2 * y[:, 1]), y[:, 1]], axis=1)
    found = SMALL.mutual_information(x, curved)
    truth = math.log1p(1e4)
    assert abs(found.value - truth) < 3 * found.stderr + 0.05 * truth
    assert float(found.parts["gaussian"]) > 0.9 * truth


def test_values_above_what_held_out_rows_show_are_flagged(monkeypatch):
    x, y = synthetic.correlated_gaussians(300, 2, 1.0, seed=0)
    assert not SMALL.mutual_information(x, y).flags
    ratios = NormalizingFlow._ratios

    def overfitted(self, start, split):
        found = ratios(self, start, split)
        found[split[0]] += 3
        return found

    monkeypatch.setattr(NormalizingFlow, "_ratios", overfitted)
    found = SMALL.mutual_information(x, y)
    assert found.flags == ("few_rows",) and found.upper == float(found.parts["training"]) > 3


def test_samples_on_a_surface_are_flagged():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, size=(500, 1))
    noisy = angle + 0.3 * rng.normal(size=angle.shape)
    x, y = (np.concatenate([np.sin(v), np.cos(v)], axis=1) for v in (angle, noisy))
    assert "low_dim" in SMALL.mutual_information(x, y).flags
    y += rng.normal(size=y.shape)
    assert "low_dim" not in SMALL.mutual_information(x, y).flags


def test_labels_give_a_lower_bound():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    rows = rng.normal(size=(2000, 2)) + np.array([[0, 0], [1.5, 0], [0, 50]])[labels]
    # Two normal densities at a distance of 1.5 share 0.2299 nats with their label, by integration.
    truth = -math.log(1 / 3) / 3 - 2 / 3 * math.log(2 / 3) + 2 / 3 * 0.2299
    found = SMALL.with_labels(rows, labels)
    assert found.kind == "lower" and off(found, truth) < 3
    assert SMALL.with_labels(rows + 100 * labels[:, None], labels).value <= math.log(3)
    # Only the spread tells the classes apart.
    spread = rng.normal(size=(2000, 2)) * 5.0 ** labels[:, None]
    assert SMALL.with_labels(spread, labels).value > 0.3
    assert SMALL.with_labels(rows, np.zeros(2000, int)).value == 0


def test_a_seed_gives_the_same_bits_and_another_one_others():
    x, y = synthetic.student_t(300, 2, 1.0, seed=0)
    first, again = (SMALL.mutual_information(x, y).value for _ in range(2))
    other = dataclasses.replace(SMALL, seed=1).mutual_information(x, y).value
    assert first == again != other
    assert estimators.get(estimators.to_json(SMALL)) == SMALL


def test_an_exact_relation_is_infinite():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    with pytest.raises(InfiniteError, match="infinite"):
        SMALL.mutual_information(x, x @ [[1.0], [2.0]])


def test_dependent_and_constant_columns_add_nothing():
    x, y = synthetic.correlated_gaussians(600, 2, 1.0, seed=0)
    plain = SMALL.mutual_information(x, y)
    more = np.concatenate([y, y.sum(axis=1, keepdims=True), np.ones((600, 1))], axis=1)
    found = SMALL.mutual_information(x, more)
    assert abs(found.value - plain.value) < 3 * plain.stderr
    assert SMALL.mutual_information(x, np.ones((600, 1))).value == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"hidden": (0,)}, "hidden"), ({"layers": 0}, "layers"), ({"learning_rate": 0}, "rate")],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        NormalizingFlow(**arguments)


def test_sizes_are_checked():
    with pytest.raises(ArgumentError, match="n >= 20"):
        SMALL.mutual_information(np.arange(15.0)[:, None], np.arange(15.0)[::-1, None] ** 2)
    with pytest.raises(ArgumentError, match="too wide"):
        SMALL.check_rows(np.zeros((60, 300)), np.zeros((60, 300)))


def test_a_compressor_may_come_first(monkeypatch):
    assert str(estimators.get("ae+flow")) == "ae+flow(k=4)"
    assert estimators.get("pca+flow", seed=3)._inner() == NormalizingFlow(seed=3)
    monkeypatch.setitem(lossy._ESTIMATORS, "flow", lambda settings: SMALL)
    x, y = synthetic.correlated_gaussians(800, 2, 2.0, seed=0)
    wide = np.eye(2, 40)
    found = estimators.get("pca+flow", k=2).mutual_information(x @ wide, y @ wide)
    assert off(found, 2) < 3
    assert estimators.get("pca+flow", k=2).baseline(x, y, repeats=2).value < 0.1


def test_residuals_of_training_rows_are_as_large_as_those_of_new_rows():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 2))
    b[:, 0] += np.sin(2 * a[:, 0])
    train = np.arange(200)
    left = regression.residuals(a, b, train, 0)
    ratio = left.values[train].std(axis=0) / left.values[200:].std(axis=0)
    np.testing.assert_allclose(ratio, 1, atol=0.15)
    # What cannot be predicted is left as it is, and costs no coefficients.
    assert left.degrees[1] < 4 < left.degrees[0]
    assert left.values[200:, 0].std() < 0.9 * b[200:, 0].std()


def test_smooth_scores_increase_and_state_their_slopes():
    rng = np.random.default_rng(0)
    values = np.sort(rng.standard_cauchy((2000, 1)), axis=0)
    scores, log_slope = regression.smooth_scores(values, rng.permutation(2000)[:1000])
    assert (np.diff(scores[:, 0]) > 0).all() and abs(scores.std() - 1) < 0.1
    middle = slice(500, 1500)
    moved = values + 1e-7
    both = regression.smooth_scores(
        np.concatenate([values, moved]), np.random.default_rng(1).permutation(2000)[:1000]
    )
    slopes = (both[0][2000:, 0] - both[0][:2000, 0]) / 1e-7
    np.testing.assert_allclose(slopes[middle], np.exp(both[1][:2000][middle]), rtol=1e-3)
