"""Runs estimates in a process of its own and prints what they took of memory, as JSON.

``python measured.py PEAK ESTIMATOR_JSON FILE N DIM [SECONDS]``, or ``GROWTH ESTIMATOR_JSON TIMES``,
or ``EPOCHS TIMES FOLDER``.
"""

import json
import os
import resource
import signal
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def peak():
    """The largest resident size so far, in bytes; mapped files count as far as they were read.

    Not ru_maxrss, which a process inherits from the one that started it.
    """
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def resident():
    """The resident size, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def of_peak(identifier, path, n, dim, seconds=0):
    from ib_keras import estimators

    made = estimators.get(identifier)
    t = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(0)
    x = t[:, :8] + rng.normal(size=(len(t), 8)).astype("f4")
    y = rng.integers(0, 2, len(t))
    small = min(len(t), 4000)
    # Libraries, and programs compiled for these widths, are there before the counting begins.
    made.estimate(np.array(t[:small]), x=x[:small], y=y[:small], noise_std=1.0)
    before, finished = peak(), []

    def report(*_):
        stated = made.peak_bytes(int(n), int(dim), dim_x=8, itemsize=4)
        print(json.dumps({"before": before, "peak": peak(), "stated": stated,
                          "finished": bool(finished)}), flush=True)  # fmt: skip
        os._exit(0)

    if float(seconds):
        # A signal would wait for the end of a long call.
        threading.Timer(float(seconds), report).start()
    made.estimate(t, x=x, y=y, noise_std=1.0)
    finished.append(True)
    report()


def of_growth(identifier, times):
    from ib_keras import estimators

    made, rng = estimators.get(identifier), np.random.default_rng(0)
    t, x, y = rng.normal(size=(200, 5)), rng.normal(size=(200, 3)), np.arange(200) % 2
    if made.name == "decoder":
        x = rng.integers(0, 2, (200, 2, 2, 1))
    sizes = []
    for _ in range(int(times)):
        made.estimate(t, x=x, y=y, noise_std=0.5)
        sizes.append(resident())
    print(json.dumps({"sizes": sizes}))


def of_epochs(times, folder):
    import keras

    import ib_keras as ib

    rng, sizes = np.random.default_rng(0), []
    x, y = rng.normal(size=(256, 8)).astype("f4"), rng.integers(0, 2, 256)
    layers = [keras.Input((8,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2, "softmax")]
    noisy = ib.instrument(keras.Sequential(layers), noise_std=0.1)
    noisy.compile("sgd", "sparse_categorical_crossentropy")
    recorder = ib.Recorder(f"{folder}/store", x, y, epochs=1)
    measure = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: sizes.append(resident()))
    noisy.fit(x, y, epochs=int(times), verbose=0, callbacks=[recorder, measure])
    print(json.dumps({"sizes": sizes, "recorded": len(ib.ActivationStore(recorder.path).epochs)}))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    kinds = {"PEAK": of_peak, "GROWTH": of_growth, "EPOCHS": of_epochs}
    kinds[sys.argv[1]](*sys.argv[2:])
