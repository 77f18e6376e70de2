"""Views: what they return, what noise they have, what they keep, and where they do not fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras import views
from ib_keras.errors import ArgumentError

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(80, 6, 6, 2)).astype("float32")
LABELS = RNG.integers(0, 3, 80)


def network(noise_std=0.0, **arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="softmax", name="top"),
    ])  # fmt: skip
    return ib.instrument(model, noise_std, seed=0, **arguments)


@pytest.mark.parametrize(
    ("view", "by_hand"),
    [
        ("flat", lambda t: t),
        ("mean", lambda t: t.mean(axis=(1, 2))),
        ("max", lambda t: t.max(axis=(1, 2))),
        ("first", lambda t: t[:, 0, 0]),
        ("last", lambda t: t[:, -1, -1]),
        ("positions", lambda t: t.reshape(len(t), 16, 4)),
        (keras.layers.GlobalMaxPooling2D(name="pool"), lambda t: t.max(axis=(1, 2))),
    ],
)
def test_by_hand(view, by_hand):
    model = network()
    whole = model.capture(IMAGES)["conv"]
    captured = model.capture(IMAGES, views={"conv": view})
    np.testing.assert_allclose(captured["conv"], by_hand(whole), rtol=1e-5, atol=1e-6)
    name = view if isinstance(view, str) else "pool"
    assert captured.views == ({} if view == "flat" else {"conv": name})


def sequence(layer):
    """A network of tokens 1…9 with padding 0."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((7,), dtype="int32")
    embedded = keras.layers.Embedding(10, 4, mask_zero=True, name="embedding")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(layer(embedded)))


