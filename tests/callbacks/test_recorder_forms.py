"""Records of inputs in any form are equal to the bit; rows that change do not spoil a record."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.layers import GaussianSampling

N = 70
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype("f4")
Y = RNG.integers(0, 3, N)
NOISE = tf.random.Generator.from_seed(0)  # which goes on where the pass before has ended
slices = tf.data.Dataset.from_tensor_slices
L = keras.layers


class Pages(keras.utils.PyDataset):
    """Batches of rows that ``fit`` shuffles after each epoch."""

    def __init__(self, x=X, shuffles=False, **kwargs):
        super().__init__(**kwargs)
        self.x, self.order, self.shuffles = x, np.arange(N), shuffles

    def __len__(self):
        return 7

    def __getitem__(self, i):
        rows = self.order[i * 10 : i * 10 + 10]
        return self.x[rows], Y[rows]

    def on_epoch_end(self):
        if self.shuffles:
            self.order = self.order[::-1]


def batches(x=X, y=Y, size=9):
    for i in range(0, N, size):
        yield x[i : i + size], y[i : i + size]


def files(path):
    """The content of every file of a record, by its name."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def record(tmp_path):
    """Record the untrained network, with noise, propagations and random numbers of its own."""
    count = iter(range(1000))

    def record(model, inputs, targets=None, **settings):
        path = tmp_path / str(next(count))
        settings = {"run": "r", "conditional_inputs": 4, "propagations": 2} | settings
        recorder = ib.Recorder(path, inputs, targets, batch_size=16, **settings)
        recorder.replay(model, [0], lambda epoch: None)
        ib.ActivationStore(path).verify()
        return files(path)

    return record


@pytest.fixture(scope="module")
def noisy():
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    h = L.Dense(5, "tanh", name="first")(x)
    z = GaussianSampling(name="z")([L.Dense(2, name="mean")(h), L.Dense(2, name="log_var")(h)])
    model = keras.Model(x, L.Dense(3, name="output")(z))
    return ib.instrument(model, {"log_var": 0.1, "output": 0.1}, seed=0)


