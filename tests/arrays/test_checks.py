import math

import numpy as np
import pytest
import scipy.sparse

from ib_keras import compression, estimators, layers, synthetic
from ib_keras.arrays.checks import as_samples, check_seed
from ib_keras.arrays.labels import as_labels
from ib_keras.errors import ArgumentError

THREE_PARTS = r"Expected .*Received: "


@pytest.mark.parametrize(
    "t",
    [
        np.zeros((1, 3)),
        np.zeros((0, 3)),
        np.float64(1.0),
        np.zeros((4, 0)),
        np.array([[np.nan], [1.0]]),
        np.array([[np.inf], [1.0]]),
        np.array([["a"], ["b"]]),
        np.array([[1j], [2j]]),
        np.array([[object()], [object()]]),
        [[1, 2], [3]],
    ],
)
def test_bad_samples(t):
    with pytest.raises(ArgumentError, match=THREE_PARTS):
        as_samples(t)


def test_sparse_matrices_are_to_be_made_dense():
    sparse = scipy.sparse.csr_matrix(np.eye(3))
    with pytest.raises(ArgumentError, match=r"a dense array: `.toarray\(\)`.*csr_matrix"):
        as_samples(sparse)
    assert as_samples(sparse.toarray()).shape == (3, 3)


def test_samples_are_flattened_and_keep_their_precision():
    assert as_samples(np.zeros((5, 2, 3), "f4")).shape == (5, 6)
    assert as_samples(np.zeros((5, 2), "f4")).dtype == np.float32
    assert as_samples(np.zeros((5, 2), "f2")).dtype == np.float32
    assert as_samples(np.zeros((5, 2), "i8")).dtype == np.float64
    assert as_samples([1, 2, 3]).shape == (3, 1)


def test_labels():
    assert as_labels([7, 5, 7], 3).tolist() == [1, 0, 1]
    assert as_labels(np.array([[0, 1.0], [1.0, 0]]), 2).tolist() == [1, 0]
    assert as_labels(np.array([[3], [4]]), 2).tolist() == [0, 1]
    assert as_labels(["cat", "ant", "cat"], 3).tolist() == [1, 0, 1]
    assert as_labels(np.array(["b", "a"], dtype=object), 2).tolist() == [1, 0]
    assert as_labels(np.array([True, False]), 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    "y",
    [
        np.array([0.0, 1.0, 2.0]),
        np.array([0, "a", 2], dtype=object),
        [[1], [2, 3], [4]],
        np.array([[0.5, 0.5], [0.1, 0.9], [1, 0]]),
        np.array([0, 1]),
        np.zeros((3, 2, 2), int),
        np.array([[1, 1], [1, 0], [0, 1]]),
        3,
    ],
)
def test_bad_labels(y):
    with pytest.raises(ArgumentError, match=THREE_PARTS):
        as_labels(y, 3)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (estimators.DecoderBound, {"test_fraction": "x"}),
        (estimators.DecoderBound, {"test_fraction": 1}),
        (estimators.DecoderBound, {"ema_momentum": "x"}),
        (estimators.DecoderBound, {"dropout": None}),
        (estimators.DecoderBound, {"filters": "x"}),
        (estimators.DecoderBound, {"image_shape": 28}),
        (estimators.LossyCompression, {"fit_share": "x"}),
        (estimators.LossyCompression, {"estimator": []}),
        (estimators.MINE, {"hidden": 5}),
        (estimators.MINE, {"hidden": ("wide",)}),
        (estimators.Binning, {"range": 5}),
        (compression.Autoencoder, {"noise": "x"}),
        (compression.Autoencoder, {"learning_rate": -1}),
        (layers.QuantizedActivation, {"range": (-math.inf, 1)}),
        (layers.QuantizedActivation, {"range": 5}),
        (synthetic.student_t, {"n": 9, "dim": 1, "mi": 1, "seed": 0, "dof": "x"}),
    ],
)
def test_arguments_of_the_wrong_type(make, arguments):
    name = list(arguments)[-1]
    with pytest.raises(ArgumentError, match=rf"`{name}` .*Expected .*Received: "):
        make(**arguments)


def test_seeds_are_required():
    with pytest.raises(ArgumentError, match=r"Expected an integer >= 0\. Received: None"):
        check_seed(None)
