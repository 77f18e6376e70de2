"""The tables and figures of docs/papers/lossy_compression.md."""

import math
import pathlib

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from benchmarks.papers import butakov

DATA = pathlib.Path(__file__).parents[1] / "docs" / "papers" / "data"


def synthetic_run(folder, seeds=range(3)):
    runs = [f"gaussian-16-{truth}-seed{seed}" for truth in (1, 3) for seed in seeds]
    table = make_frame(runs=runs, estimators=("pca+ksg(k=3)", "mine"), layers=("images",),
                       epochs=(0,))  # fmt: skip
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    truths = table["run"].str.extract(r"16-(\d)-seed(\d)").astype(float)
    table["value"] = truths[0] + 0.1 * (truths[1] - 1)
    logs = pd.DataFrame({"run": runs, "epoch": 0, "mi": np.repeat([1.0, 3.0], len(seeds))})
    ib.frame.write(table, folder, logs=logs)


def training_run(folder, seed):
    epochs = range(60)
    table = make_frame(runs=("mnist",), estimators=("ae+kl",), layers=("act_1",), epochs=epochs)
    table["value"] = np.sin(table["epoch"] / 10 + 0.1 * seed)
    table["stderr"] = 0.01
    logs = pd.DataFrame({"run": "mnist", "epoch": epochs})
    logs["loss"] = np.exp(-np.maximum(0, logs["epoch"] - 20) / 5)
    ib.frame.write(table, folder, logs=logs.assign(accuracy=1 - logs["loss"]))


def test_tables_and_figures(tmp_path):
    synthetic_run(tmp_path / "synthetic")
    training_run(tmp_path / "mnist-0", 0)
    training_run(tmp_path / "mnist-1", 1)
    folders = {f"butakov_{name}": tmp_path / name for name in ("synthetic", "mnist-0", "mnist-1")}
    butakov.tables(folders, tmp_path / "data")
    truth = pd.read_csv(tmp_path / "data" / "butakov_synthetic.csv")
    of_pca = truth[truth["estimator"] == "pca+ksg(k=3)"].set_index("truth")
    assert list(of_pca["value"]) == [1.0, 3.0] and set(of_pca["seeds"]) == {3}
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's t with two degrees of freedom
    assert of_pca["high"][1.0] - 1 == pytest.approx(half, abs=1e-3)
    curves = pd.read_csv(tmp_path / "data" / "butakov_mnist.csv")
    assert len(curves) == 2 * 60 and set(curves["seeds"]) == {2}
    np.testing.assert_allclose(curves["smooth"], curves["value"], atol=0.01)
    phases = pd.read_csv(tmp_path / "data" / "butakov_mnist_phases.csv")
    first = phases[(phases["quantity"] == "I(X;T)") & (phases["seed"] == 0)]
    assert list(first["phase"]) == ["fitting", "compression", "fitting"]
    assert list(first["loss_from"]) == [20] * 3
    assert list(first["first_meets_loss"]) == [False, True, False]
    butakov.figures(tmp_path / "data", tmp_path / "figures")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"butakov_synthetic.svg", "butakov_mnist.svg"}
    butakov.figures(tmp_path / "data", tmp_path / "again")
    for name in names:
        drawn = (tmp_path / "figures" / name).read_bytes()
        assert drawn == (tmp_path / "again" / name).read_bytes()


def test_seeds_that_run_one_after_another_add_up(tmp_path):
    for name, seeds in (("all", range(3)), ("first", (0,)), ("others", (1, 2))):
        synthetic_run(tmp_path / name, seeds)
    for data, *names in (("at_once", "all"), ("data", "first", "others")):
        for name in names:
            butakov.tables({butakov.SYNTHETIC: tmp_path / name}, tmp_path / data)
            if name == "first":
                found = pd.read_csv(tmp_path / data / "butakov_synthetic.csv")
                assert set(found["seeds"]) == {1} and found["high"].isna().all()
    found, expected = (
        pd.read_csv(tmp_path / data / "butakov_synthetic.csv") for data in ("data", "at_once")
    )
    pd.testing.assert_frame_equal(found, expected)


