import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ib_keras.errors import ArgumentError
from ib_keras.layers import GaussianChannel, normal


@pytest.mark.parametrize("training", [True, False])
def test_noise_is_gaussian_independent_and_always_on(training):
    channel = GaussianChannel(0.3, seed=1)
    x = np.zeros((200, 50), "float32")
    first, second = channel(x, training=training).numpy(), channel(x, training=training).numpy()
    assert stats.kstest(first.ravel() / 0.3, "norm").pvalue > 0.01
    # 10⁴ values: the correlation of independent draws has a standard error of 0.01.
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(first[:, :25].ravel(), first[:, 25:].ravel())[0, 1]) < 0.06


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (301, 333)])
def test_standard_normals(shape, jit_compile):
    draw = tf.function(lambda x, seed: normal(x, seed), jit_compile=jit_compile)
    x = draw(tf.zeros(shape), tf.constant([1, 2])).numpy()
    assert x.shape == shape and x.dtype == np.float32
    if x.size > 1000:
        n = x.size
        # Moments of a normal, in standard errors: 1/√n, √(2/n), √(15/n), √(96/n).
        assert abs(x.mean()) < 4 / np.sqrt(n)
        assert abs(x.var() - 1) < 4 * np.sqrt(2 / n)
        assert abs((x**3).mean()) < 4 * np.sqrt(15 / n)
        assert abs((x**4).mean() - 3) < 4 * np.sqrt(96 / n)
        assert stats.kstest(x.ravel(), "norm").pvalue > 0.01
        # The two halves come from the same uniforms, and are independent all the same.
        a, b = x.ravel()[: n // 2], x.ravel()[(n + 1) // 2 :]
        for f in (np.asarray, np.square, np.abs):
            assert abs(np.corrcoef(f(a), f(b))[0, 1]) < 4 / np.sqrt(n // 2)
    assert draw(tf.zeros(shape, tf.float64), tf.constant([1, 2])).dtype == tf.float64


def test_zero_noise_is_the_identity_and_draws_nothing():
    channel = GaussianChannel(0.0, seed=1)
    before = channel.seed_generator.state.numpy().copy()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    np.testing.assert_array_equal(channel(x), x)
    np.testing.assert_array_equal(channel.seed_generator.state.numpy(), before)


def test_stddev_changes_without_retracing():
    channel = GaussianChannel(0.0)
    traces = 0

    @tf.function
    def run(x):
        nonlocal traces
        traces += 1
        return channel(x)

    x = tf.zeros((1000, 10))
    stds = []
    for value in (0.0, 0.5, 2.0, 0.0):
        channel.stddev = value
        stds.append(float(np.std(run(x))))
    assert traces == 1
    assert stds == [0.0, pytest.approx(0.5, rel=0.05), pytest.approx(2.0, rel=0.05), 0.0]


def test_config_keeps_what_is_set_now():
    channel = GaussianChannel(0.1, seed=3, name="c")
    channel.stddev = 0.2
    copy = keras.layers.deserialize(keras.layers.serialize(channel))
    assert (copy.stddev, copy.seed, copy.name) == (0.2, 3, "c")


def test_seed_decides_the_noise():
    x = np.zeros((5, 5), "float32")
    same = [GaussianChannel(1.0, seed=s)(x).numpy() for s in (1, 1, 2)]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "much", None, True])
def test_bad_stddev(value):
    with pytest.raises(ArgumentError, match="Expected .* Received: "):
        GaussianChannel(value)


def test_relative_noise_is_in_proportion():
    channel = GaussianChannel(0.1, relative=True, seed=3)
    x = np.tile(np.float32([0.0, -2.0, 50.0]), (40000, 1))
    y = np.asarray(channel(x))
    assert (y[:, 0] == 0).all()
    z = (y[:, 1:] / x[:, 1:] - 1) / 0.1
    n = len(z)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs(z.std(axis=0) - 1).max() < 4 / np.sqrt(2 * n)
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(n)
    again = GaussianChannel.from_config(channel.get_config())
    assert again.relative and np.array_equal(again(x), y)
    with pytest.raises(ArgumentError, match="relative"):
        GaussianChannel(0.1, relative="yes")
