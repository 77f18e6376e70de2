import keras
import numpy as np
import pytest
import tensorflow as tf

from ib_keras.constraints import OrthonormalStep
from ib_keras.errors import ArgumentError
from ib_keras.regularizers import Orthonormal


def test_penalty_is_the_distance_from_orthonormal_columns():
    w = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    expected = 0.2 * np.linalg.norm(w.T @ w - np.eye(3))
    assert float(Orthonormal(0.2)(w)) == pytest.approx(expected, rel=1e-6)
    kernel = w.reshape(5, 1, 1, 3)
    assert float(Orthonormal(0.2)(kernel)) == pytest.approx(expected, rel=1e-6)
    q = tf.Variable(np.linalg.qr(w)[0])
    with tf.GradientTape() as tape:
        penalty = Orthonormal()(q)
    assert float(penalty) < 1e-8
    assert np.isfinite(tape.gradient(penalty, q)).all()


def test_it_trains_towards_orthonormal_columns_and_is_saved(tmp_path):
    layer = keras.layers.Dense(3, kernel_regularizer=Orthonormal(1.0))
    model = keras.Sequential([keras.Input((5,)), layer])
    model.compile("sgd", "mse")
    model.fit(np.zeros((64, 5)), np.zeros((64, 3)), epochs=60, verbose=0)
    w = layer.kernel.numpy()
    assert np.abs(w.T @ w - np.eye(3)).max() < 0.05
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].kernel_regularizer.factor == 1.0
    with pytest.raises(ArgumentError, match="factor"):
        Orthonormal(0)


def test_the_step_leads_to_orthonormal_columns_and_is_saved(tmp_path):
    w = np.random.default_rng(0).normal(size=(5, 3)).astype("f4") / 3
    step = OrthonormalStep(0.1)
    np.testing.assert_allclose(step(w), w - 0.1 * (w @ w.T @ w - w), rtol=1e-5)
    kernel = w.reshape(5, 1, 1, 3)
    np.testing.assert_allclose(np.reshape(step(kernel), (5, 3)), step(w), rtol=1e-5)
    layer = keras.layers.Dense(3, kernel_constraint=OrthonormalStep(0.2))
    model = keras.Sequential([keras.Input((5,)), layer])
    model.compile("sgd", "mse")
    model.fit(np.zeros((64, 5)), np.zeros((64, 3)), epochs=60, verbose=0)
    w = layer.kernel.numpy()
    assert np.abs(w.T @ w - np.eye(3)).max() < 0.01
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").layers[0].kernel_constraint.rate == 0.2
    with pytest.raises(ArgumentError, match="rate"):
        OrthonormalStep(-1)
