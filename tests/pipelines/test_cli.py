import importlib
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from absl import flags
from absl.testing import flagsaver
from make_frame import make_frame

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import (
    adaptive_estimators,
    cli,
    information_plane,
    lossy_compression,
    noisy_dnn,
    resnet_decoder,
)

PIPELINE = information_plane.information_plane


def command(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "ib_keras.pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        **kwargs,
    )


def test_settings_take_the_declared_types():
    assert cli.parse_settings(
        PIPELINE,
        ["epochs=5", "learning_rate=1", "data=a=b.npz", "models=szt", 'estimators=["ebab", "kde"]'],
    ) == {
        "epochs": 5,
        "learning_rate": 1.0,
        "data": "a=b.npz",
        "models": ["szt"],
        "estimators": ["ebab", "kde"],
    }
    pairs = lossy_compression.known_information
    assert cli.parse_settings(pairs, ["mi=[0, 2.5]"]) == {"mi": [0.0, 2.5]}
    assert cli.parse_settings(pairs, ["mi=3"]) == {"mi": [3.0]}
    with pytest.raises(ArgumentError, match="mi is not a float"):
        cli.parse_settings(pairs, ['mi=["much"]'])
    parsed = cli.parse_settings(PIPELINE, ['models=[{"name": "szt", "activation": "relu"}]'])
    assert parsed == {"models": ['{"name": "szt", "activation": "relu"}']}


def test_one_value_of_a_json_object():
    given = ["recipe.optimizer=sgd", "recipe.momentum=0.9", 'recipe.augment=["flip"]']
    recipe = json.loads(cli.parse_settings(PIPELINE, given)["recipe"])
    assert recipe == {"optimizer": "sgd", "momentum": 0.9, "augment": ["flip"]}
    start = {"recipe": '{"schedule": "cosine", "momentum": 0.5}'}
    both = json.loads(cli.parse_settings(PIPELINE, given[1:], start)["recipe"])
    assert both == {"schedule": "cosine", "momentum": 0.9, "augment": ["flip"]}
    later = cli.parse_settings(PIPELINE, ["recipe={}", *given[:1]], start)
    assert later == {"recipe": '{"optimizer": "sgd"}'}
    with pytest.raises(ArgumentError, match="no JSON object"):
        cli.parse_settings(PIPELINE, ["data.name=szt"])
    for setting in ("epochs.first=1", "recipe.=1", ".optimizer=sgd"):
        with pytest.raises(ArgumentError, match="unknown"):
            cli.parse_settings(PIPELINE, [setting])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=5", "'epoch' is unknown.*'epochs'"),
        ("epochs", "has no value"),
        ("epochs=many", "epochs is not an int"),
        ("learning_rate=fast", "not a float"),
        ('models=["szt"', "not a JSON list"),
        ("epochs=1.5", "epochs is not an int"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ArgumentError, match=message):
        cli.parse_settings(PIPELINE, [setting])


