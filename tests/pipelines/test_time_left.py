"""The time that a run on this machine still takes, from the tasks that have finished."""

import io
import logging

from ib_keras.pipelines.runners import progress
from ib_keras.pipelines.spec.graph import Task


def test_the_rest_of_a_loop_takes_as_long_as_what_was_done(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    screen = io.StringIO()
    shown = progress.Progress(screen, [Task("trainer", "t", {})] * 5)

    def say(text):
        shown.filter(logging.LogRecord("kfp", logging.INFO, "", 0, text, None, None))
        return screen.getvalue().splitlines()[-1]

    say("Executing task 'trainer'")
    clock[0] += 600
    # Four tasks of 10 minutes are left, two at a time.
    assert say("Task 'trainer' finished with status SUCCESS").endswith(
        "(4 of 5 tasks left, about 0:20:00)"
    )
    for missing in (3, 2, 1):
        say("Executing task 'trainer'")
        clock[0] += 600
        last = say("Task 'trainer' finished with status SUCCESS")
    assert missing == 1 and last.endswith("(1 of 5 tasks left, about 0:10:00)")
    # Tasks that were skipped say nothing about the time.
    other = io.StringIO()
    skipped = progress.Progress(other, [Task("trainer", "t", {})] * 2)
    record = logging.LogRecord("kfp", logging.INFO, "", 0, "Task trainer cache hit", None, None)
    skipped.filter(record)
    assert other.getvalue().rstrip().endswith("(1 of 2 tasks left)")
