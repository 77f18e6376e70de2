"""Runs a pipeline on this machine by ``kfp.local``, one subprocess a task."""

from __future__ import annotations

import datetime
import functools
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from kfp import components, local

from ib_keras.errors import ArgumentError, IbKerasError
from ib_keras.pipelines.runners.progress import Failure
from ib_keras.pipelines.runners.progress import shown as progress_shown
from ib_keras.pipelines.spec import graph
from ib_keras.storage import atomic, locks, manifests

OWNED = ".ib-keras-run"
TASKS, CACHE = "tasks", "cache"


class PipelineError(IbKerasError, RuntimeError):
    """A task of a pipeline failed."""


def run(
    pipeline: Any,
    arguments: dict[str, Any],
    run_dir: str | os.PathLike,
    *,
    groups: Iterable[str] = (),
    enable_caching: bool = True,
) -> pathlib.Path:
    """Runs a compiled pipeline and puts what its last task wrote into ``run_dir``.

    A task that ended well in an earlier run in this folder is not run again, unless its inputs,
    the library or the user's files that its arguments name have changed: a run that failed or was
    killed goes on from there.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline`` that returns an artifact, or what
            ``kfp.components.load_component_from_file`` read.
        arguments: its arguments.
        run_dir: a folder of an earlier run or a new one. Results of an earlier run are replaced,
            one finished file at a time, and those that are not among the new ones removed, once
            this run has ended well; what its tasks wrote stays, under ``tasks/``.
        groups: parameters of which a task takes several items, see ``_graph.grouped``.
        enable_caching: whether tasks of earlier runs need not run again.

    Returns:
        ``run_dir``.

    Raises:
        ArgumentError: ``run_dir`` is not a folder of runs, or a loop is too long.
        StoreError: another process runs a pipeline there.
        PipelineError: a task failed; the error ends with the task's own.
    """
    folder = check_run_dir(run_dir)
    spec = graph.specification(pipeline)
    arguments = graph.grouped(spec, arguments, groups)
    graph.stamp(spec, arguments)
    total = len(graph.tasks(spec, arguments))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNED).touch()
    with locks.held(folder):
        return _run(folder, spec, arguments, total, enable_caching)


def _run(
    folder: pathlib.Path,
    spec: dict[str, Any],
    arguments: dict[str, Any],
    total: int,
    enable_caching: bool,
) -> pathlib.Path:
    started = datetime.datetime.now()
    log = folder / TASKS / f"{started:%Y%m%d-%H%M%S}.log"
    log.parent.mkdir(exist_ok=True)
    # Two tasks of a loop may share a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(log.parent.resolve()),
        raise_on_error=True,
        enable_caching=enable_caching,
        cache_root=str((log.parent / CACHE).resolve()),
    )
    stamped = components.load_component_from_text(json.dumps(spec))
    failure: RuntimeError | None = None
    with (
        open(log, "w", buffering=1) as file,
        progress_shown(file, sys.stdout, total) as progress,
    ):
        try:
            result = stamped(**arguments)
        except RuntimeError as error:
            failure = error
    if failure is not None:
        raise _error(progress.failures, log) from failure
    written = pathlib.Path(result.outputs["Output"].path)
    # The manifest, which has the others' checksums, is gone while they are replaced.
    results = sorted(
        written.iterdir(), key=lambda path: (path.name == manifests.MANIFEST, path.name)
    )
    atomic.remove_unfinished(folder)
    (folder / manifests.MANIFEST).unlink(missing_ok=True)
    for path in results:
        atomic.write_file(folder / path.name, functools.partial(shutil.copyfile, path))
    names = [path.name for path in results]
    for name in set((folder / OWNED).read_text().splitlines()) - set(names):
        manifests.inside(folder, name).unlink(
            missing_ok=True
        )  # of an earlier run, which had other results
    atomic.write_file(folder / OWNED, lambda file: file.write_text("\n".join(names)))
    return folder


def check_run_dir(run_dir: str | os.PathLike) -> pathlib.Path:
    """Raises unless results can be written there without touching anybody else's files.

    Args:
        run_dir: a folder of an earlier run or a new one.

    Returns:
        It.

    Raises:
        ArgumentError: it is not a folder of runs.
    """
    folder = pathlib.Path(run_dir)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{str(folder)!r} is a file", "a new folder", "a file")
    if folder.exists() and any(folder.iterdir()) and not (folder / OWNED).exists():
        raise ArgumentError(
            f"{str(folder)!r} is not a folder of a pipeline's runs",
            "a new or empty folder, or that of an earlier run",
            sorted(p.name for p in folder.iterdir())[:10],
        )
    return folder


def _error(failures: list[Failure], log: pathlib.Path) -> PipelineError:
    """Names all tasks that failed, and ends with all that the first of them said."""
    if not failures:
        return PipelineError("The pipeline failed", "every task to end well", f"see {log}")
    first, *others = failures
    also = "".join(f"The task {f.name} failed too: {f.log}\n" for f in others)
    end = first.error or "It said nothing: was it killed, for want of memory?"
    return PipelineError(
        f"The task {first.name} failed",
        "every task to end well; the same command goes on from the last one that did",
        f"\n{also}Log of the task: {first.log}\nFull log: {log}\n\n{end}",
    )
