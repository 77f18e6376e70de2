import json
import math
import sys
import textwrap

import keras
import numpy as np
import pytest

from ib_keras import models
from ib_keras.errors import ArgumentError


def _kernels(model):
    return [w.numpy() for w in model.weights if w.name == "kernel"]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported while the test runs."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text("import keras\n" + textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_szt_has_the_layers_of_the_paper():
    model = models.szt(seed=0)
    widths = [12, 10, 7, 5, 4, 3, 2]
    assert [k.shape for k in _kernels(model)] == list(zip(widths[:-1], widths[1:], strict=True))
    assert [layer.name for layer in model.layers[1:]] == [
        *(f"dense_{i}" for i in range(1, 6)),
        "output",
    ]
    # Σ (fan_in + 1) · fan_out = 130 + 77 + 40 + 24 + 15 + 8.
    assert model.count_params() == 294
    assert (model.name, model.input_shape) == ("szt", (None, 12))


def test_szt_computes_tanh_layers_and_a_softmax():
    model = models.szt(seed=3)
    x = np.random.default_rng(0).normal(size=(7, 12))
    t = x
    *hidden, last = _kernels(model)  # the biases start at 0
    for kernel in hidden:
        t = np.tanh(t @ kernel)
    expected = np.exp(t @ last)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "gain"), [("tanh", 1), ("sigmoid", 1), ("relu", 2), ("swish", 2), ("elu", 2)]
)
def test_initial_weights_have_the_stated_scale(activation, gain):
    model = models.mlp((300,), 2, hidden=(400, 500), activation=activation, seed=0)
    for kernel, fan_in in zip(_kernels(model)[:2], (300, 400), strict=True):
        # 120 000 or more values: the standard error of their deviation is 0.2%.
        assert kernel.std() == pytest.approx(math.sqrt(gain / fan_in), rel=0.01)
        # The normal is cut at two deviations, and has 0.8796 of its deviation left.
        assert np.abs(kernel).max() < 2 / 0.8796 * math.sqrt(gain / fan_in) * 1.0001
    for weight in model.weights:
        if weight.name == "bias":
            assert not weight.numpy().any()


def test_output_layer_has_unit_gain_whatever_the_activation():
    model = models.mlp((10,), 300, hidden=(400,), activation="relu", seed=0)
    assert _kernels(model)[1].std() == pytest.approx(math.sqrt(1 / 400), rel=0.01)


def test_seed_fixes_the_weights_and_differs_between_layers():
    first, again, other = (
        _kernels(models.mlp((6,), 2, hidden=(6, 6), seed=seed)) for seed in (5, 5, 6)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert not np.array_equal(first[0], first[1])


def test_without_a_seed_the_global_seed_decides():
    def kernel(seed):
        keras.utils.set_random_seed(seed)
        return _kernels(models.szt())[0]

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert not np.array_equal(kernel(1), kernel(2))


def test_mlp_flattens_images():
    model = models.mlp((4, 5), 3, hidden=(6,))
    assert [k.shape for k in _kernels(model)] == [(20, 6), (6, 3)]
    assert model.output_shape == (None, 3)


def test_mnist_cnn_shapes():
    model = models.mnist_cnn()
    sides = [layer.output.shape[1] for layer in model.layers if len(layer.output.shape) == 4]
    assert sides == [28, 26, 13, 11, 5, 3, 1]
    assert [layer.name for layer in model.layers if layer.weights] == [
        "conv_1", "conv_2", "conv_3", "dense_1", "output",
    ]  # fmt: skip
    # 3·3·1·8+8, 3·3·8·16+16, 3·3·16·32+32, 32·32+32, 32·10+10.
    assert model.count_params() == 80 + 1168 + 4640 + 1056 + 330


def test_mnist_cnn_takes_images_without_a_channel_axis():
    flat, deep = models.mnist_cnn((28, 28), seed=0), models.mnist_cnn(seed=0)
    x = np.random.default_rng(0).random((2, 28, 28))
    np.testing.assert_allclose(flat(x), deep(x[..., None]), rtol=1e-5)


@pytest.mark.parametrize(("side", "last"), [(18, 1), (32, 2)])
def test_mnist_cnn_pools_only_where_the_size_allows(side, last):
    model = models.mnist_cnn((side, side, 3), 4)
    assert model.get_layer("flatten").input.shape == (None, last, last, 32)
    # 18 → 16 → 8 → 6 → 3 → 1: one pixel is left, nothing to pool.
    assert ("pool_3" in [layer.name for layer in model.layers]) == (side == 32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.mlp((), 2),
        lambda: models.mlp((0,), 2),
        lambda: models.mlp("12", 2),
        lambda: models.mlp((None,), 2),
        lambda: models.mlp((3,), 1),
        lambda: models.mlp((3,), 2, hidden=5),
        lambda: models.mlp((3,), 2, hidden=(5, 0)),
        lambda: models.mlp((3,), 2, activation="tangent"),
        lambda: models.mlp((3,), 2, seed=-1),
        lambda: models.mnist_cnn((17, 28, 1)),
        lambda: models.mnist_cnn((784,)),
    ],
)
def test_unusable_arguments(make):
    with pytest.raises(ArgumentError):
        make()


