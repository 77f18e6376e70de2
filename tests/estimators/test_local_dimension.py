"""The dimension at the scale of the neighbours, and the flags that follow from it."""

import numpy as np
import pytest

from ib_keras import synthetic
from ib_keras.estimators import KSG, KozachenkoLeonenko
from ib_keras.estimators.kernels.local_dimension import closely_bound, local_dimension, on_surface
from ib_keras.estimators.kernels.neighbor_search import Times, distances_from


def thin(rng, n, d):
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return rng.normal(size=(n, d)) * 10.0 ** -np.linspace(0, 2, d) @ turned


def clusters(rng, n, d):
    return rng.normal(size=(n, d)) + 20 * rng.normal(size=(10, d))[rng.integers(0, 10, n)]


def swiss_roll(rng, n):
    t = 1.5 * np.pi * (1 + 2 * rng.uniform(size=n))
    return np.c_[t * np.cos(t), 21 * rng.uniform(size=n), t * np.sin(t)]


def codes(rng, n, d, noise=0.0):
    """The outputs of a layer of 2·d units for d inputs."""
    t = np.tanh(rng.normal(size=(n, d)) @ rng.normal(size=(d, 2 * d)))
    return t + noise * rng.normal(size=t.shape)


def circle(rng, n):
    angle = 2 * np.pi * rng.uniform(size=n)
    return np.c_[np.cos(angle), np.sin(angle)]


@pytest.mark.parametrize("d", [2, 3, 5, 10])
def test_samples_with_a_density_are_not_on_a_surface(d):
    for seed, n in enumerate((100, 500, 2000)):
        rng = np.random.default_rng(seed)
        for x in (
            rng.uniform(size=(n, d)), rng.normal(size=(n, d)), rng.exponential(size=(n, d)),
            rng.standard_t(3, size=(n, d)), thin(rng, n, d), clusters(rng, 10 * n, d),
        ):  # fmt: skip
            assert not on_surface(x)


@pytest.mark.parametrize("made", [swiss_roll, circle, lambda r, n: codes(r, n, 2),
                                  lambda r, n: codes(r, n, 3)])  # fmt: skip
def test_surfaces_are_found(made):
    found = [on_surface(made(np.random.default_rng(seed), 2000)) for seed in range(8)]
    assert np.sum(found) >= 7
    # Where a surface is does not matter.
    for seed in range(8):
        x = made(np.random.default_rng(seed), 2000)
        assert on_surface(x + 1000 * x.std()) == found[seed]
    # Noise that is larger than the distances between neighbours fills the space.
    x = made(np.random.default_rng(0), 2000)
    assert not on_surface(x + 0.3 * x.std() * np.random.default_rng(1).normal(size=x.shape))


def test_the_dimension_is_that_of_the_surface():
    for x, d in ((swiss_roll, 2), (circle, 1), (lambda r, n: codes(r, n, 3), 3)):
        found = local_dimension(x(np.random.default_rng(0), 3000))
        assert found.value == pytest.approx(d, abs=4 * found.error * d)
    assert local_dimension(np.zeros((500, 2))) is None
    assert local_dimension(np.random.default_rng(0).normal(size=(20, 2))) is None


def test_pairs_that_are_nearly_functions_are_bound_closely():
    bound = {}
    for d in (1, 2, 5):
        for mi in (0.0, 1.0, 8.0):
            x, y = synthetic.correlated_gaussians(1000, d, mi, seed=0)
            bound[d, mi] = closely_bound(x, y)
            assert ("strong" in KSG().mutual_information(x, y).flags) == bound[d, mi]
            assert ("strong" in KozachenkoLeonenko().mutual_information(x, y).flags) == bound[d, mi]
    assert bound == {(d, mi): mi > 1 for d, mi in bound}
    x = np.random.default_rng(0).normal(size=(2000, 1))
    for y in (np.square(x) - x - 1, x + 1e-3 * np.random.default_rng(1).normal(size=x.shape)):
        assert "strong" in KSG().mutual_information(x, y).flags


def test_entropies_of_surfaces_are_flagged():
    kl, rng = KozachenkoLeonenko(), np.random.default_rng(0)
    x, full = codes(rng, 1500, 2), rng.normal(size=(1500, 4))
    labels = rng.integers(0, 2, 1500)
    assert kl.entropy(x).flags == ("low_dim",)
    assert kl.with_labels(x, labels).flags == ("low_dim",)
    assert "low_dim" in kl.mutual_information(x, full).flags
    assert kl.entropy(full).flags == kl.with_labels(full, labels).flags == ()
    # KSG needs no density.
    found = KSG().mutual_information(x, full)
    assert found.flags == () and abs(found.value) < 3 * found.stderr + 0.02


def test_neighbours_of_some_rows_are_those_of_all_pairs():
    x = np.random.default_rng(0).normal(size=(80, 3))
    at, times = np.array([3, 40, 79]), Times(np.arange(80), 4)
    apart = np.abs(x[at][:, None] - x).max(axis=2)
    np.testing.assert_allclose(distances_from(x, at, 4), np.sort(apart, axis=1)[:, 1:5])
    apart = np.linalg.norm(x[at][:, None] - x, axis=2)
    apart[np.abs(at[:, None] - np.arange(80)) <= 4] = np.inf
    np.testing.assert_allclose(distances_from(x, at, 4, times), np.sort(apart, axis=1)[:, :4])
