"""Noisy networks: sample propagation, clustering, and deterministic twins."""

import json
from collections.abc import Sequence
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.capturer.component import capturer
from ib_keras.components.clusterer.component import clusterer
from ib_keras.components.ensembler.component import ensembler
from ib_keras.components.estimator.component import estimator
from ib_keras.components.examples.component import examples
from ib_keras.components.planner.component import planner
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from ib_keras.pipelines.checks import check as check

_NEURON = '{"name": "neuron", "noise_std": {"neuron": 0.01}, "loss": "squared_hinge"}'
_SZT = [
    '{"name": "szt", "noise_std": 0.005, "label": "szt-noisy"}',
    '{"name": "szt", "noise_std": 0, "label": "szt-deterministic"}',
    '{"name": "szt", "noise_std": 0.005, "orthonormal": 0.001, "label": "szt-noisy-orthonormal"}',
]


def _mnist(noise_stds: Sequence[float], seeds: int, **network: Any) -> list[str]:
    """Return a four-layer network for each noise and seed, as JSON with further parameters."""
    models = []
    for noise_std in noise_stds:
        kind = f"noisy-{noise_std}" if noise_std else "deterministic"
        for seed in range(seeds):
            model = {
                "name": "four_layer_cnn",
                **network,
                "noise_std": noise_std,
                "layers": ["pool_*", "dense_1", "output"],
                "seed": seed,
                "label": f"mnist-{kind}-seed{seed}",
            }
            models.append(json.dumps(model))
    return models


# The inputs are the whole population, not a sample of it.
_WHOLE = '{"name": "sp", "population": true}'

PRESETS: dict[str, dict[str, Any]] = {
    "neuron": {
        "data": "four_points",
        "models": [_NEURON],
        "estimators": [_WHOLE],
        "epochs": 3000,
        "batch_size": 16,
        "learning_rate": 0.02,
    },
    "szt": {"epochs": 4000, "learning_rate": 0.001, "conditional_inputs": 4096},
    "mnist": {
        "data": "mnist",
        "models": _mnist((0.0, 0.05, 0.1, 0.2, 0.5, 1.0), 5),
        # Noise of this size separates the inputs in layers of this width: `sp` reads ln n.
        "estimators": ["ebab"],
        "epochs": 10,
        "batch_size": 128,
        "learning_rate": 0.001,
        "width": 0.5,
        "record": "[0, 1, 2, 5, 10]",
        "split": "test",
        "max_samples": 1000,
        "conditional_inputs": 1,
        "title": "Noisy networks for MNIST",
    },
}
PRESETS["neuron-quick"] = {**PRESETS["neuron"], "epochs": 700}
PRESETS["szt-quick"] = {}
PRESETS["mnist-quick"] = {
    **PRESETS["mnist"],
    "models": _mnist((0.0, 1.0), 1, filters=[8, 16], hidden=64),
    "epochs": 1,
    "max_samples": 500,
}


def _of_authors(label: str, **more: Any) -> str:
    """Return a model with the initial weights and the noise of the authors' code."""
    model = {"name": "szt", "initial": "uniform", "noise_std": 0.005, **more, "label": label}
    return json.dumps(model)


# The authors' estimate, and the one of the whole population at fewer epochs.
_PROPAGATED = {"name": "sp", "conditional_inputs": 4096, "propagations": 128, "mc_draws": 2}
_AS_AUTHORS = json.dumps({**_PROPAGATED, "resample": True})
_POPULATION = json.dumps({**_PROPAGATED, "population": True, "record": "log:12"})
_CELLS = [_of_authors("tanh"), _of_authors("tanh-orthonormal", orthonormal=1e-4)]
_MORE_CELLS = [
    *(_of_authors(name, activation=name) for name in ("linear", "relu", "leaky_relu")),
    _of_authors("shuffled", shuffled_labels=True),
    _of_authors("deterministic", noise_std=0),
]
PRESETS["paper-szt"] = {}
# Without noise, the propagation of samples has nothing to estimate, and binning shows clusters.
PRESETS["paper-szt-more"] = {
    "models": _MORE_CELLS,
    "estimators": [_AS_AUTHORS, "ebab"],
    "record": "log:24",
}

# Loops whose items may be grouped, see graph.grouped.
GROUPS = ("models",)


