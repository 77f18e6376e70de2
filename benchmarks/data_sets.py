"""Time and memory of recording 60 000 images from a tf.data pipeline, in batches or single rows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from benchmarks._measure import Row, table

N, SIDE = 60_000, 28

_PROCESS = """
import json, pathlib, sys, time
import numpy as np, keras, tensorflow as tf
import ib_keras as ib
from benchmarks._measure import own_peak_mb
n, side, what, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
path = pathlib.Path(folder, "images.bin")
if not path.exists():
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 1), np.uint8)
    path.write_bytes(images.tobytes())
# The images are read from a file, one batch at a time, and become float32 on the way.
rows = tf.data.FixedLengthRecordDataset(str(path), side * side)
rows = rows.map(lambda raw: tf.reshape(tf.io.decode_raw(raw, tf.uint8), (side, side, 1)))
rows = tf.data.Dataset.zip((rows, tf.data.Dataset.range(n)))
rows = rows.map(lambda image, i: (tf.cast(image, tf.float32) / 255, i % 10))
if what != "rows":
    rows = rows.batch(256)
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input((side, side, 1)),
    keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv"),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(10, activation="softmax", name="top"),
])
model.compile("sgd", "sparse_categorical_crossentropy")
start = time.perf_counter()
if what == "predict":
    model.predict(rows, verbose=0)
else:
    recorder = ib.Recorder(f"{folder}/{what}", rows, views={"conv": "mean"}, epochs=[0])
    recorder.replay(model, [0], lambda epoch: None)
print(json.dumps([time.perf_counter() - start, own_peak_mb()]))
"""


def _measured(what: str, folder: str) -> tuple[float, float]:
    """Return the seconds and the peak memory in MB of a separate process."""
    command = [sys.executable, "-c", _PROCESS, str(N), str(SIDE), what, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        _measured("predict", folder)  # makes the file
        predict, alone = _measured("predict", folder)
        record, peak = _measured("record", folder)
        rows, peak_rows = _measured("rows", folder)
    detail = f"{N:,} images {SIDE}×{SIDE} from a file"
    return [
        Row(
            "peak memory of recording beyond that of predict [MB]", peak - alone, "<= 200",
            f"{detail}; {alone:.0f} and {peak:.0f} MB",
        ),
        Row(
            "the same, single rows [MB]", peak_rows - alone, "<= 200", f"{peak_rows:.0f} MB",
        ),
        Row(
            "time of recording against predict", record / predict, "<= 6",
            f"{record:.1f} and {predict:.1f} s: two passes, checksums, and the copy of the inputs",
        ),
        Row(
            "time of recording single rows against batches", rows / record, "<= 2",
            f"{rows:.1f} s",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
