"""Loading the checkpoints of a training that took place elsewhere into one model."""

from __future__ import annotations

import collections
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from ib_keras.errors import ArgumentError, StoreError
from ib_keras.instrumentation.model import InstrumentedModel
from ib_keras.models import identifiers
from ib_keras.storage import checkpoint_files, keras_files, npy, tf_checkpoints

_HOW = (
    "a .keras file whose custom classes are registered by "
    "@keras.saving.register_keras_serializable() and imported; or `model`, a network into which "
    "the weights are loaded"
)


def open_all(
    files: Mapping[int, pathlib.Path], model: Any = None
) -> tuple[keras.Model, Callable[[int], None]]:
    """Load or take the network, and check that all checkpoints fit it, without loading the weights.

    Args:
        files: epoch → file, as ``storage.checkpoint_files.find`` returns them.
        model: the network, or a function without arguments that returns it; ``None`` to load the
            first of several ``.keras`` files. The weights of an instrumented network may be those
            of the network that it wraps.

    Returns:
        The network, and a function that loads the weights of an epoch into it.

    Raises:
        ArgumentError: If a file is damaged; if a model cannot be loaded, for example because it has
            custom classes; if there is no model for files of weights; or if a checkpoint has other
            layers or shapes.
    """
    paths = list(files.values())
    network = _load(paths) if model is None else _given(model)
    candidates = [network.model, network] if isinstance(network, InstrumentedModel) else [network]
    _check_architectures([path for path in paths if path.suffix == ".keras"])
    restorers = _fitting(files, candidates)

    def restore(epoch: int) -> None:
        try:
            with warnings.catch_warnings():
                # Keras warns if the file's optimizer differs from that of the model.
                warnings.simplefilter("ignore")
                restorers[epoch]()
        except npy.DAMAGE as error:
            raise ArgumentError(
                f"The checkpoint {str(files[epoch])!r} cannot be loaded",
                f"weights of the model {network.name!r}",
                error,
            ) from None

    return network, restore


def _check_architectures(paths: list[pathlib.Path]) -> None:
    """Check that ``.keras`` files have the same layers as the first one."""
    try:
        for path in paths:
            keras_files.refuse_other_formats(path)
        architectures = [keras_files.read_architecture(path) for path in paths]
    except StoreError as error:
        raise ArgumentError(
            f"The checkpoint {error.invalid}", error.expected, error.received
        ) from None
    for path, architecture in zip(paths, architectures, strict=True):
        if found := keras_files.difference(architectures[0], architecture):
            raise ArgumentError(
                f"The checkpoint {str(path)!r} is of another architecture",
                f"the layers of {str(paths[0])!r}",
                found,
            )


def _load(paths: list[pathlib.Path]) -> keras.Model:
    """Load the model of the first ``.keras`` file."""
    without = [path for path in paths if path.suffix != ".keras"]
    if without:
        raise ArgumentError(
            f"The checkpoint {str(without[0])!r} has weights without a model",
            "`model`, a network or a function that returns it; or .keras files",
            "no model",
        )
    try:
        return identifiers.load(paths[0])
    except ArgumentError as error:
        raise ArgumentError(
            f"The checkpoint {str(paths[0])!r} cannot be loaded", _HOW, error.received
        ) from error


def _given(model: Any) -> keras.Model:
    network = model if isinstance(model, keras.Model) or not callable(model) else model()
    if not isinstance(network, keras.Model):
        raise ArgumentError(
            "`model` is not a network", "a keras.Model, or a function that returns one",
            repr(network),
        )  # fmt: skip
    if not network.built:
        raise ArgumentError(
            f"The model {network.name!r} is not built, so its weights are unknown",
            "a call on a batch first, or model.build(input_shape)",
            f"{type(network).__name__}, built=False",
        )
    return network


def _fitting(
    files: Mapping[int, pathlib.Path], candidates: list[keras.Model]
) -> dict[int, Callable[[], object]]:
    """Return epoch → a function that loads the weights into the first model that fits all files."""
    problems: list[StoreError] = []
    for target in candidates:
        expected = _shapes_of(target)
        try:
            return {epoch: _restorer(path, target, expected) for epoch, path in files.items()}
        except StoreError as error:
            problems.append(error)
    first = problems[0]
    raise ArgumentError(f"The checkpoint {first.invalid}", first.expected, first.received) from None


def _shapes_of(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's weights, by the names that Keras gives them in files."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.weights.h5")
        keras.Model.save_weights(model, file)  # an instrumented model's own has the plain layout
        return keras_files.read_weights(file).shapes


def _restorer(
    path: pathlib.Path, target: keras.Model, expected: Mapping[str, tuple[int, ...]]
) -> Callable[[], object]:
    """Return a function that loads a checkpoint into a model.

    Raises:
        StoreError: If the file is damaged, or its weights are not those of the model.
    """
    if checkpoint_files.is_tensorflow(path):
        keys = tf_checkpoints.find_weights(path, target)
        return lambda: tf_checkpoints.restore(path, target, keys)
    saved = keras_files.read_weights(path)
    names = _by_shape if saved.older else dict  # files of Keras 1 and 2 have other names
    if found := _mismatch(names(expected), names(saved.shapes)):
        raise StoreError(
            f"{str(path)!r} does not fit the model {target.name!r}", "weights of its layers", found
        )
    return lambda: target.load_weights(path)


def _by_shape(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Replace the names of weights by numbers that count the weights of each shape."""
    counts: collections.Counter[tuple[int, ...]] = collections.Counter()
    numbered = {}
    for shape in shapes.values():
        counts[shape] += 1
        numbered[f"weights/{counts[shape]} of the shape {shape}"] = shape
    return numbered


def _mismatch(
    expected: Mapping[str, tuple[int, ...]], saved: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Describe the first weight that only one side has, or whose shape differs, if there is one."""
    for name, shape in expected.items():
        if name not in saved:
            return f"no {name}"
        if saved[name] != shape:
            return f"{name} of the shape {saved[name]} instead of {shape}"
    # The file may hold other objects besides the layers, such as metrics.
    groups = {name.partition("/")[0] for name in expected}
    return next(
        (f"{name}, which the model does not have" for name in saved
         if name not in expected and name.partition("/")[0] in groups), None,
    )  # fmt: skip
