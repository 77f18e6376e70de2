"""The cost of a large job, and its duration on many machines if the planner divides it.

This measures the CPU seconds of four estimators, fits c · n^a · d^b to them, and prints the tables
of docs/scale.md. The sizes of ResNet-50's taps follow from their shapes.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

import ib_keras as ib
from benchmarks._measure import machine
from ib_keras.estimation.shards import Size, split

ESTIMATORS = ("binning", "ebab", "akde", "pca+ksg")
SAMPLES = (2_000, 4_000, 8_000, 16_000, 32_000, 50_000)
DIMS = (64, 256, 2_048)
# A measurement that is expected to take longer is left out.
LONGEST = 45.0
# Measurements that are shorter than this, or than this share of the longest, are not fitted: they
# depend more on the call than on the samples.
SHORTEST, SHARE = 0.05, 0.02
IMAGES, CHECKPOINTS, MACHINES = 50_000, 20, (1, 8, 64)


class Law(NamedTuple):
    """CPU seconds c · n^a · d^b, and the largest factor by which the measurements differ."""

    c: float
    a: float
    b: float
    error: float

    def seconds(self, n: int, dim: int) -> float:
        return self.c * n**self.a * dim**self.b


def cpu_seconds(estimator: str, n: int, dim: int) -> float:
    """Return the CPU seconds of one estimate of ReLU features of 32 normal inputs.

    For few samples it is the shorter of two, so that it does not include compilation.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 32)).astype("f4")
    t = np.maximum(x @ rng.normal(size=(32, dim)).astype("f4") / 6, 0)
    y = rng.integers(0, 10, n)
    taken = math.inf
    for _ in range(2 if n <= SAMPLES[1] else 1):
        start = time.process_time()
        ib.estimate({"t": t}, estimator, inputs=x, targets=y, progress=False)
        taken = min(taken, time.process_time() - start)
    return taken


def measure(estimator: str) -> dict[tuple[int, int], float]:
    """Return CPU seconds by number of samples and dimension, without sizes that take too long."""
    measured: dict[tuple[int, int], float] = {}
    for dim in DIMS:
        last: list[tuple[int, float]] = []
        for n in SAMPLES:
            if last and last[-1][1] * (n / last[-1][0]) ** 2 > LONGEST:
                break
            measured[n, dim] = cpu_seconds(estimator, n, dim)
            last.append((n, measured[n, dim]))
    return measured


def fit(measured: Mapping[tuple[int, int], float]) -> Law:
    """Return the law that fits the logarithms of the longer measurements best."""
    shortest = max(SHORTEST, SHARE * max(measured.values()))
    used = {size: taken for size, taken in measured.items() if taken >= shortest}
    logs = np.log([[math.e, n, dim] for n, dim in used])
    taken = np.log(list(used.values()))
    (c, a, b), *_ = np.linalg.lstsq(logs, taken, rcond=None)
    error = np.exp(np.abs(logs @ [c, a, b] - taken).max())
    return Law(math.exp(c), a, b, float(error))


def taps() -> dict[str, tuple[int, ...]]:
    """Return the shapes of ResNet-50's blocks for images of 224×224."""
    import keras

    model = keras.applications.ResNet50(weights=None)
    tapped = ib.instrument(model, layers="blocks")
    return {tap.name: tuple(int(size) for size in tap.shape) for tap in tapped.plan.taps}


def print_taps(shapes: Mapping[str, tuple[int, ...]]) -> None:
    print("\n| tap | shape | bytes an image, flat | mean |\n|---|---|---:|---:|")
    flat, mean = 0, 0
    for name, shape in shapes.items():
        own = 4 * math.prod(shape), 4 * shape[-1]
        flat, mean = flat + own[0], mean + own[1]
        print(f"| `{name}` | {'×'.join(map(str, shape))} | {own[0]:,} | {own[1]:,} |")
    print(f"| **sum** | | **{flat:,}** | **{mean:,}** |")
    for images in (10_000, IMAGES):
        stored = [size * images * CHECKPOINTS / 1e9 for size in (flat, mean)]
        print(
            f"{images} images, {CHECKPOINTS} checkpoints: {stored[0]:,.0f} GB, {stored[1]:,.1f} GB"
        )


def print_costs(laws: Mapping[str, Law]) -> None:
    sizes = [(n, dim) for dim in DIMS for n in (2_000, 10_000, IMAGES)]
    print("\nCPU seconds of an estimate, by the fitted laws\n")
    print(
        "| estimator | law | error | " + " | ".join(f"n = {n:,}, d = {d}" for n, d in sizes) + " |"
    )
    print("|---|---|---:|" + "---:|" * len(sizes))
    for name, law in laws.items():
        values = " | ".join(f"{law.seconds(n, dim):.3g}" for n, dim in sizes)
        print(
            f"| `{name}` | {law.c:.2g} · n^{law.a:.2f} · d^{law.b:.2f} | × {law.error:.1f} | "
            f"{values} |"
        )


def print_machines(laws: Mapping[str, Law], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Print the duration of the longest shard, if each machine gets one shard and has one CPU."""
    dims = {name: shape[-1] for name, shape in shapes.items()}
    print(f"\n{CHECKPOINTS} checkpoints, {len(dims)} taps, means over positions; CPU hours\n")
    print("| images | all | longest estimate, s | " + " | ".join(map(str, MACHINES)) + " |")
    print("|---:|---:|---:|" + "---:|" * len(MACHINES))
    for n in (10_000, IMAGES):
        size = Size(n, dims, range(CHECKPOINTS))
        cells = {(e, x): laws[e].seconds(n, d) for e in ESTIMATORS for x, d in dims.items()}
        walls = []
        for count in MACHINES:
            plan = split([size], ESTIMATORS, count)
            walls.append(
                max(
                    sum(
                        cells[part.estimator, layer] * len(part.epochs or size.epochs)
                        for part in shard.parts
                        for layer in part.layers or dims
                    )
                    for shard in plan
                )
            )
        hours = " | ".join(f"{wall / 3600:.2f}" for wall in walls)
        total = CHECKPOINTS * sum(cells.values()) / 3600
        print(f"| {n:,} | {total:.2f} | {max(cells.values()):.0f} | {hours} |")


def main() -> None:
    print(machine())
    shapes = taps()
    print_taps(shapes)
    laws = {}
    for name in ESTIMATORS:
        measured = measure(name)
        laws[name] = fit(measured)
        text = ", ".join(f"{n}×{dim}: {taken:.3g}" for (n, dim), taken in measured.items())
        print(f"\n{name}, CPU seconds measured: {text}", flush=True)
    print_costs(laws)
    print_machines(laws, shapes)


if __name__ == "__main__":
    main()
