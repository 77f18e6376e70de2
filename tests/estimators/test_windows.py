"""Nearest neighbours of rows in the order of time: windows, noticed dependence, baselines."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import digamma, gammaln

from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, KozachenkoLeonenko


def series(n, phi, seed, dim=1):
    noise = np.random.default_rng(seed).normal(size=(n + 300, dim))
    x = np.zeros_like(noise)
    for i in range(1, len(x)):
        x[i] = phi * x[i - 1] + noise[i]
    return x[300:]


def apart(x, window, metric="chebyshev"):
    """Distances to the rows outside the window, infinite to those within and to the row itself."""
    at = np.arange(len(x))
    near = np.abs(at[:, None] - at) <= window
    return np.where(near, np.inf, cdist(x, x, metric)), (~near).sum(axis=1) + 1


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("dim", [1, 20])
def test_a_window_leaves_near_rows_out_of_neighbours_and_counts(metric, dim):
    x, y = series(150, 0.9, 0, dim), series(150, 0.5, 1, 2)
    (dx, n), (dy, _) = (apart(v, 7, metric) for v in (x, y))
    radius = np.sort(np.maximum(dx, dy), axis=1)[:, 2:3]
    inside = [1 + (d < radius).sum(axis=1) for d in (dx, dy)]
    expected = digamma(3) + np.mean(digamma(n) - digamma(inside[0]) - digamma(inside[1]))
    made = KSG(3, metric, rescale=False, window=7)
    assert made.mutual_information(x, y).value == pytest.approx(expected, abs=1e-10)


def test_a_window_with_labels_and_entropies():
    x, y = series(200, 0.9, 0), (series(200, 0.8, 1)[:, 0] > 0).astype(int)
    y[3] = 2  # a class of one
    kept = np.arange(200) != 3
    at = np.flatnonzero(kept)
    near = np.abs(at[:, None] - at) <= 5
    d = np.where(near, np.inf, cdist(x[kept], x[kept]))
    same = (y[kept][:, None] == y[kept]) & ~near
    radius = np.sort(np.where(same, d, np.inf), axis=1)[:, 3]
    inside = 1 + (d < radius[:, None]).sum(axis=1)
    n, n_y = (~near).sum(axis=1) + 1, same.sum(axis=1) + 1
    expected = digamma(4) + np.mean(digamma(n) - digamma(n_y) - digamma(inside))
    assert KSG(4, window=5).with_labels(x, y).value == pytest.approx(expected, abs=1e-10)

    def entropy(v, window):
        d, n = apart(v, window, "euclidean")
        dim = v.shape[1]
        volume = dim / 2 * np.log(np.pi) - gammaln(dim / 2 + 1)
        return np.mean(digamma(n) - digamma(2) + volume + dim * np.log(np.sort(d, axis=1)[:, 1]))

    made = KozachenkoLeonenko(2, window=5)
    assert made.entropy(x).value == pytest.approx(entropy(x, 5), abs=1e-9)
    z = x + np.random.default_rng(0).normal(size=x.shape)
    z *= x.std() / z.std()  # variables of equal spread are not rescaled
    expected = entropy(x, 5) + entropy(z, 5) - entropy(np.hstack([x, z]), 5)
    assert made.mutual_information(x, z).value == pytest.approx(expected, abs=1e-9)
    y[3] = 0
    assert np.isfinite(made.with_labels(x, y).value)


def test_a_window_changes_little_where_rows_are_independent():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 1))
    y = x + rng.normal(size=(1000, 1))
    labels = (y[:, 0] > 0).astype(int)
    for cls in (KSG, KozachenkoLeonenko):
        for name, other in (("mutual_information", y), ("with_labels", labels)):
            plain, windowed = (getattr(cls(window=w), name)(x, other) for w in (0, 20))
            assert windowed.value == pytest.approx(plain.value, abs=plain.stderr)
            assert windowed.stderr < 3 * plain.stderr


def test_windows_that_leave_too_little():
    x = series(60, 0.5, 0)
    for cls in (KSG, KozachenkoLeonenko):
        with pytest.raises(ArgumentError, match=r"window=28.*more than 61.*60 samples"):
            cls(window=28).mutual_information(x, series(60, 0.5, 1))
        with pytest.raises(ArgumentError, match="`window` is not a valid count"):
            cls(window=-1)
    # The labels do not return within the series, so that no row has another of its class.
    with pytest.raises(ArgumentError, match="outside window=10"):
        KSG(window=10).with_labels(x, np.repeat(np.arange(6), 10))
    with pytest.raises(ArgumentError, match="outside the window"):
        KozachenkoLeonenko(window=10).with_labels(x, np.repeat(np.arange(3), 20))
    assert "window=10" in str(KSG(window=10)) and "window" not in str(KSG())


def test_dependence_of_both_variables_is_flagged():
    x, y = series(1500, 0.98, 0), series(1500, 0.98, 1)
    labels = (y[:, 0] > 0).astype(int)
    other = np.random.default_rng(0).normal(size=(1500, 1))
    for cls in (KSG, KozachenkoLeonenko):
        made = cls(3)
        assert made.mutual_information(x, y).flags == ("dependent",)
        assert made.with_labels(x, labels).flags == ("dependent",)
        assert made.mutual_information(x, other).flags == ()
        order = np.argsort(labels, kind="stable")
        assert made.with_labels(other[order], labels[order]).flags == ()
        # A window that is shorter than the dependence is not enough.
        for window, flags in ((2, ("dependent",)), (300, ())):
            assert cls(3, window=window).mutual_information(x, y).flags == flags


def test_the_baseline_of_series_has_the_bias_of_the_estimate():
    made, found, rotated = KSG(), [], []
    for seed in range(6):
        x, y = series(2000, 0.99, seed), series(2000, 0.99, seed + 100)
        found.append(made.mutual_information(x, y).value)
        rotated.append(made.baseline(x, y, repeats=3, seed=seed).value)
    x, y = series(2000, 0.99, 0), series(2000, 0.99, 100)
    permuted = made.baseline(x, y, repeats=2, rotate=False)
    # The mean of 0.22 varies by 0.05 between pairs of series.
    assert np.mean(found) == pytest.approx(0.22, abs=0.06)
    assert np.mean(rotated) == pytest.approx(np.mean(found), abs=0.07)
    assert abs(permuted.value) < 0.03
    with pytest.raises(ArgumentError, match="`rotate` is unknown"):
        made.baseline(x, y, rotate="yes")


def test_rows_that_depend_in_unnoticed_ways_can_be_rotated():
    rng = np.random.default_rng(0)
    # A clock looks as if the rows had been sorted by it.
    clock = np.arange(1000.0)[:, None]
    x = series(1000, 0.95, 0)
    assert "dependent" not in KSG().mutual_information(clock, x).flags
    made = KSG()
    plain, rotated = (made.baseline(clock, x, repeats=3, rotate=r).value for r in (None, True))
    assert abs(plain) < 0.05 and rotated > 0.3
    y = x + rng.normal(size=x.shape)
    same = made.baseline(x, y, repeats=2, seed=3), made.baseline(x, y, repeats=2, seed=3)
    assert same[0] == same[1]
