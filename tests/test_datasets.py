import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.io

from ib_keras import datasets
from ib_keras.errors import ArgumentError, DataUnavailableError

VAR_U = pathlib.Path(__file__).parents[2] / "shared" / "data" / "var_u.mat"


def _sha256(array):
    return hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()


def _write(path, **arrays):
    np.savez(path, **arrays)
    return path


# Of the arrays F and y published with the 12-bit task.
SHA_F = "60c7b77cf130b18f25d81c397d55270e50faaf4a6193c2d4480ad14a00035909"
SHA_Y = "77732f16f85e91b49d3997196b56163b3bd362d8cf631468a8de3f986e88359f"


def test_szt_is_the_published_task():
    x, y = datasets.szt()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((4096, 12), np.float32, (4096,), np.int64)
    assert (_sha256(x), _sha256(y)) == (SHA_F, SHA_Y)
    p = y.mean()
    assert p == pytest.approx(0.51709, abs=5e-6)
    entropy = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    assert entropy == pytest.approx(0.99915712, abs=5e-9)


@pytest.mark.skipif(not VAR_U.exists(), reason="the published var_u.mat is not here")
def test_szt_equals_the_published_file():
    published = scipy.io.loadmat(VAR_U)
    x, y = datasets.szt()
    np.testing.assert_array_equal(x, published["F"])
    np.testing.assert_array_equal(y, published["y"][0])
    for mine, theirs in zip(datasets.load("szt").train, datasets.load(VAR_U).train, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_szt_split_is_a_stratified_shuffle_of_all_patterns():
    data = datasets.load("szt")
    (x_train, y_train), (x_test, y_test) = data
    assert (len(x_train), len(x_test)) == (3276, 820)
    # 820 · 2118/4096 = 424.01 and 3276 · 2118/4096 = 1693.99.
    assert (y_test.sum(), y_train.sum()) == (424, 1694)
    rows = (data.x @ 2 ** np.arange(11, -1, -1)).astype(int)
    np.testing.assert_array_equal(np.sort(rows), np.arange(4096))
    np.testing.assert_array_equal(data.y, datasets.szt()[1][rows])
    # In counting order the first row would be 0 and neighbours would differ by 1.
    assert np.abs(np.diff(rows[:3276])).mean() > 1000


def test_split_depends_on_the_seed_and_on_nothing_else():
    first, again, other = (datasets.load("szt", seed=seed).x_test for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_digits():
    data = datasets.load("digits", test_fraction=0.5)
    assert (data.x_train.shape, data.x_test.shape) == ((898, 64), (899, 64))
    assert (data.x.dtype, data.x.min(), data.x.max()) == (np.float32, 0, 1)
    assert data.n_classes == 10
    # The counts that the data set's own description states for 1797 digits.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(data.y), counts)
    assert np.abs(np.bincount(data.y_test) - np.array(counts) / 2).max() <= 1


def test_fields_and_properties():
    data = datasets.Dataset(
        (np.array([[1.0], [2.0]]), np.array([0, 4])), (np.array([[3.0]]), np.array([2]))
    )
    assert data.x.ravel().tolist() == [1, 2, 3]
    assert data.y.tolist() == [0, 4, 2]
    assert (data.x_train is data.train[0]) and (data.y_train is data.train[1])
    assert (data.x_test is data.test[0]) and (data.y_test is data.test[1])
    assert data.n_classes == 5


def test_npz_in_the_layout_of_keras(tmp_path):
    images = np.arange(5 * 2 * 2, dtype=np.uint8).reshape(5, 2, 2)
    path = _write(
        tmp_path / "a.npz",
        x_train=images[:3],
        y_train=np.array([[0], [1], [2]], np.uint8),
        x_test=images[3:],
        y_test=np.array([1, 1]),
    )
    data = datasets.load(path, test_fraction=0.9)
    np.testing.assert_array_equal(data.x_train, images[:3])
    np.testing.assert_array_equal(data.x_test, images[3:])
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0, 1, 2], [1, 1])
    assert (data.x_train.dtype, data.y_train.dtype) == (np.uint8, np.int64)


