"""What there is to estimate: a layer at an epoch, from a store, from arrays, from a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ib_keras.activations import Activations, ActivationStore, layer_names
from ib_keras.arrays.checks import as_samples
from ib_keras.arrays.labels import Name, encode_labels
from ib_keras.arrays.structures import flat_inputs, input_codes
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation.capture import Captured, capture, propagated_rows
from ib_keras.estimators.base import BaseEstimator
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame.table import Where


class Source(Protocol):
    """The outputs of one layer at one epoch, which are to be estimated."""

    @property
    def where(self) -> Where:
        """The run, the layer and the epoch, and the standard deviation of the layer's own noise."""
        ...

    @property
    def random(self) -> bool:
        """Whether the layer's output before its own noise is random given the input."""
        ...

    def read(self) -> np.ndarray:
        """T, ``(n, ...)``."""
        ...

    def clean(self) -> np.ndarray | None:
        """S, the output before the layer's own noise; ``None`` if it was not recorded."""
        ...

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Some rows, and S of each of them propagated several times; ``None`` if not recorded."""
        ...

    def extent(self) -> tuple[float, float] | None:
        """The least and the largest value of T; ``None`` if some are NaN or infinite."""
        ...

    def extent_over_epochs(self) -> tuple[float, float] | None:
        """The least and the largest value of T over all recorded epochs where it is finite."""
        ...


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """A layer of a store at one epoch; arrays are read when they are asked for."""

    where: Where
    store: ActivationStore

    @property
    def random(self) -> bool:
        """Whether noise acts before the layer, or its network draws random numbers."""
        return self.where.layer in self.store.random(self.where.epoch)

    def read(self) -> np.ndarray:
        """T, memory-mapped."""
        return self.store.read_flat(self.where.epoch, self.where.layer)

    def clean(self) -> np.ndarray | None:
        """S, memory-mapped."""
        return self.store.read_flat(self.where.epoch, self.where.layer, clean=True)

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows and their S, where they were recorded."""
        return self.store.propagations(self.where.epoch, self.where.layer)

    def extent(self) -> tuple[float, float] | None:
        """As the store noted it."""
        return self.store.extent(self.where.epoch, self.where.layer)

    def extent_over_epochs(self) -> tuple[float, float] | None:
        """As the store noted it at its epochs."""
        extents = [self.store.extent(epoch, self.where.layer) for epoch in self.store.epochs]
        finite = [extent for extent in extents if extent is not None]
        if not finite:
            return None
        return min(low for low, _ in finite), max(high for _, high in finite)


