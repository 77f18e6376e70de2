"""How often the verdict takes noise for compression, and whether it sees what is known to compress.

    python -m benchmarks.verdict                   # 200 networks on noise, and the two controls
    python -m benchmarks.verdict --networks 40
    python -m benchmarks.verdict --folder build/verdict   # goes on where it was stopped

Each network of noise has 3 to 150 layers and is trained for 2 to 8 epochs on random images with
random labels. Widths, activations, normalisation, residual sums, the number of rows, the
estimators and the number of seeds are drawn too. Training on noise changes a network, and what it
keeps may fall in truth: a claim is chance if as many fresh rows show no such fall, not even half of
the least that counts.

The controls are the noisy neuron of Goldfeld et al. by `sp` and the network of Shwartz-Ziv and
Tishby with tanh by `ebab`. The table in docs/reliability.md is rewritten between its markers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
from ib_keras.pipelines import cli

import ib_keras as ib
from ib_keras import _verdict

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
MARKERS = "<!-- verdict: written by benchmarks/verdict.py -->", "<!-- end of verdict -->"
NETWORKS, GOAL = 200, 0.05
SHALLOWEST, DEEPEST = 3, 150
ESTIMATORS = (
    ("ebab", "pca+ksg"), ("ebab",), ("pca+ksg",), ("akde",), ("kde", "ksg"), ("gaussian", "ksg"),
    ("sp",), ("sp", "ebab"), ("lossy", "kl"),
)  # fmt: skip
NOISE = 0.1
CLAIMS = (_verdict.COMPRESSES, _verdict.DISPUTED)
CONTROLS = {
    "noisy neuron, `sp`": ["--pipeline=noisy_dnn", "--preset=neuron"],
    "tanh network of Shwartz-Ziv and Tishby, `ebab`": [
        "--pipeline=information_plane", '--models=["szt"]', '--estimators=["ebab"]',
        "--epochs=1000",
    ],
}  # fmt: skip


def settings(seed: int) -> dict[str, Any]:
    """What the network of a seed is."""
    rng = np.random.default_rng([seed, 19])
    names = ESTIMATORS[seed % len(ESTIMATORS)]
    # Sample propagation takes a quarter of a second a layer and epoch.
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


def network(own: dict[str, Any], seed: int) -> tuple[keras.Model, keras.Model]:
    """A network with that many layers with weights, and a model of their outputs."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((own["side"], own["side"], 1))
    x, outputs = keras.layers.Flatten()(inputs), []
    for i in range(own["layers"] - 1):
        before = x
        x = keras.layers.Dense(own["width"], name=f"dense_{i}")(x)
        if own["normalised"] and i % 3 == 2:
            x = keras.layers.LayerNormalization(name=f"norm_{i}")(x)
        x = keras.layers.Activation(own["activation"])(x)
        outputs.append(x)
        if own["residual"] and i:
            x = keras.layers.Add()([before, x])
    outputs.append(keras.layers.Dense(own["classes"], activation="softmax", name="logits")(x))
    model = keras.Model(inputs, outputs[-1])
    # Eager, since tracing takes longer than a few epochs of so few rows.
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", run_eagerly=True)
    return model, keras.Model(inputs, outputs)


def on_noise(seed: int) -> dict[str, Any]:
    """What the verdict says of networks trained on noise, and what fresh rows say of its claims."""
    own = settings(seed)
    rng = np.random.default_rng([seed, 20])
    shape = (own["rows"], own["side"], own["side"], 1)
    x, fresh = rng.standard_normal((2, *shape)).astype("float32")
    y = rng.integers(0, own["classes"], own["rows"])
    names = [f"layer_{i}" for i in range(own["layers"])]
    tables, taken = [], []
    for run in range(own["runs"]):
        model, tapped = network(own, 1000 * seed + run)
        for epoch in range(own["epochs"] + 1):
            if epoch:
                model.fit(x, y, batch_size=32, verbose=0)
            own_rows, other_rows = ([np.asarray(t) for t in tapped(rows)] for rows in (x, fresh))
            for name in own["estimators"]:
                table = estimated(dict(zip(names, own_rows, strict=True)), name, x, y)
                tables.append(table.assign(run=f"noise-{run}", epoch=epoch))
            taken.append((f"noise-{run}", epoch, other_rows))
        keras.backend.clear_session()
    said = _verdict.verdicts(pd.concat(tables, ignore_index=True))
    claims = [v for v in said if v.what in CLAIMS]
    return {
        "seed": seed, **own, "tests": max((v.tests for v in said), default=0),
        "untold": sum(v.what == _verdict.UNKNOWN for v in said),
        "claims": [f"{v.layer} {v.claim}: {v.curve}" for v in claims],
        "chance": [v.layer for v in claims if not repeated(v, names.index(v.layer), taken, fresh)],
    }  # fmt: skip


def estimated(layers: dict[str, np.ndarray], name: str, x: np.ndarray, y: Any) -> pd.DataFrame:
    """A table by one estimator; sample propagation adds a layer's own noise."""
    noise = dict.fromkeys(layers, NOISE if name == "sp" else 0.0)
    given = ib.Activations(layers, noise_std=noise, clean=name == "sp")
    return ib.estimate(given, name, inputs=x, targets=y, progress=False)


def repeated(claim: _verdict.Verdict, layer: int, taken: list[Any], x: np.ndarray) -> bool:
    """Whether the claimed fall is there in rows that the verdict has not seen."""
    name = claim.curve.rpartition("by ")[2]
    tables = [
        estimated({claim.layer: outputs[layer]}, name, x, None).assign(run=run, epoch=epoch)
        for run, epoch, outputs in taken
    ]
    curves = ib.frame.compression(pd.concat(tables, ignore_index=True))
    return bool((curves["relative"] > _verdict.SHARE / 2).mean() > 0.5)


def control(arguments: list[str], folder: pathlib.Path) -> dict[str, Any]:
    """What the verdict says of a network that is known to compress."""
    if not folder.exists():
        cli.main([*arguments, "--runner=local", f"--run_dir={folder}"])
    said = _verdict.verdicts(ib.load(folder))
    claimed = [f"{v.layer} {v.claim}" for v in said if v.what == _verdict.COMPRESSES]
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
    """The table of docs/reliability.md."""
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
