import hashlib
import pathlib

import numpy as np
import pytest
import scipy.io

from ib_keras import datasets
from ib_keras.errors import ArgumentError, DataUnavailableError
from ib_keras.storage import array_files

DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"


def needs(name):
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"{name} is not at hand")


def test_the_12_bit_task_is_the_original():
    x, y = datasets.szt()
    # Checksums of the original file's arrays.
    assert hashlib.sha256(x.astype("u1").tobytes()).hexdigest() == (
        "60c7b77cf130b18f25d81c397d55270e50faaf4a6193c2d4480ad14a00035909"
    )
    assert hashlib.sha256(y.astype("u1").tobytes()).hexdigest() == (
        "77732f16f85e91b49d3997196b56163b3bd362d8cf631468a8de3f986e88359f"
    )
    assert y.sum() == 2118
    ones = x.sum(axis=1)
    assert [int(y[ones == w].sum()) for w in range(5, 13)] == [60, 532, 732, 495, 220, 66, 12, 1]


@needs("var_u.mat")
def test_the_original_file_loads():
    loaded = datasets.load(DATA / "var_u.mat", seed=3)
    x, y = datasets.szt()
    codes = loaded.x @ (2.0 ** np.arange(11, -1, -1))
    np.testing.assert_array_equal(loaded.y, y[codes.astype(int)])
    assert len(np.unique(codes)) == 4096


@pytest.mark.parametrize("seed", [0, 1])
def test_the_split_is_shuffled_and_stratified(seed):
    (x_train, y_train), (x_test, y_test) = datasets.load("szt", seed=seed)
    assert (len(x_train), len(x_test)) == (3276, 820)
    for y in (y_train, y_test):
        assert y.mean() == pytest.approx(0.51709, abs=1e-3)
    again = datasets.load("szt", seed=seed)
    np.testing.assert_array_equal(again.x_train, x_train)
    assert not np.array_equal(datasets.load("szt", seed=seed + 2).x_train, x_train)


def test_digits():
    loaded = datasets.load("digits")
    assert loaded.x.shape == (1797, 64) and loaded.x.dtype == np.float32
    assert (loaded.x.min(), loaded.x.max(), loaded.n_classes) == (0, 1, 10)
    assert np.bincount(loaded.y)[:3].tolist() == [178, 182, 177]


@needs("mnist.npz")
def test_a_data_set_is_shown_in_a_line():
    assert repr(datasets.load("digits")) == (
        "Dataset(train: 1437 rows, test: 360 rows of shape (64,), 10 classes)"
    )
    part = (np.zeros((4, 2)), np.linspace(0, 1, 4))
    assert repr(datasets.Dataset(part, part, valid=part)) == (
        "Dataset(train: 4 rows, test: 4 rows, valid: 4 rows of shape (2,), numbers as labels)"
    )


def test_kerass_own_file():
    loaded = datasets.load(DATA / "mnist.npz")
    assert loaded.x_train.shape == (60000, 28, 28) and loaded.x_train.dtype == np.uint8
    assert loaded.y_test[:5].tolist() == [7, 2, 1, 0, 4]


def test_npz_with_and_without_a_split(tmp_path):
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x[:15], y_train=y[:15, None], x_test=x[15:], y_test=y[15:])
    loaded = datasets.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(loaded.x, x)
    np.testing.assert_array_equal(loaded.y, y)
    np.savez(tmp_path / "b.npz", x=x, y=y)
    parts = datasets.load(str(tmp_path / "b.npz"), test_fraction=0.3)
    assert len(parts.x_test) == 6 and parts.y_test.mean() == 0.5
    assert sorted(parts.x[:, 0]) == sorted(x[:, 0])


