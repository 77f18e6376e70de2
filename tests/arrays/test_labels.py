import json

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras.arrays.labels import are_labels, as_labels, encode_labels, provenance_of
from ib_keras.errors import ArgumentError

LEVELS = pd.Categorical(["low", "high", "low"], ["low", "middle", "high"], ordered=True)


@pytest.mark.parametrize(
    ("y", "codes", "names"),
    [
        ([7, 900, 3, 7], [1, 2, 0, 1], (3, 7, 900)),
        ([-6, 6, 0], [0, 2, 1], (-6, 0, 6)),
        ([-1, 1, -1], [0, 1, 0], (-1, 1)),
        (np.array([3000000, 10001, 204500], "u4"), [2, 0, 1], (10001, 204500, 3000000)),
        (np.array([2**63 + 1, 0], "u8"), [1, 0], (0, 2**63 + 1)),
        (np.array([5, -5], "i1"), [1, 0], (-5, 5)),
        ([2**70, 1], [1, 0], (1, 2**70)),
        ([True, False, True], [1, 0, 1], (False, True)),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (np.array(["dog", "a cat"], object), [1, 0], ("a cat", "dog")),
        (np.array([b"dog", b"cat"]), [1, 0], ("cat", "dog")),
        (np.array([b"dog", b"cat"], object), [1, 0], ("cat", "dog")),
        (["Ära", "猫", "Zoo"], [1, 2, 0], ("Zoo", "Ära", "猫")),
        (np.array([[4], [2]]), [1, 0], (2, 4)),
        (np.array([["b"], ["a"]], object), [1, 0], ("a", "b")),
        (np.array([2.0, 1.0, 2.0]), [1, 0, 1], (1, 2)),
        (np.array([[-1.0], [1.0]], "f4"), [0, 1], (-1, 1)),
        (np.array([5.0, 2, 5], object), [1, 0, 1], (2, 5)),
        (np.array([[0, 0, 1], [1, 0, 0]], "f4"), [1, 0], (0, 2)),
        (np.array([[0, 1], [1, 0]], bool), [1, 0], (0, 1)),
        (pd.get_dummies(pd.Series(["ox", "ass", "ox"])), [1, 0, 1], ("ass", "ox")),
        (pd.Series(["b", "a"], dtype="string"), [1, 0], ("a", "b")),
        (pd.Series([4, 2], dtype="Int64"), [1, 0], (2, 4)),
        (pd.Series([4, 2], index=[10, 20]), [1, 0], (2, 4)),
        (LEVELS, [0, 1, 0], ("low", "high")),
        (pd.Series(LEVELS), [0, 1, 0], ("low", "high")),
        (pd.DataFrame({"y": LEVELS}), [0, 1, 0], ("low", "high")),
        (pd.cut([0.1, 0.9, 0.2], [0, 0.5, 1]), [0, 1, 0], ("(0.0, 0.5]", "(0.5, 1.0]")),
    ],
)  # fmt: skip
def test_labels_of_any_kind(y, codes, names):
    assert are_labels(y)
    found = encode_labels(y, len(codes))
    assert found.codes.dtype == np.int64 and found.codes.tolist() == codes
    assert found.names == names and list(map(type, found.names)) == list(map(type, names))
    assert as_labels(y, len(codes)).tolist() == codes
    assert json.loads(json.dumps(found.names)) == list(names)


def test_tensors_are_labels():
    import tensorflow as tf

    assert encode_labels(tf.constant([3, 1]), 2).names == (1, 3)
    assert encode_labels(tf.constant(["b", "a"]), 2).names == ("a", "b")
    assert encode_labels(tf.one_hot([2, 0], 3), 2).names == (0, 2)


def test_numpys_texts_of_any_length():
    text = np.array(["long " * 9, "a"], np.dtypes.StringDType())
    assert encode_labels(text, 2)[1] == ("a", "long " * 9)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", None, "b"], "missing.*1 of 3"),
        (["a", np.nan, "b"], "missing.*1 of 3"),
        (np.array([1.0, np.nan, np.nan]), "missing.*2 of 3"),
        (pd.Series(["a", None, "b"], dtype="category"), "missing.*1 of 3"),
        (pd.Series([1, None, 2], dtype="Int64"), "missing.*1 of 3"),
        ([1, "a", 2], r"one kind.*\['int', 'str'\]"),
        (np.array([True, 1, 0], object), r"\['bool', 'int'\]"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "no class labels"),
        (np.array([0.5, 1.0, 1.0]), "no class labels.*bin"),
        (np.array([1.0, 1.0, np.inf]), "no class labels"),
    ],
)
def test_what_is_no_label(y, message):
    with pytest.raises(ArgumentError, match=message):
        encode_labels(y, 3)
    with pytest.raises(ArgumentError, match=message):
        as_labels(y, 3)


def test_whole_floats_are_labels_if_they_are_few():
    # Scikit-learn's diabetes: 442 whole floats of 214 values are a quantity.
    from sklearn.datasets import load_diabetes

    quantity = load_diabetes().target
    assert (quantity == quantity.round()).all() and not are_labels(quantity)
    with pytest.raises(ArgumentError, match="no class labels"):
        encode_labels(quantity, 442)
    # MATLAB's classes: ten of 30 rows, but not of 29; a hundred of 300 rows, but not 101 of 900.
    for k, n, labels in ((10, 30, True), (10, 29, False), (100, 300, True), (101, 900, False)):
        assert are_labels(np.arange(n) % k * 1.0) is labels
    # Integers are labels, and numbers with a fraction or in several columns are none.
    assert are_labels(quantity.astype(int))
    for numbers in (np.array([0.5, 1.5]), np.ones((3, 2)), np.array([[1, 1], [0, 1]])):
        assert not are_labels(numbers)


