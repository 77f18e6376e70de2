"""Masks that views of positions leave out: of Keras, of keywords, and of the layers around."""

import keras
import numpy as np

import ib_keras as ib


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
