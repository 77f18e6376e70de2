"""How often the verdict takes noise for compression, and whether it recognises known compression.

    python -m benchmarks.verdict                   # 200 networks on noise, and the two controls
    python -m benchmarks.verdict --networks 40
    python -m benchmarks.verdict --folder build/verdict   # goes on where it was stopped

Each network of noise has 3 to 150 layers and is trained for 2 to 8 epochs on random images with
random labels. Widths, activations, normalisation, residual sums, the number of rows, the
estimators and the number of seeds are drawn at random, too. Training on noise changes a network, so
that I(X;T) may really fall. A claim therefore counts as chance only if fresh rows, of the
same number, do not show at least half of the smallest fall that counts.

The controls are the noisy neuron of Goldfeld et al. by `sp` and the network of Shwartz-Ziv and
Tishby with tanh by `ebab`. The table in docs/reliability.md is rewritten between its markers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import itertools

import numpy as np
import pandas as pd
import tensorflow as tf

import ib_keras as ib
from ib_keras.frame import verdict

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
MARKERS = "<!-- verdict: written by benchmarks/verdict.py -->", "<!-- end of verdict -->"
NETWORKS, GOAL = 200, 0.05
SHALLOWEST, DEEPEST = 3, 150
ESTIMATORS = (
    ("ebab", "pca+ksg"), ("ebab",), ("pca+ksg",), ("akde",), ("kde", "ksg"), ("gaussian", "ksg"),
    ("sp",), ("sp", "ebab"), ("kl", "pca+kl"),
)  # fmt: skip
NOISE = 0.1
CLAIMS = (verdict.COMPRESSES, verdict.DISPUTED)
CONTROLS = {
    "noisy neuron, `sp`": ["--pipeline=noisy_dnn", "--preset=neuron"],
    "tanh network of Shwartz-Ziv and Tishby, `ebab`": [
        "--pipeline=information_plane", '--set=models=["szt"]', '--set=estimators=["ebab"]',
        "--set=epochs=1000",
    ],
}  # fmt: skip


def settings(seed: int) -> dict[str, Any]:
    """Return the settings of the network with a seed."""
    rng = np.random.default_rng([seed, 19])
    names = ESTIMATORS[seed % len(ESTIMATORS)]
    # Sample propagation takes a quarter of a second for each layer and epoch.
    deepest = 12 if "sp" in names else DEEPEST
    depth = round(math.exp(rng.uniform(math.log(SHALLOWEST), math.log(deepest))))
    longest = 4 if depth > 40 or "sp" in names else 8
    return {
        "layers": depth,
        "rows": int(rng.integers(60, 400)),
        "side": int(rng.choice([4, 8])),
        "classes": int(rng.integers(2, 11)),
        "width": int(rng.choice([4, 8, 16, 32])),
        "activation": str(rng.choice(["relu", "tanh", "gelu"])),
        "normalised": bool(rng.random() < 0.5),
        "residual": bool(rng.random() < 0.5),
        "epochs": int(rng.integers(2, longest + 1)),
        "runs": int(rng.choice([1, 1, 1, 2, 3])) if depth <= 40 else 1,
        "estimators": names,
    }


class Network:
    """A network with the settings ``own``, trained by Adam.

    It is not a Keras model, because for a few epochs of 200 networks Keras is too slow, whether it
    traces 150 layers or runs them eagerly.
    """

    def __init__(self, own: dict[str, Any], seed: int) -> None:
        rng = np.random.default_rng([seed, 21])
        widths = [own["side"] ** 2, *[own["width"]] * (own["layers"] - 1), own["classes"]]
        self.own, self._rng = own, rng
        self._shapes = list(itertools.pairwise(widths))
        # Glorot's uniform weights, and no biases at first.
        parts = [
            np.concatenate([rng.uniform(-1, 1, (m, n)) * math.sqrt(6 / (m + n)), np.zeros((1, n))])
            for m, n in self._shapes
        ]
        self._sizes = [part.size for part in parts]
        self._weights = np.concatenate([part.ravel() for part in parts]).astype("float32")
        self._moments, self._steps = np.zeros((2, len(self._weights)), "float32"), 0

    def outputs(self, x: Any, weights: Any = None) -> list[Any]:
        """Return the outputs of all layers, of the last one before its softmax."""
        activation = getattr(tf.nn, self.own["activation"])
        parts = tf.split(self._weights if weights is None else weights, self._sizes)
        h, found = tf.reshape(x, (len(x), -1)), []
        for i, (part, (m, n)) in enumerate(zip(parts, self._shapes, strict=True)):
            part, before = tf.reshape(part, (m + 1, n)), h
            h = h @ part[:-1] + part[-1]
            if i < len(parts) - 1:
                if self.own["normalised"] and i % 3 == 2:
                    mean, variance = tf.nn.moments(h, [1], keepdims=True)
                    h = (h - mean) * tf.math.rsqrt(variance + 1e-3)
                h = activation(h)
            found.append(h)
            if self.own["residual"] and 0 < i < len(parts) - 1:
                h = (h + before) / math.sqrt(2)
        return found

    def epoch(self, x: np.ndarray, y: np.ndarray) -> None:
        """Train on all rows once, in batches of at most 32."""
        for rows in np.array_split(self._rng.permutation(len(x)), math.ceil(len(x) / 32)):
            weights = tf.constant(self._weights)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits = self.outputs(x[rows], weights)[-1]
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[rows], logits)
            gradient = tape.gradient(losses, weights).numpy() / len(rows)
            gradient /= max(1.0, float(np.linalg.norm(gradient)))
            self._steps += 1
            for moment, beta, power in zip(self._moments, (0.9, 0.999), (1, 2), strict=True):
                moment += (1 - beta) * (gradient**power - moment)
            first, second = (
                moment / (1 - beta**self._steps)
                for moment, beta in zip(self._moments, (0.9, 0.999), strict=True)
            )
            self._weights -= 1e-3 * first / (np.sqrt(second) + 1e-7)


def on_noise(seed: int) -> dict[str, Any]:
    """Train networks on noise; return the verdict's claims, and those that are chance."""
    own = settings(seed)
    rng = np.random.default_rng([seed, 20])
    shape = (own["rows"], own["side"], own["side"], 1)
    x, fresh = rng.standard_normal((2, *shape)).astype("float32")
    y = rng.integers(0, own["classes"], own["rows"])
    names = [f"layer_{i}" for i in range(own["layers"])]
    tables, taken = [], []
    for run in range(own["runs"]):
        made = Network(own, 1000 * seed + run)
        for epoch in range(own["epochs"] + 1):
            if epoch:
                made.epoch(x, y)
            own_rows, other_rows = ([t.numpy() for t in made.outputs(rows)] for rows in (x, fresh))
            for name in own["estimators"]:
                table = estimated(dict(zip(names, own_rows, strict=True)), name, x, y)
                tables.append(table.assign(run=f"noise-{run}", epoch=epoch))
            taken.append((f"noise-{run}", epoch, other_rows))
    said = verdict.verdicts(pd.concat(tables, ignore_index=True))
    claims = [v for v in said if v.what in CLAIMS]
    return {
        "seed": seed, **own, "tests": max((v.tests for v in said), default=0),
        "untold": sum(v.what == verdict.UNKNOWN for v in said),
        "claims": [f"{v.layer} {v.claim}: {v.curve}" for v in claims],
        "chance": [v.layer for v in claims if not repeated(v, names.index(v.layer), taken, fresh)],
    }  # fmt: skip


