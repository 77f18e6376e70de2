import json

import keras
import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.arrays.rows import some_rows
from ib_keras.components.artifacts import prior
from ib_keras.components.artifacts.checkpoints import read as read_checkpoints
from ib_keras.components.artifacts.examples import read as read_examples
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.ensembler import executor as ensembler
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.examples import executor as examples
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation.shards import Part
from ib_keras.storage import manifests


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Examples, checkpoints, store and two tables of a short training."""
    root = tmp_path_factory.mktemp("chain")
    facts = {
        "examples": examples.run("szt", root / "examples", seed=1),
        "trainer": trainer.run(
            root / "examples", root / "model", model="szt", epochs=3, record="[0, 2, 3]",
            noise_std=0.1, seed=1,
        ),
        "capturer": capturer.run(
            root / "model", root / "examples", root / "store", max_samples=500, seed=2
        ),
    }  # fmt: skip
    for i, spec in enumerate(["ebab", '{"name": "kde", "variance": 0.1}']):
        facts[f"estimator{i}"] = estimator.run(root / "store", root / f"table{i}", estimator=spec)
    facts["reporter"] = reporter.run(
        [root / "table0", root / "table1"], root / "report", page=root / "page.html"
    )
    return root, facts


def test_facts(chain):
    _, facts = chain
    assert facts["examples"] == {"data": "szt", "train": 3276, "test": 820, "classes": 2}
    assert facts["trainer"]["run"] == "szt" and 0.4 < facts["trainer"]["val_accuracy"] <= 1
    assert facts["capturer"] == {"run": "szt", "n": 500, "epochs": 3, "layers": 6}
    assert facts["estimator1"]["estimator"] == "kde(variance=0.1)"
    assert facts["reporter"]["rows"] == 2 * 3 * 6 * 2


def test_checkpoints_are_models_of_their_epochs(chain):
    root, _ = chain
    saved = read_checkpoints(root / "model")
    assert saved.epochs == [0, 2, 3]
    assert saved.logs["epoch"].tolist() == [1, 2, 3]
    weights = [
        keras.models.load_model(saved.path(e), compile=False).get_weights()[0] for e in saved.epochs
    ]
    assert not np.array_equal(weights[0], weights[1])
    untrained = ib.models.szt(seed=1).get_weights()[0]
    np.testing.assert_array_equal(weights[0], untrained)


def test_the_store_holds_what_the_checkpoints_compute(chain):
    root, _ = chain
    store = ib.ActivationStore(root / "store")
    assert store.epochs == [0, 2, 3] and store.run == "szt"
    assert store.logs["epoch"].tolist() == [1, 2, 3]
    x, y = read_examples(root / "examples").split("all")
    rows = some_rows(len(x), 500)
    np.testing.assert_array_equal(store.inputs(), x[rows])
    np.testing.assert_array_equal(store.targets(), y[rows])
    model = keras.models.load_model(read_checkpoints(root / "model").path(2), compile=False)
    assert model.noise_std["dense_1"] == 0.1
    np.testing.assert_allclose(
        store.read(2, "dense_1", clean=True),
        model.get_layer("dense_1")(x[rows]),
        atol=1e-6,
    )
    noise = store.read(2, "dense_1") - store.read(2, "dense_1", clean=True)
    assert np.std(noise) == pytest.approx(0.1, rel=0.05)


def test_the_report_holds_all_estimates_and_the_logs(chain):
    root, _ = chain
    written = {p.name for p in (root / "report").iterdir()}
    tables = {"estimates.parquet", "logs.parquet", "manifest.json"}
    assert written == tables | {"information_plane.png", "report.html"}
    table = ib.load(root / "report")
    expected = ib.estimate(root / "store", ["ebab", ib.estimators.KDE(0.1)])
    keys = ["estimator", "epoch", "layer", "quantity"]
    pd.testing.assert_series_equal(
        table.set_index(keys)["value"].sort_index(), expected.set_index(keys)["value"].sort_index()
    )
    assert table.loc[table["epoch"] == 2, "loss"].notna().all()
    assert (root / "page.html").read_text() == (root / "report" / "report.html").read_text()


def test_information_that_the_labels_do_not_explain(chain, tmp_path):
    root, _ = chain
    part = Part(0, "ebab", layers=("output",), epochs=(3,))
    estimator.run_part([root / "store"], tmp_path / "t", part, conditional=True)
    found = ib.load(tmp_path / "t").set_index("quantity")["value"]
    assert found["I(X;T|Y)"] == pytest.approx(found["I(X;T)"] - found["I(T;Y)"])


def test_own_data_and_model(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 6, 6, 1), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(60) % 3)
    examples.run(str(tmp_path / "mine.npz"), tmp_path / "e")
    loaded = read_examples(tmp_path / "e")
    # Bytes of images become floats in [0, 1].
    assert loaded.x_train.dtype == np.float32 and loaded.x_train.max() <= 1
    assert (loaded.input_shape, loaded.n_classes) == ((6, 6, 1), 3)
    model = ib.models.mlp((6, 6, 1), 3, hidden=(4,))
    model.save(tmp_path / "mine.keras")
    facts = trainer.run(
        tmp_path / "e", tmp_path / "m", model=str(tmp_path / "mine.keras"), epochs=1
    )
    assert facts["run"] == "mine"
    first = keras.models.load_model(read_checkpoints(tmp_path / "m").path(0), compile=False)
    np.testing.assert_array_equal(first.get_weights()[0], model.get_weights()[0])


def test_names_of_labels_reach_the_store(tmp_path):
    rng = np.random.default_rng(0)
    kinds = np.array(["owl", "cat", "dog"])
    y = kinds[np.arange(60) % 3]
    np.savez(tmp_path / "mine.npz", data=rng.normal(size=(60, 4)), labels=y)
    facts = examples.run(str(tmp_path / "mine.npz"), tmp_path / "e")
    assert facts["classes"] == 3
    assert facts["labels"] == "cat / dog / owl" and facts["arrays"] == "data / labels"
    loaded = read_examples(tmp_path / "e")
    assert loaded.label_names == ("cat", "dog", "owl") and loaded.n_classes == 3
    assert loaded.y_train.dtype == np.int64 and set(loaded.labels(loaded.y_test)) == set(kinds)
    trainer.run(tmp_path / "e", tmp_path / "m", model='{"name": "mlp", "hidden": [4]}', epochs=1)
    capturer.run(tmp_path / "m", tmp_path / "e", tmp_path / "s")
    store = ib.ActivationStore(tmp_path / "s")
    assert store.label_names == ("cat", "dog", "owl")
    assert store.read(0, "output").shape == (60, 3)
    np.testing.assert_array_equal(store.targets(), loaded.split("all")[1])


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A table with a price, in units far from 1, that the columns determine; its data set."""
    root = tmp_path_factory.mktemp("houses")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"area": rng.uniform(50, 250, 300), "age": rng.uniform(0, 80, 300)})
    frame["price"] = 3000 * frame["area"] - 2000 * frame["age"] + 1e5
    frame["rent"] = frame["price"] / 300
    frame.to_csv(root / "houses.csv", index=False)
    facts = examples.run(
        str(root / "houses.csv"), root / "e", label="price,rent", scale="columns", seed=1
    )
    return root, facts


