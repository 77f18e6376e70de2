"""Inputs in every form that Keras accepts are the same rows; what has no rows is refused."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from ib_keras import examples
from ib_keras.arrays.structures import pack
from ib_keras.errors import ArgumentError
from ib_keras.examples import first_pass
from ib_keras.examples.rows import fits

RNG = np.random.default_rng(0)
N = 70
X = RNG.normal(size=(N, 4)).astype("f4")
Y = RNG.integers(0, 3, N)
slices = tf.data.Dataset.from_tensor_slices


def inputs_of(rows):
    """The inputs in their structure."""
    return pack(rows.arrays(), rows.structure)


class Pages(keras.utils.PyDataset):
    """Batches of rows, in an order that may change after each epoch."""

    def __init__(self, size=9, shuffles=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.order = size, np.arange(N)
        self.rng = np.random.default_rng(0) if shuffles else None

    def __len__(self):
        return -(-N // self.size)

    def __getitem__(self, i):
        rows = self.order[i * self.size : (i + 1) * self.size]
        return X[rows], Y[rows]

    def on_epoch_end(self):
        if self.rng is not None:
            self.rng.shuffle(self.order)


class Counted(keras.utils.PyDataset):
    """Has the property of Keras 3 instead of a length."""

    num_batches = 7

    def __getitem__(self, i):
        return X[i * 10 : i * 10 + 10], Y[i * 10 : i * 10 + 10]


class Endless(keras.utils.PyDataset):
    def __getitem__(self, i):
        return X, Y


class Loader:
    """Iterates anew over lists of two arrays, as a DataLoader of PyTorch."""

    def __iter__(self):
        for i in range(0, N, 8):
            yield [X[i : i + 8], Y[i : i + 8]]


class Indexed:
    """Has single rows by index, as a Dataset of PyTorch, and does not say where they end."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i % N], int(Y[i % N])


class AsKerasOnce(Pages):
    """Keras's iterators of images have a length, and an iterator of themselves without an end."""

    def __next__(self):
        raise AssertionError("not by its iterator")


def rows():
    return zip(X, Y, strict=True)


def batches():
    for i in range(0, N, 11):
        yield X[i : i + 11], Y[i : i + 11]


def from_generator(function, *shapes):
    types = ("float32", "int64")
    if not shapes:
        return tf.data.Dataset.from_generator(function, output_types=types)
    signature = tuple(map(tf.TensorSpec, shapes, types))
    return tf.data.Dataset.from_generator(function, output_signature=signature)


# Each with targets; functions, because an iterator can be read once.
DATA_SETS = {
    "rows": lambda: slices((X, Y)),
    "batches": lambda: slices((X, Y)).batch(9),
    "batches of one": lambda: slices((X, Y)).batch(1),
    "equal batches": lambda: slices((X, Y)).batch(7, drop_remainder=True),
    "one batch": lambda: slices((X, Y)).batch(200),
    "weights": lambda: slices((X, Y, np.ones(N))).batch(9),
    "cached": lambda: slices((X, Y)).shuffle(1).cache().batch(9).prefetch(2),
    "shuffled once": lambda: slices((X, Y)).batch(N).shuffle(9, reshuffle_each_iteration=False),
    "generated rows": lambda: from_generator(rows),
    "generated batches": lambda: from_generator(batches),
    "rows of known shape": lambda: from_generator(rows, (4,), ()),
    "batches of known shape": lambda: from_generator(batches, (None, 4), (None,)),
    "PyDataset": lambda: Pages(),
    "PyDataset of rows": lambda: Pages(size=1),
    "num_batches": Counted,
    "iterator with a length": AsKerasOnce,
    "function": lambda: rows,
    "function of batches": lambda: batches,
    "iterator": rows,
    "iterator of batches": batches,
    "iterator of TensorFlow": lambda: iter(slices((X, Y)).batch(9)),
    "iterator of NumPy": lambda: slices((X, Y)).batch(9).as_numpy_iterator(),
    "loader": Loader,
    "indexed": Indexed,
}


