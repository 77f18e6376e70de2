"""The discretised mixture of logistics, against values from independent code in float64."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from ib_keras.errors import ArgumentError
from ib_keras.pixelcnn import DiscretizedLogisticMixture

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "dmol_full.npz"


@pytest.fixture(scope="module")
def dmol():
    return dict(np.load(GOLDEN))


def mixture(params, levels, channels, dtype=tf.float64):
    """The distribution, and the tensor of raw parameters in the golden file's layout."""
    raw = tf.constant(params, dtype)
    return raw, lambda: DiscretizedLogisticMixture(*split(raw, channels), levels=levels)


def split(raw, channels):
    k = raw.shape[-1] // (3 if channels == 1 else 10)
    # (..., channel, kind, component) → (..., component, channel)
    blocks = tf.reshape(raw[..., k:], [*raw.shape[:-1], channels, -1, k])
    blocks = tf.einsum("...ijk->...jki", blocks)
    means, log_scales = blocks[..., 0, :, :], blocks[..., 1, :, :]
    coeffs = None if channels == 1 else tf.tanh(blocks[..., 2, :, :])
    return raw[..., :k], means, log_scales, coeffs


def one_pixel(params, levels, channels, dtype=tf.float64):
    """Each pixel of the golden parameters as an image of its own."""
    params = np.reshape(params, (-1, 1, 1, params.shape[-1]))
    return DiscretizedLogisticMixture(*split(tf.constant(params, dtype), channels), levels=levels)


@pytest.mark.parametrize(("name", "levels"), [("dmol_gray", 16), ("dmol_rgb", 256)])
def test_equals_the_golden_images(golden, name, levels):
    values, arrays = golden
    logits, means, log_scales, coeffs, x = (
        arrays[f"{name}_{part}"] for part in ("logits", "means", "log_scales", "coeffs", "x")
    )
    distribution = DiscretizedLogisticMixture(logits, means, log_scales, coeffs, levels=levels)
    np.testing.assert_allclose(distribution.log_prob(x), values[name]["log_prob_nats"], rtol=1e-12)


@pytest.mark.parametrize(("name", "channels"), [("gray8", 1), ("rgb8", 3)])
def test_equals_golden_values_and_gradients_at_256_levels(dmol, name, channels):
    raw, make = mixture(dmol[f"{name}_params"], 256, channels)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        nats = -make().log_prob(dmol[f"{name}_x"])
    np.testing.assert_allclose(nats, dmol[f"{name}_nll_image_exact"], rtol=0, atol=1e-10)
    gradient = tape.gradient(nats, raw)
    np.testing.assert_allclose(gradient, dmol[f"{name}_grad_nll_total_exact"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "levels"),
    [(f"gray{n}", int(n[1:])) for n in ("L2", "L4", "L16", "L17")]
    + [("gray8", 256), ("rgbL4", 4), ("rgbL16", 16), ("rgb8", 256)],
)
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [("float64", 0, 1e-10), ("float32", 1e-5, 1e-6)]
)
def test_equals_golden_pixels(dmol, name, levels, dtype, rtol, atol):
    channels = 3 if name.startswith("rgb") else 1
    params = dmol["rgb8_params" if channels == 3 else "gray8_params"]
    x = dmol[f"{name}_x"].reshape(-1, 1, 1, channels)
    nats = one_pixel(params, levels, channels, dtype).log_prob(x)
    expected = dmol[f"{name}_logp_pixel_exact"].ravel()
    np.testing.assert_allclose(nats, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("levels", [2, 4, 16, 17, 256])
def test_all_gray_levels_sum_to_one(dmol, levels):
    distribution = one_pixel(dmol["gray8_params"], levels, 1)
    values = np.arange(levels).reshape(-1, 1, 1, 1, 1)
    nats = distribution.log_prob(values)
    expected = dmol[f"grayL{levels}_all_logp_exact"].reshape(-1, levels).T
    np.testing.assert_allclose(nats, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.exp(nats).sum(0), 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [2, 4, 6])
def test_all_colours_sum_to_one(dmol, levels):
    distribution = one_pixel(dmol["rgb8_params"], levels, 3)
    nats = distribution.log_prob(dmol[f"rgbL{levels}_all_values"].reshape(-1, 1, 1, 1, 3))
    expected = dmol[f"rgbL{levels}_all_logp_exact"].reshape(-1, levels**3).T
    np.testing.assert_allclose(nats, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.exp(nats).sum(0), 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-10), ("float32", 1e-5)])
def test_extremes_are_finite_and_exact(dmol, dtype, rtol):
    """Scales from e⁻²⁰ to e¹⁵, means far outside, both ends of the levels."""
    raw = tf.constant(dmol["extreme_gray8_params"], dtype)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        # As in PixelCNN++, and in the file: no scale is below e⁻⁷.
        limited = tf.concat([raw[..., :2], tf.maximum(raw[..., 2:], -7)], -1)
        distribution = DiscretizedLogisticMixture(*split(limited, 1), levels=256)
        nats = distribution.log_prob(dmol["extreme_gray8_x"])
    expected = dmol["extreme_gray8_logp_exact"].ravel()
    np.testing.assert_allclose(nats, expected, rtol=rtol, atol=rtol)
    gradient = np.reshape(tape.gradient(nats, raw), (-1, 3))
    wanted = dmol["extreme_gray8_grad_logp_exact"]
    np.testing.assert_allclose(gradient, wanted, rtol=max(rtol, 1e-6), atol=max(rtol, 1e-6))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_is_finite_from_the_narrowest_scale_to_the_widest(dtype):
    scales = np.arange(-20, 16.0)
    means = np.array([-50, -1, -0.3, 0, 1, 50])
    x = np.array([0, 1, 127, 128, 254, 255]).reshape(-1, 1, 1, 1, 1, 1)
    grid = [np.reshape(v, (6, 36, 1, 1, 1, 1)) for v in np.broadcast_arrays(means[:, None], scales)]
    parameters = [tf.constant(v, dtype) for v in grid]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        logits = tf.zeros((6, 36, 1, 1, 1), dtype)
        nats = DiscretizedLogisticMixture(logits, *parameters, levels=256).log_prob(x)
    assert np.isfinite(nats).all() and nats.shape == (6, 6, 36)
    for gradient in tape.gradient(nats, parameters):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "levels"), [("gray", 4), ("rgb", 2)])