FORMS = {
    "tensors": lambda x, y: (tf.constant(x), tf.constant(y)),
    "pandas": lambda x, y: (pd.DataFrame(x), pd.Series(y)),
    "names of classes": lambda x, y: (x, y),
    "one-hot": lambda x, y: (x, np.eye(3)[y]),
    "rows": lambda x, y: (slices((x, y)), None),
    "batches": lambda x, y: (slices((x, y)).batch(9), None),
    "equal batches": lambda x, y: (slices((x, y)).batch(7, drop_remainder=True), None),
    "large batches": lambda x, y: (slices((x, y)).batch(64), None),
    "weights": lambda x, y: (slices((x, y, np.ones(N))).batch(9), None),
    "other targets": lambda x, y: (slices((x, 0 * y)).batch(9), y),
    "without targets": lambda x, y: (slices(x), y),
    "one-hot targets": lambda x, y: (slices((x, np.eye(3)[y])).batch(9), None),
    "PyDataset": lambda x, y: (Pages(x), None),
    "function": lambda x, y: (lambda: batches(x, y), None),
    "iterator": lambda x, y: (batches(x, y), None),
    "generated": lambda x, y: (
        tf.data.Dataset.from_generator(
            lambda: batches(x, y), output_types=(x.dtype.name, "int64")
        ),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_record(noisy, record, form):
    expected = record(noisy, X, Y)
    assert {"inputs-0.npy", "targets.npy"} < set(expected)
    assert any("propagated.npy" in name for name in expected)
    assert record(noisy, *FORMS[form](X, Y)) == expected


@pytest.mark.parametrize("dtype", ["f2", "f8", "u1", "?", "i8"])
def test_every_dtype_gives_the_same_record(noisy, record, dtype):
    x = (X * 3).astype(dtype)
    expected = record(noisy, x, Y)
    for form in ("tensors", "pandas", "rows", "batches", "iterator"):
        assert record(noisy, *FORMS[form](x, Y)) == expected
    # The model gets what `predict` gives it.
    got = noisy.capture(slices(x), layers="first")["first"]
    first = keras.Model(noisy.input, noisy.get_layer("first").output)
    np.testing.assert_allclose(got, first.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def two_inputs(named):
    a, b = keras.Input((4,), name="zeta"), keras.Input((2,), name="alpha")
    h = L.Concatenate()([L.Dense(3, name="da")(a), L.Dense(2, name="db")(b)])
    return keras.Model({"zeta": a, "alpha": b} if named else [a, b], L.Dense(2, name="o")(h))


class OfDict(keras.Model):
    """Is built by its first call."""

    def __init__(self):
        super().__init__()
        self.da, self.db, self.o = (L.Dense(3, name=name) for name in ("da", "db", "o"))

    def call(self, inputs):
        return self.o(tf.concat([self.da(inputs["zeta"]), self.db(inputs["alpha"])], -1))


class OfTuple(OfDict):
    def call(self, inputs):
        return super().call(dict(zip(("zeta", "alpha"), inputs, strict=True)))


@pytest.mark.parametrize("make", [lambda: two_inputs(True), lambda: two_inputs(False), OfDict])
def test_inputs_by_name(record, make):
    model, x = make(), {"zeta": X, "alpha": X[:, :2] * 2}
    expected = record(model, x, Y)
    turned = dict(reversed(x.items()))
    for inputs, targets in (
        (turned, Y),
        ({"zeta": tf.constant(x["zeta"]), "alpha": pd.DataFrame(x["alpha"])}, Y),
        (slices((x, Y)), None),
        (slices((turned, Y)).batch(9), None),
        (lambda: (({k: v[i : i + 9] for k, v in x.items()}, Y[i : i + 9]) for i in range(0, N, 9)),
         None),
    ):  # fmt: skip
        assert record(model, inputs, targets) == expected
    with pytest.raises(ArgumentError, match=r"`inputs` do not fit.*names \['alpha', 'zeta'\]"):
        record(two_inputs(True), {"zeta": X, "beta": X[:, :2]}, Y)


@pytest.mark.parametrize("make", [lambda: two_inputs(False), OfTuple])
def test_inputs_in_a_list(record, make):
    model, x = make(), [X, X[:, :2] * 2]
    expected = record(model, x, Y)
    for inputs, targets in (
        (tuple(x), Y),
        (slices((tuple(x), Y)), None),
        (slices((tuple(x), Y)).batch(9), None),
        (slices((tuple(x),)).batch(9), Y),
        (lambda: ((tuple(part[i] for part in x), Y[i]) for i in range(N)), None),
    ):
        assert record(model, inputs, targets) == expected


def test_targets_of_a_model_with_several_outputs(noisy, record):
    targets = {"class": Y, "angle": X[:, 0], "place": X[:, :2]}
    expected = record(noisy, X, targets)
    assert {"targets.npy", "targets-1.npy", "targets-2.npy"} < set(expected)
    assert record(noisy, slices((X, targets)).batch(9)) == expected
    listed = list(targets.values())
    assert record(noisy, slices((X, tuple(listed)))) == record(noisy, X, listed)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("built", [True, False])
def test_texts(record, shape, built):
    words = np.array(["ein Haus", "der Fluß", "x y z", "Haus"] * 5)
    vectors = L.TextVectorization(20, output_sequence_length=5)
    vectors.adapt(words)
    layers = [vectors, L.Embedding(20, 4, mask_zero=True, name="embedding"), L.LSTM(3, name="lstm")]
    model = keras.Sequential([keras.Input(shape, dtype="string"), *layers] if built else layers)
    words, y = words.reshape(20, *shape), np.arange(20) % 2
    record(model, slices((words, y)).batch(7))  # which builds the model
    expected = record(model, words, y)
    for inputs, targets in (
        (words.tolist(), y),
        (words.astype(object), y),
        (tf.constant(words), y),
        (np.char.encode(words, "utf-8"), y),
        (slices((words, y)), None),
        (slices((words, y)).batch(7), None),
        (iter([(words[:3], y[:3]), (words[3:], y[3:])]), None),
    ):
        assert record(model, inputs, targets) == expected
    with pytest.raises(ArgumentError, match=r"do not fit.*dtypes \['string'\].*float32"):
        ib.instrument(model).capture(np.zeros((9, *shape), "f4"))


def test_scalars_and_images_without_an_axis_of_one():
    scalars = ib.instrument(keras.Sequential([keras.Input((1,)), L.Dense(2, name="a")]))
    expected = scalars.capture(X[:, :1])["a"]
    for form in (X[:, 0], slices(X[:, 0]), slices(X[:, 0]).batch(1), slices(X[:, 0]).batch(N - 1)):
        np.testing.assert_array_equal(scalars.capture(form)["a"], expected)
    images = ib.instrument(keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(2, 3, name="a")]))
    pixels = RNG.normal(size=(9, 4, 4)).astype("f4")
    expected = images.capture(pixels[..., None])["a"]
    for form in (pixels, slices(pixels), slices(pixels).batch(4)):
        np.testing.assert_array_equal(images.capture(form)["a"], expected)


@pytest.mark.parametrize("n", [5, 32, 70])
def test_a_model_of_one_batch_size(n):
    fixed = ib.instrument(keras.Sequential([keras.Input(batch_shape=(32, 4)), L.Dense(3)]))
    free = ib.instrument(keras.Sequential([keras.Input((4,)), L.Dense(3)]))
    free.model.set_weights(fixed.model.get_weights())
    (got,), (expected,) = (m.capture(slices(X[:n])).values() for m in (fixed, free))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_texts_are_no_numbers(noisy):
    with pytest.raises(ArgumentError, match="do not fit.*dtypes.*float32.*str"):
        noisy.capture(X.astype(str))


def trained(epochs=2, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(5, "tanh", name="first"), L.Dense(3, "softmax", name="output")]
    )
    noisy = ib.instrument(model, 0.1, seed=0)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    return noisy


