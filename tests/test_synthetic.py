import numpy as np
import pytest

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, Gaussian

PAIRS = [
    synthetic.correlated_gaussians,
    synthetic.correlated_uniforms,
    synthetic.student_t,
    synthetic.smoothed_uniforms,
    synthetic.log_gamma_exponential,
]


@pytest.mark.parametrize("make", PAIRS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mi", [0.4, 1.0, 2.0])
def test_pairs_have_the_information_asked_for(make, mi):
    values = [KSG(3).mutual_information(*make(3000, 1, mi, seed=s)).value for s in range(4)]
    assert np.mean(values) == pytest.approx(mi, abs=0.06)
    x, y = make(50, 3, mi, seed=1)
    assert x.shape == y.shape == (50, 3) and x.dtype == np.float64
    np.testing.assert_array_equal(x, make(50, 3, mi, seed=1)[0])
    assert not np.array_equal(x, make(50, 3, mi, seed=2)[0])


def test_marginals():
    u, v = synthetic.correlated_uniforms(4000, 2, 1.0, seed=0)
    for side in (u, v):
        assert 0 <= side.min() and side.max() <= 1
        np.testing.assert_allclose(side.mean(axis=0), 0.5, atol=0.02)
    x, y = synthetic.correlated_gaussians(20_000, 4, 2.0, seed=0)
    assert Gaussian().mutual_information(x, y).value == pytest.approx(2.0, abs=0.05)
    independent = synthetic.correlated_gaussians(3000, 1, 0.0, seed=0)
    assert abs(Gaussian().mutual_information(*independent).value) < 0.003


def test_blobs_are_where_their_numbers_say():
    x, y = synthetic.gaussian_images(6, 16, 1.0, seed=3)
    u, _ = synthetic.correlated_uniforms(6, 2, 1.0, rotate=True, seed=3)
    assert x.shape == y.shape == (6, 16, 16, 1) and x.dtype == np.float32
    grid = np.linspace(0, 1, 16)
    for image, (across, down) in zip(x[..., 0], u, strict=True):
        for i in (0, 7, 15):
            for j in (0, 4, 15):
                value = np.exp(-10 * ((grid[j] - across) ** 2 + (grid[i] - down) ** 2))
                assert image[i, j] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("size", [16, 32])
def test_rectangles_have_their_area_and_sides(size):
    x, _ = synthetic.rectangle_images(500, size, 1.0, seed=0)
    assert x.shape == (500, size, size, 1) and 0 <= x.min() and x.max() <= 1 + 1e-6
    u, _ = synthetic.correlated_uniforms(500, 4, 1.0, rotate=True, seed=0)
    least = 2 / size
    sides = []
    for i in (0, 2):
        begin = (1 - least) * (1 - np.sqrt(1 - u[:, i]))
        sides.append(least + u[:, i + 1] * (1 - begin - least))
    np.testing.assert_allclose(x.sum(axis=(1, 2, 3)), size**2 * sides[0] * sides[1], rtol=1e-4)
    # Along a row through it, the rectangle is as long as its side.
    np.testing.assert_allclose(x[..., 0].max(axis=1).sum(axis=1), size * sides[0], rtol=1e-4)


def test_rotation_leaves_the_information():
    x, y = synthetic.correlated_gaussians(40_000, 3, 3.0, rotate=True, seed=5)
    plain = synthetic.correlated_gaussians(40_000, 3, 3.0, seed=5)
    # The joint distribution is normal, so I = −½ ln det of the correlations, for any rotation.
    for pair in ((x, y), plain):
        signs, log_det = np.linalg.slogdet(np.corrcoef(np.hstack(pair), rowvar=False))
        assert signs == 1 and -log_det / 2 == pytest.approx(3.0, abs=0.03)
    for rotated, own in zip((x, y), plain, strict=True):
        np.testing.assert_allclose((rotated**2).sum(axis=1), (own**2).sum(axis=1))
        assert abs(np.cov(rotated, rowvar=False) - np.eye(3)).max() < 0.03
    # Without a rotation, a coordinate depends on one other only.
    across = np.abs(np.corrcoef(np.hstack([x, y]), rowvar=False)[:3, 3:])
    assert (across > 0.1).sum() > 3
    again = synthetic.correlated_gaussians(40_000, 3, 3.0, rotate=True, seed=5)
    np.testing.assert_array_equal(again[0], x)
    u, v = synthetic.correlated_uniforms(4000, 2, 2.0, rotate=True, seed=1)
    assert KSG(3).mutual_information(u, v).value == pytest.approx(2.0, abs=0.1)
    with pytest.raises(ArgumentError, match="rotate"):
        synthetic.correlated_gaussians(5, 2, 1.0, rotate=1, seed=0)


def test_slanted_blobs_are_where_their_numbers_say():
    x, y = synthetic.correlated_blob_images(5, 12, 1.0, seed=3)
    u, _ = synthetic.correlated_uniforms(5, 5, 1.0, rotate=True, seed=3)
    assert x.shape == y.shape == (5, 12, 12, 1) and x.dtype == np.float32
    grid = np.linspace(0, 1, 12)
    for image, (across, down, wide, high, slant) in zip(x[..., 0], u, strict=True):
        for i, j in ((0, 4), (3, 11), (6, 6)):
            p, q = (1 + wide) * (grid[j] - across), (1 + high) * (grid[i] - down)
            value = np.exp(-10 * (p**2 + q**2 + (2 * slant - 1) * p * q))
            assert image[i, j] == pytest.approx(value, abs=1e-6)


def test_hidden_pairs():
    x, y = synthetic.hidden_pairs(4000, 8, 2.0, seed=0)
    u, v = synthetic.correlated_uniforms(4000, 1, 2.0, rotate=True, seed=0)
    assert x.shape == y.shape == (4000, 8) and x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], 2 * u[:, 0] - 1, atol=1e-6)
    np.testing.assert_allclose(y[:, 0], 2 * v[:, 0] - 1, atol=1e-6)
    assert abs(np.corrcoef(x[:, 1], y[:, 1])[0, 1]) < 0.06  # what hides them is independent
    total = x[:, 0] + 5 * x[:, 1]
    np.testing.assert_allclose(x[:, 5], np.maximum(total, 0.5 * total), atol=1e-5)


def test_bad_input():
    for arguments in (
        {"mi": -1.0}, {"mi": np.inf}, {"n": 0}, {"dim": 0}, {"seed": -1}, {"mi": "1"},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            synthetic.correlated_gaussians(**{"n": 5, "dim": 1, "mi": 1.0, "seed": 0} | arguments)
    with pytest.raises(ArgumentError, match="> 0"):
        synthetic.smoothed_uniforms(5, 1, 0.0, seed=0)
    with pytest.raises(ArgumentError, match=r"tails.*mi >= "):
        synthetic.student_t(5, 3, 0.01, dof=1.0, seed=0)
    with pytest.raises(ArgumentError, match="size"):
        synthetic.rectangle_images(5, 2, 1.0, seed=0)


@pytest.mark.parametrize("mi", [1e-10, 0.1, 6.0, 20.0])
def test_log_gamma_variables_of_any_information(mi):
    x, y = synthetic.log_gamma_exponential(4000, 1, mi, seed=0)
    assert np.isfinite(x).all() and np.isfinite(y).all()
    if mi >= 0.1:
        found = ib.mutual_information(x, y, budget="fast")
        assert found.value == pytest.approx(mi, rel=0.1, abs=0.05) or "unbounded" in found.flags
    with pytest.raises(ArgumentError, match="too small"):
        synthetic.log_gamma_exponential(10, 1, 1e-13, seed=0)