@pytest.mark.parametrize("form", DATA_SETS)
def test_a_data_set_has_the_rows_of_arrays(form):
    arrays, found = examples.of(X, Y), examples.of(DATA_SETS[form]())
    assert examples.is_data_set(found) and not examples.is_data_set(arrays)
    assert (found.n, found.shapes, found.dtypes) == (arrays.n, arrays.shapes, arrays.dtypes)
    assert found.checksums == arrays.checksums
    assert found.codes().tolist() == arrays.codes().tolist()
    assert found.targets.dtype == Y.dtype and found.targets.tolist() == Y.tolist()
    for size in (1, 16, N, 1000):
        sizes = [len(batch[0]) for batch in found.batches(size)]
        assert sizes == [len(batch[0]) for batch in arrays.batches(size)]
    np.testing.assert_array_equal(inputs_of(found), X)
    chosen = np.array([0, 3, 64, 69])
    np.testing.assert_array_equal(inputs_of(found.take(chosen)), X[chosen])
    assert found.take(chosen) is found.take(chosen)


@pytest.mark.parametrize("dtype", ["f2", "f8", "u1", "?", "i4", "<U3", "O"])
def test_dtypes_are_kept(dtype):
    values = (X * 3).astype(int).astype(dtype) if dtype != "O" else (X * 9).astype(int).astype(str)
    if dtype == "O":
        values = values.astype(object)
    arrays = examples.of(values)
    for source in (
        slices(values),
        slices(values).batch(9),
        lambda: iter(values[:, None]),
        iter([values[:3], values[3:]]),
        tf.constant(values),
        pd.DataFrame(values),
    ):
        found = examples.of(source)
        if examples.is_data_set(source):
            found.expect([(4,)])
        np.testing.assert_array_equal(inputs_of(found).reshape(N, 4), inputs_of(arrays))
        assert found.dtypes == arrays.dtypes
    assert arrays.dtypes[0].kind == np.dtype(dtype).kind.replace("O", "U")


def test_texts_in_any_type():
    words = np.array(["ein Haus", "der Fluß", "x"] * 4)
    expected = examples.of(words)
    for form in (
        words.astype(object), words.tolist(), pd.Series(words), tf.constant(words),
        np.char.encode(words, "utf-8"), words.astype(np.dtypes.StringDType()),
        slices(words), slices(words).batch(5), iter([words[:1], words[1:]]),
    ):  # fmt: skip
        found = examples.of(form)
        if examples.is_data_set(form):
            found.expect([()])
        assert found.checksums == expected.checksums and found.dtypes == expected.dtypes
        assert inputs_of(found).tolist() == words.tolist()


def test_floats_of_other_libraries_are_float32():
    found = examples.of(tf.cast(X, "bfloat16"))
    assert found.dtypes == [np.dtype("f4")]
    np.testing.assert_allclose(inputs_of(found), X, rtol=0.01)


def test_nan_is_a_value():
    x = X.copy()
    x[3, 1] = np.nan
    assert examples.of(slices(x).batch(9)).checksums == examples.of(x).checksums


@pytest.mark.parametrize("size", [None, 9])
def test_several_inputs(size):
    named = {"zeta": X, "alpha": X[:, :2] * 2}
    for parts, arrays in ((named, named), (tuple(named.values()), list(named.values()))):
        data = slices((parts, Y))
        found = examples.of(data if size is None else data.batch(size))
        expected = examples.of(arrays)
        assert found.structure == expected.structure and found.checksums == expected.checksums
        read = inputs_of(found)
        assert isinstance(read, dict) == isinstance(arrays, dict) and found.n == N
    # The order of a dict says nothing.
    other = {"alpha": named["alpha"], "zeta": named["zeta"]}
    assert examples.of(other).checksums == examples.of(named).checksums
    assert examples.of(other).structure == examples.of(named).structure


def test_several_targets():
    angle = X[:, 0]
    for targets in ({"class": Y, "angle": angle}, (Y, angle)):
        for data in (slices((X, targets)), slices((X, targets)).batch(9)):
            found = examples.of(data).targets
            pairs = zip(
                *(t.values() if isinstance(t, dict) else t for t in (found, targets)), strict=True
            )
            assert isinstance(found, dict) == isinstance(targets, dict)
            assert all((a == b).all() for a, b in pairs)


