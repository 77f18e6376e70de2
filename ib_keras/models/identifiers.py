"""Model identifiers: the names, files, functions and JSON that pipelines accept."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from ib_keras.arrays.checks import check_bool, check_positive, check_seed, check_stddev
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.models.networks import (
    four_layer_cnn,
    mlp,
    mnist_cnn,
    neuron,
    noisy_cnn,
    resnet,
    resnet_autoencoder,
    szt,
    vib,
)
from ib_keras.storage import checkpoint_files, keras_files
from ib_keras.training import logs as training_logs
from ib_keras.training import recipe as recipes

Identifier = str | os.PathLike | Mapping[str, Any]

# The longest part of an error of Keras that is quoted.
_LONGEST = 300
# Keys of a model's JSON that concern its training instead of its construction.
_TRAINING_KEYS = (
    "checkpoints", "label", "layers", "learning_rate", "logs", "loss", "noise_std", "pattern",
    "recipe", "seed", "shuffled_labels",
)  # fmt: skip
_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    function.__name__: function
    for function in (
        four_layer_cnn, mlp, mnist_cnn, neuron, noisy_cnn, resnet, resnet_autoencoder, szt, vib,
    )
}  # fmt: skip


def names() -> list[str]:
    """Return the model names that ``build`` accepts."""
    return sorted(_BUILDERS)


def label(identifier: Identifier) -> str:
    """Return a short name for a run, such as ``szt-relu``, ``vib-beta0.01`` or the stem of a file.

    It consists of the name of the model or function, and its ``activation`` and ``beta`` if given.

    Args:
        identifier: an identifier that ``build`` accepts; a ``"label"`` in its JSON is the result.
            Checkpoints have the name of their folder.
    """
    name, arguments = _parse(identifier)
    if "label" in arguments:
        return str(arguments["label"])
    if files := _checkpoints(arguments):
        return next(iter(files.values())).resolve().parent.name
    if name.endswith(".keras"):
        return pathlib.Path(name).stem
    short = name.rpartition(":")[2]
    if "activation" in arguments:
        short += f"-{arguments['activation']}"
    beta = arguments.get("beta")
    return f"{short}-beta{beta:g}" if isinstance(beta, (int, float)) else short


def checkpoints(identifier: Identifier) -> dict[int, pathlib.Path]:
    """Return the files of a training that took place elsewhere, by epoch; empty for other models.

    Args:
        identifier: an identifier that ``build`` accepts, whose JSON has ``"checkpoints"``, a glob
            or a list of paths, and perhaps ``"pattern"``, as ``ib_keras.replay`` accepts them.

    Raises:
        ArgumentError: If a file is missing, a name has no epoch, or epochs repeat.
    """
    return _checkpoints(_parse(identifier)[1])


def logs(identifier: Identifier) -> list[dict[str, Any]]:
    """Return the logs of a training that took place elsewhere, with epochs that start at 1.

    Args:
        identifier: an identifier that ``build`` accepts, whose JSON has ``"logs"``, the file of a
            ``CSVLogger``, as ``ib_keras.replay`` accepts it.

    Raises:
        ArgumentError: If the file cannot be read.
    """
    return training_logs.read(_parse(identifier)[1].get("logs"))


def noise_std(identifier: Identifier) -> float | dict[str, float] | None:
    """Return the ``"noise_std"`` of a model's JSON for ``instrument``; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the value is neither a number >= 0 nor a dictionary of such numbers by
            layer.
    """
    value = _parse(identifier)[1].get("noise_std")
    if isinstance(value, Mapping):
        return {str(name): check_stddev(number) for name, number in value.items()}
    return None if value is None else check_stddev(value)


def layers(identifier: Identifier) -> list[str] | None:
    """Return the ``"layers"`` of a model's JSON, the layers to tap; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the value is not a list of names or globs.
    """
    names = _parse(identifier)[1].get("layers")
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ArgumentError(
            "`layers` are not names", 'a list such as ["act_*", "output"]', repr(names)
        )
    return names


def loss(identifier: Identifier) -> str | dict[str, Any] | None:
    """Return the ``"loss"`` of a model's JSON, a Keras loss; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If Keras has no such loss.
    """
    given = _parse(identifier)[1].get("loss")
    if given is not None:
        try:
            keras.losses.get(given)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ArgumentError(
                "The loss is unknown",
                'the name of a Keras loss, or {"class_name": …, "config": …}',
                given,
            ) from None
    return given


def shuffles_labels(identifier: Identifier) -> bool:
    """Return whether a model's JSON asks to shuffle the labels of the training rows.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If ``"shuffled_labels"`` is neither true nor false.
    """
    return check_bool(_parse(identifier)[1].get("shuffled_labels", False), "shuffled_labels")


def seed(identifier: Identifier) -> int | None:
    """Return the ``"seed"`` of a model's JSON; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the value is not an integer >= 0.
    """
    value = _parse(identifier)[1].get("seed")
    return None if value is None else _seed(value)


def _seed(value: Any) -> int:
    """Check a seed, which Keras accepts only below 2³²."""
    if check_seed(value) >= 2**32:
        raise ArgumentError("`seed` is too large", "an integer below 2**32", value)
    return int(value)


def recipe(identifier: Identifier) -> dict[str, Any] | None:
    """Return the ``"recipe"`` of a model's JSON, which says how to train it; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the recipe is invalid, see ``training.recipe.Recipe``.
    """
    value = _parse(identifier)[1].get("recipe")
    return None if value is None else recipes.parse(value).get_config()


def learning_rate(identifier: Identifier) -> float | None:
    """Return the ``"learning_rate"`` of a model's JSON; ``None`` if not given.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the value is not a positive number.
    """
    value = _parse(identifier)[1].get("learning_rate")
    return None if value is None else check_positive(value, "learning_rate")


def build(
    identifier: Identifier,
    *,
    input_shape: Sequence[int],
    n_classes: int,
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a model by its name, load it from a file, or get it from a function.

    Args:
        identifier: one of the following: a name from ``names()``; a ``.keras`` file;
            ``module:function``, a function that returns a ``keras.Model`` and is called with those
            of the arguments ``input_shape``, ``n_classes``, ``regression`` and ``seed`` that it
            accepts; or JSON or a dictionary with any of these as ``"name"`` and parameters
            (``{"name": "szt", "activation": "relu"}``). The JSON may also have a ``"label"``, the
            name of the run; ``"noise_std"``, ``"loss"``, ``"seed"``, ``"recipe"`` and
            ``"learning_rate"``, which take precedence over those of a pipeline; ``"layers"``, a
            list of names or globs of the layers to tap; and ``"checkpoints"``, see ``checkpoints``.
            If the checkpoints are ``.keras`` files, the name may be missing. The outputs of a
            network with checkpoints need not fit the labels.
        input_shape: shape of one input of the data.
        n_classes: number of classes of the data; for a regression, how many numbers a label has.
        regression: whether labels are numbers rather than classes.
        seed: seed of the initial weights; a ``"seed"`` in the JSON takes precedence.

    Raises:
        ArgumentError: If the model does not exist, or does not fit the data.
    """
    name, arguments = _parse(identifier)
    own_seed = arguments.get("seed")
    has_checkpoints = "checkpoints" in arguments
    for key in _TRAINING_KEYS:
        arguments.pop(key, None)
    if keras_files.is_file(name):
        model = load(name)
    else:
        offered = {
            "input_shape": tuple(input_shape),
            "n_classes": n_classes,
            "regression": regression,
            "seed": seed if own_seed is None else _seed(own_seed),
        }
        model = _call(_find(name), name, offered, arguments)
    _check_fits(model, name, tuple(input_shape), None if has_checkpoints else n_classes, regression)
    return model


