"""One store with ten thousand epochs, and sixteen readers beside a writer."""

from __future__ import annotations

import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from benchmarks._measure import Row, table
from ib_keras import ActivationStore

EPOCHS, LAYERS, N, DIM = 10_000, 10, 16, 4
READERS = 16
# One layer's epoch of a usual size: 10 000 rows of 256 values, 10 MB.
LARGE = (10_000, 256)


def _write(store: ActivationStore, epoch: int) -> None:
    rng = np.random.default_rng(epoch)
    with store.writer(epoch, noise_std={}, logs=[{"epoch": epoch, "loss": 0.5}]) as writer:
        for layer in store.layers:
            writer.write(layer, rng.normal(size=(store.n, DIM)))


def _create(path: pathlib.Path, n: int, layers: int) -> ActivationStore:
    names = [f"dense_{i}" for i in range(layers)]
    return ActivationStore.create(path, inputs=np.zeros((n, 1)), targets=None, layers=names)


def _seconds(
    function: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    begin = clock()
    function()
    return clock() - begin


def _reader(path: pathlib.Path, number: int, until: float) -> None:
    """Read random epochs while others are written, and exit with an error if one is wrong."""
    rng = np.random.default_rng(number)
    count, code = 0, 0
    try:
        while time.time() < until:
            store = ActivationStore(path)
            epoch = int(rng.choice(store.epochs))
            layer = int(rng.integers(len(store.layers)))
            expected = np.random.default_rng(epoch).normal(size=(len(store.layers), store.n, DIM))
            found = store.read(epoch, store.layers[layer])
            count += 1
            if not np.array_equal(found, expected[layer].astype("f4")):
                code = 1
    except BaseException:
        code = 2
    path.with_name(f"reader-{number}").write_text(str(count))
    os._exit(code)


def _beside_readers(folder: pathlib.Path) -> tuple[float, float, int, int]:
    """Return the epochs per second that a writer writes alone and beside readers.

    Also return the number of reads, and the number of readers that failed.
    """
    store = _create(folder / "shared", N, LAYERS)
    _write(store, 0)

    def rate(first: int, until: float) -> float:
        epoch, begin = first, time.time()
        while time.time() < until:
            _write(store, epoch)
            epoch += 1
        return (epoch - first) / (time.time() - begin)

    alone = rate(1, time.time() + 5)
    until = time.time() + 10
    children = []
    for number in range(READERS):
        child = os.fork()
        if not child:
            _reader(folder / "shared", number, until)
        children.append(child)
    beside = rate(max(store.epochs) + 1, until)
    failed = sum(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) != 0 for c in children)
    reads = sum(int((folder / f"reader-{i}").read_text()) for i in range(READERS))
    return alone, beside, reads, failed


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        alone, beside, reads, failed = _beside_readers(folder)
        store = _create(folder / "many", N, LAYERS)
        # The time of this process alone, because other processes may change the machine's load.
        commits = [
            _seconds(lambda e=epoch: _write(store, e), time.process_time) for epoch in range(EPOCHS)
        ]
        opening = _seconds(lambda: ActivationStore(folder / "many").epochs)
        opened = ActivationStore(folder / "many")
        rng = np.random.default_rng(0)
        extra, first = [], []
        for epoch in rng.permutation(EPOCHS)[:200].tolist():
            raw = folder / "many" / f"epoch-{epoch:06d}" / "003-dense_3.npy"
            ours = _seconds(lambda e=epoch: opened.read(e, "dense_3").sum())
            extra.append(ours - _seconds(lambda p=raw: np.load(p).sum()))
        large = ActivationStore.create(
            folder / "large", inputs=np.zeros((LARGE[0], 1)), targets=None, layers=["wide"]
        )
        for epoch in range(10):
            with large.writer(epoch, noise_std={}) as writer:
                writer.write("wide", rng.normal(size=LARGE))
        for epoch in range(10):
            raw = folder / "large" / f"epoch-{epoch:06d}" / "000-wide.npy"
            bare = _seconds(lambda p=raw: np.load(p).sum())
            first.append(_seconds(lambda e=epoch: large.read(e, "wide").sum()) - bare)
        logs = _seconds(lambda: ActivationStore(folder / "many").logs)
    late, early = statistics.median(commits[-500:]), statistics.median(commits[:500])
    shape = f"{EPOCHS} epochs, {LAYERS} layers of {N}×{DIM}"
    return [
        Row("open a store, s", opening, "<= 1", f"{shape}; with the list of its epochs"),
        Row("read one layer's epoch for the first time - numpy.load, ms",
            1000 * statistics.median(extra), "<= 50", f"{shape}; median of 200, worst "
            f"{1000 * max(extra):.1f}; manifest and checksum included"),
        Row("the same of 10 MB, ms", 1000 * statistics.median(first), "<= 50",
            f"{LARGE[0]}×{LARGE[1]}, checksum included; later reads skip it"),
        Row("commit of an epoch: the last 500 / the first 500", late / early, "<= 1.5",
            f"{shape}; {1000 * late:.1f} ms and {1000 * early:.1f} ms of "
            "processor time"),
        Row("all logs, s", logs, "<= 10", f"{shape}; each epoch's manifest is read"),
        Row("reads of 16 readers beside a writer that failed", failed, "<= 0",
            f"{reads} reads in 10 s, each compared with what was written; {beside:.0f} epochs/s "
            f"written meanwhile, {alone:.0f} alone"),
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
