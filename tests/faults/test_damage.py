"""Damaged, missing and misplaced files: named, never read as data."""

import os
import re
import shutil
import time

import jobs
import numpy as np
import pandas as pd
import pytest
import states
from nursery import SOAK

import ib_keras as ib
from ib_keras.arrays import memory
from ib_keras.components.artifacts import checkpoints as trainer
from ib_keras.components.artifacts import clusters, examples, samples
from ib_keras.components.artifacts import prior as image_prior
from ib_keras.components.clusterer import executor as clusterer
from ib_keras.components.examples import executor
from ib_keras.errors import ArgumentError, IbKerasError, StoreError
from ib_keras.pixelcnn.decoding import Decoded
from ib_keras.storage import atomic, journal, keras_files, manifests
from ib_keras.storage import npy as npy_files
from ib_keras.training import state


def make_store(folder):
    path = folder / "store"
    x, y = jobs.data()
    store = ib.ActivationStore.create(path, inputs=x, targets=y, layers=["a", "b"])
    rng = np.random.default_rng(0)
    for epoch in (0, 4):
        logs = [{"epoch": epoch, "loss": 0.25, "accuracy": 0.5}]
        repeated = (np.arange(3), 2)
        with store.writer(
            epoch, noise_std={"a": 0.0, "b": 0.1}, logs=logs, random=["b"], propagated=repeated
        ) as writer:
            for layer in ("a", "b"):
                writer.write(layer, rng.normal(size=(jobs.N, 3)))
            writer.write("b", rng.normal(size=(jobs.N, 3)), "clean")
            writer.write("b", rng.normal(size=(6, 3)), "propagated")
    store.note({"epoch": 5, "loss": 0.2})
    return path, lambda: {**states.of_store(path), "noted": ib.ActivationStore(path).noted(9)}


def make_table(folder):
    path, _ = make_store(folder)
    table = ib.estimate(path, "ebab", progress=False)
    logs = ib.ActivationStore(path).logs.assign(run="store")
    ib.frame.write(table, folder / "table", logs=logs)
    shutil.rmtree(path)
    return folder / "table", lambda: (
        states.of_table(folder / "table"),
        ib.load(folder / "table").attrs,
    )


def make_examples(folder):
    executor.run("four_points", folder / "examples")

    def read():
        found = examples.read(folder / "examples")
        return [states.flat(array) for array in found[:4]]

    return folder / "examples", read


def make_prior(folder):
    made = image_prior.bound("{}")

    def fill(target):
        rng = np.random.default_rng(0)
        said = Decoded(rng.normal(size=30), rng.normal(size=20), rng.normal(size=5))
        (target / image_prior.MODEL).write_bytes(b"a model")
        image_prior.write(target / "decoded.npz", said, rng.integers(0, 4, (2, 3, 3, 1)))
        manifests.write_manifest(
            target, image_prior.SCHEMA, image_prior.VERSION, decoder=made.get_config(),
            files=manifests.checksums(target),
        )  # fmt: skip

    atomic.write_folder(folder / "prior", fill)
    # Keras reads the models, and checks them.
    shutil.copy(folder / "prior" / image_prior.MODEL, folder)
    return folder / "prior", lambda: list(
        map(states.flat, image_prior.read(folder / "prior", made))
    )


def make_checkpoints(folder):
    def fill(target):
        for epoch in (0, 3):
            (target / f"epoch-{epoch:06d}.keras").write_bytes(bytes(range(200)))
        logs = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.5, 0.25, 0.125]})
        logs.to_parquet(target / "logs.parquet", index=False)
        manifests.write_manifest(
            target, trainer.SCHEMA, trainer.VERSION, run="mine", epochs=[0, 3],
            files=manifests.checksums(target),
        )  # fmt: skip

    atomic.write_folder(folder / "checkpoints", fill)

    def read():
        saved = trainer.read(folder / "checkpoints")
        models = [saved.path(epoch).read_bytes() for epoch in saved.epochs]
        return saved.run, saved.epochs, saved.logs.to_dict("list"), models

    return folder / "checkpoints", read


