"""The main job: train, record, estimate, and draw the information plane."""

from typing import Any, List  # noqa: UP035  # kfp reads no other spelling

from ib_keras.components.capturer.component import capturer
from ib_keras.components.estimator.component import estimator
from ib_keras.components.examples.component import examples
from ib_keras.components.reporter.component import reporter
from ib_keras.components.trainer.component import trainer
from kfp import dsl

import ib_keras
from ib_keras._checks import check_count, check_positive
from ib_keras._schedule import parse as parse_record
from ib_keras._schedule import selector
from ib_keras.errors import ArgumentError

# Caches see a task's inputs, image and environment, never the library's code.
_VERSION = ("IB_KERAS_VERSION", ib_keras.__version__)

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {},
    "quick": {"epochs": 20, "models": ["szt"], "estimators": ["ebab"]},
    "digits": {
        "data": "digits",
        "models": ['{"name": "mlp", "hidden": [32, 16, 8], "activation": "tanh"}'],
        "epochs": 200,
        "estimators": ["ebab", '{"name": "kde", "variance": 0.1}', "akde"],
    },
}


@dsl.pipeline(
    name="information-plane",
    description="Trains networks and estimates what each layer knows of input and label.",
)
def information_plane(
    data: str = "szt",
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
    noise_std: float = 0.0,
    record: str = "log",
    split: str = "all",
    max_samples: int = 10000,
    seed: int = 0,
) -> dsl.Dataset:
    """Trains models, records them at log-spaced epochs and estimates I(X;T) and I(T;Y).

    Args:
        data: a name ("szt", "digits", "mnist", …) or the path of an .npz or .mat file.
        models: names, JSON with parameters, .keras files, or "module:function"; all are trained.
        estimators: names, or JSON with parameters; all are run on each model.
        epochs: number of epochs.
        batch_size: samples a step.
        learning_rate: Adam's.
        noise_std: standard deviation of the noise in the hidden layers.
        record: which epochs are recorded: "log", or a JSON step or list.
        split: the recorded rows: "train", "test" or "all".
        max_samples: at most so many rows are recorded.
        seed: of the split, the initial weights, the order of the batches and the noise.
    """
    data_task = examples(data=data, seed=seed).set_env_variable(*_VERSION)
    with dsl.ParallelFor(models) as model:
        train_task = trainer(
            examples=data_task.outputs["output"],
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            noise_std=noise_std,
            record=record,
            seed=seed,
        ).set_env_variable(*_VERSION)
        capture_task = capturer(
            checkpoints=train_task.outputs["output"],
            examples=data_task.outputs["output"],
            split=split,
            max_samples=max_samples,
            seed=seed,
        ).set_env_variable(*_VERSION)
        with dsl.ParallelFor(estimators) as one:
            estimate_task = estimator(
                store=capture_task.outputs["output"], estimator=one
            ).set_env_variable(*_VERSION)
        # Fanned in by model first: no engine is asked to collect from a loop within a loop.
        model_task = reporter(
            estimates=dsl.Collected(estimate_task.outputs["output"])
        ).set_env_variable(*_VERSION)
    report_task = reporter(estimates=dsl.Collected(model_task.outputs["output"])).set_env_variable(
        *_VERSION
    )
    return report_task.outputs["output"]


def check(settings: dict[str, Any]) -> None:
    """Raises for settings on which a task would fail, before the first task starts.

    Args:
        settings: the pipeline's arguments; those that are not given have their defaults.

    Raises:
        ArgumentError: an estimator, model, data set, schedule or number is invalid.
    """
    for identifier in settings.get("estimators", []):
        ib_keras.estimators.get(identifier)
    for key in ("models", "estimators"):
        if not settings.get(key, [key]):
            raise ArgumentError(f"`{key}` is empty", "at least one", "[]")
    for identifier in settings.get("models", []):
        ib_keras.models.check(identifier)
    ib_keras.datasets.check(settings.get("data", "szt"))
    selector(parse_record(settings.get("record", "log")))
    if settings.get("split", "all") not in ("train", "test", "all"):
        raise ArgumentError("`split` is unknown", "'train', 'test' or 'all'", settings["split"])
    for key in ("epochs", "batch_size", "max_samples"):
        if key in settings:
            check_count(settings[key], key)
    if "learning_rate" in settings:
        check_positive(settings["learning_rate"], "learning_rate")
    if not 0 <= settings.get("noise_std", 0.0) < float("inf"):
        raise ArgumentError("`noise_std` is invalid", "a number >= 0", settings["noise_std"])