def _check_fits(
    model: keras.Model,
    name: str,
    input_shape: tuple[int, ...],
    n_classes: int | None,
    regression: bool,
) -> None:
    """Check the inputs of a model, and its outputs unless ``n_classes`` is ``None``."""
    try:
        in_shape, out_shape = model.input_shape, model.output_shape
    except AttributeError:
        raise ArgumentError(
            f"The model {name!r} is not built",
            "a model with defined inputs: start it with keras.Input, or call model.build",
            type(model).__name__,
        ) from None
    fits = (
        isinstance(in_shape, tuple)
        and len(in_shape) == len(input_shape) + 1
        and all(a in (None, b) for a, b in zip(in_shape[1:], input_shape, strict=True))
    )
    expected = f"inputs {input_shape}"
    if n_classes is not None:
        width = out_shape[-1] if isinstance(out_shape, tuple) else None
        predicts = width == n_classes or (width == 1 and n_classes == 2 and not regression)
        fits = fits and (predicts or reconstructs(model, n_classes))
        outputs = f"{n_classes} {'outputs' if regression else 'classes'}"
        expected += f", and {outputs} or the inputs again"
    if not fits:
        raise ArgumentError(
            f"The model {name!r} does not fit the data",
            f"{expected}; another model is chosen by --model or the parameter `models`: one of "
            f"{names()}, a .keras file, or module:function",
            f"inputs {in_shape} and outputs {out_shape}",
        )
    layers = getattr(model, "model", model).layers  # of an instrumented model, those inside
    activations = [getattr(layer, "activation", None) for layer in layers[-1:]]
    if n_classes is not None and regression and keras.activations.softmax in activations:
        raise ArgumentError(
            f"The model {name!r} predicts probabilities, but the labels are numbers",
            "a linear output layer; a function may take the argument `regression`",
            "a softmax",
        )


