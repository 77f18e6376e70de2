import json

import keras
import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.components.artifacts.checkpoints import read as read_checkpoints
from ib_keras.components.artifacts.examples import read as read_examples
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.examples import executor as examples
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError, StoreError
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
    np.testing.assert_array_equal(store.inputs(), x[:500])
    np.testing.assert_array_equal(store.targets(), y[:500])
    model = keras.models.load_model(read_checkpoints(root / "model").path(2), compile=False)
    assert model.noise_std["dense_1"] == 0.1
    np.testing.assert_allclose(
        store.read(2, "dense_1", clean=True),
        model.get_layer("dense_1")(x[:500]),
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
