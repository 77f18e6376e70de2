"""Sample propagation: I(X;T) and I(T;Y) of random representations from Gaussian mixtures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ib_keras.arrays.checks import (
    as_array,
    as_samples,
    check_count,
    check_positive,
    check_seed,
    check_stddev,
)
from ib_keras.arrays.codes import entropy
from ib_keras.arrays.memory import TILES
from ib_keras.arrays.rows import TILE, Rows, slices
from ib_keras.arrays.structures import array_codes
from ib_keras.errors import ArgumentError
from ib_keras.estimators.base import (
    FromClasses,
    check_memory,
    log_batch,
    of_chance,
    saturation,
)
from ib_keras.estimators.gaussian_mixture import Mean, Mixture, average, check_scale, draws_each
from ib_keras.estimators.monte_carlo import Propagations
from ib_keras.interface import Estimate, LayerInformation, MutualInformation, Traits

# Estimates from all and from half of the rows agree if they differ by less than this number of nats
# beyond their errors.
_LEAST = 0.01


@dataclasses.dataclass(frozen=True)
class SamplePropagation(FromClasses):
    """I(X;T) = h(T) − E h(T|X) of a noisy network, T = S + N(0, β²I), by propagating samples.

    S is the layer's output before its own noise, whose density is φ_β. Given samples s_1…s_n of S,
    T has the known density p̂(t) = (1/n) Σ_j φ_β(t − s_j). If S is a function of X, as in the first
    noisy layer, then h(T|X) = (d/2) ln 2πeβ² and, with z ~ N(0, I),

        I(X;T) = −E ln Σ_j p(x_j) exp((|z|² − |βz + s − s_j|²/β²) / 2).

    In later layers, S is random given X. Each of m inputs is propagated n_x times with new noise:
    p̂_i(t) = (1/n_x) Σ_k φ_β(t − s_ik), and

        I(X;T) = (1/m) Σ_i E_{t~p̂_i} ln p̂_i(t)/p̂(t),

    where p̂ contains p̂_i instead of the single s of input i. Both logarithms are averaged over the
    same draws, so their common error cancels, and the value is between 0 and H(X) except for the
    error of the draws. The bias of first order in 1/n_x is removed. If the inputs of the
    propagations are unknown, the two entropies are estimated separately, as in the paper.

    A layer may also declare its distribution q(t|x) = N(μ(x), diag σ(x)²), as
    ``layers.GaussianSampling`` does. Then p̂(t) = (1/n) Σ_j q(t|x_j) has components of different
    scales, and

        I(X;T) = (1/n) Σ_i E_{t~q(·|x_i)} ln q(t|x_i)/p̂(t).

    The n inputs are a sample of a population, unless ``population`` is set. The value is at most
    ln n, and its expectation is below the population's I(X;T); for large n, by at least
    (e^I − 1)/2n. Two bounds are estimated in addition:

        upper: E KL(q(t|x) ‖ N(0, I)), which exceeds I(X;T) by KL(p(t) ‖ N(0, I));
        lower: E ln q(t_i|x_i) / ((1/K) Σ_j q(t_i|x_j)) over batches of K inputs, at most ln K.

    Both hold for the population and for X uniform on the inputs. The upper bound is the penalty of
    variational autoencoders and of the variational information bottleneck. The lower bound is
    InfoNCE with the optimal critic. For K = n it would be the estimate itself. Batches of a size
    that is usual in training show how much such a bound loses.

    ``value`` is for X uniform on the samples. ``stderr`` combines the errors from the Monte-Carlo
    draws, from the propagations, and from the choice of m inputs out of n; for a declared
    distribution, the errors from the draws and from the choice of the n inputs.

    The flags are ``saturated`` if the value is within 1 % of H(X); ``log_batch`` if the lower bound
    is near ln K; and ``high_dim`` if there are too few samples for this dimension, so that the
    value describes these samples but not their distribution. It is set in three cases. Half of the
    inputs and propagations give a different estimate, by more than 3 standard errors and 0.01 nats;
    for a population, and with ``resample``, only the propagations are halved. The propagations
    cannot be halved, because there are fewer than four, or because their inputs are unknown. For
    I(T;Y), I(X;T) has one of the flags, and permuted labels give more than a tenth of I(T;Y).

    Cost: n times the number of draws, in one fused pass, with the memory of one tile.

    Args:
        mc_draws: number of Monte-Carlo draws for each centre, or for each propagated input;
            ``None`` for about 32 000 in total.
        propagations: n_x, the number of propagations of each input, if the source is a model.
        conditional_inputs: m, the number of inputs that are propagated, if the source is a model.
        population: whether the inputs are the whole population rather than a sample. If so, only
            the number of propagations is halved for ``high_dim``, and the choice of the inputs adds
            no error. All inputs should then be propagated: otherwise the standard error contains
            the bias from a single sample of S for each other input.
        resample: whether to draw n rows with replacement before the estimate, as in the authors'
            code. X is then uniform on a sample of about 63 % of n distinct inputs, some of which
            count several times, and I(X;T) is at most about ln n − 0.58.
        batch_size: K, the number of inputs in each batch of the lower bound, for declared
            distributions. If n is not a multiple of it, the batches are smaller.
        seed: seed of the draws.
        target_bins: number of cells of equal counts into which a Y of numbers is divided.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, section 3.
        Goldfeld, Greenewald & Polyanskiy, arXiv:1810.11589, eqs. 6, 7 and 14.
        Upper bound: Alemi et al., ICLR 2017, arXiv:1612.00410, eq. 14. Lower bound: Poole et al.,
        ICML 2019, arXiv:1905.06922, eq. 12.
    """

    mc_draws: int | None = None
    propagations: int = 64
    conditional_inputs: int = 256
    population: bool = False
    resample: bool = False
    batch_size: int = 256
    seed: int = 0
    target_bins: int = 10

    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        if self.mc_draws is not None:
            object.__setattr__(self, "mc_draws", check_count(self.mc_draws, "mc_draws"))
        for field, least in (("propagations", 2), ("conditional_inputs", 1), ("batch_size", 2)):
            object.__setattr__(self, field, check_count(getattr(self, field), field, least))
        object.__setattr__(self, "seed", check_seed(self.seed))
        self.check_target_bins()

    @property
    def traits(self) -> Traits:
        """The estimator needs S, and S of inputs that are propagated several times."""
        return Traits(propagations=True)

    def peak_bytes(self, n: int, dim: int, *, dim_x: int = 0, itemsize: int = 8) -> int:
        """Return the peak memory of an estimate in bytes, without the samples."""
        draws = draws_each(self.mc_draws, n, dim)
        return 2 * TILES + n * draws * 64

    def estimate(
        self,
        t: np.ndarray,
        *,
        y: np.ndarray | Sequence | None = None,
        x: np.ndarray | None = None,
        noise_std: float = 0.0,
        conditional: np.ndarray | None = None,
        conditional_rows: np.ndarray | Sequence[int] | None = None,
        scale: np.ndarray | None = None,
    ) -> LayerInformation:
        """Estimate I(X;T) and I(T;Y).

        Args:
            t: S, the layer's outputs *before* its own noise, from one noisy pass, ``(n, ...)``.
                With ``scale``, the means μ of T given each input.
            y: class labels, ``(n,)``, or one-hot ``(n, classes)``; or numbers, ``(n,)`` or
                ``(n, k)``, which are divided into ``target_bins`` classes of equal counts.
            x: the inputs, ``(n, ...)``; ``None`` if all n are distinct.
            noise_std: β, the standard deviation of the layer's own noise; > 0, or with ``scale``
                also 0. It is added to the randomness of a declared distribution.
            conditional: S of m inputs, each propagated n_x times, ``(m, n_x, ...)``; ``None`` if S
                is a function of X.
            conditional_rows: the rows of ``t`` with these inputs, ``(m,)``. By default, these are
                the first rows of the distinct inputs, in order, if there are m distinct inputs;
                otherwise the rows are unknown.
            scale: σ > 0, the standard deviations of T given each input, with the shape of ``t``, if
                the layer declares its distribution; ``None`` for other layers. μ and σ must be
                functions of X.

        Returns:
            I(X;T) and I(T;Y) in nats, with standard errors. With ``scale``, also the bounds
            ``"I(X;T) upper"`` and ``"I(X;T) lower"``; the details of the latter contain K.

        Raises:
            ArgumentError: If ``noise_std`` is 0 without ``scale``, the shapes do not match,
                ``scale`` is not positive, S is not a function of X and ``conditional`` is missing,
                or both ``scale`` and ``conditional`` are given.
        """
        declared = scale is not None
        beta = check_stddev(noise_std) if declared else check_channel(noise_std)
        samples = as_samples(t)
        n, dim = samples.shape
        check_memory(self, n, dim, itemsize=samples.itemsize)
        labels, binned = self.classes(y, n)
        codes = np.arange(n) if x is None else array_codes([as_array(x, "x")], n, "x")
        others: dict[str, Estimate] = {}
        if declared:
            deviations = _deviations(scale, samples, beta, conditional)
            data = Propagations.declared(samples, deviations, codes, labels)
            others = self._bounds(data, samples, deviations)
        else:
            data = Propagations.of(samples, beta, codes, labels, conditional, conditional_rows)
        if self.resample:
            data = data.resampled(np.random.default_rng([self.seed, 3]))
            codes, labels = data.codes, data.labels
        sampled = declared and not self.population
        rng = np.random.default_rng(self.seed)
        xt, ty, half_xt = data.information(self.mc_draws, rng, sampled=sampled)
        half_ty = None
        if not (self.population or self.resample):
            rng = np.random.default_rng([self.seed, 1])
            half_xt, half_ty = data.from_halves(self.mc_draws, rng)
        unseen = _high_dim(xt, half_xt)
        if conditional is not None and half_xt is None and (self.population or self.resample):
            unseen = ("high_dim",)  # nothing is known of fewer propagations
        flags = (*saturation(xt.value, n, entropy(codes)), *unseen)
        information = Estimate(xt.value, xt.stderr, flags=flags, n=n, dim=dim)
        if ty is None or labels is None:
            return LayerInformation(information, others=others)
        # If all samples are separate, I(T;Y) is H(Y) for any labels.
        separate = "saturated" in flags and bool(saturation(ty.value, n, entropy(labels)))
        unseen = _high_dim(ty, half_ty)
        if flags and not unseen:
            unseen = self._chance(data, ty)
        flags = (*(("saturated",) if separate else ()), *unseen, *binned)
        of_labels = Estimate(ty.value, ty.stderr, flags=flags, n=n, dim=dim)
        return LayerInformation(information, of_labels, others)

    def _chance(self, data: Propagations, ty: Mean) -> tuple[str, ...]:
        """Return ``("high_dim",)`` if permuted labels, without information, give much of I(T;Y)."""
        chance = data.of_permuted_labels(np.random.default_rng([self.seed, 4]))
        if chance is None or chance.value < 3 * chance.error:
            return ()
        return ("high_dim",) if of_chance(ty.value, chance.value) else ()

    def _bounds(
        self, data: Propagations, means: np.ndarray, deviations: np.ndarray
    ) -> dict[str, Estimate]:
        """Estimate the upper and lower bound on I(X;T) for a declared distribution."""
        n, dim = means.shape
        divergences = _divergences(means, deviations)
        spread = 0.0 if self.population else float(divergences.std(ddof=1)) / math.sqrt(n)
        size = n // -(-n // self.batch_size)
        lower = data.in_batches(size, self.mc_draws, np.random.default_rng([self.seed, 2]))
        return {
            "I(X;T) upper": Estimate(float(divergences.mean()), spread, kind="upper", n=n, dim=dim),
            "I(X;T) lower": MutualInformation(
                lower.value,
                lower.stderr,
                kind="lower",
                flags=log_batch(lower.value, size),
                n=n,
                dim=dim,
                details={"batch_size": size},
            ),
        }


def mixture_entropy(
    centres: np.ndarray,
    noise_std: float,
    *,
    mc_draws: int | None = None,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate the differential entropy of a Gaussian mixture by Monte Carlo.

    h = (d/2) ln 2πeβ² − Σ_j w_j E_z ln Σ_l w_l exp((|z|² − |z + (s_j − s_l)/β|²) / 2). Only the
    second term is estimated from draws.

    Args:
        centres: the centres s, ``(n, ...)``, flattened to ``(n, d)``.
        noise_std: β > 0, the standard deviation of the components.
        mc_draws: number of draws for each centre; ``None`` for about 32 000 in total.
        weights: positive weights w, ``(n,)``, which are normalised; ``None`` for equal weights.
        seed: seed of the draws. NumPy generates them, so the results on all devices agree to 1e-4.

    Returns:
        h in nats, with its Monte-Carlo standard error.

    Raises:
        ArgumentError: If an argument is invalid.

    References:
        Goldfeld, Greenewald & Polyanskiy, arXiv:1810.11589, eqs. 6 and 7, Theorem 5.
    """
    s = as_samples(centres, "centres", min_samples=1)
    check_channel(noise_std)
    n, dim = s.shape
    if mc_draws is not None:
        mc_draws = check_count(mc_draws, "mc_draws")
    w = np.full(n, 1 / n) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (n,) or not (np.isfinite(w).all() and (w > 0).all()):
        raise ArgumentError(
            "`weights` are invalid", f"{n} positive numbers", f"shape {w.shape}, min {w.min()}"
        )
    check_scale(s, noise_std, "centres")
    w = w / w.sum()
    rng = np.random.default_rng(check_seed(seed))
    logs = Mixture(Rows.of(s).centred().divided(noise_std), w).logs(mc_draws, rng)[0]
    mean, error, _ = average(logs, w, random=False)
    noise = dim / 2 * math.log(2 * math.pi * math.e * noise_std**2)
    return Estimate(noise - mean, error, n=n, dim=dim)


