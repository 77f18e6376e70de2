"""The 12-bit task with tanh: what Shwartz-Ziv & Tishby saw, in a short training."""

import keras

import ib_keras as ib


def test_last_layers_fit_then_compress(tmp_path):
    data = ib.datasets.load("szt")
    keras.utils.set_random_seed(0)
    model = ib.instrument(ib.models.szt("tanh", seed=0))
    model.compile(
        keras.optimizers.Adam(8e-3), "sparse_categorical_crossentropy", steps_per_execution=13
    )
    binning = ib.estimators.Binning(30, range=(-1, 1))
    recorder = ib.Recorder(
        tmp_path / "r", data.x, data.y, epochs="log", keep="estimates", estimators=[binning]
    )
    model.fit(
        data.x_train, data.y_train, batch_size=256, epochs=100, verbose=0, callbacks=[recorder]
    )
    table = ib.load(tmp_path / "r").pivot_table(
        index="epoch", columns=["quantity", "layer"], values="value"
    )
    fitted = table["I(T;Y)"]["dense_5"]
    assert fitted.iloc[-1] - fitted.iloc[0] > 0.3
    for layer in ("dense_5", "output"):
        kept = table["I(X;T)"][layer]
        assert kept.max() - kept.iloc[-1] > 0.5
        assert kept.idxmax() < 50
    # The first layer is saturated throughout, at ln 4096.
    assert table["I(X;T)"]["dense_1"].min() > 8.3
