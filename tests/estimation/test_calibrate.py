import math

import numpy as np
import pytest
from scipy import integrate, stats

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.errors import ArgumentError
from ib_keras.estimation import surrogates
from ib_keras.estimators import KDE, Gaussian, SamplePropagation
from ib_keras.estimators.base import BaseEstimator
from ib_keras.interface import Estimate, LayerInformation


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 6))
    return np.tanh(0.7 * w + 0.2 * rng.normal(size=w.shape))


def test_pairs_have_the_marginals_and_the_information(layer):
    rng = np.random.default_rng(1)
    x = rng.exponential(size=(2000, 4))
    drawn = surrogates.pairs(layer, x)(2.0, 2000, rng)
    assert drawn.mi == 2.0 and drawn.t.shape == layer.shape and drawn.x.shape == x.shape
    for own, other in [(layer, drawn.t), (x, drawn.x)]:
        for a, b in zip(own.T, other.T, strict=True):
            assert stats.ks_2samp(a, b).pvalue > 1e-3
    expected, found = (stats.spearmanr(a).statistic for a in (layer, drawn.t))
    np.testing.assert_allclose(found, expected, atol=0.06)
    # Monotone functions of normal vectors: normal scores give the vectors back.
    many = surrogates.pairs(layer, x)(2.0, 20000, rng)
    estimate = Gaussian(copula=True).mutual_information(many.x, many.t)
    assert abs(estimate.value - 2.0) < 3 * estimate.stderr + 0.02
    nothing = surrogates.pairs(layer, x)(0.0, 20000, rng)
    estimate = Gaussian(copula=True).mutual_information(nothing.x, nothing.t)
    assert abs(estimate.value) < 3 * estimate.stderr


def test_information_behind_a_channel():
    # S uniform on [-a, a]: p(t) = (Φ(t + a) − Φ(t − a)) / 2a, integrated by SciPy.
    for a in (0.1, 1.0, 5.0, 200.0):

        def p(t, a=a):
            return (stats.norm.cdf(t + a) - stats.norm.cdf(t - a)) / (2 * a)

        def minus_p_log_p(t, p=p):
            return -p(t) * math.log(max(p(t), 1e-300))

        half = sum(
            integrate.quad(minus_p_log_p, lo, hi, limit=500)[0]
            for lo, hi in ((0, max(a - 9, 0)), (max(a - 9, 0), a + 9))
        )
        expected = 2 * half - 0.5 * math.log(2 * math.pi * math.e)
        knots = np.linspace(-a, a, surrogates._STEPS + 1)
        assert surrogates._channel_information(knots) == pytest.approx(
            expected, abs=2e-4 + 2e-3 * expected
        )


def test_a_channels_samples_have_the_information_that_sample_propagation_finds(layer):
    draw = surrogates.channel(layer, 0.3**2, 0.0)
    for mi in (0.5, 2.0):
        s = draw(mi, 4000, np.random.default_rng(2)).t
        found = SamplePropagation(seed=0).estimate(s, noise_std=0.3).xt
        assert found.value == pytest.approx(mi, abs=0.05)
        axes = np.linalg.svd(layer - layer.mean(0), full_matrices=False)[2]
        own, other = ((a - a.mean(0)) @ axes.T for a in (layer, s))
        ratio = own.std(0) / other.std(0)
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.1)


def test_an_alphabet_is_counted(layer):
    found = ib.calibrate("ebab", layer, mi=(0, 1, 3, 9))
    assert found.frame["mi"].tolist() == pytest.approx(
        [0, math.log(3), math.log(20), math.log(8103)]
    )
    # Up to ln n all is well, and there is nothing beyond.
    assert found.trust == (0, pytest.approx(math.log(20)))
    assert found.frame["mean"].iloc[-1] < math.log(2000)


def test_the_interval_holds_the_truth_where_the_estimate_does_not(layer):
    x, t = (
        np.tanh(values @ stats.ortho_group.rvs(6, random_state=seed))
        for seed, values in enumerate(synthetic.correlated_gaussians(1000, 6, 3.0, seed=5))
    )
    estimate = ib.estimators.KSG(5).mutual_information(x, t)
    assert estimate.value < 2.2  # as neighbours in twelve dimensions do
    found = ib.calibrate(ib.estimators.KSG(5), t, inputs=x, seed=1)
    lower, upper = found.interval(estimate.value)
    assert lower < 3.0 < upper < lower + 2
    assert not found.trusts(estimate.value) and found.trust[1] < 2
    assert found.interval(50.0) == (8.0, math.inf) and found.interval(-3.0)[0] == 0
    assert all(math.isnan(end) for end in found.interval(math.nan))
    frame, trust = ib.calibrate(Gaussian(copula=True), t, inputs=x, mi=(0, 1, 2))
    assert trust == (0, 2)
    np.testing.assert_allclose(frame["bias"], frame["mean"] - frame["mi"])