def make_clusters(folder):
    path, _ = make_store(folder)
    clusterer.run(path, folder / "clusters", max_samples=20)
    shutil.rmtree(path)
    return folder / "clusters", lambda: [
        table.to_json() for table in clusters.read(folder / "clusters")
    ]


def make_samples(folder):
    arrays = {
        "originals": np.zeros((2, 3, 3, 1)), "samples": np.ones((1, 2, 2, 3, 3, 1)),
        "epochs": np.array([3]), "run": np.array("mine"), "layer": np.array("a"),
        "levels": np.array(4),
    }  # fmt: skip
    path, read_table = make_table(folder)
    samples.write(path, arrays)

    def read():
        drawn = {name: states.flat(np.asarray(a)) for name, a in samples.read(path).items()}
        return read_table(), drawn

    return path, read


def make_backup(folder):
    (folder / "work").mkdir()
    file = folder / "work" / "state.npz"
    state.save(file, [], epoch=3, history=np.arange(3.0), best=1, best_0=np.ones((5, 5)))
    return folder / "work", lambda: {k: states.flat(v) for k, v in state.load(file).items()}


ARTIFACTS = [
    make_store, make_table, make_examples, make_prior, make_checkpoints, make_clusters,
    make_samples, make_backup,
]  # fmt: skip
# What is there for people, and read by nothing.
UNREAD = {image_prior.MODEL}


def check(read, whole, file):
    """Reads what was whole, or names the damage; returns whether it was named."""
    try:
        found = read()
    except IbKerasError as error:
        named = file.name in str(error) or file.parent.name in str(error)
        assert named, f"{file}: {error}"
        return True
    assert found == whole, f"{file}: damage was read as data"
    return False


@pytest.mark.parametrize("make", ARTIFACTS)
def test_flipped_bits_and_truncated_files(tmp_path, make, count):
    path, read = make(tmp_path)
    whole = read()
    rng = np.random.default_rng(0)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name not in UNREAD)
    faults = named = 0
    for file in files:
        content = file.read_bytes()
        for _ in range(100 if SOAK else 4):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
            file.write_bytes(damaged)
            named += check(read, whole, file)
            end = rng.integers(len(content))
            file.write_bytes(content[:end])
            if file.name == journal.NAME:  # ends where a killed process may have left it
                read()
            elif content[end:].strip():  # a manifest's last end of a line is nothing
                assert check(read, whole, file), f"{file}: truncation was not noticed"
            faults += 2
        file.write_bytes(content)
    # A flipped bit changes nothing where nothing is read: white space, a date in a zip file.
    assert named > 0.3 * faults / 2
    assert read() == whole
    count(faults=faults)


@pytest.mark.parametrize("make", ARTIFACTS)
def test_missing_files(tmp_path, make, count):
    path, read = make(tmp_path)
    whole = read()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name not in UNREAD):
        moved = tmp_path / "moved"
        os.rename(file, moved)
        # A table may be read without its manifest; it was not when the manifest was last seen.
        alone = make is make_table and file.name == manifests.MANIFEST
        if make is make_backup:
            with pytest.raises(StoreError, match="cannot be read"):
                read()
        else:
            assert check(read, whole, file) != alone
        os.rename(moved, file)
        count(faults=1)
    assert read() == whole


def test_a_missing_epoch(tmp_path):
    path, _ = make_store(tmp_path)
    shutil.rmtree(path / "epoch-000004")
    store = ib.ActivationStore(path)
    assert (store.epochs, store.missing) == ([0], [4])
    with pytest.raises(StoreError, match="epoch-000004' is missing"):
        store.read(4, "a")
    with pytest.raises(StoreError, match=r"the epochs \[4\]"):
        store.verify()
    with pytest.raises(StoreError, match=r"the epochs \[4\]"):
        ib.estimate(store, "ebab")
    with pytest.raises(ArgumentError, match="was not recorded"):
        store.read(5, "a")


def test_a_line_of_the_journal_that_was_not_finished(tmp_path):
    path, read = make_store(tmp_path)
    whole = read()
    with open(path / journal.NAME, "ab") as file:
        file.write(b'00000000 {"recorded": 7')
    assert read() == whole
    ib.ActivationStore(path).note({"epoch": 6, "loss": 0.1})
    assert [row["epoch"] for row in ib.ActivationStore(path).noted(9)] == [5, 6]


