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


def columns_of_classes(labels):
    """One-hot columns, which are standardised and clipped at ten standard deviations."""
    one_hot = np.eye(labels.max() + 1)[labels]
    return np.clip((one_hot - one_hot.mean(axis=0)) / one_hot.std(axis=0), -10, 10)


def test_the_first_layer_is_a_dense_layer_of_joined_rows():
    rng = np.random.default_rng(0)
    size, labels = 6, np.r_[np.zeros(400, int), rng.integers(0, 5, 100), 3]
    a = neural._standard(rng.normal(3.0, 2.0, (len(labels), 7)).astype("f4"), "a")
    b = neural._standard(rng.normal(size=(len(labels), 4)) ** 3, "b")
    for second, plain in ((b, b.samples[:]), (neural._Classes(labels), columns_of_classes(labels))):
        kinds = ((type(v), v.width) for v in (a, second))
        critic = neural._Critic(InfoNCE(batch_size=size, hidden=(9, 5)), *kinds)
        critic.begin(seed=1)
        for layer in critic.model.layers:
            layer.bias.assign(rng.normal(size=layer.bias.shape))
        some = rng.choice(len(labels), size)
        some[:2] = [-1, 0]
        left, right = (np.clip(v, -10, 10)[some] for v in (a.samples[:], plain))
        joined = np.concatenate([np.repeat(left, size, 0), np.tile(right, (size, 1))], axis=1)
        expected = critic.model(joined.astype("f4")).numpy().reshape(size, size)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(critic.scores(a[some], second[some]), expected, atol=1e-5)


def test_classes_are_trained_as_one_hot_columns():
    rng = np.random.default_rng(3)
    labels = np.array([0, 2, 5])[rng.integers(0, 3, 300)]  # the others do not occur
    a = labels[:, None] + rng.normal(size=(300, 2))
    made = InfoNCE(hidden=(8,), steps=100, batch_size=20, learning_rate=1e-2)
    found = made.with_classes(a, labels)
    expected = made.mutual_information(a, np.eye(6)[labels])
    assert found.value > 0.1 and found.dim == 3
    assert found.value == pytest.approx(expected.value, abs=1e-5)
    assert made.with_classes(a, np.zeros(300, int)).value == 0


def test_rows_that_do_not_fit_are_standardised_in_each_batch(monkeypatch):
    x, y = synthetic.correlated_gaussians(300, 3, 1.0, seed=0)
    made = InfoNCE(hidden=(8,), steps=60, batch_size=20)
    kept = made.mutual_information(x, y)
    monkeypatch.setattr(neural, "TILES", 0)
    assert neural._standard(x, "x")._kept is None
    assert made.mutual_information(x, y) == kept


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


@pytest.mark.parametrize("name", ["mine", "infonce"])
def test_few_steps_are_steps(name):
    """The critic after the last step counts, whatever their number."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(1000, 1))
    b = a + 0.3 * rng.normal(size=(1000, 1))
    values = [
        ib.estimators.get(name, steps=steps, learning_rate=0.01).mutual_information(a, b).value
        for steps in (2, 40)
    ]
    assert values[1] > values[0] + 0.2
