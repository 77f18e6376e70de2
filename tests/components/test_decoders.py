"""From examples to the report of what the stages of residual networks keep."""

import dataclasses
import functools
import json

import numpy as np
import pytest

import ib_keras as ib
from ib_keras import models
from ib_keras.components.artifacts.checkpoints import Checkpoints
from ib_keras.components.artifacts.examples import read as read_examples
from ib_keras.components.artifacts.prior import key
from ib_keras.components.artifacts.samples import SAMPLES
from ib_keras.components.decoder import executor as decoder
from ib_keras.components.examples import executor as examples
from ib_keras.components.gatherer import executor as gatherer
from ib_keras.components.image_prior import executor as image_prior
from ib_keras.components.image_prior.judge import train_judge
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation import decoding
from ib_keras.estimators import DecoderBound
from ib_keras.pipelines import resnet_decoder
from ib_keras.storage import manifests

SETTINGS = json.dumps(
    {"levels": 4, "filters": 6, "stages": 1, "mixtures": 1, "epochs": 2, "learning_rate": 0.01}
)
RUNS = ("classifier", "autoencoder")


def cell(run="classifier", layer="h2", epochs=(0, 1)):
    return json.dumps({"run": run, "layer": layer, "epochs": list(epochs)})


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """The tests' decoders are of one shape: they train the same one anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "Decoder", functools.cache(decoding.Decoder))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data in three parts, two networks, q(x)."""
    folder = tmp_path_factory.mktemp("decoders")
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    x = (rng.integers(0, 2, (120, 4, 4, 1)) + 2 * y[:, None, None, None]) / 3
    np.savez(folder / "data.npz", x=x.astype(np.float32), y=y)
    facts = examples.run(
        str(folder / "data.npz"), folder / "examples", test_fraction=0.3, decoder_fraction=0.6
    )
    assert facts == {"data": str(folder / "data.npz"), "train": 33, "decoder": 51, "test": 36,
                     "classes": 2}  # fmt: skip
    for name, run in zip(("resnet", "resnet_autoencoder"), RUNS, strict=True):
        model = {"name": name, "filters": [4, 4], "blocks": 1, "layers": ["h?"], "label": run}
        trainer.run(folder / "examples", folder / run, model=json.dumps(model), epochs=1,
                    record="1", learning_rate=0.01)  # fmt: skip
    assert gatherer.run([folder / run for run in RUNS], folder / "both") == {"parts": 2}
    said = image_prior.run(folder / "examples", folder / "prior", decoder=SETTINGS)
    assert said["n"] == 36 and 0 < said["bits_per_dim"] < 3
    return folder


def run(made, output, **change):
    checkpoints = [made / name for name in RUNS]
    arguments = {"cell": cell(), "decoder": SETTINGS, **change}
    return decoder.run(checkpoints, made / "examples", made / "prior", output, **arguments)


def test_from_decoders_to_a_report(made, tmp_path):
    facts = run(made, tmp_path / "one", warm_start=True)
    assert facts["run"] == "classifier" and facts["layer"] == "h2" and facts["epochs"] == 2
    table = ib.load(tmp_path / "one")
    assert set(table["quantity"]) == {
        "I(X;T)",
        "I(T;Y)",
        "H(X)",
        "H(X|T)",
        "P(class kept)",
        "P(class recognised)",
    }
    assert sorted(table["epoch"].unique()) == [0, 1] and (table["n"][:4] == 36).all()
    assert (table["layer_index"] == 1).all() and "loss" in table
    # The change since the first checkpoint has an error that is paired by image.
    xt = table[table["quantity"] == "I(X;T)"].set_index("epoch")
    first, second = (json.loads(text) for text in xt["details"])
    rise, error = second["changes"]["0"]
    assert rise == pytest.approx(xt["value"][1] - xt["value"][0]) and error >= 0
    assert "changes" not in first
    origin = table.attrs["provenance"]
    assert list(origin["estimators"]) == list(table["estimator"].unique())
    assert origin["labels"] == [0, 1] and {"data", "model", "versions"} <= set(origin)
    written = {path.name for path in (tmp_path / "one").iterdir()} - {manifests.MANIFEST}
    manifest = manifests.read_manifest(tmp_path / "one", ib.frame.SCHEMA, ib.frame.VERSION)
    assert set(manifest["files"]) == written
    with np.load(tmp_path / "one" / SAMPLES) as saved:
        # One image of each class, two draws, two checkpoints.
        assert saved["samples"].shape == (2, 2, 2, 4, 4, 1)
        assert saved["originals"].shape == (2, 4, 4, 1) and saved["samples"].max() <= 3
    reporter.run(
        [tmp_path / "one"], tmp_path / "out", page=tmp_path / "page.html", study="resnet_decoder"
    )
    files = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {"forgets_classifier.png", "samples_classifier_h2.png"}
    assert pictures | {"inputs.png", "findings.csv", "estimates.parquet", "report.html"} <= files
    assert "What each layer forgets" in (tmp_path / "page.html").read_text()


