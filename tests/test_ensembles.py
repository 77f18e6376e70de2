import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.ensembles import Ensemble
from ib_keras.errors import ArgumentError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 6)).astype("f4")
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    return ib.datasets.Dataset((x[:110], y[:110]), (x[110:], y[110:]))


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "tanh"},
        {"activation": "prelu", "l2": 0.1},
        {"activation": "swish", "orthonormal": 0.05},
        {"activation": "abs"},
    ],
    ids=lambda o: o["activation"],
)
def test_each_network_trains_as_keras_trains_it_alone(data, options):
    def build(seed):
        return ib.models.mlp((6,), 3, hidden=(7, 4), seed=seed, **options)

    seeds = [3, 8]
    ensemble = Ensemble(build, seeds)
    before = [ensemble.weights(k) for k in range(2)]
    # 110 rows in batches of 32: the last of an epoch is smaller.
    run = {"epochs": 4, "batch_size": 32, "learning_rate": 0.01}
    assert list(ensemble.fit(*data.train, **run)) == [0, 1, 2, 3, 4]
    captured, evaluated = ensemble.capture(data.x_test), ensemble.evaluate(*data.test)
    for k, seed in enumerate(seeds):
        model = build(seed)
        for a, b in zip(model.get_weights(), before[k], strict=True):
            np.testing.assert_array_equal(a, b)
        model.compile(
            keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        for epoch in range(1, 5):
            order = Ensemble.order(seed, epoch, 110)
            model.fit(
                data.x_train[order], data.y_train[order], batch_size=32, shuffle=False, verbose=0
            )
        for a, b in zip(model.get_weights(), ensemble.weights(k), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)
        taps = ib.instrument(model).capture(data.x_test)
        assert list(taps) == ensemble.layers
        for name, values in taps.items():
            np.testing.assert_allclose(captured[name][k], values, atol=1e-4)
        loss, accuracy = model.evaluate(*data.test, verbose=0)
        assert evaluated["loss"][k] == pytest.approx(loss, rel=1e-4)
        assert evaluated["accuracy"][k] == pytest.approx(accuracy, abs=1e-6)
    assert not np.allclose(captured[ensemble.layers[0]][0], captured[ensemble.layers[0]][1])


def test_a_study_is_what_estimate_says_of_each_network(data):
    def build(seed):
        return ib.models.mlp((6,), 3, hidden=(5,), activation="elu", seed=seed)

    table, logs = ib.ensembles.study(
        build, data, seeds=[1, 2, 4], estimators=["ebab", "kde"], epochs=3, record=[0, 3],
        batch_size=32, label="elu",
    )  # fmt: skip
    assert sorted(table["run"].unique()) == ["elu-1", "elu-2", "elu-4"]
    assert len(table) == 3 * 2 * 2 * 2 * 2  # runs, epochs, layers, estimators, quantities
    assert set(logs) == {"run", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert len(logs) == 6
    # The untrained network, by the usual way.
    expected = ib.estimate(build(2), ["ebab", "kde"], inputs=data.x, targets=data.y)
    keys = ["layer", "estimator", "quantity"]
    own = table[(table["run"] == "elu-2") & (table["epoch"] == 0)].set_index(keys)["value"]
    both = expected.set_index(keys)["value"]
    np.testing.assert_allclose(own.sort_index(), both.sort_index(), atol=1e-5)
    origin, usual = (t.attrs["provenance"] for t in (table, expected))
    for key in ("data", "estimators", "versions"):
        assert origin[key] == usual[key]
    for key in ("architecture", "parameters"):
        assert origin["model"][key] == usual["model"][key]
    assert origin["labels"] == list(data.label_names) and origin["seeds"] == [1, 2, 4]


def test_bad_input(data):
    def build(seed):
        return ib.models.mlp((6,), 3, hidden=(5 + seed,))

    with pytest.raises(ArgumentError, match="`seeds` are empty"):
        Ensemble(build, [])
    with pytest.raises(ArgumentError, match="architectures differ"):
        Ensemble(build, [0, 1])
    frozen = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization()])
    with pytest.raises(ArgumentError, match=r"gradients do not train.*moving_mean"):
        Ensemble(lambda seed: frozen, [0])
    for arguments in ({"epochs": -1}, {"epochs": 1, "batch_size": 0}):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            list(Ensemble(build, [0]).fit(*data.train, **arguments))


def test_labels_are_of_the_networks_classes(data):
    """Also where only some of them occur, or they are texts."""
    names = np.array(["ant", "bee", "cat"])

    def trained(y):
        made = Ensemble(lambda s: ib.models.mlp((6,), 3, hidden=(4,), seed=s), [1])
        list(made.fit(data.x_train, y, epochs=2, batch_size=32))
        return made

    codes, texts = trained(data.y_train), trained(names[data.y_train])
    np.testing.assert_array_equal(codes.weights(0)[0], texts.weights(0)[0])
    for rows in (data.y_test == 2, data.y_test != 1):
        x, y = data.x_test[rows], data.y_test[rows]
        chance = codes.capture(x)["output"][0]
        expected = -np.log(chance[np.arange(len(y)), y]).mean()
        assert codes.evaluate(x, y)["loss"][0] == pytest.approx(expected, rel=1e-4)
        assert texts.evaluate(x, names[y])["loss"][0] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ArgumentError, match=r"labels that the networks lack.*\['dog'\]"):
        texts.evaluate(x, np.array(["dog"] * len(x)))
    with pytest.raises(ArgumentError, match="does not fit the outputs.*3 classes"):
        trained(np.arange(len(data.y_train)) % 4)
    with pytest.raises(ArgumentError, match="identifier"):
        trained(np.arange(len(data.y_train)))


