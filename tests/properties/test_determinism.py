"""One seed, one machine, one answer: to the last bit, and nearly so for other tiles and batches."""

import keras
import numpy as np
import pandas as pd
import pytest
import subjects

import ib_keras as ib
from ib_keras.estimators import KDE, KSG, KozachenkoLeonenko
from ib_keras.estimators.kernels import mixture, neighbor_search, pairwise
from ib_keras.estimators.propagation import mixture_entropy


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two epochs of a noisy network's two layers, with repeated passes behind the noise."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation="tanh", name="first"),
            keras.layers.Dense(2, activation="tanh", name="second"),
            keras.layers.Dense(2, activation="softmax", name="output"),
        ]
    )
    noisy = ib.instrument(model, noise_std=0.1, seed=0)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 4)).astype("f4"), rng.integers(0, 2, 80)
    path = tmp_path_factory.mktemp("determinism") / "store"
    noisy.fit(x, y, epochs=1, verbose=0, callbacks=[ib.Recorder(path, x, y)])
    return path


def named(made):
    return [made[name] for name in made]


def table(source, made, **more):
    """The table, without how long it took."""
    return ib.estimate(source, made, **more).drop(columns="seconds")


# 2^bits values a neuron, and values within [−1, 1], are what this network does not give.
ANY = {k: v for k, v in subjects.CHEAP.items() if k not in ("quantized", "binning-global")}


def test_the_same_table_again(store):
    # As one table, twice, and each estimator's rows by themselves.
    made = named(ANY)
    first = table(store, made, epochs=[1], layers="second")
    assert first["value"].notna().sum() > len(made)
    again = table(store, made, epochs=[1], layers="second")
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    for one in made[::5]:
        alone = table(store, one, epochs=[1], layers="second")
        mine = first[first["estimator"] == str(one)].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine[alone.columns], alone, check_exact=True)


@pytest.mark.parametrize("name", subjects.TRAINED)
def test_the_same_training_again(store, name):
    made = subjects.TRAINED[name]
    tables = []
    for state in (1, 2):  # of the process, which an estimate must not depend on
        keras.utils.set_random_seed(state)
        tables.append(table(store, made, epochs=[1], layers="second"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.skipif(not subjects.SOAK, reason="a minute of training; part of the soak")
def test_the_same_decoder_again():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (60, 3, 3, 1)), np.arange(60) % 2
    t = x.reshape(60, -1)[:, :2].astype("f4")
    tables = []
    for state in (1, 2):
        keras.utils.set_random_seed(state)
        tables.append(table({"h": t}, subjects.DECODER, inputs=x, targets=y))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_two_variables_again():
    a, b = ib.synthetic.correlated_gaussians(400, 2, 0.5, seed=0)
    found = [ib.mutual_information(a, b, neural=False) for _ in range(2)]
    assert found[0] == found[1]


@pytest.mark.parametrize("d", [3, 40])
@pytest.mark.parametrize("variance", [1e-4, 0.5])
def test_tiles_of_kernels(monkeypatch, d, variance):
    t = np.random.default_rng(d).normal(size=(700, d)).astype("f4")
    y = np.arange(700) % 3

    def values():
        found = KDE(variance).estimate(t, y=y)
        return [found.xt.value, found.ty.value]

    whole = values()
    monkeypatch.setattr(pairwise, "_TILE", 128)
    monkeypatch.setattr(mixture, "_POINTS", 512)
    monkeypatch.setattr(mixture, "_CENTRES", 512)
    assert values() == pytest.approx(whole, abs=1e-5)
    # Tiles that are not kept are made again, and are the same.
    kept = values()
    monkeypatch.setattr(pairwise, "_KEPT", 0)
    assert values() == kept


@pytest.mark.parametrize("d", [2, 30])
def test_tiles_of_mixtures(monkeypatch, d):
    s = np.random.default_rng(d).normal(size=(900, d))
    whole = mixture_entropy(s, 0.5, mc_draws=2, seed=0).value
    monkeypatch.setattr(mixture, "_POINTS", 512)
    monkeypatch.setattr(mixture, "_CENTRES", 512)
    assert mixture_entropy(s, 0.5, mc_draws=2, seed=0).value == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("made", [KSG(), KSG(metric="euclidean"), KozachenkoLeonenko()])
@pytest.mark.parametrize("d", [2, 15, 70])
def test_blocks_of_neighbours(monkeypatch, made, d):
    if d == 15 and getattr(made, "metric", "") == "chebyshev":
        d = 13  # as many steps are compiled
    x, t = ib.synthetic.correlated_gaussians(300, d, 1.0, seed=d)
    y = np.arange(300) % 2

    def values():
        return [made.mutual_information(x, t).value, made.with_labels(t, y).value]

    whole = values()
    monkeypatch.setattr(neighbor_search, "_ROWS", 64)
    monkeypatch.setattr(neighbor_search, "_COLUMNS", 100)
    assert values() == pytest.approx(whole, abs=1e-5)


def test_batches_of_a_capture(mlp, inputs):
    x, y = inputs
    tapped = ib.instrument(mlp)
    captured = [tapped.capture(x, batch_size=size) for size in (64, 16, 7)]
    made = [ANY["kde"], ANY["ksg"], ANY["gaussian"]]
    tables = [table(one, made, inputs=x, targets=y) for one in captured]
    for other in tables[1:]:
        assert np.abs(other["value"] - tables[0]["value"]).max() < 1e-5


def test_noise_of_a_capture(mlp, inputs):
    # Noise is drawn for a batch: the same only where the batches are.
    tapped = ib.instrument(mlp, noise_std=0.1, seed=0)
    captured = [tapped.capture(inputs[0], batch_size=16, seed=(1, 2)) for _ in range(2)]
    for name in captured[0]:
        assert np.array_equal(captured[0][name], captured[1][name])