def reconstructs(model: keras.Model, n_classes: int) -> bool:
    """Return whether the outputs of a model reconstruct its inputs instead of predicting classes.

    Args:
        model: a model with one input and one output.
        n_classes: number of classes of the data.
    """
    shape, out = model.input_shape, model.output_shape
    if not isinstance(shape, tuple) or not isinstance(out, tuple) or shape[1:] != out[1:]:
        return False
    return len(out) > 2 or out[-1] not in (n_classes, 1 if n_classes == 2 else n_classes)


def check(identifier: Identifier) -> None:
    """Check an identifier without building the model.

    Args:
        identifier: an identifier that ``build`` accepts.

    Raises:
        ArgumentError: If the name, file or function does not exist, or a training parameter in its
            JSON is invalid.
    """
    name, arguments = _parse(identifier)
    noise_std(identifier)
    seed(identifier)
    layers(identifier)
    learning_rate(identifier)
    loss(identifier)
    logs(identifier)
    recipe(identifier)
    _checkpoints(arguments)
    alone = [key for key in ("logs", "pattern") if key in arguments]
    if alone and "checkpoints" not in arguments:
        raise ArgumentError(f"{alone} do not apply", 'a model with "checkpoints"', repr(identifier))
    if keras_files.is_file(name):
        _existing(name)
    else:
        _find(name)


