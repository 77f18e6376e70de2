"""The flags of estimates: their meaning, what to do about them, and how far to doubt the value.

The report, the plots, the command line, the verdict on compression and the documentation read
``FLAGS``. They show an estimate according to its ``doubt``:

| doubt | flags | in plots | in tables |
|---|---|---|---|
| ``NONE`` | no flag that raises doubt | a full marker | the value |
| ``CARE`` | at least one flag that calls for care | a pale marker | the value and ⚑ |
| ``NOTHING`` | at least one flag that invalidates the value | a hollow marker | the value and ∅ |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

NONE, CARE, NOTHING = 0, 1, 2
# The markers in plots, the marks in tables, and their meanings.
LOOKS = {NONE: "full", CARE: "pale", NOTHING: "hollow"}
MARKS = {NONE: "", CARE: "⚑", NOTHING: "∅"}
MEANINGS = {NONE: "", CARE: "interpret with care", NOTHING: "says nothing about the network"}


@dataclasses.dataclass(frozen=True)
class Flag:
    """A reason not to take an estimate at face value.

    Args:
        name: name of the flag in the column ``flags``.
        doubt: how far the flag discredits the value: ``NONE``, ``CARE`` or ``NOTHING``.
        reason: the reason for the doubt, as a clause that can end a sentence.
        says: the meaning of the flag, in whole sentences.
        do: what to do about the flag.
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
        "the values are at their ceiling",
        "The value is within 1 % of its ceiling: ln n or H(X), or H(Y) for an I(T;Y) whose I(X;T) "
        "is at its own ceiling; or the logarithm of the number of bins of equal counts, for a "
        "single neuron or neurons that rise and fall together, as the two of a softmax. At this "
        "scale every sample is distinct from all others, so the value says nothing about the "
        "network.",
        "Use coarser bins, more noise or more samples; or a noisy network and `sp`.",
    ),
    Flag(
        "high_dim",
        NOTHING,
        "there are too few samples for the width of the layer",
        "n is too small for this dimension. `sp`: estimates from all samples and from half of them "
        "disagree. Neighbours: on pairs of these samples with known information, the estimator "
        "reads too little or too much, or a linear model finds more information on held-out rows. "
        "Critics: a linear model finds more than twice as much.",
        "Use more samples, or compress first (`lossy`).",
    ),
    Flag(
        "inconsistent",
        NOTHING,
        "the estimates contradict each other",
        "I(X;T) is below I(T;Y) by more than the errors allow. The label is a function of the "
        "input, so I(T;Y) cannot exceed I(X;T): at least one of the two values is wrong. An "
        "information about X given Y that was estimated from each class has this flag if it "
        "differs from I(X;T) − I(T;Y) by more than the errors allow.",
        "Do not use any of these values. Try another estimator, or more samples.",
    ),
    Flag(
        "low_dim",
        NOTHING,
        "the samples lie on a surface of fewer dimensions",
        "At the scale of the nearest neighbours the samples have clearly fewer dimensions than "
        "columns: they lie on a curved surface. They have no density, and the estimate depends on "
        "the number of samples.",
        "Use `ksg`, which needs no densities, or as many columns as the surface has dimensions.",
    ),
    Flag(
        "not_estimated",
        NOTHING,
        "the estimator could not be applied",
        "The estimator could not be applied to this layer at this epoch. The value is missing, and "
        "the column `details` has the reason.",
        "Read `details`; then choose another estimator, layer or number of samples.",
    ),
    Flag(
        "network_noise",
        NOTHING,
        "the estimator counts the network's own noise as information",
        "The network is noisy, and this estimator counts its noise as information about the "
        "input, so the value is too high.",
        "Use `sp`, which is made for noisy networks.",
    ),
    Flag(
        "no_channel",
        NOTHING,
        "the layer has no noise of its own",
        "Sample propagation needs Gaussian noise that a channel adds to the layer, and this layer "
        "has none. The output layer has none by default, also in a noisy network. Unless noise "
        "acts before the layer, I(X;T) is H(X) or infinite for any network.",
        "Add noise to the layer: a number in `instrument(model, noise_std=…)` adds it to the "
        "hidden layers, and a dictionary that names the output adds it to the output. If the layer "
        "itself draws its values, as that of a variational autoencoder, use "
        "`layers.GaussianSampling`, or give it a method `conditional` that declares their "
        "distribution; no layer before it may be random. Or use another estimator.",
    ),
    Flag(
        "no_propagations",
        NOTHING,
        "repeated propagations were not recorded",
        "The layer comes after noise, and no inputs were propagated repeatedly to measure its "
        "randomness given X: it has more than 512 values, or each position is a sample, or "
        "propagations were not requested.",
        "Record with `Recorder(…, conditional_inputs=…)`, or choose narrower layers.",
    ),
    Flag(
        "untrusted",
        NOTHING,
        "the estimator is known to be inaccurate here",
        "On similar samples with known information, estimates like this one are off by more than "
        "the tolerance: see calibrated_lower and calibrated_upper.",
        "Use the calibrated interval instead of the value, or another estimator.",
    ),
    Flag(
        "negative",
        NOTHING,
        "the values are below 0",
        "Information cannot be negative: the bias of the estimator exceeds the information.",
        "Treat the value as 0, or use more samples.",
    ),
    Flag(
        "infinite",
        CARE,
        "the information is infinite",
        "The information is infinite, for example if a layer passes a continuous input on "
        "unchanged. It cannot be estimated from any number of samples.",
        "Compare layers by I(T;Y), or train with noise and use `sp`.",
    ),
    Flag(
        "chance",
        NOTHING,
        "labels in random order give most of the value",
        "Labels in random order, about which the layer knows nothing, give more than half of the "
        "value. At this scale nearly every sample is distinct from all others, and a sample that "
        "is alone in its bin, or under its kernel, seems to determine its label.",
        "Use coarser bins or a larger variance, more samples, or an estimator without them: `ksg`, "
        "`mutual_information`, or the accuracy of a classifier.",
    ),
    Flag(
        "outliers",
        NOTHING,
        "a few rows set the scale of the bins or of the noise",
        "At most one row in twenty has values 30 times as far apart as those of all other rows, "
        "and the width of the bins, or the variance of the noise, follows the largest values. All "
        "other rows are then alike at this scale, so that the layer seems to know nothing.",
        "Look at these rows: an input may not be scaled, or missing values may be coded as large "
        "numbers. Otherwise use `ebab`, whose bins have equal counts, or a fixed `width` or "
        "`variance`.",
    ),
    Flag(
        "constant",
        CARE,
        "all samples have the same output, because units are dead or the training diverged",
        "All samples have the same output, so that the information is 0: the units are dead or "
        "saturated, or the training diverged. No verdict on compression uses such an end.",
        "Look at the loss, the initial weights, the learning rate and the scale of the inputs.",
    ),
    Flag(
        "measurement_bins",
        CARE,
        "the values measure how activations cluster at the scale of the bins",
        "The value is the information of the binned T, not of T: for a deterministic network, "
        "I(X;T) itself is H(X) or infinite. It measures how T clusters at the scale of the bins.",
        "Vary the bins, and believe what does not change. To measure the information itself, train "
        "with noise and use `sp`.",
    ),
    Flag(
        "measurement_noise",
        CARE,
        "the values measure how activations cluster at the scale of added noise",
        "The value is the information of T plus noise that only the measurement adds, so it "
        "depends on the variance of that noise. It measures how T clusters at that scale.",
        "Vary the variance, and believe what does not change. To measure the information itself, "
        "train with noise and use `sp`.",
    ),
    Flag(
        "measurement_kernel",
        CARE,
        "the values count the samples that a kernel tells apart",
        "The value is a matrix-based Rényi information: the logarithm of the number of samples "
        "that the kernels tell apart, at most ln n. It is not the mutual information, and it "
        "depends on the width of the kernels and on the number of rows in a batch.",
        "Compare only values of equal settings, vary `width`, and believe what does not change. "
        "To estimate the information itself, use `ksg`, or `sp` with noise.",
    ),
    Flag(
        "sliced",
        CARE,
        "the values are of random projections, which show less than the layer",
        "The value is sliced information, the mean information of random projections of the "
        "variables. It is 0 only if they are independent, and at most their information, of which "
        "it is a smaller part the wider they are. Processing a variable further may increase it.",
        "Compare it between layers and epochs of equal width, and do not read it as I(X;T).",
    ),
    Flag(
        "no_noise",
        CARE,
        "without noise the number of samples limits the values",
        "The layer has no noise of its own. Unless noise acts before it, I(X;T) is infinite, and "
        "the estimate depends on the number of samples.",
        "Add noise to the network, or compare layers and epochs only at equal n.",
    ),
    Flag(
        "binned_target",
        CARE,
        "the numbers of Y were binned",
        "Y consists of numbers, and this estimator needs classes, so Y was divided into "
        "`target_bins` cells of equal counts. The value is the information about the cell, which "
        "is at most I(T;Y), and at most the logarithm of `target_bins`.",
        "Compare only values of equal `target_bins`, and believe what does not change with it. To "
        "use the numbers themselves, choose `ksg`, `kl`, `gaussian` or a critic.",
    ),
    Flag(
        "integer_inputs",
        CARE,
        "distances between integer inputs mean nothing if they are ids",
        "The inputs are integers, and the estimator compares them by their distances. If they "
        "are ids, such as those of tokens or categories, the distance between two of them means "
        "nothing, and neither does the value.",
        "If they are counts or pixels, convert them to float. If they are ids, use an estimator "
        "that does not compare inputs: `ebab`, `binning`, `kde`, or `sp` with noise.",
    ),
    Flag(
        "view",
        NONE,
        "the values are those of a view, which may change in other ways than the layer",
        "The value is the information of the view in the column `view`, which is a function of the "
        "layer's output. The layer has at least this information, and may have more.",
        "Compare layers, epochs and networks by the same view; compare several views.",
    ),
    Flag(
        "dependent",
        CARE,
        "the rows are not independent, so the errors are too small",
        "The rows are not independent of each other, such as the positions of one image, the rows "
        "of a time series, or copies of rows, which neighbours count once where they notice them. "
        "The standard error assumes that rows are independent, and is too small. "
        "Between two slow series, neighbours find information where there is none.",
        "Judge the error by the spread over networks or over different inputs. For time series, "
        "use `KSG(window=…)`, and compare with `baseline`, which rotates such rows.",
    ),
    Flag(
        "undersampled",
        CARE,
        "there are too few rows for the number of different values",
        "Many categories, pairs of categories, or bins have few rows. Then even a permuted "
        "variable seems to have information, of an I(T;Y) more than a tenth of the value, and a "
        "category that was seen once says nothing about the next row.",
        "Merge rare categories, use coarser bins, or more rows. If the values are numbers, say so "
        "by `kind`.",
    ),
    Flag(
        "unbounded",
        CARE,
        "the value grows with the number of rows",
        "Some of the rows give a clearly lower value, so that more rows would give a higher one. "
        "There may be too few rows for the dimensions or for so much information; or one variable "
        "may be a function of the other, and the information infinite. The value is what these "
        "rows can show.",
        "Read the value as a lower bound.",
    ),
    Flag(
        "clipped",
        CARE,
        "some values lie outside the bins",
        "Values outside the range of the bins were counted in the outermost bins.",
        "Widen the range of the bins.",
    ),
    Flag(
        "ties",
        CARE,
        "values repeat",
        "Values repeat: the variable is discrete or saturated, and distances between neighbours "
        "resolve it poorly.",
        "Use an estimator with bins, or one for discrete values (`quantized`).",
    ),
    Flag(
        "log_batch",
        CARE,
        "the values are near the estimator's upper limit",
        "The value is near the logarithm of the batch size, which this bound cannot exceed. A "
        "larger batch may raise it.",
        "Increase `batch_size`.",
    ),
    Flag(
        "strong",
        CARE,
        "the dependence is too strong for the number of samples",
        "At the scale of the nearest neighbours one variable is nearly a function of the other, so "
        "that the densities vary within this scale. The value is too low.",
        "Take the value as a lower limit, or use more samples, a smaller k or a critic.",
    ),
    Flag(
        "no_critic",
        CARE,
        "no critic was trained",
        "There were too few samples to train a critic, or none was requested. Dependence that is "
        "not Gaussian may be missed.",
        "Use more samples.",
    ),
    Flag(
        "unconfirmed",
        CARE,
        "held-out rows do not confirm it",
        "The closed form for Gaussian variables gives a higher value than held-out rows confirm. "
        "The truth may lie anywhere in between.",
        "Use the interval instead of the value, or more samples.",
    ),
    Flag(
        "few_rows",
        CARE,
        "more samples would change the values",
        "The rows by which a model was trained show clearly more information than held-out rows "
        "do; or half of the rows give clearly less than all; or there are too few rows to find "
        "out. The value is probably too low.",
        "Use more samples, or compress the variables first (`lossy`).",
    ),
    Flag(
        "heavy_tails",
        CARE,
        "the values are dense in some places and far apart in others",
        "The same estimate from the ranks of the values, which have the same information, is "
        "clearly higher. The values are dense in some places and far apart in others, so that no "
        "width of kernels fits, and neighbours are too far away. The value is too low.",
        "Use `ksg`, or pass the normal quantiles of the ranks of each column.",
    ),
    Flag(
        "not_normal",
        CARE,
        "only linear dependence was measured",
        "The variables are not jointly normal, so that the closed form from their correlations is "
        "not their information. It is usually too low, because it misses dependence that is not "
        "linear; on curved surfaces it may be too high.",
        "Use `ksg` or `mutual_information`, and compare.",
    ),
    Flag(
        "lossy",
        CARE,
        "the compressor lost information",
        "What the codes leave out of one variable is correlated with the other variable, by more "
        "than 5 % of the value, or a linear model of the variables shows more information than "
        "their codes: the compressor lost information. The value is probably too low. "
        "What is lost in other ways is not noticed.",
        'Use more codes (`k`, or `sweep=True`), `"ae"` instead of `"pca"` for images, or '
        '`"latent"` if the shared information has little variance.',
    ),
    Flag(
        "unfinished",
        CARE,
        "decoders had not finished learning",
        "The decoder was still improving when its training ended, so it may predict X better with "
        "more training.",
        "Train the decoder longer.",
    ),
)
FLAGS: Mapping[str, Flag] = {flag.name: flag for flag in _ALL}


