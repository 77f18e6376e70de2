import re

import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras.errors import ArgumentError


def test_one_page_that_needs_nothing_else(tmp_path):
    table = make_frame(runs=("r", "s"), estimators=("ebab", "kde"), flags="saturated")
    path = ib.report.write(table, tmp_path / "page.html", title="A <b>title</b>")
    page = path.read_text()
    assert set(re.findall(r"""(?:src|href)\s*=\s*["']?([^"',]*)""", page)) == {
        "data:image/png;base64"
    }
    assert "http" not in page and "<link" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == 3
    assert "A &lt;b&gt;title" in page
    assert "2 runs (r, s), 2 layers, 3 recorded epochs (0 to 10)" in page
    assert "<b>saturated</b> (ebab: 24 of 24, kde: 24 of 24)" in page
    assert "0 of 48 estimates carry no flag" in page
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_names_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    table = make_frame(runs=(evil,), estimators=(evil,), layers=(evil,), flags=evil)
    page = ib.report.write(table, tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_bounds_are_explained(tmp_path):
    page = ib.report.write(make_frame(kind="lower"), tmp_path / "p.html").read_text()
    assert "I(X;T) by ebab is a bound" in page


def test_last_epoch_of_each_run():
    import pandas as pd

    table = pd.concat([make_frame(runs=("r",)), make_frame(runs=("s",), epochs=(0, 4))])
    wide = ib.report.last_epoch_table(table)
    assert list(wide.index) == [("r", "a"), ("r", "b/c"), ("s", "a"), ("s", "b/c")]
    assert list(wide.columns) == [("ebab", "I(X;T)"), ("ebab", "I(T;Y)")]
    assert wide.loc[("r", "a"), ("ebab", "I(X;T)")] == pytest.approx(6.0)
    assert wide.loc[("s", "b/c"), ("ebab", "I(T;Y)")] == pytest.approx(0.44)


def test_no_folder(tmp_path):
    with pytest.raises(ArgumentError, match="folder does not exist"):
        ib.report.write(make_frame(), tmp_path / "no" / "page.html")
