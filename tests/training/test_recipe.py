"""Recipes: optimizers, schedules, smoothed labels, augmented images and precision by name."""

import json

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.components.artifacts.checkpoints import read
from ib_keras.components.artifacts.examples import read as read_examples
from ib_keras.components.capturer import executor as capturer
from ib_keras.components.examples import executor as examples
from ib_keras.components.trainer import executor as trainer
from ib_keras.errors import ArgumentError
from ib_keras.training import fitting
from ib_keras.training.recipe import Recipe, parse


@pytest.mark.parametrize(
    ("recipe", "kind", "momentum"),
    [
        (Recipe(), keras.optimizers.Adam, None),
        (Recipe("sgd", momentum=0.9, nesterov=True), keras.optimizers.SGD, 0.9),
        (Recipe("rmsprop", momentum=0.5), keras.optimizers.RMSprop, 0.5),
        (Recipe("adamw", weight_decay=0.1), keras.optimizers.AdamW, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_optimizers_by_name(recipe, kind, momentum):
    made = recipe.make_optimizer(0.05, steps=10, epochs=2)
    assert type(made) is kind and float(made.learning_rate) == pytest.approx(0.05)
    if momentum is not None:
        assert made.momentum == momentum
    assert made.weight_decay == recipe.weight_decay
    assert parse(json.dumps(recipe.get_config())) == recipe


def test_weight_decay_shrinks_weights_by_the_learning_rate():
    made = Recipe("sgd", weight_decay=0.1).make_optimizer(0.5, steps=1, epochs=1)
    weight = keras.Variable([2.0, -4.0])
    made.apply([keras.ops.zeros(2)], [weight])
    np.testing.assert_allclose(weight.numpy(), [2 * 0.95, -4 * 0.95], rtol=1e-6)


def test_schedules():
    def rates(**settings):
        rate = Recipe(**settings).make_optimizer(0.1, steps=10, epochs=10)._learning_rate
        return [float(rate(step)) for step in (0, 5, 10, 20, 55, 99, 100)]

    cosine = [(1 + np.cos(np.pi * step / 100)) / 20 for step in (0, 5, 10, 20, 55, 99, 100)]
    np.testing.assert_allclose(rates(schedule="cosine"), cosine, atol=1e-7)
    late = [(1 + np.cos(np.pi * (step - 20) / 80)) / 20 for step in (20, 55, 99, 100)]
    np.testing.assert_allclose(
        rates(schedule="cosine", warmup_epochs=2), [0, 0.025, 0.05, *late], atol=1e-7
    )
    np.testing.assert_allclose(rates(warmup_epochs=1), [0, 0.05, *[0.1] * 5], atol=1e-7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "fastest"}, "optimizer is unknown"),
        ({"optimizer": 3}, "optimizer is unknown"),
        ({"optimizer": "adam", "momentum": 0.9}, "'adam' has no momentum"),
        ({"optimizer": "sgd", "momentum": 1.0}, "`momentum` is not a rate"),
        ({"schedule": "linear"}, "`schedule` is unknown"),
        ({"warmup_epochs": -1}, "`warmup_epochs`"),
        ({"weight_decay": -0.1}, "`weight_decay`"),
        ({"label_smoothing": 1}, "`label_smoothing`"),
        ({"augment": ["turn"]}, "`augment` names no change"),
        ({"augment": [3]}, "`augment` names no change"),
        ({"augment": [{"name": "Turn"}]}, "names no Keras layer"),
        ({"augment": [{"name": "RandomRotation"}]}, "RandomRotation cannot be made.*factor"),
        ({"augment": None}, "`augment` is no list"),
        ({"augment": 3}, "`augment` is no list"),
        ({"augment": [{"name": "MixUp"}]}, "would mix images but not their labels"),
        ({"augment": [{"name": "Dense", "units": 3}]}, "has weights"),
        ({"augment": [{"name": "BatchNormalization"}]}, "has weights"),
        ({"augment": [{"name": "TFSMLayer", "filepath": "/x"}]}, "cannot be made"),
        ({"optimizer": "LossScaleOptimizer"}, "optimizer is unknown"),
        ({"optimizer": "optimizer"}, "optimizer is unknown"),
        ({"precision": "float8"}, "`precision` is unknown"),
        ({"momentun": 0.9}, "no parameter 'momentun'"),
        ("sgd", "no JSON object"),
        ("[1]", "no JSON object"),
    ],
    ids=str,
)
def test_invalid_recipes(given, message):
    with pytest.raises(ArgumentError, match=message):
        parse(given)


