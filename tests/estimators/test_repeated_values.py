"""KSG of integers, counts, and variables with atoms."""

import numpy as np
import pytest
from scipy import integrate, stats

import ib_keras as ib
from ib_keras.arrays.codes import mutual_information
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG

RHO = 0.8


def rounded_truth(step):
    """I of normals of correlation 0.8, each rounded to multiples of a step."""
    edges = np.concatenate([[-np.inf], np.arange(-6 + step / 2, 6, step), [np.inf]])
    x = np.linspace(-8, 8, 4001)
    p = stats.norm.pdf(x) / stats.norm.pdf(x).sum()
    given = np.diff(stats.norm.cdf((edges - RHO * x[:, None]) / np.sqrt(1 - RHO**2)), axis=1)
    joint = np.zeros((len(edges) - 1,) * 2)
    np.add.at(joint, np.searchsorted(edges, x) - 1, p[:, None] * given)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / apart[some])).sum())


def normals(seed, n=1500):
    return np.random.default_rng(seed).multivariate_normal([0, 0], [[1, RHO], [RHO, 1]], n)


@pytest.mark.parametrize("step", [1.0, 0.1, 0.001])
def test_rounded_normals(step):
    truth = rounded_truth(step) if step >= 0.1 else -np.log(1 - RHO**2) / 2
    found = [KSG().mutual_information(*np.round(normals(s).T / step)) for s in range(4)]
    error = np.mean([f.stderr for f in found]) / 2
    assert np.mean([f.value for f in found]) == pytest.approx(truth, abs=3 * error)
    x, y = np.round(normals(9).T / step)
    other = KSG().mutual_information(x, np.random.default_rng(0).permutation(y))
    assert abs(other.value) < 3 * other.stderr
    assert all("ties" not in f.flags for f in (*found, other))


def test_counts():
    rng, k = np.random.default_rng(0), np.arange(30)
    joint = sum(
        stats.poisson.pmf(s, 2) * np.outer(*(stats.poisson.pmf(k - s, 1),) * 2) for s in range(15)
    )
    apart, some = np.outer(joint.sum(axis=1), joint.sum(axis=0)), joint > 1e-300
    truth = (joint[some] * np.log(joint[some] / apart[some])).sum()
    found = []
    for _ in range(4):
        shared = rng.poisson(2, 1500)
        pair = [(shared + rng.poisson(1, 1500)).astype(float) for _ in "ab"]
        found.append(KSG().mutual_information(*pair))
    error = np.mean([f.stderr for f in found]) / 2
    assert np.mean([f.value for f in found]) == pytest.approx(truth, abs=3 * error)
    other = KSG().mutual_information(pair[0], rng.poisson(20, 1500).astype(float))
    assert abs(other.value) < 3 * other.stderr


def test_columns_of_small_integers_and_classes():
    rng = np.random.default_rng(0)
    y, t = rng.integers(0, 3, 1500), rng.integers(0, 4, (1500, 3)).astype(float)
    none = KSG().with_labels(t, y)
    assert abs(none.value) < 3 * none.stderr and none.flags == ()
    none = KSG().mutual_information(t, rng.integers(0, 3, (1500, 2)).astype(float))
    assert abs(none.value) < 3 * none.stderr
    t[:, 0] += y
    truth = mutual_information(t[:, 0].astype(int), y)
    assert KSG().with_labels(t[:, :1], y).value == pytest.approx(truth, abs=0.04)
    # 80 cells of about 20 rows in three dimensions.
    assert 0.7 * truth < KSG().with_labels(t, y).value < truth


def with_zeros(rng, share, n=1500):
    return np.where(rng.uniform(size=n) < share, 0.0, rng.normal(size=n))


def test_atoms_with_a_density():
    s, p = 0.5, 0.3

    def density(y):
        return p * stats.norm.pdf(y, 0, s) + (1 - p) * stats.norm.pdf(y, 0, np.hypot(1, s))

    entropy = -integrate.quad(lambda y: density(y) * np.log(density(y)), -10, 10)[0]
    truth = entropy - np.log(2 * np.pi * np.e * s**2) / 2
    found, none = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = with_zeros(rng, p)
        found.append(KSG().mutual_information(x, x + s * rng.normal(size=len(x))))
        none.append(KSG().mutual_information(x, with_zeros(rng, 0.5)))
    assert all(f.flags == ("ties",) for f in found)
    # The excess is that of the first neighbours around the atom; with open borders it is 0.06 and
    # 0.09.
    assert np.mean([f.value for f in found]) == pytest.approx(truth, abs=0.03)
    assert np.mean([f.value for f in none]) == pytest.approx(0, abs=0.03)
    # Both are 0 together: H(p) + (1 − p) I of the others, less what n samples cannot tell.
    y = np.where(x == 0, 0, x + s * rng.normal(size=len(x)))
    truth = stats.bernoulli(p).entropy() + (1 - p) * np.log(1 + 1 / s**2) / 2
    assert KSG().mutual_information(x, y).value == pytest.approx(truth, rel=0.2)
    labels = (x == 0).astype(int)
    noise = KSG().with_labels(with_zeros(rng, 0.5), labels)
    assert abs(noise.value) < 3 * noise.stderr + 0.01


def test_the_seed_and_the_option():
    x, y = np.round(2 * normals(0, 500).T)
    values = [KSG(seed=seed).mutual_information(x, y).value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    plain = KSG(dither=False).mutual_information(x, y)
    assert plain.flags == ("ties",) and plain.value == pytest.approx(values[0], abs=0.1)
    assert KSG(seed=1).mutual_information(*normals(0, 500).T).value == (
        KSG(dither=False).mutual_information(*normals(0, 500).T).value
    )
    for arguments in ({"dither": 1}, {"seed": -1}):
        with pytest.raises(ArgumentError):
            KSG(**arguments)


@pytest.mark.parametrize("estimator", ["ksg", "kl", {"name": "lossy", "estimator": "kde"}])
def test_copies_of_rows_are_counted_once(estimator):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 300, 2))
    y = rng.integers(0, 2, 300)
    copies = rng.permutation(np.tile(np.arange(300), 3))
    once = ib.estimate({"t": t}, estimator, inputs=x, targets=y)
    more = ib.estimate({"t": t[copies]}, estimator, inputs=x[copies], targets=y[copies])
    assert more["flags"].str.contains("dependent").all()
    assert not once["flags"].str.contains("dependent").any()
    assert (more["value"] - once["value"]).abs().max() < 0.1
    # Inactive units repeat by themselves.
    rectified = np.maximum(t - 0.5, 0)
    alive = ib.estimate({"t": rectified}, "ksg", inputs=x, targets=y)
    assert not alive["flags"].str.contains("dependent").any()
