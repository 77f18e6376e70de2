"""The layers and epochs to estimate, from a store, from arrays, or from a model."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, overload

import numpy as np

from ib_keras.activations import Activations, ActivationStore, layer_names
from ib_keras.arrays.checks import as_samples, check_count
from ib_keras.arrays.labels import Name, encode_labels
from ib_keras.arrays.structures import flat_inputs, input_codes
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation.capture import Captured, capture, propagated_rows
from ib_keras.estimators.base import BaseEstimator
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame.table import Where

Extent = tuple[float, float] | None


class Source(Protocol):
    """The outputs of one layer at one epoch, which are read when they are needed."""

    @property
    def where(self) -> Where:
        """The run, the epoch, the layer, and the standard deviation of its own noise."""
        ...

    @property
    def random(self) -> bool:
        """Whether S is random given the input: by earlier noise, or by draws of the network."""
        ...

    @property
    def has_channel(self) -> bool:
        """Whether this layer, or another one of the same network, has noise of its own."""
        ...

    @property
    def has_clean(self) -> bool:
        """Whether S, the output before the layer's own noise, is available."""
        ...

    def read(self) -> np.ndarray:
        """Return T, ``(n, d)``."""
        ...

    def clean(self) -> np.ndarray | None:
        """Return S, the output before the layer's own noise; ``None`` if it is not available."""
        ...

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the rows that were propagated repeatedly, and their S; ``None`` without them."""
        ...

    def extent(self) -> Extent:
        """Return the smallest and largest value of T; ``None`` if a value is not finite."""
        ...

    def extent_of_all(self) -> Extent:
        """Return the smallest and largest finite value, of all layers and epochs of a store."""
        ...


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """A layer of a store at one epoch. Its arrays are memory-mapped.

    Args:
        where: the run, the epoch and the layer.
        store: the store.
        whole: function that returns the smallest and largest value of the store.
    """

    where: Where
    store: ActivationStore
    whole: Callable[[], Extent]

    @property
    def has_channel(self) -> bool:
        """Whether a layer of the store has noise of its own, even if it was not selected."""
        return any(stddev > 0 for stddev in self.store.noise_std(self.where.epoch).values())

    @property
    def has_clean(self) -> bool:
        """A store always has S, because S equals T where it was not recorded."""
        return True

    @property
    def random(self) -> bool:
        """Whether S was random when it was recorded."""
        return self.where.layer in self.store.random(self.where.epoch)

    def read(self) -> np.ndarray:
        """Read T from the store."""
        return self.store.read_flat(self.where.epoch, self.where.layer)

    def clean(self) -> np.ndarray | None:
        """Read S from the store; ``None`` if it was not recorded."""
        return self.store.read_flat(self.where.epoch, self.where.layer, clean=True)

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Read the propagated rows and their S; ``None`` if none were recorded."""
        return self.store.propagations(self.where.epoch, self.where.layer)

    def extent(self) -> Extent:
        """Return the recorded smallest and largest value of T; ``None`` if not finite."""
        return self.store.extent(self.where.epoch, self.where.layer)

    def extent_of_all(self) -> Extent:
        """Return the recorded range of all layers and epochs, even if they were not selected."""
        return self.whole()


