"""The cost of the local runner: against the executors alone, and of tasks side by side."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import contextlib
import io
import json
import pathlib
import tempfile
import time
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

import keras
import numpy as np
from kfp import dsl

import ib_keras as ib
from benchmarks._measure import Row, table
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.estimator import executor as estimator
from ib_keras.components.estimator.component import estimator as estimator_task
from ib_keras.components.examples import executor as examples
from ib_keras.components.reporter import executor as reporter
from ib_keras.components.reporter.component import reporter as reporter_task
from ib_keras.components.trainer import executor as trainer
from ib_keras.pipelines.information_plane import information_plane
from ib_keras.pipelines.runners import local

SETTINGS: dict[str, Any] = {"models": ["szt"], "estimators": ["ebab", "akde"], "epochs": 20}
TASKS = 8
# These estimations spend four fifths of their time on one core. Estimations that use all cores gain
# nothing side by side.
HEAVY = [json.dumps({"name": "ksg", "k": k}) for k in range(1, 7)]


def in_one_process(folder: pathlib.Path) -> float:
    """Return the seconds of a run's executors, one after another; TensorFlow is imported before."""
    keras.layers.Dense(1)
    start = time.perf_counter()
    examples.run("szt", folder / "data")
    trainer.run(folder / "data", folder / "models", epochs=SETTINGS["epochs"], learning_rate=0.002)
    capturer.run(folder / "models", folder / "data", folder / "store")
    tables = []
    for i, name in enumerate(SETTINGS["estimators"]):
        tables.append(folder / f"table-{i}")
        estimator.run(folder / "store", tables[-1], estimator=name)
    reporter.run(tables, folder / "plane")
    reporter.run([folder / "plane"], folder / "report")
    return time.perf_counter() - start


def by_runner(pipeline: Any, settings: dict[str, Any], run_dir: pathlib.Path) -> float:
    """Return the seconds of a run by the local runner."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        local.run(pipeline, settings, run_dir)
    return time.perf_counter() - start


def heavy_tasks(side_by_side: int) -> Any:
    """Return a pipeline of estimations of one store, ``side_by_side`` at a time."""

    @dsl.pipeline(name=f"heavy-{side_by_side}")
    def heavy(store: str, estimators: List[str]) -> dsl.Dataset:  # noqa: UP006
        activations = dsl.importer(artifact_uri=store, artifact_class=dsl.Dataset)
        with dsl.ParallelFor(estimators, parallelism=side_by_side) as one:
            task = estimator_task(store=activations.output, estimator=one)
        report = reporter_task(estimates=dsl.Collected(task.outputs["output"]))
        return report.outputs["output"]

    return heavy


def make_store(path: pathlib.Path, n: int = 2000, layers: int = 4, epochs: int = 4) -> None:
    """Make a store of random activations."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    names = [f"layer_{i}" for i in range(layers)]
    store = ib.ActivationStore.create(
        path, inputs=x, targets=rng.integers(0, 10, n), layers=names, run="heavy"
    )
    for epoch in range(epochs):
        with store.writer(epoch, noise_std={}) as writer:
            for name in names:
                writer.write(name, np.tanh(x @ rng.normal(size=(10, 16))).astype(np.float32))


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "plain").mkdir()
        plain = in_one_process(folder / "plain")
        ran = by_runner(information_plane, SETTINGS, folder / "ran")
        again = by_runner(information_plane, SETTINGS, folder / "ran")
        make_store(folder / "store")
        given = {"store": str(folder / "store"), "estimators": HEAVY}
        in_turn = by_runner(heavy_tasks(1), given, folder / "one")
        together = by_runner(heavy_tasks(2), given, folder / "two")
    return [
        Row(
            "seconds a task over the executors in one process",
            (ran - plain) / TASKS,
            "<= 6",
            f"information_plane, {TASKS} tasks: {ran:.0f} s, executors {plain:.1f} s",
        ),
        Row(
            "six heavy estimations side by side / in turn",
            together / in_turn,
            "<= 0.65",
            f"ksg of 2 000 samples, 16 layers: {together:.0f} s, in turn {in_turn:.0f} s; "
            f"{os.cpu_count()} cores",
        ),
        Row(
            "an unchanged run / the first",
            again / ran,
            "<= 0.1",
            f"{again:.1f} s: no task runs again",
        ),
    ]


if __name__ == "__main__":
    print(table(run()))
