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
    yield from _open(count)


@pytest.fixture(scope="session")
def with_keras(count):
    yield from _open(count, "keras")


@pytest.fixture(scope="session")
def with_kfp(count):
    yield from _open(count, "kfp")


def _open(count, *needed):
    nursery = Nursery(*needed)
    yield nursery
    nursery.close()
    count(kills=nursery.kills)
