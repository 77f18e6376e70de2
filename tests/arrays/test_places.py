"""Neighbours among equal rows: what is counted by places is what all pairs give."""

import numpy as np
import pytest
from scipy.special import digamma

from ib_keras.arrays.places import places
from ib_keras.estimators import KSG
from ib_keras.estimators.kernels.neighbor_search import counts_within, distances, joint_counts


def all_pairs(x, metric):
    gaps = np.abs(x[:, None] - x[None])
    return gaps.max(axis=2) if metric == "chebyshev" else np.sqrt(np.square(gaps).sum(axis=2))


def samples(kind, n, d, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "grid":
        return rng.integers(0, 4, (n, d)).astype(float)
    if kind == "mostly zero":
        return np.where(rng.random((n, 1)) < 0.9, 0.0, rng.integers(-50, 50, (n, d)))
    if kind == "one tied column":
        return np.hstack([rng.integers(0, 3, (n, 1)), rng.integers(-1000, 1000, (n, d))]) * 1.0
    return rng.integers(-(10**6), 10**6, (n, d)).astype(float)


KINDS = ["grid", "mostly zero", "one tied column", "different"]


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("d", [1, 2, 5, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_distances_and_counts_are_those_of_all_pairs(kind, d, metric):
    x = samples(kind, 150, d)
    apart = all_pairs(x, metric)
    others = np.sort(apart + np.diag(np.full(len(x), np.inf)), axis=1)[:, :3]
    np.testing.assert_allclose(distances(x, 3, metric), others, rtol=1e-12)
    radius = np.sort(apart, axis=1)[:, 40]
    inside = np.maximum((apart < radius[:, None]).sum(axis=1), (apart == 0).sum(axis=1))
    inside[radius == 0] = 0
    found = counts_within(x, radius, metric)
    np.testing.assert_array_equal(found[radius > 0], inside[radius > 0])


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("kind", KINDS)
def test_joint_counts_are_those_of_all_pairs(kind, metric):
    x, y = samples(kind, 150, 2), samples("grid", 150, 1, seed=1)
    in_x, in_y = all_pairs(x, metric), all_pairs(y, metric)
    both = np.maximum(in_x, in_y)
    k = 4
    radius = np.sort(both, axis=1)[:, k][:, None]
    same = radius[:, 0] == 0
    wanted = [np.where(same, (both == 0).sum(axis=1) - 1, k)]
    wanted += [
        np.where(same, (one == 0).sum(axis=1) - 1, np.maximum((one < radius).sum(axis=1), 1))
        for one in (in_x, in_y)
    ]
    np.testing.assert_array_equal(joint_counts(x, y, k, metric), wanted)
    # Where more than k neighbours are as near as the k-th, the border is counted in all spaces.
    border = same | ((both <= radius).sum(axis=1) - 1 > k)
    closed = [
        np.where(border, (one <= radius).sum(axis=1) - 1, inner)
        for one, inner in zip((both, in_x, in_y), wanted, strict=True)
    ]
    np.testing.assert_array_equal(joint_counts(x, y, k, metric, closed=True), closed)
    assert kind != "grid" or not np.array_equal(wanted, closed)


@pytest.mark.parametrize("kind", KINDS)
def test_information_of_labels_is_ross_formula(kind):
    x, k = samples(kind, 200, 2), 3
    y = np.random.default_rng(3).integers(0, 3, 200)
    apart = all_pairs(x, "chebyshev")
    terms = []
    for i in range(200):
        mine = np.sort(apart[i, y == y[i]])
        radius, n_y = mine[k], len(mine)
        of_class, inside = (mine <= radius).sum() - 1, (apart[i] <= radius).sum() - 1
        if of_class == k and radius > 0:
            inside = (apart[i] < radius).sum()
        terms.append(digamma(200) + digamma(of_class) - digamma(n_y) - digamma(inside))
    assert KSG(k, dither=False).with_labels(x, y).value == pytest.approx(np.mean(terms), abs=1e-10)


def test_places():
    found = places(np.array([[1.0, 0.0], [2.0, 0.0], [1.0, -0.0], [2.0, 0.0], [3.0, 1.0]]))
    assert found.of.tolist() == [0, 1, 0, 1, 2]
    assert found.first.tolist() == [0, 1, 4] and found.sizes.tolist() == [2, 2, 1]


def test_many_equal_rows_are_searched_once():
    """200 000 rows of 99 % zeros: quadratic, this was two minutes; a place is asked for once."""
    rng = np.random.default_rng(0)
    n = 200_000
    x = np.where(rng.random((n, 1)) < 0.99, 0.0, rng.normal(size=(n, 1)))
    y = rng.integers(0, 2, n)
    assert len(places(x).first) < 0.02 * n
    found = KSG().with_labels(x, y)
    assert abs(found.value) < 4 * found.stderr + 1e-3
