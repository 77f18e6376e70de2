"""PixelCNN: normalisation, order, samples, and the manners of a Keras model."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import PixelCNN, layers, sampling

SMALL = {"filters": 8, "resnet_blocks": 1, "mixtures": 2, "stages": 2, "seed": 0}


def every_image(shape, levels):
    return np.array(list(itertools.product(range(levels), repeat=math.prod(shape)))).reshape(
        -1, *shape
    )


def few_steps(model, images, condition=None, steps=2):
    """Trained by a rate so high that nothing stays as it was."""
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    size = -(-len(images) // steps)
    model.fit(images, condition, batch_size=size, epochs=1, verbose=0)


def total_variation(samples, model, levels, condition=None):
    """Of the frequencies to the model's probabilities, and what is expected of exact draws."""
    every = every_image(samples.shape[1:], levels)
    p = np.exp(model.log_prob(every, condition))
    powers = levels ** np.arange(every[0].size)[::-1]
    counts = np.bincount(samples.reshape(len(samples), -1) @ powers, minlength=len(every))
    expected = np.sqrt(2 * p * (1 - p) / (np.pi * len(samples))).sum() / 2
    return np.abs(counts / len(samples) - p).sum() / 2, expected


@pytest.fixture(scope="module")
def data():
    """4×4 images of 4 levels whose rows repeat a condition of 3 levels, with noise."""
    rng = np.random.default_rng(0)
    condition = rng.integers(0, 3, (256, 1)).astype("float32")
    images = condition[:, None, None] + (rng.random((256, 4, 4, 1)) < 0.3)
    return images.astype("uint8"), condition


@pytest.fixture(scope="module")
def trained(data):
    """A conditional model after four epochs, with its history."""
    model = PixelCNN((4, 4, 1), (1,), levels=4, dropout=0.1, **SMALL)
    model.compile(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9), jit_compile=False)
    history = model.fit(*data, batch_size=32, epochs=4, verbose=0)
    return model, history.history


def test_many_networks_without_a_warning(caplog):
    """TensorFlow warns where one line is compiled again and again; here a network each time."""
    tf.get_logger().propagate = True
    try:
        for seed in range(3):
            model = PixelCNN((1, 2, 1), levels=2, **{**SMALL, "stages": 1, "seed": seed})
            model.log_prob(np.zeros((3, 1, 2, 1), int))
            assert model.log_prob(every_image((1, 2, 1), 2)).shape == (4,)
    finally:
        tf.get_logger().propagate = False
    assert "retracing" not in caplog.text


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((2, 2, 1), 2), ((2, 2, 1), 3), ((2, 2, 1), 4), ((3, 3, 1), 2), ((1, 2, 3), 2)],
)
def test_all_images_sum_to_one(shape, levels):
    images = every_image(shape, levels)
    model = PixelCNN(shape, (2,), levels=levels, **SMALL)
    condition = np.random.default_rng(0).normal(size=(2, 2))
    few = images[:: len(images) // 8][:8]
    for train in (False, True):
        if train:
            few_steps(model, few, np.repeat(condition, 4, axis=0))
        for h in condition:
            nats = model.log_prob(images, h[None], batch_size=512)
            assert np.exp(nats).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "condition_shape"),
    [
        ((4, 4, 1), None),
        ((5, 3, 1), (2,)),
        ((7, 7, 1), (3, 3, 2)),
        ((3, 4, 3), (6, 9, 1)),
    ],
)
def test_no_pixel_sees_itself_or_a_later_one(shape, condition_shape):
    rng = np.random.default_rng(1)
    n = shape[0] * shape[1]
    model = PixelCNN(shape, condition_shape, levels=4, **{**SMALL, "stages": 3})
    few = rng.integers(0, 4, (8, *shape))
    h = None if condition_shape is None else rng.normal(size=(8, *condition_shape))
    for train in (False, True):
        if train:
            few_steps(model, few, h)
        # Image i is for the gradient of pixel i's parameters.
        x = tf.constant(rng.normal(size=(n, *shape)), tf.float32)
        inputs = (x,)
        if h is not None:
            as_map = h[:1] if h.ndim == 4 else h[:1, None, None]
            inputs = (x, tf.constant(np.repeat(as_map, n, axis=0), tf.float32))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            raw = model.streams(*inputs)
            own = tf.gather(tf.reshape(raw, (n, n, -1)), tf.range(n), batch_dims=1)
            total = tf.reduce_sum(own * tf.constant(rng.normal(size=own.shape), tf.float32))
        gradients = tape.gradient(total, inputs)
        reach = np.abs(gradients[0].numpy()).sum(-1).reshape(n, n)
        assert (reach[np.triu_indices(n)] == 0).all()
        assert (reach[np.tril_indices(n, -1)] > 0).all()
        if h is not None:
            assert (np.abs(gradients[1].numpy()).sum(-1) > 0).all()


