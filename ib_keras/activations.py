"""Recorded activations: in memory (``Activations``) and on disk (``ActivationStore``)."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import _epoch_writer, _files
from ib_keras._epoch_writer import CLEAN, NOISY, PROPAGATED, EpochWriter
from ib_keras.errors import ArgumentError, StoreError

_SCHEMA, _VERSION = "ib_keras.activations", 1
_EPOCH = re.compile(r"epoch-(\d{6,})")


class Activations(Mapping[str, np.ndarray]):
    """The tapped layers' outputs: layer name → float32 ``(n, *shape)``, in the taps' order.

    Args:
        arrays: layer name → array.
        noise_std: layer name → standard deviation of the network's noise in it.
        clean: whether these are the outputs before each layer's own noise.
        random: the layers whose output before their own noise is random given the input.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        noise_std: Mapping[str, float] | None = None,
        clean: bool = False,
        random: Collection[str] = (),
    ) -> None:
        self._arrays = dict(arrays)
        self.noise_std = {name: (noise_std or {}).get(name, 0.0) for name in self._arrays}
        self.clean = clean
        self.random = frozenset(random) & self._arrays.keys()

    def __getitem__(self, layer: str) -> np.ndarray:
        try:
            return self._arrays[layer]
        except KeyError:
            raise KeyError(f"no layer {layer!r}; there are {list(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def flat(self, draws: int) -> Activations:
        """The same with the axis of several draws, if there is one, merged into the samples'."""
        arrays = {name: _merge_draws(array, draws) for name, array in self._arrays.items()}
        return Activations(arrays, noise_std=self.noise_std, clean=self.clean, random=self.random)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {array.shape}" for name, array in self._arrays.items())
        return f"Activations({shapes}; {self.nbytes / 1e6:.1f} MB)"


class ActivationStore:
    """Activations of one network over its training, in a folder.

    File structure::

        manifest.json               schema version, layers, what made it; written last
        inputs-0.npy  targets.npy   X and Y, in the order of the rows
        rows.npy                    the rows' ids in the data set
        epoch-000010/manifest.json  files with sizes, checksums and extents, logs; written last
        epoch-000010/003-block_dense.npy        T: (n, *shape) or (draws, n, *shape), float32
        epoch-000010/003-block_dense.clean.npy  S, where the layer has noise
        epoch-000010/propagated-rows.npy        the rows that were propagated repeatedly, (m,)
        epoch-000010/003-block_dense.propagated.npy  their S, (n_x, m, *shape), behind noise

    An epoch's folder is filled under another name and renamed when it is complete: an epoch is
    there whole or not at all. Arrays are read memory-mapped.

    Args:
        path: an existing store; ``ActivationStore.create`` makes one.

    Raises:
        StoreError: the path does not exist, is no store, or has another schema version.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self._manifest = _files.read_manifest(self.path, _SCHEMA, _VERSION)
        self._epochs: dict[int, dict[str, Any]] = {}

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        *,
        inputs: Any,
        targets: Any,
        layers: Sequence[str],
        rows: np.ndarray | None = None,
        run: str | None = None,
        draws: int = 1,
        made: Mapping[str, Any] | None = None,
    ) -> ActivationStore:
        """Makes an empty store.

        Args:
            path: where; it must not exist, or be an empty folder.
            inputs: array, or list or dict of arrays, ``(n, ...)``.
            targets: ``(n,)`` or ``(n, classes)`` labels, or ``None``.
            layers: the layers' names, in order.
            rows: ``(n,)`` ids of the rows in the data set; 0…n−1 by default.
            run: the name of the run in tables; the folder's name by default.
            draws: number of noisy passes an epoch.
            made: what tables of it should say of its origin, such as its model and seed; of JSON.

        Raises:
            ArgumentError: the path is taken, or the lengths differ.
        """
        path = pathlib.Path(path)
        arrays, structure = _flatten(inputs)
        n = len(arrays[0])
        rows = np.arange(n) if rows is None else np.asarray(rows)
        targets = None if targets is None else np.asarray(targets)
        lengths = {"inputs": n, "rows": len(rows)}
        lengths |= {f"inputs[{i}]": len(a) for i, a in enumerate(arrays[1:], start=1)}
        if targets is not None:
            lengths["targets"] = len(targets)
        if len(set(lengths.values())) > 1:
            raise ArgumentError("Lengths differ", "as many targets as inputs", str(lengths))

        def fill(folder: pathlib.Path) -> None:
            for i, array in enumerate(arrays):
                np.save(folder / f"inputs-{i}.npy", array, allow_pickle=False)
            if targets is not None:
                np.save(folder / "targets.npy", targets, allow_pickle=False)
            np.save(folder / "rows.npy", rows, allow_pickle=False)
            _files.write_manifest(
                folder,
                _SCHEMA,
                _VERSION,
                run=run,
                n=n,
                draws=draws,
                layers=list(layers),
                inputs=structure,
                fingerprint=fingerprint(arrays, targets),
                made=dict(made or {}),
            )

        _files.write_folder(path, fill)
        return cls(path)

    @property
    def run(self) -> str:
        """The run's name."""
        return self._manifest["run"] or self.path.resolve().name

    @property
    def layers(self) -> list[str]:
        """The layers' names, in the order of the forward pass."""
        return list(self._manifest["layers"])

    @property
    def n(self) -> int:
        """Number of rows."""
        return self._manifest["n"]

    @property
    def draws(self) -> int:
        """Number of noisy passes an epoch."""
        return self._manifest["draws"]

    @property
    def fingerprint(self) -> str:
        """A checksum of the inputs and targets."""
        return self._manifest["fingerprint"]

    @property
    def made(self) -> dict[str, Any]:
        """What was said of its origin."""
        return dict(self._manifest.get("made", {}))

    @property
    def epochs(self) -> list[int]:
        """The recorded epochs, ascending; 0 is before training."""
        found = []
        for entry in os.scandir(self.path):
            match = _EPOCH.fullmatch(entry.name)
            if match and entry.is_dir():
                found.append(int(match[1]))
        return sorted(found)

    def inputs(self) -> Any:
        """X, in the structure in which it was given; memory-mapped."""
        structure = self._manifest["inputs"]
        arrays = [self._load(f"inputs-{i}.npy") for i in range(structure["count"])]
        if structure["keys"] is not None:
            return dict(zip(structure["keys"], arrays, strict=True))
        return arrays[0] if structure["single"] else arrays

    def targets(self) -> np.ndarray | None:
        """Y, or ``None`` if none was given."""
        return self._load("targets.npy") if (self.path / "targets.npy").exists() else None

    def rows(self) -> np.ndarray:
        """The rows' ids in the data set, ``(n,)``."""
        return self._load("rows.npy")

    @property
    def logs(self) -> pd.DataFrame:
        """Keras's logs: a row an epoch, the column ``epoch`` and one a metric."""
        rows = {row["epoch"]: row for e in self.epochs for row in self._epoch(e)["logs"]}
        return pd.DataFrame([rows[epoch] for epoch in sorted(rows)], columns=_columns(rows))

    def noise_std(self, epoch: int) -> dict[str, float]:
        """Layer name → standard deviation of the network's noise at that epoch."""
        return self._epoch(epoch)["noise_std"]

    def extent(self, epoch: int, layer: str) -> tuple[float, float] | None:
        """The least and largest value of a layer, or ``None`` if some are NaN or infinite."""
        return _extent(self._file(epoch, layer, clean=False))

    def read_flat(self, epoch: int, layer: str, clean: bool = False) -> np.ndarray:
        """As ``read``, with the axis of several draws merged into the samples'."""
        return _merge_draws(self.read(epoch, layer, clean), self.draws)

    def read(self, epoch: int, layer: str, clean: bool = False) -> np.ndarray:
        """One layer at one epoch, float32 ``(n, *shape)``, memory-mapped, read-only.

        Args:
            epoch: a recorded epoch.
            layer: a recorded layer.
            clean: S, before the layer's own noise, instead of T.

        Raises:
            ArgumentError: the epoch or layer was not recorded (those that were are listed).
            StoreError: the file is missing or not of the size that was written.
        """
        entry = self._file(epoch, layer, clean)
        return self._load(f"epoch-{epoch:06d}/{entry['file']}", entry)

    def random(self, epoch: int) -> frozenset[str]:
        """The layers whose S is random given the input at that epoch: noise acts before them."""
        return frozenset(self._epoch(epoch)["random"])

    def propagations(self, epoch: int, layer: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Some rows, each propagated n_x times: what ``SamplePropagation`` needs behind noise.

        Args:
            epoch: a recorded epoch.
            layer: a recorded layer.

        Returns:
            The rows ``(m,)`` and S ``(m, n_x, *shape)``, memory-mapped; ``None`` where none were
            recorded.
        """
        entries = {e["layer"]: e for e in self._epoch(epoch)["files"] if e["kind"] == PROPAGATED}
        if layer not in entries:
            return None
        folder = f"epoch-{epoch:06d}"
        array = self._load(f"{folder}/{entries[layer]['file']}", entries[layer])
        return self._load(f"{folder}/{_epoch_writer.ROWS}"), np.swapaxes(array, 0, 1)

    def verify(self) -> None:
        """Compares every file with its checksum.

        Raises:
            StoreError: a file is missing or its content has changed.
        """
        for epoch in self.epochs:
            for entry in self._epoch(epoch)["files"]:
                path = self.path / f"epoch-{epoch:06d}" / entry["file"]
                if not path.is_file():
                    raise StoreError(f"{str(path)!r} is missing", "the recorded file", "nothing")
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != entry["sha256"]:
                    raise StoreError(f"{str(path)!r} is damaged", entry["sha256"], digest)

    def writer(
        self,
        epoch: int,
        *,
        noise_std: Mapping[str, float],
        logs: Sequence[Mapping[str, Any]] = (),
        random: Collection[str] = (),
        propagated: tuple[np.ndarray, int] | None = None,
    ) -> EpochWriter:
        """A context manager whose ``write(layer, chunk)`` streams an epoch to disk.

        Args:
            epoch: the epoch; its record must not exist.
            noise_std: layer name → standard deviation of the network's noise.
            logs: rows of Keras's logs, each with the key ``epoch``.
            random: the layers whose S is random given the input.
            propagated: rows ``(m,)`` and number n_x of the propagations that are written too.
        """
        return EpochWriter(
            self.path / f"epoch-{epoch:06d}",
            epoch,
            layers=self.layers,
            n=self.n,
            draws=self.draws,
            noise_std=noise_std,
            logs=logs,
            random=random,
            propagated=propagated,
        )

    def remove(self, epoch: int) -> None:
        """Removes an epoch's record, as a resumed training does before it writes it anew."""
        self._epochs.pop(epoch, None)
        folder = self.path / f"epoch-{epoch:06d}"
        gone = _files.sibling(folder)
        os.rename(folder, gone)
        shutil.rmtree(gone)

    def _epoch(self, epoch: int) -> dict[str, Any]:
        if epoch not in self._epochs:
            folder = self.path / f"epoch-{epoch:06d}"
            if not folder.is_dir():
                raise ArgumentError(
                    f"Epoch {epoch} was not recorded", f"one of {self.epochs}", epoch
                )
            self._epochs[epoch] = _files.read_manifest(
                folder, _epoch_writer.SCHEMA, _epoch_writer.VERSION
            )
        return self._epochs[epoch]

    def _file(self, epoch: int, layer: str, clean: bool) -> dict[str, Any]:
        entries = {(e["layer"], e["kind"]): e for e in self._epoch(epoch)["files"]}
        # Without noise of its own a layer's S is its T, and is stored once.
        entry = entries.get((layer, CLEAN if clean else NOISY)) or entries.get((layer, NOISY))
        if entry is None:
            raise ArgumentError(f"Layer {layer!r} was not recorded", f"one of {self.layers}", layer)
        return entry

    def _load(self, name: str, entry: Mapping[str, Any] | None = None) -> np.ndarray:
        path = self.path / name
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreError(f"{str(path)!r} cannot be read", "a .npy file", error) from None
        if entry is not None and list(array.shape) != entry["shape"]:
            raise StoreError(f"{str(path)!r} is damaged", f"shape {entry['shape']}", array.shape)
        return array


def _merge_draws(array: np.ndarray, draws: int) -> np.ndarray:
    return array if draws == 1 else array.reshape(-1, *array.shape[2:])


def fingerprint(arrays: Sequence[np.ndarray], targets: np.ndarray | None) -> str:
    """A checksum of arrays, their shapes and dtypes."""
    digest = hashlib.sha256()
    for array in (*arrays, *(() if targets is None else (targets,))):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def flat_inputs(inputs: Any) -> list[np.ndarray]:
    """The arrays of a structure of inputs."""
    return _flatten(inputs)[0]


def _flatten(inputs: Any) -> tuple[list[np.ndarray], dict[str, Any]]:
    keys = list(inputs) if isinstance(inputs, Mapping) else None
    if keys is not None:
        values = [inputs[key] for key in keys]
    elif isinstance(inputs, (list, tuple)) and all(hasattr(a, "shape") for a in inputs):
        values = list(inputs)
    else:
        return [np.asarray(inputs)], {"count": 1, "keys": None, "single": True}
    return [np.asarray(v) for v in values], {"count": len(values), "keys": keys, "single": False}


def _extent(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    return None if entry["extent"] is None else (entry["extent"][0], entry["extent"][1])


def _columns(rows: Mapping[int, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(["epoch", *(key for row in rows.values() for key in row)]))


__all__ = ["ActivationStore", "Activations", "EpochWriter", "fingerprint", "flat_inputs"]