def _parse(identifier: Identifier) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of an identifier."""
    if isinstance(identifier, os.PathLike):
        identifier = os.fspath(identifier)
    if isinstance(identifier, str) and not identifier.lstrip().startswith("{"):
        return identifier, {}
    if isinstance(identifier, str):
        try:
            identifier = json.loads(identifier)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(
                f"The model's JSON does not parse ({error})",
                '{"name": "szt", "activation": "relu"}',
                identifier,
            ) from None
    arguments = dict(identifier) if isinstance(identifier, Mapping) else {}
    name = arguments.pop("name", None)
    if name is None and (files := _checkpoints(arguments)):
        first = next(iter(files.values()))
        if first.suffix != ".keras":
            raise ArgumentError(
                f"The checkpoint {str(first)!r} has weights without a model",
                'the model as "name", or by --model; or .keras files',
                repr(identifier),
            )
        return str(first), arguments
    if not isinstance(name, str):
        raise ArgumentError("The model has no name", f"one of {names()}", repr(identifier))
    return name, arguments


def _checkpoints(arguments: Mapping[str, Any]) -> dict[int, pathlib.Path]:
    if "checkpoints" not in arguments:
        return {}
    return checkpoint_files.find(arguments["checkpoints"], arguments.get("pattern"))


def _existing(path: str) -> pathlib.Path:
    if not os.path.exists(path):
        raise ArgumentError(f"The model {path!r} does not exist", "an existing .keras file", path)
    file = pathlib.Path(path)
    keras_files.refuse_other_formats(file)
    return file


def load(path: str | os.PathLike) -> keras.Model:
    """Load a model from a ``.keras`` file, which executes only layers of Keras and ib_keras.

    HDF5 files and SavedModels are not accepted. Keras converts HDF5 files:
    ``keras.models.load_model("m.h5").save("m.keras")``.

    Args:
        path: the file.

    Raises:
        ArgumentError: If the file is missing, damaged or of another format; if the file or the
            model is larger than the available memory; or if it needs code that Keras's safe mode
            refuses.
    """
    import ib_keras.instrumentation.model  # noqa: F401  # registers InstrumentedModel with Keras

    file = _existing(os.fspath(path))
    try:
        keras_files.check(file)
        # An invalid configuration may raise any exception in Keras or TensorFlow.
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except StoreError as error:
        raise ArgumentError(error.invalid, error.expected, error.received) from None
    except Exception as error:
        unknown = re.search(r"Could not locate class '(\w+)'", str(error))
        if unknown:
            raise ArgumentError(
                f"The model {str(file)!r} has a layer or function of your own that Keras does not "
                "know",
                "an import of the module that registers it, by "
                "`keras.saving.register_keras_serializable`, before the model is loaded; in "
                "pipelines, a model module:function of this module",
                f"the class {unknown[1]!r}",
            ) from error
        first = next(iter(str(error).splitlines()), "")
        raise ArgumentError(
            f"The model {str(file)!r} cannot be loaded",
            "a .keras file of this Keras",
            f"{type(error).__name__}: {first[:_LONGEST]}",
        ) from error


def register(identifier: Identifier) -> None:
    """Import the module of a ``module:function``, which registers its layers with Keras.

    A module that is missing is no error, because a file of Keras's own layers does not need it.

    Args:
        identifier: an identifier that ``build`` accepts.
    """
    with contextlib.suppress(ArgumentError):
        name = _parse(identifier)[0]
        if ":" in name and not keras_files.is_file(name):
            _find(name)


def _find(name: str) -> Callable[..., Any]:
    if name in _BUILDERS:
        return _BUILDERS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ArgumentError(
            f"The model {name!r} is unknown",
            f"one of {names()}, a .keras file, or module:function",
            name,
        )
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"The model {name!r} cannot be imported",
            "module:function, with the module on the Python path",
            error,
        ) from error
    if not callable(function):
        raise ArgumentError(
            f"{name!r} is not a function", "a function that returns a model", repr(function)
        )
    return function


def _call(
    function: Callable[..., Any], name: str, offered: dict[str, Any], arguments: dict[str, Any]
) -> keras.Model:
    parameters = inspect.signature(function).parameters
    accepts_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [] if accepts_all else sorted(set(arguments) - set(parameters))
    if unknown:
        raise ArgumentError(
            f"The model {name!r} has no parameter {', '.join(map(repr, unknown))}",
            f"some of {list(parameters)}",
            arguments,
        )
    accepted = {k: v for k, v in offered.items() if accepts_all or k in parameters}
    model = function(**accepted | arguments)
    if not isinstance(model, keras.Model):
        raise ArgumentError(f"{name!r} returned no model", "a keras.Model", repr(type(model)))
    return model
