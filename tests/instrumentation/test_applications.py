"""One member of each family of ``keras.applications``: taps, blocks, and outputs to the last bit.

A few run in CI; ``make soak`` runs all.
"""

import dataclasses
import os

import keras
import numpy as np
import pytest

import ib_keras as ib
from ib_keras.errors import ArgumentError


@dataclasses.dataclass
class Family:
    """What is expected of a member, counted by hand from the paper's table.

    Args:
        taps: convolutions and dense layers, each with its normalisation and activation.
        blocks: their names, in order; none for a chain without branches.
        side: the smallest image.
    """

    taps: int
    blocks: list[str]
    side: int = 32


def numbered(pattern, numbers):
    return [pattern.format(i) for i in numbers]


RESIDUAL = [
    f"conv{stage}_block{block}_out"
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
    for block in range(1, blocks + 1)
]
DENSE = [
    f"conv{stage}_block{block}_concat"
    for stage, blocks in ((2, 6), (3, 12), (4, 24), (5, 16))
    for block in range(1, blocks + 1)
]
INCEPTION_RESNET = [
    "mixed_5b", *numbered("block35_{}_ac", range(1, 11)),
    "mixed_6a", *numbered("block17_{}_ac", range(1, 21)),
    "mixed_7a", *numbered("block8_{}_ac", range(1, 10)), "custom_scale_layer*",
]  # fmt: skip
CONVNEXT = ["convnext_tiny_stem"]
for _stage, _blocks in enumerate((3, 3, 9, 3)):
    CONVNEXT += [f"convnext_tiny_downsampling_block_{_stage - 1}"] * (_stage > 0) + [
        "add*"
    ] * _blocks
# The cells, and the concatenations that fit an earlier cell's output to a smaller one.
NASNET = [
    "reduction_concat_stem_1", "concatenate*", "reduction_concat_stem_2", "concatenate*",
    *numbered("normal_concat_{}", range(4)), "reduction_concat_reduce_4", "concatenate*",
    *numbered("normal_concat_{}", range(5, 9)), "reduction_concat_reduce_8", "concatenate*",
    "normal_concat_9", "normal_concat_10", "activation*",
]  # fmt: skip

FAMILIES = {
    "VGG16": Family(13 + 3, []),
    "VGG19": Family(16 + 3, []),
    # conv1, three in each block, a shortcut in each stage, the classifier.
    "ResNet50": Family(1 + 16 * 3 + 4 + 1, RESIDUAL),
    "ResNet50V2": Family(1 + 16 * 3 + 4 + 1, RESIDUAL),
    "MobileNet": Family(1 + 13 * 2 + 1, []),
    "MobileNetV2": Family(
        1 + 2 + 16 * 3 + 1 + 1,
        numbered("block_{}_add", [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]),
    ),
    # Two more where a block squeezes and excites; the first does not expand.
    "MobileNetV3Small": Family(
        1 + 2 + 10 * 3 + 9 * 2 + 3, numbered("expanded_conv_{}_add", [2, 4, 5, 7, 9, 10])
    ),
    "MobileNetV3Large": Family(
        1 + 2 + 14 * 3 + 8 * 2 + 3,
        ["expanded_conv_add", *numbered("expanded_conv_{}_add", [2, 4, 5, 7, 8, 9, 11, 13, 14])],
    ),
    "EfficientNetB0": Family(
        1 + 4 + 15 * 5 + 2,
        numbered("block{}_add", ["2b", "3b", "4b", "4c", "5b", "5c", "6b", "6c", "6d"]),
    ),
    "EfficientNetV2B0": Family(
        1 + 1 + 4 * 2 + 16 * 5 + 2,
        numbered("block{}_add", ["2b", "3b", "4b", "4c", *(f"5{b}" for b in "bcde"),
                                 *(f"6{b}" for b in "bcdefgh")]),
    ),
    "Xception": Family(36 + 4 + 1, ["add*"] * 12, side=71),
    "InceptionV3": Family(94 + 1, numbered("mixed{}", range(11)), side=75),
    "InceptionResNetV2": Family(244 + 1, INCEPTION_RESNET, side=75),
    "DenseNet121": Family(120 + 1, DENSE),
    # Sixteen cells of five pairs of separable convolutions and one that squeezes; a stem, four
    # pairs and eleven single ones that fit an earlier cell's output.
    "NASNetMobile": Family(16 * (5 * 2 + 1) + 1 + 4 * 2 + 11 + 1, NASNET),
    "ConvNeXtTiny": Family(1 + 3 + 18 * 4 + 1, CONVNEXT),
}  # fmt: skip
IN_CI = ["VGG16", "MobileNetV2", "ConvNeXtTiny"]


@pytest.fixture(autouse=True)
def forget():
    yield
    keras.backend.clear_session()


@pytest.mark.parametrize("name", list(FAMILIES) if "IB_KERAS_SOAK" in os.environ else IN_CI)
def test_a_family(name):
    expected = FAMILIES[name]
    shape = (expected.side, expected.side, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape, classes=4)
    tapped = ib.instrument(model)
    assert len(tapped.tap_names) == expected.taps
    x = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    np.testing.assert_array_equal(tapped(x), model(x))
    if not expected.blocks:
        with pytest.raises(ArgumentError, match="no blocks"):
            ib.instrument(model, layers="blocks")
        names = tapped.tap_names
    else:
        names = ib.instrument(model, layers="blocks").tap_names
        assert len(names) == len(expected.blocks)
        for found, wanted in zip(names, expected.blocks, strict=True):
            assert found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted
    some = [names[0], names[len(names) // 2], names[-1]]
    found = ib.instrument(model, layers=some).capture(x, layers=some, batch_size=2)
    made_by = {operation.name: operation.output for operation in model.operations}
    outputs = [made_by[one.split("/")[0]] for one in some]
    wanted = keras.Model(model.input, outputs).predict(x, batch_size=2, verbose=0)
    for one, value in zip(some, wanted, strict=True):
        np.testing.assert_array_equal(found[one].reshape(value.shape), value)


def test_every_family_is_here():
    """Of each module one member at least, and none that is not."""
    modules = {
        name for name in dir(keras.applications)
        if hasattr(getattr(keras.applications, name), "preprocess_input")
    }  # fmt: skip
    of = {"resnet50": "resnet", "mobilenet_v3": "mobilenet_v3"}
    homes = {getattr(keras.applications, name).__module__.rpartition(".")[2] for name in FAMILIES}
    assert {of.get(name, name) for name in modules} - {"imagenet_utils"} == homes
