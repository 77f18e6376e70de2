"""How the kernels are compiled: a program a shape, and TensorFlow has nothing to warn of."""

import numpy as np
import pytest

from ib_keras.estimators import KDE, KSG
from ib_keras.estimators.kernels import mixture, neighbor_search


@pytest.fixture
def warnings(monkeypatch):
    """What TensorFlow warns of, as if nothing had been compiled before."""
    import tensorflow as tf
    from tensorflow.python.eager.polymorphic_function import polymorphic_function as functions

    said = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda text, *args: said.append(text))
    # It warns twice of a function, and then no more.
    fresh = functions._FrequentTracingDetectorManager()
    monkeypatch.setattr(functions, "_frequent_tracing_detector_manager", fresh)
    for cached in (mixture._compiled, neighbor_search._compiled, neighbor_search._compiled_joint):
        cached.cache_clear()
    return said


def test_kernels_of_many_shapes(warnings):
    rng = np.random.default_rng(0)
    for n, dim in [*((60, d) for d in range(1, 7)), *((20 * 2**k, 3) for k in range(6))]:
        KDE(0.01).estimate(rng.normal(size=(n, dim)).astype(np.float32))
    assert not warnings


def test_neighbours_in_classes_of_many_sizes(warnings):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(7), np.arange(20, 27))
    found = KSG().estimate(rng.normal(size=(len(y), 12)), x=rng.normal(size=(len(y), 12)), y=y)
    assert np.isfinite(found.ty.value)
    assert not warnings
