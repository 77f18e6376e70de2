"""Layers that declare their distribution, and networks that are random at inference."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.integrate import quad

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, SamplePropagation
from ib_keras.instrumentation.conditionals import gaussian_parameters
from ib_keras.layers import GaussianSampling

tfd = tfp.distributions
MEAN = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]], "float32")
STDDEV = np.array([[0.1, 2.0], [1.0, 1e-6], [3.0, 1e6]], "float32")


@pytest.mark.parametrize(
    "make",
    [
        tfd.Normal,
        lambda mean, stddev: tfd.Independent(tfd.Normal(mean, stddev), 1),
        tfd.MultivariateNormalDiag,
        lambda mean, stddev: tfd.MultivariateNormalDiag(mean, -stddev),
        lambda mean, stddev: tfd.MultivariateNormalLinearOperator(
            mean, tf.linalg.LinearOperatorDiag(stddev)
        ),
    ],
)
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_parameters_of_diagonal_gaussians(make, jit_compile):
    def parameters(mean, stddev):
        return gaussian_parameters(make(mean, stddev))

    run = parameters
    if jit_compile is not None:
        run = tf.function(parameters, jit_compile=jit_compile, autograph=False)
    loc, scale = run(tf.constant(MEAN), tf.constant(STDDEV))
    np.testing.assert_array_equal(loc, MEAN)
    np.testing.assert_allclose(scale, STDDEV, rtol=1e-6)


def test_parameters_have_the_shape_of_samples():
    for distribution in (
        tfd.Normal(MEAN, 0.5),
        tfd.Normal(0.0, STDDEV),
        tfd.MultivariateNormalDiag(MEAN),
        tfd.MultivariateNormalDiag(scale_diag=STDDEV),
        tfd.MultivariateNormalLinearOperator(
            MEAN, tf.linalg.LinearOperatorScaledIdentity(2, tf.constant(2.0))
        ),
    ):
        loc, scale = gaussian_parameters(distribution)
        assert loc.shape == scale.shape == distribution.sample(seed=0).shape == (3, 2)


@pytest.mark.parametrize(
    "distribution",
    [
        tfd.MultivariateNormalTriL(MEAN, np.eye(2, dtype="float32")),
        tfd.MultivariateNormalDiagPlusLowRank(MEAN, STDDEV, scale_perturb_factor=STDDEV[..., None]),
        tfd.LogNormal(MEAN, STDDEV),
        tfd.Laplace(MEAN, STDDEV),
        tfd.Independent(tfd.Laplace(MEAN, STDDEV), 1),
        tfd.Blockwise([tfd.Normal(0.0, 1.0)]),
        tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0)]),
        MEAN,
        None,
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_other_distributions(distribution):
    name = type(distribution).__name__
    with pytest.raises(ArgumentError, match=rf"MultivariateNormalDiag.*'ksg'. Received: {name}$"):
        gaussian_parameters(distribution)


def test_an_instrumented_network_samples_reproducibly_and_learns_from_the_divergence():
    inputs = keras.Input((3,))
    hidden = [keras.layers.Dense(2, name=name)(inputs) for name in ("mean", "log_var")]
    z = GaussianSampling(kl_weight=2.0, seed=1, name="z")(hidden)
    tapped = ib.instrument(keras.Model(inputs, z), layers=["mean", "log_var", "z"])
    assert tapped.random_taps == {"z"}
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    first, again, other = (tapped.capture(x, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["z"], again["z"])
    np.testing.assert_array_equal(first["mean"], other["mean"])
    assert not np.isclose(first["z"], other["z"]).any()
    tapped.compile(keras.optimizers.SGD(0.0), loss=lambda y, z: 0.0 * z)
    loss = tapped.fit(x, x[:, :2], batch_size=5, verbose=0).history["loss"][0]
    mean, log_var = first["mean"], first["log_var"]
    each = (np.exp(log_var) + mean**2 - 1 - log_var).sum(axis=1) / 2
    assert loss == pytest.approx(2 * each.mean(), rel=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class DropoutAtInference(keras.layers.Layer):
    """Gaussian dropout that is also on at inference, and declares its distribution."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.dropout = keras.layers.GaussianDropout(rate)
        self.stddev = math.sqrt(rate / (1 - rate))

    def call(self, inputs):
        return self.dropout(inputs, training=True)

    def conditional(self, inputs):
        return tfd.Independent(tfd.Normal(inputs, self.stddev * tf.abs(inputs)), 1)


