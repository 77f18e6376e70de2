"""Regression, and networks with several outputs, from `fit` to the report."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 3)).astype("float32")
# The angle depends on the first input, the class on the second, and the third is noise.
ANGLE = X[:, :1].astype("float64") + 0.5 * RNG.normal(size=(600, 1))
CLASS = (X[:, 1] > 0).astype(int)


def embedded(page):
    """The data of a report's script."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_regression(tmp_path):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, name="hidden"), keras.layers.Dense(1, name="top")]
    )
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    dataset = tf.data.Dataset.from_tensor_slices((X, ANGLE[:, 0])).batch(100)
    recorder = ib.Recorder(tmp_path / "run", dataset, epochs=[0, 20])
    model.fit(dataset, epochs=20, callbacks=[recorder], verbose=0)
    store = ib.ActivationStore(tmp_path / "run")
    np.testing.assert_array_equal(store.targets(), ANGLE[:, 0])
    table = ib.estimate(store, ["ksg", "gaussian", "ebab"])
    ty = table[table["quantity"] == "I(T;Y)"].set_index(["estimator", "layer", "epoch"])
    # The output is the first input by now, so that I(T;Y) = ½ ln(1 + 1/0.25).
    exact = 0.5 * np.log(5)
    for estimator in ("ksg", "gaussian"):
        row = ty.loc[(estimator, "top", 20)]
        assert abs(row["value"] - exact) < 3 * row["stderr"] + 0.02  # the weights are not exact
    assert ty.loc[("ebab", "top", 20), "flags"].split(",").count("binned_target") == 1
    assert not ty.loc[("ksg", "top", 20), "flags"]
    page = ib.report.write(table, tmp_path / "report.html")
    assert [one["quantity"] for one in embedded(page)["targets"]] == ["I(T;Y)"]
    assert ib.plot.information_plane(table).axes[0].get_ylabel() == "I(T;Y) [nats]"


def test_several_outputs(tmp_path):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    outputs = {
        "class": keras.layers.Dense(2, activation="softmax", name="class")(hidden),
        "angle": keras.layers.Dense(1, name="angle")(hidden),
    }
    keras.utils.set_random_seed(0)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(0.02),
        {"class": "sparse_categorical_crossentropy", "angle": "mse"},
    )
    y = {"class": CLASS, "angle": ANGLE}
    dataset = tf.data.Dataset.from_tensor_slices((X, y)).batch(50)
    recorder = ib.Recorder(tmp_path / "run", dataset, epochs=[0, 15], run="both")
    model.fit(dataset, epochs=15, callbacks=[recorder], verbose=0)
    table = ib.estimate(tmp_path / "run", "ksg")
    assert set(table["quantity"]) == {"I(X;T)", "I(T;Y[class])", "I(T;Y[angle])"}
    last = table[table["epoch"] == 15].set_index(["layer", "quantity"])["value"]
    # Each output knows its own target, and not the other.
    assert last["class", "I(T;Y[class])"] > 0.4 > 0.1 > last["class", "I(T;Y[angle])"]
    assert last["angle", "I(T;Y[angle])"] > 0.4 > 0.1 > last["angle", "I(T;Y[class])"]
    # The table, the plot and the report keep both.
    ib.frame.write(table, tmp_path / "table")
    assert ib.load(tmp_path / "table")["quantity"].tolist() == table["quantity"].tolist()
    for target in ("class", "angle"):
        axes = ib.plot.information_plane(table, target=target).axes[0]
        assert axes.get_ylabel() == f"I(T;Y[{target}]) [nats]"
    with pytest.raises(ArgumentError, match="`target` is not in the table.*'I\\(T;Y\\[class\\]"):
        ib.plot.information_plane(table, target="label")
    page = ib.report.write(table, tmp_path / "report.html")
    assert {one["name"] for one in embedded(page)["targets"]} == {"angle", "class"}
    assert table.attrs["provenance"]["labels"] == {"class": [0, 1], "angle": None}