@dsl.pipeline(
    name="noisy-dnn",
    description="Trains noisy networks and deterministic twins; estimates I(X;T) by sample "
    "propagation; measures clustering.",
)
def noisy_dnn(
    data: str = "szt",
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    models: List[str] = _SZT,  # noqa: UP006
    estimators: List[str] = [_WHOLE, "ebab"],  # noqa: B006, UP006
    epochs: int = 250,
    batch_size: int = 256,
    learning_rate: float = 0.002,
    recipe: str = "{}",
    width: float = 0.05,
    record: str = "log",
    split: str = "all",
    max_samples: int = 10000,
    conditional_inputs: int = 2048,
    propagations: int = 32,
    shards: int = 0,
    seed: int = 0,
    title: str = "Noisy networks",
) -> dsl.Dataset:
    """Train noisy networks, estimate I(X;T) by sample propagation, and measure clustering.

    Args:
        data: name of a data set such as "szt", "four_points" or "mnist"; path of an .npz, .mat,
            .csv or .parquet file, of a folder of images by class, or of a saved tf.data.Dataset.
        label: name of the column with the labels of a table, or several names of columns of numbers
            with commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "images" (8-bit images to [0, 1]), "columns" (each column of a
            table to mean 0 and standard deviation 1), "none", or "auto", which is "columns" for
            .csv, .tsv and .parquet files and otherwise "images".
        models: names, JSON with parameters and "noise_std", .keras files, or "module:function".
        estimators: names, or JSON with parameters; all are run on each model.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: the (largest) learning rate.
        recipe: JSON object with the optimizer, the schedule of the learning rate, label smoothing,
            augmentation and precision, as for the component trainer; by default, Adam with a
            constant learning rate. --set recipe.optimizer=sgd sets one of them.
        width: bin width of the binned entropy, in the unit of the activations; 0 for 10 times the
            standard deviation of the layer's noise.
        record: which epochs to record: "log", or a step or list of epochs in JSON.
        split: which rows to record: "train", "test" or "all".
        max_samples: the maximum number of rows to record.
        conditional_inputs: number of inputs that are propagated repeatedly.
        propagations: number of times each of these inputs is propagated.
        shards: the number of tasks, up to 100, over which the estimates of one model are split.
            With 0, each estimator has one task, or more if this would take more than an hour.
        seed: seed of the split, the initial weights, the order of the batches and the noise.
        title: title of the report.
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
            record=record,
            seed=seed,
        )
        capture_task = capturer(
            checkpoints=train_task.outputs["output"],
            examples=data_task.outputs["output"],
            split=split,
            max_samples=max_samples,
            conditional_inputs=conditional_inputs,
            propagations=propagations,
            seed=seed,
        )
        plan_task = planner(
            store=capture_task.outputs["output"], estimators=estimators, shards=shards
        )
        with dsl.ParallelFor(plan_task.output) as shard:
            estimate_task = estimator(store=capture_task.outputs["output"], shard=shard)
        # Collected per model first, because not every engine can collect from nested loops.
        model_task = reporter(estimates=dsl.Collected(estimate_task.outputs["output"]))
        cluster_task = clusterer(store=capture_task.outputs["output"], width=width, seed=seed)
    report_task = reporter(
        study="noisy_dnn",
        estimates=dsl.Collected(model_task.outputs["output"]),
        clusters=dsl.Collected(cluster_task.outputs["output"]),
        title=title,
    )
    return report_task.outputs["output"]


@dsl.pipeline(
    name="noisy-dnn-ensembles",
    description="Trains ensembles of noisy networks; estimates I(X;T) by sample propagation; "
    "measures clustering.",
)
def noisy_ensembles(
    data: str = "szt",
    models: List[str] = _CELLS,  # noqa: UP006
    estimators: List[str] = [_AS_AUTHORS, _POPULATION],  # noqa: B006, UP006
    seeds: int = 10,
    epochs: int = 9999,
    batch_size: int = 256,
    learning_rate: float = 0.0004,
    record: str = "log:100",
    seed: int = 0,
    title: str = "Noisy networks of 12 bits",
) -> dsl.Dataset:
    """Train ensembles of noisy networks, estimate by sample propagation, and measure clustering.

    Args:
        data: name of a data set such as "szt"; path of an .npz, .mat, .csv or .parquet file, of a
            folder of images by class, or of a saved tf.data.Dataset.
        models: JSON with name, activation, noise_std and label, one for each ensemble.
        estimators: names, or JSON with parameters; all are run on each network, at the recorded
            epochs or those of its own "record".
        seeds: number of networks per ensemble; they differ in their initial weights and batches.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: learning rate of Adam.
        record: which epochs to record: "log", "log:100", or a step or list of epochs in JSON.
        seed: seed of the split and of the first network.
        title: title of the report.
    """
    data_task = examples(data=data, seed=seed)
    with dsl.ParallelFor(models) as model:
        ensemble_task = ensembler(
            examples=data_task.outputs["output"],
            model=model,
            estimators=estimators,
            seeds=seeds,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            record=record,
            cluster=True,
            seed=seed,
        )
    report_task = reporter(
        study="noisy_dnn",
        estimates=dsl.Collected(ensemble_task.outputs["output"]),
        title=title,
    )
    return report_task.outputs["output"]


# Presets of a pipeline that does not have the module's name.
VARIANTS = {"paper-szt": noisy_ensembles, "paper-szt-more": noisy_ensembles}