def test_the_end_of_the_journal_s_last_line(tmp_path):
    path, read = make_store(tmp_path)
    file = path / journal.NAME
    content = file.read_bytes()
    for bit in range(8):
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1 << bit]))
        with pytest.raises(StoreError, match=r"journal\.jsonl' is damaged"):
            read()


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/passwd", "a/../../x.npy", "..", ""])
def test_paths_do_not_leave_their_folder(tmp_path, name):
    path, _ = make_store(tmp_path)
    folder = path / "epoch-000000"
    manifest = manifests.read_manifest(folder, "ib_keras.activations.epoch", 1)
    manifest["files"][0]["file"] = name
    manifests.write_manifest(folder, **manifest_of(manifest))
    with pytest.raises(StoreError, match="is not inside"):
        ib.ActivationStore(path).read(0, "a")


def manifest_of(manifest):
    return {name: value for name, value in manifest.items() if name != "made_by"}


def test_links_do_not_leave_their_folder(tmp_path):
    path, _ = make_store(tmp_path)
    file = path / "epoch-000000" / "000-a.npy"
    os.rename(file, tmp_path / "secret.npy")
    file.symlink_to(tmp_path / "secret.npy")
    with pytest.raises(StoreError, match="is not inside"):
        ib.ActivationStore(path).read(0, "a")
    os.rename(path / "epoch-000004", tmp_path / "elsewhere")
    (path / "epoch-000004").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is not inside"):
        ib.ActivationStore(path).read(4, "a")


def test_absurd_shapes_are_refused_before_anything_is_allocated(tmp_path):
    def npy(shape, dtype="<f4", data=b"1234"):
        file = tmp_path / "array.npy"
        with open(file, "wb") as opened:
            header = {"descr": dtype, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(opened, header)
            opened.write(data)
        return file

    np.testing.assert_array_equal(npy_files.read_npy(npy((2, 2), "|u1")), [[49, 50], [51, 52]])
    for shape in [(10**12,), (1 << 40, 1 << 40), (-1,), (2,), ()]:
        if shape == ():
            continue
        with pytest.raises(StoreError, match=r"array\.npy' cannot be read"):
            npy_files.read_npy(npy(shape))
    with pytest.raises(StoreError, match="objects"):
        npy_files.read_npy(npy((1,), "|O"))


def test_bombs_are_refused(tmp_path):
    file = tmp_path / "bomb.npz"
    with npy_files.zipfile.ZipFile(file, "w", npy_files.zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
    content = bytearray(file.read_bytes())
    # The central directory, and the member itself, say that a terabyte is inside.
    for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = content.index(mark) + at
        content[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"bomb\.npz' cannot be read"):
        npy_files.read_npz(file)
    with pytest.raises(StoreError, match=r"bomb\.npz' is too large.*unpacked"):
        npy_files.check_size(file, 1 << 50)


def test_a_bomb_is_measured_before_it_is_unpacked(tmp_path, monkeypatch):
    file = tmp_path / "data.npz"
    np.savez_compressed(file, x=np.zeros((1000, 1000)), y=np.zeros(1000, int))
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with pytest.raises(ArgumentError, match="is too large.*memory available"):
        ib.datasets.load(file)
    from scipy.io import savemat

    savemat(tmp_path / "data.mat", {"F": np.zeros((1000, 1000)), "y": 1}, do_compression=True)
    with pytest.raises(ArgumentError, match=r"data\.mat' cannot be read.*too large"):
        ib.datasets.load(tmp_path / "data.mat")


@pytest.mark.parametrize("then", [0.0, 4e9])
def test_clocks_that_jump(tmp_path, monkeypatch, then):
    path, read = make_store(tmp_path)
    whole = read()
    monkeypatch.setattr(time, "time", lambda: then)
    monkeypatch.setattr(time, "time_ns", lambda: int(then * 1e9))
    for file in path.rglob("*"):
        os.utime(file, (then, then))
    assert read() == whole
    store = ib.ActivationStore(path)
    with store.writer(9, noise_std={}) as writer:
        for layer in ("a", "b"):
            writer.write(layer, np.ones((jobs.N, 3)))
    file = path / "epoch-000009" / "000-a.npy"
    store.read(9, "a")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had happened
    with pytest.raises(StoreError, match="damaged"):
        store.read(9, "a")


def test_models_are_measured_and_compared_before_keras_reads_them(tmp_path, monkeypatch):
    file = tmp_path / "model.keras"
    with npy_files.zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", b"{}" * 500)
    monkeypatch.setattr(memory, "available", lambda: 100)
    with pytest.raises(ArgumentError, match=r"model\.keras' is too large"):
        ib.models.load(file)
    monkeypatch.undo()
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"model\.keras' is damaged"):
        ib.models.load(file)


@pytest.mark.parametrize("layer", ["dense", "conv", "embedding", "lstm", "instrumented"])
def test_a_configuration_that_asks_for_too_much(tmp_path, layer):
    import keras

    network = {
        "dense": [keras.Input((3,)), keras.layers.Dense(5)],
        "conv": [keras.Input((4, 4, 1)), keras.layers.Conv2D(5, 2)],
        "embedding": [keras.Input((3,)), keras.layers.Embedding(5, 2)],
        "lstm": [keras.Input((3, 2)), keras.layers.LSTM(5)],
        "instrumented": [keras.Input((3,)), keras.layers.Dense(5), keras.layers.ReLU()],
    }[layer]
    model = keras.Sequential(network)
    if layer == "instrumented":
        model = ib.instrument(model, noise_std=0.1)
    model.compile("adam", "mse")
    file = tmp_path / "model.keras"
    model.save(file)
    with npy_files.zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].decode()
    asked = re.sub(r'"(units|filters|input_dim)": 5', r'"\1": 5000000000000', config)
    assert asked != config
    with npy_files.zipfile.ZipFile(file, "w") as archive:
        for name, content in {**members, "config.json": asked}.items():
            archive.writestr(name, content)
    with pytest.raises(ArgumentError, match=r"model\.keras' is too large.*GB unpacked"):
        ib.models.load(file)


