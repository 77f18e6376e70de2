"""Estimates what a store holds."""

from __future__ import annotations

import os
from typing import Any

import ib_keras
from ib_keras import frame


def run(store: str | os.PathLike, output: str | os.PathLike, *, estimator: Any) -> dict[str, Any]:
    """Runs an estimator, or several, on every layer and epoch of a store.

    Args:
        store: what ``capturer`` wrote, an ``ib_keras.ActivationStore``.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        estimator: a name, or JSON with parameters, as ``ib_keras.estimators.get`` takes it; or a
            list of these.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    recorded = ib_keras.ActivationStore(store)
    table = ib_keras.estimate(recorded, estimator, progress=False)
    logs = recorded.logs
    logs.insert(0, "run", recorded.run)
    frame.write(table, output, logs=logs)
    return {
        "run": recorded.run,
        "estimator": ", ".join(table["estimator"].unique()),
        "rows": len(table),
        "unit": "nats",
    }
