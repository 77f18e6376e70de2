"""What there is to estimate: a layer at an epoch, from a store, from arrays, from a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ib_keras.activations import Activations, ActivationStore, layer_names
from ib_keras.arrays.checks import as_samples
from ib_keras.arrays.labels import Name, encode_labels
from ib_keras.arrays.structures import flat_inputs, input_codes
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimation.capture import Captured, capture, propagated_rows
from ib_keras.estimators.propagation import check_channel
from ib_keras.interface import Estimator, propagates


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
    # Of a noisy layer: S, whether it is random given X, and then some rows propagated repeatedly.
    clean: Callable[[], np.ndarray | None] = lambda: None
    random: bool = False
    propagated: Callable[[], tuple[np.ndarray, np.ndarray] | None] = lambda: None
    # The least and largest value over all recorded epochs; of a single pass, its own.
    over_epochs: Callable[[], tuple[float, float] | None] = lambda: None

    def global_extent(self) -> tuple[float, float]:
        """The least and largest value of the layer over all recorded epochs."""
        extent = self.over_epochs() or self.extent()
        return extent if extent is not None else (math.nan, math.nan)


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
) -> tuple[Samples, list[Item]]:
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
    items = [
        Item(
            run=store.run,
            epoch=epoch,
            layer=name,
            layer_index=store.layers.index(name),
            noise_std=store.noise_std(epoch).get(name, 0.0),
            extent=lambda epoch=epoch, name=name: store.extent(epoch, name),  # type: ignore[misc]
            read=lambda epoch=epoch, name=name: store.read_flat(epoch, name),  # type: ignore[misc]
            clean=lambda epoch=epoch, name=name: store.read_flat(epoch, name, True),  # type: ignore[misc]
            random=name in store.random(epoch),
            over_epochs=lambda name=name: _over_epochs(store, name),  # type: ignore[misc]
            propagated=lambda epoch=epoch, name=name: store.propagations(epoch, name),  # type: ignore[misc]
        )
        for epoch in chosen
        for name in names
    ]
    return samples, items


def _over_epochs(store: ActivationStore, name: str) -> tuple[float, float]:
    extents = [store.extent(epoch, name) for epoch in store.epochs]
    finite = [extent for extent in extents if extent is not None]
    return min(low for low, _ in finite), max(high for _, high in finite)


def from_arrays(
    arrays: Mapping[str, Any],
    inputs: Any,
    targets: Any,
    layers: Any = None,
) -> tuple[Samples, list[Item]]:
    """What there is to estimate in arrays in memory."""
    if not arrays:
        raise ArgumentError("`source` has no layers", "at least one", arrays)
    names = list(arrays) if layers is None else layer_names.select(layers, list(arrays))
    is_clean = isinstance(arrays, Activations) and arrays.clean
    items = items_of(
        Captured(arrays, arrays if isinstance(arrays, Activations) and is_clean else None),
        names,
        run="activations",
    )
    sizes = {item.layer: len(item.read()) for item in items}
    if len(set(sizes.values())) > 1:
        raise ArgumentError("Layers differ in length", "one number of samples", sizes)
    return Samples.of(next(iter(sizes.values())), targets, inputs), items


def items_of(
    captured: Captured, names: Sequence[str] | None = None, *, run: str, epoch: int = 0
) -> list[Item]:
    """What there is to estimate in one pass."""
    arrays, clean, propagated = captured.noisy, captured.clean, captured.propagated
    noise = arrays.noise_std if isinstance(arrays, Activations) else {}
    random = arrays.random if isinstance(arrays, Activations) else frozenset()
    rows = captured.rows
    repeated = (
        {} if propagated is None or rows is None else {n: (rows, propagated[n]) for n in propagated}
    )
    return [
        Item(
            run=run,
            epoch=epoch,
            layer=name,
            layer_index=list(arrays).index(name),
            noise_std=noise.get(name, 0.0),
            extent=lambda t=t: _extent(t),  # type: ignore[misc]
            read=lambda t=t: t,  # type: ignore[misc]
            clean=lambda name=name: None if clean is None else clean[name],  # type: ignore[misc]
            random=name in random,
            propagated=lambda name=name: repeated.get(name),  # type: ignore[misc]
        )
        for name in (arrays if names is None else names)
        for t in [as_samples(arrays[name], name, finite=False)]
    ]


def _extent(t: np.ndarray) -> tuple[float, float] | None:
    low, high = float(t.min()), float(t.max())
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def from_model(
    model: Any, inputs: Any, targets: Any, layers: Any, made: Sequence[Estimator]
) -> tuple[Samples, list[Item]]:
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
    asked: list[Any] = [estimator for estimator in made if propagates(estimator)]
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
    return samples, items_of(captured, run=tapped.model.name)
