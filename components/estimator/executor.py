"""Estimates information from an activation store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import ib_keras
from ib_keras import compression, frame
from ib_keras.errors import ArgumentError
from ib_keras.estimation.run import make_estimators
from ib_keras.estimation.shards import Part
from ib_keras.estimators import LossyCompression


def run(
    store: str | os.PathLike,
    output: str | os.PathLike,
    *,
    estimator: Any,
    layers: Sequence[str] | None = None,
    epochs: Sequence[int] | None = None,
    conditional: bool = False,
    compressor: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Run one or more estimators on the layers and epochs of a store.

    The rows of a part of the layers and epochs are the same as in the table of all of them. Of the
    store's arrays, only those of the selected layers and epochs are read.

    Args:
        store: the ``ib_keras.ActivationStore`` that ``capturer`` wrote.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them.
        estimator: a name, or JSON with parameters, as ``ib_keras.estimators.get`` accepts it; or a
            list of these.
        layers: names of the layers; ``None`` for all.
        epochs: the epochs; ``None`` for all.
        conditional: whether to also estimate I(X;T|Y).
        compressor: the folder of a compressor of the inputs, as ``compression.save`` writes it,
            which the estimators ``lossy`` use in place of their own; ``None`` for their own.

    Returns:
        Facts about the estimates, for the artifact's metadata.
    """
    recorded = ib_keras.ActivationStore(store)
    estimators = make_estimators(estimator)
    if compressor is not None:
        fitted = compression.load(compressor)
        estimators = [_with_compressor(one, fitted) for one in estimators]
    table = ib_keras.estimate(
        recorded,
        estimators,
        layers=layers,
        epochs=epochs,
        conditional=conditional,
        progress=False,
    )
    logs = recorded.logs
    logs.insert(0, "run", recorded.run)
    frame.write(table, output, logs=logs)
    names = ", ".join(table["estimator"].unique())
    return {"run": recorded.run, "estimator": names, "rows": len(table), "unit": "nats"}


def run_part(
    stores: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    part: Part,
    *,
    conditional: bool = False,
    compressor: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Run the estimator of a part of a shard, as ``run`` does.

    Args:
        stores: the stores that a ``capturer`` task wrote.
        output: the folder to write.
        part: a part of the shard.
        conditional: whether to also estimate I(X;T|Y).
        compressor: the folder of a compressor of the inputs, as ``compression.save`` writes it,
            which the estimators ``lossy`` use in place of their own; ``None`` for their own.

    Returns:
        Facts about the estimates, for the artifact's metadata.

    Raises:
        ArgumentError: If the store of the shard is missing.
    """
    if not 0 <= part.store < len(stores):
        raise ArgumentError("The shard names an unknown store", f"< {len(stores)}", part.store)
    chosen = {"estimator": part.estimator, "layers": part.layers, "epochs": part.epochs}
    return run(stores[part.store], output, conditional=conditional, compressor=compressor, **chosen)


def _with_compressor(estimator: Any, fitted: compression.Compressed) -> Any:
    if not isinstance(estimator, LossyCompression):
        return estimator
    return dataclasses.replace(estimator, compress_x=fitted)
