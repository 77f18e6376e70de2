"""The networks of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ib_keras.arrays.checks import check_count
from ib_keras.errors import ArgumentError
from ib_keras.layers import GaussianChannel
from ib_keras.regularizers import Orthonormal

# Saturating functions; for the others the variance of the weights is doubled.
_UNIT_GAIN = ("tanh", "sigmoid", "softmax", "linear", "softsign")


def mlp(
    input_shape: Sequence[int],
    n_classes: int,
    *,
    hidden: Sequence[int] = (10, 7, 5, 4, 3),
    activation: str = "tanh",
    l2: float = 0.0,
    orthonormal: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """A dense network with layers ``dense_1`` … ``dense_L`` and a softmax layer ``output``.

    Weights start from a truncated normal distribution of standard deviation √(1/fan_in), or
    √(2/fan_in) for rectifiers (after truncation), biases from 0.

    Args:
        input_shape: shape of one input; more than one axis is flattened.
        n_classes: number of classes.
        hidden: widths of the hidden layers.
        activation: of the hidden layers; ``"prelu"`` is a layer ``dense_l_prelu`` of its own, and
            ``"abs"`` is |x|.
        l2: weight of the penalty l2 · Σ w²/2 on the hidden kernels.
        orthonormal: weight of the penalty ``regularizers.Orthonormal`` on the hidden kernels.
        seed: of the initial weights.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037 (initialisation).
    """
    if l2 and orthonormal:
        raise ArgumentError(
            "`l2` and `orthonormal` exclude each other",
            "one",
            f"l2={l2}, orthonormal={orthonormal}",
        )
    x = inputs = keras.Input(tuple(input_shape))
    if len(tuple(input_shape)) != 1:
        x = keras.layers.Flatten(name="flatten")(x)
    function = {"prelu": None, "abs": keras.ops.abs}.get(activation, activation)
    for i, width in enumerate(hidden):
        penalty = Orthonormal(orthonormal) if orthonormal else None
        x = keras.layers.Dense(
            width,
            activation=function,
            kernel_initializer=_initializer(activation, seed, i),
            kernel_regularizer=keras.regularizers.L2(l2 / 2) if l2 else penalty,
            name=f"dense_{i + 1}",
        )(x)
        if activation == "prelu":
            x = keras.layers.PReLU(name=f"dense_{i + 1}_prelu")(x)
    outputs = keras.layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer=_initializer("softmax", seed, len(hidden)),
        name="output",
    )(x)
    return keras.Model(inputs, outputs, name="mlp")


def szt(
    activation: str = "tanh",
    *,
    l2: float = 0.0,
    orthonormal: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """The 12-10-7-5-4-3-2 network of Shwartz-Ziv & Tishby, for the 12-bit task.

    Args:
        activation: of the hidden layers, see ``mlp``.
        l2: see ``mlp``.
        orthonormal: see ``mlp``.
        seed: of the initial weights.

    References:
        Shwartz-Ziv & Tishby, arXiv:1703.00810.
    """
    return mlp((12,), 2, activation=activation, l2=l2, orthonormal=orthonormal, seed=seed)


def neuron(*, weight: float = 0.1) -> keras.Model:
    """A single neuron tanh(wx + b), named ``neuron``, which is the output too.

    Args:
        weight: w at the beginning; b begins at 0.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 4.
    """
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(
        1,
        activation="tanh",
        kernel_initializer=keras.initializers.Constant(weight),
        name="neuron",
    )
    return keras.Model(inputs, dense(inputs), name="neuron")


def mnist_cnn(
    input_shape: Sequence[int] = (28, 28, 1),
    n_classes: int = 10,
    *,
    activation: str = "relu",
    seed: int | None = None,
) -> keras.Model:
    """Three 3×3 convolutions of 8, 16, 32 filters, max-pooled, then dense 32 and softmax.

    Args:
        input_shape: height, width and channels; without channels, one is added.
        n_classes: number of classes.
        activation: of the hidden layers.
        seed: of the initial weights.

    Raises:
        ArgumentError: the images are smaller than 22×22.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013 (the network's shape).
    """
    shape = _image_shape(input_shape)
    x = inputs = keras.Input(shape)
    if len(shape) == 2:
        x = keras.layers.Reshape((*shape, 1), name="add_channel")(x)
    for i, filters in enumerate((8, 16, 32)):
        x = keras.layers.Conv2D(
            filters,
            3,
            activation=activation,
            kernel_initializer=_initializer(activation, seed, i),
            name=f"conv_{i + 1}",
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        32, activation=activation, kernel_initializer=_initializer(activation, seed, 3),
        name="dense_1",
    )(x)  # fmt: skip
    outputs = keras.layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer=_initializer("softmax", seed, 4),
        name="output",
    )(x)
    return keras.Model(inputs, outputs, name="mnist_cnn")


def noisy_cnn(
    input_shape: Sequence[int] = (28, 28, 1),
    n_classes: int = 10,
    *,
    stddev: float = 1e-3,
    dropout: float = 0.1,
    seed: int | None = None,
) -> keras.Model:
    """A network with noise in proportion to each value before each layer with weights.

    Dropout, x + stddev·x·Z, a layer; three 3×3 convolutions of 8, 16, 32 filters, max-pooled, then
    dense 32, all with leaky rectifiers of slope 0.01 (``act_1`` … ``act_4``, what to tap), and
    dense softmax, ``output``.

    Args:
        input_shape: height, width and channels; without channels, one is added.
        n_classes: number of classes.
        stddev: of the noise, as a share of each value.
        dropout: rate, while training.
        seed: of the initial weights, the noise and the dropout.

    Raises:
        ArgumentError: the images are smaller than 22×22.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 5.
    """
    x = inputs = keras.Input(_image_shape(input_shape))
    if len(inputs.shape) == 3:
        x = keras.layers.Reshape((*inputs.shape[1:], 1), name="add_channel")(x)
    for i, width in enumerate((8, 16, 32, 32, n_classes)):
        own = None if seed is None else 1000 * seed + i
        if i == 3:
            x = keras.layers.Flatten(name="flatten")(x)
        x = keras.layers.Dropout(dropout, seed=own, name=f"dropout_{i + 1}")(x)
        x = GaussianChannel(stddev, relative=True, seed=own, name=f"noise_{i + 1}")(x)
        if i < 3:
            start = _initializer("leaky_relu", seed, i)
            x = keras.layers.Conv2D(width, 3, kernel_initializer=start, name=f"conv_{i + 1}")(x)
            x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(x)
        else:
            name, function = ("dense_1", None) if i == 3 else ("output", "softmax")
            start = _initializer(function or "leaky_relu", seed, i)
            x = keras.layers.Dense(width, activation=function, kernel_initializer=start, name=name)(
                x
            )
        if i < 4:
            x = keras.layers.LeakyReLU(0.01, name=f"act_{i + 1}")(x)
    return keras.Model(inputs, x, name="noisy_cnn")


def resnet(
    input_shape: Sequence[int] = (32, 32, 3),
    n_classes: int = 10,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    seed: int | None = None,
) -> keras.Model:
    """A residual network for small images, its stages ending in ``h1``, ``h2``, …

    A 3×3 convolution; stages of residual blocks of two 3×3 convolutions with batch normalisation,
    each stage after the first at half the height and width; global mean, softmax, ``output``. What
    to tap is ``h*``. The default is ResNet-18 as it is used for 32×32 images.

    Args:
        input_shape: height, width and channels; without channels, one is added.
        n_classes: number of classes.
        filters: of each stage.
        blocks: of each stage.
        seed: of the initial weights.

    Raises:
        ArgumentError: the shape is not that of images, or a count is less than 1.

    References:
        He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016, arXiv:1512.03385,
        section 4.2.
    """
    weights = _Initializers(seed)
    inputs, x, _ = _encoder(input_shape, filters, blocks, weights)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    outputs = keras.layers.Dense(
        n_classes, activation="softmax", kernel_initializer=weights(1.0), name="output"
    )(x)
    return keras.Model(inputs, outputs, name="resnet")


def resnet_autoencoder(
    input_shape: Sequence[int] = (32, 32, 3),
    n_classes: int = 10,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    seed: int | None = None,
) -> keras.Model:
    """The stages of ``resnet``, ``h1``, ``h2``, …, and a mirrored way back to the input.

    Behind the last stage, for each stage before it: twice the height and width, and a residual
    block; then a 3×3 convolution and a sigmoid, ``output``, of the shape of the input, which is to
    lie in [0, 1].

    Args:
        input_shape: height, width and channels; without channels, one is added.
        n_classes: not used: models of pipelines take it.
        filters: of each stage.
        blocks: of each stage of the encoder.
        seed: of the initial weights.

    Raises:
        ArgumentError: the shape is not that of images, or a count is less than 1.

    References:
        Darlow & Storkey, arXiv:2003.06254 (both tasks; their decoder's form is not known).
    """
    weights = _Initializers(seed)
    inputs, x, sizes = _encoder(input_shape, filters, blocks, weights)
    for stage in range(len(sizes) - 2, -1, -1):
        height, width = sizes[stage]
        if (x.shape[1], x.shape[2]) != (height, width):
            x = keras.layers.UpSampling2D(2, name=f"up_{stage + 1}")(x)
            rest = ((0, x.shape[1] - height), (0, x.shape[2] - width))
            if rest != ((0, 0), (0, 0)):
                x = keras.layers.Cropping2D(rest, name=f"crop_{stage + 1}")(x)
        x = _residual(x, filters[stage], 1, f"back_{stage + 1}", f"back_{stage + 1}", weights)
    plane = len(inputs.shape) == 3
    outputs = keras.layers.Conv2D(
        1 if plane else inputs.shape[3],
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer=weights(1.0),
        name="output_channel" if plane else "output",
    )(x)
    if plane:
        outputs = keras.layers.Reshape(inputs.shape[1:], name="output")(outputs)
    return keras.Model(inputs, outputs, name="resnet_autoencoder")


def _encoder(
    input_shape: Sequence[int], filters: Sequence[int], blocks: int, weights: _Initializers
) -> tuple[Any, Any, list[tuple[int, int]]]:
    """Inputs, the last stage's output, and the size of each stage."""
    shape = tuple(input_shape)
    if len(shape) not in (2, 3):
        raise ArgumentError("The inputs are not images", "(height, width[, channels])", shape)
    widths = [check_count(width, "filters") for width in filters]
    if not widths:
        raise ArgumentError("`filters` is empty", "a number for each stage", filters)
    x = inputs = keras.Input(shape)
    if len(shape) == 2:
        x = keras.layers.Reshape((*shape, 1), name="add_channel")(x)
    x = _convolution(x, widths[0], 1, "stem", weights)
    x = keras.layers.ReLU(name="stem")(x)
    sizes = []
    for stage, width in enumerate(widths):
        for block in range(check_count(blocks, "blocks")):
            name = f"h{stage + 1}" if block == blocks - 1 else f"h{stage + 1}_{block + 1}"
            strides = 2 if stage and not block and max(x.shape[1:3]) > 1 else 1
            x = _residual(x, width, strides, name, f"stage_{stage + 1}_{block + 1}", weights)
        sizes.append((x.shape[1], x.shape[2]))
    return inputs, x, sizes


def _residual(
    x: Any, filters: int, strides: int, name: str, inside: str, weights: _Initializers
) -> Any:
    """Two convolutions beside a shortcut; the rectifier behind their sum has the name."""
    y = _convolution(x, filters, strides, f"{inside}_a", weights)
    y = keras.layers.ReLU(name=f"{inside}_relu")(y)
    y = _convolution(y, filters, 1, f"{inside}_b", weights)
    if strides > 1 or x.shape[-1] != filters:
        x = _convolution(x, filters, strides, f"{inside}_shortcut", weights, kernel=1)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{inside}_sum")([x, y]))


def _convolution(
    x: Any, filters: int, strides: int, name: str, weights: _Initializers, *, kernel: int = 3
) -> Any:
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=weights(2.0),
        name=f"{name}_conv",
    )(x)
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


class _Initializers:
    """Initializers whose seeds follow from one."""

    def __init__(self, seed: int | None) -> None:
        self._seed, self._count = seed, 0

    def __call__(self, scale: float) -> Any:
        self._count += 1
        seed = None if self._seed is None else 1000 * self._seed + self._count
        return keras.initializers.VarianceScaling(scale, "fan_in", "truncated_normal", seed)


def _image_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(input_shape)
    if len(shape) not in (2, 3) or min(shape[:2]) < 22:
        raise ArgumentError("The images do not fit", "(height, width[, channels]) >= 22", shape)
    return shape


def _initializer(activation: str, seed: int | None, layer: int) -> Any:
    return keras.initializers.VarianceScaling(
        scale=1.0 if activation in _UNIT_GAIN else 2.0,
        mode="fan_in",
        distribution="truncated_normal",
        seed=None if seed is None else 1000 * seed + layer,
    )
