"""KSG, Kozachenko–Leonenko and the Gaussian closed form."""

import json
import math
import pathlib

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import digamma

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.arrays.scaling import spread
from ib_keras.errors import ArgumentError
from ib_keras.estimators import KSG, Gaussian, KozachenkoLeonenko
from ib_keras.estimators.kernels import neighbor_search
from ib_keras.estimators.kozachenko_leonenko import berrett_weights

CASES = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "knn.json").read_text())


def pair(case):
    rng = np.random.default_rng(case["seed"])
    x = rng.normal(size=(case["n"], case["d"]))
    noise = rng.normal(size=(case["n"], case["d"]))
    rho = math.sqrt(-math.expm1(-2 * case["true_mi_nats"] / case["d"]))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"d={c['d']}")
def test_golden(case, monkeypatch):
    x, y = pair(case)
    assert KSG(5).mutual_information(x, y).value == pytest.approx(case["ksg_k5"], abs=1e-9)
    entropy = KozachenkoLeonenko(5).entropy(x)
    assert entropy.value == pytest.approx(case["kl_entropy_x_k5"], abs=1e-9)
    assert abs(entropy.value - case["true_entropy_x"]) < 0.05 + 3 * entropy.stderr
    # Trees and all pairs are one estimator.
    monkeypatch.setattr(neighbor_search, "_TREE_NEIGHBOURS", 0)
    assert KSG(5).mutual_information(x, y).value == pytest.approx(case["ksg_k5"], abs=1e-9)
    again = KozachenkoLeonenko(5).entropy(x)
    assert again.value == pytest.approx(case["kl_entropy_x_k5"], abs=1e-9)


def plain_ksg(x, y, k, norm):
    dx, dy = (cdist(v, v, norm) for v in (x, y))
    joint = np.maximum(dx, dy)
    np.fill_diagonal(joint, np.inf)
    radius = np.sort(joint, axis=1)[:, k - 1 : k]
    inside = [(d < radius).sum(axis=1) for d in (dx, dy)]  # the sample itself among them
    return digamma(k) + digamma(len(x)) - np.mean([digamma(c) for c in inside], axis=1).sum()


def test_entropies_of_values_with_dense_places_are_flagged():
    x, y = synthetic.correlated_gaussians(2000, 1, 0.83, seed=0)
    dense = KozachenkoLeonenko().mutual_information(x**3, y**3)
    assert dense.value < 0.75 and dense.flags == ("heavy_tails",)
    uniform = np.random.default_rng(0).uniform(size=(2, 2000, 1))
    for a, b in ((x, y), (np.exp(x), y), (uniform[0], uniform[0] + 0.1 * uniform[1]), uniform):
        assert KozachenkoLeonenko().mutual_information(a, b).flags == ()


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
@pytest.mark.parametrize("dim", [1, 2, 5, 20])
def test_ksg_is_its_definition(metric, dim):
    x, y = synthetic.correlated_gaussians(400, dim, 1.0, seed=dim)
    for k in (1, 4):
        found = KSG(k, metric, rescale=False).mutual_information(x, y)
        assert found.value == pytest.approx(plain_ksg(x, y, k, metric), abs=1e-9)
        # Pairs of similar spreads are not rescaled.
        y *= spread(x) / spread(y)
        found = KSG(k, metric).mutual_information(x, y)
        assert found.value == pytest.approx(plain_ksg(x, y, k, metric), abs=1e-9)


def test_scale_does_not_matter():
    x, y = synthetic.correlated_gaussians(800, 3, 1.5, seed=0)
    for made in (KSG(), KSG(3, "euclidean"), KozachenkoLeonenko(), Gaussian()):
        expected = made.mutual_information(x, y).value
        for scale in (1e-12, 1e-3, 1e6):
            scaled = made.mutual_information(scale * x, scale * y).value
            assert scaled == pytest.approx(expected, abs=1e-6), (made, scale)
    labels = (x[:, 0] > 0).astype(int)
    values = [KSG().with_labels(scale * x, labels).value for scale in (1e-12, 1, 1e6)]
    assert values == pytest.approx([values[1]] * 3, abs=1e-9)


