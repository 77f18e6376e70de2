"""Runs a pipeline on this machine with ``kfp.local``, one subprocess per task."""

from __future__ import annotations

import collections
import datetime
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from kfp import components, local

from ib_keras import frame
from ib_keras.errors import ArgumentError, IbKerasError, StoreError
from ib_keras.frame import files as tables
from ib_keras.pipelines import places
from ib_keras.pipelines.runners.progress import Failure
from ib_keras.pipelines.runners.progress import shown as progress_shown
from ib_keras.pipelines.spec import graph
from ib_keras.storage import atomic, locks, manifests

OWNED = ".ib-keras-run"
TASKS, CACHE = "tasks", "cache"
_THREADS = "TF_NUM_INTRAOP_THREADS"


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
    """Run a compiled pipeline and copy the results of its last task into ``run_dir``.

    A task that succeeded in an earlier run in this folder is not run again, unless its inputs, the
    library or the user's files that its arguments name have changed. A run that failed or was
    killed is resumed in this way.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline`` that returns an artifact, or a
            pipeline read by ``kfp.components.load_component_from_file``.
        arguments: the arguments of the pipeline.
        run_dir: a new folder, or the folder of an earlier run. When this run has succeeded, the
            results of the earlier run are replaced or removed. The outputs of all tasks stay under
            ``tasks/``.
        groups: parameters whose items may be grouped, see ``spec.graph.grouped``.
        enable_caching: whether to reuse the results of unchanged tasks of earlier runs.

    Returns:
        ``run_dir``.

    Raises:
        ArgumentError: If ``run_dir`` is not a folder of runs, or a loop is too long.
        StoreError: If another process runs a pipeline in the folder.
        PipelineError: If a task failed; the message ends with the task's own error.
    """
    folder = check_run_dir(run_dir)
    spec = graph.specification(pipeline)
    arguments = graph.grouped(spec, arguments, groups)
    graph.stamp(spec, arguments)
    expected = graph.tasks(spec, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNED).touch()
    with locks.held(folder):
        return _run(folder, spec, arguments, expected, enable_caching)


def _run(
    folder: pathlib.Path,
    spec: dict[str, Any],
    arguments: dict[str, Any],
    expected: Sequence[graph.Task],
    enable_caching: bool,
) -> pathlib.Path:
    started = datetime.datetime.now()
    log = folder / TASKS / f"{started:%Y%m%d-%H%M%S}.log"
    log.parent.mkdir(exist_ok=True)
    # Tasks of a loop may share a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    half = str(max(1, (os.cpu_count() or 1) // 2))
    # Two tasks of a loop run at the same time. Linear algebra with more threads than free cores
    # takes many times as long, because its threads wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", half)
    if max(collections.Counter(task.name for task in expected).values(), default=1) > 1:
        os.environ.setdefault(_THREADS, half)
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
        progress_shown(file, sys.stdout, expected) as progress,
    ):
        try:
            result = stamped(**arguments)
        except RuntimeError as error:
            failure = error
    if failure is not None:
        raise _error(progress.failures, log) from failure
    results = pathlib.Path(result.outputs["Output"].path)
    atomic.remove_unfinished(folder)
    publish(results, folder)
    return folder


def publish(results: pathlib.Path, folder: pathlib.Path) -> None:
    """Replace the results of an earlier run, so that readers find a complete table at any time.

    Args:
        results: the folder that the last task wrote.
        folder: the folder of runs.
    """
    last = {frame.ESTIMATES: 1, manifests.MANIFEST: 2}
    names = sorted(os.listdir(results), key=lambda name: (last.get(name, 0), name))
    copies = {name: atomic.sibling(folder / name) for name in names}
    try:
        for name, copy in copies.items():
            shutil.copyfile(results / name, copy)
        _announce(results, folder)
        for name in set((folder / OWNED).read_text().splitlines()) - set(names):
            manifests.inside(folder, name).unlink(missing_ok=True)
        for name, copy in copies.items():
            os.replace(copy, folder / name)
    finally:
        for copy in copies.values():
            copy.unlink(missing_ok=True)
    atomic.write_file(folder / OWNED, lambda file: file.write_text("\n".join(names)))


def _announce(results: pathlib.Path, folder: pathlib.Path) -> None:
    """Write a manifest with the checksums of both the old and the new files.

    If the old and the new results are of different kinds, the old manifest is removed instead.
    """
    try:
        old = manifests.read_manifest(folder, frame.SCHEMA, frame.VERSION)
        new = manifests.read_manifest(results, frame.SCHEMA, frame.VERSION)
    except StoreError:
        (folder / manifests.MANIFEST).unlink(missing_ok=True)
        return
    kept = {name: tables.current(folder, old, name) for name in old["files"]}
    replaced = {name: entry for name, entry in kept.items() if entry}
    content = {"files": new["files"], "rows": new["rows"], "runs": new["runs"]}
    manifests.write_manifest(folder, frame.SCHEMA, frame.VERSION, replaced=replaced, **content)


def check_run_dir(run_dir: str | os.PathLike) -> pathlib.Path:
    """Check that results can be written to a folder without touching other files.

    Args:
        run_dir: a new folder, or the folder of an earlier run.

    Returns:
        The path of the folder.

    Raises:
        ArgumentError: If it is not a folder of runs, or cannot be created or written.
    """
    folder = pathlib.Path(run_dir)
    if os.path.exists(folder) and not folder.is_dir():
        raise ArgumentError(f"{str(folder)!r} is a file", "a new folder", "a file")
    places.check_folder(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / OWNED).exists():
        raise ArgumentError(
            f"{str(folder)!r} is not a folder of a pipeline's runs",
            "a new or empty folder, or the folder of an earlier run",
            sorted(p.name for p in folder.iterdir())[:10],
        )
    return folder


def _error(failures: list[Failure], log: pathlib.Path) -> PipelineError:
    """Return an error that names all failed tasks, and ends with the output of the first one."""
    if not failures:
        return PipelineError("The pipeline failed", "every task to succeed", f"see {log}")
    first, *others = failures
    also = "".join(f"The task {f.name} failed too: {f.log}\n" for f in others)
    end = first.error or "It printed nothing. It may have been killed for lack of memory."
    return PipelineError(
        f"The task {first.name} failed",
        "every task to succeed; run the same command again: finished tasks are skipped",
        f"\n{also}Log of the task: {first.log}\nFull log: {log}\n\n{end}",
    )
