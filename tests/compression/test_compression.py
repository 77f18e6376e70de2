import math
import warnings

import numpy as np
import pytest

import ib_keras as ib
from ib_keras import compression, synthetic
from ib_keras.compression import PCA, Autoencoder, FirstCoordinates, Latent, compressors
from ib_keras.errors import ArgumentError, StoreError
from ib_keras.estimators import KSG, LossyCompression
from ib_keras.estimators.lossy import components, left_out


def test_pca_and_first_coordinates(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 12)) + 0.01 * rng.normal(size=(300, 12))
    made = PCA(2).fit(x.reshape(300, 3, 4))
    assert made.quality["explained_variance"] > 0.999
    codes = made.transform(x[:5].reshape(5, 3, 4))
    centred = x - x.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(codes), np.abs(centred[:5] @ axes.T), atol=1e-9)
    first = FirstCoordinates(3).fit(x)
    np.testing.assert_array_equal(first.transform(x), x[:, :3])
    assert 0 < first.quality["explained_variance"] < 1
    monkeypatch.setattr(compressors, "_IN_MEMORY", 400)
    in_parts = PCA(2).fit(x)
    assert in_parts.quality["explained_variance"] == pytest.approx(1, abs=1e-3)


def test_autoencoder_beats_pca_where_the_data_bend():
    x, _ = synthetic.gaussian_images(1500, 12, 1.0, seed=0)
    made = Autoencoder(2, epochs=60, learning_rate=2e-3).fit(x[:1200], seed=1)
    assert made.quality["error"] < 0.3 * made.quality["error_of_mean"]
    codes = made.transform(x[1200:])
    assert codes.shape == (300, 2)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.2)  # no limit at which codes crowd
    # The place of the blob can be read off the code.
    place, _ = synthetic.correlated_uniforms(1500, 2, 1.0, rotate=True, seed=0)
    nearest = np.argsort(((codes[:, None] - codes) ** 2).sum(-1), axis=1)[:, 1]
    assert np.abs(place[1200:] - place[1200:][nearest]).mean() < 0.1
    folded = Autoencoder(2, convolutional=True, epochs=2).fit(x[:200])
    assert folded.transform(x[:4]).shape == (4, 2)


