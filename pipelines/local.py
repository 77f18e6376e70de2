"""Runs a pipeline on this machine by ``kfp.local``, one subprocess a task."""

from __future__ import annotations

import builtins
import contextlib
import datetime
import io
import logging
import os
import pathlib
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from ib_keras.components.base import MARK
from kfp import local

from ib_keras.errors import ArgumentError, IbKerasError

OWNED = ".ib-keras-run"
_COLOUR = re.compile(r"\x1b\[\d+m")
_STARTED = re.compile(r"Executing task '?([\w-]+)'?")
_ENDED = re.compile(r"Task '?([\w-]+)'? finished with status (\w+)")


class PipelineError(IbKerasError, RuntimeError):
    """A task of a pipeline failed."""


def run(pipeline: Any, arguments: dict[str, Any], run_dir: str | os.PathLike) -> pathlib.Path:
    """Runs a compiled pipeline and puts what its last task wrote into ``run_dir``.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline`` that returns an artifact.
        arguments: its arguments.
        run_dir: a folder of an earlier run or a new one. Results of an earlier run are replaced,
            one finished file at a time, once this run has ended well; what its tasks wrote stays,
            under ``tasks/``.

    Returns:
        ``run_dir``.

    Raises:
        ArgumentError: ``run_dir`` is not a folder of runs.
        PipelineError: a task failed; the error ends with the task's own last lines.
    """
    folder = pathlib.Path(run_dir)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{str(folder)!r} is a file", "a new folder", "a file")
    if folder.exists() and any(folder.iterdir()) and not (folder / OWNED).exists():
        raise ArgumentError(
            f"{str(folder)!r} is no folder of a pipeline's runs",
            "a new or empty folder, or that of an earlier run",
            sorted(p.name for p in folder.iterdir())[:10],
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNED).touch()
    started = datetime.datetime.now()
    log = folder / "tasks" / f"{started:%Y%m%d-%H%M%S}.log"
    log.parent.mkdir(exist_ok=True)
    # Tasks are separate processes: TensorFlow's start-up messages are not part of their report.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(log.parent.resolve()),
        raise_on_error=True,
    )
    with open(log, "w", buffering=1) as file, _quiet(file, sys.stdout):
        try:
            result = pipeline(**arguments)
        except RuntimeError as error:
            failure: RuntimeError | None = error
        else:
            failure = None
    if failure is not None:
        raise PipelineError(
            "The pipeline failed", "every task to end well", f"{_tail(log)}\nFull log: {log}"
        ) from failure
    written = pathlib.Path(result.outputs["Output"].path)
    for path in sorted(written.iterdir()):
        temporary = folder / f".{path.name}.tmp"
        shutil.copyfile(path, temporary)
        os.replace(temporary, folder / path.name)
    return folder


class _Progress(logging.Filter):
    """Prints a line when a task starts and ends, and lets every record through to the log."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream, self._begin = stream, time.monotonic()
        # A loop runs its iterations in threads, and a thread one task at a time.
        self._since: dict[int, float] = {}
        self._facts: dict[int, str] = {}

    def read(self, text: str) -> None:
        """Takes note of what a task says of its work."""
        _, mark, facts = text.partition(MARK)
        if mark:
            self._facts[threading.get_ident()] = facts.strip()

    def filter(self, record: logging.LogRecord) -> bool:
        text = _COLOUR.sub("", record.getMessage())
        now, thread = time.monotonic(), threading.get_ident()
        if match := _STARTED.search(text):
            self._since[thread] = now
            self._line(now, f"{match[1]} started")
        elif match := _ENDED.search(text):
            took = now - self._since.pop(thread, now)
            outcome = "done" if match[2] == "SUCCESS" else "FAILED"
            facts = self._facts.pop(thread, "")
            self._line(now, f"{match[1]} {outcome} in {took:.0f} s{facts and f': {facts}'}")
        return True

    def _line(self, now: float, text: str) -> None:
        minutes, seconds = divmod(int(now - self._begin), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {text}", file=self._stream, flush=True)


class _Log(io.TextIOBase):
    """A file in which ``_Progress`` reads along."""

    def __init__(self, file: IO[str], progress: _Progress) -> None:
        self._file, self._progress = file, progress

    def write(self, text: str) -> int:
        self._progress.read(text)
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()


@contextlib.contextmanager
def _quiet(log: IO[str], screen: IO[str]) -> Iterator[None]:
    """Sends what the engine and the tasks print to ``log``, and progress to ``screen``."""
    root = logging.getLogger()
    progress, handlers = _Progress(screen), root.handlers[:]
    root.addFilter(progress)
    # The engine puts handlers of its own in place of these, but not always.
    root.handlers = [logging.StreamHandler(log)]
    plain_print = builtins.print
    try:
        with contextlib.redirect_stdout(_Log(log, progress)):
            yield
    finally:
        root.removeFilter(progress)
        root.handlers = handlers
        builtins.print = plain_print  # two threads of the engine may leave theirs in its place


def _tail(log: pathlib.Path, lines: int = 40) -> str:
    """The last lines of the log that say something."""
    text = [line.rstrip() for line in _COLOUR.sub("", log.read_text()).splitlines()]
    return "\n".join([line for line in text if line.strip(" -")][-lines:])
