"""Tables, folders of images and saved data sets, as users have them."""

import gzip
import os
import struct

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from ib_keras import datasets
from ib_keras.arrays import memory
from ib_keras.errors import ArgumentError

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(20, 60, 30),
        "size": RNG.normal(size=30).round(3),
        "kind": np.array(["cat", "dog", "owl"])[np.arange(30) % 3],
        "fast": np.arange(30) % 2 == 0,
        "price": RNG.normal(size=30),
    }
)


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "t.parquet"])
def test_a_column_of_classes(name, tmp_path):
    path = write(FRAME, tmp_path / name)
    loaded = datasets.load(path, label="kind", seed=3)
    assert loaded.label_names == ("cat", "dog", "owl") and loaded.n_classes == loaded.n_outputs == 3
    assert loaded.arrays == ("age", "size", "fast", "price", "kind")
    assert loaded.x.dtype == np.float32 and loaded.y.dtype == np.int64
    rows = [np.flatnonzero(np.isclose(FRAME["price"], price))[0] for price in loaded.x[:, 3]]
    assert sorted(rows) == list(range(30)) and rows != sorted(rows)
    columns = ["age", "size", "fast", "price"]
    np.testing.assert_allclose(loaded.x, FRAME[columns].to_numpy(float)[rows], rtol=1e-6)
    np.testing.assert_array_equal(loaded.y, np.array(rows) % 3)
    assert datasets.check(path, label="kind") == str(path)


@pytest.mark.parametrize("label", ["price", ["size", "price"], "size,price", "size, price"])
def test_numbers_as_labels(label, tmp_path):
    frame = FRAME.drop(columns="kind")
    path = write(frame, tmp_path / "t.csv")
    loaded = datasets.load(path, label=label)
    names = ["price"] if label == "price" else ["size", "price"]
    assert (loaded.label_names, loaded.n_classes, loaded.n_outputs) == (None, 0, len(names))
    assert loaded.y.dtype == np.float64 and len(loaded.x_test) == 6
    by_row = frame.set_index("age")
    for x, y in zip(loaded.x, loaded.y.reshape(30, -1), strict=True):
        wanted = by_row.loc[[int(x[0])], names].to_numpy()
        assert np.isclose(wanted, y).all(axis=1).any()


@pytest.mark.parametrize("name", ["y", "Label", "target", "CLASS"])
def test_the_usual_name_of_a_label(name, tmp_path):
    frame = pd.DataFrame({"x": np.arange(12.0), name: np.arange(12) % 3})
    loaded = datasets.load(write(frame, tmp_path / "t.csv"))
    assert loaded.arrays == ("x", name) and loaded.n_classes == 3
    np.testing.assert_array_equal(loaded.x[:, 0] % 3, loaded.y)


def test_one_hot_columns_and_a_name_with_a_comma(tmp_path):
    frame = pd.DataFrame(
        {"x": np.arange(12.0), "a,b": np.arange(12) % 2, "c": 1 - np.arange(12) % 2}
    )
    path = write(frame, tmp_path / "t.csv")
    assert datasets.load(path, label="a,b").arrays == ("x", "c", "a,b")
    loaded = datasets.load(path, label=["a,b", "c"])
    assert loaded.n_classes == 2 and loaded.y.ndim == 1


