import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import EBAB, KDE, AdaptiveKDE, Binning
from ib_keras.estimators.plug_in import digitise


def original(t, edges):
    """H(T) the way of the first public code: digitize, void view of the rows, unique."""
    digitised = np.ascontiguousarray(edges[np.digitize(t.ravel(), edges) - 1].reshape(len(t), -1))
    rows = digitised.view(np.dtype((np.void, digitised.dtype.itemsize * digitised.shape[1])))
    counts = np.unique(rows, return_counts=True)[1]
    p = counts / counts.sum()
    return -(p * np.log(p)).sum()


def test_equals_the_original_way_inside_the_range():
    t = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    edges = np.linspace(-1, 1, 31)
    got = Binning(30, range=(-1, 1)).estimate(t).xt.value
    assert got == pytest.approx(original(t, edges), abs=1e-12)


def test_known_counts():
    t = np.array([[0.1], [0.2], [0.6], [0.9]])
    y = np.array([0, 0, 0, 1])
    information = Binning(2, range=(0, 1)).estimate(t, y=y)
    assert information.xt.value == pytest.approx(np.log(2))
    # H(Y) − H(Y|C): class 1 has 1/4; given the upper bin it has 1/2
    h = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)  # noqa: E731
    assert information.ty.value == pytest.approx(h(0.25) - 0.5 * h(0.5))


def test_range_by_neuron_is_invariant_to_affine_maps():
    t = np.random.default_rng(1).normal(size=(300, 3))
    moved = t * [2.0, 1024.0, 0.25] + [0, 5, -3]
    made = Binning(7, range="neuron")
    assert made.estimate(moved).xt.value == pytest.approx(made.estimate(t).xt.value, abs=1e-12)


def test_repeated_inputs_lower_the_information():
    t = np.arange(8.0)[:, None]
    x = np.repeat(np.arange(4), 2)
    made = Binning(8)
    assert made.estimate(t).xt.value == pytest.approx(np.log(8))
    assert made.estimate(t, x=x).xt.value == pytest.approx(np.log(4))
    assert made.estimate(t, x=np.zeros((8, 2))).xt.value == 0
    assert type(made.estimate(t).xt.value) is float
    for x in (np.array([object()] * 8), np.zeros(7), [[1], [2, 3]]):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            made.estimate(t, x=x)


def test_values_outside_a_range_are_an_error_or_a_stated_clip():
    t = np.array([[-2.0], [0.5], [3.0]])
    with pytest.raises(ArgumentError, match=r"\[-1.0, 1.0\].*clip=True.*values from -2 to 3"):
        Binning(range=(-1, 1)).estimate(t)
    clipped = Binning(range=(-1, 1), clip=True).estimate(t)
    assert "clipped" in clipped.xt.flags
    assert clipped.xt.value == pytest.approx(np.log(3))
    inside = Binning(range=(-2, 3), clip=True).estimate(t)
    assert "clipped" not in inside.xt.flags


def test_the_networks_own_noise_is_flagged():
    t = np.arange(8.0)
    assert "network_noise" in EBAB().estimate(t, noise_std=0.1).xt.flags
    assert "network_noise" not in EBAB().estimate(t).xt.flags


def test_saturation_is_flagged():
    rng = np.random.default_rng(0)
    assert "saturated" in EBAB().estimate(rng.normal(size=(100, 50))).xt.flags
    assert "saturated" not in EBAB(4).estimate(rng.normal(size=(100, 2))).xt.flags
    # Equal counts of a single neuron say nothing, whatever its values are.
    assert "saturated" in EBAB(4).estimate(rng.normal(size=(100, 1))).xt.flags
    assert "saturated" not in Binning(4).estimate(rng.normal(size=(100, 1))).xt.flags


def test_information_about_labels_in_random_order_is_flagged():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(2000, 2))
    coin, side = rng.integers(0, 2, 2000), (t[:, 0] > 0).astype(int)
    for made in (EBAB(), Binning(), KDE(1e-3), AdaptiveKDE()):
        by_chance = made.estimate(t, y=coin).ty
        assert by_chance.value > 0.1 and "chance" in by_chance.flags
        narrow = made.estimate(t[:, :1], y=side).ty
        assert narrow.value > 0.6 and not {"chance", "undersampled"} & set(narrow.flags)
        assert "chance" not in made.estimate(t, y=coin).xt.flags
    assert "undersampled" in EBAB().estimate(t, y=side).ty.flags
    assert "chance" not in made.estimate(t[:, :1] > 0, y=coin).ty.flags


