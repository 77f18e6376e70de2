"""The networks for MNIST of Goldfeld et al., on scikit-learn's small digits."""

import json
import math
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
from make_frame import make_frame
from scipy import stats

import ib_keras as ib
from benchmarks.papers import goldfeld_mnist as paper
from ib_keras import clustering, datasets, frame, models, studies
from ib_keras.components.artifacts import checkpoints
from ib_keras.components.examples import executor as examples
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import noisy_dnn
from ib_keras.studies import goldfeld_mnist as study

LAYERS = ["pool_1", "pool_2", "dense_1", "output"]


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (9, 5, 3)])
def test_four_layers(shape):
    model = models.build("four_layer_cnn", input_shape=shape, n_classes=7, seed=1)
    assert model.output_shape == (None, 7)
    instrumented = ib.instrument(model, layers=["pool_*", "dense_1", "output"])
    assert instrumented.tap_names == LAYERS
    channels = (*shape, 1)[2]
    flat = (shape[0] // 4) * (shape[1] // 4) * 32
    convolutions = 25 * channels * 16 + 16 + 25 * 16 * 32 + 32
    assert model.count_params() == convolutions + flat * 128 + 128 + 128 * 7 + 7
    assert [model.get_layer(name).activation for name in ("conv_1", "conv_2", "dense_1")] == (
        3 * [keras.activations.tanh]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (4, 28)}, "The images do not fit"),
        ({"input_shape": (64,)}, "The images do not fit"),
        ({"filters": (4, 8, 16)}, "two numbers of filters"),
        ({"filters": (4, 0)}, "`filters`"),
        ({"hidden": 0}, "`hidden`"),
    ],
)
def test_bad_networks(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        models.four_layer_cnn(**arguments)


def test_a_seed_in_the_json_of_a_model(tmp_path):
    examples.run("szt", tmp_path / "data")

    def weights(name, model, seed):
        trainer.run(
            tmp_path / "data", tmp_path / name, model=json.dumps(model), epochs=1, batch_size=4096,
            noise_std=0.3, record="1", seed=seed,
        )  # fmt: skip
        saved = checkpoints.read(tmp_path / name)
        return saved.load(1).get_weights()

    small = {"name": "mlp", "hidden": [3]}
    own, given = weights("own", small | {"seed": 5}, 0), weights("given", small, 5)
    assert all(np.array_equal(a, b) for a, b in zip(own, given, strict=True))
    other = models.build(small, input_shape=(12,), n_classes=2, seed=0).get_weights()
    built = models.build(small | {"seed": 5}, input_shape=(12,), n_classes=2, seed=0).get_weights()
    assert not np.array_equal(built[0], other[0])
    assert models.seed("szt") is None and models.seed({"name": "szt", "seed": 5}) == 5
    with pytest.raises(ArgumentError, match="not a seed"):
        models.check({"name": "szt", "seed": -1})


@pytest.fixture(scope="module")
def trained():
    """Noise → held-out errors of repeated passes, and cosines within and between by epoch."""
    data = datasets.load("digit_images")
    found = {}
    for noise in (0.0, 0.7):
        built = models.four_layer_cnn((8, 8, 1), 10, filters=(4, 8), hidden=16, seed=0)
        model = ib.instrument(built, noise, layers=["pool_*", "dense_1", "output"], seed=0)
        model.compile(
            keras.optimizers.Adam(0.01),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=12,
        )
        keras.utils.set_random_seed(0)
        cosines = []
        for epochs in (0, 12):
            if epochs:
                model.fit(data.x_train, data.y_train, batch_size=120, epochs=epochs, verbose=0)
            captured = model.capture(data.x_test, seed=1)
            table = clustering.measures(captured, targets=data.y_test, width=0.5)
            cosines.append(table.set_index(["layer", "measure"])["value"])
        errors = [
            1 - model.evaluate(data.x_test, data.y_test, batch_size=360, verbose=0)[1]
            for _ in range(2)
        ]
        found[noise] = errors, cosines
    return found, len(data.x_test)


def test_strong_noise_costs_accuracy(trained):
    found, n = trained
    quiet, loud = (float(np.mean(found[noise][0])) for noise in (0.0, 0.7))
    assert quiet < 0.1
    error = math.sqrt((quiet * (1 - quiet) + loud * (1 - loud)) / n)
    assert loud - quiet > 4 * error


def test_classes_gather_in_the_last_hidden_layer_during_training(trained):
    def gap(cosines, layer):
        within, between = (cosines[layer, f"mean cosine {p}"] for p in ("within", "between"))
        return within - between

    for noise, (_, (before, after)) in trained[0].items():
        assert gap(before, "dense_1") < 0.15
        assert gap(after, "dense_1") > gap(before, "dense_1") + (0.3 if noise == 0 else 0.05)
        # The deeper a layer, the more.
        assert gap(after, "dense_1") > gap(after, "pool_1")
        assert gap(after, "output") > gap(after, "dense_1")


def made_up(folder: pathlib.Path) -> pd.DataFrame:
    """Write the report of a run with two noises and three seeds, and return its table."""
    accuracies = {"mnist-deterministic": (0.99, 0.98, 0.97), "mnist-noisy-1.0": (0.9, 0.8, 0.85)}
    rng = np.random.default_rng(0)
    tables, logs, measures, bars = [], [], [], []
    for kind, values in accuracies.items():
        noise = 1.0 if "noisy" in kind else 0.0
        for seed, accuracy in enumerate(values):
            run = f"{kind}-seed{seed}"
            table = make_frame((run,), layers=("dense_1", "output"), epochs=(0, 2))
            tables.append(table.assign(noise_std=noise * (table["layer"] == "dense_1")))
            logs.append({"run": run, "epoch": 2, "val_accuracy": accuracy, "loss": 0.1})
            y = np.arange(40) % 4
            layers = {
                "dense_1": np.eye(4)[y] + 0.1 * (seed + 1) * rng.normal(size=(40, 4)),
                "output": np.eye(4)[y] + 0.01,
            }
            for result, function in (
                (measures, clustering.measures),
                (bars, clustering.histograms),
            ):
                options = {"width": 0.5} if function is clustering.measures else {}
                own = function(layers, targets=y, **options).assign(run=run, epoch=2)
                if "noise_std" in own:
                    own["noise_std"] = noise * (own["layer"] == "dense_1")
                result.append(own)
    frame.write(frame.concat(tables), folder, logs=pd.DataFrame(logs))
    pd.concat(measures, ignore_index=True).to_parquet(folder / "clusters.parquet", index=False)
    pd.concat(bars, ignore_index=True).to_parquet(folder / "histograms.parquet", index=False)
    return ib.load(folder)


def test_errors_and_cosines_over_seeds(tmp_path):
    table = made_up(tmp_path / "run")
    errors = study.held_out_errors(table).set_index("run")
    row = errors.loc["mnist-deterministic"]
    assert (row["seeds"], row["noise_std"], row["epoch"]) == (3, 0.0, 2)
    assert row["error"] == pytest.approx(0.02)
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert (row["low"], row["high"]) == pytest.approx((0.02 - half, 0.02 + half))
    assert (row["minimum"], row["maximum"]) == pytest.approx((0.01, 0.03))
    # The noise of a run is that of its hidden layers, also in rows of the output.
    assert errors.loc["mnist-noisy-1.0", "noise_std"] == 1.0
    one = study.held_out_errors(table[table["run"] == "mnist-noisy-1.0-seed0"])
    assert one["run"].tolist() == ["mnist-noisy-1.0-seed0"] and one["low"].isna().all()
    assert study.held_out_errors(table.drop(columns="val_accuracy")).empty

    measures = pd.read_parquet(tmp_path / "run" / "clusters.parquet")
    cosines = study.cosines(measures).set_index(["run", "layer", "pairs"])
    own = measures[
        measures["run"].str.startswith("mnist-noisy")
        & (measures["layer"] == "dense_1")
        & (measures["measure"] == "mean cosine within")
    ]["value"]
    row = cosines.loc["mnist-noisy-1.0", "dense_1", "within"]
    assert row["seeds"] == 3 and row["mean"] == pytest.approx(own.mean())
    assert (row["low"], row["high"]) == pytest.approx(tuple(own.quantile([0.1, 0.9])))
    assert set(cosines["noise_std"]) == {0.0, 1.0}

    findings = studies.noisy_dnn(table, measures)
    found = findings[findings["finding"].str.startswith("held-out error")].set_index("run")
    assert found.loc["mnist-deterministic", "measured"].startswith("2.00%, 95 % interval")
    gathered = findings[findings["finding"].str.startswith("mean cosine")]
    assert set(gathered["run"]) == {"mnist-deterministic", "mnist-noisy-1.0"}


def test_tables_and_figures_of_the_page(tmp_path):
    made_up(tmp_path / "run")
    data, folders = tmp_path / "data", [tmp_path / "a", tmp_path / "b"]
    for folder in (data, *folders):
        folder.mkdir()
    paper.tables({"goldfeld_mnist": tmp_path / "run", "szt": tmp_path / "other"}, data)
    for folder in folders:
        paper.figures(data, folder)
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
    assert set(first) == {
        f"goldfeld_mnist_{name}.svg"
        for name in ("errors", "cosines", "histograms_0", "histograms_1")
    }
    bars = pd.read_csv(data / paper.HISTOGRAMS)
    keys = ["noise_std", "layer", "epoch", "pairs"]
    for _, part in bars.groupby(keys):
        assert len(part) == 30 and set(part["seeds"]) == {3}
        # Four digits are kept.
        assert (part["density"] * (part["right"] - part["left"])).sum() == pytest.approx(
            1, abs=0.01
        )
    # As in the 60 bins of one run, here of the output, whose values are the same for all seeds.
    whole = pd.read_parquet(tmp_path / "run" / "histograms.parquet")
    whole = whole[
        (whole["run"] == "mnist-deterministic-seed0") & (whole["layer"] == "output")
        & (whole["similarity"] == "cosine") & (whole["pairs"] == "between")
    ]  # fmt: skip
    centres = (whole["left"] + whole["right"]) / 2
    mine = bars[
        (bars["noise_std"] == 0) & (bars["layer"] == "output") & (bars["pairs"] == "between")
    ]
    assert mine.loc[mine["density"].idxmax(), "left"] < centres[whole["density"].idxmax()]
    assert mine.loc[mine["density"].idxmax(), "right"] > centres[whole["density"].idxmax()]


def test_the_preset_is_a_grid_of_noises_and_seeds():
    for name, noises, seeds in (("mnist", 6, 5), ("mnist-quick", 2, 1)):
        chosen = noisy_dnn.PRESETS[name]["models"]
        labels = pd.Series([models.label(model) for model in chosen])
        kinds, noise = frame.without_seed(labels), pd.Series(map(models.noise_std, chosen))
        assert labels.is_unique and kinds.nunique() == noise.nunique() == noises
        assert noise.groupby(kinds).nunique().eq(1).all() and 0 in set(noise)
        assert sorted({models.seed(model) for model in chosen}) == list(range(seeds))
