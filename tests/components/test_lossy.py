"""The chains of the pipeline ``lossy_compression``."""

import json

import keras
import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras import models, plot, studies
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.compressor import executor as compressor
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.examples import executor as examples
from ib_keras.components.known_pairs import executor as known_pairs
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.trainer import executor as trainer
from ib_keras.compression.autoencoder import Network
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import lossy_compression

PCA = {"name": "pca+ksg", "neighbors": 1}
MINE = '{"name": "mine", "steps": 40, "hidden": [16]}'


@pytest.fixture(scope="module")
def known():
    return studies.against_truth(
        [PCA, MINE], images="gaussian", size=8, mi=[0.0, 2.0], n=2000, n_fit=600, seed=1
    )


def test_estimates_meet_the_truth(known):
    table, logs = known
    assert list(logs["mi"]) == [0.0, 2.0]
    origin = table.attrs["provenance"]
    assert origin["data"] == {
        "images": "gaussian", "size": 8, "n": 2000, "n_fit": 600, "rotate": True, "seed": 1,
    }  # fmt: skip
    assert set(origin["estimators"]) == set(table["estimator"])
    assert list(logs["run"]) == ["gaussian-8-0", "gaussian-8-2"]
    values = table.set_index(["run", "layer", "estimator"])["value"]
    name = "pca+ksg(k=3, neighbors=1)"
    assert values["gaussian-8-0", "images", name] == pytest.approx(0, abs=0.1)
    of_latents = values["gaussian-8-2", "latents", "ksg(k=1)"]
    assert of_latents == pytest.approx(2.0, abs=0.1)
    # PCA of three components keeps what two numbers say of a Gaussian image.
    assert values["gaussian-8-2", "images", name] == pytest.approx(2.0, abs=0.2)


def test_known_information_is_reported(known, tmp_path):
    for i, images in enumerate(("gaussian", "rectangle")):
        known_pairs.run(
            tmp_path / str(i), estimators=[PCA, MINE], mi=[1.0, 2.0], samples=500,
            images=json.dumps({"images": images, "size": 8}),
        )  # fmt: skip
    facts = reporter.run(
        [tmp_path / "0", tmp_path / "1"],
        tmp_path / "out",
        page=tmp_path / "page.html",
        study="lossy_compression",
    )
    findings = pd.read_csv(tmp_path / "out" / "findings.csv", keep_default_na=False)
    assert facts["findings"] == len(findings) == 4
    assert set(findings["run"]) == {"gaussian-8", "rectangle-8"}
    assert findings["finding"].str.startswith("nearer to the truth than mine").sum() == 2
    assert (tmp_path / "out" / "against_truth.png").read_bytes().startswith(b"\x89PNG")
    assert "Estimates against the truth" in (tmp_path / "page.html").read_text()
    joined = ib.load(tmp_path / "out")
    assert set(joined["mi"]) == {1.0, 2.0}
    figure = plot.against_truth(joined)
    assert [axes.get_title() for axes in figure.axes] == ["gaussian-8", "rectangle-8"]


def test_principal_components_lose_what_is_hidden():
    table, logs = studies.against_truth(
        [{"name": f"{c}+ksg", "neighbors": 1} for c in ("pca", "first")],
        images="hidden", size=32, mi=[2.0], n=800, n_fit=500, k=2, seed=[0, 1],
    )  # fmt: skip
    assert list(logs["run"]) == ["hidden-32-2-seed0", "hidden-32-2-seed1"]
    values = table.pivot(index="run", columns=["layer", "estimator"], values="value")
    by_pca = values["images", "pca+ksg(k=2, neighbors=1)"]
    assert (by_pca < 0.2).all()  # although it explains 99.99 % of the variance
    assert (values["images", "first+ksg(k=2, neighbors=1)"] > 1.4).all()
    assert (abs(values["latents", "ksg(k=1)"] - 2.0) < 0.15).all()
    means = ib.frame.over_seeds_of_truth(table.assign(mi=2.0))
    assert set(means["seeds"]) == {2} and set(means["group"]) == {"hidden-32"}
    of_pca = means.set_index("estimator").loc["pca+ksg(k=2, neighbors=1)"]
    assert of_pca["value"] == pytest.approx(by_pca.mean())
    assert of_pca["stderr"] == pytest.approx(by_pca.std())
    findings = studies.known_information(table.assign(mi=2.0))
    assert findings["finding"].str.contains("std of 2 seeds").any()
    lost = table.assign(mi=2.0, value=table["value"].where(table["layer"] != "latents"))
    for some in (lost, lost[lost["layer"] != "latents"]):  # nothing is known of the parameters
        found = studies.known_information(some)
        assert len(found) == len(findings) and not found["measured"].str.contains("nan").any()
    (axes,) = plot.against_truth(table.assign(mi=2.0)).axes
    assert axes.get_title() == "hidden-32"


