"""`ib_keras.load` of what lies in a bucket."""

import sys

import pandas as pd
import pytest
from make_frame import make_frame

import ib_keras
from ib_keras import frame
from ib_keras.errors import ArgumentError, MissingExtraError, StoreError
from ib_keras.storage import buckets

fsspec = pytest.importorskip("fsspec", reason="the extra vertex is not installed")


@pytest.fixture
def bucket(tmp_path):
    """A bucket in memory with two runs; yields the local twins."""
    memory = fsspec.filesystem("memory")
    for run in ("one", "two"):
        table = make_frame()
        table["run"] = run
        logs = pd.DataFrame({"run": [run], "epoch": [int(table["epoch"].max())], "loss": [0.5]})
        frame.write(table, tmp_path / run, logs=logs)
        memory.put(str(tmp_path / run), f"/bucket/{run}", recursive=True)
    yield tmp_path
    memory.rm("/bucket", recursive=True)


def test_a_folder_in_a_bucket_is_read_as_a_local_one(bucket):
    remote, local = ib_keras.load("memory://bucket/one"), ib_keras.load(bucket / "one")
    pd.testing.assert_frame_equal(remote, local)
    assert remote["loss"].notna().any()


def test_a_file_brings_the_logs_beside_it(bucket):
    remote = ib_keras.load("memory://bucket/two/estimates.parquet")
    pd.testing.assert_frame_equal(remote, ib_keras.load(bucket / "two"))


def test_a_glob_reads_every_match(bucket):
    remote = ib_keras.load("memory://bucket/*")
    pd.testing.assert_frame_equal(remote, ib_keras.load(str(bucket / "*")))
    assert set(remote["run"]) == {"one", "two"}


def test_nothing_there(bucket):
    with pytest.raises(StoreError, match="'memory://bucket/three' does not exist. Expected"):
        ib_keras.load("memory://bucket/three")


def test_a_folder_without_estimates_is_listed(bucket):
    fsspec.filesystem("memory").pipe("/bucket/other/manifest.json", b"{}")
    with pytest.raises(StoreError, match=r"other' has no estimates.*\['manifest.json'\]"):
        ib_keras.load("memory://bucket/other")


def test_another_table_is_named(bucket):
    fsspec.filesystem("memory").pipe("/bucket/broken/estimates.parquet", b"no parquet")
    with pytest.raises(StoreError, match="bucket/broken' cannot be read. Expected a parquet file"):
        ib_keras.load("memory://bucket/broken")
    with fsspec.open("memory://bucket/numbers/estimates.parquet", "wb") as file:
        pd.DataFrame({"a": [1]}).to_parquet(file)
    with pytest.raises(
        ArgumentError, match="numbers/estimates.parquet` is not a table of estimates"
    ):
        ib_keras.load("memory://bucket/numbers")


def test_gs_without_gcsfs_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    with pytest.raises(MissingExtraError, match=r"`gcsfs`. Expected .*'ib-keras\[vertex\]'"):
        ib_keras.load("gs://bucket/run")


def test_gs_without_fsspec_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"`fsspec`. Expected .*'ib-keras\[vertex\]'"):
        ib_keras.load("gs://bucket/run")


def test_an_unknown_protocol():
    with pytest.raises(StoreError, match="nope://x' cannot be read. Expected gs://"):
        ib_keras.load("nope://x")


def test_a_refused_bucket_says_which_role(monkeypatch):
    class Refusing:
        def exists(self, path):
            raise PermissionError("403: no storage.objects.list access")

    monkeypatch.setattr(buckets, "_system", lambda url: (Refusing(), "bucket/run"))
    with pytest.raises(StoreError, match=r"application-default login.*storage.objectViewer.*403"):
        ib_keras.load("gs://bucket/run")