def test_npz_without_a_split(tmp_path):
    x = np.arange(40).reshape(20, 2)
    path = _write(tmp_path / "a.npz", x=x, y=np.repeat([0, 1], 10))
    data = datasets.load(str(path), test_fraction=0.3)
    assert np.bincount(data.y_test).tolist() == [3, 3]
    np.testing.assert_array_equal(np.sort(data.x[:, 0]), x[:, 0])
    np.testing.assert_array_equal(data.y, data.x[:, 0] >= 20)


def test_mat_with_labels_in_matlab_doubles(tmp_path):
    path = tmp_path / "a.mat"
    f = np.eye(6, dtype=np.uint8)
    scipy.io.savemat(path, {"F": f, "y": np.array([[0.0, 0, 0, 1, 1, 1]])})
    data = datasets.load(path, test_fraction=1 / 3)
    assert (data.x.dtype, data.y.dtype, data.y_test.sum()) == (np.float32, np.int64, 1)
    np.testing.assert_array_equal(data.x.argmax(axis=1) >= 3, data.y)


def test_keras_data_keeps_its_split_and_gets_flat_labels(monkeypatch):
    import keras

    x = np.full((3, 32, 32, 3), 7, np.uint8)
    y = np.array([[9], [0], [3]], np.uint8)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((x, y), (x[:2], y[:2])))
    data = datasets.load("cifar10")
    np.testing.assert_array_equal(data.x_train, x)
    assert data.x_train.dtype == np.uint8
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([9, 0, 3], [9, 0])


def test_failed_download_names_the_file_to_pass(monkeypatch, tmp_path):
    import keras

    def load_data():  # what get_file really raises, without a network
        keras.utils.get_file(
            "mnist.npz", origin=(tmp_path / "none.npz").as_uri(), cache_dir=str(tmp_path)
        )

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(DataUnavailableError, match=r'load\("path/to/mnist\.npz"\)'):
        datasets.load("mnist")


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("late")])
def test_broken_connection_is_a_failed_download(monkeypatch, error):
    import keras

    def load_data():
        raise error

    monkeypatch.setattr(keras.datasets.cifar100, "load_data", load_data)
    with pytest.raises(DataUnavailableError, match=type(error).__name__):
        datasets.load("cifar100")


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError(), ValueError("a bug")])
def test_other_errors_of_keras_are_not_called_failed_downloads(monkeypatch, error):
    import keras

    def load_data():
        raise error

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(type(error)) as caught:
        datasets.load("mnist")
    assert caught.value is error


@pytest.mark.parametrize("name", ["minst", "data.csv", pathlib.Path("szt.pkl"), 3, None])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ArgumentError) as caught:
        datasets.load(name)
    for known in ("digits", "szt", "fashion_mnist", "cifar100", ".npz", ".mat"):
        assert known in str(caught.value)


@pytest.mark.parametrize("name", ["none.npz", "none.mat"])
def test_missing_file_is_named(tmp_path, name):
    with pytest.raises(ArgumentError, match=f"{name}.*no such file"):
        datasets.load(tmp_path / name)


