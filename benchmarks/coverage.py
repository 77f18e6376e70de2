"""How often the stated errors hold: 95 % intervals of many repetitions against the known truth.

``python -m benchmarks.coverage`` rewrites the table in docs/reliability.md between its markers.
With names of estimators as arguments, only these are run, and their rows are only printed.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.stats import beta, norm

import ib_keras as ib
from ib_keras import estimators, synthetic
from ib_keras.estimators import (
    KSG,
    DecoderBound,
    Gaussian,
    KozachenkoLeonenko,
    SamplePropagation,
    Sliced,
)
from ib_keras.estimators.propagation import mixture_entropy
from ib_keras.interface import Estimate, MutualInformation

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
MARKERS = "<!-- coverage: written by benchmarks/coverage.py -->", "<!-- end of coverage -->"
# Numbers of repetitions: of estimators that take milliseconds, and of others.
MANY, REPETITIONS = 1000, 200
# Half the width of a 95 % interval in standard errors, and the least share that must hold.
WIDTH, GOAL = 1.96, 0.9


@dataclasses.dataclass(frozen=True)
class Problem:
    """Samples of known information, and an estimator within its stated range.

    Args:
        estimator: the name of the estimator in the table.
        samples: a description of the samples.
        truth: the true value in nats, or a function that computes it.
        run: function of a seed that returns an estimate.
        repetitions: the number of repetitions, with the seeds 0, 1, ….
    """

    estimator: str
    samples: str
    truth: float | Callable[[], float]
    run: Callable[[int], Estimate]
    repetitions: int = REPETITIONS


def holds(found: Estimate, truth: float) -> bool:
    """Whether the interval covers the truth, or the truth is on the right side of a bound."""
    if isinstance(found, MutualInformation) and math.isfinite(found.lower) and not found.details:
        return found.lower <= truth <= found.upper
    if found.kind == "lower":
        return found.value - WIDTH * found.stderr <= truth
    if found.kind == "upper":
        return found.value + WIDTH * found.stderr >= truth
    return abs(found.value - truth) <= WIDTH * found.stderr


def of_gaussians(made: Any, name: str, n: int, dim: int, mi: float, **more: Any) -> Problem:
    """Correlated normal pairs."""

    def run(seed: int) -> Estimate:
        return made.mutual_information(*synthetic.correlated_gaussians(n, dim, mi, seed=seed))

    return Problem(name, f"normal, n = {n}, d = {dim} + {dim}", mi, run, **more)


def of_embedded(made: Any, name: str, n: int, dim: int, mi: float, **more: Any) -> Problem:
    """Correlated normal pairs in ``dim`` random directions of 50 values."""
    rng = np.random.default_rng(0)
    turns = [np.linalg.qr(rng.normal(size=(50, dim)))[0].T for _ in range(2)]

    def run(seed: int) -> Estimate:
        pair = synthetic.correlated_gaussians(n, dim, mi, seed=seed)
        return made.mutual_information(*(v @ turn for v, turn in zip(pair, turns, strict=True)))

    return Problem(name, f"normal, n = {n}, d = {dim} + {dim}, in 50 + 50 values", mi, run, **more)


def mixture_information(centres: np.ndarray, std: float) -> float:
    """I(C;T) of T = c + N(0, std²), c uniform on the centres, by quadrature."""
    noise = 0.5 * math.log(2 * math.pi * math.e * std**2)
    return density_entropy(lambda t: norm.pdf(t, centres, std).mean(), centres, std) - noise


def density_entropy(density: Callable[[float], float], centres: np.ndarray, std: float) -> float:
    """−∫ p ln p over the centres' range and ten standard deviations around it."""

    def term(t: float) -> float:
        p = density(t)
        return -p * math.log(p) if p > 0 else 0.0

    low, high = centres.min() - 10 * std, centres.max() + 10 * std
    return quad(term, low, high, limit=500, points=np.unique(centres))[0]


def of_classes(made: Any, name: str, n: int, apart: float) -> Problem:
    """Two equally likely classes, normal at two places: I(T;Y)."""
    centres = np.array([0.0, apart])

    def run(seed: int) -> Estimate:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, n)
        found = made.with_labels(centres[y, None] + rng.normal(size=(n, 1)), y)
        return found

    truth = mixture_information(centres, 1.0)
    return Problem(name, f"2 classes, {apart:g} apart, n = {n}: I(T;Y)", truth, run)


def of_channel(std: float) -> Problem:
    """Eight inputs behind Gaussian noise; the repetitions differ only in the draws."""
    centres = np.tanh(np.linspace(-2, 2, 8))

    def run(seed: int) -> Estimate:
        made = SamplePropagation(seed=seed)
        return made.estimate(np.repeat(centres, 4)[:, None], noise_std=std,
                             x=np.repeat(np.arange(8), 4)).xt  # fmt: skip

    return Problem("sp", f"8 inputs, β = {std:g}", mixture_information(centres, std), run)


