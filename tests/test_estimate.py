import numpy as np
import pandas as pd
import pytest

import ib_keras as ib
from ib_keras import frame
from ib_keras.errors import ArgumentError, StoreError


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


def test_a_value_outside_a_range_names_layer_and_options_before_work(store, monkeypatch):
    narrow = ib.estimators.Binning(range=(-1, 1))
    ran = []
    monkeypatch.setattr(ib.estimators.EBAB, "estimate", lambda *a, **k: ran.append(1))
    with pytest.raises(ArgumentError, match=r"'near' at epoch 3.*\[-1.0, 1.0\].*clip=True"):
        ib.estimate(store, ["ebab", narrow])
    assert not ran


def test_nan_activations_are_named_before_work(store, arrays):
    with store.writer(4, noise_std={}) as writer:
        for name, t in arrays[0].items():
            writer.write(name, np.where(np.arange(100) == 7, np.nan, 1.0)[:, None])
    with pytest.raises(ArgumentError, match="Layer 'near' at epoch 4 has NaN"):
        ib.estimate(store, "ebab")
    assert len(ib.estimate(store, "ebab", epochs=[0, 3])) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimators": "ebba"}, "'ebab'"),
        ({"estimators": []}, "empty"),
        ({"estimators": ["ebab", "ebab"]}, "repeats"),
        ({"layers": "x*"}, "No layer matches"),
        ({"epochs": [1]}, r"not recorded.*\[0, 3\]"),
        ({"unit": "bananas"}, "'nats', 'bits'"),
        ({"targets": [1, 2]}, "does not go with this source"),
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
        (layers, {"targets": y + 0.5}),
        (layers, {"inputs": np.zeros((9, 1))}),
        ({"a": np.zeros((5, 1)), "b": np.zeros((6, 1))}, {}),
        ({"a": np.zeros((1, 1))}, {}),
        ({"a": np.array([[np.nan], [0.0]])}, {}),
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
    with pytest.raises(StoreError, match=r"call ib_keras\.estimate first"):
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
    with pytest.raises(StoreError, match="is no folder of"):
        frame.write(ib.estimate(store, "ebab"), store.path)