def test_equal_compressors_are_fitted_once(monkeypatch):
    fits = []
    whole = ib.compression.PCA.fit

    def fit(self, values, *, seed=0):
        fits.append((self.k, seed))
        return whole(self, values, seed=seed)

    monkeypatch.setattr(ib.compression.PCA, "fit", fit)
    methods = ["pca+ksg", "pca+kl", "pca+kde", {"name": "lossy", "compress_x": "first"}, "mine"]
    table, _ = studies.against_truth(methods, size=8, mi=[1.0, 2.0], n=200, n_fit=100, seed=3)
    failed = table[table["value"].isna()]  # 200 pairs are too few for MINE only
    assert set(failed["estimator"]) == {"mine"} and set(failed["flags"]) == {"not_estimated"}
    assert len(failed) == 2
    assert [seed for k, seed in fits if k == 3] == [3, 4]


def test_a_network_through_compression(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = rng.random((400, 22, 22, 1), np.float32) + y[:, None, None, None]
    np.savez(tmp_path / "data.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:],
             y_test=y[200:])  # fmt: skip
    examples.run(str(tmp_path / "data.npz"), tmp_path / "data", scale="standard")
    facts = compressor.run(
        tmp_path / "data", tmp_path / "ae", max_samples=150,
        compressor='{"name": "ae", "convolutional": true, "epochs": 1, "k": 3}',
    )  # fmt: skip
    assert facts["n"] == 150 and facts["codes"] == 3
    model = json.loads(lossy_compression._CNN) | {"stddev": 0.1}
    trainer.run(
        tmp_path / "data", tmp_path / "m", model=model, epochs=4, batch_size=20,
        learning_rate=0.003, record="1",
    )  # fmt: skip
    capturer.run(tmp_path / "m", tmp_path / "data", tmp_path / "s", split="test")
    store = ib.ActivationStore(tmp_path / "s")
    assert list(store.layers) == ["act_1", "act_2", "act_3", "act_4", "output"]
    fits = []
    whole = ib.compression.PCA.fit

    def fit(self, values, *, seed=0):
        fits.append(np.shape(values)[1:])
        return whole(self, values, seed=seed)

    monkeypatch.setattr(ib.compression.PCA, "fit", fit)
    encoded = []
    encode = Network.encode
    monkeypatch.setattr(Network, "encode", lambda *own: encoded.append(len(own[2])) or encode(*own))
    estimator.run(
        tmp_path / "s", tmp_path / "t", compressor=tmp_path / "ae",
        estimator=[{"name": "pca+kl", "k": 2, "fit_share": 1}],
    )  # fmt: skip
    # The codes of the inputs are computed once for all layers and epochs, of rows that the
    # autoencoder has not seen.
    assert encoded == [200] and (22, 22, 1) not in fits
    table = ib.load(tmp_path / "t")
    assert set(table["estimator"]) == {"ae/pca+kl(k=2)"} and set(table["n"]) == {200}
    assert np.isfinite(table.loc[table["layer"] != "output", "value"]).all()
    facts = reporter.run([tmp_path / "t"], tmp_path / "out", study="lossy_compression")
    assert facts["rows"] == 2 * 5 * 5
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"phases.csv", "findings.csv", "inputs.png", "labels.png", "report.html"} <= written
    findings = pd.read_csv(tmp_path / "out" / "findings.csv", keep_default_na=False)
    assert findings["finding"].str.startswith("phases").any()


