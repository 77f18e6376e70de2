"""mutual_information on pairs of known information: tasks, families, labels, counts, independence.

    python -m benchmarks.known_pairs tasks families          # some groups; all without an argument
    python -m benchmarks.known_pairs tasks --rows 500 5000 --budget fast --seeds 10
    python -m benchmarks.known_pairs --folder build/known_pairs   # goes on where it was stopped

Each estimate is a line of a file of JSON lines in the folder. The table in
docs/estimators/mutual_information.md is rewritten between its markers from all lines of the folder.
A pair is missed if its information is outside the interval and there is no flag.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import digamma, gammaln, ndtr

import ib_keras as ib
from benchmarks._records import Records, replace
from ib_keras import synthetic

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "estimators" / "mutual_information.md"
MARKERS = "<!-- written by benchmarks/known_pairs.py -->", "<!-- end of known pairs -->"
FAMILIES = {
    "normal": synthetic.correlated_gaussians,
    "uniform": synthetic.correlated_uniforms,
    "smoothed uniform": synthetic.smoothed_uniforms,
    "Student": synthetic.student_t,
    "log-gamma": synthetic.log_gamma_exponential,
}
NATS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
DIMS = (1, 2, 4, 8, 16)


class Case(NamedTuple):
    """A pair of known information.

    Args:
        group: the kind of pair.
        name: the distribution and its dimension.
        truth: I(A;B) in nats.
        draw: function of the number of rows and a seed.
    """

    group: str
    name: str
    truth: float
    draw: Callable[[int, int], tuple[Any, Any]]


def rotated(pair: tuple[np.ndarray, np.ndarray], seed: int) -> list[np.ndarray]:
    """Rotate both variables at random."""
    rng = np.random.default_rng([seed, 1])
    return [v @ np.linalg.qr(rng.normal(size=(v.shape[1],) * 2))[0] for v in pair]


def families() -> Iterator[Case]:
    """Yield the families of ``synthetic``, rotated, in 1 to 16 dimensions."""
    for dim in DIMS:
        for mi in NATS:
            for name, family in FAMILIES.items():
                try:
                    family(2, dim, mi or 1.0, seed=0)
                except ValueError:  # the family has no pair with this information
                    continue

                def draw(n: int, seed: int, family: Any = family, dim: int = dim, mi: float = mi):
                    a, b = rotated(family(n, dim, mi or 1.0, seed=seed), seed)
                    return (a, b) if mi else (a, b[np.random.default_rng(seed).permutation(n)])

                yield Case("families", f"{name}, {dim} + {dim}", mi, draw)


def _student_extra(dof: float, dim: int) -> float:
    def c(d: float) -> float:
        return float(gammaln(d / 2) - d / 2 * digamma(d / 2))

    return c(dof) + c(dof + 2 * dim) - 2 * c(dof + dim)


def _spiral(x: np.ndarray, speed: float = 1 / 3) -> np.ndarray:
    """Rotate the first two coordinates by an angle in proportion to the squared length."""
    angle = speed * np.square(x).sum(axis=1)
    out = x.copy()
    out[:, 0] = np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1]
    out[:, 1] = np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1]
    return out


def tasks() -> Iterator[Case]:
    """Yield tasks as in the benchmark of Czyż et al. (2023), drawn here from their definitions."""

    def normal(cov: np.ndarray, dim: int) -> tuple[float, Callable[[int, int], Any]]:
        def log_det(c: np.ndarray) -> float:
            return float(np.linalg.slogdet(c)[1])

        parts = log_det(cov[:dim, :dim]) + log_det(cov[dim:, dim:]) - log_det(cov)
        factor = np.linalg.cholesky(cov)

        def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
            z = np.random.default_rng(seed).normal(size=(n, len(cov))) @ factor.T
            return z[:, :dim], z[:, dim:]

        return 0.5 * parts, draw

    def sparse(dim: int, pairs: int = 2, rho: float = 0.8) -> np.ndarray:
        cov = np.eye(2 * dim)
        for i in range(pairs):
            cov[i, dim + i] = cov[dim + i, i] = rho
        return cov

    def mapped(f: Callable, of: Callable) -> Callable[[int, int], Any]:
        return lambda n, seed: tuple(f(v) for v in of(n, seed))

    def half_cube(x: np.ndarray) -> np.ndarray:
        return x * np.sqrt(np.abs(x))

    def bimodal(x: np.ndarray) -> np.ndarray:
        grid = np.linspace(-12, 12, 20001)
        cdf = 0.3 * ndtr(grid) + 0.7 * ndtr(grid - 5)
        return np.interp(ndtr(x), cdf, grid)

    def dense(dim: int, off: float = 0.5) -> np.ndarray:
        return np.full((2 * dim, 2 * dim), off) + (1 - off) * np.eye(2 * dim)

    one = np.array([[1, 0.75], [0.75, 1]])
    truth, draw = normal(one, 1)
    yield Case("tasks", "normal, 1 + 1", truth, draw)
    yield Case("tasks", "bimodal, 1 + 1", truth, mapped(bimodal, draw))
    yield Case("tasks", "half-cube normal, 1 + 1", truth, mapped(half_cube, draw))

    def additive(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-0.1, 0.1, size=(n, 1))

    yield Case("tasks", "uniform with noise 0.1, 1 + 1", 0.1 - math.log(0.2), additive)
    for dim in (2, 5, 50):
        truth, draw = normal(dense(dim), dim)
        yield Case("tasks", f"dense normal, {dim} + {dim}", truth, draw)
    for dim in (3, 5, 25):
        truth, draw = normal(sparse(dim), dim)
        yield Case("tasks", f"sparse normal, {dim} + {dim}", truth, draw)
        yield Case("tasks", f"normal cdf of it, {dim} + {dim}", truth, mapped(ndtr, draw))
        yield Case("tasks", f"half-cube of it, {dim} + {dim}", truth, mapped(half_cube, draw))
        yield Case("tasks", f"spiral of it, {dim} + {dim}", truth, mapped(_spiral, draw))
    for dim, dof in ((1, 1), (2, 2), (3, 3), (5, 3)):
        truth = _student_extra(dof, dim)

        def student(n: int, seed: int, dim: int = dim, dof: int = dof, mi: float = truth):
            return synthetic.student_t(n, dim, mi * (1 + 1e-12), dof=dof, seed=seed)

        yield Case("tasks", f"Student, dof {dof}, {dim} + {dim}", truth, student)
        if dim in (1, 3):
            yield Case("tasks", f"asinh of it, {dim} + {dim}", truth, mapped(np.arcsinh, student))


def labels() -> Iterator[Case]:
    """Yield labels against numbers: classes that are apart along one of the axes, rotated."""
    for dim in (1, 2, 5, 20, 100):
        for classes in (2, 10):
            for apart in (0.0, 0.5, 2.0, 6.0):
                for warped in (False, True):

                    def draw(n, seed, dim=dim, classes=classes, apart=apart, warped=warped):
                        rng = np.random.default_rng(seed)
                        y = rng.integers(0, classes, n)
                        a = rng.normal(size=(n, dim))
                        a[:, 0] += apart * y
                        a = rotated((a,), seed)[0]
                        return (np.sinh(a) if warped else a), y

                    means = apart * np.arange(classes)
                    bent = ", warped" if warped else ""
                    yield Case("labels", f"{classes} classes, {dim}{bent}", _of_means(means), draw)


def _of_means(means: np.ndarray) -> float:
    grid = np.linspace(means.min() - 9, means.max() + 9, 20001)
    each = stats.norm.pdf(grid, means[:, None])
    mixture = each.mean(axis=0)
    logs = np.log(np.maximum(each, 1e-300)) - np.log(np.maximum(mixture, 1e-300))
    return max(0.0, float(np.trapezoid((each * logs).mean(axis=0), grid)))


def counts() -> Iterator[Case]:
    """Yield integers, atoms with a density, and categories, against numbers and each other."""
    for rho in (0.0, 0.5, 0.8, 0.99):
        truth = -0.5 * math.log1p(-(rho**2))

        def draw(n: int, seed: int, rho: float = rho) -> tuple[np.ndarray, np.ndarray]:
            x, e = np.random.default_rng(seed).normal(size=(2, n))
            return x, rho * x + math.sqrt(1 - rho**2) * e

        for step in (0.001, 0.01, 0.05):

            def whole(n, seed, step=step, of=draw):
                return tuple(np.round(v / step).astype(int) for v in of(n, seed))

            yield Case("counts", f"integers, step {step}", truth, whole)

            def half(n, seed, of=whole):
                a, b = of(n, seed)
                return a, b.astype(float) + np.random.default_rng(seed + 1).uniform(-0.5, 0.5, n)

            yield Case("counts", f"integers and numbers, step {step}", truth, half)
    grid = np.linspace(-12, 12, 40001)
    for noise in (0.2, 0.5, 2.0):
        density = 0.3 * stats.norm.pdf(grid, 0, noise)
        density = density + 0.7 * stats.norm.pdf(grid, 0, math.hypot(1, noise))
        entropy = -float(np.trapezoid(density * np.log(np.maximum(density, 1e-300)), grid))
        truth = entropy - 0.5 * math.log(2 * math.pi * math.e) - math.log(noise)

        def atoms(n: int, seed: int, noise: float = noise) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng(seed)
            x = np.where(rng.uniform(size=n) < 0.3, 0, rng.normal(size=n))
            return x, x + noise * rng.normal(size=n)

        yield Case("counts", f"zeros and a density, noise {noise}", truth, atoms)
    for k in (2, 10, 40):
        kept = 0.6 + 0.4 / k
        truth = math.log(k) + kept * math.log(kept)
        truth += 0.4 * (k - 1) / k * math.log(0.4 / k)

        def same(n: int, seed: int, k: int = k) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng(seed)
            a = rng.integers(0, k, n)
            b = np.where(rng.uniform(size=n) < 0.6, a, rng.integers(0, k, n))
            return a.astype(str), b.astype(str)

        yield Case("counts", f"{k} categories", truth, same)


VARIABLES: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "normal, 3": lambda rng, n: rng.normal(size=(n, 3)),
    "normal, 20": lambda rng, n: rng.normal(size=(n, 20)),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "exponential, 2": lambda rng, n: rng.exponential(size=(n, 2)),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "circle": lambda rng, n: np.stack(
        [f(rng.uniform(0, 7, n)) for f in (np.cos, np.sin)], axis=1
    ),
    "zeros and normal": lambda rng, n: np.maximum(rng.normal(size=n), 0),
    "Poisson 3": lambda rng, n: rng.poisson(3, n),
    "Poisson 300": lambda rng, n: rng.poisson(300, n),
    "integers, 3": lambda rng, n: rng.integers(0, 9, (n, 3)),
    "identifier": lambda rng, n: rng.permutation(n),
    "classes": lambda rng, n: rng.integers(0, 4, n),
    "rare classes": lambda rng, n: np.minimum(rng.geometric(0.3, n), 30).astype(str),
    "booleans": lambda rng, n: rng.uniform(size=n) < 0.2,
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "frame": lambda rng, n: pd.DataFrame({
        "a": rng.normal(size=n), "b": rng.choice(["u", "v", "w"], n)
    }),
}  # fmt: skip


def independent(count: int = 1000) -> Iterator[Case]:
    """Yield independent pairs of all kinds."""
    names = list(VARIABLES)
    for i in range(count):
        first, second = names[i % len(names)], names[(i // len(names) + i) % len(names)]

        def draw(n: int, seed: int, i: int = i, first: str = first, second: str = second):
            rng = np.random.default_rng([seed, i])
            return VARIABLES[first](rng, n), VARIABLES[second](rng, n)

        yield Case("independent", f"{first}; {second}", 0.0, draw)


GROUPS = {
    "tasks": tasks, "families": families, "labels": labels, "counts": counts,
    "independent": independent,
}  # fmt: skip


def measure(case: Case, n: int, budget: str, seed: int) -> dict[str, Any]:
    """Estimate one pair, and return a line of the record."""
    start = time.process_time()
    found = ib.mutual_information(*case.draw(n, seed), budget=budget, seed=seed)
    return {
        "group": case.group, "name": case.name, "truth": case.truth, "rows": n, "budget": budget,
        "seed": seed, "value": found.value, "stderr": found.stderr, "lower": found.lower,
        "upper": found.upper, "flags": list(found.flags), "seconds": time.process_time() - start,
        "parts": {name: [part.value, part.stderr] for name, part in found.parts.items()},
    }  # fmt: skip


def summary(lines: list[dict[str, Any]]) -> str:
    """Return the table of the document."""
    frame = pd.DataFrame(lines)
    frame["error"] = (frame["value"] - frame["truth"]).abs()
    inside = (frame["lower"] <= frame["truth"] + 1e-9) & (frame["truth"] <= frame["upper"] + 1e-9)
    frame["inside"] = inside
    frame["missed"] = ~inside & (frame["flags"].map(len) == 0)
    rows = [
        "| pairs | rows | budget | pairs estimated | mean error, nats | largest | within 10 % or "
        "0.05 nats | truth in the interval | missed without a flag | CPU s each |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (group, n, budget), part in frame.groupby(["group", "rows", "budget"], sort=False):
        near = part["error"] <= np.maximum(0.1 * part["truth"], 0.05)
        worst = part.loc[part["error"].idxmax()]
        rows.append(
            f"| {group} | {n:,} | `{budget}` | {len(part)} | {part['error'].mean():.3f} | "
            f"{worst['error']:.2f} ({worst['name']}, {worst['truth']:.2g} nats) | "
            f"{near.mean():.0%} | {part['inside'].mean():.0%} | {part['missed'].mean():.1%} | "
            f"{part['seconds'].mean():.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", default=list(GROUPS), help=f"of {list(GROUPS)}")
    parser.add_argument("--rows", type=int, nargs="+", default=[5000])
    parser.add_argument("--budget", default="balanced", choices=["fast", "balanced", "thorough"])
    parser.add_argument("--seeds", type=int, default=1, help="number of samples of each pair")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/known_pairs"))
    given = parser.parse_args()
    records = Records(given.folder, ("group", "name", "truth", "rows", "budget", "seed"))
    for group in given.groups:
        for i, case in enumerate(GROUPS[group]()):
            for n in given.rows:
                for seed in [i] if group == "independent" else range(given.seeds):
                    key = {"group": case.group, "name": case.name, "truth": case.truth, "rows": n,
                           "budget": given.budget, "seed": seed}  # fmt: skip
                    if key not in records:
                        records.add(measure(case, n, given.budget, seed))
    table = summary(records.lines)
    print(table)
    replace(DOCUMENT, MARKERS, table)


if __name__ == "__main__":
    main()
