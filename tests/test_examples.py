"""The notebooks as they are committed; ``make examples`` runs them."""

import pathlib
import re
import subprocess
import sys

import pytest

nbformat = pytest.importorskip("nbformat")

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
# Times, and places of a machine; a file's own path in a URL is none.
PATHS = re.compile(r"(?<![\w:./])/(?:home|root|tmp|work|Users|opt|usr|var)/|[A-Z]:\\\\")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, nbformat.read(request.param, as_version=4)


def test_the_list_names_each_of_them():
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\.ipynb\) \|", (EXAMPLES / "README.md").read_text(), re.M
    )
    assert listed == [path.stem for path in NOTEBOOKS]
    readme = (EXAMPLES.parent / "README.md").read_text()
    assert "(examples/README.md)" in readme


def test_it_is_valid_and_small(notebook):
    path, content = notebook
    nbformat.validate(content)
    assert path.stat().st_size < 300_000


def test_it_was_run_from_top_to_bottom(notebook):
    _, content = notebook
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in o.get("data", {}) for cell in code for o in cell.outputs)
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"


def test_it_says_nothing_of_where_and_when_it_ran(notebook):
    path, content = notebook
    assert not PATHS.search(path.read_text())
    assert content.metadata.kernelspec.name == "python3"
    assert set(content.metadata) == {"kernelspec", "language_info"}
    assert set(content.metadata.language_info) == {"name"}
    assert not any(cell.metadata for cell in content.cells)
    assert "object at 0x" not in path.read_text()


def test_a_figure_draws_itself_in_a_notebook(tmp_path):
    cells = [
        f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})",
        "import ib_keras as ib\nfrom make_frame import make_frame\n"
        "ib.plot.information_plane(make_frame())",
    ]
    (output,) = executed(tmp_path, cells)
    assert set(output.data) == {"text/plain", "image/png"}


@pytest.mark.parametrize(
    ("cell", "said"),
    [("1 / 0", "ZeroDivisionError"), ("import warnings; warnings.warn('odd')", "stderr.*odd")],
)
def test_what_fails_or_warns_fails_the_check(tmp_path, cell, said):
    run, written = copied(tmp_path, [cell])
    before = written.read_bytes()
    found = subprocess.run(
        [sys.executable, run, "--update"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1 and re.search(said, found.stderr, re.S)
    assert written.read_bytes() == before


def test_the_folder_it_runs_in_is_not_in_its_outputs(tmp_path):
    outputs = executed(tmp_path, ["import os; print(os.path.abspath('runs')); print(os.getcwd())"])
    assert [o["text"] for o in outputs] == ["runs\n.\n"]


def executed(folder, cells):
    """The outputs that ``run.py --update`` writes back."""
    run, written = copied(folder, cells)
    subprocess.run([sys.executable, run, "--update"], check=True, capture_output=True)
    return [o for cell in nbformat.read(written, as_version=4).cells for o in cell.outputs]


def copied(folder, cells):
    """``run.py`` and a notebook, in a folder of their own."""
    (folder / "examples").mkdir()
    run = folder / "examples" / "run.py"
    run.write_text((EXAMPLES / "run.py").read_text())
    written = folder / "examples" / "one.ipynb"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(made, written)
    return run, written
