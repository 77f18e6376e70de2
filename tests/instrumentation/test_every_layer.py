"""Every public layer of the installed Keras, in the middle of a small model."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import ib_keras as ib

L = keras.layers
ROW, SERIES, IMAGE, VOLUME = (6,), (6, 4), (8, 8, 3), (6, 6, 6, 2)

# What is not a layer to be put into a model, and why.
EXCEPTIONS = {
    "Equalization": "hands on a symbolic input, with which Keras can build no model",
    "RandomCrop": "Keras's own predict fails behind it: its shape is not the one it states",
    "CutMix": "mixes the samples of a batch, with labels, in training only",
    "FlaxLayer": "needs JAX",
    "GRUCell": "a cell, called inside an RNN (test of `RNN`)",
    "InputLayer": "is the input, and computes nothing",
    "JaxLayer": "needs JAX",
    "LSTMCell": "a cell, called inside an RNN",
    "Layer": "abstract",
    "MaxNumBoundingBoxes": "takes bounding boxes, not numbers",
    "MixUp": "mixes the samples of a batch, with labels, in training only",
    "SimpleRNNCell": "a cell, called inside an RNN",
    "StackedRNNCells": "a cell, called inside an RNN",
    "TFSMLayer": "is loaded from a SavedModel, not built",
    "TorchModuleWrapper": "needs PyTorch",
    "Wrapper": "abstract",
}
# Layers that belong to the one before, whose output is T only behind them.
BELONGS = {
    "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "BatchNormalization", "GroupNormalization",
    "LayerNormalization", "Normalization", "RMSNormalization", "UnitNormalization", "Activation",
}  # fmt: skip


def _twice(make):
    """A layer that takes two tensors gets the same one, and another."""
    return lambda x: make([x, L.Dense(x.shape[-1], name="second")(x)])


def _of(shape, **arguments):
    return shape, arguments


# Shape of one input, and arguments; every layer that is not listed takes a row and no argument.
CASES = {
    "Activation": _of(ROW, activation="tanh"),
    "AlphaDropout": _of(ROW, rate=0.5),
    "CenterCrop": _of(IMAGE, height=4, width=4),
    "Dropout": _of(ROW, rate=0.5),
    "GaussianDropout": _of(ROW, rate=0.5),
    "GaussianNoise": _of(ROW, stddev=0.5),
    "Dense": _of(ROW, units=5),
    "EinsumDense": _of(ROW, equation="bi,ij->bj", output_shape=5),
    "GroupNormalization": _of(ROW, groups=3),
    "Lambda": _of(ROW, function=keras.ops.square),
    "Masking": _of(SERIES),
    "MelSpectrogram": _of((600,), fft_length=64, sequence_stride=32, num_mel_bins=8),
    "STFTSpectrogram": _of((64, 1), frame_length=16, frame_step=8, fft_length=16),
    "Normalization": _of(ROW, mean=0.5, variance=2.0),
    "Permute": _of(SERIES, dims=(2, 1)),
    "Pipeline": _of(ROW, layers=[L.Rescaling(2.0)]),
    "RepeatVector": _of(ROW, n=3),
    "Rescaling": _of(ROW, scale=2.0),
    "Reshape": _of(ROW, target_shape=ROW),
    "Resizing": _of(IMAGE, height=4, width=4),
    "Discretization": _of(ROW, bin_boundaries=[-0.5, 0.0, 0.5]),
    "RNN": _of(SERIES, cell=L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(5)])),
    "Bidirectional": _of(SERIES, layer=L.LSTM(3)),
    "TimeDistributed": _of(SERIES, layer=L.Dense(3)),
    "SpectralNormalization": _of(ROW, layer=L.Dense(5)),
    "SpatialDropout1D": _of(SERIES, rate=0.5),
    "SpatialDropout2D": _of(IMAGE, rate=0.5),
    "SpatialDropout3D": _of(VOLUME, rate=0.5),
    "Cropping1D": _of(SERIES),
    "Cropping2D": _of(IMAGE),
    "Cropping3D": _of(VOLUME),
    "GroupedQueryAttention": _of(SERIES, head_dim=2, num_query_heads=4, num_key_value_heads=2),
    "MultiHeadAttention": _of(SERIES, num_heads=2, key_dim=3),
    "DepthwiseConv1D": _of(SERIES, kernel_size=2),
    "DepthwiseConv2D": _of(IMAGE, kernel_size=2),
    "LSTM": _of(SERIES, units=3),
    "GRU": _of(SERIES, units=3),
    "SimpleRNN": _of(SERIES, units=3),
    "ConvLSTM1D": _of((3, 6, 2), filters=2, kernel_size=2),
    "ConvLSTM2D": _of((3, 6, 6, 2), filters=2, kernel_size=2),
    "ConvLSTM3D": _of((3, 4, 4, 4, 2), filters=2, kernel_size=2),
    "AugMix": _of(IMAGE),
    "RandAugment": _of(IMAGE),
    "UpSampling3D": _of(VOLUME),
    "ZeroPadding3D": _of(VOLUME),
    "Attention": _of(SERIES),
    "AdditiveAttention": _of(SERIES),
    "Dot": _of(ROW, axes=1),
}
for rank, shape in ((1, SERIES), (2, IMAGE), (3, VOLUME)):
    for kind in ("Conv", "SeparableConv") if rank < 3 else ("Conv",):
        CASES[f"{kind}{rank}D"] = _of(shape, filters=3, kernel_size=2)
    CASES[f"Conv{rank}DTranspose"] = _of(shape, filters=3, kernel_size=2)
    for kind in ("Average", "Max"):
        CASES[f"{kind}Pooling{rank}D"] = _of(shape, pool_size=2)
        CASES[f"Global{kind}Pooling{rank}D"] = _of(shape)
        CASES[f"Adaptive{kind}Pooling{rank}D"] = _of(shape, output_size=2)
    CASES.setdefault(f"UpSampling{rank}D", _of(shape))
    CASES.setdefault(f"ZeroPadding{rank}D", _of(shape))
for name in ("AutoContrast", "RandomBrightness", "RandomColorDegeneration",
             "RandomColorJitter", "RandomContrast", "RandomErasing", "RandomGaussianBlur",
             "RandomGrayscale", "RandomHue", "RandomPerspective", "RandomPosterization",
             "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
             "RandomTranslation", "RandomZoom", "RandomFlip", "RandomInvert", "Solarization",
             "RandomElasticTransform", "ContrastLimitedAdaptiveHistogramEqualization"):  # fmt: skip
    CASES[name] = _of(IMAGE)
CASES["RandomHue"] = _of(IMAGE, factor=0.5)
CASES["RandomSaturation"] = _of(IMAGE, factor=0.5)
for name in ("RandomBrightness", "RandomColorDegeneration", "RandomContrast", "RandomRotation",
             "RandomSharpness", "RandomZoom"):  # fmt: skip
    CASES[name] = _of(IMAGE, **{"height_factor" if name == "RandomZoom" else "factor": 0.2})
CASES["RandomTranslation"] = _of(IMAGE, height_factor=0.2, width_factor=0.2)
CASES["RandomPosterization"] = _of(IMAGE, factor=4)

# Layers that take no numbers from a layer before them, but integers or texts from the input.
FIRST = {
    "CategoryEncoding": {"num_tokens": 9, "output_mode": "multi_hot"},
    "Embedding": {"input_dim": 9, "output_dim": 4},
    "HashedCrossing": {"num_bins": 9},
    "Hashing": {"num_bins": 9},
    "IntegerLookup": {"vocabulary": [1, 2, 3, 4]},
    "ReversibleEmbedding": {"input_dim": 9, "output_dim": 4},
    "StringLookup": {"vocabulary": ["1", "2", "3"]},
    "TextVectorization": {"vocabulary": ["1", "2", "3"], "output_sequence_length": 4},
}
# Keras's own call and predict differ in the last bit, by how operations are fused.
ROUNDED = {"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
TWO = {"Add", "AdditiveAttention", "Attention", "Average", "Concatenate", "Dot", "Maximum",
       "Minimum", "Multiply", "Subtract"}  # fmt: skip


def public_layers():
    """Name → class, each class once: Conv1D has a second name, Convolution1D."""
    found = {}
    for name in sorted(dir(L), key=lambda name: (len(name), name), reverse=True):
        cls = getattr(L, name)
        if inspect.isclass(cls) and issubclass(cls, L.Layer):
            found.setdefault(cls, []).append(name)
    return {cls.__name__: cls for cls in found}


def test_the_tables_name_layers_that_exist():
    known = set(public_layers())
    assert set(EXCEPTIONS) <= known | {"GRUCell"} and set(FIRST) <= known
    assert {name for name in CASES if name not in known} == set()
    assert not set(EXCEPTIONS) & (set(CASES) | set(FIRST))


def head(x):
    x = L.Flatten(name="flat")(x) if len(x.shape) > 2 else x
    return L.Dense(2, name="after")(x)


def build(name):
    cls = public_layers()[name]
    if name in FIRST:
        texts = name in ("StringLookup", "TextVectorization")
        columns = 1 if name in ("TextVectorization", "HashedCrossing") else 4
        x = keras.Input((columns,), dtype="string" if texts else "int32")
        layer = cls(**FIRST[name], name="middle")
        y = layer((x, x) if name == "HashedCrossing" else x)
        y = y if keras.backend.is_float_dtype(y.dtype) else L.Lambda(cast, name="cast")(y)
        return keras.Model(x, head(y)), layer
    shape, arguments = CASES.get(name, (ROW, {}))
    arguments = {
        k: v.__class__.from_config(v.get_config()) if isinstance(v, L.Layer) else v
        for k, v in arguments.items()
    }
    layer = cls(**arguments, name="middle")
    x = keras.Input(shape)
    h = L.Dense(shape[-1], name="before")(x)
    if name in TWO:
        y = _twice(layer)(h)
    elif name in ("MultiHeadAttention", "GroupedQueryAttention"):
        y = layer(h, value=h)
    else:
        y = layer(h)
    y = y if keras.backend.is_float_dtype(y.dtype) else L.Lambda(cast, name="cast")(y)
    return keras.Model(x, head(y)), layer


def cast(x):
    return keras.ops.cast(x, "float32")


def rows(model, n=5):
    rng = np.random.default_rng(0)
    shape = (n, *model.input_shape[1:])
    if model.inputs[0].dtype == "string":
        return rng.integers(0, 4, shape).astype(str).astype(object)
    if model.inputs[0].dtype == "int32":
        return rng.integers(0, 5, shape)
    return rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", sorted(set(public_layers()) - set(EXCEPTIONS)))
def test_a_layer_in_the_middle(name):
    model, layer = build(name)
    x = rows(model)
    # What a reader would call T_1…T_L.
    expected = ["after"] if name in FIRST else ["before", "after"]
    if name in BELONGS:
        expected[0] = "middle"
    elif layer.weights and layer.trainable_weights:
        expected.insert(-1, "middle")
    if name in TWO:
        expected.insert(1, "second")
    assert sorted(ib.instrument(model).tap_names) == sorted(expected)
    # Every layer that returns numbers, with the very bits that Keras computes.
    floats = [one for one in model.layers
              if not isinstance(one, L.InputLayer) and is_float(one.output)]  # fmt: skip
    tapped = layer in floats
    everything = ib.instrument(model, {"middle": 0.0} if tapped else 0.0, layers="*", seed=0)
    assert set(everything.tap_names) == {one.name for one in floats}
    found = everything.capture(x, batch_size=len(x), seed=1)
    # As `predict`, without the data set that it makes of one batch.
    wanted = keras.Model(model.inputs, [one.output for one in floats]).predict_on_batch(
        tf.constant(x) if x.dtype == object else x
    )
    for one, values in zip(floats, wanted if len(floats) > 1 else [wanted], strict=True):
        if name in ROUNDED:
            np.testing.assert_allclose(found[one.name], values, atol=1e-6)
        else:
            np.testing.assert_array_equal(found[one.name], values)
    x = tf.constant(x)
    plain = model(x, training=False)
    np.testing.assert_array_equal(everything(x, training=False), plain)
    # Noise acts on the layer's own output, in a capture and in a plain call.
    if tapped:
        everything.set_noise_std({"middle": 0.5})
        noisy = everything.capture(x, batch_size=len(x), seed=1)["middle"]
        assert 0.2 < np.std(noisy - found["middle"]) < 0.9
        assert not np.array_equal(everything(x, training=False), plain)


def is_float(output):
    return not isinstance(output, (list, tuple)) and keras.backend.is_float_dtype(output.dtype)
