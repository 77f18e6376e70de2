"""Layers that declare their distribution, from a model or a recording to the table."""

import math

import keras
import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import SamplePropagation
from ib_keras.flags import FLAGS
from ib_keras.frame import verdict
from ib_keras.layers import GaussianSampling

L = keras.layers
STDDEV = 0.8
MAP = np.array([[1.0, 0.5], [-0.5, 0.8], [0.3, -0.4]])
SP = SamplePropagation(batch_size=100)
BOUNDS = ("I(X;T) upper", "I(X;T) lower")


def linear(stddev=STDDEV):
    """A network with Z = XA + N(0, stddev²), X in three dimensions, and an output of 2 classes."""
    inputs = keras.Input((3,))
    hidden = L.Identity(name="hidden")(inputs)
    mean = L.Dense(2, use_bias=False, name="mean")(hidden)
    zero = L.Dense(2, kernel_initializer="zeros", name="log_var")(hidden)
    z = GaussianSampling(seed=0, name="z")([mean, zero])
    model = keras.Model(inputs, L.Dense(2, activation="softmax", name="output")(z))
    model.get_layer("mean").set_weights([MAP])
    model.get_layer("log_var").set_weights([np.zeros((3, 2)), np.full(2, 2 * math.log(stddev))])
    return model


def exact(stddev):
    """I(X;Z) = ½ ln det(I + AᵀA/σ²) for X ~ N(0, I)."""
    return np.linalg.slogdet(np.eye(2) + MAP.T @ MAP / stddev**2)[1] / 2


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).normal(size=(2000, 3)).astype("float32")
    return x, (x[:, 0] > 0).astype(int)


def recorded(path, model, x, y, **arguments):
    recorder = ib.Recorder(path, x, y, epochs=[0], layers="z", seed=0, **arguments)
    return recorder.replay(model, [0], lambda epoch: None)


def agrees(table, truth):
    rows = table[table["layer"] == "z"].set_index("quantity")
    sp, (upper, lower) = rows.loc["I(X;T)"], (rows.loc[name] for name in BOUNDS)
    assert [sp["kind"], upper["kind"], lower["kind"]] == ["estimate", "upper", "lower"]
    assert sp["flags"] == "" and 0 < sp["stderr"] < 0.05
    assert sp["value"] == pytest.approx(truth, abs=3 * sp["stderr"])
    assert upper["value"] > truth - 3 * upper["stderr"]
    assert lower["value"] < truth + 3 * lower["stderr"]
    assert lower["value"] > truth / 2


def test_a_recording_gives_the_exact_information_between_its_bounds(data, tmp_path):
    recorded(tmp_path / "r", linear(), *data)
    table = ib.estimate(tmp_path / "r", SP)
    agrees(table, exact(STDDEV))
    assert list(table["quantity"]) == ["I(X;T)", "I(T;Y)", *BOUNDS]
    # The divergence of the linear case is exact, too.
    upper = table.set_index("quantity").loc["I(X;T) upper"]
    divergence = (np.trace(MAP.T @ MAP) + 2 * STDDEV**2 - 2) / 2 - 2 * math.log(STDDEV)
    assert upper["value"] == pytest.approx(divergence, abs=3 * upper["stderr"])


def test_a_model_gives_the_same(data):
    table = ib.estimate(linear(), SP, inputs=data[0], layers="z")
    agrees(table, exact(STDDEV))
    assert list(table["quantity"]) == ["I(X;T)", *BOUNDS]


def test_noise_on_the_layer_is_added_to_what_it_declares(data):
    noisy = ib.instrument(linear(), noise_std={"z": 0.6}, layers="z", seed=0)
    table = ib.estimate(noisy, SP, inputs=data[0])
    assert set(table["noise_std"]) == {0.6}
    agrees(table, exact(math.hypot(STDDEV, 0.6)))
    assert exact(math.hypot(STDDEV, 0.6)) < exact(STDDEV) - 0.1


def test_behind_other_noise_nothing_is_declared(data):
    """The mean is then not a function of X: the row has no value, and the flag says why."""
    noisy = ib.instrument(linear(), noise_std={"hidden": 0.5}, layers=["hidden", "z"], seed=0)
    table = ib.estimate(noisy, SP, inputs=data[0][:300]).set_index(["layer", "quantity"])
    assert table.loc[("z", "I(X;T)"), "flags"] == "no_channel"
    assert math.isnan(table.loc[("z", "I(X;T)"), "value"])
    assert not {("z", name) for name in BOUNDS} & set(table.index)
    assert table.loc[("hidden", "I(X;T)"), "value"] > 0
    assert "no layer before it may be random" in FLAGS["no_channel"].do