def test_the_index_of_a_parquet_file_is_no_input(tmp_path):
    frame = FRAME.set_index("age")
    for label in ("price", "age"):
        if label == "age":
            with pytest.raises(ArgumentError, match="`label` names no column.*'age'"):
                datasets.load(
                    write(frame.drop(columns="kind"), tmp_path / "t.parquet"), label=label
                )
        else:
            path = write(frame.drop(columns="kind"), tmp_path / "t.parquet")
            assert datasets.load(path, label=label).arrays == ("size", "fast", "price")


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        ("", None, "cannot be read"),
        ("a,y\n", None, "has no rows"),
        ("a,b\n1,2\n", None, "not clear which column.*label=….*the columns 'a', 'b'"),
        ("a,y,class\n1,2,3\n", None, "not clear which column.*'y', 'class'"),
        ("a,b\n1,2\n", "c", "`label` names no column of .*: 'c'.*'a', 'b'"),
        ("a,b\n1,2\n", "a,c", "`label` names no column of .*: 'c'"),
        ("a,b\n1,2\n", ["b", "b"], "repeats a name"),
        ("a,b\n1,2\n", [], "`label` is empty"),
        ("a,b\n1,2\n", "a,b", "has no inputs"),
        ("a;b\n1;2\n", "a;b", "has no inputs.*separated by commas.*'a;b'"),
        ("a,a,y\n1,2,3\n", "y", "columns in .* are repeated.*'a'"),
        (",a,y\n0,1,2\n", "y", "columns in .* are missing.*index=False"),
        ("a,city,y\n1,Rome,0\n2,Oslo,1\n", "y",
         r"not numbers.*get_dummies\(frame, columns=\['city'\]\).*'city' with 'Rome'"),
        ("a,day,y\n1,2020-01-01,0\n2,2020-01-02,1\n", "y", "not numbers.*'day'"),
        ("a,b,y\n1,,0\nnan,,1\n1,1,0\ninf,2,0\n", "y",
         "missing or not finite.*3 of 4 rows, by column: 'a' 2, 'b' 2"),
        ("a,y\n1,0\n2,\n3,1\n", "y", "`y` has NaN.*1 of 3 rows"),
        ("a,y\n1,cat\n2,\n3,dog\n", "y", "`y` has missing labels"),
        ("a,y,z\n1,cat,1\n2,dog,3\n", "y,z", "not numbers.*'y'"),
        ("a,y\n1,2,3\n4,5,6\n", "y", "cannot be read"),
        ("a,y\n1,2\n4,5,6\n", "y", "cannot be read"),
        ('a,y\n"1,2\n', "y", "cannot be read"),
        ("a,y\n" + "\n".join(f"{i},{i}" for i in range(30)), "y", "`y` is an identifier"),
    ],
)  # fmt: skip
def test_tables_that_are_not_clear(text, label, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ArgumentError, match=message) as error:
        datasets.load(tmp_path / "t.csv", label=label)
    assert error.value.expected and "\n" not in str(error.value)


