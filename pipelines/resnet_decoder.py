"""Residual networks: decoders show what each stage keeps of the image during training."""

import json
from collections.abc import Sequence
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

import numpy as np
from kfp import dsl

from ib_keras.arrays.rows import some_rows
from ib_keras.components.decoder.component import decoder
from ib_keras.components.examples.component import examples
from ib_keras.components.examples.executor import scaled
from ib_keras.components.gatherer.component import gatherer
from ib_keras.components.image_prior.component import image_prior
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import checks

# The number of images of each part that are checked.
_CHECKED = 2000
# Loops whose items may be grouped, see graph.grouped.
GROUPS = ("cells",)

_STAGES = ("h1", "h2", "h3", "h4")
_REGIMES = ("classifier", "autoencoder")


# How the networks of photographs are trained: as CIFAR-10's classifiers usually are, and by Adam.
_SGD: dict[str, Any] = {
    "learning_rate": 0.1,
    "recipe": {
        "optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-3, "schedule": "cosine",
        "augment": ["flip", "crop"],
    },
}  # fmt: skip
_ADAM: dict[str, Any] = {
    "learning_rate": 1e-3,
    "recipe": {"schedule": "cosine", "augment": ["flip"]},
}


def _models(
    *filters: int,
    blocks: int = 1,
    seeds: int = 0,
    training: Sequence[dict[str, Any]] = ({}, {}),
) -> list[str]:
    """Return the models of both regimes, or of each regime with several seeds."""
    sizes = {"filters": filters, "blocks": blocks, "layers": ["h?"]}
    names = zip(("resnet", "resnet_autoencoder"), _REGIMES, training, strict=True)
    return [
        json.dumps({"name": name, **sizes, **own, "label": label, **how})
        for name, regime, how in names
        for label, own in _seeded(regime, seeds)
    ]


def _seeded(regime: str, seeds: int) -> list[tuple[str, dict[str, int]]]:
    """Return the names and seeds of a regime's networks; without seeds, its name."""
    return [(f"{regime}-{seed}", {"seed": seed}) for seed in range(seeds)] or [(regime, {})]


def _cells(regimes: Sequence[str], layers: Sequence[str], epochs: Sequence[list[int]]) -> list[str]:
    """Return a cell, that is a task, for each regime, layer and list of epochs."""
    return [
        json.dumps({"run": regime, "layer": layer, "epochs": group})
        for regime in regimes
        for layer in layers
        for group in epochs
    ]


_DIGITS = _models(16, 32, 64, 64)
_DEFAULT_CELLS = _cells(_REGIMES, _STAGES, [[0], [1], [10], [100]])
_SMALL: dict[str, Any] = {
    "levels": 17, "filters": 32, "stages": 1, "dropout": 0.2, "epochs": 40, "patience": 10,
    "batch_size": 32, "learning_rate": 0.004,
}  # fmt: skip
# Five checkpoints with one decoder, which begins as q(x).
_OVER_TRAINING: dict[str, Any] = {
    "decoder_fraction": 0.5, "epochs": 200, "record": "[0, 1, 10, 100, 200]", "share": True,
}  # fmt: skip
_RUNS = [f"{regime}-{seed}" for seed in range(3) for regime in _REGIMES]
_FIVE = _cells(_RUNS, _STAGES, [[0, 1, 10, 100, 200]])
_LARGE: dict[str, Any] = {
    **_OVER_TRAINING,
    "cells": _FIVE,
    "decoder_settings": json.dumps({
        "levels": 256, "filters": 64, "resnet_blocks": 2, "mixtures": 10, "dropout": 0.1,
        "epochs": 20, "prior_epochs": 20, "batch_size": 64, "ema_momentum": 0.999,
    }),
    "batch_size": 128,
}  # fmt: skip

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
    "photographs": {
        **_OVER_TRAINING,
        "data": "cifar10",
        "image_size": "16",
        "max_rows": 10000,
        "models": _models(16, 32, 64, 64, seeds=3, training=(_SGD, _ADAM)),
        "cells": _FIVE,
        "decoder_settings": json.dumps({
            "levels": 256, "filters": [16, 24, 32], "dropout": 0.0, "epochs": 10,
            "prior_epochs": 10, "batch_size": 32, "learning_rate": 0.002, "ema_momentum": 0.995,
        }),
        "title": "What a residual network keeps of photographs",
    },
    "photographs-quick": {
        **_OVER_TRAINING,
        "data": "cifar10",
        "image_size": "16",
        "max_rows": 1500,
        "models": _models(8, 16, 16, 16, training=(_SGD, _ADAM)),
        "cells": [
            *_cells(["classifier"], ["h1", "h3"], [[0, 3, 20]]),
            *_cells(["autoencoder"], ["h1", "h3"], [[0, 20]]),
        ],
        "decoder_settings": json.dumps({
            "levels": 256, "filters": [12, 16, 16], "dropout": 0.0, "epochs": 7,
            "prior_epochs": 7, "batch_size": 32, "learning_rate": 0.004,
        }),
        "epochs": 20,
        "record": "[0, 3, 20]",
        "judged": 50,
    },
    "cifar10": {
        **_LARGE,
        "data": "cifar10",
        "models": _models(32, 64, 128, 256, seeds=3, training=(_SGD, _ADAM)),
    },
    "cinic10": {
        **_LARGE,
        "data": "cinic10",
        "models": _models(64, 128, 256, 512, blocks=2, seeds=3, training=(_SGD, _ADAM)),
    },
}  # fmt: skip