@dataclasses.dataclass(frozen=True)
class CapturedLayer:
    """A layer of one pass over the inputs, in memory.

    Args:
        where: the run, the epoch and the layer.
        t: T, ``(n, d)``.
        s: S, ``(n, d)``, if it was captured.
        repeated: the rows that were propagated repeatedly, and their S.
        random: whether S is random given the input.
    """

    where: Where
    t: np.ndarray
    s: np.ndarray | None = None
    repeated: tuple[np.ndarray, np.ndarray] | None = None
    random: bool = False

    @property
    def has_channel(self) -> bool:
        """Whether the layer has noise of its own."""
        return self.where.noise_std > 0

    @property
    def has_clean(self) -> bool:
        """Whether S was captured."""
        return self.s is not None

    def read(self) -> np.ndarray:
        """Return T, ``(n, d)``."""
        return self.t

    def clean(self) -> np.ndarray | None:
        """Return S, ``(n, d)``; ``None`` if it was not captured."""
        return self.s

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the rows that were propagated repeatedly, and their S."""
        return self.repeated

    def extent(self) -> Extent:
        """Return the smallest and largest value of T; ``None`` if a value is not finite."""
        low, high = float(self.t.min()), float(self.t.max())
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def extent_of_all(self) -> Extent:
        """Return the range of T in the only pass."""
        return self.extent()


class StoredInputs(Sequence[np.ndarray]):
    """The inputs of a store, which are read when they are needed.

    Args:
        store: the store.
    """

    def __init__(self, store: ActivationStore) -> None:
        self._store = store

    @functools.cached_property
    def _arrays(self) -> list[np.ndarray]:
        return flat_inputs(self._store.inputs())

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        return self._arrays[index]

    def __len__(self) -> int:
        return self._store.input_count

    def codes(self) -> np.ndarray:
        """Return integer codes of the distinct inputs, ``(n,)``, without reading the inputs."""
        return self._store.input_codes()


@dataclasses.dataclass(frozen=True)
class Samples:
    """The labels and inputs of the rows of all layers.

    Args:
        n: number of rows.
        labels: codes of the labels, ``(n,)``; ``None`` for no labels.
        inputs: codes of the inputs, ``(n,)``; ``None`` if all are distinct.
        draws: number of passes over the rows.
        raw: the inputs themselves, arrays ``(n, ...)``.
        label_names: the names of the labels, in the order of their codes.
    """

    n: int
    labels: np.ndarray | None
    inputs: np.ndarray | None
    draws: int = 1
    raw: Sequence[np.ndarray] = ()
    label_names: tuple[Name, ...] | None = None

    @classmethod
    def of(
        cls, n: int, targets: Any, inputs: Any, draws: int = 1, names: Sequence[Name] | None = None
    ) -> Samples:
        """Check targets and inputs, and encode them.

        Args:
            n: number of rows.
            targets: the labels, ``(n,)``, or ``None``.
            inputs: X, ``(n, ...)``, or ``StoredInputs``, or ``None``.
            draws: number of passes over the rows.
            names: the names of the classes, if the targets are already codes.
        """
        encoded = None if targets is None else encode_labels(targets, n, "targets")
        codes, stored = None, isinstance(inputs, StoredInputs)
        if inputs is not None:
            codes = inputs.codes() if stored else input_codes(inputs, n)
            if draws == 1 and int(codes.max()) == n - 1:
                codes = None  # all distinct
        elif draws > 1:
            codes = np.arange(n)
        raw = () if inputs is None else inputs if stored else tuple(flat_inputs(inputs))
        if encoded is None:
            return cls(n, None, codes, draws, raw)
        label_names = encoded.names if names is None else tuple(names)
        return cls(n, encoded.codes, codes, draws, raw, label_names)

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments ``y`` and ``x`` of an estimator."""
        codes = {"y": self.labels, "x": self.inputs}
        return {k: None if c is None else np.tile(c, self.draws) for k, c in codes.items()}

    @property
    def y_of_x(self) -> bool:
        """Whether Y is a function of X, so that equal inputs have equal labels."""
        if self.inputs is None or self.labels is None:
            return True
        pairs = np.unique(np.stack([self.inputs, self.labels]), axis=1).shape[1]
        return pairs == len(np.unique(self.inputs))

    def values(self) -> np.ndarray | None:
        """Return the inputs, ``(n · draws, ...)``, for estimators that compare T with X."""
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
    """Return the samples and sources of a store."""
    chosen = all_epochs(store) if epochs is None else check_epochs(epochs)
    recorded = store.epochs
    unknown = sorted(set(chosen) - set(recorded))
    if unknown or not chosen:
        raise ArgumentError(
            "Some epochs were not recorded" if unknown else "No epoch was recorded",
            f"some of {recorded}",
            unknown or chosen,
        )
    names = store.layers if layers is None else layer_names.select(layers, store.layers)
    inputs = StoredInputs(store)
    samples = Samples.of(store.n, store.targets(), inputs, store.draws, store.label_names)
    whole = functools.cache(store.extent_of_all)
    sources: list[Source] = []
    for epoch in chosen:
        noise_std = store.noise_std(epoch)
        for name in names:
            index = store.layers.index(name)
            where = Where(store.run, epoch, name, index, noise_std.get(name, 0.0))
            sources.append(StoredLayer(where, store, whole))
    return samples, sources


