"""Combining runs that differ in their seeds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras.frame.table import COLUMNS, TRUTH, groups_of_truth, validate

# The seed at the end of a run's name.
_SEED = r"-(?:seed)?\d+$"


def without_seed(runs: pd.Series) -> pd.Series:
    """Remove the seed at the end of names: ``tanh-0`` and ``tanh-1`` become ``tanh``.

    Args:
        runs: names of runs.
    """
    return runs.str.replace(_SEED, "", regex=True)


def seed_groups(runs: Iterable[str]) -> dict[str, str]:
    """Map each run to its name without the seed, if another run shares it, else to its own name.

    Args:
        runs: names of runs.

    Returns:
        A dictionary in the order of first appearance.
    """
    names = pd.Series(list(dict.fromkeys(runs)), dtype="str")
    short = without_seed(names)
    shared = short.duplicated(keep=False)
    return dict(zip(names, short.where(shared, names), strict=True))


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Combine the runs that differ in their seeds.

    Args:
        frame: a table of estimates.

    Returns:
        A table with the columns ``COLUMNS``. Combined runs have one name (see ``seed_groups``);
        their ``value`` is the mean over runs, ``stderr`` the standard deviation s over runs (not
        the standard error of the mean, which is s/√k for k runs), ``flags`` the flags of all runs,
        and ``seconds`` the sum. Other runs keep their values, and their ``stderr`` is still a
        standard error.

    Raises:
        ArgumentError: If the table lacks columns.
    """
    table = validate(frame)[COLUMNS]
    group = table["run"].map(seed_groups(table["run"])).astype(table["run"].dtype)
    table = table.assign(run=group)
    key = ["run", "epoch", "layer", "layer_index", "estimator", "quantity", "kind", "unit"]
    groups = table.groupby(key, sort=False, dropna=False)
    combined = groups[["dim", "n", "noise_std"]].first()
    combined["value"] = groups["value"].mean()
    several = groups["value"].count() > 1
    combined["stderr"] = groups["value"].std().where(several, groups["stderr"].first())
    combined["seconds"] = groups["seconds"].sum()
    combined["flags"] = groups["flags"].agg(
        lambda own: ",".join(flagging.split(",".join(own.unique())))
    )
    return combined.reset_index()[COLUMNS]


def over_seeds_of_truth(frame: pd.DataFrame) -> pd.DataFrame:
    """Combine the runs ``…-seed0``, ``…-seed1`` of ``against_truth`` that have the same truth.

    Args:
        frame: estimates of ``against_truth`` joined with its logs, which have the truth ``mi``.

    Returns:
        The table with the columns ``mi`` and ``group``, the kind of images. The ``value`` of
        combined runs is the mean over seeds, ``stderr`` the standard deviation over seeds (NaN for
        one seed), and ``seeds`` the number of seeds with a finite value; it is 1 for other runs.

    Raises:
        ArgumentError: If the table lacks columns.
    """
    table = validate(frame).assign(seeds=1)
    finite = np.isfinite(table["value"])
    seeded = table["run"].str.contains(r"-seed\d+$", regex=True)
    if seeded.any():
        runs = table.loc[seeded].drop_duplicates("run")
        names = runs["run"].map(seed_groups(runs["run"]))
        truths = dict(zip(names, runs[TRUTH], strict=True))
        combined = over_seeds(table[seeded])
        key = ["run", "layer", "estimator", "quantity"]
        group = table["run"].map(dict(zip(runs["run"], names, strict=True)))
        counts = table[seeded & finite].assign(run=group).groupby(key, observed=True).size()
        places = pd.MultiIndex.from_frame(combined[key])
        seeds = counts.reindex(places).fillna(0).to_numpy(int)
        combined = combined.assign(
            seeds=seeds,
            stderr=combined["stderr"].where(seeds > 1),
            **{TRUTH: combined["run"].map(truths)},
        )
        table = pd.concat([table[~seeded], combined], ignore_index=True)
    return table.assign(group=groups_of_truth(table)).sort_values(TRUTH, kind="stable")