def test_single_rows_are_told_from_batches_by_the_model():
    def shapes(data, *rows):
        found = examples.of(data)
        found.expect(rows)
        return found.n, *found.shapes

    # Without a model, a vector without a target is a row; matrices of equal length are batches.
    assert examples.of(slices(X)).n == N
    assert examples.of(slices(X[:, :, None])).n == 4 * N
    assert shapes(slices(X), (4,)) == (N, (4,))
    assert shapes(slices(X).batch(9), (4,)) == (N, (4,))
    assert shapes(slices(X), (None,)) == (N, (4,))
    # Keras takes scalars for rows of one value.
    column = X[:, 0]
    for data in (slices(column), slices(column).batch(9), slices(column).batch(N - 1)):
        assert shapes(data, (1,)) == (N, ())
    assert shapes(slices(X[:, :1]), (1,)) == (N, (1,))
    assert shapes(slices(X[:, :1]).batch(1), (1,)) == (N, (1,))
    images = np.zeros((N, 4, 4), "f4")
    assert shapes(slices(images), (4, 4, 1)) == (N, (4, 4))
    assert shapes(slices(images).batch(4), (4, 4, 1)) == (N, (4, 4))
    # A wrong shape is still a row, so that the error names it.
    assert shapes(slices(X[:, :3]), (4,)) == (N, (3,))


@pytest.mark.parametrize(
    ("shape", "row", "fit", "exact"),
    [
        ((4,), (4,), True, True),
        ((4,), (None,), True, True),
        ((4,), (5,), False, False),
        ((), (1,), True, False),
        ((1,), (), True, False),
        ((4,), (4, 1), True, False),
        ((4,), (4, 2), False, False),
        ((4, 4, 1), (4, 4), True, False),
        ((4, 4), (4,), False, False),
        ((None,), (1,), False, False),
        ((), (4, 1), False, False),
    ],
)
def test_fits(shape, row, fit, exact):
    assert fits(shape, row) is fit
    assert fits(shape, row, exact=True) is exact


def endless(change=0):
    for epoch in itertools.count():
        for i in range(0, N, 7):
            yield X[i : i + 7] + np.float32(epoch * change), Y[i : i + 7]