def test_columns_are_checked_without_reading_the_rows(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    for name, arguments in (("t.csv", {}), ("t.csv", {"label": "c"})):
        with pytest.raises(ArgumentError, match="column"):
            datasets.check(tmp_path / name, **arguments)
    (tmp_path / "t.csv").write_text("a,y\nRome,2\n")
    datasets.check(tmp_path / "t.csv")
    with pytest.raises(ArgumentError, match="not numbers"):
        datasets.load(tmp_path / "t.csv")


def test_damaged_tables(tmp_path):
    write(FRAME, tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[:-20])
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(FRAME.to_csv().encode())[:-10])
    (tmp_path / "plain.csv.gz").write_bytes(b"a,y\n1,2\n")
    (tmp_path / "latin.csv").write_bytes("a,y\n1,Ä\n".encode("latin-1"))
    nested = pd.DataFrame({"a": [[1, 2], [3]], "y": [0, 1]})
    nested.to_parquet(tmp_path / "nested.parquet")
    for name, message in (
        ("t.parquet", "cannot be read.*a parquet file"),
        ("t.csv.gz", "cannot be read"),
        ("plain.csv.gz", "cannot be read"),
        ("latin.csv", "cannot be read.*UTF-8"),
        ("nested.parquet", "not numbers.*'a'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            datasets.load(tmp_path / name, label="y" if name != "t.parquet" else "kind")


def test_tables_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    frame = pd.DataFrame({"x": np.zeros(30000), "y": np.arange(30000) % 2})
    paths = [write(frame, tmp_path / name) for name in ("t.csv.gz", "t.csv", "t.parquet")]
    assert max(path.stat().st_size for path in (paths[0], paths[2])) < 60000
    monkeypatch.setattr(memory, "available", lambda: 400_000)
    for path in paths:
        with pytest.raises(ArgumentError, match="is too large.*the memory available"):
            datasets.load(path)


def picture(value, height=4, width=6, channels=3):
    return np.full((height, width, channels), value, np.uint8)


def save(array, path, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = kind or path.suffix
    encode = tf.io.encode_png if kind == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(array).numpy())


def bitmap(array):
    """A BMP file of 24 bits, with its rows from the bottom and padded to 4 bytes."""
    height, width, _ = array.shape
    rows = array[::-1, :, ::-1].reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(padded), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(padded), 0, 0, 54) + header + padded


@pytest.fixture
def pictures(tmp_path):
    """Images of the classes a and b, whose brightness is their number."""
    for i in range(10):
        save(picture(10 * i), tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png")
    return tmp_path / "pictures"


def test_a_folder_of_images(pictures):
    (pictures / "a" / "notes.txt").touch()
    (pictures / ".cache").mkdir()
    (pictures / "list.csv").touch()
    (pictures / "b" / "deep").mkdir()
    save(picture(100), pictures / "b" / "deep" / "10.png")
    loaded = datasets.load(pictures, seed=1)
    assert loaded.x.shape == (11, 4, 6, 3) and loaded.x.dtype == np.uint8
    assert loaded.label_names == ("a", "b") and loaded.arrays == ()
    for image, label in zip(loaded.x, loaded.y, strict=True):
        assert (image == image[0, 0, 0]).all() and image[0, 0, 0] // 10 % 2 == (
            label if image[0, 0, 0] < 100 else 0
        )
    again = datasets.load(str(pictures), seed=1)
    np.testing.assert_array_equal(again.x, loaded.x)
    assert not np.array_equal(datasets.load(pictures, seed=2).x, loaded.x)
    # Keras gives the classes the same numbers.
    import keras

    theirs = keras.utils.image_dataset_from_directory(pictures, image_size=(4, 6), verbose=False)
    assert theirs.class_names == list(loaded.label_names)


def test_training_and_test_images(tmp_path):
    for part, number in (("train", 12), ("test", 6)):
        for i in range(number):
            save(picture(i), tmp_path / "d" / part / "xy"[i % 2] / f"{i}.png")
    save(picture(0), tmp_path / "d" / "val" / "x" / "0.png")
    loaded = datasets.load(tmp_path / "d")
    assert (len(loaded.x_train), len(loaded.x_test)) == (12, 6) and loaded.valid is None
    with pytest.raises(ArgumentError, match="one class only"):
        datasets.load(tmp_path / "d", valid=True)
    np.testing.assert_array_equal(loaded.x_train[:, 0, 0, 0] % 2, loaded.y_train)
    assert not (np.diff(loaded.y_train) >= 0).all()  # not in the order of the classes
    # Classes of these names have no folders inside.
    for name in ("train", "test"):
        for i in range(4):
            save(picture(i), tmp_path / "vehicles" / name / f"{i}.png")
    assert datasets.load(tmp_path / "vehicles", test_fraction=0.5).label_names == ("test", "train")


def test_image_formats(tmp_path):
    gray = picture(7, channels=1)
    for i, (name, content) in enumerate((
        ("a.png", tf.io.encode_png(picture(50)).numpy()),
        ("b.png", tf.io.encode_png(gray).numpy()),
        ("c.png", tf.io.encode_png(picture(60, channels=4)).numpy()),
        ("d.jpg", tf.io.encode_jpeg(picture(70)).numpy()),
        ("e.JPEG", tf.io.encode_jpeg(gray).numpy()),
        ("f.bmp", bitmap(picture(80))),
        ("g.png", tf.io.encode_jpeg(picture(90)).numpy()),  # the suffix does not matter
        ("h.jpg", tf.io.encode_png(tf.cast(picture(100), tf.uint16) * 256).numpy()),
    )):  # fmt: skip
        folder = tmp_path / "d" / "xy"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    loaded = datasets.load(tmp_path / "d", test_fraction=0.5)
    assert loaded.x.shape == (8, 4, 6, 3)
    values = sorted(int(image.mean()) for image in loaded.x)
    assert values == [7, 7, 50, 60, 70, 80, 90, 100]


def test_pixels_are_those_that_viewers_show(tmp_path):
    """Palettes, 1 and 16 bits, CMYK, WebP, TIFF and photographs that lie on their side."""
    red, blue = (200, 30, 40), (10, 60, 220)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = red, blue
    whole = Image.fromarray(pixels)
    on_its_side = Image.fromarray(np.rot90(pixels))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by a quarter
    for i, (name, image, options) in enumerate((
        ("a.bmp", whole.quantize(256), {}),
        ("b.png", whole.quantize(4), {}),
        ("c.gif", whole.quantize(4), {}),
        ("d.webp", whole, {"lossless": True}),
        ("e.tiff", whole, {}),
        ("f.jpg", whole.convert("CMYK"), {"quality": 100, "subsampling": 0}),
        ("g.jfif", on_its_side, {"exif": turned, "quality": 100, "subsampling": 0}),
        ("h.png", whole.convert("RGBA"), {}),
    )):  # fmt: skip
        folder = tmp_path / "d" / "xy"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, format="JPEG" if name[0] == "g" else None, **options)
    loaded = datasets.load(tmp_path / "d", test_fraction=0.5)
    assert loaded.x.shape == (8, 8, 8, 3)
    for image in loaded.x:
        for column, colour in ((0, red), (3, red), (4, blue), (7, blue)):
            assert np.abs(image[:, column].astype(int) - colour).max() < 12
    for i, image in enumerate((Image.new("1", (5, 4), 1), Image.fromarray(picture(9)[..., 0]),
                               Image.fromarray(np.full((4, 5), 9 << 8, np.uint16)))):  # fmt: skip
        for part in "xy":
            (tmp_path / "grey" / part).mkdir(parents=True, exist_ok=True)
            image = image.resize((6, 4), 0)
            image.save(tmp_path / "grey" / part / f"{i}.{'png' if i == 2 else 'bmp'}")
    grey = datasets.load(tmp_path / "grey", test_fraction=0.5)
    assert grey.x.shape == (6, 4, 6, 1) and set(grey.x.ravel()) == {9, 255}


