import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ib_keras.arrays.variables import as_variable, repeated_in_classes, repeated_rows
from ib_keras.errors import ArgumentError

N = 600
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
CLASSES = RNG.integers(0, 5, N)

KINDS = {
    "floats": (X, "continuous", 1),
    "float32": (X.astype("f4"), "continuous", 1),
    "columns": (np.stack([X, X[::-1]], axis=1), "continuous", 2),
    "images": (RNG.normal(size=(N, 3, 2)), "continuous", 6),
    "constant columns are left out": (np.stack([X, np.ones(N)], axis=1), "continuous", 1),
    "rounded": (np.round(X, 1), "count", 1),
    "integers of many values": (np.round(1000 * X).astype(int), "count", 1),
    "an identifier": (RNG.permutation(N), "count", 1),
    "pixels": (RNG.integers(0, 256, (N, 3)), "count", 3),
    "zeros and a density": (np.maximum(X, 0), "mixture", 1),
    "two atoms and a density": (np.clip(X, -1, 1), "mixture", 1),
    "integers of few values": (CLASSES, "category", 5),
    "whole floats of few values": (CLASSES.astype(float), "category", 5),
    "strings": (CLASSES.astype(str), "category", 5),
    "booleans": (X > 0, "category", 1),
    "one-hot": (np.eye(5)[CLASSES], "category", 5),
    "pandas categories": (pd.Series(CLASSES.astype(str)).astype("category"), "category", 5),
    "a column of a frame": (pd.DataFrame({"a": CLASSES.astype(str)}), "category", 5),
    "a frame": (pd.DataFrame({"a": CLASSES.astype(str), "b": X}), "mixed", 6),
    "texts": (np.stack([CLASSES, CLASSES], axis=1).astype(str), "mixed", 10),
    "two kinds of numbers": (np.stack([X, np.round(X)], axis=1), "mixed", 2),
}


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order_of_the_tests():
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_follows_from_the_values(name):
    values, kind, dim = KINDS[name]
    found = as_variable(values, "a")
    assert (found.kind, found.dim) == (kind, dim)
    scores = found.scores(np.random.default_rng(1))
    assert scores.shape == (N, dim) and found.features().shape == (N, 2 * dim)
    for column in scores.T:  # each has the quantiles of a normal distribution
        np.testing.assert_allclose(
            np.sort(column), scipy.stats.norm.ppf(np.arange(1, N + 1) / (N + 1))
        )


@pytest.mark.parametrize("name", ["rounded", "two atoms and a density", "an identifier"])
def test_scores_determine_the_values(name):
    variable = as_variable(KINDS[name][0], "a")
    scores = variable.scores(np.random.default_rng(1))[:, 0]
    assert (np.diff(variable.numbers[np.argsort(scores), 0]) >= 0).all()
    other = variable.scores(np.random.default_rng(2))[:, 0]
    assert (other != scores).any() == (name != "an identifier")


def test_scores_of_equal_values_are_independent_of_their_order():
    atoms = np.zeros(N)
    atoms[: N // 4] = 1
    scores = as_variable(atoms + np.where(atoms, X, 0), "a").scores(np.random.default_rng(1))[:, 0]
    zeros = scores[N // 4 :]
    assert abs(scipy.stats.spearmanr(zeros, np.arange(len(zeros))).statistic) < 0.15


def test_values_have_a_density():
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(as_variable(X, "a").values(rng)[:, 0], X)
    whole = np.round(100 * X).astype(int)
    spread = as_variable(whole, "a").values(rng)[:, 0]
    np.testing.assert_array_equal(np.round(spread), whole)
    assert len(np.unique(spread)) == N
    assert as_variable(np.maximum(X, 0), "a").values(rng) is None
    assert as_variable(CLASSES.astype(str), "a").values(rng) is None


def test_a_given_kind_replaces_the_rules():
    assert as_variable(CLASSES, "a", "count").numbers.shape == (N, 1)
    rows = np.stack([CLASSES, CLASSES % 2], axis=1)
    whole = as_variable(rows, "a", "category")
    assert whole.kind == "category" and whole.labels.max() == 4
    assert as_variable(X, "a", "category").labels.max() == N - 1
    with pytest.raises(ArgumentError, match="`kind` is unknown.*Received: 'number'"):
        as_variable(X, "a", "number")
    with pytest.raises(ArgumentError, match="`a` is not numeric"):
        as_variable(CLASSES.astype(str), "a", "count")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (3.0, "is not an array"),
        ([1.0], "too few samples"),
        ([1.0, np.nan, 2.0], "missing|NaN"),
        ([1.0, np.inf, 2.5], "infinite"),
        (["a", None, "b"], "missing"),
        (pd.date_range("2020", periods=9), "neither numbers nor categories.*times as floats"),
        (np.ones(9) * 1j, "neither numbers nor categories.*dtype complex128"),
        (pd.Series(["a", None], dtype="category"), "missing"),
    ],
)
def test_bad_values(values, match):
    with pytest.raises(ArgumentError, match=match):
        as_variable(values, "a")


def test_saturated_units_are_no_copies():
    rows = np.repeat(np.arange(N // 2), 2)
    labels = RNG.integers(0, 2, N)
    wide = RNG.normal(size=(N, 2)).astype("float32")
    saturated = np.tanh(4 * wide + 9)
    assert len(np.unique(saturated, axis=0)) < 0.9 * N
    assert repeated_in_classes(saturated, labels) is None
    assert repeated_in_classes(wide.astype("float16"), labels) is None
    assert len(repeated_in_classes(wide[rows], labels[rows])) == N // 2


def test_rows_that_were_repeated_are_noticed():
    twice = np.repeat(np.arange(N // 2), 2)
    x, y = (as_variable(v[twice], "a") for v in (X, X[::-1]))
    np.testing.assert_array_equal(repeated_rows(x, y), np.arange(0, N, 2))
    rounded = [as_variable(np.round(v, 1)[twice], "a") for v in (X, X[::-1])]
    for pair in (rounded, (x, as_variable(RNG.normal(size=N), "a")), (x, as_variable(X > 0, "a"))):
        assert repeated_rows(*pair) is None