def of_chain(std: float, inputs: int = 6, times: int = 64) -> Problem:
    """T = tanh(2(x + z)) + z' of a few inputs, all propagated repeatedly: S is random given X."""
    x = np.linspace(-1, 1, inputs)

    def truth() -> float:
        # The first noise on a fine grid of its quantiles; I as the mean gain of ln p(t|x).
        z = norm.ppf((np.arange(500) + 0.5) / 500) * std
        t = np.linspace(-1 - 8 * std, 1 + 8 * std, 4001)
        given = np.stack(
            [norm.pdf(t[:, None], np.tanh(2 * (one + z)), std).mean(axis=1) for one in x]
        )
        gain = given * np.log(np.maximum(given, 1e-300) / np.maximum(given.mean(axis=0), 1e-300))
        return float(gain.sum() * (t[1] - t[0]) / inputs)

    def run(seed: int) -> Estimate:
        rng = np.random.default_rng([seed, 1])
        drawn = np.tanh(2 * (x[:, None] + std * rng.normal(size=(inputs, times))))
        made = SamplePropagation(seed=seed)
        return made.estimate(
            drawn[:, :1], x=x[:, None], noise_std=std, conditional=drawn[:, :, None]
        ).xt

    samples = f"{inputs} inputs behind two noises, β = {std:g}, n_x = {times}"
    return Problem("sp", samples, truth, run)


def of_declared(n: int, dim: int, bound: str = "") -> Problem:
    """Z = WX + diag(σ)ε of normal X, a layer that declares its distribution."""
    rng = np.random.default_rng(dim)
    w, sigma = rng.normal(size=(dim, dim)) / math.sqrt(dim), np.exp(rng.uniform(-1, 1, size=dim))
    truth = np.linalg.slogdet(np.eye(dim) + w @ w.T / sigma[:, None] ** 2)[1] / 2

    def run(seed: int) -> Estimate:
        means = np.random.default_rng([dim, seed]).normal(size=(n, dim)) @ w.T
        found = SamplePropagation(seed=seed).estimate(means, scale=np.tile(sigma, (n, 1)))
        return found.others[f"I(X;T) {bound}"] if bound else found.xt

    return Problem("sp", f"linear-Gaussian, declared, n = {n}, d = {dim}", truth, run)


def of_entropy(std: float) -> Problem:
    """The entropy of a mixture of five normal densities."""
    centres = np.array([-1.0, -0.2, 0.0, 0.5, 1.0])
    truth = density_entropy(lambda t: norm.pdf(t, centres, std).mean(), centres, std)
    return Problem(
        "mixture_entropy",
        f"5 centres, β = {std:g}",
        truth,
        lambda seed: mixture_entropy(centres[:, None], std, seed=seed),
    )


def of_normal_entropy(made: Any, name: str, n: int, dim: int) -> Problem:
    """The differential entropy of a normal vector."""
    truth = dim / 2 * math.log(2 * math.pi * math.e)
    return Problem(
        name,
        f"normal, n = {n}, d = {dim}: h",
        truth,
        lambda seed: made.entropy(np.random.default_rng(seed).normal(size=(n, dim))),
    )


def of_slices(n: int, dim: int, rho: float, repetitions: int) -> Problem:
    """Sliced information of normal variables whose pairs of coordinates have this correlation."""

    def truth() -> float:
        shape = (dim - 1) / 2  # half of the cosine of two random directions, plus ½, is Beta
        return quad(
            lambda u: -0.5 * math.log1p(-((rho * (2 * u - 1)) ** 2)) * beta.pdf(u, shape, shape),
            0, 1,
        )[0]  # fmt: skip

    def run(seed: int) -> Estimate:
        a, noise = np.random.default_rng(seed).normal(size=(2, n, dim))
        made = Sliced(projections=32, seed=seed)
        return made.mutual_information(a, rho * a + math.sqrt(1 - rho**2) * noise)

    samples = f"normal, ρ = {rho}, n = {n}, d = {dim} + {dim}: SI"
    return Problem("sliced(projections=32)", samples, truth, run, repetitions)


def of_any(n: int, dim: int, mi: float, neural: bool) -> Problem:
    """``mutual_information``, with its own interval."""
    return Problem(
        "mutual_information" + ("" if neural else "(neural=False)"),
        f"normal, n = {n}, d = {dim} + {dim}",
        mi,
        lambda seed: ib.mutual_information(
            *synthetic.correlated_gaussians(n, dim, mi, seed=seed), neural=neural, seed=seed
        ),
    )


