"""The report in a real browser, where the machine has one."""

import io
import os
import pathlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras as ib

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not start for root, as which containers run.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def table():
    """Two runs of a network and two estimators; names that would do harm."""
    table = make_frame(
        runs=("tanh-0", "tanh-1"), estimators=("ebab", "kde"), layers=("first", "b,c", EVIL)
    )
    rng = np.random.default_rng(0)
    table["value"] += rng.normal(size=len(table))
    table["stderr"] = np.where(table["estimator"] == "kde", 0.125, np.nan)
    hidden = (table["layer"] == "first") & (table["estimator"] == "ebab")
    table["flags"] = np.where(hidden, "saturated", "")
    pale = (table["layer"] == "b,c") & (table["estimator"] == "ebab")
    table["flags"] = np.where(pale, "measurement_bins", table["flags"])
    table["loss"] = rng.normal(size=len(table)) * 1e-9
    table.loc[3, "loss"] = np.inf
    return table


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    return ib.report.write(table, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def page(browser, path):
    """The page, opened; afterwards it must have said and asked for nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    opened(page, path)
    yield page
    assert page.evaluate("window.evil") is None
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [path.as_uri()]


def opened(page, path):
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")


def drawn(page, of="x"):
    """What the plane's markers of the chosen epoch are."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
    return page.evaluate(f"document.getElementById('plane').data.at(-1).{of}")


def values(table, quantity="I(X;T)", **wanted):
    part = table[table["quantity"] == quantity]
    for column, value in wanted.items():
        part = part[part[column] == value]
    return part.sort_values("layer_index")["value"]


def test_the_slider_by_keyboard(page, table):
    page.select_option("#run", label="tanh-0")
    page.select_option("#estimator", label="ebab")
    assert page.inner_text("#shown") == "epoch 10"
    assert drawn(page) == pytest.approx(
        values(table, run="tanh-0", estimator="ebab", epoch=10).tolist()
    )
    page.focus("#epoch")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#shown") == "epoch 1"
    for quantity, axis in (("I(X;T)", "x"), ("I(T;Y)", "y")):
        wanted = values(table, quantity, run="tanh-0", estimator="ebab", epoch=1)
        assert drawn(page, axis) == pytest.approx(wanted.tolist())
    assert page.get_attribute("#epoch", "aria-valuetext") == "epoch 1"


def test_play_goes_on_to_the_last_epoch(page):
    page.focus("#epoch")
    page.keyboard.press("Home")
    assert page.inner_text("#shown") == "epoch 0"
    page.focus("#play")
    page.keyboard.press("Enter")
    assert "Pause" in page.inner_text("#play")
    page.wait_for_selector("#shown:text-is('epoch 10')")
    page.wait_for_selector("#play:has-text('Play')")


def test_estimators_layers_and_means(page, table):
    assert page.inner_text("#estimator option:checked") == "kde"  # of which less is flagged
    page.select_option("#estimator", label="ebab")
    page.select_option("#estimator", label="kde")
    mean = values(table, estimator="kde", epoch=10).to_numpy().reshape(-1, 2).mean(axis=1)
    assert page.inner_text("#run option:checked") == "tanh: mean of 2 runs"
    assert drawn(page) == pytest.approx(mean.tolist())
    page.uncheck("#layers input >> nth=0")
    assert drawn(page) == pytest.approx(mean[1:].tolist())
    page.click("#none")
    assert drawn(page) == []
    page.click("#every")
    assert len(drawn(page)) == 3


def test_flagged_estimates_are_hollow(page):
    page.select_option("#run", label="tanh-0")
    page.select_option("#estimator", label="ebab")

    def numbers(colour):
        return np.array([int(c) for c in re.findall(r"\d+", colour)])

    first, second, third = drawn(page, "marker.color")
    page.select_option("#estimator", label="kde")
    _, full, same = drawn(page, "marker.color")
    page.select_option("#estimator", label="ebab")
    ground = page.evaluate("getComputedStyle(document.body).getPropertyValue('--panel').trim()")
    assert first == ground == "#f5f7f8" and third == same
    pale = 0.35 * numbers(full) + 0.65 * np.array([0xF5, 0xF7, 0xF8])
    assert numbers(second) == pytest.approx(pale, abs=1)
    symbols = page.evaluate("document.getElementById('plane').data.map(t => t.marker.symbol)")
    assert symbols[0] == ["circle-open"] * 3 and symbols[1] == ["square"] * 3


def test_pointing_shows_value_and_error(page, table):
    page.select_option("#run", label="tanh-1")
    page.select_option("#estimator", label="kde")
    page.uncheck("#layers input >> nth=2")
    page.uncheck("#layers input >> nth=0")
    point = page.locator("#plane .scatterlayer .trace:last-child .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#plane .hoverlayer .hovertext")
    text = page.text_content("#plane .hoverlayer")
    (value,) = values(table, run="tanh-1", estimator="kde", epoch=10, layer="b,c")
    assert "b,c" in text and f"I(X;T) {value:.3f} ± 0.125 nats" in text and "no flag" in text


def test_numbers_beside_the_picture(page, table):
    page.select_option("#run", label="tanh-0")
    page.select_option("#estimator", label="ebab")
    page.click("summary:has-text('Values as a table')")
    rows = page.locator("#now tbody tr").all_inner_texts()
    (value,) = values(table, run="tanh-0", estimator="ebab", epoch=10, layer="first")
    assert rows[0].split("\t")[1] == f"{value:.3f} (no standard error)"
    assert rows[0].split("\t")[3] == "saturated" and EVIL in rows[2]


@pytest.mark.parametrize("button, last", [("#all-csv", False), ("#last-csv", True)])
def test_the_csv_is_the_frame(page, table, button, last):
    with page.expect_download() as download:
        page.click(button)
    wanted = table[table["epoch"] == 10] if last else table
    same = {"keep_default_na": False, "na_values": {c: [""] for c in ("stderr", "loss")}}
    found = pd.read_csv(download.value.path(), **same)
    expected = pd.read_csv(io.StringIO(wanted.to_csv(index=False)), **same)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_phone_width(browser, path, scheme):
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    opened(page, path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#plane .main-svg").first.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 300
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    folder = pathlib.Path(os.environ.get("SCREENSHOTS", ""))
    if folder.name:
        page.screenshot(path=folder / f"report-390-{scheme}.png", full_page=True)
    page.close()


def test_a_target_is_chosen(browser, tmp_path):
    table = make_frame(runs=("one",), estimators=("ksg",), layers=("first", "second"))
    other = table[table["quantity"] == "I(T;Y)"].copy()
    other["value"] += 1
    other["quantity"] = "I(T;Y[angle])"
    table["quantity"] = table["quantity"].replace("I(T;Y)", "I(T;Y[class])")
    path = ib.report.write(pd.concat([table, other], ignore_index=True), tmp_path / "report.html")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    heading = page.locator("#relevant")
    assert heading.text_content() == "I(T;Y[class])"
    before = page.locator("#now tbody").text_content()
    page.select_option("#target", label="angle")
    assert heading.text_content() == "I(T;Y[angle])"
    assert page.locator("#now tbody").text_content() != before
    page.close()


def test_one_target_has_no_menu(page):
    assert page.locator("#targets").is_hidden()


@pytest.mark.parametrize("chart", ["plane", "curves"])
@pytest.mark.parametrize("form", ["png", "svg"])
def test_charts_are_saved(page, chart, form):
    with page.expect_download() as download:
        page.click(f".save[data-chart={chart}][data-format={form}]")
    assert download.value.suggested_filename == f"{chart}.{form}"
    content = pathlib.Path(download.value.path()).read_bytes()
    if form == "png":
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        box = page.locator(f"#{chart}").bounding_box()
        assert width == pytest.approx(2 * box["width"], abs=6)
        assert height == pytest.approx(2 * box["height"], abs=6)
    else:
        assert b"I(X;T)" in content and b"<svg" in content


def test_few_layers_need_no_search(page):
    assert all(page.locator(f"#{name}").is_hidden() for name in ("finding", "some", "deep"))


def test_on_paper(browser, path):
    page = browser.new_page(viewport={"width": 1800, "height": 900}, color_scheme="dark")
    opened(page, path)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("#plane .main-svg").first.bounding_box()["width"] == 670
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    chosen = page.inner_text("#chosen")
    assert chosen == "tanh: mean of 2 runs, kde, epoch 10"
    assert page.locator("#play").is_hidden() and page.locator(".save >> nth=0").is_hidden()
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_selector("#plane .main-svg:not([width='670'])")
    assert page.locator("#plane .main-svg").first.bounding_box()["width"] > 1000
    assert page.locator("#chosen").is_hidden()
    page.close()


def deep(browser, folder, names):
    """The page of a network with these layers."""
    table = make_frame(runs=("one",), estimators=("ebab", "kde"), layers=names)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    opened(page, ib.report.write(table, folder / "report.html"))
    return page, table


def test_many_layers_are_shown_by_depth_folded_and_found(browser, tmp_path):
    names = ["stem", *(f"stage{s}_block{b}_{p}" for s in range(5) for b in range(10)
                       for p in ("conv", "out")), "top"]  # fmt: skip
    page, table = deep(browser, tmp_path, names)
    last = values(table, estimator="ebab", epoch=10)
    assert len(drawn(page)) == 24
    assert drawn(page)[0] == last.iloc[0] and drawn(page)[-1] == last.iloc[-1]
    depth = "document.getElementById('depth').data"
    assert page.evaluate(f"{depth}[1].y") == pytest.approx(last.tolist())
    assert page.evaluate(f"{depth}[0].y") == pytest.approx(
        values(table, estimator="ebab", epoch=0).tolist()
    )
    page.focus("#epoch")
    page.keyboard.press("Home")
    drawn(page)
    assert page.evaluate(f"{depth}[1].y") == page.evaluate(f"{depth}[0].y")
    heads = page.locator("#layers summary")
    assert [text.split(" (")[0] for text in heads.all_inner_texts()] == [
        f"stage{i}" for i in range(5)
    ]
    assert page.inner_text("#count") == "24 of 102 layers are shown"
    page.fill("#find", "stage3_block7")
    assert heads.locator("visible=true").count() == 1
    boxes = page.locator("#layers label").locator("visible=true")
    assert boxes.all_inner_texts() == ["stage3_block7_conv", "stage3_block7_out"]
    page.click("#none")
    page.fill("#find", "STAGE3")
    page.click("#none")
    shown = page.evaluate("document.getElementById('plane').data.map(trace => trace.name)")
    assert len(shown) > 5 and not any("stage3" in name for name in shown)
    page.fill("#find", "no such layer")
    assert boxes.count() == heads.locator("visible=true").count() == 0
    page.fill("#find", "")
    page.click("#every")
    assert len(drawn(page)) == 102
    page.click("#some")
    assert len(drawn(page)) == 24
    page.locator("summary:has-text('102 rows')").wait_for()
    page.close()


@pytest.mark.parametrize("name", ["dense_{}", "layer{}"])
def test_names_that_do_not_divide_are_folded_by_tens(browser, tmp_path, name):
    page, _ = deep(browser, tmp_path, [name.format(i) for i in range(45)])
    heads = page.locator("#layers summary").all_inner_texts()
    assert len(heads) == 5 and heads[0].startswith(f"{name.format(0)} … {name.format(9)} (")
    page.close()
