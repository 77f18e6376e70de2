"""The networks of the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from ib_keras.arrays.checks import check_count, check_counts
from ib_keras.constraints import OrthonormalStep
from ib_keras.errors import ArgumentError
from ib_keras.layers import GaussianChannel, GaussianSampling, log_variance

# For all other activations, ``initial="variance"`` doubles the variance of the initial weights.
_UNIT_GAIN = ("tanh", "sigmoid", "softmax", "linear", "softsign")
# How initial weights may be drawn, see ``mlp``.
_WEIGHTS = ("variance", "normal", "normal_out", "uniform")


@keras.saving.register_keras_serializable(package="ib_keras")
def centred_softplus(x: Any) -> Any:
    """Compute ln(1 + exp x) − ln 2, which is 0 at 0."""
    return keras.ops.softplus(x) - math.log(2)


# Activations that Keras has no name for. PReLU has weights, and is a layer of its own.
_FUNCTIONS = {"prelu": None, "abs": keras.ops.abs, "centred_softplus": centred_softplus}


def mlp(
    input_shape: Sequence[int],
    n_classes: int,
    *,
    hidden: Sequence[int] = (10, 7, 5, 4, 3),
    activation: str = "tanh",
    l2: float = 0.0,
    orthonormal: float = 0.0,
    initial: str = "variance",
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a dense network with layers ``dense_1`` … ``dense_L`` and a softmax layer ``output``.

    Initial biases are 0, unless ``initial`` is ``"uniform"``.

    Args:
        input_shape: shape of one input; inputs with several axes are flattened.
        n_classes: number of classes.
        hidden: widths of the hidden layers.
        activation: activation of the hidden layers; ``"prelu"`` is a separate layer
            ``dense_l_prelu``, ``"abs"`` is |x|, and ``"centred_softplus"`` is softplus(x) − ln 2.
        l2: weight of the penalty l2 · Σ w²/2 on the hidden kernels.
        orthonormal: rate of ``constraints.OrthonormalStep`` on the hidden kernels.
        initial: distribution of the initial weights:
            ``"variance"``: truncated normal with a standard deviation of √(1/fan_in) for tanh,
            sigmoid, softmax, linear and softsign, or of √(2/fan_in) for all other activations,
            after truncation;
            ``"normal"``: normal with a standard deviation of 1/√fan_in for the same activations and
            |x|, or of 2/√fan_in for all others, truncated at two standard deviations (Chelombiev et
            al., and for tanh Shwartz-Ziv & Tishby);
            ``"normal_out"``: normal with a standard deviation of 1/√units, truncated likewise, and
            uniform within ±√(6/(fan_in + units)) for the output layer (Saxe et al.);
            ``"uniform"``: weights and biases uniform within ±1/√fan_in (Goldfeld et al.).
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights.

    Raises:
        ArgumentError: If ``initial`` is unknown.

    References:
        Shwartz-Ziv & Tishby, arXiv:1703.00810. Saxe et al., ICLR 2018. Goldfeld et al., ICML 2019,
        arXiv:1810.05728. Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """
    if initial not in _WEIGHTS:
        raise ArgumentError("`initial` is unknown", f"one of {list(_WEIGHTS)}", repr(initial))
    inputs, x = _flat_inputs(input_shape)
    for i, width in enumerate(hidden):
        kernel, bias = _initial(initial, x.shape[-1], width, activation, seed, i)
        x = keras.layers.Dense(
            width,
            activation=_FUNCTIONS.get(activation, activation),
            kernel_initializer=kernel,
            bias_initializer=bias,
            kernel_regularizer=keras.regularizers.L2(l2 / 2) if l2 else None,
            kernel_constraint=OrthonormalStep(orthonormal) if orthonormal else None,
            name=f"dense_{i + 1}",
        )(x)
        if activation == "prelu":
            x = keras.layers.PReLU(name=f"dense_{i + 1}_prelu")(x)
    kernel, bias = _initial(initial, x.shape[-1], n_classes, "softmax", seed, len(hidden))
    return keras.Model(inputs, _output(n_classes, kernel, regression, bias)(x), name="mlp")


