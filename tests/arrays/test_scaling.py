"""Scales and tails: what is mapped, what stays as it is, and what estimators gain by it."""

import math

import numpy as np
import pytest

from ib_keras.arrays.scaling import (
    few_rows_set_range,
    magnitude,
    moderate,
    of_one_spread,
    shorten_tails,
    spread,
    times_two,
)
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, KozachenkoLeonenko


def cauchy(n, correlation, seed, df=1.0):
    """A pair with Student's t distribution, one column each."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    z[:, 1] = correlation * z[:, 0] + math.sqrt(1 - correlation**2) * z[:, 1]
    return np.split(z / np.sqrt(rng.chisquare(df, (n, 1)) / df), 2, axis=1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_ordinary_samples_are_returned_as_they_are(dtype):
    rng = np.random.default_rng(0)
    for samples in (rng.normal(size=(500, 3)), rng.exponential(size=(500, 3)) * 1e6, np.eye(50)):
        samples = samples.astype(dtype)
        same, log_slope = shorten_tails(samples)
        assert same is samples and not log_slope.any()


@pytest.mark.parametrize(("dtype", "scale"), [("f8", 1e300), ("f8", 1e-300), ("f4", 1e-30)])
def test_extreme_magnitudes_become_moderate_by_a_power_of_two(dtype, scale):
    samples = (np.random.default_rng(0).normal(size=(50, 2)) * scale).astype(dtype)
    scaled, exponent = moderate(samples)
    assert scaled.dtype == samples.dtype and 0.5 <= magnitude(scaled)[0, 0] <= 1
    np.testing.assert_array_equal(times_two(scaled, -exponent), samples)


def test_small_columns_are_scaled_by_themselves_when_asked():
    samples = np.random.default_rng(0).normal(size=(50, 3)) * [1e200, 1, 1e-200]
    whole, columns = moderate(samples)[0], moderate(samples, columns=True)[0]
    assert magnitude(whole, axis=0)[0, 1] < 1e-190
    assert (magnitude(columns, axis=0) > 0.4).all()
    assert np.ptp(columns[:, 2] / (samples[:, 2] * 1e200)) < 1e-12


def test_tails_are_shortened_by_an_increasing_map_whose_slope_is_returned():
    rng = np.random.default_rng(0)
    samples = np.sort(np.concatenate([rng.normal(size=3000), -np.geomspace(100, 1e90, 40)]))
    mapped, log_slope = shorten_tails(samples[:, None])
    assert (np.diff(mapped[:, 0]) > 0).all() and np.abs(mapped).max() < 250
    assert ((log_slope < 0) == (np.abs(samples) > 50)).all()
    # The map of samples that are a little farther on, with the same usual range.
    far = samples < -50
    step = np.where(far, 1e-6 * np.abs(samples), 0)
    moved = shorten_tails((samples + step)[:, None])[0]
    slope = (moved - mapped)[far, 0] / step[far]
    np.testing.assert_allclose(np.log(slope), log_slope[far], atol=1e-4)


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**-20, 2.0**300])
def test_tails_do_not_depend_on_the_unit(factor):
    samples = np.random.default_rng(0).standard_cauchy((2000, 2))
    one, other = shorten_tails(samples), shorten_tails(samples * factor)
    units = [mapped / spread(mapped) for mapped in (one[0], moderate(other[0])[0])]
    np.testing.assert_allclose(units[0], units[1], rtol=1e-12)
    unit = np.log(spread(other[0])) - np.log(spread(one[0])) - np.log(factor)
    np.testing.assert_allclose(other[1], one[1] + 2 * unit, atol=1e-9)


def test_one_spread():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 1)) * 1e-9, rng.normal(size=(300, 3)) * 1e6
    first, second = of_one_spread(a, b)
    assert second is b and spread(first) == pytest.approx(spread(b) / 1.02, rel=2**-15)
    np.testing.assert_array_equal(first, of_one_spread(a * 2.0**40, b * 4)[0] / 4)
    first, second = of_one_spread(b, a)
    assert first is b and spread(second) == pytest.approx(spread(b) / 1.02, rel=2**-15)
    near = 1.01 * b
    assert of_one_spread(b, near)[1] is near
    # Equal distances between integers stay equal.
    steps = np.diff(of_one_spread(b, np.arange(300.0)[:, None])[1], axis=0)
    assert len(np.unique(steps)) == 1
    assert spread(np.ones((5, 2))) == 1


def test_the_entropy_of_heavy_tails():
    """h of the Cauchy distribution is ln 4π, and that of c times it ln c more."""
    rows = np.random.default_rng(0).standard_cauchy((20_000, 1))
    for scale in (1.0, 1e-250, 1e250):
        found = KozachenkoLeonenko().entropy(rows * scale)
        truth = math.log(4 * math.pi) + math.log(scale)
        assert abs(found.value - truth) < 4 * found.stderr and found.stderr < 0.02


@pytest.mark.parametrize(("df", "correlation", "truth"), [(1, 0.0, 0.2242), (0.5, 0.9, 1.325)])
def test_the_information_of_heavy_tails(df, correlation, truth):
    """Of Student's t in two dimensions, which is dependent even without correlation."""
    pairs = [cauchy(2000, correlation, seed, df) for seed in range(4)]
    found = [float(KSG().mutual_information(*pair)) for pair in pairs]
    # KSG of the values themselves has a bias of -0.08 and -0.063 here.
    assert np.mean(found) == pytest.approx(truth, abs=0.06 if df == 1 else 0.05)


