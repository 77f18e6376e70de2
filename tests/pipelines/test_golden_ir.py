"""Compiled pipelines are committed, so that a change of interface shows in review.

`make golden` rewrites those that have changed.
"""

import importlib
import pathlib

import pytest
from compiled import compare, compiled, masked

from ib_keras.components import base
from ib_keras.pipelines import cli

GOLDEN = pathlib.Path(__file__).parent / "golden"


def pipelines():
    for name in cli.PIPELINES:
        module = importlib.import_module(f"ib_keras.pipelines.{name}")
        variants = {None: None, **getattr(module, "VARIANTS", {})}
        yield from {p.name: p for p in (cli.pipeline_of(module, v) for v in variants)}.values()


@pytest.mark.parametrize("pipeline", pipelines(), ids=lambda p: p.name)
def test_compiled_as_committed(pipeline, tmp_path, request):
    update = request.config.getoption("--update-golden")
    compare(pipeline, GOLDEN / f"{pipeline.name}.yaml", tmp_path, update)


@pytest.mark.parametrize("pipeline", pipelines(), ids=lambda p: p.name)
def test_every_task_carries_the_version(pipeline, tmp_path):
    executors = masked(compiled(pipeline, tmp_path))["deploymentSpec"]["executors"].values()
    expected = {"name": base.VERSION_VARIABLE, "value": "masked"}
    assert all(expected in executor["container"]["env"] for executor in executors)


def test_nothing_is_left_over():
    assert {p.stem for p in GOLDEN.glob("*.yaml")} == {p.name for p in pipelines()}
