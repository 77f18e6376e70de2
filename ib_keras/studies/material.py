"""What a study is made of, and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ib_keras import plot
from ib_keras.report import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the tables of findings.
COLUMNS = ["finding", "run", "layer", "paper", "measured"]
PICTURE = "information_plane.png"


@dataclasses.dataclass(frozen=True)
class Material:
    """What was measured.

    Args:
        joined: the table of estimates, joined with the logs.
        table: the table of estimates alone, in order.
        logs: Keras's logs.
        measures: of ``clustering.measures``, where samples were clustered.
        histograms: of ``clustering.histograms``, there.
        drawn: images that decoders drew, one mapping for each network and layer: ``run``,
            ``layer``, ``originals``, ``samples``, ``epochs`` and ``levels``.
    """

    joined: pd.DataFrame
    table: pd.DataFrame
    logs: pd.DataFrame
    measures: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    drawn: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class Reported:
    """What a study shows.

    Args:
        tables: by the names of their files, ``….csv`` or ``….parquet``.
        figures: by the names of their files.
        sections: of the page, before those that every report has.
        single_runs: whether the page shows each run by itself.
    """

    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    sections: Sequence[Section] = ()
    single_runs: bool = True


def findings_section(findings: pd.DataFrame) -> Section:
    """The section that every study of a paper begins with."""
    return Section("What the paper reports, and what was measured", table=findings)


def plane(table: pd.DataFrame) -> dict[str, Figure]:
    """The information plane by the name of its file, if the table has I(X;T) and I(T;Y)."""
    both = {"I(X;T)", "I(T;Y)"} <= set(table["quantity"])
    return {PICTURE: plot.information_plane(table)} if both else {}