def test_a_saved_autoencoder_makes_the_same_codes(tmp_path):
    x = 1e20 * np.random.default_rng(0).normal(size=(100, 9, 9)).astype(np.float32)
    made = Autoencoder(2, convolutional=True, epochs=1).fit(x[:80], seed=1)
    compression.save(made, tmp_path / "ae")
    again = compression.load(tmp_path / "ae")
    np.testing.assert_array_equal(again.transform(x[80:]), made.transform(x[80:]))
    assert again.transform(x).shape == (100, 2) and np.isfinite(again.transform(x)).all()
    assert again.quality == made.quality and again.name == "ae"
    assert 1e19 < made.quality["error"] <= 1.2 * made.quality["error_of_mean"]
    estimator = LossyCompression(again, "pca", k=2, fit_share=1)
    assert str(estimator) == "ae/pca+ksg(k=2)"
    with pytest.raises(ArgumentError, match="cannot be saved"):
        compression.save(PCA(2).fit(x), tmp_path / "pca")
    (tmp_path / "ae" / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(StoreError):
        compression.load(tmp_path / "ae")


def test_no_linear_compressor_of_least_error_need_keep_anything():
    # Statement 2 of Butakov et al. 2024: the shared number has little of the variance.
    rng = np.random.default_rng(1)
    shared = synthetic.correlated_gaussians(2000, 1, 2.0, seed=1)
    x, y = (np.hstack([0.4 * one, rng.normal(size=(2000, 1))]) for one in shared)
    lost = LossyCompression(k=1, fit_share=1).mutual_information(x, y)
    kept = LossyCompression(k=2, fit_share=1).mutual_information(x, y)
    assert lost.details["a explained_variance"] > 0.8
    assert abs(lost.value) < 0.05 and "lossy" in lost.flags
    assert kept.value > 1.2


def test_a_linear_model_shows_what_codes_lose():
    first = LossyCompression("first", "first")
    for mi in (0.0, 1.0):
        hidden = synthetic.hidden_pairs(2000, 32, mi, seed=1)
        lost = LossyCompression(k=2).mutual_information(*hidden)
        assert lost.value < 0.1 and ("lossy" in lost.flags) == (mi > 0)
        # The first pixels of a rectangle are the same nearly always.
        rectangles = synthetic.rectangle_images(2000, 16, mi, seed=1)
        lost = first.mutual_information(*rectangles)
        assert lost.value < 0.05 and ("lossy" in lost.flags) == (mi > 0)
    labels = (rectangles[0].mean(axis=(1, 2, 3)) > 0.2).astype(int)
    lost = first.with_labels(rectangles[0], labels)
    assert lost.value < 0.2 and "lossy" in lost.flags


def test_gaussian_images_by_components():
    for mi in (1.0, 3.0, 5.0):
        x, y = synthetic.gaussian_images(5000, 16, mi, seed=1)
        found = LossyCompression(k=3).mutual_information(x, y)
        assert found.value == pytest.approx(mi, rel=0.12)
        assert found.details["a explained_variance"] == pytest.approx(0.71, abs=0.03)
        assert found.n == 3500  # the other rows found the components
        # At 5 nats, the errors of the regressions are as large as the noise.
        assert mi > 3 or "lossy" not in found.flags
    two = LossyCompression(k=2).mutual_information(x, y)
    assert two.value < 0.85 * mi  # as much of the variance again, and half of the information
    assert "lossy" in two.flags and two.details["a left_out"] > 1


def test_a_sweep_stops_where_the_estimate_is_flat():
    x, y = synthetic.gaussian_images(3000, 16, 2.0, seed=3)
    found = LossyCompression(k=1, sweep=True).mutual_information(x, y)
    steps = {name: part.value for name, part in found.parts.items()}
    assert list(steps) == ["k=1", "k=2", "k=4", "k=8"]
    assert steps["k=1"] < steps["k=2"] < steps["k=4"]
    assert found.value == steps["k=4"] and found.details["k"] == 4
    narrow = LossyCompression(sweep=True).mutual_information(x[:, 0, :3, 0], y[:, 0, :3, 0])
    assert list(narrow.parts) == ["k=4"]


@pytest.mark.parametrize("name", ["pca+ksg", "pca+kl", "pca+wkl", "first+ksg"])
def test_names(name, mlp, inputs):
    x, y = inputs
    made = ib.estimators.get(name, k=2)
    assert f"{made.compress_x}+{made.estimator}" == name and str(made) == f"{name}(k=2)"
    wide = np.random.default_rng(0).normal(size=(900, 30))
    t = np.tanh(wide[:, :6] + 0.3 * np.random.default_rng(1).normal(size=(900, 6)))
    found = made.estimate(t, x=wide, y=(t[:, 0] > 0).astype(int), noise_std=0.3)
    assert np.isfinite(found.xt.value) and np.isfinite(found.ty.value)
    assert "no_noise" not in found.xt.flags
    table = ib.estimate(ib.instrument(mlp, 0.3), "pca+ksg", inputs=x, targets=y, layers="first")
    assert table["value"].notna().all()


def test_each_side_has_its_compressor_and_inputs_are_compressed_once(monkeypatch):
    x, y = synthetic.gaussian_images(1200, 12, 2.0, seed=0)
    layers = {"wide": y.reshape(1200, -1), "narrow": y[:, 6, :5, 0]}
    made = LossyCompression({"name": "ae", "convolutional": True, "epochs": 3}, "first", k=3, k_x=2)
    fits = []
    for cls in (PCA, Autoencoder, FirstCoordinates):
        original = cls.fit
        monkeypatch.setattr(
            cls,
            "fit",
            lambda self, x, seed=0, original=original: (
                fits.append((self.name, self.k, x.shape[1:])) or original(self, x, seed=seed)
            ),
        )
    labels = (x[:, 6, 6, 0] > x[:, 6, 6, 0].mean()).astype(int)
    table = ib.estimate(layers, [made], inputs=x, targets=labels)
    assert set(table["quantity"]) == {"I(X;T)", "I(T;Y)"}
    assert fits == [("ae", 2, (12, 12, 1)), ("first", 3, (144,)), ("first", 3, (5,))]
    assert set(table["estimator"]) == {"ae/first+ksg(k=3, k_x=2)"}
    alone = made.mutual_information(x, layers["wide"])
    assert table["value"][0] == pytest.approx(alone.value, abs=1e-9)
    again = ib.estimators.get(ib.estimators.to_json(LossyCompression(Autoencoder(noise=0.1))))
    assert again.compress_x["noise"] == 0.1
    assert abs(made.baseline(x, layers["wide"]).value) < 0.1


def test_all_rows_may_fit_and_be_estimated_from():
    x, y = synthetic.gaussian_images(900, 8, 2.0, seed=0)
    found = LossyCompression(k=3, fit_share=1.0).mutual_information(x, y)
    codes = [PCA(3).fit(v).transform(v) for v in (x, y)]
    assert found.n == 900
    assert found.value == pytest.approx(KSG(3).mutual_information(*codes).value, abs=1e-6)
    # What the components fit of independent rows is not taken for information.
    a, b = np.random.default_rng(0).normal(size=(2, 300, 200))
    none = LossyCompression(k=3, fit_share=1.0).mutual_information(a, b)
    assert abs(none.value) < 4 * none.stderr and "lossy" not in none.flags


@pytest.mark.parametrize("n", [30, 60, 100])
def test_what_codes_leave_out_is_flagged_or_cannot_be_found(n):
    """Two codes of twenty correlated pairs show 0.6 of 16.6 nats."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = rng.normal(size=(n, 20))
        y = 0.9 * x + math.sqrt(0.19) * rng.normal(size=x.shape)
        found = LossyCompression(k=2).mutual_information(x, y)
        assert {"lossy", "few_rows"} & set(found.flags)
    # Nothing is left out of variables that are not compressed.
    narrow = LossyCompression(k=2).mutual_information(x[:, :1], y[:, :1])
    assert not {"lossy", "few_rows"} & set(narrow.flags) or narrow.n < 24


@pytest.mark.parametrize("constant", [False, True])
def test_nothing_is_left_out_by_codes_that_are_all(constant):
    rng = np.random.default_rng(0)
    places = rng.uniform(size=(800, 2))
    a = np.sin(places @ rng.normal(size=(2, 30)))
    b = np.sin((places + 0.05 * rng.normal(size=(800, 2))) @ rng.normal(size=(2, 20)))
    if constant:
        places[:] = 1
    a, b = components(a), components(b)
    whole = left_out(a, b, places)
    # Constant codes leave out everything.
    assert whole.value > 1 if constant else whole.value <= 3 * whole.stderr < 0.05
    assert left_out(a, b, places[:, :1]).value > 1


def test_nothing_is_compressed_that_is_narrow():
    x, y = synthetic.correlated_gaussians(1000, 2, 1.0, seed=0)
    made = LossyCompression(k=4, seed=3)
    rest = np.random.default_rng(3).permutation(1000)[300:]
    expected = KSG(3).mutual_information(x[rest], y[rest]).value
    assert made.mutual_information(x, y).value == pytest.approx(expected, abs=1e-9)


def test_bad_input():
    x = np.random.default_rng(0).normal(size=(40, 6))
    for arguments in (
        {"compress_x": "zip"}, {"compress_t": {"name": "pca", "epochs": 3}}, {"k_x": 0},
        {"estimator": "ebab"}, {"k": 0}, {"fit_share": 1.1}, {"seed": -1},
        {"compress_t": "latent", "fit_share": 1.0},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
            LossyCompression(**arguments)
    with pytest.raises(ArgumentError, match="compressor is unknown"):
        ib.estimators.get("zip+ksg")
    with pytest.raises(ArgumentError, match="differ in length"):
        LossyCompression().mutual_information(x, x[:9])
    with pytest.raises(ArgumentError, match="`k` exceeds the size"):
        PCA(7).fit(x)
    with pytest.raises(ArgumentError, match="Convolutions need images"):
        Autoencoder(2, convolutional=True).fit(x)
    with pytest.raises(ArgumentError, match="x=None"):
        LossyCompression().estimate(x)


def test_rows_far_off_are_not_all_that_an_autoencoder_learns():
    rng = np.random.default_rng(0)
    x = np.tanh(rng.normal(size=(600, 2)) @ rng.normal(size=(2, 8)))
    usual = np.arange(600) % 100 != 0
    x[~usual] *= 1e5
    fitted = Autoencoder(k=2, epochs=40).fit(x)
    codes = fitted.transform(x)
    assert np.isfinite(codes).all() and codes[usual].std(axis=0).min() > 0.2
    assert fitted.quality["error"] < 0.3 * fitted.quality["error_of_mean"] < 0.3


def test_images_with_pixels_far_from_their_median_are_used():
    """Most images have 0 at the border, so that the others would seem far by single pixels."""
    x, _ = synthetic.gaussian_images(600, 12, 1.0, seed=0)
    np.testing.assert_array_equal(compressors._near(x.reshape(600, -1)), np.arange(600))
    x[::100] *= 1e4
    assert len(compressors._near(x.reshape(600, -1))) == 594


def test_rows_beyond_what_was_fitted():
    """The largest numbers there are: refused or as far as can be, and no warning."""
    rng = np.random.default_rng(0)
    x, far = rng.normal(size=(60, 3)), np.full((2, 3), np.finfo(float).max)
    fitted = PCA(k=1).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ArgumentError, match="too large to be compressed"):
            fitted.transform(far)
    x, far = x.astype("f4") / 100, np.full((2, 3), np.finfo("f4").max)
    assert np.isfinite(Autoencoder(k=1, epochs=2).fit(x).transform(far)).all()


def embedded(n, dim, mi, seed):
    """Pairs of two numbers of known information, in ``dim`` columns with ten louder ones."""
    rng = np.random.default_rng(seed)
    sides = []
    for shared in synthetic.correlated_gaussians(n, 2, mi, seed=seed):
        values = np.concatenate([shared, 3 * rng.normal(size=(n, 10))], axis=1)
        sides.append(values @ np.linalg.qr(rng.normal(size=(dim, 12)))[0].T)
    return sides


@pytest.mark.parametrize("mi", [0.0, 1.0])
def test_latent_codes_keep_information_of_little_variance(mi):
    x, y = embedded(1600, 100, mi, seed=0)
    latent = {"name": "latent", "epochs": 60, "patience": 20}
    found = LossyCompression(latent, latent, k=2, fit_share=0.5).mutual_information(x, y)
    assert found.value == pytest.approx(mi, abs=3 * found.stderr + 0.1 * mi)
    lost = LossyCompression(k=2, fit_share=0.5).mutual_information(x, y)
    assert abs(lost.value) < 3 * lost.stderr
    assert "lossy" not in found.flags
    assert ("lossy" in lost.flags) == (mi > 0)


def test_latent_codes_predict_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1600)
    a = 3 * rng.normal(size=(1600, 30))
    a[:, 0] = rng.normal(size=1600) + 3 * y
    found = ib.estimators.get("latent+ksg", k=1, compress_t=Latent(epochs=40)).with_labels(a, y)
    assert found.value == pytest.approx(0.53, abs=3 * found.stderr + 0.05)
    assert "lossy" not in found.flags
    lost = ib.estimators.get("pca+ksg", k=1).with_labels(a, y)
    assert lost.value < 0.1 and "lossy" in lost.flags


def test_latent_codes_belong_to_one_pair():
    """Inputs are compressed once for all layers, unless their codes depend on the layer."""
    x, y = embedded(400, 30, 2.0, seed=0)
    layers = {"told": y, "other": np.random.default_rng(1).normal(size=(400, 30))}
    made = LossyCompression({"name": "latent", "epochs": 5}, "pca", k=2)
    table = ib.estimate(layers, [made], inputs=x).set_index("layer")["value"]
    for name, layer in layers.items():
        assert table[name] == pytest.approx(made.mutual_information(x, layer).value, abs=1e-9)
    again = ib.estimators.get(ib.estimators.to_json(made))
    assert str(again) == "latent/pca+ksg(k=2)"
    with pytest.raises(ArgumentError, match=r"Expected .*Received: "):
        Latent(reconstruction=-1.0)
    with pytest.raises(ArgumentError, match="length"):
        Latent().fit(x, other=y[:100])
    with pytest.raises(ArgumentError, match="`k` exceeds"):
        Latent(40).fit(x, other=y)
