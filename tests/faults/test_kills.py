"""Killed at any moment: what was finished is whole, and doing it again ends as if undisturbed."""

import os
import shutil

import numpy as np
import pytest
import states
from nursery import SOAK

import ib_keras as ib
from ib_keras.components.artifacts import examples


def moments(nursery, job, folder, arguments=()):
    """The result undisturbed, and when to kill: by operations on files and by time, in turn."""
    folder.mkdir()
    killed, operations, seconds = nursery.run(job, folder, *arguments)
    assert not killed and operations > 3
    rng = np.random.default_rng(operations)
    while True:
        yield {"operations": int(rng.integers(1, operations + 1))}
        yield {"seconds": float(rng.uniform(0.2, 1.0) * seconds)}


def check_store(path, whole):
    """What is there is what an undisturbed run wrote, bit by bit."""
    if not (path / "manifest.json").exists():
        assert not path.exists()
        return
    found = states.of_store(path)
    assert found.pop(("missing",)) == []
    assert {key: whole[key] for key in found} == found


def test_a_store(plain, tmp_path):
    at = moments(plain, "store", tmp_path / "whole")
    first = next(at)
    whole = states.of_store(tmp_path / "whole" / "store")
    for number in range(120 if SOAK else 10):
        work = tmp_path / str(number)
        work.mkdir()
        for moment in (first, next(at)):
            plain.run("store", work, **moment)
            check_store(work / "store", whole)
        plain.run("store", work)
        assert states.of_store(work / "store") == whole
        first = next(at)
        shutil.rmtree(work)


def test_a_table(plain, tmp_path):
    plain.run("store", tmp_path)
    os.rename(tmp_path / "store", tmp_path / "recorded")
    at = moments(plain, "estimate", tmp_path / "whole")
    next(at)
    whole = states.of_table(tmp_path / "whole" / "table")
    binning = {name: values for name, values in whole.items() if name in ("epoch", "layer")}
    for number in range(60 if SOAK else 6):
        work = tmp_path / str(number)
        work.mkdir()
        plain.run("estimate", work, **next(at))
        if (work / "table").exists():
            found = states.of_table(work / "table")
            assert found == whole or (
                set(found["estimator"]) == {"binning"}
                and {name: found[name] for name in binning} == binning
            )
        plain.run("estimate", work)
        assert states.of_table(work / "table") == whole
        assert states.leftovers(work) == []
        shutil.rmtree(work)


@pytest.mark.parametrize("job", ["fit", "fit_table"])
def test_recording_in_fit(with_keras, tmp_path, job):
    def state(path):
        return (states.of_store if job == "fit" else states.of_table)(path / "record")

    at = moments(with_keras, job, tmp_path / "whole")
    next(at)
    whole = state(tmp_path / "whole")
    for number in range(15 if SOAK else 1):
        work = tmp_path / str(number)
        work.mkdir()
        with_keras.run(job, work, **next(at))
        if job == "fit":
            check_store(work / "record", whole)
        elif (work / "record").exists():
            table = ib.load(work / "record")
            kept = np.isin(whole["epoch"], table["epoch"])
            assert table["value"].tolist() == np.array(whole["value"])[kept].tolist()
        with_keras.run(job, work)
        assert state(work) == whole
        assert states.leftovers(work) == []
        shutil.rmtree(work)


def test_training_of_decoders(with_keras, tmp_path):
    at = moments(with_keras, "decode", tmp_path / "whole")
    next(at)
    whole = states.of_npz(tmp_path / "whole" / "trained.npz")
    for number in range(15 if SOAK else 1):
        work = tmp_path / str(number)
        work.mkdir()
        with_keras.run("decode", work, **next(at))
        with_keras.run("decode", work)
        assert states.of_npz(work / "trained.npz") == whole
        assert states.leftovers(work / "work") == []
        shutil.rmtree(work)


@pytest.mark.pipeline
def test_pipelines(with_kfp, tmp_path):
    at = moments(with_kfp, "pipeline", tmp_path / "whole")
    next(at)
    whole = results(tmp_path / "whole")
    assert len(whole) == len(examples.PARTS)
    for number in range(12 if SOAK else 1):
        work = tmp_path / str(number)
        work.mkdir()
        with_kfp.run("pipeline", work, **next(at))
        found = results(work)
        assert {name: whole[name] for name in found} == found
        with_kfp.run("pipeline", work)
        assert results(work) == whole
        assert [p.name for p in (work / "run").glob(".*.tmp")] == []


def results(folder):
    """What a run has put into its folder."""
    return {file.name: states.flat(np.load(file)) for file in (folder / "run").glob("*.npy")}