def estimated(layers: dict[str, np.ndarray], name: str, x: np.ndarray, y: Any) -> pd.DataFrame:
    """Return a table of estimates; for sample propagation, the layers count as noisy."""
    noise = dict.fromkeys(layers, NOISE if name == "sp" else 0.0)
    given = ib.Activations(layers, noise_std=noise, clean=name == "sp")
    return ib.estimate(given, name, inputs=x, targets=y, progress=False)


def repeated(claim: verdict.Verdict, layer: int, taken: list[Any], x: np.ndarray) -> bool:
    """Return whether the claimed fall also occurs in rows that the verdict has not seen."""
    name = claim.curve.rpartition("by ")[2]
    tables = [
        estimated({claim.layer: outputs[layer]}, name, x, None).assign(run=run, epoch=epoch)
        for run, epoch, outputs in taken
    ]
    curves = ib.frame.compression(pd.concat(tables, ignore_index=True))
    return bool((curves["relative"] > verdict.SHARE / 2).mean() > 0.5)


def control(arguments: list[str], folder: pathlib.Path) -> dict[str, Any]:
    """Return the verdict's claims about a network that is known to compress."""
    if not folder.exists():
        command = [sys.executable, "-m", "ib_keras.pipelines.cli", *arguments]
        subprocess.run([*command, "--runner=local", f"--run_dir={folder}"], check=True)
    said = verdict.verdicts(ib.load(folder))
    claimed = [f"{v.layer} {v.claim}" for v in said if v.what == verdict.COMPRESSES]
    return {"layers": len(said), "claimed": claimed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=NETWORKS)
    parser.add_argument("--folder", type=pathlib.Path, help="where cells are kept, to go on")
    flags = parser.parse_args()
    folder = flags.folder or pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for seed in range(flags.networks):
        cell = folder / f"{seed}.json"
        if not cell.exists():
            cell.write_text(json.dumps(on_noise(seed)))
        cells.append(json.loads(cell.read_text()))
        told = cells[-1]
        said = f"claims {told['claims'][:3]}, chance {told['chance']}"
        print(f"{seed}: {told['layers']} layers, {told['tests']} tests, {said}", flush=True)
    known = {name: control(args, folder / name.split(",")[0]) for name, args in CONTROLS.items()}
    lines = document(cells, known)
    print(lines)
    if flags.networks == NETWORKS:
        text = DOCUMENT.read_text()
        head, _, rest = text.partition(MARKERS[0])
        DOCUMENT.write_text(
            f"{head}{MARKERS[0]}\n\n{lines}\n\n{MARKERS[1]}{rest.partition(MARKERS[1])[2]}"
        )


def document(cells: list[dict[str, Any]], known: dict[str, dict[str, Any]]) -> str:
    """Return the table of docs/reliability.md."""
    rows = [
        "| networks | number | with a claim | with one by chance | goal |", "|---|---|---|---|---|",
    ]  # fmt: skip
    parts = {
        "on noise, 3 to 10 layers": [c for c in cells if c["layers"] <= 10],
        "on noise, 11 to 150 layers": [c for c in cells if c["layers"] > 10],
        "on noise, one run": [c for c in cells if c["runs"] == 1],
        "on noise, 2 or 3 seeds": [c for c in cells if c["runs"] > 1],
        "on noise, all": cells,
    }
    for name, own in parts.items():
        counts = [sum(bool(c[what]) for c in own) for what in ("claims", "chance")]
        shares = " | ".join(f"{count} ({count / max(1, len(own)):.1%})" for count in counts)
        rows.append(f"| {name} | {len(own)} | {shares} | at most {GOAL:.0%} |")
    for name, told in known.items():
        claimed = "; ".join(told["claimed"]) or "none"
        rows.append(f"| {name} | 1 | {claimed} | – | claimed |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
