"""How far each estimator is off where the truth is known: the figures of its page.

    python -m benchmarks.bias                 # all estimators: about 15 minutes on 2 cores
    python -m benchmarks.bias ksg kl          # some estimators
    python -m benchmarks.bias --draw          # draws the figures again from docs/bias/bias.csv

Everything is seeded, so that estimators on the CPU give the same values again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import beta

import ib_keras as ib
from ib_keras import synthetic
from ib_keras.interface import Estimate

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "bias"
COLUMNS = ["name", "panel", "line", "truth", "value", "spread", "flags", "n", "repeats"]
# Flags that an estimator gives for every such layer, and that tell nothing about these samples.
ALWAYS = {
    "measurement_bins", "measurement_kernel", "measurement_noise", "network_noise", "no_critic",
    "no_noise", "sliced",
}  # fmt: skip
DIMS = (2, 5, 10)

# A function of a point of the grid and a seed that returns an estimate and the truth.
Case = Callable[[float, int], tuple[Estimate, float]]


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve: cases at the points of a grid, which may be other parameters than the truth."""

    label: str
    grid: Sequence[float]
    case: Case


@dataclasses.dataclass(frozen=True)
class Figure:
    """Two panels of lines.

    Args:
        panels: title → lines.
        n: the number of samples of each case.
        repeats: how often each case is repeated with other samples.
    """

    panels: dict[str, list[Line]]
    n: int = 1000
    repeats: int = 8


# Known pairs.

PAIRS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)


def pairs(estimator: Any, n: int, draw: Any = synthetic.correlated_gaussians, *, dim: int) -> Case:
    """I(A;B) of ``dim`` pairs of scalars."""

    def case(mi: float, seed: int) -> tuple[Estimate, float]:
        return estimator(*draw(n, dim, mi, seed=seed)), mi

    return case


def rotated_pairs(estimator: Any, n: int, dim: int = 2) -> Case:
    """I(A;B) of log-gamma and exponential variables, both rotated at random."""

    def case(mi: float, seed: int) -> tuple[Estimate, float]:
        rng = np.random.default_rng(seed)
        a, b = synthetic.log_gamma_exponential(n, dim, mi or 1.0, seed=seed)
        a, b = (v @ np.linalg.qr(rng.normal(size=(dim, dim)))[0] for v in (a, b))
        return estimator(a, b if mi else rng.permutation(b)), mi

    return case


def gaussian_pairs(
    estimator: Any, n: int, grid: Sequence[float] = PAIRS, dims: Sequence[int] = DIMS
) -> list[Line]:
    return [Line(f"d = {d} + {d}", grid, pairs(estimator, n, dim=d)) for d in dims]


def other_pairs(estimator: Any, n: int, grid: Sequence[float]) -> list[Line]:
    draws = {
        "Student t, 3 degrees": synthetic.student_t,
        "uniform + uniform noise": synthetic.smoothed_uniforms,
        "log gamma, exponential": synthetic.log_gamma_exponential,
    }
    return [Line(label, grid, pairs(estimator, n, draw, dim=2)) for label, draw in draws.items()]


def sliced_pairs(n: int, dims: Sequence[int] = DIMS) -> list[Line]:
    """SI(A;B) of ``dim`` pairs of scalars of correlation ρ, by integration over the cosine c."""

    def of(dim: int) -> Case:
        shape = (dim - 1) / 2

        def case(rho: float, seed: int) -> tuple[Estimate, float]:
            a, noise = np.random.default_rng([seed, dim]).normal(size=(2, n, dim))
            truth = quad(
                lambda u: -0.5 * math.log1p(-((rho * (2 * u - 1)) ** 2))
                * beta.pdf(u, shape, shape), 0, 1,
            )[0]  # fmt: skip
            b = rho * a + math.sqrt(1 - rho**2) * noise
            return ib.estimators.Sliced(seed=seed).mutual_information(a, b), truth

        return case

    return [Line(f"d = {d} + {d}", (0.0, 0.8, 0.9, 0.97, 0.995), of(d)) for d in dims]


# Four classes: each of two directions of T has information about one bit of the class.

NODES = np.polynomial.hermite_e.hermegauss(200)
CLASSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


