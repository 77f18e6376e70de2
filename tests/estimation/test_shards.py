"""Estimates that are split over several tasks, and what each of them reads."""

import collections
import itertools

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation import shards
from ib_keras.estimation.shards import Part, Size, split
from ib_keras.storage import manifests, npy

LAYERS = {"wide": 6, "noisy": 3, "behind": 2, "output": 2}
EPOCHS = (0, 1, 4, 9, 20)
N = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with repeated inputs, noise, propagations, and an epoch that is not finite."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(N // 2, 4)), 2, axis=0).astype("f4")
    made = ib.ActivationStore.create(
        tmp_path_factory.mktemp("store") / "net", inputs=x, targets=np.arange(N) // 2 % 3,
        layers=list(LAYERS),
    )  # fmt: skip
    noise = {"noisy": 0.3, "behind": 0.2}
    for epoch in EPOCHS:
        logs = [{"epoch": epoch, "loss": 1.0 / (1 + epoch)}]
        rows = np.arange(10)
        with made.writer(
            epoch, noise_std=noise, logs=logs, random=["behind", "output"], propagated=(rows, 5)
        ) as writer:
            for name, dim in LAYERS.items():
                t = np.tanh(x @ rng.normal(size=(4, dim))) * (1 + epoch)
                t += rng.normal(size=t.shape) * noise.get(name, 0.0)
                if (epoch, name) == (9, "output"):
                    t[3] = np.nan
                writer.write(name, t)
                if name in noise:
                    writer.write(name, t + 0.1, "clean")
            writer.write("behind", rng.normal(size=(5 * 10, 2)), "propagated")
    return made


def rows_of(store, part):
    """The table of one part of a shard, as the component makes it."""
    return ib.estimate(
        store, part.estimator, layers=part.layers, epochs=part.epochs, progress=False
    )


def in_order(table):
    keys = ["estimator", "epoch", "layer_index", "quantity"]
    return table.drop(columns="seconds").sort_values(keys, ignore_index=True)


ALL = [
    "binning", {"name": "binning", "range": "global"}, "ebab", "quantized", "kde", "akde", "sp",
    "ksg", "kl", "gaussian", "pca+ksg",
    {"name": "infonce", "steps": 20, "batch_size": 8, "hidden": [4]},
]  # fmt: skip


@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_shards_are_the_rows_of_one_table(store, estimator):
    # What trains takes longer.
    epochs = EPOCHS[:2] if "infonce" in str(estimator) else EPOCHS
    whole = ib.estimate(store, estimator, epochs=epochs, progress=False)
    plan = split([Size(N, LAYERS, epochs)], [estimator], 6)
    assert 4 <= len(plan) <= 6
    joined = ib.frame.concat([rows_of(store, part) for shard in plan for part in shard.parts])
    pd.testing.assert_frame_equal(in_order(joined), in_order(whole), check_exact=True)
    assert joined.attrs["provenance"] == whole.attrs["provenance"]


def test_the_range_of_all_layers_is_asked_for_in_each_part(store):
    """The epoch with the largest values is in another part, and so is the layer."""
    binning = ib.estimators.Binning(5, range="global")
    part = ib.estimate(store, binning, layers="noisy", epochs=[0], progress=False)
    whole = ib.estimate(store, binning, progress=False)
    low, high = store.extent_of_all()
    assert high > store.read(0, "noisy").max() + 5
    expected = whole[(whole["layer"] == "noisy") & (whole["epoch"] == 0)]
    np.testing.assert_array_equal(part["value"], expected["value"])
    finite = [store.read(e, n) for e in EPOCHS for n in LAYERS if (e, n) != (9, "output")]
    assert (low, high) == (min(t.min() for t in finite), max(t.max() for t in finite))


def test_a_part_without_noise_is_no_network_without_noise(store, tmp_path):
    part = ib.estimate(store, "sp", layers="wide", progress=False)
    assert set(part["flags"]) == {"no_channel"} and part["value"].isna().all()
    plain = ib.ActivationStore.create(
        tmp_path / "plain", inputs=np.arange(9.0), targets=None, layers=["a"]
    )
    with plain.writer(0, noise_std={}) as writer:
        writer.write("a", np.arange(9.0)[:, None])
    with pytest.raises(ArgumentError, match="noise"):
        ib.estimate(plain, "sp", progress=False)


@pytest.fixture
def opened(monkeypatch):
    """The names of the arrays that are opened."""
    names = []
    read = npy.read_npy
    monkeypatch.setattr(npy, "read_npy", lambda path: names.append(path.name) or read(path))
    monkeypatch.setattr(manifests, "_compared", {})
    return names


def test_a_part_reads_its_own_arrays_only(store, opened, tmp_path):
    """All other arrays may be damaged or gone, X among them."""
    import shutil

    copy = shutil.copytree(store.path, tmp_path / "copy")
    own = "003-output.npy"
    for path in copy.glob("epoch-*/*.npy"):
        if path.name != own or path.parent.name != "epoch-000004":
            path.unlink() if "0" in path.parent.name[-1:] else path.write_bytes(b"damaged")
    (copy / "inputs-0.npy").unlink()
    part = ib.estimate(copy, ["ebab", "akde"], layers="output", epochs=[4], progress=False)
    assert collections.Counter(opened) == {own: 1, "targets.npy": 1, "input-codes.npy": 1}
    whole = ib.estimate(store, ["ebab", "akde"], progress=False)
    expected = whole[(whole["layer"] == "output") & (whole["epoch"] == 4)]
    np.testing.assert_array_equal(part["value"], expected["value"])
    with pytest.raises(StoreError, match="inputs-0.npy' is missing"):
        ib.estimate(copy, "ksg", layers="output", epochs=[4], progress=False)
    with pytest.raises(StoreError, match="damaged"):
        ib.estimate(copy, "ebab", layers="wide", epochs=[4], progress=False)


