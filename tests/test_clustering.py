import math
import tracemalloc

import numpy as np
import pytest

import ib_keras as ib
from ib_keras import clustering
from ib_keras.errors import ArgumentError


def test_bins_are_cubes():
    t = np.array([[0.05, 0.05], [0.09, 0.01], [0.15, 0.05], [-0.01, 0.05]])
    assert clustering.occupied_bins(t, 0.1) == 3
    assert clustering.binned_entropy(t, 0.1) == pytest.approx(1.5 * math.log(2))
    assert clustering.binned_entropy(t, 10.0) == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    )


def test_pairs_by_hand():
    t, y = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]]), [0, 0, 1]
    found = clustering.pairs(t, y)
    assert found["distance"]["within"].tolist() == [5.0]
    assert sorted(found["distance"]["between"]) == pytest.approx([2.0, math.sqrt(13)])
    assert found["cosine"]["within"].tolist() == [0.0]
    assert sorted(found["cosine"]["between"]) == pytest.approx([0.0, 0.8])
    assert len(clustering.pairs(t)["distance"]["all"]) == 3
    many = clustering.pairs(np.random.default_rng(0).normal(size=(50, 2)), max_samples=10, seed=1)
    assert len(many["distance"]["all"]) == 45


def test_measures_and_histograms(mlp, inputs, tmp_path):
    x, y = inputs
    recorder = ib.Recorder(tmp_path / "r", x, y, epochs=lambda epoch: True)
    recorder.replay(ib.instrument(mlp, 0.05), [0, 1], lambda epoch: None)
    store = ib.ActivationStore(tmp_path / "r")
    table = clustering.measures(tmp_path / "r")
    assert list(table) == clustering.MEASURES
    first = table[(table["layer"] == "first") & (table["epoch"] == 1)].set_index("measure")
    t = store.read(1, "first")
    assert first.loc["H(Bin(T))", "value"] == clustering.binned_entropy(t, 10 * 0.05)
    assert first.loc["occupied_bins", "value"] == clustering.occupied_bins(t, 10 * 0.05)
    pairs = clustering.pairs(t, y)
    assert first.loc["mean distance within", "value"] == pairs["distance"]["within"].mean()
    assert first.loc["mean cosine between", "value"] == pairs["cosine"]["between"].mean()
    # The output has no noise to tie bins to.
    assert "H(Bin(T))" not in set(table.loc[table["layer"] == "output", "measure"])
    wide = clustering.measures(store, width=0.1, epochs=[0], layers="output")
    assert "H(Bin(T))" in set(wide["measure"]) and set(wide["epoch"]) == {0}
    bars = clustering.histograms(store, bins=20)
    assert list(bars) == clustering.HISTOGRAMS
    for _, part in bars.groupby(["epoch", "layer", "similarity", "pairs"]):
        assert len(part) == 20
        assert (part["density"] * (part["right"] - part["left"])).sum() == pytest.approx(1)
    # Epochs share a layer's range, to be compared.
    ranges = bars[bars["similarity"] == "distance"].groupby(["layer", "epoch"])["right"].max()
    assert ranges.unstack().nunique(axis=1).eq(1).all()
    for similarity in ("distance", "cosine"):
        figure = ib.plot.clusters(bars, similarity=similarity)
        figure.savefig(tmp_path / f"{similarity}.png")
        axes = [a for a in figure.axes if a.get_xlabel() or a.get_title() or a.patches]
        assert len(axes) == 4
    with pytest.raises(ArgumentError, match="One run"):
        ib.plot.clusters(bars, run="other")
    with pytest.raises(ArgumentError, match=r"a table from `clustering\.histograms`"):
        ib.plot.clusters(table)


def test_bad_input():
    t = np.zeros((5, 2))
    with pytest.raises(ArgumentError, match="bins have no width"):
        clustering.measures({"a": t})
    with pytest.raises(ArgumentError, match="width"):
        clustering.measures({"a": t}, width=-1.0)
    with pytest.raises(ArgumentError, match="width"):
        clustering.binned_entropy(t, 0.0)
    with pytest.raises(ArgumentError, match="has no activations"):
        clustering.measures(3, width=1.0)
    with pytest.raises(ArgumentError, match="one value for each"):
        clustering.histograms({"a": t}, targets=[1, 2])
    constant = clustering.measures({"a": t}, targets=[0, 0, 1, 1, 1], width=0.1)
    assert constant.set_index("measure").loc["H(Bin(T))", "value"] == 0


def test_values_that_have_no_histogram():
    t = np.zeros((5, 2))
    t[1] = np.nan
    with pytest.raises(ArgumentError, match="NaN"):
        ib.clustering.values({"t": t})
    with pytest.raises(ArgumentError, match="`range`"):
        ib.clustering.values({"t": np.eye(3)}, range=(1, 0))


def test_histograms_of_many_epochs_keep_the_pairs_of_one(tmp_path):
    rng = np.random.default_rng(0)
    n, epochs = 400, 20
    store = ib.ActivationStore.create(
        tmp_path / "s", inputs=np.arange(n), targets=np.arange(n) % 2, layers=["a"]
    )
    for epoch in range(epochs):
        with store.writer(epoch, noise_std={}) as writer:
            writer.write("a", rng.normal(size=(n, 2)).astype("f4"))
    of_one_epoch = 2 * 8 * n * (n - 1) // 2  # distances and cosines in bytes
    tracemalloc.start()
    table = ib.clustering.histograms(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["epoch"].nunique() == epochs
    assert peak < epochs / 2 * of_one_epoch
