"""Time and memory of deep networks, from a tf.data pipeline and three checkpoints to the report.

    python -m benchmarks.deep_networks resnet50 --data=mnist.npz --folder=/tmp/resnet50
    python -m benchmarks.deep_networks bert --folder=/tmp/bert

The weights are random, with a few steps of training between the checkpoints, because the cost
does not depend on them. ``bert`` and ``vit`` need the package keras-hub. This benchmark is not part
of ``make bench``, because it takes up to 40 minutes on 2 CPUs.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._measure import own_peak_mb

ESTIMATORS = ("ebab", "akde", {"name": "kde", "variance": 0.1}, "pca+ksg")
GOAL_MINUTES, GOAL_GB = 40.0, 6.0


def images(path: str, n: int, side: int) -> Any:
    """Return the first n test images of a data set as (image in [0, 1], label), in batches."""
    import tensorflow as tf

    import ib_keras as ib

    data = ib.datasets.load(path)
    x, y = data.x_test[:n], data.y_test[:n]
    x = x[..., None] if x.ndim == 3 else x
    scale = 255.0 if x.dtype == np.uint8 else 1.0

    def enlarged(image: Any, label: Any) -> tuple[Any, Any]:
        image = tf.image.resize(tf.cast(image, tf.float32) / scale, (side, side))
        return (tf.image.grayscale_to_rgb(image) if image.shape[-1] == 1 else image), label

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    return rows.map(enlarged, num_parallel_calls=2).batch(32).prefetch(2)


def texts(n: int, length: int, vocabulary: int) -> Any:
    """Return n texts of 10 classes, which differ in the frequencies of their tokens, in batches."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    frequencies = rng.dirichlet(np.full(vocabulary, 0.05), 10)
    tokens = np.stack([rng.choice(vocabulary, length, p=frequencies[one]) for one in y])
    mask = np.arange(length) < rng.integers(length // 4, length + 1, n)[:, None]
    x = {
        "token_ids": (tokens * mask).astype(np.int32),
        "segment_ids": np.zeros((n, length), np.int32),
        "padding_mask": mask.astype(np.int32),
    }
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(32).prefetch(2)


def resnet50(n: int, data: str) -> tuple[Any, Any]:
    """ResNet-50 at 224×224, and its inputs."""
    import keras

    return keras.applications.ResNet50(weights=None, classes=10), images(data, n, 224)


def vit(n: int, data: str) -> tuple[Any, Any]:
    """A vision transformer of the size Ti/16 at 224×224, and its inputs."""
    import keras
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(224, 224, 3), patch_size=16, num_layers=12, num_heads=3, hidden_dim=192,
        mlp_dim=768,
    )  # fmt: skip
    first = keras.ops.squeeze(backbone.output[:, :1], 1)
    outputs = keras.layers.Dense(10, activation="softmax", name="top")(first)
    return keras.Model(backbone.input, outputs), images(data, n, 224)


def bert(n: int, data: str) -> tuple[Any, Any]:
    """BERT of the size "small" with 128 tokens, and its inputs."""
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522, num_layers=4, num_heads=8, hidden_dim=512, intermediate_dim=2048,
        max_sequence_length=128,
    )  # fmt: skip
    outputs = keras.layers.Dense(10, activation="softmax", name="top")(
        backbone.output["pooled_output"]
    )
    return keras.Model(backbone.input, outputs), texts(n, 128, 30522)


def main(arguments: list[str] | None = None) -> None:
    """Run one network and print the table of times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("network", choices=("resnet50", "vit", "bert"))
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only_train", action="store_true")
    chosen = parser.parse_args(arguments)

    import keras

    import ib_keras as ib

    build: Callable[..., tuple[Any, Any]] = globals()[chosen.network]
    keras.utils.set_random_seed(0)
    times: dict[str, float] = {}
    start = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal start
        now = time.perf_counter()
        times[what] = now - start
        start = now
        print(f"{what:<28}{times[what]:8.1f} s   peak {own_peak_mb() / 1e3:.2f} GB", flush=True)

    if not chosen.only_train:
        # In a separate process, so that its memory does not count.
        own = [sys.executable, "-m", "benchmarks.deep_networks", *(arguments or sys.argv[1:])]
        subprocess.run([*own, "--only_train"], check=True, stdout=subprocess.DEVNULL)
        lap("training of 2 steps an epoch")
    model, rows = build(chosen.n, chosen.data)
    if chosen.only_train:
        model.compile("sgd", "sparse_categorical_crossentropy")
        chosen.folder.mkdir(parents=True, exist_ok=True)
        for epoch in range(chosen.checkpoints):
            if epoch:
                model.fit(rows.take(2), verbose=0)
            model.save_weights(chosen.folder / f"epoch-{epoch:02d}.weights.h5")
        return
    lap("model and data")
    store = ib.replay(
        chosen.folder / "store",
        str(chosen.folder / "epoch-*.weights.h5"),
        rows,
        model=model,
        layers="blocks",
        views="mean",
        batch_size=32,
    )
    lap("capture")
    size = sum(file.stat().st_size for file in (chosen.folder / "store").rglob("*.npy"))
    print(f"the store has {size / 1e6:.1f} MB, layers {store.layers}")
    tables = []
    for estimator in ESTIMATORS:
        tables.append(ib.estimate(store, estimator, progress=False))
        lap(f"estimates by {tables[-1]['estimator'].iloc[0]}")
    table = ib.frame.concat(tables)
    ib.frame.write(table, chosen.folder / "estimates")
    ib.report.write(table, chosen.folder / "report.html")
    lap("report")
    peak = own_peak_mb() / 1e3
    lost = int(table["value"].isna().sum())
    print(
        f"{chosen.network}: {sum(times.values()) / 60:.1f} min (goal {GOAL_MINUTES:g}), peak "
        f"{peak:.2f} GB (goal {GOAL_GB:g}), {len(table)} rows, {lost} without a value (goal 0)"
    )


if __name__ == "__main__":
    main()