def test_what_lies_beside_the_images(pictures):
    before = datasets.load(pictures)
    for place in ("a/.ipynb_checkpoints", "__MACOSX", "b/__MACOSX", ".hidden"):
        save(picture(200), pictures / place / "copy.png")
    (pictures / "a" / "Thumbs.db").touch()
    (pictures / "a" / "folder.png").mkdir()
    os.mkfifo(pictures / "a" / "pipe.png")
    (pictures / "b" / "above").symlink_to(pictures)
    np.testing.assert_array_equal(datasets.load(pictures).x, before.x)
    (pictures.parent / "elsewhere").mkdir()
    save(picture(110), pictures.parent / "elsewhere" / "11.png")
    (pictures / "b" / "link").symlink_to(pictures.parent / "elsewhere")
    assert len(datasets.load(pictures).x) == len(before.x) + 1


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("TRAIN", "val"), ("training", "testing"), ("train", "valid"),
              ("training_set", "test_set"), ("train", "validation")],
)  # fmt: skip
def test_other_names_of_the_parts(names, tmp_path):
    for part, number in zip(names, (12, 6), strict=True):
        for i in range(number):
            save(picture(i), tmp_path / "d" / part / "xy"[i % 2] / f"{i}.png")
    loaded = datasets.load(tmp_path / "d", valid=True)
    assert (len(loaded.x_train), len(loaded.x_test)) == (12, 6) and loaded.valid is None
    assert loaded.label_names == ("x", "y")


@pytest.mark.parametrize(
    "files",
    [
        ["train/x/0.png", "train/y/0.png", "test/0.png"],  # as competitions are published
        ["train/x/0.png", "train/y/0.png"],
        ["val/x/0.png", "val/y/0.png", "test/x/0.png", "test/y/0.png"],
        ["train/x/0.png", "train/y/0.png", "Train/x/0.png", "test/x/0.png", "test/y/0.png"],
        ["train/x/0.png", "train/y/0.png", "car/0.png"],
    ],
)
def test_parts_that_are_not_clear(files, tmp_path):
    for name in files:
        save(picture(1), tmp_path / "d" / name)
    for call in (datasets.check, datasets.load):
        with pytest.raises(ArgumentError, match="The parts of .* are not clear"):
            call(tmp_path / "d")


