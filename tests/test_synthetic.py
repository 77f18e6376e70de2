import numpy as np
import pytest

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
    u, _ = synthetic.correlated_uniforms(6, 2, 1.0, seed=3)
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
    u, _ = synthetic.correlated_uniforms(500, 4, 1.0, seed=0)
    least = 2 / size
    sides = []
    for i in (0, 2):
        begin = (1 - least) * (1 - np.sqrt(1 - u[:, i]))
        sides.append(least + u[:, i + 1] * (1 - begin - least))
    np.testing.assert_allclose(x.sum(axis=(1, 2, 3)), size**2 * sides[0] * sides[1], rtol=1e-4)
    # Along a row through it, the rectangle is as long as its side.
    np.testing.assert_allclose(x[..., 0].max(axis=1).sum(axis=1), size * sides[0], rtol=1e-4)


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
