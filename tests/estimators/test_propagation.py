"""Sample propagation against exact values, a float64 reference, and what theory demands."""

import json
import math
import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import SamplePropagation
from ib_keras.estimators.base import BaseEstimator
from ib_keras.estimators.kernels import mixture, near
from ib_keras.estimators.propagation import mixture_entropy
from ib_keras.interface import LayerInformation, MutualInformation, Traits


def within(estimates, exact):
    """How many of the estimates lie within three of their own standard errors."""
    return sum(abs(e.value - exact) <= 3 * e.stderr for e in estimates)


def test_amplitude_modulation(golden):
    for case in golden[0]["pam_awgn"]:
        points = np.array(case["points"])[:, None]
        found = [
            SamplePropagation(seed=seed).estimate(points, noise_std=case["sigma"]).xt
            for seed in range(20)
        ]
        assert within(found, case["mi_nats"]) >= 19, case
        assert max(e.stderr for e in found) < 0.01


def test_one_neuron(golden):
    for case in golden[0]["one_neuron"]:
        s = np.tanh(case["w"] * np.array(case["x"], float) + case["b"])
        found = [
            SamplePropagation(seed=seed).estimate(s, noise_std=case["beta"]).xt
            for seed in range(20)
        ]
        assert within(found, case["mi_nats"]) >= 19, case
        assert max(e.stderr for e in found) < 0.01


def chain(case, n_x, seed, x):
    """S of the second neuron for each x, propagated n_x times."""
    rng = np.random.default_rng(seed)
    first = np.tanh(case["w1"] * x)[:, None] + case["beta"] * rng.normal(size=(len(x), n_x))
    return np.tanh(case["w2"] * first)


def test_two_neuron_chain(golden):
    """The soak repeats it more often."""
    soak = "IB_KERAS_SOAK" in os.environ
    repeats, held = 20 if soak else 6, 0
    for case in golden[0]["two_neuron_chain"]:
        x = np.array(case["x"], float)
        found = []
        for seed in range(repeats):
            s = chain(case, 1000, seed, x)
            sp = SamplePropagation(seed=seed)
            found.append(sp.estimate(s[:, 0], noise_std=case["beta"], conditional=s).xt)
        held += within(found, case["mi_nats"])
        assert max(e.stderr for e in found) < 0.01
        # What n_x components miss is a bias that 64 propagations would show.
        few = [chain(case, 64, seed, x) for seed in range(30 if soak else 15)]
        values = [
            SamplePropagation(seed=i).estimate(s[:, 0], noise_std=case["beta"], conditional=s).xt
            for i, s in enumerate(few)
        ]
        mean = np.mean([e.value for e in values])
        spread = np.std([e.value for e in values]) / math.sqrt(len(values))
        assert mean == pytest.approx(case["mi_nats"], abs=4 * spread + 1e-3)
    # Of all of them, one in twenty may lie further off.
    assert held >= 0.95 * repeats * len(golden[0]["two_neuron_chain"])


def test_the_three_ways_to_know_the_inputs_agree(golden):
    case = golden[0]["two_neuron_chain"][1]
    x = np.array(case["x"], float)
    of_rows = np.repeat(x, 800)
    s = chain(case, 1, 5, of_rows)
    y = of_rows > 0
    repeated = chain(case, 800, 6, x)
    rows = np.arange(4) * 800
    sp = SamplePropagation(seed=1)
    arguments = {"noise_std": case["beta"], "x": of_rows, "y": y}
    complete = sp.estimate(s, conditional=repeated, **arguments)
    some = sp.estimate(s, conditional=repeated[:3], conditional_rows=rows[:3], **arguments)
    apart = sp.estimate(s, conditional=repeated, noise_std=case["beta"], y=y)
    assert abs(complete.xt.value - case["mi_nats"]) < 3 * complete.xt.stderr
    assert abs(some.xt.value - case["mi_nats"]) < 3 * some.xt.stderr
    assert abs(apart.xt.value - case["mi_nats"]) < 3 * apart.xt.stderr
    # Where it is not known that the four are all inputs, less is known.
    assert complete.xt.stderr < 0.01 < apart.xt.stderr < 0.2
    for other in (some, apart):
        assert other.ty.value == pytest.approx(complete.ty.value, abs=0.03)
    # T tells the sign of x nearly always.
    assert complete.ty.value == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize("beta", [0.005, 0.001])
def test_small_noise_against_differences_in_float64(beta):
    rng = np.random.default_rng(0)
    s = np.tanh(rng.normal(size=(4000, 10)))
    s[2000:] = s[:2000] + beta * rng.normal(size=(2000, 10))  # neighbours that matter
    c, z = s / beta, rng.normal(size=(4000, 10))
    u, noise = c + z, 0.5 * np.square(z).sum(axis=1)
    weights = np.full(4000, -math.log(4000))
    found = mixture.log_sums(u[None], noise[None], c[None], weights)[0]
    exact = logsumexp(noise[:, None] - cdist(u, c, "sqeuclidean") / 2, axis=1) - math.log(4000)
    assert np.abs(found - exact).max() < 1e-3
    assert abs(found.mean() - exact.mean()) < 1e-4
    # The usual expansion of the distance, in float32, is lost here.
    u32, c32 = u.astype(np.float32), c.astype(np.float32)
    squared = (u32**2).sum(1)[:, None] + (c32**2).sum(1) - 2 * u32 @ c32.T
    expanded = logsumexp(noise[:, None] - squared.astype(float) / 2, axis=1) - math.log(4000)
    assert np.abs(expanded - exact).max() > 0.01