def test_numbers_as_labels(houses, tmp_path):
    root, facts = houses
    assert facts["numbers"] == 2 and "classes" not in facts
    assert facts["arrays"] == "area / age / price / rent"
    loaded = read_examples(root / "e")
    assert loaded.is_regression and loaded.label_names is None and loaded.n_outputs == 2
    np.testing.assert_allclose(loaded.x_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(loaded.x_train.std(axis=0), 1, rtol=1e-5)
    assert loaded.y_train.shape == (240, 2) and loaded.y_train.mean() > 1e4
    np.testing.assert_array_equal(loaded.labels(loaded.y_test), loaded.y_test)
    model = '{"name": "mlp", "hidden": [8]}'
    trained = trainer.run(
        root / "e", tmp_path / "m", model=model, epochs=30, record="30", learning_rate=0.05
    )
    # A constant prediction has an error of 1 standard deviation.
    assert trained["val_rmse"] < 0.3 and trained["val_mae"] < trained["val_rmse"]
    assert set(read_checkpoints(tmp_path / "m").logs) == {
        "epoch", "loss", "rmse", "mae", "val_loss", "val_rmse", "val_mae",
    }  # fmt: skip
    network = read_checkpoints(tmp_path / "m").load(30).model
    assert network.output_shape == (None, 2)
    assert network.layers[-1].activation is keras.activations.linear
    scaled = (loaded.y_test - loaded.y_train.mean(axis=0)) / loaded.y_train.std(axis=0)
    errors = network.predict(loaded.x_test, verbose=0) - scaled
    assert np.sqrt((errors**2).mean()) == pytest.approx(trained["val_rmse"], rel=1e-4)
    # The labels themselves are recorded, and reported as numbers.
    capturer.run(tmp_path / "m", root / "e", tmp_path / "s", split="test")
    store = ib.ActivationStore(tmp_path / "s")
    assert store.label_names is None
    np.testing.assert_array_equal(store.targets(), loaded.y_test)
    for i, spec in enumerate(("ksg", '{"name": "ebab", "bins": 4}')):
        estimator.run(tmp_path / "s", tmp_path / f"t{i}", estimator=spec)
    reporter.run([tmp_path / "t0", tmp_path / "t1"], tmp_path / "report")
    table = ib.load(tmp_path / "report")
    known = table[(table["quantity"] == "I(T;Y)") & table["value"].notna()]
    assert set(known["estimator"].str.partition("(")[0]) == {"ksg", "ebab"}
    flags = known.set_index("estimator")["flags"]
    assert flags[flags.index.str.startswith("ebab")].str.contains("binned_target").all()
    assert table.loc[table["epoch"] == 30, "val_rmse"].notna().all()


def test_numbers_need_another_network(houses, tmp_path):
    root, _ = houses
    with pytest.raises(ArgumentError, match="outputs.*does not fit|does not fit.*3 outputs|'szt'"):
        trainer.run(root / "e", tmp_path / "m", model="szt")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")]).save(
        tmp_path / "m.keras"
    )
    with pytest.raises(ArgumentError, match="predicts probabilities, but the labels are numbers"):
        trainer.run(root / "e", tmp_path / "m", model=str(tmp_path / "m.keras"))
    with pytest.raises(ArgumentError, match="an ensemble needs classes"):
        ensembler.run(root / "e", tmp_path / "t", estimators=["ebab"], model="mlp")
    facts = examples.run(
        str(root / "houses.csv"), tmp_path / "e3", label="rent", decoder_fraction=0.5
    )
    assert facts["numbers"] == 1 and facts["decoder"] == 120
    bound = prior.bound('{"levels": 4}')
    with pytest.raises(ArgumentError, match="a decoder needs classes"):
        prior.parts(tmp_path / "e3", bound, 10)


