"""Trainings that took place elsewhere, from their checkpoints."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.storage import locks
from ib_keras.storage.checkpoint_files import find

X = np.random.default_rng(0).normal(size=(40, 4)).astype("f4")
Y = (X[:, 0] > 0).astype(int)


def network(hidden=3, activation="tanh", heads=1, compiled=True):
    outputs = [keras.layers.Dense(2, "softmax") for _ in range(heads)]
    first = [keras.layers.Dense(hidden, activation), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4,)), *first, *outputs])
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def first_tap(model):
    """The outputs of the first layer with its normalisation."""
    return model.layers[1](model.layers[0](X), training=False).numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training by Keras alone: its folder, and the output of the hidden layer by epoch."""
    folder = tmp_path_factory.mktemp("training") / "run"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    model = network()
    outputs = {}

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            name = f"{epoch + 1:02d}-{logs['loss']:.2f}"
            self.model.save_weights(folder / f"w.{name}.weights.h5")
            tf.train.Checkpoint(net=self.model, optimizer=self.model.optimizer).write(
                str(folder / f"tf.{name}.ckpt")
            )
            outputs[epoch + 1] = first_tap(self.model)

    model.fit(
        X, Y, epochs=3, verbose=0, callbacks=[
            keras.callbacks.ModelCheckpoint(folder / "m.{epoch:02d}-{loss:.2f}.keras"),
            keras.callbacks.CSVLogger(folder / "log.csv"), Save(),
        ],
    )  # fmt: skip
    return folder, outputs


def assert_recorded(store, outputs):
    assert store.epochs == list(outputs)
    for epoch, values in outputs.items():
        np.testing.assert_allclose(store.read(epoch, store.layers[0]), values, atol=1e-5)