def test_decoded_images(tmp_path):
    import tensorflow as tf

    images = np.full((3, 8, 8, 3), [[[10, 100, 200]]], np.uint8)
    files = [tf.io.encode_jpeg(image, quality=100).numpy() for image in images]
    offsets = np.cumsum([0, *map(len, files)])
    raw = np.frombuffer(b"".join(files), np.uint8)
    parts = {f"jpeg_{p}": raw for p in ("train", "test")}
    parts |= {f"offset_{p}": offsets for p in ("train", "test")}
    np.savez(tmp_path / "j.npz", **parts, y_train=np.arange(3), y_test=np.arange(3))
    butakov.decode(str(tmp_path / "j.npz"), str(tmp_path / "d.npz"))
    saved = np.load(tmp_path / "d.npz")
    assert saved["x_train"].shape == (3, 8, 8, 3)
    assert np.abs(saved["x_test"].astype(int) - images).max() <= 4


def test_estimates_of_known_information_at_the_published_size():
    """What the page says of the committed table."""
    table = pd.read_csv(DATA / "butakov_synthetic.csv")
    page = (DATA.parent / "lossy_compression.md").read_text()
    assert set(table["seeds"]) == {3} and len(table["images"].unique()) == 6
    short = table["estimator"].str.partition("(")[0]
    table["estimator"] = short.where(table["of"] == "images", "parameters")
    table["half"] = (table["high"] - table["low"]) / 2
    table = table.set_index(["images", "estimator", "truth"]).sort_index()
    value, half = table["value"], table["half"]
    shown = ["pca+ksg", "ae+ksg", "ae+wkl", "mine", "parameters"]
    kinds = {
        "blobs, 16×16": "gaussian-16", "blobs, 32×32": "gaussian-32",
        "rectangles, 16×16": "rectangle-16", "rectangles, 32×32": "rectangle-32",
        "slanted blobs, 16×16": "correlated-16", "hidden numbers": "hidden-32",
    }  # fmt: skip
    for name, kind in kinds.items():
        cells = [
            f"{value[kind, method, 5.0]:.2f} ± {half[kind, method, 5.0]:.2f}".replace("-", "−")
            for method in shown
        ]
        assert f"| {name} | {' | '.join(cells)} |" in page
    by_code = [f"ae+{method}" for method in ("ksg", "kl", "wkl", "kde", "flow")]
    for kind in ("gaussian-16", "gaussian-32"):
        for truth in (1.0, 3.0, 5.0):
            for method in by_code:
                assert value[kind, method, truth] == pytest.approx(truth, rel=0.12)
        assert all(7.4 < value[kind, method, 10.0] < 9.15 for method in by_code)
        # Three components of two numbers are a surface.
        assert value[kind, "pca+kl", 0.0] < -3.6 and value[kind, "pca+wkl", 10.0] > 12.4
    for kind in ("rectangle-16", "rectangle-32"):
        assert value[kind, "pca+ksg", 5.0] < value[kind, "ae+ksg", 5.0] - 0.6
        assert value[kind, "ae+wkl", 10.0] > 8.4
        assert abs(value[kind, "first+ksg", 10.0]) < 0.05
    assert value["hidden-32", "ae+ksg"].abs().max() < 0.05
    for kind, method in (("hidden-32", "ae+ksg"), ("rectangle-16", "first+ksg")):
        lost = table.loc[(kind, method)].loc[1.0:]
        assert lost["flags"].str.contains("lossy").all()
    mine = [value[kind, "mine", 10.0] for kind in kinds.values()]
    assert max(mine) < 7.5