def test_codes_of_the_inputs_are_those_of_the_inputs(store, tmp_path):
    np.testing.assert_array_equal(store.input_codes(), np.repeat(np.arange(N // 2), 2))
    several = ib.ActivationStore.create(
        tmp_path / "s", inputs={"a": [0, 0, 1, 0], "b": [5, 5, 5, 6]}, targets=None, layers=["t"]
    )
    assert several.input_codes().tolist() == [0, 0, 1, 2]
    # A store from before there was such a file.
    manifest = manifests.read_manifest(several.path, "ib_keras.activations", 1)
    del manifest["files"]["input-codes.npy"]
    content = {k: v for k, v in manifest.items() if k not in ("schema", "version", "made_by")}
    manifests.write_manifest(several.path, "ib_keras.activations", 1, **content)
    (several.path / "input-codes.npy").unlink()
    assert ib.ActivationStore(several.path).input_codes().tolist() == [0, 0, 1, 2]


def size(epochs=20, rows=10_000, **dims):
    return Size(
        rows, dims or {"a": 2048, "b": 512, "c": 512, "d": 64}, list(range(0, 3 * epochs, 3))
    )


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20, 64, 100])
@pytest.mark.parametrize("estimators", [["akde"], ["ebab", "binning", "akde"]])
def test_each_estimate_is_in_one_shard(count, estimators):
    of = size()
    plan = split([of], estimators, count)
    assert 1 <= len(plan) <= count
    made = []
    for shard in plan:
        taken = 0.0
        for part in shard.parts:
            epochs = part.epochs or of.epochs
            made += itertools.product([part.estimator], part.layers or of.dims, epochs)
            dims = [of.dims[name] for name in part.layers or of.dims]
            times = [shards.seconds(part.estimator, of.rows, dim) for dim in dims]
            taken += len(epochs) * sum(times)
        assert shard.seconds == pytest.approx(taken)
    assert sorted(made) == sorted(itertools.product(estimators, of.dims, of.epochs))
    assert [s.seconds for s in plan] == sorted((s.seconds for s in plan), reverse=True)


def test_shards_are_balanced():
    """No shard takes longer than its share, or than one estimate, by more than a fifth."""
    for estimators in (["akde"], ["ebab", "kde", "pca+ksg", "binning"]):
        for count in (8, 16, 64):
            plan = split([size(epochs=50)], estimators, count)
            total = sum(shard.seconds for shard in plan)
            heaviest = max(shards.seconds(e, 10_000, 2048) for e in estimators)
            assert plan[0].seconds <= 1.2 * max(total / count, heaviest)


def test_without_a_number_the_size_decides():
    small = split([size(rows=1000)], ["ebab", "akde"])
    assert {s.parts for s in small} == {(Part(0, "ebab"),), (Part(0, "akde"),)}
    large = split([size(rows=40_000)], ["ebab", "akde"])
    assert large[0].seconds <= shards.LONGEST < sum(s.seconds for s in large)
    # The shards of an estimator do not change when another one is added.
    alone = split([size(rows=40_000)], ["akde"])
    assert [s for s in large if s.parts[0].estimator == "akde"] == alone
    assert len(split([size(rows=4_000_000)], ["ebab", "akde"])) <= shards.LIMIT


def test_several_stores_and_many_estimators():
    plan = split([size(), size(a=3)], ["ebab"])
    assert {shard.parts for shard in plan} == {(Part(0, "ebab"),), (Part(1, "ebab"),)}
    (all_of_them,) = split([size(), size(a=3)], ["ebab", "akde"], 1)
    assert [(part.store, part.estimator) for part in all_of_them.parts] == [
        (0, "ebab"), (0, "akde"), (1, "ebab"), (1, "akde"),
    ]  # fmt: skip
    many = [{"name": "binning", "bins": bins} for bins in range(2, 252)]
    plan = split([size()], many)
    assert len(plan) == shards.LIMIT and sum(len(shard.parts) for shard in plan) == 250


@pytest.mark.parametrize("count", [-1, 101, 1.5, True, "3"])
def test_numbers_of_shards_that_are_refused(count):
    with pytest.raises(ArgumentError, match="shards"):
        split([size()], ["ebab"], count)


def test_what_has_no_size(tmp_path):
    empty = ib.ActivationStore.create(
        tmp_path / "e", inputs=np.arange(4.0), targets=None, layers=["a"]
    )
    with pytest.raises(ArgumentError, match="No epoch was recorded"):
        Size.of(empty)
    for epoch in (0, 1):
        with empty.writer(epoch, noise_std={}) as writer:
            writer.write("a", np.zeros((4, 2, 3)))
    assert Size.of(empty) == Size(4, {"a": 6}, [0, 1])
    (empty.path / "epoch-000001").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="the epochs \\[1\\]"):
        Size.of(empty)


def test_draws_are_rows(tmp_path):
    made = ib.ActivationStore.create(
        tmp_path / "d", inputs=np.arange(4.0), targets=None, layers=["a"], draws=3
    )
    with made.writer(0, noise_std={"a": 0.1}) as writer:
        writer.write("a", np.zeros((12, 5)))
    assert Size.of(made) == Size(12, {"a": 5}, [0])