def test_a_loss_of_the_users_sees_the_labels_themselves(houses, tmp_path):
    root, _ = houses
    model = '{"name": "mlp", "hidden": [2], "loss": "mse"}'
    assert trainer.run(root / "e", tmp_path / "m", model=model, epochs=1)["val_rmse"] > 1e4


@pytest.mark.parametrize("channels", [(), (2,)])
def test_standardised_images(channels, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 4, 4, *channels), np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x[:40], y_train=np.arange(40) % 2, x_test=x[40:] // 2,
             y_test=np.arange(20) % 2)  # fmt: skip
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e", scale="standard")
    loaded = read_examples(tmp_path / "e")
    assert loaded.x_train.dtype == np.float32
    axes = (0, 1, 2)
    np.testing.assert_allclose(loaded.x_train.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(loaded.x_train.std(axis=axes), 1, atol=1e-5)
    # The held-out rows are shifted and scaled by the numbers of the training rows.
    whole = x / 255
    expected = (x[40:] // 2 / 255 - whole[:40].mean(axis=axes)) / whole[:40].std(axis=axes)
    np.testing.assert_allclose(loaded.x_test, expected, atol=1e-4)
    with pytest.raises(ArgumentError, match="no images"):
        examples.run("szt", tmp_path / "e2", scale="standard")


def test_columns_of_tables_are_scaled_by_default(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(1985, 20, 60), "b": rng.normal(150, 3, 60)})
    table.assign(y=rng.normal(size=60)).to_csv(tmp_path / "table.csv", index=False)
    examples.run(str(tmp_path / "table.csv"), tmp_path / "e", label="y")
    x = read_examples(tmp_path / "e").x_train
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-5)
    np.savez(tmp_path / "t.npz", x=table.to_numpy(), y=rng.integers(0, 2, 60))
    examples.run(str(tmp_path / "t.npz"), tmp_path / "f")
    assert read_examples(tmp_path / "f").x_train.mean() > 1000


