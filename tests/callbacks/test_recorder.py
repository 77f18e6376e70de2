import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.storage import locks
from ib_keras.training.schedule import log_epochs, selector


@pytest.fixture
def noisy(mlp):
    model = ib.instrument(mlp, 0.1, seed=0)
    model.compile(
        keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def fit(model, inputs, *callbacks, epochs=3, **kwargs):
    model.fit(*inputs, epochs=epochs, verbose=0, callbacks=list(callbacks), **kwargs)


def test_records_before_and_during_training(noisy, inputs, tmp_path):
    untrained = noisy.capture(inputs[0], seed=(0, 0, 0))
    fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs))
    store = ib.ActivationStore(tmp_path / "r")
    assert store.epochs == [0, 1, 2, 3]
    assert store.layers == ["first", "output"]
    np.testing.assert_array_equal(store.inputs(), inputs[0])
    np.testing.assert_array_equal(store.targets(), inputs[1])
    assert store.logs["epoch"].tolist() == [1, 2, 3]
    assert {"loss", "accuracy"} <= set(store.logs)
    # Epoch 0 is the untrained network.
    clean = store.read(0, "first", clean=True)
    noise = store.read(0, "first") - clean
    assert np.std(noise) == pytest.approx(0.1, rel=0.2)
    again = ib.instrument(noisy.model).capture(inputs[0])["first"]
    assert not np.allclose(clean, again)
    np.testing.assert_allclose(store.read(3, "first", clean=True), again, atol=1e-6)
    assert untrained["first"].shape == clean.shape
    store.verify()


def test_training_is_the_same_with_and_without(mlp, inputs, tmp_path):
    start = [w.numpy().copy() for w in mlp.weights]
    trained = []
    for i, recorded in enumerate((True, False)):
        for w, value in zip(mlp.weights, start, strict=True):
            w.assign(value)
        keras.utils.set_random_seed(1)
        model = ib.instrument(mlp, 0.1, seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        fit(model, inputs, *[ib.Recorder(tmp_path / str(i), *inputs)] * recorded)
        trained.append([w.numpy() for w in mlp.weights])
    for a, b in zip(*trained, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_plain_model_is_tapped_without_noise(mlp, inputs, tmp_path):
    mlp.compile("sgd", "sparse_categorical_crossentropy")
    fit(mlp, inputs, ib.Recorder(tmp_path / "r", *inputs, layers="first"), epochs=1)
    store = ib.ActivationStore(tmp_path / "r")
    assert store.layers == ["first"]
    expected = keras.Model(mlp.inputs[0], mlp.get_layer("first").output)(inputs[0])
    np.testing.assert_allclose(store.read(1, "first"), expected, atol=1e-6)


def test_estimates_in_place_keep_only_the_table(noisy, inputs, tmp_path):
    in_place = ib.Recorder(
        tmp_path / "t",
        *inputs,
        keep="estimates",
        estimators=["ebab", "kde"],
        conditional=True,
        run="r",
    )
    fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs), in_place)
    assert {p.name for p in (tmp_path / "t").iterdir()} == {
        "manifest.json", "estimates.parquet", "logs.parquet",
    }  # fmt: skip
    table = ib.load(tmp_path / "t")
    expected = ib.estimate(tmp_path / "r", ["ebab", "kde"], conditional=True)
    assert "I(X;T|Y)" in set(table["quantity"])
    assert table["value"].tolist() == expected["value"].tolist()
    assert table["noise_std"].tolist() == expected["noise_std"].tolist()
    assert table.loc[table["epoch"] == 3, "loss"].notna().all()