@pytest.mark.parametrize("dim", [3, 16, 17, 200, 3000])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e7])
def test_mixtures_of_every_width_and_scale(dim, scale):
    rng = np.random.default_rng(1)
    c = scale * rng.normal(size=(2, 40, dim))
    c[:, 20:] = c[:, :20] + rng.normal(size=(2, 20, dim)) / math.sqrt(dim)
    z = rng.normal(size=(2, 40, dim))
    noise = 0.5 * np.square(z).sum(axis=-1)
    weights = np.log(rng.dirichlet(np.ones(40)))
    found = mixture.log_sums(c + z, noise, c, weights)
    for b in range(2):
        squared = cdist(c[b] + z[b], c[b], "sqeuclidean")
        exact = logsumexp(weights + noise[b, :, None] - squared / 2, axis=1)
        np.testing.assert_allclose(found[b], exact, atol=1e-3)


def mixture_of_scales(dim, spread, n=40):
    """Arguments of ``log_sums`` for two mixtures whose components have scales within e^±spread."""
    rng = np.random.default_rng(dim)
    c = 3 * rng.normal(size=(2, n, dim))
    c[:, n // 2 :] = c[:, : n // 2] + rng.normal(size=(2, n // 2, dim)) / math.sqrt(dim)
    sigma = np.exp(rng.uniform(-spread, spread, size=c.shape))
    u = c + sigma * rng.normal(size=c.shape)
    noise = 0.5 * np.square((u - c) / sigma).sum(axis=-1) + np.log(sigma).sum(axis=-1)
    weights = np.log(rng.dirichlet(np.ones(n))) - np.log(sigma).sum(axis=-1)
    return u, noise, c, weights, 1 / sigma


@pytest.mark.parametrize("dim", [1, 3, 16, 17, 200])
@pytest.mark.parametrize("spread", [0.5, 3, 6, 14])
def test_components_of_different_scales(dim, spread):
    u, noise, c, weights, inverse = mixture_of_scales(dim, spread)
    found = mixture.log_sums(u, noise, c, weights, inverse=inverse)
    for b in range(2):
        squared = np.square((u[b, :, None] - c[b]) * inverse[b]).sum(axis=-1)
        exact = logsumexp(weights[b] + noise[b, :, None] - squared / 2, axis=1)
        np.testing.assert_allclose(found[b], exact, atol=1e-4)


@pytest.mark.parametrize("dim", [3, 200])
def test_equal_scales_are_a_case_of_different_ones(dim):
    u, noise, c, weights, inverse = mixture_of_scales(dim, 0)
    assert (inverse == 1).all()
    plain = mixture.log_sums(u, noise, c, weights)
    np.testing.assert_allclose(
        mixture.log_sums(u, noise, c, weights, inverse=inverse), plain, atol=1e-9
    )
    # In another unit, all of it is the same up to the unit's logarithm.
    scaled = mixture.log_sums(7 * u, noise, 7 * c, weights, inverse=inverse / 7)
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


def test_a_narrow_component_inside_a_broad_one_does_not_overflow():
    # The point lies at the narrow centre, whose density is e^1200 times that of its own component.
    c, sigma = np.zeros((1, 2, 20)), np.full((1, 2, 20), 1e26)
    sigma[0, 1] = 1.0
    noise = np.log(sigma[:, :1]).sum(axis=-1)
    weights = np.log([0.5, 0.5]) - np.log(sigma).sum(axis=-1)
    found = mixture.log_sums(c[:, :1], noise, c, weights, inverse=1 / sigma)
    assert found[0, 0] == pytest.approx(20 * math.log(1e26) + math.log(0.5), rel=1e-12)


def test_entropy_of_mixtures():
    one = mixture_entropy(np.zeros((1, 3)), 0.5, seed=1)
    assert one.value == pytest.approx(1.5 * math.log(2 * math.pi * math.e * 0.25), abs=1e-6)
    assert one.stderr < 1e-6
    # Far apart: the entropy of the choice and that of the noise.
    far = np.array([[0.0], [50.0], [100.0]])
    noise = 0.5 * math.log(2 * math.pi * math.e)
    weights = np.array([0.5, 0.3, 0.2])
    found = mixture_entropy(far, 1.0, weights=2 * weights, mc_draws=10)
    assert found.value == pytest.approx(noise - weights @ np.log(weights), abs=1e-6)
    # A centre that stands twice has twice the weight.
    points = np.array([[0.0], [0.0], [1.0]])
    twice = mixture_entropy(points, 0.7, seed=2)
    weighted = mixture_entropy(points[1:], 0.7, weights=[2, 1], seed=3)
    assert twice.value == pytest.approx(weighted.value, abs=4 * twice.stderr)


def test_the_error_bound_of_the_theory_holds():
    rng = np.random.default_rng(0)
    centres, beta = np.tanh(rng.normal(size=(50, 4))), 0.3
    exact = mixture_entropy(centres, beta, mc_draws=20_000, seed=9).value
    draws = 5
    errors = [mixture_entropy(centres, beta, mc_draws=draws, seed=s) for s in range(60)]
    mse = np.mean([(e.value - exact) ** 2 for e in errors])
    assert mse < 2 * 4 * (2 + beta**2) / beta**2 / (50 * draws)
    assert mse == pytest.approx(np.mean([e.stderr**2 for e in errors]), rel=0.6)


def test_product_channels():
    single = SamplePropagation(seed=0).estimate([[-1.0], [1.0]], noise_std=0.9).xt.value
    for d in range(1, 9):
        copies = np.array(np.meshgrid(*[[-1.0, 1.0]] * d)).reshape(d, -1).T
        found = SamplePropagation(seed=d).estimate(copies, noise_std=0.9).xt
        assert found.value == pytest.approx(d * single, abs=3 * found.stderr + 0.01 * d)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_more_noise_tells_less_and_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    s, y = np.tanh(2 * rng.normal(size=(60, 3))), rng.integers(0, 3, 60)
    sp = SamplePropagation(seed=3, mc_draws=100)
    values = [sp.estimate(s, noise_std=beta, y=y) for beta in (0.01, 0.05, 0.2, 0.8, 3.0)]
    for less, more in zip(values[1:], values, strict=False):
        assert less.xt.value <= more.xt.value + 3 * math.hypot(less.xt.stderr, more.xt.stderr)
        assert less.ty.value <= more.ty.value + 3 * math.hypot(less.ty.stderr, more.ty.stderr)
    for value in values:
        assert -1e-6 - 3 * value.xt.stderr <= value.xt.value <= math.log(60) + 1e-6
        assert value.ty.value <= value.xt.value + 3 * value.xt.stderr
    rows, neurons = rng.permutation(60), rng.permutation(3)
    moved = sp.estimate(s[rows][:, neurons], noise_std=0.2, y=y[rows])
    for a, b in ((moved.xt, values[2].xt), (moved.ty, values[2].ty)):
        assert a.value == pytest.approx(b.value, abs=4 * math.hypot(a.stderr, b.stderr))


def test_repeated_inputs_are_one():
    x = np.repeat([[0.0], [1.0], [2.0]], 50, axis=0)
    repeated = SamplePropagation(seed=1).estimate(x, noise_std=0.4, x=x).xt
    single = SamplePropagation(seed=2).estimate(x[::50], noise_std=0.4).xt
    assert repeated.value == pytest.approx(single.value, abs=4 * single.stderr)
    assert repeated.n == 150
    near = SamplePropagation().estimate(x, noise_std=0.01, x=x).xt
    assert near.value == pytest.approx(math.log(3)) and near.flags == ("saturated",)
    assert SamplePropagation().estimate(0 * x, noise_std=0.1, x=x).xt.value < 1e-6


def test_flags():
    rng = np.random.default_rng(0)
    sp = SamplePropagation()
    narrow = sp.estimate(np.tanh(rng.normal(size=(2000, 1))), noise_std=0.3).xt
    assert narrow.flags == ()
    wide = sp.estimate(rng.normal(size=(2000, 20)), noise_std=1.0).xt
    assert "high_dim" in wide.flags and "saturated" not in wide.flags
    alone = sp.estimate(rng.normal(size=(200, 20)), noise_std=0.01).xt
    assert set(alone.flags) == {"saturated", "high_dim"}
    # The choice of the half makes no difference: enough samples are rarely flagged.
    flagged = 0
    for _ in range(10):
        t = np.tanh(rng.normal(size=(500, 1)))
        found = sp.estimate(t, noise_std=0.3, y=t[:, 0] > 0)
        flagged += len(found.xt.flags) + len(found.ty.flags)
    assert flagged <= 1
    # All inputs there are: their number is no error.
    whole = SamplePropagation(population=True).estimate(rng.normal(size=(2000, 20)), noise_std=1.0)
    assert whole.xt.flags == ()


@pytest.fixture(scope="module")
def noisy():
    """A trained noisy network on the 12-bit task, with its inputs and labels."""
    keras.utils.set_random_seed(0)
    model = ib.instrument(ib.models.szt(seed=0), 0.05, seed=0)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    data = ib.datasets.load("szt")
    model.fit(data.x_train, data.y_train, epochs=15, batch_size=256, verbose=0)
    return model, data.x[:1500], data.y[:1500]


def test_data_processing_in_a_network(noisy):
    model, x, y = noisy
    sp = SamplePropagation(population=True, conditional_inputs=400, propagations=32)
    table = ib.estimate(model, [sp, "ebab"], inputs=x, targets=y)
    own = table[table["estimator"] != "ebab"]
    for quantity in ("I(X;T)", "I(T;Y)"):
        rows = own[(own["quantity"] == quantity) & own["value"].notna()].reset_index()
        assert rows["layer"].tolist() == [f"dense_{i}" for i in range(1, 6)]
        for i in range(4):
            error = 3 * math.hypot(rows["stderr"][i], rows["stderr"][i + 1])
            assert rows["value"][i + 1] <= rows["value"][i] + error
        # With one sample of S of most inputs, the error contains the bias from them.
        assert (rows["stderr"] < 0.2).all()
    assert rows["value"].iloc[-1] > 0.2
    output = own[own["layer"] == "output"]
    assert output["value"].isna().all() and set(output["flags"]) == {"no_channel"}


def test_stores_models_and_arrays_give_the_same(noisy, tmp_path):
    model, x, y = noisy
    sp = SamplePropagation(population=True)
    recorder = ib.Recorder(
        tmp_path / "r", x, y, conditional_inputs=300, propagations=32, epochs=lambda e: True
    )
    recorder.replay(model, [0], lambda epoch: None)
    store = ib.ActivationStore(tmp_path / "r")
    recorded = ib.estimate(store, [sp])
    assert recorded["noise_std"].max() == 0.05
    assert store.random(0) == {f"dense_{i}" for i in range(2, 6)} | {"output"}
    rows, repeated = store.propagations(0, "dense_3")
    assert repeated.shape == (300, 32, 5) and rows.shape == (300,)
    assert store.propagations(0, "dense_1") is None
    # The propagations are of those rows: their mean is near S of the one pass.
    gap = repeated.mean(axis=1) - store.read(0, "dense_3", clean=True)[rows]
    assert np.abs(gap).mean() < 2 * repeated.std(axis=1).mean()
    by_hand = sp.estimate(
        store.read(0, "dense_3", clean=True), noise_std=0.05, y=y, conditional=repeated,
        conditional_rows=rows,
    )  # fmt: skip
    row = recorded[(recorded["layer"] == "dense_3")].set_index("quantity")
    assert row.loc["I(X;T)", "value"] == by_hand.xt.value
    assert row.loc["I(T;Y)", "stderr"] == by_hand.ty.stderr
    direct = ib.estimate(model, [sp], inputs=x, targets=y)
    both = recorded.merge(direct, on=["layer", "quantity"]).dropna(subset="value_x")
    assert len(both) == 10
    error = 4 * np.hypot(both["stderr_x"], both["stderr_y"]) + 1e-3
    assert (abs(both["value_x"] - both["value_y"]) < error).all()
    in_place = ib.Recorder(
        tmp_path / "t", x, y, keep="estimates", estimators=[sp], epochs=[0],
        conditional_inputs=300, propagations=32,
    )  # fmt: skip
    in_place.replay(model, [0], lambda epoch: None)
    again = ib.load(tmp_path / "t").dropna(subset="value")
    np.testing.assert_allclose(again["value"], recorded.dropna(subset="value")["value"], atol=0.2)


class Spread(BaseEstimator):
    """A custom estimator that is given propagations."""

    name = "spread"

    @property
    def traits(self):
        return Traits(propagations=True)

    def estimate(
        self, t, *, y=None, x=None, noise_std=0.0, conditional=None, conditional_rows=None
    ):
        shape = () if conditional is None else np.shape(conditional)[:2]
        details = {"propagated": list(shape), "rows": len([] if not shape else conditional_rows)}
        return LayerInformation(MutualInformation(noise_std, n=len(t), dim=1, details=details))


def test_custom_estimators_can_use_propagations(noisy):
    model, x, y = noisy
    table = ib.estimate(model, [Spread()], inputs=x, targets=y).set_index("layer")
    assert json.loads(table.loc["dense_1", "details"]) == {"propagated": [], "rows": 0}
    assert json.loads(table.loc["dense_2", "details"]) == {"propagated": [256, 64], "rows": 256}
    assert table.loc["dense_2", "value"] == pytest.approx(0.05)
    assert set(table.loc["output", "flags"]) == {"no_channel"}


def test_layers_without_propagations_are_empty_rows(noisy, tmp_path):
    model, x, y = noisy
    recorder = ib.Recorder(tmp_path / "r", x, y, conditional_inputs=0, epochs=[0])
    recorder.replay(model, [0], lambda epoch: None)
    table = ib.estimate(tmp_path / "r", "sp").set_index(["layer", "quantity"])
    assert table.loc[("dense_2", "I(X;T)"), "flags"] == "no_propagations"
    assert table.loc[("dense_1", "I(X;T)"), "value"] > 0
    json.dumps(ib.ActivationStore(tmp_path / "r").noise_std(0))


def test_captures_are_wanted_clean(noisy):
    model, x, y = noisy
    with pytest.raises(ArgumentError, match=r"needs S.*clean=True"):
        ib.estimate(model.capture(x), "sp", targets=y)
    clean = model.capture(x, clean=True, layers="dense_1")
    assert clean.random == frozenset()
    assert ib.estimate(clean, "sp", targets=y)["value"].notna().all()
    assert model.propagate(x[:3], propagations=5)["dense_2"].shape == (3, 5, 7)
    assert "dense_1" not in model.propagate(x[:3], propagations=2)


def linear_gaussian(d, n, seed):
    """Means and scales of Z = WX + diag(σ)ε for n X ~ N(0, I), and I(X;Z) in closed form."""
    rng = np.random.default_rng(d)
    w, sigma = rng.normal(size=(d, d)) / math.sqrt(d), np.exp(rng.uniform(-1, 1, size=d))
    exact = np.linalg.slogdet(np.eye(d) + w @ w.T / sigma[:, None] ** 2)[1] / 2
    x = np.random.default_rng([d, seed]).normal(size=(n, d))
    return x @ w.T, np.tile(sigma, (n, 1)), exact


@pytest.mark.parametrize("d", [1, 2, 4])
def test_declared_distributions_of_a_linear_gaussian_case(d):
    found = []
    for seed in range(12):
        means, scale, exact = linear_gaussian(d, 1000, seed)
        result = SamplePropagation(seed=seed, batch_size=100).estimate(means, scale=scale)
        upper, lower = (result.others[f"I(X;T) {end}"] for end in ("upper", "lower"))
        assert (upper.kind, lower.kind) == ("upper", "lower")
        assert upper.value > exact - 3 * upper.stderr
        assert lower.value < exact + 3 * lower.stderr
        assert lower.value < result.xt.value + 3 * lower.stderr < upper.value + 6 * upper.stderr
        assert result.xt.flags == () and lower.details == {"batch_size": 100}
        found.append(result.xt)
    assert within(found, exact) >= 11
    # The errors that are stated are those that occur.
    spread = np.std([e.value for e in found], ddof=1)
    assert spread == pytest.approx(np.mean([e.stderr for e in found]), rel=0.7)


def test_the_upper_bound_exceeds_the_information_by_the_divergence_of_the_marginal():
    # p(z) = N(0, w² + σ²), whose divergence from N(0, 1) is known.
    w, sigma, n = 2.0, 0.5, 4000
    x = np.random.default_rng(0).normal(size=(n, 1))
    found = SamplePropagation(mc_draws=1).estimate(w * x, scale=np.full((n, 1), sigma))
    upper = found.others["I(X;T) upper"]
    variance = w**2 + sigma**2
    exact = math.log(variance / sigma**2) / 2 + (variance - 1 - math.log(variance)) / 2
    assert upper.value == pytest.approx(exact, abs=3 * upper.stderr)
    # Of N(0, 1) for every input there is no divergence and no information.
    nothing = SamplePropagation().estimate(0 * x[:50], scale=np.ones((50, 1)))
    assert nothing.others["I(X;T) upper"].value == 0
    for estimate in (nothing.xt, nothing.others["I(X;T) lower"]):
        assert estimate.value == pytest.approx(0, abs=1e-6)


def by_quadrature(mean, scale):
    """I(X;Z) of X ~ N(0, 1) and Z ~ N(mean(X), scale(X)²): h(Z) − h(Z|X) on a grid."""
    x = np.linspace(-7, 7, 701)
    share = np.exp(-x * x / 2) / np.exp(-x * x / 2).sum()
    m, s = mean(x), scale(x)
    z = np.linspace((m - 8 * s).min(), (m + 8 * s).max(), 8001)
    p = sum(
        w * np.exp(-(((z - a) / b) ** 2) / 2) / b for w, a, b in zip(share, m, s, strict=True)
    ) / math.sqrt(2 * math.pi)
    entropy = -np.trapezoid(p * np.log(np.maximum(p, 1e-300)), z)
    return entropy - share @ np.log(s) - math.log(2 * math.pi * math.e) / 2


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (lambda x: np.tanh(2 * x), lambda x: 0.3 * np.exp(x / 2)),
        (lambda x: 0 * x, lambda x: np.exp(x / 2)),  # only the scale tells of x
        (lambda x: x, lambda x: 0.1 + np.abs(x)),
    ],
)
def test_scales_that_depend_on_the_input(mean, scale):
    exact = by_quadrature(mean, scale)
    found = []
    for seed in range(12):
        x = np.random.default_rng(seed).normal(size=(1000, 1))
        result = SamplePropagation(seed=seed).estimate(mean(x), scale=scale(x), y=x[:, 0] > 0)
        found.append(result.xt)
        assert result.ty.value <= min(result.xt.value, math.log(2)) + 3 * result.ty.stderr
        upper, lower = (result.others[f"I(X;T) {end}"] for end in ("upper", "lower"))
        assert lower.value - 3 * lower.stderr < exact < upper.value + 3 * upper.stderr
    assert within(found, exact) >= 11


