"""Runs that differ in their seeds, taken together."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ib_keras.frame.table import COLUMNS, validate

# A number at the end of a run's name.
_SEED = r"-(?:seed)?\d+$"


def without_seed(runs: pd.Series) -> pd.Series:
    """Names of runs without the number at their end: ``tanh-0`` and ``tanh-1`` are ``tanh``.

    Args:
        runs: the names.
    """
    return runs.str.replace(_SEED, "", regex=True)


def seed_groups(runs: Iterable[str]) -> dict[str, str]:
    """Each run → its name without the seed, if others share it, else its own name.

    Args:
        runs: the runs' names.

    Returns:
        A dictionary in the order of first appearance.
    """
    names = pd.Series(list(dict.fromkeys(runs)), dtype="str")
    short = without_seed(names)
    shared = short.duplicated(keep=False)
    return dict(zip(names, short.where(shared, names), strict=True))


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with runs that differ in their seeds taken together.

    Args:
        frame: a table of estimates.

    Returns:
        A table with the columns ``COLUMNS``, in which such runs have one name (see
        ``seed_groups``): ``value`` is their mean, ``stderr`` their standard deviation, ``flags``
        those of any, ``seconds`` their sum; a run of its own is as it was.

    Raises:
        ArgumentError: the table lacks columns.
    """
    table = validate(frame)[COLUMNS]
    group = table["run"].map(seed_groups(table["run"])).astype(table["run"].dtype)
    table = table.assign(run=group)
    key = ["run", "epoch", "layer", "layer_index", "estimator", "quantity", "kind", "unit"]
    groups = table.groupby(key, sort=False, dropna=False)
    found = groups[["dim", "n", "noise_std"]].first()
    found["value"] = groups["value"].mean()
    several = groups["value"].count() > 1
    found["stderr"] = groups["value"].std().where(several, groups["stderr"].first())
    found["seconds"] = groups["seconds"].sum()
    found["flags"] = groups["flags"].agg(
        lambda own: ",".join(
            dict.fromkeys(f for text in own.unique() for f in text.split(",") if f)
        )
    )
    return found.reset_index()[COLUMNS]
