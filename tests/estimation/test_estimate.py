import json

import keras
import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras import frame
from ib_keras.errors import ArgumentError, InfiniteError, Interrupted, StoreError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    return {
        "near": np.tanh(rng.normal(size=(100, 3)) + 2 * y[:, None]),
        "deep/far": rng.uniform(0, 1, (100, 2, 2)) * 0.1,
    }, y


@pytest.fixture
def store(tmp_path, arrays):
    layers, y = arrays
    made = ib.ActivationStore.create(
        tmp_path / "run-7", inputs=np.arange(100.0)[:, None], targets=y, layers=list(layers)
    )
    for epoch in (0, 3):
        with made.writer(epoch, noise_std=dict.fromkeys(layers, 0.0)) as writer:
            for name, t in layers.items():
                writer.write(name, t * (1 + epoch))
    return made


def test_the_table_is_the_contracts(store, arrays):
    layers, y = arrays
    table = ib.estimate(store.path, ["ebab", ib.estimators.KDE(0.1, kind="lower")])
    assert list(table) == [
        "run", "epoch", "layer", "layer_index", "dim", "n", "estimator", "quantity", "value",
        "stderr", "kind", "flags", "noise_std", "seconds", "unit",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 2 * 2
    row = table.query("epoch == 3 and layer == 'deep/far' and estimator == 'ebab'").iloc[1]
    assert (row["run"], row["layer_index"], row["dim"], row["n"]) == ("run-7", 1, 4, 100)
    assert (row["quantity"], row["kind"], row["unit"]) == ("I(T;Y)", "estimate", "nats")
    t = store.read(3, "deep/far")
    assert row["value"] == ib.estimators.EBAB().estimate(t, y=y).ty.value
    bounds = table[table["estimator"] == "kde(variance=0.1, kind=lower)"]
    assert bounds.groupby("quantity")["kind"].unique().str[0].to_dict() == {
        "I(X;T)": "lower", "I(T;Y)": "estimate",
    }  # fmt: skip
    assert table["epoch"].dtype == np.int64 and table["stderr"].dtype == np.float64


def test_repeated_inputs_are_found(tmp_path, arrays):
    layers, y = arrays
    x = np.repeat(np.arange(50), 2)[:, None]
    table = ib.estimate({"a": np.arange(100.0)}, "ebab", inputs=x, targets=y)
    # Each of 50 inputs is seen twice, in two bins: I(X;T) = ln 100 − ln 2 if all values differ.
    bins = ib.estimators.EBAB().estimate(np.arange(100.0), x=x).xt.value
    assert table["value"].iloc[0] == bins < np.log(50) + 1e-12


def test_sources(mlp, inputs, arrays):
    x, y = inputs
    from_model = ib.estimate(mlp, "ebab", inputs=x, targets=y)
    from_capture = ib.estimate(ib.instrument(mlp).capture(x), "ebab", inputs=x, targets=y)
    assert from_model["value"].tolist() == from_capture["value"].tolist()
    assert from_model["run"].unique().tolist() == ["mlp"]
    only_x = ib.estimate(arrays[0], "ebab")
    assert only_x["quantity"].unique().tolist() == ["I(X;T)"]


def test_layers_epochs_and_unit(store):
    table = ib.estimate(store, "ebab", layers="deep/*", epochs=[3], unit="bits")
    nats = ib.estimate(store, "ebab", layers=["deep/far"], epochs=[3])
    assert table["layer"].unique().tolist() == ["deep/far"]
    assert table["unit"].unique().tolist() == ["bits"]
    np.testing.assert_allclose(table["value"], nats["value"] / np.log(2))
    np.testing.assert_allclose(frame.convert(table, "nats")["value"], nats["value"])


def test_one_hot_targets_equal_labels(arrays):
    layers, y = arrays
    a = ib.estimate(layers, "ebab", targets=y)
    b = ib.estimate(layers, "ebab", targets=np.eye(2)[y])
    assert a["value"].tolist() == b["value"].tolist()


def reason(row):
    return json.loads(row["details"])["reason"]


def lost_and_others(table):
    lost = table["flags"].isin(["not_estimated", "infinite"])
    assert table.attrs["not_estimated"] == (table["flags"] == "not_estimated").sum()
    return table[lost].to_dict("records"), table[~lost]


def test_a_value_outside_a_range_costs_its_cell(store):
    narrow = ib.estimators.Binning(range=(-1, 1))
    lost, others = lost_and_others(ib.estimate(store, ["ebab", narrow]))
    assert {(row["layer"], row["epoch"]) for row in lost} == {("near", 3)}
    assert all("[-1.0, 1.0]" in reason(row) and "clip=True" in reason(row) for row in lost)
    assert len(lost) == 2 and len(others) == 14 and np.isfinite(others["value"]).all()
    with pytest.raises(ArgumentError, match=r"'near' at epoch 3, binning.*\[-1.0, 1.0\]"):
        ib.estimate(store, ["ebab", narrow], on_error="raise")


def test_nan_activations_cost_their_epoch(store, arrays):
    with store.writer(4, noise_std={}) as writer:
        for name, t in arrays[0].items():
            writer.write(name, np.where(np.arange(100) == 7, np.nan, 1.0)[:, None])
    for estimator in ("ebab", ib.estimators.Binning(range="global")):
        lost, others = lost_and_others(ib.estimate(store, estimator))
        assert {row["epoch"] for row in lost} == {4} and len(lost) == 4
        assert all("NaN" in reason(row) for row in lost)
        assert len(others) == 8 and np.isfinite(others["value"]).all()
    with pytest.raises(ArgumentError, match="Layer 'near' at epoch 4, ebab.*NaN"):
        ib.estimate(store, "ebab", on_error="raise")


def test_one_cell_that_cannot_be_is_a_row_with_its_reason():
    """X carried on, more columns than rows, classes too small, a user's estimator that fails."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    layers = {
        "carried": np.hstack([x, rng.normal(size=(60, 1))]),
        "wide": rng.normal(size=(60, 80)),
        "plain": x + rng.normal(size=(60, 3)),
    }
    y = np.arange(60) % 2
    y[:2] = 2  # a class of two rows
    table = ib.estimate(layers, ["gaussian", "kl", "ksg", Fails(), "ebab"], inputs=x, targets=y)
    cells = table.set_index(["layer", "estimator", "quantity"])
    assert list(dict.fromkeys(table["layer"])) == list(layers)
    for name in ("gaussian", "kl", "ksg"):
        found = cells.loc["carried", name, "I(X;T)"]
        assert found["value"] == np.inf and found["flags"] == "infinite", name
        assert "I(X;T) is infinite" in reason(found) and "`a`" not in reason(found)
    wide = cells.loc["wide", "gaussian", "I(X;T)"]
    assert np.isnan(wide["value"]) and "83 non-constant columns" in reason(wide)
    # So few rows cannot show that anything is infinite.
    assert cells.loc["wide", "kl", "I(X;T)"]["flags"] == "not_estimated"
    # One quantity is not lost with the other.
    assert np.isfinite(cells.loc["plain", "kl", "I(X;T)"]["value"])
    assert cells.loc["plain", "kl", "I(T;Y)"]["flags"] == "not_estimated"
    assert np.isfinite(cells.loc["carried", "ksg", "I(T;Y)"]["value"])
    assert reason(cells.loc["plain", "fails", "I(X;T)"]).startswith("ZeroDivisionError")
    assert np.isfinite(cells.xs("ebab", level="estimator")["value"]).all()
    with pytest.raises(ZeroDivisionError):
        ib.estimate(layers, Fails(), on_error="raise")
    with pytest.raises(ArgumentError, match="'flag' or 'raise'"):
        ib.estimate(layers, "ebab", on_error="ignore")


def test_infinite_information_of_a_custom_estimator():
    """I(X;T) is infinite; I(T;Y), which is at most H(Y), is only unknown."""

    class Infinite(Fails):
        name = "infinite"

        def estimate(self, t, **kwargs):
            raise InfiniteError("X determines T", "noise", "none")

    layers = {"a": np.arange(9.0)[:, None]}
    xt, ty = ib.estimate(layers, Infinite(), targets=np.arange(9) % 2).to_dict("records")
    assert (xt["value"], xt["flags"]) == (np.inf, "infinite")
    assert np.isnan(ty["value"]) and ty["flags"] == "not_estimated"
    _, ty = ib.estimate(layers, Fails(), targets=np.arange(9) % 2).to_dict("records")
    assert reason(ty).startswith("ZeroDivisionError: ")


class Fails:
    name = "fails"

    def estimate(self, t, *, y=None, x=None, noise_std=0.0, conditional=None):
        return 1 / 0

    def get_config(self):
        return {}

    def __str__(self):
        return "fails"


def test_missing_inputs_are_said_before_any_work(monkeypatch):
    ran = []
    monkeypatch.setattr(ib.estimators.EBAB, "estimate", lambda *a, **k: ran.append(1))
    with pytest.raises(ArgumentError, match=r"ksg compares T with X.*`inputs`"):
        ib.estimate({"a": np.zeros((9, 1))}, ["ebab", "ksg"])
    assert not ran


def test_several_stores(tmp_path, arrays):
    layers, y = arrays
    for seed in range(3):
        made = ib.ActivationStore.create(
            tmp_path / f"run-{seed}", inputs=np.arange(100.0), targets=y, layers=list(layers)
        )
        with made.writer(0, noise_std={}) as writer:
            for name, t in layers.items():
                writer.write(name, t.astype("float32"))
    paths = sorted(tmp_path.glob("run-*"))
    by_glob = ib.estimate(str(tmp_path / "run-*"), "ebab")
    by_list = ib.estimate([paths[0], ib.ActivationStore(paths[1]), str(paths[2])], "ebab")
    assert by_glob["run"].unique().tolist() == ["run-0", "run-1", "run-2"]
    columns = [c for c in by_glob if c != "seconds"]
    pd.testing.assert_frame_equal(by_glob[columns], by_list[columns])
    assert by_glob.attrs["provenance"]["estimators"] and by_glob.attrs["not_estimated"] == 0
    with pytest.raises(StoreError, match="matches nothing"):
        ib.estimate(str(tmp_path / "no-*"), "ebab")
    with pytest.raises(StoreError, match="nosuch.*Expected the folder of an `ActivationStore`"):
        ib.estimate("nosuch", "ebab")
    with pytest.raises(ArgumentError, match="stores or their paths"):
        ib.estimate([3], "ebab")


def test_all_stores_are_checked_first_and_ctrl_c_keeps_all_estimates(tmp_path, arrays, monkeypatch):
    layers, y = arrays
    for name in ("a", "b"):
        made = ib.ActivationStore.create(
            tmp_path / name, inputs=np.arange(100.0), targets=y, layers=list(layers)
        )
        with made.writer(0, noise_std={}) as writer:
            for layer, t in layers.items():
                writer.write(layer, t)
    small = ib.ActivationStore.create(
        tmp_path / "small", inputs=np.arange(100.0), targets=y, layers=["near"]
    )
    with small.writer(0, noise_std={}) as writer:
        writer.write("near", layers["near"])
    estimate, ran = ib.estimators.EBAB.estimate, []

    def interrupted(self, *args, **kwargs):
        ran.append(1)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return estimate(self, *args, **kwargs)

    monkeypatch.setattr(ib.estimators.EBAB, "estimate", interrupted)
    with pytest.raises(ArgumentError, match="No layer matches"):
        ib.estimate([tmp_path / "a", tmp_path / "small"], "ebab", layers="deep/far")
    assert not ran
    with pytest.raises(Interrupted, match="3 of 4 estimates") as stopped:
        ib.estimate(str(tmp_path / "[ab]"), "ebab", epochs=(e for e in (0,)))
    assert stopped.value.table["run"].tolist() == ["a"] * 4 + ["b"] * 2
    assert stopped.value.table.attrs["provenance"]["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimators": "ebba"}, "'ebab'"),
        ({"estimators": []}, "empty"),
        ({"estimators": ["ebab", "ebab"]}, "repeats 'ebab'"),
        ({"layers": "x*"}, "No layer matches"),
        ({"epochs": 5}, r"`epochs` is not a list.*Expected .*Received: 5"),
        ({"epochs": ["a"]}, "`epochs` is not a valid count"),
        ({"epochs": [1]}, r"not recorded.*\[0, 3\]"),
        ({"unit": "bananas"}, "'nats', 'bits'"),
        ({"targets": [1, 2]}, "cannot be used with this source"),
    ],
)
def test_bad_arguments(store, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ib.estimate(store, **{"estimators": "ebab"} | arguments)


def test_bad_sources(tmp_path, arrays):
    layers, y = arrays
    with pytest.raises(StoreError, match="does not exist"):
        ib.estimate(tmp_path / "nowhere", "ebab")
    for source, arguments in [
        (layers, {"targets": y[:9]}),
        (layers, {"targets": y + np.nan}),
        (layers, {"inputs": np.zeros((9, 1))}),
        ({"a": np.zeros((5, 1)), "b": np.zeros((6, 1))}, {}),
        ({"a": np.zeros((1, 1))}, {}),
        ({}, {}),
        (3, {}),
    ]:
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            ib.estimate(source, "ebab", **arguments)


def test_write_and_load(store, tmp_path):
    table = ib.estimate(store, "ebab")
    logs = pd.DataFrame({"run": ["run-7"], "epoch": [3], "loss": [0.25]})
    frame.write(table, tmp_path / "out", logs=logs)
    loaded = ib.load(tmp_path / "out")
    pd.testing.assert_frame_equal(loaded[frame.COLUMNS], table)
    assert loaded.loc[loaded["epoch"] == 3, "loss"].unique().tolist() == [0.25]
    assert loaded.loc[loaded["epoch"] == 0, "loss"].isna().all()
    assert len(ib.load(tmp_path / "o*")) == len(table)
    assert len(ib.load(tmp_path / "out" / "estimates.parquet")) == len(table)


def test_load_says_what_is_wrong(store, tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        ib.load(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"ib_keras\.frame\.write saves"):
        ib.load(store.path)
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        ib.load(tmp_path / "bad.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArgumentError, match="lacks"):
        ib.load(tmp_path / "other.parquet")
    with pytest.raises(ArgumentError, match="nothing is overwritten"):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "f").touch()
        frame.write(ib.estimate(store, "ebab"), tmp_path / "taken")
    with pytest.raises(StoreError, match="is not of the expected kind"):
        frame.write(ib.estimate(store, "ebab"), store.path)


def test_a_model_with_noise_is_seeded():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    noisy = ib.instrument(model, {"dense": 0.5})
    x = np.random.default_rng(0).normal(size=(60, 3))
    first, same, other = (
        ib.estimate(noisy, "ksg", inputs=x, seed=seed)["value"].tolist() for seed in (0, 0, 1)
    )
    assert first == same != other
    with pytest.raises(ArgumentError, match="`seed` cannot be used with this source"):
        ib.estimate({"a": x}, "ebab", seed=0)


def test_a_constant_layer_is_flagged():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    layers = {"dead": np.zeros((200, 4)), "one": np.full((200, 1), 7.0), "alive": x}
    table = ib.estimate(layers, ["ebab", "binning", "ksg", "akde"], inputs=x, targets=y)
    constant = table["flags"].str.contains("constant")
    assert (constant == table["layer"].ne("alive")).all()
    assert (table["value"][constant].abs() < 1e-9).all()
    # Positions of one image are neither independent nor flagged twice.
    assert all(len(set(own.split(","))) == len(own.split(",")) for own in table["flags"])


def test_a_dead_layer_with_noise_is_constant_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    layers = [keras.layers.Dense(2, "relu", name=name) for name in ("alive", "dead")]
    network = ib.instrument(keras.Sequential([keras.Input((3,)), *layers]), noise_std=0.5, seed=0)
    layers[1].set_weights([np.zeros((2, 2)), -np.ones(2)])
    for source in (network, tmp_path / "run"):
        if source is not network:
            network.compile("sgd", "mse")
            recorder = ib.Recorder(source, x, x[:, 0], epochs=[0])
            network.fit(x, np.zeros((200, 2)), epochs=1, verbose=0, callbacks=[recorder])
        table = ib.estimate(source, "sp", **({"inputs": x} if source is network else {}))
        own = table.set_index("layer")["flags"].str.contains("constant").groupby("layer").all()
        assert own["dead"] and not own["alive"]


@pytest.mark.parametrize("estimator", ["ebab", {"name": "binning", "quantile": True}])
def test_equal_counts_of_a_single_neuron_are_at_their_ceiling(estimator):
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(500, 2)), rng.integers(0, 2, 500)
    few = rng.integers(0, 4, (500, 1)) * 1.0
    layers = {"one": t[:, :1], "two": t, "few": few}
    table = ib.estimate(layers, estimator, targets=y).set_index(["layer", "quantity"])
    stuck = table["flags"].str.contains("saturated")
    assert table.loc[("one", "I(X;T)"), "value"] == pytest.approx(np.log(30), abs=0.02)
    assert stuck[("one", "I(X;T)")] and not stuck[("one", "I(T;Y)")]
    assert not stuck[("few", "I(X;T)")]
