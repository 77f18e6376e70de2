import os

import pytest
from nursery import SOAK, Nursery


@pytest.fixture(scope="session")
def count():
    """Notes what was done, for the soak's last line."""

    def note(**numbers):
        if SOAK:
            with open(os.environ["IB_KERAS_SOAK"], "a") as file:
                file.writelines(f"{name} {number}\n" for name, number in numbers.items())

    return note


@pytest.fixture(scope="session")
def plain(count):
    """A nursery without TensorFlow."""
    yield from _open(False, count)


@pytest.fixture(scope="session")
def with_keras(count):
    yield from _open(True, count)


def _open(keras, count):
    nursery = Nursery(keras)
    yield nursery
    nursery.close()
    count(kills=nursery.kills)
