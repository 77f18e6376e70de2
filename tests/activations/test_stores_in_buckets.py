"""A store in a bucket: what is copied, and when."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import buckets

fsspec = pytest.importorskip("fsspec", reason="the extra vertex is not installed")
LAYERS, EPOCHS, N = ("first", "middle", "last"), (0, 2, 10), 50


@pytest.fixture
def bucket(tmp_path):
    """A bucket in memory with two runs; yields the local twins."""
    memory = fsspec.filesystem("memory")
    rng = np.random.default_rng(0)
    for run in ("one", "two"):
        made = ib.ActivationStore.create(
            tmp_path / run, inputs=rng.normal(size=(N, 3)), targets=np.arange(N) % 2, layers=LAYERS
        )
        for epoch in EPOCHS:
            noise, logs = {"last": 0.1}, [{"epoch": epoch, "loss": 0.5}]
            with made.writer(epoch, noise_std=noise, logs=logs) as writer:
                for name in LAYERS:
                    writer.write(name, rng.normal(size=(N, 4)))
                writer.write("last", rng.normal(size=(N, 4)), "clean")
        memory.put(str(tmp_path / run), f"/bucket/{run}", recursive=True)
    yield tmp_path
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def copied(monkeypatch):
    """The names of the files that are copied."""
    names = []
    get = type(fsspec.filesystem("memory")).get_file

    def get_file(self, source, target, **kwargs):
        names.append(source.partition("/bucket/")[2])
        return get(self, source, target, **kwargs)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", get_file)
    return names


def same(a, b):
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"))


def test_it_is_read_as_a_local_one(bucket):
    far, near = ib.ActivationStore("memory://bucket/one"), ib.ActivationStore(bucket / "one")
    assert (far.run, far.layers, far.epochs) == ("one", list(LAYERS), list(EPOCHS))
    assert far.missing == [] and far.noise_std(2) == {"last": 0.1}
    np.testing.assert_array_equal(far.inputs(), near.inputs())
    np.testing.assert_array_equal(far.read(2, "last", clean=True), near.read(2, "last", clean=True))
    pd.testing.assert_frame_equal(far.logs, near.logs)
    far.verify()
    same(ib.estimate(far, "ebab"), ib.estimate(near, "ebab"))


def test_only_the_layer_that_is_asked_for_is_copied(bucket, copied):
    table = ib.estimate("memory://bucket/one", "ebab", layers="middle", epochs=[2, 10])
    same(table, ib.estimate(bucket / "one", "ebab", layers="middle", epochs=[2, 10]))
    arrays = sorted(name for name in copied if name.endswith(".npy"))
    assert arrays == [
        "one/epoch-000002/001-middle.npy", "one/epoch-000010/001-middle.npy",
        "one/input-codes.npy", "one/targets.npy",
    ]  # fmt: skip
    others = sorted(set(copied) - set(arrays))
    manifests = [f"one/epoch-{epoch:06d}/manifest.json" for epoch in (2, 10)]
    assert others == [*manifests, "one/manifest.json"]
    # The range of all layers is in the manifests.
    copied.clear()
    binning = ib.estimators.Binning(range="global")
    ib.estimate("memory://bucket/one", binning, layers="middle", epochs=[2])
    assert [name for name in copied if "epoch" in name and name.endswith(".npy")] == [
        "one/epoch-000002/001-middle.npy"
    ]


def test_copies_are_removed(bucket, copied):
    """Those of the layers when others are read, all of them with the store."""
    store = ib.ActivationStore("memory://bucket/one")
    first = store.read(0, "first")
    expected = np.array(first)
    for epoch in EPOCHS:
        for name in LAYERS:
            store.read(epoch, name)
    left = sorted(path.name for path in store.path.rglob("00*.npy"))
    assert len(left) == buckets._KEPT < len(EPOCHS) * len(LAYERS)
    np.testing.assert_array_equal(first, expected)  # a map outlives its file
    np.testing.assert_array_equal(store.read(0, "first"), expected)
    assert copied.count("one/epoch-000000/000-first.npy") == 2
    folder = store.path
    del store
    assert not folder.exists()


def test_a_glob_of_stores(bucket):
    far = ib.estimate("memory://bucket/*", "ebab", layers="last")
    same(far, ib.estimate(str(bucket / "*"), "ebab", layers="last"))
    assert far["run"].unique().tolist() == ["one", "two"]
    with pytest.raises(StoreError, match="matches nothing"):
        ib.estimate("memory://bucket/none-*", "ebab")


def test_epochs_that_are_recorded_meanwhile_are_seen(bucket):
    far, near = ib.ActivationStore("memory://bucket/one"), ib.ActivationStore(bucket / "one")
    assert far.epochs == far.epochs and far.missing == []
    with near.writer(11, noise_std={"last": 0.1}) as writer:
        for name in LAYERS:
            writer.write(name, np.ones((N, 4)))
        writer.write("last", np.ones((N, 4)), "clean")
    memory = fsspec.filesystem("memory")
    memory.put_file(str(bucket / "one" / "journal.jsonl"), "/bucket/one/journal.jsonl")
    assert far.missing == [11]
    memory.put(str(bucket / "one" / "epoch-000011"), "/bucket/one/epoch-000011", recursive=True)
    assert far.missing == [] and far.read(11, "first")[0, 0] == 1


def test_damage_is_found(bucket):
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/one/epoch-000002/001-middle.npy", b"damaged")
    memory.rm("/bucket/one/epoch-000010/001-middle.npy")
    store = ib.ActivationStore("memory://bucket/one")
    with pytest.raises(StoreError, match=r"bucket/one/epoch-000002/001-middle.npy' is damaged"):
        store.read(2, "middle")
    with pytest.raises(StoreError, match=r"bucket/one/epoch-000010/001-middle.npy' is missing"):
        store.read(10, "middle")
    store.read(10, "first")
    with pytest.raises(ArgumentError, match="Epoch 3 was not recorded"):
        store.read(3, "first")
    memory.rm("/bucket/one/epoch-000000", recursive=True)
    with pytest.raises(StoreError, match="epochs \\[0\\]"):
        ib.estimate("memory://bucket/one", "ebab")


def test_what_is_no_store():
    with pytest.raises(StoreError, match="memory://bucket/none' is not a store. Expected the URL"):
        ib.ActivationStore("memory://bucket/none")
    with pytest.raises(StoreError, match="nope://x' cannot be read"):
        ib.estimate("nope://x", "ebab")


def test_a_refused_bucket_says_which_role(monkeypatch):
    class Refusing:
        def get_file(self, source, target):
            raise PermissionError("403: no storage.objects.get access")

    monkeypatch.setattr(buckets, "_system", lambda url: (Refusing(), "bucket/run"))
    with pytest.raises(StoreError, match=r"application-default login.*storage.objectViewer.*403"):
        ib.estimate("gs://bucket/run", "ebab")


def test_it_cannot_be_written(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    with pytest.raises(ArgumentError, match="a bucket cannot be written.*'memory://bucket/new'"):
        ib.ActivationStore.create("memory://bucket/new", inputs=[1], targets=None, layers=["a"])
    store = ib.ActivationStore("memory://bucket/one")
    for write in (
        lambda: store.writer(3, noise_std={}),
        lambda: store.remove(0),
        lambda: store.note({"epoch": 3}),
    ):
        with pytest.raises(ArgumentError, match="'memory://bucket/one'"):
            write()
    assert sorted(os.listdir()) == before and store.epochs == list(EPOCHS)


def test_names_in_a_manifest_stay_in_the_copy(bucket):
    """A manifest from elsewhere may name files outside its folder."""
    from ib_keras.storage import manifests

    folder = bucket / "one" / "epoch-000002"
    content = manifests.read_manifest(folder, "ib_keras.activations.epoch", 1)
    content["files"][0]["file"] = "../../two/rows.npy"
    rest = {k: v for k, v in content.items() if k not in ("schema", "version", "made_by")}
    manifests.write_manifest(folder, "ib_keras.activations.epoch", 1, **rest)
    fsspec.filesystem("memory").put_file(
        str(folder / "manifest.json"), "/bucket/one/epoch-000002/manifest.json"
    )
    with pytest.raises(StoreError, match="is not inside"):
        ib.ActivationStore("memory://bucket/one").read(2, "first")
    shutil.rmtree(folder)
