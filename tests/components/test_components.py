"""The declared interfaces: names, types and defaults that other teams' pipelines rely on."""

import inspect

import pytest
from ib_keras.components.adaptive_reporter.component import adaptive_reporter
from ib_keras.components.base import DEFAULT_IMAGE
from ib_keras.components.capturer import executor as capturer_executor
from ib_keras.components.capturer.component import capturer
from ib_keras.components.clusterer import executor as clusterer_executor
from ib_keras.components.clusterer.component import clusterer
from ib_keras.components.ensembler import executor as ensembler_executor
from ib_keras.components.ensembler.component import ensembler
from ib_keras.components.estimator.component import estimator
from ib_keras.components.examples.component import examples
from ib_keras.components.noisy_reporter.component import noisy_reporter
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer import executor as trainer_executor
from ib_keras.components.trainer.component import trainer

INTERFACES = {
    examples: (
        {"data": "String", "test_fraction": "Float", "seed": "Integer"},
        {"output": "system.Dataset@0.0.1"},
    ),
    trainer: (
        {
            "examples": "system.Dataset@0.0.1", "model": "String", "epochs": "Integer",
            "batch_size": "Integer", "learning_rate": "Float", "noise_std": "Float",
            "record": "String", "seed": "Integer",
        },
        {"output": "system.Model@0.0.1"},
    ),
    capturer: (
        {
            "checkpoints": "system.Model@0.0.1", "examples": "system.Dataset@0.0.1",
            "split": "String", "max_samples": "Integer", "draws": "Integer",
            "conditional_inputs": "Integer", "propagations": "Integer", "seed": "Integer",
        },
        {"output": "system.Dataset@0.0.1"},
    ),
    estimator: (
        {"store": "system.Dataset@0.0.1", "estimator": "String", "estimators": "typing.List[str]"},
        {"output": "system.Dataset@0.0.1"},
    ),
    clusterer: (
        {
            "store": "system.Dataset@0.0.1", "width": "Float", "max_samples": "Integer",
            "seed": "Integer",
        },
        {"output": "system.Dataset@0.0.1"},
    ),
    ensembler: (
        {
            "examples": "system.Dataset@0.0.1", "estimators": "typing.List[str]",
            "model": "String", "seeds": "Integer", "epochs": "Integer", "batch_size": "Integer",
            "learning_rate": "Float", "record": "String", "seed": "Integer",
        },
        {"output": "system.Dataset@0.0.1"},
    ),
    adaptive_reporter: (
        {"estimates": "system.Dataset@0.0.1", "title": "String"},
        {"output": "system.Dataset@0.0.1", "page": "system.HTML@0.0.1"},
    ),
    noisy_reporter: (
        {
            "estimates": "system.Dataset@0.0.1", "clusters": "system.Dataset@0.0.1",
            "title": "String",
        },
        {"output": "system.Dataset@0.0.1", "page": "system.HTML@0.0.1"},
    ),
    reporter: (
        {"estimates": "system.Dataset@0.0.1", "title": "String"},
        {"output": "system.Dataset@0.0.1", "page": "system.HTML@0.0.1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("component", INTERFACES, ids=lambda c: c.name)
def test_interface(component):
    inputs, outputs = INTERFACES[component]
    spec = component.component_spec
    assert {name: i.type for name, i in spec.inputs.items()} == inputs
    assert {name: o.type for name, o in spec.outputs.items()} == outputs
    assert spec.implementation.container.image == DEFAULT_IMAGE
    assert "pip install" not in " ".join(spec.implementation.container.command)


@pytest.mark.parametrize(
    ("component", "executor"),
    [
        (trainer, trainer_executor),
        (capturer, capturer_executor),
        (clusterer, clusterer_executor),
        (ensembler, ensembler_executor),
    ],
)
def test_defaults_are_the_executors(component, executor):
    signature = inspect.signature(executor.run).parameters
    for name, declared in component.component_spec.inputs.items():
        if declared.optional:
            assert declared.default == signature[name].default, name