def test_the_first_compression_is_set_beside_the_loss():
    epochs = range(6)
    table = ib.frame.from_rows(
        {
            "run": "r", "epoch": epoch, "layer": "l", "layer_index": 0, "estimator": "pca+kl",
            "quantity": "I(X;T)", "kind": "estimate", "value": value, "stderr": 0.01,
            "lower": value, "upper": value, "noise_std": 0.0, "n": 9, "dim": 2, "flags": "",
            "seconds": 0.0, "unit": "nats",
        }
        for epoch, value in zip(epochs, (1.0, 2.0, 3.0, 2.5, 1.5, 2.0), strict=True)
    )  # fmt: skip
    table["loss"] = [np.nan, 3.0, 2.9, 2.8, 1.0, 0.9]
    findings = studies.lossy_compression(table)
    both = findings[findings["finding"].str.startswith("first compression")]
    assert list(both["measured"]) == ["2–4; 3–4: they overlap"]
    (phases,) = findings[findings["finding"].str.startswith("phases")]["measured"]
    assert phases.startswith("2 of fitting, 1 of compression: fitting 0–2 (+2.00)")


def test_noisy_cnn():
    keras.utils.set_random_seed(0)
    model = models.noisy_cnn((22, 22), 4, seed=1)
    x = np.random.default_rng(0).random((300, 22, 22)).astype(np.float32)
    first, second = (np.asarray(model(x)) for _ in range(2))
    assert first.shape == (300, 4) and 0 < np.abs(first - second).max() < 0.05
    # As in the paper, dropout comes before the convolutions only.
    dropouts = [layer.name for layer in model.layers if layer.name.startswith("dropout")]
    assert dropouts == ["dropout_1", "dropout_2", "dropout_3"]
    assert models.noisy_cnn((32, 32, 3), 10, padding="same").get_layer("pool_3").output.shape[
        1:
    ] == (4, 4, 32)
    # An exact 0 gets no noise; the background of standardised images does.
    channel = model.get_layer("noise_1")
    assert float(np.abs(channel(np.zeros((1, 22, 22, 1)))).max()) == 0
    background = np.asarray(channel(np.full((1, 22, 22, 1), -0.424, np.float32)))
    assert 0.0002 < background.std() < 0.0008
    silent = models.noisy_cnn((22, 22), 4, stddev=0.0, seed=1)
    silent.set_weights(model.get_weights())
    np.testing.assert_allclose(silent(x), first, atol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: studies.against_truth("ksg", images="circle"), "unknown"),
        (lambda: studies.against_truth("ksg", mi=[-1.0]), "`mi` is invalid"),
        (lambda: studies.against_truth("sp", n=50), "takes no pair"),
        (lambda: studies.against_truth("ksg", size=2), "size"),
        (lambda: studies.against_truth("ksg", seed=[1, 1]), "several different"),
        (lambda: known_pairs.read_images('{"images": "hidden", "size": 9, "seed": -1}'), "seed"),
        (lambda: known_pairs.read_images('{"images": "hidden", "size": 9, "rotate": 1}'), "rotate"),
        (lambda: known_pairs.read_images('{"images": "gaussian"}'), "does not describe images"),
        (lambda: known_pairs.read_images("gaussian"), "does not describe images"),
        (lambda: models.noisy_cnn((20, 20)), "do not fit"),
        (lambda: models.noisy_cnn((28, 28), padding="full"), "`padding` is unknown"),
        (lambda: lossy_compression.check({"compressor": '{"name": "pca"}'}), "no autoencoder"),
        (lambda: lossy_compression.check({"compressor": "ae"}), "no autoencoder"),
        (lambda: models.check('{"name": "szt", "layers": "dense_1"}'), "not names"),
        (lambda: lossy_compression.check({"cells": ["x"]}), "does not describe images"),
        (lambda: plot.against_truth(ib.frame.from_rows([])), "true information"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