def all_epochs(store: ActivationStore) -> list[int]:
    """Return the epochs of a store.

    Raises:
        StoreError: If recorded epochs have disappeared.
    """
    recorded = store.epochs
    if missing := store.missing:
        raise StoreError(f"{str(store.path)!r} is damaged", f"the epochs {missing}", recorded)
    return recorded


def check_epochs(epochs: Any) -> list[int]:
    """Return different epochs in ascending order.

    Raises:
        ArgumentError: If ``epochs`` is not a list or another iterable of integers >= 0.
    """
    if not isinstance(epochs, Iterable) or isinstance(epochs, str):
        raise ArgumentError("`epochs` is not a list of epochs", "such as [0, 5]", repr(epochs))
    return sorted({check_count(epoch, "epochs", 0) for epoch in epochs})


def from_arrays(
    arrays: Mapping[str, Any], inputs: Any, targets: Any, layers: Any = None
) -> tuple[Samples, list[Source]]:
    """Return the samples and sources of arrays in memory."""
    if not arrays:
        raise ArgumentError("`source` has no layers", "at least one", arrays)
    names = list(arrays) if layers is None else layer_names.select(layers, list(arrays))
    clean = arrays if isinstance(arrays, Activations) and arrays.clean else None
    sources = sources_of(Captured(arrays, clean), names, run="activations")
    sizes = {source.where.layer: len(source.read()) for source in sources}
    if len(set(sizes.values())) > 1:
        raise ArgumentError("Layers differ in length", "one number of samples", sizes)
    return Samples.of(next(iter(sizes.values())), targets, inputs), sources


def sources_of(
    captured: Captured, names: Sequence[str] | None = None, *, run: str, epoch: int = 0
) -> list[Source]:
    """Return the sources of one pass over the inputs."""
    arrays = captured.noisy
    noise = arrays.noise_std if isinstance(arrays, Activations) else {}
    random = arrays.random if isinstance(arrays, Activations) else frozenset()

    def source(name: str) -> Source:
        repeated = None
        if captured.rows is not None and captured.propagated and name in captured.propagated:
            repeated = captured.rows, captured.propagated[name]
        return CapturedLayer(
            Where(run, epoch, name, list(arrays).index(name), noise.get(name, 0.0)),
            as_samples(arrays[name], name, finite=False),
            None if captured.clean is None else captured.clean[name],
            repeated,
            name in random,
        )

    return [source(name) for name in (arrays if names is None else names)]


def from_model(
    model: Any, inputs: Any, targets: Any, layers: Any, estimators: Sequence[BaseEstimator]
) -> tuple[Samples, list[Source]]:
    """Capture the taps of a model, and return its samples and sources."""
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
    samples = Samples.of(n, targets, inputs)  # checks the targets before the forward passes
    instrumented = isinstance(model, InstrumentedModel)
    tapped = model if instrumented else instrument(model, layers=layers)
    tapped.check_inputs(inputs)
    names = tapped.select_taps(layers if instrumented else None)
    propagating = [one for one in estimators if one.traits.propagations]
    if len(propagating) == len(estimators) and not any(
        tapped.noise_std[name] > 0 for name in names
    ):
        check_channel(0.0, random=bool(tapped.random_taps))
    captured = capture(
        tapped,
        inputs,
        names,
        estimators,
        rows=propagated_rows(n, max([0, *(e.conditional_inputs for e in propagating)]), 0),
        propagations=max([2, *(e.propagations for e in propagating)]),
    )
    return samples, sources_of(captured, run=tapped.model.name)
