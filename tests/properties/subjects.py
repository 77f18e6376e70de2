"""The estimators that the properties are tried on, and the samples that they are tried with."""

import functools
import warnings

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ib_keras import estimators
from ib_keras.errors import IbKerasError
from ib_keras.estimators import (
    EBAB,
    KDE,
    KSG,
    MINE,
    NWJ,
    AdaptiveKDE,
    Binning,
    DecoderBound,
    Gaussian,
    InfoNCE,
    KozachenkoLeonenko,
    MatrixRenyi,
    NormalizingFlow,
    Quantized,
    SamplePropagation,
    Sliced,
)
from ib_keras.frame import table

SOAK = settings.get_current_profile_name() == "soak"

TINY = {"hidden": (4,), "steps": 50, "batch_size": 4}

CHEAP = {
    "binning": Binning(),
    "binning-neuron": Binning(range="neuron"),
    "binning-global": Binning(range="global"),
    "binning-given": Binning(range=(-1, 1), clip=True),
    "binning-width": Binning(width=0.5),
    "binning-quantile": Binning(quantile=True),
    "binning-neuron-quantile": Binning(range="neuron", quantile=True),
    "ebab": EBAB(),
    "quantized": Quantized(),
    "quantized-32": Quantized(bits=32),
    "kde": KDE(),
    "kde-lower": KDE(0.1, kind="lower"),
    "akde": AdaptiveKDE(),
    "akde-squared": AdaptiveKDE(power=2, kind="lower"),
    "sp": SamplePropagation(mc_draws=4),
    "ksg": KSG(k=2),
    "ksg-euclidean": KSG(k=2, metric="euclidean"),
    "kl": KozachenkoLeonenko(k=2),
    "kl-whitened": KozachenkoLeonenko(k=2, whiten=True),
    "kl-weighted": KozachenkoLeonenko(k=8, weighted=True),
    "gaussian": Gaussian(),
    "gaussian-copula": Gaussian(copula=True),
    "renyi": MatrixRenyi(),
    "renyi-near": MatrixRenyi(width="neighbors", rows=30),
    "sliced": Sliced(projections=4, neighbors=2),
    "lossy": estimators.get("pca+ksg", k=2),
    "lossy-first": estimators.get("first+kl", k=2, neighbors=1),
    "lossy-sweep": estimators.get("pca+ksg", k=1, sweep=True),
}

# Those that train a network for each estimate: seconds, not milliseconds.
TRAINED = {
    "mine": MINE(**TINY),
    "nwj": NWJ(**TINY),
    "infonce": InfoNCE(**TINY),
    "flow": NormalizingFlow(hidden=(4,), layers=1, steps=2, batch_size=8),
    "lossy-ae": estimators.get(
        "ae+ksg", k=2, compress_x="first", compress_t={"name": "ae", "epochs": 2}
    ),
}
# It wants images for inputs, and is tried by itself.
DECODER = DecoderBound(levels=3, filters=2, stages=1, mixtures=1, epochs=1, dropout=0.0)


# Of samples of a given scale, those that say what n samples show of a bound: H(Y) bounds I(T;Y).
STDERRS = 3


class _Tried:
    """How many examples were tried, what was asked of them, and how often there was an answer."""

    count = asked = answered = 0


tried = _Tried()


