"""How often the verdict takes noise for compression, and whether it sees what is known to compress.

    python -m benchmarks.verdict                   # 200 networks on noise, and the two controls
    python -m benchmarks.verdict --networks 40
    python -m benchmarks.verdict --folder build/verdict   # goes on where it was stopped

Each network of noise has 3 to 150 layers and is trained for 2 to 8 epochs on random images with
random labels. Widths, activations, normalisation, residual sums, the number of rows, the
estimators and the number of seeds are drawn too. The controls are the noisy neuron of
Goldfeld et al. by `sp` and the network of Shwartz-Ziv and Tishby with tanh by `ebab`. The table in
docs/reliability.md is rewritten between its markers.
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
    depth = round(math.exp(rng.uniform(math.log(SHALLOWEST), math.log(DEEPEST))))
    longest = 4 if depth > 40 else 8
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
    """What the verdict says of networks trained on noise."""
    own = settings(seed)
    rng = np.random.default_rng([seed, 20])
    x = rng.standard_normal((own["rows"], own["side"], own["side"], 1)).astype("float32")
    y = rng.integers(0, own["classes"], own["rows"])
    tables = []
    for run in range(own["runs"]):
        model, tapped = network(own, 1000 * seed + run)
        names = [f"layer_{i}" for i in range(own["layers"])]
        for epoch in range(own["epochs"] + 1):
            if epoch:
                model.fit(x, y, batch_size=32, verbose=0)
            clean = dict(zip(names, (np.asarray(t) for t in tapped(x)), strict=True))
            given = ib.Activations(clean, noise_std=dict.fromkeys(names, NOISE), clean=True)
            for name in own["estimators"]:
                # Sample propagation adds the layer's own noise itself.
                source = given if name == "sp" else clean
                table = ib.estimate(source, name, inputs=x, targets=y, progress=False)
                tables.append(table.assign(run=f"noise-{run}", epoch=epoch))
        keras.backend.clear_session()
    said = _verdict.verdicts(pd.concat(tables, ignore_index=True))
    claims = [v for v in said if v.what in CLAIMS]
    return {
        "seed": seed, **own, "tests": max((v.tests for v in said), default=0),
        "untold": sum(v.what == _verdict.UNKNOWN for v in said),
        "claims": [f"{v.layer} {v.claim}: {v.curve}" for v in claims],
    }  # fmt: skip


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
        print(f"{seed}: {told['layers']} layers, {told['tests']} tests, claims {told['claims']}")
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
    rows = ["| networks | number | with a claim of compression | goal |", "|---|---|---|---|"]
    parts = {
        "on noise, 3 to 10 layers": [c for c in cells if c["layers"] <= 10],
        "on noise, 11 to 150 layers": [c for c in cells if c["layers"] > 10],
        "on noise, one run": [c for c in cells if c["runs"] == 1],
        "on noise, 2 or 3 seeds": [c for c in cells if c["runs"] > 1],
        "on noise, all": cells,
    }
    for name, own in parts.items():
        claims = sum(bool(c["claims"]) for c in own)
        goal = f"at most {GOAL:.0%}" if own is cells else ""
        share = f" ({claims / len(own):.1%})" if own else ""
        rows.append(f"| {name} | {len(own)} | {claims}{share} | {goal} |")
    for name, told in known.items():
        claimed = "; ".join(told["claimed"]) or "none"
        rows.append(f"| {name} | 1 | {claimed} | claimed |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
