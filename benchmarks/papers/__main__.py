"""Rebuilds the tables and figures of the papers' pages.

    python -m benchmarks.papers                       # draws the figures from the tables
    python -m benchmarks.papers goldfeld_szt=runs/szt # first reduces the folders of some runs

The names of runs are those of ``docs/papers/data/README.md``.
"""

from __future__ import annotations

import pathlib
import sys

from benchmarks.papers import butakov, chelombiev, darlow, goldfeld, goldfeld_mnist, small

_PAPERS = pathlib.Path(__file__).parents[2] / "docs" / "papers"
DATA, FIGURES = _PAPERS / "data", _PAPERS / "figures"
MODULES = (goldfeld, goldfeld_mnist, chelombiev, butakov, darlow, small)


def main(arguments: list[str]) -> None:
    """Write the tables of the runs that are given, and all figures."""
    folders = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not equals or not pathlib.Path(folder).is_dir():
            raise SystemExit(f"{argument!r} is not NAME=FOLDER of a run\n\n{__doc__}")
        folders[name] = pathlib.Path(folder)
    for module in MODULES:
        module.tables(folders, DATA)
        module.figures(DATA, FIGURES)


if __name__ == "__main__":
    main(sys.argv[1:])