def _high_dim(mean: Mean, half: Mean | None) -> tuple[str, ...]:
    if half is None:
        return ()
    error = math.hypot(mean.error, half.error)
    return ("high_dim",) if abs(mean.value - half.value) > 3 * error + _LEAST else ()


def _deviations(scale: Any, samples: np.ndarray, noise_std: float, conditional: Any) -> np.ndarray:
    """Return the standard deviations of T given each input, ``(n, d)``, including the noise."""
    if conditional is not None:
        raise ArgumentError(
            "`scale` and `conditional` exclude each other",
            "`scale` if the mean and the scale are functions of the input, without noise before "
            "the layer; otherwise an estimator that needs only samples, such as 'ksg'",
            "both",
        )
    deviations = as_samples(scale, "scale")
    if deviations.shape != samples.shape:
        raise ArgumentError(
            "`scale` has the wrong shape",
            f"one standard deviation for each value of `t`, {samples.shape}",
            f"shape {np.shape(scale)}",
        )
    if not deviations.min() > 0:
        raise ArgumentError(
            "`scale` is not positive",
            "standard deviations > 0: where they are 0, as after the exponential of a very "
            "negative log_var, the value is not random and I(X;T) is infinite",
            f"min {deviations.min():.3g}",
        )
    return deviations if noise_std == 0 else np.hypot(deviations, noise_std)


