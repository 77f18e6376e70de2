import gc
import itertools
import json
import math
import random
import types
import weakref

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.components.artifacts.examples import check_disjoint
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimators import DecoderBound
from ib_keras.estimators.classifier import log_probabilities
from ib_keras.pixelcnn.comparison import compared, prior
from ib_keras.pixelcnn.decoding import Decoded, Decoder, DecoderSettings, stopping_rows
from ib_keras.pixelcnn.inputs import statistics

N, FLIP = 1500, 0.05
# Four patterns of 3×3 pixels.
PATTERNS = np.array([[0] * 9, [1] * 9, [0, 1, 0, 1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0, 1, 1, 1]])
SMALL = {
    "levels": 2, "filters": 12, "stages": 1, "mixtures": 1, "dropout": 0.1, "epochs": 12,
    "patience": 8, "learning_rate": 1.6e-2, "ema_momentum": 0.95,
}  # fmt: skip


def entropies():
    """H(X) and H(X|pattern) in nats, over all 512 images."""
    images = np.array(list(itertools.product([0, 1], repeat=9)))
    wrong = (images[:, None] != PATTERNS).sum(axis=2)
    p = (FLIP**wrong * (1 - FLIP) ** (9 - wrong)).mean(axis=1)
    bit = -(FLIP * math.log(FLIP) + (1 - FLIP) * math.log(1 - FLIP))
    return float(-(p * np.log(p)).sum()), 9 * bit


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    pattern = rng.integers(0, 4, N)
    images = PATTERNS[pattern] ^ (rng.uniform(size=(N, 9)) < FLIP)
    return images.reshape(N, 3, 3, 1), pattern


@pytest.fixture(scope="module")
def found(data):
    """Estimates for layers that know the pattern, nothing, and everything: quantity → row."""
    images, pattern = data
    layers = {
        "pattern": np.eye(4)[pattern],
        "noise": np.random.default_rng(1).normal(size=(N, 4)),
        "image": images.astype(float),
    }
    # Floats on the grid, flat, and from the name.
    made = ib.estimators.get({"name": "decoder", **SMALL, "image_shape": [3, 3, 1]})
    table = ib.estimate(
        layers, made, inputs=images.reshape(N, 9) / 1.0, targets=pattern, progress=False
    )
    assert (table["estimator"] == "decoder").all() and (table["n"] == 500).all()
    return {layer: part.set_index("quantity") for layer, part in table.groupby("layer")}


def test_the_pattern_of_an_image(found):
    whole, rest = entropies()
    known = found["pattern"]
    assert list(known.index) == ["I(X;T)", "I(T;Y)", "H(X)", "H(X|T)"]
    assert list(known["kind"]) == ["estimate", "lower", "upper", "upper"]
    value, error = known["value"], known["stderr"]
    assert value["I(X;T)"] == pytest.approx(whole - rest, rel=0.05)
    # Bounds, but for the sampling error of the held-out images; and near what they bound.
    for quantity, exact in (("H(X|T)", rest), ("H(X)", whole)):
        assert -3 * error[quantity] < value[quantity] - exact < 0.05 * exact + 3 * error[quantity]
    assert value["H(X)"] - value["H(X|T)"] == pytest.approx(value["I(X;T)"])
    # The pattern is the label.
    assert value["I(T;Y)"] == pytest.approx(math.log(4), abs=0.03)
    assert value["I(T;Y)"] <= math.log(4) + 0.01
    assert abs(json.loads(known["details"].iloc[0])["gap_h"]) < 0.5


def test_what_q_failed_to_learn_is_no_gain_of_h(data):
    """h has many values; their mixture replaces a q(x) that is 5 nats too high."""
    images, pattern = data
    rng = np.random.default_rng(2)
    h = (np.eye(4)[pattern] + 0.05 * rng.normal(size=(N, 4))).astype(np.float32)
    parts = (images[:1000], h[:1000]), (images[1000:], h[1000:])
    decoder = Decoder(DecoderSettings(**SMALL), (3, 3, 1), (4,))
    given = decoder.decoded(*parts)
    poor, good = (
        given._replace(train=given.train + more, held_out=given.held_out + more)
        for more in (5, 0.5)
    )
    nothing, same = compared(poor, given, decoder, *parts)
    assert same is given
    gains = nothing.held_out - given.held_out
    whole, rest = entropies()
    error = gains.std() / math.sqrt(len(gains))
    assert abs(gains.mean() - (whole - rest)) < 0.05 * (whole - rest) + 3 * error
    assert compared(good, given, decoder, *parts)[0] is good


