"""Trains many small networks side by side, and estimates."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ib_keras import clustering, datasets, ensembles, frame, models
from ib_keras.arrays.checks import check_count
from ib_keras.components.artifacts import clusters, examples
from ib_keras.errors import ArgumentError
from ib_keras.estimation import sources
from ib_keras.training import schedule

# Side of the bins of networks without noise, 10 times the noise of the paper's networks.
_WIDTH = 0.05
# Seconds between two lines on the progress.
_PAUSE = 30


def run(
    data: str | os.PathLike,
    output: str | os.PathLike,
    *,
    estimators: Sequence[Any],
    model: Any = "szt",
    seeds: int = 10,
    epochs: int = 400,
    batch_size: int = 256,
    learning_rate: float = 4e-4,
    record: str = "log",
    cluster: bool = False,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], object] = lambda facts: None,
) -> dict[str, Any]:
    """Train networks that differ in their initial weights, and estimate for all their layers.

    Arguments that are not listed here are those of the component ``ensembler``.

    Args:
        data: the folder that ``examples`` wrote.
        output: the folder to write: estimates and logs, as ``ib_keras.load`` reads them, and the
            folder ``clusters`` if ``cluster`` is set.
        model: any identifier that ``ib_keras.models.build`` accepts. Its JSON may also have the
            ``"noise_std"`` of the networks, and ``"shuffled_labels"``.
        progress: function that is called with the epoch, at most every 30 seconds.

    Returns:
        Facts about the training, for the artifact's metadata.

    Raises:
        ArgumentError: If an argument is invalid, or the labels are not classes.
    """
    check_model(model)
    loaded = examples.read(data)
    names = loaded.classes("an ensemble")
    label = models.label(model)
    train = loaded.training(models.shuffles_labels(model), seed)
    schedule_of_all = schedule.parse(record)
    measured = _Clusters(schedule_of_all, epochs, seed) if cluster else None
    said = time.monotonic()

    def observer(layers: sources.Recorded) -> None:
        nonlocal said
        if measured is not None:
            measured(layers)
        if time.monotonic() - said > _PAUSE:
            said = time.monotonic()
            progress({"epoch": f"{layers.sources[0].where.epoch} of {epochs}"})

    table, logs = ensembles.study(
        lambda s: models.build(model, input_shape=loaded.input_shape, n_classes=len(names), seed=s),
        datasets.Dataset(train, loaded.split("test"), names),
        seeds=range(seed, seed + check_count(seeds, "seeds")),
        estimators=list(estimators),
        epochs=epochs,
        record=schedule_of_all,
        batch_size=batch_size,
        learning_rate=learning_rate,
        noise_std=models.noise_std(model) or 0.0,
        label=label,
        observer=observer,
    )
    frame.write(table, output, logs=logs)
    if measured is not None:
        clusters.write(pathlib.Path(output) / clusters.FOLDER, measured.tables(), label)
    last = logs[logs["epoch"] == logs["epoch"].max()]
    accuracies = {key: float(last[key].mean()) for key in ("accuracy", "val_accuracy")}
    return {"run": label, "networks": seeds, **accuracies}


class _Clusters:
    """Measures of clustering at all recorded epochs, and histograms and points at some of them.

    Args:
        record: the schedule of the recorded epochs.
        epochs: number of epochs.
        seed: seed of the choice of the rows.
    """

    def __init__(self, record: schedule.Epochs, epochs: int, seed: int) -> None:
        selects = schedule.selector(record)
        recorded = [epoch for epoch in range(epochs + 1) if selects(epoch, epochs)]
        self._pairs_at, self._points_at = (_evenly(recorded, count) for count in (3, 9))
        self._rows: dict[str, Any] = {"max_samples": 500, "seed": seed}
        self._parts: dict[tuple[int, int, str], clusters.Clusters] = {}

    def __call__(self, layers: sources.Recorded) -> None:
        run, epoch = layers.sources[0].where.run, layers.sources[0].where.epoch
        # A network that diverged has no clusters; its estimates say so.
        finite = [one for one in layers.sources if np.isfinite(one.read()).all()]
        layers = sources.Recorded(layers.samples, finite)
        # A network without noise has no width of bins.
        noisy = any(one.where.noise_std > 0 for one in finite)
        width = None if noisy else _WIDTH
        measures = clustering.measures(layers, width=width, **self._rows)
        pairs = layers if epoch in self._pairs_at else sources.Recorded(layers.samples, [])
        points = layers if epoch in self._points_at else sources.Recorded(layers.samples, [])
        self._parts[epoch, len(run), run] = clusters.Clusters(
            measures,
            clustering.histograms(pairs, **self._rows),
            clustering.values(layers),
            clustering.points(points, **self._rows),
        )

    def tables(self) -> clusters.Clusters:
        """Return the tables of all networks and epochs, in an order that no thread changes."""
        return clusters.join([self._parts[key] for key in sorted(self._parts)])


def _evenly(epochs: list[int], count: int) -> set[int]:
    places = np.linspace(0, len(epochs) - 1, min(count, len(epochs)))
    return {epochs[round(place)] for place in places}


def check_model(model: Any) -> None:
    """Check that a model is to be trained.

    Raises:
        ArgumentError: If it has the checkpoints of an earlier training, or a seed, layers, a loss,
            a recipe or a learning rate, which an ensemble does not use.
    """
    given = {
        "seed": models.seed, "layers": models.layers, "loss": models.loss,
        "recipe": models.recipe, "learning_rate": models.learning_rate,
    }  # fmt: skip
    if unused := [key for key, read in given.items() if read(model) is not None]:
        raise ArgumentError(
            "An ensemble has seeds of its own, records all layers and uses the cross-entropy",
            f"a model without {unused}",
            model,
        )
    if models.checkpoints(model):
        raise ArgumentError(
            "An ensemble is trained here, and has no checkpoints",
            'a model without "checkpoints"; other pipelines measure earlier trainings',
            model,
        )
