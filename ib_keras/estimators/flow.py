"""Mutual information from the densities of normalising flows."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from ib_keras.arrays.checks import check_count, check_counts, check_positive, check_seed
from ib_keras.arrays.codes import at_most_entropy
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.scaling import shorten_tails
from ib_keras.errors import ArgumentError, InfiniteError
from ib_keras.estimators.continuous import Permuted, check_classes, check_pair
from ib_keras.estimators.kernels.local_dimension import on_surface
from ib_keras.estimators.kernels.regression import log_normal, residuals, smooth_scores
from ib_keras.interface import Estimate, MutualInformation

# Smallest number of rows, and largest number of columns of the narrower variable.
_LEAST_ROWS, _WIDEST = 20, 256
# Largest number of columns whose independent components are tried.
_MOST_INDEPENDENT = 32
# Gain in log-density per column, in nats, for which other coordinates replace the values.
_BETTER = 0.01
# Number of training rows per pair of columns below which only Gaussian dependence is learned.
_ROWS_A_PAIR = 20
# A difference is large if it exceeds this many errors plus this share of the value.
_ERRORS, _SHARE = 3.0, 0.1
# Widths of the hidden layers of the networks that see one number.
_OF_COLUMNS = (32, 32)


@dataclasses.dataclass(frozen=True)
class NormalizingFlow(Permuted):
    """I(A;B) = E[ln q(b|a) − ln q(b)] on held-out rows, with densities q from normalising flows.

    B is the narrower variable. The columns of both are used as they are, as independent components,
    or as smooth normal scores of either; the choice is the one that predicts B best on held-out
    rows. A ridge regression in float64 predicts B from A, linearly and by kernels, which removes
    strong dependence before a network is trained. One flow then maps B to independent normal
    variables, and another one maps the residual of B, given A. Both flows are the identity before
    training. With a linear regression, the estimate is then the closed form for Gaussian variables,
    −½ Σ_i ln(1 − ρ_i²) with canonical correlations ρ.

    Three fifths of the rows are used for training, a fifth for early stopping and a fifth for the
    estimate. The expected loss due to errors of the regression's coefficients is added. The
    estimate is neither a lower nor an upper bound: an imperfect q(b|a) makes it too low, and an
    imperfect q(b) makes it too high. The former usually prevails, since q(b|a) is harder to learn.

    With labels, I(A;Y) = E ln q(a|y) − ln Σ_y p(y) q(a|y), which is H(Y) minus the cross-entropy
    of the classes that q predicts from A, and therefore a lower bound.

    Args:
        hidden: widths of the hidden layers of each network.
        layers: number of autoregressive maps of each flow.
        steps: maximum number of steps of AdamW, rounded up to a multiple of 50.
        batch_size: number of rows per step.
        learning_rate: initial learning rate, which decays to 0 along a cosine.
        seed: seed of the split, the weights and the batches.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Butakov et al., NeurIPS 2024, arXiv:2403.02187. Papamakarios, Pavlakou & Murray, NeurIPS
        2017, arXiv:1705.07057, and Durkan et al., NeurIPS 2019, arXiv:1906.04032 (the flows).
        Barber & Agakov, NeurIPS 2003 (the bound for labels).
    """

    hidden: tuple[int, ...] = (64, 64)
    layers: int = 2
    steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 2e-3
    seed: int = 0

    name: ClassVar[str] = "flow"
    _permutations = 3

    def __post_init__(self) -> None:
        for field in ("layers", "steps", "batch_size"):
            object.__setattr__(self, field, check_count(getattr(self, field), field))
        object.__setattr__(self, "hidden", check_counts(self.hidden, "hidden"))
        check_positive(self.learning_rate, "learning_rate")
        check_seed(self.seed)

    def check_rows(self, a: Any, b: Any) -> None:
        """Raise an error if there are too few rows, or both variables are too wide.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Raises:
            ArgumentError: If n < 20, or the narrower variable has more than 256 columns.
        """
        n, width = len(a), min(np.asarray(v).reshape(len(v), -1).shape[1] for v in (a, b))
        _check_size(n, width)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        kernels = 4 * 8 * n * 400
        outputs = 64 * 4 * 1024 * (min(dim, _WIDEST) * 25 + sum(self.hidden))
        return 2 * TILES + kernels + outputs + 8 * 8 * n * (dim + dim_x)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> MutualInformation:
        """Estimate I(A;B) in nats from a fifth of the rows.

        The other rows are used for training and early stopping.

        Args:
            a: samples of A, ``(n, ...)``.
            b: samples of B, ``(n, ...)``.

        Returns:
            The estimate, with its standard error over these rows. ``parts`` has ``"gaussian"``, the
            closed form for a B that is Gaussian given A, and ``"training"``, the mean over the
            training rows. ``upper`` is not below the latter.

        Raises:
            ArgumentError: If the lengths differ, n < 20, both variables have more than 256 columns,
                or one variable is an exact function of the other, so that I(A;B) is infinite.
        """
        first, second, flags = check_pair(a, b, 1)
        n, dim = len(first), second.shape[1]
        _check_size(n, min(first.shape[1], dim))
        if not first.shape[1] or not dim:
            return MutualInformation(0.0, 0.0, flags=flags, n=n, dim=dim, lower=0.0, upper=0.0)
        if dim > first.shape[1]:
            first, second = second, first
        split = self._split(n)
        start = self._start(first, second, split)
        if start is None:  # constant in the training rows
            return MutualInformation(0.0, 0.0, flags=flags, n=n, dim=dim, lower=0.0, upper=0.0)
        ratios = self._ratios(start, split)
        train, _, report = split
        value = float(ratios[report].mean()) + start.lost
        pairs = start.whole.shape[1] * (start.given.shape[1] - 1)
        # The deviation of the loss is about its mean divided by the root of the number of columns.
        # Without dependence the ratios vanish, and the error is of second order.
        error = math.hypot(
            _error(ratios[report]),
            start.lost / math.sqrt(start.whole.shape[1]),
            math.sqrt(pairs / 2) / len(report),
        )
        trained = Estimate(
            float(ratios[train].mean()), _error(ratios[train]), n=len(train), dim=dim
        )
        closed = Estimate(start.log_volume, n=len(train), dim=dim)
        large = _ERRORS * error + _SHARE * abs(value)
        # In many dimensions, dependence that is not Gaussian is only learned from many rows.
        learned = start.coordinates != "values" or abs(value - closed.value) > _ERRORS * error
        if trained.value - value > large or (learned and _ROWS_A_PAIR * pairs > len(train)):
            flags = (*flags, "few_rows")
        if 1 < dim and on_surface(start.whole[train]):
            flags = (*flags, "low_dim")
        if closed.value - value > large:
            flags = (*flags, "unconfirmed")
        return MutualInformation(
            value, error, flags=flags, n=len(report), dim=dim,
            lower=max(0.0, value - 2 * error), upper=max(value + 2 * error, trained.value),
            parts={"gaussian": closed, "training": trained},
            details={"coordinates": start.coordinates},
        )  # fmt: skip

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate:
        """Estimate a lower bound on I(A;Y) of a continuous variable and classes, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            labels: classes 0…K−1, ``(n,)``.

        Returns:
            The bound from a fifth of the rows, of kind ``"lower"``, at most H(Y) of all labels.

        Raises:
            ArgumentError: If n < 20, or A has more than 256 columns.
        """
        samples, labels, flags = check_classes(a, labels, 1)
        n, dim = samples.shape
        _check_size(n, dim)
        shares = np.bincount(labels) / n
        if not dim or len(shares) == 1:
            return Estimate(0.0, 0.0, kind="lower", flags=flags, n=n, dim=dim)
        train, stop, report = self._split(n)
        coordinates = _coordinates(samples, train)
        if not coordinates["values"][0].shape[1]:  # constant in the training rows
            return Estimate(0.0, 0.0, kind="lower", flags=flags, n=n, dim=dim)
        one_hot = np.eye(len(shares))
        rest, centres, _ = max(
            (
                _within(values, log_slope, labels, (train, stop))
                for values, log_slope in coordinates.values()
            ),
            key=lambda found: found[2],
        )
        # The residuals of the rows of the estimate, if they belonged to each class.
        of_class = [
            (rest[report] + centres[labels[report]] - centre, np.tile(row, (len(report), 1)))
            for centre, row in zip(centres, one_hot, strict=True)
        ]
        _, *found = self._fitted(rest, one_hot[labels], (train, stop), of_class)
        logs = np.stack([log_normal(mapped) + slope for mapped, slope in found], axis=1)
        own = logs[np.arange(len(report)), labels[report]]
        with np.errstate(divide="ignore"):
            terms = own - logsumexp(logs + np.log(shares), axis=1)
        estimate = Estimate(
            float(terms.mean()), _error(terms), kind="lower", flags=flags, n=len(report), dim=dim
        )
        return at_most_entropy(estimate, labels)

    def _split(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.random.default_rng(self.seed).permutation(n)
        train, stop, report = np.split(rows, [3 * n // 5, 4 * n // 5])
        return train, stop, report

    def _ratios(self, start: _Start, split: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return ln q(b|a) − ln q(b) of all rows."""
        # Both densities use the same compiled programs; that of B alone has a constant condition.
        nothing = np.zeros_like(start.given)
        whole = self._by_columns(start.whole, np.zeros_like(start.whole), nothing, split)
        densities = []
        for (rows, log_slope), given in ((start.mapped, start.given), (whole, nothing)):
            [(mapped, more)] = self._fitted(rows, given, split)
            densities.append(log_normal(mapped) + log_slope + more)
        return densities[0] - densities[1] + start.log_volume

    def _by_columns(
        self,
        rows: np.ndarray,
        predicted: np.ndarray,
        given: np.ndarray,
        split: tuple[np.ndarray, ...],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Map each column, given its prediction and the length of the preceding values.

        These are the condition and the columns before it. In distributions with elliptical
        contours, a column depends on them only by their length.
        """
        squares = np.cumsum(np.square(np.concatenate([given[:, :-1], rows], axis=1)), axis=1)
        width = given.shape[1] - 1
        counts = np.arange(width, width + rows.shape[1])
        before = squares[:, counts - 1] if width else squares[:, :-1]
        lengths = np.log((1 + before) / (1 + counts))
        of_columns = np.stack([predicted, lengths], axis=2).reshape(len(rows), -1)
        [found] = self._fitted(rows, of_columns, split, layers=0)
        return found

    def _start(
        self, a: np.ndarray, b: np.ndarray, split: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> _Start | None:
        """Map each column of B, given A, in the coordinates in which B is predicted best.

        The result is ``None`` if a variable is constant in the training rows.
        """
        train, stop, _ = split
        of_a, of_b = _coordinates(a, train), _coordinates(b, train)
        if not of_a["values"][0].shape[1] or not of_b["values"][0].shape[1]:
            return None
        best: tuple[float, _Start | None] = -math.inf, None
        for name, (values, log_slope) in of_b.items():
            # A single column has no independent components.
            columns = of_a.get(name, of_a[name.replace("independent", "values")])[0]
            features = _whitened(columns, train)[0]
            left = residuals(features, values, train, self.seed)
            _check_determined(left.values[train], b)
            rest, log_det = _whitened(left.values, train)
            predicted = _standardised(values - left.values, train)
            length = np.log(np.square(features).mean(axis=1, keepdims=True) + 0.1)
            given = np.concatenate([features, length], axis=1)
            mapped = self._by_columns(rest, predicted, given, split)
            density = log_normal(mapped[0]) + mapped[1] + log_slope
            score = float(density[stop].mean()) - log_det
            if score > best[0] + _BETTER * values.shape[1]:
                whole, log_det_whole = _whitened(values, train)
                lost = float((left.degrees - 1).sum()) / (2 * len(train))
                best = score, _Start(whole, mapped, given, log_det_whole - log_det, lost, name)
        return best[1]

    def _fitted(
        self,
        rows: np.ndarray,
        given: np.ndarray,
        split: tuple[np.ndarray, ...],
        others: Any = (),
        layers: int | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        # TensorFlow is imported only here.
        from ib_keras.estimators.kernels.autoregressive_flow import Settings, fitted

        settings = Settings(
            self.hidden if layers is None else _OF_COLUMNS,
            self.layers if layers is None else layers,
            self.steps,
            self.batch_size,
            self.learning_rate,
        )
        return fitted(rows, given, split[0], split[1], settings, self.seed, others)


@dataclasses.dataclass(frozen=True)
class _Start:
    """The variables that are the inputs of the autoregressive maps.

    Args:
        whole: B, whitened, ``(n, d)``.
        mapped: the residual of B, whitened and mapped column by column, ``(n, d)``, and ln of the
            determinant of this map, ``(n,)``.
        given: A, whitened, and the logarithm of its squared length, ``(n, da + 1)``.
        log_volume: ln of the ratio of the volumes of B and of its residual, which is I(A;B) in nats
            if A and B are jointly Gaussian.
        lost: expected loss due to errors of the regression's coefficients, in nats.
        coordinates: name of the coordinates.
    """

    whole: np.ndarray
    mapped: tuple[np.ndarray, np.ndarray]
    given: np.ndarray
    log_volume: float
    lost: float
    coordinates: str


def _within(
    values: np.ndarray,
    log_slope: np.ndarray,
    labels: np.ndarray,
    split: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Subtract the mean of each class, and whiten.

    Returns:
        The residuals, ``(n, d)``; the class means in the same units, ``(K, d)``; and the mean
        log-density of the rows for early stopping.
    """
    train, stop = split
    one_hot = np.eye(labels.max() + 1)[labels[train]]
    # A class without training rows has the mean of all training rows.
    means = (one_hot.T @ values[train] + values[train].mean(axis=0)) / (
        one_hot.sum(axis=0)[:, None] + 1
    )
    both = np.concatenate([values - means[labels], means])
    white, log_det = _whitened(both, train)
    rest, centres = np.split(white, [len(values)])
    density = float((log_normal(rest[stop]) + log_slope[stop]).mean()) - log_det
    return rest, centres, density


def _coordinates(
    samples: np.ndarray, train: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the columns in several coordinates, with ln of the determinants, ``(n,)``.

    The coordinates are the values and independent components, and smooth normal scores of both. If
    the columns are linearly dependent, they are first replaced by fewer independent columns.
    """
    values = _standardised(shorten_tails(samples.astype(np.float64))[0], train)
    _, s, v = np.linalg.svd(values[train], full_matrices=False)
    kept = (s > max(1e-9, float(_resolution(samples).max())) * s[0]) & (s > 0)
    if not kept.all() or len(kept) < values.shape[1]:
        values = _standardised(values @ v[kept].T, train)
    found = {"values": (values, np.zeros(len(values)))}
    if 1 < values.shape[1] <= _MOST_INDEPENDENT:
        white, log_det = _whitened(values, train)
        rotated = white @ _independent(white[train]).T
        found["independent"] = rotated, np.full(len(values), -log_det)
    for name, (columns, log_slope) in list(found.items()):
        scores, more = smooth_scores(columns, train)
        found[f"scores of {name}"] = scores, log_slope + more
    return found


def _independent(white: np.ndarray) -> np.ndarray:
    """Return the rotation to the most independent columns, by independent component analysis."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Directions that look Gaussian have no preferred rotation.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return FastICA(whiten=False, random_state=0, max_iter=200).fit(white).components_


def _standardised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    centred = values - values[train].mean(axis=0)
    deviation = centred[train].std(axis=0)
    return centred / np.where(deviation > 0, deviation, 1.0)


def _whitened(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
    """Return uncorrelated columns of unit variance, and ln of the determinant of the map back.

    Column i is a combination of the first i columns, so that independent columns stay the same.
    """
    centred = values - values[train].mean(axis=0)
    triangle = np.asarray(np.linalg.qr(centred[train], mode="r")) / math.sqrt(len(train))
    sizes = np.abs(np.diag(triangle))
    return solve_triangular(triangle, centred.T, trans="T").T, float(np.log(sizes).sum())


def _resolution(samples: np.ndarray) -> np.ndarray:
    """Return the size of rounding errors in units of each column's standard deviation, ``(d,)``."""
    some = samples[:1024]
    with np.errstate(over="ignore"):
        single = np.array_equal(some, some.astype(np.float32))
    rounding = 0.5 * float(np.finfo(np.float32 if single else np.float64).eps)
    return rounding * np.abs(samples).max(axis=0) / samples.std(axis=0)


def _check_determined(rest: np.ndarray, b: np.ndarray) -> None:
    small = rest.std(axis=0) < max(1e-13, float(_resolution(b).min()))
    if small.any():
        raise InfiniteError(
            "A function of one variable equals one of the other: I(A;B) is infinite",
            "variables without an exact relation: add noise to one of them",
            f"{int(small.sum())} of {len(small)} columns are determined",
        )


def _error(terms: np.ndarray) -> float:
    return float(terms.std(ddof=1)) / math.sqrt(len(terms))


def _check_size(n: int, width: int) -> None:
    if n < _LEAST_ROWS:
        raise ArgumentError(
            "There are too few samples for training, early stopping and the estimate",
            f"n >= {_LEAST_ROWS}",
            f"{n} samples",
        )
    if width > _WIDEST:
        raise ArgumentError(
            "The variables are too wide for a flow",
            f"at most {_WIDEST} columns of the narrower one: compress first, such as by 'pca+flow'",
            f"{width} columns",
        )
