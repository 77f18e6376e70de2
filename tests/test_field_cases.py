"""What people's data and models did to this library; each row of a public report has its test.

Elsewhere are: linear activations, layers that hand on and wrappers in ``test_blocks.py`` and
``test_every_layer.py``; random layers in ``test_randomness.py``; labels in ``test_labels.py`` and
``test_datasets.py``; files of other formats in ``test_models.py``; columns that are constant in
``properties/test_survival.py``; equal rows in ``estimators/test_places.py``; ``calibrate`` in
``test_calibrate.py``; missing inputs and several stores in ``test_estimate.py``; contradictions in
``test_consistency.py``; the verdict in ``test_verdict.py``; ``--describe`` and ``--dry_run`` in
``pipelines/test_cli.py``.
"""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from make_frame import make_frame

import ib_keras as ib
from ib_keras import flags
from ib_keras.frame import verdict
from ib_keras.report import embedded

L = keras.layers


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A table recorded in ``fit``, of layers that not every estimator can do."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype("float32")
    names = np.array(["cat", "dog", "bee"], object)
    y = rng.integers(0, 3, 60)
    inputs = keras.Input((6,))
    h = L.Dense(4, "tanh", name="h")(inputs)
    carried = L.Concatenate(name="carried")([inputs, h])
    wide = L.Dense(80, name="wide")(carried)
    model = keras.Model(inputs, L.Dense(3, "softmax", name="out")(wide))
    model = ib.instrument(model, layers=["h", "carried", "wide", "out"])
    model.compile("adam", "sparse_categorical_crossentropy")
    recorder = ib.Recorder(
        tmp_path_factory.mktemp("recorded") / "run", x, names[y], epochs=1, keep="estimates",
        estimators=["gaussian", "ksg", "ebab"],
    )  # fmt: skip
    model.fit(x, y, epochs=1, verbose=0, callbacks=[recorder])
    return ib.load(recorder.path)


def test_one_cell_does_not_cost_the_training(recorded):
    """keras #20479 and NPEET #16: X carried on, more columns than rows, texts for labels."""
    lost = recorded[recorded["flags"].str.contains("not_estimated|infinite")]
    assert set(zip(lost["layer"], lost["estimator"], strict=True)) == {
        ("carried", "gaussian"), ("carried", "ksg"), ("wide", "gaussian"),
    }  # fmt: skip
    assert (lost.loc[lost["layer"] == "carried", "value"] == np.inf).all()
    assert lost.loc[lost["layer"] == "wide", "value"].isna().all()
    assert lost["details"].str.len().gt(20).all()
    # Of two epochs, four layers: gaussian knows no labels.
    assert len(recorded) == 2 * 4 * (1 + 2 + 2)
    assert recorded.attrs["not_estimated"] == 2


def test_the_reason_is_that_there_are_too_few_rows_and_not_the_memory():
    """121 layers of 60 rows: some of them have 3 078 columns."""
    rng = np.random.default_rng(0)
    layers = {"small": rng.normal(size=(60, 3)), "wide": rng.normal(size=(60, 300_000))}
    table = ib.estimate(layers, "gaussian", inputs=rng.normal(size=(60, 6))).set_index("layer")
    assert np.isfinite(table.loc["small", "value"])
    assert "too few samples" in str(table.loc["wide", "details"])
    assert "300006 non-constant columns" in str(table.loc["wide", "details"])


def test_the_report_counts_what_could_not_be_estimated(recorded, tmp_path):
    page = ib.report.write(recorded, tmp_path / "report.html").read_text()
    assert f"2 of {len(recorded)} values could not be estimated" in page


def test_the_report_opens_on_an_estimator_with_both_quantities(recorded):
    """One opened on ``gaussian``, which has no I(T;Y): an empty plane."""
    import json

    data = json.loads(embedded.data(recorded, single_runs=False))
    assert data["estimators"][-1] == "gaussian" and len(data["estimators"]) == 3