def test_names():
    assert models.names() == ["mlp", "mnist_cnn", "szt"]


def test_build_by_name_passes_shape_classes_and_seed():
    built = models.build("mlp", input_shape=(4, 5), n_classes=3, seed=2)
    direct = models.mlp((4, 5), 3, seed=2)
    assert built.output_shape == (None, 3)
    for a, b in zip(_kernels(built), _kernels(direct), strict=True):
        np.testing.assert_array_equal(a, b)
    assert models.build("mnist_cnn", input_shape=(28, 28), n_classes=7).output_shape == (None, 7)


@pytest.mark.parametrize("encode", [dict, json.dumps])
def test_build_with_arguments(encode):
    identifier = encode({"name": "mlp", "hidden": [8, 6], "activation": "relu", "label": "mine"})
    model = models.build(identifier, input_shape=(3,), n_classes=2)
    assert [k.shape for k in _kernels(model)] == [(3, 8), (8, 6), (6, 2)]
    assert model.get_layer("dense_2").activation is keras.activations.relu
    assert models.label(identifier) == "mine"


def test_build_leaves_the_description_as_it_was():
    identifier = {"name": "szt", "label": "mine"}
    models.build(identifier, input_shape=(12,), n_classes=2)
    assert identifier == {"name": "szt", "label": "mine"}


def test_build_loads_a_saved_model(tmp_path):
    saved = models.szt("relu", seed=1)
    saved.compile("sgd", "mse")
    saved.save(tmp_path / "mine.keras")
    model = models.build(tmp_path / "mine.keras", input_shape=(12,), n_classes=2)
    assert not model.compiled
    for a, b in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_files_that_cannot_be_loaded(tmp_path):
    with pytest.raises(ArgumentError, match="none.keras.*no such file"):
        models.build(str(tmp_path / "none.keras"), input_shape=(12,), n_classes=2)
    (tmp_path / "bad.keras").write_bytes(b"garbage")
    with pytest.raises(ArgumentError, match="bad.keras' cannot be loaded"):
        models.build(tmp_path / "bad.keras", input_shape=(12,), n_classes=2)


def test_code_in_a_saved_model_is_not_executed(tmp_path):
    inputs = keras.Input((4,))
    outputs = keras.layers.Lambda(lambda x: x * 2)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "a.keras")
    with pytest.raises(ArgumentError, match="Lambda"):
        models.build(tmp_path / "a.keras", input_shape=(4,), n_classes=4)


def test_build_calls_a_function_with_what_it_accepts(module):
    module(
        "mine_1",
        """
        def make(n_classes, *, width=5):
            return keras.Sequential([keras.layers.Dense(width), keras.layers.Dense(n_classes)])

        def everything(**kwargs):
            assert kwargs == {"input_shape": (4,), "n_classes": 3, "seed": 9}
            return make(3)
        """,
    )
    for name in ("make", "everything"):
        model = models.build(f"mine_1:{name}", input_shape=(4,), n_classes=3, seed=9)
        assert [k.shape for k in _kernels(model)] == [(4, 5), (5, 3)]


