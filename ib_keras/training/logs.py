"""Keras's logs of a training that took place elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.errors import ArgumentError

Logs = str | os.PathLike | pd.DataFrame | Sequence[Mapping[str, Any]] | None


def read(logs: Logs) -> list[dict[str, Any]]:
    """Return the logs with the epochs of the networks to which they belong.

    Keras counts the epochs of a training from 0, and so do its ``CSVLogger`` and the argument
    ``logs``. The logs of Keras's epoch e belong to the network after e + 1 epochs.

    Args:
        logs: the file of a ``CSVLogger``, a DataFrame, or a list of dictionaries, each with the
            column or key ``epoch``; or ``None``. If an epoch occurs several times, because the
            training was resumed, its last logs count. Values that are not numbers are left out.

    Returns:
        The logs in the order of the epochs, with e + 1 as ``epoch`` and all other values as floats.

    Raises:
        ArgumentError: If the file cannot be read, or epochs are missing or are not integers >= 0.
    """
    if logs is None:
        return []
    expected = "the file of a CSVLogger, a DataFrame, or a list of dictionaries, with epochs"
    try:
        table = _table(logs)
        numbers = table.apply(pd.to_numeric, errors="coerce")
        epochs = numbers["epoch"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArgumentError("`logs` cannot be read", expected, repr(error)) from None
    valid = (epochs >= 0) & (epochs < np.inf) & (epochs == epochs.round())
    if not valid.all():
        raise ArgumentError(
            "`logs` have an invalid epoch",
            "integers from 0, as Keras counts them",
            repr(table.loc[~valid, "epoch"].iloc[0]),
        )
    last = numbers.groupby("epoch").tail(1).sort_values("epoch")
    return [
        {
            "epoch": int(row.pop("epoch")) + 1,
            **{str(key): float(value) for key, value in row.items() if pd.notna(value)},
        }
        for row in last.to_dict("records")
    ]


def _table(logs: Any) -> pd.DataFrame:
    if isinstance(logs, pd.DataFrame):
        return logs
    if isinstance(logs, (str, os.PathLike)):
        # A resumed CSVLogger may have written the names of the columns again.
        table = pd.read_csv(logs, sep=None, engine="python")
        return table[table["epoch"].astype(str) != "epoch"]
    return pd.DataFrame(list(logs))