def test_keras_files(trained, tmp_path):
    folder, outputs = trained
    store = ib.replay(
        tmp_path / "s", str(folder / "m.*.keras"), X, Y, logs=folder / "log.csv", seed=0
    )
    assert_recorded(store, outputs)
    np.testing.assert_array_equal(store.targets(), Y)
    logs, written = store.logs, pd.read_csv(folder / "log.csv")
    assert logs["epoch"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(logs["loss"], written["loss"], rtol=1e-6)
    table = ib.estimate(store, "ebab")
    assert sorted(table["epoch"].unique()) == [1, 2, 3]


@pytest.mark.parametrize("files", ["w.*.weights.h5", "tf.*.ckpt", "tf.*.ckpt*", "tf.*"])
@pytest.mark.parametrize("compiled", [True, False])
def test_weights_with_a_model(files, compiled, trained, tmp_path):
    folder, outputs = trained
    build = lambda: network(compiled=compiled)  # noqa: E731
    store = ib.replay(tmp_path / "s", folder / files, X, Y, model=build)
    assert_recorded(store, outputs)


def test_checkpoints_of_keras_2(tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    old = tf_keras.Sequential(
        [tf_keras.Input((4,)), tf_keras.layers.Dense(3, "tanh"),
         tf_keras.layers.BatchNormalization(), tf_keras.layers.Dense(2, "softmax")]
    )  # fmt: skip
    old.compile("sgd", "sparse_categorical_crossentropy")
    outputs = {}
    for epoch in (0, 5):
        outputs[epoch] = first_tap(old)
        old.save_weights(tmp_path / f"cp-{epoch:04d}.ckpt")
        old.save_weights(tmp_path / f"weights{epoch}.h5")
        old.save(tmp_path / f"model-{epoch}.h5")
        old.fit(X, Y, epochs=1, verbose=0)
    for files in ("cp-*.ckpt", "cp*", "weights*.h5", "model-*.h5"):
        target = tmp_path / "stores" / files.replace("*", "")
        store = ib.replay(target, tmp_path / files, X, Y, model=network)
        assert_recorded(store, outputs)


def test_noise_and_the_arguments_of_a_recorder(trained, tmp_path):
    folder, outputs = trained
    noisy = ib.instrument(network(), noise_std=0.5, seed=0)
    for kind in ("m.*.keras", "w.*.weights.h5", "tf.*.ckpt"):
        store = ib.replay(
            tmp_path / kind[0], folder / kind, X, Y, model=noisy, epochs=[1, 3], draws=50,
            layers=noisy.tap_names[:1], run="old",
        )  # fmt: skip
        assert (store.epochs, store.run, len(store.layers)) == ([1, 3], "old", 1)
        np.testing.assert_allclose(
            store.read(1, store.layers[0], clean=True)[0], outputs[1], atol=1e-5
        )
        noise = store.read(1, store.layers[0]) - outputs[1]
        # 50·40·3 values: the standard deviation is known to 0.9 %.
        assert noise.std() == pytest.approx(0.5, rel=0.04)
    table = ib.replay(
        tmp_path / "table", folder / "m.*.keras", X, Y, keep="estimates", estimators="ebab"
    )
    assert sorted(table["epoch"].unique()) == [1, 2, 3]


def test_checkpoints_of_an_instrumented_model(tmp_path):
    noisy = ib.instrument(network(), noise_std=0.1, seed=0)
    noisy.save(tmp_path / "epoch-7.keras")
    store = ib.replay(tmp_path / "s", tmp_path / "*.keras", X)
    assert store.epochs == [7] and store.targets() is None
    assert store.noise_std(7)[noisy.tap_names[0]] == 0.1


@pytest.mark.parametrize(
    ("names", "epochs"),
    [
        (["weights.05-0.33.keras", "weights.10-0.21.keras"], [5, 10]),
        (["model.05-12.31-0.98.keras", "model.06-11.00-0.99.keras"], [5, 6]),
        (["m.05--1.5e-02.keras", "m.06--1.4e-02.keras"], [5, 6]),
        (["m.05-1e-05.keras", "m.06-nan.keras"], [5, 6]),
        (["epoch_012.keras", "epoch_9.keras"], [12, 9]),
        (["run2_epoch=3-val_loss=0.5.keras", "run2_epoch=4-val_loss=0.25.keras"], [3, 4]),
        (["net-Epoch12-step500.h5", "net-Epoch13-step900.h5"], [12, 13]),
        (["step_100.keras", "step_200.keras"], [100, 200]),
        (["12.keras", "3.keras"], [12, 3]),
        (["cp-0004.weights.h5", "cp-0008.weights.h5"], [4, 8]),
        (["vgg16-3.keras", "vgg16-10.keras"], [3, 10]),
        (["ckpt_10_seed3.keras", "ckpt_20_seed3.keras"], [10, 20]),
        (["resnet50.keras"], [50]),
    ],
)
def test_epochs_in_names(names, epochs, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    found = find([tmp_path / name for name in names])
    assert found == {e: tmp_path / n for e, n in sorted(zip(epochs, names, strict=True))}
    assert list(found) == sorted(epochs)
    assert find(str(tmp_path / "*")) == found


def test_epochs_by_a_pattern_or_a_mapping(tmp_path):
    for name in ("a1/acc97_e3.keras", "a2/acc98_e4.keras"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    paths = [tmp_path / "a1/acc97_e3.keras", tmp_path / "a2/acc98_e4.keras"]
    assert find(str(tmp_path / "*" / "*.keras"), r"_e(\d+)") == {3: paths[0], 4: paths[1]}
    assert find(paths, r"/a(\d+)/") == {1: paths[0], 2: paths[1]}
    assert find({9: paths[0], 2: str(paths[1])}) == {2: paths[1], 9: paths[0]}


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (["best.keras", "3.keras"], {}, "'.*best.keras' has no epoch.*pattern"),
        (["b0.05-0.33.keras"], {"pattern": r"(x\d+)"}, "finds no epoch.*no match"),
        (["x5.keras"], {"pattern": r"(x\d+)"}, "finds no epoch.*'x5'"),
        (["x5.keras"], {"pattern": r"x\d+"}, "must have one group"),
        (["x5.keras"], {"pattern": "("}, "`pattern` is invalid"),
        (["e1_acc97.keras", "e2_acc98.keras"], {}, "not clear.*'e1_acc97.keras' with 1 and 97"),
        (["3.keras", "3b1.keras"], {}, "not clear"),
        (["resnet50-v2.05-0.33.keras"], {}, "not clear"),
        (["epoch_3.keras", "epoch_03.keras"], {}, "Two checkpoints are of the epoch 3"),
        (["3.keras", "log.csv"], {}, "log.csv' is not a checkpoint.*another file"),
        (["3.keras", "4/x"], {}, "4' is not a checkpoint.*a folder"),
        ([], {}, "There are no checkpoints.*a glob such as"),
    ],
)
def test_names_that_are_not_clear(names, arguments, message, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ArgumentError, match=message):
        find(str(tmp_path / "*"), **arguments)


def test_checkpoints_that_are_no_files(tmp_path):
    for given, message in (
        (3, "`checkpoints` are no files"),
        ([3], "not a path"),
        (tmp_path / "no.keras", "does not exist"),
        ({-1: tmp_path}, "does not exist|not a checkpoint"),
        ([], "no checkpoints"),
    ):
        with pytest.raises(ArgumentError, match=message):
            find(given)
    (tmp_path / "a.keras").touch()
    for given, message in (
        ({-1: tmp_path / "a.keras"}, "`epochs`"),
        ({"x": tmp_path / "a.keras"}, "`epochs`"),
    ):
        with pytest.raises(ArgumentError, match=message):
            find(given)
    with pytest.raises(ArgumentError, match="`pattern` does not apply"):
        find({1: tmp_path / "a.keras"}, r"(\d)")


def refused(tmp_path, checkpoints, message, **arguments):
    """The error is raised before anything is written."""
    with pytest.raises(ArgumentError, match=message):
        ib.replay(tmp_path / "store", checkpoints, X, Y, **arguments)
    assert not (tmp_path / "store").exists()


def test_another_architecture(tmp_path):
    network().save(tmp_path / "1.keras")
    for other, message in (
        (network(hidden=5), "units is '5' instead of '3'"),
        (network(activation="relu"), "activation is 'relu' instead of 'tanh'"),
        (network(heads=2), "layers has the length 5 instead of 4"),
    ):
        other.save(tmp_path / "2.keras")
        refused(tmp_path, tmp_path / "*.keras", f"2.keras' is of another architecture.*{message}")
    (tmp_path / "2.keras").unlink()
    refused(
        tmp_path, tmp_path / "1.keras", r"1.keras' does not fit.*\(3,\) instead of \(5,\)",
        model=network(hidden=5),
    )  # fmt: skip
    # Another optimizer, names that Keras generated anew and layers that are not trainable do not
    # matter.
    again = network()
    again.layers[0].trainable = False
    again.compile("sgd")
    again.save(tmp_path / "2.keras")
    assert ib.replay(tmp_path / "store", tmp_path / "*.keras", X, Y).epochs == [1, 2]


def test_weights_of_another_architecture(tmp_path):
    good, deep, wide = network(), network(heads=2), network(hidden=5)
    for model, name in ((good, "good"), (deep, "deep"), (wide, "wide")):
        model.save_weights(tmp_path / f"{name}-1.weights.h5")
        model.save(tmp_path / f"{name}-1.h5")
        tf.train.Checkpoint(model).write(str(tmp_path / f"{name}-1.ckpt"))
    # Keras itself would load the deeper network's weights without an error.
    good.load_weights(tmp_path / "deep-1.weights.h5")
    for kind in ("weights.h5", "h5", "ckpt"):
        for name in ("deep", "wide"):
            if (kind, name) != ("ckpt", "deep"):
                refused(
                    tmp_path, tmp_path / f"{name}-1.{kind}",
                    f"{name}-1.{kind}' does not fit the model", model=network(),
                )  # fmt: skip
        refused(tmp_path, tmp_path / f"good-1.{kind}", "does not fit", model=network(heads=2))
        refused(tmp_path, tmp_path / f"good-1.{kind}", "has weights without a model.*`model`")


def test_files_that_cannot_be_read(trained, tmp_path):
    folder, _ = trained
    whole = next(folder.glob("m.*.keras")).read_bytes()
    (tmp_path / "2.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "1.keras").write_bytes(whole)
    refused(tmp_path, tmp_path / "*.keras", "2.keras' cannot be read")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        at = archive.getinfo("model.weights.h5").header_offset
    flipped = bytearray(whole)
    flipped[at + 3000] ^= 1
    (tmp_path / "2.keras").write_bytes(flipped)
    refused(tmp_path, tmp_path / "*.keras", "2.keras' cannot be read.*CRC")
    (tmp_path / "2.keras").write_bytes(next(folder.glob("w.*.h5")).read_bytes())
    refused(tmp_path, tmp_path / "*.keras", "2.keras' cannot be read")
    (tmp_path / "3.weights.h5").write_text("none")
    refused(tmp_path, tmp_path / "3*", "3.weights.h5' cannot be read", model=network)
    for name in ("4.ckpt.index", "4.ckpt.data-00000-of-00001"):
        (tmp_path / name).write_text("none")
    refused(tmp_path, tmp_path / "4.ckpt", "4.ckpt' cannot be read", model=network)
    with h5py.File(tmp_path / "5.weights.h5", "w") as file:
        file["layers"] = 3
    refused(tmp_path, tmp_path / "5*", "5.weights.h5' does not fit", model=network)


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_classes_that_are_not_registered(tmp_path):
    def build():
        return keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(2)])

    build().save(tmp_path / "1.keras")
    refused(tmp_path, tmp_path / "*.keras", "1.keras' cannot be loaded.*registered.*`model`")
    store = ib.replay(tmp_path / "store", tmp_path / "*.keras", X, Y, model=build)
    assert store.epochs == [1]
    lazy = keras.Sequential([keras.layers.Dense(2)])
    for model, message in (
        (3, "not a network"),
        (lambda: 3, "not a network"),
        (lazy, "is not built"),
    ):
        refused(tmp_path / "again", tmp_path / "1.keras", message, model=model)


def test_arguments(trained, tmp_path):
    folder, _ = trained
    files = folder / "m.*.keras"
    refused(tmp_path, files, "`draws`", draws=0)
    refused(tmp_path, files, "`logs` cannot be read", logs=tmp_path / "no.csv")
    refused(tmp_path, files, "`logs` cannot be read", logs=[{"loss": 1.0}])
    refused(tmp_path, files, "invalid epoch.*from 0", logs=[{"epoch": -1, "loss": 1.0}])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        ib.replay(tmp_path / "taken", files, X, Y)


def test_logs(tmp_path):
    from ib_keras.training import logs

    rows = [{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0, "lr": "NA"}]
    expected = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    assert logs.read(rows) == logs.read(pd.DataFrame(rows)) == expected
    # A training that was resumed: the names again, and an epoch again.
    (tmp_path / "log.csv").write_text("epoch,loss\n0,2.0\n1,9.0\nepoch,loss\n1,1.0\n")
    assert logs.read(tmp_path / "log.csv") == expected
    (tmp_path / "log.tsv").write_text("epoch;loss\n0;2.0\n1;1.0\n")
    assert logs.read(str(tmp_path / "log.tsv")) == expected
    assert logs.read(None) == []


@pytest.mark.parametrize("keep", ["activations", "estimates"])
def test_a_replay_that_fails_leaves_no_lock(tmp_path, keep):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="top")])
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")

    def restore(epoch):
        if epoch == 2:
            raise OSError("no such checkpoint")

    recorder = ib.Recorder(tmp_path / "run", x, epochs=1, keep=keep, estimators=["ebab"])
    with pytest.raises(OSError, match="no such checkpoint"):
        recorder.replay(model, [1, 2], restore)
    locks.acquire(tmp_path / "run").release()