@pytest.mark.parametrize("made", ["dataset", "batches", "generator"])
def test_data_sets_are_read_as_arrays_are(made, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices(x)
    model = ib.instrument(keras.Sequential([keras.Input((3,)), L.Dense(2, name="a")]))

    def given():
        return {
            "dataset": dataset,
            "batches": dataset.batch(4),
            "generator": (row for row in x),
        }[made]

    expected = model.capture(x)
    np.testing.assert_array_equal(model.capture(given())["a"], expected["a"])
    table = ib.estimate(dict(expected), "gaussian", inputs=x, targets=None)
    other = ib.estimate(dict(expected), "gaussian", inputs=given())
    assert table["value"].tolist() == other["value"].tolist()
    model.compile("sgd", "mse")
    recorder = ib.Recorder(tmp_path / "run", given(), run="one", epochs=[0])
    model.fit(x, x[:, :2], epochs=1, callbacks=[recorder], verbose=0)
    np.testing.assert_array_equal(ib.ActivationStore(tmp_path / "run").inputs(), x)


def test_ids_are_no_distances():
    """A transformer's token ids: integers, which neighbours take for distances."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30_000, (200, 4))
    layer = {"a": rng.normal(size=(200, 2))}
    found = ib.estimate(layer, ["ksg", "ebab"], inputs=ids).set_index("estimator")["flags"]
    assert "integer_inputs" in found["ksg"] and "integer_inputs" not in found["ebab"]
    bytes_ = ib.estimate(layer, "ksg", inputs=ids.astype("uint8"))["flags"][0]
    assert "integer_inputs" not in bytes_
    both = {"numbers": rng.normal(size=(200, 3)), "ids": ids}
    found = ib.estimate(layer, ["ksg", "ebab"], inputs=both).set_index("estimator")["flags"]
    assert "integer_inputs" in found["ksg"] and "integer_inputs" not in found["ebab"]
    assert flags.doubt("integer_inputs") == flags.CARE


def test_saturated_information_of_labels():
    """442 rows, each alone: I(T;Y) was ln 4 without a word, where KSG finds 0.29."""
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(442, 20)), rng.integers(0, 4, 442)
    own = ib.Activations({"a": t}, noise_std={"a": 0.01}, clean=True)
    table = ib.estimate(own, "sp", targets=y).set_index("quantity")
    assert table.loc["I(T;Y)", "value"] == pytest.approx(np.log(4), abs=0.01)
    for quantity in ("I(X;T)", "I(T;Y)"):
        assert "saturated" in table.loc[quantity, "flags"]
        assert flags.doubt(table.loc[quantity, "flags"]) == flags.NOTHING
    # Labels that noise hides are not saturated.
    loud = ib.Activations({"a": t}, noise_std={"a": 30.0}, clean=True)
    table = ib.estimate(loud, "sp", targets=y).set_index("quantity")
    assert "saturated" not in table.loc["I(T;Y)", "flags"]


def test_the_last_epoch_is_printed_with_its_flags():
    """ln 1797 was printed like a result."""
    table = make_frame(estimators=("ebab",), layers=("a", "b"), flags="")
    stuck = (table["layer"] == "a") & (table["quantity"] == "I(X;T)")
    table.loc[stuck, ["value", "flags"]] = [np.log(1797), "saturated"]
    text = ib.report.last_epoch_text(table)
    mark, meaning = flags.MARKS[flags.NOTHING], flags.MEANINGS[flags.NOTHING]
    assert f"7.494{mark}" in text and f"{mark} {meaning}: saturated" in text


def test_a_report_is_not_believed_above_a_table_that_says_no():
    """ "Estimates disagree about h1. You may believe it" was a headline."""
    fall, rise = (5.0, 8.0, 6.0), (5.0, 6.0, 8.0)
    table = make_frame(estimators=("ksg", "kde"), layers=("h1", "h2"), flags="")
    table = table[table["quantity"] == "I(X;T)"].assign(stderr=0.1)
    for (layer, estimator), values in {
        ("h1", "ksg"): fall, ("h1", "kde"): rise, ("h2", "ksg"): rise, ("h2", "kde"): rise,
    }.items():  # fmt: skip
        own = (table["layer"] == layer) & (table["estimator"] == estimator)
        table.loc[own, "value"] = values
    ((which, belief),) = verdict.headline(verdict.verdicts(table))
    assert "Estimates disagree about h1" in which
    assert "You may believe it" not in belief


def test_a_saved_model_is_known_to_keras_after_the_import(tmp_path):
    """``import ib_keras`` and then ``load_model``, in a process that has not instrumented.

    The other order of imports is that of ``test_a_saved_model_comes_back_in_a_new_process``.
    """
    layers = [keras.Input((3,)), L.Dense(2, name="a"), L.Dense(1, name="out")]
    model = ib.instrument(keras.Sequential(layers), 0.1)
    model.save(tmp_path / "model.keras")
    lines = [
        "import sys, ib_keras",
        "assert 'tensorflow' not in sys.modules",
        "import keras",
        f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r})",
        "assert model.noise_std == {'a': 0.1, 'out': 0.0}, model.noise_std",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_the_rounding_of_a_softmax_is_no_information():
    """Its columns sum to 1 but for the last bit, which other batches round otherwise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)).astype("float32")
    logits = x @ rng.normal(size=(3, 4)) + rng.normal(size=(500, 4))
    t = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    whole = ib.estimators.Gaussian().mutual_information(x, t[:, :3])
    for _ in range(3):
        rounded = (t * (1 + 1e-7 * rng.uniform(-1, 1, t.shape))).astype("float32")
        found = ib.estimators.Gaussian().mutual_information(x, rounded)
        assert found.value == pytest.approx(whole.value, abs=1e-3)


def test_columns_far_from_zero_are_still_columns():
    """In float32, 5e6 away from zero, numbers are half apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    t = (5e6 + 0.8 * x + 0.6 * rng.normal(size=x.shape)).astype("float32")
    found = ib.estimators.Gaussian().mutual_information(x, t)
    # Rounding to halves is noise of variance 1/48; the truth without it is -ln 0.36.
    assert found.value == pytest.approx(-np.log(1 - 0.64 / (1 + 1 / 48)), abs=4 * found.stderr)


@pytest.mark.parametrize("activation, units", [("tanh", 400), ("relu", 800)])
def test_neighbours_of_a_wide_layer_are_flagged(activation, units):
    """``ksg`` says 0.2 and 1.9 nats of layers that tell nearly everything of X."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 20)).astype("float32")
    weights = rng.normal(size=(20, units)) / np.sqrt(20)
    t = np.asarray(keras.activations.get(activation)(x @ weights.astype("float32")))
    table = ib.estimate({"wide": t}, "ksg", inputs=x)
    assert table["value"][0] < 2.5
    assert "high_dim" in table["flags"][0]
    assert flags.doubt(table["flags"][0]) == flags.NOTHING
