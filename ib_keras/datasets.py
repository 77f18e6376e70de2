"""Data sets by name or from a file."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from ib_keras.arrays.checks import check_seed, check_share
from ib_keras.arrays.labels import are_labels, encode_labels
from ib_keras.errors import ArgumentError, DataUnavailableError
from ib_keras.storage import data_files, images

# The ratio between the largest values of two parts of images above which their scales differ.
_MOST_APART = 100
_KERAS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
# Known data sets that users must download themselves.
_BY_PATH = {"cinic10": "CINIC-10, a folder with the folders train, valid and test"}

# The 12 bits are the vertices of an icosahedron. Each row of _FAR lists the five far neighbours of
# a vertex; the other five besides the antipode are near.
_ANTIPODE = (9, 7, 5, 6, 10, 2, 3, 1, 11, 0, 4, 8)
_FAR = (
    (2, 4, 6, 7, 8), (5, 6, 8, 9, 10), (0, 6, 7, 10, 11), (4, 5, 7, 9, 11),
    (0, 3, 5, 7, 8), (1, 3, 4, 8, 9), (0, 1, 2, 8, 10), (0, 2, 3, 4, 11),
    (0, 1, 4, 5, 6), (1, 3, 5, 10, 11), (1, 2, 6, 9, 11), (2, 3, 7, 9, 10),
)  # fmt: skip


class _Parts(NamedTuple):
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


class Dataset(_Parts):
    """Inputs and labels of the training and the test part, which unpack like Keras's data sets.

    Attributes:
        train: ``(x, y)`` of the training part, with inputs x ``(n, ...)`` and class codes 0…K−1 as
            y ``(n,)``, or numbers as y ``(n,)`` or ``(n, k)``.
        test: ``(x, y)`` of the test part.
        valid: ``(x, y)`` of the validation part, if it was loaded; otherwise ``None``.
        label_names: the K labels in the order of their codes; 0…K−1 by default. ``None`` if y are
            numbers rather than classes.
        arrays: the names of the arrays or columns that were read from a file; empty for data
            without names.
    """

    valid: tuple[np.ndarray, np.ndarray] | None
    label_names: tuple[str | int, ...] | None
    arrays: tuple[str, ...]

    def __new__(  # noqa: D102
        cls,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        label_names: Sequence[str | int] | None = None,
        arrays: Sequence[str] = (),
        valid: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Dataset:
        dataset = super().__new__(cls, train, test)
        dataset.valid = valid
        if label_names is None and are_labels(np.concatenate([train[1], test[1]])):
            label_names = range(int(max(train[1].max(), test[1].max())) + 1)
        dataset.label_names = None if label_names is None else tuple(label_names)
        dataset.arrays = tuple(arrays)
        return dataset

    def __repr__(self) -> str:
        parts = {"train": self.train, "test": self.test, "valid": self.valid}
        rows = ", ".join(f"{name}: {len(p[0])} rows" for name, p in parts.items() if p is not None)
        labels = f"{self.n_classes} classes" if self.label_names else "numbers as labels"
        return f"Dataset({rows} of shape {np.shape(self.x_train)[1:]}, {labels})"

    @property
    def x_train(self) -> np.ndarray:
        """Inputs of the training part."""
        return self.train[0]

    @property
    def y_train(self) -> np.ndarray:
        """Labels of the training part."""
        return self.train[1]

    @property
    def x_test(self) -> np.ndarray:
        """Inputs of the test part."""
        return self.test[0]

    @property
    def y_test(self) -> np.ndarray:
        """Labels of the test part."""
        return self.test[1]

    @property
    def x(self) -> np.ndarray:
        """The inputs of the training part, then those of the test part."""
        return np.concatenate([self.x_train, self.x_test])

    @property
    def y(self) -> np.ndarray:
        """The labels of the training part, then those of the test part."""
        return np.concatenate([self.y_train, self.y_test])

    @property
    def n_classes(self) -> int:
        """Number of classes in both parts together; 0 if the labels are numbers."""
        return len(self.label_names or ())

    @property
    def n_outputs(self) -> int:
        """Number of outputs of a network: one for each class, or for each number of a label."""
        return self.n_classes or int(np.prod(self.y_train.shape[1:], dtype=int))


def names() -> list[str]:
    """Return the names of data sets that ``load`` accepts."""
    return sorted(["four_points", "szt", "digits", "digit_images", *_KERAS])


def load(
    name_or_path: str | os.PathLike,
    *,
    label: str | Sequence[str] | None = None,
    image_size: str | int | Sequence[int] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    valid: bool = False,
) -> Dataset:
    """Load a data set.

    The data have one of these forms:

    * a name. ``"szt"`` (the 12-bit task), ``"four_points"`` (−3, −1, 1 against 3), ``"digits"``
      (scikit-learn's 8×8 handwritten digits, as 64 numbers k/16) and ``"digit_images"`` (the same
      as images 8×8×1) need no download. Keras downloads ``"mnist"``, ``"fashion_mnist"``,
      ``"cifar10"`` and ``"cifar100"``.
    * an ``.npz`` or ``.mat`` file with the arrays ``x_train, y_train, x_test, y_test``, or
      ``x, y``. x may also be called ``X``, ``F``, ``data``, ``inputs``, ``features`` or ``images``,
      and y ``labels``, ``targets`` or ``classes``, if only one array has such a name. Arrays
      ``x_valid, y_valid`` (or ``val``, ``validation``) are a third part.
    * a table, ``.csv`` or ``.tsv`` (also compressed, ``.csv.gz``) with the names of the columns in
      its first line, or ``.parquet``. The columns that ``label`` names are y; all others are inputs
      and must be numbers.
    * a folder with a subfolder of images for each class, or a folder that contains such folders
      ``train`` and ``test``, and perhaps ``valid``, as CINIC-10 does. The images are returned as
      8-bit numbers, with one channel if all images are grey.
    * a folder that ``tf.data.Dataset.save`` wrote, or a folder that contains such folders
      ``train`` and ``test``, and perhaps ``valid``. The elements are ``(x, y)`` or dictionaries,
      in batches or not.

    Labels are classes if they are integers of any kind, booleans, texts, integers stored as floats
    (with few different values), or one-hot rows. Other floats, and matrices that are not one-hot,
    are numbers, for a regression.

    Args:
        name_or_path: the name of a data set, or the path of a file or folder.
        label: the name of the labels in a table, or in a saved data set whose elements are
            dictionaries. Several columns of numbers, as a list or as ``"a,b"``, are one label
            ``(n, k)``. ``None`` for the only name that is y, label, target or class.
        image_size: the height and width to which images are resized, as ``(h, w)``, ``"hxw"`` or
            one number; ``None`` for no change. If images shrink, each new pixel is the mean over an
            area.
        test_fraction: share of the rows in the test part, for data without a split. The split is
            shuffled, and stratified by class. (The 12-bit task in counting order must not be split
            without shuffling: p(y=1) is 0.44 in its first 80 % and 0.84 in the rest.)
        seed: seed of the split, and of the order of the images of a folder.
        valid: whether to load the validation part as well, if the data have one.

    Returns:
        A ``Dataset``, which ``(x_train, y_train), (x_test, y_test) = load(...)`` unpacks. The
        labels of both parts are codes 0…K−1, and ``label_names`` are the labels; or the labels are
        numbers, and ``label_names`` is ``None``.

    Raises:
        ArgumentError: If the name is unknown; if a file is missing, damaged, larger than the
            available memory, or lacks arrays; if it is not clear which column has the labels; if
            inputs are not finite numbers; or if images differ in size.
        DataUnavailableError: If a download failed.

    Example::

        data = ib_keras.datasets.load("houses.csv", label="price")
        data = ib_keras.datasets.load("flowers", image_size=64)  # flowers/daisy/1.jpg, …
    """
    text = check(name_or_path, label=label, image_size=image_size)
    seed, test_fraction = check_seed(seed), check_share(test_fraction, "test_fraction")
    if seed >= 2**32:
        raise ArgumentError("`seed` is too large", "an integer below 2**32", repr(seed))
    if text == "szt":
        return _split(*szt(), test_fraction, seed)
    if text == "four_points":
        return _split(*four_points(), test_fraction, seed)
    if text in ("digits", "digit_images"):
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x = x if text == "digits" else x.reshape(-1, 8, 8, 1)
        return _split((x / 16).astype(np.float32), y.astype(np.int64), test_fraction, seed)
    if text in _KERAS:
        return _load_keras(text, images.size_of(image_size))
    path = pathlib.Path(text)
    found = data_files.read(path, label, image_size, seed, valid)
    return _of_file(path, found, test_fraction, seed)


def check(
    name_or_path: str | os.PathLike,
    *,
    label: str | Sequence[str] | None = None,
    image_size: str | int | Sequence[int] | None = None,
) -> str:
    """Check that a data set exists, without loading it.

    Args:
        name_or_path: the name of a data set, or the path of a file or folder, as for ``load``.
        label: as for ``load``.
        image_size: as for ``load``.

    Returns:
        The name or path as text.

    Raises:
        ArgumentError: If there is no data set, file or folder of this name; if a table or folder
            has no such labels; or if ``label`` or ``image_size`` does not apply to the data.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise ArgumentError(
            "`name_or_path` is invalid",
            "the name of a data set or a path",
            repr(name_or_path)[:200],
        )
    text = os.path.expanduser(name_or_path)
    if text in names():
        sized = None if text in _KERAS else image_size
        for name, value in (("label", label), ("image_size", sized)):
            if value is not None:
                raise ArgumentError(
                    f"`{name}` does not apply", f"None for the data set {text!r}", repr(value)
                )
        images.size_of(image_size)
        return text
    if not data_files.is_file(text):
        if text in _BY_PATH:
            raise ArgumentError(
                f"The data set {text!r} is not downloaded", f"the path of {_BY_PATH[text]}", text
            )
        invalid = f"The data set {text!r} is unknown"
        if os.path.basename(text) != text or os.path.exists(text):
            invalid = f"There is no folder {text!r}, and no file of a known format"
        raise ArgumentError(invalid, f"one of {names()}, or {data_files.FORMATS}", text)
    data_files.check(pathlib.Path(text), label, image_size)
    return text