def test_draws_follow_log_prob(dmol, name, levels):
    channels = 3 if name == "rgb" else 1
    distribution = one_pixel(dmol[f"{name}8_params"][0, :1, :2], levels, channels)
    n = 20_000
    draws = distribution.sample(n, seed=3).numpy()
    every = np.stack(np.meshgrid(*[np.arange(levels)] * channels, indexing="ij"), -1)
    every = every.reshape(-1, 1, 1, 1, channels)
    p = np.exp(distribution.log_prob(every))  # (values, pixels)
    frequency = (draws[None] == every[:, None]).all((-3, -2, -1)).mean(1)
    variation = np.abs(frequency - p).sum(0) / 2
    # Of the frequencies of n draws: half the sum of the mean absolute deviations.
    expected = np.sqrt(2 * p * (1 - p) / (np.pi * n)).sum(0) / 2
    assert (variation < 2 * expected).all()


@pytest.mark.parametrize(("name", "levels"), [("gray", 17), ("rgb", 4)])
def test_mean_is_that_of_all_values(dmol, name, levels):
    channels = 3 if name == "rgb" else 1
    distribution = one_pixel(dmol[f"{name}8_params"], levels, channels)
    every = np.stack(np.meshgrid(*[np.arange(levels)] * channels, indexing="ij"), -1)
    every = every.reshape(-1, 1, 1, 1, channels)
    p = np.exp(distribution.log_prob(every))[..., None, None, None]
    np.testing.assert_allclose(distribution.mean(), (p * every).sum(0), rtol=1e-10)


def test_is_a_distribution_as_any(dmol):
    raw, make = mixture(dmol["rgb8_params"], 256, 3, tf.float32)
    distribution = make()
    assert distribution.batch_shape == (3,)
    assert distribution.event_shape == (4, 4, 3)
    assert distribution.dtype == tf.int32
    draws = distribution.sample((2, 5), seed=1)
    assert draws.shape == (2, 5, 3, 4, 4, 3)
    np.testing.assert_array_equal(draws, distribution.sample((2, 5), seed=1))
    assert not np.array_equal(draws, distribution.sample((2, 5), seed=2))
    first = distribution[:1].log_prob(dmol["rgb8_x"][:1])
    np.testing.assert_allclose(first, distribution.log_prob(dmol["rgb8_x"])[:1], rtol=1e-6)
    narrow = distribution.copy(levels=16)
    assert narrow.levels == 16 and narrow.sample(seed=0).numpy().max() == 15


def test_halves_are_computed_in_full_precision(dmol):
    half = tf.cast(tf.constant(dmol["gray8_params"]), tf.bfloat16)
    exact = one_pixel(tf.cast(half, tf.float64).numpy(), 256, 1)
    x = dmol["gray8_x"].reshape(-1, 1, 1, 1)
    distribution = one_pixel(half, 256, 1, tf.bfloat16)
    np.testing.assert_allclose(distribution.log_prob(x), exact.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (256, "does not match levels=256.*Received: values from 256 to 256"),
        (-1, "does not match levels=256"),
        (0.5, "between the levels"),
        (np.nan, "between the levels"),
        ("a", "not numeric"),
    ],
)
def test_rejects_what_is_no_level(dmol, value, message):
    distribution = one_pixel(dmol["gray8_params"], 256, 1)
    with pytest.raises(ArgumentError, match=message):
        distribution.log_prob(np.full((1, 1, 1), value))


def test_what_a_graph_finds_outside_the_levels_has_no_probability(dmol):
    distribution = one_pixel(dmol["gray8_params"], 4, 1)
    program = tf.function(lambda x: distribution.log_prob(x))
    assert (program(tf.fill([1, 1, 1], 4)).numpy() == -np.inf).all()


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 2, 3), (2, 2, 3, 2), (2, 2, 3, 2)],
        [(2, 2, 3), (2, 2, 4, 1), (2, 2, 4, 1)],
        [(2, 2, 3), (2, 2, 3, 3), (2, 2, 3, 3), (2, 2, 3, 1)],
        [(3,), (3, 1), (3, 1)],
    ],
)
def test_rejects_shapes_that_do_not_match(shapes):
    with pytest.raises(ArgumentError, match="shapes do not match"):
        DiscretizedLogisticMixture(*map(np.zeros, shapes), levels=4)


def test_rejects_a_single_level():
    with pytest.raises(ArgumentError, match="`levels`"):
        DiscretizedLogisticMixture(np.zeros((1, 1, 1)), *[np.zeros((1, 1, 1, 1))] * 2, levels=1)