_TRAINED = {"data": "szt", "models": ["szt"], "epochs": 3, "recipe": "{}"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimators": ["ebba"]}, "'ebab'"),
        ({"recipe": '{"optimizer": "best"}'}, "optimizer is unknown"),
        ({"max_rows": -1}, "`max_rows` is not a valid count"),
        ({"recipe": '{"warmup_epochs": 9}', "epochs": 9}, "`warmup_epochs` are too many"),
        ({"estimators": []}, "empty"),
        ({"models": ["no_such_net"]}, "'szt'"),
        ({"models": ["no/such.keras"]}, "does not exist"),
        ({"data": "mnits"}, "'mnist'"),
        ({"data": "no.npz"}, "does not exist"),
        ({"record": "often"}, "not a schedule"),
        ({"split": "most"}, "'train', 'test' or 'all'"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"scale": "column"}, "`scale` is unknown.*'columns'"),
        ({"data": "digits", "label": "y"}, "`label` does not apply"),
        ({"data": "digits", "image_size": "8"}, "`image_size` does not apply"),
        ({"models": ['{"checkpoints": "no/*.keras"}']}, "There are no checkpoints"),
        ({"models": ['{"name": "szt", "pattern": "x"}']}, "'pattern'.* do not apply"),
        ({"models": ['{"name": "szt", "checkpoints": "a.keras", "logs": "no.csv"}']}, "`logs`"),
        ({"shards": 101}, "`shards` is too large. Expected at most 100"),
        ({"shards": -1}, "shards"),
        ({"models": ["szt", "szt"]}, "Several models have the label 'szt'"),
        ({"models": ['{"name": "szt", "seed": 4294967296}']}, "`seed` is too large"),
        ({**_TRAINED, "models": ['{"name": "szt", "recipe": {"warmup_epochs": 5}}']},
         "`warmup_epochs` are too many"),
        ({**_TRAINED, "models": ['{"name": "szt", "loss": "mse"}'],
          "recipe": '{"label_smoothing": 0.1}'}, "Labels cannot be smoothed"),
        ({**_TRAINED, "recipe": '{"augment": ["flip"]}'}, "`augment` does not apply"),
        ({**_TRAINED, "record": "[50]"}, "`record` selects no epoch"),
        ({**_TRAINED, "data": "digit_images", "models": ["resnet"],
          "recipe": '{"augment": {"name": "RandomCrop", "height": 6, "width": 6}}'},
         "changes the size of the images"),
    ],
)  # fmt: skip
def test_settings_are_checked_before_the_first_task(settings, message):
    with pytest.raises(ArgumentError, match=message):
        information_plane.check(settings)


def test_a_recipe_also_changes_that_of_a_presets_models():
    preset = cli.preset(resnet_decoder, "photographs-quick")
    given = ["recipe.optimizer=adamw", "recipe.momentum=null", "learning_rate=0.01"]
    parsed = cli.parse_settings(resnet_decoder.resnet_decoder, given, preset)
    before, after = (
        [json.loads(model) for model in models] for models in (preset["models"], parsed["models"])
    )
    for old, new in zip(before, after, strict=True):
        assert "learning_rate" in old and "learning_rate" not in new
        assert new["recipe"] == {**old["recipe"], "optimizer": "adamw", "momentum": None}
        assert {k: v for k, v in new.items() if k != "recipe"} == {
            k: v for k, v in old.items() if k not in ("recipe", "learning_rate")
        }
    whole = cli.parse_settings(resnet_decoder.resnet_decoder, ["recipe={}"], preset)
    assert all("recipe" not in json.loads(model) for model in whole["models"])
    own = cli.parse_settings(resnet_decoder.resnet_decoder, [*given, 'models=["resnet"]'], preset)
    assert own["models"] == ["resnet"]


def test_presets():
    for module in (information_plane, noisy_dnn, adaptive_estimators, lossy_compression):
        for name in module.PRESETS:
            settings = {k: v for k, v in cli.preset(module, name).items() if k != "data"}
            module.check(settings)
            declared = inspect.signature(cli.pipeline_of(module, name).pipeline_func)
            assert set(settings) <= set(declared.parameters)
    with pytest.raises(ArgumentError, match="'quick'"):
        cli.preset(information_plane, "fast")


def test_compile(tmp_path):
    done = command("--runner=compile", "--set=epochs=7", f"--output={tmp_path / 'p.yaml'}")
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text())
    assert spec["pipelineInfo"]["name"] == "information-plane"
    assert spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"] == 7
    # KFP and Vertex AI accept system types only.
    titles = {
        artifact["artifactType"]["schemaTitle"]
        for component in spec["components"].values()
        for side in ("inputDefinitions", "outputDefinitions")
        for artifact in component.get(side, {}).get("artifacts", {}).values()
    }
    assert titles == {"system.Dataset", "system.Model", "system.HTML"}
    executors = spec["deploymentSpec"]["executors"].values()
    assert all(
        {"name": "IB_KERAS_VERSION"}.items() <= env.items()
        for executor in executors
        for env in executor["container"]["env"]
    )


