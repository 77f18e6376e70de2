"""The findings of the study on residual networks, and the tables and figures of its page."""

import json

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from benchmarks.papers import darlow
from ib_keras import studies
from ib_keras.components.artifacts import samples
from ib_keras.frame.table import CHANGES
from ib_keras.studies.darlow_2020 import change, turn

EPOCHS, LAYERS = (0, 10, 200), ("h1", "h2")
# I(X;T) by epoch: a peak at epoch 10.
COURSE = {0: 30.0, 10: 50.0, 200: 45.0}


def decoded(runs):
    """A table with a peak: seed k of a network has k nats more at the end."""
    table = make_frame(runs=runs, estimators=("decoder",), layers=LAYERS, epochs=EPOCHS)
    table = table[table["quantity"] == "I(X;T)"].reset_index(drop=True)
    seeds = table["run"].str.extract(r"-(\d)$")[0].astype(float).fillna(0)
    last = table["epoch"] == EPOCHS[-1]
    table["value"] = table["epoch"].map(COURSE) - 20 * table["layer_index"] + seeds * last
    table["stderr"] = 0.5
    kept = table.assign(quantity="P(class kept)", value=0.7 - 0.2 * table["layer_index"])
    return pd.concat([table, kept], ignore_index=True)


def test_findings_over_seeds():
    found = studies.resnet_decoder(decoded([f"classifier-{seed}" for seed in range(3)]))
    of = found.set_index(["finding", "layer"])["measured"]
    # Mean 46, standard deviation 1, and t = 4.303 for three seeds: 46 ± 2.48.
    assert of["I(X;T) at the last checkpoint [nats]", ""] == (
        "h1 46.00 (43.52 to 48.48), h2 26.00 (23.52 to 28.48)"
    )
    assert of["P(class kept) at the last checkpoint", ""] == (
        "h1 0.70 (0.70 to 0.70), h2 0.50 (0.50 to 0.50)"
    )
    assert of["I(X;T): rise to its largest mean, then the change to the end [nats]", "h2"] == (
        "+20.00 (+20.00 to +20.00) until epoch 10, then -4.00 (-6.48 to -1.52) until epoch 200"
    )
    assert set(found["run"]) == {"classifier"}


def test_findings_leave_out_what_was_not_decoded():
    table = decoded([f"classifier-{seed}" for seed in range(3)])
    lost = (table["run"] == "classifier-2") & (table["epoch"] == 200)
    found = studies.resnet_decoder(table.assign(value=table["value"].mask(lost)))
    of = found.set_index(["finding", "layer"])["measured"]
    half = 12.7062 * 0.5  # two seeds are left, 45 and 46: s/√2 = 0.5
    assert of["I(X;T) at the last checkpoint [nats]", ""].startswith(
        f"h1 45.50 ({45.5 - half:.2f} to {45.5 + half:.2f})"
    )
    assert (
        "-4.50" in of["I(X;T): rise to its largest mean, then the change to the end [nats]", "h1"]
    )
    assert len(studies.resnet_decoder(table.assign(value=np.nan))) == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_single_run_has_errors_paired_by_image(known):
    table = decoded(["classifier"])
    details = {CHANGES: {"0": [15.0, 0.3], "10": [-5.0, 0.1]}} if known else {"nll_0": 3.0}
    table["details"] = np.where(table["epoch"] == 200, json.dumps(details), "")
    curve = table[(table["layer"] == "h1") & (table["quantity"] == "I(X;T)")]
    assert turn(curve) == (0, 10, 200)
    mean, low, high = change(curve, 10, 200)
    assert mean == -5
    if known:
        assert (low, high) == pytest.approx((-5.196, -4.804))
    else:
        assert np.isnan(low) and np.isnan(high)


def run_folder(folder, seeds=(0, 1)):
    """The folders that a run's tasks leave: estimates, and a part with samples for each cell."""
    runs = [f"{regime}-{seed}" for seed in seeds for regime in ("classifier", "autoencoder")]
    table = decoded(runs)
    ib.frame.write(table, folder)
    rng = np.random.default_rng(0)
    for run in runs:
        for layer in LAYERS:
            own = table[(table["run"] == run) & (table["layer"] == layer)]
            part = folder / "tasks" / f"{run}-{layer}"
            ib.frame.write(own, part)
            drawn = rng.integers(0, 256, (len(EPOCHS), 4, 2, 5, 5, 3))
            samples.write(part, {
                "originals": drawn[0, :, 0], "samples": drawn, "epochs": np.array(EPOCHS),
                "levels": np.asarray(256), "run": np.asarray(run), "layer": np.asarray(layer),
            })  # fmt: skip
    return table