def test_a_sampling_layer_that_declares_nothing_is_told_how_to(data):
    @keras.saving.register_keras_serializable("test_declared")
    class Sampling(L.Layer):
        def call(self, mean):
            return mean + keras.random.normal(keras.ops.shape(mean))

    inputs = keras.Input((3,))
    vae = keras.Model(inputs, Sampling(name="z")(L.Dense(2)(inputs)))
    x = data[0][:200]
    with pytest.raises(ArgumentError, match=r"layers\.GaussianSampling.*`conditional`"):
        ib.estimate(vae, "sp", inputs=x, layers="z")
    table = ib.estimate(vae, ["sp", "ksg"], inputs=x, layers="z").set_index("estimator")
    assert table.loc["sp", "flags"] == "no_channel" and table.loc["ksg", "value"] > 0
    assert "GaussianSampling" in FLAGS["no_channel"].do
    assert "`conditional`" in FLAGS["no_channel"].do


@pytest.fixture(scope="module")
def small(data, tmp_path_factory):
    """A table of two epochs of a small sample."""
    path = tmp_path_factory.mktemp("small") / "r"
    x, y = (part[:300] for part in data)
    model = linear()
    recorder = ib.Recorder(path, x, y, epochs=[0, 1], layers="z", seed=0)

    def load(epoch):
        model.get_layer("mean").set_weights([MAP * (1 - epoch / 2)])

    recorder.replay(model, [0, 1], load)
    return ib.estimate(path, SP)


def test_tables_keep_the_bounds(small, tmp_path):
    ib.frame.write(small, tmp_path / "t")
    pd.testing.assert_frame_equal(ib.load(tmp_path / "t"), small, check_like=True)
    bits = ib.frame.convert(small, "bits")
    np.testing.assert_allclose(bits["value"] * math.log(2), small["value"])
    np.testing.assert_allclose(bits["stderr"] * math.log(2), small["stderr"])
    assert list(bits["kind"]) == list(small["kind"])


def test_claims_are_of_the_estimates_only(small):
    without = small[~small["quantity"].isin(BOUNDS)]
    assert verdict.verdicts(small) == verdict.verdicts(without)
    pd.testing.assert_frame_equal(ib.frame.compression(small), ib.frame.compression(without))
    (found,) = verdict.verdicts(small)
    assert found.what == verdict.COMPRESSES


def test_the_report_and_the_plot_say_what_is_bounded(small, tmp_path):
    page = ib.report.write(small, tmp_path / "p.html").read_text()
    by = f"by {SP}"
    assert f"I(X;T) upper {by} is an upper bound on I(X;T)." in page
    assert f"I(X;T) lower {by} is a lower bound on I(X;T)." in page
    figure = ib.plot.layer_curves(small, quantity="I(X;T) upper")
    assert "(upper bound on I(X;T))" in figure.axes[0].get_title()


def test_several_targets(data, tmp_path):
    x, y = (part[:400] for part in data)
    targets = {"sign": y, "other": (x[:, 2] > 1).astype(int)}
    recorded(tmp_path / "r", linear(), x, targets)
    table = ib.estimate(tmp_path / "r", SP).set_index("quantity")
    assert list(table.index) == ["I(X;T)", "I(T;Y[sign])", "I(T;Y[other])", *BOUNDS]
    recorded(tmp_path / "one", linear(), x, y)
    alone = ib.estimate(tmp_path / "one", SP).set_index("quantity")
    for name in ("I(X;T)", *BOUNDS):
        assert table["value"][name] == alone["value"][name]
    assert table["value"]["I(T;Y[sign])"] == alone["value"]["I(T;Y)"]
    assert 0 < table["value"]["I(T;Y[other])"] < table["value"]["I(T;Y[sign])"]


def test_estimates_in_place_are_those_of_a_store(data, tmp_path):
    x, y = (part[:400] for part in data)
    recorded(tmp_path / "kept", linear(), x, y)
    recorded(tmp_path / "t", linear(), x, y, keep="estimates", estimators=[SP])
    columns = ["layer", "quantity", "kind", "value", "stderr", "flags"]
    pd.testing.assert_frame_equal(
        ib.load(tmp_path / "t")[columns], ib.estimate(tmp_path / "kept", SP)[columns], rtol=1e-6
    )
