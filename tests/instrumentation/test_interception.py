"""Pins what the instrumentation relies on: Layer.__call__ looks up self.call at every call."""

import threading

import keras
import numpy as np

from ib_keras.instrumentation.interception import Session


def add_one(name, layer, args, kwargs, output):
    return output + 1


def test_output_is_changed_inside_and_only_inside(mlp):
    x = np.zeros((1, 4), "float32")
    layer = mlp.get_layer("first")
    before = layer(x).numpy()
    with Session([layer], add_one):
        np.testing.assert_allclose(layer(x), before + 1)
    np.testing.assert_array_equal(layer(x), before)
    assert "call" not in layer.__dict__


def test_a_call_of_the_layer_itself_is_kept(mlp):
    x = np.zeros((1, 4), "float32")
    layer = mlp.get_layer("first")
    plain = layer.call
    layer.call = own = lambda inputs: 3 + plain(inputs)
    changed = layer(x).numpy()
    with Session([layer], add_one):
        np.testing.assert_allclose(layer(x), changed + 1)
    assert layer.call is own
    np.testing.assert_array_equal(layer(x), changed)


def test_sessions_nest_on_one_layer(mlp):
    x = np.zeros((1, 4), "float32")
    layer = mlp.get_layer("first")
    before = layer(x).numpy()
    double = lambda name, layer, args, kwargs, output: output * 2  # noqa: E731
    with Session([layer], add_one):
        with Session([layer], double):
            # The one opened last is the nearest to the layer.
            np.testing.assert_allclose(layer(x), before * 2 + 1, rtol=1e-6)
        np.testing.assert_allclose(layer(x), before + 1)
    np.testing.assert_array_equal(layer(x), before)


def test_other_threads_see_the_plain_layer(mlp):
    x = np.zeros((1, 4), "float32")
    layer = mlp.get_layer("first")
    before = layer(x).numpy()
    seen = []
    with Session([layer], add_one):
        thread = threading.Thread(target=lambda: seen.append(layer(x).numpy()))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(seen[0], before)


def test_names_count_the_calls_of_a_path():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="d")], name="block")
    dense = inner.layers[0]
    names = []

    def note(name, layer, args, kwargs, output):
        names.append(name)
        return output

    with Session([inner, dense], note):
        inner(inner(np.zeros((1, 2), "float32")))
        dense(np.zeros((1, 2), "float32"))
    assert names == ["block/d", "block", "block/d:1", "block:1", "d"]
