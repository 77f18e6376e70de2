import math

import numpy as np
import pytest

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.errors import ArgumentError
from ib_keras.estimators import density_ratio
from ib_keras.interface import Estimate


def test_heavy_tails_are_found_by_a_critic(monkeypatch):
    from ib_keras.estimation import mutual_information as module

    # This critic has learned what there is long before the default number of steps.
    monkeypatch.setattr(module, "Settings", lambda: density_ratio.Settings(steps=500))
    x, y = synthetic.student_t(2500, 2, 0.25, dof=2.0, seed=0)
    found = ib.mutual_information(np.sinh(x), y, seed=1)
    assert found.lower <= 0.25 <= found.upper
    assert found.value == pytest.approx(0.25, abs=0.06)
    # Little of it is correlation.
    assert found.parts["gaussian"].value < 0.1
    assert set(found.parts) == {"gaussian", "gaussian_held_out", "ksg", "residual", "critic"}
    assert float(found) == found.value and found.flags == ()


@pytest.mark.parametrize(("share", "doubted"), [(0.95, False), (0.3, True)])
def test_the_closed_form_is_believed_where_held_out_rows_confirm_it(monkeypatch, share, doubted):
    from ib_keras.estimation import mutual_information as module

    x, y = synthetic.correlated_gaussians(1000, 8, 2.0, seed=0)
    closed = ib.mutual_information(x, y, neural=False).value
    nothing = Estimate(0.0, 0.1, kind="lower")

    def critics(*_):
        return nothing, nothing, Estimate(share * closed, 0.05, kind="lower")

    monkeypatch.setattr(module, "_critics", critics)
    found = ib.mutual_information(x, y)
    assert found.value == pytest.approx(share * closed if doubted else closed)
    assert ("unconfirmed" in found.flags) == doubted
    assert found.lower < found.value and found.upper >= closed
    assert (found.lower < closed - 0.5) == doubted


def test_without_critics():
    x, y = synthetic.correlated_gaussians(3000, 10, 1.2, seed=3)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    found = ib.mutual_information(x @ rotation, y, neural=False)
    assert found.lower <= 1.2 <= found.upper and found.flags == ("no_critic",)
    assert found.value == pytest.approx(1.2, abs=0.06)
    x, y = synthetic.smoothed_uniforms(3000, 1, 1.7, seed=0)
    assert ib.mutual_information(x, y, neural=False).value == pytest.approx(1.7, abs=0.05)
    nothing = ib.mutual_information(x, y[::-1], neural=False)
    assert nothing.lower == 0 and nothing.value < 0.03


def test_discrete_variables():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 5000)
    b = np.where(rng.uniform(size=5000) < 0.8, a, rng.integers(0, 4, 5000))
    p = 0.8 + 0.2 / 4
    exact = math.log(4) + p * math.log(p) + 0.15 * math.log(0.05)
    found = ib.mutual_information(a, b.astype(str))
    assert found.value == pytest.approx(exact, abs=3 * found.stderr)
    assert ib.mutual_information(a, rng.integers(0, 4, 5000)).value < 0.003
    mixed = ib.mutual_information(rng.normal(size=5000) + 3 * (a == 0), a == 0)
    turned = ib.mutual_information(a == 0, rng.normal(size=5000) + 3 * (a == 0))
    assert mixed.value == pytest.approx(turned.value, abs=0.03)
    assert 0.3 < mixed.value < 0.5


def test_few_discrete_samples():
    """The correction for finite samples does not exceed the entropies, and one row is too few."""
    found = ib.mutual_information([1, 2], [2, 3])
    assert found.value == found.lower == pytest.approx(math.log(2))
    assert type(found.value) is float and type(found.stderr) is float
    assert ib.mutual_information([1, 1, 2], ["a", "b", "b"]).value >= 0
    with pytest.raises(ArgumentError, match=r"`a` has too few samples. Expected n >= 2. Received"):
        ib.mutual_information([1], [2])


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ArgumentError, match="infinite"):
        ib.mutual_information(x, x[:, ::-1])
    with pytest.raises(ArgumentError, match="differ in length"):
        ib.mutual_information(x, x[:20] + 1)
    with pytest.raises(ArgumentError, match="`a` has no samples"):
        ib.mutual_information(3.0, x)
    with pytest.raises(ArgumentError, match="seed"):
        ib.mutual_information(x, x + 1, seed=-1)
    with pytest.raises(ArgumentError, match="NaN"):
        ib.mutual_information(x, np.full((50, 1), np.nan))
    with pytest.raises(ArgumentError, match="`b` has the wrong length"):
        ib.mutual_information([1, 2, 3], [1, 2])
    constant = ib.mutual_information(x, np.ones((50, 1)))
    assert constant.value == 0


def test_critics_begin_anew():
    """One program trains many, and nothing is left of those before."""
    x, y = synthetic.correlated_gaussians(200, 2, 0.5, seed=0)
    settings = density_ratio.Settings(width=8, steps=60)

    def ratios(seed):
        return density_ratio.held_out_ratios(x, y, None, settings, seed)[0]

    density_ratio._program.cache_clear()
    first = [ratios(seed) for seed in (0, 1, 0)]
    assert (first[0] == first[2]).all() and (first[0] != first[1]).any()
    density_ratio._program.cache_clear()
    assert (ratios(1) == first[1]).all()