def test_folder_is_no_file(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(ArgumentError, match="a folder"):
        datasets.load(tmp_path / "a.npz")


def test_missing_keys_are_listed_with_those_found(tmp_path):
    path = _write(tmp_path / "a.npz", x_train=np.eye(2), labels=np.arange(2))
    with pytest.raises(ArgumentError, match=r"x_test, y_test; or x, y.*labels, x_train"):
        datasets.load(path)
    scipy.io.savemat(tmp_path / "a.mat", {"F": np.eye(2), "labels": np.arange(2)})
    with pytest.raises(ArgumentError, match=r"keys F, y\. .*keys F, labels"):
        datasets.load(tmp_path / "a.mat")


@pytest.mark.parametrize("name", ["a.npz", "a.mat"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04" + b"x" * 200])
def test_foreign_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArgumentError, match=f"{name}' cannot be read"):
        datasets.load(tmp_path / name)


def _damage(path, write):
    """Truncates the file that ``write`` makes, and flips bytes in its middle."""
    write(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    yield whole[:middle]
    yield whole[:middle] + bytes(b ^ 255 for b in whole[middle : middle + 9]) + whole[middle + 9 :]


def test_damaged_files_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 40))
    y = np.arange(50) % 2
    writers = {
        "a.npz": lambda path: np.savez_compressed(path, x=noise, y=y),
        "a.mat": lambda path: scipy.io.savemat(path, {"F": noise, "y": y}, do_compression=True),
    }
    for name, write in writers.items():
        for content in _damage(tmp_path / name, write):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ArgumentError, match=f"{name}' cannot be read"):
                datasets.load(tmp_path / name)


def test_lone_array_under_the_name_of_an_npz_is_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(ArgumentError, match="cannot be read"):
        datasets.load(tmp_path / "a.npz")


class _Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was executed",)


def test_pickled_objects_are_never_executed(tmp_path):
    objects = np.array([_Bomb(), _Bomb()], dtype=object)
    path = _write(tmp_path / "a.npz", x=objects, y=np.arange(2))
    with pytest.raises(ArgumentError, match="cannot be read"):
        datasets.load(path)


@pytest.mark.parametrize(
    "y",
    [
        np.arange(9) % 2,  # one label short
        np.eye(10)[np.arange(10) % 2],  # one-hot
        np.array(["a", "b"] * 5),
        np.linspace(0, 1, 10),
        np.array([np.nan, 1.0] * 5),
        np.array([-1, 1] * 5),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, y):
    with pytest.raises(ArgumentError, match="`y` of"):
        datasets.load(_write(tmp_path / "a.npz", x=np.eye(10), y=y))


@pytest.mark.parametrize("x", [np.arange(10), np.empty((10, 0)), np.array([["a"]] * 10)])
def test_inputs_that_are_none_are_refused(tmp_path, x):
    with pytest.raises(ArgumentError, match="`x` of"):
        datasets.load(_write(tmp_path / "a.npz", x=x, y=np.arange(10) % 2))


def test_parts_of_different_shape_are_refused(tmp_path):
    y = np.arange(4)
    path = _write(
        tmp_path / "a.npz", x_train=np.eye(4), y_train=y, x_test=np.ones((4, 3)), y_test=y
    )
    with pytest.raises(ArgumentError, match=r"\(4, 4\) and \(4, 3\)"):
        datasets.load(path)


def test_class_too_small_to_be_split_is_named(tmp_path):
    path = _write(tmp_path / "a.npz", x=np.eye(9), y=np.array([0, 1, 0, 1, 0, 1, 0, 1, 7]))
    with pytest.raises(ArgumentError, match="1 sample of class 7"):
        datasets.load(path)


def test_part_too_small_for_all_classes_is_refused(tmp_path):
    path = _write(tmp_path / "a.npz", x=np.eye(8), y=np.arange(8) % 4)
    with pytest.raises(ArgumentError, match="room for all 4 classes"):
        datasets.load(path, test_fraction=0.25)  # 2 samples for 4 classes


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), True, "0.2", None])
def test_test_fraction_is_checked(fraction):
    with pytest.raises(ArgumentError, match="test_fraction"):
        datasets.load("szt", test_fraction=fraction)


@pytest.mark.parametrize("seed", [-1, 0.5, 2**32])
def test_seed_is_checked(seed):
    with pytest.raises(ArgumentError, match="seed"):
        datasets.load("szt", seed=seed)


def test_import_is_light():
    code = (
        "import sys, ib_keras.datasets as d; d.load('szt');"
        "print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