def vib(
    input_shape: Sequence[int],
    n_classes: int,
    *,
    beta: float = 1e-3,
    latent: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a deep variational information bottleneck, whose representation is the layer ``z``.

    The dense layers ``dense_1`` … ``dense_L`` lead to ``mean`` and ``log_var``, from which ``z``, a
    ``GaussianSampling``, draws Z ~ N(μ, diag σ²) with σ = softplus(s − 5) for the output s of a
    linear layer. A dense softmax layer, ``output``, classifies Z. If the model is trained with
    cross-entropy, its loss is

        E[−ln q(y|z)] + β · E KL(q(z|x) ‖ N(0, I)),

    which bounds −I(Z;Y) + β·I(X;Z) from above, up to the constant H(Y). Z is drawn anew in every
    pass, also at inference; the mean of the outputs of several passes is a better prediction.

    The defaults suit small data. The paper's network for MNIST is ``vib((784,), 10, hidden=(1024,
    1024), latent=256)`` with β from 1e-9 to 1, trained for 200 epochs with batches of 100 by Adam
    at a rate of 1e-4 that is multiplied by 0.97 every two epochs; its predictions average 12
    passes.

    Args:
        input_shape: shape of one input; inputs with several axes are flattened.
        n_classes: number of classes.
        beta: β, the weight of the divergence, >= 0.
        latent: dimension of Z.
        hidden: widths of the encoder's hidden layers.
        activation: activation of the hidden layers.
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights and of the draws.

    Raises:
        ArgumentError: If ``beta`` is negative or not finite, or ``latent`` is not a count.

    References:
        Alemi, Fischer, Dillon & Murphy, *Deep Variational Information Bottleneck*, ICLR 2017,
        arXiv:1612.00410, eq. 17 and section 4.1.
    """
    latent, depth = check_count(latent, "latent"), len(hidden)
    inputs, x = _flat_inputs(input_shape)
    for i, width in enumerate(hidden):
        start = _initializer(activation, seed, i)
        name = f"dense_{i + 1}"
        x = keras.layers.Dense(width, activation=activation, kernel_initializer=start, name=name)(x)
    parameters = [
        keras.layers.Dense(
            latent,
            activation=function,
            kernel_initializer=_initializer("linear", seed, depth + i),
            name=name,
        )(x)
        for i, (name, function) in enumerate((("mean", None), ("log_var", log_variance)))
    ]
    z = GaussianSampling(kl_weight=beta, seed=seed, name="z")(parameters)
    outputs = _output(n_classes, _initializer("softmax", seed, depth + 2), regression)(z)
    return keras.Model(inputs, outputs, name="vib")


def szt(
    activation: str = "tanh",
    *,
    l2: float = 0.0,
    orthonormal: float = 0.0,
    initial: str = "variance",
    seed: int | None = None,
) -> keras.Model:
    """Build the 12-10-7-5-4-3-2 network of Shwartz-Ziv & Tishby, for the 12-bit task.

    Args:
        activation: activation of the hidden layers, see ``mlp``.
        l2: weight of the L2 penalty, see ``mlp``.
        orthonormal: rate of the step towards orthonormal kernels, see ``mlp``.
        initial: distribution of the initial weights, see ``mlp``.
        seed: seed of the initial weights.

    References:
        Shwartz-Ziv & Tishby, arXiv:1703.00810.
    """
    return mlp(
        (12,), 2, activation=activation, l2=l2, orthonormal=orthonormal, initial=initial, seed=seed
    )


def neuron(*, weight: float = 0.1) -> keras.Model:
    """Build a single neuron tanh(wx + b), named ``neuron``, which is also the output.

    Args:
        weight: initial value of w; b is initially 0.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 4.
    """
    inputs = keras.Input((1,))
    start = keras.initializers.Constant(weight)
    dense = keras.layers.Dense(
        1, activation="tanh", kernel_initializer=start, name="neuron", dtype="float32"
    )
    return keras.Model(inputs, dense(inputs), name="neuron")


def mnist_cnn(
    input_shape: Sequence[int] = (28, 28, 1),
    n_classes: int = 10,
    *,
    activation: str = "relu",
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a network of three 3×3 convolutions with max-pooling and two dense layers.

    The convolutions have 8, 16 and 32 filters. The dense layers have 32 units, and a softmax.

    Args:
        input_shape: height, width and optionally channels; a missing channel axis is added.
        n_classes: number of classes.
        activation: activation of the hidden layers.
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights.

    Raises:
        ArgumentError: If the images are smaller than 22×22.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013 (the shape of the network).
    """
    inputs, x = _image_inputs(input_shape)
    for i, filters in enumerate((8, 16, 32)):
        start = _initializer(activation, seed, i)
        x = keras.layers.Conv2D(
            filters, 3, activation=activation, kernel_initializer=start, name=f"conv_{i + 1}"
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    start = _initializer(activation, seed, 3)
    x = keras.layers.Dense(32, activation=activation, kernel_initializer=start, name="dense_1")(x)
    outputs = _output(n_classes, _initializer("softmax", seed, 4), regression)(x)
    return keras.Model(inputs, outputs, name="mnist_cnn")


def four_layer_cnn(
    input_shape: Sequence[int] = (28, 28, 1),
    n_classes: int = 10,
    *,
    filters: Sequence[int] = (16, 32),
    hidden: int = 128,
    activation: str = "tanh",
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a network of two 5×5 convolutions and two dense layers, the second of which is softmax.

    Each convolution is padded to keep the size of its input, and 2×2 max-pooling follows. The
    outputs of the four layers are ``pool_1``, ``pool_2``, ``dense_1`` and ``output``; these are the
    layers to tap. The paper describes its network for MNIST as a convolutional network of four
    layers. The numbers of filters and units and the padding are choices made here.

    Args:
        input_shape: height, width and optionally channels; a missing channel axis is added.
        n_classes: number of classes.
        filters: numbers of filters of the two convolutions.
        hidden: number of units of the first dense layer.
        activation: activation of the hidden layers.
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights.

    Raises:
        ArgumentError: If the images are smaller than 5×5, ``filters`` are not two counts, or
            ``hidden`` is not a count.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 5 (the network for MNIST).
    """
    widths = check_counts(filters, "filters")
    if len(widths) != 2:
        raise ArgumentError("`filters` do not fit", "two numbers of filters", filters)
    units = check_count(hidden, "hidden")
    inputs, x = _image_inputs(input_shape, least=5)
    for i, width in enumerate(widths):
        x = keras.layers.Conv2D(
            width,
            5,
            padding="same",
            activation=activation,
            kernel_initializer=_initializer(activation, seed, i),
            name=f"conv_{i + 1}",
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    start, name = _initializer(activation, seed, 2), "dense_1"
    x = keras.layers.Dense(units, activation=activation, kernel_initializer=start, name=name)(x)
    outputs = _output(n_classes, _initializer("softmax", seed, 3), regression)(x)
    return keras.Model(inputs, outputs, name="four_layer_cnn")


def noisy_cnn(
    input_shape: Sequence[int] = (28, 28, 1),
    n_classes: int = 10,
    *,
    stddev: float = 1e-3,
    dropout: float = 0.1,
    padding: str = "valid",
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a network that adds noise proportional to each value before each layer with weights.

    The input x of each layer with weights is replaced by x + stddev·x·Z with Z ~ N(0, 1); in the
    case of a convolution, dropout acts before this noise. There are three 3×3 convolutions with 8,
    16 and 32 filters and max-pooling, and a dense layer of 32 units, all followed by leaky
    rectifiers of slope 0.01 (``act_1`` … ``act_4``, the layers to tap); and a dense softmax layer
    ``output``.

    A value of exactly 0 gets no noise. The paper standardises its images, so that their background
    is not 0 (``scale="standard"`` of the component ``examples``).

    Args:
        input_shape: height, width and optionally channels; a missing channel axis is added.
        n_classes: number of classes.
        stddev: standard deviation of the noise, as a fraction of each value.
        dropout: dropout rate of the convolutions' inputs during training.
        padding: padding of the convolutions: ``"valid"``, as for MNIST in the paper, or ``"same"``,
            as for CIFAR-10.
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights, the noise and the dropout.

    Raises:
        ArgumentError: If the images are smaller than 22×22, or the padding is unknown.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 5.
    """
    if padding not in ("valid", "same"):
        raise ArgumentError("`padding` is unknown", "'valid' or 'same'", repr(padding))
    inputs, x = _image_inputs(input_shape)
    for i, width in enumerate((8, 16, 32, 32, n_classes)):
        layer_seed = None if seed is None else 1000 * seed + i
        start = _initializer("leaky_relu" if i < 4 else "softmax", seed, i)
        if i == 3:
            x = keras.layers.Flatten(name="flatten")(x)
        if i < 3:
            x = keras.layers.Dropout(dropout, seed=layer_seed, name=f"dropout_{i + 1}")(x)
        x = GaussianChannel(stddev, relative=True, seed=layer_seed, name=f"noise_{i + 1}")(x)
        if i < 3:
            name = f"conv_{i + 1}"
            convolution = keras.layers.Conv2D(
                width, 3, padding=padding, kernel_initializer=start, name=name
            )
            x = keras.layers.MaxPooling2D(name=f"pool_{i + 1}")(convolution(x))
        elif i == 3:
            x = keras.layers.Dense(width, kernel_initializer=start, name="dense_1")(x)
        else:
            x = _output(width, start, regression)(x)
        if i < 4:
            x = keras.layers.LeakyReLU(0.01, name=f"act_{i + 1}")(x)
    return keras.Model(inputs, x, name="noisy_cnn")


def resnet(
    input_shape: Sequence[int] = (32, 32, 3),
    n_classes: int = 10,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    regression: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build a residual network for small images, whose stages end in layers ``h1``, ``h2``, …

    It consists of a 3×3 convolution; stages of residual blocks, each of which has two 3×3
    convolutions with batch normalisation; global average pooling; and a softmax layer ``output``.
    Each stage after the first has half the height and width. The layers to tap are ``h*``. The
    default is ResNet-18 in its form for 32×32 images.

    Args:
        input_shape: height, width and optionally channels; a missing channel axis is added.
        n_classes: number of classes.
        filters: number of filters of each stage.
        blocks: number of residual blocks per stage.
        regression: whether the labels are numbers: the output layer is then linear, and
            ``n_classes`` is the number of its units.
        seed: seed of the initial weights.

    Raises:
        ArgumentError: If ``input_shape`` is not a shape of images, or a count is less than 1.

    References:
        He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016, arXiv:1512.03385,
        section 4.2.
    """
    weights = _Initializers(seed)
    inputs, x, _ = _encoder(input_shape, filters, blocks, weights)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    outputs = _output(n_classes, weights(1.0), regression)(x)
    return keras.Model(inputs, outputs, name="resnet")


def resnet_autoencoder(
    input_shape: Sequence[int] = (32, 32, 3),
    n_classes: int = 10,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    seed: int | None = None,
) -> keras.Model:
    """Build an autoencoder with the stages ``h1``, ``h2``, … of ``resnet`` and a mirrored decoder.

    For each stage before the last one, the decoder doubles the height and width and has a residual
    block. A 3×3 convolution with a sigmoid, ``output``, has the shape of the input, whose values
    must be in [0, 1].

    Args:
        input_shape: height, width and optionally channels; a missing channel axis is added.
        n_classes: not used; pipelines pass it to all models.
        filters: number of filters of each stage.
        blocks: number of residual blocks per stage of the encoder.
        seed: seed of the initial weights.

    Raises:
        ArgumentError: If ``input_shape`` is not a shape of images, or a count is less than 1.

    References:
        Darlow & Storkey, arXiv:2003.06254 (both tasks; the form of their decoder is not known).
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
    no_channels = len(inputs.shape) == 3
    outputs = keras.layers.Conv2D(
        1 if no_channels else inputs.shape[3],
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer=weights(1.0),
        dtype=_output_dtype(),
        name="output_channel" if no_channels else "output",
    )(x)
    if no_channels:
        outputs = keras.layers.Reshape(inputs.shape[1:], dtype=outputs.dtype, name="output")(
            outputs
        )
    return keras.Model(inputs, outputs, name="resnet_autoencoder")


def _encoder(
    input_shape: Sequence[int], filters: Sequence[int], blocks: int, weights: _Initializers
) -> tuple[Any, Any, list[tuple[int, int]]]:
    """Return the inputs, the output of the last stage, and the height and width of each stage."""
    if len(tuple(input_shape)) not in (2, 3):
        raise ArgumentError("The inputs are not images", "(height, width[, channels])", input_shape)
    widths = [check_count(width, "filters") for width in filters]
    if not widths:
        raise ArgumentError("`filters` is empty", "a number for each stage", filters)
    inputs, x = _image_inputs(input_shape, least=1)
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
    """Apply two convolutions and a shortcut; the rectifier after their sum is called ``name``."""
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
        filters, kernel, strides, padding="same", use_bias=False, kernel_initializer=weights(2.0),
        name=f"{name}_conv",
    )(x)  # fmt: skip
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


class _Initializers:
    """Initializers with different seeds, derived from one seed."""

    def __init__(self, seed: int | None) -> None:
        self._seed, self._count = seed, 0

    def __call__(self, scale: float) -> Any:
        self._count += 1
        seed = None if self._seed is None else 1000 * self._seed + self._count
        return keras.initializers.VarianceScaling(scale, "fan_in", "truncated_normal", seed)


def _flat_inputs(input_shape: Sequence[int]) -> tuple[Any, Any]:
    """Return the inputs of a model, and the inputs with a single axis."""
    x = inputs = keras.Input(tuple(input_shape))
    if len(tuple(input_shape)) != 1:
        x = keras.layers.Flatten(name="flatten")(x)
    return inputs, x


def _image_inputs(input_shape: Sequence[int], least: int = 22) -> tuple[Any, Any]:
    """Return the inputs of a model of images, and the inputs with a channel axis."""
    shape = tuple(input_shape)
    if len(shape) not in (2, 3) or min(shape[:2]) < least:
        raise ArgumentError(
            "The images do not fit", f"(height, width[, channels]) >= {least}", shape
        )
    x = inputs = keras.Input(shape)
    if len(shape) == 2:
        x = keras.layers.Reshape((*shape, 1), name="add_channel")(x)
    return inputs, x


def _output(
    units: int, initializer: Any, regression: bool, bias: Any = "zeros"
) -> keras.layers.Layer:
    return keras.layers.Dense(
        units,
        activation="linear" if regression else "softmax",
        kernel_initializer=initializer,
        bias_initializer=bias,
        dtype=_output_dtype(),
        name="output",
    )


def _output_dtype() -> str | None:
    """Return the dtype of outputs, which is float32 even in mixed precision."""
    return "float32" if keras.config.dtype_policy().name.startswith("mixed") else None


def _initializer(activation: str, seed: int | None, layer: int) -> Any:
    return keras.initializers.VarianceScaling(
        scale=1.0 if activation in _UNIT_GAIN else 2.0,
        mode="fan_in",
        distribution="truncated_normal",
        seed=None if seed is None else 1000 * seed + layer,
    )


def _initial(
    initial: str, inputs: int, units: int, activation: str, seed: int | None, layer: int
) -> tuple[Any, Any]:
    """Return the initializers of the kernel and the bias of a layer of ``mlp``."""
    if initial == "variance":
        return _initializer(activation, seed, layer), "zeros"
    own = None if seed is None else 1000 * seed + layer
    if initial == "uniform":
        side = 1 / math.sqrt(inputs)
        # The seeds of kernels are multiples of 1000 plus the number of the layer.
        other = None if own is None else own + 500
        return tuple(keras.initializers.RandomUniform(-side, side, seed=s) for s in (own, other))
    if initial == "normal_out":
        if activation == "softmax":
            return keras.initializers.GlorotUniform(seed=own), "zeros"
        return keras.initializers.TruncatedNormal(stddev=1 / math.sqrt(units), seed=own), "zeros"
    gain = 1 if activation in (*_UNIT_GAIN, "abs") else 2
    spread = gain / math.sqrt(inputs)
    return keras.initializers.TruncatedNormal(stddev=spread, seed=own), "zeros"