@pytest.mark.parametrize(
    ("train", "test"),
    [("u1", "i8"), ("u1", "f4"), ("f4", "f4 of 1"), ("f8 of 1", "f8")],
)
def test_parts_of_different_scales_are_refused(train, test, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3))

    def typed(kind):
        return (images / 255 if kind.endswith("1") and " " in kind else images).astype(kind[:2])

    y = np.arange(40) % 2
    np.savez(tmp_path / "d.npz", x_train=typed(train), y_train=y, x_test=typed(test), y_test=y)
    with pytest.raises(ArgumentError, match="images differ in scale"):
        datasets.load(tmp_path / "d.npz")


def test_inputs_that_no_network_can_use(tmp_path):
    x = np.zeros((20, 3, 8, 8), np.uint8)
    np.savez(tmp_path / "first.npz", x=x, y=np.arange(20) % 2)
    with pytest.raises(ArgumentError, match=r"channels of the images come first.*moveaxis"):
        datasets.load(tmp_path / "first.npz", image_size=4)
    for shape, bad in (((20, 8, 8), np.nan), ((20, 5), np.inf)):
        x = np.zeros(shape)
        x[3, 2] = bad
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(20) % 2)
        with pytest.raises(ArgumentError, match="NaN or infinite values.*1 of 20 rows"):
            datasets.load(tmp_path / "d.npz")


def test_names_of_files_and_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 5)), y=np.arange(20) % 2)
    (tmp_path / "d.npz").rename(tmp_path / "D.NPZ")
    assert datasets.load("~/D.NPZ").x.shape == (20, 5)
    FRAME.to_csv(tmp_path / "T.CSV", index=False)
    assert datasets.load(tmp_path / "T.CSV", label="kind").n_classes == 3
    with pytest.raises(ArgumentError, match="There is no folder '.*photos', and no file"):
        datasets.load("~/photos")


def test_classes_without_training_rows_are_told(tmp_path, caplog):
    x = np.random.default_rng(0).normal(size=(12, 4))
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(12) % 2,
             x_test=x, y_test=np.arange(12) % 3)  # fmt: skip
    with caplog.at_level("WARNING"):
        datasets.load(tmp_path / "d.npz")
    assert "no rows of the classes [2]" in caplog.text


def test_grey_images_have_one_channel(tmp_path):
    for i in range(6):
        save(picture(i, channels=1), tmp_path / "d" / "xy"[i % 2] / f"{i}.png")
    assert datasets.load(tmp_path / "d", test_fraction=0.4).x.shape == (6, 4, 6, 1)


@pytest.mark.parametrize(
    ("size", "shape"),
    [("8", (8, 8)), ("2x3", (2, 3)), (5, (5, 5)), ((3, 9), (3, 9)), ("4x6", (4, 6))],
)
def test_resized_images(size, shape, pictures):
    save(picture(100, 9, 5), pictures / "a" / "large.png")
    loaded = datasets.load(pictures, image_size=size)
    assert loaded.x.shape == (11, *shape, 3) and loaded.x.dtype == np.uint8
    assert sorted(loaded.x.mean(axis=(1, 2, 3))) == [*range(0, 100, 10), 100]


