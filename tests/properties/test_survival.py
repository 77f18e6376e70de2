"""Whatever the samples: an answer, flagged where it must be, or a refusal in three parts."""

import numpy as np
import pytest
import subjects
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ib_keras as ib

LABELS = st.integers(1, 4)
# Enough rows, and so few that most estimators refuse.
ENOUGH_OR_FEW = st.sampled_from([40, 80, 3])
# What trains is compiled for each width.
OF_TRAINED = {"n": ENOUGH_OR_FEW} if subjects.SOAK else {"n": ENOUGH_OR_FEW, "d": st.just(2)}


@st.composite
def pairs(draw):
    """T in float64 and X in float32, of as many rows: any finite numbers, or different ones.

    Different ones are even multiples of 1/2048 in T and odd ones in X, which therefore share no
    variable.
    """
    n, sides = draw(st.sampled_from([40, 24, 40, 16, 40, 4])), []
    different = draw(st.sampled_from([(True, True)] * 4 + [(False, True), (True, False)]))
    for width, apart in zip((64, 32), different, strict=True):
        numbers = st.floats(width=width, allow_nan=False, allow_infinity=False)
        if apart:
            odd = width == 32
            numbers = st.integers(-(2**20), 2**20).map(lambda i, odd=odd: (2 * i + odd) / 2048)
        made = hnp.arrays(
            f"f{width // 8}", (n, draw(st.integers(1, 2))), elements=numbers, fill=st.nothing(),
            unique=apart,
        )  # fmt: skip
        sides.append(draw(made))
    return sides


def check(found, y):
    """What holds of every answer."""
    quantities = {"I(X;T)": found.xt, "I(T;Y)": found.ty, **found.others}
    for quantity, estimate in quantities.items():
        if estimate is None:
            continue
        assert estimate.n >= 2 and not np.isinf(estimate.stderr), (quantity, estimate)
        flags = subjects.flags(quantity, estimate)
        assert np.isfinite(estimate.value) or flags, (quantity, estimate)
        slack = subjects.STDERRS * subjects.error_of(estimate)
        if quantity.startswith("I(") and estimate.kind != "lower":
            # A lower bound below 0 is a bound all the same.
            assert estimate.value >= -slack - 0.05 or "negative" in flags, (quantity, estimate)
        if quantity == "I(T;Y)" and estimate.kind != "upper":
            assert estimate.value <= subjects.entropy(y) + slack + 1e-6, (quantity, estimate)


@pytest.mark.parametrize("name", subjects.CHEAP)
@subjects.cases(ci=20, answered=0.1)
@given(t=subjects.samples(), x=subjects.samples(d=st.just(2)), data=st.data())
def test_every_kind_of_samples(name, t, x, data):
    y = np.array(data.draw(st.lists(LABELS, min_size=len(t), max_size=len(t))))
    x = np.resize(x, (len(t), 2))
    noise_std = data.draw(st.sampled_from([0.0, 1e-3, 0.1, 10.0]))
    found = subjects.attempt(
        subjects.CHEAP[name].estimate, t, x=x, y=y, noise_std=noise_std
    )  # fmt: skip
    if found is not None:
        check(found, y)


@pytest.mark.parametrize("name", subjects.CHEAP)
@subjects.cases(ci=24, answered=0.15)
@given(pair=pairs())
def test_every_float(name, pair):
    t, x = pair
    y = np.arange(len(t)) % 2
    found = subjects.attempt(subjects.CHEAP[name].estimate, t, x=x, y=y, noise_std=0.1)
    if found is not None:
        check(found, y)


@pytest.mark.parametrize("name", subjects.TRAINED)
@subjects.cases(ci=4, soak=60, answered=0.25)
@given(
    t=subjects.samples(**OF_TRAINED),
    x=subjects.samples(n=st.just(80), d=st.just(2)),
)
def test_every_kind_of_samples_for_those_that_train(name, t, x):
    y = np.arange(len(t)) % 2
    found = subjects.attempt(subjects.TRAINED[name].estimate, t, x=x[: len(t)], y=y, noise_std=0.1)
    if found is not None:
        check(found, y)


@subjects.cases(ci=2, soak=60, answered=0.25)
@given(t=subjects.samples(**OF_TRAINED), seed=st.integers(0, 2**32))
def test_every_kind_of_samples_for_a_decoder(t, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, (len(t), 3, 3, 1)), np.arange(len(t)) % 2
    found = subjects.attempt(subjects.DECODER.estimate, t, x=x, y=y)
    if found is not None:
        check(found, y)


@subjects.cases(ci=20, answered=0.25)
@given(a=subjects.samples(n=ENOUGH_OR_FEW), b=subjects.samples(n=ENOUGH_OR_FEW))
def test_two_variables(a, b):
    n = min(len(a), len(b))
    found = subjects.attempt(ib.mutual_information, a[:n], b[:n], neural=False)
    if found is not None:
        assert 0 <= found.lower <= found.value <= found.upper
        assert found.upper < np.inf or {"high_dim", "unbounded", "infinite"} & set(found.flags)
        assert np.isfinite(found.stderr)


@subjects.cases(ci=20)
@given(s=subjects.samples(n=st.integers(1, 40)), noise_std=st.sampled_from([1e-30, 0.1, 1e30]))
def test_entropies(s, noise_std):
    from ib_keras.estimators.propagation import mixture_entropy

    found = [subjects.attempt(mixture_entropy, s, noise_std, mc_draws=4)]
    if len(s) > 1:
        found += [
            subjects.attempt(made.entropy, s)
            for made in subjects.CHEAP.values()
            if hasattr(made, "entropy")
        ]
    assert all(one is None or np.isfinite(one.value) for one in found), found