def of_pixels(n: int) -> Problem:
    """A decoder of images of four bits that is given one of the bits."""

    def run(seed: int) -> Estimate:
        x = np.random.default_rng(seed).integers(0, 2, (n, 2, 2, 1))
        made = DecoderBound(levels=2, filters=8, stages=1, mixtures=1, dropout=0.0,
                            learning_rate=1e-2, ema_momentum=0.9, seed=seed)  # fmt: skip
        return made.estimate(x[:, 0, 0] + 0.0, x=x).xt

    return Problem("decoder", f"1 of 4 bits, n = {n}", math.log(2), run)


def problems() -> list[Problem]:
    """All problems, the cheap ones first."""
    found = [
        *(of_gaussians(Gaussian(), "gaussian", 500, d, mi)
          for d, mi in ((1, 0.0), (1, 0.5), (1, 2.0), (5, 1.0), (20, 3.0))),
        *(of_gaussians(Gaussian(copula=True), "gaussian(copula)", 1000, 1, mi)
          for mi in (0.0, 1.0)),
        *(of_gaussians(KSG(), "ksg", 1000, d, mi, repetitions=MANY)
          for d, mi in ((1, 0.0), (1, 0.5), (1, 1.0), (2, 0.5))),
        of_gaussians(KSG(metric="euclidean"), "ksg(euclidean)", 1000, 2, 0.5),
        of_classes(KSG(), "ksg", 1000, 2.0),
        *(of_gaussians(KozachenkoLeonenko(), "kl", 1000, 1, mi, repetitions=MANY)
          for mi in (0.5, 1.0)),
        of_classes(KozachenkoLeonenko(), "kl", 1000, 2.0),
        of_normal_entropy(KozachenkoLeonenko(), "kl", 1000, 2),
        *(of_normal_entropy(KozachenkoLeonenko(k, weighted=True), f"kl(weighted, k={k})", 2000, d)
          for k, d in ((5, 4), (10, 4), (10, 5), (60, 5))),
        of_embedded(estimators.get("pca+ksg", k=1), "pca+ksg", 2000, 1, 0.5),
        of_entropy(0.2), of_channel(0.05), of_channel(0.3), of_channel(2.0), of_chain(0.3),
        of_declared(1000, 2), of_declared(1000, 4), of_declared(1000, 4, "upper"),
        of_declared(1000, 4, "lower"),
        *(of_slices(300, d, rho, 100) for d, rho in ((2, 0.9), (5, 0.0), (5, 0.95))),
        of_any(1000, 1, 0.5, False), of_any(1000, 3, 1.0, False),
        *(of_gaussians(estimators.get(name, hidden=(32,), steps=300, batch_size=32,
                                      learning_rate=3e-3), name, 500, 1, mi)
          for name in ("mine", "nwj", "infonce") for mi in (0.0, 0.5)),
        of_pixels(600), of_any(1000, 2, 1.0, True),
    ]  # fmt: skip
    return found


def measure(problem: Problem) -> list[str]:
    """A row of the table."""
    truth = problem.truth() if callable(problem.truth) else problem.truth
    found = [problem.run(seed) for seed in range(problem.repetitions)]
    values, errors = np.array([f.value for f in found]), np.array([f.stderr for f in found])
    covered = float(np.mean([holds(f, truth) for f in found]))
    bound = {"lower": "lower bound", "upper": "upper bound"}.get(found[0].kind, "interval")
    return [
        f"`{problem.estimator}`", problem.samples, f"{truth:.3f}",
        f"{values.mean():.3f}", f"{values.std(ddof=1):.3f}", f"{errors.mean():.3f}", bound,
        f"{problem.repetitions}", f"{100 * covered:.0f} %" + ("" if covered >= GOAL else " (!)"),
    ]  # fmt: skip


HEADER = ["estimator", "samples", "truth", "mean", "spread", "mean stderr", "what is stated",
          "repetitions", "holds"]  # fmt: skip


def write(rows: list[list[str]]) -> None:
    """Write the table between the markers of the document."""
    lines = [f"| {' | '.join(row)} |" for row in (HEADER, ["---"] * len(HEADER), *rows)]
    text = DOCUMENT.read_text()
    head, rest = text.split(MARKERS[0])
    tail = rest.split(MARKERS[1])[1]
    body = "\n".join(lines)
    DOCUMENT.write_text(f"{head}{MARKERS[0]}\n\n{body}\n\n{MARKERS[1]}{tail}")


def main(names: list[str]) -> None:
    """Measure all estimators, or those of these names, and print each row when it is done."""
    rows = []
    for problem in problems():
        if names and problem.estimator not in names:
            continue
        rows.append(measure(problem))
        print(" | ".join(rows[-1]), flush=True)
    if not names:
        write(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
