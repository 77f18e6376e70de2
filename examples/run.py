"""Executes the notebooks of this folder, each in a kernel and an empty folder of its own.

python examples/run.py              checks that all run; what they write is in build/examples
python examples/run.py 01 05        those whose names begin so
python examples/run.py --update     also writes their outputs back: look at the difference
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import sys
import time
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

EXAMPLES = pathlib.Path(__file__).resolve().parent
BUILD = EXAMPLES.parent / "build" / "examples"
_SECONDS_A_CELL = 600
_STARTING = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:\d+\.")
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # What a pipeline has done stays done, also where the library is edited meanwhile.
    "IB_KERAS_VERSION": "any",
    # The command `ib-keras` of this interpreter.
    "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
}


def notebooks(prefixes: list[str]) -> list[pathlib.Path]:
    """The notebooks whose names begin with one of the prefixes; all without any."""
    found = sorted(EXAMPLES.glob("*.ipynb"))
    unknown = [prefix for prefix in prefixes if not any(p.name.startswith(prefix) for p in found)]
    if unknown:
        raise SystemExit(
            f"There is no notebook {', '.join(unknown)}. Expected beginnings of "
            f"{[path.name for path in found]}."
        )
    return [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]


def execute(path: pathlib.Path) -> Any:
    """Runs a notebook from its first cell to its last.

    Args:
        path: of the notebook, which is not changed.

    Returns:
        The notebook with its outputs, of which nothing depends on the machine or the time.

    Raises:
        CellExecutionError: a cell failed.
        RuntimeError: a cell wrote to stderr: a warning is to be dealt with, not to be published.
    """
    notebook = nbformat.read(path, as_version=4)
    folder = BUILD / path.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=_SECONDS_A_CELL,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )
    with open(folder / "kernel.log", "wb") as log:
        client.execute(env={**os.environ, **_ENVIRONMENT}, stderr=log)
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [
                _cleaned(output, folder) for output in cell.outputs if not _noise(output)
            ]
    return notebook


def _cleaned(output: Any, folder: pathlib.Path) -> Any:
    """An output without the path of the folder that its notebook ran in."""
    if output.get("name") == "stderr":
        raise RuntimeError(f"a cell wrote to stderr: {output.text}")
    if "text" in output:
        output.text = output.text.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")
    return output


def _noise(output: Any) -> bool:
    """Whether an output is what TensorFlow says when it starts, and that no setting stops."""
    lines = output.text.splitlines() if output.get("name") == "stderr" else []
    return bool(lines) and all(_STARTING.match(line) for line in lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Executes the notebooks of this folder.")
    parser.add_argument("names", nargs="*", help="beginnings of their names; all by default")
    parser.add_argument("--update", action="store_true", help="write the outputs back")
    arguments = parser.parse_args()
    failed = []
    for path in notebooks(arguments.names):
        start = time.perf_counter()
        try:
            notebook = execute(path)
        except (CellExecutionError, RuntimeError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed.append(path.name)
            continue
        nbformat.write(notebook, path if arguments.update else BUILD / path.name)
        print(f"{path.name}: ran in {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
