"""The chain of the pipeline ``adaptive_estimators``, on a small grid."""

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.components.ensembler import executor as ensembler
from ib_keras.components.examples import executor as examples
from ib_keras.components.reporter import executor as reporter
from ib_keras.errors import ArgumentError
from ib_keras.pipelines.adaptive_estimators import ACTIVATIONS, PENALTY, cells


def test_the_grid():
    assert len(cells()) == 2 * len(ACTIVATIONS) == 16
    labels = [ib.models.label(cell) for cell in cells()]
    assert labels[:2] == ["tanh", "tanh+l2"] and len(set(labels)) == 16
    for cell in cells():
        model = ib.models.build(cell, input_shape=(12,), n_classes=2, seed=0)
        penalties = [layer.kernel_regularizer for layer in model.layers if hasattr(layer, "kernel")]
        # The paper's penalty is 0.015 · Σ w²/2, and leaves the last kernel out.
        assert penalties[-1] is None
        for penalty in penalties[:-1]:
            if "+l2" in cell:
                assert float(penalty.l2) == PENALTY / 2 == 0.0075
            else:
                assert penalty is None


def test_the_names_of_labels_are_kept(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "data.npz", x=x, y=np.where(x[:, 0] > 0, "owl", "cat"))
    examples.run(str(tmp_path / "data.npz"), tmp_path / "data")
    model = '{"name": "mlp", "hidden": [2]}'
    ensembler.run(
        tmp_path / "data", tmp_path / "out", estimators=["ebab"], model=model, seeds=2, epochs=1
    )
    origin = ib.load(tmp_path / "out").attrs["provenance"]
    assert origin["labels"] == ["cat", "owl"] and origin["seeds"] == [0, 1]
    assert origin["model"]["parameters"] == 14


def test_ensembles_are_trained_estimated_and_reported(tmp_path):
    examples.run("szt", tmp_path / "data")
    for i, cell in enumerate(cells(("elu", "prelu"))):
        facts = ensembler.run(
            tmp_path / "data", tmp_path / str(i), estimators=["ebab"], model=cell, seeds=3,
            epochs=6, record="[0, 2, 4, 6]", learning_rate=0.01,
        )  # fmt: skip
        assert facts["networks"] == 3 and facts["accuracy"] > 0.4
    facts = reporter.run(
        [tmp_path / str(i) for i in range(4)],
        tmp_path / "report",
        page=tmp_path / "page.html",
        study="adaptive_estimators",
    )
    table = ib.load(tmp_path / "report")
    assert facts["rows"] == len(table) == 4 * 3 * 4 * 6 * 2
    assert table["val_accuracy"].notna().all()
    findings = pd.read_csv(tmp_path / "report" / "findings.csv", keep_default_na=False)
    text = " ".join(findings["finding"])
    parts = ("last hidden layer", "with L2, without", "and held-out accuracy, without L2")
    assert all(part in text for part in parts), text
    assert set(findings.loc[findings["finding"].str.contains("with L2"), "run"]) == {
        "elu+l2, ebab", "prelu+l2, ebab",
    }  # fmt: skip
    spread = pd.read_csv(tmp_path / "report" / "compression.csv")
    assert set(spread["run"]) == {"elu", "elu+l2", "prelu", "prelu+l2"}
    assert spread["seeds"].eq(3).all() and spread["absolute_std"].notna().all()
    written = {p.name for p in (tmp_path / "report").iterdir()}
    assert {"planes_ebab.png", "compression_ebab.png", "phases.csv", "report.html"} <= written
    assert (tmp_path / "page.html").read_text().count("<img") >= 2


def test_noisy_ensembles_are_propagated_and_clustered(tmp_path):
    examples.run("szt", tmp_path / "data")
    sp = {"name": "sp", "population": True, "conditional_inputs": 4096, "propagations": 4}
    model = {"name": "szt", "initial": "uniform", "noise_std": 0.05, "label": "noisy"}
    ensembler.run(
        tmp_path / "data", tmp_path / "noisy", estimators=[{**sp, "record": "[1]"}, "ebab"],
        model=model, seeds=2, epochs=1, record="1", cluster=True,
    )  # fmt: skip
    table = ib.load(tmp_path / "noisy")
    propagated = table[table["estimator"].str.startswith("sp") & (table["quantity"] == "I(X;T)")]
    assert set(propagated["epoch"]) == {1} and set(table["epoch"]) == {0, 1}
    hidden = propagated[propagated["layer"] != "output"]
    assert len(hidden) == 10 and hidden["value"].between(0, np.log(4096)).all()
    # Each layer only loses information.
    for _, part in hidden.groupby("run"):
        assert (np.diff(part.sort_values("layer_index")["value"]) < 0.05).all()
    # The networks are measured by several threads, in any order; the tables have one order.
    measures = pd.read_parquet(tmp_path / "noisy" / "clusters" / "measures.parquet")
    order = measures[["epoch", "run"]].drop_duplicates()
    assert order.equals(order.sort_values(["epoch", "run"]))
    reporter.run([tmp_path / "noisy"], tmp_path / "report", study="noisy_dnn")
    written = {p.name for p in (tmp_path / "report").iterdir()}
    drawn = {f"{kind}_noisy-0.png" for kind in ("clusters", "values", "points")}
    assert drawn | {"sample_propagation.png", "values.parquet", "points.parquet"} <= written


def test_shuffled_labels_cannot_be_learned_by_held_out_rows(tmp_path):
    examples.run("szt", tmp_path / "data")
    found = {}
    for shuffled in (False, True):
        model = {"name": "szt", "shuffled_labels": shuffled, "label": "any"}
        found[shuffled] = ensembler.run(
            tmp_path / "data", tmp_path / str(shuffled), estimators=["ebab"], model=model, seeds=3,
            epochs=15, record="[15]", learning_rate=0.01,
        )  # fmt: skip
    assert found[False]["val_accuracy"] > 0.75
    assert abs(found[True]["val_accuracy"] - 0.5) < 0.1
    with pytest.raises(ArgumentError, match="shuffled_labels"):
        ib.models.shuffles_labels({"name": "szt", "shuffled_labels": "yes"})


@pytest.mark.parametrize("more", [{"seed": 3}, {"layers": ["output"]}, {"loss": "mse"}])
def test_what_an_ensemble_does_not_use_is_refused(more):
    with pytest.raises(ArgumentError, match="ensemble"):
        ensembler.check_model({"name": "szt", **more})