def test_the_training_is_the_same_beside_a_data_set(tmp_path):
    weights = []
    for i, inputs in enumerate((None, slices((X, Y)).batch(9), lambda: batches(), batches())):
        model = trained()
        recorder = [] if inputs is None else [ib.Recorder(tmp_path / str(i), inputs, epochs=1)]
        data = slices((X, Y)).shuffle(N, seed=0).batch(9)
        model.fit(data, epochs=2, verbose=0, callbacks=recorder)
        weights.append(model.model.get_weights())
    for other in weights[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(weights[0], other, strict=True))


@pytest.mark.parametrize("keep", ["activations", "estimates"])
def test_the_data_of_fit_may_be_recorded(tmp_path, keep):
    data = slices((X, Y)).batch(9).cache()
    recorder = ib.Recorder(tmp_path / "r", data, keep=keep, estimators=["ebab"], epochs=1)
    trained().fit(data.shuffle(9), validation_data=data, epochs=2, verbose=0, callbacks=[recorder])
    arrays = ib.Recorder(tmp_path / "a", X, Y, keep=keep, estimators=["ebab"], epochs=1, run="r")
    trained().fit(data.shuffle(9), validation_data=data, epochs=2, verbose=0, callbacks=[arrays])
    for path in ("r", "a"):
        assert (tmp_path / path / "manifest.json").exists()
    if keep == "estimates":
        tables = [ib.load(tmp_path / name) for name in ("r", "a")]
        assert tables[0]["epoch"].unique().tolist() == tables[1]["epoch"].unique().tolist()
        assert set(tables[0]["quantity"]) == {"I(X;T)", "I(T;Y)"}


