import functools
import math
import types

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import scipy.stats

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.arrays.variables import Variable
from ib_keras.errors import ArgumentError
from ib_keras.estimation import of_categories
from ib_keras.estimation import of_numbers as module
from ib_keras.estimation.answer import Answer, extrapolated
from ib_keras.estimators import KSG, density_ratio
from ib_keras.interface import Estimate


def test_heavy_tails_are_found_by_a_critic(monkeypatch):
    # This critic has learned what there is long before the default number of steps.
    monkeypatch.setitem(module._SETTINGS, "balanced", density_ratio.Settings(steps=500))
    x, y = synthetic.student_t(2500, 2, 0.25, dof=2.0, seed=0)
    found = ib.mutual_information(np.sinh(x), y, seed=1)
    assert found.lower <= 0.25 <= found.upper
    assert found.value == pytest.approx(0.25, abs=0.06)
    # Little of it is correlation.
    assert found.parts["gaussian"].value < 0.1
    assert set(found.parts) == {
        "gaussian", "gaussian_held_out", "ksg", "regression", "residual", "critic", "second_half"
    }  # fmt: skip
    assert float(found) == found.value and found.flags == ()
    assert found.details["kinds"] == ("continuous", "continuous")


@pytest.mark.parametrize(("share", "doubted"), [(0.95, False), (0.3, True)])
def test_the_closed_form_is_believed_where_held_out_rows_confirm_it(monkeypatch, share, doubted):
    x, y = synthetic.correlated_gaussians(1000, 33, 2.0, seed=0)  # too wide for regressions
    closed = ib.mutual_information(x, y, budget="fast").value
    nothing = Estimate(0.0, 0.1, kind="lower")
    held_out = Estimate(share * closed, 0.05, kind="lower")
    trained = {"residual": nothing, "critic": nothing, "gaussian_held_out": held_out}
    critics = types.SimpleNamespace(estimates=lambda: trained)
    monkeypatch.setattr(module, "_Critics", lambda *_: critics)
    found = ib.mutual_information(x, y)
    assert found.value == pytest.approx(share * closed if doubted else closed)
    assert ("unconfirmed" in found.flags) == doubted
    assert found.lower < found.value and found.upper >= closed
    assert (found.lower < closed - 0.5) == doubted


@pytest.mark.parametrize(
    ("growth", "error", "value"),
    [
        (0.2, 0.03, 1.1),
        (0.05, 0.03, 0.9),  # it may be chance
        (0.6, 0.03, 0.9),  # it is not known how much more rows would add
        (-0.1, 0.01, 0.9),  # no estimate falls with more rows
    ],
)
def test_what_the_second_half_of_the_rows_added_is_added_again(growth, error, value):
    part = extrapolated(Estimate(0.9, 0.04), Estimate(growth, error))
    assert part.value == pytest.approx(value)
    assert part.stderr == pytest.approx(0.05 if value > 0.9 else 0.04)


def test_without_critics():
    x, y = synthetic.correlated_gaussians(3000, 10, 1.2, seed=3)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    found = ib.mutual_information(x @ rotation, y, neural=False)
    assert found.lower <= 1.2 <= found.upper and found.flags == ("no_critic",)
    same = ib.mutual_information(x @ rotation, y, budget="fast")
    assert (same.value, same.lower, same.upper) == (found.value, found.lower, found.upper)
    assert found.value == pytest.approx(1.2, abs=0.06)
    x, y = synthetic.smoothed_uniforms(3000, 1, 1.7, seed=0)
    assert ib.mutual_information(x, y, neural=False).value == pytest.approx(1.7, abs=0.05)
    nothing = ib.mutual_information(x, y[::-1], neural=False)
    assert nothing.lower == 0 and nothing.value < 0.03


