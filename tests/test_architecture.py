"""Which files may import which: the floors of docs/architecture.md, and no circles."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("ib_keras", "components", "pipelines")


def name_of(path):
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "ib_keras" else ("ib_keras", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(path): path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    # A link to a folder within the package is not followed.
    if not {"components", "pipelines"} & set(path.relative_to(ROOT).parts[1:2])
}


def imports(name):
    """The files that a file imports, at its top or in its functions."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in FILES else node.module or "")
    return {one for one in found if one in FILES and one != name}


GRAPH = {name: imports(name) for name in FILES}


def room(name):
    """The first part of a name below the package; of the package itself, none."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def floors():
    """Room → floor, as the table of the document has them."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, flags=re.MULTILINE)
    return {one: int(floor) for floor, rooms in rows for one in re.findall(r"`(\w+)`", rooms)}


def test_every_room_has_a_floor():
    assert set(floors()) == {room(name) for name in FILES} - {""}


def test_imports_run_downwards():
    floor = floors()
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if room(name) and room(other) and room(name) != room(other)
        and floor[room(other)] >= floor[room(name)]
    ]  # fmt: skip
    assert not wrong


def test_only_components_and_pipelines_import_the_whole_package():
    users = {room(name) for name, others in GRAPH.items() if "ib_keras" in others}
    assert users <= {"components", "pipelines"}


def test_no_circles():
    # The packages' own files hand on what is in them; they are not counted.
    own = {n: {o for o in os if FILES[o].name != "__init__.py"} for n, os in GRAPH.items()}
    state = {}

    def visit(name, path):
        state[name] = "open"
        for other in sorted(own[name]):
            assert state.get(other) != "open", " → ".join([*path, name, other])
            if other not in state:
                visit(other, [*path, name])
        state[name] = "done"

    for name in sorted(own):
        if name not in state:
            visit(name, [])


def test_the_house_is_tidy():
    flat = [path for path in FILES.values() if path.parent == ROOT / "ib_keras"]
    assert len(flat) <= 18
    named = [path.name for path in FILES.values() if not path.name.startswith("__")]
    assert not [name for name in named if name.startswith("_")]
