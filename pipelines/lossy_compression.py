"""Lossy compression: estimates on images with known information, and during training."""

import json
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.capturer.component import capturer
from ib_keras.components.compressor.component import compressor as compressor_task
from ib_keras.components.estimator.component import estimator
from ib_keras.components.examples.component import examples
from ib_keras.components.known_pairs.component import known_pairs
from ib_keras.components.planner.component import planner
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from ib_keras.pipelines import checks


def _lossy(compress_x: Any, compress_t: Any, estimator: str, **more: Any) -> str:
    sides = {"compress_x": compress_x, "compress_t": compress_t}
    return json.dumps({"name": "lossy", **sides, "estimator": estimator, **more})


def _ae(epochs: int, **more: Any) -> dict[str, Any]:
    return {"name": "ae", "epochs": epochs, **more}


def _images(*sizes: int) -> list[str]:
    return [
        json.dumps({"images": images, "size": size})
        for images in ("gaussian", "rectangle")
        for size in sizes
    ]


def _compared(epochs: int) -> list[str]:
    """PCA and an autoencoder with the same nearest-neighbour estimator, and a neural bound."""
    return [*(_lossy(c, c, "ksg", neighbors=1) for c in ("pca", _ae(epochs))), "mine"]


def _cells(seeds: int) -> list[str]:
    """All kinds of images with several seeds; each is a task."""
    kinds = [
        *((images, size) for images in ("gaussian", "rectangle") for size in (16, 32)),
        ("correlated", 16),
        ("hidden", 32),
    ]
    return [
        json.dumps({"images": images, "size": size, "seed": seed})
        for seed in range(seeds)
        for images, size in kinds
    ]


def _all_compared(epochs: int) -> list[str]:
    """PCA and an autoencoder with each estimator, the first coordinates, and a neural bound."""
    methods: dict[str, dict[str, int]] = {"ksg": {"neighbors": 1}}
    methods |= {name: {} for name in ("kl", "wkl", "kde", "flow")}
    return [
        *(_lossy(c, c, name, **m) for c in ("pca", _ae(epochs)) for name, m in methods.items()),
        _lossy("first", "first", "ksg", neighbors=1),
        "mine",
    ]


def _cnn(padding: str, label: str) -> str:
    network = {"name": "noisy_cnn", "padding": padding}
    return json.dumps({**network, "layers": ["act_*", "output"], "label": label})


_CNN = _cnn("valid", "mnist")
_VIEWS = '{"act_1": "pca:32", "act_2": "pca:32"}'
_COMPRESSOR = json.dumps(_ae(60, convolutional=True, batch_size=512, patience=15))


def _of_network(*sides: Any, k_x: int = 4) -> list[str]:
    """Compressed layers of a network, whose compressors see the rows that are evaluated."""
    more = {"k_x": k_x, "fit_share": 1}
    return [
        _lossy("pca", side, method, neighbors=k, **more)
        for side in sides
        for method, k in (("kl", 5), ("ksg", 3))
    ]


PRESETS: dict[str, dict[str, Any]] = {
    "synthetic": {
        "cells": _cells(3),
        "mi": [0.0, 1.0, 3.0, 5.0, 7.0, 10.0],
        "estimators": _all_compared(200),
    },
    "synthetic-quick": {
        "cells": _images(16),
        "mi": [1.0, 3.0, 5.0],
        "estimators": _compared(100),
    },
    "mnist": {"epochs": 300, "record": "1", "views": _VIEWS},
    "mnist-quick": {
        "compressor": json.dumps(_ae(10, convolutional=True, patience=5)),
        "views": _VIEWS,
        "epochs": 8,
        "learning_rate": 0.0003,
        "record": "[0, 1, 2, 4, 8]",
        "max_samples": 3000,
    },
    "cifar10": {
        "data": "cifar10",
        "models": [_cnn("same", "cifar10")],
        "compressor": json.dumps(_ae(60, convolutional=True, k=10, batch_size=512, patience=15)),
        "estimators": _of_network("pca", k_x=10),
        "views": _VIEWS,
        "epochs": 50,
        "learning_rate": 0.0001,
        "record": "1",
    },
}


@dsl.pipeline(
    name="lossy-compression-synthetic",
    description="Runs estimators on pairs of images whose mutual information is known.",
)
def known_information(
    cells: List[str] = _images(16, 32),  # noqa: B008, UP006
    estimators: List[str] = _compared(400),  # noqa: B008, UP006
    mi: List[float] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],  # noqa: B006, UP006
    samples: int = 5000,
    seed: int = 0,
    title: str = "Images of known information",
) -> dsl.Dataset:
    """Run estimators on pairs of images whose mutual information is known.

    Args:
        cells: the kinds of images, in JSON: {"images": "gaussian", "correlated", "rectangle" or
            "hidden", "size": 16}, perhaps with a seed, "seed": 1, which the runs then have in their
            names.
        estimators: names, or JSON with parameters; all are run on all images.
        mi: the true values of the mutual information in nats.
        samples: number of pairs; the same number of additional images trains the compressors.
        seed: seed of the images and the compressors.
        title: title of the report.
    """
    with dsl.ParallelFor(cells) as images:
        pairs_task = known_pairs(
            estimators=estimators, mi=mi, images=images, samples=samples, seed=seed
        )
    report_task = reporter(
        study="lossy_compression",
        estimates=dsl.Collected(pairs_task.outputs["output"]),
        title=title,
    )
    return report_task.outputs["output"]