def szt() -> tuple[np.ndarray, np.ndarray]:
    """Make the 12-bit task of Shwartz-Ziv & Tishby, all 4 096 patterns of 12 bits and their labels.

    The bits are the vertices of an icosahedron. Let w be the number of active bits, and n_anti,
    n_far and n_near the numbers of pairs of active bits that are antipodal, far and near. Then
    y = 1 iff 23·w − 8·n_anti − 5·n_far + n_near ≥ 99. All labels equal those of the original file;
    the coefficients were fitted to these labels and are not the authors' formula. p(y=1) = 0.51709
    and I(X;Y) = H(Y) = 0.69256 nats = 0.99916 bits.

    Returns:
        x ``(4096, 12)``, float32 values 0 and 1, in counting order with the most significant bit
        first; and y ``(4096,)``, int64.

    References:
        Shwartz-Ziv & Tishby, arXiv:1703.00810.
    """
    x = (np.arange(4096)[:, None] >> np.arange(11, -1, -1)) & 1
    # The quadratic form has each pair twice, so the threshold and the diagonal are doubled.
    weights = np.ones((12, 12), np.int64)
    np.put_along_axis(weights, np.array(_FAR), -5, axis=1)
    np.put_along_axis(weights, np.array(_ANTIPODE)[:, None], -8, axis=1)
    np.fill_diagonal(weights, 2 * 23)
    score = ((x @ weights) * x).sum(axis=1)
    return x.astype(np.float32), (score >= 2 * 99).astype(np.int64)