def test_build_accepts_subclassed_models_that_fit(module):
    module(
        "mine_2",
        """
        class Net(keras.Model):
            def __init__(self, n_classes):
                super().__init__()
                self.dense = keras.layers.Dense(n_classes + 1)

            def call(self, x):
                return self.dense(x)
        """,
    )
    with pytest.raises(ArgumentError, match="3 outputs, one a class.*4 outputs"):
        models.build("mine_2:Net", input_shape=(4,), n_classes=3)


def test_functions_that_cannot_be_used(module):
    module(
        "mine_3",
        """
        number = 3

        def nothing():
            pass
        """,
    )
    module("mine_4", "import a_module_that_is_not_there")
    for name, message in {
        "mine_3:nothing": "returns no model.*NoneType",
        "mine_3:number": "is no function",
        "mine_3:absent": "without 'absent'",
        "mine_0.sub:f": "cannot be imported",
        ".mine_3:f": "cannot be imported",
        ":f": "cannot be imported",
    }.items():
        with pytest.raises(ArgumentError, match=message):
            models.build(name, input_shape=(4,), n_classes=3)
    # A broken import inside the user's module is the user's to see.
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        models.build("mine_4:f", input_shape=(4,), n_classes=3)


@pytest.mark.parametrize("name", ["vgg", "model.h5", {"name": "vgg"}])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ArgumentError, match=r"mlp, mnist_cnn, szt.*\.keras.*module:function"):
        models.build(name, input_shape=(12,), n_classes=2)


@pytest.mark.parametrize("identifier", [3, None, {}, {"name": 3}, "", '{"activation": "relu"}'])
def test_identifier_without_a_name(identifier):
    for use in (models.label, lambda i: models.build(i, input_shape=(12,), n_classes=2)):
        with pytest.raises(ArgumentError, match="no name"):
            use(identifier)


def test_broken_json_and_unknown_arguments():
    with pytest.raises(ArgumentError, match="not valid JSON"):
        models.build('{"name": "szt"', input_shape=(12,), n_classes=2)
    with pytest.raises(ArgumentError, match="'szt' has no argument 'depth'.*activation, seed"):
        models.build({"name": "szt", "depth": 3}, input_shape=(12,), n_classes=2)


@pytest.mark.parametrize(
    ("shape", "n_classes", "message"),
    [
        ((10,), 2, r"inputs of shape \(10,\).*inputs of shape \(12,\)"),
        ((12, 1), 2, r"inputs of shape \(12, 1\).*inputs of shape \(12,\)"),
        ((12,), 10, "10 outputs, one a class.*2 outputs"),
    ],
)
def test_model_must_fit_the_data(shape, n_classes, message):
    with pytest.raises(ArgumentError, match=message):
        models.build("szt", input_shape=shape, n_classes=n_classes)


def test_one_output_fits_two_classes_only(tmp_path):
    path = tmp_path / "a.keras"
    inputs = keras.Input((None, 3))
    pooled = keras.layers.GlobalAveragePooling1D()(inputs)
    keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled)).save(path)
    assert models.build(path, input_shape=(7, 3), n_classes=2).output_shape == (None, 1)
    with pytest.raises(ArgumentError, match="3 outputs, one a class.*1 outputs"):
        models.build(path, input_shape=(7, 3), n_classes=3)


def test_several_inputs_do_not_fit(tmp_path):
    inputs = [keras.Input((3,)), keras.Input((3,))]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "a.keras")
    with pytest.raises(ArgumentError, match="several inputs"):
        models.build(tmp_path / "a.keras", input_shape=(3,), n_classes=3)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("szt", "szt"),
        ({"name": "szt", "activation": "relu"}, "szt-relu"),
        ('{"name": "mlp", "hidden": [4, 3]}', "mlp"),
        ({"name": "szt", "activation": "relu", "label": "run 1"}, "run 1"),
        ("runs/best.v2.keras", "best.v2"),
        ("package.module:function", "function"),
    ],
)
def test_label(identifier, expected):
    assert models.label(identifier) == expected


@pytest.mark.parametrize("value", ["", 3, None])
def test_label_must_be_text(value):
    with pytest.raises(ArgumentError, match="`label` is no label"):
        models.label({"name": "szt", "label": value})