def _divergences(means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Return KL(N(μ, diag σ²) ‖ N(0, I)) = Σ_k (μ_k² + σ_k² − 1)/2 − ln σ_k, ``(n,)``."""
    out = np.empty(len(means))
    for part in slices(len(means), TILE // means.shape[1]):
        mean, deviation = means[part].astype(np.float64), deviations[part].astype(np.float64)
        each = (np.square(mean) + np.square(deviation) - 1) / 2 - np.log(deviation)
        out[part] = each.sum(axis=1)
    return out


def check_channel(noise_std: Any, *, random: bool = False) -> float:
    """Return ``noise_std`` if it is positive.

    Args:
        noise_std: standard deviation of the layer's noise.
        random: whether the network's own layers draw random numbers.

    Raises:
        ArgumentError: If ``noise_std`` is not a positive number.
    """
    zero = isinstance(noise_std, (int, float, np.number)) and noise_std == 0
    if not zero:
        return check_positive(noise_std, "noise_std")
    if random:
        raise ArgumentError(
            "Sample propagation needs Gaussian noise of a known standard deviation in each layer, "
            "and this network is random by draws of its own layers only",
            "a layer that declares the distribution of its draws, as `layers.GaussianSampling` or "
            "any layer with a method `conditional`; noise_std > 0 "
            "(`ib_keras.instrument(model, noise_std=...)`); or an estimator that needs only "
            "samples, such as 'ksg'",
            "noise_std=0",
        )
    raise ArgumentError(
        "Sample propagation needs noise: without it I(X;T) is infinite for continuous X and "
        "ln n for n distinct inputs, whatever the network has learned",
        "noise_std > 0 (`ib_keras.instrument(model, noise_std=...)`, trained with it), or for "
        "deterministic layers the clustering that 'ebab', 'binning', 'kde' and 'akde' measure",
        "noise_std=0",
    )
