"""instrument() on every kind of model, by real forward passes."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.errors import ArgumentError

L = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """Layers as attributes and in a list, one only in training, one called twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = L.Dense(6, activation="relu", name="stem")
        self.blocks = [L.Dense(6, name=f"block_{i}") for i in range(2)]
        self.drop = L.Dropout(0.5)
        self.head = L.Dense(3, activation="softmax", name="head")

    def call(self, x, training=False):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(tf.nn.relu(x))
        if training:
            x = self.drop(x, training=training)
        x = self.blocks[0](x)
        return self.head(x)


class Pair(L.Layer):
    """Returns a dict, and calls a layer of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = L.Dense(4, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        h = self.inner(x)
        return {"a": h, "b": (2 * h, tf.cast(h, tf.int32))}


def rows(n, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype("f4")


def check(model, x, expected, *, noise=0.1):
    """Taps, identity at zero noise, and noise of the right size in every hidden tap."""
    noisy = ib.instrument(model, noise, seed=1)
    clean = ib.instrument(model)
    for a, b in zip(keras.tree.flatten(clean(x)), keras.tree.flatten(model(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    drawn = noisy.capture(x, seed=1, batch_size=7)
    before = noisy.capture(x, seed=1, batch_size=7, clean=True)
    assert noisy.tap_names == expected
    for name, stddev in noisy.noise_std.items():
        spread = np.std(drawn[name] - before[name])
        assert drawn[name].dtype == np.float32 and np.isfinite(drawn[name]).all()
        assert spread == pytest.approx(stddev, rel=0.25, abs=1e-6), name
    assert not [layer for layer in model._flatten_layers() if "call" in layer.__dict__]
    return noisy


def test_subclassed_model():
    model, x = Subclassed(), rows(40, 5)
    model(x)
    names = ["stem", "block_0", "block_1", "block_0:1", "head"]
    noisy = check(model, x, names)
    captured = ib.instrument(model).capture(x)
    np.testing.assert_allclose(captured["stem"], model.stem(x), atol=1e-6)
    np.testing.assert_allclose(captured["head"], model(x), atol=1e-6)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    before = model.stem.kernel.numpy().copy()
    noisy.fit(x, np.arange(40) % 3, epochs=2, verbose=0)
    assert not np.array_equal(before, model.stem.kernel)


@pytest.mark.parametrize("first", ["call", "fit", "capture"])
def test_lazily_built_model(first, tmp_path):
    x, y = rows(32, 5), np.arange(32) % 3
    noisy = ib.instrument(Subclassed(), 0.1)
    with pytest.raises(ArgumentError, match="is not built"):
        noisy.tap_names  # noqa: B018
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    if first == "call":
        noisy(x)
    elif first == "fit":
        noisy.fit(x, y, verbose=0, callbacks=[ib.Recorder(tmp_path / "r", x, y)])
        assert ib.ActivationStore(tmp_path / "r").epochs == [0, 1]
    else:
        noisy.capture(x)
    assert noisy.noise_std == {
        "stem": 0.1, "block_0": 0.1, "block_1": 0.1, "block_0:1": 0.1, "head": 0,
    }  # fmt: skip
    noisy.fit(x, y, verbose=0)


def test_lazy_sequential():
    model = keras.Sequential([L.Dense(4, name="a"), L.ReLU(name="r"), L.Dense(2, name="b")])
    noisy = ib.instrument(model, 0.1)
    noisy(rows(3, 5))
    assert noisy.tap_names == ["r", "b"]


def test_saved_subclassed_model(tmp_path):
    model, x = Subclassed(), rows(8, 5)
    model(x)
    noisy = ib.instrument(model, 0.3)
    noisy.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.noise_std == noisy.noise_std
    loaded.set_noise_std(0.0)
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)


def test_dict_and_tuple_outputs():
    x = keras.Input((3,))
    out = Pair(name="pair")(x)
    model = keras.Model(x, L.Dense(2, name="top")(out["a"] + out["b"][0]))
    data = rows(50, 3)
    check(model, data, ["pair/inner", "top"])
    chosen = ib.instrument(model, 0.5, layers=["pair[a]", "pair[b][0]"])
    assert chosen.tap_names == ["pair[a]", "pair[b][0]"]
    captured = chosen.capture(data, clean=True)
    np.testing.assert_allclose(captured["pair[b][0]"], 2 * captured["pair[a]"], rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"pair\[b\]\[1\]' cannot be tapped"):
        ib.instrument(model, layers="pair[b][1]")


def test_recurrent_embedding_and_masks():
    tokens = keras.Input((7,), dtype="int32")
    h = L.Embedding(20, 6, mask_zero=True, name="embed")(tokens)
    h, state, _ = L.LSTM(5, return_sequences=True, return_state=True, name="lstm")(h)
    h = L.Concatenate()([L.GlobalAveragePooling1D(name="mean")(h), state])
    model = keras.Model(tokens, L.Dense(3, name="out")(h))
    x = np.random.default_rng(0).integers(0, 20, (60, 7))
    noisy = check(model, x, ["embed", "lstm[0]", "out"])
    # The mask still reaches the pooling: padded steps do not count.
    x[:, 4:] = 0
    y = x.copy()
    quiet = ib.instrument(model)
    np.testing.assert_array_equal(quiet(y), model(y))
    assert noisy(x).shape == (60, 3)


def test_transformer_block():
    x = keras.Input((6, 8))
    a = L.MultiHeadAttention(2, 4, name="attention")(x, x)
    a = L.LayerNormalization(name="norm_1")(L.Add()([x, a]))
    f = L.Dense(16, name="ffn_1")(a)
    f = L.Dense(8, name="ffn_2")(L.Activation("gelu", name="gelu")(f))
    out = L.LayerNormalization(name="norm_2")(L.Add()([a, f]))
    model = keras.Model(x, L.Dense(2, name="head")(L.Flatten()(out)))
    check(model, rows(20, 6, 8), ["attention", "gelu", "ffn_2", "head"])


def test_a_cell_in_a_loop_is_out_of_reach_but_its_rnn_is_not():
    class Looped(keras.Model):
        def __init__(self):
            super().__init__()
            self.step = L.Dense(3, name="step")
            self.out = L.Dense(2, name="out")

        def call(self, x):
            body = lambda i, h: (i + 1, self.step(h))  # noqa: E731
            _, h = tf.while_loop(lambda i, h: i < 3, body, (0, x))
            return self.out(h)

    model, x = Looped(), rows(4, 3)
    model(x)
    with pytest.raises(ArgumentError, match="'step' is called inside a loop"):
        ib.instrument(model)
    check_only = ib.instrument(model, layers="out")
    np.testing.assert_allclose(check_only.capture(x)["out"], model(x), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    inputs = keras.Input((5,))
    h = L.Dense(8, name="a", dtype=policy)(inputs)
    h = L.ReLU(name="r", dtype=policy)(h)
    model = keras.Model(inputs, L.Dense(3, name="out", dtype="float32")(h))
    noisy = check(model, rows(60, 5), ["r", "out"])
    assert noisy.channels["r"].compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("mode", [{"jit_compile": True}, {"run_eagerly": True}])
def test_compile_modes(mode, mlp, inputs):
    x, y = inputs
    noisy = ib.instrument(mlp, 0.2, seed=0)
    noisy.compile("sgd", "sparse_categorical_crossentropy", **mode)
    history = noisy.fit(x, y, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    a, b = noisy.predict(x, verbose=0), noisy.predict(x, verbose=0)
    assert not np.array_equal(a, b)
    noisy.set_noise_std(0.0)
    np.testing.assert_allclose(noisy.predict(x, verbose=0), mlp(x), rtol=1e-5)


class OwnStep(keras.Model):
    """A training step that calls the model twice and keeps a metric of its own."""

    def __init__(self):
        super().__init__()
        self.hidden = L.Dense(6, activation="tanh", name="hidden")
        self.out = L.Dense(3, name="out")
        self.gap = keras.metrics.Mean(name="gap")

    def call(self, x):
        return self.out(self.hidden(x))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            first, second = self(x, training=True), self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=first)
        self.optimizer.apply(
            tape.gradient(loss, self.trainable_variables), self.trainable_variables
        )
        self.gap.update_state(tf.abs(first - second))
        return {"loss": loss, "gap": self.gap.result()}

    def test_step(self, data):
        return super().test_step(data)


def test_custom_train_step():
    x, y = rows(64, 5), np.arange(64) % 3
    model = OwnStep()
    model(x)
    attributes = set(model.__dict__)
    noisy = ib.instrument(model, 0.3, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    noisy.compile(keras.optimizers.SGD(0.1), loss)
    before = model.hidden.kernel.numpy().copy()
    first = noisy.fit(x, y, batch_size=32, verbose=0).history
    assert not np.array_equal(before, model.hidden.kernel)
    # Both calls of the model are noisy, each with its own noise: the outputs differ.
    assert first["gap"][0] > 0.1
    assert np.isfinite(noisy.evaluate(x, y, verbose=0)).all()
    noisy.set_noise_std(0.0)
    assert noisy.fit(x, y, batch_size=32, verbose=0).history["gap"] == [0.0]
    # The model's own compile state is as it was: none.
    assert model.__dict__.get("optimizer") is None and not model.compiled
    assert set(model.__dict__) == attributes
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(x, y, verbose=0)


class TwoOptimizers(OwnStep):
    """A ``compile`` with arguments of its own, as a GAN has."""

    def compile(self, hidden_optimizer, out_optimizer, loss_fn):
        super().compile(optimizer=out_optimizer)
        self.hidden_optimizer, self.loss_fn = hidden_optimizer, loss_fn

    def train_step(self, data):
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean(self.loss_fn(y, self(x, training=True)))
        for optimizer, layer in ((self.hidden_optimizer, self.hidden), (self.optimizer, self.out)):
            weights = layer.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


class Named(keras.Sequential):
    """A ``compile`` that chooses the loss and the metrics."""

    def compile(self, rate):
        loss = "sparse_categorical_crossentropy"
        super().compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])


def test_own_compile():
    x, y = rows(64, 5), np.arange(64) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def trained(wrap):
        keras.utils.set_random_seed(0)
        model = TwoOptimizers()
        model(x)
        whole = wrap(model)
        whole.compile(keras.optimizers.SGD(0.1), out_optimizer=keras.optimizers.SGD(0.5),
                      loss_fn=loss)  # fmt: skip
        whole.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
        assert whole.optimizer.learning_rate == 0.5
        return model

    plain, wrapped = trained(lambda model: model), trained(ib.instrument)
    for a, b in zip(plain.get_weights(), wrapped.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    named = ib.instrument(Named([keras.Input((5,)), L.Dense(3, "softmax")]))
    named.compile(rate=0.3)
    found = named.evaluate(x, y, verbose=0, return_dict=True)
    assert found.keys() == {"loss", "accuracy"} and len(named.evaluate(x, y, verbose=0)) == 2
    with pytest.raises(TypeError, match="loss_fn"):
        ib.instrument(plain).compile("sgd", "sgd")


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_saved_model_goes_on_training(tmp_path):
    x, y = rows(64, 5), np.arange(64) % 3
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((5,)), L.Dense(4, "tanh"), L.Dense(3, "softmax")])
    model = ib.instrument(inner)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.optimizer.iterations == model.optimizer.iterations == 4
    logs = [each.fit(x, y, shuffle=False, verbose=0).history for each in (model, loaded)]
    assert logs[0].keys() == logs[1].keys() == {"loss", "accuracy"}
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_two_replicas():
    code = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import ib_keras as ib
L = keras.layers
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, name="a"), L.BatchNormalization(),
                              L.Dense(3, name="b")])
    noisy = ib.instrument(model, 0.5, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    noisy.compile("sgd", loss, jit_compile=False)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")
before = model.layers[0].kernel.numpy().copy()
noisy.fit(x, np.arange(64) % 3, batch_size=16, epochs=2, verbose=0)
assert not np.array_equal(before, model.layers[0].kernel.numpy())
a, b = noisy.predict(x, verbose=0), noisy.predict(x, verbose=0)
assert np.abs(a - b).mean() > 0.05
assert noisy.capture(x[:8])["b"].shape == (8, 3)
assert not [l for l in model.layers if "call" in l.__dict__]
print("both replicas")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "both replicas" in done.stdout, done.stderr[-3000:]


def resnet50():
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=4)
    taps = ["conv1_relu"]
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            taps += [f"{name}_1_relu", f"{name}_2_relu"]
            # The first block of a stage has a convolution in its shortcut.
            taps += [f"{name}_0_bn"] * (block == 1) + [f"{name}_3_bn"]
    return model, [*taps, "predictions"]


def mobilenet_v2():
    model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=4)
    taps = ["Conv1_relu", "expanded_conv_depthwise_relu", "expanded_conv_project_BN"]
    for block in range(1, 17):
        ends = ("expand_relu", "depthwise_relu", "project_BN")
        taps += [f"block_{block}_{end}" for end in ends]
    return model, [*taps, "out_relu", "predictions"]


def efficientnet_v2():
    model = keras.applications.EfficientNetV2B0(weights=None, input_shape=(32, 32, 3), classes=4)
    taps = ["stem_activation", "block1a_project_activation"]
    for stage, blocks in (("2", "ab"), ("3", "ab")):  # the fused blocks
        for block in blocks:
            taps += [f"block{stage}{block}_{end}" for end in ("expand_activation", "project_bn")]
    for stage, blocks in (("4", "abc"), ("5", "abcde"), ("6", "abcdefgh")):
        ends = ("expand_activation", "activation", "se_reduce", "se_expand", "project_bn")
        taps += [f"block{stage}{block}_{end}" for block in blocks for end in ends]
    return model, [*taps, "top_activation", "predictions"]


@pytest.mark.parametrize("build", [resnet50, mobilenet_v2, efficientnet_v2])
def test_names_of_taps_of_applications(build):
    """Their outputs are the matter of ``test_applications.py``."""
    model, expected = build()
    assert ib.instrument(model, 0.1).tap_names == expected


def test_a_layer_inside_a_lambda_is_named():
    hidden, kept = L.Dense(3, name="hidden"), [L.Dense(3, name="kept")]
    hidden.build((None, 4))
    x = keras.Input((4,))
    h = L.Lambda(lambda t: hidden(t) + kept[0](t), output_shape=(3,), name="lam")(x)
    model = keras.Model(x, L.Dense(2, name="out")(h))
    with pytest.raises(
        ArgumentError, match=r"'hidden' is called inside the Lambda 'lam'.*subclass"
    ):
        ib.instrument(model)
    with pytest.raises(ArgumentError, match="'kept' is called inside the Lambda 'lam'"):
        ib.instrument(model, layers=["out", "kep*"])
    assert ib.instrument(model, layers=["lam", "out"]).tap_names == ["lam", "out"]
    # A Lambda that calls no layer is as good as any other layer.
    plain = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Lambda(tf.tanh)])
    assert ib.instrument(plain).tap_names == ["a"]