def test_classes_that_soaks_have_found():
    """More than H(Y): by one sample far off, and of rows whose classes are more even than all."""
    rng = np.random.default_rng(0)
    far = rng.normal(size=(40, 2))
    far[0] = 32750
    few = np.array([[0, 0], [0, 0], [1, 1], [0, 1], [1, 1], [1, 1], [0, 1], [1, 1], [1, 1]])
    rare = (rng.permutation(40) < 6).astype(int)
    for made, t, y in (
        (ib.estimators.get("kl", k=1, whiten=True), far, rare),
        (subjects.CHEAP["lossy-first"], far, rare),
        (subjects.CHEAP["lossy"], few, np.arange(9) % 2),
    ):
        found = made.estimate(t, x=rng.normal(size=t.shape), y=y, noise_std=0.1)
        assert found.ty.value <= subjects.entropy(y)


def test_magnitudes_that_soaks_have_found():
    """Differences, sums and ratios that are not numbers, though all values are."""
    half = np.finfo(float).max / 2
    t = np.array([[half], [-half]] * 4)
    found = subjects.attempt(subjects.CHEAP["binning-width"].estimate, t, y=np.arange(8) % 2)
    assert found.xt.value == pytest.approx(np.log(2))
    x = np.random.default_rng(0).integers(0, 3, (8, 3, 3, 1))
    assert subjects.attempt(subjects.DECODER.estimate, t, x=x) is None
    # One outlier, among the rows that fit the components or among the others.
    for at in range(8):
        for low, high in ((1e-192, 1e117), (1e292, 2 * half)):
            t = np.full((8, 3), low)
            t[at, 0] = high
            for name in ("lossy", "lossy-sweep"):
                subjects.attempt(subjects.CHEAP[name].estimate, t, x=np.zeros((8, 2)))
    # Of one column, of which the one large value may be in units of 1e-107.
    for seed in range(4):
        t = np.full((5, 2), 1e-107)
        t[seed, 0] = 1e201
        subjects.attempt(subjects.CHEAP["lossy-sweep"].estimate, t, x=np.zeros((5, 2)))
    t = np.random.default_rng(0).normal(size=(80, 3))
    for scale in (1e-300, 1e30, 1e300):
        found = subjects.attempt(subjects.TRAINED["lossy-ae"].estimate, t * scale, x=t)
        assert found.xt.value > 0.1


@pytest.mark.parametrize("name", [*subjects.CHEAP, *subjects.TRAINED])
@pytest.mark.parametrize("constant", ["t", "y"])
def test_what_is_constant_tells_nothing_of_labels(name, constant):
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(60, 2)), np.arange(60) % 3
    t, y = (np.full_like(t, 3), y) if constant == "t" else (t, np.zeros(60, int))
    made = {**subjects.CHEAP, **subjects.TRAINED}[name]
    found = made.estimate(t, x=rng.normal(size=(60, 2)), y=y, noise_std=0.1).ty
    if found is None:
        assert made.name == "gaussian"  # which knows no labels
        return
    assert found.value == pytest.approx(0, abs=1e-8)
    # Of sample propagation, that of the draws of its noise.
    assert np.isnan(found.stderr) or abs(found.stderr) < 1e-12 or made.name == "sp"


@pytest.mark.parametrize("labels", ["y", "names", "bool"])
def test_what_is_constant_tells_nothing_of_a_variable(labels):
    y = np.arange(60) % 2
    y = {"y": y, "names": np.array(["a", "b"])[y], "bool": y > 0}[labels]
    for pair in (
        (np.full((60, 2), 3.0), y),
        (y, np.full(60, 3.0)),
        (np.zeros((60, 1)), np.ones(60)),
    ):
        found = ib.mutual_information(*pair)
        assert (found.value, found.stderr, found.upper) == (0, 0, 0)


def test_a_matrix_of_booleans_is_of_classes_only_if_one_hot():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    both, classes = x > 0, np.arange(200) % 4
    known = ib.mutual_information(x, both, neural=False)
    assert known.value == pytest.approx(2 * np.log(2), abs=0.2)
    assert (
        known.lower <= 2 * np.log(2) <= known.upper + 0.01
        and known.details["kinds"][1] == "category"
    )
    one_hot = np.eye(4, dtype=bool)[classes]
    assert ib.mutual_information(x, one_hot) == ib.mutual_information(x, classes)


@pytest.mark.parametrize("name", subjects.CHEAP)
def test_where_the_values_lie_in_memory_does_not_matter(name):
    t, x = subjects.grid(48, 3, 0).astype("f4"), subjects.grid(48, 2, 1)
    values = set()
    for layout in subjects.LAYOUTS:
        laid = subjects.laid_out(t, layout), subjects.laid_out(x, layout)
        found = subjects.CHEAP[name].estimate(
            laid[0], x=laid[1], y=np.arange(48) % 2, noise_std=0.1
        )
        values.add((found.xt.value, found.ty.value if found.ty else None))
    assert np.ptp([v[0] for v in values]) < 1e-9
    known = [v[1] for v in values if v[1] is not None]
    assert len(known) == (0 if name.startswith("gaussian") else len(values))
    assert not known or np.ptp(known) < 1e-9