def test_shuffled_rows_have_no_information():
    x, y = synthetic.correlated_gaussians(1500, 2, 1.0, seed=1)
    other = y[np.random.default_rng(0).permutation(len(y))]
    for made in (KSG(), KSG(5, "euclidean"), Gaussian(), KozachenkoLeonenko()):
        found = made.mutual_information(x, other)
        assert abs(found.value) < 3 * found.stderr + 0.02, made
    base = KSG().baseline(x, y, repeats=6)
    assert abs(base.value) < 3 * base.stderr


def test_standard_errors_are_those_of_repetition():
    values, errors = [], []
    for seed in range(40):
        found = KSG(3).mutual_information(*synthetic.correlated_gaussians(400, 1, 0.8, seed=seed))
        values.append(found.value)
        errors.append(found.stderr)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.5)
    assert np.mean(values) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("estimator", [KSG(), KozachenkoLeonenko()], ids=["ksg", "kl"])
@pytest.mark.parametrize("n", [12, 20, 30, 60])
def test_few_rows_are_not_sure_of_their_value(estimator, n):
    """Of 25 pairs of n rows, the error and the flag must say how far the truth may be."""
    rng = np.random.default_rng(n)
    truth, missed = -0.5 * math.log(1 - 0.9**2), 0
    for _ in range(25):
        x = rng.normal(size=(n, 1))
        found = estimator.mutual_information(x, 0.9 * x + math.sqrt(0.19) * rng.normal(size=(n, 1)))
        missed += abs(found.value - truth) > 3 * found.stderr and "few_rows" not in found.flags
        assert n >= 24 or "few_rows" in found.flags
    assert missed <= 1
    # Enough rows for tenths are not flagged, and their error is not that of halves.
    x = rng.normal(size=(600, 1))
    many = estimator.mutual_information(x, x + rng.normal(size=x.shape))
    assert many.flags == () and many.stderr < 0.08


@pytest.mark.parametrize("estimator", [KSG(), KozachenkoLeonenko()], ids=["ksg", "kl"])
@pytest.mark.parametrize("n", [24, 60])
def test_classes_that_seem_separate_may_overlap(estimator, n):
    rng = np.random.default_rng(n)
    labels, missed = np.arange(n) % 2, 0
    for _ in range(25):
        x = 3 * labels[:, None] + rng.normal(size=(n, 1))
        found = estimator.with_classes(x, labels)
        # The classes share 0.533 nats of the 0.693 of their entropy.
        missed += abs(found.value - 0.533) > 3 * found.stderr
        assert found.value < 0.35 or found.stderr >= (1 + math.log(n)) / n
    assert missed <= 1


def test_labels():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 2000)
    apart = rng.normal(size=(2000, 2)) + 40 * np.eye(3)[y][:, :2]
    exact = -sum(p * math.log(p) for p in np.bincount(y) / 2000)
    assert KSG().with_labels(apart, y).value == pytest.approx(exact, abs=0.01)
    assert KozachenkoLeonenko().with_labels(apart, y).value == pytest.approx(exact, abs=0.1)
    noise = KSG().with_labels(rng.normal(size=(2000, 2)), y)
    assert abs(noise.value) < 3 * noise.stderr + 0.02
    # A class smaller than k takes its others; one of a single sample is left out.
    y[:] = np.arange(2000) % 2
    y[:3], y[3] = 2, 3
    small = KSG(5).with_labels(apart, y)
    assert small.n == 1999 and np.isfinite(small.value)


