"""The layers and epochs to estimate, from a store, from arrays, or from a model."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ib_keras import examples
from ib_keras.activations import Activations, ActivationStore, layer_names
from ib_keras.arrays.checks import are_ids, as_samples, check_count, check_seed
from ib_keras.arrays.labels import provenance_of
from ib_keras.arrays.targets import Target, as_targets
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation.capture import Captured, capture, propagated_rows
from ib_keras.estimators.base import BaseEstimator
from ib_keras.estimators.propagation import check_channel
from ib_keras.frame.table import Where
from ib_keras.views import POSITIONS

Extent = tuple[float, float] | None


class Source(Protocol):
    """The outputs of one layer at one epoch, which are read when they are needed."""

    @property
    def where(self) -> Where:
        """The run, the epoch, the layer, and the standard deviation of its own noise."""
        ...

    @property
    def random(self) -> bool:
        """Whether S is random given the input, because of earlier noise or random draws."""
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
        """Return the rows that were propagated repeatedly and their S; ``None`` without any."""
        ...

    def conditional(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return mean and standard deviation of T given each input; ``None`` if not declared."""
        ...

    def rows(self) -> np.ndarray | None:
        """Return the input row of each sample; ``None`` if each row has one sample."""
        ...

    def extent(self) -> Extent:
        """Return the smallest and largest value of T; ``None`` if a value is not finite."""
        ...

    def extent_of_all(self) -> Extent:
        """Return the range of finite values in the whole store, or of T if there is no store."""
        ...


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """A layer of a store at one epoch. Its arrays are memory-mapped.

    Args:
        where: the run, the epoch and the layer.
        store: the store.
        whole: function that returns the smallest and largest finite value of the store.
    """

    where: Where
    store: ActivationStore
    whole: Callable[[], Extent]

    @property
    def has_channel(self) -> bool:
        """Whether any layer of the store, selected or not, has noise that is known."""
        noise = self.store.noise_std(self.where.epoch).values()
        return any(stddev > 0 for stddev in noise) or bool(self.store.declared(self.where.epoch))

    @property
    def has_clean(self) -> bool:
        """Whether S is available: always, because S equals T where it was not recorded."""
        return True

    @property
    def random(self) -> bool:
        """Whether S was random when it was recorded."""
        return self.where.layer in self.store.random(self.where.epoch)

    def read(self) -> np.ndarray:
        """Read T from the store."""
        return self._samples(self.store.read_flat(self.where.epoch, self.where.layer))

    def clean(self) -> np.ndarray | None:
        """Read S from the store; T where S was not recorded, because both are equal there."""
        return self._samples(self.store.read_flat(self.where.epoch, self.where.layer, clean=True))

    def _samples(self, values: np.ndarray) -> np.ndarray:
        return valid_positions(values, self._mask()) if self.where.view == POSITIONS else values

    def _mask(self) -> np.ndarray | None:
        return self.store.mask(self.where.epoch, self.where.layer)

    def rows(self) -> np.ndarray | None:
        """Return the input row of each position for the view ``"positions"``, else ``None``."""
        if self.where.view != POSITIONS:
            return None
        shape = self.store.read_flat(self.where.epoch, self.where.layer).shape
        return rows_of_positions(shape, self._mask())

    def conditional(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Read mean and standard deviation of T given each input, if the layer declares them."""
        return self.store.conditional(self.where.epoch, self.where.layer)

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Read the propagated rows and their S; ``None`` if none were recorded."""
        return self.store.propagations(self.where.epoch, self.where.layer)

    def extent(self) -> Extent:
        """Return the recorded smallest and largest value of T; ``None`` if not finite."""
        return self.store.extent(self.where.epoch, self.where.layer)

    def extent_of_all(self) -> Extent:
        """Return the recorded range of all layers and epochs, selected or not."""
        return self.whole()


@dataclasses.dataclass(frozen=True)
class CapturedLayer:
    """A layer of one pass over the inputs, in memory.

    Args:
        where: the run, the epoch and the layer.
        t: T, ``(n, ...)``.
        s: S, ``(n, ...)``, if it was captured.
        repeated: the rows that were propagated repeatedly, and their S.
        random: whether S is random given the input.
        declared: mean and standard deviation of T given each input, if the layer declares them.
        of_rows: the input row of each sample; ``None`` if each row has one sample.
    """

    where: Where
    t: np.ndarray
    s: np.ndarray | None = None
    repeated: tuple[np.ndarray, np.ndarray] | None = None
    random: bool = False
    declared: tuple[np.ndarray, np.ndarray] | None = None
    of_rows: np.ndarray | None = None

    @property
    def has_channel(self) -> bool:
        """Whether the layer has noise that is known."""
        return self.where.noise_std > 0 or self.declared is not None

    @property
    def has_clean(self) -> bool:
        """Whether S was captured, or is not needed."""
        return self.s is not None or self.declared is not None

    def read(self) -> np.ndarray:
        """Return T, ``(n, d)``."""
        return self.t

    def clean(self) -> np.ndarray | None:
        """Return S, ``(n, d)``; ``None`` if it was not captured."""
        return self.s

    def propagated(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the rows that were propagated repeatedly, and their S."""
        return self.repeated

    def conditional(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return mean and standard deviation of T given each input, if the layer declares them."""
        return self.declared

    def rows(self) -> np.ndarray | None:
        """Return the input row of each sample; ``None`` if each row has one sample."""
        return self.of_rows

    def extent(self) -> Extent:
        """Return the smallest and largest value of T; ``None`` if a value is not finite."""
        low, high = float(self.t.min()), float(self.t.max())
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def extent_of_all(self) -> Extent:
        """Return the range of T of this layer."""
        return self.extent()


class StoredInputs(examples.Examples):
    """The inputs of a store, which are read when they are needed.

    Args:
        store: the store.
    """

    targets = None

    def __init__(self, store: ActivationStore) -> None:
        self._store, self.n = store, store.n

    @functools.cached_property
    def _rows(self) -> examples.Examples:
        return examples.of(self._store.inputs())

    @property
    def structure(self) -> dict[str, Any]:  # type: ignore[override]
        """Description of the structure of the inputs."""
        return self._rows.structure

    @property
    def shapes(self) -> list[tuple[int, ...]]:  # type: ignore[override]
        """The shape of a row of each array."""
        return self._rows.shapes

    @property
    def dtypes(self) -> list[np.dtype]:  # type: ignore[override]
        """The dtype of each array."""
        return self._rows.dtypes

    @property
    def checksums(self) -> list[str]:  # type: ignore[override]
        """A checksum of each array."""
        return self._rows.checksums

    def codes(self) -> np.ndarray:
        """Return integer codes of the distinct inputs, ``(n,)``, without reading the inputs."""
        return self._store.input_codes()

    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        """Yield the arrays of all rows in order, ``size`` rows at a time."""
        return self._rows.batches(size)

    def arrays(self) -> list[np.ndarray]:
        """Return the memory-mapped arrays."""
        return self._rows.arrays()


def rows_of_positions(shape: tuple[int, ...], mask: np.ndarray | None) -> np.ndarray:
    """Return the input row of each valid position of a layer ``(n, positions, channels)``."""
    rows = np.repeat(np.arange(shape[0]), shape[1])
    return rows if mask is None else rows[mask.reshape(-1) > 0]


def valid_positions(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return the valid positions of a layer ``(n, positions, channels)`` as samples."""
    flat = values.reshape(-1, values.shape[-1])
    return flat if mask is None else flat[mask.reshape(-1) > 0]


@dataclasses.dataclass(frozen=True)
class Samples:
    """The targets and inputs of the rows of all layers.

    Args:
        n: number of rows.
        targets: the targets.
        inputs: codes of the inputs, ``(n,)``; ``None`` if all are distinct.
        draws: number of passes over the rows.
        raw: the inputs themselves; ``None`` without them.
    """

    n: int
    targets: tuple[Target, ...]
    inputs: np.ndarray | None
    draws: int = 1
    raw: examples.Examples | None = None

    @classmethod
    def of(cls, n: int, targets: Any, inputs: Any, draws: int = 1) -> Samples:
        """Check targets and inputs, and encode them.

        Args:
            n: number of rows.
            targets: the targets in any form, or ``None`` for those of a data set.
            inputs: X in any form, or ``None``.
            draws: number of passes over the rows.
        """
        examples.check_orders(inputs, targets)
        raw = None if inputs is None else examples.of(inputs)
        if targets is None and raw is not None:
            targets = raw.targets
        several = as_targets(targets, n)
        codes = None
        if raw is not None:
            if raw.n != n:
                raise ArgumentError(
                    "`inputs` has the wrong length",
                    f"one input for each of the {n} samples",
                    f"{raw.n} inputs",
                )
            codes = raw.codes()
            if draws == 1 and int(codes.max()) == n - 1:
                codes = None  # all inputs are distinct
        elif draws > 1:
            codes = np.arange(n)
        return cls(n, several, codes, draws, raw)

    def input_codes(self, rows: np.ndarray | None = None) -> np.ndarray | None:
        """Return the input codes of samples with these rows; by default, of each row and draw."""
        if rows is not None and self.inputs is None:
            return rows % self.n
        return self._of_samples(self.inputs, rows)

    def target_values(self, target: Target, rows: np.ndarray | None = None) -> Any:
        """Return the target of samples with these rows: class codes, or a ``Target`` of numbers."""
        values = self._of_samples(target.values, rows)
        return dataclasses.replace(target, values=values) if target.is_continuous else values

    def labels(self, rows: np.ndarray | None = None) -> np.ndarray | None:
        """Return the class codes of the first target with classes, for samples with these rows."""
        classes = [target for target in self.targets if not target.is_continuous]
        return self._of_samples(classes[0].values if classes else None, rows)

    def y_of_x(self, target: Target) -> bool:
        """Whether a target is a function of X, so that equal inputs have equal targets."""
        if self.inputs is None:
            return True
        _, first = np.unique(self.inputs, return_index=True)
        of_first = np.zeros(int(self.inputs.max()) + 1, np.int64)
        of_first[self.inputs[first]] = first
        return bool((target.values == target.values[of_first[self.inputs]]).all())

    def values(self) -> np.ndarray | None:
        """Return the inputs of each row of each draw, for estimators that compare T with X."""
        return None if self.raw is None else self._of_samples(self.raw.matrix(), None)

    def has_ids(self) -> bool:
        """Whether an input has integers, such as ids, alone or joined to other numbers."""
        return self.raw is not None and any(map(are_ids, self.raw.dtypes))

    def _of_samples(self, values: np.ndarray | None, rows: np.ndarray | None) -> Any:
        if values is None:
            return None
        if rows is not None:
            return values[rows % self.n]
        return values if self.draws == 1 else np.concatenate([values] * self.draws)

    def provenance(self) -> Any:
        """Return the class names of the targets, for the provenance of a table."""
        names = {target.name: provenance_of(target.class_names) for target in self.targets}
        return names[""] if list(names) == [""] else names or None


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
    samples = Samples.of(store.n, store.all_targets(), StoredInputs(store), store.draws)
    whole = functools.cache(store.extent_of_all)
    sources: list[Source] = []
    views = store.views
    for epoch in chosen:
        noise_std = store.noise_std(epoch)
        for name in names:
            index = store.layers.index(name)
            view = views.get(name, "")
            where = Where(store.run, epoch, name, index, noise_std.get(name, 0.0), view)
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
    """Return the epochs in ascending order, without duplicates.

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
    sizes = {name: len(arrays[name]) for name in names}
    if len(set(sizes.values())) > 1:
        raise ArgumentError("Layers differ in length", "one number of samples", sizes)
    return Samples.of(next(iter(sizes.values())), targets, inputs), sources


class Recorded(NamedTuple):
    """The layers of a network at some epochs, and the inputs and targets of their rows.

    Args:
        samples: the targets and inputs.
        sources: the layers.
    """

    samples: Samples
    sources: list[Source]


def sources_of(
    captured: Captured, names: Sequence[str] | None = None, *, run: str, epoch: int = 0
) -> list[Source]:
    """Return the sources of one pass over the inputs."""
    arrays = captured.noisy
    if not isinstance(arrays, Activations):
        arrays = Activations(arrays)

    def source(name: str) -> Source:
        repeated = None
        if captured.rows is not None and captured.propagated and name in captured.propagated:
            repeated = captured.rows, captured.propagated[name]
        view, index = arrays.views.get(name, ""), list(arrays).index(name)
        t, s, rows = arrays[name], None, None
        if captured.clean is not None:
            s = captured.clean[name]
        if view == POSITIONS:
            mask = arrays.masks.get(name)
            rows = rows_of_positions(t.shape, mask)
            t, s = valid_positions(t, mask), None if s is None else valid_positions(s, mask)
        return CapturedLayer(
            Where(run, epoch, name, index, arrays.noise_std.get(name, 0.0), view),
            as_samples(t, name, finite=False),
            s,
            repeated,
            name in arrays.random,
            captured.declared.get(name),
            rows,
        )

    return [source(name) for name in (arrays if names is None else names)]


def from_model(
    model: Any,
    inputs: Any,
    targets: Any,
    layers: Any,
    estimators: Sequence[BaseEstimator],
    views: Any = None,
    view_inputs: Any = None,
    batch_size: int = 256,
    seed: int | None = None,
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
        raise ArgumentError("A model needs `inputs`", "an array (n, ...) or a data set", None)
    instrumented = isinstance(model, InstrumentedModel)
    rows = examples.of(inputs, targets)
    if not examples.is_data_set(inputs):
        as_targets(targets, rows.n)  # before the model is traced
    tapped = model if instrumented else instrument(model, layers=layers)
    rows = tapped.examples(rows)
    samples = Samples.of(rows.n, targets, rows)
    names = tapped.select_taps(layers if instrumented else None)
    viewed = tapped.views(names, views)
    propagating = [one for one in estimators if one.traits.propagations]
    usable = any(tapped.noise_std[name] > 0 for name in names) or tapped.declared_taps(viewed)
    if len(propagating) == len(estimators) and not usable:
        check_channel(0.0, random=bool(tapped.random_taps))
    captured = capture(
        tapped,
        rows,
        names,
        estimators,
        rows=propagated_rows(rows.n, max([0, *(e.conditional_inputs for e in propagating)]), 0),
        propagations=max([2, *(e.propagations for e in propagating)]),
        batch_size=batch_size,
        seed=None if seed is None else (check_seed(seed),),
        viewed=viewed,
        view_inputs=view_inputs,
    )
    return samples, sources_of(captured, run=tapped.model.name)
