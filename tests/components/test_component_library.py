"""Each component alone: in another team's pipeline, and as a file."""

import importlib
import inspect
import pathlib

import pytest
from compiled import compare, compiled, masked
from kfp import components, dsl

import ib_keras
from ib_keras.components import base

ROOT = pathlib.Path(__file__).parents[2] / "components"
NAMES = sorted(path.parent.name for path in ROOT.glob("*/component.py"))


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_up_to_date(name, tmp_path, request, monkeypatch):
    component = getattr(importlib.import_module(f"ib_keras.components.{name}.component"), name)
    container = component.component_spec.implementation.container
    assert container.image == base.DEFAULT_IMAGE
    assert "pip install" not in " ".join(container.command)
    # KFP 2.17 cannot put a component into a pipeline that it has read from a file with variables.
    monkeypatch.setattr(container, "env", None)
    update = request.config.getoption("--update-golden")
    compare(component, ROOT / name / "component.yaml", tmp_path, update)
    loaded = components.load_component_from_file(str(ROOT / name / "component.yaml"))
    assert loaded.name == name.replace("_", "-")


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_converted(name):
    # In a loop, KFP 2.17 passes small numbers as texts such as "1e-05".
    component = getattr(importlib.import_module(f"ib_keras.components.{name}.component"), name)
    function = component.python_func
    for parameter, annotation in inspect.get_annotations(function).items():
        if annotation is float:
            assert f"float({parameter})" in inspect.getsource(function)


def test_in_another_teams_pipeline(tmp_path):
    from ib_keras.components.capturer import component as capturer
    from ib_keras.components.estimator import component as estimator

    read = components.load_component_from_file(str(ROOT / "examples" / "component.yaml"))

    @dsl.pipeline(name="theirs")
    def theirs(checkpoints: str):
        model = dsl.importer(artifact_uri=checkpoints, artifact_class=dsl.Model)
        store = capturer.capturer(
            checkpoints=model.output, examples=read(data="digits").outputs["output"]
        )
        estimator.estimator(store=store.outputs["output"], estimator="kde")

    spec = masked(compiled(theirs, tmp_path))
    assert set(spec["root"]["dag"]["tasks"]) == {"importer", "examples", "capturer", "estimator"}
    executors = [
        e["container"] for e in spec["deploymentSpec"]["executors"].values() if "container" in e
    ]
    # What was imported carries its version; a file's user names an image instead.
    version = {"name": base.VERSION_VARIABLE, "value": "masked"}
    assert sorted(version in e.get("env", []) for e in executors) == [False, True, True]


def test_the_version_follows_the_source(monkeypatch, tmp_path):
    base.version.cache_clear()
    monkeypatch.delenv(base.VERSION_VARIABLE, raising=False)
    try:
        before = base.version()
        assert before.startswith(f"{ib_keras.__version__}+")
        for part in ("components", "pipelines", "estimators"):
            (tmp_path / "ib_keras" / part).mkdir(parents=True)
        (tmp_path / "ib_keras" / "a.py").write_text("1")
        monkeypatch.setattr(ib_keras, "__file__", str(tmp_path / "ib_keras" / "__init__.py"))
        versions = []
        for path, text in (
            ("a.py", "1"),
            ("pipelines/p.py", "1"),
            ("estimators/e.py", "1"),
            ("a.py", "2"),
        ):
            (tmp_path / "ib_keras" / path).write_text(text)
            base.version.cache_clear()
            versions.append(base.version())
        # A pipeline's own file is no part of what a task does.
        assert versions[0] == versions[1] and len({before, *versions}) == 4
        monkeypatch.setenv(base.VERSION_VARIABLE, "mine")
        base.version.cache_clear()
        assert base.version() == "mine"
    finally:
        base.version.cache_clear()


def test_several_items_in_one_task(tmp_path):
    assert base.items("szt") == ["szt"]
    assert base.items('{"name": "szt"}') == ['{"name": "szt"}']
    assert base.items('["szt", {"name": "mlp"}]') == ["szt", '{"name": "mlp"}']

    def run(folder, item):
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "made").write_text(item)
        return {"item": item, "unit": "nats"}

    one, many = str(tmp_path / "one"), str(tmp_path / "many")
    assert base.each(run, one, ["a"]) == {"item": "a", "unit": "nats"}
    assert base.each(run, many, ["b", "c"]) == {"parts": 2, "unit": "nats"}
    made = [(pathlib.Path(path) / "made").read_text() for path in base.parts(one, many)]
    assert made == ["a", "b", "c"]