TOKENS = RNG.integers(1, 10, (50, 7)) * (np.arange(7) < RNG.integers(0, 8, 50)[:, None])


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(3, return_sequences=True, name="layer"),
        keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), name="layer"),
        keras.layers.TimeDistributed(keras.layers.Dense(3), name="layer"),
        keras.layers.Dense(3, name="layer"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_masked_positions_are_left_out(layer):
    mask, count = TOKENS > 0, np.maximum((TOKENS > 0).sum(axis=1), 1)
    model = ib.instrument(sequence(layer))
    whole = model.capture(TOKENS)["layer"]
    get = {view: model.capture(TOKENS, views={"layer": view}) for view in ("mean", "max", "last")}
    mean = (whole * mask[..., None]).sum(axis=1) / count[:, None]
    np.testing.assert_allclose(get["mean"]["layer"], mean, rtol=1e-5, atol=1e-6)
    some = mask.any(axis=1)
    highest = np.where(mask[..., None], whole, -np.inf).max(axis=1)
    np.testing.assert_allclose(get["max"]["layer"][some], highest[some], rtol=1e-5)
    last = whole[np.arange(50), np.maximum(mask.sum(axis=1) - 1, 0)]
    np.testing.assert_allclose(get["last"]["layer"][some], last[some], rtol=1e-5)
    assert all(np.isfinite(captured["layer"]).all() for captured in get.values())


def test_positions_are_samples_of_their_inputs(tmp_path):
    model = sequence(keras.layers.LSTM(3, return_sequences=True, name="layer"))
    y = RNG.integers(0, 2, 50)
    recorder = ib.Recorder(tmp_path / "run", TOKENS, y, epochs=[0], views={"layer": "positions"})
    recorder.replay(model, [0], lambda epoch: None)
    table = ib.estimate(tmp_path / "run", ["ebab", "gaussian"], layers="layer")
    assert (table["n"] == (TOKENS > 0).sum()).all() and (table["dim"] == 3).all()
    assert all({"view", "dependent"} <= set(flags.split(",")) for flags in table["flags"])
    # The same samples by hand.
    mask = TOKENS > 0
    t = ib.instrument(model).capture(TOKENS)["layer"][mask]
    rows = np.repeat(np.arange(50), 7)[mask.reshape(-1)]
    by_hand = ib.estimate({"layer": t}, "ebab", inputs=TOKENS[rows], targets=y[rows])
    values = table[table["estimator"] == "ebab"]["value"].to_numpy()
    np.testing.assert_allclose(values, by_hand["value"], rtol=1e-6)


def test_a_projection_is_orthonormal_and_seeded():
    model = network()
    whole = model.capture(IMAGES)["conv"].reshape(80, -1)
    (directions,) = views.get("random:5").parameters(64)
    np.testing.assert_allclose(directions.T @ directions, np.eye(5), atol=1e-5)
    captured = model.capture(IMAGES, views={"conv": "random:5"})["conv"]
    np.testing.assert_allclose(captured, whole @ directions, rtol=1e-4, atol=1e-5)
    other = model.capture(IMAGES, views={"conv": "random:5:7"})["conv"]
    assert not np.allclose(captured, other)
    assert model.capture(IMAGES, views={"conv": "random:500"})["conv"].shape == (80, 64)


def test_components_are_those_of_the_other_inputs():
    from sklearn.decomposition import PCA

    model = network()
    whole = model.capture(IMAGES)["conv"].reshape(80, -1)
    captured = model.capture(IMAGES[30:], views={"conv": "pca:3"}, view_inputs=IMAGES[:30])["conv"]
    expected = PCA(3, random_state=0).fit(whole[:30]).transform(whole[30:])
    np.testing.assert_allclose(np.abs(captured), np.abs(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("view", "factor"),
    [("mean", 1 / 4), ("first", 1), ("last", 1), ("random:6", 1), ("pca:6", 1), ("max", None)],
)
def test_noise_of_a_view(view, factor):
    """T − S of the view is Gaussian with the standard deviation that is recorded."""
    model = network({"conv": 0.5})
    arguments = {"views": {"conv": view}, "view_inputs": IMAGES, "seed": 3}
    noisy = model.capture(IMAGES, **arguments)
    clean = model.capture(IMAGES, clean=True, **arguments)
    if factor is None:
        assert noisy.noise_std["conv"] == 0 and "conv" in noisy.random
        return
    assert noisy.noise_std["conv"] == pytest.approx(0.5 * factor)
    if view != "pca:6":  # the components are fitted on each capture's own noise
        noise = (noisy["conv"] - clean["conv"]).reshape(-1)
        assert abs(noise.std() / (0.5 * factor) - 1) < 4 / np.sqrt(2 * noise.size)


def test_sample_propagation_of_a_view(tmp_path):
    """`sp` of the mean of a noisy layer is `sp` of these numbers with its noise."""
    model = network({"conv": 0.5})
    recorder = ib.Recorder(tmp_path / "run", IMAGES, LABELS, epochs=[0], views={"conv": "mean"})
    recorder.replay(model, [0], lambda epoch: None)
    table = ib.estimate(tmp_path / "run", "sp", layers="conv")
    s = ib.ActivationStore(tmp_path / "run").read(0, "conv", clean=True)
    assert s.shape == (80, 4)
    by_hand = ib.estimators.SamplePropagation().estimate(s, y=LABELS, noise_std=0.5 / 4)
    assert table["value"].tolist() == [by_hand.xt.value, by_hand.ty.value]


def test_data_processing_with_known_values():
    """A linear layer of normal inputs: I(v(T);Y) is known, and at most I(T;Y)."""
    x = RNG.normal(size=(4000, 1, 6)).astype("float32")
    y = x.reshape(-1, 6).sum(axis=1) + RNG.normal(size=4000)
    inputs = keras.Input((1, 6))
    identity = keras.layers.Dense(
        6, kernel_initializer="identity", use_bias=False, name="layer"
    )(inputs)  # fmt: skip
    model = keras.Model(inputs, identity)
    exact = 0.5 * np.log(7)  # y has the variance 7, and 1 given x
    (directions,) = views.get("random:2").parameters(6)
    kept = (directions.sum(axis=0) ** 2).sum()  # of the variance 6 of the signal
    values = {}
    for view, known in (("flat", exact), ("random:2", 0.5 * np.log(7 / (7 - kept)))):
        table = ib.estimate(model, "gaussian", inputs=x, targets=y, views={"layer": view})
        row = table[table["quantity"] == "I(T;Y)"].iloc[0]
        assert abs(row["value"] - known) < 3 * row["stderr"]
        values[view] = row["value"]
    assert values["random:2"] < values["flat"]


def test_only_the_view_is_stored(tmp_path):
    sizes = {}
    for view in (None, "mean"):
        recorder = ib.Recorder(tmp_path / str(view), IMAGES, epochs=[0], views=view)
        recorder.replay(network(), [0], lambda epoch: None)
        store = ib.ActivationStore(tmp_path / str(view))
        sizes[view] = store.read(0, "conv").nbytes
        assert store.views == ({} if view is None else {"conv": "mean"})  # not of `top`
    assert sizes == {None: 80 * 64 * 4, "mean": 80 * 4 * 4}


def test_a_record_is_continued_by_the_same_view_only(tmp_path):
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")

    def recorder(view):
        return ib.Recorder(tmp_path / "run", IMAGES, LABELS, epochs=1, views=view)

    model.fit(IMAGES, LABELS, epochs=1, callbacks=[recorder("mean")], verbose=0)
    more = {"epochs": 2, "initial_epoch": 1, "verbose": 0}
    with pytest.raises(ArgumentError, match="other data or layers.*views"):
        model.fit(IMAGES, LABELS, callbacks=[recorder("max")], **more)
    model.fit(IMAGES, LABELS, callbacks=[recorder("mean")], **more)
    assert ib.ActivationStore(tmp_path / "run").epochs == [0, 1, 2]


def test_a_registered_function():
    views.register("power", lambda t: tf.reduce_mean(t**2, axis=(1, 2)))
    captured = network().capture(IMAGES, views={"conv": "power"})["conv"]
    expected = (network().capture(IMAGES)["conv"] ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(captured, expected, rtol=1e-5)
    assert "power" in views.names()
    for name in ("mean", "pca", "a:b", ""):
        with pytest.raises(ArgumentError, match="cannot be used"):
            views.register(name, lambda t: t)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("means", "The view is unknown.*'mean'"),
        ("pca:0", "pca:0"),
        ("pca", "The view is unknown"),
        ("random:x", "The view is unknown"),
        ({"top": "mean"}, "does not fit the layer 'top'.*positions"),
        ({"none*": "mean"}, "names no layer by 'none\\*'"),
        ({3: "mean"}, "keys that are not names"),
        ("pca:3", "has to be fitted.*view_inputs"),
        ({"conv": "integers"}, "does not fit the layer 'conv'"),
        ({"conv": "one row"}, "does not fit the layer 'conv'"),
        ({"conv": keras.layers.LSTM(2)}, "does not fit the layer 'conv'"),
        ({"conv": "asserts"}, "does not fit the layer 'conv'.*AssertionError"),
    ],
)
def test_views_that_do_not_fit(chosen, message):
    for name in ("integers", "one row", "asserts"):
        views._REGISTERED.pop(name, None)

    def asserts(t):
        assert t.shape[1] == 5
        return t

    views.register("asserts", asserts)
    views.register("integers", lambda t: tf.cast(t[:, 0, 0], tf.int32))
    views.register("one row", lambda t: t[:1, 0, 0])
    with pytest.raises(ArgumentError, match=message):
        network().capture(IMAGES, views=chosen)


def test_too_few_inputs_to_fit():
    with pytest.raises(ArgumentError, match="`view_inputs` are too few.*more than 5 rows"):
        network().capture(IMAGES, views={"conv": "pca:5"}, view_inputs=IMAGES[:5])


@pytest.mark.parametrize("dtype", ["mixed_float16", "float64"])
@pytest.mark.parametrize("view", ["mean", "max", "last", "positions", "random:5", "pca:3"])
def test_other_precisions(dtype, view):
    """Views are computed in float32, so that float16 does not lose digits in sums."""
    layer = keras.layers.Conv2D(4, 3, activation="relu", name="conv", dtype=dtype)
    model = ib.instrument(keras.Sequential([keras.Input((6, 6, 2)), layer]))
    whole = model.capture(IMAGES)["conv"]
    captured = model.capture(IMAGES, views={"conv": view}, view_inputs=IMAGES)["conv"]
    assert captured.dtype == np.float32 and np.isfinite(captured).all()
    if view == "mean":
        np.testing.assert_allclose(captured, whole.mean(axis=(1, 2)), rtol=1e-6, atol=1e-6)