def test_adaptive_variance_is_the_layers_own(layer):
    adaptive = ib.calibrate("akde", layer, mi=(0.5, 2))
    fixed = ib.calibrate(KDE(1e-3 * np.abs(layer).max()), layer, mi=(0.5, 2))
    np.testing.assert_array_equal(adaptive.frame["mean"], fixed.frame["mean"])
    assert adaptive.frame["bias"].iloc[0] > 0  # the upper bound
    lower = ib.calibrate(KDE(1e-3, kind="lower"), layer, mi=(0.5, 2))
    assert lower.frame["bias"].iloc[0] < 0


def test_tables_are_calibrated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    layers = {"good": x[:, :1] + rng.normal(size=(600, 1)), "dead": np.zeros((600, 2))}
    settings = {"mi": (0, 0.5, 1, 2), "repeats": 3}
    table = ib.estimate(
        layers, ["ksg"], inputs=x, targets=(x[:, 0] > 0).astype(int), calibrate=settings
    )
    good, _, dead, _ = table.to_dict("records")
    truth = 0.5 * math.log(2)
    assert good["calibrated_lower"] < truth < good["calibrated_upper"] < 0.8
    assert "untrusted" not in good["flags"] and "untrusted" in dead["flags"]
    assert math.isnan(dead["calibrated_upper"])
    assert table.loc[table["quantity"] == "I(T;Y)", "calibrated_lower"].isna().all()
    bits = ib.frame.convert(table, "bits")
    assert bits["calibrated_upper"][0] == pytest.approx(good["calibrated_upper"] / math.log(2))


def test_calibration_only_adds_flags():
    # Sums of three entropies lie below 0 where there is no information, in many dimensions.
    x, t = np.random.default_rng(0).uniform(size=(2, 300, 8))
    settings = {"mi": (0, 0.5), "repeats": 2, "tolerance": 1e-6}
    plain, calibrated = (
        ib.estimate({"h": t}, "kl", inputs=x, calibrate=more).iloc[0] for more in (False, settings)
    )
    assert plain["value"] < -0.3 and {"no_noise", "negative"} <= set(plain["flags"].split(","))
    assert calibrated["flags"] == plain["flags"] + ",untrusted"
    assert calibrated["value"] == plain["value"] and "untrusted" not in calibrated.index


def test_layers_that_cannot_be_calibrated_keep_their_rows():
    """An estimator may reject the synthetic samples, and an infinite estimate has no interval."""
    x = np.random.default_rng(0).normal(size=(300, 1))
    layers = {"quantised": np.round(x), "diverged": np.full((300, 1), np.nan), "passed on": x}
    few = ib.estimators.Quantized(bits=3)
    table = ib.estimate(layers, [few, "ksg"], inputs=x, calibrate={"repeats": 2})
    assert table["calibrated_lower"].isna().sum() >= 5
    assert table["flags"].tolist()[0] == "untrusted" and "infinite" in table["flags"].tolist()[-1]
    assert table["flags"][2] == "not_estimated"


def test_tables_keep_what_a_compressor_tells(tmp_path):
    x, y = synthetic.gaussian_images(600, 8, 1.0, seed=0)
    table = ib.estimate({"y": y}, ["pca+ksg"], inputs=x)
    assert table["details"].str.contains("explained_variance").all()
    ib.frame.write(table, tmp_path / "a")
    assert ib.load(tmp_path / "a")["details"].tolist() == table["details"].tolist()
    assert "details" not in ib.estimate({"y": y}, "ebab")


def test_bad_input(layer):
    for arguments in (
        {"mi": (1,)}, {"mi": (0, -1)}, {"mi": "all"}, {"repeats": 1}, {"tolerance": 0.0},
        {"inputs": layer[:5]}, {"noise_std": -1.0}, {"seed": -1},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            ib.calibrate("ksg", layer, **arguments)
    with pytest.raises(ArgumentError, match="constant"):
        ib.calibrate("ksg", np.ones((50, 3)))
    with pytest.raises(ArgumentError, match="needs a noisy layer"):
        ib.calibrate("sp", layer)
    with pytest.raises(ArgumentError, match="not one layer"):
        ib.calibrate("ksg", {"a": layer, "b": layer})
    for wrong in (
        "yes", {"n": 3}, {"mi": (1,)}, {"repeats": 1}, {"tolerance": -1}, {"seed": "a"},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            ib.estimate({"a": layer}, "ksg", inputs=layer, calibrate=wrong)


def test_an_estimator_with_a_kernel_of_its_own_is_calibrated_itself(layer):
    class Wide(BaseEstimator):
        name = "wide"

        def kernel_variance(self, t):
            return 0.3

        def estimate(self, t, *, y=None, x=None, noise_std=0.0, conditional=None):
            return LayerInformation(Estimate(7.0, 0.0, n=len(t), dim=1))

    table = ib.calibrate(Wide(), layer, [0.5, 1.0], repeats=2).frame
    assert (table["mean"] == 7.0).all()