def split(flags: str | Iterable[str]) -> tuple[str, ...]:
    """Split flags into their names, without duplicates.

    Args:
        flags: flags joined by commas, as in a table; or their names.

    Returns:
        The names in order of appearance.
    """
    names = flags.split(",") if isinstance(flags, str) else flags
    return tuple(dict.fromkeys(filter(None, map(str, names))))


def doubt(flags: str | Iterable[str]) -> int:
    """Return how far to doubt an estimate: the largest doubt of its flags.

    Args:
        flags: flags joined by commas, as in a table; or their names.

    Returns:
        ``NONE`` (0), ``CARE`` (1) or ``NOTHING`` (2). An unknown flag, such as one of a custom
        estimator, counts as ``CARE``.
    """
    return max((FLAGS[f].doubt if f in FLAGS else CARE for f in split(flags)), default=NONE)


def reason(name: str) -> str:
    """Return the reason for the doubt that a flag raises, as a clause.

    Args:
        name: name of a flag, known or not.
    """
    return FLAGS[name].reason if name in FLAGS else f"the values are flagged {name}"


def table() -> str:
    """Return the flags as a Markdown table."""
    lines = ["| flag | markers | what it says | what to do |", "|---|---|---|---|"]
    lines += [f"| `{f.name}` | {LOOKS[f.doubt]} | {f.says} | {f.do} |" for f in _ALL]
    return "\n".join(lines)