def test_what_others_fail_on():
    x, y = synthetic.correlated_gaussians(1000, 2, 1.0, seed=2)
    ksg, kl = KSG(), KozachenkoLeonenko()
    one = np.ones((1000, 1))
    expected = {made: made.mutual_information(x, y).value for made in (ksg, kl, Gaussian())}
    for made, value in expected.items():
        constant = made.mutual_information(np.hstack([x, one]), y)
        assert constant.value == pytest.approx(value, abs=1e-9)
    twice = np.hstack([x, x[:, :1]])
    assert ksg.mutual_information(twice, y).value == pytest.approx(expected[ksg], abs=1e-9)
    assert kl.mutual_information(twice, y).value == pytest.approx(expected[kl], abs=1e-9)
    with pytest.raises(ArgumentError, match="lies in a subspace"):
        kl.entropy(twice)
    for made in (ksg, kl, Gaussian()):
        with pytest.raises(ArgumentError, match="infinite"):
            made.mutual_information(x, x)
    rows = np.repeat(x[:250], 4, axis=0), np.repeat(y[:250], 4, axis=0)
    # Copies of rows are counted once, but an entropy of copies is −∞.
    with pytest.raises(ArgumentError, match="Samples coincide"):
        KozachenkoLeonenko(3).entropy(rows[0])
    for made in (ksg, KozachenkoLeonenko(3)):
        found = made.mutual_information(*rows)
        assert np.isfinite(found.value) and "dependent" in found.flags and found.n == 250
    with pytest.raises(ArgumentError, match="class has too few"):
        kl.with_labels(x, np.append(np.zeros(996, int), [1, 1, 2, 2]))
    # Two discrete variables, given as numbers, are spread over their cells.
    a = np.random.default_rng(0).integers(0, 3, 1000)
    b = np.where(np.random.default_rng(1).uniform(size=1000) < 0.5, a, 0)
    found = ksg.mutual_information(a.astype(float), b.astype(float))
    assert found.flags == ()
    exact = ib.mutual_information(a, b)
    assert found.value == pytest.approx(exact.parts["counts"].value, abs=0.05)


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(20, 2))
    for made in (KSG(20), KozachenkoLeonenko(20)):
        with pytest.raises(ArgumentError, match=r"too few samples for k=20.*20 samples"):
            made.mutual_information(x, x[::-1])
    with pytest.raises(ArgumentError, match="differ in length"):
        KSG().mutual_information(x, x[:10] + 1)
    with pytest.raises(ArgumentError, match=r"compares T with X.*x=None"):
        KSG().estimate(x)
    with pytest.raises(ArgumentError, match="too few samples for a covariance"):
        Gaussian().mutual_information(np.ones((5, 3)) * x[:5, :1], x[:5])
    for arguments in ({"k": 0}, {"metric": "manhattan"}, {"rescale": "no"}):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            KSG(**arguments)
    wide = np.random.default_rng(0).normal(size=(30, 40))
    assert np.isfinite(KSG().mutual_information(wide, x[:, :1].repeat(2, 0)[:30]).value)


def test_weights():
    for k, dim in ((50, 4), (50, 8), (100, 10)):
        w = berrett_weights(k, dim)
        assert w.sum() == pytest.approx(1) and np.linalg.norm(w) < 5
    for k, dim, message in (
        (5, 10, "k of 50 to 100"),
        (1, 5, "k of 10 to 20"),
        (80, 20, "d <= 12"),
    ):
        with pytest.raises(ArgumentError, match=message):
            berrett_weights(k, dim)
    exact = 2 * math.log(2 * math.pi * math.e)
    bias = {False: [], True: []}
    for seed in range(8):
        x = np.random.default_rng(seed).normal(size=(2000, 4))
        for weighted, k in ((False, 5), (True, 10)):
            bias[weighted].append(KozachenkoLeonenko(k, weighted).entropy(x).value - exact)
    # −0.02 and −0.06 nats.
    assert abs(np.mean(bias[True])) < abs(np.mean(bias[False]))
    x = np.random.default_rng(0).normal(size=(4000, 8))
    exact = 4 * math.log(2 * math.pi * math.e)
    weighted = KozachenkoLeonenko(60, weighted=True).entropy(x)
    assert weighted.value == pytest.approx(exact, abs=4 * weighted.stderr)


