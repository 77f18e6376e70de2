"""``layers="blocks"``: what a reader would call the stages of a deep network."""

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError

L = keras.layers
SMALL = {"weights": None, "classes": 4}


def expect(model, blocks):
    tapped = ib.instrument(model, layers="blocks")
    assert tapped.tap_names == blocks
    return tapped


def test_resnet50_has_sixteen():
    model = keras.applications.ResNet50(input_shape=(32, 32, 3), **SMALL)
    names = [f"conv{s}_block{b}_out" for s, n in ((2, 3), (3, 4), (4, 6), (5, 3))
             for b in range(1, n + 1)]  # fmt: skip
    tapped = expect(model, names)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    found = tapped.capture(x, layers="blocks", batch_size=2)
    wanted = keras.Model(model.input, model.get_layer(names[-1]).output).predict(x, verbose=0)
    np.testing.assert_array_equal(found[names[-1]], wanted)
    lines = []
    ib.instrument(model).summary(print_fn=lines.append)
    assert 'The model has 16 blocks: `layers="blocks"` taps these.' in lines


def test_inceptions_inner_concatenations_are_no_blocks():
    model = keras.applications.InceptionV3(input_shape=(75, 75, 3), **SMALL)
    expect(model, [f"mixed{i}" for i in range(11)])


class Encoder(L.Layer):
    """A transformer's encoder layer, with residual sums that only its own code sees."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.attention = L.MultiHeadAttention(2, width // 2)
        self.first, self.second = L.LayerNormalization(), L.LayerNormalization()
        self.inner = keras.Sequential([L.Dense(2 * width, "gelu"), L.Dense(width)])

    def call(self, x):
        x = self.first(x + self.attention(x, x))
        return self.second(x + self.inner(x))


def encoders(n=3):
    tokens = keras.Input((5,), dtype="int32")
    x = L.Add(name="embeddings")(
        [L.Embedding(9, 8, name="words")(tokens), L.Embedding(9, 8, name="places")(tokens)]
    )
    for i in range(n):
        x = Encoder(8, name=f"layer_{i}")(x)
    return keras.Model(tokens, x, name="backbone")


def test_a_transformers_encoder_layers():
    expect(encoders(), ["layer_0", "layer_1", "layer_2"])
    tokens = keras.Input((5,), dtype="int32")
    pooled = L.GlobalAveragePooling1D()(encoders()(tokens))
    classifier = keras.Model(tokens, L.Dense(2, name="logits")(pooled))
    expect(classifier, [f"backbone/layer_{i}" for i in range(3)])


def test_sums_by_operators_and_a_gate_that_is_none():
    x = keras.Input((6,))
    h = L.Dense(6, name="stem")(x)
    gate = L.Dense(6, "sigmoid", name="gate")(h)
    h = L.Multiply(name="gated")([h, gate])
    h = keras.ops.relu(h + L.Dense(6, name="branch")(h))
    tapped = ib.instrument(keras.Model(x, L.Dense(2, name="out")(h)), layers="blocks")
    assert len(tapped.tap_names) == 1 and tapped.tap_names[0].startswith("relu")


def test_nested_models_are_blocks():
    def part(name):
        return keras.Sequential([L.Dense(4, "relu"), L.Dense(4)], name=name)

    model = keras.Sequential([keras.Input((4,)), part("one"), part("two"), L.Dense(2, name="out")])
    expect(model, ["one", "two"])


def test_a_network_without_blocks():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")])
    with pytest.raises(ArgumentError, match="has no blocks.*`layers=None`"):
        ib.instrument(model, layers="blocks")
    with pytest.raises(ArgumentError, match='instrument.model, layers="blocks".'):
        ib.instrument(model).capture(np.zeros((2, 4)), layers="blocks")


def test_linear_activations_and_layers_that_hand_on():
    model = keras.Sequential([keras.Input((5,)), L.Dense(4, name="dense"), L.Activation("linear")])
    assert ib.instrument(model).tap_names == ["dense"]
    model = keras.Sequential(
        [
            keras.Input((5,)),
            L.Dense(4, name="a"),
            L.Dropout(0.5, name="d"),
            L.Identity(name="i"),
            L.GaussianNoise(0.5, name="g"),
            L.Reshape((4,), name="r"),
            keras.Sequential([L.Dense(3, name="inner")], name="nested"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    everything = ib.instrument(model, layers="*")
    names = ["a", "d", "i", "g", "r", "nested/inner", "nested"]
    assert everything.tap_names == names
    found = everything.capture(x, batch_size=9)
    for name in names[1:5]:
        np.testing.assert_array_equal(found[name], found["a"])
    np.testing.assert_array_equal(found["nested"], model(x))
    # Both names of the output are outputs: they get no noise unless it is asked for.
    noise = ib.instrument(model, 0.1, layers="*").noise_std
    assert {name for name, std in noise.items() if not std} == {"nested/inner", "nested"}


def test_wrappers_with_weights_are_layers():
    class Scaled(L.Wrapper):
        def build(self, shape):
            super().build(shape)
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            return self.layer(x) * self.scale

    model = keras.Sequential(
        [
            keras.Input((5,)),
            L.Dense(4, name="a"),
            L.SpectralNormalization(L.Dense(4), name="b"),
            Scaled(L.Dense(4, name="inside"), name="c"),
            L.Dense(2, name="o"),
        ]
    )
    assert ib.instrument(model).tap_names == ["a", "b", "c", "o"]
    assert ib.instrument(model, layers="c/inside").tap_names == ["c/inside"]


def test_layers_inside_keras_own():
    x = keras.Input((None, 5))
    h = L.TimeDistributed(L.Dense(3, name="step"), name="each")(x)
    h = L.Bidirectional(L.LSTM(3, name="memory"), name="both")(h)
    h = L.RNN(L.GRUCell(2, name="cell"), name="rnn")(L.Reshape((2, 3))(h))
    model = keras.Model(x, L.Dense(2, name="out")(h))
    assert ib.instrument(model).tap_names == ["each", "both", "rnn", "out"]
    forward = ib.instrument(model, layers="both/forward_memory")
    rows = np.random.default_rng(0).normal(size=(4, 6, 5)).astype("float32")
    assert forward.capture(rows)["both/forward_memory"].shape == (4, 3)
    with pytest.raises(ArgumentError, match=r"inside the Bidirectional 'both'.*'both/forward_m"):
        ib.instrument(model, layers="forward_memory")
    with pytest.raises(ArgumentError, match=r"out of reach: the RNN 'rnn'.*'rnn'"):
        ib.instrument(model, layers="cell")
    with pytest.raises(ArgumentError, match="No layer matches"):
        ib.instrument(model, layers="nothing")