def pixel_by_pixel(update, start):
    """Draw in raster order, with one pass of the network for each pixel."""
    images = np.array(start)
    for row in range(images.shape[1]):
        for column in range(images.shape[2]):
            images[:, row, column] = np.asarray(update(images))[:, row, column]
    return images


def test_fast_sampling_is_that_of_pixel_after_pixel(trained):
    model, _ = trained
    noise = sampling.draw_noise(32, model.image_shape, seed=5)
    condition = np.repeat([[0.0], [2.0]], 16, axis=0).astype("float32")
    for temperature in (1.0, 0.5):
        fast = model.sample(32, condition, temperature=temperature, noise=noise)
        update = tf.function(
            lambda images, t=temperature: model._update(images, noise, condition, t),
            autograph=False,
        )
        slow = pixel_by_pixel(update, np.full((32, 4, 4, 1), 3, np.int32))
        np.testing.assert_array_equal(fast, slow)
    _, passes = model._sample((noise, condition), tf.constant(1.0))
    assert 1 < passes < 16


def test_the_start_of_the_iteration_does_not_matter(trained):
    model, _ = trained
    noise = sampling.draw_noise(4, model.image_shape, seed=6)
    condition = np.ones((4, 1), np.float32)
    expected = model.sample(4, condition, noise=noise)
    images, _ = sampling.fixed_point(
        lambda images: model._update(images, noise, condition, 1.0), tf.fill((4, 4, 4, 1), 3), 16
    )
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize(("shape", "levels"), [((2, 2, 1), 2), ((2, 2, 1), 4), ((1, 2, 3), 2)])
def test_samples_follow_log_prob(shape, levels):
    model = PixelCNN(shape, levels=levels, **SMALL)
    few_steps(model, np.random.default_rng(2).integers(0, levels, (16, *shape)))
    samples = model.sample(20_000, seed=0, batch_size=5_000)
    found, expected = total_variation(samples, model, levels)
    assert found < 2 * expected


def test_seeds_and_noise_decide_the_images(trained):
    model, _ = trained
    draw = model.sample(8, [[1.0]], seed=3)
    assert draw.shape == (8, 4, 4, 1) and draw.dtype == np.int32
    np.testing.assert_array_equal(draw, model.sample(8, [[1.0]], seed=3))
    np.testing.assert_array_equal(draw, model.sample(8, [[1.0]], seed=3, batch_size=3))
    assert not np.array_equal(draw, model.sample(8, [[1.0]], seed=4))
    noise = sampling.draw_noise(8, (4, 4, 1), seed=3)
    np.testing.assert_array_equal(draw, model.sample(8, [[1.0]], noise=noise))
    # One row of noise: images differ by their conditions alone.
    same = model.sample(4, np.array([[0.0], [0.0], [2.0], [2.0]]), noise=noise[:1])
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[2], same[3])
    assert not np.array_equal(same[0], same[2])


