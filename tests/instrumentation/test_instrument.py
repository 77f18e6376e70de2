import contextlib
import gc
import subprocess
import sys
import weakref
from operator import attrgetter

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import ib_keras as ib
from ib_keras.errors import ArgumentError


def conv_stack():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(8, name="fc"),
            layers.Activation("tanh", name="act"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(3, name="logits"),
            layers.Softmax(name="softmax"),
        ]
    )


def residual():
    x = keras.Input((6,), name="in")
    a = keras.layers.Dense(6, activation="relu", name="a")(x)
    b = keras.layers.Dense(6, name="b")(a)
    c = keras.layers.ReLU(name="c")(keras.layers.Add(name="add")([a, b]))
    return keras.Model(x, keras.layers.Dense(2, name="out")(c))


def shared():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    twin = keras.layers.Dense(3, activation="tanh", name="twin")
    both = keras.layers.Concatenate(name="both")([twin(left), twin(right)])
    p = keras.layers.Dense(2, name="p")(both)
    return keras.Model({"left": left, "right": right}, [p, keras.layers.Dense(1, name="q")(p)])


def nested():
    inner = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, name="d1"), keras.layers.Dense(3, name="d2")],
        name="encoder",
    )
    x = keras.Input((5,))
    return keras.Model(x, keras.layers.Dense(2, name="head")(inner(x)))


def separate_activations():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Normalization(name="scale"),
            layers.Dense(5, name="d1"),
            layers.Activation("relu", name="a1"),
            layers.Dense(4, name="d2"),
            layers.LayerNormalization(name="n2"),
            layers.LeakyReLU(name="a2"),
            layers.Dropout(0.2, name="drop"),
            layers.Dense(3, name="d3"),
        ]
    )


def autoencoder():
    x = keras.Input((8, 8, 1))
    h = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="down")(x)
    z = keras.layers.Dense(3, name="code")(keras.layers.Flatten(name="flat")(h))
    h = keras.layers.Dense(64, name="up")(z)
    h = keras.layers.PReLU(name="prelu")(h)
    h = keras.layers.Reshape((4, 4, 4), name="shape")(h)
    y = keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", name="image")(h)
    return keras.Model(x, keras.layers.Activation("sigmoid", name="pixels")(y))


def preactivation():
    """A residual network that normalises and activates before each convolution."""
    x = keras.Input((8, 8, 3))
    h = keras.layers.Conv2D(4, 3, padding="same", name="stem")(x)
    a = keras.layers.BatchNormalization(name="bn1")(h)
    a = keras.layers.ReLU(name="relu1")(a)
    a = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(a)
    h = keras.layers.Add(name="add")([h, a])
    h = keras.layers.GlobalAveragePooling2D(name="mean")(h)
    return keras.Model(x, keras.layers.Dense(2, name="out")(h))


# What a reader of the papers would call T_1…T_L, written by hand. Recurrent, attention and
# subclassed networks and those of keras.applications: test_instrument_models.py.
EXPECTED = [
    (conv_stack, ["relu", "act", "softmax"]),
    (residual, ["a", "b", "out"]),
    (shared, ["twin", "twin:1", "p", "q"]),
    (nested, ["encoder/d1", "encoder/d2", "head"]),
    (separate_activations, ["a1", "a2", "d3"]),
    (autoencoder, ["down", "code", "prelu", "pixels"]),
    # The sum reads the stem's output too: that, not what bn1 makes of it, is T_1.
    (preactivation, ["stem", "conv1", "out"]),
]


def data(model, n=32, seed=0):
    rng = np.random.default_rng(seed)
    if not isinstance(model, keras.Sequential) and isinstance(model.input, dict):
        return {k: rng.normal(size=(n, *v.shape[1:])).astype("f4") for k, v in model.input.items()}
    return rng.normal(size=(n, *model.input_shape[1:])).astype("f4")


@pytest.mark.parametrize(("build", "expected"), EXPECTED)
def test_default_taps(build, expected):
    assert ib.instrument(build()).tap_names == expected


