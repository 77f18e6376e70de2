"""Full disks, folders that cannot be written, and two processes on one store."""

import os
import pathlib
import resource
import signal
import subprocess
import sys

import jobs
import numpy as np
import pytest
import states

import ib_keras as ib
from ib_keras.errors import StoreError
from ib_keras.storage import locks

_HERE = pathlib.Path(__file__).parent


def mount(folder, options):
    """A file system of its own, or the reason why there is none."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(disk, tmp_path, count):
    jobs.store(tmp_path)
    whole = states.of_store(tmp_path / "store")
    with pytest.raises(OSError, match="No space left"):
        jobs.store(disk)
    assert states.leftovers(disk) == []
    found = states.of_store(disk / "store")
    assert 1 < len(ib.ActivationStore(disk / "store").epochs) < jobs.EPOCHS
    assert {key: whole[key] for key in found} == found
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    jobs.store(disk)
    assert states.of_store(disk / "store") == whole
    count(faults=1)


def test_a_table_on_a_full_disk(disk, tmp_path, count):
    jobs.store(tmp_path)
    table = ib.estimate(tmp_path / "store", "ebab", progress=False)
    ib.frame.write(table, disk / "table")
    before = states.of_table(disk / "table")
    (disk / "rest").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    with pytest.raises(OSError, match="No space left"):
        ib.frame.write(table.iloc[:5], disk / "table")
    assert states.of_table(disk / "table") == before
    (disk / "rest").unlink()
    ib.frame.write(table.iloc[:5], disk / "table")
    assert len(ib.load(disk / "table")) == 5
    count(faults=1)


def test_files_that_may_not_grow(tmp_path, count):
    """A quota, for whom no file system can be mounted."""
    program = (
        "import resource, sys, pathlib, jobs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (7000, 7000))\n"
        "jobs.store(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, cwd=_HERE
    )
    assert "File too large" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 7000
    jobs.store(tmp_path)
    assert ib.ActivationStore(tmp_path / "store").epochs == list(range(jobs.EPOCHS))
    assert states.leftovers(tmp_path) == []
    count(faults=1)


def test_a_folder_that_cannot_be_written(disk, count):
    store = ib.ActivationStore.create(disk / "s", inputs=np.zeros((4, 1)), targets=None, layers="a")
    with store.writer(0, noise_std={}) as writer:
        writer.write("a", np.ones((4, 2)))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    store = ib.ActivationStore(disk / "s")
    np.testing.assert_array_equal(store.read(0, "a"), np.ones((4, 2)))
    with pytest.raises(OSError, match="Read-only"):
        with store.writer(1, noise_std={}) as writer:
            writer.write("a", np.ones((4, 2)))
    with pytest.raises(OSError, match="Read-only"):
        ib.frame.write(ib.estimate(store, "ebab", progress=False), disk / "table")
    assert store.epochs == [0]
    count(faults=1)


@pytest.fixture
def holder(tmp_path):
    """Another process that writes a store, and does not end."""
    jobs.store(tmp_path)
    program = (
        "import sys, time, ib_keras as ib\n"
        "store = ib.ActivationStore(sys.argv[1])\n"
        "with store.writer(99, noise_std={}) as writer:\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "store"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    yield ib.ActivationStore(tmp_path / "store"), process
    process.kill()
    process.wait()


def test_two_processes_on_one_store(holder, count):
    store, process = holder
    whole = states.of_store(store.path)
    with pytest.raises(StoreError, match=r"is being written.*a second"):
        with store.writer(100, noise_std={}):
            pass
    assert states.of_store(store.path) == whole  # who reads is not disturbed
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.writer(100, noise_std={}) as writer:
        for layer in jobs.LAYERS:
            writer.write(layer, jobs.layer(0, layer))
    assert store.epochs[-1] == 100
    count(kills=1, faults=1)


def test_what_a_process_left_it_may_write_itself(tmp_path):
    first = locks.acquire(tmp_path)
    second = locks.acquire(tmp_path)
    assert locks.is_held(tmp_path)
    first.release()
    second.release()
    assert not locks.is_held(tmp_path)


def test_a_forked_child_has_no_lock_and_keeps_none(tmp_path):
    lock = locks.acquire(tmp_path)
    child = os.fork()
    if not child:
        try:
            locks.acquire(tmp_path)
        except StoreError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    lock.release()
    assert not locks.is_held(tmp_path)