def test_discrete_variables():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 5000)
    b = np.where(rng.uniform(size=5000) < 0.8, a, rng.integers(0, 4, 5000))
    p = 0.8 + 0.2 / 4
    exact = math.log(4) + p * math.log(p) + 0.15 * math.log(0.05)
    found = ib.mutual_information(a, b.astype(str))
    assert found.value == pytest.approx(exact, abs=3 * found.stderr)
    assert ib.mutual_information(a, rng.integers(0, 4, 5000)).value < 0.003
    mixed = ib.mutual_information(rng.normal(size=5000) + 3 * (a == 0), a == 0)
    turned = ib.mutual_information(a == 0, rng.normal(size=5000) + 3 * (a == 0))
    assert mixed.value == pytest.approx(turned.value, abs=0.03)
    assert 0.3 < mixed.value < 0.5


def test_few_discrete_samples():
    """The correction for finite samples does not exceed the entropies, and one row is too few."""
    found = ib.mutual_information([1, 2], [2, 3])
    assert found.lower == 0 and found.upper >= math.log(2) - 1e-9
    assert found.flags == ("undersampled",)
    assert type(found.value) is float and type(found.stderr) is float
    assert ib.mutual_information([1, 1, 2], ["a", "b", "b"]).value >= 0
    with pytest.raises(
        ArgumentError, match="`a` has too few samples. Expected an array .* with n >= 2"
    ):
        ib.mutual_information([1], [2])


def test_a_column_of_both_variables_makes_the_information_infinite():
    rng = np.random.default_rng(0)
    x, series = rng.normal(size=(200, 2)), np.cumsum(rng.normal(size=200))
    for a, b in ((x, x[:, ::-1]), (x[:, 0], np.c_[rng.normal(size=200), x[:, 0]])):
        found = ib.mutual_information(a, b, budget="fast")
        assert found.value == found.lower == found.upper == np.inf and "infinite" in found.flags
    assert ib.mutual_information(series, series, budget="fast").value == np.inf
    table = ib.mutual_information(
        pd.DataFrame(x, columns=["p", "q"]), x[:, 0], by_column=True, budget="fast"
    )
    assert table["value"][0] == np.inf and table["flags"][0] == "infinite"
    assert table["value"][1] < 0.1
    # Also with a category beside it.
    mixed = pd.DataFrame({"p": x[:, 0], "town": np.where(x[:, 1] > 0, "A", "B")})
    found = ib.mutual_information(mixed, x[:, 0], budget="fast")
    assert found.value == np.inf and found.flags == ("infinite",)
    # An exact relation of values that are not equal has no upper end.
    found = ib.mutual_information(mixed, np.exp(x[:, 0]), budget="fast")
    assert found.value > 3 and found.upper == np.inf and "unbounded" in found.flags


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ArgumentError, match="differ in length"):
        ib.mutual_information(x, x[:20] + 1)
    for wrong in (3.0, None, "x", {"a": x}):
        with pytest.raises(ArgumentError, match="`a` is not an array"):
            ib.mutual_information(wrong, x)
    with pytest.raises(ArgumentError, match="seed"):
        ib.mutual_information(x, x + 1, seed=-1)
    with pytest.raises(ArgumentError, match="NaN"):
        ib.mutual_information(x, np.full((50, 1), np.nan))
    with pytest.raises(ArgumentError, match="differ in length"):
        ib.mutual_information([1, 2, 3], [1, 2])
    for bad in ({"budget": "huge"}, {"kind": "number"}, {"kind": ("count",)}, {"window": -1}):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            ib.mutual_information(x, x + 1, **bad)
    constant = ib.mutual_information(x, np.ones((50, 1)))
    assert constant.value == 0


def covers(found, truth):
    return found.lower <= truth <= found.upper


N = 1500
RNG = np.random.default_rng(0)
X, NOISE = RNG.normal(size=(2, N))
Y = 0.8 * X + 0.6 * NOISE
TRUE = -0.5 * math.log(1 - 0.8**2)
fast = functools.partial(ib.mutual_information, budget="fast")


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order_of_the_tests():
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def whole(values, step):
    return np.round(values / step).astype(int)


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1])
def test_integers_of_many_values_are_numbers(step):
    a, b = whole(X, step), whole(Y, step)
    for pair in ((a, b), (a, Y), (X, b), (a.astype(float), b)):
        found = fast(*pair)
        assert found.value == pytest.approx(TRUE, abs=0.06) and covers(found, TRUE)
        assert found.flags == ()
    shuffled = fast(a, RNG.permutation(b))
    assert covers(shuffled, 0) and shuffled.value < 3 * shuffled.stderr + 0.01


