"""Inputs in every form give the record of arrays, to the bit; others are refused with a way out."""

import itertools
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras import examples
from ib_keras.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype("float32")
X[50] = X[3]  # equal inputs have equal codes
Y = RNG.integers(0, 3, 90)
Y[50] = Y[3]


def network(noise_std=0.1):
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(3, "tanh", name="hidden")
    top = keras.layers.Dense(3, "softmax", name="top")
    model = keras.Sequential([keras.Input((4,)), hidden, top], name="network")
    return ib.instrument(model, noise_std, seed=0)


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 9

    def __getitem__(self, i):
        return X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]


class Loader:
    """An iterable that begins anew, as a DataLoader of PyTorch."""

    def __iter__(self):
        return batches()


def batches(x=X, y=Y, size=16):
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts)


FORMS = {
    "tensor": lambda: (tf.constant(X), tf.constant(Y)),
    "frame": lambda: (pd.DataFrame(X), pd.Series(Y)),
    "rows": lambda: (dataset(X, Y), None),
    "batches": lambda: (dataset(X, Y).batch(32), None),
    "small batches with weights": lambda: (dataset(X, Y, np.ones(90)).batch(7), None),
    "labels beside": lambda: (tf.data.Dataset.from_tensor_slices(X).batch(8), Y),
    "one-hot": lambda: (dataset(X, np.eye(3)[Y]).batch(45), None),
    "no shapes": lambda: (
        tf.data.Dataset.from_generator(batches, output_types=(tf.float32, tf.int64)), None,
    ),
    "sequence": lambda: (Sequence(), None),
    "loader": lambda: (Loader(), None),
    "function": lambda: (batches, None),
    "generator": lambda: (batches(), None),
    "generator of rows": lambda: (zip(X, Y, strict=True), None),
}  # fmt: skip


def recorded(folder, inputs, targets, **arguments):
    recorder = ib.Recorder(
        folder, inputs, targets, epochs=[0], run="run", draws=2, conditional_inputs=4,
        propagations=3, batch_size=32, **arguments,
    )  # fmt: skip
    recorder.replay(network(), [0], lambda epoch: None)
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix in (".npy", ".json")
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("arrays") / "store", X, Y)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_record_of_arrays(form, expected, tmp_path):
    inputs, targets = FORMS[form]()
    found = recorded(tmp_path / "store", inputs, targets)
    assert found.keys() == expected.keys()
    differing = [str(path) for path in found if found[path] != expected[path]]
    if form == "one-hot":  # its classes have other names only if a class is missing
        assert set(Y) == {0, 1, 2}
    assert differing == []


def test_each_way_of_use_takes_a_data_set():
    model, rows = network(0.0), dataset(X, Y).batch(20)
    whole = model.capture(X, seed=1)
    for name, values in model.capture(rows, seed=1).items():
        np.testing.assert_array_equal(values, whole[name])
    columns = ["layer", "quantity", "value", "flags"]
    table = ib.estimate(model, ["ebab", "gaussian"], inputs=rows)[columns]
    assert table.equals(ib.estimate(model, ["ebab", "gaussian"], inputs=X, targets=Y)[columns])
    noisy = network(0.3)
    calibration, other = (
        ib.calibrate("ksg", noisy.capture(X, seed=0)["hidden"], [0.5, 1.0], inputs=x, repeats=2)
        for x in (X, dataset(X).batch(9))
    )
    assert calibration.frame.equals(other.frame)


def test_inputs_by_name():
    """A dict is assigned by the names of the inputs, whatever its order is."""
    first, second = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    hidden = keras.layers.Dense(3, name="hidden")(keras.layers.Concatenate()([first, second]))
    model = ib.instrument(keras.Model([first, second], hidden))
    b, a = X[:, :2], X[:, 2:]
    expected = model.capture([b, a])["hidden"]
    rows = tf.data.Dataset.from_tensor_slices({"a": a, "b": b}).batch(16)
    for inputs in ({"a": a, "b": b}, {"b": b, "a": a}, (b, a), rows):
        np.testing.assert_array_equal(model.capture(inputs)["hidden"], expected)
    with pytest.raises(ArgumentError, match="do not fit the model.*'b', 'a'"):
        model.capture({"a": a, "c": b})


