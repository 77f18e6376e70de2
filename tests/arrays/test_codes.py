import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ib_keras.arrays import codes as row_coding

SMALL = hnp.arrays(
    np.int16, st.tuples(st.integers(1, 40), st.integers(1, 9)), elements=st.integers(-2, 2)
)


@settings(max_examples=200, deadline=None)
@given(SMALL)
def test_row_codes_are_equal_exactly_when_rows_are(rows):
    codes = row_coding.row_codes(rows)
    equal = (rows[:, None, :] == rows[None, :, :]).all(axis=2)
    np.testing.assert_array_equal(codes[:, None] == codes[None, :], equal)
    assert set(codes) == set(range(len(np.unique(rows, axis=0))))


def test_collisions_of_the_hash_are_found(monkeypatch):
    rows = np.random.default_rng(0).integers(0, 3, (200, 30))
    expected = len(np.unique(rows, axis=0))
    monkeypatch.setattr(row_coding, "_hash", lambda words: np.zeros(len(words), np.uint64))
    assert len(np.unique(row_coding.row_codes(rows))) == expected


def test_large_samples_are_read_in_parts(monkeypatch, tmp_path):
    rows = np.random.default_rng(0).integers(0, 2, (500, 3)).astype(float)
    whole = row_coding.row_codes(rows)
    monkeypatch.setattr(row_coding, "_PART_BYTES", 10 * rows[0].nbytes)
    monkeypatch.setattr(row_coding, "_BLOCK_BYTES", 7 * rows[0].nbytes)
    np.save(tmp_path / "rows.npy", rows)
    parts = row_coding.row_codes(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    np.testing.assert_array_equal(parts, whole)
    assert len(np.unique(parts)) == 8


def test_negative_zero_is_zero():
    assert row_coding.row_codes(np.array([[0.0, 1.0], [-0.0, 1.0]])).tolist() == [0, 0]


def test_entropies_of_a_known_table():
    # p(a) = (1/2, 1/2), p(b) = (1/4, 3/4), p(a,b) = (1/4, 1/4; 0, 1/2)
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert np.isclose(row_coding.entropy(a), np.log(2))
    assert np.isclose(row_coding.entropy(b), 0.25 * np.log(4) + 0.75 * np.log(4 / 3))
    joint = 0.5 * np.log(4) + 0.5 * np.log(2)
    assert np.isclose(row_coding.joint_entropy(a, b), joint)
    assert np.isclose(
        row_coding.mutual_information(a, b), row_coding.entropy(a) + row_coding.entropy(b) - joint
    )