def test_a_low_temperature_draws_likelier_images(trained):
    model, _ = trained
    warm, cold = (model.sample(64, [[1.0]], seed=0, temperature=t) for t in (1.0, 0.2))
    assert model.log_prob(cold, [[1.0]]).mean() > model.log_prob(warm, [[1.0]]).mean()


def test_held_out_uniform_images_cost_their_entropy_at_least():
    rng = np.random.default_rng(4)
    images, held_out = (rng.integers(0, 4, (n, 3, 3, 1)) for n in (64, 4000))
    model = PixelCNN((3, 3, 1), levels=4, dropout=0.0, **SMALL)
    few_steps(model, images, steps=4)
    entropy = 9 * math.log(4)
    assert -model.log_prob(held_out).mean() >= entropy


def test_a_condition_that_is_known_is_used(trained, data):
    model, history = trained
    images, condition = data
    right = model.log_prob(images, condition).mean()
    wrong = model.log_prob(images, (condition + 1) % 3).mean()
    assert right > wrong + 5
    assert history["loss"][-1] < history["loss"][0]


def test_metrics_are_nats_and_bits_of_log_prob(trained, data):
    model, history = trained
    loss, bits = model.evaluate(*data, batch_size=64, verbose=0)
    nats = -model.log_prob(*data)
    assert loss == pytest.approx(nats.mean(), rel=1e-5)
    assert bits == pytest.approx(nats.mean() / (16 * math.log(2)), rel=1e-5)
    assert set(history) == {"loss", "bits_per_dim"}
    np.testing.assert_allclose(
        history["bits_per_dim"], np.array(history["loss"]) / (16 * math.log(2)), rtol=1e-5
    )


def test_fit_ends_with_the_averaged_weights():
    images = np.random.default_rng(5).integers(0, 2, (12, 2, 2, 1))
    model = PixelCNN((2, 2, 1), levels=2, **SMALL)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, run_eagerly=True)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([v.numpy() for v in model.trainable_variables])

    model.fit(images, batch_size=4, epochs=1, verbose=0, callbacks=[Watch()])
    first, second, third = seen
    for a, b, c, now in zip(first, second, third, model.trainable_variables, strict=True):
        np.testing.assert_allclose(now, a / 4 + b / 4 + c / 2, rtol=1e-5, atol=1e-6)
    averaged = model.log_prob(images)
    for variable, value in zip(model.trainable_variables, third, strict=True):
        variable.assign(value)
    assert not np.allclose(averaged, model.log_prob(images))