def test_an_identifier_says_nothing():
    ids, bits = RNG.permutation(N), RNG.integers(0, 2, N)
    assert covers(fast(ids, bits), 0) and fast(ids, bits).value < 0.05
    for found in (fast(ids, bits, kind="category"), fast(ids.astype(str), bits)):
        assert found.flags == ("undersampled",) and found.value < 0.05
        assert found.lower == 0 and found.upper == pytest.approx(math.log(2), abs=0.01)
    assert found.details["kinds"] == ("category", "category")


def test_atoms_and_a_density():
    """X is 0 with probability 0.3, and otherwise normal; Y is X with noise."""
    a = np.where(RNG.uniform(size=N) < 0.3, 0, X)
    b = a + 0.5 * NOISE
    grid = np.linspace(-8, 8, 20001)
    normal = scipy.stats.norm.pdf
    density = 0.3 * normal(grid, 0, 0.5) + 0.7 * normal(grid, 0, math.sqrt(1.25))
    exact = -np.trapezoid(density * np.log(density), grid) - 0.5 * math.log(0.5 * math.pi * math.e)
    found = fast(a, b)
    assert found.details["kinds"] == ("mixture", "continuous")
    assert found.value == pytest.approx(exact, abs=0.08) and covers(found, exact)
    for independent in (NOISE, np.maximum(NOISE, 0), RNG.poisson(9, N)):
        assert covers(fast(a, independent), 0) and fast(a, independent).value < 0.05


@pytest.mark.parametrize("scale", [False, True])
def test_one_axis_of_many_tells_the_label(scale):
    label = RNG.integers(0, 2, 2000)
    a = RNG.normal(size=(2000, 100))
    a[:, 3] += 6 * label
    found = fast(a / a.std(axis=0) if scale else a, label)
    assert found.value == pytest.approx(0.689, abs=0.05) and covers(found, 0.689)
    nothing = fast(a, RNG.permutation(label))
    assert covers(nothing, 0) and nothing.value < 0.03
    assert set(found.parts) == {"ksg", "ksg_of_values", "linear"}


def test_a_network_finds_what_neighbours_and_lines_do_not(monkeypatch):
    a = RNG.normal(size=(800, 12))
    label = a[:, 0] * a[:, 1] > 0
    asked = []

    def network(x, y, held_out, classes, seed):
        asked.append(x.shape)
        logs = np.log([[0.9, 0.1], [0.1, 0.9]])
        return logs[(held_out[:, 0] * held_out[:, 1] > 0).astype(int)]

    monkeypatch.setattr(of_categories, "_CLASSIFIERS", (("network", network),))
    found = ib.mutual_information(a, label)
    assert found.value == pytest.approx(math.log(2) + math.log(0.9), abs=0.01)
    assert asked[0] == (600, 24)


@pytest.mark.parametrize(("noise", "tolerance"), [(1e-3, 0.15), (1e-6, 0.15), (1e-9, 0.15)])
def test_strong_dependence(noise, tolerance):
    found = fast(X, X + noise * NOISE)
    exact = 0.5 * math.log1p(noise**-2)
    assert found.value == pytest.approx(exact, abs=tolerance) and covers(found, exact)
    assert found.flags == ()


@pytest.mark.parametrize("function", [lambda x: x**2 - x - 1, lambda x: np.sin(3 * x), np.exp])
def test_an_exact_relation_is_flagged(function):
    found = fast(X, function(X))
    assert {"infinite", "unbounded"} & set(found.flags) and found.upper == math.inf
    assert fast(X, function(X) + NOISE).flags == ()