def cases(ci: int, soak: int = 500, answered: float = 0.0):
    """Examples of a property: few and always the same, or in a soak many, drawn anew.

    At least that share of what is asked by ``attempt`` must be ``answered`` and not be refused, for
    else the property would say nothing of answers.
    """

    def decorate(test):
        test.least_answered = answered
        inner = test.hypothesis.inner_test

        @functools.wraps(inner)
        def counted(*args, **kwargs):
            tried.count += 1
            return inner(*args, **kwargs)

        test.hypothesis.inner_test = counted
        return settings(
            max_examples=soak if SOAK else ci,
            derandomize=not SOAK,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(test)

    return decorate


KINDS = (
    "normal", "constant", "zeros", "huge", "tiny", "beyond squares", "subnormal", "largest",
    "twice each", "two values", "columns of all scales", "outlier", "far from zero",
    "constant column", "equal columns", "both zeros",
)  # fmt: skip
DTYPES = ("f8", "f4", "f2", "bfloat16", "i4", "u1", "?")
LAYOUTS = ("C", "F", "strided", "reversed", "read-only")


def shaped(kind, n, d, seed):
    """Samples ``(n, d)`` of one of ``KINDS``."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(n, d))
    return {
        "normal": lambda: g,
        "constant": lambda: np.full((n, d), 3.0),
        "zeros": lambda: np.zeros((n, d)),
        "huge": lambda: g * 1e30,
        "tiny": lambda: g * 1e-30,
        "beyond squares": lambda: g * 1e300,
        "subnormal": lambda: g * 1e-310,
        "largest": lambda: np.where(g > 0, 1, -1) * np.finfo(float).max,
        "twice each": lambda: g[rng.integers(0, max(1, n // 2), n)],
        "two values": lambda: (g > 0) * 1.0,
        "columns of all scales": lambda: g * 10.0 ** rng.integers(-30, 30, size=(1, d)),
        "outlier": lambda: np.where(np.arange(n)[:, None] == 0, 1e30, g),
        "far from zero": lambda: 1e8 + g,
        "constant column": lambda: np.where(np.arange(d) == 0, 1.0, g),
        "equal columns": lambda: np.repeat(g[:, :1], d, axis=1),
        "both zeros": lambda: np.where(g > 0, 0.0, -0.0),
    }[kind]()


def typed(values, dtype):
    """The values in another type, where they are numbers of it."""
    if dtype == "?":
        return values > 0
    if np.dtype("f4" if dtype == "bfloat16" else dtype).kind in "iu":
        return np.clip(values, 0 if dtype == "u1" else -100, 100).astype(dtype)
    made = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    largest = float(ml_dtypes.finfo(made).max) / 2
    return np.clip(values, -largest, largest).astype(made)


def laid_out(values, layout):
    """The same values in other places of memory."""
    if layout == "strided":
        wide = np.zeros((2 * values.shape[0], 2 * values.shape[1]), values.dtype)
        wide[::2, ::2] = values
        return wide[::2, ::2]
    if layout == "reversed":
        return np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    out = np.array(values, order="F" if layout == "F" else "C")
    out.flags.writeable = layout != "read-only"
    return out


_NUMBERS, _WIDTHS = st.sampled_from([40, 80, 2, 3, 5, 10, 40]), st.sampled_from([1, 2, 3, 17])


@st.composite
def samples(draw, n=_NUMBERS, d=_WIDTHS):
    """Samples of every kind, type and layout that a layer may hand over."""
    values = shaped(draw(st.sampled_from(KINDS)), draw(n), draw(d), draw(st.integers(0, 2**32)))
    return laid_out(typed(values, draw(st.sampled_from(DTYPES))), draw(st.sampled_from(LAYOUTS)))


def grid(n, d, seed):
    """Normal values rounded to 1/64: sums, shifts by whole numbers and doubling are exact."""
    return np.round(64 * np.random.default_rng(seed).normal(size=(n, d))) / 64


def attempt(function, *args, **kwargs):
    """What it returns, or ``None`` for a refusal in three parts; no warning and nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        tried.asked += 1
        try:
            found = function(*args, **kwargs)
            tried.answered += 1
            return found
        except IbKerasError as error:
            parts = (error.invalid, error.expected, str(error.received))
            assert all(str(part).strip() for part in parts), error
            return None


def flags(quantity, estimate):
    """The flags of an estimate in a table."""
    return table.flags_of(quantity, estimate)


def error_of(estimate):
    """The standard error, or 0 where none is stated."""
    return estimate.stderr if np.isfinite(estimate.stderr) else 0.0


def entropy(labels):
    """H of class labels by their counts, in nats."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())