@dsl.pipeline(
    name="resnet-decoder",
    description="Trains residual networks; PixelCNN++ decoders show what their stages keep.",
)
def resnet_decoder(
    data: str = "digit_images",
    label: str = "",
    image_size: str = "",
    scale: str = "images",
    models: List[str] = _DIGITS,  # noqa: UP006
    cells: List[str] = _DEFAULT_CELLS,  # noqa: UP006
    decoder_settings: str = json.dumps(_SMALL),
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    recipe: str = "{}",
    record: str = "[0, 1, 10, 100]",
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.7,
    max_rows: int = 0,
    max_samples: int = 100000,
    draws: int = 2,
    judged: int = 200,
    share: bool = False,
    warm_start: bool = False,
    work: str = "",
    seed: int = 0,
    title: str = "What a residual network keeps",
) -> dsl.Dataset:
    """Train networks, and decoders of their stages at several checkpoints.

    Args:
        data: name of a data set such as "digit_images" or "cifar10"; path of an .npz file with
            images, of a folder of images by class, or of a saved tf.data.Dataset.
        label: name of the column with the labels of a table, or several names of columns of numbers
            with commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "images" (8-bit images to [0, 1]), "columns" (each column of a
            table to mean 0 and standard deviation 1), or "none".
        models: names, JSON with parameters and "layers", .keras files, or "module:function". A
            model whose outputs have the shape of its inputs is trained to reconstruct them.
        cells: which checkpoints to decode, in JSON: {"run": the model's label, "layer": "h3",
            "epochs": [0, 10]}. Each cell is a task.
        decoder_settings: JSON object with the decoders' parameters, such as {"levels": 17}.
        epochs: number of epochs of the networks' training.
        batch_size: number of samples per training step.
        learning_rate: the (largest) learning rate.
        recipe: JSON object with the optimizer, the schedule of the learning rate, label smoothing,
            augmentation and precision, as for the component trainer; by default, Adam with a
            constant learning rate. --set recipe.optimizer=sgd sets one of them.
        record: which epochs get a checkpoint: "log", or a step or list of epochs in JSON.
        test_fraction: fraction of the rows used for evaluation, if the data set has no test part.
        decoder_fraction: fraction of the other rows that trains decoders instead of networks. Data
            with a part "valid" use that instead, such as CINIC-10 in the folders train, valid and
            test.
        max_rows: maximum number of rows of each of these parts, chosen at random; 0 for all.
        max_samples: the maximum number of rows for training a decoder, and of rows for evaluation.
        draws: number of samples per displayed image.
        judged: number of held-out images for each of which a classifier, trained on the decoders'
            rows, judges whether a sample has its class.
        share: whether to train one decoder for all epochs of a cell instead of one for each. All
            checkpoints have linear maps of their own into the same decoder, which is also trained
            without a condition: I(X;T) is what it gains by the condition.
        warm_start: whether to start from the decoder of the previous epoch of the cell. Later
            decoders are then trained longer, which can look as if the network were still learning.
        work: a folder that outlives the tasks, in which interrupted trainings of decoders are
            resumed.
        seed: seed of the split, the initial weights and the order of the batches.
        title: title of the report.
    """
    data_task = examples(
        data=data,
        label=label,
        image_size=image_size,
        scale=scale,
        test_fraction=test_fraction,
        decoder_fraction=decoder_fraction,
        max_rows=max_rows,
        seed=seed,
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
            recipe=recipe,
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
            judged=judged,
            share=share,
            warm_start=warm_start,
            work=work,
        )
    report_task = reporter(
        study="resnet_decoder", estimates=dsl.Collected(decode_task.outputs["output"]), title=title
    )
    return report_task.outputs["output"]


def check(settings: dict[str, Any]) -> None:
    """Check the settings of a pipeline, so that it fails before its first task.

    Args:
        settings: arguments of the pipeline; missing ones have their defaults.

    Raises:
        ArgumentError: If an argument is invalid.
    """
    from ib_keras import models
    from ib_keras.components.artifacts import prior as image_prior_executor
    from ib_keras.components.decoder import executor as decoder_executor
    from ib_keras.training import schedule

    defaults = {"models": _DIGITS, "decoder_fraction": 0.7}
    parts = checks.check({**defaults, **settings}, classes=True)
    bound = image_prior_executor.bound(settings.get("decoder_settings", json.dumps(_SMALL)))
    images = [part.x for part in parts.values()] if parts else []
    if "data" in settings and not parts:  # the data sets that Keras downloads are 8-bit images
        every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
        images = scaled([every], settings.get("scale", "images"))
    for x in images:
        bound.images(x[some_rows(len(x), _CHECKED)])
    saved = {
        models.label(model): models.checkpoints(model) for model in settings.get("models", _DIGITS)
    }
    selects = schedule.selector(schedule.parse(settings.get("record", "[0, 1, 10, 100]")))
    last = settings.get("epochs", 100)
    cells = settings.get("cells", _DEFAULT_CELLS)
    if not cells:
        raise ArgumentError("`cells` is empty", "at least one", "[]")
    for text in cells:
        cell = decoder_executor.read_cell(text)
        if cell.run not in saved:
            raise ArgumentError("A cell names an unknown model", f"one of {list(saved)}", cell.run)
        if files := saved[cell.run]:
            missing, expected = sorted(set(cell.epochs) - set(files)), f"some of {list(files)}"
        else:
            missing = [epoch for epoch in cell.epochs if epoch > last or not selects(epoch, last)]
            expected = f"epochs up to {last} that `record` selects"
        if missing:
            raise ArgumentError(
                f"A cell names epochs without a checkpoint: {missing}", expected, text
            )
