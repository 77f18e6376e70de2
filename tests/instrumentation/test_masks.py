"""Masks that views of positions leave out: of Keras, of keywords, and of the layers around."""

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError


@keras.saving.register_keras_serializable()
class Block(keras.layers.Layer):
    """A block that is given a mask of its positions, and does not pass it to its layers."""

    def __init__(self, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3, name="inner")
        self.outer = keras.layers.Conv1D(2, 1, strides=stride, name="outer")

    def call(self, inputs, padding_mask=None):
        return self.outer(self.inner(inputs))


def network(stride=1):
    tokens, mask = keras.Input((None, 4), name="tokens"), keras.Input((None,), name="mask")
    block = Block(stride, name="block")(tokens, padding_mask=mask)
    pooled = keras.layers.GlobalAveragePooling1D()(block)
    return keras.Model({"tokens": tokens, "mask": mask}, keras.layers.Dense(2, name="top")(pooled))


def inputs():
    rng = np.random.default_rng(0)
    mask = (np.arange(6) < rng.integers(1, 7, 20)[:, None]).astype("float32")
    return {"tokens": rng.normal(size=(20, 6, 4)).astype("float32"), "mask": mask}


def test_the_layers_inside_a_block_have_its_mask():
    x, model = inputs(), ib.instrument(network())
    assert {tap.name: tap.masked for tap in model.plan.taps} == {
        "block/inner": True, "block/outer": True, "top": False,
    }  # fmt: skip
    whole, means = model.capture(x), model.capture(x, views="mean")
    count = x["mask"].sum(axis=1, keepdims=True)
    for name in ("block/inner", "block/outer"):
        expected = (whole[name] * x["mask"][..., None]).sum(axis=1) / count
        np.testing.assert_allclose(means[name], expected, rtol=1e-5, atol=1e-6)


def test_a_layer_of_other_positions_than_the_mask_has_none():
    x, model = inputs(), ib.instrument(network(stride=2))
    whole, means = model.capture(x), model.capture(x, views="mean")
    np.testing.assert_allclose(
        means["block/outer"], whole["block/outer"].mean(axis=1), rtol=1e-5, atol=1e-6
    )


@keras.saving.register_keras_serializable()
class Positions(keras.layers.Layer):
    """Token and position embeddings, as in many transformers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.tokens = keras.layers.Embedding(9, 4, mask_zero=True, name="tokens")
        self.places = keras.layers.Embedding(6, 4, name="places")

    def call(self, x):
        return self.tokens(x) + self.places(keras.ops.arange(keras.ops.shape(x)[-1]))

    def compute_mask(self, x, mask=None):
        return self.tokens.compute_mask(x)


TOKENS = np.random.default_rng(0).integers(1, 9, (40, 6)) * (
    np.arange(6) < np.random.default_rng(1).integers(1, 7, 40)[:, None]
)


def transformer(length=6):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = keras.Input((length,), dtype="int32")
    h = Positions(name="embedded")(x)
    attended = layers.MultiHeadAttention(2, 3, name="attention")(h, h)
    h = layers.LayerNormalization(name="norm")(layers.Add(name="sum")([h, attended]))
    h = layers.LayerNormalization(name="last")(h + layers.Dense(4, "relu", name="dense")(h))
    return keras.Model(x, layers.Dense(2, name="top")(layers.GlobalMaxPooling1D()(h)))


@pytest.mark.parametrize("length", [6, None])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_padding_stays_padding_behind_attention_and_sums(length, policy):
    keras.config.set_dtype_policy(policy)
    try:
        names = ["embedded", "attention", "sum", "norm", "dense", "last"]
        model = ib.instrument(transformer(length), layers=names)
        whole, means = model.capture(TOKENS), model.capture(TOKENS, views="mean")
    finally:
        keras.config.set_dtype_policy("float32")
    mask = (TOKENS > 0)[..., None]
    for name in names:
        expected = (whole[name] * mask).sum(axis=1) / mask.sum(axis=1)
        np.testing.assert_allclose(means[name], expected, rtol=1e-4, atol=1e-5)
        assert np.abs(expected - whole[name].mean(axis=1)).max() > 1e-3


@pytest.mark.parametrize("length", [6, None])
def test_an_embedding_of_positions_has_no_samples_and_no_tap(length, tmp_path):
    model, y = transformer(length), np.arange(40) % 2
    assert ib.instrument(model).tap_names == ["embedded/tokens", "attention", "dense", "top"]
    assert ib.instrument(model, layers=["embedded/*"]).tap_names == ["embedded/tokens"]
    with pytest.raises(ArgumentError, match="embedded/places' does not depend on the model's in"):
        ib.instrument(model, layers=["embedded/tokens", "embedded/places"])
    model.compile("adam", "sparse_categorical_crossentropy")
    recorder = ib.Recorder(tmp_path / "run", TOKENS, y, epochs=[0, 1])
    model.fit(TOKENS, y, verbose=0, callbacks=[recorder])
    table = ib.estimate(tmp_path / "run", "ebab")
    assert set(table["epoch"]) == {0, 1} and np.isfinite(table["value"]).all()


def test_rows_that_are_not_samples_are_refused():
    """Inside a layer that joins samples and positions, the first 40 of 240 rows are no samples."""

    @keras.saving.register_keras_serializable()
    class Joined(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(3, name="inner")

        def call(self, x):
            rows = self.dense(keras.ops.reshape(x, (-1, x.shape[-1])))
            return keras.ops.reshape(rows, (-1, 6, 3))

    x = keras.Input((6, 2))
    top = keras.layers.Dense(2, name="top")(keras.layers.Flatten()(Joined(name="joined")(x)))
    model, data = keras.Model(x, top), np.random.default_rng(0).normal(size=(40, 6, 2))
    with pytest.raises(ArgumentError, match=r"'joined/inner' has no row for each sample.*240"):
        ib.estimate(model, "ebab", inputs=data)
    table = ib.estimate(model, "ebab", inputs=data, layers=["joined", "top"])
    assert (table["n"] == 40).all()


def test_a_mask_does_not_hide_the_sums_of_a_transformer():
    layers = keras.layers
    x = keras.Input((6,), dtype="int32")
    h = Positions(name="embedded")(x)
    for i in range(2):
        attended = layers.MultiHeadAttention(2, 3, name=f"attention{i}")(h, h)
        h = layers.LayerNormalization()(layers.Add(name=f"attended{i}")([h, attended]))
        dense = layers.Dense(4, "relu")(h)
        h = layers.LayerNormalization()(layers.Add(name=f"sum{i}")([h, dense]))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(h)))
    wanted = ["embedded", "attended0", "sum0", "attended1", "sum1"]
    assert ib.instrument(model, layers="blocks").tap_names == wanted
