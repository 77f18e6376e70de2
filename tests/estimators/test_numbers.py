"""I(T;Y) of numbers: exact values, cells of equal counts, and invalid targets."""

import types

import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras import compression, estimators
from ib_keras.arrays.targets import classes_of
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators import (
    EBAB,
    KDE,
    KSG,
    NWJ,
    AdaptiveKDE,
    Binning,
    DecoderBound,
    Gaussian,
    InfoNCE,
    KozachenkoLeonenko,
    Quantized,
    SamplePropagation,
    decoder,
)
from ib_keras.estimators.base import FromPairs
from ib_keras.pixelcnn.decoding import Decoded

CRITIC = {"steps": 600, "hidden": (32, 32), "batch_size": 64, "learning_rate": 3e-3}


def linear_gaussian(n, d, k=1, seed=0):
    """Return X, T = AX + noise ``(n, d)``, Y = BX + noise ``(n, k)`` and the exact I(T;Y)."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    a = rotation * rng.uniform(0.7, 1.4, d)
    b = rng.normal(size=(k, d))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    x = rng.normal(size=(n, d))
    t = x @ a.T + 0.5 * rng.normal(size=(n, d))
    y = x @ b.T + rng.normal(size=(n, k))
    of_t, of_y = a @ a.T + 0.25 * np.eye(d), b @ b.T + np.eye(k)
    given = of_y - b @ a.T @ np.linalg.solve(of_t, a @ b.T)
    return x, t, y, (np.linalg.slogdet(of_y)[1] - np.linalg.slogdet(given)[1]) / 2


def within(found, exact, errors=3):
    return abs(found.value - exact) < errors * found.stderr


NEAREST = KozachenkoLeonenko(k=1, whiten=True)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("d", [1, 2, 5, 10])
@pytest.mark.parametrize("copula", [False, True])
def test_gaussian_of_numbers(copula, d, k):
    _, t, y, exact = linear_gaussian(2000, d, k)
    found = Gaussian(copula).with_labels(t, y)
    assert within(found, exact) and found.dim == d and found.flags == ()


@pytest.mark.parametrize(("d", "k"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (5, 1)])
@pytest.mark.parametrize("name", ["ksg", "kl", "pca+ksg"])
def test_neighbours_of_numbers(name, d, k):
    _, t, y, exact = linear_gaussian(2000, d, k)
    found = estimators.get(name, **({"k": 5} if name == "pca+ksg" else {})).with_labels(t, y)
    assert within(found, exact) and found.dim == d
    # With more rows the estimate would be nearer to the truth.
    assert set(found.flags) <= {"unbounded"} if d + k > 4 else found.flags == ()


@pytest.mark.parametrize(("d", "k"), [(5, 2), (5, 3), (10, 1), (10, 2)])
def test_the_nearest_neighbour_of_wider_numbers(d, k):
    _, t, y, exact = linear_gaussian(2000, d, k)
    assert within(NEAREST.with_labels(t, y), exact)


@pytest.mark.parametrize("estimator", [KSG(), KozachenkoLeonenko()], ids=str)
def test_neighbours_of_wide_layers_find_less(estimator):
    """As with any two variables of 11 dimensions; the documentation says so."""
    _, t, y, exact = linear_gaussian(2000, 10)
    assert 0.3 * exact < estimator.with_labels(t, y).value < exact


@pytest.mark.parametrize(("kind", "d", "k"), [(InfoNCE, 1, 1), (NWJ, 2, 2)])
def test_critics_of_numbers(kind, d, k):
    _, t, y, exact = linear_gaussian(3000, d, k)
    found = kind(**CRITIC).with_labels(t, y)
    assert within(found, exact) and found.kind == "lower" and found.dim == d


@pytest.mark.parametrize("estimator", [KSG(), KozachenkoLeonenko(), Gaussian(copula=True)], ids=str)
def test_increasing_maps_leave_the_information(estimator):
    _, t, y, exact = linear_gaussian(2000, 1, seed=3)
    assert within(estimator.with_labels(np.sinh(2 * t), np.exp(y)), exact)
    # Without ranks, the closed form only holds for Gaussian variables.
    assert Gaussian().with_labels(np.sinh(2 * t), np.exp(y)).value < exact / 2


def test_mutual_information_agrees():
    for d, k in ((1, 1), (4, 2), (10, 3)):
        _, t, y, exact = linear_gaussian(2000, d, k)
        maps = np.stack([t, 0 * t], axis=-1)  # as of a convolution with a dead channel
        found = ib.mutual_information(maps, y[:, 0] if k == 1 else y, neural=False)
        assert within(found, exact) and found.lower < exact < found.upper
        swapped = ib.mutual_information(y, maps, neural=False)
        assert found.value == pytest.approx(swapped.value, rel=1e-9)


@pytest.mark.parametrize("name", ["ksg", "kl", "gaussian", "pca+ksg", "infonce"])
def test_estimates_of_numbers_have_one_value(name):
    x, t, y, _ = linear_gaussian(600, 2, 2)
    estimator = estimators.get(name, **(CRITIC | {"steps": 50} if name == "infonce" else {}))
    both = estimator.estimate(t, x=x + 0, y=y)
    assert both.ty == estimator.with_labels(t, y)
    assert both.xt == estimator.estimate(t, x=x).xt
    prepared = estimator.prepare(inputs=x, labels=y)
    assert prepared.estimate(t, x=x, y=y).ty.value == both.ty.value
    assert prepared.with_labels(t, y).value != both.xt.value
    # One column of numbers may have the shape (n,) or (n, 1), and any float type.
    one = [estimator.with_labels(t, v).value for v in (y[:, 0], y[:, :1], y[:, 0].tolist())]
    assert len(set(one)) == 1
    half = y[:, 0].astype(np.float16)
    assert estimator.with_labels(t, half) == estimator.with_labels(t, half.astype(float))


def test_codes_of_wide_numbers():
    _, t, y, _ = linear_gaussian(1000, 8, 6)
    exact = linear_gaussian(1000, 8, 6)[3]
    found = estimators.get("pca+ksg", k=2).with_labels(t, y)
    assert 0 < found.value < exact and found.details["a explained_variance"] < 1
    # The compressor of X, which is for other values, is not applied to Y.
    first = estimators.get("lossy", compress_x="first", compress_t="pca", k=2, k_x=1)
    assert first.with_labels(t, y).value == found.value
    fitted = compression.get("pca", k=2).fit(t)
    only = estimators.get("lossy", compress_x=fitted, compress_t=fitted, k=2)
    assert only.with_labels(t, y[:, :2]).value > 0
    with pytest.raises(ArgumentError, match="`y` is wider than the codes.*at most 2.*6 columns"):
        only.with_labels(t, y)


BINNED = [Binning(bins=8), EBAB(bins=8), KDE(0.1), AdaptiveKDE(0.1), SamplePropagation(8)]


@pytest.mark.parametrize("estimator", BINNED, ids=str)
@pytest.mark.parametrize("k", [1, 2])
def test_numbers_become_classes_of_equal_counts(estimator, k):
    _, t, y, _ = linear_gaussian(400, 2, k)
    codes, flags = classes_of(y, 400, 10)
    assert flags == ("binned_target",) and np.bincount(codes).tolist() == [40] * 10
    noise_std = 0.5 if estimator.name == "sp" else 0.0
    found = estimator.estimate(t, y=y, noise_std=noise_std)
    same = estimator.estimate(t, y=codes, noise_std=noise_std)
    assert found.xt == same.xt and "binned_target" not in found.xt.flags
    assert found.ty.value == same.ty.value and found.ty.flags == (*same.ty.flags, "binned_target")
    few = estimators.get(estimator, target_bins=3).estimate(t, y=y, noise_std=noise_std)
    assert few.ty.value < found.ty.value and few.ty.value <= np.log(3)


def test_quantised_layers_and_numbers():
    _, t, y, exact = linear_gaussian(4000, 1)
    t = np.round(t)
    found = Quantized(bits=4).estimate(t, y=y)
    assert 0.5 * exact < found.ty.value < exact and found.ty.flags == ("binned_target",)


@pytest.mark.parametrize("name", ["binning", "ebab", "kde", "sp"])
def test_cells_keep_part_of_the_information(name):
    x, t, y, exact = linear_gaussian(4000, 1)
    settings = {"kde": {"variance": 0.1}, "sp": {"mc_draws": 4}}.get(name, {"bins": 8})
    values = []
    # A bin has two of the next, so each value is at least the one before.
    for bins in (2, 4, 8):
        estimator = estimators.get(name, target_bins=bins, **settings)
        noise_std = 0.5 if name == "sp" else 0.0
        samples = 1.2 * x if name == "sp" else t
        values.append(estimator.estimate(samples, y=y, noise_std=noise_std).ty.value)
    assert 0.4 * exact < values[0] < values[1] < values[2]
    assert values[2] < exact + (0.1 if name == "sp" else 0)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("bins", [2, 3, 7, 10, 64])
def test_cells_have_equal_counts(bins, k):
    y = np.random.default_rng(bins).normal(size=(997, k)) ** 3
    codes = classes_of(y, 997, bins)[0]
    counts = np.bincount(codes)
    assert len(counts) == bins and counts.max() - counts.min() <= 1
    # Neither the order of the rows nor an increasing map of a column changes the cells.
    rows = np.random.default_rng(0).permutation(997)
    assert (classes_of(y[rows], 997, bins)[0] == codes[rows]).all()
    scale = np.array([1e6, 1e-6, 3.0])[:k]
    for mapped in (y * scale, y * scale + 5.0, np.arctan(y)):
        assert (classes_of(mapped, 997, bins)[0] == codes).all()
    if k == 1:  # the bins between quantiles
        assert (np.diff(codes[np.argsort(y[:, 0])]) >= 0).all()


def test_ties_stay_together():
    rng = np.random.default_rng(0)
    y = np.maximum(rng.normal(size=1000), 1.0)  # 84 % of the rows have one value
    codes = classes_of(y, 1000, 10)[0]
    counts = np.bincount(codes)
    assert len(counts) == 10 and counts[0] == (y == 1).sum()
    assert counts[1:].max() - counts[1:].min() <= 1
    few = rng.integers(0, 3, (300, 2)) + 0.5  # nine different rows
    codes = classes_of(few, 300, 20)[0]
    assert codes.max() == 8 and len(np.unique(np.column_stack([few, codes]), axis=0)) == 9
    column = np.column_stack([np.full(100, 0.5), rng.normal(size=100)])
    assert np.bincount(classes_of(column, 100, 4)[0]).tolist() == [25] * 4


def test_constant_numbers_have_no_information():
    x, t, _, _ = linear_gaussian(200, 2)
    y = np.full(200, 0.5)
    for name in ("ksg", "kl", "gaussian", "pca+ksg"):
        assert estimators.get(name).with_labels(t, y).value == 0
    critic = InfoNCE(steps=2, batch_size=10)
    assert critic.with_labels(t, y).value == 0
    for estimator in BINNED:
        found = estimator.estimate(t, y=y, noise_std=0.5)
        assert found.ty.value == pytest.approx(0, abs=1e-9)
        assert "binned_target" in found.ty.flags


def test_a_layer_that_holds_y_has_infinite_information():
    x, t, y, _ = linear_gaussian(200, 2)
    t = np.column_stack([t, y])
    for name in ("ksg", "kl", "gaussian"):
        with pytest.raises(InfiniteError, match=r"I\(Y;T\) is infinite"):
            estimators.get(name).estimate(t, x=x, y=y)
    with pytest.raises(InfiniteError, match="`y` and `a` share"):
        KSG().with_labels(t, y)


MISSING = np.append(np.random.default_rng(0).normal(size=38), [np.nan, np.inf])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (MISSING, "`y` has NaN or infinite.*2 of 40 rows"),
        (np.column_stack([MISSING, MISSING]), "`y` has NaN or infinite.*2 of 40 rows"),
        (pd.Series([*MISSING[:39].tolist(), None], dtype="Float64"), "`y` has NaN.*2 of 40 rows"),
        (np.arange(40).astype("M8[D]"), "`y` holds neither.*times as floats"),
        (MISSING[:5], "`y` has the wrong length.*40.*(5,)"),
        (np.arange(80).reshape(40, 2), "`y` holds several targets"),
        (np.ones((40, 2)), "`y` holds several targets"),
        ({"a": MISSING[:38]}, r"`y\['a'\]` has the wrong length"),
        (np.array([0.5, "a"] * 20, object), "no class labels"),
    ],
)  # fmt: skip
def test_invalid_targets(y, message):
    rng = np.random.default_rng(0)
    t, x = rng.normal(size=(40, 2)), rng.normal(size=(40, 3))
    for name in ("ksg", "kl", "gaussian", "pca+ksg", "infonce", *(e.name for e in BINNED)):
        with pytest.raises(ArgumentError, match=message):
            estimators.get(name).estimate(t, x=x, y=y, noise_std=0.5)


def test_fewer_rows_than_cells():
    t = np.random.default_rng(0).normal(size=(8, 2))
    for estimator in BINNED:
        with pytest.raises(ArgumentError, match="`y` has fewer rows.*at least 10 rows.*8 rows"):
            estimator.estimate(t, y=t[:, 0] + 1e-3, noise_std=0.5)
    enough = Binning(target_bins=8).estimate(t, y=t[:, 0] + 1e-3)
    assert enough.ty.value == pytest.approx(np.log(8))


@pytest.mark.parametrize("cls", [Binning, EBAB, Quantized, KDE, AdaptiveKDE, SamplePropagation])
def test_the_number_of_cells_is_a_setting(cls):
    assert cls().get_config()["target_bins"] == 10 and "target_bins" not in str(cls())
    made = estimators.get(cls.name, target_bins=4)
    assert str(made) == f"{cls.name}(target_bins=4)"
    assert estimators.get(estimators.to_json(made)) == made
    for bins in (1, 0, 2.5, "4", None):
        with pytest.raises(ArgumentError, match="target_bins"):
            cls(target_bins=bins)


def test_a_custom_estimator_of_pairs_takes_numbers():
    class Correlation(FromPairs):
        name = "correlation"

        def mutual_information(self, a, b):
            rho = np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]
            return ib.Estimate(-np.log(1 - rho**2) / 2)

    x, t, y, exact = linear_gaussian(4000, 1)
    found = Correlation().estimate(t, x=x, y=y)
    assert found.ty.value == pytest.approx(exact, abs=0.05)
    assert Correlation().estimate(t, x=x, y=y > 0).ty is None  # it takes no classes


def test_a_decoder_bounds_the_information_about_the_cells(monkeypatch):
    """Only q(y|h) depends on Y here; the likelihoods of the images are given."""
    rng = np.random.default_rng(0)
    images, t = np.zeros((600, 4, 4), int), rng.uniform(size=(600, 2))
    y = t[:, 0] + 0.01 * rng.normal(size=600)
    said, classes = Decoded(np.ones(400), np.ones(200), np.ones(3)), []

    def prior(settings, train, test, labels, *, make):
        classes.append(np.bincount(np.concatenate(labels)).tolist())
        return None, said

    fake = types.SimpleNamespace(decoded=lambda *parts: said)
    monkeypatch.setattr(decoder, "prior", prior)
    monkeypatch.setattr(decoder, "_decoder", lambda *shapes: fake)
    monkeypatch.setattr(decoder, "compared", lambda *pair: pair[:2])
    bound = DecoderBound(levels=2, target_bins=4)
    prepared = bound.prepare(inputs=images, labels=y)
    found = prepared.estimate(t, x=images, y=y).ty
    assert classes == [[150] * 4]
    assert found.kind == "lower" and found.flags == ("binned_target",) and found.n == 200
    assert 0.8 * np.log(4) < found.value < np.log(4) + 3 * found.stderr
    codes = classes_of(y, 600, 4)[0]
    assert prepared.estimate(t, x=images, y=codes).ty.value == found.value


@pytest.mark.parametrize("dim", [1, 3, 20])
def test_the_closed_form_says_if_the_variables_are_not_normal(dim):
    for seed in range(5):
        a, b = ib.synthetic.correlated_gaussians(2000, dim, 1.0, seed=seed)
        assert Gaussian().mutual_information(a, b).flags == ()
    for family in (ib.synthetic.student_t, ib.synthetic.smoothed_uniforms):
        a, b = family(2000, dim, 2.0, seed=0)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
        assert Gaussian().mutual_information(a @ rotation, b).flags == ("not_normal",)


def test_few_rows_do_not_show_that_variables_are_not_normal():
    a, b = ib.synthetic.student_t(19, 1, 1.0, seed=0)
    assert Gaussian().mutual_information(a, b).flags == ()