def test_initialisation_depends_on_the_data(data):
    images, _ = data
    h = np.random.default_rng(6).normal(5, 3, (256, 2, 2, 3)).astype("float32")
    model = PixelCNN((4, 4, 1), (2, 2, 3), levels=4, dropout=0.0, **SMALL)
    model.initialise(images[:128], h[:128])
    standard = (h[:128] - model.streams.standardise.mean) / model.streams.standardise.std
    np.testing.assert_allclose(np.mean(standard, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(standard, (0, 1, 2)), 1, atol=1e-5)
    raw = model((images[:128], h[:128])).numpy()
    np.testing.assert_allclose(raw.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(raw.std((0, 1, 2)), 1, atol=1e-3)


def forms(images, h):
    unconditional = tf.data.Dataset.from_tensor_slices(images).batch(4)
    both = tf.data.Dataset.from_tensor_slices((images, h)).batch(4)
    yield "images", None, (images, None), (images,)
    yield "dataset", None, (unconditional, None), unconditional
    yield "generator", None, (((images[i : i + 4],) for i in (0, 4)), None), None
    yield "images, h", (3,), (images, h), (images, h)
    yield "dataset of both", (3,), (both, None), both
    yield "(images, h)", (3,), ([images, h], None), ((images, h),)
    yield "dict", (3,), ({"images": images, "condition": h}, None), None


def test_fit_takes_what_any_keras_model_takes():
    rng = np.random.default_rng(7)
    images, h = rng.integers(0, 2, (8, 2, 1, 1)), rng.normal(size=(8, 3)).astype("float32")
    losses = {}
    for name, condition_shape, (x, y), validation in forms(images, h):
        settings = {**SMALL, "stages": 1}
        model = PixelCNN((2, 1, 1), condition_shape, levels=2, dropout=0.0, **settings)
        model.compile(keras.optimizers.SGD(1e-4), run_eagerly=True)
        model.initialise(images, None if condition_shape is None else h)
        steps = {"steps_per_epoch": 2} if name == "generator" else {}
        history = model.fit(
            x, y, batch_size=4, validation_data=validation, shuffle=False, verbose=0, **steps
        )
        losses[name] = history.history["loss"][0]
        if validation is not None:
            assert np.isfinite(history.history["val_bits_per_dim"][0])
    unconditional = [losses[name] for name in ("images", "dataset", "generator")]
    np.testing.assert_allclose(unconditional, unconditional[0], rtol=1e-5)
    conditional = [losses[name] for name in ("images, h", "dataset of both", "(images, h)", "dict")]
    np.testing.assert_allclose(conditional, conditional[0], rtol=1e-5)


def test_a_step_too_far_leaves_the_gradients_finite():
    images = np.random.default_rng(7).integers(0, 3, (8, 2, 1, 1))
    model = PixelCNN((2, 1, 1), levels=3, dropout=0.0, **SMALL)
    model.compile(keras.optimizers.SGD(10.0), run_eagerly=True)
    model.fit(images, batch_size=4, verbose=0)
    raw = tf.constant(1000.0) * model(images)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        nats = model._distribution(raw).log_prob(images)
    assert np.isfinite(nats).all() and np.isfinite(tape.gradient(nats, raw)).all()


def test_sample_weights_weigh_images(trained, data):
    model, _ = trained
    images, condition = data
    weight = np.zeros(len(images))
    weight[:8] = 32.0
    loss = model.evaluate(images, condition, 64, sample_weight=weight, verbose=0)[0]
    assert loss == pytest.approx(-model.log_prob(images[:8], condition[:8]).mean(), rel=1e-4)


@pytest.mark.parametrize("condition_shape", [(5,), (2, 3, 5), (9, 8, 5)])
def test_conditions_of_any_size(condition_shape):
    model = PixelCNN((5, 3, 1), condition_shape, levels=4, **SMALL)
    rng = np.random.default_rng(8)
    images, h = rng.integers(0, 4, (6, 5, 3, 1)), rng.normal(size=(6, *condition_shape))
    model.initialise(images, h)
    nats = model.log_prob(images, h)
    assert nats.shape == (6,) and nats.dtype == np.float64 and np.isfinite(nats).all()
    assert not np.allclose(nats, model.log_prob(images, h[::-1]))
    one_row = model.log_prob(images, h[:1])
    np.testing.assert_allclose(one_row[0], nats[0], rtol=1e-5)


def test_saving_keeps_everything(trained, data, tmp_path):
    model, _ = trained
    path = tmp_path / "decoder.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(loaded.log_prob(*data), model.log_prob(*data), rtol=1e-5)
    np.testing.assert_array_equal(
        loaded.sample(4, [[1.0]], seed=0), model.sample(4, [[1.0]], seed=0)
    )
    assert loaded.initialised.numpy() == 1
    assert loaded.optimizer.iterations.numpy() == model.optimizer.iterations.numpy()


def test_compiles_by_xla(trained, data):
    model, _ = trained
    images, condition = data[0][:8], data[1][:8]
    inputs = (tf.constant(images), tf.constant(condition))
    compiled = tf.function(lambda i: model._distribution(model(i)).log_prob(i[0]), jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), model.log_prob(images, condition), rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_the_likelihood_is_in_full_precision(policy, tmp_path):
    images = np.random.default_rng(9).integers(0, 4, (8, 3, 3, 1))
    settings = {**SMALL, "levels": 4, "dropout": 0.0, "stages": 1}
    model = PixelCNN((3, 3, 1), dtype=policy, **settings)
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    model.fit(images, verbose=0)
    wide = "float64" if policy == "float64" else "float32"
    assert model(images).dtype == wide
    assert {v.dtype for v in model.trainable_variables} == {wide}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == policy
    full = PixelCNN((3, 3, 1), **settings)
    full.set_weights(loaded.get_weights())
    # The raw parameters are off by some steps of 2⁻⁸ or 2⁻¹¹, those of a pixel by about as much.
    tolerance = {"mixed_float16": 0.02, "mixed_bfloat16": 0.2, "float64": 1e-4}[policy]
    np.testing.assert_allclose(loaded.log_prob(images), full.log_prob(images), atol=9 * tolerance)


def test_the_pixels_distribution_has_the_models_log_prob(trained, data):
    model, _ = trained
    images, condition = data[0][:16], data[1][:16]
    nats = model.likelihood(images, condition).log_prob(images)
    np.testing.assert_allclose(nats, model.log_prob(images, condition), rtol=1e-5)


def test_a_seed_makes_the_model():
    images = np.zeros((2, 2, 2, 1), int)
    first, same, other = (
        PixelCNN((2, 2, 1), levels=2, **{**SMALL, "seed": seed})(images) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


GOOD = np.zeros((4, 4, 4, 1), int)


@pytest.mark.parametrize(
    ("images", "condition", "message"),
    [
        (GOOD + 4, np.zeros((4, 1)), "`images` does not match levels=4. Expected whole numbers 0 "),
        (GOOD - 1, np.zeros((4, 1)), "does not match levels=4"),
        (GOOD / 3 + 0.1, np.zeros((4, 1)), "between the levels"),
        (GOOD + np.nan, np.zeros((4, 1)), "between the levels"),
        (GOOD[..., 0], np.zeros((4, 1)), r"wrong shape. Expected \(n, 4, 4, 1\)"),
        (GOOD[:0], np.zeros((0, 1)), "n >= 1"),
        (GOOD, None, r"Expected shape \(n, \*\(1,\)\). Received: None"),
        (GOOD, np.zeros((4, 2)), "`condition` has the wrong shape"),
        (GOOD, np.zeros((3, 1)), "`condition` has the wrong shape"),
        (GOOD, np.full((4, 1), np.inf), "NaN or infinite"),
        (GOOD, np.full((4, 1), "a"), "not numeric"),
    ],
)
def test_bad_data_is_an_error_before_any_work(trained, images, condition, message):
    model, _ = trained
    for use in (model.log_prob, model.fit, model.evaluate, model.initialise):
        with pytest.raises(ArgumentError, match=message):
            use(images, condition)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "`n`"),
        ({"temperature": 0}, "`temperature`"),
        ({"seed": -1}, "`seed`"),
        ({"condition": None}, "`condition`"),
        ({"noise": np.full((2, 4, 4, 1), 0.5)}, "`noise` has the wrong shape"),
        ({"noise": np.ones((2, 4, 4, 2))}, "not uniform"),
        ({"batch_size": 0}, "`batch_size`"),
    ],
)
def test_bad_arguments_of_sample(trained, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        trained[0].sample(**{"n": 2, "condition": [[1.0]], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (4, 4)}, "`image_shape`"),
        ({"image_shape": (4, 4, 2)}, "1 or 3 channels"),
        ({"image_shape": (0, 4, 1)}, "`image_shape`"),
        ({"condition_shape": (2, 2)}, "`condition_shape`"),
        ({"condition_shape": 3}, "`condition_shape`"),
        ({"levels": 1}, "`levels`"),
        ({"filters": 0}, "`filters`"),
        ({"filters": ()}, "at least one stage"),
        ({"stages": 0}, "`stages`"),
        ({"resnet_blocks": 0}, "`resnet_blocks`"),
        ({"mixtures": 0}, "`mixtures`"),
        ({"dropout": 1.0}, "`dropout`"),
    ],
)
def test_bad_arguments_of_the_model(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        PixelCNN(**{"image_shape": (4, 4, 1), **arguments})


def test_levels_above_all_data_are_warned_about():
    model = PixelCNN((2, 1, 1), levels=256, **SMALL)
    model.compile(run_eagerly=True)
    with pytest.warns(UserWarning, match="levels=256, but no image is above 1"):
        model.fit(np.ones((2, 2, 1, 1), int), verbose=0)


@pytest.mark.parametrize(("old", "new"), [((2, 4), (4, 8)), ((4, 6), (2, 3)), ((2, 3), (5, 3))])
def test_maps_are_resized_by_area(old, new):
    """Also where whole pixels are repeated, which is done without matrices."""
    x = np.random.default_rng(0).normal(size=(3, *old, 2)).astype("f4")
    edges = tuple(tuple(np.linspace(0, 1, n + 1)) for n in new)
    layer = layers.Resize(edges)
    finest = np.kron(x, np.ones((1, *new, 1)))  # each pixel as new rows and columns of equal size
    means = finest.reshape(3, new[0], old[0], new[1], old[1], 2).mean(axis=(2, 4))
    np.testing.assert_allclose(layer(x), means, atol=1e-5)
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        total = tf.reduce_sum(layer(variable))
    share = new[0] * new[1] / (old[0] * old[1])
    np.testing.assert_allclose(tape.gradient(total, variable), np.full_like(x, share), rtol=1e-5)


@pytest.mark.parametrize("condition_shape", [(3,), (2, 2, 3)])
def test_groups_of_conditions(condition_shape, tmp_path):
    """Probabilities sum to 1 and samples follow them in each group, also for colours."""
    rng = np.random.default_rng(0)
    model = PixelCNN((1, 2, 3), condition_shape, levels=2, groups=2, dropout=0.0, **SMALL)
    n = 64
    h = rng.normal(size=(n, *condition_shape)).astype("f4")
    h[..., -1] = (np.arange(n) % 2).reshape(-1, *[1] * (len(condition_shape) - 1))
    h[::2, ..., :-1] = 10 + 5 * h[::2, ..., :-1]
    images = rng.integers(0, 2, (n, 1, 2, 3))
    few_steps(model, images, h)
    statistics = model.streams.standardise
    np.testing.assert_allclose(
        statistics.mean.numpy()[0], h[::2, ..., :-1].reshape(-1, condition_shape[-1] - 1).mean(0),
        rtol=1e-5,
    )  # fmt: skip
    every = every_image((1, 2, 3), 2)
    found = []
    for row in (0, 1):
        nats = model.log_prob(every, h[row : row + 1])
        assert np.exp(nats).sum() == pytest.approx(1, abs=1e-5)
        samples = model.sample(4000, h[row : row + 1], seed=1)
        distance, expected = total_variation(samples, model, 2, h[row : row + 1])
        assert distance < 3 * expected
        found.append(nats)
    other = h[:1].copy()
    other[..., -1] = 1  # the same values in the other group
    assert np.abs(model.log_prob(every, other) - found[0]).max() > 1e-3
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again.log_prob(every, h[:1]), found[0], rtol=1e-6)
    for number in (2, -1, 0.5):
        wrong = h[:1].copy()
        wrong[..., -1] = number
        with pytest.raises(ArgumentError, match="number of a group"):
            model.log_prob(every, wrong)
    with pytest.raises(ArgumentError, match="`groups` need a condition"):
        PixelCNN((2, 2, 1), groups=2)