@pytest.mark.parametrize("data", [
    slices((X, Y)).shuffle(N).batch(9),
    slices((X, Y)).batch(9).cache().shuffle(9),
    slices((X, Y)).map(lambda x, y: (x + NOISE.normal((4,)), y)).batch(9),
])  # fmt: skip
def test_a_shuffled_data_set_is_refused_before_the_training(tmp_path, data):
    model = trained()
    before = model.model.get_weights()
    with pytest.raises(ArgumentError, match="changes from pass to pass"):
        model.fit(data, epochs=2, verbose=0, callbacks=[ib.Recorder(tmp_path / "r", data)])
    assert list(tmp_path.iterdir()) == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.model.get_weights(), strict=True))


@pytest.mark.parametrize("keep", ["activations", "estimates"])
def test_pages_that_fit_shuffles_are_refused_after_the_first_epoch(tmp_path, keep):
    model, data = trained(), Pages(shuffles=True)
    recorder = ib.Recorder(tmp_path / "r", data, keep=keep, estimators=["ebab"], epochs=1)
    with pytest.raises(ArgumentError, match="PyDataset of its own"):
        model.fit(data, epochs=4, verbose=0, callbacks=[recorder])
    # The record of the untrained network is whole, and nothing of the next epoch is there.
    recorder.on_train_end()
    assert not [path for path in (tmp_path / "r").iterdir() if ".tmp" in path.name]
    if keep == "activations":
        store = ib.ActivationStore(tmp_path / "r")
        store.verify()
        assert store.epochs == [0] and store.missing == []
        # Keras itself has ended an epoch of the data before, to build the model.
        rows = [int((X == x).all(axis=1).argmax()) for x in store.inputs()]
        assert sorted(rows) == list(range(N)) and store.targets().tolist() == Y[rows].tolist()
    else:
        assert ib.load(tmp_path / "r")["epoch"].unique().tolist() == [0]
    # The model is whole: it can train on, also with a record of its own data.
    assert not [layer for layer in model.model.layers if "call" in layer.__dict__]
    model.fit(data, epochs=1, verbose=0, callbacks=[ib.Recorder(tmp_path / "s", Pages())])


def test_a_record_is_resumed_with_another_form(tmp_path):
    model = trained()
    data = slices((X, Y)).batch(9)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[ib.Recorder(tmp_path / "r", X, Y, epochs=1)])
    model.fit(
        X, Y, epochs=2, initial_epoch=1, verbose=0,
        callbacks=[ib.Recorder(tmp_path / "r", data, epochs=1)],
    )  # fmt: skip
    store = ib.ActivationStore(tmp_path / "r")
    assert store.epochs == [0, 1, 2]
    store.verify()
    with pytest.raises(ArgumentError, match="other data.*data different"):
        model.fit(
            X, Y, epochs=3, initial_epoch=2, verbose=0,
            callbacks=[ib.Recorder(tmp_path / "r", data.take(3))],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (slices((X, Y)).batch(9).repeat(), None, "no end"),
        (slices((X, X[:, :, None])).batch(9), None, "neither labels nor numbers"),
        (iter([(X[:9], Y[:9]), (X[9:],)]), None, "Some elements"),
        (slices(X[:, :3]).batch(9), Y, r"shapes \[\(None, 4\)\].*\(70, 3\)"),
        (slices(X).batch(9), Y[:9], "`targets`.*length"),
        (slices((X, np.where(X[:, 0] > 1, np.nan, X[:, 0]))).batch(9), None, "NaN"),
        (slices(((X, X), Y)).batch(9), None, "do not fit the model"),
        (slices((X, Y)).map(lambda x, y: (x, tf.zeros(()) / 0)).batch(9), None, "NaN"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_the_training(tmp_path, inputs, targets, message):
    with pytest.raises(ArgumentError, match=message):
        recorder = ib.Recorder(tmp_path / "r", inputs, targets)
        trained().fit(X, Y, verbose=0, callbacks=[recorder])
    assert list(tmp_path.iterdir()) == []