def test_gaussian_is_unbiased_where_dimensions_are_many():
    values = [
        Gaussian().mutual_information(*synthetic.correlated_gaussians(500, 20, 1.0, seed=s))
        for s in range(20)
    ]
    mean, error = np.mean([v.value for v in values]), np.std([v.value for v in values]) / 20**0.5
    assert mean == pytest.approx(1.0, abs=4 * error)  # uncorrected: 1.4
    x, y = synthetic.correlated_gaussians(2000, 2, 1.0, seed=0)
    assert Gaussian(copula=True).mutual_information(np.exp(x), y**3).value == pytest.approx(
        Gaussian(copula=True).mutual_information(x, y).value, abs=1e-9
    )


def test_estimates_of_a_model_compare_with_the_inputs(mlp, inputs):
    x, y = inputs
    noisy = ib.instrument(mlp, 0.5, seed=0)
    table = ib.estimate(noisy, ["ksg", "gaussian"], inputs=x, targets=y, seed=0)
    flags = table.set_index(["estimator", "layer", "quantity"])["flags"]
    # With some ten rows per dimension, KSG finds too little.
    assert flags[("ksg", "first", "I(X;T)")] == "high_dim"
    # Noise acts before the output: its T is random given X, though it has no channel.
    assert flags[("ksg", "output", "I(X;T)")] == ""
    plain = ib.estimate(mlp, "ksg", inputs=x, layers="output")["flags"]
    assert "no_noise" in plain.iloc[0].split(",")
    t = noisy.capture(x)["first"]
    row = table[(table["estimator"] == "ksg") & (table["layer"] == "first")]
    assert row["value"].iloc[0] == pytest.approx(KSG().mutual_information(x, t).value, abs=0.4)


def test_classes_that_lie_apart_tell_no_more_than_their_entropy():
    # Digamma functions alone give ψ(4) − ψ(2) = 5/6 > ln 2.
    t, y = np.array([[0.0], [1.0], [0.0], [1.0]]), [0, 1, 0, 1]
    assert KSG(2, dither=False).with_labels(t, y).value == pytest.approx(np.log(2))


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
def test_the_border_of_a_ball_with_labels_is_outside(metric):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    t = rng.normal(size=(300, 5)) + y[:, None]
    order = {"chebyshev": np.inf, "euclidean": 2}[metric]
    apart = np.linalg.norm(t[:, None] - t[None], ord=order, axis=2)
    inside = np.empty(300)
    for i in range(300):
        others = np.delete(apart[i], i)
        radius = np.sort(others[np.delete(y, i) == y[i]])[2]
        inside[i] = 1 + (others < radius * (1 - 1e-9)).sum()
    counts = np.bincount(y)[y]
    expected = digamma(300) + digamma(3) - digamma(counts).mean() - digamma(inside).mean()
    assert KSG(3, metric).with_labels(t, y).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
def test_the_scale_of_one_variable_does_not_matter(metric):
    x, y = synthetic.correlated_gaussians(500, 2, 1.0, seed=0)
    y *= spread(x) / spread(y)
    made = KSG(3, metric)
    alike = made.mutual_information(x, y)
    assert alike.value == pytest.approx(1.0, abs=0.15)
    assert KSG(3, metric, rescale=False).mutual_information(x, y).value == alike.value
    expected = made.mutual_information(x, 2 * y).value
    assert expected == pytest.approx(alike.value, abs=alike.stderr / 4)
    for scale in (4.0, 64.0, 2.0**200):
        # Powers of two: the very samples come out.
        assert made.mutual_information(x, scale * y).value == expected
        assert made.mutual_information(x / scale, y).value == expected
        assert made.estimate(scale * y, x=x).xt.value == expected
    for scale in (1.1, 3.0, 1000.0):
        assert made.mutual_information(x, scale * y).value == pytest.approx(expected, abs=1e-3)
    plain = KSG(3, metric, rescale=False).mutual_information(x, 1000 * y).value
    assert plain < 0.3
    wide = np.repeat(y, 100, axis=1) + np.random.default_rng(0).normal(size=(500, 200))
    at_once = made.mutual_information(x, wide.astype(np.float32)).value
    assert made.mutual_information(x, (2.0**30 * wide).astype(np.float32)).value == at_once


