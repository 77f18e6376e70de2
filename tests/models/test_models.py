import keras
import numpy as np
import pytest

from ib_keras import instrument, models
from ib_keras.errors import ArgumentError
from ib_keras.estimators import SamplePropagation

SZT = {"input_shape": (12,), "n_classes": 2}


def test_the_12_bit_network():
    model = models.szt()
    assert [layer.name for layer in model.layers[1:]] == [
        "dense_1", "dense_2", "dense_3", "dense_4", "dense_5", "output",
    ]  # fmt: skip
    # 12·10+10 + 10·7+7 + 7·5+5 + 5·4+4 + 4·3+3 + 3·2+2
    assert model.count_params() == 130 + 77 + 40 + 24 + 15 + 8


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 1), ("relu", 2)])
def test_initial_weights(activation, gain):
    model = models.mlp((400,), 2, hidden=(500,), activation=activation, seed=1)
    kernel, bias = (w.numpy() for w in model.get_layer("dense_1").weights)
    # 2·10⁵ weights: the standard deviation is known to about 0.2 %.
    assert np.std(kernel) == pytest.approx(np.sqrt(gain / 400), rel=0.01)
    assert not bias.any()


def test_seeds():
    a, b, c = (models.szt(seed=s).get_weights() for s in (1, 1, 2))
    assert [w.tolist() for w in a] == [w.tolist() for w in b]
    assert not np.array_equal(a[0], c[0])


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (32, 32, 3)])
def test_cnn(shape):
    model = models.mnist_cnn(shape, 7)
    assert model.output_shape == (None, 7)
    assert instrument(model).tap_names == ["conv_1", "conv_2", "conv_3", "dense_1", "output"]


