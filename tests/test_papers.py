"""The tables of published size in docs/papers/data, their figures, and what the pages say."""

import re

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from benchmarks.papers import _common, chelombiev, goldfeld
from benchmarks.papers.__main__ import DATA, FIGURES, MODULES
from tests.make_frame import make_frame

TABLES = sorted(DATA.glob("*.csv"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_tables_are_small_and_explained(path):
    assert path.stat().st_size <= 300_000
    table = pd.read_csv(path)
    assert len(table)
    explained = (DATA / "README.md").read_text()
    section = re.search(rf"^## .*`{path.stem}`.*\n((?:.+\n|\n(?!## ))+)", explained, re.M)
    assert section, f"README.md has no section of {path.stem}"
    missing = [c for c in table.columns if f"`{c}`" not in section[1]]
    assert not missing


def test_figures_are_those_of_the_tables(tmp_path):
    """The committed figures are drawn again from the committed tables, byte for byte."""
    for module in MODULES:
        module.figures(DATA, tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
    committed = {path.name: path.read_bytes() for path in FIGURES.glob("*.svg")}
    assert drawn.keys() == committed.keys()
    assert [name for name in drawn if drawn[name] != committed[name]] == []


def test_the_published_curve_lies_within_the_seeds():
    """L4 and L5 of the authors' run lie within the range of our seeds at most epochs."""
    path = DATA / f"{goldfeld.RUN}.csv"
    if not path.exists():
        pytest.skip("the run of published size is not committed")
    own, published = pd.read_csv(path), pd.read_csv(DATA / goldfeld.PUBLISHED)
    assert list(own) == ["run", "epoch", "layer", "value", "stderr"]
    assert own["run"].nunique() >= 10 and set(published["epoch"]) <= set(own["epoch"])
    ends = own.groupby(["layer", "epoch"])["value"].agg(["min", "max"])
    both = published.join(ends, on=["layer", "epoch"])

    def inside(values):
        return values.between(both["min"], both["max"]).groupby(both["layer"]).mean()

    raw = inside(both["value"])
    assert raw["L5"] >= 0.8 and raw["L4"] > 0.6
    # Their values contain what their estimator adds with about ten propagations of each input.
    found = pd.read_csv(DATA / "goldfeld_estimators.csv")
    of = found.groupby(["estimator", "propagations", "layer", "epoch"])["value"].mean()
    added = (of["authors"] - of["sp"].droplevel(0)).unstack("epoch")
    assert added.loc[1000].abs().max().max() < 0.15
    few = added.loc[10]
    bias = [
        np.interp(np.log(epoch), np.log(few.columns), few.loc[layer]) if layer in few.index else 0
        for layer, epoch in zip(both["layer"], both["epoch"], strict=True)
    ]
    known = inside(both["value"] - bias)
    assert (known[["L3", "L4", "L5"]] >= 0.9).all()
    means = own.groupby(["layer", "epoch"])["value"].mean()
    gaps = published.join(means.rename("mean"), on=["layer", "epoch"])
    gaps = (gaps["value"] - gaps["mean"] - bias).abs().groupby(gaps["layer"])
    assert (gaps.max()[["L1", "L2"]] < 0.15).all() and gaps.median()["L3"] < 0.15


def test_units_and_labels_of_noisy_networks_at_the_published_size():
    """What the page says of the other cells."""
    table = pd.read_csv(DATA / "goldfeld_falls.csv").set_index(["measure", "cell", "layer"])
    assert set(table["n"]) == {10}
    l5 = table.xs("L5", level="layer")
    fall, late = l5.loc["fall"], l5.loc["late fall"]
    assert (fall.loc[["tanh", "linear", "shuffled"]]["low"] > 0.9).all()
    assert (fall.loc[["relu", "leaky_relu", "tanh-orthonormal"]]["high"] < 0.7).all()
    assert late.loc["linear", "high"] < 0.6 < late.loc["shuffled", "low"]
    page = (DATA.parent / "noisy_dnn.md").read_text()
    rows = {
        "tanh": "tanh", "tanh, orthonormal step": "tanh-orthonormal", "linear": "linear",
        "ReLU": "relu", "leaky ReLU": "leaky_relu", "tanh, shuffled labels": "shuffled",
    }  # fmt: skip
    logs = pd.read_csv(DATA / "goldfeld_logs.csv")
    last = logs[logs["epoch"] == 9999].set_index(["measure", "cell"])["mean"]

    def interval(measure, cell, layer):
        row = table.loc[(measure, cell, layer)]
        low, high = (f"{row[c]:.2f}".replace("-0.00", "0.00") for c in ("low", "high"))
        return f"{row['mean']:.2f} ({low} to {high})".replace("-", "−")

    for name, cell in rows.items():
        values = (f"{l5.loc[(m, cell), 'mean']:.2f}" for m in ("first", "largest", "last"))
        accuracy = (f"{last[(f'{part}noiseless_accuracy', cell)]:.3f}" for part in ("", "val_"))
        line = [
            name, ", ".join(values), interval("fall", cell, "L5"), interval("fall", cell, "L4"),
            interval("late fall", cell, "L5"), " / ".join(accuracy),
        ]  # fmt: skip
        assert f"| {' | '.join(line)} |" in page


def test_noise_and_clusters_of_digits_at_the_published_size():
    errors = pd.read_csv(DATA / "goldfeld_mnist_errors.csv")
    assert set(errors["seeds"]) == {5}
    last = errors[errors["epoch"] == 10].set_index("noise_std")
    few = last.loc[[0.0, 0.05, 0.1, 0.2]]
    assert few["error"].between(0.0100, 0.0115).all() and few["low"].max() < few["high"].min()
    assert last.loc[0.2, "high"] < last.loc[0.5, "low"] < last.loc[0.5, "high"] < 0.04
    assert last.loc[1.0, "low"] > 0.04
    cosines = pd.read_csv(DATA / "goldfeld_mnist_cosines.csv")
    mean = cosines.set_index(["pairs", "noise_std", "layer_index", "epoch"])["mean"]
    apart = (mean["within"] - mean["between"]).unstack("epoch")
    assert (apart[10] > apart[0] + 0.03).all()
    by_layer = apart[10].unstack("layer_index")
    assert (by_layer.diff(axis=1).iloc[:, 1:] > 0.03).all(axis=None)
    third = mean["within"].xs(2, level="layer_index").unstack("epoch")
    assert ((third[10] > third[0]) == (third.index >= 0.1)).all()


def test_activation_functions_at_the_published_size():
    """What the page says of the committed tables."""
    read = {n: pd.read_csv(DATA / f"chelombiev_{n}.csv") for n in
            ("falls", "runs", "correlations", "accuracies", "curves")}  # fmt: skip
    falls = read["falls"].set_index(["epochs", "estimator", "layer", "cell"])
    assert (falls["n"] == 50).all()
    own = falls["median"]["all"]["ebab"]
    # Unbounded activation functions compress, tanh most, and only late layers do.
    last = own["L5"][[cell for cell in own["L5"].index if "+" not in cell]]
    assert last.idxmax() == "tanh" and last.min() > 0.3
    assert (last[["elu", "swish", "centred_softplus"]] > 1.8).all()
    plain = list(last.index)
    assert own["L3"][plain].max() < 0.13
    # Single ReLU networks differ.
    assert falls.loc[("all", "ebab", "L5", "relu"), ["low", "high"]].round(2).tolist() == [
        0.04,
        1.64,
    ]
    # L2 gathers the late layers and prevents overfitting.
    ends = read["runs"].assign(cell=read["runs"]["run"].str.rsplit("-", n=1).str[0])
    by_layer = ends.groupby(["cell", "layer"])["end"].median().unstack()
    late = by_layer[["L3", "L4", "L5", "output"]]
    spread = late.max(axis=1) - late.min(axis=1)
    with_l2 = [f"{cell}+l2" for cell in plain]
    assert spread[with_l2].max() < 0.9 < spread[plain].min()
    rises = read["accuracies"].set_index(["measure", "cell"])["mean"]["rise of val_loss"]
    assert rises[with_l2].max() < 0.02 and rises[plain].min() > 0.05
    # The last layer's compression goes with held-out accuracy.
    r = read["correlations"].set_index(["measure", "estimator", "layer"])
    for estimator, least in (("ebab", 0.2), ("akde", 0.39)):
        held_out = r.loc[("val_accuracy", estimator)]
        assert held_out["low"]["output"] > least and held_out["r"].idxmax() == "output"
    assert r.loc[("val_accuracy", "akde")]["r"].drop("output").max() < 0.1
    # All estimators agree for tanh, and not for unbounded functions.
    common = falls["median"]["common"].unstack("estimator").loc["L5"]
    differ = common.max(axis=1) - common.min(axis=1)
    assert differ["tanh"] < 0.6 and differ[["elu", "swish", "centred_softplus"]].min() > 2.4


def test_fitting_and_compression_with_fixed_bins():
    table = pd.read_csv(DATA / "fixed_bins.csv")
    assert set(table["n"]) == {50}
    of = table.set_index(["quantity", "layer", "epoch"])["mean"]
    for layer, fall in (("L5", 2.5), ("output", 1.3)):
        curve = of["I(X;T)"][layer]
        assert curve.idxmax() < 100 and curve.max() - curve[8000] > fall
        assert curve.max() > curve[0] + 0.7  # fitting comes first
        assert of["I(T;Y)"][layer][8000] > 0.65
    assert (of["I(X;T)"]["L3"].max() - of["I(X;T)"]["L3"][8000]) < 0.05


def test_relu_hidden_layers_do_not_compress_by_bins_of_one_width_or_kernels():
    table = pd.read_csv(DATA / "saxe.csv")
    of = table.set_index(["quantity", "cell", "estimator", "layer", "epoch"])["mean"]["I(X;T)"]
    curves = of.unstack("epoch")
    falls = curves.max(axis=1) - curves[10000]
    for estimator in ("binning(width=0.07)", "kde"):
        assert falls["tanh"][estimator]["L5"] > 2.5
        assert falls["relu"][estimator].drop("output").max() < 0.3
        assert falls.xs("output", level="layer").min() > 1


def test_summaries_over_seeds():
    table = pd.DataFrame({"cell": ["a"] * 11 + ["b"], "value": [*range(11), 4.0]})
    found = _common.over_seeds(table, ["cell"]).set_index("cell")
    assert found.loc["a"].tolist() == [11, 5, 1, 5, 9]
    assert found.loc["b"].tolist() == [1, 4, 4, 4, 4]


def ensemble(folder, cells, estimators, epochs, clusters=False):
    """Write a run of three seeds of each kind of network."""
    rng = np.random.default_rng(0)
    runs = [f"{cell}-{seed}" for cell in cells for seed in range(3)]
    layers = (*(f"dense_{i}" for i in range(1, 6)), "output")
    table = make_frame(runs=runs, estimators=estimators, layers=layers, epochs=epochs)
    table["value"] = 8 - table["layer_index"] + rng.uniform(0, 0.5, len(table))
    kinds = ("", "val_", "noiseless_", "val_noiseless_")
    names = [kind + name for kind in kinds for name in ("loss", "accuracy")]
    logs = pd.DataFrame([{"run": run, "epoch": e} for run in runs for e in epochs])
    logs[names] = rng.uniform(size=(len(logs), len(names)))
    ib.frame.write(table, folder, logs=logs)
    if not clusters:
        return
    parts = []
    for run in runs:
        for epoch in epochs:
            taps = {name: np.tanh(rng.normal(size=(60, 3))) for name in layers}
            found = [
                ib.clustering.measures(taps, targets=np.arange(60) % 2, width=0.1),
                ib.clustering.values(taps),
                ib.clustering.points(taps, targets=np.arange(60) % 2),
            ]
            parts.append([one.assign(run=run, epoch=epoch) for one in found])
    for name, tables in zip(
        ("clusters", "values", "points"), zip(*parts, strict=True), strict=True
    ):
        pd.concat(tables).to_parquet(folder / f"{name}.parquet")


def test_runs_of_goldfeld_become_tables_and_figures(tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    estimators = ("sp(resample=True)", "sp(population=True)")
    ensemble(run, ("tanh", "tanh-orthonormal"), estimators, (0, 1, 11, 356), clusters=True)
    goldfeld.tables({goldfeld.RUN: run}, data)
    own = pd.read_csv(data / "goldfeld_szt.csv")
    assert list(own) == ["run", "epoch", "layer", "value", "stderr"]
    assert set(own["run"]) == {"tanh-0", "tanh-1", "tanh-2"} and len(own) == 3 * 4 * 5
    joined = ib.load(run)
    one = joined[
        joined["run"].eq("tanh-1") & joined["epoch"].eq(11) & joined["layer"].eq("dense_4")
        & joined["estimator"].eq("sp(resample=True)") & joined["quantity"].eq("I(X;T)")
    ]  # fmt: skip
    kept = own[own["run"].eq("tanh-1") & own["epoch"].eq(11) & own["layer"].eq("L4")]
    assert kept["value"].item() == pytest.approx(one["value"].item(), rel=1e-3)
    points = pd.read_csv(data / "goldfeld_points.csv")
    assert set(points["epoch"]) == {11, 356} and set(points["layer"]) == {"L5"}
    for name in (goldfeld.PUBLISHED, goldfeld.PUBLISHED_LOGS):
        (data / name).write_bytes((DATA / name).read_bytes())
    goldfeld.figures(data, tmp_path / "figures")
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {
        f"goldfeld_{kind}" for kind in ("szt", "cells", "losses", "clusters", "values", "points")
    }


def test_runs_of_chelombiev_become_tables_and_figures(tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    cells = ("tanh", "tanh+l2", "relu", "relu+l2")
    ensemble(run, cells, ("ebab(bins=30)", "akde"), (0, 1, 10, 100))
    chelombiev.tables({chelombiev.RUN: run, "saxe": run}, data)
    falls = pd.read_csv(data / "chelombiev_falls.csv")
    assert len(falls) == 4 * 2 * 6 * 2 and set(falls["n"]) == {3}
    found = ib.frame.compression(ib.load(run))
    one = found[found["run"].str.startswith("relu-") & found["layer"].eq("dense_5")]
    one = one[one["estimator"] == "akde"]["absolute"]
    kept = falls[falls["cell"].eq("relu") & falls["layer"].eq("L5") & falls["epochs"].eq("all")]
    kept = kept[kept["estimator"] == "akde"]
    assert kept["median"].item() == pytest.approx(one.median(), rel=1e-3)
    correlations = pd.read_csv(data / "chelombiev_correlations.csv")
    assert set(correlations["measure"]) == {"val_accuracy", "gap"}
    assert set(correlations["n"]) == {6} and correlations["r"].between(-1, 1).all()
    chelombiev.figures(data, tmp_path / "figures")
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    kinds = ("curves", "falls", "estimators", "generalisation")
    assert names == {"saxe", *(f"chelombiev_{kind}" for kind in kinds)}


@pytest.fixture(scope="module")
def quarter():
    """A quarter of the 12-bit patterns, of which the networks of the papers learn most."""
    whole, rng = ib.datasets.load("szt"), np.random.default_rng(0)
    rows, held_out = (rng.permutation(n)[:k] for n, k in ((3276, 820), (820, 204)))
    return ib.datasets.Dataset(
        (whole.x_train[rows], whole.y_train[rows]), (whole.x_test[held_out], whole.y_test[held_out])
    )


def trained(data, estimators, record, **model):
    """Train networks for 600 epochs; return the table, the logs at the end and H(Bin(T))."""
    noise, measures = model.pop("noise_std", 0.0), []

    def observer(layers):
        if noise:
            measures.append(ib.clustering.measures(layers, max_samples=2))

    table, logs = ib.ensembles.study(
        lambda seed: ib.models.szt(seed=seed, **model), data, seeds=range(2), epochs=600,
        batch_size=128, learning_rate=4e-3, estimators=estimators, record=record, noise_std=noise,
        observer=observer,
    )  # fmt: skip
    return table, logs[logs["epoch"] == 600], measures


def test_noisy_networks_compress_unless_their_weights_are_orthonormal(quarter):
    sp = {"name": "sp", "population": True, "conditional_inputs": 1024, "propagations": 16}
    sp["mc_draws"] = 2
    falls, losses = {}, {}
    for rate in (0.0, 1e-3):
        table, last, measures = trained(
            quarter, [sp], [0, 200, 600], initial="uniform", orthonormal=rate, noise_std=0.005
        )
        own = table[(table["quantity"] == "I(X;T)") & (table["layer"] == "dense_5")]
        curves = own.pivot_table(index="epoch", columns="run", values="value")
        assert (curves.max() > curves.iloc[0] + 1).all()  # they are fitted first
        falls[rate], losses[rate] = curves.max() - curves.iloc[-1], last["val_loss"].mean()
        bins = pd.concat(measures)
        bins = bins[(bins["measure"] == "H(Bin(T))") & (bins["layer"] == "dense_5")]
        binned = bins.pivot_table(index="epoch", columns="run", values="value")
        assert np.corrcoef(curves.to_numpy().ravel(), binned.to_numpy().ravel())[0, 1] > 0.8
    assert (falls[0.0] > 0.5).all() and (falls[1e-3] < 0.2).all()
    assert losses[1e-3] < losses[0.0]


def test_unbounded_activations_compress_and_fixed_bins_disagree(quarter):
    fixed = '{"name": "binning", "bins": 30, "range": [-1, 1], "clip": true}'
    estimators = ["ebab", fixed, '{"name": "binning", "width": 0.07}']
    falls, losses = {}, {}
    for activation, l2 in (("tanh", 0.0), ("elu", 0.0), ("elu", 0.015)):
        table, last, _ = trained(
            quarter, estimators, "log:12", activation=activation, initial="normal", l2=l2
        )
        found = ib.frame.compression(table)
        falls[activation, l2] = found.groupby(["estimator", "layer"])["absolute"].median()
        losses[activation, l2] = last["val_loss"].mean()
    tanh, elu, penalised = falls.values()
    adaptive, clipped, wide = (f"{name}" for name in tanh.index.levels[0][[2, 0, 1]])
    assert adaptive.startswith("ebab") and "range" in clipped and "width" in wide
    # Compression without saturation; tanh compresses more, in the last hidden layer.
    assert 0.4 < elu[adaptive]["dense_5"] < tanh[adaptive]["dense_5"]
    # L2 compresses earlier layers, too, and prevents overfitting.
    assert penalised[adaptive]["dense_3"] > elu[adaptive]["dense_3"] + 1
    assert losses["elu", 0.015] < losses["elu", 0.0] - 0.2
    # Of unbounded values, bins between −1 and 1 show compression that wide bins do not.
    assert elu[clipped]["dense_5"] > 2 * elu[wide]["dense_5"]
    assert elu[clipped]["dense_5"] > elu[adaptive]["dense_5"] + 0.5
