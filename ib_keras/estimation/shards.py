"""Splitting of the estimates of stores into shards of similar duration, for parallel tasks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ib_keras import estimators as registry
from ib_keras.activations import ActivationStore
from ib_keras.arrays.checks import check_count
from ib_keras.arrays.rows import slices
from ib_keras.errors import ArgumentError
from ib_keras.estimation.sources import all_epochs

# The maximum number of shards, because Vertex AI passes at most 100 artifacts to one task.
LIMIT = 100
# The planned duration of a shard in seconds if the number of shards is not given.
LONGEST = 3600.0
# The factor by which the planned duration is increased until there are few enough shards.
_STEP = 1.05
# The number of pieces of a long layer that fill a shard.
_PIECES = 4
# The seconds of an estimate that do not depend on the size of the samples.
_FIXED = 0.05

# Name of an estimator → CPU seconds of an estimate from n rows of d values. They were measured for
# binning, ebab, akde, pca+ksg (benchmarks/shards.py), ksg, kl, renyi, sliced and gaussian; the
# other estimators are assumed to be similar. Only the ratios affect the balance.
_SECONDS: dict[str, Callable[[float, float], float]] = {
    "binning": lambda n, d: 7e-9 * n * d,
    "quantized": lambda n, d: 7e-9 * n * d,
    "ebab": lambda n, d: 2e-8 * n * d,
    "kde": lambda n, d: 4.7e-11 * n**2 * (d + 130),
    "akde": lambda n, d: 4.7e-11 * n**2 * (d + 130),
    "sp": lambda n, d: 4.7e-11 * n**2 * (d + 130),
    "ksg": lambda n, d: 1.4e-9 * n**2 * d,
    "kl": lambda n, d: 1.4e-9 * n**2 * d,
    "renyi": lambda n, d: (1.4e-4 + 8e-8 * d) * min(n, 2400),
    "sliced": lambda n, d: 1 + (6.6e-4 + 8.7e-8 * d) * n,
    "gaussian": lambda n, d: 1.2e-9 * n * d**2,
    "lossy": lambda n, d: 1.0 + 4e-8 * n * (d + 2800),
    "flow": lambda n, d: 40 + 1e-4 * n + 0.3 * min(d, 256),
    "mine": lambda n, d: 70 + 2e-8 * n * d,
    "nwj": lambda n, d: 70 + 2e-8 * n * d,
    "infonce": lambda n, d: 70 + 2e-8 * n * d,
    "decoder": lambda n, d: 600 + 1e-6 * n * d,
}


def seconds(estimator: Any, n: int, dim: int) -> float:
    """Predict the CPU seconds of an estimate, as a rough guide.

    Args:
        estimator: a name, configuration or estimator. Those of unknown classes are assumed to take
            as long as ``ebab``.
        n: number of rows.
        dim: dimension of the layer.
    """
    name = getattr(registry.get(estimator), "name", "")
    return _FIXED + _SECONDS.get(name, _SECONDS["ebab"])(n, dim)


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a store.

    Args:
        rows: number of rows of all draws together.
        dims: layer name → dimension.
        epochs: the epochs in ascending order.
    """

    rows: int
    dims: Mapping[str, int]
    epochs: Sequence[int]

    @classmethod
    def of(cls, store: ActivationStore) -> Size:
        """Return the size of a store, from its manifests only.

        Raises:
            ArgumentError: If no epoch was recorded.
            StoreError: If the store is damaged.
        """
        epochs = all_epochs(store)
        if not epochs:
            raise ArgumentError("No epoch was recorded", "at least one", str(store.path))
        lead = 1 if store.draws == 1 else 2
        dims = {name: math.prod(store.shape(epochs[0], name)[lead:]) for name in store.layers}
        return cls(store.n * store.draws, dims, epochs)


@dataclasses.dataclass(frozen=True)
class Part:
    """Estimates of one store by one estimator.

    Args:
        store: number of the store.
        estimator: the estimator, as it was passed to ``split``.
        layers: names of the layers; ``None`` for all layers.
        epochs: the epochs; ``None`` for all epochs.
    """

    store: int
    estimator: Any
    layers: tuple[str, ...] | None = None
    epochs: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Shard:
    """Estimates that one task makes, one after the other.

    Args:
        parts: the estimates.
        seconds: predicted CPU seconds.
    """

    parts: tuple[Part, ...]
    seconds: float


