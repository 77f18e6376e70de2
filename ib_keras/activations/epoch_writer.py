"""Writes one epoch of an activation store."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import IO, Any

import numpy as np

from ib_keras.activations.kinds import NOISY, PROPAGATED
from ib_keras.errors import ArgumentError
from ib_keras.storage import atomic, journal, locks, manifests

SCHEMA, VERSION = "ib_keras.activations.epoch", 1
ROWS = "propagated-rows.npy"


class EpochWriter:
    """Streams one epoch into a store; the epoch appears when the ``with`` block ends without error.

    Args:
        folder: the epoch's folder; it must not exist.
        epoch: the number of the epoch.
        layers: the layers' names, in the order of the forward pass.
        n: number of rows.
        draws: number of noisy passes.
        noise_std: layer name → standard deviation of the network's noise.
        logs: rows of Keras's logs, each with the key ``epoch``.
        random: the layers whose S, the output before their own noise, is random given the input.
        propagated: the rows ``(m,)`` that are propagated repeatedly and the number n_x of their
            propagations; ``None`` if there are none.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        epoch: int,
        *,
        layers: Sequence[str],
        n: int,
        draws: int,
        noise_std: Mapping[str, float],
        logs: Sequence[Mapping[str, Any]],
        random: Collection[str] = (),
        propagated: tuple[np.ndarray, int] | None = None,
    ) -> None:
        self._folder, self._epoch = folder, epoch
        self._random, self._propagated = sorted(random), propagated
        self._layers, self._n, self._draws = list(layers), n, draws
        self._noise_std, self._logs = dict(noise_std), [dict(row) for row in logs]
        self._files: dict[tuple[str, str], _ArrayFile] = {}

    def __enter__(self) -> EpochWriter:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locks.held(self._folder.parent))
            atomic.check_free(self._folder)
            self._temporary = atomic.sibling(self._folder)
            self._temporary.mkdir()
            stack.callback(shutil.rmtree, self._temporary, ignore_errors=True)
            if self._propagated is not None:
                np.save(self._temporary / ROWS, self._propagated[0], allow_pickle=False)
            self._cleanup = stack.pop_all()
        return self

    def write(self, layer: str, chunk: np.ndarray, kind: str = NOISY) -> None:
        """Append rows of a layer.

        Args:
            layer: the layer's name.
            chunk: ``(rows, *shape)``, the next rows; with several draws, all rows of a draw come
                before those of the next draw.
            kind: one of the kinds in ``activations.kinds``.
        """
        file = self._files.get((layer, kind))
        if file is None:
            index = self._layers.index(layer)
            slug = re.sub(r"[^\w.-]", "_", layer)[:50]  # file systems limit the length
            name = f"{index:03d}-{slug}{'' if kind == NOISY else f'.{kind}'}.npy"
            lead: tuple[int, ...] = (self._n,) if self._draws == 1 else (self._draws, self._n)
            if kind == PROPAGATED and self._propagated is not None:
                lead = self._propagated[1], len(self._propagated[0])
            file = _ArrayFile(self._temporary / name, (*lead, *chunk.shape[1:]))
            self._files[layer, kind] = file
        file.append(chunk)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with self._cleanup:
            entries = [
                {"layer": layer, "kind": kind, **file.close()}
                for (layer, kind), file in self._files.items()
            ]
            if error is None:
                short = [e["layer"] for e in entries if not e.pop("complete")]
                missing = [x for x in self._layers if (x, NOISY) not in self._files]
                if short or missing:
                    raise ArgumentError(
                        f"Epoch {self._epoch} is incomplete",
                        f"{self._n} rows of each layer",
                        f"layers missing: {missing}, short: {short}",
                    )
                manifests.write_manifest(
                    self._temporary,
                    SCHEMA,
                    VERSION,
                    epoch=self._epoch,
                    noise_std=self._noise_std,
                    random=self._random,
                    files=entries,
                    logs=[finite(row) for row in self._logs],
                    rows=None
                    if self._propagated is None
                    else manifests.checksum(self._temporary / ROWS),
                )
                atomic.move_folder(self._temporary, self._folder)
                journal.append(self._folder.parent, {"recorded": self._epoch})


class _ArrayFile:
    """A .npy file that is written in chunks while its checksum and range of values are computed."""

    def __init__(self, path: pathlib.Path, shape: tuple[int, ...]) -> None:
        self._file: IO[bytes] = open(path, "xb")
        self._path, self._shape = path, shape
        self._hash = hashlib.sha256()
        self._values, self._low, self._high = 0, np.inf, -np.inf
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._hash.update(path.read_bytes())

    def append(self, chunk: np.ndarray) -> None:
        data = np.ascontiguousarray(chunk, "<f4")
        self._file.write(data.data)
        self._hash.update(data.data)
        self._values += data.size
        # Both propagate NaN.
        self._low = np.minimum(self._low, data.min(initial=np.inf))
        self._high = np.maximum(self._high, data.max(initial=-np.inf))

    def close(self) -> dict[str, Any]:
        self._file.close()
        finite = bool(np.isfinite(self._low) and np.isfinite(self._high))
        return {
            "file": self._path.name,
            "shape": list(self._shape),
            "sha256": self._hash.hexdigest(),
            "extent": [float(self._low), float(self._high)] if finite else None,
            "complete": self._values == int(np.prod(self._shape)),
        }


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row of logs for JSON: NaN and infinite values become ``None``."""
    numbers = {key: float(value) for key, value in row.items()}
    return {
        key: int(row[key]) if key == "epoch" else number if np.isfinite(number) else None
        for key, number in numbers.items()
    }
