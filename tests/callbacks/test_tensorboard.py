"""Estimates beside the loss: in Keras's logs and callbacks, and in TensorBoard."""

import math
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.callbacks import tensorboard
from ib_keras.errors import MissingExtraError

KEY = "I_TY_nats/ebab/"


@pytest.fixture
def noisy():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(5, "tanh", name="first"),
            keras.layers.Dense(2, "softmax", name="output"),
        ]
    )
    noisy = ib.instrument(model, noise_std=0.1, seed=0)
    noisy.compile("adam", "sparse_categorical_crossentropy")
    return noisy


@pytest.fixture(scope="module")
def inputs():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int)


def fit(model, inputs, *callbacks, epochs=3, **arguments):
    return model.fit(
        *inputs, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **arguments
    )


def values(table, layer, quantity="I(T;Y)"):
    rows = table[(table["layer"] == layer) & (table["quantity"] == quantity)]
    return rows.set_index("epoch")["value"]


def test_in_history_csv_and_early_stopping(noisy, inputs, tmp_path):
    recorder = ib.Recorder(tmp_path / "r", *inputs, estimators=["ebab"], epochs=[0, 2, 4])
    seen = fit(
        noisy, inputs, recorder,
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=4),
        epochs=9,
    ).history  # fmt: skip
    table = ib.estimate(tmp_path / "r", "ebab")
    for layer in ("first", "output"):
        for name, quantity in (("I_XT", "I(X;T)"), ("I_TY", "I(T;Y)")):
            of_epoch = values(table, layer, quantity)
            expected = [math.nan, of_epoch[2], math.nan, of_epoch[4], math.nan]
            np.testing.assert_allclose(seen[f"{name}_nats/ebab/{layer}"], expected, rtol=1e-12)
    written = pd.read_csv(tmp_path / "log.csv")
    np.testing.assert_allclose(written[KEY + "output"], seen[KEY + "output"], rtol=1e-12)
    # The record has the loss, and not the estimates a second time.
    assert set(ib.ActivationStore(tmp_path / "r").logs) == {"epoch", "loss"}


def test_an_estimate_can_stop_training(noisy, inputs, tmp_path):
    recorder = ib.Recorder(tmp_path / "r", *inputs, keep="estimates", estimators=["ebab"], epochs=1)
    stop = keras.callbacks.EarlyStopping(KEY + "output", mode="max", min_delta=9.0, patience=2)
    assert len(fit(noisy, inputs, recorder, stop, epochs=9).epoch) == 3


def test_two_recorders_and_none(noisy, inputs, tmp_path):
    arguments = {"estimators": ["ebab"], "keep": "estimates", "epochs": [1]}
    seen = fit(
        noisy, inputs,
        ib.Recorder(tmp_path / "a", *inputs, **arguments, log_prefix="train_"),
        ib.Recorder(tmp_path / "b", *inputs, **arguments, log_prefix="test_"),
        ib.Recorder(tmp_path / "c", *inputs, **arguments, log_prefix=None),
        epochs=1,
    ).history  # fmt: skip
    assert set(seen) == {"loss"} | {
        f"{who}_{what}_nats/ebab/{layer}"
        for who in ("train", "test") for what in ("I_XT", "I_TY") for layer in ("first", "output")
    }  # fmt: skip
    assert not [c for c in ib.load(tmp_path / "b") if "nats/" in c]


def test_names_are_what_trackers_take():
    for estimator in (ib.estimators.KDE(variance=0.1), ib.estimators.get("pca+ksg")):
        for layer in ("encoder/dense_1", "lstm[0]", "dense:1", "größe <1>"):
            row = {"quantity": "P(class kept)", "estimator": str(estimator), "layer": layer}
            assert re.fullmatch(r"[\w./-]+", tensorboard.name(row))
    row = {"quantity": "I(X;T)", "estimator": "kde(variance=0.1)", "layer": "lstm[0]"}
    assert tensorboard.name(row) == "I_XT_nats/kde.variance.0.1/lstm.0"


@pytest.mark.parametrize("keep", ["activations", "estimates"])
def test_beside_the_tensorboard_callback(noisy, inputs, tmp_path, keep):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = tmp_path / "logs"

    def recorder():
        return ib.Recorder(
            tmp_path / "r", *inputs, keep=keep, estimators=["ebab"], log_dir=logs, epochs=[0, 2, 3]
        )

    fit(noisy, inputs, recorder(), keras.callbacks.TensorBoard(logs), epochs=2)
    fit(noisy, inputs, recorder(), initial_epoch=2, epochs=3)
    assert {p.name for p in logs.iterdir()} == {"train", "information"}
    read = EventAccumulator(str(logs / "information")).Reload()
    table = ib.load(tmp_path / "r") if keep == "estimates" else ib.estimate(tmp_path / "r", "ebab")
    for quantity in ("I(X;T)", "I(T;Y)"):
        for layer in ("first", "output"):
            tag = f"{quantity} in nats, {table['estimator'][0]}/{layer}"
            events = read.Tensors(tag)
            expected = values(table, layer, quantity)
            assert [e.step for e in events] == expected.index.tolist() == [0, 2, 3]
            found = [tf.make_ndarray(e.tensor_proto) for e in events]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    planes = read.Tensors("information plane")
    assert [e.step for e in planes] == [0, 2, 3]
    width, height, *pictures = tf.make_ndarray(planes[-1].tensor_proto)
    picture = tf.io.decode_png(pictures[0]).numpy()
    assert picture.shape == (int(height), int(width), 3) and picture.std() > 1
    theirs = EventAccumulator(str(logs / "train")).Reload().Tags()["tensors"]
    assert "epoch_" + KEY + "output" in theirs


def test_tensorboard_is_missing(inputs, tmp_path, monkeypatch):
    arguments = {"keep": "estimates", "estimators": ["ebab"], "log_dir": tmp_path}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ib-keras\[tensorboard\]'"):
        ib.Recorder(tmp_path / "r", *inputs, **arguments)
