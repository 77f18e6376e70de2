"""The networks for MNIST in the study of Goldfeld et al. 2019: errors and clustering by noise."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ib_keras import frame
from ib_keras.studies.material import mean_interval

# Quantiles over seeds.
_LOW, _HIGH = 0.1, 0.9
_COSINE = "mean cosine "


def held_out_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the share of misclassified held-out rows, as a mean over seeds with an interval.

    The interval is the 95 % interval of Student's distribution.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A row for each kind of run and each epoch with a held-out accuracy: ``run`` (the name
        without the seed), ``noise_std`` (the largest of its layers, in the unit of the
        activations), ``epoch``, ``seeds`` (k), and ``error``, ``low``, ``high`` (the interval, NaN
        for one seed), ``minimum`` and ``maximum``, as shares of the rows. Empty if the logs have no
        held-out accuracy.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 5.
    """
    columns = ["run", "noise_std", "epoch", "seeds", "error", "low", "high", "minimum", "maximum"]
    if "val_accuracy" not in table:
        return pd.DataFrame(columns=columns)
    known = _by_kind(table[table["val_accuracy"].notna()])
    own = known.drop_duplicates(["seeded", "epoch"])
    rows = []
    for (run, noise_std, epoch), part in own.groupby(["run", "noise_std", "epoch"]):
        errors = 1 - part["val_accuracy"]
        ends = (*mean_interval(errors), errors.min(), errors.max())
        rows.append((run, noise_std, epoch, len(errors), *ends))
    return pd.DataFrame(rows, columns=columns).sort_values(["noise_std", "run", "epoch"])


def cosines(measures: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean cosine similarity of pairs within and between classes, over seeds.

    Args:
        measures: the result of ``clustering.measures``, of one or more runs.

    Returns:
        A row for each kind of run, layer, epoch and kind of pairs: ``run`` (the name without the
        seed), ``noise_std``, ``layer``, ``layer_index``, ``epoch``, ``pairs`` ("within" or
        "between"), ``seeds``, and the ``mean``, ``low`` and ``high`` (the quantiles 0.1 and 0.9)
        over seeds.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 5.
    """
    known = _by_kind(measures[measures["measure"].isin([f"{_COSINE}within", f"{_COSINE}between"])])
    known["pairs"] = known["measure"].str.removeprefix(_COSINE)
    keys = ["noise_std", "run", "layer_index", "layer", "epoch", "pairs"]
    groups = known.groupby(keys)["value"]
    table = pd.DataFrame(
        {
            "seeds": groups.count(),
            "mean": groups.mean(),
            "low": groups.quantile(_LOW),
            "high": groups.quantile(_HIGH),
        }
    ).reset_index()
    order = ["run", "noise_std", "layer", "layer_index", "epoch", "pairs"]
    return table[[*order, "seeds", "mean", "low", "high"]]


def findings(table: pd.DataFrame) -> Iterator[tuple]:
    """Yield a finding on the held-out error at the end of each kind of run with several seeds."""
    errors = held_out_errors(table)
    for run, part in errors[errors["seeds"] > 1].groupby("run", sort=False):
        last = part.sort_values("epoch").iloc[-1]
        yield (
            "held-out error at the end, mean over seeds", run, "",
            "the noisy network is as accurate as its deterministic twin, or more"
            if "noisy" in str(run) else "",
            f"{last['error']:.2%}, 95 % interval {last['low']:.2%} to {last['high']:.2%}, "
            f"{last['seeds']} seeds, noise {last['noise_std']:g}",
        )  # fmt: skip


def _by_kind(rows: pd.DataFrame) -> pd.DataFrame:
    """Give each run the name of its kind, without the seed, and the noise of its noisiest layer.

    The run's own name is in the column ``seeded``.
    """
    kinds = rows["run"].map(frame.seed_groups(rows["run"])).astype("str")
    largest = rows.groupby("run")["noise_std"].transform("max")
    return rows.assign(seeded=rows["run"], run=kinds, noise_std=largest)
