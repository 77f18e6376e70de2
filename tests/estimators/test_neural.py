import math

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.errors import ArgumentError
from ib_keras.estimators import MINE, NWJ, InfoNCE, neural

KINDS = [MINE, NWJ, InfoNCE]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_before_leaves_nothing(kind):
    """Not weights, not the optimizer's state; nor does the global policy enter."""
    x, y = synthetic.correlated_gaussians(300, 1, 0.5, seed=0)

    def values(*seeds):
        neural._critic.cache_clear()
        made = [kind(hidden=(8,), steps=60, batch_size=20, seed=seed) for seed in seeds]
        return {m.seed: m.mutual_information(x, y).value for m in made}

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        first = values(0, 1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert first[0] != first[1]
    assert values(1, 0) == first


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_come_near_and_stay_below(kind):
    x, y = synthetic.correlated_gaussians(4000, 2, 1.0, seed=0)
    made = kind(steps=400, hidden=(32, 32), batch_size=64, learning_rate=3e-3)
    found = made.mutual_information(x, 5 * y - 3)
    assert found.kind == "lower" and found.n == 800
    assert found.value < 1.0 + 3 * found.stderr
    assert found.value > 0.75
    nothing = kind(steps=150, hidden=(32,), batch_size=64).mutual_information(x, y[::-1])
    assert -0.3 < nothing.value < 3 * nothing.stderr + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_far_off_does_not_blind_the_critic(kind):
    x, y = synthetic.correlated_gaussians(2000, 2, 1.0, seed=0)
    y[7] = 1e6
    made = kind(steps=400, hidden=(32, 32), batch_size=64, learning_rate=3e-3)
    found = made.mutual_information(x, y)
    assert 0.5 < found.value < 1.0 + 3 * found.stderr


def test_infonce_is_flagged_where_the_batch_is_its_ceiling():
    x, y = synthetic.correlated_gaussians(1500, 1, 4.0, seed=1)
    made = InfoNCE(batch_size=4, steps=400, hidden=(64, 64), learning_rate=3e-3)
    found = made.mutual_information(x, y)
    assert found.flags == ("log_batch",) and found.value <= math.log(4)


def test_one_seed_gives_one_value():
    x, y = synthetic.correlated_gaussians(600, 1, 0.5, seed=2)
    made = NWJ(steps=60, hidden=(16,), batch_size=50)
    assert made.mutual_information(x, y) == made.mutual_information(x, y)


def test_layers_and_labels(mlp):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    made = MINE(steps=100, hidden=(16,), batch_size=50)
    table = ib.estimate(ib.instrument(mlp, 0.5), made, inputs=x, targets=y, layers="first")
    assert set(table["kind"]) == {"lower"} and table["value"].notna().all()


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(200, 2))
    with pytest.raises(ArgumentError, match="n >= 500"):
        MINE().mutual_information(x, x + 1)
    with pytest.raises(ArgumentError, match="differ in length"):
        MINE().mutual_information(x, x[:10])
    with pytest.raises(ArgumentError, match="x=None"):
        NWJ().estimate(x)
    for arguments in ({"steps": 0}, {"batch_size": 1}, {"hidden": (0,)}, {"seed": -1}):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            InfoNCE(**arguments)
