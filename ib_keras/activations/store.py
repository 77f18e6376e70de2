"""Activations of a network during its training, in a folder."""

from __future__ import annotations

import contextlib
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
from ib_keras.activations.epoch_writer import EpochWriter
from ib_keras.activations.kinds import CLEAN, MASK, MEAN, NOISY, PROPAGATED, SCALE
from ib_keras.activations.manifest_fields import EPOCH_FIELDS, FIELDS, FILE_FIELDS, LATER_FIELDS
from ib_keras.arrays import labels
from ib_keras.arrays.structures import array_codes, pack, unpack
from ib_keras.arrays.targets import Target, as_targets
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.examples import Examples, fingerprint, of
from ib_keras.storage import atomic, buckets, journal, locks, manifests, npy

_SCHEMA, _VERSION = "ib_keras.activations", 1
_EPOCH = re.compile(r"epoch-([0-9]{6,})")
_CODES = "input-codes.npy"


class ActivationStore:
    """Activations of one network during its training, in a folder.

    File structure::

        manifest.json               schema version, layers, checksums, provenance; written last
        journal.jsonl               a line for each epoch that was recorded, removed or logged
        inputs-0.npy  targets.npy   X and Y, in the order of the rows; several targets have a
                                    number, targets-1.npy
        rows.npy                    the rows' ids in the data set
        input-codes.npy             integers that are equal where the inputs are equal
        epoch-000010/manifest.json  files with shapes, checksums and extents, logs; written last
        epoch-000010/003-block_dense.npy        T: (n, *shape) or (draws, n, *shape), float32
        epoch-000010/003-block_dense.clean.npy  S, if the layer has noise
        epoch-000010/003-block_dense.mean.npy, .scale.npy  the parameters of a declared p(T|X)
        epoch-000010/003-block_dense.mask.npy  the valid positions of the view "positions"
        epoch-000010/propagated-rows.npy        the rows that were propagated repeatedly, (m,)
        epoch-000010/003-block_dense.propagated.npy  S of these rows, (n_x, m, *shape), if the layer
                                    comes after noise

    T is a layer's output, and S the output before the layer's own noise.

    An epoch's folder is filled under a temporary name and renamed when it is complete, so a store
    never has an incomplete epoch. Arrays are memory-mapped. When a process reads a file for the
    first time, it compares the file with its checksum. Only one process at a time may write; any
    number may read.

    A store in a bucket can be read, but not written. Each file is copied to a temporary folder when
    it is needed, so reading one layer copies that layer only. Only the last few copies of layers'
    arrays are kept.

    Args:
        path: an existing store, on this machine or in a bucket (``gs://…``, or any other URL that
            fsspec reads). ``ActivationStore.create`` makes a new one.

    Raises:
        StoreError: If the path does not exist, is not a store, is damaged, has another schema
            version, or is in a bucket that cannot be read.
        MissingExtraError: If the package that reads the bucket is not installed.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._bucket = buckets.Mirror(os.fspath(path)) if buckets.is_url(path) else None
        self.path = pathlib.Path(path) if self._bucket is None else self._bucket.folder
        if not self._fetch(manifests.MANIFEST):
            raise StoreError(f"{path!r} is not a store", "the URL of a store", "nothing")
        manifest = manifests.read_manifest(self.path, _SCHEMA, _VERSION)
        self._manifest = manifests.check_fields(self.path, manifest, FIELDS)
        later = {"label_names": None, "targets": None, "views": {}, **manifest}
        manifests.check_fields(self.path, later, LATER_FIELDS)
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
        views: Mapping[str, str] | None = None,
    ) -> ActivationStore:
        """Make an empty store.

        Args:
            path: a path that does not exist, or an empty folder.
            inputs: inputs in any form, as for ``InstrumentedModel.capture``. A data set is copied
                to the store one batch at a time.
            targets: class labels of any kind, which are stored as codes 0…K−1 with their names;
                numbers ``(n,)`` or ``(n, k)``; several targets by name; or ``None`` for the targets
                of a data set, if it has any.
            layers: the layers' names, in the order of the forward pass.
            rows: ``(n,)`` ids of the rows in the data set; 0…n−1 by default.
            run: the name of the run in tables; the folder's name by default.
            draws: number of noisy passes per epoch.
            made: the provenance that tables of this store show, such as its model and seed; it
                must be serialisable to JSON.
            views: layer name → name of the view that is recorded in place of the layer's output.

        Raises:
            ArgumentError: If the path is taken or in a bucket, the lengths differ, or the targets
                are invalid.
        """
        if buckets.is_url(path):
            raise _read_only(path)
        path = pathlib.Path(path)
        examples = of(inputs, targets)
        n = examples.n
        rows = np.arange(n) if rows is None else np.asarray(rows)
        if len(rows) != n:
            raise ArgumentError("Lengths differ", f"{n} rows, as inputs", f"{len(rows)} rows")
        several = as_targets(examples.targets if targets is None else targets, n)
        files = ["targets.npy", *(f"targets-{i}.npy" for i in range(1, len(several)))]

        def fill(folder: pathlib.Path) -> None:
            _write_inputs(folder, examples)
            for one, file in zip(several, files, strict=False):
                np.save(folder / file, _flat(one.values), allow_pickle=False)
            np.save(folder / "rows.npy", rows, allow_pickle=False)
            np.save(folder / _CODES, examples.codes(), allow_pickle=False)
            manifests.write_manifest(
                folder,
                _SCHEMA,
                _VERSION,
                run=run,
                n=n,
                draws=draws,
                layers=list(layers),
                views=dict(views or {}),
                inputs=examples.structure,
                targets=[
                    {"name": one.name, "file": file, "class_names": one.class_names}
                    for one, file in zip(several, files, strict=False)
                ],
                fingerprint=fingerprint(examples, several),
                made=dict(made or {}),
                files=manifests.checksums(folder),
            )
            (folder / journal.NAME).touch()

        atomic.write_folder(path, fill)
        return cls(path)

    def __repr__(self) -> str:
        epochs = self.epochs
        which = f"{len(epochs)} epochs ({epochs[0]} to {epochs[-1]})" if epochs else "no epochs"
        return f"ActivationStore({str(self.path)!r}: {self.n} rows, {which}, layers {self.layers})"

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
        """Number of noisy passes per epoch."""
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
        """The recorded epochs in ascending order; epoch 0 is before training."""
        if self._bucket is None:
            names = [entry.name for entry in os.scandir(self.path) if entry.is_dir()]
        else:
            names = self._bucket.folders()
        found = [_EPOCH.fullmatch(name) for name in names]
        return sorted(int(m[1]) for m in found if m and m[0] == _folder(int(m[1])))

    def inputs(self) -> Any:
        """X, an array or a list or dict of arrays, as passed to ``create``; memory-mapped."""
        structure = self._manifest["inputs"]
        return pack([self._own(f"inputs-{i}.npy") for i in range(structure["count"])], structure)

    def input_codes(self) -> np.ndarray:
        """Return integers that are equal where the inputs are equal, ``(n,)``.

        Unlike ``inputs``, this does not read X, unless an older version made the store.
        """
        if _CODES not in self._manifest["files"]:
            return array_codes(unpack(self.inputs())[0], self.n, "inputs")
        codes = self._own(_CODES)
        if codes.ndim != 1 or codes.dtype.kind != "i":
            path = str(self.path / _CODES)
            raise StoreError(f"{path!r} is damaged", "integers (n,)", f"{codes.dtype}")
        return codes

    def targets(self) -> Any:
        """Y, with labels as codes 0…K−1: an array, or a dict of several targets by name.

        ``None`` if the store has no targets.
        """
        several = {one.name: _flat(one.values) for one in self.all_targets()}
        return several[""] if list(several) == [""] else several or None

    def all_targets(self) -> tuple[Target, ...]:
        """Return all targets, each with its name and the names of its classes."""
        if (recorded := self._manifest.get("targets")) is None:
            return self._older_targets()
        return tuple(
            Target(
                one["name"],
                _wide(self._own(one["file"]), one["class_names"]),
                None if one["class_names"] is None else tuple(one["class_names"]),
            )
            for one in recorded
        )

    def _older_targets(self) -> tuple[Target, ...]:
        """Return the target of a store that has only one, without a name."""
        if "targets.npy" not in self._manifest["files"]:
            return ()
        values, names = self._own("targets.npy"), self._manifest.get("label_names")
        if names is not None:
            return (Target("", values, tuple(names)),)
        if labels.are_labels(values):  # the oldest stores contain the labels, not codes
            encoded = labels.recode(values, self.n, "targets")
            return (Target("", encoded.codes, encoded.names),)
        return as_targets(values, self.n)

    @property
    def label_names(self) -> tuple[str | int, ...] | None:
        """The names of the classes of the only target, in the order of their codes, or ``None``."""
        targets = self.all_targets()
        return targets[0].class_names if len(targets) == 1 else None

    @property
    def views(self) -> dict[str, str]:
        """Layer name → name of its view; layers whose own outputs are recorded are left out."""
        return dict(self._manifest.get("views", {}))

    def rows(self) -> np.ndarray:
        """Return the rows' ids in the data set, ``(n,)``."""
        return self._own("rows.npy")

    @property
    def missing(self) -> list[int]:
        """The recorded epochs whose folders have disappeared."""
        recorded: set[int] = set()
        for entry in self._journal():
            if "recorded" in entry:
                recorded.add(entry["recorded"])
            elif "removed" in entry:
                recorded.discard(entry["removed"])
        return sorted(recorded - set(self.epochs))

    @property
    def logs(self) -> pd.DataFrame:
        """Keras's logs, with one row per epoch, the column ``epoch`` and one column per metric."""
        rows = {row["epoch"]: row for e in self.epochs for row in self._epoch(e)["logs"]}
        columns = list(dict.fromkeys(["epoch", *(key for row in rows.values() for key in row)]))
        return pd.DataFrame([rows[epoch] for epoch in sorted(rows)], columns=columns)

    def noise_std(self, epoch: int) -> dict[str, float]:
        """Layer name → standard deviation of the network's noise at that epoch."""
        return self._epoch(epoch)["noise_std"]

    def extent(self, epoch: int, layer: str) -> tuple[float, float] | None:
        """Return the smallest and largest value of a layer; ``None`` if a value is not finite."""
        extent = self._file(epoch, layer, clean=False)["extent"]
        return None if extent is None else (extent[0], extent[1])

    def extent_of_all(self) -> tuple[float, float] | None:
        """Return the smallest and largest value over all layers and epochs, without reading arrays.

        Returns:
            The two values. Arrays with values that are not finite are left out; ``None`` if all
            arrays have such values.
        """
        pairs = [(epoch, layer) for epoch in self.epochs for layer in self.layers]
        finite = [extent for pair in pairs if (extent := self.extent(*pair)) is not None]
        return (min(e[0] for e in finite), max(e[1] for e in finite)) if finite else None

    def shape(self, epoch: int, layer: str) -> tuple[int, ...]:
        """Return the shape of the array that ``read`` returns, without reading it."""
        return tuple(self._file(epoch, layer, clean=False)["shape"])

    def read_flat(self, epoch: int, layer: str, clean: bool = False) -> np.ndarray:
        """Read as ``read`` does, and merge the axis of several draws into that of the samples."""
        return merge_draws(self.read(epoch, layer, clean), self.draws)

    def read(self, epoch: int, layer: str, clean: bool = False) -> np.ndarray:
        """Read one layer at one epoch.

        Args:
            epoch: a recorded epoch.
            layer: a recorded layer.
            clean: ``True`` returns S, before the layer's own noise, instead of T.

        Returns:
            A read-only, memory-mapped float32 array ``(n, *shape)``, or ``(draws, n, *shape)`` with
            several draws.

        Raises:
            ArgumentError: If the epoch or layer was not recorded.
            StoreError: If the file is missing or has changed since it was written.
        """
        return self._read(epoch, self._file(epoch, layer, clean))

    def random(self, epoch: int) -> frozenset[str]:
        """Return the layers whose S is random given the input.

        S is random if noise acts before the layer, or if the network draws random numbers at
        inference.
        """
        return frozenset(self._epoch(epoch)["random"])

    def conditional(self, epoch: int, layer: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Read the parameters of p(T|X) = N(mean, scale²) of a layer that declares it.

        Returns:
            The means and standard deviations, each ``(n, *shape)``, or ``(draws · n, *shape)`` with
            several draws; ``None`` for other layers.
        """
        mean, scale = (self._optional(epoch, layer, kind) for kind in (MEAN, SCALE))
        return None if mean is None or scale is None else (mean, scale)

    def declared(self, epoch: int) -> frozenset[str]:
        """Return the layers whose p(T|X) was recorded."""
        return frozenset(e["layer"] for e in self._epoch(epoch)["files"] if e["kind"] == MEAN)

    def mask(self, epoch: int, layer: str) -> np.ndarray | None:
        """Read which positions are valid, ``(n, positions)``; ``None`` if all positions are valid.

        With several draws, the shape is ``(draws · n, positions)``.
        """
        return self._optional(epoch, layer, MASK)

    def _optional(self, epoch: int, layer: str, kind: str) -> np.ndarray | None:
        for entry in self._epoch(epoch)["files"]:
            if (entry["layer"], entry["kind"]) == (layer, kind):
                return merge_draws(self._read(epoch, entry), self.draws)
        return None

    def propagations(self, epoch: int, layer: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Read the rows that were propagated repeatedly; ``SamplePropagation`` uses them.

        Args:
            epoch: a recorded epoch.
            layer: a recorded layer.

        Returns:
            The rows ``(m,)`` and S ``(m, n_x, *shape)``, memory-mapped; ``None`` if no propagations
            were recorded for the layer.
        """
        content = self._epoch(epoch)
        entries = {e["layer"]: e for e in content["files"] if e["kind"] == PROPAGATED}
        if layer not in entries:
            return None
        rows = self._load(_folder(epoch), epoch_writer.ROWS, content["rows"])
        return rows, np.swapaxes(self._read(epoch, entries[layer]), 0, 1)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            StoreError: If an epoch or a file is missing, or its content has changed.
        """
        for name in self._manifest["files"]:
            self._checked(name)
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
        """Return a context manager whose ``write(layer, chunk)`` streams an epoch to disk.

        Args:
            epoch: an epoch that has not been recorded.
            noise_std: layer name → standard deviation of the network's noise.
            logs: rows of Keras's logs, each with the key ``epoch``.
            random: the layers whose S is random given the input.
            propagated: the rows ``(m,)`` that are propagated repeatedly and the number n_x of their
                propagations; ``None`` if there are none.

        Raises:
            ArgumentError: If the store is in a bucket.
        """
        self._check_local()
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
        """Remove a recorded epoch; a resumed training does so before it records the epoch again."""
        self._check_local()
        self._epochs.pop(epoch, None)
        folder = self.path / _folder(epoch)
        temporary = atomic.sibling(folder)
        with locks.held(self.path):
            journal.append(self.path, {"removed": epoch})
            os.rename(folder, temporary)
            shutil.rmtree(temporary)

    def note(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's logs to the journal, until they are written with a recorded epoch.

        Args:
            row: Keras's logs, with the key ``epoch``.
        """
        self._check_local()
        journal.append(self.path, {"logs": epoch_writer.finite(row)})

    def noted(self, epoch: int) -> list[dict[str, Any]]:
        """Return the logs up to an epoch that were noted but not written with a recorded epoch.

        Args:
            epoch: the last epoch to consider, at which training is resumed.
        """
        written = {
            row["epoch"] for e in self.epochs if e <= epoch for row in self._epoch(e)["logs"]
        }
        entries = self._journal()
        rows = {entry["logs"]["epoch"]: entry["logs"] for entry in entries if "logs" in entry}
        return [rows[e] for e in sorted(rows) if e <= epoch and e not in written]

    def _epoch(self, epoch: int) -> dict[str, Any]:
        if epoch not in self._epochs:
            folder = self.path / _folder(epoch)
            self._fetch(_folder(epoch), manifests.MANIFEST)
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
        # S equals T for a layer without noise of its own, and is stored once.
        entry = entries.get((layer, CLEAN if clean else NOISY)) or entries.get((layer, NOISY))
        if entry is None:
            raise ArgumentError(f"Layer {layer!r} was not recorded", f"one of {self.layers}", layer)
        return entry

    def _read(self, epoch: int, entry: Mapping[str, Any]) -> np.ndarray:
        array = self._load(_folder(epoch), entry["file"], entry["sha256"])
        if list(array.shape) != entry["shape"] or array.dtype != np.float32:
            path = self.path / _folder(epoch) / entry["file"]
            received = f"shape {list(array.shape)}, {array.dtype}"
            raise StoreError(
                f"{str(path)!r} is damaged", f"shape {entry['shape']}, float32", received
            )
        return array

    def _load(self, folder: str, name: str, checksum: str) -> np.ndarray:
        path = manifests.inside(self.path, folder, name)
        self._fetch(folder, name, passing=True)
        manifests.compare(path, checksum)
        return npy.read_npy(path)

    def _own(self, name: str) -> np.ndarray:
        array = npy.read_npy(self._checked(name))
        if array.ndim == 0 or len(array) != self.n:
            path = self.path / name
            raise StoreError(f"{str(path)!r} is damaged", f"{self.n} rows", f"shape {array.shape}")
        return array

    def _checked(self, name: str) -> pathlib.Path:
        manifests.inside(self.path, name)
        self._fetch(name)
        return manifests.checked_file(self.path, self._manifest, name)

    def _journal(self) -> list[dict[str, Any]]:
        self._fetch(journal.NAME, again=True)
        return journal.read(self.path, required=True)

    def _fetch(self, *names: str, again: bool = False, passing: bool = False) -> bool:
        """Copy a file from the store's bucket, if any; return ``False`` if the bucket lacks it."""
        return self._bucket is None or self._bucket.fetch(*names, again=again, passing=passing)

    def _check_local(self) -> None:
        if self._bucket is not None:
            raise _read_only(self._bucket.url)


def _read_only(path: Any) -> ArgumentError:
    return ArgumentError(
        "A store in a bucket cannot be written",
        "a store on this machine, which can be copied to the bucket",
        repr(os.fspath(path)),
    )


def _write_inputs(folder: pathlib.Path, examples: Examples) -> None:
    """Write the arrays of inputs as ``.npy`` files, one batch at a time."""
    with contextlib.ExitStack() as stack:
        files = []
        for i, (shape, dtype) in enumerate(zip(examples.shapes, examples.dtypes, strict=True)):
            file = stack.enter_context(open(folder / f"inputs-{i}.npy", "xb"))
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (examples.n, *shape),
            }
            np.lib.format.write_array_header_1_0(file, header)
            files.append(file)
        for batch in examples.batches(examples.at_a_time):
            for file, array in zip(files, batch, strict=True):
                file.write(np.ascontiguousarray(array).tobytes())


def _flat(values: np.ndarray) -> np.ndarray:
    """Return a matrix of one column as a vector, and other arrays unchanged."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _wide(values: np.ndarray, class_names: Any) -> np.ndarray:
    """Return numbers as a matrix, and the codes of classes unchanged."""
    return values if class_names is not None else values.reshape(len(values), -1)


def _folder(epoch: int) -> str:
    return f"epoch-{epoch:06d}"