def of_bit(mean: float, variance: float = 1.0) -> float:
    """I(T;Y) of T = ±mean + N(0, variance), by integration."""
    m = mean / math.sqrt(variance)
    z, weights = NODES
    logs = np.logaddexp(0, -2 * m * (m + z))
    return math.log(2) - float(weights @ logs) / math.sqrt(2 * math.pi)


def mean_of(information: float, variance: float = 1.0) -> float:
    """The inverse of ``of_bit``."""
    if information <= 0:
        return 0.0
    return float(brentq(lambda m: of_bit(m, variance) - information, 0, 20 * math.sqrt(variance)))


def class_samples(
    n: int, dim: int, mean: float, variance: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """T ``(n, dim)`` around one of four places in a random plane, and the number of the place."""
    rng = np.random.default_rng([seed, dim])
    bits = rng.integers(0, 2, (n, 2))
    t = math.sqrt(variance) * rng.normal(size=(n, dim))
    t[:, :2] += mean * (2 * bits - 1)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return t @ rotation, 2 * bits[:, 0] + bits[:, 1]


def classes(
    labels: Callable[[np.ndarray, np.ndarray], Estimate],
    n: int,
    dims: Sequence[int] = DIMS,
    grid: Sequence[float] = CLASSES,
) -> list[Line]:
    def of(dim: int) -> Case:
        def case(mi: float, seed: int) -> tuple[Estimate, float]:
            t, y = class_samples(n, dim, mean_of(mi / 2), 1.0, seed)
            return labels(t, y), mi

        return case

    return [Line(f"d = {dim}", grid, of(dim)) for dim in dims]


def of_layer(estimator: Any) -> Callable[[np.ndarray, np.ndarray], Estimate]:
    return lambda t, y: estimator.estimate(t, y=y).ty


# Discrete layers: K equally likely patterns.

PATTERNS = (1, 2, 4, 16, 64, 256, 1024, 4096)


def patterns(estimator: Any, n: int, levels: int | None = None) -> list[Line]:
    """H(T) = ln K of patterns of values in [−1, 1], or of this number of levels."""

    def of(dim: int) -> Case:
        def case(count: float, seed: int) -> tuple[Estimate, float]:
            rng = np.random.default_rng([seed, dim, int(count)])
            if levels is None:
                book = rng.uniform(-1, 1, (int(count), dim))
            else:
                book = rng.integers(0, levels, (int(count), dim)) / (levels - 1)
            # With few levels, some patterns may be equal by chance.
            p = np.unique(book, axis=0, return_counts=True)[1] / count
            t = book[rng.integers(0, int(count), n)]
            return estimator.estimate(t).xt, -float(p @ np.log(p))

        return case

    return [Line(f"d = {dim}", PATTERNS, of(dim)) for dim in DIMS]


def quantised_classes(estimator: Any, n: int, levels: int) -> list[Line]:
    """I(T;Y) of ``class_samples`` without the rotation, each direction rounded to levels."""
    edges = np.linspace(-4, 4, levels - 1)

    def of_levels(mean: float) -> float:
        cells = np.array([np.diff(ndtr(np.r_[-np.inf, edges, np.inf] - m)) for m in (mean, -mean)])
        both = cells.mean(axis=0)
        return float((cells * np.log(np.maximum(cells, 1e-300) / both)).sum() / 2)

    def of(dim: int) -> Case:
        def case(mi: float, seed: int) -> tuple[Estimate, float]:
            mean, rng = mean_of(mi / 2), np.random.default_rng([seed, dim])
            bits = rng.integers(0, 2, (n, 2))
            t = rng.normal(size=(n, dim))
            t[:, :2] += mean * (2 * bits - 1)
            y = 2 * bits[:, 0] + bits[:, 1]
            return estimator.estimate(np.digitize(t, edges), y=y).ty, 2 * of_levels(mean)

        return case

    return [Line(f"d = {dim}", CLASSES, of(dim)) for dim in DIMS]


# Layers behind Gaussian noise, the network's or the measurement's.

NOISY = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
SHARE = 0.1  # of the noise in the variance of T


def variance_for(information: float, dim: int) -> float:
    """σ² with I(S; S+N(0, σ²)) = (d/2) ln(1 + 1/σ²) for S of unit variance."""
    return 1 / math.expm1(2 * information / dim)


def channel(estimate: Callable[[np.ndarray, float], tuple[Estimate, float]], n: int) -> Any:
    """I(S; S+N(0, σ²)) of normal S; ``estimate`` takes S and σ², and also returns the σ² used."""

    def of(dim: int) -> Case:
        def case(mi: float, seed: int) -> tuple[Estimate, float]:
            s = np.random.default_rng([seed, dim]).normal(size=(n, dim))
            found, variance = estimate(s, variance_for(mi, dim))
            return found, dim / 2 * math.log1p(1 / variance)

        return case

    return of


def noisy_classes(
    estimate: Callable[[np.ndarray, np.ndarray, float], tuple[Estimate, float]], n: int
) -> list[Line]:
    """I(T;Y) of T = S + N(0, σ²), where σ² is a tenth of the variance of T within a class."""

    def of(dim: int) -> Case:
        def case(mi: float, seed: int) -> tuple[Estimate, float]:
            mean = mean_of(mi / 2)
            s, y = class_samples(n, dim, mean, 1 - SHARE, seed)
            found, variance = estimate(s, y, SHARE)
            return found, 2 * of_bit(mean, 1 - SHARE + variance)

        return case

    return [Line(f"d = {dim}", CLASSES, of(dim)) for dim in DIMS]


def kde(n: int, make: Callable[[np.ndarray, float, str], Any]) -> Figure:
    def bound(kind: str) -> Any:
        def estimate(s: np.ndarray, variance: float) -> tuple[Estimate, float]:
            made = make(s, variance, kind)
            return made.estimate(s).xt, made.kernel_variance(s)

        return channel(estimate, n)

    def labels(s: np.ndarray, y: np.ndarray, variance: float) -> tuple[Estimate, float]:
        made = make(s, variance, "upper")
        return made.estimate(s, y=y).ty, made.kernel_variance(s)

    lines = [
        Line(f"d = {dim}, {kind}", NOISY, bound(kind)(dim))
        for dim, kind in itertools.product((2, 10), ("upper", "lower"))
    ]
    return Figure({"I(X;T+N), T normal": lines, CLASS_TITLE: noisy_classes(labels, n)}, n, 4)


def adaptive(s: np.ndarray, variance: float, kind: Any) -> Any:
    return ib.estimators.AdaptiveKDE(scale=variance / float(np.abs(s).max()), kind=kind)


def propagated(n: int) -> Figure:
    sp = ib.estimators.SamplePropagation()

    def first(s: np.ndarray, variance: float) -> tuple[Estimate, float]:
        return sp.estimate(s, noise_std=math.sqrt(variance)).xt, variance

    def labels(s: np.ndarray, y: np.ndarray, variance: float) -> tuple[Estimate, float]:
        return sp.estimate(s, y=y, noise_std=math.sqrt(variance)).ty, variance

    def second(mi: float, seed: int) -> tuple[Estimate, float]:
        """T₂ = X + Z₁ + Z₂ with X given for the propagations of Z₁."""
        dim, inputs, times = 2, 256, 64
        rng = np.random.default_rng([seed, 2])
        x = rng.normal(size=(n, dim))
        std = math.sqrt(variance_for(mi, dim) / 2)
        rows = rng.choice(n, inputs, replace=False)
        again = x[rows, None] + std * rng.normal(size=(inputs, times, dim))
        s = x + std * rng.normal(size=x.shape)
        found = sp.estimate(s, x=x, noise_std=std, conditional=again, conditional_rows=rows)
        return found.xt, mi

    lines = [Line(f"first layer, d = {d}", NOISY, channel(first, n)(d)) for d in DIMS]
    lines.append(Line("second layer, d = 2", NOISY, second))
    return Figure({"I(X;T), T normal + noise": lines, CLASS_TITLE: noisy_classes(labels, n)}, n, 4)


# Images.


def images(n: int) -> list[Line]:
    """I(X;Y) of pairs of 16×16 images by PCA, and of the numbers from which they were drawn."""

    def of(draw: Any, k: int) -> Case:
        estimator = ib.estimators.LossyCompression(k=k, neighbors=1)
        return lambda mi, seed: (
            estimator.mutual_information(*draw(n, 16, mi, rotate=False, seed=seed)), mi
        )  # fmt: skip

    def latents(dim: int) -> Case:
        rows = round(n * (1 - ib.estimators.LossyCompression().fit_share))
        return pairs(
            ib.estimators.KSG(1).mutual_information, rows, synthetic.correlated_uniforms, dim=dim
        )

    return [
        Line("blobs, PCA 3", PAIRS, of(synthetic.gaussian_images, 3)),
        Line("blobs' 2 parameters", PAIRS, latents(2)),
        Line("rectangles, PCA 5", PAIRS, of(synthetic.rectangle_images, 5)),
        Line("rectangles' 4 parameters", PAIRS, latents(4)),
    ]


SHAPES = np.array([[0] * 9, [1] * 9, [0, 1] * 4 + [0], [1, 1, 1, 0, 0, 0, 1, 1, 1]])
FLIP = 0.05


def decoded(n: int) -> Figure:
    """Noisy 3×3 images of four patterns; h names the pattern of the image, or a random one."""
    decoder = ib.estimators.DecoderBound(
        levels=2, filters=16, stages=1, mixtures=2, dropout=0.1, epochs=20, patience=8,
        learning_rate=8e-3,
    )  # fmt: skip

    def truth(right: float) -> float:
        every = np.array(list(itertools.product([0, 1], repeat=9)))
        wrong = (every[:, None] != SHAPES).sum(axis=2)
        of_pattern = FLIP**wrong * (1 - FLIP) ** (9 - wrong) / 4
        told = right * np.eye(4) + (1 - right) / 4
        joint = of_pattern @ told
        return float((joint * np.log(4 * joint / joint.sum(axis=1, keepdims=True))).sum())

    def case(right: float, seed: int) -> tuple[Estimate, float]:
        rng = np.random.default_rng([seed, 9])
        pattern = rng.integers(0, 4, n)
        x = (SHAPES[pattern] ^ (rng.uniform(size=(n, 9)) < FLIP)).reshape(n, 3, 3, 1)
        told = np.where(rng.uniform(size=n) < right, pattern, rng.integers(0, 4, n))
        return dataclasses.replace(decoder, seed=seed).estimate(np.eye(4)[told], x=x).xt, truth(
            right
        )

    def labels(t: np.ndarray, y: np.ndarray) -> Estimate:
        cut = 2 * len(t) // 3
        return decoder.labels((t[:cut], y[:cut]), (t[cut:], y[cut:]), classes=4)

    return Figure(
        {
            "Î(X;T), T a pattern's name": [Line("3×3 images of 4 patterns", (0.0, 0.7, 1.0), case)],
            CLASS_TITLE: classes(labels, n, (2, 10), (0.0, 1.0)),
        },
        n,
        1,
    )


PAIR_TITLE = "I(A;B), normal"
CLASS_TITLE = "I(T;Y), 4 classes"
OTHER_TITLE = "I(A;B), not normal, d = 2 + 2"
CODE_TITLE = "I(X;T) = H(T), K patterns"


def figures() -> dict[str, Callable[[], Figure]]:
    """Return name of an estimator → the function that makes its figure."""

    def plug_in(name: str) -> Figure:
        made: Any = ib.estimators.get(name)
        return Figure(
            {CODE_TITLE: patterns(made, 1000), CLASS_TITLE: classes(of_layer(made), 1000)}
        )

    def neighbours(name: str) -> Figure:
        made: Any = ib.estimators.get(name)
        return Figure({
            PAIR_TITLE: gaussian_pairs(made.mutual_information, 1000),
            CLASS_TITLE: classes(made.with_labels, 1000),
        })  # fmt: skip

    def critic(name: str) -> Figure:
        # With smaller networks, fewer steps and smaller batches than by default, a point takes
        # seconds instead of a minute.
        made: Any = ib.estimators.get(name, hidden=(64, 64), steps=500, batch_size=64)
        return Figure(
            {
                PAIR_TITLE: gaussian_pairs(made.mutual_information, 2000, (0.0, 2.0, 5.0), (2, 10)),
                CLASS_TITLE: classes(made.with_labels, 2000, (2, 10), (0.0, 1.0)),
            },
            2000,
            1,
        )

    def quantized() -> Figure:
        made = ib.estimators.Quantized(bits=4)
        return Figure(
            {CODE_TITLE: patterns(made, 1000, 16), CLASS_TITLE: quantised_classes(made, 1000, 16)}
        )

    def gaussian() -> Figure:
        estimate, ranks = (
            ib.estimators.Gaussian(copula=copula).mutual_information for copula in (False, True)
        )
        wide = [Line("d = 50 + 50", PAIRS, pairs(estimate, 1000, dim=50))]
        uniform = pairs(ranks, 1000, synthetic.smoothed_uniforms, dim=2)
        grid = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
        return Figure({
            PAIR_TITLE: [*gaussian_pairs(estimate, 1000, dims=(2, 10)), *wide],
            OTHER_TITLE: [
                *other_pairs(estimate, 1000, grid), Line("uniform …, copula", grid, uniform)
            ],
        })  # fmt: skip

    def flow() -> Figure:
        # A smaller network than by default, and fewer steps.
        made = ib.estimators.NormalizingFlow(hidden=(32,), layers=1, steps=500)
        return Figure(
            {
                OTHER_TITLE: other_pairs(made.mutual_information, 2000, (1.0, 5.0, 10.0)),
                CLASS_TITLE: classes(made.with_labels, 2000, (2, 10), (0.0, 1.0)),
            },
            2000,
            1,
        )

    def lossy() -> Figure:
        made = ib.estimators.LossyCompression()
        return Figure(
            {"I(X;Y) of images": images(2000),
             CLASS_TITLE: classes(made.with_labels, 2000, (2, 10, 50))},
            2000, 2,
        )  # fmt: skip

    def renyi() -> Figure:
        of_width = {
            width: ib.estimators.MatrixRenyi(width=width).mutual_information  # type: ignore[arg-type]
            for width in ("neighbors", 1.0)
        }
        lines = [
            Line(f"d = {d} + {d}, width {width}", PAIRS, pairs(estimate, 600, dim=d))
            for (width, estimate), d in itertools.product(of_width.items(), (2, 10))
        ]
        aligned = ib.estimators.MatrixRenyi()
        return Figure({PAIR_TITLE: lines, CLASS_TITLE: classes(aligned.with_labels, 600)}, 600, 4)

    def sliced() -> Figure:
        made = ib.estimators.Sliced()
        return Figure({
            "SI(A;B), normal": sliced_pairs(600),
            CLASS_TITLE: classes(made.with_labels, 600, grid=(0.0, 0.5, 1.0)),
        }, 600, 6)  # fmt: skip

    def any_pair() -> Figure:
        # Critics take a minute for a point, and add nothing for normal variables.
        quick = functools.partial(ib.mutual_information, budget="fast")
        return Figure({
            f"{PAIR_TITLE}, without critics": gaussian_pairs(quick, 1000),
            OTHER_TITLE: other_pairs(ib.mutual_information, 1000, (1.0, 3.0)),
        }, repeats=1)  # fmt: skip

    def ten() -> Figure:
        """Ten estimators of the same pairs, for the page of all estimators."""
        small = {"hidden": (64, 64), "steps": 500, "batch_size": 64}
        rows, grid = 5000, (0.0, 1.0, 2.0, 5.0, 10.0)
        made = {
            name: ib.estimators.get(name) for name in ("gaussian", "ksg", "kl", "sliced", "renyi")
        }
        trained = {
            **{name: ib.estimators.get(name, **small) for name in ("mine", "nwj", "infonce")},
            "flow": ib.estimators.NormalizingFlow(hidden=(32,), layers=1, steps=500),
        }
        quick = functools.partial(ib.mutual_information, budget="fast")

        def lines(estimators: dict[str, Any]) -> list[Line]:
            return [
                Line(name, grid, rotated_pairs(estimate, rows))
                for name, estimate in estimators.items()
            ]

        by_rows = {name: one.mutual_information for name, one in made.items()}
        by_training = {name: one.mutual_information for name, one in trained.items()}
        return Figure(
            {
                "closed forms and neighbours": lines({**by_rows, "mutual_information": quick}),
                "trained": lines(by_training),
            },
            rows,
            1,
        )

    return {
        "akde": lambda: kde(1000, adaptive),
        "binning": lambda: plug_in("binning"),
        "decoder": lambda: decoded(900),
        "ebab": lambda: plug_in("ebab"),
        "flow": flow,
        "gaussian": gaussian,
        "infonce": lambda: critic("infonce"),
        "kde": lambda: kde(1000, lambda _, variance, kind: ib.estimators.KDE(variance, kind)),  # type: ignore[arg-type]
        "kl": lambda: neighbours("kl"),
        "ksg": lambda: neighbours("ksg"),
        "lossy": lossy,
        "mine": lambda: critic("mine"),
        "mutual_information": any_pair,
        "nwj": lambda: critic("nwj"),
        "quantized": quantized,
        "renyi": renyi,
        "sliced": sliced,
        "sp": lambda: propagated(1000),
        "ten": ten,
    }


def measure(name: str) -> pd.DataFrame:
    """A row for each point of each line of one estimator's figure."""
    return pd.DataFrame(_rows(name, figures()[name]()), columns=COLUMNS)


def _rows(name: str, figure: Figure) -> Iterator[tuple[Any, ...]]:
    for panel, lines in figure.panels.items():
        for line, point in ((one, point) for one in lines for point in one.grid):
            found = [line.case(point, seed) for seed in range(figure.repeats)]
            values = np.array([estimate.value for estimate, _ in found])
            spread = values.std(ddof=1) if len(values) > 1 else found[0][0].stderr
            flags = {flag for estimate, _ in found for flag in estimate.flags} - ALWAYS
            truth = float(np.mean([known for _, known in found]))
            yield (
                name, panel, line.label, round(truth, 4), round(float(values.mean()), 4),
                round(float(spread), 4), " ".join(sorted(flags)), figure.n, figure.repeats,
            )  # fmt: skip


def _read(table: pathlib.Path) -> pd.DataFrame:
    return pd.read_csv(table).fillna({"flags": ""})


def draw(rows: pd.DataFrame, path: pathlib.Path) -> None:
    """Draw estimates against the truth, a line for each kind of samples.

    A marker is hollow if at least one of its estimates was flagged.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    style = {
        "svg.hashsalt": "bias", "svg.fonttype": "none", "font.size": 9,
        "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
        "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "legend.fontsize": 8,
    }  # fmt: skip
    with mpl.rc_context(style):
        panels = list(dict.fromkeys(rows["panel"]))
        drawing = Drawing(figsize=(3.7 * len(panels), 3.6), layout="constrained")
        for axes, panel in zip(drawing.subplots(1, len(panels)), panels, strict=True):
            part = rows[rows["panel"] == panel]
            top = part["truth"].max()
            axes.plot([0, top], [0, top], color="0.6", linewidth=1, zorder=1)
            colours = mpl.colormaps["viridis"](np.linspace(0, 0.8, part["line"].nunique()))
            lines = part.groupby("line", sort=False)
            for (label, line), colour, marker in zip(lines, colours, itertools.cycle("osD^v")):
                axes.errorbar(
                    line["truth"], line["value"], yerr=line["spread"].fillna(0), label=label,
                    color=colour, marker=marker, markersize=4.5, linewidth=1.3,
                )  # fmt: skip
                flagged = line[line["flags"] != ""]
                axes.plot(
                    flagged["truth"], flagged["value"], linestyle="none", marker=marker,
                    markersize=4.5, color=colour, markerfacecolor="white", zorder=4,
                )  # fmt: skip
            # The axis is cut, because values that are far off would hide the others.
            low, high = part["value"].min(), part["value"].max()
            axes.set_ylim(max(min(low, 0), -top / 2) - 0.07 * top, min(high, 1.6 * top) + 0.1 * top)
            axes.set_title(panel, fontsize=9)
            axes.set(xlabel="true information [nats]", ylabel="estimate [nats]")
            axes.legend(loc="best")
        drawing.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(figures())}")
    parser.add_argument("--draw", action="store_true", help="only draws what was measured before")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(figures())
    if unknown:
        parser.error(f"unknown names {sorted(unknown)}. Expected some of {list(figures())}")
    table = FOLDER / "bias.csv"
    for name in given.names or figures():
        if not given.draw:
            start = time.perf_counter()
            rows = measure(name)
            # Read again here, because another process may have written to the file meanwhile.
            others = _read(table) if table.exists() else rows[:0]
            rows = pd.concat([others[others["name"] != name], rows])
            rows.sort_values("name", kind="stable").to_csv(table, index=False)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        measured = _read(table)
        draw(measured[measured["name"] == name], FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