@pytest.mark.parametrize(("scale", "largest"), [("images", 1), ("none", 255)])
def test_scales_of_images(scale, largest, tmp_path):
    x = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2)
    x[0] = 255
    np.savez(
        tmp_path / "d.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x, y_test=x[:, 0, 0] % 2
    )
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e", scale=scale)
    loaded = read_examples(tmp_path / "e").x_train
    assert loaded.dtype == np.float32 and loaded.max() == largest
    with pytest.raises(ArgumentError, match="`scale` does not apply.*no columns"):
        examples.run(str(tmp_path / "d.npz"), tmp_path / "e2", scale="columns")
    with pytest.raises(ArgumentError, match="`scale` is unknown.*'columns'"):
        examples.run(str(tmp_path / "d.npz"), tmp_path / "e2", scale="column")


def test_constant_columns_are_scaled_to_zero(tmp_path):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": 7.0, "y": np.arange(20) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    examples.run(str(tmp_path / "t.csv"), tmp_path / "e", scale="columns")
    loaded = read_examples(tmp_path / "e")
    assert (loaded.x_train[:, 1] == 0).all() and (loaded.x_test[:, 1] == 0).all()


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("max_rows", [0, 12])
def test_the_part_of_the_decoders(valid, max_rows, tmp_path):
    """It is the validation part of data that have one, such as CINIC-10."""
    n = {"train": 60, "test": 30, **({"valid": 42} if valid else {})}
    arrays, start = {}, 0
    for part, rows in n.items():
        ids = start + np.arange(rows)
        arrays[f"x_{part}"] = np.tile(ids[:, None, None], (1, 4, 4)).astype(np.uint8)
        arrays[f"y_{part}"], start = ids % 3, start + rows
    np.savez(tmp_path / "d.npz", **arrays)
    facts = examples.run(
        str(tmp_path / "d.npz"), tmp_path / "e", decoder_fraction=0.5, max_rows=max_rows,
        image_size="2", scale="none",
    )  # fmt: skip
    loaded = read_examples(tmp_path / "e")
    sizes = (
        {"train": 60, "decoder": 42, "test": 30}
        if valid
        else dict.fromkeys(("train", "decoder", "test"), 30)
    )
    sizes = {name: min(rows, max_rows or rows) for name, rows in sizes.items()}
    assert {name: facts[name] for name in sizes} == sizes
    for name, size in sizes.items():
        x, y = getattr(loaded, f"x_{name}"), getattr(loaded, f"y_{name}")
        assert x.shape == (size, 2, 2)
        np.testing.assert_array_equal(x[:, 0, 0], loaded.rows[name])
        np.testing.assert_array_equal(x[:, 0, 0] % 3, y)
        counts = np.bincount(y)
        assert counts.max() - counts.min() <= 1  # all classes equally
    from ib_keras.components.artifacts.examples import check_disjoint

    check_disjoint(**loaded.rows)
    plain = examples.run(str(tmp_path / "d.npz"), tmp_path / "f", max_rows=max_rows)
    assert "decoder" not in plain and plain["train"] == min(60, max_rows or 60)


