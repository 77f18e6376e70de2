"""The documentation's sources; `make docs` builds them, with warnings as errors."""

import importlib
import inspect
import pathlib
import re
import runpy
import types

import pandas as pd
import pytest

import ib_keras as ib

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PICTURED = [*ib.estimators.names(), "mutual_information"]


@pytest.fixture(scope="module")
def hooks():
    for name in ("mkdocs", "latex2mathml", "nbconvert"):
        pytest.importorskip(name)
    return runpy.run_path(str(DOCS / "hooks.py"))


@pytest.fixture(scope="module")
def documented():
    """What the API pages show: objects, and modules with all of their own."""
    return {
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.M)
    }


def test_every_public_name_is_on_an_api_page(documented):
    pages = {path.stem for path in (DOCS / "api").glob("*.md")}
    for name in set(ib.__all__) - {"__version__"}:
        assert name in pages or f"ib_keras.{name}" in documented, name


def test_every_estimator_and_every_function_of_a_module_is_on_an_api_page(documented):
    for name in ib.estimators.__all__:
        assert f"ib_keras.estimators.{name}" in documented
    for name in ("plot", "studies", "frame", "models", "synthetic", "pixelcnn"):
        module = importlib.import_module(f"ib_keras.{name}")
        for key, value in vars(module).items():
            public = not key.startswith("_") and inspect.isfunction(value)
            if public and value.__module__.startswith("ib_keras"):
                own = key in vars(module).get("__all__", [key]) and module.__name__ in documented
                checks = key.startswith("check_")  # of use to the pipelines alone
                assert own or checks or f"ib_keras.{name}.{key}" in documented, key


def test_the_architecture_names_the_public_modules(documented):
    text = (DOCS / "architecture.md").read_text()
    section = text.partition("## Public names")[2].partition("For new estimators")[0]
    modules = [name for name in ib.__all__ if inspect.ismodule(getattr(ib, name))]
    named = set(re.findall("`([a-z_]+)`", section)) - {"__all__"}
    assert named == set(modules)
    for name in re.findall(r"`(ib_keras\.[\w.]+)`", section):
        assert name in documented
    for page in PAGES:
        for name in re.findall(r"\bib(?:_keras)?\.([a-z]+)\.", page.read_text()):
            outside = ("components", "pipelines", "arrays", "interface")
            assert name in modules or name in outside, (page, name)


def test_what_the_api_pages_name_exists(documented):
    for name in documented:
        module, _, rest = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ImportError:
            assert hasattr(importlib.import_module(module), rest), name


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    tutorials = {f"tutorials/{path.stem}.md" for path in (ROOT / "examples").glob("*.ipynb")}
    assert listed == tutorials | {path.relative_to(DOCS).as_posix() for path in PAGES}


@pytest.mark.parametrize("name", PICTURED)
def test_an_estimators_page(name):
    text = (DOCS / "estimators" / f"{name}.md").read_text()
    sections = ["Definition", "When to use it", "When not to use it", "Cost", "Accuracy", "Example"]
    assert re.findall(r"^## (.*)", text, flags=re.M) == [*sections, "References"]
    assert f"](../bias/{name}.svg)" in text and "$$" in text
    assert "@@" not in text
    assert f"({name}.md)" in (DOCS / "estimators" / "index.md").read_text()
    if name != "mutual_information":
        cls = type(ib.estimators.get(name)).__name__
        assert f"[`{cls}`][ib_keras.estimators.{cls}]" in text


@pytest.mark.parametrize("name", PICTURED)
def test_its_picture_has_been_measured(name):
    picture = DOCS / "bias" / f"{name}.svg"
    assert 0 < picture.stat().st_size < 60_000
    rows = pd.read_csv(DOCS / "bias" / "bias.csv").query("name == @name")
    assert rows["panel"].nunique() == 2 and rows["value"].notna().all()
    # The titles are texts of the picture: it is of these figures, not of others.
    drawn = picture.read_text()
    for line in rows["line"].unique():
        assert line.replace("'", "&#39;") in drawn or line in drawn


def test_the_flags_are_those_of_the_report(hooks):
    assert set(ib.report.FLAGS) == set(ib.report.ADVICE)
    text = (DOCS / "believe.md").read_text()
    shown = hooks["on_page_markdown"](text, None)
    assert shown != text
    for flag, meaning in ib.report.FLAGS.items():
        assert f"`{flag}`" in shown and meaning in shown and ib.report.ADVICE[flag] in shown
    assert hooks["on_page_markdown"]("nothing", None) == "nothing"


def test_formulas_become_mathml(hooks):
    content = '<p><span class="arithmatex">\\(n \\le d\\)</span> <code>$x$</code></p>'
    made = hooks["on_page_content"](content, None)
    assert "<mi>n</mi>" in made and "&#x02264;" in made and 'display="inline"' in made
    assert "arithmatex" not in made and "<code>$x$</code>" in made
    block = hooks["on_page_content"]('<div class="arithmatex">\\[a &lt; b\\]</div>', None)
    assert 'display="block"' in block and "&#x0003C;" in block


def test_every_notebook_is_a_tutorial(hooks):
    """Its page has its code and its pictures."""
    from mkdocs.structure.files import Files

    config = types.SimpleNamespace(
        site_dir="site", use_directory_urls=False, plugins=types.SimpleNamespace(_current_plugin="")
    )
    made = {file.src_uri: file for file in hooks["on_files"](Files([]), config)}
    notebooks = sorted((ROOT / "examples").glob("*.ipynb"))
    assert len(notebooks) == 7
    for path in notebooks:
        text = made[f"tutorials/{path.stem}.md"].content_string
        assert "```python" in text
        for picture in re.findall(r"!\[\w*\]\((.+?)\)", text):
            assert made[f"tutorials/{picture}"].content_bytes.startswith(b"\x89PNG")
        pictures = path.read_text().count('"image/png"')
        assert sum(name.startswith(f"tutorials/{path.stem}/") for name in made) == pictures
