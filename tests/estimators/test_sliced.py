"""Sliced information against its values by integration, and its error against its spread."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, Sliced


def truth(dim, rho):
    """E[−½ ln(1 − ρ²c²)] of the cosine c of two random directions, which is 2·Beta − 1."""
    shape = (dim - 1) / 2
    return quad(
        lambda u: -0.5 * np.log1p(-((rho * (2 * u - 1)) ** 2)) * beta.pdf(u, shape, shape), 0, 1
    )[0]


def pair(n, dim, rho, seed):
    rng = np.random.default_rng(seed)
    a, noise = rng.normal(size=(2, n, dim))
    return a, rho * a + np.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize(("dim", "rho"), [(2, 0.9), (3, 0.9), (5, 0.99)])
def test_correlated_gaussians(dim, rho):
    a, b = pair(800, dim, rho, seed=dim)
    found = Sliced().mutual_information(a, b)
    assert abs(found.value - truth(dim, rho)) < 3 * found.stderr
    # It is far from nothing, and from the information itself.
    whole = -0.5 * dim * np.log1p(-(rho**2))
    assert 4 * found.stderr < truth(dim, rho) < 0.5 * whole
    assert "sliced" in found.flags and found.dim == dim and found.n == 800


def test_independent_variables():
    a, b = pair(600, 4, 0.0, seed=0)
    found = Sliced().mutual_information(a, b)
    assert abs(found.value) < 3 * found.stderr < 0.03


def test_narrow_variables_are_not_projected():
    a, b = pair(300, 1, 0.8, seed=0)
    assert Sliced(neighbors=3).mutual_information(a, b) == KSG(3).mutual_information(a, b)
    y = (a[:, 0] > 0).astype(int)
    assert Sliced().with_labels(b, y) == KSG().with_labels(b, y)
    a, b = pair(300, 2, 0.8, seed=0)
    assert Sliced(k=2).mutual_information(a, b) == KSG().mutual_information(a, b)
    with pytest.raises(ArgumentError, match="share a variable"):
        Sliced().mutual_information(a[:, :1], a[:, :1])


def test_only_the_layer_is_projected_with_classes():
    """Two classes at ±m in one of two dimensions: the projection has them at ±m cos φ."""
    rng = np.random.default_rng(0)
    y, m = np.arange(1000) % 2, 2.0
    t = rng.normal(size=(1000, 2))
    t[:, 0] += m * (2 * y - 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)

    def of_bit(mean):
        logs = np.logaddexp(0, -2 * mean * (mean + nodes))
        return np.log(2) - float(weights @ logs) / np.sqrt(2 * np.pi)

    expected = quad(lambda angle: of_bit(m * np.cos(angle)), 0, np.pi / 2)[0] * 2 / np.pi
    found = Sliced().with_labels(t, y)
    assert abs(found.value - expected) < 3 * found.stderr < 0.1
    assert found.value < of_bit(m) and "sliced" in found.flags


def test_the_error_is_that_of_new_samples_and_new_projections():
    """Of many independent repetitions the spread is the error that each of them states."""
    found = [
        Sliced(projections=12, seed=seed).mutual_information(*pair(200, 2, 0.9, seed))
        for seed in range(30)
    ]
    spread = np.std([one.value for one in found], ddof=1)
    stated = np.mean([one.stderr for one in found])
    assert 0.7 < spread / stated < 1.35
    # The part of the error that the samples have does not fall with the number of projections.
    a, b = pair(200, 2, 0.9, seed=0)
    few, many = (Sliced(projections=m).mutual_information(a, b).stderr for m in (16, 400))
    assert 1.2 * few / np.sqrt(400 / 16) < many < few


def test_equal_rows_stay_equal():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 7))[rng.integers(0, 50, 300)]
    side = ib.estimators.sliced._Side(a, "a", Sliced(k=2))
    assert len(np.unique(side[3], axis=0)) == len(np.unique(a, axis=0))
    orthonormal = ib.estimators.sliced._Side(np.eye(7), "a", Sliced(k=2))[3]
    assert np.allclose(orthonormal.T @ orthonormal, np.eye(2))
    other = ib.estimators.sliced._Side(np.eye(7), "b", Sliced(k=2))[3]
    assert not np.allclose(orthonormal, other)


def test_a_table_does_not_call_it_inconsistent():
    """X of many dimensions is projected and Y is not, so I(T;Y) may exceed I(X;T)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 30))
    y = (x[:, 0] > 0).astype(int)
    t = np.stack([3.0 * y, 3.0 * y], axis=1) + 0.1 * rng.normal(size=(300, 2))
    table = ib.estimate({"h": t}, "sliced", inputs=x, targets=y).set_index("quantity")
    assert table.loc["I(T;Y)", "value"] > table.loc["I(X;T)", "value"] + 0.3
    assert table["flags"].str.contains("sliced").all()
    assert not table["flags"].str.contains("inconsistent").any()


def test_arguments():
    for arguments in ({"k": 0}, {"projections": 1}, {"neighbors": 0}, {"seed": -1}):
        with pytest.raises(ArgumentError):
            Sliced(**arguments)
    made = Sliced(k=2, projections=8)
    assert made == ib.estimators.get(ib.estimators.to_json(made))
    with pytest.raises(ArgumentError, match="too few samples"):
        made.mutual_information(*np.random.default_rng(0).normal(size=(2, 5, 4)))
