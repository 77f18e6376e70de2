"""Machines and accelerators, by component."""

import pytest
from google.protobuf import json_format
from kfp import dsl

from ib_keras.components.trainer.component import trainer
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import information_plane
from ib_keras.pipelines.spec import machines
from ib_keras.pipelines.spec.image import containers


@pytest.fixture
def spec():
    return json_format.MessageToDict(information_plane.information_plane.pipeline_spec)


def test_files_and_items_the_later_counts(tmp_path):
    file = tmp_path / "machines.yaml"
    file.write_text("trainer: {accelerator: NVIDIA_L4, cpu: 8}\nestimator: {memory: 32G}\n")
    assert machines.parse([str(file), "trainer.cpu=16", "capturer.cpu=2"]) == {
        "trainer": {"accelerator": "NVIDIA_L4", "cpu": "16"},
        "estimator": {"memory": "32G"},
        "capturer": {"cpu": "2"},
    }
    assert machines.parse(f"{file},trainer.cpu=16")["trainer"]["cpu"] == "16"
    assert machines.parse(None) == {}


def test_the_specification_is_what_kfp_would_have_compiled(spec):
    @dsl.pipeline(name="one")
    def one(examples: str = "gs://bucket/examples"):
        data = dsl.importer(artifact_uri=examples, artifact_class=dsl.Dataset)
        task = trainer(examples=data.output)
        task.set_accelerator_type("NVIDIA_L4").set_accelerator_limit(2)
        task.set_cpu_limit("8").set_memory_limit("32G")

    compiled = dict(containers(json_format.MessageToDict(one.pipeline_spec)))
    asked = {"trainer": {"accelerator": "NVIDIA_L4", "count": 2, "cpu": 8, "memory": "32G"}}
    found = machines.set_machines(spec, asked)
    assert dict(containers(found))["trainer"]["resources"] == compiled["trainer"]["resources"]
    assert [n for n, c in containers(found) if "resources" in c] == ["trainer"]
    assert not any("resources" in c for _, c in containers(spec))


def test_all_tasks_of_a_component_get_its_machine(spec):
    found = machines.set_machines(spec, {"reporter": {"cpu": 2}})
    named = [name for name, container in containers(found) if "resources" in container]
    assert named == ["reporter", "reporter"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("trainr.cpu=1", r"unknown component 'trainr'. Expected one of \['capturer', .*'trainer'"),
        ("trainer.gpu=1", "unknown key. Expected one of .*'accelerator'"),
        ("trainer.cpu=many", "is invalid: Invalid cpu.*Received: {'cpu': 'many'}"),
        ("trainer.memory=32X", "is invalid: Invalid memory"),
        ("trainer.accelerator=NVIDIA_L4,trainer.count=x", "is invalid: limit must be"),
        ("trainer.count=2", "count without an accelerator"),
        ("trainer.accelerator=L5", "unknown accelerator. Expected one of .*'NVIDIA_L4'.*L5"),
        ("cpu=8", "an item without a component"),
        ("nothing.yaml", "cannot be read. Expected a YAML file .*No such file"),
    ],
)
def test_bad_machines(spec, given, message):
    with pytest.raises(ArgumentError, match=message):
        machines.set_machines(spec, machines.parse(given), ["NVIDIA_L4", "NVIDIA_H100_80GB"])


@pytest.mark.parametrize("text", ["trainer", "trainer: 8", "trainer: {a: [}", "- trainer"])
def test_files_that_are_no_tables(tmp_path, text):
    file = tmp_path / "machines.yaml"
    file.write_text(text)
    with pytest.raises(ArgumentError, match="machines"):
        machines.parse(str(file))