def test_estimates_follow_the_scale_continuously():
    """A layer that grows from epoch to epoch: the estimate depends on the scale at many columns."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(800, 4))
    wide = np.tanh(z @ rng.normal(size=(4, 10))) + 0.3 * rng.normal(size=(800, 10))
    layer = z + 0.2 * rng.normal(size=(800, 4))
    for made in (KSG(3), KozachenkoLeonenko(3)):
        found = [
            made.mutual_information(wide, scale * layer).value
            for scale in np.exp2(np.arange(-1, 1.01, 0.25))
        ]
        # The ratio of the spreads, which was 1/√2 to √2 if scales were powers of two, and then
        # changed the estimate by 0.5 nats, is between 0.98 and 1.02.
        assert np.ptp(found) < 0.1


@pytest.mark.parametrize("metric", ["chebyshev", "euclidean"])
def test_many_columns_beside_few(metric):
    """The distances of many columns do not hide those of few."""
    rng = np.random.default_rng(0)
    z, mix = rng.normal(size=(2000, 2)), rng.normal(size=(2, 40))
    wide = z @ mix + rng.normal(size=(2000, 40))
    narrow = z + 0.5 * rng.normal(size=(2000, 2))
    cov = np.block([[mix.T @ mix + np.eye(40), mix.T], [mix, 1.25 * np.eye(2)]])
    dets = [np.linalg.slogdet(part)[1] for part in (cov[:40, :40], cov[40:, 40:], cov)]
    truth = 0.5 * (dets[0] + dets[1] - dets[2])
    found = KSG(3, metric).mutual_information(wide, narrow)
    assert 0.75 * truth < found.value < truth + 3 * found.stderr
    assert KSG(3, metric, rescale=False).mutual_information(wide, narrow).value < 0.7 * truth


def test_scales_that_are_far_apart_or_hardly_there():
    x, t = synthetic.correlated_gaussians(300, 2, 1.0, seed=0)
    expected = KSG().mutual_information(x, t).value
    for power in (-1000, 900):
        found = KSG().mutual_information(x, np.ldexp(t, power)).value
        assert found == pytest.approx(expected, abs=0.01)
    # One row of thousands that differs from the others.
    rare = np.zeros((20_001, 1))
    rare[7] = 1.0
    x = np.random.default_rng(0).normal(size=(20_001, 1))
    assert abs(KSG().mutual_information(x, rare).value) < 0.05


def test_many_samples_on_the_border_of_an_interval():
    """Far from 0 the border rounds onto the many samples that lie just beyond it."""
    x = np.repeat([0.0, 1.0, 2.0, 3.0], [1, 10, 20, 7])[:, None]
    radius = np.repeat([1.0, 2.0], [30, 8])
    expected = (np.abs(x - x.T) < radius[:, None]).sum(axis=1)
    for shift in (0.0, 1.0, 1e6, 2.0**50):
        found = neighbor_search.counts_within(x + shift, radius, "chebyshev")
        assert found.tolist() == expected.tolist()


def test_a_linear_relation_may_have_an_intercept():
    rng = np.random.default_rng(0)
    a = rng.exponential(size=(300, 2))  # with medians that do not add up
    sums = np.column_stack([a, 5 - a.sum(axis=1)])
    with pytest.raises(ArgumentError, match="lies in a subspace"):
        KozachenkoLeonenko().entropy(sums)
    b = a[:, :1] + rng.normal(size=(300, 1))
    found, plain = (KozachenkoLeonenko(whiten=True).mutual_information(v, b) for v in (sums, a))
    assert found.dim == plain.dim and found.value == pytest.approx(plain.value, abs=0.02)
