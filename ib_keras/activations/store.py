"""Activations of a network over its training, in a folder."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.activations import epoch_writer
from ib_keras.activations.activations import merge_draws
from ib_keras.activations.epoch_writer import CLEAN, NOISY, PROPAGATED, EpochWriter
from ib_keras.activations.manifest_fields import EPOCH_FIELDS, FIELDS, FILE_FIELDS, LATER_FIELDS
from ib_keras.arrays import labels
from ib_keras.arrays.structures import fingerprint, flatten
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.storage import atomic, journal, locks, manifests, npy

_SCHEMA, _VERSION = "ib_keras.activations", 1
_EPOCH = re.compile(r"epoch-([0-9]{6,})")


class ActivationStore:
    """Activations of one network over its training, in a folder.

    File structure::

        manifest.json               schema version, layers, checksums, what made it; written last
        journal.jsonl               a line for each epoch that was recorded, removed or logged
        inputs-0.npy  targets.npy   X and Y, in the order of the rows
        rows.npy                    the rows' ids in the data set
        epoch-000010/manifest.json  files with sizes, checksums and extents, logs; written last
        epoch-000010/003-block_dense.npy        T: (n, *shape) or (draws, n, *shape), float32
        epoch-000010/003-block_dense.clean.npy  S, where the layer has noise
        epoch-000010/propagated-rows.npy        the rows that were propagated repeatedly, (m,)
        epoch-000010/003-block_dense.propagated.npy  their S, (n_x, m, *shape), behind noise

    An epoch's folder is filled under another name and renamed when it is complete: an epoch is
    there whole or not at all. Arrays are read memory-mapped; the first time that a process reads a
    file, it compares the file with its checksum. One process writes, any number read.

    Args:
        path: an existing store; ``ActivationStore.create`` makes one.

    Raises:
        StoreError: the path does not exist, is not a store, is damaged, or has another version.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        manifest = manifests.read_manifest(self.path, _SCHEMA, _VERSION)
        self._manifest = manifests.check_fields(self.path, manifest, FIELDS)
        manifests.check_fields(self.path, {"label_names": None, **manifest}, LATER_FIELDS)
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
            targets: class labels of any kind, which are kept as codes 0…K−1 with their names;
                numbers ``(n,)`` or ``(n, k)``; or ``None``.
            layers: the layers' names, in order.
            rows: ``(n,)`` ids of the rows in the data set; 0…n−1 by default.
            run: the name of the run in tables; the folder's name by default.
            draws: number of noisy passes an epoch.
            made: what tables of it should say of its origin, such as its model and seed; of JSON.

        Raises:
            ArgumentError: the path is taken, the lengths differ, or the labels are not classes.
        """
        path = pathlib.Path(path)
        arrays, structure = flatten(inputs)
        n = len(arrays[0])
        rows = np.arange(n) if rows is None else np.asarray(rows)
        given = None if targets is None else np.asarray(targets)
        lengths = {"inputs": n, "rows": len(rows)}
        lengths |= {f"inputs[{i}]": len(a) for i, a in enumerate(arrays[1:], start=1)}
        if given is not None:
            lengths["targets"] = len(given) if given.ndim else 0
        if len(set(lengths.values())) > 1:
            raise ArgumentError("Lengths differ", "as many targets as inputs", str(lengths))
        kept, names = given, None
        if targets is not None and labels.are_labels(targets):
            kept, names = labels.encode_labels(targets, n, "targets")

        def fill(folder: pathlib.Path) -> None:
            for i, array in enumerate(arrays):
                np.save(folder / f"inputs-{i}.npy", array, allow_pickle=False)
            if kept is not None:
                np.save(folder / "targets.npy", kept, allow_pickle=False)
            np.save(folder / "rows.npy", rows, allow_pickle=False)
            manifests.write_manifest(
                folder,
                _SCHEMA,
                _VERSION,
                run=run,
                n=n,
                draws=draws,
                layers=list(layers),
                inputs=structure,
                fingerprint=fingerprint(arrays, given),
                label_names=None if names is None else list(names),
                made=dict(made or {}),
                files=manifests.checksums(folder),
            )
            (folder / journal.NAME).touch()

        atomic.write_folder(path, fill)
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
        """The provenance recorded at creation."""
        return dict(self._manifest.get("made", {}))

    @property
    def epochs(self) -> list[int]:
        """The recorded epochs, ascending; 0 is before training."""
        found = []
        for entry in os.scandir(self.path):
            match = _EPOCH.fullmatch(entry.name)
            if match and entry.name == _folder(int(match[1])) and entry.is_dir():
                found.append(int(match[1]))
        return sorted(found)

    def inputs(self) -> Any:
        """X, in the structure in which it was given; memory-mapped."""
        structure = self._manifest["inputs"]
        arrays = [self._own(f"inputs-{i}.npy") for i in range(structure["count"])]
        if structure["keys"] is not None:
            return dict(zip(structure["keys"], arrays, strict=True))
        return arrays[0] if structure["single"] else arrays

    def targets(self) -> np.ndarray | None:
        """Y, labels as codes 0…K−1; ``None`` if none was given."""
        return self._own("targets.npy") if "targets.npy" in self._manifest["files"] else None

    @property
    def label_names(self) -> tuple[str | int, ...] | None:
        """What the labels' codes stand for; ``None`` if there are no labels."""
        if "label_names" in self._manifest:
            names = self._manifest["label_names"]
            return None if names is None else tuple(names)
        targets = self.targets()  # a store from before there were names has the labels themselves
        if targets is None or not labels.are_labels(targets):
            return None
        return labels.recode(targets, self.n, "targets").names

    def rows(self) -> np.ndarray:
        """The rows' ids in the data set, ``(n,)``."""
        return self._own("rows.npy")

    @property
    def missing(self) -> list[int]:
        """Epochs that were recorded, and whose folders have disappeared."""
        there: set[int] = set()
        for entry in journal.read(self.path, required=True):
            if "recorded" in entry:
                there.add(entry["recorded"])
            elif "removed" in entry:
                there.discard(entry["removed"])
        return sorted(there - set(self.epochs)) if there else []

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
        return merge_draws(self.read(epoch, layer, clean), self.draws)

    def read(self, epoch: int, layer: str, clean: bool = False) -> np.ndarray:
        """One layer at one epoch, float32 ``(n, *shape)``, memory-mapped, read-only.

        Args:
            epoch: a recorded epoch.
            layer: a recorded layer.
            clean: S, before the layer's own noise, instead of T.

        Raises:
            ArgumentError: the epoch or layer was not recorded (those that were are listed).
            StoreError: the file is missing, or is not what was written.
        """
        return self._read(epoch, self._file(epoch, layer, clean))

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
        content = self._epoch(epoch)
        entries = {e["layer"]: e for e in content["files"] if e["kind"] == PROPAGATED}
        if layer not in entries:
            return None
        rows = self._load(_folder(epoch), epoch_writer.ROWS, content["rows"])
        return rows, np.swapaxes(self._read(epoch, entries[layer]), 0, 1)

    def verify(self) -> None:
        """Compares every file with its checksum.

        Raises:
            StoreError: an epoch or a file is missing, or its content has changed.
        """
        for name in self._manifest["files"]:
            manifests.checked_file(self.path, self._manifest, name)
        if missing := self.missing:
            raise StoreError(f"{str(self.path)!r} is damaged", f"the epochs {missing}", self.epochs)
        for epoch in self.epochs:
            content = self._epoch(epoch)
            if content["rows"] is not None:
                self._load(_folder(epoch), epoch_writer.ROWS, content["rows"])
            for entry in content["files"]:
                self._read(epoch, entry)

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
            self.path / _folder(epoch),
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
        folder = self.path / _folder(epoch)
        gone = atomic.sibling(folder)
        with locks.held(self.path):
            journal.append(self.path, {"removed": epoch})
            os.rename(folder, gone)
            shutil.rmtree(gone)

    def note(self, row: Mapping[str, Any]) -> None:
        """Keeps an epoch's logs until an epoch is recorded, with which they are written.

        Args:
            row: Keras's logs, with the key ``epoch``.
        """
        journal.append(self.path, {"logs": epoch_writer.finite(row)})

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        """The logs up to an epoch that no recorded epoch up to there has.

        Args:
            epoch: at which training goes on.
        """
        written = {
            row["epoch"] for e in self.epochs if e <= epoch for row in self._epoch(e)["logs"]
        }
        entries = journal.read(self.path, required=True)
        rows = {entry["logs"]["epoch"]: entry["logs"] for entry in entries if "logs" in entry}
        return [rows[e] for e in sorted(rows) if e <= epoch and e not in written]

    def _epoch(self, epoch: int) -> dict[str, Any]:
        if epoch not in self._epochs:
            folder = self.path / _folder(epoch)
            if not folder.is_dir():
                if epoch in self.missing:
                    raise StoreError(f"{str(folder)!r} is missing", "the recorded epoch", "nothing")
                raise ArgumentError(
                    f"Epoch {epoch} was not recorded", f"one of {self.epochs}", epoch
                )
            inside = manifests.inside(self.path, _folder(epoch))
            content = manifests.read_manifest(inside, epoch_writer.SCHEMA, epoch_writer.VERSION)
            manifests.check_fields(folder, content, EPOCH_FIELDS)
            lead = [self.n] if self.draws == 1 else [self.draws, self.n]
            for entry in content["files"]:
                manifests.check_fields(folder, entry, FILE_FIELDS)
                if entry["kind"] != PROPAGATED and entry["shape"][: len(lead)] != lead:
                    raise StoreError(
                        f"{str(folder)!r} is damaged", f"shapes {lead} + …", entry["shape"]
                    )
            if content["epoch"] != epoch:
                raise StoreError(f"{str(folder)!r} is damaged", f"epoch {epoch}", content["epoch"])
            self._epochs[epoch] = content
        return self._epochs[epoch]

    def _file(self, epoch: int, layer: str, clean: bool) -> dict[str, Any]:
        entries = {(e["layer"], e["kind"]): e for e in self._epoch(epoch)["files"]}
        # Without noise of its own a layer's S is its T, and is stored once.
        entry = entries.get((layer, CLEAN if clean else NOISY)) or entries.get((layer, NOISY))
        if entry is None:
            raise ArgumentError(f"Layer {layer!r} was not recorded", f"one of {self.layers}", layer)
        return entry

    def _read(self, epoch: int, entry: Mapping[str, Any]) -> np.ndarray:
        array = self._load(_folder(epoch), entry["file"], entry["sha256"])
        if list(array.shape) != entry["shape"] or array.dtype != np.float32:
            path = self.path / _folder(epoch) / entry["file"]
            found = f"shape {list(array.shape)}, {array.dtype}"
            raise StoreError(f"{str(path)!r} is damaged", f"shape {entry['shape']}, float32", found)
        return array

    def _load(self, folder: str, name: str, checksum: str) -> np.ndarray:
        path = manifests.inside(self.path, folder, name)
        manifests.compare(path, checksum)
        return npy.read_npy(path)

    def _own(self, name: str) -> np.ndarray:
        array = npy.read_npy(manifests.checked_file(self.path, self._manifest, name))
        if array.ndim == 0 or len(array) != self.n:
            path = self.path / name
            raise StoreError(f"{str(path)!r} is damaged", f"{self.n} rows", f"shape {array.shape}")
        return array


def _folder(epoch: int) -> str:
    return f"epoch-{epoch:06d}"


def _extent(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    return None if entry["extent"] is None else (entry["extent"][0], entry["extent"][1])


def _columns(rows: Mapping[int, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(["epoch", *(key for row in rows.values() for key in row)]))
