"""Compression by activation function: adaptive estimators on ensembles of networks."""

import json
from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.ensembler.component import ensembler
from ib_keras.components.examples.component import examples
from ib_keras.components.reporter.component import reporter
from ib_keras.pipelines import checks

ACTIVATIONS = ("tanh", "relu", "softplus", "centred_softplus", "elu", "prelu", "swish", "abs")
# The paper's penalty: 0.015 · Σ w²/2 on the hidden kernels.
PENALTY = 0.015


def cells(
    activations: Any = ACTIVATIONS,
    penalties: Any = (0.0, PENALTY),
    *,
    initial: str = "normal",
) -> list[str]:
    """Return the models of the grid: each activation function without and with the L2 penalty."""
    return [
        json.dumps({
            "name": "szt", "activation": a, "initial": initial, "l2": l2,
            "label": f"{a}{'+l2' if l2 else ''}",
        })
        for a in activations
        for l2 in penalties
    ]  # fmt: skip


_FIXED = {"name": "binning", "bins": 30, "range": [-1, 1], "clip": True}
_QUICK = "[0, 1, 2, 3, 5, 8, 12, 18, 26, 38, 55, 80, 110, 150, 200, 250, 300]"
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "models": cells(("tanh", "relu", "softplus", "elu", "swish")),
        "seeds": 6,
        "epochs": 300,
        "learning_rate": 0.002,
        "record": _QUICK,
    },
    "paper": {
        "seeds": 50,
        "epochs": 8000,
        "record": "log:400",
        "estimators": [
            '{"name": "ebab", "bins": 30}',
            '{"name": "akde", "record": "log:12"}',
            # The bins of Shwartz-Ziv & Tishby, and those of Saxe et al.
            json.dumps({**_FIXED, "record": "log:12"}),
            '{"name": "binning", "width": 0.07, "record": "log:12"}',
        ],
    },
    # Shwartz-Ziv & Tishby: 50 networks with tanh.
    "fixed-bins": {
        "models": cells(("tanh",), (0.0,)),
        "estimators": [json.dumps(_FIXED)],
        "seeds": 50,
        "epochs": 8000,
        "batch_size": 512,
        "record": "log:400",
    },
    # Saxe et al.: ReLU beside tanh.
    "saxe": {
        "models": cells(("tanh", "relu"), (0.0,), initial="normal_out"),
        "estimators": ['{"name": "binning", "width": 0.07}', '{"name": "kde", "record": "log:24"}'],
        "seeds": 20,
        "epochs": 10000,
        "record": "log:100",
    },
}

# Loops whose items may be grouped, see graph.grouped.
GROUPS = ("models",)


@dsl.pipeline(
    name="adaptive-estimators",
    description="Trains ensembles with many activation functions; estimates by EBAB and "
    "adaptive KDE.",
)
def adaptive_estimators(
    data: str = "szt",
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    models: List[str] = cells(),  # noqa: B008, UP006
    estimators: List[str] = ['{"name": "ebab", "bins": 30}', "akde"],  # noqa: B006, UP006
    seeds: int = 10,
    epochs: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 0.0004,
    record: str = "log",
    seed: int = 0,
    title: str = "Activation functions",
) -> dsl.Dataset:
    """Train ensembles that differ in their activation functions, and measure their compression.

    Args:
        data: name of a data set such as "szt" or "digits"; path of an .npz, .mat, .csv or
            .parquet file, of a folder of images by class, or of a saved tf.data.Dataset.
        label: name of the column with the labels of a table, or several names of columns of numbers
            with commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "images" (8-bit images to [0, 1]), "columns" (each column of a
            table to mean 0 and standard deviation 1), "none", or "auto", which is "columns" for
            .csv, .tsv and .parquet files and otherwise "images".
        models: JSON with name, activation, l2 and label, one for each cell of the grid.
        estimators: names, or JSON with parameters; all are run on each network, at the recorded
            epochs or those of its own "record".
        seeds: number of networks per cell; they differ in their initial weights and batches.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: learning rate of Adam.
        record: which epochs to record: "log", "log:100", or a step or list of epochs in JSON.
        seed: seed of the split and of the first network.
        title: title of the report.
    """
    data_task = examples(data=data, label=label, image_size=image_size, scale=scale, seed=seed)
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
            seed=seed,
        )
    report_task = reporter(
        study="adaptive_estimators",
        estimates=dsl.Collected(ensemble_task.outputs["output"]),
        title=title,
    )
    return report_task.outputs["output"]


def check(settings: dict[str, Any]) -> None:
    """Check the settings of a pipeline, so that it fails before its first task.

    Args:
        settings: arguments of the pipeline; missing ones have their defaults.

    Raises:
        ArgumentError: If an argument is invalid.
    """
    from ib_keras.components.ensembler import executor as ensembler_executor

    checks.check(settings, classes=True)
    for model in settings.get("models", []):
        ensembler_executor.check_model(model)