@pytest.mark.parametrize("name", [n for n in cli.PIPELINES if n != "information_plane"])
def test_every_pipeline_compiles(name, tmp_path):
    done = command(f"--pipeline={name}", "--runner=compile", f"--output={tmp_path / 'p.yaml'}")
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load((tmp_path / "p.yaml").read_text())
    assert spec["pipelineInfo"]["name"] == name.replace("_", "-")


def test_errors_are_one_line_and_nothing_is_written(tmp_path):
    for argument, message in {
        "--set=epoch=3": "'epoch' is unknown",
        "--preset=fast": "'fast' is unknown. Expected one of ['demo', 'quick', 'digits', 'vib']",
        "--pipeline=plane": f"'plane' is unknown. Expected one of {list(cli.PIPELINES)}",
        "--runner=cloud": f"'cloud' is unknown. Expected one of {list(cli.RUNNERS)}",
        "stray": "flags only",
    }.items():
        done = command(argument, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("ib-keras: ") and message in done.stderr
        assert "Expected" in done.stderr and "Received" in done.stderr
        assert len(done.stderr.splitlines()) == 1 and not done.stdout
        assert not list(tmp_path.iterdir())


def test_help_lists_the_flags():
    command_line = pathlib.Path(sys.executable).with_name("ib-keras")
    text = subprocess.run([command_line, "--helpshort"], capture_output=True, text=True).stdout
    for flag in ("--pipeline", "--runner", "--preset", "--set", "--data", "--model", "--run_dir"):
        assert flag in text
    assert "ib-keras --preset=digits" in text


def test_a_reader_that_goes_away_is_no_error():
    command_line = pathlib.Path(sys.executable).with_name("ib-keras")
    for flag in ("--helpshort", "--describe"):
        shell = f"{command_line} {flag} | head -1"
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
        assert done.stderr == "" and done.stdout.count("\n") == 1


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    done = command("--preset=quick", f"--run_dir={tmp_path}")
    assert done.returncode == 1 and "not a folder of a pipeline's runs" in done.stderr
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--run_dir={}/x"],
        ["--run_dir={}/runs/x"],
        ["--runner=compile", "--output={}/x.yaml"],
        ["--runner=compile", "--output=x.json"],
        ["--runner=vertex", "--project=p", "--region=europe-west4", "--fetch=j", "--run_dir={}/x"],
    ],
)
def test_a_place_that_cannot_be_written(flags, tmp_path):
    """Nobody, not even root, may create files there."""
    place = "/proc" if sys.platform == "linux" else "/dev/null"
    done = command(*(flag.format(place) for flag in flags), cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("ib-keras: ")
    assert "Expected" in done.stderr and "Received" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


MINE = """
import keras


def build(input_shape, n_classes):
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Dense(n_classes, "softmax", name="output")]
    )


def of_three(input_shape):
    return build((3,), 2)


def broken(input_shape):
    raise RuntimeError("no luck")
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, None),
        ({"models": ["models_of_mine:build"], "data": "digits"}, None),
        ({"models": ["mlp"], "data": "mnist"}, None),  # without its download
        ({"models": ["models_of_mine:of_three"]}, "does not fit the data. Expected inputs .12,"),
        ({"models": ["models_of_mine:broken"]}, "cannot be built.*RuntimeError: no luck"),
        ({"models": ["szt"], "data": "digits"}, "'szt' does not fit the data.*64"),
        ({"models": ["mnist_cnn"]}, "The images do not fit"),
        ({"models": ['{"name": "szt", "activation": "tan"}']}, "'szt-tan' cannot be built"),
        ({"models": ['{"name": "szt", "layers": ["conv_*"]}']}, "conv_"),
        ({"data": "{npz}"}, "lacks 'y'.*taken for x = 'inputs'"),
        ({"data": "{csv}", "label": "price", "models": ["mlp"]}, None),
        ({"data": "{csv}", "label": "b", "models": ["mlp"]}, None),
        ({"data": "{csv}", "label": "a,b", "models": ["models_of_mine:build"]}, "probabilities"),
        ({"data": "{csv}", "label": "price"}, "'szt'.* does not fit the data"),
        ({"data": "{csv}", "models": ["mlp"]}, "not clear which column"),
        ({"data": "{csv}", "label": "cost", "models": ["mlp"]}, "names no column"),
        ({"models": ['{"checkpoints": "{run}/*.keras"}']}, None),
        (
            {"models": ['{"checkpoints": "{run}/*.h5", "name": "mlp", "hidden": [4]}']},
            "2.weights.h5' does not fit the model",
        ),
        ({"models": ['{"checkpoints": "{run}/*.keras"}'], "data": "digits"}, "does not fit the"),
    ],
)
def test_a_model_must_fit_the_data(settings, message, tmp_path, monkeypatch):
    (tmp_path / "models_of_mine.py").write_text(MINE)
    np.savez(tmp_path / "d.npz", inputs=np.zeros((9, 3)))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("models_of_mine", None)
    rows = np.random.default_rng(0).normal(size=(20, 3))
    frame = pd.DataFrame(rows, columns=["a", "price", "c"]).assign(b=np.arange(20) % 2)
    frame.to_csv(tmp_path / "d.csv", index=False)
    if "{run}" in str(settings):
        ib.models.szt().save(tmp_path / "1.keras")
        ib.models.szt().save_weights(tmp_path / "2.weights.h5")
    places = {"{npz}": "/d.npz", "{csv}": "/d.csv", "{run}": ""}
    text = json.dumps(settings)
    for place, name in places.items():
        text = text.replace(place, f"{tmp_path}{name}")
    settings = json.loads(text)
    if message is None:
        cli.check_arguments("information_plane", None, settings)
    else:
        with pytest.raises(ArgumentError, match=message):
            cli.check_arguments("information_plane", None, settings)


@pytest.mark.parametrize("module", [adaptive_estimators, resnet_decoder])
def test_pipelines_that_need_classes(module, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 2)), y=np.random.default_rng(0).normal(size=20))
    settings = {"data": str(tmp_path / "d.npz"), "models": ["mlp"], "cells": []}
    with pytest.raises(ArgumentError, match="labels are numbers, but this pipeline needs classes"):
        module.check(settings)


def test_checkpoints_in_pipelines(tmp_path):
    ib.models.szt().save(tmp_path / "run-3.keras")
    model = json.dumps({"checkpoints": str(tmp_path / "*.keras"), "label": "old"})
    with pytest.raises(ArgumentError, match="An ensemble is trained here"):
        adaptive_estimators.check({"models": [model]})
    cell = '{"run": "old", "layer": "dense_1", "epochs": [%d]}'
    resnet_decoder.check({"models": [model], "cells": [cell % 3]})
    with pytest.raises(ArgumentError, match=r"without a checkpoint: \[4\]. Expected some of \[3\]"):
        resnet_decoder.check({"models": [model], "cells": [cell % 4]})


def test_what_lies_in_a_bucket_is_not_looked_at():
    far = {"data": "gs://bucket/d.npz", "models": ["/gcs/bucket/m.keras"]}
    cli.check_arguments("information_plane", None, far, remote=True)
    with pytest.raises(ArgumentError, match="'ebab'"):
        cli.check_arguments("information_plane", None, {**far, "estimators": ["ebba"]}, remote=True)


def test_own_model_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = cli.own_model_and_data(PIPELINE, ["m.keras", "szt"], "d.npz")
    assert given == {"models": [str(tmp_path / "m.keras"), "szt"], "data": str(tmp_path / "d.npz")}
    given = cli.own_model_and_data(PIPELINE, ["m.h5", "my.nets:build"], "digits")
    assert given == {"models": [str(tmp_path / "m.h5"), "my.nets:build"], "data": "digits"}
    assert cli.own_model_and_data(PIPELINE, [], "gs://b/d.npz") == {"data": "gs://b/d.npz"}
    for name in ("digits", "birds"):
        (tmp_path / name).mkdir()
    assert cli.own_model_and_data(PIPELINE, [], "birds") == {"data": str(tmp_path / "birds")}
    assert cli.own_model_and_data(PIPELINE, [], "digits") == {"data": "digits"}
    pairs = cli.pipeline_of(lossy_compression, "synthetic")
    for models, data, flag in (([], "d.npz", "--data"), (["szt"], None, "--model")):
        with pytest.raises(ArgumentError, match=f"{flag} cannot be given.*Expected.*'cells'"):
            cli.own_model_and_data(pairs, models, data)


def test_own_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def models(*arguments):
        return list(map(json.loads, cli.own_model_and_data(PIPELINE, *arguments)["models"]))

    files = str(tmp_path / "run/*.keras")
    assert models([], None, ["run/*.keras"]) == [{"checkpoints": files}]
    assert models([], None, [files, "gs://b/*.keras"]) == [
        {"checkpoints": files}, {"checkpoints": "gs://b/*.keras"},
    ]  # fmt: skip
    assert models(["my.nets:build"], None, ["run/*.keras"]) == [
        {"name": "my.nets:build", "checkpoints": files}
    ]
    assert models(['{"name": "mlp", "hidden": [4]}'], None, ["run/*.keras"]) == [
        {"name": "mlp", "hidden": [4], "checkpoints": files}
    ]
    with pytest.raises(ArgumentError, match="--checkpoints are of one network"):
        models(["mlp", "szt"], None, ["run/*.keras"])
    with pytest.raises(ArgumentError, match="The model's JSON does not parse"):
        models(["{"], None, ["run/*.keras"])
    # TensorFlow's checkpoints have no suffix.
    assert models([], None, ["run/ckpt-*"]) == [{"checkpoints": str(tmp_path / "run/ckpt-*")}]
    given = {"checkpoints": "run/*.keras", "logs": "log.csv", "label": "a.b"}
    assert models([json.dumps(given)], None) == [
        {"checkpoints": files, "logs": str(tmp_path / "log.csv"), "label": "a.b"}
    ]
    for text in ('{"name": "mlp",  "hidden": [4]}', "{"):
        assert cli.own_model_and_data(PIPELINE, [text], None) == {"models": [text]}
    pairs = cli.pipeline_of(lossy_compression, "synthetic")
    with pytest.raises(ArgumentError, match="--checkpoints cannot be given"):
        cli.own_model_and_data(pairs, [], None, ["run/*.keras"])


def test_a_model_that_was_set_is_that_of_the_checkpoints(monkeypatch):
    calls = []
    monkeypatch.setitem(cli._RUN, "local", lambda *given: calls.append(given[2]) or 0)
    for given in (["--model=my.nets:build"], ["--set=models=my.nets:build"]):
        with flagsaver.flagsaver():
            flags.FLAGS(["ib-keras", "--checkpoints=gs://b/*.h5", *given])
            assert cli.run([""]) == 0
    both = {"models": ['{"name": "my.nets:build", "checkpoints": "gs://b/*.h5"}']}
    assert calls == [both, both]


def test_remote_runners_are_handed_everything(monkeypatch, tmp_path):
    import types

    calls = []
    remote = types.ModuleType("ib_keras.pipelines.runners.vertex")
    remote.run = lambda *given, **named: calls.append((given, named)) or 7
    monkeypatch.setitem(sys.modules, "ib_keras.pipelines.runners.vertex", remote)
    with flagsaver.flagsaver():
        flags.FLAGS(["ib-keras", "--runner=vertex", "--preset=quick", "--labels=team=ib,a=b",
                     "--model=gs://b/m.keras", "--dry_run", "--noenable_caching"])  # fmt: skip
        assert cli.run([""]) == 7
    ((pipeline, settings), named) = calls[0]
    assert pipeline is PIPELINE
    assert settings == {"epochs": 20, "models": ["gs://b/m.keras"], "estimators": ["ebab"]}
    assert named["name"] == "information_plane"
    options = named["options"]
    assert set(options) == set(cli.REMOTE)
    assert options["labels"] == ["team=ib", "a=b"] and options["dry_run"] is True
    assert options["enable_caching"] is False and options["project"] is None


def test_large_grids_are_compiled_in_groups(tmp_path):
    models = [f'{{"name": "szt", "label": "run {i}"}}' for i in range(101)]
    setting = f"--set=models={json.dumps(models)}"
    done = command(setting, "--runner=compile", f"--output={tmp_path / 'p.yaml'}")
    assert done.returncode == 0, done.stderr
    root = yaml.safe_load((tmp_path / "p.yaml").read_text())["root"]
    groups = root["inputDefinitions"]["parameters"]["models"]["defaultValue"]
    assert len(groups) == 51 and json.loads(groups[0]) == models[:2]


def test_description():
    text = cli.describe(information_plane)
    for line in (
        "  epochs (int): number of epochs.\n      default: 600",
        "  learning_rate (float): the (largest) learning rate.\n      default: 0.002",
        '      default: [{"name": "binning", "bins": 30}, "ebab", "akde"]',
        '\n  quick:\n      epochs=20\n      models=["szt"]\n      estimators=["ebab"]\n',
    ):
        assert line in text
    assert "      preset: 20\n" in cli.describe(information_plane, "quick")


@pytest.mark.parametrize("name", cli.PIPELINES)
def test_descriptions_are_whole(name):
    module = importlib.import_module(f"ib_keras.pipelines.{name}")
    of_all = cli.describe(module)
    for preset in (None, *module.PRESETS):
        text = cli.describe(module, preset)
        assert "…" not in text and max(map(len, text.splitlines())) <= 100
        words = " ".join(text.split())
        declared = inspect.signature(cli.pipeline_of(module, preset).pipeline_func).parameters
        for parameter, about in declared.items():
            assert re.search(rf"^  {parameter} \([a-z ]+\): \w", text, re.M), parameter
            of, value = "default", about.default
            if parameter in module.PRESETS.get(preset, {}):
                of, value = "preset", module.PRESETS[preset][parameter]
            assert f"{of}: {as_given(value)}" in words.replace("[ ", "[").replace(" ]", "]")
        # Whatever a preset sets is explained, also where it is of another pipeline.
        for key, value in module.PRESETS.get(preset, {}).items():
            assert re.search(rf"^  {key} \([a-z ]+\): \w", of_all, re.M), key
            given = f"{key}={as_given(value)}"
            assert given in " ".join(of_all.split()).replace("[ ", "[").replace(" ]", "]")


def as_given(value):
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return json.dumps(value)
    return f"[{', '.join(v if str(v)[:1] == '{' else json.dumps(v) for v in value)}]"


def test_presets_of_other_parameters_are_told_apart():
    text = cli.describe(lossy_compression)
    own, others = text.split("\n\nlossy_compression: Run estimators on pairs")
    assert "(without a preset, or with the presets mnist, mnist-quick, cifar10):" in " ".join(
        own.split()
    )
    assert "(with the presets synthetic, synthetic-quick):" in others
    assert "  cells (" in others and "  cells (" not in own
    text = cli.describe(lossy_compression, "synthetic")
    assert "  mi (" in text and "  models (" not in text
    assert "mnist, mnist-quick, cifar10 (--preset=mnist --describe)" in " ".join(text.split())


def test_ctrl_c_ends_in_a_word(monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._RUN, "local", interrupted)
    with flagsaver.flagsaver():
        flags.FLAGS(["ib-keras"])
        assert cli.run(["ib-keras"]) == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_findings_are_printed_by_finding(tmp_path, capsys):
    ib.frame.write(make_frame(), tmp_path)
    rows = [("rises", "relu", "dense", "slowly", "fast"), ("rises", "tanh", "", "slowly", "1.0"),
            ("falls", "relu", "", "", "0.2")]  # fmt: skip
    columns = ["finding", "run", "layer", "paper", "measured"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "findings.csv", index=False)
    cli._show(tmp_path)
    printed = capsys.readouterr().out
    assert (
        "measured results:\n  rises\n    paper: slowly\n    relu dense: fast\n    tanh: 1.0\n"
        "  falls\n    relu: 0.2\n" in printed
    )
