"""Estimates information from an activation store."""

from __future__ import annotations

import os
from typing import Any

import ib_keras
from ib_keras import frame


def run(store: str | os.PathLike, output: str | os.PathLike, *, estimator: Any) -> dict[str, Any]:
    """Run one or more estimators on every layer and epoch of a store.

    Args:
        store: the ``ib_keras.ActivationStore`` that ``capturer`` wrote.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        estimator: a name, or JSON with parameters, as ``ib_keras.estimators.get`` accepts it; or a
            list of these.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    recorded = ib_keras.ActivationStore(store)
    table = ib_keras.estimate(recorded, estimator, progress=False)
    logs = recorded.logs
    logs.insert(0, "run", recorded.run)
    frame.write(table, output, logs=logs)
    names = ", ".join(table["estimator"].unique())
    return {"run": recorded.run, "estimator": names, "rows": len(table), "unit": "nats"}