def test_a_validation_part(tmp_path):
    """CINIC-10 has the folders train, valid and test; files have arrays of these names."""
    for part, number in (("train", 12), ("test", 6), ("valid", 8)):
        for i in range(number):
            save(picture(10 * i), tmp_path / "d" / part / "xy"[i % 2] / f"{i}.png")
    loaded = datasets.load(tmp_path / "d", valid=True, seed=1)
    x, y = loaded.valid
    assert (len(loaded.x_train), len(loaded.x_test), x.shape) == (12, 6, (8, 4, 6, 3))
    np.testing.assert_array_equal(x[:, 0, 0, 0] // 10 % 2, y)
    plain = datasets.load(tmp_path / "d", seed=1)
    assert plain.valid is None
    np.testing.assert_array_equal(plain.x, loaded.x)
    small = datasets.load(tmp_path / "d", valid=True, image_size=2, seed=1)
    assert {part[0].shape[1:] for part in (*small, small.valid)} == {(2, 2, 3)}
    arrays = dict(zip(("x_train", "y_train"), loaded.train, strict=True))
    arrays |= dict(zip(("x_test", "y_test"), loaded.test, strict=True))
    for names in (("x_valid", "y_valid"), ("x_val", "y_val"), ("validation_images", "valLabels")):
        third = dict(zip(names, loaded.valid, strict=True))
        np.savez(tmp_path / "d.npz", **arrays, **third)
        again = datasets.load(tmp_path / "d.npz", valid=True)
        if names[0].startswith("x"):
            np.testing.assert_array_equal(again.valid[0], x)
            assert again.arrays == (*arrays, *names)
        else:  # not one part: the inputs and the labels have different names
            assert again.valid is None
        assert datasets.load(tmp_path / "d.npz").valid is None
    for part, rows in (("train", 20), ("test", 10), ("validation", 6)):
        tf.data.Dataset.from_tensor_slices((X[:rows], Y[:rows])).save(str(tmp_path / "s" / part))
    assert len(datasets.load(tmp_path / "s", valid=True).valid[0]) == 6
    # Labels of all parts have the same codes, and parts the same shape.
    np.savez(tmp_path / "t.npz", **arrays, x_valid=x, y_valid=np.full(len(x), 7))
    both = datasets.load(tmp_path / "t.npz", valid=True)
    assert both.label_names == (0, 1, 7) and set(both.valid[1]) == {2}
    np.savez(tmp_path / "u.npz", **arrays, x_valid=x[:, :2], y_valid=y)
    with pytest.raises(ArgumentError, match="differ in shape"):
        datasets.load(tmp_path / "u.npz", valid=True)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_of_files_are_resized_by_area(kind, channels, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (9, 8, 12, *channels)).astype(kind)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(9) % 2)
    loaded = datasets.load(tmp_path / "d.npz", image_size="4x3", seed=0)
    assert loaded.x.dtype == kind and loaded.x.shape == (9, 4, 3, *channels)
    whole = datasets.load(tmp_path / "d.npz", seed=0).x.astype(float)
    means = whole.reshape(9, 4, 2, 3, 4, *channels).mean(axis=(2, 4))
    np.testing.assert_allclose(loaded.x, means.round() if kind == "uint8" else means, atol=1e-3)
    larger = datasets.load(tmp_path / "d.npz", image_size="16x24", seed=0).x
    assert larger.shape == (9, 16, 24, *channels)
    assert abs(larger.mean() - whole.mean()) < 2 and larger.dtype == kind


def test_inputs_that_are_no_images_are_not_resized(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((9, 4)), y=np.arange(9) % 2)
    with pytest.raises(ArgumentError, match=r"`image_size` does not apply.*float64\[9, 4\]"):
        datasets.load(tmp_path / "d.npz", image_size=2)
    with pytest.raises(ArgumentError, match="`image_size` is invalid"):
        datasets.check("cifar10", image_size="large")


@pytest.mark.parametrize("size", ["x", "0", "3x", "3x4x5", "-1", 0, (1, 2, 3), 2.5, True])
def test_sizes_that_are_none(size, pictures):
    with pytest.raises(ArgumentError, match="`image_size` is invalid"):
        datasets.check(pictures, image_size=size)


