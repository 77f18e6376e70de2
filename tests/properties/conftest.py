"""Profiles of the property tests, and how many cases they tried.

``pytest tests/properties`` runs a few examples of each, always the same;
``pytest tests/properties --hypothesis-profile=soak`` runs hundreds, drawn anew each time. Both end
with a line ``cases=N``.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("soak", deadline=None, print_blob=True)

_total = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    import subjects  # which looks at the profile, chosen after this file was read

    tried = subjects.tried
    before, tried.asked, tried.answered = tried.count, 0, 0
    try:
        found = yield
    finally:
        # A test without examples is one case.
        item.user_properties.append(("cases", tried.count - before or 1))
    least = getattr(item.function, "least_answered", 0.0)
    if tried.answered < least * tried.asked:
        pytest.fail(f"{tried.answered} of {tried.asked} were answered, not {least:.0%}")
    return found


def pytest_runtest_logreport(report):
    global _total
    if report.when == "call":
        _total += sum(count for name, count in report.user_properties if name == "cases")


def pytest_terminal_summary(terminalreporter):
    # Of several processes the first one has all reports.
    if _total and not hasattr(terminalreporter.config, "workerinput"):
        if "IB_KERAS_SOAK" in os.environ:
            with open(os.environ["IB_KERAS_SOAK"], "a") as notes:
                notes.write(f"properties {_total}\n")
        terminalreporter.write_line(f"cases={_total}")