def test_what_tells_nothing(found):
    value, error = (found["noise"][c] for c in ("value", "stderr"))
    assert abs(value["I(X;T)"]) <= 3 * error["I(X;T)"]
    assert value["I(T;Y)"] <= 3 * error["I(T;Y)"]


def test_the_image_itself(found):
    value = found["image"]["value"]
    assert value["I(X;T)"] >= 0.95 * entropies()[0] and value["H(X|T)"] >= 0


def test_a_decoder_that_learned_nothing_is_not_believed():
    """Pixels on their own are a better q(x) than a network that was stopped before it learned."""
    rng = np.random.default_rng(0)
    ones = np.array([0.5, 0.1, 0.9, 0.3])
    train, held_out = ((rng.uniform(size=(n, 4)) < ones).astype(int) for n in (400, 500))
    settings = DecoderSettings(**{**SMALL, "epochs": 1, "learning_rate": 1e-9})
    said = prior(settings, *(rows.reshape(-1, 2, 2, 1) for rows in (train, held_out)))[1]
    entropy = -(ones * np.log(ones) + (1 - ones) * np.log(1 - ones)).sum()
    error = said.held_out.std() / math.sqrt(500)
    # The shares were counted in 360 images, which costs half a nat an image for each.
    assert abs(said.held_out.mean() - entropy - 2 / 360) < 3 * error
    own = stopping_rows(400, settings.seed)[1]
    shares = (train[own].sum(axis=0) + 1) / (len(own) + 2)
    exact = -np.log(np.where(held_out == 1, shares, 1 - shares)).sum(axis=1)
    np.testing.assert_allclose(said.held_out, exact)


@pytest.mark.parametrize(
    ("all_rows", "stopping", "kept"),
    [(1.0, 1.0, True), (2.2, 1.5, True), (3.0, 1.5, False), (1.0, 2.1, False), (np.nan, 1, False)],
)
def test_which_decoder_is_compared(all_rows, stopping, kept):
    stop = np.arange(10)
    h = np.arange(100.0)[:, None]
    nothing = Decoded(np.full(100, 2.0), np.full(5, 2.0), np.zeros(1))
    given = Decoded(np.full(100, all_rows), np.full(5, 1.0), np.ones(3))
    given.train[stop] = stopping
    rows = ((np.zeros((100, 2, 2, 1), int), h), (np.zeros((5, 2, 2, 1), int), h[:5]))
    # h has a hundred values, whose mixture is worse.
    model = types.SimpleNamespace(log_prob=lambda images, h: np.full(len(images), -9.0))
    decoder = types.SimpleNamespace(stop=stop, model=model, settings=DecoderSettings(**SMALL))
    pair = compared(nothing, given, decoder, *rows)
    assert pair[0] is nothing
    assert (pair[1].held_out == (1.0 if kept else 2.0)).all() and len(pair[1].history) == 3


@pytest.fixture(scope="module")
def decoder():
    """Of five epochs; each test trains it anew."""
    return Decoder(DecoderSettings(**{**SMALL, "epochs": 5}), (3, 3, 1))


