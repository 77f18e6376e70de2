"""Checks of a pipeline's settings before its first task starts."""

from __future__ import annotations

from typing import Any, NamedTuple

import ib_keras
from ib_keras.arrays.checks import check_count, check_positive, check_stddev
from ib_keras.components.examples.executor import Part, check_scale, prepare
from ib_keras.errors import ArgumentError, IbKerasError
from ib_keras.estimation.shards import check_shards
from ib_keras.storage.images import size_of
from ib_keras.training.recipe import parse as parse_recipe
from ib_keras.training.schedule import parse as parse_record
from ib_keras.training.schedule import selector, split
from ib_keras.views import parse as parse_views

_COUNTS = (
    "epochs", "batch_size", "max_samples", "conditional_inputs", "propagations", "seeds", "judged",
)  # fmt: skip
# The settings with which the component examples prepares data.
_OF_DATA = (
    "label", "image_size", "scale", "test_fraction", "decoder_fraction", "max_rows", "seed",
)  # fmt: skip
# Shapes and class counts of the data sets that Keras downloads, known without the download.
_KNOWN: dict[str, tuple[tuple[int, ...], int]] = {
    "mnist": ((28, 28), 10),
    "fashion_mnist": ((28, 28), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
}


def check(settings: dict[str, Any], *, classes: bool = False) -> dict[str, Part] | None:
    """Check the settings of a pipeline, so that it fails before its first task.

    Args:
        settings: arguments of the pipeline; missing ones have their defaults. If both ``data`` and
            ``models`` are given, the models are built to check that they fit the data.
        classes: whether the pipeline needs labels that are classes.

    Returns:
        The parts of the data, as the component ``examples`` prepares them; ``None`` if no models or
        data are given, or if the data would have to be downloaded.

    Raises:
        ArgumentError: If an estimator, model, data set, schedule or number is invalid, or a model
            does not fit the data.
    """
    for identifier in settings.get("estimators", []):
        # In pipelines of ensembles, estimators may have a schedule.
        known = split(identifier, "log")[0] if "seeds" in settings else identifier
        ib_keras.estimators.get(known)
    for key in ("models", "estimators"):
        if not settings.get(key, [key]):
            raise ArgumentError(f"`{key}` is empty", "at least one", "[]")
    for identifier in settings.get("models", []):
        ib_keras.models.check(identifier)
    labels = [ib_keras.models.label(identifier) for identifier in settings.get("models", [])]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ArgumentError(
            f"Several models have the label {repeated[0]!r}, so that their runs would be one",
            'another "label" in the JSON of each',
            settings["models"],
        )
    names = {key: settings.get(key) or None for key in ("label", "image_size")}
    if "data" in settings:
        ib_keras.datasets.check(settings["data"], **names)
    check_scale(settings.get("scale", "auto"))
    views = parse_views(settings.get("views", ""))
    selector(parse_record(settings.get("record", "log")))
    if settings.get("split", "all") not in ("train", "test", "all"):
        raise ArgumentError("`split` is unknown", "'train', 'test' or 'all'", settings["split"])
    for key in _COUNTS:
        if key in settings:
            check_count(settings[key], key)
    check_count(settings.get("max_rows", 0), "max_rows", 0)
    check_shards(settings.get("shards", 0))
    if "recipe" in settings:
        how = parse_recipe(settings["recipe"])
        if settings.get("epochs") and not settings.get("models"):
            how.make_optimizer(1e-3, steps=1, epochs=settings["epochs"])
    if settings.get("epochs") and "recipe" in settings:
        selects = selector(parse_record(settings.get("record", "log")))
        if not any(selects(epoch, settings["epochs"]) for epoch in range(settings["epochs"] + 1)):
            raise ArgumentError(
                "`record` selects no epoch", f"epochs from 0 to {settings['epochs']}",
                settings["record"],
            )  # fmt: skip
    if "learning_rate" in settings:
        check_positive(settings["learning_rate"], "learning_rate")
    for key in ("noise_std", "width"):
        check_stddev(settings.get(key, 0.0), key)
    if not ("data" in settings and "models" in settings):
        return None
    data, parts, regression = settings["data"], None, False
    if data in _KNOWN:
        input_shape, n_outputs = _KNOWN[data]
        input_shape = (*(size_of(names["image_size"]) or input_shape[:2]), *input_shape[2:])
    else:
        loaded, parts = prepare(data, **{k: settings[k] for k in _OF_DATA if k in settings})
        input_shape, n_outputs = loaded.x_train.shape[1:], loaded.n_outputs
        regression = loaded.label_names is None
    if regression and classes:
        raise ArgumentError(
            "The labels are numbers, but this pipeline needs classes",
            "classes: integers, texts, or floats with few different values",
            data,
        )
    form = _Form(tuple(input_shape), n_outputs, regression)
    for identifier in settings["models"]:
        model = _checked_model(identifier, form, settings.get("noise_std", 0.0), views)
        if "recipe" in settings and not ib_keras.models.checkpoints(identifier):
            _check_training(identifier, model, form, settings)
    return parts


class _Form(NamedTuple):
    """The form of a data set.

    Args:
        input_shape: the shape of an input.
        n_outputs: the number of classes, or of numbers of a label.
        regression: whether the labels are numbers.
    """

    input_shape: tuple[int, ...]
    n_outputs: int
    regression: bool


def _checked_model(
    identifier: Any, form: _Form, noise_std: float, views: Any
) -> ib_keras.InstrumentedModel:
    """Build and instrument a model.

    Args:
        identifier: an identifier that ``ib_keras.models.build`` accepts.
        form: the form of the data.
        noise_std: standard deviation of the noise in the hidden layers of models whose JSON does
            not set it.
        views: as for ``ib_keras.Recorder``.

    Raises:
        ArgumentError: If the model or its checkpoints do not fit the data or each other.
    """
    from ib_keras.models import from_checkpoints

    try:
        model = ib_keras.models.build(
            identifier,
            input_shape=form.input_shape,
            n_classes=form.n_outputs,
            regression=form.regression,
            seed=0,
        )
        if files := ib_keras.models.checkpoints(identifier):
            from_checkpoints.open_all(files, model)
        if not isinstance(model, ib_keras.InstrumentedModel):
            model_noise = ib_keras.models.noise_std(identifier)
            model = ib_keras.instrument(
                model,
                noise_std if model_noise is None else model_noise,
                layers=ib_keras.models.layers(identifier),
            )
        model.views(model.tap_names, views)
        return model
    except IbKerasError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"The model {ib_keras.models.label(identifier)!r} cannot be built",
            f"a model with inputs {form.input_shape} and {form.n_outputs} outputs",
            f"{type(error).__name__}: {error}",
        ) from error


def _check_training(
    identifier: Any, model: ib_keras.InstrumentedModel, form: _Form, settings: dict[str, Any]
) -> None:
    """Check that a model's recipe, or that of the pipeline, applies to the data."""
    from ib_keras.training import fitting

    recipe = parse_recipe(ib_keras.models.recipe(identifier) or settings["recipe"])
    recipe.make_optimizer(1e-3, steps=1, epochs=settings.get("epochs") or 10**9)
    fitting.check(
        recipe,
        form.input_shape,
        loss=ib_keras.models.loss(identifier),
        reconstructs=ib_keras.models.reconstructs(model.model, form.n_outputs),
        regression=form.regression,
    )
