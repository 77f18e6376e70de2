import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ib_keras.errors import ArgumentError
from ib_keras.layers import GaussianChannel, GaussianSampling, log_variance, normal


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


def divergence(mean, log_var):
    """KL(N(mean, exp(log_var)) ‖ N(0, I)) of each sample, in nats."""
    each = np.exp(log_var) + np.square(mean) - 1 - log_var
    return each.reshape(len(mean), -1).sum(axis=1) / 2


@pytest.mark.parametrize("training", [True, False])
def test_sampling_is_gaussian_independent_and_always_on(training):
    rng = np.random.default_rng(0)
    mean, log_var = (rng.normal(size=(200, 50)).astype("float32") for _ in range(2))
    layer = GaussianSampling(seed=1)
    draws = [layer([mean, log_var], training=training).numpy() for _ in range(2)]
    first, second = ((z - mean) / np.exp(log_var / 2) for z in draws)
    assert stats.kstest(first.ravel(), "norm").pvalue > 0.01
    # 10⁴ values: the correlation of independent draws has a standard error of 0.01.
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(first[:, :25].ravel(), first[:, 25:].ravel())[0, 1]) < 0.06


def test_sampling_declares_what_it_draws_from():
    rng = np.random.default_rng(1)
    mean, log_var = (rng.normal(size=(3, 2, 4)).astype("float32") for _ in range(2))
    layer = GaussianSampling(seed=2)
    declared = layer.conditional([tf.constant(mean), tf.constant(log_var)])
    np.testing.assert_array_equal(declared.mean(), mean)
    np.testing.assert_allclose(declared.stddev(), np.exp(log_var / 2), rtol=1e-6)
    n = 4000
    z = layer([np.tile(mean, (n, 1, 1)), np.tile(log_var, (n, 1, 1))]).numpy().reshape(n, 3, 2, 4)
    error = np.exp(log_var / 2) / np.sqrt(n)
    assert (np.abs(z.mean(axis=0) - mean) < 4 * error).all()
    assert (np.abs(z.std(axis=0) - np.exp(log_var / 2)) < 4 * error / np.sqrt(2)).all()
    # Of 16-bit inputs it declares at least 32 bits.
    half = [tf.constant(mean, tf.float16), tf.constant(log_var, tf.float16)]
    assert layer.conditional(half).dtype == tf.float32
    assert GaussianSampling(dtype="float16")(half).dtype == tf.float16


def test_the_divergence_is_added_to_the_loss():
    rng = np.random.default_rng(2)
    mean, log_var = (rng.normal(size=(7, 2, 3)).astype("float32") for _ in range(2))
    layer = GaussianSampling(kl_weight=0.3)
    layer([mean, log_var])
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.3 * divergence(mean, log_var).mean(), rel=1e-5)
    without = GaussianSampling()
    without([mean, log_var])
    assert without.losses == []
    # In the loss of a model, the rest of which is 0.
    inputs = keras.Input((3,))
    outputs = GaussianSampling(kl_weight=0.3)([inputs, inputs])
    model = keras.Model(inputs, outputs)
    model.compile(loss=lambda y, z: 0.0 * z)
    loss = model.evaluate(mean[:, 0], mean[:, 0], batch_size=7, verbose=0)
    expected = 0.3 * divergence(mean[:, 0], mean[:, 0]).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_sampling_is_seeded_saved_and_masked(tmp_path):
    x = np.zeros((5, 4), "float32")
    same = [GaussianSampling(seed=s)([x, x]).numpy() for s in (1, 1, 2)]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])
    inputs = keras.Input((4,))
    layer = GaussianSampling(kl_weight=0.1, seed=3, name="z")
    model = keras.Model(inputs, layer([inputs, inputs]))
    model.save(tmp_path / "m.keras")
    copy = keras.models.load_model(tmp_path / "m.keras").get_layer("z")
    assert (copy.kl_weight, copy.seed) == (0.1, 3)
    tokens = keras.layers.Embedding(5, 2, mask_zero=True)(np.array([[1, 2, 0]]))
    z = GaussianSampling()([tokens, tokens])
    assert z._keras_mask.numpy().tolist() == [[True, True, False]]


def test_sampling_of_extreme_scales_is_not_clipped():
    layer = GaussianSampling(seed=1)
    mean = np.full((2, 3), 2.0, "float32")
    np.testing.assert_array_equal(layer([mean, np.full((2, 3), -1e4, "float32")]), mean)
    assert np.isinf(layer([mean, np.full((2, 3), 1e4, "float32")])).all()


@pytest.mark.parametrize(
    "inputs",
    [np.zeros((2, 3)), [np.zeros((2, 3))], [np.zeros((2, 3)), np.zeros((2, 1))], [np.zeros(2)] * 2],
)
def test_sampling_of_other_inputs(inputs):
    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    with pytest.raises(ArgumentError, match=r"do not fit. Expected \[mean, log_var\].*shape"):
        GaussianSampling()(inputs)


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, "1", True, None])
def test_bad_weight_of_the_divergence(weight):
    with pytest.raises(ArgumentError, match=r"`kl_weight` .* Expected a finite number >= 0"):
        GaussianSampling(kl_weight=weight)


def test_log_variance():
    x = np.array([-300.0, -20.0, -10.01, -9.99, 0.0, 5.0, 300.0])
    exact = 2 * np.log(np.logaddexp(0, x - 5.0))
    exact[0] = 2 * (x[0] - 5)
    variable = tf.Variable(x, dtype=tf.float32)
    with tf.GradientTape() as tape:
        found = log_variance(variable)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
    slope = tape.gradient(found, variable).numpy()
    assert (slope > 0).all() and slope[0] == 2
