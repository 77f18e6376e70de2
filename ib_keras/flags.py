"""The flags of estimates: what each says, what to do, and how much of the value is left.

This is the only place that knows them. The report, the plots, the command line, the verdict on
compression and the documentation all read ``FLAGS``, and all draw by ``doubt``:

| doubt | flags | in plots | in tables |
|---|---|---|---|
| ``NONE`` | none, or such as only inform | a full marker | the value |
| ``CARE`` | one at least that asks for care | a pale marker | the value and ⚑ |
| ``NOTHING`` | one at least that leaves nothing | a hollow marker | the value and ∅ |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

NONE, CARE, NOTHING = 0, 1, 2
# How a marker of each doubt looks, and how it is marked in tables.
LOOKS = {NONE: "full", CARE: "pale", NOTHING: "hollow"}
MARKS = {NONE: "", CARE: "⚑", NOTHING: "∅"}
MEANINGS = {NONE: "", CARE: "to be taken with care", NOTHING: "says nothing about the network"}


@dataclasses.dataclass(frozen=True)
class Flag:
    """A reason not to take an estimate at face value.

    Args:
        name: as the column ``flags`` has it.
        doubt: ``NONE``, ``CARE`` or ``NOTHING``: how much it discredits the value.
        reason: why, as a clause that a sentence can end with.
        says: what it means, in whole sentences.
        do: what to do about it.
    """

    name: str
    doubt: int
    reason: str
    says: str
    do: str


_ALL = (
    Flag(
        "saturated",
        NOTHING,
        "the values are stuck at their ceiling",
        "The value is within 1 % of its ceiling: ln n or H(X), or H(Y) for an I(T;Y) whose I(X;T) "
        "is at its own ceiling. At this scale every sample is alone, and the value says nothing "
        "about the network.",
        "Use coarser bins, more noise or more samples; or look at noisy networks by `sp`.",
    ),
    Flag(
        "high_dim",
        NOTHING,
        "there are too few samples for so wide a layer",
        "Estimates from all samples and from half of them disagree: n is small for this dimension.",
        "Take more samples, or compress first (`lossy`).",
    ),
    Flag(
        "inconsistent",
        NOTHING,
        "the layer would tell more of the label than of the input, which holds the label",
        "I(X;T) is below I(T;Y) by more than the errors allow. The label is a function of the "
        "input, so that no layer can know more of it than of the input: one of the two is wrong.",
        "Do not use either value. Try another estimator, or more samples.",
    ),
    Flag(
        "not_estimated",
        NOTHING,
        "the estimator could not be used here",
        "The estimator could not be used on this layer at this epoch. The value is missing, and "
        "the column `details` has the reason.",
        "Read `details`; then choose another estimator, layer or number of samples.",
    ),
    Flag(
        "network_noise",
        NOTHING,
        "the estimator counts the network's own noise as information",
        "The network is noisy, and this estimator counts its noise as if it told of the input: "
        "the value is too high.",
        "Use `sp`, which is made for noisy networks.",
    ),
    Flag(
        "no_channel",
        NOTHING,
        "the layer has no noise of its own",
        "Sample propagation needs Gaussian noise that a channel adds to the layer, and there is "
        "none. Unless noise acts before the layer, I(X;T) is H(X) or infinite for any network.",
        "Give the layer noise (`instrument(model, noise_std=…)`), or use another estimator.",
    ),
    Flag(
        "no_propagations",
        NOTHING,
        "what the estimator needs was not recorded",
        "The layer lies behind noise, and no inputs were propagated repeatedly to learn how random "
        "it is given X: it is wider than 512 values, or they were not asked for.",
        "Record with `Recorder(…, conditional_inputs=…)`, or look at narrower layers.",
    ),
    Flag(
        "untrusted",
        NOTHING,
        "the estimator is known to be off here",
        "On samples like these of known information the estimator is off by more than the "
        "tolerance where this estimate lies: see calibrated_lower and calibrated_upper.",
        "Take the calibrated interval instead of the value, or another estimator.",
    ),
    Flag(
        "negative",
        NOTHING,
        "the values are below 0",
        "Information cannot be negative: the estimator's bias is larger than what there is to "
        "find.",
        "Take it for 0; take more samples.",
    ),
    Flag(
        "infinite",
        CARE,
        "the information is infinite",
        "The information is infinite, as where a layer carries a continuous input on unchanged. "
        "No number of samples can show how much of it there is.",
        "Compare layers by I(T;Y), or train with noise and use `sp`.",
    ),
    Flag(
        "measurement_bins",
        CARE,
        "what is seen is how activations cluster at the scale of the bins",
        "The information of the binned T, not of T: for a deterministic network I(X;T) itself is "
        "H(X) or infinite. What is seen is how T clusters at the scale of the bins.",
        "Vary the bins: believe what stays. For information itself, train with noise and use `sp`.",
    ),
    Flag(
        "measurement_noise",
        CARE,
        "what is seen is how activations cluster at the scale of added noise",
        "The information of T plus noise that only the measurement adds: it depends on that "
        "noise's variance. What is seen is how T clusters at that scale.",
        "Vary the variance: believe what stays. For information itself, train with noise and use "
        "`sp`.",
    ),
    Flag(
        "no_noise",
        CARE,
        "without noise the values show no more than so many samples can",
        "The layer has no noise of its own: unless noise acts before it, I(X;T) is infinite, and "
        "the estimate is how much of that so many samples show.",
        "Give the network noise, or compare layers and epochs only at equal n.",
    ),
    Flag(
        "integer_inputs",
        CARE,
        "distances between integer inputs mean nothing if they are names",
        "The inputs are whole numbers, and the estimator compared them by their distances. If "
        "they are names of things, such as the ids of tokens or of categories, the distance "
        "between two of them means nothing, and neither does the value.",
        "If they are counts or pixels, convert them to float. If they are ids, use an estimator "
        "that does not compare inputs: `ebab`, `binning`, `kde`, or `sp` with noise.",
    ),
    Flag(
        "clipped",
        CARE,
        "some values lay outside the bins",
        "Values outside the range of the bins were counted in the end bins.",
        "Widen the range of the bins.",
    ),
    Flag(
        "ties",
        CARE,
        "values repeat",
        "Values repeat: the variable is discrete or saturated, and distances between neighbours "
        "resolve it badly.",
        "Use an estimator with bins, or one for discrete values (`quantized`).",
    ),
    Flag(
        "log_batch",
        CARE,
        "the values are near the most that the estimator can say",
        "Near the logarithm of the batch, above which this bound cannot rise: a larger batch may "
        "raise it.",
        "Raise `batch_size`.",
    ),
    Flag(
        "no_critic",
        CARE,
        "only some estimators had a say",
        "There were too few samples to train a critic, or none was asked for: what is not Gaussian "
        "may be missed.",
        "Take more samples.",
    ),
    Flag(
        "unconfirmed",
        CARE,
        "held-out rows do not confirm it",
        "The closed form of Gaussian variables gives more than held-out rows confirm: the truth "
        "may lie anywhere between.",
        "Take the interval instead of the value; take more samples.",
    ),
    Flag(
        "unfinished",
        CARE,
        "decoders had not finished learning",
        "The decoder was still improving when its epochs ended: it might say more of X.",
        "Train the decoder longer.",
    ),
)
FLAGS: Mapping[str, Flag] = {flag.name: flag for flag in _ALL}


def split(flags: str | Iterable[str]) -> tuple[str, ...]:
    """The names of flags, each once.

    Args:
        flags: as a table has them, joined by commas; or their names.

    Returns:
        The names in order of appearance.
    """
    names = flags.split(",") if isinstance(flags, str) else flags
    return tuple(dict.fromkeys(filter(None, map(str, names))))


def doubt(flags: str | Iterable[str]) -> int:
    """How much an estimate is to be doubted: that of its worst flag.

    Args:
        flags: as a table has them, joined by commas; or their names.

    Returns:
        ``NONE`` (0), ``CARE`` (1) or ``NOTHING`` (2). A flag that is not known, as of an estimator
        of one's own, asks for care.
    """
    return max((FLAGS[f].doubt if f in FLAGS else CARE for f in split(flags)), default=NONE)


def reason(name: str) -> str:
    """Why a flag makes one doubt, as a clause.

    Args:
        name: of a flag, known or not.
    """
    return FLAGS[name].reason if name in FLAGS else f"they are flagged {name}"


def table() -> str:
    """The flags as a table in Markdown, as the documentation has it."""
    lines = ["| flag | markers | what it says | what to do |", "|---|---|---|---|"]
    lines += [f"| `{f.name}` | {LOOKS[f.doubt]} | {f.says} | {f.do} |" for f in _ALL]
    return "\n".join(lines)
