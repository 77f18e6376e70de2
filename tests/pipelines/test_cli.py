import inspect
import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from ib_keras.pipelines import (
    adaptive_estimators,
    cli,
    information_plane,
    lossy_compression,
    noisy_dnn,
)

from ib_keras.errors import ArgumentError

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
    parsed = cli.parse_settings(PIPELINE, ['models=[{"name": "szt", "activation": "relu"}]'])
    assert parsed == {"models": ['{"name": "szt", "activation": "relu"}']}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=5", "'epoch' is unknown.*'epochs'"),
        ("epochs", "sets nothing"),
        ("epochs=many", "epochs is no int"),
        ("learning_rate=fast", "no float"),
        ('models=["szt"', "no JSON list"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ArgumentError, match=message):
        cli.parse_settings(PIPELINE, [setting])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimators": ["ebba"]}, "'ebab'"),
        ({"estimators": []}, "empty"),
        ({"models": ["resnet"]}, "'szt'"),
        ({"models": ["no/such.keras"]}, "does not exist"),
        ({"data": "mnits"}, "'mnist'"),
        ({"data": "no.npz"}, "does not exist"),
        ({"record": "often"}, "no schedule"),
        ({"split": "most"}, "'train', 'test' or 'all'"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"noise_std": -1.0}, "noise_std"),
    ],
)
def test_settings_are_checked_before_the_first_task(settings, message):
    with pytest.raises(ArgumentError, match=message):
        information_plane.check(settings)


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
    for arguments in (["--set=epoch=3"], ["--preset=fast"], ["--data=nothing.npz"], ["stray"]):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "Expected" in done.stderr and "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())


def test_help_lists_the_flags():
    command_line = pathlib.Path(sys.executable).with_name("ib-keras")
    text = subprocess.run([command_line, "--helpshort"], capture_output=True, text=True).stdout
    for flag in ("--pipeline", "--runner", "--preset", "--set", "--data", "--model", "--run_dir"):
        assert flag in text
    assert "ib-keras --preset=digits" in text


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    done = command("--preset=quick", f"--run_dir={tmp_path}")
    assert done.returncode == 1 and "no folder of a pipeline's runs" in done.stderr
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.pipeline
def test_the_main_job_by_subprocesses(tmp_path):
    settings = [
        "--set=epochs=2", "--set=max_samples=300", '--set=estimators=["ebab", "binning"]',
        '--set=models=["szt", {"name": "szt", "activation": "relu"}]',
    ]  # fmt: skip
    done = command(*settings, f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "{" not in done.stdout  # no JSON
    assert "run szt-relu, estimator binning, rows 36" in done.stdout
    assert "report.html" in done.stdout and "Last epoch (nats)" in done.stdout

    import ib_keras as ib

    table = ib.load(tmp_path / "run")
    assert len(table) == 2 * 2 * 3 * 6 * 2
    assert set(table["run"]) == {"szt", "szt-relu"}
    assert table["value"].notna().all()
    for name in ("information_plane.png", "report.html"):
        assert (tmp_path / "run" / name).stat().st_size > 10_000


@pytest.mark.pipeline
def test_a_failing_task_is_shown_last(tmp_path):
    # The model is found, but does not fit the data: only the task can know.
    done = command("--set=models=mnist_cnn", "--set=epochs=1", f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "trainer FAILED" in done.stdout
    assert "ArgumentError: The images do not fit. Expected" in done.stderr
    log = pathlib.Path(done.stderr.strip().splitlines()[-1].removeprefix("Full log: "))
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "run" / "estimates.parquet").exists()