def test_texts():
    texts = np.array([f"word{'s' * (i % 5)} {i % 7}" for i in range(40)])
    layer = keras.layers.TextVectorization(output_sequence_length=2)
    layer.adapt(texts)
    model = ib.instrument(
        keras.Sequential([
            keras.Input((), dtype="string"), layer, keras.layers.Embedding(20, 3, name="words"),
        ])
    )  # fmt: skip
    expected = model.capture(texts)["words"]
    rows = tf.data.Dataset.from_tensor_slices(texts)
    for inputs in (texts.astype(object), rows, rows.batch(7), (t for t in texts.tolist())):
        np.testing.assert_array_equal(model.capture(inputs)["words"], expected)


@pytest.mark.parametrize("kind", ["uint8", "int32", "float64", "float16", "bool"])
def test_dtypes_are_kept_in_the_record(kind, tmp_path):
    x = (X > 0).astype(kind) if kind == "bool" else (10 * X).astype(kind)
    rows = examples.of(dataset(x).batch(11))
    rows.expect([(4,)])
    (array,) = rows.arrays()
    assert array.dtype == kind and np.array_equal(array, x)
    assert rows.checksums == examples.of(x).checksums
    np.testing.assert_array_equal(rows.codes(), examples.of(x).codes())


class Shuffling(Sequence):
    def __init__(self):
        super().__init__()
        self.order = np.arange(9)

    def __getitem__(self, i):
        return super().__getitem__(self.order[i])

    def on_epoch_end(self):
        self.order = np.roll(self.order, 1)


def test_a_shuffled_data_set_is_refused_before_the_training(tmp_path):
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [w.numpy() for w in model.weights]
    recorder = ib.Recorder(tmp_path / "store", dataset(X, Y).shuffle(90).batch(9))
    with pytest.raises(ArgumentError, match="changes from pass to pass.*without `shuffle`"):
        model.fit(X, Y, callbacks=[recorder], verbose=0)
    assert not (tmp_path / "store").exists()
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights, strict=True))


def test_rows_that_change_later_are_refused_with_nothing_half_written(tmp_path):
    rows = Shuffling()
    recorder = ib.Recorder(tmp_path / "store", rows, epochs=1)

    def restore(epoch):
        if epoch == 2:
            rows.on_epoch_end()

    with pytest.raises(ArgumentError, match="changes from pass to pass"):
        recorder.replay(network(), [0, 1, 2], restore)
    store = ib.ActivationStore(tmp_path / "store")
    store.verify()
    assert store.epochs == [0, 1]


def forever(shuffled):
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(90) if shuffled else np.arange(90)
        yield from batches(X[order], Y[order], 30)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda: dataset(X, Y).repeat(), "has no end.*take"),
        (lambda: forever(shuffled=False), "no end.*islice"),
        (lambda: dataset(X).batch(9).take(0), "has no rows"),
        (lambda: iter([]), "has no rows"),
        (lambda: iter([(X[:5], Y[:4])]), "different lengths"),
        (lambda: iter([(X[:5], Y[:5]), (X[:5, :3], Y[:5])]), "differ in shape"),
        (lambda: iter([(X[:5], Y[:5], Y[:5], Y[:5])]), "not an example"),
        (lambda: dataset(tf.ragged.constant([[1.0], [2.0, 3.0]])), "ragged or sparse"),
        (lambda: dataset(tf.sparse.from_dense(X)), "ragged or sparse"),
        (lambda: dataset(X[:, :3]).batch(9), r"do not fit the model"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_so(inputs, message):
    with pytest.raises(ArgumentError, match=message):
        network().capture(inputs())


def test_targets_of_some_rows_only():
    rows = itertools.chain(batches(), [(X[:5],)])
    with pytest.raises(ArgumentError, match="targets of all 95 rows"):
        ib.estimate(network(), "ebab", inputs=rows)


def test_an_endless_shuffled_generator_ends(monkeypatch):
    monkeypatch.setattr("ib_keras.examples.first_pass._MOST_ROWS", 50_000)
    with pytest.raises(ArgumentError, match="seems to have no end.*islice"):
        network().capture(forever(shuffled=True))


def test_values_that_are_not_finite_are_treated_as_those_of_arrays():
    x = X.copy()
    x[7, 2] = np.nan
    model = network(0.0)
    np.testing.assert_array_equal(
        model.capture(dataset(x).batch(30))["hidden"], model.capture(x)["hidden"]
    )
