"""Layers that draw random numbers at inference: captures repeat, training is left alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.errors import ArgumentError

L = keras.layers


@keras.saving.register_keras_serializable("tests")
class Sampling(L.Layer):
    """A VAE's: z = mean + noise, by a seed generator of the layer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


class GlobalSampling(L.Layer):
    """The same by Keras's global generator."""

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))


class KernelSampling(L.Layer):
    """The same by TensorFlow's own operation, whose state no variable holds."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class GeneratorSampling(L.Layer):
    """The same by a generator of TensorFlow."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = tf.random.Generator.from_seed(5)

    def call(self, x):
        return x + self.generator.normal(tf.shape(x))


class MonteCarloDropout(L.Dropout):
    def call(self, inputs, training=False):
        return super().call(inputs, training=True)


class Looped(L.Layer):
    """Draws in each round of a loop."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        def body(i, h):
            return i + 1, h + keras.random.normal(keras.ops.shape(h), seed=self.generator)

        return keras.ops.while_loop(lambda i, h: i < 2, body, (0, x))[1]


KINDS = [Sampling, GlobalSampling, KernelSampling, GeneratorSampling,
         lambda **k: MonteCarloDropout(0.5, **k), Looped]  # fmt: skip


def network(make):
    return keras.Sequential(
        [keras.Input((4,)), L.Dense(6, name="mean"), make(name="z"), L.Dense(3, name="out")]
    )


def rows(n=300):
    return np.random.default_rng(0).normal(size=(n, 4)).astype("float32")


@pytest.mark.parametrize("make", KINDS)
def test_a_seed_reproduces_a_capture(make):
    tapped, x = ib.instrument(network(make), layers="*"), rows()
    once, again, other = (tapped.capture(x, seed=s)["z"] for s in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, other)
    # Other draws for other passes, batches and rows; fresh ones without a seed.
    two = tapped.capture(x, seed=1, draws=2)["z"]
    assert not np.allclose(two[0], two[1])
    assert not np.allclose(tapped.capture(x)["z"], tapped.capture(x)["z"])
    repeated = tapped.capture(np.repeat(x[:1], 64, axis=0), seed=1, batch_size=8)["z"]
    # A dropout of 6 units has 64 masks, of which 64 draws see some 40.
    assert len(np.unique(repeated.sum(axis=1))) > 25
    assert tapped.random_taps == {"z", "out"}


@pytest.mark.parametrize("make", KINDS)
def test_recording_leaves_the_random_state_of_training(make, tmp_path):
    def train(callbacks):
        keras.utils.set_random_seed(1)
        model = network(make)
        tapped = ib.instrument(model, seed=0)
        tapped.compile("sgd", "mse")
        x = rows(64)
        y = np.ones((64, 3), "float32")
        tapped.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=callbacks)
        return [v.numpy() for v in model.variables]

    recorder = ib.Recorder(tmp_path / "run", rows(40), np.arange(40) % 2, epochs=1)
    for plain, recorded in zip(train([]), train([recorder]), strict=True):
        np.testing.assert_array_equal(plain, recorded)
    assert ib.ActivationStore(tmp_path / "run").random(3) == {"out"}


def test_what_is_random_given_x_has_noise():
    x, y = rows(200), np.arange(200) % 2
    tapped = ib.instrument(network(Sampling), layers="*")
    table = ib.estimate(tapped, ["ksg", "ebab", "sp"], inputs=x, targets=y)
    flags = table[table["quantity"] == "I(X;T)"].set_index(["layer", "estimator"])["flags"]
    assert "no_noise" in flags["mean", "ksg"] and "network_noise" not in flags["mean", "ebab"]
    for layer in ("z", "out"):
        assert "no_noise" not in flags[layer, "ksg"]
        assert "network_noise" in flags[layer, "ebab"]
        assert "no_channel" in flags[layer, "sp"]
    with pytest.raises(ArgumentError, match="random by draws of its own layers only"):
        ib.estimate(tapped, "sp", inputs=x, targets=y)


def test_constant_draws_are_no_noise():
    """Random features, drawn by a constant seed, are the same in every pass."""

    class Features(L.Layer):
        def call(self, x):
            return tf.cos(x @ tf.random.stateless_normal([4, 5], seed=[1, 2]))

    model = keras.Sequential([keras.Input((4,)), Features(name="f"), L.Dense(2, name="out")])
    assert ib.instrument(model, layers="*").random_taps == frozenset()


def test_layers_with_a_state_are_left_as_they_were():
    class Counter(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

        def call(self, x):
            self.count.assign_add(1.0)
            return x * 2

    model = keras.Sequential([keras.Input((4,)), Counter(name="c"), L.Dense(2, name="out")])
    ib.instrument(model).capture(rows())
    assert float(model.get_layer("c").count) == 0