def test_images_that_do_not_go_together(pictures, monkeypatch, tmp_path):
    save(picture(1, 8, 8), pictures / "b" / "other.png")
    with pytest.raises(ArgumentError, match=r"differ in size.*image_size=.*(4x6.*8x8|8x8.*4x6)"):
        datasets.load(pictures)
    (pictures / "b" / "other.png").unlink()
    for content, message in (
        (b"", "kinds BMP, GIF.*cannot identify"),
        (b"text", "cannot identify"),
        (b"\xff\xd8\xff\xe0", "Received: "),
        (b"\xff\xd8" + bytes(40), "Received: "),
        (tf.io.encode_png(picture(1)).numpy()[:40], "Received: "),
        (tf.io.encode_jpeg(picture(1)).numpy()[:-10], "[Tt]runcated"),
    ):
        (pictures / "a" / "damaged.png").write_bytes(content)
        with pytest.raises(ArgumentError, match=f"damaged.png' cannot be read.*{message}"):
            datasets.load(pictures)
    # A small file that declares a large image.
    bomb = bytearray(tf.io.encode_png(picture(1)).numpy())
    bomb[16:24] = struct.pack(">II", 10**6, 10**6)
    (pictures / "a" / "damaged.png").write_bytes(bomb)
    with pytest.raises(ArgumentError, match=r"damaged.png' cannot be read"):
        datasets.load(pictures, image_size=8)
    (pictures / "a" / "damaged.png").unlink()
    monkeypatch.setattr(memory, "available", lambda: 400)
    with pytest.raises(ArgumentError, match="too large.*the memory available"):
        datasets.load(pictures, image_size=8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no images by class.*an empty folder"),
        (["1.png", "2.png"], "has no images by class.*'1.png', '2.png'"),
        (["a/1.png"], "one class only.*'a'"),
        (["a/1.png", "b/2.txt"], "Folders of .* have no images.*none in 'b'"),
        (["a/1.txt", "b/2.txt"], "has no images by class.*tf.data.Dataset.save.*'a', 'b'"),
        (["train/a/1.png", "test/a/1.png"], "one class only"),
    ],
)
def test_folders_without_classes(files, message, tmp_path):
    (tmp_path / "d").mkdir()
    for name in files:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).touch()
    for call in (datasets.check, datasets.load):
        with pytest.raises(ArgumentError, match=message):
            call(tmp_path / "d")


X, Y = RNG.normal(size=(30, 5)).astype("f4"), np.arange(30) % 3


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d,
        lambda d: d.batch(8),
        lambda d: d.batch(10, drop_remainder=True),
        lambda d: d.map(lambda x, y: {"features": x, "label": y}),
        lambda d: d.batch(7).map(lambda x, y: {"label": y, "features": x}),
        lambda d: d.map(lambda x, y: (x, tf.one_hot(y, 3))),
        lambda d: d.map(lambda x, y: (x, tf.one_hot(y, 3))).batch(4),
        lambda d: d.map(lambda x, y: (x, tf.gather(["ant", "bee", "cow"], y))),
    ],
)
def test_saved_data_sets(make, tmp_path):
    make(tf.data.Dataset.from_tensor_slices((X, Y))).save(str(tmp_path / "d"))
    loaded = datasets.load(tmp_path / "d")
    assert loaded.n_classes == 3 and loaded.x.shape == (30, 5)
    order = [np.flatnonzero((X == x).all(axis=1))[0] for x in loaded.x]
    assert sorted(order) == list(range(30))
    np.testing.assert_array_equal(loaded.y, Y[order])
    assert datasets.check(tmp_path / "d") == str(tmp_path / "d")


def test_saved_data_sets_of_numbers_and_of_two_parts(tmp_path):
    rows = tf.data.Dataset.from_tensor_slices({"a": X, "b": X[:, :2] + 1, "c": X[:, :1]})
    one = rows.map(lambda row: {"a": row["a"], "b": row["b"]})
    one.save(str(tmp_path / "d" / "train"), compression="GZIP")
    one.take(5).batch(2).save(str(tmp_path / "d" / "test"))
    loaded = datasets.load(tmp_path / "d", label="b")
    assert loaded.label_names is None and loaded.n_outputs == 2
    assert (len(loaded.x_train), len(loaded.x_test)) == (30, 5)
    np.testing.assert_allclose(loaded.y_test, X[:5, :2] + 1)
    # An image with as many rows as there are classes, and its one-hot label.
    images = np.zeros((12, 3, 2), "f4")
    pairs = tf.data.Dataset.from_tensor_slices((images, np.eye(3, dtype="f4")[np.arange(12) % 3]))
    pairs.save(str(tmp_path / "e"))
    assert datasets.load(tmp_path / "e").x.shape == (12, 3, 2)