@pytest.mark.parametrize(
    "made", [EBAB(), Binning(quantile=True), Binning(quantile=True, range="neuron")]
)
def test_a_line_fills_bins_of_equal_counts(made):
    p = 1 / (1 + np.exp(-np.random.default_rng(0).normal(size=(2000, 1))))
    softmax = np.hstack([p, 1 - p])
    for line in (softmax, np.log(softmax), np.hstack([p, p])):
        assert "saturated" in made.estimate(line).xt.flags
    for other in (np.hstack([p, np.sin(6 * p)]), np.round(softmax, 1)):
        assert "saturated" not in made.estimate(other).xt.flags
    # Bins of equal width are not full.
    assert "saturated" not in Binning().estimate(softmax).xt.flags


@pytest.mark.parametrize("made", [EBAB(), Binning(), Binning(width=0.1), Binning(quantile=True)])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e30, 1e-30])
def test_constant_layers_know_nothing(made, value):
    information = made.estimate(np.full((20, 3), value), y=np.arange(20) % 2)
    assert information.xt.value == information.ty.value == 0


@pytest.mark.parametrize(
    "made", [EBAB(), Binning(), Binning(range="neuron"), Binning(quantile=True)]
)
@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e300])
def test_extreme_scales_change_nothing(made, scale):
    t = np.array([[0.5], [-1.0], [0.25], [0.5]])
    assert made.estimate(t * scale).xt.value == pytest.approx(np.log(4) - 0.5 * np.log(2))


def test_dtypes():
    import ml_dtypes

    t = np.array([[0, 1], [2, 3], [0, 1], [4, 5]])
    for dtype in ("int8", "uint16", "bool", "float16", "float64", ml_dtypes.bfloat16):
        expected = 1.5 * np.log(2) if dtype != "bool" else Binning().estimate(t > 0).xt.value
        assert Binning().estimate(t.astype(dtype)).xt.value == pytest.approx(expected)


def test_narrow_bins_and_huge_values():
    t = np.array([[1e30], [1e30], [-1e30], [5.0]])
    assert Binning(width=0.07).estimate(t).xt.value == pytest.approx(1.5 * np.log(2))
    with pytest.raises(ArgumentError, match="too narrow"):
        Binning(width=1e-10).estimate(np.array([[1e300], [1.0]]))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 30, 90]))
def test_ebab_is_invariant_to_increasing_maps_that_fix_zero(seed, bins):
    rng = np.random.default_rng(seed)
    t = np.maximum(rng.normal(size=(60, 2)), 0) if seed % 2 else rng.normal(size=(60, 2))
    mapped = np.sign(t) * np.abs(t) ** 3 * np.where(t > 0, 2, 7)
    assert EBAB(bins).estimate(mapped).xt.value == EBAB(bins).estimate(t).xt.value


@pytest.mark.parametrize("count", [1, 5, 64, 65, 300])
def test_digitise_is_searchsorted(count):
    rng = np.random.default_rng(count)
    t = rng.integers(0, 50, (1000, 7)).astype("float32")
    edges = np.sort(rng.integers(0, 50, count)).astype("float32")
    np.testing.assert_array_equal(digitise(t, edges), np.searchsorted(edges, t, side="right"))


def test_mutual_information_of_a_pair():
    a = np.arange(8.0)
    assert Binning(8).mutual_information(a, -a).value == pytest.approx(np.log(8))
    assert Binning(8).mutual_information(a, np.zeros(8)).value == 0
    with pytest.raises(ArgumentError, match="differ in length"):
        Binning().mutual_information(a, a[:4])


@pytest.mark.parametrize(
    "arguments",
    [
        {"bins": 0},
        {"bins": 2.5},
        {"width": -1.0},
        {"width": "wide"},
        {"width": 0.1, "range": "neuron"},
        {"range": "global-ish"},
        {"range": (1, 1)},
        {"range": (0, np.inf)},
        {"clip": True},
        {"quantile": True, "range": (0, 1)},
    ],
)
def test_bad_parameters(arguments):
    with pytest.raises(ArgumentError, match="Expected .* Received: "):
        Binning(**arguments)


@pytest.mark.parametrize("estimator", ["binning", {"name": "binning", "range": "neuron"}, "akde"])
def test_a_row_that_sets_the_scale_is_flagged(estimator):
    """One missing value that is coded as a large number hides what all other rows show."""
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(400, 3)), rng.integers(0, 2, 400)
    clean = ib.estimate({"t": t}, estimator, targets=y)
    assert not clean["flags"].str.contains("outliers").any()
    t[7] = -99999
    found = ib.estimate({"t": t}, [estimator, "ebab"], targets=y).set_index(
        ["estimator", "quantity"]
    )
    scaled = found.drop(index="ebab(bins=30)", errors="ignore").drop(index="ebab", errors="ignore")
    assert scaled["flags"].str.contains("outliers").all() and len(scaled) == 2
    assert (scaled["value"] < 0.1 * clean["value"].to_numpy()).all()
    rest = found.drop(index=scaled.index)
    assert len(rest) == 2 and not rest["flags"].str.contains("outliers").any()
    assert rest["value"].max() > 5
