"""What is known of a run before it starts: its tasks, its loops, its users' files."""

import importlib
import json

import numpy as np
import pytest
from kfp import dsl

from ib_keras.components import base
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import adaptive_estimators, information_plane, lossy_compression, noisy_dnn
from ib_keras.pipelines.spec import graph

PLANE = information_plane.information_plane


def spec(pipeline=PLANE):
    return graph.specification(pipeline)


def test_tasks_are_counted_with_their_loops():
    tasks = graph.tasks(spec(), {"models": ["a", "b"], "estimators": ["x", "y", "z"]})
    # One data set; for each model a trainer, a capturer, a planner, the estimators that it plans,
    # and a reporter; a reporter.
    assert len(tasks) == 1 + 2 * (1 + 1 + 1 + 1 + 1) + 1
    trained = [t.arguments["model"] for t in tasks if t.name == "trainer"]
    assert sorted(trained) == ["a", "b"]
    planned = [t.arguments["estimators"] for t in tasks if t.name == "planner"]
    assert planned == [["x", "y", "z"]] * 2
    assert [t.name for t in tasks if t.planned] == ["estimator"] * 2
    others = graph.tasks(spec(adaptive_estimators.adaptive_estimators), {})
    assert len(others) == 1 + 16 + 1 and not any(t.planned for t in others)


@pytest.mark.parametrize(
    ("module", "pipeline", "loops"),
    [
        (information_plane, PLANE, {"models"}),
        (noisy_dnn, noisy_dnn.noisy_dnn, {"models"}),
        (adaptive_estimators, adaptive_estimators.adaptive_estimators, {"models"}),
        (lossy_compression, lossy_compression.lossy_compression, {"models"}),
        (lossy_compression, lossy_compression.known_information, {"cells"}),
    ],
)
def test_no_task_collects_more_than_a_hundred(module, pipeline, loops):
    assert set(graph.loops(spec(pipeline), {})) == loops
    for name in loops:
        items = [json.dumps({"name": "szt", "label": f"run {i}"}) for i in range(250)]
        grouped = graph.grouped(spec(pipeline), {name: items}, module.GROUPS)[name]
        assert len(grouped) == 84  # of 3 each, the last of 1
        assert [one for group in grouped for one in base.items(group)] == items


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ArgumentError, match="`models` has too many items.*at most 100.*101 items"):
        graph.grouped(spec(), {"models": ["szt"] * 101})
    assert graph.grouped(spec(), {"models": ["szt"] * 100}) == {"models": ["szt"] * 100}


def test_a_group_is_worked_off_by_its_tasks(tmp_path):
    """Two models with one task of each component: as with a task for each, in any shards."""
    import ib_keras as ib

    def artifact(name, kind=dsl.Dataset):
        return kind(name=name, uri=str(tmp_path / name))

    def run(name, *arguments, **parameters):
        module = importlib.import_module(f"ib_keras.components.{name}.component")
        return getattr(module, name).python_func(*arguments, **parameters)

    def reported(name, tables):
        run("reporter", tables, artifact(name), artifact(f"{name}-page", dsl.HTML))
        return ib.load(tmp_path / name).drop(columns="seconds")

    data, store = artifact("data"), artifact("store")
    checkpoints = artifact("checkpoints", dsl.Model)
    estimators = ["ebab", '{"name": "binning", "bins": 8}']
    models = [
        '{"name": "mlp", "hidden": [4]}',
        '{"name": "mlp", "hidden": [4], "activation": "relu"}',
    ]
    run("examples", "szt", data)
    run("trainer", data, checkpoints, model=json.dumps(models), epochs=1)
    run("capturer", checkpoints, data, store, max_samples=100)
    run("estimator", store, artifact("table"), estimator=json.dumps(estimators))
    whole = reported("whole", [artifact("table")])
    assert len(whole) == 2 * 2 * 2 * 2 * 2
    assert set(whole["run"]) == set(map(ib.models.label, models))
    for shards in (0, 3):
        plan = run("planner", store, estimators=estimators, shards=shards)
        assert len(plan) == 4 if not shards else 1 <= len(plan) <= shards
        tables = [artifact(f"shards-{shards}-{i}") for i in range(len(plan))]
        for shard, table in zip(plan, tables, strict=True):
            run("estimator", store, table, shard=shard)
        merged = reported(f"shards-{shards}", tables)
        assert merged.equals(whole)
        assert merged.attrs["provenance"] == whole.attrs["provenance"]


def variables(arguments, label):
    stamped = spec()
    graph.stamp(stamped, arguments)
    env = stamped["deploymentSpec"]["executors"][label]["container"]["env"]
    return {v["name"]: v["value"] for v in env}.get(graph.FILES_VARIABLE)


def test_a_files_content_is_an_input(tmp_path, monkeypatch):
    data, model = tmp_path / "d.npz", tmp_path / "m.keras"
    np.savez(data, x=np.zeros(3))
    model.write_text("1")
    (tmp_path / "nets_of_mine.py").write_text("def build(): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    named = json.dumps({"name": str(model), "noise_std": 0.1})
    for given, label, path in [
        ({"data": str(data)}, "exec-examples", data),
        ({"models": [str(model)]}, "exec-trainer", model),
        ({"models": [named]}, "exec-trainer", model),
        ({"models": [json.dumps(["szt", str(model)])]}, "exec-trainer", model),
        ({"models": ["nets_of_mine:build"]}, "exec-trainer", tmp_path / "nets_of_mine.py"),
    ]:
        before = variables(given, label)
        assert before is not None and variables(given, label) == before
        kept = path.read_bytes()
        path.write_bytes(b"other")
        assert variables(given, label) not in (before, None)
        path.write_bytes(kept)
        assert variables(given, label) == before
        # Tasks that do not read the file are not concerned.
        assert variables(given, "exec-capturer") is None
    assert variables({}, "exec-examples") is None


def test_folders_and_globs_are_inputs(tmp_path):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_text("1")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("1.keras", "ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (run / name).write_text("1")
    for given, label, path in [
        ({"data": str(folder)}, "exec-examples", folder / "a" / "1.png"),
        ({"models": [json.dumps({"checkpoints": f"{run}/*.keras"})]}, "exec-trainer",
         run / "1.keras"),
        ({"models": [json.dumps({"checkpoints": f"{run}/ckpt-*"})]}, "exec-trainer",
         run / "ckpt-1.index"),
        ({"models": [json.dumps({"checkpoints": f"{run}/ckpt-?"})]}, "exec-trainer",
         run / "ckpt-1.index"),
    ]:  # fmt: skip
        before = variables(given, label)
        assert before is not None and variables(given, label) == before
        path.write_text(path.read_text() + "x")
        changed = variables(given, label)
        assert changed not in (before, None)
        # A further file, and a file of another name, are changes, too.
        other = path.with_name(path.name.replace("1", "2"))
        path.rename(other)
        assert variables(given, label) not in (before, changed, None)
        other.rename(path)
        assert variables(given, label) == changed
    # A folder named by another parameter, such as that of unfinished work, is no input.
    assert variables({"models": [str(folder)]}, "exec-trainer") is None