def test_an_interrupted_training_goes_on(data, decoder, tmp_path, monkeypatch):
    images = data[0][:300]
    whole = decoder.train(images)
    weights = decoder.model.get_weights()

    class Stop(Exception):
        pass

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.SwapEMAWeights, "on_epoch_begin", stop, raising=False)
        with pytest.raises(Stop):
            decoder.train(images, folder=tmp_path)
    later = Decoder(decoder.settings, (3, 3, 1))
    history = later.train(images, folder=tmp_path)
    # The same batches, the same dropout, the same averages: but for the order in which TensorFlow's
    # threads add up float32, what it would have been.
    np.testing.assert_allclose(history, whole, rtol=1e-6)
    for first, second in zip(weights, later.model.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    # Finished: nothing is trained again.
    kept = later.model.get_weights()
    with monkeypatch.context() as patch:
        patch.setattr(later.model, "fit", None)
        np.testing.assert_array_equal(later.train(images, folder=tmp_path), history)
    for first, second in zip(kept, later.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    # Nothing keeps a trained decoder when nobody asks for it any more.
    model = weakref.ref(later.model)
    del later
    gc.collect()
    assert model() is None


def test_decoders_that_begin_as_q_find_what_is_known(data):
    """The baseline goes on as the decoders do, so that training alone gives no information."""
    images, pattern = data
    layers = {
        "pattern": np.eye(4)[pattern],
        "noise": np.random.default_rng(1).normal(size=(N, 4)),
    }
    made = DecoderBound(**SMALL, image_shape=(3, 3, 1), prior_epochs=8)
    table = ib.estimate(layers, made, inputs=images, targets=pattern, progress=False)
    found = table[table["quantity"] == "I(X;T)"].set_index("layer")
    whole, given = entropies()
    for layer, truth in (("pattern", whole - given), ("noise", 0.0)):
        value, error = found.loc[layer, ["value", "stderr"]]
        assert abs(value - truth) < max(3 * error, 0.05 * truth + 0.02)


@pytest.fixture(scope="module")
def grouped(data):
    """One decoder of three conditions: the pattern, half of the pattern, and noise."""
    images, pattern = data
    noise = np.random.default_rng(2).normal(size=(N, 4))
    parts = [np.eye(4)[pattern] * 3 + 1, 5 * np.eye(4)[pattern // 2], noise]
    h = np.concatenate([np.column_stack([part, np.full(N, k)]) for k, part in enumerate(parts)])
    # As many steps as three separate decoders.
    settings = DecoderSettings(**{**SMALL, "epochs": 3 * SMALL["epochs"]})
    made = Decoder(settings, (3, 3, 1), (5,), groups=3)
    cut = 1000
    both = []
    for rows in (np.arange(cut), np.arange(cut, N)):
        both.append((images[rows], np.concatenate([h[k * N + rows] for k in range(3)])))
    return made, made.decoded_groups(*both), both


def test_one_decoder_of_several_conditions(grouped, data):
    """Each condition gives what it knows, although all weights but one map are shared."""
    _, found, ((train, _), (test, _)) = grouped
    _, given = entropies()
    images, pattern = test, data[1][1000:]
    every = np.array(list(itertools.product([0, 1], repeat=9)))
    wrong = (every[:, None] != PATTERNS).sum(axis=2)
    p = FLIP**wrong * (1 - FLIP) ** (9 - wrong)
    place = images.reshape(len(images), 9) @ (1 << np.arange(9)[::-1])
    exact = [
        -np.log(p[place, pattern]),
        -np.log(p.reshape(512, 2, 2).mean(axis=2)[place, pattern // 2]),
        -np.log(p.mean(axis=1)[place]),
    ]
    assert abs(np.mean(exact[0]) - given) < 3 * np.std(exact[0]) / np.sqrt(len(test))
    for one, nats in zip(found, exact, strict=True):
        lost = one.held_out - nats  # of the decoder, beyond the entropy of these images
        assert -3 * lost.std() / np.sqrt(len(lost)) < lost.mean() < 0.12
        assert len(one.train) == len(train)
    # What the decoder gains by a condition hardly contains the chance of its training.
    nothing = found[2].held_out - nats
    for one, own in zip(found[:2], exact, strict=False):
        error = nothing - (one.held_out - own)
        assert abs(error.mean()) < max(0.03, 3 * error.std() / np.sqrt(len(error)))
    separate = Decoder(DecoderSettings(**SMALL), (3, 3, 1), (4,))
    alone = separate.decoded(
        *((part[0], part[1][: len(part[0]), :4]) for part in grouped[2])
    )  # fmt: skip
    difference = found[0].held_out - alone.held_out
    assert abs(difference.mean()) < 0.1


def test_images_that_stop_a_shared_training_train_no_group(grouped):
    made, _, ((images, h), _) = grouped
    marked = np.arange(len(images)).reshape(-1, 1, 1, 1)
    stop, rest = stopping_rows(len(images), made.settings.seed)
    pictures, conditions = made._rows(marked, h, rest)
    assert len(pictures) == len(conditions) == 3 * len(rest)
    assert not np.isin(pictures, stop).any()
    np.testing.assert_array_equal(conditions[:, -1], np.repeat([0, 1, 2], len(rest)))


def test_a_decoder_begins_as_a_model_without_a_condition(data, grouped):
    images = data[0][:200]
    plain = Decoder(DecoderSettings(**{**SMALL, "epochs": 3}), (3, 3, 1))
    plain.train(images)
    made, _, _ = grouped
    made._training.restart()
    h = np.column_stack([np.random.default_rng(0).normal(size=(200, 4)), np.arange(200) % 3])
    made.model.initialise(images, h)
    made.model.begin_as(plain.model)
    before = made.model.log_prob(images, h)
    np.testing.assert_allclose(before, plain.model.log_prob(images), rtol=1e-5)
    other = Decoder(DecoderSettings(**{**SMALL, "filters": 8}), (3, 3, 1), (4,))
    with pytest.raises(ArgumentError, match="differ in size"):
        other.model.begin_as(plain.model)
    # The condition is learned from there.
    short = Decoder(DecoderSettings(**{**SMALL, "epochs": 6}), (3, 3, 1), (4,))
    history = short.train(images, np.eye(4)[data[1][:200]], start=plain.model)
    assert len(history) == 7 and history[-1] < history[0] - 0.3


def test_a_classifier_of_labels():
    """Its bound is near what four normal densities allow, and it is nobody else's state."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 2600)
    h = (np.eye(4)[y] * 3 + rng.normal(size=(2600, 4))).astype("f4")
    logs = 3 * h - np.log(np.exp(3 * h).sum(axis=1, keepdims=True))
    train, held_out = slice(600), slice(600, None)
    exact = logs[held_out][np.arange(2000), y[held_out]]
    found = []
    for state in range(2):
        keras.utils.set_random_seed(state)
        before = random.getstate(), np.random.get_state()[1].tolist()
        found.append(log_probabilities(h[train], y[train], h[held_out], classes=4, seed=0))
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(np.exp(found[0]).sum(axis=1), 1, rtol=1e-5)
    gap = exact - found[0][np.arange(2000), y[held_out]]
    assert -3 * gap.std() / math.sqrt(2000) < gap.mean() < 0.05


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("scale", [1e-34, 1e38])
def test_layers_of_all_scales_are_read(scale):
    """As far as float32 goes; and one sample far off is no more than far off."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    h = np.clip(y[:, None] + 0.1 * rng.normal(size=(400, 2)), -0.5, 3) * scale
    h[0] = 3.4 * max(scale, 1e30)
    h = np.minimum(h, 3.4e38).astype("f4")
    logs = log_probabilities(h[1:], y[1:], h, classes=2, seed=0)
    assert np.isfinite(logs).all() and -1e4 < logs.min()
    assert logs[np.arange(1, 400), y[1:]].mean() > -0.1
    mean, std = statistics(h[1:])
    np.testing.assert_allclose(mean / scale, 0.5, rtol=0.05)
    np.testing.assert_allclose(std / scale, 0.51, rtol=0.05)
    dead = np.full((50, 2), np.float32(scale / 3))
    np.testing.assert_array_equal(statistics(dead)[1], 1)


def test_a_damaged_state_is_named(data, decoder, tmp_path):
    decoder.train(data[0][:100], folder=tmp_path)
    file = tmp_path / "state.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.npz' cannot be read.*start again"):
        decoder.train(data[0][:100], folder=tmp_path)


def test_parts_may_not_overlap():
    check_disjoint(network=[0, 1], decoder=[2, 3], evaluation=[4])
    with pytest.raises(ArgumentError, match=r"'network' and 'evaluation' have 1 rows in common"):
        check_disjoint(network=[0, 1], decoder=[2, 3], evaluation=[1])
    with pytest.raises(ArgumentError, match="'decoder' repeat"):
        check_disjoint(network=[0, 1], decoder=[2, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "x=None"),
        ({"x": np.full((40, 3, 3, 1), 0.3)}, "between the levels"),
        ({"x": np.full((40, 3, 3, 1), 2)}, "does not match levels=2"),
        ({"x": np.zeros((40, 9))}, "holds no images"),
        ({"x": np.zeros((40, 3, 3, 2))}, "holds no images"),
        ({"t": np.full((40, 2), np.nan)}, "NaN"),
        ({"t": np.zeros((39, 2))}, "differ in length"),
        ({"t": np.zeros((25, 2)), "x": np.zeros((25, 3, 3, 1))}, "Too few rows"),
        ({"t": np.full((40, 2), "a")}, "not numeric"),
    ],
)
def test_bad_input(change, message):
    arguments = {"t": np.zeros((40, 2)), "x": np.zeros((40, 3, 3, 1), int), **change}
    quick = DecoderBound(**{**SMALL, "epochs": 1})
    with pytest.raises(ArgumentError, match=message):
        quick.estimate(arguments.pop("t"), **arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"levels": 1}, {"epochs": 0}, {"test_fraction": 1.0}, {"ema_momentum": 1.0}, {"seed": -1},
        {"learning_rate": 0}, {"patience": 1.5},
    ],
)  # fmt: skip
def test_bad_arguments(change):
    with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
        DecoderBound(**change)
