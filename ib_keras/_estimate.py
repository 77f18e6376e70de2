"""estimate(): recorded activations in, a table of information out."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ib_keras import _names, frame
from ib_keras import estimators as registry
from ib_keras._checks import as_labels, as_samples
from ib_keras.activations import Activations, ActivationStore, flat_inputs
from ib_keras.errors import ArgumentError
from ib_keras.estimators._codes import row_codes
from ib_keras.interface import Estimate, Estimator


@dataclasses.dataclass(frozen=True)
class Item:
    """One layer at one epoch, to be estimated."""

    run: str
    epoch: int
    layer: str
    layer_index: int
    noise_std: float
    extent: Callable[[], tuple[float, float] | None]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the rows of all layers share: labels and inputs, as integer codes."""

    n: int
    labels: np.ndarray | None
    inputs: np.ndarray | None
    draws: int = 1

    @classmethod
    def of(cls, n: int, targets: Any, inputs: Any, draws: int = 1) -> Samples:
        """Checks targets and inputs and reduces them to codes."""
        labels = None if targets is None else as_labels(targets, n, "targets")
        codes = None
        if inputs is not None:
            codes = _input_codes(inputs, n)
            if draws == 1 and int(codes.max()) == n - 1:
                codes = None  # all distinct, which is the default
        elif draws > 1:
            codes = np.arange(n)
        return cls(n, labels, codes, draws)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments ``y`` and ``x`` of an estimator."""
        codes = {"y": self.labels, "x": self.inputs}
        return {k: None if c is None else np.tile(c, self.draws) for k, c in codes.items()}


def estimate(
    source: Any,
    estimators: Any,
    *,
    inputs: Any = None,
    targets: Any = None,
    layers: str | Sequence[str] | None = None,
    epochs: Iterable[int] | None = None,
    unit: str = "nats",
    progress: bool = True,
) -> pd.DataFrame:
    """Estimates I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        source: an ``ActivationStore`` or its path; or a mapping layer name → ``(n, ...)`` such as
            the ``Activations`` that ``capture`` returns; or a Keras model, whose taps are captured.
        estimators: names, configurations or estimator objects; one or a list.
        inputs: ``(n, ...)`` X, for a mapping or a model; a store has its own. A mapping without
            inputs is taken to have n distinct ones.
        targets: ``(n,)`` labels, for a mapping or a model; a store has its own.
        layers: names or globs; ``None`` for all.
        epochs: epochs of a store; ``None`` for all.
        unit: ``"nats"`` or ``"bits"``.
        progress: a progress bar on a terminal.

    Returns:
        A frame in long form, one row for each run, epoch, layer, estimator and quantity, with the
        columns ``ib_keras.frame.COLUMNS``. ``value`` and ``stderr`` are in ``unit``; ``kind`` says
        whether the value is an estimate or a bound; ``flags`` why not to take it at face value.

    Raises:
        ArgumentError: an estimator, layer or epoch is unknown, lengths differ, or some activations
            are NaN, infinite or outside an estimator's fixed range: all before any is estimated.
        StoreError: the path holds no store of this version.
    """
    frame.check_unit(unit)
    made = make_estimators(estimators)
    if isinstance(source, (str, os.PathLike)):
        source = ActivationStore(source)
    if isinstance(source, ActivationStore):
        _refuse(inputs=inputs, targets=targets)
        samples, items = from_store(source, layers, epochs)
    else:
        run = "activations"
        if not isinstance(source, Mapping):
            source, run = _capture(source, inputs, targets, layers)
        _refuse(epochs=epochs)
        samples, items = from_arrays(source, inputs, targets, layers, run=run)
    check(items, made)
    bar = tqdm(
        total=len(items) * len(made),
        unit="estimate",
        disable=not (progress and sys.stderr.isatty()),
        leave=False,
    )
    with bar:
        rows = [row for row in run_all(items, made, samples, lambda: bar.update())]
    return frame.convert(frame.from_rows(rows), unit)


def make_estimators(identifiers: Any) -> list[Estimator]:
    """The estimators that one identifier or a list of them names; at least one, all different."""
    if isinstance(identifiers, (str, dict, type)) or not isinstance(identifiers, Iterable):
        identifiers = [identifiers]
    made = [registry.get(identifier) for identifier in identifiers]
    labels = [str(estimator) for estimator in made]
    if not made or len(set(labels)) < len(labels):
        raise ArgumentError("`estimators` is empty or repeats one", "different ones", labels)
    return made


def from_store(
    store: ActivationStore, layers: Any = None, epochs: Iterable[int] | None = None
) -> tuple[Samples, list[Item]]:
    """What there is to estimate in a store."""
    recorded = store.epochs
    chosen = recorded if epochs is None else sorted({int(e) for e in epochs})
    unknown = sorted(set(chosen) - set(recorded))
    if unknown or not chosen:
        raise ArgumentError(
            "Some epochs were not recorded" if unknown else "No epoch was recorded",
            f"some of {recorded}",
            unknown or chosen,
        )
    names = store.layers if layers is None else _names.select(layers, store.layers)
    samples = Samples.of(store.n, store.targets(), store.inputs(), store.draws)
    items = [
        Item(
            run=store.run,
            epoch=epoch,
            layer=name,
            layer_index=store.layers.index(name),
            noise_std=store.noise_std(epoch).get(name, 0.0),
            extent=lambda epoch=epoch, name=name: store.extent(epoch, name),  # type: ignore[misc]
            read=lambda epoch=epoch, name=name: store.read_flat(epoch, name),  # type: ignore[misc]
        )
        for epoch in chosen
        for name in names
    ]
    return samples, items


def from_arrays(
    arrays: Mapping[str, Any],
    inputs: Any,
    targets: Any,
    layers: Any = None,
    *,
    run: str,
    epoch: int = 0,
) -> tuple[Samples, list[Item]]:
    """What there is to estimate in arrays in memory."""
    if not arrays:
        raise ArgumentError("`source` has no layers", "at least one", arrays)
    names = list(arrays) if layers is None else _names.select(layers, list(arrays))
    noise = arrays.noise_std if isinstance(arrays, Activations) else {}
    checked = {name: as_samples(arrays[name], name) for name in names}
    sizes = {name: len(t) for name, t in checked.items()}
    if len(set(sizes.values())) > 1:
        raise ArgumentError("Layers differ in length", "one number of samples", sizes)
    samples = Samples.of(next(iter(sizes.values())), targets, inputs)
    items = [
        Item(
            run=run,
            epoch=epoch,
            layer=name,
            layer_index=list(arrays).index(name),
            noise_std=noise.get(name, 0.0),
            extent=lambda t=t: (float(t.min()), float(t.max())),  # type: ignore[misc]
            read=lambda t=t: t,  # type: ignore[misc]
        )
        for name, t in checked.items()
    ]
    return samples, items


def check(items: Sequence[Item], made: Sequence[Estimator]) -> None:
    """Raises for what any of the estimates would fail on, before the first is made."""
    for item in items:
        where = f"Layer {item.layer!r} at epoch {item.epoch}"
        extent = item.extent()
        if extent is None:
            raise ArgumentError(
                f"{where} has NaN or infinite values",
                "finite activations; choose the epochs before the training diverged by `epochs`",
                "a non-finite value",
            )
        for estimator in made:
            check_extent = getattr(estimator, "check_extent", None)
            if check_extent is None:
                continue
            try:
                check_extent(*extent)
            except ArgumentError as error:
                raise ArgumentError(
                    f"{where}: {error.invalid[0].lower()}{error.invalid[1:]}",
                    error.expected,
                    error.received,
                ) from None


def run_all(
    items: Sequence[Item],
    made: Sequence[Estimator],
    samples: Samples,
    done: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """The rows of the table, in nats."""
    arguments = samples.arguments()
    for item in items:
        t = item.read()
        for estimator in made:
            start = time.perf_counter()
            result = estimator.estimate(t, noise_std=item.noise_std, **arguments)
            seconds = time.perf_counter() - start
            yield _row(item, estimator, "I(X;T)", result.xt, seconds)
            if result.ty is not None:
                yield _row(item, estimator, "I(T;Y)", result.ty, seconds)
            done()


def _row(
    item: Item, estimator: Estimator, quantity: str, value: Estimate, seconds: float
) -> dict[str, Any]:
    return {
        "run": item.run,
        "epoch": item.epoch,
        "layer": item.layer,
        "layer_index": item.layer_index,
        "dim": value.dim,
        "n": value.n,
        "estimator": str(estimator),
        "quantity": quantity,
        "value": value.value,
        "stderr": value.stderr,
        "kind": value.kind,
        "flags": ",".join(value.flags),
        "noise_std": item.noise_std,
        "seconds": seconds,
        "unit": "nats",
    }


def _capture(model: Any, inputs: Any, targets: Any, layers: Any) -> tuple[Activations, str]:
    import keras

    from ib_keras._instrument import InstrumentedModel, instrument

    if not isinstance(model, keras.Model):
        raise ArgumentError(
            "`source` cannot be estimated",
            "a store or its path, a mapping layer name → array, or a Keras model",
            repr(type(model)),
        )
    if inputs is None:
        raise ArgumentError("A model needs `inputs`", "an array (n, ...)", None)
    Samples.of(len(flat_inputs(inputs)[0]), targets, inputs)  # fails before the forward passes
    tapped = model if isinstance(model, InstrumentedModel) else instrument(model)
    return tapped.capture(inputs, layers=layers), tapped.model.name


def _input_codes(inputs: Any, n: int) -> np.ndarray:
    arrays = flat_inputs(inputs)
    if any(a.dtype == object for a in arrays):
        raise ArgumentError("`inputs` are no numbers", "arrays of numbers", "dtype object")
    if any(a.ndim == 0 or len(a) != n for a in arrays):
        raise ArgumentError(
            "`inputs` do not match the activations",
            f"one input for each of the {n} samples",
            f"shapes {[a.shape for a in arrays]}",
        )
    codes = row_codes(arrays[0])
    for array in arrays[1:]:
        codes = row_codes(np.stack([codes, row_codes(array)], axis=1))
    return codes


def _refuse(**arguments: Any) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ArgumentError(
            f"`{given[0]}` does not go with this source",
            "inputs and targets for arrays and models, epochs for stores",
            given,
        )