REFUSED = {
    "repeated": (lambda: slices((X, Y)).batch(9).repeat(), "has no end.*take"),
    "filtered": (
        lambda: slices((X, Y)).batch(9).repeat().filter(lambda x, y: True),
        "seems to have no end.*elements that repeat",
    ),
    "PyDataset": (Endless, "has no end.*Endless without a length"),
    "generator": (endless, "seems to have no end.*80 elements that repeat after 10"),
    "function": (lambda: endless, "seems to have no end"),
    "not repeated": (lambda: endless(1), "more than 1,000 rows"),
    "bytes": (lambda: (np.zeros((1, 10_000)) for _ in itertools.count()), "more than 0 GB"),
    "empty": (lambda: slices((X[:0], Y[:0])).batch(3), "has no rows"),
    "used": (lambda: iter(()), "has no rows.*read before"),
    "ragged": (lambda: slices(tf.ragged.constant([[1.0], [2.0, 3.0]])).batch(2), "to_tensor"),
    "sparse": (lambda: slices(tf.sparse.from_dense(X)).batch(2), "to_dense"),
    "shapes": (lambda: iter([X[:9], X[9:, :3]]), r"differ in shape.*\(4,\).*pad or crop.*\(3,\)"),
    "row shapes": (lambda: ((x[: 4 - i // 60], 0) for i, x in enumerate(X)), r"\(3,\)"),
    "dtypes": (lambda: iter([X[:9], X[9:].astype("f8")]), "float64"),
    "structure": (lambda: iter([{"a": X}, {"b": X}]), "differ in structure"),
    "padded": (
        lambda: slices(np.arange(1, 9)).map(tf.range).padded_batch(4),
        "differ in shape.*pad or crop",
    ),
    "unpadded": (
        lambda: slices((np.arange(1, 9), Y[:8])).map(lambda k, y: (tf.range(k), y)),
        "pad",
    ),
    "lengths": (lambda: iter([(X[:9], Y[:8])]), "different lengths"),
    "four": (lambda: iter([(X, Y, Y, Y)]), "not an example.*a tuple of 4"),
    "objects": (lambda: iter([np.array([[object()]])]), "not numeric"),
    "bytes that are no text": (lambda: iter([np.array([b"\xff\xfe"])]), "UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rows_is_refused(name, monkeypatch):
    if name == "not repeated":
        monkeypatch.setattr(first_pass, "_MOST_ROWS", 1000)
    if name == "bytes":
        monkeypatch.setattr(first_pass, "_MOST_COPIED", 1 << 20)
    make, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=f"`inputs`.*{message}"):
        found = examples.of(make())
        found.expect([(None,)])
        assert found.n


def test_an_error_of_the_users_code_is_passed_on():
    def fails():
        yield X
        raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="the file is gone"):
        assert examples.of(fails()).n
    data = tf.data.Dataset.from_generator(fails, output_types="float32")
    with pytest.raises(ArgumentError, match="`inputs` cannot be read.*the file is gone"):
        assert examples.of(data).n


@pytest.mark.parametrize(
    "inputs",
    [None, 3, "abc", Pages, scipy.sparse.eye(4), tf.ragged.constant([[1.0], [2.0, 3.0]]),
     tf.sparse.from_dense(X), [[1], [2, 3]], np.zeros((9, 2), "M8[s]"), X[:0], [], {}, {3: X},
     pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), {"a": X, "b": X[:9]}],
)  # fmt: skip
def test_what_is_no_array_is_refused(inputs):
    with pytest.raises(ArgumentError, match="`inputs`"):
        examples.of(inputs)


CHANGING = {
    "shuffled rows": lambda: slices((X, Y)).shuffle(N),
    "shuffled batches": lambda: slices((X, Y)).batch(9).shuffle(N),
    "shuffled after a cache": lambda: slices((X, Y)).cache().shuffle(N).batch(9),
    "augmented": lambda: augmented(tf.random.Generator.from_seed(0).normal).batch(9),
}


def augmented(noise):
    return slices((X, Y)).map(lambda x, y: (x + noise((4,)), y))


@pytest.mark.parametrize("name", CHANGING)
def test_rows_that_change_are_refused_at_the_start(name):
    with pytest.raises(ArgumentError, match="changes from pass to pass.*without `shuffle`"):
        assert examples.of(CHANGING[name]()).n


def test_augmentation_that_repeats_is_accepted():
    # TensorFlow's random operations begin anew in each pass once its global seed is set.
    keras.utils.set_random_seed(0)
    found = examples.of(augmented(tf.random.normal))
    assert found.n == N
    np.testing.assert_array_equal(*(np.concatenate([x for (x,) in found.batches(9)]) for _ in "ab"))


@pytest.mark.parametrize("change", ["a value", "fewer rows", "more rows", "other shapes"])
def test_rows_that_change_later_are_refused_at_the_end_of_the_pass(change):
    calls = itertools.count()

    def data():
        later = next(calls) > 1  # after the first pass and the beginning of the second
        x = X.copy()
        if later and change == "a value":
            x[-1, -1] += 1
        if later and change == "fewer rows":
            x = x[:-7]
        if later and change == "more rows":
            x = np.concatenate([x, x[:7]])
        if later and change == "other shapes":
            x = x[:, :3]
        return iter(np.split(x, len(x) // 7))

    found = examples.of(data)
    assert found.n == N
    read = []
    with pytest.raises(ArgumentError, match="changes from pass to pass|differ in shape"):
        for batch in found.batches(20):
            read.append(batch)
    # A pass never has more rows than the first.
    assert sum(len(batch[0]) for batch in read) <= N


def test_a_pages_order_after_fit_is_another():
    data = Pages(shuffles=True)
    found = examples.of(data)
    assert found.n == N
    data.on_epoch_end()
    with pytest.raises(ArgumentError, match="PyDataset of its own, not that of `fit`"):
        list(found.batches(16))


def test_an_iterator_is_read_once_and_its_copy_removed():
    found = examples.of(batches())
    assert found.n == N
    folder = found._first.copy._folder.name
    for _ in range(3):
        np.testing.assert_array_equal(inputs_of(found), X)
    del found
    import gc
    import os

    gc.collect()
    assert not os.path.exists(folder)


def test_targets_are_asked_for_only_when_needed():
    images = X.reshape(N, 2, 2)
    autoencoder = examples.of(slices((X, images)).batch(9))
    assert autoencoder.n == N
    with pytest.raises(ArgumentError, match=r"neither labels nor numbers.*lambda x, y: x"):
        assert autoencoder.targets
    some = examples.of(iter([(X[:9], Y[:9]), (X[9:],)]))
    assert some.n == N
    with pytest.raises(ArgumentError, match="Some elements.*70 rows.*9 rows"):
        assert some.targets
    # Those that are passed replace them, which are then not even kept.
    given = examples.of(slices((X, images)).batch(9), Y)
    assert given.targets is Y and given._first._targets == []
    assert examples.of(slices(X).batch(9)).targets is None