@pytest.mark.parametrize("keep", ["activations", "estimates"])
def test_resumed_training_loses_and_repeats_nothing(noisy, inputs, tmp_path, keep):
    def recorder():
        made = {"keep": keep, "estimators": ["ebab"] if keep == "estimates" else None}
        return ib.Recorder(tmp_path / "r", *inputs, epochs=1, **made)

    fit(noisy, inputs, recorder(), epochs=4)
    # Two epochs were lost with the process: training resumes from the checkpoint of epoch 2.
    fit(noisy, inputs, recorder(), epochs=6, initial_epoch=2)
    if keep == "activations":
        store = ib.ActivationStore(tmp_path / "r")
        assert store.epochs == [0, 1, 2, 3, 4, 5, 6]
        assert store.logs["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    else:
        table = ib.load(tmp_path / "r")
        assert table["epoch"].value_counts().to_dict() == dict.fromkeys(range(7), 4)
        assert table.loc[table["epoch"] > 0, "loss"].notna().all()


class _Killed(Exception):
    pass


class _Kill(keras.callbacks.Callback):
    """Stands for a process that dies before the end of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise _Killed


def test_beside_the_callbacks_that_resume_and_stop(noisy, inputs, tmp_path):
    def callbacks(*more):
        return [
            ib.Recorder(tmp_path / "r", *inputs, epochs=1),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss"),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            *more,
        ]

    with pytest.raises(_Killed):
        fit(noisy, inputs, *callbacks(_Kill()), epochs=6)
    assert ib.ActivationStore(tmp_path / "r").epochs == [0, 1, 2, 3]
    early = keras.callbacks.EarlyStopping("loss", patience=0, mode="max", start_from_epoch=5)
    fit(noisy, inputs, *callbacks(early), epochs=9)
    store = ib.ActivationStore(tmp_path / "r")
    # The backup is of the end of epoch 3; epoch 6 does not improve a loss that shall grow: stopped.
    assert store.epochs == list(range(store.epochs[-1] + 1)) and 6 <= store.epochs[-1] < 9
    assert store.logs["epoch"].tolist() == store.epochs[1:]
    store.verify()
    saved = keras.models.load_model(tmp_path / "best.keras")
    assert saved.tap_names == ["first", "output"]


def test_nothing_is_overwritten(noisy, inputs, tmp_path):
    fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs), epochs=1)
    before = ib.ActivationStore(tmp_path / "r").read(1, "first").copy()
    for keep in ({}, {"keep": "estimates", "estimators": "ebab"}):
        weights = noisy.get_weights()
        recorder = ib.Recorder(tmp_path / "r", *inputs, **keep)  # the epoch is not yet known
        with pytest.raises(ArgumentError, match=r"a new path: nothing is overwritten; .*resumes"):
            fit(noisy, inputs, recorder, epochs=1)
        for a, b in zip(weights, noisy.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)  # before any training
    np.testing.assert_array_equal(ib.ActivationStore(tmp_path / "r").read(1, "first"), before)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("no record")
    with pytest.raises(
        ArgumentError,
        match="a new path: nothing is overwritten; or delete it, if it is not needed. Received",
    ):
        fit(noisy, inputs, ib.Recorder(tmp_path / "other", *inputs), epochs=1)
    with pytest.raises(ArgumentError, match="other data or layers"):
        other = ib.Recorder(tmp_path / "r", inputs[0] + 1, inputs[1])
        fit(noisy, inputs, other, epochs=2, initial_epoch=1)


def test_several_draws(noisy, inputs, tmp_path):
    fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs, draws=3), epochs=1)
    store = ib.ActivationStore(tmp_path / "r")
    assert store.read(1, "first").shape == (3, 64, 5)
    assert not np.array_equal(store.read(1, "first")[0], store.read(1, "first")[1])
    table = ib.estimate(store, "ebab")
    assert table["n"].unique().tolist() == [192]


def test_bad_arguments_fail_at_once(inputs, tmp_path):
    x, y = inputs
    for arguments in (
        {"targets": y[:5]},
        {"targets": y + np.nan},
        {"views": "means"},
        {"epochs": "sometimes"},
        {"epochs": 0},
        {"epochs": [1, -2]},
        {"keep": "everything"},
        {"keep": "estimates"},
        {"log_dir": "logs"},
        {"keep": "estimates", "estimators": ["ebba"]},
        {"draws": 0},
        {"seed": -1},
        {"conditional": "yes"},
        {"log_prefix": 3},
    ):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            ib.Recorder(tmp_path / "r", **{"inputs": x, "targets": y} | arguments)
    assert not (tmp_path / "r").exists()


def test_inputs_that_do_not_fit_fail_before_training(noisy, inputs, tmp_path):
    with pytest.raises(ArgumentError, match="do not fit the model"):
        fit(noisy, inputs, ib.Recorder(tmp_path / "r", inputs[0][:, :2], inputs[1]))
    assert not (tmp_path / "r").exists()


def test_epochs_after_the_last_one_are_named(noisy, inputs, tmp_path, recwarn):
    with pytest.warns(UserWarning, match=r"Epochs \[4, 9\] are not recorded.*ends at epoch 3"):
        fit(noisy, inputs, ib.Recorder(tmp_path / "a", *inputs, epochs=iter([0, 9, 3, 4])))
    assert ib.ActivationStore(tmp_path / "a").epochs == [0, 3]
    recwarn.clear()
    for name, epochs in (("b", [0, 3]), ("c", 5), ("d", "log"), ("e", lambda epoch: epoch == 9)):
        fit(noisy, inputs, ib.Recorder(tmp_path / name, *inputs, epochs=epochs))
    assert not [w for w in recwarn if "not recorded" in str(w.message)]


def test_schedules():
    assert log_epochs(8) == list(range(9))
    epochs = log_epochs(1000)
    assert epochs[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert epochs[-3:] == [794, 891, 1000]
    assert 45 <= len(epochs) <= 60

    def chosen(spec, last):
        selects = selector(spec)
        return [e for e in range(last + 1) if selects(e, last)]

    assert chosen("log", 1000) == epochs
    assert chosen(5, 12) == [0, 5, 10]
    assert chosen([3, 1], 12) == [1, 3]
    assert chosen(lambda e: e % 4 == 1, 12) == [1, 5, 9]
    # The schedule of Goldfeld et al. has 84 epochs.
    assert len(log_epochs(9999, 100)) == 85
    assert chosen("log:3", 100) == [0, 1, 10, 100] == log_epochs(100, 3)
    assert chosen("log:50", 0) == [0]
    for wrong in ("log:1", "log:x", "linear"):
        with pytest.raises(ArgumentError):
            selector(wrong)
    with pytest.raises(ArgumentError, match="last epoch"):
        selector("log:3")(1, None)


def test_a_table_that_was_killed_behind_its_first_epoch(noisy, inputs, tmp_path, monkeypatch):
    arguments = {"keep": "estimates", "estimators": ["ebab"]}

    acquire = locks.acquire

    def killed(path):
        if path == tmp_path / "r":
            raise RuntimeError("killed")
        return acquire(path)

    with monkeypatch.context() as patch:
        patch.setattr("ib_keras.storage.locks.acquire", killed)
        with pytest.raises(RuntimeError, match="killed"):
            fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs, **arguments))
    assert set(ib.load(tmp_path / "r")["epoch"]) == {0}
    fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs, **arguments))
    assert set(ib.load(tmp_path / "r")["epoch"]) == {0, 1, 2, 3}
    # A training that has ended is not overwritten.
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        fit(noisy, inputs, ib.Recorder(tmp_path / "r", *inputs, **arguments))
