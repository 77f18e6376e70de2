"""The main pipeline: train, record, estimate, and draw the information plane."""

import json
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.capturer.component import capturer
from ib_keras.components.estimator.component import estimator
from ib_keras.components.examples.component import examples
from ib_keras.components.planner.component import planner
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from ib_keras.pipelines.checks import check as check

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {},
    "quick": {"epochs": 20, "models": ["szt"], "estimators": ["ebab"]},
    "digits": {
        "data": "digits",
        "models": ['{"name": "mlp", "hidden": [32, 16, 8], "activation": "tanh"}'],
        "epochs": 200,
        "estimators": ["ebab", '{"name": "kde", "variance": 0.1}', "akde"],
    },
    "vib": {
        "data": "digits",
        "models": [
            json.dumps({"name": "vib", "beta": beta, "latent": 8, "layers": ["z"]})
            for beta in (1e-4, 1e-3, 1e-2, 0.1, 0.3, 1)
        ],
        "estimators": ["sp"],
        "epochs": 150,
        "record": "[0, 20, 150]",
    },
}

# Loops whose items may be grouped, see graph.grouped.
GROUPS = ("models",)


@dsl.pipeline(
    name="information-plane",
    description="Trains networks and estimates each layer's information about input and label.",
)
def information_plane(
    data: str = "szt",
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    models: List[str] = [  # noqa: B006, UP006
        '{"name": "szt", "activation": "tanh"}',
        '{"name": "szt", "activation": "relu"}',
    ],
    estimators: List[str] = [  # noqa: B006, UP006
        '{"name": "binning", "bins": 30}',
        "ebab",
        "akde",
    ],
    epochs: int = 600,
    batch_size: int = 256,
    learning_rate: float = 0.002,
    recipe: str = "{}",
    noise_std: float = 0.0,
    record: str = "log",
    split: str = "all",
    max_samples: int = 10000,
    views: str = "",
    shards: int = 0,
    conditional: bool = False,
    seed: int = 0,
) -> dsl.Dataset:
    """Train models, record them at log-spaced epochs and estimate I(X;T) and I(T;Y).

    Args:
        data: name of a data set such as "szt", "digits" or "mnist"; path of an .npz, .mat, .csv or
            .parquet file, of a folder of images by class, or of a saved tf.data.Dataset.
        label: name of the column with the labels of a table, or several names of columns of numbers
            with commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "images" (8-bit images to [0, 1]), "columns" (each column of a
            table to mean 0 and standard deviation 1), "none", or "auto", which is "columns" for
            .csv, .tsv and .parquet files and otherwise "images".
        models: names, JSON with parameters, .keras files, or "module:function"; all are trained.
        estimators: names, or JSON with parameters; all are run on each model.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: the (largest) learning rate.
        recipe: JSON object with the optimizer, the schedule of the learning rate, label smoothing,
            augmentation and precision, as for the component trainer; by default, Adam with a
            constant learning rate. --set recipe.optimizer=sgd sets one of them.
        noise_std: standard deviation of the noise in the hidden layers, in the unit of the
            activations.
        record: which epochs to record: "log", or a step or list of epochs in JSON.
        split: which rows to record: "train", "test" or "all".
        max_samples: the maximum number of rows to record.
        views: functions of the layers to record in their place: the name of a view of
            ib_keras.views, such as "mean", or JSON of names or globs of layers and views, such as
            {"block*": "mean"}.
        shards: the number of tasks, up to 100, over which the estimates of one model are split.
            With 0, each estimator has one task, or more if this would take more than an hour.
        conditional: whether to also estimate I(X;T|Y), the part of I(X;T) that the labels do not
            explain.
        seed: seed of the split, the initial weights, the order of the batches and the noise.
    """
    data_task = examples(data=data, label=label, image_size=image_size, scale=scale, seed=seed)
    with dsl.ParallelFor(models) as model:
        train_task = trainer(
            examples=data_task.outputs["output"],
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            recipe=recipe,
            noise_std=noise_std,
            record=record,
            seed=seed,
        )
        capture_task = capturer(
            checkpoints=train_task.outputs["output"],
            examples=data_task.outputs["output"],
            split=split,
            max_samples=max_samples,
            views=views,
            seed=seed,
        )
        plan_task = planner(
            store=capture_task.outputs["output"], estimators=estimators, shards=shards
        )
        with dsl.ParallelFor(plan_task.output) as shard:
            estimate_task = estimator(
                store=capture_task.outputs["output"], shard=shard, conditional=conditional
            )
        # Collected per model first, because not every engine can collect from nested loops.
        model_task = reporter(estimates=dsl.Collected(estimate_task.outputs["output"]))
    report_task = reporter(estimates=dsl.Collected(model_task.outputs["output"]))
    return report_task.outputs["output"]