def test_runs_become_tables_and_figures(tmp_path):
    table = run_folder(tmp_path / "run")
    alone = table[(table["run"] == "classifier-0") & (table["layer"] == "h1")]
    ib.frame.write(alone.assign(value=alone["value"] + 2), tmp_path / "separate")
    folders = {darlow.RUN: tmp_path / "run", darlow.SEPARATE: tmp_path / "separate"}
    data = tmp_path / "data"
    darlow.tables(folders, data)
    summary = pd.read_csv(data / "darlow_photographs.csv")
    assert len(summary) == 2 * 2 * 3 * 2 and set(summary["n"]) == {2}
    row = summary.set_index(["network", "layer", "epoch", "quantity"]).loc[
        ("autoencoder", "h2", 200, "I(X;T)")
    ]
    half = 12.7062 * 0.5**0.5 / 2**0.5  # Student's t with one degree of freedom
    assert row["mean"] == 25.5 and row["high"] == pytest.approx(25.5 + half, rel=1e-3)
    falls = pd.read_csv(data / "darlow_photographs_changes.csv")
    assert list(falls["start"]) == [0, 10] * 4 and list(falls["mean"]) == [20, -4.5] * 4
    both = pd.read_csv(data / "darlow_separate.csv")
    assert list(both["epoch"]) == list(EPOCHS) and set(both["difference"]) == {-2}
    assert both["stderr"].iloc[0] == pytest.approx(0.5 * 2**0.5, rel=1e-3)
    with np.load(data / "darlow_photographs_samples.npz") as saved:
        assert saved["classifier_h1"].shape == (4, 3, 5, 5, 3)
        assert saved["autoencoder_originals"].shape == (4, 5, 5, 3)
    for name in ("figures", "again"):
        darlow.figures(data, tmp_path / name)
    names = {"darlow_photographs.svg", *(f"darlow_photographs_{n}.svg" for n in
             ("classifier", "autoencoder"))}  # fmt: skip
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names
    for name in names:
        drawn = (tmp_path / "figures" / name).read_bytes()
        assert drawn == (tmp_path / "again" / name).read_bytes()


def test_seeds_that_run_one_after_another_add_up(tmp_path):
    for name, seeds in (("both", (0, 1)), ("first", (0,)), ("second", (1,))):
        run_folder(tmp_path / name, seeds)
    darlow.tables({darlow.RUN: tmp_path / "both"}, tmp_path / "at_once")
    data = tmp_path / "data"
    darlow.tables({darlow.RUN: tmp_path / "first"}, data)
    falls = pd.read_csv(data / "darlow_photographs_changes.csv")
    assert set(falls["n"]) == {1} and falls["low"].isna().all()
    for folder in ("second", "second"):  # a repeated seed replaces itself
        darlow.tables({darlow.RUN: tmp_path / folder}, data)
    for name in ("", "_changes"):
        found, expected = (
            pd.read_csv(part / f"darlow_photographs{name}.csv")
            for part in (data, tmp_path / "at_once")
        )
        pd.testing.assert_frame_equal(found, expected)
    with np.load(data / "darlow_photographs_samples.npz") as saved:
        assert set(saved) == {"levels", "epochs"} | {
            f"{network}_{of}" for network in ("classifier", "autoencoder")
            for of in ("originals", *LAYERS)
        }  # fmt: skip


def test_changes_of_a_single_seed_keep_their_errors(tmp_path):
    table = decoded(["classifier-0"])
    details = {CHANGES: {"0": [15.0, 0.3], "10": [-5.0, 0.1]}, "nll_0": 3.0}
    table["details"] = np.where(table["epoch"] == 200, json.dumps(details), "")
    ib.frame.write(table, tmp_path / "run")
    darlow.tables({darlow.RUN: tmp_path / "run"}, tmp_path / "data")
    falls = pd.read_csv(tmp_path / "data" / "darlow_photographs_changes.csv")
    of = falls.set_index(["layer", "start"]).loc[("h1", 10)]
    assert (of["low"], of["high"]) == pytest.approx((-5.196, -4.804))
