"""What a residual network keeps of its images: decoders of its stages, over its training."""

import json
from collections.abc import Sequence
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.decoder.component import decoder
from ib_keras.components.examples.component import examples
from ib_keras.components.gatherer.component import gatherer
from ib_keras.components.image_prior.component import image_prior
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import checks

# Of these loops a task takes several items, where there are too many for one that collects them.
GROUPS = ("cells",)

_STAGES = ("h1", "h2", "h3", "h4")
_REGIMES = ("classifier", "autoencoder")


def _models(*filters: int, blocks: int = 1) -> list[str]:
    names = ("resnet", "resnet_autoencoder")
    return [
        json.dumps(
            {
                "name": name,
                "filters": filters,
                "blocks": blocks,
                "layers": ["h?"],
                "label": regime,
            }
        )
        for name, regime in zip(names, _REGIMES, strict=True)
    ]


def _cells(regimes: Sequence[str], layers: Sequence[str], epochs: Sequence[list[int]]) -> list[str]:
    """A task for each layer and each list of checkpoints, whose decoders it trains."""
    return [
        json.dumps({"run": regime, "layer": layer, "epochs": group})
        for regime in regimes
        for layer in layers
        for group in epochs
    ]


_DIGITS = _models(16, 32, 64, 64)
_SMALL: dict[str, Any] = {
    "levels": 17, "filters": 32, "stages": 1, "dropout": 0.2, "epochs": 40, "patience": 10,
    "batch_size": 32, "learning_rate": 0.004,
}  # fmt: skip
_CIFAR: dict[str, Any] = {
    "data": "cifar10",
    "models": _models(64, 128, 256, 512, blocks=2),
    "batch_size": 128,
    "decoder_fraction": 0.5,
}

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {},
    "digits-quick": {
        "cells": [
            *_cells(["classifier"], ["h1", "h4"], [[0, 30]]),
            *_cells(["classifier"], ["h2", "h3"], [[30]]),
            *_cells(["autoencoder"], ["h1", "h4"], [[30]]),
        ],
        "decoder_settings": json.dumps({**_SMALL, "epochs": 25}),
        "epochs": 30,
        "record": "[0, 30]",
    },
    "cifar10": {
        **_CIFAR,
        "cells": _cells(_REGIMES, _STAGES, [[0], [1], [10], [40]]),
        "decoder_settings": json.dumps({
            "levels": 256, "filters": 64, "resnet_blocks": 2, "mixtures": 10, "dropout": 0.2,
            "epochs": 30, "patience": 5, "batch_size": 64,
        }),
        "epochs": 40,
        "record": "[0, 1, 10, 40]",
    },
    "paper": {
        **_CIFAR,
        "cells": _cells(_REGIMES, _STAGES, [[0], [1], [10], [100], [200]]),
        "decoder_settings": json.dumps({
            "levels": 256, "filters": 160, "resnet_blocks": 5, "mixtures": 10, "dropout": 0.5,
            "epochs": 200, "patience": 20, "batch_size": 64, "ema_momentum": 0.9995,
        }),
        "epochs": 200,
        "record": "[0, 1, 10, 100, 200]",
    },
}  # fmt: skip


@dsl.pipeline(
    name="resnet-decoder",
    description="Trains residual networks; PixelCNN++ decoders tell what their stages keep.",
)
def resnet_decoder(
    data: str = "digit_images",
    models: List[str] = _DIGITS,  # noqa: UP006
    cells: List[str] = _cells(_REGIMES, _STAGES, [[0], [1], [10], [100]]),  # noqa: B008, UP006
    decoder_settings: str = json.dumps(_SMALL),
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    record: str = "[0, 1, 10, 100]",
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.7,
    max_samples: int = 100000,
    draws: int = 2,
    warm_start: bool = False,
    work: str = "",
    seed: int = 0,
    title: str = "What a residual network keeps",
) -> dsl.Dataset:
    """Trains networks, and decoders of their stages at some checkpoints.

    Args:
        data: a name such as "digit_images" or "cifar10", or the path of an .npz file with images.
        models: names, JSON with parameters and "layers", .keras files, or "module:function"; a
            model with outputs of the shape of its inputs is trained to reconstruct them.
        cells: what to decode, JSON: {"run": the model's label, "layer": "h3", "epochs": [0, 10]}; a
            task each.
        decoder_settings: JSON of the decoders' parameters, such as {"levels": 17}.
        epochs: of the networks' training.
        batch_size: samples a step.
        learning_rate: Adam's.
        record: which epochs get a checkpoint: "log", or a JSON step or list.
        test_fraction: share of the rows that is evaluated, where the data come unsplit.
        decoder_fraction: share of the other rows that trains decoders, not networks.
        max_samples: at most so many rows train a decoder, and as many are evaluated.
        draws: images to draw for each that is shown.
        warm_start: in a cell of several epochs, begins with the decoder of the epoch before. Later
            decoders have then been trained longer, which looks like a network that still learns.
        work: a folder that outlives the tasks, for decoders to go on in after an interruption.
        seed: of the split, the initial weights and the order of the batches.
        title: of the report.
    """
    data_task = examples(
        data=data, test_fraction=test_fraction, decoder_fraction=decoder_fraction, seed=seed
    )
    prior_task = image_prior(
        examples=data_task.outputs["output"],
        decoder=decoder_settings,
        max_samples=max_samples,
        draws=draws,
        work=work,
    )
    with dsl.ParallelFor(models) as model:
        train_task = trainer(
            examples=data_task.outputs["output"],
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            record=record,
            seed=seed,
        )
    gather_task = gatherer(models=dsl.Collected(train_task.outputs["output"]))
    with dsl.ParallelFor(cells) as cell:
        decode_task = decoder(
            checkpoints=gather_task.outputs["output"],
            examples=data_task.outputs["output"],
            prior=prior_task.outputs["output"],
            cell=cell,
            decoder=decoder_settings,
            max_samples=max_samples,
            draws=draws,
            warm_start=warm_start,
            work=work,
        )
    report_task = reporter(
        study="resnet_decoder", estimates=dsl.Collected(decode_task.outputs["output"]), title=title
    )
    return report_task.outputs["output"]


def check(settings: dict[str, Any]) -> None:
    """Raises for settings on which a task would fail, before the first task starts.

    Args:
        settings: the pipeline's arguments; those that are not given have their defaults.

    Raises:
        ArgumentError: an argument is invalid.
    """
    from ib_keras import models
    from ib_keras.components.artifacts import prior as image_prior_executor
    from ib_keras.components.decoder import executor as decoder_executor
    from ib_keras.training import schedule

    checks.check({"data": "digit_images", **settings})
    image_prior_executor.bound(settings.get("decoder_settings", "{}"))
    labels = [models.label(model) for model in settings.get("models", _DIGITS)]
    selects = schedule.selector(schedule.parse(settings.get("record", "[0, 1, 10, 100]")))
    last = settings.get("epochs", 100)
    cells = settings.get("cells", _cells(_REGIMES, _STAGES, [[0], [1], [10], [100]]))
    if not cells:
        raise ArgumentError("`cells` is empty", "at least one", "[]")
    for text in cells:
        cell = decoder_executor.read_cell(text)
        if cell.run not in labels:
            raise ArgumentError("A cell names no model", f"one of {labels}", cell.run)
        missing = [epoch for epoch in cell.epochs if epoch > last or not selects(epoch, last)]
        if missing:
            raise ArgumentError(
                f"A cell names epochs without a checkpoint: {missing}",
                f"epochs up to {last} that `record` selects",
                text,
            )
