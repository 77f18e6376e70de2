"""Matrix-based Rényi information against matrices whose eigenvalues are known."""

import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError
from ib_keras.estimators import MatrixRenyi

FAR = 1e-6  # a width at which all different rows are far apart


def entropies(a, b, **settings):
    """S(A), S(B) and S(A,B), from the kernels that the estimator uses."""
    made = MatrixRenyi(**settings)
    rows = [np.arange(len(a))]
    kernels = [made._kernels(np.asarray(v, float), rows, None)[0] for v in (a, b)]
    kernels.append(kernels[0] * kernels[1])
    return [made._of(kernel) for kernel in kernels]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.01, 2.0])
def test_equal_rows_have_none_and_far_rows_have_all(alpha):
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(40, 3)), np.arange(40) % 4
    made = MatrixRenyi(alpha, FAR)
    equal = made.mutual_information(np.ones((40, 2)), a)
    assert equal.value == pytest.approx(0, abs=1e-6)
    far = made.mutual_information(a, rng.normal(size=(40, 1)))
    assert far.value == pytest.approx(np.log(40)) and "saturated" in far.flags
    classes = made.with_labels(a, y)
    assert classes.value == pytest.approx(np.log(4)) and "saturated" in classes.flags
    assert "measurement_kernel" in far.flags and far.kind == "estimate"
    assert made.with_labels(np.zeros((40, 2)), y).value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.01, 2.0])
def test_two_rows_by_hand(alpha):
    """K = [[1, e], [e, 1]] has the eigenvalues 1 ± e; the mean distance of two rows is theirs."""
    e = np.exp(-1 / 0.8**2)

    def entropy(kernel):
        shares = np.array([1 + kernel, 1 - kernel]) / 2
        if alpha == 1:
            return float(-(shares * np.log(shares)).sum())
        return float(np.log((shares**alpha).sum()) / (1 - alpha))

    made = MatrixRenyi(alpha, 0.8)
    a, b = np.array([[0.0], [3.0]]), np.array([[1.0, 1.0], [4.0, -5.0]])
    expected = 2 * entropy(e) - entropy(e * e)
    assert made.mutual_information(a, b).value == pytest.approx(expected)
    # Of two classes K_Y is the identity, and so is K_A ∘ K_Y.
    assert made.with_labels(a, np.array([0, 1])).value == pytest.approx(entropy(e))


def test_near_one_it_is_the_von_neumann_entropy():
    x, t = ib.synthetic.correlated_gaussians(60, 2, 1.0, seed=0)
    limit = MatrixRenyi(1.0, 0.5).mutual_information(x, t).value
    errors = [
        abs(MatrixRenyi(1 + step, 0.5).mutual_information(x, t).value - limit)
        for step in (1e-1, 1e-2, 1e-3)
    ]
    assert errors[2] < 1e-3 and errors[0] > 5 * errors[1] > 25 * errors[2]


@pytest.mark.parametrize("alpha", [1.0, 1.01, 2.0])
@pytest.mark.parametrize("width", [0.1, 0.5, 2.0, "neighbors"])
def test_the_joint_entropy_is_at_least_each_and_at_most_both(alpha, width):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(50, 2))
    for b in (rng.normal(size=(50, 3)), a**2, np.round(a)):
        first, second, both = entropies(a, b, alpha=alpha, width=width)
        assert max(first, second) - 1e-9 <= both <= np.log(50) + 1e-9
        # Far from α = 1 the entropies are not subadditive.
        assert both <= first + second + 1e-9 or alpha == 2


def test_classes_are_a_kernel_of_their_own():
    """The blocks of the classes have the eigenvalues of the whole matrix."""
    rng = np.random.default_rng(2)
    a, y = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    made = MatrixRenyi(width=0.4)
    kernel = made._kernels(a, [np.arange(60)], None)[0]
    same = (y[:, None] == y).astype(float)
    expected = made._of(kernel) + made._of(same) - made._of(kernel * same)
    assert made.with_labels(a, y).value == pytest.approx(expected)


