"""Runs on this machine: what is not run again, what a killed run leaves, what tasks import."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import kfp.local
import numpy as np
import pandas as pd
import pytest
import yaml
from kfp import components, dsl
from make_frame import make_frame

import ib_keras as ib
from ib_keras.pipelines import information_plane
from ib_keras.pipelines.runners import local

SETTINGS = {
    "models": ["szt", '{"name": "szt", "activation": "relu"}'],
    "estimators": ["ebab", "binning"],
    "epochs": 2,
    "max_samples": 300,
}
TASKS = 1 + 2 * (1 + 1 + 1 + 2 + 1) + 1
_RUN = """
import json, sys
from ib_keras.pipelines import information_plane, local
local.run(information_plane.information_plane, json.loads(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def version():
    """One version for all runs of this module: nobody's edit makes them start anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IB_KERAS_VERSION", information_plane_version())
        yield


def information_plane_version():
    spec = information_plane.information_plane.pipeline_spec
    (variable,) = spec.deployment_spec["executors"]["exec-trainer"]["container"]["env"]
    return variable["value"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, version):
    """A run from the command line, and what it printed; its tasks' logs tell their imports."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    texts = [f"--set={k}={v if isinstance(v, int) else json.dumps(v)}" for k, v in SETTINGS.items()]
    done = subprocess.run(
        [sys.executable, "-m", "ib_keras.pipelines.cli", *texts, f"--run_dir={folder}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return folder, done.stdout


def outcome(printed):
    """Names of the tasks that ran, and of those that did not need to."""
    lines = [line.split() for line in printed.splitlines() if line.startswith("[")]
    return [sorted(x[1] for x in lines if x[2] == word) for word in ("done", "unchanged,")]


def values(folder):
    table = ib.load(folder).drop(columns="seconds")
    return table.sort_values(
        ["run", "estimator", "epoch", "layer_index", "quantity"], ignore_index=True
    )


@pytest.mark.pipeline
def test_the_main_job_by_subprocesses(finished):
    folder, printed = finished
    assert "{" not in printed  # no JSON
    assert "run szt-relu, estimator binning, rows 36" in printed
    assert f"(0 of {TASKS} tasks left)" in printed
    assert "report.html" in printed and "Last epoch (nats)" in printed
    table = ib.load(folder)
    assert len(table) == 2 * 2 * 3 * 6 * 2
    assert set(table["run"]) == {"szt", "szt-relu"}
    assert table["value"].notna().all()
    for name in ("information_plane.png", "report.html"):
        assert (folder / name).stat().st_size > 10_000


@pytest.mark.pipeline
def test_tensorflow_is_imported_where_it_is_needed(finished):
    folder, _ = finished
    logs = list((folder / "tasks").rglob("log.txt"))
    assert len(logs) == TASKS
    for log in logs:
        lines = log.read_text().splitlines()
        imported = [line.rpartition("|")[2].strip() for line in lines if "import time:" in line]
        task = log.parent.name
        assert imported.count("tensorflow") == (1 if task in ("trainer", "capturer") else 0), task


def test_components_that_need_no_tensorflow():
    names = ("examples", "planner", "estimator", "reporter", "known_pairs", "clusterer")
    code = "\n".join(f"import ib_keras.components.{name}.executor" for name in names)
    code += "\nimport sys; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.pipeline
def test_what_has_not_changed_is_not_run_again(finished, capsys):
    folder, _ = finished
    before = values(folder)
    local.run(information_plane.information_plane, SETTINGS, folder)
    assert outcome(capsys.readouterr().out)[0] == []
    assert values(folder).equals(before)

    other = {**SETTINGS, "estimators": ["ebab", '{"name": "binning", "bins": 7}']}
    local.run(information_plane.information_plane, other, folder)
    ran, unchanged = outcome(capsys.readouterr().out)
    assert ran == ["estimator"] * 2 + ["planner"] * 2 + ["reporter"] * 2 + ["reporter-2"]
    assert unchanged == ["capturer"] * 2 + ["estimator"] * 2 + ["examples"] + ["trainer"] * 2
    local.run(information_plane.information_plane, SETTINGS, folder)
    assert outcome(capsys.readouterr().out)[0] == []
    assert values(folder).equals(before)


@pytest.mark.pipeline
@pytest.mark.filterwarnings("ignore:Task 'trainer'. settings:UserWarning")  # no accelerator here
def test_what_vertex_is_sent_gives_the_same_estimates(finished, service, tmp_path):
    """The part of the run that is one model and one estimator, from the request that arrived."""
    import fake_vertex

    part = {**SETTINGS, "models": ["szt"], "estimators": ["ebab"]}
    fake_vertex.submit(part, machines="trainer.accelerator=NVIDIA_L4")
    spec, parameters = fake_vertex.arrived(service.created[0])
    assert parameters == part
    file = tmp_path / "arrived.yaml"
    file.write_text(yaml.safe_dump(spec))
    whole = {key: int(v) if isinstance(v, float) else v for key, v in parameters.items()}
    kfp.local.init(
        kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), raise_on_error=True
    )
    there = components.load_component_from_file(str(file))(**whole)
    here = values(finished[0])
    here = here[(here["run"] == "szt") & (here["estimator"] == "ebab")].reset_index(drop=True)
    pd.testing.assert_frame_equal(values(there.outputs["Output"].path), here)


# Kills a task that has one layer where it puts what it has written in its place.
_KILL = """
import os, pathlib, signal, sys

def killing(function):
    def replacement(source, target, **kwargs):
        mark = pathlib.Path(os.environ.get("KILL", "none"))
        has_layer = mark.name in " ".join(sys.argv)
        if str(target).endswith("/estimator/output") and mark.is_file() and has_layer:
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(source, target, **kwargs)
    return replacement

os.rename = killing(os.rename)
"""


@pytest.mark.pipeline
def test_a_killed_shard_is_run_again_alone(finished, tmp_path, monkeypatch, capsys):
    """The training is taken from the finished run."""
    folder, run_dir = finished[0], tmp_path / "run"
    shutil.copytree(folder / "tasks" / "cache", run_dir / "tasks" / "cache")
    (run_dir / local.OWNED).touch()
    mark = tmp_path / "dense_1"
    mark.touch()
    (tmp_path / "sitecustomize.py").write_text(_KILL)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("KILL", str(mark))
    settings = {**SETTINGS, "models": ["szt"], "estimators": ["ebab"], "shards": 3}
    with pytest.raises(local.PipelineError, match="(?s)estimator failed.*Killed"):
        local.run(information_plane.information_plane, settings, run_dir)
    assert not mark.exists()
    printed = capsys.readouterr().out
    ran, unchanged = outcome(printed)
    assert ran == ["estimator"] * 2 + ["planner"]
    assert unchanged == ["capturer", "examples", "trainer"]
    assert printed.count("FAILED") == 1
    assert not (run_dir / "estimates.parquet").exists()
    local.run(information_plane.information_plane, settings, run_dir)
    ran, unchanged = outcome(capsys.readouterr().out)
    assert ran == ["estimator", "reporter", "reporter-2"]
    assert unchanged == ["capturer"] + ["estimator"] * 2 + ["examples", "planner", "trainer"]
    whole = values(folder)
    whole = whole[(whole["run"] == "szt") & (whole["estimator"] == "ebab")]
    pd.testing.assert_frame_equal(values(run_dir), whole.reset_index(drop=True), check_exact=True)


def pipeline_of_examples(version="1"):
    """A pipeline of one short task, from the component's file, as another team would make it."""
    root = pathlib.Path(__file__).parents[2] / "components"
    read = components.load_component_from_file(str(root / "examples" / "component.yaml"))

    @dsl.pipeline(name="one-task")
    def one_task(data: str) -> dsl.Dataset:
        task = read(data=data)
        task.set_env_variable("IB_KERAS_VERSION", version)
        return task.outputs["output"]

    return one_task


@pytest.mark.pipeline
def test_failure_change_and_new_version(tmp_path, capsys):
    data, run_dir = tmp_path / "d.npz", tmp_path / "run"
    settings = {"data": str(data)}
    np.savez(data, x=np.zeros((40, 3)), colours=np.arange(40) % 2)
    with pytest.raises(local.PipelineError) as failed:
        local.run(pipeline_of_examples(), settings, run_dir)
    assert "FAILED" in capsys.readouterr().out
    message = str(failed.value)
    assert "Traceback (most recent call last)" in message
    assert (
        message.splitlines()[-1].startswith("ib_keras.errors.ArgumentError: The file")
        and "colours" in message.splitlines()[-1]
    )
    (log,) = (run_dir / "tasks").rglob("examples/log.txt")
    assert f"Log of the task: {log}" in message and "lacks" in log.read_text()
    assert [p.name for p in run_dir.iterdir() if p.suffix == ".npy"] == []

    def ran(version="1"):
        local.run(pipeline_of_examples(version), settings, run_dir)
        return outcome(capsys.readouterr().out)[0] == ["examples"]

    np.savez(data, x=np.zeros((40, 3)), y=np.arange(40) % 2)
    assert ran()
    assert not ran()
    np.savez(data, x=np.ones((40, 3)), y=np.arange(40) % 2)
    assert ran()  # another content of the same name
    assert np.load(run_dir / "x_train.npy").min() == 1
    mark = run_dir / local.OWNED
    (run_dir / "old.png").write_text("of an earlier run")
    (run_dir / "notes.txt").write_text("mine")
    mark.write_text(mark.read_text() + "\nold.png")
    assert ran(version="2")
    assert not ran(version="2")
    assert not (run_dir / "old.png").exists() and (run_dir / "notes.txt").exists()
    local.run(pipeline_of_examples("2"), settings, run_dir, enable_caching=False)
    assert outcome(capsys.readouterr().out)[0] == ["examples"]


def test_readers_find_estimates_with_their_own_logs(tmp_path):
    """Every third result has no logs."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / local.OWNED).touch()
    wrong, stop = set(), threading.Event()

    def publish(number):
        results = tmp_path / f"results-{number}"
        table = make_frame(epochs=(0, 1)).assign(value=float(number))
        logs = table[["run", "epoch"]].drop_duplicates().assign(loss=float(number))
        ib.frame.write(table, results, logs=logs if number % 3 else None)
        (results / f"{number}.png").write_text("a picture")
        local.publish(results, folder)
        left = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert left == {path.name for path in results.iterdir()}

    def read():
        reads = 0
        while not stop.is_set():
            table = ib.load(folder)
            (value,) = set(table["value"])
            losses = set(table["loss"]) if "loss" in table else set()
            if losses != ({value} if value % 3 else set()):
                wrong.add((value, *losses))
            reads += 1
        return reads

    publish(1)
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for number in range(2, 60):
                publish(number)
        finally:
            stop.set()
        assert all(reader.result() > 10 for reader in readers)
    assert not wrong


def cached(run_dir):
    """The artifacts that a later run would take as they are."""
    for entry in (run_dir / "tasks" / "cache").glob("*.json"):
        for output in json.loads(entry.read_text()).values():
            if isinstance(output, dict):
                yield pathlib.Path(output["uri"])


# Stops a task for good where it puts what it has written in its place.
_HOLD = """
import os, pathlib, time

def held(function):
    def replacement(source, target, **kwargs):
        if f"/{os.environ.get('HOLD')}/output" in str(target):
            pathlib.Path(os.environ["HELD"]).touch()
            time.sleep(600)
        return function(source, target, **kwargs)
    return replacement

os.rename, os.replace = held(os.rename), held(os.replace)
"""


@pytest.mark.pipeline
@pytest.mark.skipif("IB_KERAS_SOAK" not in os.environ, reason="a minute; part of `make soak`")
def test_killed_in_the_middle_of_each_task(finished, tmp_path):
    """The runner is killed while it is at each task in turn, with its tasks half written."""
    run_dir = tmp_path / "run"
    (tmp_path / "sitecustomize.py").write_text(_HOLD)
    command = [sys.executable, "-c", _RUN, json.dumps(SETTINGS), str(run_dir)]
    known: set[pathlib.Path] = set()
    for task in ("examples", "trainer", "capturer", "estimator", "reporter", "reporter-2"):
        held = tmp_path / f"{task} is held"
        runner = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "HOLD": task, "HELD": str(held)},
            start_new_session=True,
        )
        try:
            while runner.poll() is None and not held.exists():
                time.sleep(0.02)
            runner.send_signal(signal.SIGKILL)
            assert runner.wait() == -signal.SIGKILL
        finally:
            os.killpg(runner.pid, signal.SIGKILL)  # the tasks outlive it
        assert not (run_dir / "estimates.parquet").exists()
        found = set(cached(run_dir))
        assert known <= found
        # Nothing of the task that it was at counts as made, and what counts is whole.
        assert not [path for path in found if path.parent.name == task]
        assert all(path.is_file() or (path / "manifest.json").is_file() for path in found)
        known = found
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ran, unchanged = outcome(done.stdout)
    assert ran == ["reporter-2"] and len(unchanged) == TASKS - 1
    pd.testing.assert_frame_equal(values(run_dir), values(finished[0]), check_exact=True)
