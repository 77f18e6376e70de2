"""Every golden value of the binning and KDE families."""

import numpy as np
import pytest

from ib_keras.estimators import EBAB, KDE, AdaptiveKDE, Binning

LAYERS = [(f"{net}", f"L{i}") for net in ("tanh", "relu") for i in range(6)]


def both(information):
    return np.array([information.xt.value, information.ty.value])


@pytest.mark.parametrize("name", ["tanh", "relu", "linear"])
def test_binning_and_ebab_of_golden_json(golden, name):
    values, arrays = golden
    t, y = arrays[f"{name}_t"], arrays[f"{name}_y"]
    cases = {
        "binning_width_0.07": Binning(width=0.07),
        "binning_width_0.5": Binning(width=0.5),
        "binning_range_30": Binning(bins=30, range=(-1, 1), clip=True),
        "ebab_10": EBAB(10),
        "ebab_30": EBAB(30),
    }
    checked = set(cases) & set(values[name])
    assert len(checked) >= 4
    for key in checked:
        np.testing.assert_allclose(
            both(cases[key].estimate(t, y=y)), values[name][key], rtol=0, atol=1e-12, err_msg=key
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
@pytest.mark.parametrize("name", ["tanh", "relu", "linear"])
def test_kde_of_golden_json(golden, name, dtype, tolerance):
    values, arrays = golden
    t, y = arrays[f"{name}_t"].astype(dtype), arrays[f"{name}_y"]
    for key, make in {
        "kde_0.001": lambda kind: KDE(0.001, kind=kind),
        "kde_0.1": lambda kind: KDE(0.1, kind=kind),
        "akde_1e-3_max": lambda kind: AdaptiveKDE(1e-3, kind=kind),
    }.items():
        got = [both(make(kind).estimate(t, y=y)) for kind in ("upper", "lower")]
        np.testing.assert_allclose(
            np.concatenate(got), values[name][key], rtol=0, atol=tolerance, err_msg=key
        )


@pytest.mark.parametrize("bins", [8, 30])
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_ebab_edges(adaptive, name, bins):
    _, arrays = adaptive
    # The stored edges begin with the original's lower limit, which depends on the activation.
    np.testing.assert_array_equal(
        EBAB(bins).edges(arrays[f"small_{name}"]), arrays[f"ebab{bins}_edges_{name}"][1:]
    )


def test_small_binning(adaptive):
    values, arrays = adaptive
    y = arrays["small_y"]
    checked = 0
    for key, expected in values.items():
        head, *rest = key.split("/")
        x = None
        if head in ("ebab8", "ebab30") and rest[0] in ("tanh", "relu"):
            made, t = EBAB(int(head[4:])), arrays[f"small_{rest[0]}"]
            x = arrays["small_Xd"] if rest[1] == "Xrepeated" else None
        elif head.startswith("equalcount"):
            made = Binning(int(head[10:]), range=rest[0], quantile=True)
            t = arrays[f"small_{rest[1]}"]
        elif head.startswith("floor"):
            made, t = Binning(width=float(head[5:])), arrays[f"small_{rest[0]}"]
        else:
            continue
        got = both(made.estimate(t, y=y, x=x))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, err_msg=key)
        checked += 1
    assert checked == 6 + 18 + 6


def test_ebab_of_few_and_dead_values(adaptive):
    values, arrays = adaptive
    got = both(EBAB().estimate(arrays["few_T"], y=arrays["few_y"]))
    np.testing.assert_allclose(got, values["ebab30/3uniques"], rtol=0, atol=1e-12)
    dead = np.zeros((48, 2), np.float32)
    np.testing.assert_array_equal(both(EBAB().estimate(dead, y=arrays["few_y"])), 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
def test_small_kde(adaptive, dtype, tolerance):
    values, arrays = adaptive
    checked = 0
    for key, expected in values.items():
        head, *rest = key.split("/")
        if head == "kde" and rest[1].startswith("var"):
            made = KDE(float(rest[1][3:]), kind=rest[0])
        elif head == "akde" and rest[0] in ("absmax", "absmax2"):
            power = 2 if rest[0] == "absmax2" else 1
            made = AdaptiveKDE(float(rest[2][3:]), power=power, kind=rest[1])
        elif head == "kdeH":
            made = KDE(float(rest[1][3:]), kind=rest[0])
            got = made.entropy(arrays[f"small_{rest[2]}"].astype(dtype)).value
            assert got == pytest.approx(expected[0], abs=tolerance), key
            checked += 1
            continue
        else:
            continue
        got = both(made.estimate(arrays[f"small_{rest[-1]}"].astype(dtype), y=arrays["small_y"]))
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=key)
        checked += 1
    assert checked == 12 + 26 + 12


def test_dead_layer_kde(adaptive):
    values, _ = adaptive
    got = both(KDE(0.1).estimate(np.zeros((50, 3)), y=np.arange(50) % 2))
    np.testing.assert_array_equal(got, values["kde/upper/allzero/var0.1"])


@pytest.mark.parametrize(("net", "layer"), LAYERS)
def test_networks(adaptive, net, layer):
    values, arrays = adaptive
    t, y = arrays[f"net_{net}_{layer}"], arrays["szt_y"]
    for key, made, tolerance in [
        ("ebab30", EBAB(30), 1e-12),
        ("equalcount30_layer", Binning(30, quantile=True), 1e-12),
        ("floor0.07", Binning(width=0.07), 1e-12),
        ("kde_upper_1e-3", KDE(1e-3), 1e-6),
        ("kde_lower_1e-3", KDE(1e-3, kind="lower"), 1e-6),
    ]:
        expected = values[f"net/{net}/{layer}/{key}"]
        got = both(made.estimate(t, y=y))
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=key)
        if key.startswith("kde"):
            got = both(made.estimate(t.astype("float64"), y=y))
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9, err_msg=key)