def test_rows_that_depend_on_each_other():
    def series(rng):
        return scipy.signal.lfilter([1], [1, -0.99], rng.normal(size=N))

    for seed in range(3):
        pair = [series(np.random.default_rng([seed, i])) for i in (0, 1)]
        found = fast(*pair)
        assert "dependent" in found.flags and covers(found, 0) and found.value < 0.1
        assert found.parts["rotated"].value > 0.05 and found.details["length"] > 10
    assert "dependent" not in fast(pair[0], NOISE).flags
    assert "dependent" not in fast(np.sort(RNG.integers(0, 3, N)), NOISE).flags


def test_a_window_leaves_near_rows_out():
    first, second = RNG.normal(size=(2, 600))
    a, b = (scipy.signal.lfilter([1], [1, -0.8], v) for v in (first, 0.8 * first + 0.6 * second))
    found = fast(a, b, window=20)
    assert covers(found, TRUE) and found.value == pytest.approx(TRUE, abs=0.2)
    assert found.flags == () and found.parts["ksg"] == KSG(3, window=20).mutual_information(
        *(Variable("continuous", v[:, None]).scores(RNG) for v in (a, b))
    )


def test_repeated_rows_are_counted_once():
    rows = np.repeat(np.arange(N // 2), 2)
    found = fast(X[rows], Y[rows])
    once = fast(X[: N // 2], Y[: N // 2])
    assert found.flags == ("dependent",) and found.n == N // 2
    assert found.value == once.value
    assert fast(whole(X, 0.5)[rows], whole(Y, 0.5)[rows]).n == N


@pytest.mark.parametrize("n, kinds", [(2000, 500), (600, 500), (2000, 30), (5000, 100), (50, 20)])
def test_a_discrete_variable_and_its_new_names(n, kinds):
    for seed in range(10):
        codes = np.random.default_rng(seed).integers(0, kinds, n)
        found = fast(codes, codes * 7 % 10007)
        assert covers(found, math.log(kinds))
        assert found.value == pytest.approx(math.log(kinds), abs=4 * found.stderr)
        assert ("unbounded" in found.flags) == (3 * len(np.unique(codes)) > n)


def test_discrete_variables_with_values_that_are_never_seen():
    p = 1 / np.arange(1, 2001) ** 1.2
    p /= p.sum()
    entropy = float(-(p * np.log(p)).sum())
    for n in (200, 2000, 20_000):
        codes = np.random.default_rng(n).choice(len(p), n, p=p)
        assert covers(fast(codes, -codes), entropy)
    # Rounded numbers repeat by chance; these are not repeated rows.
    rounded = np.round(X, 1)
    found = fast(rounded, 3 * rounded)
    assert covers(found, math.log(10) + 0.5 * math.log(2 * math.pi * math.e)) and not found.flags
    letters = RNG.choice(list("abcdefgh"), N)
    found = fast(letters, np.char.upper(letters))
    assert covers(found, math.log(8)) and found.upper - found.lower < 0.05
    # One row that differs is enough for the general estimate, which is not far away.
    other = letters.copy()
    other[0] = "b" if letters[0] == "a" else "a"
    assert fast(letters, other).value == pytest.approx(math.log(8), abs=0.1)


def test_columns_of_several_kinds():
    frame = pd.DataFrame({
        "number": X, "text": RNG.choice(["a", "b", "c"], N), "count": RNG.poisson(20, N)
    })  # fmt: skip
    found = fast(frame, Y)
    assert found.details["kinds"] == ("mixed", "continuous") and found.dim == 1
    assert found.value == pytest.approx(TRUE, abs=0.06) and covers(found, TRUE)
    assert covers(fast(frame[["text", "count"]], Y), 0)
    told = fast(frame, frame["text"])
    assert told.value == pytest.approx(math.log(3), abs=0.06)


def test_variables_too_wide_for_the_rows():
    x = RNG.normal(size=(200, 5))
    t = np.tanh(x @ RNG.normal(size=(5, 500)))
    found = fast(x, t)
    assert "high_dim" in found.flags and found.upper == math.inf


def test_a_large_table_of_ordered_values_is_compared_by_order():
    a, b = whole(X, 0.15), whole(Y, 0.15)
    found = fast(a, b)
    assert found.value == pytest.approx(TRUE, abs=0.06) and covers(found, TRUE)
    assert found.parts["counts"].value > 0.7  # which the plug-in value is not near
    codes = RNG.permutation(1000)  # without the order
    named = fast(codes[a + 500].astype(str), codes[b + 500].astype(str))
    assert named.flags == ("undersampled",) and covers(named, TRUE)


def test_critics_begin_anew():
    """One program trains many, and nothing is left of those before."""
    x, y = synthetic.correlated_gaussians(200, 2, 0.5, seed=0)
    settings = density_ratio.Settings(width=8, steps=60)

    def ratios(seed):
        return density_ratio.held_out_ratios(x, y, None, settings, seed)[0]

    density_ratio._program.cache_clear()
    first = [ratios(seed) for seed in (0, 1, 0)]
    assert (first[0] == first[2]).all() and (first[0] != first[1]).any()
    density_ratio._program.cache_clear()
    assert (ratios(1) == first[1]).all()


def test_a_critic_that_has_not_learned_the_dependence_is_noticed():
    part = Estimate(1.4, 0.02)
    for growth, grows in ((0.21, True), (0.08, False)):
        answer = Answer(1.69, 0.03, 2500, 4, parts={"second_half": Estimate(growth, 0.008)})
        assert module._critic_grows(answer) == grows
    assert not module._critic_grows(Answer(1.69, 0.03, 2500, 4, parts={"critic": part}))


def test_each_column_of_a_frame_against_a_target():
    rng = np.random.default_rng(0)
    n = 400
    price = rng.normal(size=n)
    frame = pd.DataFrame({
        "near": price + 0.5 * rng.normal(size=n),
        "far": rng.normal(size=n),
        "town": np.where(price > 0, "A", "B"),
        "equal": price,
        "always": 1.0,
        "gap": np.where(np.arange(n) == 3, np.nan, price),
    })  # fmt: skip
    found = ib.mutual_information(frame, price, by_column=True, budget="fast")
    assert list(found["column"]) == list(frame) and (found["unit"] == "nats").all()
    of = found.set_index("column")
    for name in ("near", "far", "town", "always"):
        alone = ib.mutual_information(frame[name], price, budget="fast")
        assert of.loc[name, ["value", "lower", "upper"]].tolist() == [
            alone.value, alone.lower, alone.upper
        ]  # fmt: skip
        assert of.loc[name, "flags"] == ",".join(alone.flags)
    assert of.loc["near", "value"] == pytest.approx(0.5 * math.log(5), abs=0.15)
    assert of.loc["always", "value"] == 0 and of.loc["town", "kind_a"] == "category"
    assert of.loc["equal", "value"] == np.inf and of.loc["equal", "flags"] == "infinite"
    assert np.isnan(of.loc["gap", "value"]) and of.loc["gap", "flags"] == "not_estimated"
    assert "NaN" in of.loc["gap", "details"]
    # The same columns as a matrix, against several columns.
    matrix = frame[["near", "far"]].to_numpy()
    numbered = ib.mutual_information(matrix, price[:, None], by_column=True, budget="fast")
    assert numbered["column"].tolist() == [0, 1]
    assert numbered["value"].tolist() == of.loc[["near", "far"], "value"].tolist()
    alone = ib.mutual_information(frame["near"], price, by_column=True, budget="fast")
    assert alone["column"].tolist() == ["near"]
    with pytest.raises(ArgumentError, match="differ in length"):
        ib.mutual_information(frame, price[:-1], by_column=True)
    with pytest.raises(ArgumentError, match="has no columns"):
        ib.mutual_information(np.zeros((n, 2, 2)), price, by_column=True)
    with pytest.raises(ArgumentError, match="`b`"):
        ib.mutual_information(frame, frame["gap"], by_column=True)


def test_pandas_rows_in_another_order_are_refused():
    rng = np.random.default_rng(0)
    a = pd.Series(rng.normal(size=200), name="a")
    b = (a + 0.1 * pd.Series(rng.normal(size=200))).to_frame("b")
    for first, second in ((a.sort_values(), b), (a, b[::-1]), (a.to_frame(), b.sample(frac=1))):
        with pytest.raises(ArgumentError, match="same label at different positions"):
            ib.mutual_information(first, second)
        with pytest.raises(ArgumentError, match="same label at different positions"):
            ib.mutual_information(pd.DataFrame(first), second["b"], by_column=True)
    right = ib.mutual_information(a, b, budget="fast").value
    assert right > 1.5
    # Rows with labels of their own, and arrays, are compared by position.
    other = b.set_axis(range(500, 700))
    assert ib.mutual_information(a, other, budget="fast").value == right
    assert ib.mutual_information(a.sort_values(), b.to_numpy(), budget="fast").value < 0.2


def test_no_critic_is_also_said_of_classes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(600, 3))
    y = a[:, 0] * a[:, 1] > 0
    assert "no_critic" in ib.mutual_information(a, y, budget="fast").flags
    assert "no_critic" not in ib.mutual_information(a, y).flags
    assert "no_critic" not in ib.mutual_information(a[:, 0], y, budget="fast").flags


def test_a_fold_with_one_class():
    """Alternating rows, of which every second is one class, and a class that one fold holds."""
    rng = np.random.default_rng(0)
    rare = np.zeros(60, int)
    rare[:5] = 1
    for y in (np.arange(400) % 2, rare):
        x = rng.normal(size=(len(y), 20)) + 0.8 * y[:, None]
        for seed in range(3):
            found = ib.mutual_information(x, y, budget="fast", seed=seed)
            assert 0 <= found.value <= math.log(2)


def test_kinds_that_do_not_suit():
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ArgumentError, match="`kind` is unknown"):
        ib.mutual_information(x, x[:, 0] + 1, by_column=True, kind=("typo", None))
    with pytest.raises(ArgumentError, match="`a` is not of the kind 'continuous'"):
        ib.mutual_information(pd.Categorical([1, 2] * 25), x, kind=("continuous", None))


def test_copies_of_rows_beside_labels_and_integers():
    x, y = X[:500], RNG.integers(0, 2, 500)
    whole_numbers = np.round(20 * RNG.normal(size=500)).astype(int)
    for other in (y, whole_numbers):
        found = fast(np.tile(x, 4), np.tile(other, 4))
        assert covers(found, 0) and "dependent" in found.flags and found.n == 500
    # A minority class that was oversampled.
    rare = np.arange(1000) % 10 == 0
    rows = np.r_[np.arange(1000), RNG.choice(np.flatnonzero(rare), 800)]
    wide = RNG.normal(size=(1000, 2))
    assert covers(fast(wide[rows], rare[rows]), 0)


def test_variables_that_are_zero_together():
    scale = 0.1
    active = RNG.random(N) < 0.5
    a, b = (np.where(active, v, 0) for v in (X, X + scale * RNG.normal(size=N)))
    found = fast(a, b)
    assert covers(found, math.log(2) + 0.25 * math.log1p(scale**-2)) and found.flags == ()


def test_a_category_beside_a_number_and_several_counts():
    """Together, the columns say more than each of them."""
    city, size = RNG.integers(0, 20, N), RNG.normal(size=N)
    of_city = 3 * np.random.default_rng(9).normal(size=20)
    price = of_city[city] + size + 0.3 * RNG.normal(size=N)
    grid = np.linspace(-30, 30, 200_001)
    spread = math.hypot(1, 0.3)
    density = scipy.stats.norm.pdf(grid[:, None], of_city, spread).mean(axis=1)
    truth = -np.trapezoid(density * np.log(density + 1e-300), grid)
    truth -= 0.5 * math.log(2 * math.pi * math.e * 0.09)
    frame = pd.DataFrame({"city": np.char.add("c", city.astype(str)), "size": size})
    found = fast(frame, price)
    assert covers(found, truth) and found.value == pytest.approx(truth, abs=0.15)
    answers = RNG.integers(1, 6, (N, 10))
    p = np.array([1.0])
    for _ in range(10):
        p = np.convolve(p, np.ones(5) / 5)
    entropy = -(p * np.log(p)).sum()
    found = fast(answers, answers.mean(axis=1))
    assert found.value == pytest.approx(entropy, abs=0.25) and covers(found, entropy)
    assert covers(fast(answers, RNG.normal(size=N)), 0)


def test_a_part_that_is_an_exact_copy():
    z = RNG.normal(size=N)
    for copied in (np.maximum(X, 0), np.where(RNG.random(N) < 0.05, X, z)):
        found = fast(X, copied)
        assert math.isinf(found.value) and found.flags == ("infinite",)
    # Rounded values are equal by chance.
    assert not math.isinf(fast(np.round(X, 1), np.round(z, 1)).value)
    imputed = np.where(RNG.random(N) < 0.5, 0, X), np.where(RNG.random(N) < 0.5, 0, z)
    assert not math.isinf(fast(*imputed).value)


def test_an_interaction_that_nothing_finds_leaves_the_interval_open():
    wide = RNG.normal(size=(N, 50))
    y = (np.square(wide[:, :2]).sum(axis=1) > 2 * math.log(2)).astype(int)
    found = fast(wide, y)
    assert found.value < 0.1 and found.upper == pytest.approx(math.log(2), abs=0.01)


def test_large_integers_and_objects():
    t = RNG.integers(0, 200, N)
    noisy = t + 5 * RNG.normal(size=N)
    large = (1 << 60) + np.c_[t, RNG.integers(0, 200, N)]
    expected = fast(t, noisy)
    for a in (large, large.astype(object), pd.DataFrame(large).astype("Int64")):
        found = fast(a, noisy)
        assert found.details["kinds"] == ("count", "continuous")
        assert found.value == pytest.approx(expected.value, abs=0.1)
    kinds = fast(t.astype(object), noisy).details["kinds"]
    assert kinds == expected.details["kinds"]


def test_frames_of_repeated_names_and_without_columns():
    twice = pd.concat([pd.Series(X, name="v"), pd.Series(RNG.normal(size=N) > 0, name="v")], axis=1)
    assert covers(fast(twice, Y), TRUE)
    with pytest.raises(ArgumentError, match="`a` has no columns"):
        fast(pd.DataFrame(index=range(N)), Y)
    for times in (pd.Series(pd.date_range("2020", periods=N, tz="UTC")), [pd.Timestamp(0)] * N):
        with pytest.raises(ArgumentError, match="neither numbers nor categories.*times as floats"):
            fast(times, Y)


def test_labels_that_were_dropped_separately():
    frame = pd.DataFrame({"x": X, "y": Y})
    first, second = frame["x"].drop(N - 1), frame["y"].drop(0)
    with pytest.raises(ArgumentError, match="same label at different positions"):
        fast(first, second)
    with pytest.raises(ArgumentError, match="`inputs` and `targets` have rows of the same label"):
        ib.estimate({"t": X}, "ksg", inputs=frame[["x"]], targets=frame["y"].sample(frac=1))


def test_classes_whose_rows_alternate_or_are_few():
    rng = np.random.default_rng(0)
    pairs = np.repeat(np.arange(10), 2)
    for labels, x in ((pairs, rng.normal(size=20)), (np.arange(200) % 2, rng.normal(size=200))):
        order = rng.permutation(len(labels))
        found, permuted = (
            ib.mutual_information(labels[rows].astype(str), x[rows], budget="fast", seed=0)
            for rows in (np.arange(len(labels)), order)
        )
        assert found.value == pytest.approx(permuted.value, abs=0.1)
        assert found.upper == pytest.approx(permuted.upper, abs=0.25)
    # Labels in turn: every second row has the same label.
    assert found.lower == 0 and found.upper < 0.4


def test_a_window_that_half_of_the_rows_would_not_allow():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100)
    found = ib.mutual_information(
        labels.astype(str), rng.normal(size=100), window=25, budget="fast", seed=0
    )
    assert found.lower == 0
