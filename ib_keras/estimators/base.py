"""Base classes of estimators, and checks that all estimators share."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ib_keras.arrays import memory
from ib_keras.arrays.checks import are_ids, check_count
from ib_keras.arrays.targets import Target, as_target, classes_of
from ib_keras.config import Configured
from ib_keras.errors import ArgumentError
from ib_keras.interface import Estimate, LayerInformation, Traits

# An estimate is flagged above this share of its ceiling, because it may not describe the network.
SATURATION = 0.99
# The smallest information of permuted labels that matters, in nats, and the shares of an estimate
# of I(T;Y) above which it is undersampled, and mostly due to chance.
_CHANCE, _UNDERSAMPLED, _MOSTLY_CHANCE = 0.01, 0.1, 0.5
# The flag of estimates whose bins or noise have a scale that a few rows set.
OUTLIERS = "outliers"
# Share of the logarithm of the batch size above which a contrastive bound is flagged.
_BATCH_CEILING = 0.8


class BaseEstimator(Configured):
    """Base class of estimators, with defaults for all methods except ``estimate``.

    A custom estimator may derive from this class, but need not: the library uses the defaults for
    any class with ``name``, ``estimate`` and ``get_config``.

    Attributes:
        conditional_inputs: for estimators with the trait ``propagations``, the number m of inputs
            that are propagated repeatedly if the source is a model.
        propagations: the number n_x of propagations of each of these inputs.
    """

    conditional_inputs: int = 256
    propagations: int = 64

    @property
    def traits(self) -> Traits:
        """Return the requirements of the estimator, and its additional methods."""
        return Traits()

    def prepare(
        self,
        *,
        extent: tuple[float, float] | None = None,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Any:
        """Return the estimator to use for all layers and epochs.

        Args:
            extent: smallest and largest value of all layers and epochs, for estimators with the
                trait ``all_epochs``.
            inputs: X, ``(n, ...)``, for estimators with the trait ``inputs``.
            labels: Y, which is only passed together with the inputs: class labels ``(n,)``, or
                numbers ``(n, k)``.

        Returns:
            The estimator whose ``estimate`` is called instead of that of this object.
        """
        return self

    def check_extent(self, low: float, high: float) -> None:
        """Raise an error if samples with values from ``low`` to ``high`` cannot be estimated."""

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples.

        Args:
            n: number of samples.
            dim: dimension of T.
            dim_x: dimension of X.
            itemsize: bytes per value of T.
        """
        return 0

    def kernel_variance(self, t: np.ndarray) -> float | None:
        """Return the kernel's variance for the samples ``t (n, d)``; ``None`` without a kernel."""
        return None

    def with_fixed_kernel(self, t: np.ndarray) -> BaseEstimator:
        """Return the estimator with the kernel that it has for the samples ``t (n, d)``."""
        return self

    def given_target(
        self,
        t: np.ndarray,
        y: Any,
        known: LayerInformation,
        *,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
    ) -> Estimate | None:
        """Estimate I(X;T|Y), which is I(X;T) − I(T;Y) because Y → X → T is a Markov chain.

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: one target: codes of classes, or numbers.
            known: the estimates of I(X;T) and I(T;Y).
            x: the inputs, ``(n, ...)``, or codes of equal inputs.
            noise_std: standard deviation of the layer's own noise.

        Returns:
            The difference; its standard error assumes that the two estimates have independent
            errors. ``None`` if the estimator does not estimate I(T;Y), or I(X;T|Y) for this kind of
            target.

        Raises:
            ArgumentError: If I(X;T) or I(T;Y) could not be estimated.
        """
        xt, ty = known.xt, known.ty
        if ty is None:
            return None
        if math.isnan(xt.value - ty.value):
            raise ArgumentError(
                "I(X;T|Y) is the difference of two values, and one of them is missing",
                "estimates of I(X;T) and I(T;Y)",
                f"{xt.value} and {ty.value}",
            )
        flags = tuple(dict.fromkeys((*xt.flags, *ty.flags)))
        error = math.hypot(xt.stderr, ty.stderr)
        return Estimate(xt.value - ty.value, error, flags=flags, n=xt.n, dim=xt.dim)

    def mutual_information(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Estimate I(A;B) of two variables, for estimators with the trait ``pairs``."""
        raise NotImplementedError(f"{self} does not estimate I(A;B) of two variables")

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate | None:
        """Estimate I(A;Y) of one target, for estimators with the trait ``labels_alone``."""
        raise NotImplementedError(f"{self} estimates I(T;Y) only together with I(X;T)")


class Adapted(BaseEstimator):
    """Wrapper that gives any estimator the defaults of ``BaseEstimator``.

    Args:
        wrapped: object with ``estimate`` and ``get_config``.
    """

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the object, or of its class."""
        return getattr(self.wrapped, "name", type(self.wrapped).__name__)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the object."""
        return self.wrapped.get_config()

    def estimate(self, *args: Any, **kwargs: Any) -> LayerInformation:
        """Call ``estimate`` of the object, with the values of a target as an array."""
        if isinstance(kwargs.get("y"), Target):
            kwargs["y"] = kwargs["y"].values
        return self.wrapped.estimate(*args, **kwargs)

    def __str__(self) -> str:
        # The default text contains an address, which differs between processes.
        cls = type(self.wrapped)
        default = cls.__repr__ is object.__repr__ and cls.__str__ is object.__str__
        return self.name if default else str(self.wrapped)


def adapted(estimator: Any) -> Any:
    """Wrap an estimator in ``Adapted`` unless it derives from ``BaseEstimator``."""
    return estimator if isinstance(estimator, BaseEstimator) else Adapted(estimator)


class FromClasses(BaseEstimator):
    """Base class of estimators that take classes as Y and divide a Y of numbers into cells.

    Attributes:
        target_bins: the number of cells of equal counts, at least 2.
    """

    target_bins: int = 10

    def check_target_bins(self) -> None:
        """Convert ``target_bins`` to an integer, and raise an error if it is below 2."""
        bins = check_count(self.target_bins, "target_bins", 2)
        object.__setattr__(self, "target_bins", bins)

    def classes(self, y: Any, n: int, name: str = "y") -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Return the classes of a target as codes ``(n,)``, or ``None``, and flags.

        Args:
            y: class labels, or numbers, which are divided into ``target_bins`` cells of equal
                counts and flagged ``binned_target``; or ``None``.
            n: expected number of rows.
            name: name of the argument in error messages.
        """
        return (None, ()) if y is None else classes_of(y, n, self.target_bins, name)


class FromPairs(BaseEstimator):
    """Base class of estimators of I(A;B) for any two variables, which need the inputs X."""

    @property
    def traits(self) -> Traits:
        """The estimator needs X, takes any two variables, and estimates I(T;Y) without I(X;T)."""
        return Traits(inputs=True, pairs=True, labels_alone=True)

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I(X;T) and, if the estimator supports this kind of Y, I(T;Y).

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are not divided into classes.
            x: the inputs, ``(n, ...)``.
            noise_std: standard deviation of the layer's own noise. With 0, the result has the flag
                ``no_noise``: I(X;T) is infinite unless noise acts before the layer, and the
                estimate is only the part that n samples can show.
            conditional: not used.

        Returns:
            I(X;T) and I(T;Y) in nats, with standard errors.

        Raises:
            ArgumentError: If ``x`` is missing, or the samples or labels are invalid.
        """
        if x is None:
            raise ArgumentError(f"{self} compares T with X", "`x`, the inputs (n, ...)", "x=None")
        n, dim, itemsize = _size(t)
        target = None if y is None else as_target(y, n).values
        self.check_rows(x, t)
        check_memory(self, n, dim, _size(x)[1], itemsize)
        classes = target if target is not None and target.ndim == 1 else None
        with renamed(a="x", b="t"):
            xt = self.of_layer(x, t, classes)
        if not noise_std > 0:
            xt = dataclasses.replace(xt, flags=(*xt.flags, "no_noise"))
        if are_ids(np.asarray(x).dtype):
            xt = dataclasses.replace(xt, flags=(*xt.flags, "integer_inputs"))
        with renamed(a="t"):
            return LayerInformation(xt, None if target is None else self.with_labels(t, target))

    def of_layer(self, x: np.ndarray, t: np.ndarray, labels: np.ndarray | None) -> Estimate:
        """Estimate I(X;T) of a layer; ``labels`` are the classes 0…K−1 if they are known."""
        return self.mutual_information(x, t)

    def given_target(
        self,
        t: np.ndarray,
        y: Any,
        known: LayerInformation,
        *,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
    ) -> Estimate | None:
        """Estimate I(X;T|Y) = Σ_y p(y) I(X;T|Y=y) of classes, from the rows of each class.

        The result does not use the estimates of I(X;T) and I(T;Y), so it can be compared with their
        difference. Its standard error includes the error of the shares p(y).

        Args:
            t: the layer's outputs, ``(n, ...)``.
            y: one target: codes of classes, or numbers.
            known: not used.
            x: the inputs, ``(n, ...)``.
            noise_std: standard deviation of the layer's own noise.

        Returns:
            The estimate, which is a bound if the estimates of all classes are bounds of the same
            kind; ``None`` if Y consists of numbers.

        Raises:
            ArgumentError: If I(X;T) cannot be estimated in one of the classes.
        """
        values, n = np.asarray(t), len(t)
        target = as_target(y, n)
        if target.is_continuous:
            return None
        found: list[Estimate] = []
        labels = target.values
        for label in range(int(labels.max()) + 1):
            rows = labels == label
            inputs = None if x is None else np.asarray(x)[rows]
            try:
                found.append(self.estimate(values[rows], x=inputs, noise_std=noise_std).xt)
            except ArgumentError as error:
                raise type(error)(
                    f"In class {label} with {int(rows.sum())} rows, {error.invalid}",
                    error.expected,
                    error.received,
                ) from error
        shares = np.bincount(labels) / n
        means = np.array([one.value for one in found])
        errors = shares * [one.stderr for one in found]
        value = float(shares @ means)
        spread = float(shares @ np.square(means - value)) if math.isfinite(value) else math.nan
        kinds = {one.kind for one in found}
        return Estimate(
            value,
            math.sqrt(float(errors @ errors) + spread / n),
            kinds.pop() if len(kinds) == 1 else "estimate",
            tuple(dict.fromkeys(flag for one in found for flag in one.flags)),
            n,
            found[0].dim,
        )

    def check_rows(self, a: Any, b: Any) -> None:
        """Raise an error if there are too few rows for variables of this width."""

    def with_labels(self, a: np.ndarray, y: Any) -> Estimate | None:
        """Estimate I(A;Y) of a continuous variable and a target, in nats.

        Args:
            a: samples of A, ``(n, ...)``.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, for which A and Y are treated as two continuous variables.

        Returns:
            The estimate; ``None`` if Y consists of classes and the estimator does not support them.

        Raises:
            ArgumentError: If the samples or the target are invalid. ``with_classes`` and
                ``mutual_information`` have further conditions.
        """
        target = as_target(y, _size(a)[0])
        if not target.is_continuous:
            return self.with_classes(a, target.values)
        with renamed(a="y", b="a"):
            return self.with_numbers(a, target.values)

    def with_classes(self, a: np.ndarray, labels: np.ndarray) -> Estimate | None:
        """Estimate I(A;Y) of a continuous variable and classes 0…K−1; ``None`` if unsupported."""
        return None

    def with_numbers(self, a: np.ndarray, y: np.ndarray) -> Estimate:
        """Estimate I(A;Y) of a continuous variable and numbers ``(n, k)``."""
        return self.mutual_information(y, a)


@contextlib.contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Rename arguments in the messages of ``ArgumentError``, such as ``a`` to ``t``.

    The variables in expressions such as I(A;B) are renamed in the same way.
    """
    quantities = {name.upper(): new.upper() for name, new in names.items()}

    def rename(text: str) -> str:
        text = re.sub(r"`(\w+)`", lambda m: f"`{names.get(m[1], m[1])}`", text)
        return re.sub(
            r"I\((\w);(\w)\)",
            lambda m: f"I({';'.join(quantities.get(part, part) for part in m.groups())})",
            text,
        )

    try:
        yield
    except ArgumentError as error:
        received = error.received
        raise type(error)(
            rename(error.invalid),
            rename(error.expected),
            rename(received) if isinstance(received, str) else received,
        ) from error


def _size(values: Any) -> tuple[int, int, int]:
    """Return the number of rows, the number of values in each, and the bytes per value."""
    array = np.asarray(values) if np.ndim(values) else np.zeros(1)
    return len(array), array[0].size if len(array) else 0, array.itemsize


def saturation(value: float, n: int, ceiling: float | None = None) -> tuple[str, ...]:
    """Return ``("saturated",)`` if ``value`` is within 1 % of ln n, or of a lower ceiling H(X)."""
    limit = math.log(n) if ceiling is None else min(math.log(n), ceiling)
    return ("saturated",) if limit > 0 and value >= SATURATION * limit else ()


def of_chance(value: float, chance: float) -> tuple[str, ...]:
    """Return a flag if labels in random order seem to have much of the information of the labels.

    Args:
        value: the estimate of I(T;Y).
        chance: the estimate for permuted labels, about which T has no information.
    """
    if chance < max(_CHANCE, _UNDERSAMPLED * value):
        return ()
    return ("chance",) if chance >= _MOSTLY_CHANCE * value else ("undersampled",)


def log_batch(value: float, batch_size: int) -> tuple[str, ...]:
    """Return ``("log_batch",)`` if ``value`` is near its upper limit ln(batch_size)."""
    return ("log_batch",) if value > _BATCH_CEILING * math.log(batch_size) else ()


def network_noise(noise_std: float) -> tuple[str, ...]:
    """Return ``("network_noise",)`` if there is noise, which counts as information about X."""
    return ("network_noise",) if noise_std > 0 else ()


def check_memory(
    estimator: BaseEstimator, n: int, dim: int, dim_x: int = 0, itemsize: int = 8
) -> None:
    """Raise an ``ArgumentError`` if an estimate of samples of this size does not fit in memory."""
    needed, free = estimator.peak_bytes(n, dim, dim_x=dim_x, itemsize=itemsize), memory.available()
    if free is not None and needed > free:
        raise ArgumentError(
            f"An estimate by {estimator} of {n} samples in {dim} dimensions does not fit in memory",
            "fewer samples, a narrower layer, or an estimator that works in tiles (see "
            "docs/reliability.md)",
            f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB available",
        )
