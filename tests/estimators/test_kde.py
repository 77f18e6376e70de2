import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from ib_keras.errors import ArgumentError
from ib_keras.estimators import KDE, AdaptiveKDE
from ib_keras.estimators.kernels import pairwise


def reference(t, y, variance, kind):
    """The formula, from exact differences, in float64."""
    scale = 2 if kind == "upper" else 8
    kernel = -cdist(t, t, "sqeuclidean") / (scale * variance)

    def bound(rows):
        block = kernel[np.ix_(rows, rows)]
        return -np.mean(logsumexp(block, axis=1) - np.log(len(block)))

    everything = bound(np.full(len(t), True))
    return everything, everything - sum(np.mean(y == c) * bound(y == c) for c in np.unique(y))


@pytest.mark.parametrize("kind", ["upper", "lower"])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 70), (33, 5), (600, 9), (1025, 3), (2500, 20)])
def test_equals_the_formula_across_tiles(n, d, kind):
    rng = np.random.default_rng(n)
    t, y = np.tanh(rng.normal(size=(n, d))), rng.integers(0, 2, n)
    got = KDE(0.05 * d, kind=kind).estimate(t, y=y)
    expected = reference(t, y, 0.05 * d, kind)
    np.testing.assert_allclose([got.xt.value, got.ty.value], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("d", "variance", "method"),
    [(3, 0.3, "_tiled_sums"), (20, 2.0, "_tiled_sums"), (20, 1e-9, "_direct_sums")],
)
def test_equal_rows_are_counted_in_each_class(monkeypatch, d, variance, method):
    rng = np.random.default_rng(d)
    t = rng.normal(size=(60, d))[rng.integers(0, 60, 150)]
    t[-5:] = t[0] + np.sqrt(variance) * rng.normal(size=(5, d))
    y = rng.integers(0, 3, 150)
    kernel = np.exp(-cdist(t, t, "sqeuclidean") / (2 * variance))
    same = y[:, None] == y
    monkeypatch.setattr(pairwise, "_TILE", 32)
    calls = []
    original = getattr(pairwise, method)

    def spy(*arguments):
        calls.append(len(arguments[-1][0]))
        original(*arguments)

    monkeypatch.setattr(pairwise, method, spy)
    everything, within = pairwise.kernel_sums(t, variance, y)
    assert calls == [len(np.unique(np.column_stack([t, y]), axis=0))] and calls[0] < 150
    np.testing.assert_allclose(everything, kernel.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(within, (kernel * same).sum(axis=1), rtol=1e-6)
    alone, also = pairwise.kernel_sums(t, variance)
    assert calls[1] == len(np.unique(t, axis=0)) < calls[0]
    np.testing.assert_allclose([alone, also], [everything] * 2, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("variance", [1e-8, 1e-4, 1.0])
def test_small_variance_and_large_offsets_keep_their_digits(offset, variance):
    rng = np.random.default_rng(0)
    near = rng.normal(size=(200, 1)) * np.sqrt(variance)
    t = (np.hstack([near, np.zeros((200, 9))]) + offset + rng.integers(0, 2, (200, 1))).astype("f4")
    t64 = t.astype("float64")
    y = np.arange(200) % 2
    got = KDE(variance).estimate(t, y=y)
    expected = reference(t64 - t64[0], y, variance, "upper")
    np.testing.assert_allclose([got.xt.value, got.ty.value], expected, rtol=0, atol=1e-4)


def test_bounds_enclose_a_gaussian_mixture():
    # Two far clusters of coinciding points: I = ln 2 exactly, and both bounds are tight.
    t = np.repeat([[0.0], [100.0]], 50, axis=0)
    assert KDE(1.0).estimate(t).xt.value == pytest.approx(np.log(2))
    assert KDE(1.0, kind="lower").estimate(t).xt.value == pytest.approx(np.log(2))
    # X uniform on {−1, 1}, σ = 0.676: I(X; X+N) = 0.52057 nats by quadrature (golden file).
    t = np.repeat([[-1.0], [1.0]], 50, axis=0)
    lower = KDE(0.676**2, kind="lower").estimate(t).xt.value
    upper = KDE(0.676**2).estimate(t).xt.value
    assert lower < 0.5205727861350233 < upper


def test_kinds():
    t, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    for kind in ("upper", "lower"):
        information = KDE(kind=kind).estimate(t, y=y)
        assert information.xt.kind == kind
        assert information.ty.kind == "estimate"  # a difference of two bounds is none
        assert "measurement_noise" in information.xt.flags


def test_the_networks_own_noise_is_flagged():
    t = np.random.default_rng(0).normal(size=(20, 2))
    lower, upper = (KDE(kind=k).estimate(t, noise_std=0.1).xt for k in ("lower", "upper"))
    # Noise that counts as information raises the value: that leaves no lower bound.
    assert (lower.kind, upper.kind) == ("estimate", "upper")
    assert "network_noise" in lower.flags and "network_noise" in upper.flags
    assert "network_noise" not in KDE().estimate(t).xt.flags


def test_adaptive_variance():
    t = np.array([[0.5, -2.0], [1.0, 0.0]])
    assert AdaptiveKDE(0.1).kernel_variance(t) == pytest.approx(0.2)
    assert AdaptiveKDE(0.1, power=2).kernel_variance(t) == pytest.approx(0.4)
    scaled = [AdaptiveKDE(0.1, power=2).estimate(t * c).xt.value for c in (1, 1e-3, 1e6)]
    assert scaled == pytest.approx([scaled[0]] * 3, abs=1e-9)


def test_dead_layers_and_huge_values():
    assert AdaptiveKDE().estimate(np.zeros((10, 2))).xt.value == 0
    with pytest.raises(ArgumentError, match="constant layer"):
        AdaptiveKDE().entropy(np.zeros((10, 2)))
    for scale in (1e30, 1e200, 1e300):
        t = np.array([[1.0], [1.0], [-1.0], [0.5]]) * scale
        assert KDE().estimate(t).xt.value == pytest.approx(1.5 * np.log(2))


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (KDE, {"variance": 0}),
        (KDE, {"variance": np.nan}),
        (KDE, {"variance": True}),
        (KDE, {"kind": "both"}),
        (AdaptiveKDE, {"scale": -1.0}),
        (AdaptiveKDE, {"power": 3}),
    ],
)
def test_bad_parameters(cls, arguments):
    with pytest.raises(ArgumentError, match="Expected .* Received: "):
        cls(**arguments)