def test_a_missing_download_says_which_file_to_pass(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://example.org/mnist.npz: None -- no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(DataUnavailableError, match=r"load\('path/to/mnist.npz'\).*no network"):
        datasets.load("mnist")


def test_whole_numbers_as_doubles_are_labels(tmp_path):
    x, y = np.eye(6), np.array([0.0, 1, 0, 1, 0, 1])
    scipy.io.savemat(tmp_path / "m.mat", {"F": x, "y": y[None]})
    loaded = datasets.load(tmp_path / "m.mat", test_fraction=0.34)
    assert sorted(loaded.y) == [0, 0, 0, 1, 1, 1]


def test_other_errors_of_a_download_are_not_hidden(monkeypatch):
    import keras

    def fail():
        raise MemoryError

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(MemoryError):
        datasets.load("mnist")


def test_bad_names_and_files(tmp_path):
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "keys.npz", a=x)
    np.savez(tmp_path / "short.npz", x=x, y=y[:3])
    np.savez(tmp_path / "floats.npz", x=x, y=np.array([0, 1, np.nan, 1]))
    np.savez(tmp_path / "text_x.npz", x=np.full((4, 2), "a"), y=y)
    np.savez(tmp_path / "shapes.npz", x_train=x, y_train=y, x_test=x[:, :1], y_test=y)
    np.save(tmp_path / "array.npy", x)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    scipy.io.savemat(tmp_path / "cut.mat", {"F": x, "y": y}, do_compression=True)
    damaged = (tmp_path / "cut.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(damaged[:150] + b"garbage" + damaged[157:])
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}]), y=y)
    np.savez(tmp_path / "rare.npz", x=x, y=np.array([0, 0, 0, 1]))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.mat").write_text("hello")
    for name, message in {
        "mnits": "'mnist'.*or an .npz",
        "cinic10": "not downloaded.*the path of CINIC-10, a folder",
        tmp_path / "no.npz": "does not exist",
        tmp_path / "keys.npz": r"lacks 'x' and 'y'.*x_train.*Received: a float64\[4, 2\]$",
        tmp_path / "short.npz": "4 inputs and 3 labels",
        tmp_path / "floats.npz": "`y` has NaN.*1 of 4 rows",
        tmp_path / "objects.npz": "cannot be read.*astype",
        tmp_path / "rare.npz": "too few",
        tmp_path / "text_x.npz": "not numbers",
        tmp_path / "shapes.npz": "differ in shape",
        tmp_path / "array.npz": "cannot be read",
        tmp_path / "cut.mat": "cannot be read",
        3: "the name of a data set or a path",
        tmp_path / "text.npz": "cannot be read",
        tmp_path / "empty.npz": "cannot be read",
        tmp_path / "text.mat": "cannot be read",
    }.items():
        with pytest.raises(ArgumentError, match=message):
            datasets.load(name)
    for seed in (-1, 0.5, 2**32, None):
        with pytest.raises(ArgumentError, match="seed"):
            datasets.load("szt", seed=seed)
    for fraction in (0.0, 1.0, 2, "half"):
        with pytest.raises(ArgumentError, match="test_fraction"):
            datasets.load("szt", test_fraction=fraction)
    assert (
        len(datasets.load("szt", seed=np.int64(1), test_fraction=np.float32(0.25)).x_test) == 1024
    )


def test_a_matlab_file_that_crashes_the_reader(tmp_path, monkeypatch):
    (tmp_path / "m.mat").write_bytes(bytes(200))
    monkeypatch.setattr(array_files, "_check_unpacked", lambda path: None)
    for reader, said in (
        ("import os; os.abort()", "crashed"), ("raise ValueError('no arrays')", "no arrays"),
    ):  # fmt: skip
        monkeypatch.setattr(array_files, "_MAT_READER", reader)
        with pytest.raises(ArgumentError, match=f"cannot be read.*{said}"):
            datasets.load(tmp_path / "m.mat")


KINDS = [
    (np.arange(-6, 7), tuple(range(-6, 7))),
    (np.array([900, 3, 7]), (3, 7, 900)),
    (np.array([3000000, 10001, 204500]), (10001, 204500, 3000000)),
    (np.array([1, -1]), (-1, 1)),
    (np.array([2.0, 1.0]), (1, 2)),
    (np.array([True, False]), (False, True)),
    (np.array(["dog", "a cat", "Ära"]), ("a cat", "dog", "Ära")),
    (np.array([b"dog", b"cat"]), ("cat", "dog")),
    (np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], "f4"), (0, 1, 2)),
]


