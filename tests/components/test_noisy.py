"""The chain of the pipeline ``noisy_dnn``, on one neuron and on twins."""

import json
import math

import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras import frame
from ib_keras.components.artifacts import clusters
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.clusterer import executor
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.examples import executor as examples
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.pipelines import noisy_dnn


def study(root, data, models, estimators, width, **training):
    examples.run(data, root / "data")
    folders = {}
    for i, model in enumerate(models):
        folders[i] = root / str(i)
        trainer.run(root / "data", folders[i] / "m", model=model, **training)
        capturer.run(
            folders[i] / "m", root / "data", folders[i] / "s", max_samples=300,
            conditional_inputs=32, propagations=8,
        )  # fmt: skip
        estimator.run(folders[i] / "s", folders[i] / "t", estimator=estimators)
        executor.run(folders[i] / "s", folders[i] / "c", width=width, max_samples=200)
    facts = reporter.run(
        [f / "t" for f in folders.values()],
        root / "report",
        study="noisy_dnn",
        clusters=[f / "c" for f in folders.values()],
    )
    findings = pd.read_csv(root / "report" / "findings.csv", keep_default_na=False)
    return facts, findings, ib.load(root / "report")


def test_a_neuron_descends_the_staircase(tmp_path):
    model = noisy_dnn.PRESETS["neuron"]["models"][0]
    facts, findings, table = study(
        tmp_path, "four_points", [model], ['{"name": "sp", "population": true}'], 0.0,
        epochs=60, batch_size=16, learning_rate=0.02,
    )  # fmt: skip
    assert facts["findings"] == len(findings) > 0
    curve = table[table["quantity"] == "I(X;T)"].set_index("epoch")["value"]
    assert curve[0] == pytest.approx(math.log(4), abs=1e-3)
    # −3 and −1 have merged, 1 and 3 have not.
    assert curve[60] == pytest.approx(1.5 * math.log(2), abs=0.01)
    plateaus = findings[findings["finding"].str.startswith("plateaus")]["measured"].iloc[0]
    assert plateaus.startswith("1.39, 1.04")
    figure = (tmp_path / "report" / "sample_propagation.png").read_bytes()
    assert figure.startswith(b"\x89PNG")


def test_twins(tmp_path):
    models = [
        {"noise_std": 0.05, "label": "szt-noisy"},
        {"noise_std": 0, "label": "szt-deterministic"},
        {"noise_std": 0.05, "orthonormal": 0.01, "label": "szt-noisy-orthonormal"},
    ]
    models = [json.dumps({"name": "mlp", "hidden": [6, 4], **model}) for model in models]
    _, findings, table = study(tmp_path, "szt", models, ["sp", "ebab"], 0.5, epochs=2)
    twin = table[table["run"] == "szt-deterministic"]
    assert twin["value"].notna().sum() == twin["flags"].str.contains("measurement_bins").sum() > 0
    assert set(twin.loc[twin["estimator"] == "sp", "flags"]) == {"no_channel"}
    starts = " ".join(findings["finding"])
    for part in ("accuracy at the end", "orthonormal weights / plain", "cosine", "flagged"):
        assert part in starts
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Findings of the paper" in page and "Clustering" in page
    written = {p.name for p in (tmp_path / "report").iterdir()}
    expected = {"findings.csv", "clusters.parquet", "histograms.parquet", "clusters_szt-noisy.png"}
    assert expected <= written


def test_a_bottleneck_is_trained_by_its_name(tmp_path):
    examples.run("szt", tmp_path / "data")
    model = {"name": "vib", "beta": 5.0, "latent": 3, "hidden": [8], "layers": ["z"]}
    facts = trainer.run(
        tmp_path / "data", tmp_path / "m", model=json.dumps(model), epochs=1, batch_size=1024,
        record="1",
    )  # fmt: skip
    # At the start σ = 0.007: the divergence is 5·3·(−ln σ − 1/2) = 67 nats or more.
    assert facts["loss"] > 40 and 0 < facts["accuracy"] < 1
    capturer.run(tmp_path / "m", tmp_path / "data", tmp_path / "s", max_samples=300)
    store = ib.ActivationStore(tmp_path / "s")
    assert store.layers == ["z"] and store.read(1, "z").shape == (300, 3)
    assert store.random(1) == {"z"}


def test_bad_input(tmp_path):
    with pytest.raises(StoreError):
        clusters.read(tmp_path)
    with pytest.raises(ArgumentError, match="There are no estimates"):
        reporter.run([], tmp_path / "out", study="noisy_dnn")
    frame.write(make_frame(), tmp_path / "in")
    with pytest.raises(ArgumentError, match="how samples cluster"):
        reporter.run([tmp_path / "in"], tmp_path / "out", study="noisy_dnn")
    with pytest.raises(ArgumentError, match="The study is unknown"):
        reporter.run([tmp_path / "in"], tmp_path / "out", study="noisy")
    assert not (tmp_path / "out").exists()
    for model, message in (
        ('{"name": "szt", "noise_std": -1}', "not a standard deviation"),
        ('{"name": "szt", "loss": "hing"}', "loss is unknown"),
        ('{"name": "szt", "noise_std": {"dense_1": "a"}}', "not a standard deviation"),
    ):
        with pytest.raises(ArgumentError, match=message):
            noisy_dnn.check({"models": [model]})
    with pytest.raises(ArgumentError, match="width"):
        noisy_dnn.check({"width": -1.0})
    assert not (tmp_path / "out").exists()