@pytest.mark.parametrize("dim", [2, 25])
def test_declared_distributions_against_brute_force(dim):
    """All densities in NumPy, at draws of its own, of repeated inputs and with labels."""
    rng = np.random.default_rng(dim)
    n, draws = 60, 300
    x = np.repeat(np.arange(n // 2), 2)
    means = rng.normal(size=(n // 2, dim))[x] / math.sqrt(dim)
    scale = np.exp(rng.uniform(-1, 1, size=(n // 2, dim)))[x]
    y = x % 3
    z = means[:, None] + scale[:, None] * rng.normal(size=(n, draws, dim))
    z = z.reshape(-1, dim)
    logs = sum(
        -np.square((z[:, k, None] - means[:, k]) / scale[:, k]) / 2 - np.log(scale[:, k])
        for k in range(dim)
    )
    own = logs[np.arange(n * draws), np.repeat(np.arange(n), draws)]
    same = np.repeat(y, draws)[:, None] == y
    of_class = logsumexp(np.where(same, logs, -np.inf), axis=1) - np.log(same.sum(axis=1))
    everything = logsumexp(logs, axis=1) - math.log(n)
    sp = SamplePropagation(population=True, mc_draws=draws, batch_size=2 * n)
    result = sp.estimate(means, scale=scale, x=x, y=y)
    for estimate, values in ((result.xt, own - everything), (result.ty, of_class - everything)):
        error = math.hypot(estimate.stderr, values.std() / math.sqrt(len(values)))
        assert estimate.value == pytest.approx(values.mean(), abs=3 * error)
    # One batch of all rows is the estimate itself.
    lower = result.others["I(X;T) lower"]
    assert lower.details == {"batch_size": n}
    assert lower.value == pytest.approx(result.xt.value, abs=3 * lower.stderr)
    assert result.others["I(X;T) upper"].stderr == 0
    # Of half of the coordinates, in another unit each, nothing changes.
    unit = 10.0 ** rng.integers(-5, 5, size=dim)
    scaled = sp.estimate(unit * means, scale=unit * scale, x=x, y=y)
    assert scaled.xt.value == pytest.approx(result.xt.value, abs=1e-5)


def test_equal_scales_are_noise():
    rng = np.random.default_rng(0)
    t, y = np.tanh(rng.normal(size=(300, 3))), rng.integers(0, 2, 300)
    sp = SamplePropagation()
    noisy = sp.estimate(t, noise_std=0.3, y=y)
    declared = sp.estimate(t, scale=np.full((300, 3), 0.3), y=y)
    assert declared.xt.value == noisy.xt.value and declared.ty.value == noisy.ty.value
    assert not noisy.others
    # The rows are a sample, unless they are all that there are.
    assert declared.xt.stderr > 2 * noisy.xt.stderr
    whole = SamplePropagation(population=True).estimate(t, scale=np.full((300, 3), 0.3), y=y)
    assert (whole.xt.value, whole.xt.stderr) == (noisy.xt.value, noisy.xt.stderr)
    # Noise behind the layer is added: 0.18² + 0.24² = 0.3².
    both = sp.estimate(t, scale=np.full((300, 3), 0.18), noise_std=0.24, y=y)
    assert both.xt.value == pytest.approx(noisy.xt.value, abs=1e-5)
    # A scale that differs in one row takes the other way through the kernel.
    scale = np.full((300, 3), 0.3)
    scale[0] *= 1 + 1e-9
    other = sp.estimate(t, scale=scale, y=y)
    assert other.xt.value == pytest.approx(noisy.xt.value, abs=1e-5)
    assert other.others["I(X;T) lower"].value == pytest.approx(
        declared.others["I(X;T) lower"].value, abs=1e-5
    )


def test_repeated_inputs_of_declared_distributions():
    # Three inputs, told apart: ln 3 up to the error of their shares among 150 rows.
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 150)
    result = SamplePropagation().estimate(x, scale=np.full(150, 0.01), x=x)
    shares = np.bincount(x) / 150
    assert result.xt.value == pytest.approx(-shares @ np.log(shares), abs=1e-6)
    surprise = -np.log(shares[x])
    assert result.xt.stderr == pytest.approx(surprise.std(ddof=1) / math.sqrt(150), rel=0.01)
    assert "saturated" in result.xt.flags
    with pytest.raises(ArgumentError, match="`t` differs between equal inputs.*'ksg'"):
        SamplePropagation().estimate(x + rng.normal(size=150), scale=np.ones(150), x=x)
    with pytest.raises(ArgumentError, match="`scale` differs between equal inputs"):
        SamplePropagation().estimate(x, scale=rng.uniform(1, 2, 150), x=x)


def test_flags_of_declared_distributions():
    rng = np.random.default_rng(0)
    wide = SamplePropagation().estimate(
        rng.normal(size=(1000, 20)), scale=rng.uniform(0.5, 1, size=(1000, 20))
    )
    assert "high_dim" in wide.xt.flags and wide.others["I(X;T) lower"].flags == ("log_batch",)
    assert wide.others["I(X;T) lower"].value <= math.log(256)
    # The bias is twice the standard error, which two halves show and one would not.
    means, scale, exact = linear_gaussian(8, 1000, 0)
    few = SamplePropagation().estimate(means, scale=scale).xt
    assert few.value < exact - few.stderr and few.flags == ("high_dim",)
    alone = SamplePropagation().estimate(
        rng.normal(size=(200, 20)), scale=rng.uniform(1e-3, 1e-2, size=(200, 20))
    )
    assert set(alone.xt.flags) == {"saturated", "high_dim"}


@pytest.mark.parametrize("dim", [1, 4, 20])
@pytest.mark.parametrize("scales", [(1e-6, 1e-6), (1e6, 1e6), (1e-6, 1e6), (1e-30, 1e30)])
def test_extreme_scales(dim, scales):
    rng = np.random.default_rng(dim)
    t, y = rng.normal(size=(64, dim)), np.arange(64) % 2
    scale = np.exp(rng.uniform(*np.log(scales), size=(64, dim)))
    result = SamplePropagation().estimate(t, scale=scale, y=y)
    for estimate in (result.xt, result.ty, *result.others.values()):
        assert np.isfinite(estimate.value) and np.isfinite(estimate.stderr)
    lower, upper = (result.others[f"I(X;T) {end}"] for end in ("lower", "upper"))
    assert -1e-6 - 3 * result.xt.stderr <= result.xt.value <= math.log(64) + 1e-6
    assert lower.value <= result.xt.value + 3 * lower.stderr
    assert result.xt.value <= upper.value + 3 * result.xt.stderr
    if scales == (1e-6, 1e-6):
        assert result.xt.value == pytest.approx(math.log(64), abs=1e-6)
    if scales == (1e6, 1e6):
        assert result.xt.value == pytest.approx(0, abs=1e-6)


def test_bad_scales():
    sp, t = SamplePropagation(), np.zeros((5, 2, 3))
    good = np.ones((5, 2, 3))
    assert sp.estimate(t, scale=good).xt.value == pytest.approx(0, abs=1e-6)
    for value, message in {
        0.0: "`scale` is not positive.*log_var",
        -1.0: "`scale` is not positive",
        np.nan: "`scale` has NaN or infinite",
        np.inf: "`scale` has NaN or infinite",
    }.items():
        bad = good.copy()
        bad[2, 1, 0] = value
        with pytest.raises(ArgumentError, match=message):
            sp.estimate(t, scale=bad)
    for bad in (1.0, np.ones(5), np.ones((4, 2, 3)), np.ones((5, 2))):
        with pytest.raises(ArgumentError, match=r"`scale` has (the wrong shape|too few samples)"):
            sp.estimate(t, scale=bad)
    with pytest.raises(ArgumentError, match="`scale` is not numeric"):
        sp.estimate(t, scale=good.astype(str))
    with pytest.raises(ArgumentError, match="`scale` and `conditional` exclude each other"):
        sp.estimate(t, scale=good, conditional=np.zeros((5, 8, 2, 3)))
    with pytest.raises(ArgumentError, match="`noise_std`"):
        sp.estimate(t, scale=good, noise_std=-1)
    with pytest.raises(ArgumentError, match="too large for its noise"):
        sp.estimate(t, scale=np.where(np.arange(3) == 0, 1e-60, 1e60) * good)
    with pytest.raises(ArgumentError, match="batch_size"):
        SamplePropagation(batch_size=1)


def test_bad_input(mlp, inputs):
    x, y = inputs
    sp = SamplePropagation()
    with pytest.raises(ArgumentError, match=r"infinite.*ln n.*'ebab'.*noise_std=0"):
        sp.estimate(x, noise_std=0.0)
    with pytest.raises(ArgumentError, match=r"infinite.*ln n"):
        ib.estimate(mlp, "sp", inputs=x, targets=y)
    with pytest.raises(ArgumentError, match=r"infinite.*ln n"):
        mixture_entropy(x, 0)
    with pytest.raises(ArgumentError, match="too few samples"):
        sp.estimate(x[:1], noise_std=0.1)
    for bad in (np.zeros((4, 3)), np.zeros((4, 1, 4)), np.zeros((4, 8, 3)), np.zeros(5), 3):
        with pytest.raises(ArgumentError, match="`conditional` has the wrong shape"):
            sp.estimate(x, noise_std=0.1, conditional=bad)
    for rows in ([0, 1], [0, 1, 2, 64], [0, 0, 1, 2], [[0, 1, 2, 3]]):
        with pytest.raises(ArgumentError, match="`conditional_rows`"):
            sp.estimate(
                x, noise_std=0.1, conditional=x[:4, None].repeat(8, 1), conditional_rows=rows
            )
    with pytest.raises(ArgumentError, match="differs between equal inputs"):
        sp.estimate(x, noise_std=0.1, x=np.zeros(64))
    with pytest.raises(ArgumentError, match="`x` has the wrong length"):
        sp.estimate(x, noise_std=0.1, x=np.zeros(3))
    with pytest.raises(ArgumentError, match="NaN"):
        sp.estimate(x, noise_std=0.1, conditional=np.full((4, 8, 4), np.nan))
    for weights in ([1, 2], np.zeros(64), np.full(64, np.nan)):
        with pytest.raises(ArgumentError, match="`weights`"):
            mixture_entropy(x, 0.1, weights=weights)
    for arguments in (
        {"mc_draws": 0},
        {"propagations": 1},
        {"seed": -1},
        {"conditional_inputs": 0},
    ):
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            SamplePropagation(**arguments)


@pytest.mark.parametrize("scale", [1e9, 1e15, 1e17, 1e30])
@pytest.mark.parametrize("d", [1, 20])
def test_noise_that_is_rounded_away_is_not_counted(scale, d):
    # Forty far points are told apart, however little of the noise is left beside them.
    t = scale * np.random.default_rng(d).normal(size=(40, d))
    found = SamplePropagation().estimate(t, y=np.arange(40) % 2, noise_std=0.1)
    assert found.xt.value == pytest.approx(np.log(40), abs=1e-6)
    assert found.ty.value == pytest.approx(np.log(2), abs=1e-6)
    with pytest.raises(ArgumentError, match="too large for its noise"):
        SamplePropagation().estimate(np.sign(t) * 1e300, noise_std=0.1)


def test_sums_over_near_centres_are_those_over_all():
    rng = np.random.default_rng(0)
    for dim, spread in ((1, 3.0), (3, 100.0), (8, 400.0)):
        clusters = rng.normal(size=(60, dim)) * spread
        centres = clusters[rng.integers(60, size=4200)] + rng.normal(size=(4200, dim))
        z = rng.normal(size=(4200, dim))
        weights = rng.dirichlet(np.full(4200, 5.0))
        arguments = centres + z, np.square(z).sum(axis=1) / 2, centres, np.log(weights)
        found = near.log_sums(*arguments)
        each = (a[None] for a in arguments[:3])
        np.testing.assert_allclose(found, mixture.log_sums(*each, arguments[3])[0], atol=1e-5)


@pytest.fixture(scope="module")
def second_layer():
    """S of a layer of two units behind a noisy layer, for 1 024 inputs, 256 times each."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(1024, 1, 2))
    first = np.tanh(2 * x) + 0.05 * rng.normal(size=(1024, 256, 2))
    return np.tanh(first @ np.array([[1.0, 0.4], [-0.3, 1.0]]))


def test_few_propagations_have_the_information_of_many(second_layer):
    """The bias from few centres is removed, and is part of the error where it cannot be."""
    rows = np.arange(1024)

    def of(propagations, m=1024, **more):
        sp = SamplePropagation(population=True, **more)
        return sp.estimate(
            second_layer[:, 0], y=rows % 2, noise_std=0.05,
            conditional=second_layer[:m, :propagations], conditional_rows=rows[:m],
        )  # fmt: skip

    best = of(256).xt
    for propagations in (16, 64):
        found = of(propagations).xt
        assert abs(found.value - best.value) < 3 * np.hypot(found.stderr, best.stderr) + 0.01
    assert of(64).ty.value < 0.1
    partly = of(64, m=200).xt
    assert abs(partly.value - best.value) < 3 * partly.stderr
    few = of(64, mc_draws=2).xt
    assert abs(few.value - best.value) < 4 * few.stderr and few.stderr > best.stderr


def test_rows_that_are_drawn_with_replacement_have_a_lower_ceiling(second_layer):
    mean = second_layer.mean(axis=1, keepdims=True)
    separate = 500 * mean + (second_layer - mean)
    found = SamplePropagation(resample=True).estimate(
        separate[:, 0], noise_std=0.05, conditional=separate
    )
    # About 63 % of the inputs are drawn, some of them several times.
    assert abs(found.xt.value - (np.log(1024) - 0.57)) < 0.05
    assert found.xt.n == 1024
    whole = SamplePropagation(population=True).estimate(
        separate[:, 0], noise_std=0.05, conditional=separate
    )
    assert found.xt.value < whole.xt.value - 0.4
    with pytest.raises(ArgumentError, match="drawn with replacement"):
        SamplePropagation(resample=True).estimate(
            separate[:, 0], noise_std=0.05, conditional=separate[:40]
        )


def test_labels_that_separate_samples_would_give_are_flagged():
    """In many dimensions, all samples are separate, and any labels seem to be known."""
    rng = np.random.default_rng(0)
    s = rng.normal(size=(300, 60))
    conditional = s[:, None] + 0.5 * rng.normal(size=(300, 8, 60))
    labels = rng.integers(0, 10, 300)
    found = SamplePropagation().estimate(
        conditional[:, 0], y=labels, noise_std=0.5, conditional=conditional
    )
    assert found.ty.value > 1 and "high_dim" in found.ty.flags


@pytest.mark.parametrize(("dim", "count"), [(3, 32), (4, 64)])
def test_too_few_propagations_of_a_small_population_are_flagged(dim, count):
    """The noise of earlier layers is four times as wide as the layer's own."""
    rng = np.random.default_rng(0)
    x = 8 * rng.normal(size=(512, 1, dim))
    s = x + 4 * rng.normal(size=(512, count, dim))
    found = SamplePropagation(population=True).estimate(s[:, 0], noise_std=1.0, conditional=s)
    truth = dim / 2 * np.log(1 + 64 / 17)
    assert abs(found.xt.value - truth) > 0.3 and "high_dim" in found.xt.flags


def test_propagated_inputs_that_were_drawn_twice_count_twice():
    rng = np.random.default_rng(0)
    s = 1000 * np.arange(400.0)[:, None, None] + rng.normal(size=(400, 16, 1))
    sp = SamplePropagation(resample=True)
    whole = sp.estimate(s[:, 0], noise_std=1.0, conditional=s).xt
    rows = np.sort(rng.permutation(400)[:200])
    part = sp.estimate(s[:, 0], noise_std=1.0, conditional=s[rows], conditional_rows=rows).xt
    assert abs(part.value - whole.value) < 3 * np.hypot(part.stderr, whole.stderr)
    assert part.value < np.log(400) - 0.4


@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_propagations_of_a_population_are_flagged(count):
    s = np.random.default_rng(0).normal(size=(40, count, 3))  # S knows nothing of X
    found = SamplePropagation(population=True).estimate(s[:, 0], noise_std=0.1, conditional=s).xt
    assert found.value > 3 and "high_dim" in found.flags
