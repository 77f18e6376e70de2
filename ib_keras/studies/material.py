"""The inputs and outputs of a study."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from ib_keras import plot
from ib_keras.frame.table import target_name, target_quantities
from ib_keras.report import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The columns of the tables of findings.
COLUMNS = ["finding", "run", "layer", "paper", "measured"]
PICTURE = "information_plane.png"
# Characters that are replaced in names of files.
_OTHER = re.compile(r"[^\w.-]+")


@dataclasses.dataclass(frozen=True)
class Material:
    """The measured results from which a study is made.

    Args:
        joined: the table of estimates, joined with the logs.
        table: the sorted table of estimates, without the logs.
        logs: Keras's logs.
        measures: the result of ``clustering.measures``, or ``None``.
        histograms: the result of ``clustering.histograms``, or ``None``.
        values: the result of ``clustering.values``, or ``None``.
        points: the result of ``clustering.points``, or ``None``.
        drawn: images sampled from decoders, with a mapping for each network and layer: ``run``,
            ``layer``, ``originals``, ``samples``, ``epochs`` and ``levels``.
    """

    joined: pd.DataFrame
    table: pd.DataFrame
    logs: pd.DataFrame
    measures: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    values: pd.DataFrame | None = None
    points: pd.DataFrame | None = None
    drawn: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class Reported:
    """The tables, figures and sections of a study.

    Args:
        tables: tables by file name, ``….csv`` or ``….parquet``.
        figures: figures by file name.
        sections: sections of the page, in addition to those of every report.
        single_runs: whether single runs can be selected on the page besides means over seeds.
    """

    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    sections: Sequence[Section] = ()
    single_runs: bool = True


def mean_interval(values: Sequence[float] | pd.Series) -> tuple[float, float, float]:
    """Return the mean x̄ over seeds, and its 95 % interval x̄ ± t s/√k; NaN ends for one seed.

    s is the standard deviation of the k values, and t the 0.975 quantile of Student's distribution
    with k − 1 degrees of freedom.

    Args:
        values: a value for each seed.
    """
    known = np.asarray(values, np.float64)
    k, mean = len(known), float(known.mean()) if len(known) else math.nan
    if k < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, k - 1) * known.std(ddof=1)) / math.sqrt(k)
    return mean, mean - half, mean + half


def findings_section(findings: pd.DataFrame) -> Section:
    """Return the section of the findings, with which the study of a paper begins."""
    return Section("Findings of the paper, and measured results", table=findings)


def plane(table: pd.DataFrame) -> dict[str, Figure]:
    """Return the information plane, one for each target, by file name.

    Empty if the table lacks I(X;T) or I(T;Y).
    """
    if "I(X;T)" not in set(table["quantity"]):
        return {}
    several = {target_name(quantity): quantity for quantity in target_quantities(table)}
    if len(several) < 2:
        return {PICTURE: plot.information_plane(table)} if several else {}
    return {
        PICTURE.replace(".", f"_{_OTHER.sub('_', target)}."): plot.information_plane(
            table, target=target
        )
        for target in several
    }
