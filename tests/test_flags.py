"""The flags: one list, one rule of how much each discredits."""

import pytest

from ib_keras import flags


@pytest.mark.parametrize(
    "text, doubt",
    [
        ("", flags.NONE),
        ("measurement_bins", flags.CARE),
        ("measurement_bins,saturated", flags.NOTHING),
        ("high_dim,ties", flags.NOTHING),
        ("ties,no_noise", flags.CARE),
        (("no_channel",), flags.NOTHING),
        ((), flags.NONE),
        ("of_my_own", flags.CARE),
        ("not_estimated", flags.NOTHING),
        ("inconsistent", flags.NOTHING),
        ("infinite", flags.CARE),
        ("integer_inputs", flags.CARE),
        ("binned_target", flags.CARE),
    ],
)
def test_the_worst_flag_decides(text, doubt):
    assert flags.doubt(text) == doubt


def test_names_once_and_in_order():
    assert flags.split("b,a,,b") == ("b", "a")
    assert flags.reason("of_my_own") == "the values are flagged of_my_own"


def test_no_channel_explains_the_output_of_a_noisy_network():
    flag = flags.FLAGS["no_channel"]
    assert "output layer has none by default" in flag.says and "names the output" in flag.do


def test_every_flag_says_all():
    for name, flag in flags.FLAGS.items():
        assert name == flag.name and "," not in name
        assert flag.doubt in flags.LOOKS
        assert flag.says.endswith(".") and flag.do.endswith(".")
        assert not flag.reason.endswith(".") and flag.reason[0].islower()
        assert "|" not in flag.says + flag.do  # they stand in tables