def test_learning_rates_that_only_rise():
    with pytest.raises(ArgumentError, match="`warmup_epochs` are too many.*3 epochs"):
        Recipe(warmup_epochs=3).make_optimizer(0.1, steps=5, epochs=3)


def test_each_image_is_changed_on_its_own():
    images = np.random.default_rng(0).uniform(1, 2, (200, 16, 16, 3)).astype("f4")
    change = Recipe(augment=["flip"]).augmented(seed=1)
    flipped = change(images).numpy()
    same = (flipped == images).all(axis=(1, 2, 3))
    other = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ other).all() and 60 < same.sum() < 140
    again = change(images).numpy()
    assert not np.array_equal(again, flipped)
    change = Recipe(augment=["crop"]).augmented(seed=1)
    shifted = change(images).numpy()
    found = set()
    for image, one in zip(images, shifted, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        places = [
            (i, j) for i in range(5) for j in range(5)
            if np.allclose(padded[i : i + 16, j : j + 16], one)
        ]  # fmt: skip
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 15
    turned = Recipe(augment=[{"name": "RandomRotation", "factor": 0.1}]).augmented(seed=1)(images)
    assert turned.shape == images.shape and not np.array_equal(turned.numpy(), images)


@pytest.mark.parametrize("name", ["resnet", "resnet_autoencoder"])
def test_mixed_precision_has_outputs_of_32_bits(name):
    build = getattr(ib.models, name)
    before = keras.config.dtype_policy()
    with Recipe(precision="mixed_bfloat16").policy():
        model = build((8, 8, 3), 4, filters=(4, 4), blocks=1, seed=0)
        grey = build((8, 8), 4, filters=(4, 4), blocks=1, seed=0)
    assert keras.config.dtype_policy() == before
    assert model.output.dtype == grey.output.dtype == "float32"
    assert model.get_layer("h1").output.dtype == "bfloat16"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Images of two classes, a bright half on the left or the right."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    x, y = rng.integers(0, 100, (120, 8, 8, 3)), np.arange(120) % 2
    x[y == 0, :, :4] += 100
    np.savez(root / "d.npz", x=x.astype(np.uint8), y=y)
    examples.run(str(root / "d.npz"), root / "e")
    return root


NETWORK = {"filters": [4, 4], "blocks": 1, "layers": ["h?"]}


@pytest.mark.parametrize("name", ["resnet", "resnet_autoencoder"])
def test_the_trainer_follows_a_recipe(name, pictures, tmp_path):
    recipe = {
        "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "schedule": "cosine",
        "warmup_epochs": 1, "label_smoothing": 0.1, "augment": ["flip", "crop"],
        "precision": "mixed_bfloat16",
    }  # fmt: skip
    model = json.dumps({"name": name, **NETWORK})
    run = {"model": model, "epochs": 3, "batch_size": 32, "learning_rate": 0.05, "seed": 3}
    for folder in ("a", "b"):
        trainer.run(pictures / "e", tmp_path / folder, recipe=json.dumps(recipe), **run)
    plain = trainer.run(pictures / "e", tmp_path / "c", **run)
    a, b, c = (read(tmp_path / folder) for folder in "abc")
    np.testing.assert_array_equal(a.load(3).get_weights()[0], b.load(3).get_weights()[0])
    assert not np.array_equal(a.load(3).get_weights()[0], c.load(3).get_weights()[0])
    assert a.training["recipe"] == {**Recipe().get_config(), **recipe}
    assert (a.training["learning_rate"], a.training["epochs"], a.training["seed"]) == (0.05, 3, 3)
    assert c.training["recipe"] == Recipe().get_config() and plain["run"] == name
    capturer.run(tmp_path / "a", pictures / "e", tmp_path / "store", max_samples=60)
    table = ib.estimate(tmp_path / "store", {"name": "binning", "width": 0.5})
    origin = table.attrs["provenance"]["training"]
    assert origin["recipe"]["augment"] == ["flip", "crop"] and origin["batch_size"] == 32


def test_the_loss_of_smoothed_labels(pictures, tmp_path):
    """The smallest possible loss is the entropy of the smoothed labels."""
    trainer.run(
        pictures / "e", tmp_path / "m", model=json.dumps({"name": "resnet", **NETWORK}),
        epochs=30, batch_size=32, learning_rate=0.01, recipe='{"label_smoothing": 0.2}',
    )  # fmt: skip
    logs = read(tmp_path / "m").logs
    least = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert least < logs["loss"].iloc[-1] < least + 0.1 and logs["accuracy"].iloc[-1] > 0.9


def test_layers_that_change_colours_know_the_range(pictures):
    x = read_examples(pictures / "e").x_train
    for scale, high in ((1.0, 1.0), (255.0, 255.0)):
        for layer in ({"name": "RandomBrightness", "factor": 0.2}, {"name": "RandAugment"}):
            options = fitting.batches(
                (scale * x, np.zeros(len(x))), Recipe(augment=[layer]), len(x), seed=0
            )
            (images, _), *_ = options["x"].as_numpy_iterator()
            assert -1e-6 <= images.min() and images.max() <= high * (1 + 1e-6)
            assert 0.1 * high < images.mean() < 0.9 * high


def test_float16_scales_the_loss(pictures, tmp_path):
    seen = []
    fit = ib.InstrumentedModel.fit

    def noted(self, *arguments, **options):
        seen.append(self.optimizer)
        return fit(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ib.InstrumentedModel, "fit", noted)
        trainer.run(
            pictures / "e", tmp_path / "m", model=json.dumps({"name": "resnet", **NETWORK}),
            epochs=1, recipe='{"precision": "mixed_float16"}',
        )  # fmt: skip
    assert isinstance(seen[0], keras.optimizers.LossScaleOptimizer)
    file = tmp_path / "float32.keras"
    ib.models.build({"name": "resnet", **NETWORK}, input_shape=(8, 8, 3), n_classes=2).save(file)
    with pytest.raises(ArgumentError, match="`precision` does not apply"):
        trainer.run(pictures / "e", tmp_path / "n", model=str(file), epochs=1,
                    recipe='{"precision": "mixed_float16"}')  # fmt: skip


@pytest.mark.parametrize("units", [1, 2])
def test_outputs_may_be_logits(units, pictures, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    keras.Model(inputs, keras.layers.Dense(units, name="logits")(flat)).save(tmp_path / "m.keras")
    run = {"model": str(tmp_path / "m.keras"), "epochs": 20, "batch_size": 32,
           "learning_rate": 0.01}  # fmt: skip
    for number, recipe in enumerate(("{}", '{"label_smoothing": 0.1}')):
        found = trainer.run(pictures / "e", tmp_path / f"t{number}", recipe=recipe, **run)
        assert found["accuracy"] > 0.95 and found["loss"] < 0.4


@pytest.mark.parametrize(
    "loss",
    ["mse", "categorical_crossentropy", "hinge", "kl_divergence", "sparse_categorical_crossentropy",
     {"class_name": "SparseCategoricalCrossentropy", "config": {"ignore_class": None}}],
)  # fmt: skip
def test_losses_of_classifiers(loss, pictures, tmp_path):
    model = json.dumps({"name": "resnet", **NETWORK, "loss": loss})
    ib.models.check(model)
    found = trainer.run(pictures / "e", tmp_path / "m", model=model, epochs=8, batch_size=12,
                        learning_rate=0.01)  # fmt: skip
    assert found["accuracy"] > 0.8


def test_recipes_that_do_not_fit_the_data(tmp_path, pictures):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(60, 4)), y=rng.normal(size=60))
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e")
    mlp = '{"name": "mlp", "hidden": [4]}'
    with pytest.raises(ArgumentError, match="Labels cannot be smoothed"):
        trainer.run(tmp_path / "e", tmp_path / "m", model=mlp, epochs=1,
                    recipe='{"label_smoothing": 0.1}')  # fmt: skip
    with pytest.raises(ArgumentError, match="`augment` does not apply"):
        trainer.run(tmp_path / "e", tmp_path / "m", model=mlp, epochs=1,
                    recipe='{"augment": "flip"}')  # fmt: skip
    assert not (tmp_path / "m").exists()


def test_grey_images_without_a_channel_are_augmented(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 2)
    examples.run(str(tmp_path / "d.npz"), tmp_path / "e")
    for name in ("resnet", "resnet_autoencoder"):
        trainer.run(
            tmp_path / "e", tmp_path / name, model=json.dumps({"name": name, **NETWORK}),
            epochs=1, recipe='{"augment": ["flip"]}',
        )  # fmt: skip
        assert len(read(tmp_path / name).logs) == 1


def test_a_recipe_of_one_model(pictures, tmp_path):
    own = {"optimizer": "sgd", "momentum": 0.9}
    model = json.dumps({"name": "resnet", **NETWORK, "recipe": own, "learning_rate": 0.5})
    trainer.run(
        pictures / "e", tmp_path / "m", model=model, epochs=1, recipe='{"schedule": "cosine"}'
    )
    training = read(tmp_path / "m").training
    assert training["recipe"] == {**Recipe().get_config(), **own}
    assert training["learning_rate"] == 0.5
    for wrong in ({"recipe": {"optimizer": "best"}}, {"learning_rate": 0}):
        with pytest.raises(ArgumentError):
            ib.models.check({"name": "resnet", **wrong})