def test_variational_information_bottleneck(tmp_path):
    model = models.build(
        {"name": "vib", "beta": 0.5, "latent": 3, "hidden": [6]},
        input_shape=(4, 5), n_classes=7, seed=1,
    )  # fmt: skip
    names = ["flatten", "dense_1", "mean", "log_var", "z", "output"]
    assert [layer.name for layer in model.layers[1:]] == names
    # 20·6+6, twice 6·3+3, 3·7+7
    assert model.count_params() == 126 + 42 + 28
    x = np.random.default_rng(0).normal(size=(9, 4, 5)).astype("float32")
    z = model.get_layer("z")
    parts = keras.Model(model.input, [model.get_layer(name).output for name in ("mean", "log_var")])
    mean, log_var = (part.numpy() for part in parts(x))
    # The standard deviation is softplus(s − 5) of the linear layer's s.
    kernel, bias = model.get_layer("log_var").get_weights()
    hidden = keras.Model(model.input, model.get_layer("dense_1").output)(x).numpy()
    stddev = np.logaddexp(0, hidden @ kernel + bias - 5)
    np.testing.assert_allclose(z.conditional([mean, log_var]).stddev(), stddev, rtol=1e-4)
    model(x)
    (loss,) = model.losses
    each = (stddev**2 + mean**2 - 1).sum(axis=1) / 2 - np.log(stddev).sum(axis=1)
    assert float(loss) == pytest.approx(0.5 * each.mean(), rel=1e-4)
    assert not np.array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    # Tapped, trained, saved and loaded as the others.
    y = np.arange(9) % 7
    tapped = instrument(model, layers=["z", "output"])
    tapped.compile("adam", "sparse_categorical_crossentropy")
    tapped.fit(x, y, verbose=0)
    assert tapped.random_taps == {"z", "output"}
    tapped.save(tmp_path / "m.keras", include_optimizer=False)
    copy = models.load(tmp_path / "m.keras")
    for a, b in zip(copy.get_weights(), tapped.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(copy.capture(x, seed=3)["z"], tapped.capture(x, seed=3)["z"])
    for bad in ({"beta": -1}, {"latent": 0}):
        with pytest.raises(ArgumentError, match="`kl_weight`|`latent`"):
            models.vib((4,), 2, **bad)


def test_the_bottleneck_compresses_with_beta():
    """On a task of two clusters, more weight of the divergence leaves less information about X."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    x = (3 * (2 * y - 1)[:, None] + rng.normal(size=(600, 2))).astype("float32")
    rates = []
    for beta in (0.03, 3.0):
        keras.utils.set_random_seed(0)
        model = models.vib((2,), 2, beta=beta, latent=2, hidden=(16,), seed=0)
        model.compile(
            keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", steps_per_execution=10
        )
        model.fit(x, y, epochs=40, batch_size=60, verbose=0)
        z = model.get_layer("z")
        declared = z.conditional(keras.Model(model.input, z.input)(x))
        found = SamplePropagation().estimate(
            declared.mean().numpy(), scale=declared.stddev().numpy(), y=y
        )
        upper, lower = (found.others[f"I(X;T) {end}"] for end in ("upper", "lower"))
        error = 3 * np.hypot(found.xt.stderr, lower.stderr)
        assert lower.value - error < found.xt.value < upper.value + error
        rates.append(found)
    little, much = rates
    assert little.xt.value > 0.8 and little.ty.value > 0.6
    assert much.xt.value < 0.05 and much.others["I(X;T) upper"].value < 0.05


def test_identifiers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_models.py").write_text(
        "import keras\n"
        "def net(n_classes, width=4):\n"
        "    return keras.Sequential([keras.Input((12,)), keras.layers.Dense(width),\n"
        "                             keras.layers.Dense(n_classes)])\n"
        "def none():\n    return 3\n"
        "text = 'no function'\n"
    )
    assert models.build("szt", **SZT, seed=1).count_params() == 294
    relu = models.build('{"name": "szt", "activation": "relu"}', **SZT)
    assert relu.get_layer("dense_1").activation is keras.activations.relu
    deep = models.build({"name": "mlp", "hidden": [6, 3], "label": "deep"}, **SZT)
    assert deep.count_params() == 12 * 6 + 6 + 6 * 3 + 3 + 3 * 2 + 2
    assert models.build("mine_models:net", **SZT).layers[0].units == 4
    wide = models.build({"name": "mine_models:net", "width": 9}, **SZT)
    assert wide.layers[0].units == 9
    instrument(relu, 0.1).save(tmp_path / "m.keras")
    assert models.build(str(tmp_path / "m.keras"), **SZT).noise_std["dense_1"] == 0.1
    assert models.build(tmp_path / "m.keras", **SZT).noise_std["dense_1"] == 0.1
    (tmp_path / "unbuilt_models.py").write_text(
        "import keras\ndef net():\n    return keras.Sequential([keras.layers.Dense(2)])\n"
    )
    for bad, message in {
        "unbuilt_models:net": "is not built",
        "alexnet": "'mnist_cnn', 'neuron', 'noisy_cnn'",
        "nowhere.keras": "does not exist",
        "no_module:f": "cannot be imported",
        "mine_models:missing": "cannot be imported",
        "mine_models:text": "not a function",
        "mine_models:none": "returned no model",
        '{"name": "szt", "depth": 3}': "no parameter 'depth'",
        '{"activation": "relu"}': "no name",
        '{"name": ': "does not parse",
    }.items():
        with pytest.raises(ArgumentError, match=message):
            models.build(bad, **SZT)
    (tmp_path / "bad.keras").write_text("no zip")
    with pytest.raises(ArgumentError, match="is damaged"):
        models.build(str(tmp_path / "bad.keras"), **SZT)


def test_a_model_that_does_not_fit_the_data():
    with pytest.raises(ArgumentError, match=r"inputs \(64,\), and 2 classes.*12"):
        models.build("szt", input_shape=(64,), n_classes=2)
    with pytest.raises(ArgumentError, match=r"3 classes.*outputs \(None, 2\)"):
        models.build("szt", input_shape=(12,), n_classes=3)


def test_labels():
    assert models.label("szt") == "szt"
    assert models.label({"name": "szt", "activation": "relu"}) == "szt-relu"
    assert models.label({"name": "vib", "beta": 1e-4, "latent": 8}) == "vib-beta0.0001"
    assert models.label({"name": "vib", "beta": 1}) == "vib-beta1"
    assert models.label({"name": "szt", "label": "mine"}) == "mine"
    assert models.label("/a/b/best.keras") == "best"
    assert models.label("pkg.mod:net") == "net"


def test_other_formats_are_named_with_the_way_to_convert_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = models.szt(seed=1)
    model.save("v1.2.h5")
    model.save_weights("v1.weights.h5")
    model.export("exported", verbose=False)
    (tmp_path / "net.pt").write_bytes(b"PK")
    (tmp_path / "empty.keras").mkdir()
    (tmp_path / "renamed.keras").write_bytes((tmp_path / "v1.2.h5").read_bytes())
    hint = "keras.models.load_model('v1.2.h5').save('v1.2.keras')"
    for file, said in {
        "v1.2.h5": f"'v1.2.h5' cannot be read. Expected a .keras file: {hint}. Received: HDF5",
        "renamed.keras": "rename it to renamed.h5, then keras.models.load_model('renamed.h5').",
        "v1.weights.h5": "model.load_weights('v1.weights.h5'), model.save('v1.keras')",
        "exported": "cannot be read. Expected a .keras file: model.save('m.keras'). Received: a",
        "net.pt": "a PyTorch model",
        "empty.keras": "a folder",
        "missing.h5": "does not exist",
    }.items():
        for call in (models.load, models.check, lambda name: models.build(name, **SZT)):
            with pytest.raises(ArgumentError) as error:
                call(file)
            assert said in str(error.value) and "\n" not in str(error.value)
    # What is advised works.
    keras.models.load_model("v1.2.h5").save("v1.2.keras")
    (tmp_path / "renamed.keras").rename("renamed.h5")
    keras.models.load_model("renamed.h5").save("renamed.keras")
    for file in ("v1.2.keras", "renamed.keras"):
        for a, b in zip(models.load(file).get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("initial", "activation", "spread", "bias"),
    [
        ("variance", "tanh", 1 / 12**0.5, 0.0),
        ("variance", "relu", (2 / 12) ** 0.5, 0.0),
        # A normal distribution that is truncated at two standard deviations has 0.88 of its spread.
        ("normal", "tanh", 0.8796 / 12**0.5, 0.0),
        ("normal", "abs", 0.8796 / 12**0.5, 0.0),
        ("normal", "centred_softplus", 2 * 0.8796 / 12**0.5, 0.0),
        ("normal_out", "relu", 0.8796 / 3000**0.5, 0.0),
        ("uniform", "relu", 1 / (3 * 12) ** 0.5, 1 / (3 * 12) ** 0.5),
    ],
)
def test_initial_weights_are_those_of_the_papers(initial, activation, spread, bias):
    model = models.mlp((12,), 2, hidden=(3000,), activation=activation, initial=initial, seed=0)
    kernel, own = model.layers[1].get_weights()
    assert kernel.std() == pytest.approx(spread, rel=0.02)
    assert own.std() == pytest.approx(bias, rel=0.05)
    if initial == "uniform":
        assert not np.allclose(kernel[0], own)  # the seeds differ
    other = models.mlp((12,), 2, hidden=(3000,), initial=initial, seed=1).layers[1]
    assert not np.allclose(other.get_weights()[0], kernel)


def test_centred_softplus_is_zero_at_zero_and_is_saved(tmp_path):
    model = models.szt("centred_softplus", initial="normal", seed=0)
    assert np.allclose(model.layers[1].activation(np.zeros(3, "f4")), 0, atol=1e-7)
    model.save(tmp_path / "m.keras")
    x = np.ones((2, 12), "f4")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)
    with pytest.raises(ArgumentError, match="initial"):
        models.szt(initial="zeros")