@dsl.pipeline(
    name="lossy-compression",
    description="Trains networks; estimates I(X;T) and I(T;Y) from compressed inputs and "
    "representations.",
)
def lossy_compression(
    data: str = "mnist",
    label: str = "",
    image_size: str = "",
    scale: str = "standard",
    models: List[str] = [_CNN],  # noqa: B006, UP006
    compressor: str = _COMPRESSOR,
    estimators: List[str] = _of_network("pca"),  # noqa: B008, UP006
    epochs: int = 50,
    batch_size: int = 1024,
    learning_rate: float = 0.00001,
    recipe: str = "{}",
    record: str = "log",
    split: str = "test",
    max_samples: int = 10000,
    views: str = "",
    shards: int = 0,
    seed: int = 0,
    title: str = "Lossy compression",
) -> dsl.Dataset:
    """Train networks and estimate I(X;T) and I(T;Y) from compressed inputs and representations.

    Args:
        data: name of a data set such as "mnist" or "digits"; path of an .npz, .mat, .csv or
            .parquet file, of a folder of images by class, or of a saved tf.data.Dataset.
        label: name of the column with the labels of a table, or several names of columns of numbers
            with commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "standard" (images to mean 0 and standard deviation 1),
            "images" (8-bit images to [0, 1]), "columns" (each column of a table to mean 0 and
            standard deviation 1), or "none".
        models: names, JSON with parameters and "layers", .keras files, or "module:function".
        compressor: the autoencoder of the inputs in JSON. It is trained once, on the training rows,
            and its codes of the recorded rows are used for all layers and epochs.
        estimators: names, or JSON with parameters; all are run on each model. The estimators
            "lossy" use the compressor above for the inputs, and their own for the layers.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: the (largest) learning rate.
        recipe: JSON object with the optimizer, the schedule of the learning rate, label smoothing,
            augmentation and precision, as for the component trainer; by default, Adam with a
            constant learning rate. --set recipe.optimizer=sgd sets one of them.
        record: which epochs to record: "log", or a step or list of epochs in JSON.
        split: which rows to record: "train", "test" or "all".
        max_samples: the maximum number of rows to record.
        views: functions of the layers' outputs to record in their place, see the component
            ``capturer``. The presets replace wide layers by 32 principal components, which are
            fitted on training rows at each epoch.
        shards: the number of tasks, up to 100, over which the estimates of one model are split.
            With 0, each estimator has one task, or more if this would take more than an hour.
        seed: seed of the split, the initial weights, the order of the batches and the noise.
        title: title of the report.
    """
    data_task = examples(data=data, label=label, image_size=image_size, scale=scale, seed=seed)
    compress_task = compressor_task(
        examples=data_task.outputs["output"], compressor=compressor, seed=seed
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
        capture_task = capturer(
            checkpoints=train_task.outputs["output"],
            examples=data_task.outputs["output"],
            split=split,
            max_samples=max_samples,
            conditional_inputs=0,
            views=views,
            seed=seed,
        )
        plan_task = planner(
            store=capture_task.outputs["output"], estimators=estimators, shards=shards
        )
        with dsl.ParallelFor(plan_task.output) as shard:
            estimate_task = estimator(
                store=capture_task.outputs["output"],
                shard=shard,
                compressor=compress_task.outputs["output"],
            )
        # Collected per model first, because not every engine can collect from nested loops.
        model_task = reporter(estimates=dsl.Collected(estimate_task.outputs["output"]))
    report_task = reporter(
        study="lossy_compression",
        estimates=dsl.Collected(model_task.outputs["output"]),
        title=title,
    )
    return report_task.outputs["output"]


# Loops whose items may be grouped, see graph.grouped.
GROUPS = ("models", "cells")

# Presets of a pipeline that does not have the module's name.
VARIANTS = {"synthetic": known_information, "synthetic-quick": known_information}


def check(settings: dict[str, Any]) -> None:
    """Check the settings of a pipeline, so that it fails before its first task.

    Args:
        settings: arguments of the pipeline; missing ones have their defaults.

    Raises:
        ArgumentError: If an argument is invalid.
    """
    from ib_keras.components.compressor import executor as compressors
    from ib_keras.components.known_pairs import executor as known_pairs

    if "compressor" in settings:
        compressors.read_compressor(settings["compressor"])
    for images in settings.get("cells", []):
        known_pairs.read_images(images)
    checks.check(settings)