def four_points(repeat: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Make X uniform on −3, −1, 1 and 3, with the label 1 for 3 and 0 for the others.

    Args:
        repeat: the number of rows of each point.

    Returns:
        x ``(4·repeat, 1)``, float32, and y ``(4·repeat,)``, int64.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 4 (a single noisy neuron).
    """
    x = np.repeat(np.array([-3, -1, 1, 3], np.float32), repeat)[:, None]
    return x, (x[:, 0] > 2).astype(np.int64)


def _of_file(
    path: pathlib.Path, found: data_files.Found, test_fraction: float, seed: int
) -> Dataset:
    if found.names:
        logging.info("%s: read %s.", path, ", ".join(found.names))
    parts, label_names = _coded([(_inputs(x), y) for x, y in found.parts], found.label)
    if len(parts) == 1:
        return _split(*parts[0], test_fraction, seed, label_names, found.names)
    _check_alike([x for x, _ in parts])
    train, test = parts[:2]
    if label_names and (new := set(test[1]) - set(train[1])):
        logging.warning(
            "%s: the training part has no rows of the classes %s.",
            path, [label_names[code] for code in sorted(new)],
        )  # fmt: skip
    third = parts[2] if len(parts) > 2 else None
    return Dataset(train, test, label_names, found.names, third)


def _split(
    x: np.ndarray,
    y: np.ndarray,
    test_fraction: float,
    seed: int,
    label_names: Sequence[str | int] | None = None,
    arrays: Sequence[str] = (),
) -> Dataset:
    from sklearn.model_selection import train_test_split

    are_classes = y.dtype.kind in "iu"
    counts = np.unique(y, return_counts=True)[1] if are_classes else np.array([len(y)])
    classes, fewest = len(counts), int(counts.min())
    held_out = int(np.ceil(test_fraction * len(y)))
    if fewest < 2 or min(held_out, len(y) - held_out) < classes:
        raise ArgumentError(
            "The data are too few for a stratified split",
            "at least 2 rows of each class, and a row of each class in both parts",
            f"{len(y)} rows of {classes} classes, {fewest} of the rarest, "
            f"test_fraction={test_fraction}",
        )
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=test_fraction, stratify=y if are_classes else None, random_state=seed
    )
    return Dataset((x_train, y_train), (x_test, y_test), label_names, arrays)


def _load_keras(name: str, size: tuple[int, int] | None) -> Dataset:
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:
        # Keras raises a bare Exception if a download fails, and ValueError for a damaged file.
        if not (type(error) is Exception or isinstance(error, (OSError, ValueError))):
            raise
        raise DataUnavailableError(
            f"The data set {name!r} could not be downloaded",
            f"a network connection, or a file: load('path/to/{name}.npz') with the arrays x_train, "
            "y_train, x_test, y_test",
            str(error).splitlines()[0] if str(error) else repr(error),
        ) from error
    if size is not None:
        x_train, x_test = (images.resized(x, size) for x in (x_train, x_test))
    (train, test), label_names = _coded([(x_train, y_train), (x_test, y_test)], "y_train")
    return Dataset(train, test, label_names)


def _check_alike(inputs: list[np.ndarray]) -> None:
    """Check that the inputs of the parts have the same shape and, for images, the same range."""
    shapes = [x.shape[1:] for x in inputs]
    if len(set(shapes)) > 1:
        raise ArgumentError(
            "Training and test inputs differ in shape", str(shapes[0]), str(shapes[1:])
        )
    bytes_each = [x.dtype == np.uint8 for x in inputs]
    largest = [float(np.abs(x).max()) for x in inputs]
    if len(shapes[0]) > 1 and (
        len(set(bytes_each)) > 1 or max(largest) > _MOST_APART * max(min(largest), 1e-30)
    ):
        raise ArgumentError(
            "Training and test images differ in scale",
            "the same type, and the same range of values",
            ", ".join(
                f"{x.dtype} up to {high:.6g}" for x, high in zip(inputs, largest, strict=True)
            ),
        )


def _inputs(x: np.ndarray) -> np.ndarray:
    """Check inputs, and convert them to float32 unless they are images."""
    if x.dtype.kind not in "fiub" or x.ndim < 2 or 0 in x.shape:
        raise ArgumentError(
            "The inputs are not numbers", "numbers (n, ...)", f"dtype {x.dtype}, shape {x.shape}"
        )
    if not (np.isfinite(x.min()) and np.isfinite(x.max())):
        raise ArgumentError(
            "The inputs have NaN or infinite values", "finite numbers, without missing values",
            f"{int((~np.isfinite(x)).any(axis=tuple(range(1, x.ndim))).sum())} of {len(x)} rows",
        )  # fmt: skip
    return x if x.ndim > 2 else x.astype(np.float32)


def _coded(
    parts: list[tuple[np.ndarray, np.ndarray]], name: str
) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[str | int, ...] | None]:
    """Encode the labels of all parts with the same codes; also return the labels' names.

    Labels that are numbers rather than classes become float64 and have no names.
    """
    for x, y in parts:
        rows = len(y) if y.ndim else 0
        if len(x) != rows or not rows:
            raise ArgumentError(
                "Inputs and labels differ in length or are empty",
                "one label per input",
                f"{len(x)} inputs and {rows} labels",
            )
    each = [y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for _, y in parts]
    if len({(y.shape[1:], y.dtype.kind in "US") for y in each}) > 1:
        raise ArgumentError(
            "Training and test labels differ in kind",
            "both texts, both numbers, or both one-hot of the same classes",
            " and ".join(f"{y.dtype}{list(y.shape)}" for y in each),
        )
    labels, names = np.concatenate(each), None
    if are_labels(labels):
        labels, names = encode_labels(labels, len(labels), name)
    else:
        labels = _numbers(labels, name)
    ends = np.cumsum([len(y) for y in each])[:-1]
    return [(x, y) for (x, _), y in zip(parts, np.split(labels, ends), strict=True)], names


def _numbers(y: np.ndarray, name: str) -> np.ndarray:
    if y.ndim > 2 or not y.size:
        raise ArgumentError(
            f"`{name}` holds neither classes nor numbers", "shape (n,) or (n, k)", y.shape
        )
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        rows = ~np.isfinite(y.reshape(len(y), -1)).all(axis=1)
        raise ArgumentError(
            f"`{name}` has NaN or infinite values",
            "a finite number for each row: remove rows without a label",
            f"{int(rows.sum())} of {len(y)} rows",
        )
    return y
