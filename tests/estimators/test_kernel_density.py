import numpy as np
import pytest

from ib_keras import synthetic
from ib_keras.arrays.rows import Rows
from ib_keras.errors import ArgumentError
from ib_keras.estimators import LossyCompression
from ib_keras.estimators.kernel_density import KernelDensity, _Whitened


def test_the_density_is_that_of_the_other_rows():
    x = np.random.default_rng(0).normal(size=(40, 2)) @ [[2.0, 0.5], [0.0, 0.3]]
    made = _Whitened(Rows.of(x))
    width, covariance = 0.4, np.cov(x, rowvar=False, ddof=0)
    differences = x[:, None] - x
    form = np.einsum("ijk,kl,ijl->ij", differences, np.linalg.inv(covariance), differences)
    kernel = np.exp(-form / (2 * width**2)) / (
        2 * np.pi * width**2 * np.sqrt(np.linalg.det(covariance))
    )
    np.fill_diagonal(kernel, 0)
    np.testing.assert_allclose(made.logs(width), np.log(kernel.sum(axis=1) / 39), rtol=1e-4)
    # The width maximises the likelihood of the rows.
    best = made.best_width()
    assert made.logs(best).sum() >= max(made.logs(best * f).sum() for f in (0.8, 1.25))


@pytest.mark.parametrize("mi", [0.0, 1.0, 2.0])
def test_known_information(mi):
    x, y = synthetic.correlated_gaussians(1000, 2, mi, rotate=True, seed=2)
    found = KernelDensity().mutual_information(x, 1e3 * y)
    assert found.value == pytest.approx(mi, abs=0.15)
    assert KernelDensity().mutual_information(x, y).value == pytest.approx(found.value, abs=1e-3)
    permuted = KernelDensity().baseline(x, y, repeats=2)
    assert abs(permuted.value) < 0.1


def test_classes():
    rng = np.random.default_rng(0)
    y = np.arange(900) % 3
    apart = rng.normal(size=(900, 2)) + 20 * y[:, None]
    assert KernelDensity().with_classes(apart, y).value == pytest.approx(np.log(3), abs=0.05)
    same = rng.normal(size=(900, 2))
    assert abs(KernelDensity().with_classes(same, y).value) < 0.1


def test_within_compression():
    x, y = synthetic.gaussian_images(600, 8, 1.0, seed=0)
    # Three principal components of a blob lie on a surface, where a density says little.
    found = LossyCompression(estimator="kde", k=3, fit_share=1).mutual_information(x, y)
    assert found.value < 0.5 and {"low_dim", "high_dim"} <= set(found.flags)
    with pytest.raises(ArgumentError, match="differ in length"):
        KernelDensity().mutual_information(x[:, 0, 0], y[:5, 0, 0])


def test_what_a_density_cannot_show_is_flagged_or_refused():
    rng = np.random.default_rng(0)
    kde = KernelDensity()
    # A close relation, which the width of the kernels smooths away.
    a = rng.uniform(size=(1000, 1))
    b = np.sin(40 * a) + rng.uniform(-1e-3, 1e-3, (1000, 1))
    assert "strong" in kde.mutual_information(a, b).flags
    # Heavy tails are shortened; one width for all of the density still shows too little.
    pair = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1000)
    truth = -0.5 * np.log(1 - 0.81)
    tails = kde.mutual_information(*(np.sinh(3 * v) for v in pair.T[:, :, None]))
    assert 0.3 < tails.value < truth and tails.flags == ("heavy_tails",)
    assert kde.mutual_information(*pair.T).flags == ()
    # Small classes have no density of their own.
    independent = rng.normal(size=(300, 4))
    with pytest.raises(ArgumentError, match="class"):
        kde.with_classes(independent, np.repeat(np.arange(100), 3))
    few = kde.with_classes(independent[:120], np.repeat(np.arange(6), 20))
    assert "high_dim" in few.flags
