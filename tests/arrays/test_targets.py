import numpy as np
import pandas as pd
import pytest

from ib_keras.arrays.labels import are_labels
from ib_keras.arrays.targets import as_target, as_targets
from ib_keras.errors import ArgumentError

RNG = np.random.default_rng(0)
N = 40
NUMBERS = RNG.normal(size=(N, 3))
WORDS = ["cat", "dog"] * (N // 2)
BITS = RNG.integers(0, 2, (N, 3))


def names(y, n=N):
    return [target.name for target in as_targets(y, n)]


def test_no_targets():
    assert as_targets(None, N) == ()


@pytest.mark.parametrize(
    "y", [WORDS, np.arange(N) % 3, np.eye(3)[np.arange(N) % 3], np.arange(N) % 2 == 0]
)
def test_classes_are_codes_with_names(y):
    (target,) = as_targets(y, N)
    assert target.name == "" and target.quantity == "I(T;Y)" and not target.is_continuous
    assert target.values.dtype == np.int64 and target.values.shape == (N,)
    assert len(target.class_names) == target.values.max() + 1


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_numbers_are_one_target(k, dtype):
    y = NUMBERS[:, :k].astype(dtype)
    for given in (y, y[:, 0]) if k == 1 else (y, pd.DataFrame(y.astype("f8"))):
        (target,) = as_targets(given, N)
        assert target.is_continuous and target.name == "" and target.class_names is None
        assert target.values.dtype == np.float64
        np.testing.assert_array_equal(target.values, y)
        assert not are_labels(target.values)  # estimators judge them the same way


def test_numbers_of_tensorflow_and_pandas():
    import tensorflow as tf

    column = NUMBERS[:, 0]
    for y in (
        pd.Series(column, index=range(5, 5 + N), name="angle"),
        pd.Series(column, dtype="Float64"),
        pd.DataFrame({"angle": column}),
        column.tolist(),
        column.astype(object),
        np.ma.array(column),
        tf.constant(column),
        [column],
    ):
        (target,) = as_targets(y, N)
        np.testing.assert_array_equal(target.values, column[:, None])
        assert target.name == ""
    (target,) = as_targets(tf.cast(column, "bfloat16"), N)
    np.testing.assert_allclose(target.values[:, 0], column, rtol=0.01)
    assert as_targets(tf.cast(np.arange(N) % 2, "bfloat16"), N)[0].class_names == (0, 1)


def test_a_mapping_has_one_target_for_each_name():
    found = as_targets({"class": WORDS, "angle": NUMBERS[:, 0], "place": NUMBERS}, N)
    assert [t.quantity for t in found] == ["I(T;Y[class])", "I(T;Y[angle])", "I(T;Y[place])"]
    assert [t.is_continuous for t in found] == [False, True, True]
    assert found[0].class_names == ("cat", "dog") and found[2].values.shape == (N, 3)
    assert names({"only": NUMBERS}) == ["only"]


def test_outputs_of_a_model_are_numbered():
    import tensorflow as tf

    for outputs in ([np.arange(N) % 3, NUMBERS], (pd.Series(WORDS), tf.constant(NUMBERS))):
        found = as_targets(outputs, N)
        assert [t.name for t in found] == ["0", "1"]
        assert [t.is_continuous for t in found] == [False, True]
    # A list of rows is not a list of outputs.
    (target,) = as_targets(list(NUMBERS), N)
    np.testing.assert_array_equal(target.values, NUMBERS)
    (target,) = as_targets(list(NUMBERS[:, 0]), N)
    np.testing.assert_array_equal(target.values, NUMBERS[:, :1])


@pytest.mark.parametrize("dtype", ["bool", "u1", "i8", "f4", "object"])
def test_several_labels_a_row_are_one_target_a_column(dtype):
    y = BITS.astype(dtype)
    found = as_targets(y, N)
    assert [t.name for t in found] == ["0", "1", "2"]
    np.testing.assert_array_equal(np.stack([t.values for t in found], axis=1), BITS)
    assert names(pd.DataFrame(y, columns=["sky", "sea", "sun"])) == ["sky", "sea", "sun"]
    assert names({"tags": y, "word": WORDS}) == ["tags.0", "tags.1", "tags.2", "word"]


def test_matrices_of_classes_are_one_target_a_column():
    y = RNG.integers(0, 4, (N, 2))
    found = as_targets(y, N)
    assert [t.name for t in found] == ["0", "1"]
    assert [t.class_names for t in found] == [(0, 1, 2, 3)] * 2
    assert names(np.array([WORDS, WORDS]).T) == ["0", "1"]
    one_hot = pd.get_dummies(pd.Series(WORDS))
    assert as_targets(one_hot, N)[0].class_names == ("cat", "dog") and names(one_hot) == [""]


def test_a_frame_of_several_kinds_has_one_target_a_column():
    frame = pd.DataFrame({
        "word": pd.Categorical(WORDS, ["dog", "cat"]), "angle": NUMBERS[:, 0],
        "count": pd.array(np.arange(N) % 4, "Int64"), "size": pd.array(NUMBERS[:, 1], "Float64"),
    })  # fmt: skip
    found = as_targets(frame, N)
    assert [t.name for t in found] == ["word", "angle", "count", "size"]
    assert [t.class_names for t in found] == [("dog", "cat"), None, (0, 1, 2, 3), None]
    # All floats are one target.
    (place,) = as_targets(frame[["angle", "size"]], N)
    np.testing.assert_array_equal(place.values, NUMBERS[:, :2])


def test_constant_numbers_are_a_target():
    (target,) = as_targets(np.full(N, 0.5), N)
    assert target.is_continuous


MISSING = NUMBERS[:, 0].copy()
MISSING[[3, 7]] = np.nan, np.inf


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (MISSING, "`targets` has NaN or infinite values.*2 of 40 rows"),
        (np.column_stack([MISSING, MISSING]), "`targets` has NaN.*2 of 40 rows"),
        ({"a": WORDS, "b": MISSING}, r"`targets\['b'\]` has NaN or infinite.*2 of 40 rows"),
        (pd.DataFrame({"w": WORDS, "b": MISSING}), r"`targets\['b'\]` has NaN.*2 of 40 rows"),
        ([WORDS, MISSING], r"wrong length.*\(2, 40\)"),
        ([np.array(WORDS), MISSING], r"`targets\['1'\]` has NaN.*2 of 40 rows"),
        (np.append(BITS[1:].astype(float), [[0, 1, np.nan]], axis=0), "NaN.*1 of 40 rows"),
        (pd.Series([0.5, None] * 20, dtype="Float64"), "NaN.*20 of 40 rows"),
        (pd.Series([1, None] * 20, dtype="Int64"), "NaN.*20 of 40 rows|missing.*20 of 40"),
        (np.array([0.5, None] * 20, object), "NaN.*20 of 40 rows"),
        (np.ma.array(NUMBERS[:, 0], mask=MISSING != MISSING), "missing.*1 of 40"),
        (["a", None] * 20, "missing.*20 of 40"),
        (np.float128("1e4000") * NUMBERS[:, 0], "NaN or infinite.*40 of 40 rows"),
        (np.arange(N).astype("M8[D]"), r"neither class labels nor numbers.*times as floats"),
        (np.arange(N).astype("m8[s]"), "times as floats"),
        (pd.Series(pd.date_range("2020", periods=N, tz="UTC")), "times as floats"),
        (NUMBERS[:, 0] + 1j, "real and imaginary parts"),
        ([object()] * N, "no class labels"),
        ([0.5, "a"] * 20, "no class labels"),
        (object(), "wrong length"),
        (NUMBERS[:5], r"wrong length.*each of the 40.*\(5, 3\)"),
        ([NUMBERS, NUMBERS[:5]], r"`targets\['1'\]` has the wrong length"),
        (np.zeros((N, 4, 4)), r"reshape\(n, -1\).*\(40, 4, 4\)"),
        (np.zeros((N, 0)), r"\(40, 0\)"),
        ({}, "holds no targets"),
        ({"a": {"b": WORDS}}, r"`targets\['a'\]` is not an array.*mappings"),
        ({"a": None}, "not an array"),
        ({"": WORDS}, "name.*not empty"),
        ({3: WORDS}, "name.*a string"),
        (pd.DataFrame(BITS, columns=["a", "b", "a"]), r"repeat.*\['a'\]"),
        (pd.DataFrame(BITS, columns=["a", "b", ""]), "empty name"),
        ({"a": BITS, "a.0": WORDS}, r"repeat.*\['a.0'\]"),
        (np.arange(N), r"identifier.*quantities to floats, by \.astype\(float\)"),
        ({"id": np.arange(N)}, r"`targets\['id'\]` is an identifier"),
    ],
)  # fmt: skip
def test_what_is_no_target(y, message):
    with pytest.raises(ArgumentError, match=message):
        as_targets(y, N)


def test_estimators_take_one_target_with_any_labels():
    assert as_target(np.arange(N), N).values.tolist() == list(range(N))
    assert as_targets(np.arange(N).astype(float), N)[0].is_continuous  # the way out
    assert as_target({"y": NUMBERS}, N).name == "y"
    with pytest.raises(ArgumentError, match="`y` holds several targets.*3 targets"):
        as_target(BITS, N)
