import html
import json
import re

import numpy as np
import pytest
from make_frame import make_frame

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.report import embedded, html_page


def own_text(page):
    """The page without Plotly's program, which names places that it never asks for."""
    return page.replace(embedded.file(embedded.PLOTLY), "")


def test_one_page_that_needs_nothing_else(tmp_path):
    table = make_frame(runs=("r", "s"), estimators=("ebab", "kde"), flags="saturated")
    path = ib.report.write(table, tmp_path / "page.html", title="A <b>title</b>")
    page = path.read_text()
    assert page.count(embedded.file(embedded.PLOTLY)) == 1
    page = own_text(page)
    assert set(re.findall(r"""(?:src|href)\s*=\s*["']([^"',]*)""", page)) == {"#believe", "data:"}
    assert not re.search(r"https?:|<link (?!rel=\"icon\" href=\"data:)|@import|url\(", page)
    assert "default-src 'none'" in page
    assert "A &lt;b&gt;title" in page
    assert "2 runs (r, s), 2 layers, 3 recorded epochs (0 to 10)" in page
    assert "<b>saturated</b> (ebab: 24 of 24, kde: 24 of 24)" in page
    assert "What to do: Use coarser bins" in page
    assert "0 of 48 estimates have no flag" in page
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_plotly_ends_no_element():
    assert "</script" not in embedded.file(embedded.PLOTLY).lower()


def test_what_to_do_of_every_flag():
    assert set(ib.report.ADVICE) == set(ib.report.FLAGS)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "</script><b>", "<!--<script>"])
def test_names_are_escaped(tmp_path, evil):
    table = make_frame(runs=(evil,), estimators=(evil,), layers=(evil,), flags=evil)
    table.attrs = {"provenance": {evil: evil}}
    page = own_text(ib.report.write(table, tmp_path / "page.html", title=evil).read_text())
    assert page.count("<script") == 3 and page.count("</script") == 3 and "<!--" not in page
    assert html.escape(evil) in page
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert json.loads(embedded[1])["layers"] == [evil]


def test_bounds_are_explained(tmp_path):
    table = make_frame(estimators=("decoder", "kde", "mine", "nwj"))
    kinds = {
        ("decoder", "I(T;Y)"): "lower",
        ("kde", "I(X;T)"): "upper",
        **{
            (name, quantity): "lower"
            for name in ("mine", "nwj")
            for quantity in ("I(X;T)", "I(T;Y)")
        },
    }
    pairs = zip(table["estimator"], table["quantity"], strict=True)
    table["kind"] = [kinds.get(pair, "estimate") for pair in pairs]

    def said():
        return ib.report.write(table, tmp_path / "p.html").read_text()

    page = said()
    assert (
        "<p>I(X;T) by mine, nwj is a lower bound. I(X;T) by kde is an upper bound. "
        "I(T;Y) by decoder, mine, nwj is a lower bound. "
        "All other values are estimates and not bounds.</p>"
    ) in page
    table.loc[(table["estimator"] == "kde") & (table["layer"] == "a"), "kind"] = "estimate"
    assert "I(X;T) by kde is an upper bound where the column kind says so." in said()
    table["flags"] = np.where(table["estimator"] == "kde", "measurement_noise", "")
    assert "I(X;T) by kde is an upper bound on I(X;T+N) where the column" in (text := said())
    assert "N is the noise that the measurement adds." in text
    table["kind"] = "lower"
    assert "All other values" not in said()
    table["kind"] = "estimate"
    assert " bound." not in re.sub("<script.*?</script>", "", said(), flags=re.S)


def test_the_last_epoch_has_the_marks_of_the_flags(tmp_path):
    table = make_frame(layers=("a", "b", "c"), epochs=(0,))
    table["flags"] = table["layer"].map({"a": "saturated,ties", "b": "ties", "c": ""})
    page = own_text(ib.report.write(table, tmp_path / "p.html").read_text())
    key = ["∅ says nothing about the network: saturated", "⚑ interpret with care: ties"]
    assert f"In nats. {key[0]}. {key[1]}." in page
    cells = re.findall(r'<span class="flag" title="([^"]*)">[\d.]+ (.)</span>', page)
    assert cells == [("saturated,ties", "∅")] * 2 + [("ties", "⚑")] * 2
    assert ib.report.last_epoch_text(table).splitlines()[-2:] == key


def test_seeds_alone_or_their_mean(tmp_path):
    table = make_frame(runs=("tanh-0", "tanh-1", "relu"))

    def views(**arguments):
        return [v["name"] for v in json.loads(embedded.data(table, **arguments))["views"]]

    mean = "tanh: mean of 2 runs"
    assert views(single_runs=True) == [mean, "tanh-0", "tanh-1", "relu"]
    assert views(single_runs=False) == [mean, "relu"]


def test_pages_of_large_tables_have_means_over_seeds(tmp_path, monkeypatch):
    table = make_frame(runs=[f"tanh-{seed}" for seed in range(4)])
    whole = ib.report.write(table, tmp_path / "whole.html").read_text()
    monkeypatch.setattr(html_page, "_ROWS", len(table) - 1)
    means = ib.report.write(table, tmp_path / "means.html").read_text()

    def rows(page):
        return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["rows"]

    assert rows(whole) == len(table) and rows(means) == len(table) // 4
    assert "Means over seeds" in means and "Means over seeds" not in whole
    assert f"{len(table):,} rows" in means


def test_fractions_have_no_unit():
    table = make_frame(unit="bits")
    table.loc[table["quantity"] == "I(T;Y)", "quantity"] = "P(class kept)"
    content = json.loads(embedded.data(table, single_runs=True))
    assert content["units"] == {"I(X;T)": "bits", "P(class kept)": ""}


def test_bad_tables(tmp_path):
    table = make_frame()
    with pytest.raises(ArgumentError, match="mixes units"):
        ib.report.write(table.assign(unit=["nats", "bits"] * 6), tmp_path / "p.html")
    with pytest.raises(ArgumentError, match="is empty"):
        ib.report.write(table[:0], tmp_path / "p.html")


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