def test_ages_and_years_as_floats_are_quantities():
    rng = np.random.default_rng(0)
    for quantity in (
        rng.integers(18, 71, 600),
        rng.integers(1950, 2021, 600),
        5 * rng.integers(0, 40, 600),
    ):
        assert not are_labels(quantity * 1.0) and are_labels(quantity)
    some = rng.choice(100, 90, replace=False)  # some of a hundred classes do not occur
    for codes in (some[rng.integers(0, 90, 900)], rng.integers(1, 12, 100)):
        assert are_labels(codes * 1.0)
    assert are_labels(np.tile([3.0, 5.0, 900.0], 9))


@pytest.mark.parametrize("kind", [int, str, "category"])
def test_an_identifier_is_refused(kind):
    def rows(n, k):
        return pd.Series(np.arange(n) % k).astype(kind)

    with pytest.raises(ArgumentError, match="identifier.*at most 75 different.*100 different"):
        encode_labels(rows(100, 100), 100)
    assert as_labels(rows(100, 100), 100).max() == 99  # estimators take what they are given
    # Few rows say nothing, and four rows to three classes are enough of them.
    for n, k, refused in ((19, 19, False), (20, 16, True), (100, 75, False), (100, 76, True)):
        if refused:
            with pytest.raises(ArgumentError, match="identifier"):
                encode_labels(rows(n, k), n)
        else:
            assert len(encode_labels(rows(n, k), n).names) == k


def test_a_thousand_classes_of_a_thousand_images_are_classes():
    y = np.random.default_rng(0).integers(0, 1000, 1000)
    assert 600 < len(encode_labels(y, 1000).names) < 660  # 1 - 1/e of them


def test_provenance_lists_a_thousand_names():
    assert provenance_of(("a", "b")) == ["a", "b"] and provenance_of(None) is None
    assert provenance_of(range(1000)) == list(range(1000)) and provenance_of(range(1001)) == 1001


@pytest.mark.parametrize(
    ("targets", "codes", "names"),
    [
        (np.array(["dog", "a cat", "dog"], object), [1, 0, 1], ("a cat", "dog")),
        ([900, 3, 7], [2, 0, 1], (3, 7, 900)),
        (np.array([[0, 1], [0, 1], [1, 0]], "f4"), [1, 1, 0], (0, 1)),
        (LEVELS, [0, 1, 0], ("low", "high")),
        (np.array([0.5, 0.25, 0.75]), [0.5, 0.25, 0.75], None),
        (None, None, None),
    ],
)
def test_a_store_keeps_codes_and_names(targets, codes, names, tmp_path):
    made = ib.ActivationStore.create(
        tmp_path / "s", inputs=np.zeros((3, 2)), targets=targets, layers=["a"]
    )
    for store in (made, ib.ActivationStore(tmp_path / "s")):
        assert store.label_names == names
        found = store.targets()
        assert found is codes is None or found.tolist() == codes
        assert names is None or found.dtype == np.int64
        store.verify()


def test_a_store_refuses_an_identifier(tmp_path):
    with pytest.raises(ArgumentError, match="`targets` is an identifier"):
        ib.ActivationStore.create(
            tmp_path / "s", inputs=np.zeros((40, 2)), targets=np.arange(40), layers=["a"]
        )
    assert not (tmp_path / "s").exists()


def test_texts_have_one_fingerprint_in_any_process(tmp_path):
    x, stores = np.zeros((3, 2)), []
    for i, y in enumerate((["b", "a", "b"], ["b", "a", "b"], ["b", "b", "a"])):
        y = np.array(["".join([one]) for one in y], object)
        stores.append(
            ib.ActivationStore.create(tmp_path / str(i), inputs=x, targets=y, layers=["a"])
        )
    prints = [store.fingerprint for store in stores]
    assert prints[0] == prints[1] != prints[2]
    # SHA-256 over the checksum of the inputs, and over the codes and names of the labels.
    import hashlib

    inputs = hashlib.sha256(bytes(48) + b"3(2,)float64").hexdigest()
    codes = hashlib.sha256(np.array([1, 0, 1]).tobytes() + b"3()int64").hexdigest()
    whole = inputs + codes + "('a', 'b')"
    assert prints[0] == hashlib.sha256(whole.encode()).hexdigest()


def test_a_store_from_before_there_were_names(tmp_path):
    """Its targets are the labels themselves, which are read as codes."""
    from ib_keras.storage import manifests

    y = np.array([3, 7, 3])
    store = ib.ActivationStore.create(
        tmp_path / "s", inputs=np.zeros((3, 2)), targets=y, layers=["a"]
    )
    before = store.fingerprint
    np.save(store.path / "targets.npy", y)
    manifest = json.loads((store.path / "manifest.json").read_text())
    for name in ("targets", "views", "sha256", "schema", "version", "made_by"):
        manifest.pop(name)
    manifest["files"] = manifests.checksums(store.path)
    manifest["files"].pop("journal.jsonl")
    manifests.write_manifest(store.path, "ib_keras.activations", 1, **manifest)
    old = ib.ActivationStore(tmp_path / "s")
    assert old.targets().tolist() == [0, 1, 0] and old.label_names == (3, 7)
    assert old.fingerprint == before