def test_one_decoder_of_all_checkpoints_of_a_cell(made, tmp_path, monkeypatch):
    trained = []
    train = decoding.Decoder.decoded_groups

    def counted(self, *parts, **options):
        trained.append((self.groups, parts[0][1].shape, options["folder"]))
        return train(self, *parts, **options)

    monkeypatch.setattr("ib_keras.pixelcnn.decoding.Decoder.decoded_groups", counted)
    facts = run(made, tmp_path / "one", share=True, work=tmp_path / "work")
    # The conditions of both and none, and their numbers.
    assert facts["epochs"] == 2 and [groups for groups, *_ in trained] == [3]
    assert trained[0][1] == (3 * 51, 2, 2, 5)
    table = ib.load(tmp_path / "one")
    by_epoch = table[table["quantity"] == "H(X|T)"].set_index("epoch")["value"]
    assert sorted(by_epoch.index) == [0, 1] and np.isfinite(by_epoch).all()
    with np.load(tmp_path / "one" / SAMPLES) as saved:
        assert saved["samples"].shape == (2, 2, 2, 4, 4, 1) and set(saved["epochs"]) == {0, 1}
    # The same work is not done again, and other epochs are other work.
    assert len(list((tmp_path / "work").iterdir())) == 1
    run(made, tmp_path / "two", share=True, work=tmp_path / "work")
    again = ib.load(tmp_path / "two")
    np.testing.assert_allclose(again["value"], table["value"], rtol=1e-5)
    run(made, tmp_path / "three", share=True, work=tmp_path / "work", cell=cell(epochs=[1]))
    assert [groups for groups, *_ in trained] == [3, 3, 2]
    assert len(list((tmp_path / "work").iterdir())) == 2
    # I(X;T) is the gain of this decoder, and the q(x) of `image_prior` is in its details.
    cells = table[table["epoch"] == 1].set_index("quantity")
    value = cells["value"]
    assert value["I(X;T)"] == pytest.approx(value["H(X)"] - value["H(X|T)"], abs=1e-6)
    details = json.loads(cells["details"]["I(X;T)"])
    assert details["nll_0"] == value["H(X)"] != details["nll_prior"]