def named(loaded, y):
    """The labels of a data set as they were given."""
    names = np.array(loaded.label_names, object)
    return names[y].tolist()


@pytest.mark.parametrize(("values", "names"), KINDS)
def test_labels_of_any_kind(values, names, tmp_path):
    rows = np.arange(10 * len(values)) % len(values)
    x, y = np.arange(len(rows), dtype="f4")[:, None], values[rows]
    np.savez(tmp_path / "d.npz", x=x, y=y)
    loaded = datasets.load(tmp_path / "d.npz")
    assert loaded.label_names == names and loaded.n_classes == len(names)
    assert sorted(np.unique(loaded.y)) == list(range(len(names)))
    assert loaded.y.dtype == np.int64
    # Each row still has its label.
    given = values.argmax(axis=1) if values.ndim == 2 else values
    given = [v.decode() if isinstance(v, bytes) else v for v in given.tolist()]
    assert named(loaded, loaded.y) == [given[int(row) % len(values)] for row in loaded.x[:, 0]]


def test_both_parts_are_recoded_together(tmp_path):
    x = np.zeros((4, 1))
    np.savez(
        tmp_path / "d.npz", x_train=x, y_train=["b", "d", "b", "d"], x_test=x,
        y_test=["d", "a", "long", "b"],
    )  # fmt: skip
    loaded = datasets.load(tmp_path / "d.npz")
    assert loaded.label_names == ("a", "b", "d", "long") and loaded.n_classes == 4
    assert loaded.y_train.tolist() == [1, 2, 1, 2] and loaded.y_test.tolist() == [2, 0, 3, 1]
    assert loaded.arrays == ("x_train", "y_train", "x_test", "y_test")
    (x_train, _), (_, y_test) = loaded
    assert len(x_train) == len(y_test) == 4
    for test in (np.arange(4), np.eye(4)):
        np.savez(tmp_path / "e.npz", x_train=x, y_train=list("abab"), x_test=x, y_test=test)
        with pytest.raises(ArgumentError, match="labels differ in kind"):
            datasets.load(tmp_path / "e.npz")


