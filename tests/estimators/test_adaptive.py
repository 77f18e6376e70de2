"""Global ranges, quantised networks, and what adaptive estimators do not depend on."""

import math
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import EBAB, KDE, AdaptiveKDE, Binning, Quantized
from ib_keras.layers import QuantizedActivation

SAMPLES = arrays(
    np.float64, st.tuples(st.integers(3, 40), st.integers(1, 4)),
    elements=st.integers(-60, 60).map(lambda k: k / 8),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_ebab_depends_on_the_order_of_the_values_alone(t):
    expected = EBAB(10).estimate(t).xt.value
    # Strictly increasing, zero stays zero; exact at these values.
    for mapped in (8 * t, t + t * np.abs(t), np.where(t > 0, 4 * t, t / 2), np.sinh(t / 2)):
        assert EBAB(10).estimate(mapped).xt.value == expected


@settings(max_examples=60, deadline=None)
@given(SAMPLES, st.integers(-3, 3), st.integers(-16, 16))
def test_bins_of_each_neuron_move_with_it(t, power, shift):
    made = Binning(8, range="neuron")
    scale = 2.0 ** (power + np.arange(t.shape[1]))
    assert made.estimate(t * scale + shift).xt.value == made.estimate(t).xt.value


@pytest.mark.parametrize(
    "made",
    [EBAB(), Binning(), Binning(range="global"), Binning(quantile=True), KDE(), AdaptiveKDE()],
)
def test_edges_of_the_definitions(made):
    y = np.arange(12) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = made.estimate(np.full((12, 3), 0.7), y=y)
        dead = made.estimate(np.zeros((12, 3)), y=y)
        saturated = made.estimate(np.where(np.arange(12)[:, None] < 6, -1.0, 1.0), y=y)
        one_neuron = made.estimate(np.linspace(-1, 1, 12), y=y)
        few = made.estimate(np.repeat([[0.0], [0.5], [1.0]], 4, axis=0), y=y)
    assert constant.xt.value == constant.ty.value == dead.xt.value == dead.ty.value == 0
    assert saturated.xt.value == pytest.approx(math.log(2), abs=1e-9)
    assert 0 < one_neuron.xt.value <= math.log(12) + 1e-9
    assert few.xt.value == pytest.approx(math.log(3), abs=1e-6)


def store(tmp_path, layers):
    """Epoch 0: small values; epoch 1: ten times as large."""
    made = ib.ActivationStore.create(
        tmp_path / "s", inputs=np.arange(50.0)[:, None], targets=np.arange(50) % 2,
        layers=list(layers),
    )  # fmt: skip
    for epoch, scale in ((0, 1.0), (1, 10.0)):
        with made.writer(epoch, noise_std={}) as writer:
            for name, values in layers.items():
                writer.write(name, scale * values)
    return made


def test_global_range(tmp_path):
    rng = np.random.default_rng(0)
    layers = {"a": rng.uniform(-1, 1, (50, 2)), "b": rng.uniform(0, 3, (50, 1))}
    made = store(tmp_path, layers)
    table = ib.estimate(made, Binning(10, range="global"))
    assert set(table["estimator"]) == {"binning(bins=10, range=global)"}
    low = float(np.float32(10 * layers["a"].min()))
    high = float(np.float32(10 * layers["b"].max()))
    fixed = ib.estimate(made, Binning(10, range=(low, high)))
    assert table["value"].tolist() == fixed["value"].tolist()
    # The range is that of all recorded epochs, whichever are estimated.
    one = ib.estimate(made, Binning(10, range="global"), epochs=[0])
    assert one["value"].tolist() == table.loc[table["epoch"] == 0, "value"].tolist()
    by_layer = ib.estimate(made, Binning(10), epochs=[0])
    assert (one["value"] < by_layer["value"]).all()
    with pytest.raises(ArgumentError, match="needs all epochs"):
        ib.Recorder(
            tmp_path / "r", np.zeros((4, 1)), None, keep="estimates",
            estimators=[Binning(range="global")],
        )  # fmt: skip


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_network_is_computed_exactly(bits):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((12,))]
    for i, width in enumerate((10, 7, 5)):
        layers.append(keras.layers.Dense(width, name=f"d{i}"))
        layers.append(QuantizedActivation("tanh", bits=bits, name=f"q{i}"))
    layers.append(keras.layers.Dense(2, activation="softmax", name="out"))
    model = keras.Sequential(layers)
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    data = ib.datasets.load("szt")
    history = model.fit(*data.train, epochs=12, batch_size=128, verbose=0).history
    assert history["accuracy"][-1] > 0.75  # the gradient goes through
    taps = ib.instrument(model, layers="q*").capture(data.x)
    for name, t in taps.items():
        assert len(np.unique(t)) <= 2**bits and np.abs(t).max() <= 1
        found = Quantized(bits=bits).estimate(t, y=data.y)
        rows, counts = np.unique(t, axis=0, return_counts=True)
        p = counts / len(t)
        assert found.xt.value == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9), name
        assert found.xt.value >= found.ty.value and "measurement_bins" not in found.xt.flags
    # Deterministic layers only lose.
    values = [Quantized(bits=bits).estimate(t).xt.value for t in taps.values()]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ArgumentError, match=r"not quantised to 2 bits.*'ebab'"):
        Quantized(bits=2).estimate(taps["q0"])


def test_quantised_activation():
    layer = QuantizedActivation("relu", bits=2, range=(0.0, 3.0))
    x = keras.ops.convert_to_tensor([-1.0, 0.4, 0.6, 2.2, 9.0])
    np.testing.assert_allclose(layer(x), [0, 0, 1, 2, 3])
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x))
    np.testing.assert_array_equal(tape.gradient(y, x), [0, 1, 1, 1, 0])
    exact = QuantizedActivation("tanh", bits=32)(x)
    np.testing.assert_array_equal(exact, keras.ops.tanh(x))
    assert Quantized(bits=32).estimate(np.asarray(exact)).xt.value == pytest.approx(math.log(5))
    again = QuantizedActivation.from_config(layer.get_config())
    assert (again.bits, again.range) == (2, (0.0, 3.0))
    np.testing.assert_array_equal(again(x), layer(x))
    for arguments in ({"bits": 0}, {"bits": 20}, {"activation": "relu"}, {"range": (1, 0)}):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            QuantizedActivation(**arguments)
    with pytest.raises(ArgumentError, match="`bits`"):
        Quantized(bits=64)