@dataclasses.dataclass(frozen=True)
class CapturedLayer:
    """A layer of one pass over the inputs, in memory.

    Args:
        where: run, layer and epoch.
        t: T, ``(n, d)``.
        s: S, if it was captured.
        repeated: rows, and S of each of them propagated several times.
        random: whether S is random given the input.
    """

    where: Where
    t: np.ndarray
    s: np.ndarray | None = None
    repeated: tuple[np.ndarray, np.ndarray] | None = None
    random: bool = False

    def read(self) -> np.ndarray:
        """T."""
        return self.t

    def clean(self) -> np.ndarray | None:
        """S."""
        return self.s

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows and their S."""
        return self.repeated

    def extent(self) -> tuple[float, float] | None:
        """Found in T."""
        low, high = float(self.t.min()), float(self.t.max())
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def extent_over_epochs(self) -> tuple[float, float] | None:
        """Of this pass, which is all there is."""
        return self.extent()


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the rows of all layers share: labels and inputs, as integer codes."""

    n: int
    labels: np.ndarray | None
    inputs: np.ndarray | None
    draws: int = 1
    raw: tuple[np.ndarray, ...] = ()
    label_names: tuple[Name, ...] | None = None

    @classmethod
    def of(
        cls, n: int, targets: Any, inputs: Any, draws: int = 1, names: Sequence[Name] | None = None
    ) -> Samples:
        """Checks targets and inputs and reduces them to codes.

        Args:
            n: number of rows.
            targets: their labels, or ``None``.
            inputs: X, or ``None``.
            draws: number of passes over the rows.
            names: of the classes, where the targets are codes of them already.
        """
        encoded = None if targets is None else encode_labels(targets, n, "targets")
        codes = None
        if inputs is not None:
            codes = input_codes(inputs, n)
            if draws == 1 and int(codes.max()) == n - 1:
                codes = None  # all distinct, which is the default
        elif draws > 1:
            codes = np.arange(n)
        raw = () if inputs is None else tuple(flat_inputs(inputs))
        if encoded is None:
            return cls(n, None, codes, draws, raw)
        known = encoded.names if names is None else tuple(names)
        return cls(n, encoded.codes, codes, draws, raw, known)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments ``y`` and ``x`` of an estimator."""
        codes = {"y": self.labels, "x": self.inputs}
        return {k: None if c is None else np.tile(c, self.draws) for k, c in codes.items()}

    @property
    def y_of_x(self) -> bool:
        """Whether Y is a function of X: equal inputs have equal labels."""
        if self.inputs is None or self.labels is None:
            return True  # all inputs are distinct
        pairs = np.unique(np.stack([self.inputs, self.labels]), axis=1).shape[1]
        return pairs == len(np.unique(self.inputs))

    def values(self) -> np.ndarray | None:
        """The inputs themselves, ``(n · draws, ...)``, for estimators that compare T with them."""
        if not self.raw:
            return None
        if len(self.raw) == 1:
            values = self.raw[0]
        else:
            values = np.concatenate([a.reshape(len(a), -1) for a in self.raw], axis=1)
        return values if self.draws == 1 else np.concatenate([values] * self.draws)


def from_store(
    store: ActivationStore, layers: Any = None, epochs: Iterable[int] | None = None
) -> tuple[Samples, list[Source]]:
    """What there is to estimate in a store."""
    recorded = store.epochs
    if epochs is None and (missing := store.missing):
        raise StoreError(f"{str(store.path)!r} is damaged", f"the epochs {missing}", recorded)
    chosen = recorded if epochs is None else sorted({int(e) for e in epochs})
    unknown = sorted(set(chosen) - set(recorded))
    if unknown or not chosen:
        raise ArgumentError(
            "Some epochs were not recorded" if unknown else "No epoch was recorded",
            f"some of {recorded}",
            unknown or chosen,
        )
    names = store.layers if layers is None else layer_names.select(layers, store.layers)
    samples = Samples.of(store.n, store.targets(), store.inputs(), store.draws, store.label_names)
    found: list[Source] = [
        StoredLayer(
            Where(
                store.run, epoch, name, store.layers.index(name),
                store.noise_std(epoch).get(name, 0.0),
            ),
            store,
        )
        for epoch in chosen
        for name in names
    ]  # fmt: skip
    return samples, found


def from_arrays(
    arrays: Mapping[str, Any],
    inputs: Any,
    targets: Any,
    layers: Any = None,
) -> tuple[Samples, list[Source]]:
    """What there is to estimate in arrays in memory."""
    if not arrays:
        raise ArgumentError("`source` has no layers", "at least one", arrays)
    names = list(arrays) if layers is None else layer_names.select(layers, list(arrays))
    is_clean = isinstance(arrays, Activations) and arrays.clean
    found = sources_of(
        Captured(arrays, arrays if isinstance(arrays, Activations) and is_clean else None),
        names,
        run="activations",
    )
    sizes = {source.where.layer: len(source.read()) for source in found}
    if len(set(sizes.values())) > 1:
        raise ArgumentError("Layers differ in length", "one number of samples", sizes)
    return Samples.of(next(iter(sizes.values())), targets, inputs), found


def sources_of(
    captured: Captured, names: Sequence[str] | None = None, *, run: str, epoch: int = 0
) -> list[Source]:
    """What there is to estimate in one pass."""
    arrays, clean, propagated = captured.noisy, captured.clean, captured.propagated
    noise = arrays.noise_std if isinstance(arrays, Activations) else {}
    random = arrays.random if isinstance(arrays, Activations) else frozenset()
    rows = captured.rows
    repeated = (
        {} if propagated is None or rows is None else {n: (rows, propagated[n]) for n in propagated}
    )
    return [
        CapturedLayer(
            Where(run, epoch, name, list(arrays).index(name), noise.get(name, 0.0)),
            as_samples(arrays[name], name, finite=False),
            None if clean is None else clean[name],
            repeated.get(name),
            name in random,
        )
        for name in (arrays if names is None else names)
    ]


def from_model(
    model: Any, inputs: Any, targets: Any, layers: Any, made: Sequence[BaseEstimator]
) -> tuple[Samples, list[Source]]:
    """What there is to estimate in a model: its taps are captured, as the estimators want them."""
    import keras

    from ib_keras.instrumentation.model import InstrumentedModel, instrument

    if not isinstance(model, keras.Model):
        raise ArgumentError(
            "`source` cannot be estimated",
            "a store or its path, a mapping layer name → array, or a Keras model",
            repr(type(model)),
        )
    if inputs is None:
        raise ArgumentError("A model needs `inputs`", "an array (n, ...)", None)
    n = len(flat_inputs(inputs)[0])
    samples = Samples.of(n, targets, inputs)  # fails before the forward passes
    own = isinstance(model, InstrumentedModel)
    tapped = model if own else instrument(model, layers=layers)
    tapped.check_inputs(inputs)
    names = tapped.select_taps(layers if own else None)
    asked: list[Any] = [one for one in made if one.traits.propagations]
    if len(asked) == len(made) and not any(tapped.noise_std[name] > 0 for name in names):
        check_channel(0.0, random=bool(tapped.random_taps))
    captured = capture(
        tapped,
        inputs,
        names,
        made,
        rows=propagated_rows(n, max([0, *(e.conditional_inputs for e in asked)]), 0),
        propagations=max([2, *(e.propagations for e in asked)]),
    )
    return samples, sources_of(captured, run=tapped.model.name)
