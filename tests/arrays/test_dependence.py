"""Serial dependence is noticed in time series, not in independent or sorted rows."""

import numpy as np
import pytest
from scipy.signal import lfilter

from ib_keras.arrays.dependence import serial_dependence


def ar(rng, phi, n=2000, dim=1):
    return lfilter([1], [1, -phi], rng.normal(size=(n + 500, dim)), axis=0)[500:]


def walk(rng, n=2000):
    return np.cumsum(rng.standard_cauchy((n, 1)), axis=0)


SERIES = {
    "0.99": lambda r: (ar(r, 0.99), ar(r, 0.99)),
    "0.9": lambda r: (ar(r, 0.9), ar(r, 0.9)),
    "-0.9": lambda r: (ar(r, -0.9), ar(r, -0.9)),
    "walks with heavy steps": lambda r: (walk(r), walk(r)),
    "5 columns": lambda r: (ar(r, 0.99, dim=5), ar(r, 0.99, dim=5)),
    "1 column of 5": lambda r: [np.hstack([r.normal(size=(2000, 4)), ar(r, 0.95)]) for _ in "ab"],
    "300 columns": lambda r: (ar(r, 0.95, dim=300).astype(np.float32), ar(r, 0.95)),
    "integers": lambda r: (np.round(ar(r, 0.99)), np.round(ar(r, 0.99, dim=3))),
    "classes": lambda r: (ar(r, 0.99), (ar(r, 0.99)[:, 0] > 0).astype(int)),
    "blocks of classes": lambda r: (ar(r, 0.9), np.repeat([3, 0, 1, 2], 500)),
    "repeated rows": lambda r: [np.repeat(r.normal(size=(500, 2)), 4, axis=0) for _ in "ab"],
}


@pytest.mark.parametrize("kind", SERIES)
def test_series_are_noticed(kind):
    for seed in range(5):
        a, b = SERIES[kind](np.random.default_rng(seed))
        length = serial_dependence(a, b)
        assert 1 <= length <= len(a) // 4, seed
        assert serial_dependence(b, a) == length
        # A permutation of one variable is a valid comparison.
        order = np.random.default_rng(seed).permutation(len(a))
        assert serial_dependence(a, b[order]) == serial_dependence(a[order], b[order]) == 0


@pytest.mark.parametrize("phi", [0.9, 0.99])
def test_the_length_is_that_of_the_autocorrelation(phi):
    found = [serial_dependence(*(ar(r, phi, 20_000) for _ in "ab"))
             for r in map(np.random.default_rng, range(8))]  # fmt: skip
    # The longest of two, which the autocorrelation of 20 000 rows determines within some tenths.
    assert 0.8 < np.median(found) * -np.log(phi) < 1.5


def classes(rng, count, far):
    y = np.sort(rng.integers(0, count, 2000))
    return far * rng.normal(size=(count, 3))[y] + rng.normal(size=(2000, 3)), y


def by_value(rng, noise):
    x = np.sort(rng.normal(size=(2000, 1)), axis=0)
    return x, np.sin(3 * x) + noise * rng.normal(size=x.shape)


def hidden(rng, count, far):
    x, _ = classes(rng, count, far)
    return x, x + 0.1 * rng.normal(size=x.shape)


def by_another(rng):
    key = np.sort(rng.normal(size=(2000, 1)), axis=0)
    return [0.9 * key + 0.44 * rng.normal(size=key.shape) for _ in "ab"]


def grid(rng):
    x = (np.arange(2048)[:, None] >> np.arange(11) & 1).astype(float)
    return x[:, :: rng.choice([-1, 1])], np.tanh(x @ rng.normal(size=(11, 3)))


SORTED = {
    "by class": lambda r: classes(r, 10, 3),
    "by 100 classes that are apart": lambda r: classes(r, 100, 50),
    "by class, which is not given": lambda r: hidden(r, 10, 10),
    "by value": lambda r: by_value(r, 0.1),
    "by value, without noise": lambda r: by_value(r, 0.0),
    "by another variable": by_another,
    "as a grid": grid,
}
INDEPENDENT = {
    "normal": lambda r: r.normal(size=(2, 300, 2)),
    "heavy tails": lambda r: r.standard_cauchy((2, 300, 2)),
    "counts and classes": lambda r: (r.poisson(1, (300, 2)).astype(float), r.integers(0, 3, 300)),
    "mostly zeros": lambda r: np.maximum(r.normal(size=(2, 300, 2)) - 1.5, 0),
    "one series": lambda r: (ar(r, 0.99), r.normal(size=(2000, 2))),
}


@pytest.mark.parametrize("kind", [*SORTED, *INDEPENDENT])
def test_exchangeable_rows_are_not_noticed(kind):
    made = (SORTED | INDEPENDENT)[kind]
    repeats = 30 if kind in SORTED else 150
    noticed = [serial_dependence(*made(np.random.default_rng(seed))) for seed in range(repeats)]
    assert np.count_nonzero(noticed) == 0


def test_few_rows_are_not_judged():
    x = np.arange(20.0)[:, None] ** 2
    assert serial_dependence(x, np.sin(x)) == 0
    assert serial_dependence(np.ones((100, 1)), np.ones((100, 1))) == 0
