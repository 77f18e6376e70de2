"""Integers and rounded values spread over their cells."""

import numpy as np
import pytest

from ib_keras.arrays.grids import repeated, spread_cells


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("step", [1.0, 0.1, 1 / 255, 1e-3, 2.0**-40])
def test_values_are_known_after_spreading(step, dtype):
    rng = np.random.default_rng(0)
    x = (np.round(rng.normal(size=(3000, 2)) * [3, 40]) * step).astype(dtype)
    (found,), remain = spread_cells([x], rng)
    assert not remain and found.dtype == dtype and not np.shares_memory(found, x)
    np.testing.assert_allclose(np.rint(found / step), np.rint(x / step))
    within = found / step - np.rint(x / step)
    assert within.min() < -0.48 and within.max() > 0.48 and abs(within.mean()) < 0.03
    assert not repeated(found).any()


def test_values_without_a_step_reach_half_way_to_the_next():
    values = np.array([0.0, 0.1, 0.75, 10.0, 10.0 + np.pi])
    x = values[np.random.default_rng(0).integers(0, 5, 2000)][:, None]
    (found,), remain = spread_cells([x], np.random.default_rng(1))
    assert not remain
    np.testing.assert_array_equal(values[np.searchsorted((values[1:] + values[:-1]) / 2, found)], x)


@pytest.mark.parametrize("largest", [1.7e308, 5e-324, 1.0])
def test_extreme_values(largest):
    rng = np.random.default_rng(0)
    x = largest * rng.choice([-1.0, 0.0, 5e-324, 1.0], size=(1000, 1))
    found, _ = spread_cells([x], rng)
    assert np.isfinite(found[0]).all()


def test_what_is_not_discrete_is_not_changed():
    rng = np.random.default_rng(0)
    x = np.stack([np.maximum(rng.normal(size=2000), 0), rng.normal(size=2000)], axis=1)
    (found,), remain = spread_cells([x], rng)
    np.testing.assert_array_equal(found, x)
    assert remain and repeated(x).tolist() == [True, False]
    (same,), remain = spread_cells([x[:, 1:]], rng)
    assert not remain and np.shares_memory(same, x)


def test_the_order_of_rows_classes_and_variables_does_not_matter():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (300, 2)).astype(float), rng.poisson(1, (300, 1)).astype(float)
    y, order = rng.integers(0, 3, 300), rng.permutation(300)

    def spread(*variables, labels=None):
        return spread_cells(variables, np.random.default_rng(1), labels)[0]

    def rows(*columns):
        found = np.concatenate(columns, axis=1)
        return found[np.lexsort(found.T)]

    expected = spread(a, b)
    np.testing.assert_array_equal(rows(*expected), rows(*spread(a[order], b[order])))
    np.testing.assert_array_equal(rows(*expected), rows(*spread(b, a)[::-1]))
    other = np.array([2, 0, 1])
    (first,), (second,) = spread(a, labels=y), spread(a[order], labels=other[y[order]])
    np.testing.assert_array_equal(
        rows(first, y[:, None]), rows(second, np.argsort(other)[other[y[order]]][:, None])
    )
    # The noise of one variable does not depend on that of the other, also of equal counts.
    first, second = spread(a[:, :1], a[:, :1].copy())
    assert abs(np.corrcoef((first - a[:, :1])[:, 0], (second - a[:, :1])[:, 0])[0, 1]) < 0.2