def test_a_data_set_is_a_pair_that_survives():
    import copy
    import pickle

    loaded = datasets.Dataset(([0.0], np.array([0])), ([1.0], np.array([1])), ["cat", "dog"])
    for again in (loaded, copy.copy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert again.label_names == ("cat", "dog") and len(again) == 2
    plain = datasets.Dataset(([0.0], np.array([0])), ([1.0], np.array([2])))
    assert plain.label_names == (0, 1, 2) and plain.n_classes == 3
    assert datasets.load("digits").label_names == tuple(range(10))


@pytest.mark.parametrize("y", [np.arange(40), np.array([f"id_{i}" for i in range(40)])])
def test_an_identifier_is_no_label(y, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((40, 2)), y=y)
    np.savez(
        tmp_path / "e.npz", x_train=np.zeros((40, 2)), y_train=y, x_test=np.zeros((5, 2)),
        y_test=y[:5],
    )  # fmt: skip
    for name, what in (("d.npz", "`y`"), ("e.npz", "`y_train`")):
        with pytest.raises(ArgumentError, match=f"{what} is an identifier, not a class"):
            datasets.load(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "chosen"),
    [
        ({"x": 0, "labels": 1}, "x labels"),
        ({"X": 0, "y": 1}, "X y"),
        ({"data": 0, "target": 1}, "data target"),
        ({"inputs": 0, "targets": 1}, "inputs targets"),
        ({"images": 0, "Label": 1, "other": 0}, "images Label"),
        ({"x": 0, "y": 1, "data": 0, "labels": 1}, "x y"),
        ({"X": 0, "features": 0, "Y": 1}, "X Y"),
        ({"x": 0, "labels": 1, "classes": 2}, "x labels"),
        ({"X_train": 0, "Y_train": 1, "X_test": 0, "Y_test": 1}, "X_train Y_train X_test Y_test"),
        (
            {"train_images": 0, "train_labels": 1, "test_images": 0, "test_labels": 1},
            "train_images train_labels test_images test_labels",
        ),
        ({"xTrain": 0, "yTrain": 1, "xTest": 0, "yTest": 1}, "xTrain yTrain xTest yTest"),
    ],
)
def test_arrays_of_other_names(arrays, chosen, tmp_path):
    values = (np.arange(8.0).reshape(8, 1), np.arange(8) % 2, np.array(["cat", "dog"]))
    np.savez(tmp_path / "d.npz", **{name: values[i] for name, i in arrays.items()})
    loaded = datasets.load(tmp_path / "d.npz")
    assert " ".join(loaded.arrays) == chosen
    assert (loaded.x[:, 0] % 2 == loaded.y).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ("x", "lacks 'y'.*x_train, y_train, x_test and y_test;.*labels.*taken for x = 'x'$"),
        ("labels", "lacks 'x'.*taken for y = 'labels'$"),
        ("inputs other", "lacks 'y'.*other float64\\[4\\]; taken for x = 'inputs'$"),
        ("x_train y_train x_test", "lacks 'y_test'"),
        ("X_train labels_train", "lacks 'x_test' and 'y_test'"),
        ("data inputs y", "several arrays may be x: 'data', 'inputs'.*one that is called x"),
        ("x label targets", "several arrays may be y: 'label', 'targets'"),
        ("a b", "lacks 'x' and 'y'"),
    ],
)
def test_arrays_that_are_not_clear(arrays, message, tmp_path):
    np.savez(tmp_path / "d.npz", **{name: np.zeros(4) for name in arrays.split()})
    with pytest.raises(ArgumentError, match=message) as error:
        datasets.load(tmp_path / "d.npz")
    assert "\n" not in str(error.value)


def test_matlab_files_of_other_names_and_labels(tmp_path):
    x, texts = np.eye(6), ["cat", "tiger", "cat", "tiger", "cat", "tiger"]
    for labels, names in (
        (np.array(texts, object), ("cat", "tiger")),  # a cell array
        (np.array(texts), ("cat", "tiger")),  # a matrix of characters, padded by blanks
        (np.array([[3.0], [7], [3], [7], [3], [7]]), (3, 7)),
        (np.array([[3.0, 7, 3, 7, 3, 7]]), (3, 7)),
        (np.eye(2)[[0, 1, 0, 1, 0, 1]], (0, 1)),
    ):
        scipy.io.savemat(tmp_path / "m.mat", {"data": x, "labels": labels, "note": "mine"})
        loaded = datasets.load(tmp_path / "m.mat", test_fraction=0.34)
        assert loaded.label_names == names and loaded.arrays == ("data", "labels")
        assert (loaded.x.argmax(axis=1) % 2 == loaded.y).all()
    scipy.io.savemat(tmp_path / "m.mat", {"F": x, "note": "mine"})
    with pytest.raises(ArgumentError, match="lacks 'y'.*note; taken for x = 'F'"):
        datasets.load(tmp_path / "m.mat")


@pytest.mark.parametrize("part", ["valid", "val", "validation"])
def test_a_validation_part_replaces_a_missing_test_part(part, tmp_path):
    arrays = {"x_train": np.zeros((6, 2)), "y_train": np.arange(6) % 2}
    held_out = {f"x_{part}": np.ones((4, 2)), f"y_{part}": np.arange(4) % 2}
    np.savez(tmp_path / "d.npz", **arrays, **held_out)
    loaded = datasets.load(tmp_path / "d.npz", valid=True)
    assert (len(loaded.x_train), len(loaded.x_test)) == (6, 4) and loaded.valid is None
