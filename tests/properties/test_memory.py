"""What estimators say they need of memory is what they take, and nothing of it is kept.

Sizes are the peak of a process of its own, with TensorFlow and the pages of the mapped file in it.
The short form goes through 100 000 × 80 values, the soak through the 100 000 × 1 000 of a file.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import subjects

import ib_keras as ib
from ib_keras import estimators
from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError
from ib_keras.estimators import base

SOAK = subjects.SOAK
LIMIT = 2e9
# What the allocator and the threads may take besides.
LOOSE = 32 << 20

# With the seconds after which a run is cut off: its tiles have been the same for long then.
WHOLE = {
    "binning": 0,
    '{"name": "binning", "quantile": true}': 0,
    "ebab": 0,
    "gaussian": 0,
    '{"name": "mine", "steps": 50}': 0,
}
IN_TILES = {"kde": 90, "akde": 90, "ksg": 90, "kl": 90, "sp": 120, "pca+ksg": 400}
SHORT = ["binning", "ebab", "gaussian"]
# Networks that are trained each time, in a few seconds.
TRAINED = [
    '{"name": "mine", "steps": 50, "batch_size": 16}',
    '{"name": "lossy", "k": 2, "compress_t": {"name": "ae", "epochs": 3}}',
    '{"name": "decoder", "levels": 2, "filters": 8, "stages": 1, "mixtures": 1, "epochs": 2}',
]


def measured(*arguments):
    script = pathlib.Path(__file__).with_name("measured.py")
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Activations on disk, written in parts."""
    n, dim = (100_000, 1000) if SOAK else (100_000, 80)
    path = tmp_path_factory.mktemp("memory") / "t.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        array[start : start + 10_000] = rng.normal(size=(10_000, dim))
    array[:, -20:] = 0  # units that have died
    array.flush()
    return path, n, dim


@pytest.mark.parametrize("identifier", [*WHOLE, *IN_TILES] if SOAK else SHORT)
def test_estimates_keep_within_what_they_state(file, identifier):
    path, n, dim = file
    seconds = IN_TILES.get(identifier, 0) if SOAK else 0
    found = measured("PEAK", identifier, path, n, dim, seconds)
    assert found["finished"] or seconds
    values = n * dim * 4
    assert found["peak"] - found["before"] <= found["stated"] + values + LOOSE, found
    if SOAK:
        assert found["peak"] <= LIMIT, found


@pytest.mark.parametrize("name", estimators.names())
def test_every_estimator_states_what_it_needs(name):
    made = estimators.get(name)
    small, large = (made.peak_bytes(n, 10, dim_x=4, itemsize=4) for n in (100, 10_000_000))
    assert 0 < small <= large


def test_what_cannot_fit_is_refused_before_it_begins(monkeypatch):
    ran = []
    monkeypatch.setattr(estimators.EBAB, "discretise", lambda *_: ran.append(1))
    free = memory.available()
    assert free is not None and free > 1 << 20
    # A view of one value: nothing of the size that is asked for exists.
    t = np.broadcast_to(np.float32(1), (2_000_000_000, 1000))
    for identifier in ("binning", "ebab", "mine", "lossy", "kl", "sp", "quantized"):
        made = estimators.get(identifier)
        with pytest.raises(ArgumentError, match=r"fit in memory.*GB needed, .* GB available"):
            base.check_memory(made, *t.shape, dim_x=10)
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    t, x = np.arange(150.0).reshape(50, 3), np.zeros((50, 2))
    for identifier in ("ebab", "kde", "sp", "ksg", "gaussian", "infonce"):
        with pytest.raises(ArgumentError, match=r"fit in memory.*GB needed, 0.00105 GB available"):
            estimators.get(identifier).estimate(t, x=x, noise_std=1.0)
    table = ib.estimate({"a": t}, ["ebab"])
    assert table["flags"].tolist() == ["not_estimated"]
    assert "fit in memory" in table["details"].iloc[0]
    with pytest.raises(ArgumentError, match="fit in memory"):
        ib.estimate({"a": t}, ["ebab"], on_error="raise")
    assert not ran


def test_a_machine_that_does_not_say_is_trusted(monkeypatch):
    monkeypatch.setattr(memory, "_sources", lambda: iter(()))
    assert memory.available() is None
    base.check_memory(estimators.get("ebab"), 10**12, 10**6)


@pytest.mark.parametrize(
    "identifier",
    ["ebab", "kde", "sp", "ksg", "kl", "gaussian", "pca+ksg", *TRAINED] if SOAK else ["kde"],
)
def test_estimates_leave_nothing_behind(identifier):
    times = 1000 if SOAK and identifier not in TRAINED else 120
    sizes = measured("GROWTH", identifier, times)["sizes"]
    # After the first ones programs are compiled.
    assert sizes[-1] - sizes[times // 3] < 4 << 20, sizes[:: times // 20]


def test_recorded_epochs_leave_nothing_behind(tmp_path):
    times = 100 if SOAK else 25
    found = measured("EPOCHS", times, tmp_path)
    sizes = found["sizes"]
    assert found["recorded"] == times + 1
    assert sizes[-1] - sizes[times // 3] < 8 << 20, sizes[:: max(1, times // 20)]
