import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite compiled pipelines and components"
    )


# Fixtures that train, or start a browser: whoever asks for one first pays for it.
SLOW_FIXTURES = {
    ("test_decoder.py", "found"),
    ("test_decoders.py", "made"),
    ("test_executors.py", "chain"),
    ("test_field_cases.py", "recorded"),
    ("test_goldfeld_mnist.py", "trained"),
    ("test_lossy.py", "known"),
    ("test_pixelcnn_network.py", "trained"),
    ("test_propagation.py", "noisy"),
    ("test_report_browser.py", "browser"),
}
SLOW = set((pathlib.Path(__file__).parent / "slow.txt").read_text().split())


def pytest_collection_modifyitems(items):
    """Marks the tests of slow.txt, and those that run pipelines, for ``make test-fast``."""
    for item in items:
        name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
        slow_fixture = any((item.path.name, one) in SLOW_FIXTURES for one in item.fixturenames)
        if name in SLOW or slow_fixture or item.get_closest_marker("pipeline"):
            item.add_marker(pytest.mark.slow)


GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Values and arrays of golden.json and golden.npz."""
    return json.loads((GOLDEN / "golden.json").read_text()), dict(np.load(GOLDEN / "golden.npz"))


@pytest.fixture(scope="session")
def adaptive():
    """Key → (I(X;T), I(T;Y)), and the arrays, of the adaptive estimators' golden files."""
    arrays = {}
    for name in ("adaptive", "adaptive_net_tanh", "adaptive_net_relu"):
        arrays |= dict(np.load(GOLDEN / f"{name}.npz"))
    values = dict(zip(arrays.pop("keys").tolist(), arrays.pop("vals_nats"), strict=True))
    return values, arrays


@pytest.fixture
def mlp():
    """A tanh network 4-5-3 with known weights, freshly built."""
    import keras

    keras.utils.set_random_seed(7)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="tanh", name="first"),
            keras.layers.Dense(3, activation="softmax", name="output"),
        ],
        name="mlp",
    )


@pytest.fixture
def inputs():
    """64 inputs of dimension 4 with labels of 3 classes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 3, 64)
