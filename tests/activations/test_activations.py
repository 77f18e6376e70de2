import json
import pathlib

import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError, StoreError


@pytest.fixture
def store(tmp_path):
    made = ib.ActivationStore.create(
        tmp_path / "store",
        inputs=np.arange(12.0).reshape(6, 2),
        targets=np.arange(6) % 2,
        layers=["a", "block/b"],
    )
    for epoch in (0, 10):
        write(made, epoch)
    return made


def layer(epoch, shape=(6, 3)):
    return np.arange(np.prod(shape), dtype="f4").reshape(shape) + epoch


def write(store, epoch, chunks=2):
    logs = [{"epoch": epoch, "loss": 1.0 / (epoch + 1)}] if epoch else []
    with store.writer(epoch, noise_std={"a": 0.1, "block/b": 0.0}, logs=logs) as writer:
        for part in np.array_split(np.arange(6), chunks):
            writer.write("a", layer(epoch)[part])
            writer.write("a", layer(epoch)[part] - 0.5, "clean")
            writer.write("block/b", layer(epoch, (6, 2, 2))[part])


def test_what_is_written_is_read(store):
    store = ib.ActivationStore(store.path)
    assert (store.epochs, store.layers, store.n) == ([0, 10], ["a", "block/b"], 6)
    np.testing.assert_array_equal(store.inputs(), np.arange(12.0).reshape(6, 2))
    np.testing.assert_array_equal(store.targets(), np.arange(6) % 2)
    np.testing.assert_array_equal(store.rows(), np.arange(6))
    np.testing.assert_array_equal(store.read(10, "a"), layer(10))
    np.testing.assert_array_equal(store.read(10, "a", clean=True), layer(10) - 0.5)
    np.testing.assert_array_equal(store.read(0, "block/b"), layer(0, (6, 2, 2)))
    # No noise of its own: S is T.
    np.testing.assert_array_equal(store.read(0, "block/b", clean=True), layer(0, (6, 2, 2)))
    assert isinstance(store.read(10, "a"), np.memmap)
    assert not store.read(10, "a").flags.writeable
    assert store.extent(10, "a") == (10.0, 27.0)
    assert store.noise_std(10) == {"a": 0.1, "block/b": 0.0}
    assert store.logs.to_dict("records") == [{"epoch": 10, "loss": pytest.approx(1 / 11)}]
    assert repr(store) == (
        f"ActivationStore({str(store.path)!r}: 6 rows, 2 epochs (0 to 10), layers ['a', 'block/b'])"
    )
    store.verify()


def test_any_tool_reads_the_files(store):
    file = next((store.path / "epoch-000010").glob("*block_b.npy"))
    np.testing.assert_array_equal(np.load(file), layer(10, (6, 2, 2)))


def test_long_names(tmp_path):
    names = ["a" * 300, "a" * 299 + "b", "語" * 300]
    store = ib.ActivationStore.create(
        tmp_path / "store", inputs=np.zeros((6, 1)), targets=None, layers=names
    )
    with store.writer(0, noise_std=dict.fromkeys(names, 0.0)) as writer:
        for k, name in enumerate(names):
            writer.write(name, layer(k))
    for k, name in enumerate(names):
        np.testing.assert_array_equal(store.read(0, name), layer(k))


def test_an_unfinished_epoch_is_absent(store):
    with pytest.raises(RuntimeError, match="killed"):
        with store.writer(11, noise_std={}) as writer:
            writer.write("a", layer(11))
            raise RuntimeError("killed")
    assert ib.ActivationStore(store.path).epochs == [0, 10]
    assert not [p for p in store.path.iterdir() if p.name.endswith(".tmp")]


def test_incomplete_epochs_are_refused(store):
    with pytest.raises(ArgumentError, match="incomplete"):
        with store.writer(11, noise_std={}) as writer:
            writer.write("a", layer(11)[:4])
            writer.write("block/b", layer(11, (6, 2, 2)))
    with pytest.raises(ArgumentError, match="block/b"):
        with store.writer(11, noise_std={}) as writer:
            writer.write("a", layer(11))
    assert store.epochs == [0, 10]


def test_nothing_is_overwritten(store):
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        write(store, 10)
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        ib.ActivationStore.create(store.path, inputs=np.zeros((2, 1)), targets=None, layers=["a"])
    np.testing.assert_array_equal(store.read(10, "a"), layer(10))


def test_dict_inputs_and_no_targets(tmp_path):
    inputs = {"x": np.zeros((3, 2)), "z": np.ones((3, 1))}
    store = ib.ActivationStore.create(tmp_path / "s", inputs=inputs, targets=None, layers=["a"])
    assert list(store.inputs()) == ["x", "z"]
    np.testing.assert_array_equal(store.inputs()["z"], inputs["z"])
    assert store.targets() is None


def test_lengths_must_agree(tmp_path):
    with pytest.raises(ArgumentError, match="wrong length"):
        ib.ActivationStore.create(
            tmp_path / "s", inputs=np.zeros((3, 2)), targets=np.zeros(4, int), layers=["a"]
        )
    assert not (tmp_path / "s").exists()


def test_unknown_epochs_and_layers_list_the_known(store):
    with pytest.raises(ArgumentError, match=r"Epoch 5 .*\[0, 10\]"):
        store.read(5, "a")
    with pytest.raises(ArgumentError, match=r"'c'.*\['a', 'block/b'\]"):
        store.read(0, "c")


def test_what_is_no_store(tmp_path, store):
    with pytest.raises(StoreError, match="does not exist"):
        ib.ActivationStore(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"without manifest\.json"):
        ib.ActivationStore(tmp_path / "other")
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        ib.ActivationStore.create(
            tmp_path / "other", inputs=np.zeros((2, 1)), targets=None, layers=["a"]
        )
    assert (tmp_path / "other" / "precious.txt").read_text() == "mine"
    with pytest.raises(StoreError, match="a file"):
        ib.ActivationStore(tmp_path / "other" / "precious.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "another schema version"),
        ({"schema": "zarr"}, "is not of the expected kind"),
    ],
)
def test_other_schemas_are_refused(store, change, message):
    manifest = store.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(StoreError, match=message):
        ib.ActivationStore(store.path)


def test_damage_is_named(store):
    manifest = store.path / "manifest.json"
    file = next((store.path / "epoch-000010").glob("*-a.npy"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    for read in (ib.ActivationStore.verify, lambda damaged: damaged.read(10, "a")):
        with pytest.raises(StoreError, match=r"000-a\.npy' is damaged.*checksum"):
            read(ib.ActivationStore(store.path))
    file.write_bytes(data[:-8])
    with pytest.raises(StoreError, match=r"000-a\.npy' is damaged"):
        ib.ActivationStore(store.path).read(10, "a")
    file.unlink()
    with pytest.raises(StoreError, match=r"000-a\.npy' is missing"):
        ib.ActivationStore(store.path).read(10, "a")
    manifest.write_text("{")
    with pytest.raises(StoreError, match="valid JSON"):
        ib.ActivationStore(store.path)


def test_activations_are_a_mapping():
    made = ib.Activations({"a": np.zeros((2, 3), "f4")}, noise_std={"a": 0.5})
    assert (list(made), len(made), made.nbytes, made.noise_std) == (["a"], 1, 24, {"a": 0.5})
    assert "a: (2, 3)" in repr(made)
    with pytest.raises(KeyError, match="there are"):
        made["b"]


def test_run_is_the_folders_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ib.ActivationStore.create("mine", inputs=np.zeros((2, 1)), targets=None, layers=["a"])
    assert ib.ActivationStore(pathlib.Path("mine")).run == "mine"