def test_fewer_rows_than_classes(tmp_path):
    with pytest.raises(ArgumentError, match="`max_rows` is too small.*10 classes.*Received: 5"):
        examples.run("digits", tmp_path / "e", max_rows=5)
    facts = examples.run("digits", tmp_path / "e", max_rows=10)
    assert (facts["train"], facts["test"]) == (10, 10)


def test_a_folder_of_images_of_one_size(tmp_path):
    import tensorflow as tf

    for i in range(8):
        path = tmp_path / "d" / "xy"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.full((6, 6, 1), 30 * i, np.uint8)).numpy())
    facts = examples.run(str(tmp_path / "d"), tmp_path / "e", image_size="3x4", test_fraction=0.5)
    assert facts["labels"] == "x / y" and "arrays" not in facts
    assert read_examples(tmp_path / "e").input_shape == (3, 4, 1)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A training by Keras alone: checkpoints as models and as weights, and its logs."""
    folder = tmp_path_factory.mktemp("elsewhere") / "last_year"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    data = ib.datasets.load("szt", seed=1)
    model = ib.models.szt(seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    save = keras.callbacks.ModelCheckpoint
    model.fit(
        data.x_train, data.y_train, epochs=2, batch_size=512, verbose=0,
        callbacks=[
            save(folder / "m.{epoch:02d}-{loss:.2f}.keras"),
            save(folder / "m.{epoch:02d}-{loss:.2f}.weights.h5", save_weights_only=True),
            keras.callbacks.CSVLogger(folder / "log.csv"),
        ],
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_a_training_that_took_place_elsewhere(kind, chain, elsewhere, tmp_path):
    root, _ = chain
    model = {"checkpoints": str(elsewhere / f"*.{kind}"), "logs": str(elsewhere / "log.csv")}
    if kind != "keras":
        with pytest.raises(ArgumentError, match="weights without a model.*--model"):
            trainer.run(root / "examples", tmp_path / "m", model=json.dumps(model))
        model["name"] = "szt"
    facts = trainer.run(root / "examples", tmp_path / "m", model=json.dumps(model))
    assert facts["run"] == "last_year" and facts["checkpoints"] == facts["epochs"] == 2
    assert facts["loss"] == pytest.approx(pd.read_csv(elsewhere / "log.csv")["loss"].iloc[-1])
    capturer.run(tmp_path / "m", root / "examples", tmp_path / "s", max_samples=300)
    store = ib.ActivationStore(tmp_path / "s")
    x, y = read_examples(root / "examples").split("all")
    rows = some_rows(len(x), 300)
    own = ib.replay(
        tmp_path / "r", elsewhere / "*.keras", x[rows], y[rows], logs=elsewhere / "log.csv"
    )
    assert (store.epochs, store.layers, store.run) == ([1, 2], own.layers, "last_year")
    for epoch in store.epochs:
        for layer in store.layers:
            np.testing.assert_array_equal(store.read(epoch, layer), own.read(epoch, layer))
    pd.testing.assert_frame_equal(store.logs, own.logs)
    estimator.run(tmp_path / "s", tmp_path / "t", estimator="ebab")
    assert ib.load(tmp_path / "t")["loss"].notna().all()


def test_checkpoints_with_noise_and_without_logs(chain, elsewhere, tmp_path):
    root, _ = chain
    model = {"checkpoints": str(elsewhere / "*.keras"), "noise_std": 0.2, "label": "noisy",
             "layers": ["dense_1", "output"]}  # fmt: skip
    facts = trainer.run(root / "examples", tmp_path / "m", model=json.dumps(model))
    assert facts == {"run": "noisy", "checkpoints": 2, "epochs": 2}
    saved = read_checkpoints(tmp_path / "m")
    assert saved.load(1).noise_std == {"dense_1": 0.2, "output": 0.0} and not len(saved.logs)
    capturer.run(tmp_path / "m", root / "examples", tmp_path / "s", max_samples=50)
    estimator.run(tmp_path / "s", tmp_path / "t", estimator="ebab")
    reporter.run([tmp_path / "t"], tmp_path / "report")
    assert sorted(ib.load(tmp_path / "report")["epoch"].unique()) == [1, 2]


def test_checkpoints_that_do_not_fit(chain, elsewhere, tmp_path):
    root, _ = chain
    for model, message in (
        (
            {"checkpoints": str(elsewhere / "*.h5"), "name": "mlp", "hidden": [4]},
            "does not fit the model",
        ),
        ({"checkpoints": str(elsewhere / "x*")}, "There are no checkpoints"),
        ({"checkpoints": str(elsewhere / "*.keras"), "pattern": "("}, "`pattern` is invalid"),
    ):
        with pytest.raises(ArgumentError, match=message):
            trainer.run(root / "examples", tmp_path / "m", model=json.dumps(model))
        assert not (tmp_path / "m").exists()
    # The inputs must fit; the labels may be others than those of the training.
    examples.run("digits", tmp_path / "e")
    with pytest.raises(ArgumentError, match=r"does not fit the data. Expected inputs \(64,\);"):
        trainer.run(tmp_path / "e", tmp_path / "m", model=json.dumps(
            {"checkpoints": str(elsewhere / "*.keras")}))  # fmt: skip
    with pytest.raises(ArgumentError, match="An ensemble is trained here"):
        ensembler.run(root / "examples", tmp_path / "t", estimators=["ebab"], model=json.dumps(
            {"checkpoints": str(elsewhere / "*.keras")}))  # fmt: skip


def test_examples_from_before_there_were_names(tmp_path):
    examples.run("szt", tmp_path / "e")
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["label_names"] == [0, 1]
    for names, read in ((None, (0, 1)), (["a", "b"], ("a", "b")), (["a"], None), ("ab", None)):
        changed = {k: v for k, v in manifest.items() if k not in ("sha256", "made_by")}
        changed["label_names"] = names
        if names is None:
            del changed["label_names"]
        manifests.write_manifest(
            tmp_path / "e", changed.pop("schema"), changed.pop("version"), **changed
        )
        if read:
            assert read_examples(tmp_path / "e").label_names == read
        else:
            with pytest.raises(StoreError, match="a name for each label"):
                read_examples(tmp_path / "e")


def test_bad_input_leaves_nothing_behind(chain, tmp_path):
    root, _ = chain
    for run in (
        lambda out: examples.run("nothing", out),
        lambda out: trainer.run(root / "examples", out, model="resnet"),
        lambda out: trainer.run(root / "examples", out, record="often"),
        lambda out: trainer.run(root / "examples", out, noise_std=-1.0),
        lambda out: capturer.run(root / "model", root / "examples", out, split="most"),
        lambda out: estimator.run(root / "store", out, estimator="ebba"),
        lambda out: reporter.run([], out),
    ):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            run(tmp_path / "out")
        assert not list(tmp_path.iterdir())
    with pytest.raises(StoreError, match="is not of the expected kind"):
        trainer.run(root / "store", tmp_path / "out")
    with pytest.raises(StoreError, match="is not of the expected kind"):
        estimator.run(root / "model", tmp_path / "out", estimator="ebab")


def test_outputs_are_not_overwritten(chain):
    root, _ = chain
    before = (root / "examples" / "manifest.json").read_bytes()
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        examples.run("digits", root / "examples")
    assert (root / "examples" / "manifest.json").read_bytes() == before


def test_a_lost_checkpoint_is_named(tmp_path, chain):
    import shutil

    root, _ = chain
    shutil.copytree(root / "model", tmp_path / "model")
    (tmp_path / "model" / "epoch-000002.keras").unlink()
    with pytest.raises(StoreError, match=r"epoch-000002\.keras' is missing"):
        read_checkpoints(tmp_path / "model")
    assert json.loads((root / "model" / "manifest.json").read_text())["epochs"] == [0, 2, 3]


def images_of(kind):
    images = np.random.default_rng(0).integers(0, 256, (120, 4, 4, 3))
    return (images > 127 if kind in ("black and white", "bool") else images).astype(
        {"bool": bool, "black and white": "u1"}.get(kind, kind)
    )


@pytest.mark.parametrize("kind", ["u1", "i8", "f4", "f8", "black and white", "bool"])
def test_images_are_scaled_whatever_their_type(kind, tmp_path):
    x = images_of(kind)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(120) % 3,
             x_test=x, y_test=np.arange(120) % 3)  # fmt: skip
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e")
    found = read_examples(tmp_path / "e").x_train
    assert found.dtype.kind == "f"
    largest = 1 if kind in ("bool", "black and white") else 255
    np.testing.assert_allclose(found, x.astype(float) / largest, atol=1e-7)


@pytest.mark.parametrize("most", [3, 30, 117, 118, 119, 120, 500])
def test_any_number_of_rows_has_all_classes(most, tmp_path):
    y = np.sort(np.arange(120) % 3)
    x = np.arange(120.0)[:, None]
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    facts = examples.run(str(tmp_path / "d.npz"), tmp_path / "e", max_rows=most, scale="none")
    found = read_examples(tmp_path / "e")
    assert facts["train"] == facts["test"] == min(most, 120)
    np.testing.assert_array_equal(y[found.x_train[:, 0].astype(int)], found.y_train)
    counts = np.bincount(found.y_train)
    assert counts.max() - counts.min() <= 1 and len(np.unique(found.x_train)) == min(most, 120)


def test_the_rows_of_decoders_are_chosen_at_random(tmp_path):
    """The parts of files are often in the order of their classes."""
    y = np.sort(np.arange(120) % 3)
    x = np.random.default_rng(0).integers(0, 256, (3, 120, 4, 4, 3)).astype("u1")
    np.savez(tmp_path / "d.npz", x_train=x[0], y_train=y, x_valid=x[1], y_valid=y,
             x_test=x[2], y_test=y)  # fmt: skip
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e", decoder_fraction=0.5)
    parts = prior.parts(tmp_path / "e", prior.bound('{"levels": 256}'), 60)
    for part, images, labels in zip(x[1:], parts.images, parts.labels, strict=True):
        assert np.bincount(labels).min() > 10 and len(labels) == 60
        where = [np.flatnonzero((part == image).all(axis=(1, 2, 3)))[0] for image in images]
        np.testing.assert_array_equal(y[where], labels)


def test_copies_between_the_parts_are_told(tmp_path, caplog):
    x, y = images_of("u1"), np.arange(120) % 3
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    with caplog.at_level("WARNING"):
        examples.run(str(tmp_path / "d.npz"), tmp_path / "e", decoder_fraction=0.5)
    assert "30 of 30 test images are copies" in caplog.text


def test_rows_that_cannot_be_divided_by_class(tmp_path):
    x, y = images_of("u1"), np.arange(120) % 3
    for name, labels, fraction, said in (
        ("few", y, 0.01, "2 of 120 rows for decoders, 3 classes"),
        ("rare", np.where(np.arange(120) == 5, 3, y), 0.5, "one row of the class 3"),
    ):
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
        with pytest.raises(ArgumentError, match=rf"by decoder_fraction={fraction}.*{said}"):
            examples.run(str(tmp_path / f"{name}.npz"), tmp_path / "e", decoder_fraction=fraction)
