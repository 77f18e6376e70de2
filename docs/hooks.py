"""Hooks of MkDocs: formulas become MathML, notebooks become pages, and flags are listed."""

from __future__ import annotations

import html
import pathlib
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

from ib_keras import flags as flagging
from ib_keras import report

# The form in which pymdownx.arithmatex writes formulas.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
_FLAGS = "<!-- flags -->"
_NOTEBOOKS = pathlib.Path(__file__).parents[1] / "examples"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add a page ``tutorials/….md`` for each notebook, with the outputs that it was saved with."""
    for path in sorted(_NOTEBOOKS.glob("*.ipynb")):
        name = path.stem
        text, resources = MarkdownExporter().from_filename(
            str(path), {"unique_key": "output", "output_files_dir": name}
        )
        # Tables get the look of the site, and the outputs of a cell are not far apart.
        text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL)
        text = text.replace('<table border="1" class="dataframe">', "<table data-search-exclude>")
        text = re.sub(r"(?m)^(    .*\n)(?:[ ]*\n){2,}(?=    )", r"\1\n", text)
        files.append(File.generated(config, f"tutorials/{name}.md", content=text))
        for place, content in resources["outputs"].items():
            files.append(File.generated(config, f"tutorials/{place}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Insert the list of flags, with the texts of the report, at its marker."""
    return markdown.replace(_FLAGS, flags()) if _FLAGS in markdown else markdown


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Convert formulas from LaTeX to MathML, which browsers display without a library."""

    def formula(match: re.Match[str]) -> str:
        tag, text = match.groups()
        try:
            return convert(html.unescape(text), display="inline" if tag == "span" else "block")
        except Exception as error:  # the converter's errors have no common base class
            raise PluginError(f"{page.file.src_uri}: the formula {text!r}: {error!r}") from error

    return _FORMULA.sub(formula, content)


def flags() -> str:
    """Return a definition list in Markdown: each flag with its meaning and advice."""
    lines = []
    for flag, meaning in report.FLAGS.items():
        lines += [
            f"`{flag}` {{ #flag-{flag} }}",
            f":   {meaning} Markers are {flagging.LOOKS[flagging.FLAGS[flag].doubt]}.",
            "",
            f"    **Do:** {report.ADVICE[flag]}",
            "",
        ]
    return "\n".join(lines)
