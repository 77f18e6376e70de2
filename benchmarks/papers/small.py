"""The figures of small runs: the information plane of the front page, and one noisy neuron."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping

import pandas as pd

import ib_keras as ib
from benchmarks.papers import _common
from ib_keras import frame

DEMO, NEURON = "demo", "neuron"
_COLUMNS = [
    "run", "epoch", "layer", "layer_index", "n", "estimator", "quantity", "value", "stderr", "kind",
    "flags", "unit",
]  # fmt: skip
# The estimators of the front page.
_SHOWN = ("akde", "binning")
# The values that the neuron's I(X;T) can have, depending on which inputs are merged.
_LEVELS = {
    "ln 4": math.log(4),
    "ln 3": math.log(3),
    "H(½,¼,¼)": 1.5 * math.log(2),
    "ln 2": math.log(2),
    "H(¾,¼)": 2 * math.log(2) - 0.75 * math.log(3),
}


def tables(run_folders: Mapping[str, pathlib.Path], data: pathlib.Path) -> None:
    """Copy the rows that the figures show.

    Args:
        run_folders: ``demo`` → the folder of the preset ``demo``; ``neuron`` → that of the preset
            ``neuron-quick`` of ``noisy_dnn``. Missing runs are left out.
        data: the folder of the tables.
    """
    if DEMO in run_folders:
        table = ib.load(run_folders[DEMO])
        shown = table[table["estimator"].isin(_SHOWN)]
        _common.write(shown[_COLUMNS], data / f"{DEMO}.csv")
    if NEURON in run_folders:
        table = ib.load(run_folders[NEURON])
        _common.write(table.loc[table["quantity"] == "I(X;T)", _COLUMNS], data / f"{NEURON}.csv")


def figures(data: pathlib.Path, folder: pathlib.Path) -> None:
    """Draw the figures from the tables only.

    Args:
        data: the folder of the tables.
        folder: the folder of the figures.
    """
    with _common.style("small"):
        if (data / f"{DEMO}.csv").exists():
            plane = ib.plot.information_plane(_read(data / f"{DEMO}.csv"))
            _common.save(plane, folder / f"{DEMO}.svg")
        if (data / f"{NEURON}.csv").exists():
            curve = ib.plot.layer_curves(_read(data / f"{NEURON}.csv"), levels=_LEVELS)
            _common.save(curve, folder / f"{NEURON}.svg")


def _read(path: pathlib.Path) -> pd.DataFrame:
    """Read a table, and add the columns that the figures do not show."""
    table = pd.read_csv(path, dtype={"flags": "str"}, keep_default_na=True)
    table = table.assign(flags=table["flags"].fillna(""), dim=0, noise_std=0.0, seconds=0.0)
    return frame.validate(table[frame.COLUMNS])
