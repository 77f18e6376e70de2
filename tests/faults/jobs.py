"""What is killed: each job is begun anew with the same arguments, and goes on or does it again."""

import functools
import pathlib

import numpy as np

import ib_keras as ib

LAYERS, EPOCHS, N = ["a", "b/c", "d"], 12, 50


def layer(epoch, name):
    rng = np.random.default_rng([epoch, LAYERS.index(name)])
    return rng.normal(size=(N, 40)).astype("f4")


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)).astype("f4")
    return x, (x.sum(axis=1) > 0).astype("i4")


def store(folder):
    """Writes a store epoch by epoch, as a program of its own would do it."""
    path = folder / "store"
    x, y = data()
    if (path / "manifest.json").exists():
        made = ib.ActivationStore(path)
    else:
        made = ib.ActivationStore.create(path, inputs=x, targets=y, layers=LAYERS)
    recorded = made.epochs
    for epoch in sorted(set(range(EPOCHS)) - set(recorded)):
        with made.writer(epoch, noise_std={}, logs=[{"epoch": epoch, "loss": 1 / 3}]) as writer:
            for name in LAYERS:
                for part in np.array_split(layer(epoch, name), 5):
                    writer.write(name, part)


def estimate(folder):
    """Estimates a finished store, and replaces the table of another estimator."""
    recorded = ib.ActivationStore(folder.parent / "recorded")
    logs = recorded.logs
    logs.insert(0, "run", recorded.run)
    for estimator in ("binning", "ebab"):
        table = ib.estimate(recorded, estimator, progress=False)
        ib.frame.write(table, folder / "table", logs=logs)


def pipeline(folder):
    """Runs a pipeline of one task on this machine."""
    from kfp import components, dsl

    from ib_keras.pipelines.runners import local

    x, y = data()
    file = folder / "data.npz"
    if not file.exists():
        np.savez(folder / "unfinished.npz", x=x, y=y)
        (folder / "unfinished.npz").rename(file)
    root = pathlib.Path(__file__).parents[2] / "components"
    read = components.load_component_from_file(str(root / "examples" / "component.yaml"))

    @dsl.pipeline(name="one-task")
    def one_task(data: str) -> dsl.Dataset:
        return read(data=data).outputs["output"]

    local.run(one_task, {"data": str(file)}, folder / "run")


def prepare(needed):
    """Imports what jobs need; of TensorFlow, nothing is used yet, for its threads do not fork."""
    import importlib.metadata  # noqa: F401

    import pyarrow.parquet  # noqa: F401
    import sklearn  # noqa: F401

    from ib_keras.storage import manifests  # noqa: F401

    ib.estimators.get("ebab")
    if "kfp" in needed:
        from ib_keras.pipelines.runners import local  # noqa: F401
    if "keras" in needed:
        import keras  # noqa: F401

        from ib_keras.callbacks import recorder  # noqa: F401
        from ib_keras.pixelcnn import decoding  # noqa: F401


def _fit(folder, **settings):
    import keras

    if not (folder / "backup").exists() and _last(folder / "record") == 7:
        return  # killed when all was done: begun anew, it would find a finished record
    keras.utils.set_random_seed(0)
    x, y = data()
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2, "softmax")]
    )
    noisy = ib.instrument(model, noise_std=0.1, seed=0)
    noisy.compile("adam", "sparse_categorical_crossentropy")
    recorder = ib.Recorder(
        folder / "record", x, y, epochs=[0, 1, 3, 6, 7], conditional_inputs=8, propagations=4,
        **settings,
    )  # fmt: skip
    callbacks = [recorder, ib.Backup(folder / "backup")]
    noisy.fit(x, y, epochs=7, batch_size=25, shuffle=False, verbose=0, callbacks=callbacks)


def _last(record):
    """The last epoch of a record."""
    if not (record / "manifest.json").exists():
        return None
    if (record / ib.frame.ESTIMATES).exists():
        return ib.load(record)["epoch"].max()
    return max(ib.ActivationStore(record).epochs, default=None)


def fit(folder):
    """Trains, and records activations."""
    _fit(folder)


def fit_table(folder):
    """Trains, and records estimates."""
    _fit(folder, keep="estimates", estimators=["ebab", "binning"])


def decode(folder):
    """Trains a decoder by the loop that trains all of them; the network is a small one."""
    from ib_keras.pixelcnn.decoding import Decoder

    images = np.random.default_rng(0).integers(0, 4, (60, 2, 2, 1))
    decoder = Decoder(_settings()(levels=4, epochs=6, batch_size=20), (2, 2, 1))
    history = decoder.train(images, folder=folder / "work")
    weights = {f"w{i}": w for i, w in enumerate(decoder.model.get_weights())}
    np.savez(folder / "trained.npz", history=history, **weights)


@functools.cache
def _settings():
    import keras

    from ib_keras.pixelcnn.decoding import DecoderSettings

    class Network(keras.Model):
        """q(x) with independent pixels, through a layer with dropout."""

        def __init__(self):
            super().__init__()
            self.hidden = keras.layers.Dense(8, "tanh")
            self.dropout = keras.layers.Dropout(0.5, seed=1)
            self.logits = keras.layers.Dense(16)
            self.build((None, 2, 2, 1))

        def build(self, shape):
            self.hidden.build((None, 1))
            self.logits.build((None, 8))
            self.built = True

        def call(self, x, training=False):
            ones = keras.ops.ones_like(keras.ops.reshape(x, (-1, 4))[:, :1], "float32")
            h = self.dropout(self.hidden(ones), training=training)
            return keras.ops.reshape(self.logits(h), (-1, 4, 4))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            codes = keras.ops.cast(keras.ops.reshape(x, (-1, 4)), "int32")
            losses = keras.losses.sparse_categorical_crossentropy(codes, y_pred, from_logits=True)
            return keras.ops.mean(keras.ops.sum(losses, axis=-1))

        def initialise(self, images, h=None):
            pass

    class Settings(DecoderSettings):
        def network(self, image_shape, condition_shape, groups=1):
            keras.utils.set_random_seed(0)
            return Network()

    return Settings