def test_phases_of_the_mnist_network_at_the_published_size():
    """What the page says of the committed tables."""
    curves = pd.read_csv(DATA / "butakov_mnist.csv")
    page = (DATA.parent / "lossy_compression.md").read_text()
    assert set(curves["seeds"]) == {1} and curves["epoch"].max() == 300
    smooth = curves.set_index(["quantity", "estimator", "layer", "epoch"])["smooth"]
    for layer in ("act_1", "act_2", "act_3", "act_4", "output"):
        cells = []
        for quantity in ("I(X;T)", "I(T;Y)"):
            for estimator in ("ae/pca+ksg", "ae/pca+kl"):
                curve = smooth[quantity, estimator, layer].sort_index()
                values = (curve[0], curve.min(), curve[300])
                cells.append(", ".join(f"{value:.2f}" for value in values).replace("-", "−"))
        assert f"| `{layer}` | {' | '.join(cells)} |" in page
    logs = pd.read_csv(DATA / "butakov_mnist_logs.csv").set_index("epoch")
    assert logs["val_accuracy"][300] == pytest.approx(0.92, abs=0.005)
    assert logs["val_accuracy"][20] < 0.15 and logs["loss"][10] > math.log(10)
    phases = pd.read_csv(DATA / "butakov_mnist_phases.csv")
    assert set(zip(phases["loss_from"], phases["loss_to"], strict=True)) == {(2, 3)}
    early = phases[phases["first_meets_loss"] & phases["layer"].isin(["act_3", "act_4"])]
    assert len(early) == 2 * 2 * 2 and early["stop"].between(16, 28).all()
    falls = early.set_index(["quantity", "layer", "estimator"])["change"]
    assert falls["I(X;T)"]["act_4"].between(-0.38, -0.33).all()
    assert falls["I(X;T)"]["act_3"].between(-0.16, -0.10).all()
    output = smooth["I(X;T)", "ae/pca+kl", "output"]
    assert output.min() < -6 < 2 < smooth["I(X;T)", "ae/pca+ksg", "output", 300]


def test_phases_of_the_cifar10_network_at_the_published_size():
    """What the page says of the committed tables."""
    curves = pd.read_csv(DATA / "butakov_cifar10.csv")
    page = (DATA.parent / "lossy_compression.md").read_text()
    assert set(curves["seeds"]) == {1} and curves["epoch"].max() == 50
    smooth, value = (
        curves.set_index(["quantity", "estimator", "layer", "epoch"])[name].sort_index()
        for name in ("smooth", "value")
    )
    ksg, kl = "ae/pca+ksg", "ae/pca+kl"
    layers = ("act_1", "act_2", "act_3", "act_4", "output")
    for layer in layers:
        cells = [
            ", ".join(f"{v:.2f}" for v in (curve[0], curve.max(), curve[50])).replace("-", "−")
            for curve in (smooth["I(X;T)", estimator, layer] for estimator in (ksg, kl))
        ]
        of_y = [smooth["I(T;Y)", estimator, layer] for estimator in (ksg, kl)]
        assert all(curve[50] > curve[0] for curve in of_y)
        cells += [f"{curve[0]:.2f}, {curve[50]:.2f}" for curve in of_y]
        assert f"| `{layer}` | {' | '.join(cells)} |" in page
    steps = [value["I(X;T)", ksg, layer].diff().abs().max() for layer in layers[:3]]
    assert max(steps) < 0.04
    phases = pd.read_csv(DATA / "butakov_cifar10_phases.csv")
    assert set(zip(phases["loss_from"], phases["loss_to"], strict=True)) == {(1, 2)}
    inputs = phases[phases["quantity"] == "I(X;T)"]
    falls = inputs[inputs["phase"] == "compression"].set_index(["estimator", "layer"])
    assert len(falls) == 10  # one in each layer
    assert falls["change"][ksg].between(-0.36, -0.16).all()
    assert falls["change"][kl][list(layers[:4])].between(-1.2, -0.7).all()
    assert falls["start"][ksg].drop("act_2").between(6, 13).all()
    assert falls["start"][ksg]["act_2"] == 0
    assert set(falls.index[falls["first_meets_loss"]]) == {
        (ksg, "act_2"), (kl, "act_2"), (kl, "act_3")
    }  # fmt: skip
    logs = pd.read_csv(DATA / "butakov_cifar10_logs.csv").set_index("epoch")
    assert logs["val_accuracy"][1] == pytest.approx(0.14, abs=0.005)
    assert logs["val_accuracy"][50] == pytest.approx(0.47, abs=0.005)