def test_the_noise_of_a_network_depends_on_its_seed_only(data):
    def build(seed):
        return ib.models.mlp((6,), 3, hidden=(5, 4), initial="uniform", seed=seed)

    run = {"epochs": 2, "batch_size": 32}
    trained = []
    for seeds in ([7], [3, 7]):
        ensemble = Ensemble(build, seeds, noise_std=0.1)
        assert ensemble.noise_std == {"dense_1": 0.1, "dense_2": 0.1, "output": 0.0}
        assert ensemble.random == ["dense_2", "output"]
        assert list(ensemble.fit(*data.train, **run)) == [0, 1, 2]
        trained.append(ensemble)
    alone, together = trained
    for a, b in zip(alone.weights(0), together.weights(1), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    noisy, clean = together.passes(data.x, draw=1)
    gap = noisy["dense_1"] - clean["dense_1"]
    assert gap.std() == pytest.approx(0.1, rel=0.05)
    assert abs(np.corrcoef(gap[0].ravel(), gap[1].ravel())[0, 1]) < 0.1
    assert np.array_equal(noisy["output"], clean["output"])
    np.testing.assert_allclose(alone.capture(data.x, draw=1)["dense_2"][0], noisy["dense_2"][1],
                               atol=1e-4)  # fmt: skip
    assert not np.allclose(together.capture(data.x, draw=2)["dense_1"], noisy["dense_1"])
    # S of the second layer: its mean over propagations is that of instrumented models.
    propagated = together.propagate(1, data.x, 200)
    assert list(propagated) == ["dense_2"] and propagated["dense_2"].shape == (150, 200, 4)
    model = build(7)
    model.set_weights(together.weights(1))
    tapped = ib.instrument(model, 0.1, seed=0)
    other = tapped.capture(data.x, draws=200, clean=True)["dense_2"].mean(axis=0)
    spread = propagated["dense_2"].std(axis=1).max()
    assert np.abs(propagated["dense_2"].mean(axis=1) - other).max() < 6 * spread / np.sqrt(100)


def test_noisy_networks_are_evaluated_without_their_noise_too(data):
    """The authors of noisy networks report the loss of the network without noise."""

    def build(seed):
        return ib.models.mlp((6,), 3, hidden=(5, 4), initial="uniform", seed=seed)

    ensemble = Ensemble(build, [7], noise_std=0.5)
    list(ensemble.fit(*data.train, epochs=2, batch_size=32))
    model = build(7)
    model.set_weights(ensemble.weights(0))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(*data.test, verbose=0)
    alone = ensemble.evaluate(*data.test, noisy=False)
    assert alone["loss"][0] == pytest.approx(loss, rel=1e-5)
    assert alone["accuracy"][0] == pytest.approx(accuracy, abs=1e-6)
    assert ensemble.evaluate(*data.test)["loss"][0] != pytest.approx(loss, rel=1e-2)
    _, logs = ib.ensembles.study(
        build, data, seeds=[7], estimators="ebab", epochs=2, batch_size=32, record=[2],
        noise_std=0.5,
    )  # fmt: skip
    assert logs["val_noiseless_loss"].item() == pytest.approx(loss, rel=1e-3)
    assert logs["val_loss"].item() != pytest.approx(loss, rel=1e-2)


def test_estimators_have_schedules_of_their_own(data):
    table, _ = ib.ensembles.study(
        lambda seed: ib.models.mlp((6,), 3, hidden=(4,), seed=seed), data, seeds=[0, 1], epochs=3,
        estimators=["ebab", '{"name": "kde", "record": [0, 3]}'], record=1, batch_size=64,
    )  # fmt: skip
    epochs = table.groupby("estimator")["epoch"].unique().map(list)
    assert epochs["ebab"] == [0, 1, 2, 3] and epochs["kde"] == [0, 3]


def test_propagations_and_epochs_that_do_not_fit_are_refused(data):
    def study(estimators, **more):
        options = {"seeds": [0], "epochs": 1, "noise_std": 0.1, "batch_size": 64, **more}
        return ib.ensembles.study(
            lambda seed: ib.models.mlp((6,), 3, hidden=(3,), seed=seed), data,
            estimators=estimators, **options,
        )  # fmt: skip

    sp = ib.estimators.SamplePropagation
    with pytest.raises(ArgumentError, match="different propagations"):
        study([sp(propagations=16), sp(propagations=32)])
    with pytest.raises(ArgumentError, match="No epoch"):
        study("ebab", record=[5])


def test_outputs_that_are_no_probabilities_are_refused():
    def logits(seed):
        return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="o")])

    with pytest.raises(ArgumentError, match="softmax"):
        Ensemble(logits, [0])
    with pytest.raises(ArgumentError, match="softmax"):
        Ensemble(lambda seed: ib.models.mlp((6,), 3, seed=seed), [0], noise_std={"output": 0.1})