def test_values_that_are_taken_as_they_are_have_squares():
    a, b = np.random.default_rng(0).normal(size=(2, 100, 1))
    made = KSG(rescale=False)
    assert made.mutual_information(a, b).n == 100
    for scale in (1e-120, 1e120):
        with pytest.raises(ArgumentError, match="without rescaling.*rescale=True"):
            made.mutual_information(a, b * scale)


def test_neither_variable_hides_the_other():
    """I(A;B) of a pair in units that differ by up to 37 orders of magnitude."""
    a, noise = np.random.default_rng(0).normal(size=(2, 1500, 1))
    b = a + noise
    expected = KozachenkoLeonenko().mutual_information(a, b)
    assert abs(expected.value - 0.5 * math.log(2)) < 3 * expected.stderr
    for scale in (2.0**-120, 2.0**120):
        found = KozachenkoLeonenko().mutual_information((a * scale).astype(np.float32), b)
        # The spreads differ by 2 % in either direction.
        assert found.value == pytest.approx(expected.value, abs=found.stderr / 4)


def test_few_rows_that_set_the_range():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(500, 4))
    usual = {
        "normal": t,
        "relu": np.maximum(0, t - 2),
        "heavy tails": np.exp(2 * t),
        "rarely active": (rng.random((500, 4)) < 0.005).astype(float),
        "one wide column": t * [300, 1, 1, 1],
        "saturated": np.tanh(9 * t),
    }
    for name, samples in usual.items():
        for columns in (False, True):
            assert not few_rows_set_range(samples, columns=columns), name
    for rows in (1, 5, 20):
        far = t.copy()
        far[:rows] += 1e4
        assert few_rows_set_range(far) and few_rows_set_range(far, columns=True)
        assert few_rows_set_range(far.astype(np.float32))
    far[:40] = 1e4  # not few
    assert not few_rows_set_range(far)
    assert few_rows_set_range(np.vstack([t[:2], [[1e9] * 4]]))
    for scale in (1e300, 5e-324):
        with np.errstate(under="ignore"):
            assert not few_rows_set_range(np.clip(t * scale, -1.7e308, 1.7e308))
    assert not few_rows_set_range(t[:2]) and not few_rows_set_range(t[:1])