def test_saved_data_sets_of_another_form(tmp_path):
    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    ragged = tf.data.Dataset.from_generator(
        lambda: iter([(np.zeros(2), 0), (np.zeros(3), 1)]),
        output_signature=(tf.TensorSpec((None,)), tf.TensorSpec((), tf.int64)),
    )
    for i, (data, arguments, message) in enumerate((
        (rows.map(lambda x, y: x), {}, "elements of another form"),
        (rows.map(lambda x, y: (x, y, 1.0)), {}, "elements of another form"),
        (rows.map(lambda x, y: ({"a": x, "b": x}, y)), {}, "elements of another form.*'a'"),
        (rows.map(lambda x, y: {"a": x, "b": x, "y": y}), {}, "elements of another form"),
        (rows.map(lambda x, y: {"a": x, "b": y}), {}, "not clear which key.*'a', 'b'"),
        (rows.map(lambda x, y: {"a": x, "b": y}), {"label": "c"}, "names no key"),
        (rows, {"label": "y"}, "`label` does not apply"),
        (rows.take(0), {}, "is empty"),
        (ragged, {}, "cannot be read.*of one shape.*different shapes"),
    )):  # fmt: skip
        data.save(str(tmp_path / f"d{i}"))
        with pytest.raises(ArgumentError, match=message):
            datasets.load(tmp_path / f"d{i}", **arguments)
    rows.save(str(tmp_path / "damaged"))
    (shard,) = (tmp_path / "damaged").rglob("*.snapshot")
    shard.write_bytes(shard.read_bytes()[:300])
    with pytest.raises(ArgumentError, match="damaged' cannot be read"):
        datasets.load(tmp_path / "damaged")
    (tmp_path / "damaged" / "dataset_spec.pb").write_bytes(b"\x01none")
    with pytest.raises(ArgumentError, match="damaged' cannot be read"):
        datasets.load(tmp_path / "damaged")


def test_a_saved_data_set_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    tf.data.Dataset.from_tensor_slices((X, Y)).repeat(100).save(str(tmp_path / "d"))
    monkeypatch.setattr(memory, "available", lambda: 20_000)
    with pytest.raises(ArgumentError, match="too large"):
        datasets.load(tmp_path / "d")


def test_arguments_that_do_not_apply(tmp_path, pictures):
    np.savez(tmp_path / "d.npz", x=np.zeros((9, 2)), y=np.arange(9) % 2)
    write(FRAME, tmp_path / "t.csv")
    for data, arguments in (
        ("digits", {"label": "y"}),
        ("digits", {"image_size": 8}),
        (tmp_path / "d.npz", {"label": "y"}),
        (tmp_path / "t.csv", {"label": "kind", "image_size": 8}),
        (pictures, {"label": "a"}),
    ):
        name = "image_size" if "image_size" in arguments else "label"
        for call in (datasets.check, datasets.load):
            with pytest.raises(ArgumentError, match=f"`{name}` does not apply"):
                call(data, **arguments)


def test_names_come_before_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert datasets.load("digits").x.shape == (1797, 64)
    with pytest.raises(ArgumentError, match="unknown.*a folder of images by class"):
        datasets.check("nothing")


def test_arrays_of_numbers(tmp_path):
    x, y = RNG.normal(size=(20, 2)), RNG.normal(size=20)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y[:, None], x_test=x[:5], y_test=y[:5, None])
    loaded = datasets.load(tmp_path / "d.npz")
    assert loaded.label_names is None and loaded.y_train.shape == (20,)
    np.testing.assert_array_equal(loaded.y_test, y[:5])
    np.savez(tmp_path / "d.npz", x=x, y=np.round(x).astype(int))
    assert datasets.load(tmp_path / "d.npz").n_outputs == 2
    np.savez(tmp_path / "d.npz", x=x, y=RNG.normal(size=(20, 2, 2)))
    with pytest.raises(ArgumentError, match="neither classes nor numbers"):
        datasets.load(tmp_path / "d.npz")
