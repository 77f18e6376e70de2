"""Progress bars and Ctrl-C."""

import io
import pickle
import sys

import numpy as np
import pytest

import ib_keras as ib
from ib_keras import progress
from ib_keras.errors import Interrupted
from ib_keras.estimators import EBAB


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("screen", "show", "shown"),
    [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)],
)
def test_on_a_terminal_only(monkeypatch, screen, show, shown):
    monkeypatch.setattr(sys, "stderr", screen())
    monkeypatch.setattr(progress, "_DELAY", 0)
    assert list(progress.bar(range(3), "things", show=show)) == [0, 1, 2]
    assert ("things" in sys.stderr.getvalue()) == shown


def test_what_takes_no_time_shows_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress.bar(range(3), "things")) == [0, 1, 2]
    assert "things" not in sys.stderr.getvalue()


def test_ctrl_c_keeps_the_estimates_that_were_made(monkeypatch):
    estimate, calls = EBAB.estimate, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return estimate(self, *args, **kwargs)

    layers = {name: np.random.default_rng(0).normal(size=(50, 2)) for name in "abcd"}
    whole = ib.estimate(layers, EBAB(), progress=False)
    monkeypatch.setattr(EBAB, "estimate", interrupted)
    with pytest.raises(KeyboardInterrupt, match="2 of 4 estimates") as caught:
        ib.estimate(layers, EBAB(), progress=False, unit="bits")
    table = caught.value.table
    assert list(table["layer"]) == ["a", "b"] and set(table["unit"]) == {"bits"}
    expected = ib.frame.convert(whole[:2], "bits")["value"]
    np.testing.assert_allclose(table["value"], expected, rtol=1e-12)
    assert table.attrs["provenance"]["estimators"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, Interrupted) and len(again.table) == 2