def test_a_model_is_weighed_without_being_made(tmp_path):
    import keras

    @keras.saving.register_keras_serializable("test_damage")
    class Constant(keras.layers.Layer):
        def build(self, input_shape):
            self.constant = keras.Variable(np.ones(3, "float32"), trainable=False)

        def call(self, x):
            return x + self.constant

    plain = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(3, dtype="bfloat16")]
    # A layer that cannot do without values is not weighed, but read all the same.
    for layers, weighed in ((plain, True), ([*plain, Constant()], False)):
        model = keras.Sequential(layers)
        model.save(tmp_path / "model.keras")
        size = sum(np.asarray(v).nbytes for v in model.variables)
        assert keras_files._bytes(tmp_path / "model.keras") == (size if weighed else 0)
        loaded = ib.models.load(tmp_path / "model.keras")
        x = np.ones((2, 3), "float32")
        np.testing.assert_array_equal(loaded(x), model(x))


def test_no_code_comes_with_a_model(tmp_path):
    import keras

    network = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    network.save(tmp_path / "model.keras")
    with pytest.raises(ArgumentError, match=r"model\.keras' cannot be loaded"):
        ib.models.load(tmp_path / "model.keras")


def test_what_fuzzing_found(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be imported"):
        ib.models.check(":function")
    text = b"{'descr': (\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(StoreError, match=r"a\.npy' cannot be read"):
        npy_files.read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", x=np.zeros((20, 2)), y=np.arange(20) % 2 * (1 << 40))
    assert len(ib.datasets.load(tmp_path / "b.npz").y) == 20  # without 8 TB of counts
    path, _ = make_table(tmp_path)
    table = pd.read_parquet(path / "estimates.parquet").assign(epoch=None)
    table.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(StoreError, match=r"'epoch' of .*c\.parquet' is of another type"):
        ib.load(tmp_path / "c.parquet")