@pytest.mark.parametrize("build", [conv_stack, residual, nested])
def test_capture_is_the_layers_output_bit_for_bit(build):
    model = build()
    noisy = ib.instrument(model)
    x = data(model)
    for name, values in noisy.capture(x, batch_size=len(x)).items():
        assert values.dtype == np.float32
        owner, _, leaf = name.rpartition("/")
        if owner:  # Keras calls the output of a nested model's layer "not connected"
            inner = model.get_layer(owner)
            reference = keras.Model(inner.inputs[0], inner.get_layer(leaf).output)
        else:
            reference = keras.Model(model.inputs[0], model.get_layer(leaf).output)
        expected = reference.predict(x, batch_size=len(x), verbose=0)
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(noisy(x), model(x))


def test_shared_layers_and_dict_inputs():
    model = shared()
    noisy = ib.instrument(model)
    x = data(model)
    captured = noisy.capture(x, batch_size=10)
    twin = model.get_layer("twin")
    np.testing.assert_allclose(captured["twin"], twin(x["left"]), atol=1e-6)
    np.testing.assert_allclose(captured["twin:1"], twin(x["right"]), atol=1e-6)
    for got, expected in zip(noisy(x), model(x), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_weights_are_shared_and_the_model_is_left_alone(mlp, inputs, tmp_path):
    x, y = inputs
    before = mlp(x).numpy()
    config, weights = mlp.get_config(), list(mlp.weights)
    noisy = ib.instrument(mlp, 0.1, seed=0)
    quiet = ib.instrument(mlp)
    assert [id(w) for w in noisy.weights] == [id(w) for w in weights]
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    noisy.fit(x, y, epochs=2, verbose=0)
    after = mlp(x).numpy()
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(quiet(x), after)
    assert mlp.get_config() == config
    assert mlp.get_layer("first").output.shape == (None, 5)
    assert all("call" not in layer.__dict__ for layer in mlp.layers)
    assert getattr(mlp, "optimizer", None) is None
    # It predicts, saves and trains on as if nothing had happened.
    np.testing.assert_allclose(mlp.predict(x, verbose=0), after, rtol=1e-5)
    mlp.save(tmp_path / "plain.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "plain.keras")(x), after)
    del noisy, quiet
    gc.collect()
    mlp.compile("sgd", "sparse_categorical_crossentropy")
    mlp.fit(x, y, verbose=0)
    assert not np.array_equal(mlp(x), after)


def test_gradients_at_zero_noise_are_the_plain_models_bit_for_bit():
    for model in (residual(), conv_stack()):
        x, weights = data(model), model.get_weights()
        gradients = []
        for wrapped in (model, ib.instrument(model)):
            for training in (False, True):
                model.set_weights(weights)  # the averages of the normalisation among them
                for layer in model.layers:
                    if isinstance(layer, keras.layers.Dropout):
                        layer.seed_generator.state.assign([1, 2])
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(wrapped(x, training=training) ** 2)
                gradients.append([loss, *tape.gradient(loss, model.trainable_weights)])
        for plain, instrumented in zip(gradients[:2], gradients[2:], strict=True):
            for a, b in zip(plain, instrumented, strict=True):
                np.testing.assert_array_equal(a, b)


def test_two_instrumentations_live_side_by_side(mlp, inputs):
    x, y = inputs
    plain = mlp(x).numpy()
    loud, quiet = ib.instrument(mlp, 0.5, seed=1), ib.instrument(mlp, 0.01, layers="first", seed=1)
    assert loud.noise_std == {"first": 0.5, "output": 0.0}
    # The only tap is no output, though it is the last tap.
    assert quiet.noise_std == {"first": 0.01}
    spread = [np.std(m.capture(x)["first"] - mlp.layers[0](x)) for m in (loud, quiet, loud)]
    np.testing.assert_allclose(spread, [0.5, 0.01, 0.5], rtol=0.2)
    del loud
    gc.collect()
    assert np.std(quiet.capture(x)["first"] - mlp.layers[0](x)) == pytest.approx(0.01, rel=0.2)
    np.testing.assert_array_equal(mlp(x), plain)


def test_no_hooks_are_left_when_it_is_deleted(mlp, inputs):
    before = {id(layer): dict(layer.__dict__) for layer in mlp._flatten_layers()}
    noisy = ib.instrument(mlp, 0.1)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    noisy.fit(*inputs, verbose=0)
    noisy.capture(inputs[0])
    deleted = weakref.ref(noisy)
    del noisy
    keras.backend.clear_session()
    gc.collect()
    assert deleted() is None
    for layer in mlp._flatten_layers():
        assert layer.__dict__.keys() == before[id(layer)].keys()


def test_noise_differs_between_layers_samples_and_batches():
    # Constant layers: what comes out is the noise.
    layers = [keras.layers.Dense(40, kernel_initializer="zeros", name=f"d{i}") for i in range(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    noisy = ib.instrument(model, {"*": 1.0}, seed=0)
    x = np.zeros((300, 4), "f4")
    for seeded in (3, None):
        captured = noisy.capture(x, batch_size=100, draws=2, seed=seeded)
        streams = [
            captured[name][draw, start : start + 100].ravel()
            for name in noisy.tap_names for draw in range(2) for start in (0, 100, 200)
        ]  # fmt: skip
        correlation = np.corrcoef(streams) - np.eye(len(streams))
        assert np.abs(correlation).max() < 5 / np.sqrt(streams[0].size)
        values = np.concatenate(streams)
        assert len(np.unique(values)) > 0.99 * values.size
        # Neighbours along each axis, and the pairs of which Box and Muller make two at a time.
        square = captured["d1"][0]
        for a, b in (
            (square[:-1], square[1:]), (square[:, :-1], square[:, 1:]),
            (square[::2], square[1::2]), (square[:150], square[150:]),
            (square[:150] ** 2, square[150:] ** 2), (square[:50] ** 2, square[50:100] ** 2),
        ):  # fmt: skip
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # The forward passes of a training draw anew at every step, too.
    first, second = noisy(x).numpy(), noisy(x).numpy()
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_one_seed_and_batch_size_train_to_the_same_bits(mlp, inputs):
    x, y = inputs
    start = mlp.get_weights()

    def trained(seed):
        mlp.set_weights(start)
        keras.utils.set_random_seed(5)
        noisy = ib.instrument(mlp, {"*": 0.3}, seed=seed)
        noisy.compile("adam", "sparse_categorical_crossentropy")
        noisy.fit(x, y, epochs=2, batch_size=16, verbose=0)
        evaluated = noisy.evaluate(x, y, verbose=0)
        return [*mlp.get_weights(), evaluated, noisy.predict(x, verbose=0)]

    first, again, other = trained(1), trained(1), trained(2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_zero_noise_trains_exactly_as_the_plain_model(mlp, inputs, jit_compile):
    x, y = inputs
    start = [w.numpy().copy() for w in mlp.weights]
    trained = []
    for wrap in (lambda m: m, ib.instrument):
        for w, value in zip(mlp.weights, start, strict=True):
            w.assign(value)
        model = wrap(mlp)
        # Keras takes the loss from the logits behind the softmax, if it finds them.
        model.compile(
            keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=jit_compile
        )
        model.fit(x, y, epochs=3, shuffle=False, verbose=0)
        trained.append([w.numpy().copy() for w in mlp.weights])
    for plain, instrumented in zip(*trained, strict=True):
        np.testing.assert_array_equal(plain, instrumented)


def test_noise_of_a_capture(mlp, inputs):
    x, _ = inputs
    noisy = ib.instrument(mlp, {"*": 0.2}, seed=0)
    drawn = noisy.capture(x, draws=40, seed=1)
    clean = noisy.capture(x, draws=40, seed=1, clean=True)
    for name in noisy.tap_names:
        assert drawn[name].shape == (40, 64, *mlp.get_layer(name).output.shape[1:])
        noise = drawn[name] - clean[name]
        assert stats.kstest(noise.ravel() / 0.2, "norm").pvalue > 0.01
        # Independent across draws and samples: the mean over either has the variance 0.2²/size.
        for axis, size in ((0, 40), (1, 64)):
            assert np.var(noise.mean(axis=axis)) == pytest.approx(0.04 / size, rel=0.25)
    # S of the second layer feels the first layer's noise, S of the first feels none.
    assert np.ptp(clean["first"], axis=0).max() == 0
    assert np.ptp(clean["output"], axis=0).max() > 0.01


def test_captures_repeat_with_a_seed_and_leave_training_noise_alone(mlp, inputs):
    x, _ = inputs
    noisy = ib.instrument(mlp, 0.2, seed=0)
    states = [c.seed_generator.state.numpy().copy() for c in noisy.channels.values()]
    first, again = noisy.capture(x, seed=5)["first"], noisy.capture(x, seed=5)["first"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, noisy.capture(x, seed=6)["first"])
    assert not np.array_equal(noisy.capture(x)["first"], noisy.capture(x)["first"])
    for channel, state in zip(noisy.channels.values(), states, strict=True):
        np.testing.assert_array_equal(channel.seed_generator.state.numpy(), state)
    twins = [ib.instrument(mlp, 0.2, seed=9).capture(x)["first"] for _ in range(2)]
    np.testing.assert_array_equal(*twins)


def test_noise_acts_in_predict_and_evaluate(mlp, inputs):
    x, y = inputs
    noisy = ib.instrument(mlp, 0.5)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    assert not np.array_equal(noisy.predict(x, verbose=0), noisy.predict(x, verbose=0))
    assert noisy.evaluate(x, y, verbose=0) != noisy.evaluate(x, y, verbose=0)


def test_noise_by_name(mlp):
    assert ib.instrument(mlp, 0.1).noise_std == {"first": 0.1, "output": 0.0}
    noisy = ib.instrument(mlp, {"out*": 0.3})
    assert noisy.noise_std == {"first": 0.0, "output": 0.3}
    noisy.set_noise_std(0.7)
    assert noisy.noise_std == {"first": 0.7, "output": 0.0}
    noisy.set_noise_std({"output": 0.2})
    assert noisy.noise_std == {"first": 0.0, "output": 0.2}
    with pytest.raises(ArgumentError, match="'output' has no channel"):
        ib.instrument(mlp, 0.1).set_noise_std({"output": 0.2})
    with pytest.raises(ArgumentError, match=r"names no tap by 'conv\*'.*'first'"):
        ib.instrument(mlp, {"conv*": 0.1})


def test_both_outputs_of_a_model_are_noiseless():
    assert ib.instrument(shared(), 0.1).noise_std == {"twin": 0.1, "twin:1": 0.1, "p": 0, "q": 0}


def test_layers_by_name_glob_and_predicate():
    model = conv_stack()
    assert ib.instrument(model, layers="f*").tap_names == ["flat", "fc"]
    assert ib.instrument(model, layers=["pool", "conv"]).tap_names == ["conv", "pool"]
    dense = ib.instrument(model, layers=lambda layer: isinstance(layer, keras.layers.Dense))
    assert dense.tap_names == ["fc", "logits"]
    assert ib.instrument(nested(), layers="encoder").tap_names == ["encoder"]
    with pytest.raises(ArgumentError, match=r"No layer matches `layers='dens\*'`.*'conv'"):
        ib.instrument(model, layers="dens*")
    assert list(ib.instrument(model).capture(data(model), layers="r*")) == ["relu"]


def test_set_noise_std_retraces_nothing(mlp, inputs):
    x, _ = inputs
    noisy = ib.instrument(mlp, 0.0)
    plain = noisy.capture(x)["first"]
    function = next(iter(noisy._state.programs.programs.values())).forward
    assert function.experimental_get_tracing_count() == 1
    noisy.set_noise_std(0.1)
    assert np.std(noisy.capture(x, batch_size=7)["first"] - plain) == pytest.approx(0.1, rel=0.2)
    assert function.experimental_get_tracing_count() == 1


def test_set_noise_std_retraces_no_training_step(mlp, inputs):
    x, y = inputs
    traces = []

    class Counted(keras.losses.SparseCategoricalCrossentropy):
        def call(self, y_true, y_pred):
            traces.append(1)  # Python runs while a function is traced, and not after
            return super().call(y_true, y_pred)

    noisy = ib.instrument(mlp, 0.0, seed=0)
    noisy.compile("sgd", Counted(), metrics=["accuracy"])
    noisy.fit(x, y, batch_size=16, verbose=0)
    noisy.evaluate(x, y, batch_size=16, verbose=0)
    traced = len(traces)
    losses = set()
    for stddev in (0.0, 0.1, 3.0):
        noisy.set_noise_std(stddev)
        losses.add(noisy.fit(x, y, batch_size=16, verbose=0, shuffle=False).history["loss"][0])
        noisy.evaluate(x, y, batch_size=16, verbose=0)
    assert len(losses) == 3 and len(traces) == traced


def test_a_saved_model_comes_back_in_a_new_process(mlp, inputs, tmp_path):
    x, y = inputs
    noisy = ib.instrument(mlp, {"first": 0.25}, seed=4)
    noisy.compile("adam", "sparse_categorical_crossentropy")
    noisy.fit(x, y, verbose=0)
    noisy.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, keras, numpy as np, ib_keras
m = keras.models.load_model(sys.argv[1] + "/m.keras", safe_mode=True)
assert m.noise_std == {"first": 0.25, "output": 0.0}, m.noise_std
m.set_noise_std(0.0)
np.save(sys.argv[1] + "/p.npy", m(np.load(sys.argv[1] + "/x.npy")))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), mlp(x), rtol=1e-6)


def test_a_model_without_noise_is_exported(mlp, inputs, tmp_path):
    x, y = inputs
    made = ib.instrument(mlp, {"first": 0.25}, seed=4)
    made.compile("adam", "sparse_categorical_crossentropy")
    made.fit(x, y, verbose=0)
    with pytest.raises(ArgumentError, match=r"noise_std=\{'first': 0\.25\}"):
        made.export(tmp_path / "exported", verbose=False)
    assert not (tmp_path / "exported").exists()
    made.set_noise_std(0.0)
    made.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(loaded.serve(x), mlp(x), rtol=1e-5)


def test_summary_tells_sizes_before_anything_runs(mlp):
    lines = []
    ib.instrument(mlp, 0.1).summary(samples=1000, print_fn=lines.append)
    text = "\n".join(lines)
    assert "first" in text and "Dense" in text and "(5,)" in text
    assert "20,000" in text and "32,000" in text  # 1000 × 5 × 4 bytes; with the output's 12,000


def test_bad_input(mlp, inputs):
    x, _ = inputs
    with pytest.raises(ArgumentError, match="not a Keras model"):
        ib.instrument("model")
    with pytest.raises(ArgumentError, match="is instrumented already.*`model.model`"):
        ib.instrument(ib.instrument(mlp))
    with pytest.raises(ArgumentError, match="is not built"):
        ib.instrument(keras.Sequential([keras.layers.Dense(3)])).tap_names  # noqa: B018
    noisy = ib.instrument(mlp)
    with pytest.raises(ArgumentError, match=r"do not fit.*\(None, 4\).*\(64, 3\)"):
        noisy.capture(x[:, :3])
    for layers in ([], 3, [3]):
        with pytest.raises(ArgumentError, match="are not names"):
            ib.instrument(mlp, layers=layers)
    for seed in (-1, "a", 0.5):
        with pytest.raises(ArgumentError, match="not a seed"):
            noisy.capture(x, seed=seed)
        with pytest.raises(ArgumentError, match="not a seed"):
            ib.instrument(mlp, seed=seed)
    with pytest.raises(ArgumentError, match="not a standard deviation"):
        ib.instrument(mlp, "0.1")
    with pytest.raises(ArgumentError, match="draws"):
        noisy.capture(x, draws=0)
    with pytest.raises(ArgumentError, match="empty"):
        noisy.capture(x[:0])
    with pytest.raises(ArgumentError, match="No layer matches"):
        noisy.capture(x, layers="nothing")
    # A failed call leaves no hooks behind.
    with pytest.raises(ValueError):
        noisy(np.zeros((2, 9), "float32"))
    assert all("call" not in layer.__dict__ for layer in mlp.layers)


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_a_subclassed_model_may_be_built_by_fit(noise_std):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(3, name="first")
            self.last = keras.layers.Dense(2, name="last")

        def call(self, inputs):
            return self.last(self.first(inputs))

    network = ib.instrument(Network(), noise_std=noise_std)
    network.compile("sgd", "mse")
    network.fit(np.ones((8, 4), "float32"), np.ones((8, 2)), verbose=0)
    assert list(network.tap_names) == ["first", "last"]


def test_a_model_that_changes_is_traced_again_or_refused():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    norm = keras.layers.Normalization(name="norm")
    norm.adapt(x)
    model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(2, name="o")])
    tapped = ib.instrument(model)
    tapped.capture(x)
    norm.adapt(10 * x)
    tapped.compile("adam", "mse")
    np.testing.assert_allclose(tapped.capture(x)["o"], model(x), atol=1e-6)
    model.pop()
    for use in (lambda: tapped.compile("adam", "mse"), lambda: tapped.capture(x)):
        with pytest.raises(ArgumentError, match="layers of the model .* have changed"):
            use()


@pytest.mark.parametrize("name", ["w.weights.h5", "w.weights.json"])
def test_weights_are_those_of_the_wrapped_model(mlp, inputs, tmp_path, name):
    file, options = tmp_path / name, {"max_shard_size": 1} if name.endswith("json") else {}
    made = ib.instrument(mlp, 0.1, seed=0)
    made.compile("adam", "sparse_categorical_crossentropy")
    made.fit(*inputs, verbose=0)
    made.save_weights(file, **options)
    plain = keras.models.clone_model(mlp)
    plain.compile("adam", "mse")
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(file)
    for of in ("weights", "optimizer.variables"):
        for own, other in zip(attrgetter(of)(made), attrgetter(of)(plain), strict=True):
            np.testing.assert_array_equal(own, other)
    plain.set_weights([weight + 1 for weight in plain.get_weights()])
    plain.save_weights(file, **options)
    made.load_weights(file)
    for own, other in zip(mlp.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("name", ["w.keras", "w.weights.h5"])
def test_weights_that_earlier_versions_saved(mlp, inputs, tmp_path, name):
    made, file = ib.instrument(mlp, 0.1), tmp_path / name
    expected = [weight.copy() for weight in made.get_weights()]
    made.save(file) if name == "w.keras" else keras.Model.save_weights(made, file)
    made.set_weights([weight + 1 for weight in expected])
    made.load_weights(file)
    for own, other in zip(mlp.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_weights_of_another_model_name_the_layer(mlp, tmp_path):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "o.weights.h5")
    with pytest.raises(ValueError, match=mlp.layers[-1].name):
        ib.instrument(mlp).load_weights(tmp_path / "o.weights.h5")


def test_a_backup_of_keras_goes_on_equally(mlp, inputs, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    start = mlp.get_weights()

    def fit(*callbacks):
        made = ib.instrument(keras.models.clone_model(mlp))
        made.set_weights(start)
        made.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
        with contextlib.suppress(KeyboardInterrupt):
            made.fit(*inputs, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        return made.get_weights()

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    whole, stopped, resumed = fit(), fit(backup, Stop()), fit(backup)
    assert np.abs(stopped[0] - whole[0]).max() > 1e-3
    for own, other in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(own, other)