def information_of_gaussian_dropout(stddev):
    """I(X;T) of T = X·(1 + stddev·ε), X and ε standard normal: h(T) − h(T|X) by quadrature."""

    def density(t):
        def joint(log_x, sign):
            x = sign * math.exp(log_x)
            z = (t / x - 1) / stddev
            return math.exp(-(x * x + z * z) / 2) / (2 * math.pi * stddev)

        return sum(quad(joint, -30, 3, (sign,), limit=200)[0] for sign in (-1, 1))

    log_t = np.linspace(-12, 3.2, 400)
    t = np.exp(log_t)
    p = np.array([density(value) for value in t])
    entropy = -2 * np.trapezoid(t * p * np.log(p), log_t)
    mean_log = -(np.euler_gamma + math.log(2)) / 2  # E ln|X|
    return entropy - math.log(2 * math.pi * math.e * stddev**2) / 2 - mean_log


def test_dropout_at_inference():
    """A case of Monte-Carlo dropout whose information is finite and known."""
    exact = information_of_gaussian_dropout(1.0)
    assert exact == pytest.approx(0.813, abs=1e-3)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, DropoutAtInference(0.5, name="t")(inputs))
    tapped = ib.instrument(model, layers="t")
    ksg = KSG(k=5)
    x = np.random.default_rng(0).normal(size=(2000, 1)).astype("float32")
    single = ksg.mutual_information(x, tapped.capture(x, seed=1)["t"])
    assert single.value == pytest.approx(exact, abs=3 * single.stderr)
    draws = tapped.capture(x[:500], draws=4, seed=1)["t"]
    assert draws.shape == (4, 500, 1)
    repeated = ksg.mutual_information(np.tile(x[:500], (4, 1)), draws.reshape(-1, 1))
    # The rows of one input are not independent: the error is that of 500 rows, not of 2000.
    assert repeated.value == pytest.approx(exact, abs=3 * math.sqrt(4) * repeated.stderr)
    assert repeated.flags == ()
    # What the layer declares gives the same, with a smaller error.
    mean, scale = gaussian_parameters(model.get_layer("t").conditional(tf.constant(x)))
    declared = SamplePropagation().estimate(mean.numpy(), scale=scale.numpy()).xt
    assert declared.value == pytest.approx(exact, abs=3 * declared.stderr)
    assert declared.stderr < single.stderr / 2


class UnitDropoutAtInference(keras.layers.Dropout):
    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


def test_draws_that_are_equal_are_warned_of():
    inputs = keras.Input((2,))
    # Keras replaces this argument when the model is called for inference.
    dropped = keras.layers.Dropout(0.5)(inputs, training=True)
    model = keras.Model(inputs, keras.layers.Dense(2, name="t")(dropped))
    x = np.ones((3, 2), "float32")
    with pytest.warns(UserWarning, match="All draws are equal"):
        draws = ib.instrument(model, layers="t").capture(x, draws=2)["t"]
    np.testing.assert_array_equal(draws[0], draws[1])
    noisy = ib.instrument(model, layers="t", noise_std={"t": 0.1})
    assert noisy.capture(x, draws=2)["t"].std(axis=0).min() > 0
    with pytest.warns(UserWarning, match="All draws are equal"):
        noisy.capture(x, draws=2, clean=True)


def test_dropout_of_units_tells_more_the_more_samples():
    """Given x, T has finitely many values: I(X;T) is infinite, and what is found grows with n."""

    def found(n):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(n, 2)).astype("float32")
        tapped = ib.instrument(model, layers="t")
        return KSG(k=5).mutual_information(x, tapped.capture(x, seed=1)["t"]).value

    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    dropped = UnitDropoutAtInference(0.5)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, name="t")(dropped))
    draws = ib.instrument(model, layers="t").capture(np.ones((3, 2), "float32"), draws=2)["t"]
    assert draws.std(axis=0).min() > 0
    values = [found(n) for n in (250, 1000, 4000)]
    assert values[0] + 0.15 < values[1] and values[1] + 0.15 < values[2]