def test_decoders_that_begin_as_the_prior(made, tmp_path, monkeypatch):
    settings = json.dumps({**json.loads(SETTINGS), "prior_epochs": 3})
    image_prior.run(made / "examples", tmp_path / "prior", decoder=settings)
    begun = []
    train = decoding.Decoder.train

    def noted(self, *arguments, start=None, **options):
        history = train(self, *arguments, start=start, **options)
        begun.append((start, history))
        return history

    monkeypatch.setattr("ib_keras.pixelcnn.decoding.Decoder.train", noted)
    decoder.run(
        [made / name for name in RUNS], made / "examples", tmp_path / "prior", tmp_path / "one",
        cell=cell(), decoder=settings,
    )  # fmt: skip
    (start, first), (_, second) = begun
    prior_model = models.load(tmp_path / "prior" / "prior.keras")
    for a, b in zip(start.get_weights(), prior_model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # At first, both decoders are this q(x), and give no information.
    assert len(first) == 3 and first[0] == pytest.approx(second[0], rel=1e-5)


def test_decoders_that_find_less_than_classifiers_are_flagged(made, tmp_path, monkeypatch):
    """The label is a function of the image, so I(X;T) cannot be below I(T;Y)."""
    combine = DecoderBound.combine

    def nothing(self, *decoded, dim=0):
        xt, bounds = combine(self, *decoded, dim=dim)
        return dataclasses.replace(xt, value=0.0, stderr=0.0), bounds

    monkeypatch.setattr(DecoderBound, "combine", nothing)
    run(made, tmp_path / "one")
    flags = ib.load(tmp_path / "one").set_index("quantity")["flags"]
    for quantity in ("I(X;T)", "I(T;Y)"):
        assert flags[quantity].str.contains("inconsistent").all()
    assert not flags["H(X|T)"].str.contains("inconsistent").any()


@pytest.mark.parametrize("diverged", [{1}, {0, 1}])
def test_a_checkpoint_that_cannot_be_decoded_costs_itself(made, tmp_path, monkeypatch, diverged):
    """One whose training diverged, or all."""
    load = Checkpoints.load

    def broken(self, epoch):
        model = load(self, epoch)
        if epoch in diverged:
            model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
        return model

    monkeypatch.setattr(Checkpoints, "load", broken)
    facts = run(made, tmp_path / "one")
    table = ib.load(tmp_path / "one").set_index(["epoch", "quantity"])
    for epoch in (0, 1):
        for quantity in ("I(X;T)", "I(T;Y)"):
            found = table.loc[(epoch, quantity)]
            lost = epoch in diverged
            assert np.isnan(found["value"]) == lost == (found["flags"] == "not_estimated")
            assert not lost or "NaN" in found["details"]
    assert np.isnan(facts["I(X;T)"])
    reporter.run([tmp_path / "one"], tmp_path / "out", study="resnet_decoder")
    drawn = (tmp_path / "out" / "forgets_classifier.png").exists()
    assert drawn == (len(diverged) == 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": cell("resnet")}, "network does not exist"),
        ({"cell": cell(layer="h9")}, "has no tap 'h9'"),
        ({"cell": cell(epochs=[0, 7])}, r"no checkpoint of \[7\]"),
        ({"cell": cell(epochs=[0, 0])}, "does not name a run, a layer and epochs"),
        ({"cell": "h2"}, "does not name a run, a layer and epochs"),
        ({"decoder": '{"levels": 5}'}, "between the levels"),
        ({"decoder": '{"levels": 4}'}, "trained with different settings"),
        ({"decoder": '{"depth": 4}'}, "no parameter 'depth'"),
        ({"decoder": "17"}, "not a JSON object"),
    ],
)
def test_bad_input(made, tmp_path, change, message):
    with pytest.raises(ArgumentError, match=message):
        run(made, tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_what_goes_on_is_the_same_work():
    data = np.arange(6)
    keys = {
        key({"levels": 2}, data), key({"levels": 3}, data),
        key({"levels": 2}, data + 1), key({"levels": 2}, data, b"weights"),
    }  # fmt: skip
    assert len(keys) == 4 and key({"levels": 2}, data.copy()) in keys


def test_parts_must_be_set_apart_and_disjoint(made, tmp_path):
    examples.run("digit_images", tmp_path / "two")
    with pytest.raises(ArgumentError, match="No rows are set apart"):
        image_prior.run(tmp_path / "two", tmp_path / "out", decoder='{"levels": 17}')
    examples.run("digit_images", tmp_path / "three", decoder_fraction=0.5)
    rows = read_examples(tmp_path / "three").rows
    assert sum(len(part) for part in rows.values()) == 1797
    np.save(tmp_path / "three" / "rows_decoder.npy", rows["train"])
    with pytest.raises(StoreError, match=r"rows_decoder\.npy' is damaged"):
        image_prior.run(tmp_path / "three", tmp_path / "out", decoder='{"levels": 17}')
    manifest = json.loads((tmp_path / "three" / "manifest.json").read_text())
    known = {k: v for k, v in manifest.items() if k not in ("schema", "version", "sha256", "files")}
    known["files"] = manifests.checksums(tmp_path / "three")
    (tmp_path / "three" / "manifest.json").unlink()
    manifests.write_manifest(tmp_path / "three", manifest["schema"], manifest["version"], **known)
    with pytest.raises(ArgumentError, match="rows in common"):
        image_prior.run(tmp_path / "three", tmp_path / "out", decoder='{"levels": 17}')
    with pytest.raises(ArgumentError, match="decoder_fraction"):
        examples.run("digit_images", tmp_path / "four", decoder_fraction=1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": []}, "`cells` is empty"),
        ({"cells": [cell("resnet")]}, "names an unknown model"),
        ({"cells": [cell(epochs=[0, 3])]}, r"without a checkpoint: \[3\]"),
        ({"decoder_settings": '{"levels": 1}'}, "levels"),
        ({"epochs": 5}, "without a checkpoint"),
        ({"data": "8-bit"}, "does not match levels=17.*decoder_settings.levels=256"),
        ({"data": "floats"}, "values between the levels"),
        ({"data": "first"}, "`x` holds no images"),
        ({"data": "8-bit", "decoder_fraction": 0.01}, "divided by decoder_fraction=0.01"),
    ],
)
def test_settings_are_checked_before_any_task(settings, message, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype("u1")
    kinds = {"8-bit": images, "floats": images / 127.5 - 1, "first": np.moveaxis(images, -1, 1)}
    if "data" in settings:
        np.savez(tmp_path / "d.npz", x=kinds[settings["data"]], y=np.arange(60) % 3)
        settings = {**settings, "data": str(tmp_path / "d.npz")}
    with pytest.raises(ArgumentError, match=message):
        resnet_decoder.check(settings)


@pytest.mark.parametrize("preset", resnet_decoder.PRESETS)
def test_presets_pass_the_check(preset, tmp_path):
    settings = {**resnet_decoder.PRESETS[preset], "image_size": ""}
    known = settings.get("data", "digit_images")
    if known in ("cinic10", "digit_images"):  # the others are checked without a download
        levels = 17 if known == "digit_images" else 256
        images = np.random.default_rng(0).integers(0, levels, (60, 8, 8, 3)).astype("u1")
        x = images if levels == 256 else images / np.float32(16)
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 3)
        settings["data"] = str(tmp_path / "d.npz")
    resnet_decoder.check(settings)
    if known == "cifar10":
        other = json.dumps({**json.loads(settings["decoder_settings"]), "levels": 17})
        with pytest.raises(ArgumentError, match="does not match levels=17.*levels=256"):
            resnet_decoder.check({**settings, "decoder_settings": other})


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 7, 3), (8, 8)])
def test_residual_networks(shape):
    arguments = {"input_shape": shape, "n_classes": 3, "seed": 0}
    network = models.build({"name": "resnet", "filters": [4, 6, 8]}, **arguments)
    tapped = ib.instrument(network, layers=["h?"])
    sizes = [tapped.get_layer(name).output.shape[1:] for name in ("h1", "h2", "h3")]
    height, width = shape[:2]
    assert sizes == [
        (height, width, 4), (-(-height // 2), -(-width // 2), 6), (-(-height // 4), 2, 8)
    ]  # fmt: skip
    back = models.build({"name": "resnet_autoencoder", "filters": [4, 6, 8]}, **arguments)
    x = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    out = back.predict(x, verbose=0)
    assert out.shape == x.shape and 0 <= out.min() and out.max() <= 1
    same = models.build({"name": "resnet_autoencoder", "filters": [4, 6, 8]}, **arguments)
    np.testing.assert_array_equal(same.predict(x, verbose=0), out)
    for bad in ({"filters": []}, {"blocks": 0}):
        with pytest.raises(ArgumentError, match="filters|blocks"):
            models.build({"name": "resnet", **bad}, **arguments)
    with pytest.raises(ArgumentError, match="not images"):
        models.build("resnet", input_shape=(12,), n_classes=2)


def test_a_judge_of_samples_is_independent_and_tells_its_accuracy(made, tmp_path):
    """It is trained on the rows of the decoders, and judges one sample for each held-out image."""
    run(made, tmp_path / "one", judged=20)
    run(made, tmp_path / "two", judged=1000)
    for name, n in (("one", 20), ("two", 36)):
        table = ib.load(tmp_path / name).set_index(["quantity", "epoch"])
        kept, recognised = table.loc["P(class kept)"], table.loc["P(class recognised)"]
        assert (kept["n"] == n).all() and (recognised["n"] == n).all()
        assert (recognised["value"] == 1).all()  # the classes differ in brightness
        assert kept["value"].between(0, 1).all()
        assert (recognised["stderr"] > 0).all()  # also of a share of 1
    loaded = read_examples(made / "examples")
    judge = models.load(made / "prior" / "judge.keras")
    assert judge.output_shape == (None, 2)
    said = judge.predict(loaded.x_test, verbose=0).argmax(axis=1)
    assert (said == loaded.y_test).all()
    again = train_judge(loaded.x_decoder, loaded.y_decoder, classes=2, seed=0)
    for a, b in zip(judge.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_flat_inputs_have_a_judge_too(made, tmp_path):
    """Decoders take images as flat rows if their shape is given."""
    whole = read_examples(made / "examples")
    x = np.concatenate([whole.x_train, whole.x_decoder, whole.x_test]).reshape(-1, 16)
    y = np.concatenate([whole.y_train, whole.y_decoder, whole.y_test])
    np.savez(tmp_path / "flat.npz", x=x, y=y)
    examples.run(str(tmp_path / "flat.npz"), tmp_path / "e", decoder_fraction=0.6)
    settings = json.dumps({**json.loads(SETTINGS), "image_shape": [4, 4, 1]})
    said = image_prior.run(tmp_path / "e", tmp_path / "prior", decoder=settings)
    assert said["judge_accuracy"] == 1
    model = json.dumps({"name": "mlp", "hidden": [3], "label": "flat"})
    trainer.run(tmp_path / "e", tmp_path / "flat", model=model, epochs=1, record="1")
    decoder.run(
        [tmp_path / "flat"], tmp_path / "e", tmp_path / "prior", tmp_path / "one",
        cell=cell("flat", "dense_1", [1]), decoder=settings,
    )  # fmt: skip
    assert "P(class kept)" in set(ib.load(tmp_path / "one")["quantity"])
