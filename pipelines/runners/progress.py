"""The progress of a run on this machine, read from the logs of the engine and its tasks."""

from __future__ import annotations

import builtins
import collections
import contextlib
import datetime
import io
import logging
import pathlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from ib_keras.components.base import MARK
from ib_keras.pipelines.spec.graph import Task

LOG = "log.txt"
_COLOUR = re.compile(r"\x1b\[\d+m")
_STARTED = re.compile(r"Executing task '?([\w-]+)'?")
_ENDED = re.compile(r"Task '?([\w-]+)'? finished with status (\w+)")
_CACHED = re.compile(r"Task ([\w-]+) cache hit")
# The engine logs a task's inputs, which include the folder that the task writes.
_FOLDER = re.compile(r'"outputFile": "(.*)/executor_output\.json"')


class _Running:
    """A running task, and its output so far."""

    def __init__(self, name: str) -> None:
        self.name, self.since, self.facts = name, time.monotonic(), ""
        self.text: list[str] = []
        self.log: pathlib.Path | None = None
        self._file: IO[str] | None = None

    def read(self, text: str) -> None:
        _, mark, facts = text.partition(MARK)
        if mark:
            self.facts = facts.strip()
        self.text.append(text)
        if self._file is not None:
            self._file.write(text)
        elif match := _FOLDER.search(text):
            # The task's folder is known from here on.
            self.log = pathlib.Path(match[1]) / LOG
            with contextlib.suppress(OSError):
                self.log.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.log, "w", buffering=1)
                self._file.writelines(self.text)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Failure:
    """A task that failed.

    Args:
        name: name of the task.
        text: the output of the task.
        log: the file with this output.
    """

    def __init__(self, name: str, text: str, log: pathlib.Path | None) -> None:
        self.name, self.log = name, log
        lines = [line.rstrip() for line in _COLOUR.sub("", text).splitlines()]
        lines = [line for line in lines if line.strip(" -")]
        starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")]
        self.error = "\n".join(lines[starts[0] :] if starts else lines[-40:])


class Progress(logging.Filter):
    """Prints a line when a task starts, ends or is skipped; passes every log record on.

    Args:
        screen: the stream to print to.
        expected: the tasks of the run, as far as they are known; empty if they are not known.
    """

    def __init__(self, screen: IO[str], expected: Sequence[Task] = ()) -> None:
        super().__init__()
        self.failures: list[Failure] = []
        self._expected = collections.Counter(task.name for task in expected)
        self._planned = any(task.planned for task in expected)
        self._done: collections.Counter[str] = collections.Counter()
        self._took: dict[str, list[float]] = collections.defaultdict(list)
        self._screen, self._begin = screen, time.monotonic()
        # A loop runs its iterations in threads; each thread runs one task at a time.
        self._running: dict[int, _Running] = {}
        self._lock = threading.Lock()
        self._live = screen.isatty()
        self._print = builtins.print

    def read(self, text: str) -> None:
        """Read the output of a task."""
        running = self._running.get(threading.get_ident())
        if running is not None and (text.strip() or "\n" in text):  # skips the engine's indentation
            running.read(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Read a log record of the engine."""
        text, thread = _COLOUR.sub("", record.getMessage()), threading.get_ident()
        if match := _STARTED.search(text):
            # The engine replaces `print`, and two of its threads may not restore it correctly.
            builtins.print = self._print
            self._running[thread] = _Running(match[1])
            self._say(f"{match[1]} started")
        elif match := _CACHED.search(text):
            self._done[match[1]] += 1
            self._say(f"{match[1]} unchanged, not run again{self._left()}")
        elif match := _ENDED.search(text):
            running = self._running.pop(thread, None) or _Running(match[1])
            running.close()
            seconds = time.monotonic() - running.since
            took = f"{seconds:.0f} s"
            if match[2] == "SUCCESS":
                self._done[match[1]] += 1
                self._took[match[1]].append(seconds)
                facts = running.facts and f": {running.facts}"
                self._say(f"{match[1]} done in {took}{facts}{self._left()}")
            else:
                self.failures.append(Failure(match[1], "".join(running.text), running.log))
                self._say(f"{match[1]} FAILED after {took}; its log: {running.log}")
        return True

    def _left(self) -> str:
        if not self._expected:
            return ""
        left = (self._expected - self._done).total()
        if self._planned and left:
            return f" (at least {left} tasks left{self._time_left()})"
        total = max(self._expected.total(), self._done.total())
        return f" ({left} of {total} tasks left{self._time_left()})"

    def _time_left(self) -> str:
        """Estimate the time of the missing tasks from those of the same name that have finished."""
        seconds = 0.0
        for name, missing in (self._expected - self._done).items():
            if took := self._took.get(name):
                running = [one for one in list(self._running.values()) if one.name == name]
                spent = sum(time.monotonic() - one.since for one in running)
                work = missing * sum(took) / len(took) - spent
                seconds += max(0.0, work) / min(2, missing)
        return f", about {datetime.timedelta(seconds=round(seconds))}" if seconds >= 60 else ""

    def _say(self, text: str) -> None:
        with self._lock:
            self._screen.write(f"{self._wipe()}{clock(self._begin)} {text}\n")
            self._screen.flush()

    def _wipe(self) -> str:
        return "\r\x1b[K" if self._live else ""

    def beat(self, stop: threading.Event) -> None:
        """Print the running tasks: every second on a terminal, every minute elsewhere."""
        while not stop.wait(1 if self._live else 60):
            running = list(self._running.values())
            text = ", ".join(
                " ".join(filter(None, (r.name, clock(r.since)[1:-1], r.facts))) for r in running
            )
            line = f"{clock(self._begin)} running: {text}{self._left()}"
            with self._lock:
                self._screen.write(f"{self._wipe()}{line[:110]}" if self._live else f"{line}\n")
                self._screen.flush()
        with self._lock:
            self._screen.write(self._wipe())


def clock(since: float) -> str:
    """Return the time since ``time.monotonic()`` was ``since``, as ``[minutes:seconds]``."""
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"[{minutes:02d}:{seconds:02d}]"


class _Log(io.TextIOBase):
    """A file whose text ``Progress`` reads as well."""

    def __init__(self, file: IO[str], progress: Progress) -> None:
        self._file, self._progress = file, progress

    def write(self, text: str) -> int:
        self._progress.read(text)
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()


@contextlib.contextmanager
def shown(log: IO[str], screen: IO[str], expected: Sequence[Task]) -> Iterator[Progress]:
    """Redirect the output of the engine and the tasks to ``log``, and progress to ``screen``.

    Args:
        log: the log of the whole run; each task also has a log of its own in its folder.
        screen: the stream that the user sees.
        expected: the tasks of the run, as far as they are known.
    """
    root, plain_print = logging.getLogger(), builtins.print
    progress, handlers, level = Progress(screen, expected), root.handlers[:], root.level
    root.addFilter(progress)
    # The engine usually replaces the handlers; it reports skipped tasks at the level INFO.
    root.handlers = [logging.StreamHandler(log)]
    root.setLevel(logging.INFO)
    stop = threading.Event()
    beats = threading.Thread(target=progress.beat, args=(stop,), daemon=True)
    beats.start()
    try:
        with contextlib.redirect_stdout(_Log(log, progress)):
            yield progress
    finally:
        stop.set()
        beats.join()
        root.removeFilter(progress)
        root.handlers = handlers
        root.setLevel(level)
        builtins.print = plain_print