def split(sizes: Sequence[Size], estimators: Sequence[Any], shards: int = 0) -> list[Shard]:
    """Split the estimates of stores into shards.

    The planned duration T of a shard is increased until there are few enough shards. For a given T,
    each layer that takes longer is split into groups of epochs that take at most T/4. The groups
    and the other layers are sorted by descending duration, and each is added to the first shard
    that still takes at most T.

    Args:
        sizes: the sizes of the stores.
        estimators: names, configurations or estimators.
        shards: the maximum number of shards. With 0, T starts at an hour, and each shard contains
            estimates of one store and one estimator, so that the shards do not change when an
            estimator is added. If there are more than ``LIMIT`` such shards, they are merged.

    Returns:
        At most ``LIMIT`` shards, in descending order of their durations. Together they contain each
        estimator for each layer and epoch of each store exactly once.

    Raises:
        ArgumentError: If an estimator is unknown, or ``shards`` is not an integer from 0 to
            ``LIMIT``.
    """
    limit = check_shards(shards) or LIMIT
    jobs = [
        _Job(
            number, one, size.epochs, {k: seconds(one, size.rows, d) for k, d in size.dims.items()}
        )
        for number, size in enumerate(sizes)
        for one in estimators
    ]
    groups, longest = [[job] for job in jobs], LONGEST
    if shards:
        durations = [duration for job in jobs for duration in job.layers.values()]
        total = sum(len(job.epochs) * sum(job.layers.values()) for job in jobs)
        groups, longest = [jobs], max([total / shards, *durations])
    while True:
        made = [shard for group in groups for shard in _fill(group, longest)]
        if len(made) <= max(limit, len(groups)):
            break
        longest *= _STEP
    made = _descending(made)
    if len(made) > LIMIT:  # each merged shard gets long and short ones
        made = _descending([_merged(made[first::LIMIT]) for first in range(LIMIT)])
    return made


def check_shards(value: Any) -> int:
    """Return ``value`` if it is a valid number of shards.

    Raises:
        ArgumentError: If it is not an integer from 0 to ``LIMIT``.
    """
    if check_count(value, "shards", 0) > LIMIT:
        raise ArgumentError("`shards` is too large", f"at most {LIMIT}", value)
    return value


class _Job(NamedTuple):
    """The estimates of one store by one estimator, with the seconds of each layer at one epoch."""

    store: int
    estimator: Any
    epochs: Sequence[int]
    layers: Mapping[str, float]

    def pieces(self, longest: float) -> Iterator[_Piece]:
        """Yield the layers; those that take longer than a shard are split into groups of epochs."""
        for layer, duration in self.layers.items():
            size = len(self.epochs)
            if size * duration > longest:
                size = max(1, int(longest / _PIECES / duration))
            for part in slices(len(self.epochs), size):
                epochs = self.epochs[part]
                yield _Piece(self, layer, epochs, duration * len(epochs))

    def parts(self, pieces: Sequence[_Piece]) -> Iterator[Part]:
        """Combine the pieces of each layer, and the layers whose epochs are all included."""
        epochs: dict[str, list[int]] = {}
        for piece in pieces:
            epochs.setdefault(piece.layer, []).extend(piece.epochs)
        whole = [name for name in self.layers if len(epochs.get(name, ())) == len(self.epochs)]
        if whole:
            names = None if len(whole) == len(self.layers) else tuple(whole)
            yield Part(self.store, self.estimator, names)
        for name in sorted(epochs.keys() - set(whole)):
            yield Part(self.store, self.estimator, (name,), tuple(sorted(epochs[name])))


class _Piece(NamedTuple):
    """Some epochs of a layer, and the seconds of their estimates."""

    job: _Job
    layer: str
    epochs: Sequence[int]
    seconds: float


def _fill(jobs: Sequence[_Job], longest: float) -> list[Shard]:
    """Split the estimates into shards that take at most ``longest`` or consist of one estimate."""
    pieces = [piece for job in jobs for piece in job.pieces(longest)]
    filled: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.seconds):
        for own in filled:
            if sum(other.seconds for other in own) + piece.seconds <= longest:
                own.append(piece)
                break
        else:
            filled.append([piece])
    return [_shard(jobs, own) for own in filled]


def _shard(jobs: Sequence[_Job], pieces: Sequence[_Piece]) -> Shard:
    parts = [
        part for job in jobs for part in job.parts([piece for piece in pieces if piece.job is job])
    ]
    return Shard(tuple(parts), sum(piece.seconds for piece in pieces))


def _merged(shards: Sequence[Shard]) -> Shard:
    parts = tuple(part for shard in shards for part in shard.parts)
    return Shard(parts, sum(shard.seconds for shard in shards))


def _descending(shards: Sequence[Shard]) -> list[Shard]:
    return sorted(shards, key=lambda shard: -shard.seconds)