def test_given_the_classes_it_is_that_of_each_class():
    """For α = 1, and with the classes' own kernels; it is flagged like the rest."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 3
    t = x + rng.normal(size=(60, 2))
    made = MatrixRenyi(1.0, 0.4)
    kernels = [made._kernels(v, [np.arange(60)], None)[0] for v in (x, t)]
    expected = []
    for label in range(3):
        one, other = (kernel[y == label][:, y == label] for kernel in kernels)
        expected.append(made._of(one) + made._of(other) - made._of(one * other))
    table = ib.estimate({"h": t}, made, inputs=x, targets=y, conditional=True)
    row = table.set_index("quantity").loc["I(X;T|Y)"]
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["flags"] == "measurement_kernel"
    # With the width that the classes choose, it is no more than without them.
    table = ib.estimate({"h": t}, "renyi", inputs=x + 3 * y[:, None], targets=y, conditional=True)
    values = table.set_index("quantity")["value"]
    assert 0 <= values["I(X;T|Y)"] < values["I(X;T)"] + 0.1
    numbers = ib.estimate({"h": t}, made, inputs=x, targets=t[:, 0], conditional=True)
    assert "I(X;T|Y)" not in set(numbers["quantity"])


def test_the_width_follows_the_labels():
    """Two clusters far apart: a kernel between their size and their distance is the labels' own."""
    rng = np.random.default_rng(3)
    y = np.arange(200) % 2
    t = 10.0 * y[:, None] + 0.1 * rng.normal(size=(200, 2))
    made, by_neighbours = MatrixRenyi(), MatrixRenyi(width="neighbors")
    assert made.with_labels(t, y).value == pytest.approx(np.log(2), abs=1e-3)
    # X and T are then as alike as the labels: one bit, and not the many that neighbours tell apart.
    found = made.estimate(t, x=t + 0.1 * rng.normal(size=t.shape), y=y)
    assert found.xt.value == pytest.approx(np.log(2), abs=0.01)
    assert by_neighbours.estimate(t, x=t, y=y).xt.value > 2
    assert made.estimate(t, x=t).xt == by_neighbours.estimate(t, x=t).xt
    numbers = t[:, 0] + rng.normal(size=200)
    assert made.with_labels(t, numbers) == by_neighbours.mutual_information(numbers, t)
    assert "no_noise" not in found.xt.flags


def test_batches_of_rows_and_their_error():
    x, t = ib.synthetic.correlated_gaussians(2400, 2, 1.0, seed=0)
    made = MatrixRenyi(width=1.0, rows=60, batches=20)
    found = made.mutual_information(x, t)
    assert found.n == 1200 and made == ib.estimators.get(ib.estimators.to_json(made))
    means = [
        MatrixRenyi(width=1.0, rows=60, batches=20, seed=seed).mutual_information(x, t).value
        for seed in range(12)
    ]
    # Half of the rows are drawn each time, so the spread over seeds is some √½ of the error.
    assert 0.3 < np.std(means, ddof=1) / found.stderr < 1.3
    assert np.isnan(made.mutual_information(x[:60], t[:60]).stderr)
    assert made.mutual_information(x[:100], t[:100]).n == 60


def test_arguments():
    for arguments in (
        {"alpha": 0}, {"width": "silverman"}, {"width": -1.0}, {"rows": 1}, {"batches": 0},
    ):  # fmt: skip
        with pytest.raises(ArgumentError):
            MatrixRenyi(**arguments)
    with pytest.raises(ArgumentError, match="differ in length"):
        MatrixRenyi().mutual_information(np.zeros((3, 1)), np.zeros((4, 1)))


def test_a_table():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)), np.arange(80) % 2
    table = ib.estimate({"h": np.tanh(x)}, "renyi", inputs=x, targets=y)
    assert table["quantity"].tolist() == ["I(X;T)", "I(T;Y)"]
    assert table["flags"].str.contains("measurement_kernel").all() and table["value"].ge(0).all()
